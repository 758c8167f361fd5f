"""The sections of an archive as a graph: what is below which class, and where a class stands.

A section is declared with a class; sections of derived classes can stand in its place
(``workflow2``: a geometry optimization). A path is known if one of the classes that can stand
on its way knows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

#: References of references are followed as often as this; NOMAD has none.
_MOST_REFERENCES: Final = 4


class Row(NamedTuple):
    """What the tables say of one quantity of a class.

    ``type`` is NOMAD's word, ``target`` the class (``type`` is ``reference``) or the class and quantity
    (``quantity_reference``) that it points to, ``enum`` the number of its enumeration.
    """

    type: str
    shape: list[int | str]
    unit: str | None
    target: str | None
    enum: int | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads.

    Attributes
    ----------
    classes : tuple of str
        The classes that can stand there, the declared one first.
    repeats : tuple of str
        The repeating sections on the way, outermost first, itself included.
    target : str or None
        The declared class, if the path ends in a reference.
    """

    classes: tuple[str, ...]
    repeats: tuple[str, ...]
    target: str | None = None


class Sections:
    """The graph of the shipped tables.

    Parameters
    ----------
    root : str
        The class of an archive.
    sections : mapping
        Class → its quantities (`Row`) and its sub sections (class, whether they repeat), inherited ones
        included.
    bases : mapping
        Class → its base classes, without those that anything can be.
    """

    def __init__(self, root: str, sections: Mapping[str, Any], bases: Mapping[str, list[str]]) -> None:
        self.root = root
        self._sections = sections
        self._heirs: dict[str, list[str]] = {}
        for name, above in bases.items():
            for base in above:
                self._heirs.setdefault(base, []).append(name)

    def __contains__(self, class_name: str) -> bool:
        return class_name in self._sections

    def quantities(self, class_name: str) -> Mapping[str, Row]:
        """Return the quantities of a class."""
        return {name: Row(*row) for name, row in self._sections[class_name][0].items()}

    def subsections(self, class_name: str) -> Mapping[str, tuple[str, bool]]:
        """Return the sub sections of a class: the declared class of each, and whether it repeats."""
        return {
            name: (below, bool(repeats)) for name, (below, repeats) in self._sections[class_name][1].items()
        }

    def children(self, path: str) -> frozenset[str]:
        """Return the names one step below a path."""
        place = self.at(path)
        classes = () if place is None else place.classes
        return frozenset(name for one in classes for part in self._sections[one] for name in part)

    def derived(self, class_name: str) -> tuple[str, ...]:
        """Return the class and those derived from it, nearest first."""
        found = {class_name: None}
        waiting = [class_name]
        for name in waiting:
            new = [heir for heir in self._heirs.get(name, ()) if heir not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return tuple(found)

    def at(self, path: str) -> Place | None:
        """Return where a section's path leads (``""``: the root); references are followed.

        A first name that an archive's root lacks is looked for below ``metadata``.
        """
        names = path.split(".") if path else []
        place = Place(self._above(names[0]) if names else (self.root,), ())
        for position, name in enumerate(names):
            step = self._step(place.classes, name)
            if step is None:
                return None
            below, repeating, target = step
            here = (".".join(names[: position + 1]),) if repeating else ()
            place = Place(below, (*place.repeats, *here), target)
        return place

    def quantity(self, path: str) -> Row | None:
        """Return what is known of the quantity at a path."""
        parent, _, leaf = path.rpartition(".")
        place = self.at(parent)
        classes = () if place is None else place.classes if parent else self._above(leaf)
        return self._row(classes, leaf)

    def resolved(self, row: Row) -> Row:
        """Return the row of the quantity that a reference to a quantity leads to; any other as it is."""
        for _ in range(_MOST_REFERENCES):
            if row.type != "quantity_reference" or row.target is None:
                return row
            class_name, _, name = row.target.rpartition(".")
            found = self._row((class_name,), name)
            if found is None:
                return row
            row = found
        return row

    def is_reference(self, path: str) -> bool:
        """Return whether a path ends in a reference to a section."""
        row = self.quantity(path)
        return row is not None and row.type == "reference"

    def places(self, class_name: str, *, outside: frozenset[str] = frozenset()) -> Iterator[str]:
        """Yield the paths from the root where sections of a class stand, shortest first.

        Only through sub sections, no references; sections of the class itself, of a derived one, or
        declared with a base class of it. A class within itself (groups of groups) is entered once.
        ``outside`` names parts of the root that are left out.
        """
        wanted = {class_name, *self.derived(class_name)}
        level: list[tuple[str, tuple[str, ...]]] = [("", (self.root,))]
        while level:
            below = []
            for path, way in level:
                for name, declared in self._parts(way[-1]):
                    if declared in way or (not path and name in outside):
                        continue
                    here = f"{path}.{name}" if path else name
                    if declared in wanted or class_name in self.derived(declared):
                        yield here
                    below.append((here, (*way, declared)))
            level = below

    def _parts(self, declared: str) -> Iterator[tuple[str, str]]:
        parts = {
            (name, below): None
            for one in self.derived(declared)
            if one in self._sections
            for name, (below, _) in self._sections[one][1].items()
        }
        yield from parts

    def _above(self, first: str) -> tuple[str, ...]:
        """Return the class that the first name of a path belongs to: the root, else its metadata."""
        quantities, subsections = self._sections[self.root]
        return (self.root,) if first in subsections or first in quantities else (subsections["metadata"][0],)

    def _row(self, classes: tuple[str, ...], name: str) -> Row | None:
        known = (self._sections[one][0].get(name) for one in classes if one in self._sections)
        return next((Row(*row) for row in known if row is not None), None)

    def _step(self, classes: tuple[str, ...], name: str) -> tuple[tuple[str, ...], bool, str | None] | None:
        """Return the classes below ``name``, whether it repeats, and its class if it is a reference."""
        declared = [found for one in classes if (found := self._sections[one][1].get(name)) is not None]
        target = None
        if not declared:
            row = self._row(classes, name)
            if row is None or row.type != "reference" or row.target is None:
                return None
            target, declared = row.target, [[row.target, row.shape]]
        every = (one for below, _ in declared for one in self.derived(below) if one in self._sections)
        below = tuple(dict.fromkeys(every))
        return (below, any(repeating for _, repeating in declared), target) if below else None
