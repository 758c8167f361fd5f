"""Why so few hits? Each criterion's hits alone and cumulatively, and near values the server knows."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from nomadquery.errors import InvalidRequest
from nomadquery.fetch.pages import Source
from nomadquery.fetch.plan import query_body
from nomadquery.http.endpoints import Owner, parse_terms, terms_query
from nomadquery.query.criteria import And, Criterion, Equals, HasAll, HasAny, canonical

_VALUES_ASKED: Final = 1_000
_NEAR_SHOWN: Final = 3

Row = tuple[str, int, int, str | None]


def narrowing_rows(source: Source, parts: Sequence[tuple[str, Criterion]]) -> list[Row]:
    """Return (words, hits alone, hits with all before, near values) for each criterion, in order."""
    rows: list[Row] = []
    so_far: tuple[Criterion, ...] = ()
    for words, part in parts:
        so_far = (*so_far, part)
        alone = _asking(source, part).count()
        together = _asking(source, canonical(And(so_far))).count()
        rows.append((words, alone, together, None if alone else near_values(source, part)))
    return rows


def near_values(source: Source, criterion: Criterion) -> str | None:
    """Return values of the quantity that the server knows and that resemble the asked ones."""
    match criterion:
        case Equals(quantity, str(value)):
            asked: tuple[object, ...] = (value,)
        case HasAll(quantity, values) | HasAny(quantity, values):
            asked = values
        case _:
            return None
    everything = replace(source.question, criterion=And(()), sort=None)
    request = terms_query(
        query_body(everything, source.catalogue),
        quantity,
        owner=cast(Owner, source.question.owner),
        size=_VALUES_ASKED,
    )
    try:
        buckets = parse_terms(source.send(request)).buckets
    except InvalidRequest:
        return None  # values of this quantity cannot be listed (text, numbers)
    known = {str(bucket.value).casefold(): str(bucket.value) for bucket in buckets if bucket.n_entries}
    near = [value for one in asked for value in _resembling(str(one).casefold(), known)]
    return ", ".join(dict.fromkeys(near)) or None


def _resembling(asked: str, known: Mapping[str, str]) -> list[str]:
    """Return the value that differs in case only, else the nearest ones."""
    if asked in known:
        return [known[asked]]
    return [known[one] for one in difflib.get_close_matches(asked, known, n=_NEAR_SHOWN, cutoff=0.6)]


def _asking(source: Source, criterion: Criterion) -> Source:
    return replace(source, question=replace(source.question, criterion=criterion, sort=None, limit=None))
