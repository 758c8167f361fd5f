"""Whom to ask, for which columns, and how fresh: options → client, search, wishes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import click

from nomadquery.cli.bundles import Command, bundled
from nomadquery.client import Nomad
from nomadquery.http.endpoints import Owner
from nomadquery.query.path import dotted
from nomadquery.query.phrases import read_column
from nomadquery.search import Search

_NAMED: Final = re.compile(r"\s*(?P<name>\w+)\s*=(?!=)(?P<path>.*)", re.DOTALL)
_BRACKETS: Final = {"[": 1, "(": 1, "]": -1, ")": -1}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which deployment, and where tables are kept."""

    deployment: str | None
    cache_dir: Path | None

    def client(self, *, offline: bool = False, progress: bool | None = None) -> Nomad:
        """Return the client."""
        return Nomad(self.deployment, cache_dir=self.cache_dir, offline=offline, progress=progress)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Columns, rows, their order and number."""

    select: tuple[str, ...]
    column: tuple[str, ...]
    per: str | None
    drop_missing: str | None
    sort: str | None
    descending: bool
    limit: int | None
    page_size: int | None

    def of(self, search: Search) -> Search:
        """Return the search with all this said."""
        if self.per is not None:
            search = search.per(self.per)
        if self.select or self.column:
            search = search.select(**columns_of(self.select, self.column))
        if self.drop_missing is not None:
            names = (name.strip() for name in self.drop_missing.split(","))
            search = search.drop_missing(*filter(None, names))
        if self.sort is not None:
            search = search.sort(self.sort, descending=self.descending)
        elif self.descending:
            raise click.UsageError("--descending goes with --sort.")
        if self.limit is not None:
            search = search.limit(self.limit)
        return search if self.page_size is None else search.page_size(self.page_size)


cache_option = click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where tables are kept; else NOMADQUERY_CACHE_DIR, else your cache folder.",
)

asked_options: Final[Callable[[Command], Command]] = bundled(
    "asked",
    Asked,
    click.option(
        "-d",
        "--deployment",
        metavar="WHERE",
        help="prod (the default), staging, test, demo, local, the address of an Oasis, or the folder of a "
        "local deployment.",
    ),
    cache_option,
)

owner_option = click.option(
    "--owner",
    type=click.Choice(get_args(Owner)),
    help="Whose entries; by default public, with a token visible.",
)

wanted_options: Final[Callable[[Command], Command]] = bundled(
    "wanted",
    Wanted,
    click.option(
        "--select",
        multiple=True,
        metavar="COLUMNS",
        help="Columns after entry_id, separated by commas: short names, paths, 'path in eV', 'name=path'. "
        "May be repeated.",
    ),
    click.option(
        "--column",
        multiple=True,
        metavar="COLUMN",
        help="One column, commas and all: 'gap=results.…band_gap.value.min() in eV'. May be repeated.",
    ),
    click.option("--per", metavar="SECTION", help="A row for each item of a section: run.calculation."),
    click.option(
        "--drop-missing",
        metavar="NAMES",
        help="Leave out rows without a value in these columns, separated by commas.",
    ),
    click.option("--sort", metavar="QUANTITY", help="Take the first in this order; goes with --limit."),
    click.option("--descending", is_flag=True, help="Largest first, with --sort."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most this many entries."),
    click.option(
        "--page-size",
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="Entries in one request; else planned.",
    ),
)


def columns_of(lists: tuple[str, ...], single: tuple[str, ...] = ()) -> dict[str, str]:
    """Return name → path of the columns in ``--select`` and in ``--column``, in their order.

    Raises
    ------
    click.BadParameter
        If two columns have the same name.
    QueryError
        If a path cannot be read.
    """
    columns: dict[str, str] = {}
    for piece in (*(piece for text in lists for piece in _between_commas(text)), *single):
        named = _NAMED.fullmatch(piece)
        path = (named["path"] if named else piece).strip()
        name = named["name"] if named else dotted(read_column(path)[0])
        if name in columns:
            raise click.BadParameter(
                f"Two columns are called {name!r}; name one: other_name={path}.", param_hint="--select"
            )
        columns[name] = path
    return columns


def _between_commas(text: str) -> Iterator[str]:
    """Yield the pieces of a list; commas in brackets and quotes do not separate."""
    piece, depth, quote = "", 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        depth += 0 if quote else _BRACKETS.get(sign, 0)
        if sign == "," and depth == 0 and not quote:
            yield piece
            piece = ""
        else:
            piece += sign
    if piece.strip():
        yield piece
