"""What NOMAD's quantities are: type, shape, unit, nesting, enumeration, for each release.

The tables are shipped in ``catalogue.json.gz`` (made by ``tests/generate/catalogue.py``)
and read on first use. A quantity of the search index and the same quantity of the archive
are one thing under one name: the index writes ``upload_id`` for the archive's
``metadata.upload_id``; everything below ``results`` has one name in both. What can stand at a
path of the archive is in `section_graph`.
"""

from __future__ import annotations

import difflib
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from nomadquery.errors import QueryError
from nomadquery.query.section_graph import Row, Sections
from nomadquery.query.short_names import SHORT_NAMES

Kind = Literal["text", "integer", "number", "boolean", "date", "reference", "section", "other"]

RELEASES: Final = ("2.0.0", "1.4.3", "1.3.17")
#: Most clauses of one question in Elasticsearch 7 (``indices.query.bool.max_clause_count``).
MOST_CLAUSES: Final = 1024

_KINDS: Final[dict[str, Kind]] = {
    "str": "text",
    "enum": "text",
    "int32": "integer",
    "int64": "integer",
    "float64": "number",
    "bool": "boolean",
    "datetime": "date",
    "section": "section",
    "section_reference": "section",
    "reference": "reference",
    "quantity_reference": "reference",
}

#: Units that NOMAD's tables leave out or that its data contradict; the source is the
#: description of the quantity in NOMAD's schema and the values in its data.
_CORRECTED_UNITS: Final = {
    "results.properties.optoelectronic.solar_cell.efficiency": "percent",
    "results.method.simulation.dft.smearing_width": "joule",
}

#: Columns of ``entries/query`` that the index returns but cannot search; all are texts.
_RETURNED_ONLY: Final = ("license", "authors.user_id")

#: Sections of old archives and where the same stands now, the longest name first. They are still in
#: NOMAD's schema, but no parser fills them any more (none of 419 archives made with nomad-lab 1.4.3
#: has one), and what old examples ask for below them is dropped by the server in silence.
LEGACY: Final = {
    "workflow.calculation_result_ref": "workflow2.results.calculation_result_ref",
    "workflow.calculations_ref": "workflow2.results.calculations_ref",
    "workflow.n_calculations": "workflow2.results.n_calculations",
    "workflow.type": "results.method.workflow_name",
    "workflow.task": "workflow2.tasks",
    "workflow.workflows_ref": "workflow2.tasks",
    "workflow": "workflow2",
}

