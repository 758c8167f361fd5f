"""What is asked: ``--where``, ``--query``, ``--ids`` and ``--url`` → queries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final

import click

from nomadquery.cli.bundles import Command, bundled
from nomadquery.cli.ids import read_ids
from nomadquery.query.criteria import And, Criterion, Equals, HasAll, HasAny, HasNone, Not, Or, Range
from nomadquery.query.phrases import read_criterion
from nomadquery.query.quantity import Q
from nomadquery.query.query import Query

_FILE: Final = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@dataclass(frozen=True, slots=True)
class Question:
    """The criteria of a command line, as typed; all of them must hold."""

    where: tuple[str, ...]
    query: Path | None
    ids: Path | None
    url: str | None

    def criteria(self) -> list[Query | Mapping[str, Any]]:
        """Return the criteria; a request body from a file stays JSON, so that its owner counts."""
        criteria: list[Query | Mapping[str, Any]] = [query_of_text(text) for text in self.where]
        if self.query is not None:
            criteria.append(read_request(self.query))
        if self.url is not None:
            criteria.append(Query.from_url(self.url))
        if self.ids is not None:
            criteria.append(Q.entry_id.isin(read_ids(self.ids)))
        return criteria

    def as_query(self) -> Query:
        """Return the criteria as one query."""
        read = [one if isinstance(one, Query) else Query.from_json(one) for one in self.criteria()]
        return reduce(lambda all_of, one: all_of & one, read, Query())


question_options: Final[Callable[[Command], Command]] = bundled(
    "question",
    Question,
    click.option(
        "--where",
        multiple=True,
        metavar="CRITERION",
        help="""For example 'gap >= "1.1 eV"' or 'elements has_all Ti O'. Several must all hold.""",
    ),
    click.option(
        "--query", type=_FILE, help="File with NOMAD's JSON query, or a whole request; - for stdin."
    ),
    click.option(
        "--ids",
        type=_FILE,
        help="File with entry ids: text (one a line), .csv, .tsv or .xlsx (column entry_id, else the first).",
    ),
    click.option("--url", metavar="ADDRESS", help="A search address copied from NOMAD's web interface."),
)


def query_of_text(text: str) -> Query:
    """Return the query of a criterion in text form, checked as `Q` checks comparisons.

    Raises
    ------
    QueryError
        If it cannot be read, or a value does not fit its quantity.
    """
    return _compared(read_criterion(text))


def read_request(file: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file, ``-`` being standard input."""
    with click.open_file(str(file), encoding="utf-8") as stream:
        try:
            content = json.load(stream)
        except ValueError as error:
            raise click.BadParameter(f"{file} holds no JSON: {error}.", param_hint="--query") from error
    if not isinstance(content, dict):
        raise click.BadParameter(f"{file} holds no JSON object.", param_hint="--query")
    return content


def _compared(criterion: Criterion) -> Query:
    """Return what the same comparisons typed with `Q` give."""
    match criterion:
        case And(parts):
            return reduce(lambda all_of, part: all_of & _compared(part), parts, Query())
        case Or(parts):
            return reduce(lambda any_of, part: any_of | part, map(_compared, parts))
        case Not(inner):
            return ~_compared(inner)
        case Equals(name, value):
            same: Query = Q[name] == value
            return same
        case HasAll(name, values):
            return Q[name].has_all(*values)
        case HasAny(name, values):
            return Q[name].has_any(*values)
        case HasNone(name, values):
            return Q[name].has_none(*values)
        case Range():
            return _in_range(criterion)
        case _:  # within and OPTIMADE have no text form
            return Query(criterion)


def _in_range(criterion: Range) -> Query:
    match criterion:
        case Range(name, None, None, None, None):
            return Q[name].exists()
        case Range(name, None, low, None, high) if low is not None and high is not None:
            return Q[name].between(low, high)
        case Range(name, gt, gte, lt, lte):
            bounds = [
                *([Q[name] > gt] if gt is not None else []),
                *([Q[name] >= gte] if gte is not None else []),
                *([Q[name] < lt] if lt is not None else []),
                *([Q[name] <= lte] if lte is not None else []),
            ]
            return reduce(lambda all_of, bound: all_of & bound, bounds, Query())
