"""``nomadquery demo``: the main job on the shipped data, in a few seconds and without a network."""

from __future__ import annotations

import inspect
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from nomadquery.cache import describe
from nomadquery.cli.asked import cache_option
from nomadquery.cli.tables import print_frame
from nomadquery.client import Nomad
from nomadquery.errors import CacheError
from nomadquery.query.quantity import Q, within
from nomadquery.search import Table

#: What to try next; the first three need no network either.
NEXT: Final = (
    "nomadquery count -d demo --where 'elements has_all Cu Au'",
    "nomadquery entries -d demo --where 'density <= \"10 g/cm^3\"' --select formula,energy -o light.csv",
    "nomadquery quantities gap",
    'nomadquery count --where \'gap between "1.1 eV" "1.8 eV"\'     (asks the public NOMAD)',
)
_BEGINNING: Final = 'from nomadquery import Nomad, Q, within\n\nnomad = Nomad("demo")\n'


def stiff_and_light(nomad: Nomad) -> Table:
    """Return the table of the demo: binary alloys that are stiff for their density.

    The bulk modulus is that of a Birch–Murnaghan fit; an entry has other fits beside it.
    """
    modulus = Q.results.properties.mechanical.bulk_modulus
    stiff = within(modulus, Q.type == "birch_murnaghan", Q.value >= "200 GPa")
    alloys = (Q.n_elements == 2) & (Q.density <= "16 g/cm^3") & stiff
    return nomad.entries(alloys).select(
        "formula",
        "space_group",
        "density",
        bulk_modulus=modulus.matching(stiff).value.max().to("GPa"),
    )


def as_script(question: Callable[[Nomad], Table]) -> str:
    """Return a function that makes a table as the script that does the same, from its own source."""
    body = textwrap.dedent(inspect.getsource(question).rpartition('"""\n')[2])
    return f"{_BEGINNING}{body.replace('return ', 'table = ', 1)}df = table.to_pandas()"


@click.command("demo")
@cache_option
def demo(cache_dir: Path | None) -> None:
    """Show on shipped data what the library does; needs no network.

    The data are calculations made for this demo with a simple model of metals (effective medium theory)
    and a semi-empirical method (GFN-xTB): to try the library, not for research.
    """
    click.echo("Reading the shipped data; the first time takes a few seconds …", err=True)
    with Nomad("demo", cache_dir=cache_dir) as nomad:
        table = stiff_and_light(nomad)
        _print_part("A question in Python", as_script(stiff_and_light))
        _print_part("in plain words", table.explain())
        _print_part("what it will take", str(table.plan()))
        frame = table.to_pandas()
        _print_title("the complete table")
        print_frame(frame)
        started = time.perf_counter()
        table.to_pandas()
        again_s = time.perf_counter() - started
    _print_part("kept as Parquet", kept_words(frame.attrs["nomadquery"]["key"], cache_dir, again_s))
    _print_part("What to try next", "\n".join(NEXT))


def kept_words(key: str, cache_dir: Path | None, again_s: float) -> str:
    """Return where a table is kept, and how long it took to read it from there."""
    try:
        file = describe(key, folder=cache_dir)["files"][0]
    except CacheError:
        return "for this process only, because the cache folder cannot be written"
    return f"{file}\nThe same question is answered from there, the second time in {again_s:.2f} s."


def _print_title(title: str) -> None:
    click.secho(f"\n{title}", bold=True)


def _print_part(title: str, text: str) -> None:
    _print_title(title)
    click.echo(textwrap.indent(text, "    "))
