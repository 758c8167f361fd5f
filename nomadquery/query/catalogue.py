"""What NOMAD's quantities are: type, shape, unit, nesting, enumeration, for each release.

The tables are shipped in ``catalogue.json.gz`` (made by ``tests/generate/catalogue.py``)
and read on first use. A quantity of the search index and the same quantity of the archive
are one thing under one name: the index writes ``upload_id`` for the archive's
``metadata.upload_id``; everything below ``results`` has one name in both.
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

    @property
    def is_list(self) -> bool:
        """Whether an entry can have several values."""
        return bool(self.shape or self.repeats)

    @property
    def is_dimensional(self) -> bool:
        """Whether a number needs its unit said."""
        return self.unit is not None and self.unit not in {"dimensionless", "percent"}


class Catalogue:
    """The quantities of one release, or of all shipped releases together (``release=None``)."""

    def __init__(self, tables: Mapping[str, Any], release: str | None) -> None:
        self._tables = tables
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
        """
        if name not in self._found:
            self._found[name] = self._look_up(name)
        return self._found[name]

    def archive_path(self, name: str) -> str:
        """Return the path in the archive (and in ``quantities``) of a name of the search index."""
        first = name.partition(".")[0]
        at_root = any(first in names for names in self._tables["sections"][self._tables["root"]])
        return name if at_root else f"metadata.{name}"

    def children(self, prefix: str) -> tuple[str, ...]:
        """Return the names one step below ``prefix`` (``""``: below the root), in order."""
        start = f"{prefix}." if prefix else ""
        below = {name[len(start) :].partition(".")[0] for name in self._search if name.startswith(start)}
        section = self._section_at(prefix)
        if section is not None:
            quantities, subsections = self._tables["sections"][section]
            below |= {*quantities, *subsections}
        if not prefix:
            below |= {*SHORT_NAMES, *(name for name in _RETURNED_ONLY if "." not in name)}
        return tuple(sorted(below))

    def references_on(self, name: str) -> tuple[str, ...]:
        """Return the references that the path ``name`` leads through, outermost first, in full."""
        names = name.split(".")
        heads = (".".join(names[:end]) for end in range(1, len(names)))
        return tuple(head for head in heads if self._is_reference(head))

    def nearest(self, name: str, count: int = 5) -> tuple[str, ...]:
        """Return known names that resemble ``name``, best first."""
        wanted = name.rpartition(".")[2]
        pool = [*self.names, *SHORT_NAMES]
        same_leaf = [known for known in pool if known.rpartition(".")[2] == wanted]
        by_whole = difflib.get_close_matches(name, pool, n=count, cutoff=0.6)
        leaves = {known.rpartition(".")[2]: known for known in reversed(pool)}
        by_leaf = [leaves[leaf] for leaf in difflib.get_close_matches(wanted, leaves, n=count, cutoff=0.75)]
        return tuple(dict.fromkeys([*same_leaf, *by_whole, *by_leaf]))[:count]

    def _look_up(self, name: str) -> Quantity | None:
        name = name.removeprefix("metadata.")
        row = self._search.get(name)
        if row is None:
            archive = self._archive_row(name)
            return None if archive is None else self._from_archive(name, archive)
        kind, shape, index, unit, nested, flags, enum, _ = row
        is_view = "f" in flags
        repeats = self._repeats(name.rpartition(".")[0] if is_view else name)
        return Quantity(
            name=name,
            kind=_KINDS.get(kind, "other"),
            type=kind,
            shape=tuple(shape),
            unit=_CORRECTED_UNITS.get(name, unit),
            index=index,
            nested=nested,
            repeats=repeats,
            members=() if enum is None else tuple(self._tables["enums"][enum]),
            searchable=index is not None and index not in {"nested", "object"},
            returnable=not is_view,
            is_view=is_view,
            all_by_default="m" in flags,
        )

    def _from_archive(self, name: str, row: Any) -> Quantity:
        kind, shape, unit, enum = row
        return Quantity(
            name=name,
            kind=_KINDS.get(kind, "other"),
            type=kind,
            shape=tuple(shape),
            unit=_CORRECTED_UNITS.get(name, unit),
            repeats=self._repeats(name),
            members=() if enum is None else tuple(self._tables["enums"][enum]),
            returnable=name in _RETURNED_ONLY,
        )

    def _archive_row(self, name: str) -> tuple[str, list[Any], str | None, int | None] | None:
        section = self._section_at(name)
        if section is not None:
            return "section", [], None, None
        parent, _, leaf = name.rpartition(".")
        above = self._section_at(parent)
        if above is None:
            return None
        if name in _RETURNED_ONLY:
            return "str", [], None, None
        sections = self._tables["sections"]
        row = sections[above][0].get(leaf)
        if row is None and not parent:
            row = sections[sections[above][1]["metadata"][0]][0].get(leaf)
        return None if row is None else (row[0], row[1], row[2], row[4])

    def _is_reference(self, path: str) -> bool:
        parent, _, leaf = path.rpartition(".")
        above = self._section_at(parent)
        row = None if above is None else self._tables["sections"][above][0].get(leaf)
        return row is not None and row[0] == "reference"

    def _section_at(self, path: str) -> str | None:
        """Return the section class at ``path``; references are followed."""
        found = self._walk(path)
        return None if found is None else found[0]

    def _repeats(self, name: str) -> tuple[str, ...]:
        found = self._walk(name) or self._walk(name.rpartition(".")[0])
        return () if found is None else found[1]

    def _walk(self, path: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the class of the section at ``path`` and the repeating sections on the way."""
        sections, section = self._tables["sections"], self._tables["root"]
        names = path.split(".") if path else []
        hidden = bool(names) and names[0] not in sections[section][1] and names[0] not in sections[section][0]
        repeats: list[str] = []
        for position, name in enumerate(["metadata", *names] if hidden else names):
            quantities, subsections = sections[section]
            row = quantities.get(name)
            if name in subsections:
                section, repeating = subsections[name]
            elif row is not None and row[0] == "reference":
                section, repeating = row[3], bool(row[1])
            else:
                return None
            if section not in sections:
                return None
            if repeating:
                repeats.append(".".join(names[: position if hidden else position + 1]))
        return section, tuple(repeats)


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
