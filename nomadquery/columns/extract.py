"""The value of a column in one document: the reference meaning of path and rule.

A repeating section without an index adds one list level; an item without the value stays
as ``None``, so that sibling columns align. ``first`` and ``last`` take the first and last
item that has a value; ``min max mean`` run over every number reached, array elements
included; ``count`` counts the items with a value; ``size`` is the length of an array.
References within the document are followed; others must have been resolved before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nomadquery import units
from nomadquery.columns.definitions import Declared
from nomadquery.columns.planned import PlannedColumn
from nomadquery.columns.references import Dangling, Home, Rests, Shelf, parse_reference
from nomadquery.errors import UnitError
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import Criterion, quantities_of
from nomadquery.query.path import Index, Items, Name, Slice, Step
from nomadquery.query.predicate import item_matches
from nomadquery.query.short_names import Rule

_MOST_REFERENCES: Final = 8
_FRAME: Final = "run.calculation.system_ref"

#: Returns what is declared of the quantity that ``names`` lead to from a section of the class that
#: ``m_def`` names in an entry; ``None`` where nothing is known.
Declares = Callable[[str, Home, tuple[str, ...]], Declared | None]


class SectionItems(list[Any]):
    """One value for each item of a repeating section; a plain list is an array quantity."""


@dataclass(frozen=True, slots=True)
class Document:
    """What columns are read from.

    Attributes
    ----------
    content : mapping
        A search document, or (a part of) an archive.
    home : Home
        Whose it is: references within it, and into its upload, start there.
    shelf : Shelf
        Archives at hand, for references.
    declares : callable or None
        Tells declared units of custom quantities.
    m_def : str or None
        The class of ``data`` where the content does not say it.
    """

    content: Mapping[str, Any]
    home: Home
    shelf: Shelf
    declares: Declares | None = None
    m_def: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the section that makes a table's rows.

    Attributes
    ----------
    positions : tuple of int
        Its position, and before it those of the repeating sections around it.
    value : object
    around : tuple
        The sections around it, outermost first.
    """

    positions: tuple[int, ...]
    value: Any
    around: tuple[Any, ...] = ()


@dataclass(slots=True)
class Notes:
    """What could not be read although it may be there, in words; and the unit of what was read."""

    lines: list[str] = field(default_factory=list)
    unit: str | None = None


Reader = Callable[[Document, Notes, Item | None], Any]


def extract(
    document: Mapping[str, Any], column: PlannedColumn, catalogue: Catalogue, notes: list[str] | None = None
) -> Any:
    """Return the value, lists where the path takes several items, ``None`` where there is none.

    Numbers are in the stored unit. What could not be read although it may be there is added to
    ``notes``, in words: a reference that leads out of the document, a section that occurs several
    times although the schema has one.
    """
    home = Home(str(document.get("entry_id", "")), str(document.get("upload_id", "")))
    shelf = Shelf()
    shelf.put(home.entry_id, "*", document)
    found = Notes()
    value = reader(column, catalogue)(Document(document, home, shelf), found, None)
    if notes is not None:
        notes += found.lines
    return value


def reader(column: PlannedColumn, catalogue: Catalogue) -> Reader:
    """Return the function that reads the column in documents and notes what it could not read."""
    steps, rule = column.path.steps, column.rule
    below, section = (steps[column.n_outer :], column.per or "")

    def exact(document: Document, notes: Notes, item: Item | None) -> Any:
        around = () if item is None else (*item.around, item.value)
        walk = _Walk(document, column, catalogue, notes, document.home, around)
        if item is None or column.per is None:
            return _summarised(walk.reach(document.content, steps, "", _root_class(document)), rule)
        return _summarised(walk.reach(item.value, below, section, _root_class(document, section)), rule)

    names = tuple(step.name for step in steps if isinstance(step, Name))
    if column.repeats or column.is_custom or column.per or column.follows or len(names) < len(steps):
        return exact

    def quick(document: Document, notes: Notes, item: Item | None) -> Any:
        value: Any = document.content
        for name in names:
            if type(value) is not dict:
                return _summarised(None, rule) if value is None else exact(document, notes, item)
            value = value.get(name)
        return value if rule is None else _summarised(value, rule)

    return quick


def section_levels(value: Any) -> int:
    """Return how many of a value's list levels are items of sections."""
    n_levels = 0
    while isinstance(value, SectionItems):
        n_levels += 1
        inner = [item for item in value if item is not None]
        value = next((item for item in inner if isinstance(item, SectionItems)), inner[0] if inner else None)
    return n_levels


