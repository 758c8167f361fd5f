"""``nomadquery count`` and ``nomadquery entries``."""

from __future__ import annotations

from typing import Final

import click

from nomadquery.cli.asked import Asked, Wanted, asked_options, owner_option, wanted_options
from nomadquery.cli.output import Output, give_frame, give_search, output_options
from nomadquery.cli.question import Question, question_options
from nomadquery.search import Search

_SHOWN: Final = 5


@click.command("count")
@question_options
@owner_option
@click.option("--each", is_flag=True, help="Print a table: the hits of each criterion, alone and cumulative.")
@asked_options
@output_options
def count(question: Question, owner: str | None, each: bool, asked: Asked, output: Output) -> None:
    """Print how many entries match."""
    with asked.client() as nomad:
        search = nomad.entries(*question.criteria(), owner=owner)
        if each:
            give_frame(search.narrowing(), output)
        else:
            click.echo(search.count())


@click.command("entries")
@question_options
@owner_option
@wanted_options
@click.option("--plan", is_flag=True, help="Print what would be requested, and fetch nothing.")
@click.option("--update", is_flag=True, help="Fetch only what is new or changed since, and say what.")
@click.option("--refresh", is_flag=True, help="Fetch again what is kept.")
@click.option("--max-age", metavar="AGE", help="Fetch again what is older: 7d, 12h, 30min.")
@click.option("--offline", is_flag=True, help="Send nothing: give what is kept.")
@click.option("--progress/--no-progress", default=None, help="Show a bar; by default on a terminal.")
@asked_options
@output_options
def entries(
    *,
    question: Question,
    owner: str | None,
    wanted: Wanted,
    plan: bool,
    update: bool,
    refresh: bool,
    max_age: str | None,
    offline: bool,
    progress: bool | None,
    asked: Asked,
    output: Output,
) -> None:
    """Get the complete table of the entries that match: one row for each.

    Without --select the columns are formula, space_group, program, functional, entry_type,
    upload_id, mainfile, uploaded and doi.
    """
    output.check()
    if update and (refresh or offline):
        raise click.UsageError("--update goes without --refresh and --offline.")
    with asked.client(offline=offline, progress=progress) as nomad:
        search = wanted.of(nomad.entries(*question.criteria(), owner=owner))
        if plan:
            click.echo(str(search.plan()))
            return
        if update:
            click.echo(str(search.update()), err=True)
        give_search(search, output, {"refresh": refresh, "max_age": max_age})
        tell(search)


def tell(search: Search) -> None:
    """Say on standard error what is kept now, and what rows lack."""
    click.echo(search.plan().cached, err=True)
    problems = search.problems
    for row in problems.head(_SHOWN).itertuples():
        click.echo(
            " ".join(str(part) for part in ("lacks:", row.entry_id, row.path, row.why) if part), err=True
        )
    if len(problems) > _SHOWN:
        click.echo(f"lacks: … {len(problems):,} in all: `nomadquery cache show KEY` lists them", err=True)
