"""Columns of custom schemas: of which class they are among the hits, and where their values are.

The catalogue does not know ``data.x``. The server does: its index lists the paths of every entry
(``quantities``) and, where a value is searchable, under which class (``search_quantities``). What a
path leads to behind a reference is in neither; the reference itself is in ``quantities``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, cast

import msgspec

from nomadquery.columns.item_filters import is_custom
from nomadquery.columns.plan import settled_per
from nomadquery.columns.planned import Per, PlannedColumn
from nomadquery.columns.references import Home
from nomadquery.columns.whole_lists import VALUE_RULES
from nomadquery.errors import QuantityNotFound, QueryError
from nomadquery.fetch.pages import Source
from nomadquery.http.endpoints import (
    Owner,
    Pagination,
    Terms,
    entries_query,
    parse_entries_page,
    parse_terms,
    terms_query,
)
from nomadquery.query.body import body
from nomadquery.query.criteria import EVERYTHING, And, Criterion, Equals, canonical
from nomadquery.query.path import is_plain

_MOST_VALUES: Final = 1_000
_SHOWN: Final = 8
_SAMPLE: Final = 20
#: Where the index found each custom quantity of an entry.
_PATHS: Final = ("search_quantities.id*", "search_quantities.path_archive*")


@dataclass(frozen=True, slots=True)
class Census:
    """How many entries have a custom quantity; in how many, of which classes, it is searchable.

    ``repeats``: whether it stands in a list of sections, of which the index holds those with a value only.
    """

    n_entries: int
    n_searchable: int
    names: tuple[str, ...]
    repeats: bool


def with_custom_sources(source: Source) -> Source:
    """Return the source with each custom column read from where its values are.

    One request for each such column. From the index where it holds the value of every hit that has
    one, else from the archives.

    Raises
    ------
    QuantityNotFound
        If the hits have it in several classes and the column names none, or no entry has it.
    """
    for column in source.question.columns:
        _check_filters(column, source)
    per = _placed(source.question.per, source)
    source = replace(source, question=replace(source.question, per=per))
    columns = tuple(
        _sourced(column, source) if column.is_custom else column for column in source.question.columns
    )
    settled = None if per is None else settled_per(per, columns, source.catalogue)
    return replace(source, question=replace(source.question, columns=columns, per=settled))


def _check_filters(column: PlannedColumn, source: Source) -> None:
    """Raise if the filters of a column name custom quantities that no entry has."""
    if column.unchecked:
        return
    for name in column.filter_quantities():
        if is_custom(name) and source.catalogue.find(name) is None:
            _check_known(name, source)


def _placed(per: Per | None, source: Source) -> Per | None:
    """Return a custom section with the repeating sections around it, as the index places its values.

    Raises
    ------
    QuantityNotFound
        If no entry has the section.
    QueryError
        If it is a quantity.
    """
    if per is None or not per.is_custom:
        return per
    _check_known(per.section, source)
    having = And((source.question.criterion, Equals("quantities", per.section)))
    request = entries_query(
        body(canonical(having), release=source.question.release),
        owner=cast(Owner, source.question.owner),
        pagination=Pagination(_SAMPLE),
        required={"include": list(_PATHS)},
    )
    sample = [msgspec.json.decode(item) for item in parse_entries_page(source.send(request)).items]
    found = [one for entry in sample for one in entry.get("search_quantities") or ()]
    if any(str(one.get("id")).partition("#")[0] == per.section for one in found):
        raise QueryError(f"per({per.section!r}) needs a section; this is a quantity.")
    places = [str(one.get("path_archive")).split(".") for one in found]
    placed = replace(per, repeats=tuple(_repeating(per.section, places)))
    taken = {column.name for column in source.question.columns}.intersection(placed.index_names)
    if taken:
        raise QueryError(f"The column {min(taken)!r} holds positions of rows; give yours another name.")
    return placed


def _repeating(section: str, places: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the sections on the way behind which places have a position, and ``section`` in any case."""
    names = section.split(".")
    for end in range(1, len(names) + 1):
        head = names[:end]
        is_list = any(
            [part for part in place if not part.isdecimal()][:end] == head and _has_position(place, end)
            for place in places
        )
        if is_list or end == len(names):
            yield ".".join(head)


def _has_position(place: Sequence[str], n_names: int) -> bool:
    """Return whether a position follows the first ``n_names`` names of a place."""
    seen = 0
    for part, following in pairwise(place):
        seen += not part.isdecimal()
        if seen == n_names and not part.isdecimal():
            return following.isdecimal()
    return False


