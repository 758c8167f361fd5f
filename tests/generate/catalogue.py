"""Make ``nomadquery/query/catalogue.json.gz`` from NOMAD's quantity tables.

Usage::

    python tests/generate/catalogue.py FOLDER

``FOLDER`` holds ``search-quantities-<release>.json`` (what the search index knows, one
file for each release), ``archive-quantities.json`` (the archive's sections as a graph)
and ``samples/quantities.json`` (every path that occurs in a set of archives, with its
class). Names, types, shapes, units, enums, nesting, base classes and references are kept;
descriptions are not. See ``docs/internals/catalogue.md`` for how the tables themselves are
made.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

RELEASES = ("2.0.0", "1.4.3")
TARGET = Path(__file__).parents[2] / "nomadquery" / "query" / "catalogue.json.gz"
SUGGESTION = re.compile(r"__suggestion(\.suggestion)?$")

#: Where classes of before NOMAD 1.3 were, and where the same classes are now.
MOVED = ("nomad.datamodel.metainfo.simulation.", "runschema.")
#: Classes that anything can be; what is below them only an entry's own class tells.
OPEN_CLASSES = frozenset({"nomad.datamodel.data.ArchiveSection", "nomad.datamodel.data.EntryData"})
TYPES = {"Enum": "enum", "Datetime": "datetime", "JSON": "dict", "Any": "any", "HDF5Dataset": "hdf5dataset"}

Row = list[Any]
Sections = dict[str, list[Any]]
Bases = dict[str, list[str]]


class Enums:
    """Enumerations, each stored once and named by its position."""

    def __init__(self) -> None:
        self.lists: list[list[str]] = []

    def number(self, values: list[str] | None) -> int | None:
        """Return the position of ``values``, adding them if they are new."""
        if not values:
            return None
        if values not in self.lists:
            self.lists.append(values)
        return self.lists.index(values)


def search_table(folder: Path, enums: Enums) -> tuple[dict[str, Any], list[str]]:
    """Return name → [type, shape, index, unit, nested, flags, enum, releases] and the nested sections."""
    table: dict[str, Any] = {}
    nested: list[str] = []
    for release in RELEASES:
        document = json.loads((folder / f"search-quantities-{release}.json").read_text())
        nested = document["nested_object_keys"] if release == RELEASES[0] else nested
        for quantity in document["quantities"]:
            if SUGGESTION.search(quantity["name"]):
                base = SUGGESTION.sub("", quantity["name"])
                table[base][5] += "s" if "s" not in table[base][5] else ""
                continue
            row = table.setdefault(quantity["name"], _search_row(quantity, enums))
            row[7].append(release)
    for row in table.values():
        row[7] = None if len(row[7]) == len(RELEASES) else row[7]
    return table, sorted(nested)


def _search_row(quantity: dict[str, Any], enums: Enums) -> list[Any]:
    flags = ("f" if quantity.get("subfield") else "") + ("m" if quantity.get("many_all") else "")
    flags += "a" if quantity.get("aggregatable") else ""
    return [
        quantity["type"],
        quantity["shape"],
        quantity.get("es_type"),
        quantity.get("unit"),
        quantity.get("nested"),
        flags,
        enums.number(quantity.get("values")),
        [],
    ]


def section_table(folder: Path, enums: Enums) -> tuple[str, Sections, Bases]:
    """Return the root section, section → [quantities, sub sections], and section → base classes.

    Classes of before NOMAD 1.3 come last, and refer to their successors where these are known.
    """
    graph = json.loads((folder / "archive-quantities.json").read_text())
    described = {name: section or {} for name, section in graph["sections"].items()}  # null: only a target
    sections: Sections = {}
    bases: Bases = {}
    for name in sorted(described, key=lambda name: name.startswith(MOVED[0])):
        section = described[name]
        quantities = {
            key: [
                value["type"],
                value.get("shape") or [],
                value.get("unit"),
                _successor(value.get("target"), described),
                enums.number(value.get("values")),
            ]
            for key, value in (section.get("quantities") or {}).items()
        }
        subsections = {
            key: [value.get("section"), int(bool(value.get("repeats")))]
            for key, value in (section.get("sub_sections") or {}).items()
        }
        sections[name] = [quantities, subsections]
        closed = [base for base in section.get("bases") or [] if base not in OPEN_CLASSES]
        bases |= {name: closed} if closed else {}
    return graph["root"], sections, bases


def _successor(target: str | None, known: dict[str, Any]) -> str | None:
    moved = target and target.replace(*MOVED)
    return moved if moved in known else target


def add_occurring(sections: Sections, bases: Bases, root: str, folder: Path) -> int:
    """Add the classes and quantities that occur in archives but are not in the graph.

    These are parts of classes that stand in place of an abstract one (``workflow2.results``). Which of
    these classes a part belongs to, the list of paths does not say: it is put into the abstract one.
    Returns how many quantities were added.
    """
    occurring = json.loads((folder / "samples" / "quantities.json").read_text())
    n_added = 0
    for path, value in sorted(occurring.items(), key=lambda item: item[0].count(".")):
        if path.startswith(("data.", "definitions.")):
            continue
        leaf = path.removesuffix(".*").rpartition(".")[2]
        there = _classes_at(sections, bases, root, path, value["section"])
        if any(leaf in sections[name][0] for name in there):
            continue
        sections[there[0]][0][leaf] = _occurring_row(value)
        n_added += 1
    return n_added


def _occurring_row(value: dict[str, Any]) -> Row:
    kind, _, target = value["type"].partition("reference to ")
    numpy_like = re.fullmatch(r"m_(\w+?)\(\w+\)", kind)
    word = "reference" if target else numpy_like[1] if numpy_like else TYPES[kind]
    shape = [int(size) if size.isdigit() else size for size in value["shape"]]
    return [word, shape, value["unit"], target or None, None]


def _classes_at(sections: Sections, bases: Bases, root: str, path: str, class_name: str) -> list[str]:
    """Return the classes that can stand where the quantity ``path`` is, the declared one first.

    Sub sections that the graph lacks are added to it.
    """
    steps = path.split(".")[:-1]
    classes = [root]
    for position, step in enumerate(steps):
        if step == "*":
            continue
        below = [sections[name][1][step][0] for name in classes if step in sections[name][1]]
        if not below:
            repeats = int(steps[position + 1 : position + 2] == ["*"])
            sections[classes[0]][1][step] = [class_name, repeats]
            sections.setdefault(class_name, [{}, {}])
            below = [class_name]
        classes = [name for declared in dict.fromkeys(below) for name in _with_derived(bases, declared)]
    return classes


def _with_derived(bases: Bases, declared: str) -> list[str]:
    found = [declared]
    for name in found:
        found += [one for one, above in bases.items() if name in above and one not in found]
    return found


def main(folder: Path) -> None:
    """Write the catalogue; the same tables give the same bytes."""
    enums = Enums()
    search, nested = search_table(folder, enums)
    root, sections, bases = section_table(folder, enums)
    n_added = add_occurring(sections, bases, root, folder)
    document = {
        "format": 2,
        "releases": list(RELEASES),
        "search": search,
        "nested": nested,
        "root": root,
        "sections": sections,
        "bases": bases,
        "enums": enums.lists,
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    TARGET.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    size = TARGET.stat().st_size
    print(f"{TARGET.name}: {len(search)} searchable, {len(sections)} sections, {n_added} added, {size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
