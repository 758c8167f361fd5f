"""How deep a question may be: every walk over it takes a few of Python's 1,000 frames for each level."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from nomadquery.errors import QueryError
from nomadquery.query.criteria import And, Criterion, Not, Or, Within

#: Most ``And Or Not Within`` inside each other; rows of one kind are one level.
MOST_LEVELS: Final = 100
#: Sections, bounds and lists of values inside the innermost criterion of NOMAD's JSON.
_LEVELS_OF_ONE: Final = 20


def check_levels(criterion: Criterion) -> None:
    """Check that the tree has at most `MOST_LEVELS`.

    Raises
    ------
    QueryError
        If it is deeper.
    """
    level: list[Criterion] = [criterion]
    for _ in range(MOST_LEVELS + 1):
        level = [part for node in level for part in _parts_of(node)]
        if not level:
            return
    raise QueryError(
        f"The query has more than {MOST_LEVELS} levels of and, or, not, within inside each other. Rows of "
        "one kind (a & b & c) are one level; put parts of one kind together, and many values into isin(...)."
    )


def check_json_levels(query: object) -> None:
    """Check that NOMAD's JSON is not nested deeper than a query can be, whatever it holds.

    Raises
    ------
    QueryError
        If it is.
    """
    level: list[object] = [query]
    for _ in range(2 * MOST_LEVELS + _LEVELS_OF_ONE):  # an object and its list make one level of the tree
        level = [part for node in level for part in _inside(node)]
        if not level:
            return
    raise QueryError(
        f"The JSON is nested deeper than {MOST_LEVELS} levels of and, or, not. Put parts of one kind into "
        "one list."
    )


def _parts_of(criterion: Criterion) -> tuple[Criterion, ...]:
    if isinstance(criterion, And | Or | Within):
        return criterion.criteria
    return (criterion.criterion,) if isinstance(criterion, Not) else ()


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
