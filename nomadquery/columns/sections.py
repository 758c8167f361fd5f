"""Sections of an archive by attribute: ``archive.run[-1].calculation[-1].energy.total.value``.

Views hold nothing but a place in the archive's JSON. A quantity is given as it is stored: numbers in the
stored unit, lists of numbers as NumPy arrays. A reference is followed when it is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn, overload

from nomadquery.columns.reach import Reach, Target
from nomadquery.columns.references import Dangling, Home, parse_reference
from nomadquery.errors import MissingQuantity

_NAMES_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a view stands.

    Attributes
    ----------
    home : Home
        In whose archive.
    section : str
        The names from its root, joined by dots.
    typed : str
        How it was reached: ``run[-1].calculation[0]``.
    """

    home: Home
    section: str = ""
    typed: str = ""

    def below(self, name: str) -> Spot:
        """Return the spot one name further."""
        return Spot(self.home, _joined(self.section, name), _joined(self.typed, name))

    def item(self, position: object) -> Spot:
        """Return the spot of an item."""
        return replace(self, typed=f"{self.typed}[{position}]")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Section:
    """A section: its quantities and sub sections by attribute, or by ``section["name"]``.

    ``in``, ``len``, iteration and ``dir`` tell the names that have a value. `to_dict` gives the JSON.
    """

    _reach: Reach
    _content: Mapping[str, Any]
    _spot: Spot

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what Python itself looks for
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: str | int | slice) -> Any:
        """Return what stands at a name; ``[0]`` is the section itself, as in the path grammar.

        Raises
        ------
        MissingQuantity
            If there is nothing, or a reference that leads to nothing.
        """
        if not isinstance(key, str):
            return Sections(self._reach, [self._content], self._spot)[key]
        value = self._content.get(key)
        if value is None:
            raise self._missing(key)
        return _viewed(self._reach, value, self._spot.below(key))

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._content.items() if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return self._content.get(name) is not None if isinstance(name, str) else False

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *self]

    def to_dict(self) -> dict[str, Any]:
        """Return the section as JSON has it, references as texts."""
        return dict(self._content)

    def __repr__(self) -> str:
        return f"<{self._spot.typed or 'archive'} of {self._spot.home.entry_id}: {_listed(list(self))}>"

    def _missing(self, name: str) -> MissingQuantity:
        spot, here = self._spot.below(name), list(self)
        where = self._spot.typed or "the archive"
        known = self._reach.catalogue.find(spot.section) is not None
        near = difflib.get_close_matches(name, here, n=3, cutoff=0.6)
        if near:
            hint = f"Nearest: {', '.join(near)}. "
        else:
            hint = "The schema knows it, this entry does not have it. " if known else ""
        return MissingQuantity(
            f"Entry {spot.home.entry_id} has no {spot.typed}: {where} has no {name!r}. {hint}"
            f"There are: {_listed(here)}."
        )


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Sections:
    """The items of a repeating section, or of a list of references: positions, slices, ``len``, iteration.

    An item that is null is ``None`` when they are gone through.
    """

    _reach: Reach
    _items: list[Any]
    _spot: Spot

    @overload
    def __getitem__(self, key: slice) -> Sections: ...
    @overload
    def __getitem__(self, key: int) -> Any: ...
    def __getitem__(self, key: int | slice) -> Any:
        """Return an item, negative positions counted from the end, or some items.

        Raises
        ------
        MissingQuantity
            If there is no such item, or it is a reference that leads to nothing.
        """
        if isinstance(key, slice):
            bounds = ":".join("" if bound is None else str(bound) for bound in (key.start, key.stop))
            return Sections(self._reach, self._items[key], self._spot.item(bounds))
        if isinstance(key, bool) or not isinstance(key, int):
            raise TypeError(f"{self._spot.typed} takes positions, as in {self._spot.typed}[-1], not {key!r}.")
        spot, count = self._spot.item(key), len(self._items)
        if not -count <= key < count or self._items[key] is None:
            raise MissingQuantity(
                f"Entry {spot.home.entry_id} has no {spot.typed}: {self._spot.typed} has {count} items"
                f"{', and this one is null' if -count <= key < count else ''}."
            )
        return _item_viewed(self._reach, self._items[key], spot)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        typed = self._spot.typed
        raise MissingQuantity(
            f"{typed} is a list of {len(self._items)} items; choose one, as in {typed}[-1].{name}, or get "
            f"all values: archive.get('{self._spot.section}.{name}')."
        )

    def __iter__(self) -> Iterator[Any]:
        for position, item in enumerate(self._items):
            yield None if item is None else _item_viewed(self._reach, item, self._spot.item(position))

    def __len__(self) -> int:
        return len(self._items)

    def to_list(self) -> list[Any]:
        """Return the items as JSON has them, references as texts."""
        return list(self._items)

    def __repr__(self) -> str:
        return f"<{self._spot.typed} of {self._spot.home.entry_id}: {len(self._items)} items>"


