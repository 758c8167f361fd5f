"""The query halves of the five stories, as they are written, on the demo and on the real server.

What later releases add to the stories is left out: `structures` (2), `per`, `drop_missing` and `to_extxyz`
(3), `referenced_by`, `per` and `to_excel` (4), `DerivedDataset` and uploads (5), and `update` (1), in whose
place the table is fetched twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from nomadquery import Nomad, Q, within
from nomadquery.search import Table

m, sim = Q.results.material, Q.results.method.simulation
cell, gap = Q.results.properties.optoelectronic.solar_cell, Q.results.properties.electronic.band_gap


@pytest.fixture(params=["demo", "real"])
def nomad(request: pytest.FixtureRequest, real_url: str, tmp_path: Path) -> Iterator[Nomad]:
    """Give a client of the local demo, and one of the real server."""
    where = "demo" if request.param == "demo" else real_url
    with Nomad(where, cache_dir=tmp_path) as client, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No entry matches")
        yield client


@pytest.fixture
def is_real(nomad: Nomad) -> bool:
    return nomad.deployment != "demo"


def checked(table: Table, units: dict[str, str]) -> pd.DataFrame:
    """Return the frame, which has the counted rows and the stated units."""
    frame = table.to_pandas()
    assert len(frame) == table.count()
    assert frame.attrs["units"] == units
    return frame


def test_story_1_the_perovskite_table_and_again(nomad: Nomad, is_real: bool, tmp_path: Path) -> None:
    """`update` is left out; the second time nothing is fetched."""
    # fmt: off
    cells = nomad.entries(Q.entry_type == "PerovskiteSolarCell").select(
        doi="data.ref.DOI_number", gap=gap.value.first().to("eV"), stack=cell.device_stack,
        htl=cell.hole_transport_layer, pce=cell.efficiency, voc=cell.open_circuit_voltage,
        jsc=cell.short_circuit_current_density.to("mA/cm^2"), ff=cell.fill_factor)
    # fmt: on
    units = {"gap": "eV", "pce": "percent", "voc": "volt", "jsc": "mA/cm^2"}
    frame = checked(cells, units)
    assert frame.equals(cells.to_pandas())
    cells.to_parquet(tmp_path / "cells.parquet")
    assert pq.read_table(tmp_path / "cells.parquet").num_rows == len(frame)
    if is_real:
        (row,) = frame.to_dict("records")  # the only sample; values of its archive, in its units
        assert row["doi"] == "10.1016/j.orgel.2017.05.025"
        assert (row["gap"], row["pce"], row["voc"]) == (pytest.approx(1.6), 21.26, 1.21)
        assert (row["jsc"], row["ff"]) == (pytest.approx(22.02), 0.8002)
        assert row["htl"] == ["PEDOT:PSS"]


def test_story_2_screening(nomad: Nomad) -> None:
    """`structures` is left out."""
    window = within(gap, Q.type == "direct", Q.value.between("1.1 eV", "1.8 eV"))
    # fmt: off
    found = nomad.entries(m.elements.has_all("Cs") & m.elements.has_any("Pb", "Sn")
        & m.elements.has_any("F", "Cl", "Br", "I")
        & (m.n_elements == 3) & (m.structural_type == "bulk") & sim.program_name.isin(["VASP", "FHI-aims"])
        & sim.dft.xc_functional_names.has_all("GGA_X_PBE", "GGA_C_PBE") & window)
    table = found.select("formula", "space_group", "functional",
                         gap=gap.matching(window).value.min().to("eV"))
    # fmt: on
    frame = checked(table, {"gap": "eV"})
    assert frame["gap"].between(1.1, 1.8).all()
    assert len(found.narrowing()) == 8


def test_story_2_with_a_wider_window_finds_entries(nomad: Nomad) -> None:
    """So that the rows are looked at: the item that was searched is the one that is shown."""
    window = within(gap, Q.value.between("0.1 eV", "9 eV"), Q.type == "direct")
    found = nomad.entries((m.structural_type == "bulk") & window)
    frame = checked(found.select("formula", gap=gap.matching(window).value.min().to("eV")), {"gap": "eV"})
    assert len(frame) > 0
    assert frame["gap"].between(0.1, 9).all()


def test_story_3_a_training_set(nomad: Nomad) -> None:
    """`per`, `drop_missing` and `to_extxyz` are left out: a row is an entry, its frames are lists."""
    c = Q.run.calculation
    # fmt: off
    table = (nomad.entries(m.elements.has_exactly("Si") & (m.structural_type != "atom")
               & sim.dft.xc_functional_names.has_all("GGA_X_PBE", "GGA_C_PBE")
               & (sim.precision.planewave_cutoff >= "400 eV"))
        .select(energy=c.energy.total.value.to("eV"), forces=c.forces.total.value.to("eV/angstrom"),
                n_atoms=c.system_ref.atoms.labels.size()))
    # fmt: on
    checked(table, {"energy": "eV", "forces": "eV/angstrom"})


def test_story_3_on_all_of_one_element_has_frames(nomad: Nomad, is_real: bool) -> None:
    """Energies, forces and numbers of atoms of the frames of one entry belong together."""
    c = Q.run.calculation
    table = nomad.entries(m.elements.has_exactly("Si" if is_real else "Cu")).select(
        energy=c.energy.total.value.to("eV"),
        forces=c.forces.total.value.to("eV/angstrom"),
        n_atoms=c.system_ref.atoms.labels.size(),
    )
    n_frames = 0
    for row in table.rows():
        for energies, forces, sizes in zip(
            row["energy"] or [], row["forces"] or [], row["n_atoms"] or [], strict=True
        ):
            for energy, force, n_atoms in zip(energies or [], forces or [], sizes or [], strict=True):
                if energy is not None and force and n_atoms is not None:
                    assert len(force) == n_atoms
                    n_frames += 1
    assert n_frames > 10


def test_story_4_my_samples_from_a_spreadsheet(nomad: Nomad, is_real: bool) -> None:
    """`referenced_by`, `per` and `to_excel` are left out: the samples themselves, and what they say."""
    sheet = pd.DataFrame(
        {"lab_id": ["CGL-FLM-0112", " CGL-SUB-0007 ", None, "CGL-FLM-0112", "no such sample"]}
    )
    samples = nomad.entries(Q.results.eln.lab_ids.isin(sheet["lab_id"]))
    frame = checked(samples.select("lab_ids", name=Q["data.name"].unchecked()), {})
    if is_real:
        assert frame["name"].notna().all()
        assert {"CGL-FLM-0112", "CGL-SUB-0007"} <= {one for ids in frame["lab_ids"] for one in ids}


def test_story_5_a_frame_to_give_back(nomad: Nomad) -> None:
    """`DerivedDataset` and uploads are left out: the frame has what they will need."""
    df = nomad.entries(m.n_elements == 2).select("formula", "gap").to_pandas()
    assert len(df) > 0
    assert df.attrs["units"] == {"gap": "eV"}
    facts = df.attrs["nomadquery"]
    assert facts["n_entries"] == len(df)
    assert {"deployment", "fetched_at", "request", "key"} <= set(facts)
