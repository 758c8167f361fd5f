"""The value of a column in one document: the reference meaning of path and rule.

A repeating section without an index adds one list level; an item without the value stays
as ``None``, so that sibling columns align. ``first`` and ``last`` take the first and last
item that has a value; ``min max mean`` run over every number reached, array elements
included; ``count`` counts the items with a value; ``size`` is the length of an array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nomadquery.columns.plan import PlannedColumn
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import Criterion
from nomadquery.query.path import Index, Items, Name, Slice, Step
from nomadquery.query.predicate import item_matches


class SectionItems(list[Any]):
    """One value for each item of a repeating section; a plain list is an array quantity."""


class SeveralItems(ValueError):
    """A section that occurs once in the schema has several items in this entry."""


def extract(document: Mapping[str, Any], column: PlannedColumn, catalogue: Catalogue) -> Any:
    """Return the value, lists where the path takes several items, ``None`` where there is none.

    Numbers are in the stored unit.

    Raises
    ------
    SeveralItems
        If the document has a list where the schema has a single section.
    """
    found = _walk(document, column.path.steps, "", column, catalogue)
    match column.rule:
        case None:
            return found
        case "size":
            return _size(found)
        case "count":
            return sum(1 for _ in _values(found))
        case "first":
            return next(_values(found), None)
        case "last":
            *_, last = (None, *_values(found))
            return last
        case "min" | "max" | "mean":
            numbers = [n for value in _values(found) for n in _numbers(value)]
            return _summary(numbers, column.rule) if numbers else None


def _walk(
    value: Any, steps: tuple[Step, ...], section: str, column: PlannedColumn, catalogue: Catalogue
) -> Any:
    """Return what the remaining ``steps`` reach from ``value``, which stands at ``section``."""
    for position, step in enumerate(steps):
        if value is None:
            return None
        match step:
            case Name(name):
                if isinstance(value, list):
                    if len(value) > 1 and column.repeats and section not in column.repeats:
                        raise SeveralItems(f"{section} has {len(value)} items, the schema has one")
                    return SectionItems(_walk(i, steps[position:], section, column, catalogue) for i in value)
                section = f"{section}.{name}" if section else name
                value = value.get(name) if isinstance(value, Mapping) else None
                if section in column.repeats and isinstance(value, Mapping):
                    value = [value]
            case Index(place):
                value = _item(value, place)
            case Slice(start, stop):
                value = value[start:stop] if isinstance(value, list) else value
            case Items(criterion):
                items = value if isinstance(value, list) else [value]
                value = [item for item in items if _fits(item, criterion, section, catalogue)]
    return value


def _fits(item: Any, criterion: Criterion, section: str, catalogue: Catalogue) -> bool:
    return isinstance(item, Mapping) and item_matches(criterion, item, section, catalogue)


def _item(value: Any, place: int) -> Any:
    items = value if isinstance(value, list) else [value]
    return items[place] if -len(items) <= place < len(items) else None


def _values(found: Any) -> Iterator[Any]:
    """Yield the values of the items in order, whatever the list levels of sections; no nulls."""
    if isinstance(found, SectionItems):
        for item in found:
            yield from _values(item)
    elif found is not None:
        yield found


def _size(found: Any) -> Any:
    if isinstance(found, SectionItems):
        return SectionItems(_size(item) for item in found)
    return len(found) if isinstance(found, list) else None


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _summary(numbers: list[float], rule: str) -> float:
    if rule == "mean":
        return sum(numbers) / len(numbers)
    return min(numbers) if rule == "min" else max(numbers)
