"""Each short name gives what it states, on the samples that have it.

Expected values are computed here from the raw archives of the samples with plain Python; what only
the search index has (DOIs, upload times) is taken from whole search documents. Factors are written out.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nomadquery import Nomad, Q
from nomadquery.query.short_names import SHORT_NAMES

EV = 1.602176634e-19  # joule
ANGSTROM = 1e-10  # metre
Entry = dict[str, Any]


def below(value: Any, path: str) -> Any:
    """Return what is at a dotted path of single sections, ``None`` where a step is missing."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def last_run(entry: Entry) -> Entry:
    runs = entry.get("run") or [{}]
    return runs[-1] or {}


def last_of(items: list[Any] | None, path: str) -> Any:
    found = [below(item, path) for item in items or []]
    return next((value for value in reversed(found) if value is not None), None)


def scaled(value: Any, factor: float) -> Any:
    return None if value is None else np.asarray(value, dtype=float) * factor


def band_gaps(entry: Entry) -> list[Entry]:
    return below(entry, "results.properties.electronic.band_gap") or []


def smallest_gap(entry: Entry) -> float | None:
    values = [gap["value"] for gap in band_gaps(entry) if gap.get("value") is not None]
    return min(values) / EV if values else None


def first_density(entry: Entry) -> float | None:
    systems = below(entry, "results.material.topology") or []
    densities = [below(system, "cell.mass_density") for system in systems]
    return next((density / 1000 for density in densities if density is not None), None)  # kg/m³ → g/cm³


def n_elements(entry: Entry) -> int | None:
    material = below(entry, "results.material")
    return None if material is None else len(material.get("elements") or [])


CELL = "results.properties.optoelectronic.solar_cell"
MATERIAL, METHOD = "results.material", "results.method.simulation"

#: Short name → unit, value in the raw archive, and where it is from the search document.
STATED: dict[str, tuple[str | None, Callable[[Entry], Any]]] = {
    "formula": (None, lambda e: below(e, f"{MATERIAL}.chemical_formula_reduced")),
    "elements": (None, lambda e: below(e, f"{MATERIAL}.elements")),
    "n_elements": (None, n_elements),
    "space_group": (None, lambda e: below(e, f"{MATERIAL}.symmetry.space_group_symbol")),
    "crystal_system": (None, lambda e: below(e, f"{MATERIAL}.symmetry.crystal_system")),
    "structural_type": (None, lambda e: below(e, f"{MATERIAL}.structural_type")),
    "program": (None, lambda e: below(e, f"{METHOD}.program_name")),
    "functional": (None, lambda e: below(e, f"{METHOD}.dft.xc_functional_names")),
    "cutoff": ("eV", lambda e: scaled(below(e, f"{METHOD}.precision.planewave_cutoff"), 1 / EV)),
    "k_density": ("angstrom", lambda e: scaled(below(e, f"{METHOD}.precision.k_line_density"), 1 / ANGSTROM)),
    "gap": ("eV", smallest_gap),
    "gap_type": (None, lambda e: next((g["type"] for g in band_gaps(e) if g.get("type") is not None), None)),
    "energy": ("eV", lambda e: scaled(last_of(last_run(e).get("calculation"), "energy.total.value"), 1 / EV)),
    "forces": (
        "eV/angstrom",
        lambda e: scaled(last_of(last_run(e).get("calculation"), "forces.total.value"), ANGSTROM / EV),
    ),
    "stress": ("GPa", lambda e: scaled(last_of(last_run(e).get("calculation"), "stress.total.value"), 1e-9)),
    "positions": ("angstrom", lambda e: scaled(last_of(last_run(e).get("system"), "atoms.positions"), 1e10)),
    "cell": ("angstrom", lambda e: scaled(last_of(last_run(e).get("system"), "atoms.lattice_vectors"), 1e10)),
    "species": (None, lambda e: last_of(last_run(e).get("system"), "atoms.labels")),
    "density": ("g/cm^3", first_density),
    "efficiency": ("percent", lambda e: below(e, f"{CELL}.efficiency")),
    "voc": ("V", lambda e: below(e, f"{CELL}.open_circuit_voltage")),
    "jsc": ("mA/cm^2", lambda e: scaled(below(e, f"{CELL}.short_circuit_current_density"), 0.1)),
    "ff": (None, lambda e: below(e, f"{CELL}.fill_factor")),
    "lab_ids": (None, lambda e: below(e, "results.eln.lab_ids")),
}
#: What NOMAD's index (not the archive) says of an entry that has no such value.
FILLED_IN: dict[str, Any] = {
    "elements": [],
    "structural_type": "not processed",
    "program": "not processed",
    "functional": [],
}
FROM_DOCUMENTS: dict[str, Callable[[Entry], Any]] = {
    "doi": lambda d: [dataset.get("doi") for dataset in d["datasets"]] if "datasets" in d else None,
    "uploaded": lambda d: pd.Timestamp(datetime.fromisoformat(d["upload_create_time"])),
}


