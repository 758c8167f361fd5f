"""Make ``nomadquery/query/catalogue.json.gz`` from NOMAD's quantity tables.

Usage::

    python tests/generate/catalogue.py FOLDER

``FOLDER`` holds ``search-quantities-<release>.json`` (what the search index knows, one
file for each release) and ``archive-quantities.json`` (the archive's sections as a
graph). Names, types, shapes, units, enums, nesting and references are kept; descriptions
are not. See ``docs/internals/catalogue.md`` for how the tables themselves are made.
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


def section_table(folder: Path, enums: Enums) -> tuple[str, dict[str, Any]]:
    """Return the root section and section → [quantities, sub sections]."""
    graph = json.loads((folder / "archive-quantities.json").read_text())
    sections = {}
    for name, described in graph["sections"].items():
        section = described or {}  # named as a target, not described
        quantities = {
            key: [
                value["type"],
                value.get("shape") or [],
                value.get("unit"),
                value.get("target"),
                enums.number(value.get("values")),
            ]
            for key, value in (section.get("quantities") or {}).items()
        }
        subsections = {
            key: [value.get("section"), int(bool(value.get("repeats")))]
            for key, value in (section.get("sub_sections") or {}).items()
        }
        sections[name] = [quantities, subsections]
    return graph["root"], sections


def main(folder: Path) -> None:
    """Write the catalogue; the same tables give the same bytes."""
    enums = Enums()
    search, nested = search_table(folder, enums)
    root, sections = section_table(folder, enums)
    document = {
        "format": 1,
        "releases": list(RELEASES),
        "search": search,
        "nested": nested,
        "root": root,
        "sections": sections,
        "enums": enums.lists,
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    TARGET.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{TARGET.name}: {len(search)} searchable, {len(sections)} sections, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
