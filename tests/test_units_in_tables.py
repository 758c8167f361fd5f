"""Numbers and their units on the way from the server to the DataFrame."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from nomadquery import Q, ureg
from nomadquery.local.store import LocalStore
from nomadquery.query.quantity import QuantityPath
from nomadquery.search import Search
from tests.tables import EV, CountedWire, a_document, a_search

CELL = Q.results.properties.optoelectronic.solar_cell


@pytest.fixture
def search(tmp_path: Path) -> Search:
    document = a_document("entry-3")
    document["results"]["properties"]["optoelectronic"] = {
        "solar_cell": {
            "efficiency": 21.5,
            "fill_factor": 0.8,
            "open_circuit_voltage": 1.2,
            "short_circuit_current_density": 220.0,
        }
    }
    calculation = {
        "energy": {"total": {"value": -3 * EV}},
        "forces": {"total": {"value": [[0.0, 0.0, 2 * EV / 1e-10]]}},
        "stress": {"total": {"value": [[1.5e9, 0.0, 0.0]] * 3}},
    }
    system = {"atoms": {"labels": ["Ti"], "positions": [[0.0, 0.0, 1.5e-10]]}}
    store = LocalStore()
    store.add_entries([(document, {"run": [{"calculation": [calculation], "system": [system]}]})])
    return a_search(CountedWire(store), tmp_path)


@pytest.mark.parametrize(
    ("path", "unit", "value"),
    [
        (Q.gap, "eV", 3.0),
        (Q.gap.to("meV"), "meV", 3000.0),
        ("results.properties.electronic.band_gap.value.first()", "joule", 3 * EV),
        ("gap in kJ/mol", None, None),
        ("gap in hartree", "hartree", 3 / 27.211386245981),
        (Q.energy, "eV", -3.0),
        (Q.efficiency, "percent", 21.5),
        (CELL.efficiency.to("dimensionless"), "dimensionless", 0.215),
        (Q.jsc, "mA/cm^2", 22.0),
        (CELL.short_circuit_current_density, "ampere / meter ** 2", 220.0),
        (Q.voc, "V", 1.2),
        (Q.ff, None, 0.8),
        (Q.stress.max(), "GPa", 1.5),
        (Q.positions[0][2].to("nm"), "nm", 0.15),
        (CELL.fill_factor.stored_in("dimensionless").to("percent"), "percent", 80.0),
    ],
)
def test_values_come_in_the_unit_that_stands_beside_them(
    search: Search, path: str | QuantityPath, unit: str | None, value: float | None
) -> None:
    """Written out by hand from SI and CODATA values; 1e-12 for one multiplication in doubles."""
    if value is None:
        with pytest.raises(ValueError, match="cannot be expressed"):
            search.select(x=path)
        return
    frame = search.select(x=path).to_pandas()
    assert frame["x"][0] == pytest.approx(value, rel=1e-10 if unit == "hartree" else 1e-12)
    assert frame.attrs["units"].get("x") == unit


def test_arrays_are_converted_whole(search: Search) -> None:
    """Newton to eV/Å, each component."""
    forces = search.select("forces").to_pandas()["forces"][0]
    assert forces.shape == (1, 3)
    assert forces.tolist() == [pytest.approx([0.0, 0.0, 2.0], rel=1e-12)]


def test_units_stand_in_arrow_in_parquet_and_in_attrs(search: Search, tmp_path: Path) -> None:
    """The same words everywhere; attrs are JSON."""
    table = search.select("gap", "energy", "formula")
    arrow = table.to_arrow()
    units = {
        field.name: field.metadata.get(b"unit", b"").decode() for field in arrow.schema if field.metadata
    }
    assert units == {"gap": "eV", "energy": "eV", "formula": ""}
    frame = table.to_pandas()
    assert frame.attrs["units"] == {"gap": "eV", "energy": "eV"}
    assert json.loads(json.dumps(frame.attrs)) == frame.attrs
    frame.to_parquet(tmp_path / "t.parquet")
    assert pd.read_parquet(tmp_path / "t.parquet").attrs == frame.attrs


def test_every_frame_says_when_and_whence(search: Search) -> None:
    """Time, deployment, release, owner, number of entries and problems, the question."""
    facts = search.select("gap").to_pandas().attrs["nomadquery"]
    assert facts["fetched_at"].startswith("20")
    assert facts["begun_at"] <= facts["fetched_at"]
    assert (facts["deployment"], facts["release"]) == ("https://our.host/nomad-oasis/api/v1", "2.0.0")
    assert (facts["owner"], facts["n_entries"], facts["n_problems"]) == ("public", 1, 0)
    assert facts["request"]["columns"][0]["unit"] == "eV"


def test_the_accessor_is_there_with_the_first_frame(search: Search) -> None:
    """And pint quantities calculate with the registry of the package."""
    frame = search.select("gap", "energy").to_pandas(units="pint")
    assert frame.nomad.units == {"gap": "eV", "energy": "eV"}
    assert (frame["gap"][0] + frame["energy"][0]).to("joule").magnitude == pytest.approx(0.0, abs=1e-30)
    assert frame["gap"][0] > 1.1 * ureg.eV


def test_a_query_and_its_column_mean_the_same_number(search: Search) -> None:
    """What lies between two values in the query lies between them in the table."""
    for unit, low, high in (("eV", 2.9, 3.1), ("meV", 2900, 3100), ("kJ", 4.6e-22, 5.0e-22)):
        found = search.where(Q.gap.between(f"{low} {unit}", f"{high} {unit}")).select(gap=Q.gap.to(unit))
        assert found.to_pandas()["gap"].between(low, high).tolist() == [True]
