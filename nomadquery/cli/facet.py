"""``nomadquery facet``: the values of a quantity among the hits, or their histogram."""

from __future__ import annotations

import click

from nomadquery.cli.asked import Asked, asked_options, owner_option
from nomadquery.cli.output import Output, give_frame, output_options
from nomadquery.cli.question import Question, question_options
from nomadquery.query.aggregate import METRICS


@click.command("facet")
@click.argument("path")
@question_options
@owner_option
@click.option("--size", type=int, metavar="N", help="Only the N most frequent values; without it all.")
@click.option("--contains", metavar="TEXT", help="Only values that contain this text.")
@click.option("--metric", "metrics", multiple=True, type=click.Choice(METRICS), help="Count this as well.")
@click.option("--bins", type=int, metavar="N", help="Numbers and dates: a histogram of so many bins.")
@click.option("--bin-width", metavar="WIDTH", help="The same, of bins so wide: '0.5 eV', 2, month, 30d.")
@click.option("--range", "bounds", nargs=2, metavar="LOW HIGH", help="The same, from LOW up to below HIGH.")
@asked_options
@output_options
def facet(
    *,
    path: str,
    question: Question,
    owner: str | None,
    size: int | None,
    contains: str | None,
    metrics: tuple[str, ...],
    bins: int | None,
    bin_width: str | None,
    bounds: tuple[str, str] | None,
    asked: Asked,
    output: Output,
) -> None:
    """Print how many entries have each value of PATH, the most frequent first.

    PATH is a short name or a full path of text of exact words, or of a truth value. With --bins,
    --bin-width or --range it is a number or a date, and entries are counted by bins; 'PATH in eV' says
    the unit.
    """
    output.check()
    is_histogram = bins is not None or bin_width is not None or bounds is not None
    if is_histogram and (size is not None or contains is not None or metrics):
        raise click.UsageError("--size, --contains and --metric go with values, not with a histogram.")
    with asked.client() as nomad:
        search = nomad.entries(*question.criteria(), owner=owner)
        if is_histogram:
            low_high = None if bounds is None else (_measure(bounds[0]), _measure(bounds[1]))
            width = None if bin_width is None else _measure(bin_width)
            frame = search.histogram(path, bins=bins, bin_width=width, range=low_high)
        else:
            frame = search.facet(path, size=size, contains=contains, metrics=metrics)
        give_frame(frame, output)


def _measure(text: str) -> str | float:
    """Return a bare number as one; with a unit, or of dates, it stays text."""
    try:
        return float(text)
    except ValueError:
        return text