#: List quantities with a second quantity that counts their distinct members.
COUNTED_BY: Final = {
    "results.material.elements": "results.material.n_elements",
    "results.material.topology.elements": "results.material.topology.n_elements",
    "optimade.elements": "optimade.nelements",
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is known of one quantity or section.

    Attributes
    ----------
    name : str
        Its name as in the search index, or its archive path.
    kind : str
        ``text``, ``integer``, ``number``, ``boolean``, ``date``, ``reference``, ``section``, ``other``.
    type : str
        NOMAD's own word for the type (``enum``, ``float64``, …).
    shape : tuple
        Dimensions of one value, as in the schema: ``(3, 3)``, ``("n_atoms", 3)``, ``("0..*",)``.
    unit : str or None
        Unit of the stored number; ``None`` where it has none.
    index : str or None
        Type in the search index (``keyword``, ``text``, ``date``, ``double`` …); ``None``: not indexed.
    nested : str or None
        Innermost section whose items the index keeps apart.
    repeats : tuple of str
        The repeating sections on the way, outermost first.
    members : tuple of str
        Members of an enumeration, else empty.
    searchable, returnable : bool
        Whether a query can ask for it, and whether ``entries/query`` returns it.
    is_view : bool
        Whether it is another reading (tokenised text) of the quantity one name shorter.
    all_by_default : bool
        Whether a list of values in NOMAD's web interface means all of them.
    target : str or None
        What a reference points to: the class of a section, or class and name of a quantity, whose
        kind, shape, unit and members these then are. The archive holds a text.
    """

    name: str
    kind: Kind
    type: str
    shape: tuple[int | str, ...] = ()
    unit: str | None = None
    index: str | None = None
    nested: str | None = None
    repeats: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    searchable: bool = False
    returnable: bool = False
    is_view: bool = False
    all_by_default: bool = False
    target: str | None = None

    @property
    def is_reference(self) -> bool:
        """Whether an archive holds a reference here, and the value elsewhere."""
        return self.target is not None

    @property
    def is_list(self) -> bool:
        """Whether an entry can have several values."""
        return bool(self.shape or self.repeats)

    @property
    def is_dimensional(self) -> bool:
        """Whether a number needs its unit said."""
        return self.unit is not None and self.unit not in {"dimensionless", "percent"}


class Catalogue:
    """The quantities of one release, or of all shipped releases together (``release=None``).

    Attributes
    ----------
    release : str or None
    sections : Sections
        The graph of the archive's sections.
    """

    def __init__(self, tables: Mapping[str, Any], release: str | None) -> None:
        self._tables = tables
        self.sections = Sections(tables["root"], tables["sections"], tables["bases"])
        self.release = release
        self._search: Mapping[str, Any] = {
            name: row
            for name, row in tables["search"].items()
            if row[7] is None or release is None or tables_of(release) in row[7]
        }
        self._found: dict[str, Quantity | None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names that a query or a column of ``entries/query`` can use, in order."""
        searchable = (
            name for name, row in self._search.items() if row[2] is not None or row[0] != "section_reference"
        )
        return tuple(sorted({*searchable, *_RETURNED_ONLY}))

    @property
    def nested_sections(self) -> tuple[str, ...]:
        """Sections whose items the index keeps apart."""
        return tuple(self._tables["nested"])

    def find(self, name: str) -> Quantity | None:
        """Return what is known of a search name or archive path, ``None`` if nothing is.

        ``metadata.x`` is the search document's ``x``: the archive's copy goes stale after edits.
        Nothing is known below sections that have a successor, see `successor`.
        """
        if name not in self._found:
            self._found[name] = self._look_up(name)
        return self._found[name]

    def successor(self, name: str) -> str | None:
        """Return what stands now for a path that only old archives had, ``None`` if it is no such path.

        A known name where there is one, else the section to look in.
        """
        old = next((old for old in LEGACY if name == old or name.startswith(f"{old}.")), None)
        if old is None:
            return None
        rest = name[len(old) :].lstrip(".")
        kept = rest.partition(".")[2]  # workflow.phonon.x: one of the results or of the method
        now = LEGACY[old]
        possible = [f"{now}.{rest}", *(f"{now}.{part}.{kept}" for part in ("results", "method") if kept)]
        return next((one for one in possible if rest and self.find(one) is not None), now)

    def places_of(self, target: str) -> tuple[str, ...]:
        """Return the archive paths where sections of a class stand, or a quantity of a class, shortest first.

        Parameters
        ----------
        target : str
            A class, or class and quantity: a `Quantity.target`.

        Returns
        -------
        tuple of str
            From the root through sub sections only; sections of derived classes, and those declared with
            a base class, count. Empty for classes of which nothing is known.
        """
        class_name, _, leaf = target.rpartition(".")
        outside = frozenset(LEGACY)
        if target in self.sections:
            return tuple(self.sections.places(target, outside=outside))
        if class_name not in self.sections or leaf not in self.sections.quantities(class_name):
            return ()
        return tuple(f"{place}.{leaf}" for place in self.sections.places(class_name, outside=outside))

    def archive_path(self, name: str) -> str:
        """Return the path in the archive (and in ``quantities``) of a name of the search index."""
        first = name.partition(".")[0]
        return name if first in self.sections.children("") else f"metadata.{name}"

    def children(self, prefix: str) -> tuple[str, ...]:
        """Return the names one step below ``prefix`` (``""``: below the root), in order."""
        start = f"{prefix}." if prefix else ""
        below = {name[len(start) :].partition(".")[0] for name in self._search if name.startswith(start)}
        if self.successor(prefix) is None:
            below |= self.sections.children(prefix)
        if not prefix:
            below -= LEGACY.keys()
            below |= {*SHORT_NAMES, *(name for name in _RETURNED_ONLY if "." not in name)}
        return tuple(sorted(below))

    def references_on(self, name: str) -> tuple[str, ...]:
        """Return the references that the path ``name`` leads through, outermost first, in full."""
        names = name.split(".")
        heads = (".".join(names[:end]) for end in range(1, len(names)))
        return tuple(head for head in heads if self.sections.is_reference(head))

    def nearest(self, name: str, count: int = 5) -> tuple[str, ...]:
        """Return known names that resemble ``name``, best first."""
        wanted = name.rpartition(".")[2]
        pool = [*self.names, *SHORT_NAMES]
        same_leaf = [known for known in pool if known.rpartition(".")[2] == wanted]
        by_whole = difflib.get_close_matches(name, pool, n=count, cutoff=0.6)
        leaves = {known.rpartition(".")[2]: known for known in reversed(pool)}
        by_leaf = [leaves[leaf] for leaf in difflib.get_close_matches(wanted, leaves, n=count, cutoff=0.75)]
        found = [*self._nearest_inside(name), *same_leaf, *by_whole, *by_leaf]
        return tuple(dict.fromkeys(found))[:count]

    def _nearest_inside(self, name: str) -> list[str]:
        """Return names that differ in the first step that is not known, and lead on from there as typed."""
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            above = ".".join(parts[:end])
            children = self.children(above) if self.sections.at(above) is not None else ()
            if not children:
                continue
            near = difflib.get_close_matches(parts[end], children, n=2, cutoff=0.7)
            return [one for child in near if self.find(one := ".".join([above, child, *parts[end + 1 :]]))]
        return []

    def _look_up(self, name: str) -> Quantity | None:
        name = name.removeprefix("metadata.")
        row = self._search.get(name)
        if row is None:
            return None if self.successor(name) is not None else self._in_archive(name)
        kind, shape, index, unit, nested, flags, enum, _ = row
        is_view = "f" in flags
        return Quantity(
            name=name,
            kind=kind_of(kind),
            type=kind,
            shape=tuple(shape),
            unit=_CORRECTED_UNITS.get(name, unit),
            index=index,
            nested=nested,
            repeats=self._repeats(name.rpartition(".")[0] if is_view else name),
            members=self._members(enum),
            searchable=index is not None and index not in {"nested", "object"},
            returnable=not is_view,
            is_view=is_view,
            all_by_default="m" in flags,
        )

    def _in_archive(self, name: str) -> Quantity | None:
        place = self.sections.at(name)
        if place is not None:
            return Quantity(name, "section", "section", repeats=place.repeats, target=place.target)
        stored = self.sections.quantity(name)
        if name in _RETURNED_ONLY:
            stored = Row("str", [], None, None, None)
        if stored is None:
            return None
        row = self.sections.resolved(stored)
        return Quantity(
            name=name,
            kind=kind_of(row.type),
            type=stored.type,
            shape=tuple(row.shape),
            unit=_CORRECTED_UNITS.get(name, row.unit),
            repeats=self._repeats(name),
            members=self._members(row.enum),
            returnable=name in _RETURNED_ONLY,
            target=stored.target,
        )

    def _members(self, enum: int | None) -> tuple[str, ...]:
        return () if enum is None else tuple(self._tables["enums"][enum])

    def _repeats(self, name: str) -> tuple[str, ...]:
        place = self.sections.at(name) or self.sections.at(name.rpartition(".")[0])
        return () if place is None else place.repeats


def kind_of(type_word: str) -> Kind:
    """Return the kind of a value whose type NOMAD calls so: ``float64`` is a ``number``."""
    if type_word in _KINDS:
        return _KINDS[type_word]
    whole = re.fullmatch(r"(u?int|float)\d*", type_word)
    return "other" if whole is None else "number" if whole[1] == "float" else "integer"


def check_release(release: object) -> None:
    """Check that people may name ``release``: one of the lines of `RELEASES`, such as ``"2.0.1"``.

    Raises
    ------
    QueryError
        If it is no text or none of them.
    """
    known = {_line(one) for one in RELEASES}
    is_text = isinstance(release, str) and re.match(r"\d+\.\d+(?:\D|$)", release) is not None
    if not is_text or _line(str(release)) not in known:
        raise QueryError(
            f"{release!r} is no known release of NOMAD. Known are {', '.join(map(repr, RELEASES))}, "
            "each with the other versions of its line."
        )


def tables_of(release: str) -> str:
    """Return the release whose tables stand for ``release``: those of its own or the last line before it."""
    return "2.0.0" if _line(release) >= (2, 0) else "1.4.3"


def terms_in_one_list(release: str) -> int:
    """Return how many values ``any`` may hold (1.3 makes a clause of each, later ones one of all)."""
    return MOST_CLAUSES if _line(release) < (1, 4) else 65_536


def _line(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None:
        raise QueryError(f"{release!r} is no release of NOMAD; write for example {RELEASES[0]!r}.")
    return int(found[1]), int(found[2])


@cache
def catalogue_for(release: str | None = None) -> Catalogue:
    """Return the catalogue of ``"2.0.0"``, ``"1.4.3"``, ``"1.3.17"``, or of all together (``None``)."""
    return Catalogue(_tables(), release)


@cache
def _tables() -> Mapping[str, Any]:
    packed = files("nomadquery.query").joinpath("catalogue.json.gz").read_bytes()
    tables: Mapping[str, Any] = json.loads(gzip.decompress(packed))
    return tables
