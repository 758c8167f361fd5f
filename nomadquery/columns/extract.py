"""The value of a column in one document: the reference meaning of path and rule.

A repeating section without an index adds one list level; an item without the value stays
as ``None``, so that sibling columns align. ``first`` and ``last`` take the first and last
item that has a value; ``min max mean`` run over every number reached, array elements
included; ``count`` counts the items with a value; ``size`` is the length of an array.
References within the document are followed; others must have been resolved before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.columns.plan import PlannedColumn
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import Criterion
from nomadquery.query.path import Index, Items, Name, Slice, Step
from nomadquery.query.predicate import item_matches
from nomadquery.query.short_names import Rule

_MOST_REFERENCES: Final = 8
#: ``/run/0/system/1``, ``#/run/0``, ``../uploads/<id>/archive/<id>#/data``, an address of another NOMAD.
_REFERENCE: Final = re.compile(r"#?/\w|\.\./|https?://[^\s#]+#/")


class SectionItems(list[Any]):
    """One value for each item of a repeating section; a plain list is an array quantity."""


Reader = Callable[[Mapping[str, Any], list[str]], Any]


def extract(
    document: Mapping[str, Any], column: PlannedColumn, catalogue: Catalogue, notes: list[str] | None = None
) -> Any:
    """Return the value, lists where the path takes several items, ``None`` where there is none.

    Numbers are in the stored unit. What could not be read although it may be there is added to
    ``notes``, in words: a reference that leads out of the document, a section that occurs several
    times although the schema has one.
    """
    return reader(column, catalogue)(document, [] if notes is None else notes)


def reader(column: PlannedColumn, catalogue: Catalogue) -> Reader:
    """Return the function that reads the column in documents and notes what it could not read."""
    steps, rule = column.path.steps, column.rule

    def exact(document: Mapping[str, Any], notes: list[str]) -> Any:
        walk = _Walk(document, column, catalogue, notes)
        return _summarised(walk.reach(document, steps, ""), rule)

    names = tuple(step.name for step in steps if isinstance(step, Name))
    if column.repeats or column.is_custom or len(names) < len(steps):
        return exact

    def quick(document: Mapping[str, Any], notes: list[str]) -> Any:
        value: Any = document
        for name in names:
            if type(value) is not dict:
                return _summarised(None, rule) if value is None else exact(document, notes)
            value = value.get(name)
        return value if rule is None else _summarised(value, rule)

    return quick


def _summarised(found: Any, rule: Rule | None) -> Any:
    match rule:
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
            return _summary(numbers, rule) if numbers else None


@dataclass(frozen=True, slots=True)
class _Walk:
    root: Mapping[str, Any]
    column: PlannedColumn
    catalogue: Catalogue
    notes: list[str]

    def reach(self, value: Any, steps: tuple[Step, ...], section: str) -> Any:
        """Return what the remaining ``steps`` reach from ``value``, which stands at ``section``."""
        for position, step in enumerate(steps):
            if isinstance(value, str):
                value = self._followed(value)
            if value is None:
                return None
            match step:
                case Name(name):
                    if isinstance(value, list):
                        return self._of_items(value, steps[position:], section)
                    section = f"{section}.{name}" if section else name
                    value = value.get(name) if isinstance(value, dict) else None
                    if section in self.column.repeats and isinstance(value, dict):
                        value = [value]
                case Index(place):
                    value = _item(value, place)
                case Slice(start, stop):
                    value = value[start:stop] if isinstance(value, list) else value
                case Items(criterion):
                    value = self._filtered(value, criterion, section)
        return value

    def _of_items(self, items: list[Any], steps: tuple[Step, ...], section: str) -> Any:
        if self.column.is_custom or section in self.column.repeats:
            return SectionItems(self.reach(item, steps, section) for item in items)
        if len(items) > 1:
            self.notes.append(f"{section} occurs {len(items)} times here, once in the schema")
            return None
        return self.reach(items[0], steps, section) if items else None

    def _filtered(self, value: Any, criterion: Criterion, section: str) -> Any:
        if not isinstance(value, list):
            return value if self._fits(value, criterion, section) else None
        return [item for item in map(self._followed, value) if self._fits(item, criterion, section)]

    def _fits(self, item: Any, criterion: Criterion, section: str) -> bool:
        return isinstance(item, dict) and item_matches(criterion, item, section, self.catalogue)

    def _followed(self, value: Any) -> Any:
        """Return the section that a reference leads to; anything else as it is."""
        for _ in range(_MOST_REFERENCES):
            if not isinstance(value, str) or not _REFERENCE.match(value):
                return value
            reference, value = value, _target(self.root, value)
            if value is None:
                self.notes.append(f"the reference {_short(reference)} was not resolved")
        return None


def _target(root: Mapping[str, Any], reference: str) -> Any:
    """Return what a reference within the document (``/run/0/system/1``) leads to, else ``None``."""
    path = reference.removeprefix("#")
    if not path.startswith("/"):
        return None
    value: Any = root
    for part in path.strip("/").split("/"):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


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
    elif isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        yield value


def _summary(numbers: list[float], rule: str) -> float:
    if rule == "mean":
        return sum(numbers) / len(numbers)
    return min(numbers) if rule == "min" else max(numbers)


def _short(reference: str) -> str:
    return repr(reference if len(reference) <= 120 else reference[:119] + "…")