def items_of(document: Mapping[str, Any], section: str, repeats: Sequence[str]) -> list[Item]:
    """Return the items of a section in order; a single one counts as the only item of a list.

    Positions are given for the sections in ``repeats``. Other lists on the way (custom schemas) are
    gone through as if they were one.
    """
    found = [Item((), document)]
    path = ""
    for name in section.split("."):
        path = f"{path}.{name}" if path else name
        found = [below for item in found for below in _below(item, name, path in repeats)]
    if section not in repeats:
        return found
    return found


def _below(item: Item, name: str, counts: bool) -> Iterator[Item]:
    value = item.value.get(name) if isinstance(item.value, Mapping) else None
    if value is None:
        return
    around = (*item.around, item.value)
    for position, one in enumerate(value if isinstance(value, list) else [value]):
        yield Item((*item.positions, position) if counts else item.positions, one, around)


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
            numbers = [n for value in _values(found) for n in numbers_in(value)]
            return summary(numbers, rule) if numbers else None


@dataclass(frozen=True, slots=True)
class _Class:
    """The class that is known of a section on the way, and the names since."""

    m_def: str
    home: Home
    names: tuple[str, ...] = ()

    def below(self, name: str) -> _Class:
        return _Class(self.m_def, self.home, (*self.names, name))


def _root_class(document: Document, section: str = "") -> _Class | None:
    """Return what is known of the class of ``data``, as seen from the root (or from a ``section``)."""
    if document.m_def is None:
        return None
    names = tuple(section.split("."))[1:] if section else ("",)[:0]
    return _Class(document.m_def, document.home, names)


@dataclass(frozen=True, slots=True)
class _Afar:
    """What a reference led to in another entry: references there start from that one."""

    value: Any
    home: Home