@pytest.fixture(scope="module")
def table(real_url: str, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return all public entries with all short names as columns, and short names of Q beside them."""
    with Nomad(real_url, cache_dir=tmp_path_factory.mktemp("cache")) as nomad:
        return nomad.entries().select(*SHORT_NAMES).to_pandas().set_index("entry_id")


@pytest.fixture(scope="module")
def archives(real_documents: list[Entry]) -> dict[str, Entry]:
    shared = os.environ.get("NOMADQUERY_SHARED")
    if not shared:
        pytest.fail("Set NOMADQUERY_SHARED to the folder that holds nomad/samples.")
    folder = Path(shared) / "nomad" / "samples" / "archives"
    paths = {d["entry_id"]: folder / f"{d['entry_id']}.archive.json.gz" for d in real_documents}
    return {
        one: json.loads(gzip.decompress(path.read_bytes())) for one, path in paths.items() if path.exists()
    }


def is_missing(value: Any) -> bool:
    return value is None or (not isinstance(value, list | np.ndarray) and bool(pd.isna(value)))


def agree(found: Any, expected: Any) -> bool:
    """Return whether two values are the same; numbers to 1e-12, for one multiplication in doubles."""
    if is_missing(expected) or is_missing(found):
        return is_missing(expected) and is_missing(found)
    if isinstance(found, np.ndarray) or isinstance(expected, np.ndarray | float):
        one, other = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
        return one.shape == other.shape and np.allclose(one, other, rtol=1e-12, atol=0, equal_nan=True)
    return bool(found == expected)


def test_all_short_names_of_the_contract_are_stated_here() -> None:
    """26 of them."""
    assert {*STATED, *FROM_DOCUMENTS} == set(SHORT_NAMES)
    assert len(SHORT_NAMES) == 26


@pytest.mark.parametrize("short", STATED)
def test_a_short_name_gives_what_it_states(
    table: pd.DataFrame, archives: dict[str, Entry], short: str
) -> None:
    """Path, list rule and unit; nothing where the archive has nothing."""
    unit, expected_of = STATED[short]
    assert table.attrs["units"].get(short) == unit
    wrong, n_values = [], 0
    for entry_id, archive in archives.items():
        expected = expected_of(archive)
        n_values += not is_missing(expected)
        found = table.loc[entry_id, short]
        is_filled_in = is_missing(expected) and not is_missing(found) and found == FILLED_IN.get(short)
        if not is_filled_in and not agree(found, expected):
            wrong.append((entry_id, expected, found))
    assert wrong == []
    assert n_values > 0


@pytest.mark.parametrize("short", FROM_DOCUMENTS)
def test_a_short_name_of_the_index_gives_what_the_document_has(
    table: pd.DataFrame, real_documents: list[Entry], short: str
) -> None:
    """Entries without it have a null."""
    expected = {document["entry_id"]: FROM_DOCUMENTS[short](document) for document in real_documents}
    found = table[short].to_dict()
    assert all(agree(found[one], value) for one, value in expected.items())
    assert any(not is_missing(value) for value in expected.values())


def test_short_names_can_be_asked_for_like_paths(real_url: str, tmp_path: Path) -> None:
    """In queries they are their path, in columns Q and text are the same."""
    with Nomad(real_url, cache_dir=tmp_path) as nomad:
        cells = nomad.entries(Q.efficiency >= 20).select(a=Q.efficiency, b="efficiency", c=Q.jsc.to("A/m^2"))
        frame = cells.to_pandas()
    assert len(frame) > 0
    assert (frame["a"] >= 20).all()
    assert frame["a"].equals(frame["b"])
    assert frame.attrs["units"] == {"a": "percent", "b": "percent", "c": "A/m^2"}