def as_arrays(value: Any, level: int, *, is_integer: bool) -> Any:
    """Return nested lists with a NumPy array in place of each list ``level`` levels below.

    Integers with a null among them become float64; what is ragged, or has others than numbers, stays a
    list.
    """
    import numpy as np

    if not isinstance(value, list):
        return value
    if level:
        return [as_arrays(item, level - 1, is_integer=is_integer) for item in value]
    kinds = set(_kinds(value))
    if not kinds <= {int, float, type(None)} or kinds == {type(None)}:
        return value
    try:
        return np.asarray(value, dtype="int64" if is_integer and kinds == {int} else "float64")
    except (ValueError, TypeError, OverflowError):
        return value


def _viewed(reach: Reach, value: Any, spot: Spot) -> Any:
    """Return what stands at a name: a section, a list of them, or a quantity's value."""
    if isinstance(value, Mapping) and _repeats(reach, spot):
        return Sections(reach, [value], spot)  # old entries have one item where several may stand
    if isinstance(value, list):
        return _list_viewed(reach, value, spot)
    return _item_viewed(reach, value, spot)


def _item_viewed(reach: Reach, value: Any, spot: Spot) -> Any:
    if isinstance(value, Mapping):
        return Section(reach, value, spot)
    if isinstance(value, list):
        return _list_viewed(reach, value, spot)
    return _followed(reach, value, spot) if isinstance(value, str) else value


def _list_viewed(reach: Reach, value: list[Any], spot: Spot) -> Any:
    first = next((item for item in value if item is not None), None)
    if _holds_sections(value) or (isinstance(first, str) and _may_refer(reach, first, spot)):
        return Sections(reach, value, spot)
    known = reach.catalogue.find(spot.section)
    if not value and known is not None and known.kind == "section":
        return Sections(reach, value, spot)
    if known is None or known.kind in {"integer", "number"}:
        return as_arrays(value, 0, is_integer=known is None or known.kind == "integer") if value else value
    return value


def _followed(reach: Reach, text: str, spot: Spot) -> Any:
    """Return what a text refers to; one that is no reference as it is."""
    if not _may_refer(reach, text, spot):
        return text
    found = reach.target(text, spot.home)
    match found:
        case Target(value, home, names):
            there = Spot(home, ".".join(names), spot.typed)
            return value if isinstance(value, str) else _item_viewed(reach, value, there)
        case Dangling(why):
            raise MissingQuantity(
                f"Entry {spot.home.entry_id}: {spot.typed} refers to {text!r}, which leads nowhere: {why}. "
                "The text itself stands in the to_dict() of the section around it."
            )


def _may_refer(reach: Reach, text: str, spot: Spot) -> bool:
    """Return whether a text is a reference: the schema says so, or says nothing and it looks like one."""
    reference = parse_reference(text)
    leaf = spot.section.rpartition(".")[2]
    if reference is None or leaf.startswith("m_") or spot.section.startswith("metadata."):
        return False
    known = reach.catalogue.find(spot.section)
    if known is not None:
        return known.target is not None
    if not text.startswith("/"):
        return True
    # it may be a path on somebody's disk
    is_inside = reference.path[0] in reach.catalogue.sections.children("")
    return is_inside and not isinstance(reach.target(text, spot.home), Dangling)


def _repeats(reach: Reach, spot: Spot) -> bool:
    known = reach.catalogue.find(spot.section)
    return known is not None and known.target is None and known.name in known.repeats


def _holds_sections(value: Any) -> bool:
    if isinstance(value, list):
        return any(_holds_sections(item) for item in value)
    return isinstance(value, Mapping)


def _kinds(value: Any) -> Iterator[type]:
    if isinstance(value, list):
        for item in value:
            yield from _kinds(item)
    else:
        yield type(value)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown}, … ({len(names)})" if len(names) > _NAMES_SHOWN else shown or "nothing"
