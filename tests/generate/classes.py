"""Make ``nomadquery/columns/classes.json.gz``: the classes of NOMAD's plugins, as a server describes them.

Usage::

    PYTHONPATH=. python tests/generate/classes.py http://127.0.0.1:8765/api/v1

Asked are all Python classes that occur in that server's public entries with ``data``, and what these
need; what `nomadquery.query.catalogue` has is left out. Kinds, shapes, units, parts, base classes and
what references point to are kept; descriptions are not. Used where a server does not describe classes.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import requests

from nomadquery.columns.definitions import ClassDefinition, split_key
from nomadquery.columns.schemas import parse_json_schema
from nomadquery.http.endpoints import get_schema
from nomadquery.query.catalogue import catalogue_for

TARGET = Path(__file__).parents[2] / "nomadquery" / "columns" / "classes.json.gz"


def occurring_classes(url: str) -> set[str]:
    """Return the Python classes in public entries with ``data``, but for those of parsers' own sections."""
    found: set[str] = set()
    after = None
    while True:
        body = {
            "owner": "public",
            "query": {"quantities": "data"},
            "required": {"include": ["section_defs.definition_qualified_name"]},
            "pagination": {"page_size": 1000, **({"page_after_value": after} if after else {})},
        }
        answer = requests.post(f"{url}/entries/query", json=body, timeout=600)
        answer.raise_for_status()
        page = answer.json()
        for entry in page["data"]:
            found |= {one["definition_qualified_name"] for one in entry.get("section_defs") or ()}
        after = page["pagination"].get("next_page_after_value")
        if after is None:
            packaged = (name for name in found if split_key(name)[0] == "")
            return {name for name in packaged if not name.rpartition(".")[2].startswith("x_")}


def described_classes(url: str, names: set[str]) -> dict[str, ClassDefinition]:
    """Return what the server says of the classes and of all that they need."""
    found: dict[str, ClassDefinition] = {}
    for name in sorted(names):
        request = get_schema(name)
        answer = requests.get(f"{url}/{request.path}", timeout=600)
        if answer.status_code != 404:
            answer.raise_for_status()
            found |= parse_json_schema(answer.json())
    return found


def as_row(definition: ClassDefinition) -> list[Any]:
    """Return [name → [kind, shape, unit, target], part → [class, repeats], base classes]."""
    quantities = {
        name: [one.kind, list(one.shape), one.unit, one.target] for name, one in definition.quantities.items()
    }
    parts = {name: [part.class_name, int(part.repeats)] for name, part in definition.subsections.items()}
    return [quantities, parts, list(definition.bases)]


def main(url: str) -> None:
    """Write the table; the same server gives the same bytes."""
    known = catalogue_for().sections
    found = described_classes(url, occurring_classes(url))
    rows = {name: as_row(found[name]) for name in sorted(found) if name not in known}
    text = json.dumps({"format": 1, "classes": rows}, separators=(",", ":"))
    TARGET.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{TARGET.name}: {len(rows)} classes, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