@dataclass(frozen=True, slots=True)
class _Walk:
    document: Document
    column: PlannedColumn
    catalogue: Catalogue
    notes: Notes
    home: Home
    around: tuple[Any, ...] = ()

    def reach(self, value: Any, steps: tuple[Step, ...], section: str, known: _Class | None = None) -> Any:
        """Return what the remaining ``steps`` reach from ``value``, which stands at ``section``."""
        for position, step in enumerate(steps):
            if isinstance(value, str):
                value = self._followed(value, (self._names(steps[position:], section),))
            if isinstance(value, _Afar):
                return replace(self, home=value.home).reach(value.value, steps[position:], section, known)
            if value is None:
                return None
            match step:
                case Name(name):
                    if isinstance(value, list):
                        return self._of_items(value, steps[position:], section, known)
                    known = self._class_below(value, name, section, known)
                    section = f"{section}.{name}" if section else name
                    value = self._below(value, name, section)
                case Index(place):
                    value = _item(value, place)
                case Slice(start, stop):
                    value = value[start:stop] if isinstance(value, list) else value
                case Items(criterion):
                    value = self._filtered(value, criterion, steps[position + 1 :], section)
        if self.column.resolves_leaf:
            value = self._leaves(value)
        if self.column.is_custom:
            value = _bare(value)
        return self._in_first_unit(value, known) if self.column.is_custom else value

    def _below(self, value: Any, name: str, section: str) -> Any:
        found = value.get(name) if isinstance(value, Mapping) else None
        if found is None and section == _FRAME and self.column.per == "run.calculation":
            return self._only_system()
        return [found] if section in self.column.repeats and isinstance(found, Mapping) else found

    def _only_system(self) -> Any:
        """Return the structure of a frame that names none: the only system of its run."""
        run = self.around[-2] if len(self.around) > 1 else {}
        found = run.get("system")
        systems = found if isinstance(found, list) else [found] if isinstance(found, Mapping) else []
        if len(systems) == 1:
            return systems[0]
        self.notes.lines.append(f"the calculation has no system_ref, and its run has {len(systems)} systems")
        return None

    def _of_items(self, items: list[Any], steps: tuple[Step, ...], section: str, known: _Class | None) -> Any:
        if self.column.is_custom or section in self.column.repeats:
            return SectionItems(self.reach(item, steps, section, known) for item in items)
        if len(items) > 1:
            self.notes.lines.append(f"{section} occurs {len(items)} times here, once in the schema")
            return None
        return self.reach(items[0], steps, section, known) if items else None

    def _filtered(self, value: Any, criterion: Criterion, after: tuple[Step, ...], section: str) -> Any:
        if not isinstance(value, list):
            return value if self._fits(value, criterion, section) else None
        if not any(isinstance(item, str) for item in value):
            return [item for item in value if self._fits(item, criterion, section)]
        asked = (name.removeprefix(f"{section}.") for name in sorted(quantities_of(criterion)))
        rests = (*(tuple(name.split(".")) for name in asked), self._names(after, section))
        followed = [self._followed(item, rests) if isinstance(item, str) else item for item in value]
        return [item for item in followed if self._fits(item, criterion, section)]

    def _fits(self, item: Any, criterion: Criterion, section: str) -> bool:
        item = item.value if isinstance(item, _Afar) else item
        return isinstance(item, Mapping) and item_matches(criterion, item, section, self.catalogue)

    def _names(self, steps: tuple[Step, ...], section: str) -> tuple[str, ...]:
        """Return the names ahead, up to the next reference that the schema knows."""
        names: list[str] = []
        for step in steps:
            if isinstance(step, Name):
                names.append(step.name)
                section = f"{section}.{step.name}" if section else step.name
                if section in self.column.references:
                    break
        return tuple(names)

    def _leaves(self, value: Any) -> Any:
        """Return what a reference to a quantity leads to, item by item."""
        if isinstance(value, list):
            return type(value)(self._leaves(item) for item in value)
        found = self._followed(value, ((),)) if isinstance(value, str) else value
        return found.value if isinstance(found, _Afar) else found

    def _followed(self, value: Any, rests: Rests) -> Any:
        """Return what a reference leads to, `_Afar` from another entry; anything else as it is."""
        seen: set[tuple[str, Home]] = set()
        home = self.home
        while isinstance(value, str) and (reference := parse_reference(value)) is not None:
            if (value, home) in seen or len(seen) == _MOST_REFERENCES:
                self.notes.lines.append(f"the reference {_short(value)} leads in a circle")
                return None
            seen.add((value, home))
            found = self.document.shelf.look_up(reference, home, rests)
            if found is None or isinstance(found, Dangling):
                why = "it was not resolved" if found is None else found.why
                self.notes.lines.append(f"the reference {_short(value)} leads nowhere: {why}")
                return None
            value, home = found, self.document.shelf.home_of(reference, home)
        return value if home == self.home or value is None else _Afar(value, home)

    # -- units that custom schemas declare ------------------------------------------------

    def _class_below(self, value: Any, name: str, section: str, known: _Class | None) -> _Class | None:
        """Return what is known of the class at a name below ``value``, which stands at ``section``."""
        if not self.column.is_custom or not isinstance(value, Mapping):
            return None
        m_def = value.get("m_def")
        if isinstance(m_def, str) and section:
            known = _Class(m_def, self.home)
        if not section:
            return known
        return None if known is None else known.below(name)

    def _in_first_unit(self, value: Any, known: _Class | None) -> Any:
        """Return numbers in the unit of the first ones that the entry has of the quantity."""
        declares = self.document.declares
        if value is None or known is None or declares is None or not _has_numbers(value):
            return value
        declared = declares(known.m_def, known.home, known.names)
        unit = self.column.stored_unit or (None if declared is None else declared.unit)
        if unit is None or self.notes.unit in {None, unit}:
            self.notes.unit = unit
            return value
        try:
            return _converted(value, unit, self.notes.unit)
        except UnitError:
            self.notes.lines.append(f"some values are in {unit}, others in {self.notes.unit}")
            return None


def _bare(value: Any) -> Any:
    """Return the value of a quantity that is stored with its attributes: by itself, or below its name."""
    if isinstance(value, list):
        return type(value)(map(_bare, value))
    if not isinstance(value, Mapping) or not value:
        return value
    if "m_value" in value:
        return value["m_value"]
    named = [one for one in value.values() if isinstance(one, Mapping) and "m_value" in one]
    return named[0]["m_value"] if len(named) == len(value) == 1 else value


def _has_numbers(value: Any) -> bool:
    return next(numbers_in(value), None) is not None


def _converted(value: Any, have: str, want: str) -> Any:
    if isinstance(value, list):
        return type(value)(_converted(item, have, want) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return units.convert(float(value), have, want)


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


def numbers_in(value: Any) -> Iterator[float]:
    """Yield the numbers of a value, array elements included; truth values and NaN are none."""
    if isinstance(value, list):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        yield value


def summary(numbers: list[float], rule: str) -> float:
    """Return the ``min``, ``max`` or ``mean`` of at least one number."""
    if rule == "mean":
        return sum(numbers) / len(numbers)
    return min(numbers) if rule == "min" else max(numbers)


def _short(reference: str) -> str:
    return repr(reference if len(reference) <= 120 else reference[:119] + "…")
