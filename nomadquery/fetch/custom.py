"""Columns of custom schemas: of which class they are among the hits, and whether the index has them.

The catalogue does not know ``data.x``. The server does: its index lists the paths of every entry
(``quantities``) and, where a value is searchable, under which class (``search_quantities``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from nomadquery.columns.plan import PlannedColumn
from nomadquery.errors import QuantityNotFound
from nomadquery.fetch.pages import Source
from nomadquery.http.endpoints import Owner, Terms, parse_terms, terms_query
from nomadquery.query.body import body
from nomadquery.query.criteria import EVERYTHING, And, Criterion, Equals, canonical

_MOST_VALUES: Final = 1_000
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Census:
    """How many entries have a custom quantity, and in how many, of which classes, it is searchable."""

    n_entries: int
    n_searchable: int
    names: tuple[str, ...]


def with_custom_sources(source: Source) -> Source:
    """Return the source with each custom column read from where its values are.

    One request for each such column. From the index where it holds the value of every hit that has
    one, else from the archives.

    Raises
    ------
    QuantityNotFound
        If the hits have it in several classes and the column names none, or no entry has it.
    """
    columns = tuple(
        _sourced(column, source) if column.is_custom else column for column in source.question.columns
    )
    return replace(source, question=replace(source.question, columns=columns))


def _sourced(column: PlannedColumn, source: Source) -> PlannedColumn:
    among_hits = _census(column, source, source.question.criterion)
    if among_hits.n_entries == 0:
        if not column.unchecked:
            _check_known(column, source)
        return replace(column, source="search")  # nothing to read, so no archive is asked for
    if len(among_hits.names) > 1 and column.schema is None and not column.unchecked:
        raise QuantityNotFound(
            f"The hits have {column.quantity!r} in several schemas: {_shown(among_hits.names)}. Choose one, "
            f"as in Q[{among_hits.names[0]!r}], or take all as they are: Q[{column.quantity!r}].unchecked().",
            name=column.quantity,
            nearest=among_hits.names,
        )
    is_whole = among_hits.n_searchable >= among_hits.n_entries
    return replace(column, source="search" if is_whole else "archive")


def _census(column: PlannedColumn, source: Source, criterion: Criterion) -> Census:
    name = column.quantity
    having = And((criterion, Equals("quantities", name)))
    terms = _terms(source, having, "search_quantities.id", name.rpartition(".")[2])
    same = [one for one in terms.buckets if str(one.value).partition("#")[0] == name and one.n_entries]
    names = tuple(sorted(str(bucket.value) for bucket in same))
    return Census(terms.total, sum(bucket.n_entries for bucket in same), names)


def _check_known(column: PlannedColumn, source: Source) -> None:
    """Raise if there are hits, and no entry of the whole deployment has the quantity."""
    if source.count() == 0 or _census(column, source, EVERYTHING).n_entries:
        return
    name = column.quantity
    first = name.partition(".")[0]
    known = [str(bucket.value) for bucket in _terms(source, EVERYTHING, "quantities", first).buckets]
    nearest = tuple(difflib.get_close_matches(name, known, n=_SHOWN))
    hint = f" Nearest: {', '.join(nearest)}." if nearest else ""
    raise QuantityNotFound(
        f"No entry of {source.question.deployment} has {name!r}.{hint} To select it all the same write "
        f"Q[{name!r}].unchecked().",
        name=name,
        nearest=nearest,
    )


def _terms(source: Source, criterion: Criterion, quantity: str, pattern: str) -> Terms:
    """Return the most frequent values of an index field that contain ``pattern``."""
    question = source.question
    request = terms_query(
        body(canonical(criterion), release=question.release),
        quantity,
        owner=cast(Owner, question.owner),
        size=_MOST_VALUES,
        pattern=pattern if re.fullmatch(r"[\w -]+", pattern, re.ASCII) else None,
    )
    return parse_terms(source.send(request))


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return shown if len(names) <= _SHOWN else f"{shown}, … ({len(names)} in all)"
