"""Columns of many entries at once: what paths have in common is walked once, list levels stay flat.

For sections as `compiled` makes them, and paths of names, positions and slices, which is what nearly
every column is. References, filters, custom quantities and dictionaries are left to `extract`, whose
meaning this is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from typing import Any, Final

from msgspec.structs import astuple

from nomadquery.columns.arrays import Lengths
from nomadquery.columns.compiled import Layout, Section
from nomadquery.columns.extract import numbers_in, summary
from nomadquery.columns.planned import PlannedColumn
from nomadquery.query.path import Index, Name, Slice, Step

_PLAIN_NUMBERS: Final = frozenset({int, float})


@dataclass(frozen=True, slots=True)
class Reached:
    """What a path leads to, for all roots.

    Attributes
    ----------
    values : sequence
        One for each root; where the path went into lists of sections, one for each item of these.
    levels : tuple of sequence
        Lengths of the lists, outermost first: those of the first level belong to the roots, those of
        the next to the items of the first.
    layout : Layout or None
        The sections that ``values`` are (or are lists of); ``None``: they are values of a quantity.
    is_listed : bool
        Whether ``values`` are lists of sections.
    """

    values: Sequence[Any]
    levels: tuple[Lengths, ...]
    layout: Layout | None
    is_listed: bool = False

    def opened(self) -> Reached:
        """Return the items in place of their lists."""
        lengths = [None if value is None else len(value) for value in self.values]
        items = list(chain.from_iterable(value for value in self.values if value))
        return Reached(items, (*self.levels, lengths), self.layout)

    def groups(self) -> Iterable[list[Any]]:
        """Yield the values below each root in order, nulls left out."""
        if not self.levels:
            return ([] if value is None else [value] for value in self.values)
        bounds: list[int] = list(range(len(self.levels[0]) + 1))
        for lengths in self.levels:
            starts = list(accumulate((length or 0 for length in lengths), initial=0))
            bounds = [starts[bound] for bound in bounds]
        values = self.values
        return (
            [value for value in values[start:stop] if value is not None] for start, stop in pairwise(bounds)
        )


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of some sections: for each field its values, in the order of the sections."""

    columns: tuple[tuple[Any, ...], ...]
    levels: tuple[Lengths, ...]
    layout: Layout

    def at(self, name: str) -> Reached:
        """Return what stands at a name."""
        place = self.layout.places[name]
        return Reached(self.columns[place.number], self.levels, place.below, place.repeats)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Sections of the same place in many entries, ``None`` where an entry has none."""

    roots: Sequence[Section | None]
    layout: Layout
    _reached: dict[tuple[Step, ...], Reached] = field(default_factory=dict)
    _opened: dict[tuple[Step, ...], Fields] = field(default_factory=dict)

    def reach(self, steps: tuple[Step, ...]) -> Reached:
        """Return what the steps, which `is_swept` allows, lead to."""
        if not steps:
            return Reached(list(self.roots), (), self.layout)
        if steps not in self._reached:
            last = steps[-1]
            self._reached[steps] = (
                self._fields(steps[:-1]).at(last.name)
                if isinstance(last, Name)
                else _chosen(self.reach(steps[:-1]), last)
            )
        return self._reached[steps]

    def _fields(self, steps: tuple[Step, ...]) -> Fields:
        if steps not in self._opened:
            self._opened[steps] = _fields_of(self.reach(steps))
        return self._opened[steps]


def is_swept(column: PlannedColumn, layout: Layout | None) -> bool:
    """Return whether the column is read from sections of ``layout``: the root, or the rows' own items."""
    if column.is_custom or column.kind == "other" or column.follows or layout is None:
        return False
    section = column.per or ""
    is_listed = is_at_list = False
    here: Layout | None = layout
    for step in column.path.steps[column.n_outer :]:
        if isinstance(step, Name):
            place = None if here is None else here.places.get(step.name)
            if place is None:
                return False
            section = f"{section}.{step.name}".lstrip(".")
            is_listed = is_at_list = place.repeats
            here = place.below
            if here is not None and is_listed != (section in column.repeats):
                return False
        elif isinstance(step, Index | Slice) and is_at_list:
            is_at_list = isinstance(step, Slice)
        else:
            return False
    return here is None


def summarised(reached: Reached, column: PlannedColumn) -> Reached:
    """Return what the column's rule makes of the values: one for each root, but for ``size``."""
    made: list[Any]
    match column.rule:
        case None:
            return reached
        case "size":
            made = [len(value) if isinstance(value, list) else None for value in reached.values]
            return Reached(made, reached.levels, None)
        case "count":
            made = [len(group) for group in reached.groups()]
        case "first":
            made = [group[0] if group else None for group in reached.groups()]
        case "last":
            made = [group[-1] if group else None for group in reached.groups()]
        case "min" | "max" | "mean" as rule:
            are_plain = set(map(type, reached.values)) <= _PLAIN_NUMBERS | {type(None)}
            take: Callable[[list[Any]], list[Any]] = _as_they_are if are_plain else _numbers_in_all
            made = [
                summary(numbers, rule) if (numbers := take(group)) else None for group in reached.groups()
            ]
    return Reached(made, (), None)


def _fields_of(before: Reached) -> Fields:
    """Return all fields of the sections that were reached: turned over at once, which is quick."""
    opened = before.opened() if before.is_listed else before
    layout, sections = opened.layout, opened.values
    assert layout is not None  # is_swept has looked
    nothing = (None,) * len(layout.places)
    if None in sections:
        rows = [nothing if section is None else astuple(section) for section in sections]
    else:
        rows = list(map(astuple, sections))
    columns = tuple(zip(*rows, strict=True)) if rows else tuple(() for _ in nothing)
    return Fields(columns, opened.levels, layout)


def _chosen(before: Reached, step: Step) -> Reached:
    match step:
        case Index(position):
            chosen = [_item(value, position) for value in before.values]
            return Reached(chosen, before.levels, before.layout)
        case Slice(start, stop):
            parts = [None if value is None else value[start:stop] for value in before.values]
            return Reached(parts, before.levels, before.layout, is_listed=True)
    raise AssertionError(step)  # filters are for extract, is_swept has looked


def _item(items: list[Any] | None, position: int) -> Any:
    if items is None or not -len(items) <= position < len(items):
        return None
    return items[position]


def _as_they_are(values: list[Any]) -> list[Any]:
    return values


def _numbers_in_all(values: list[Any]) -> list[Any]:
    return [number for value in values for number in numbers_in(value)]