def _sourced(column: PlannedColumn, source: Source) -> PlannedColumn:
    among_hits = _census(column, source, source.question.criterion)
    if among_hits.n_entries == 0:
        reference = _reference_before(column.quantity, source)
        if reference is not None:
            return replace(column, source="archive", references=(reference,))
        if not column.unchecked:
            _check_known(column.quantity, source)
        return replace(column, source="search")  # nothing to read, so no archive is asked for
    if len(among_hits.names) > 1 and column.schema is None and not column.unchecked:
        raise QuantityNotFound(
            f"The hits have {column.quantity!r} in several schemas: {_shown(among_hits.names)}. Choose one, "
            f"as in Q[{among_hits.names[0]!r}], or take all as they are: Q[{column.quantity!r}].unchecked().",
            name=column.quantity,
            nearest=among_hits.names,
        )
    if not column.quantity.startswith("data."):
        return column  # of custom quantities the index holds those below data only
    is_in_index = among_hits.n_searchable >= among_hits.n_entries and len(among_hits.names) == 1
    loses_items = among_hits.repeats and (column.rule not in VALUE_RULES or not is_plain(column.path))
    if not is_in_index or loses_items or column.per is not None:
        return replace(column, source="archive")
    return _with_unit(replace(column, source="search"), among_hits.names[0], source)


def _with_unit(column: PlannedColumn, quantity_id: str, source: Source) -> PlannedColumn:
    """Return the column with the unit that its class declares, where nobody else said it.

    A class that is known and does not declare the path has parts of several classes: the archive names
    them.
    """
    if column.stored_unit is not None or source.declares is None or column.rule in {"count", "size"}:
        return column
    path, _, schema = quantity_id.partition("#")
    names, class_name = tuple(path.split("."))[1:], schema.partition("#")[0]
    declared = source.declares(class_name, Home("", ""), names)
    if declared is not None:
        return replace(column, stored_unit=declared.unit)
    is_known = source.declares(class_name, Home("", ""), names[:1]) is not None
    return replace(column, source="archive") if is_known else column


def _reference_before(name: str, source: Source) -> str | None:
    """Return the reference that a path leads through: what hits have of the path, with nothing below.

    Two requests, and only for paths that no hit has.
    """
    parts = name.split(".")
    prefixes = [".".join(parts[:end]) for end in range(2, len(parts))]
    if not prefixes:
        return None
    asked = _terms(source, source.question.criterion, "quantities", values=prefixes)
    known = {str(bucket.value) for bucket in asked.buckets if bucket.n_entries}
    longest = next((prefix for prefix in reversed(prefixes) if prefix in known), None)
    if longest is None:
        return None
    having = And((source.question.criterion, Equals("quantities", longest)))
    near = _terms(source, having, "quantities", pattern=longest.rpartition(".")[2])
    below = [bucket for bucket in near.buckets if str(bucket.value).startswith(f"{longest}.")]
    return None if any(bucket.n_entries for bucket in below) else longest


def _census(column: PlannedColumn, source: Source, criterion: Criterion) -> Census:
    name = column.quantity
    having = And((criterion, Equals("quantities", name)))
    terms = _terms(source, having, "search_quantities.id", pattern=name.rpartition(".")[2], sample=_PATHS)
    same = [one for one in terms.buckets if str(one.value).partition("#")[0] == name and one.n_entries]
    names = tuple(sorted(str(bucket.value) for bucket in same))
    found = [one for item in terms.sample for one in item.get("search_quantities") or ()]
    places = (str(one.get("path_archive")) for one in found if str(one.get("id")).partition("#")[0] == name)
    repeats = any(part.isdecimal() for place in places for part in place.split("."))
    return Census(terms.total, sum(bucket.n_entries for bucket in same), names, repeats)


def _check_known(name: str, source: Source) -> None:
    """Raise if there are hits, and no entry of the whole deployment has the path."""
    if _n_having(name, source, source.question.criterion) or _n_having(name, source, EVERYTHING):
        return
    if source.count() == 0:
        return
    first = name.partition(".")[0]
    known = [str(bucket.value) for bucket in _terms(source, EVERYTHING, "quantities", pattern=first).buckets]
    nearest = tuple(difflib.get_close_matches(name, known, n=_SHOWN))
    hint = f" Nearest: {', '.join(nearest)}." if nearest else ""
    raise QuantityNotFound(
        f"No entry of {source.question.deployment} has {name!r}.{hint} To select it all the same write "
        f"Q[{name!r}].unchecked().",
        name=name,
        nearest=nearest,
    )


def _n_having(name: str, source: Source, criterion: Criterion) -> int:
    """Return how many entries list a path."""
    asked = _terms(source, criterion, "quantities", values=[name])
    return sum(bucket.n_entries for bucket in asked.buckets)


def _terms(
    source: Source,
    criterion: Criterion,
    quantity: str,
    *,
    pattern: str = "",
    values: Sequence[str] = (),
    sample: Sequence[str] = (),
) -> Terms:
    """Return the most frequent values of an index field: those that contain a pattern, or the given ones."""
    question = source.question
    request = terms_query(
        body(canonical(criterion), release=question.release),
        quantity,
        owner=cast(Owner, question.owner),
        size=_MOST_VALUES,
        pattern=pattern if re.fullmatch(r"[\w -]+", pattern, re.ASCII) else None,
        values=values,
        sample=sample,
    )
    return parse_terms(source.send(request))


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return shown if len(names) <= _SHOWN else f"{shown}, … ({len(names)} in all)"
