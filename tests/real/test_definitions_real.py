"""What a real server declares of custom quantities is what the list of the samples' quantities says."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nomadquery.columns.definitions import Declared, class_key
from nomadquery.errors import NotSupported
from nomadquery.fetch.definitions import Definitions
from nomadquery.http.deployment import find_deployment
from nomadquery.http.message import Reply, Request
from nomadquery.http.transport import RequestsWire, Transport
from nomadquery.query.catalogue import catalogue_for

#: The types of the list of quantities (nomad-lab 1.4.3), as kinds.
KINDS = {
    **{"m_str": "text", "Enum": "text", "m_bool": "boolean", "Datetime": "date", "reference": "reference"},
    **{"m_int32": "integer", "m_int64": "integer", "m_float64": "number"},
}


@pytest.fixture(scope="module")
def samples() -> Path:
    """Return the folder of the sample entries."""
    shared = os.environ.get("NOMADQUERY_SHARED")
    if not shared:
        pytest.fail("Set NOMADQUERY_SHARED to the folder that holds nomad/samples.")
    return Path(shared) / "nomad" / "samples"


@pytest.fixture(scope="module")
def custom(samples: Path) -> dict[str, dict[str, Any]]:
    """Return the listed quantities below ``data``, by path without positions."""
    listed = json.loads((samples / "quantities.json").read_text())
    return {path.replace(".*", ""): row for path, row in listed.items() if path.startswith("data.")}


@pytest.fixture(scope="module")
def definitions(real_url: str) -> Iterator[Definitions]:
    """Return the definitions of the server."""
    wire = RequestsWire(real_url)
    transport = Transport(wire, find_deployment(real_url))
    yield Definitions(transport.send, catalogue=catalogue_for("2.0.0"))
    wire.close()


def kind_of_row(row: dict[str, Any]) -> str:
    return KINDS.get(row["type"].partition("(")[0].partition(" ")[0], "other")


def values_below(
    value: Any, path: str, key: str | None, names: tuple[str, ...], home: dict[str, Any]
) -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """Yield path, key of the innermost named class, and names below it, of every value of a section."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from values_below(item, path, key, names, home)
    elif isinstance(value, dict):
        if "m_def" in value:
            key = class_key(value["m_def"], entry_id=home["entry_id"], upload_id=home["upload_id"])
            names = ()
        for name, inner in value.items():
            if name != "m_def":
                yield from values_below(inner, f"{path}.{name}", key, (*names, name), home)
    else:
        yield path, key, names


def test_every_listed_quantity_is_declared_so(
    custom: dict[str, dict[str, Any]], definitions: Definitions
) -> None:
    """All 536: unit, kind and number of dimensions, asked of the class that the list names."""
    wrong = {}
    for path, row in custom.items():
        found = definitions.declared(row["section"], (path.rpartition(".")[2],))
        expected = (row["unit"], kind_of_row(row), len(row["shape"]))
        if found is None or (found.unit, found.kind, len(found.shape)) != expected:
            wrong[path] = (expected, found)
    assert len(custom) > 500
    assert wrong == {}


def test_every_value_of_the_archives_has_its_unit(
    samples: Path, custom: dict[str, dict[str, Any]], definitions: Definitions
) -> None:
    """Walked from the class that the archive names, through parts, bases and other entries' schemas."""
    n_seen, wrong = 0, {}
    for file in sorted((samples / "archives").glob("*.archive.json.gz")):
        archive = json.loads(gzip.decompress(file.read_bytes()))
        for path, key, names in values_below(archive.get("data"), "data", None, (), archive["metadata"]):
            row = custom.get(path)
            if key is None or row is None or (path, key) in wrong:
                continue
            found = definitions.declared(key, names)
            n_seen += 1
            if found is None or (found.unit, found.kind) != (row["unit"], kind_of_row(row)):
                wrong[path, key] = (row, found)
    assert n_seen > 1_000
    assert wrong == {}


def test_the_shipped_tables_say_nothing_else(
    custom: dict[str, dict[str, Any]], definitions: Definitions
) -> None:
    """Of a class that they have, a deployment that describes none declares what this one does."""

    def send(_: Request) -> Reply:
        raise NotSupported("Not Found", status=404)

    offline = Definitions(send, catalogue=catalogue_for("2.0.0"))
    asked = [(row["section"], (path.rpartition(".")[2],)) for path, row in custom.items()]
    shipped = {one: found for one in asked if (found := offline.declared(*one)) is not None}
    assert len(shipped) > 300
    differing = {
        one: found for one, found in shipped.items() if not _agree(found, definitions.declared(*one))
    }
    assert differing == {}


def _agree(shipped: Declared, said: Declared | None) -> bool:
    """Return whether unit, kind and rank are the same (names of sizes are in the shipped tables only)."""
    return said is not None and (
        (shipped.unit, shipped.kind, len(shipped.shape)) == (said.unit, said.kind, len(said.shape))
    )
