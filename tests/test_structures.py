"""Rows become structures in Å and eV; what cannot be one is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nomadquery.columns.elements import symbol_of
from nomadquery.columns.plan import plan_column
from nomadquery.columns.stress import signed_stress
from nomadquery.columns.structure import Structure, StructureProblem
from nomadquery.columns.structure_objects import check_form, structure_table, to_ase, to_pymatgen, voigt
from nomadquery.columns.structures import Which, structure_columns, structures_of
from nomadquery.errors import QueryError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from tests.structures import (
    A_SILICON,
    ANGSTROM,
    CASTEP,
    EV,
    LATTICE,
    VASP,
    a_frame,
    a_search_of,
    archives,
    silicon,
)

CATALOGUE = catalogue_for("2.0.0")


def built(row: Mapping[str, Any], which: Which = "frames") -> tuple[list[Structure], list[str]]:
    """Return the structures of one row, and what is said about them."""
    found = list(structures_of([row], which))
    problems = [one.why for one in found if isinstance(one, StructureProblem)]
    return [one for one in found if isinstance(one, Structure)], problems


def the(row: Mapping[str, Any], which: Which = "frames") -> Structure:
    return built(row, which)[0][0]


def in_angstrom(vectors: list[list[float]]) -> list[Any]:
    return [pytest.approx([x / ANGSTROM for x in vector], rel=1e-12, abs=1e-12) for vector in vectors]


def read(folder: Path, which: Which) -> dict[str, Structure]:
    """Return entry id → structure as a table of its columns gives it."""
    rows = a_search_of(folder, archives()).select(**structure_columns(which)).rows()
    return {one.entry_id: one for one in structures_of(rows, which) if isinstance(one, Structure)}


@pytest.mark.parametrize(("which", "place"), [("last", -1), ("first", 0)])
def test_last_and_first_are_systems_of_the_archive(tmp_path: Path, which: Which, place: int) -> None:
    """Of real archives, read by plain JSON: labels, positions and cell, metres divided by 1e-10."""
    found = read(tmp_path, which)
    for entry_id, archive in archives().items():
        atoms = archive["run"][0]["system"][place]["atoms"]
        assert list(found[entry_id].symbols) == atoms["labels"]
        assert found[entry_id].positions == in_angstrom(atoms["positions"])
        assert found[entry_id].cell == in_angstrom(atoms["lattice_vectors"])
        assert found[entry_id].pbc == (True, True, True)


def test_the_conventional_cell_is_the_labelled_item_of_the_topology(tmp_path: Path) -> None:
    """Its atoms stand inline; the cell's own lattice parameter says the same."""
    found = read(tmp_path, "conventional")
    for entry_id, archive in archives().items():
        items = archive["results"]["material"]["topology"]
        item = next(one for one in items if one["label"] == "conventional cell")
        assert list(found[entry_id].symbols) == item["atoms"]["labels"]
        assert found[entry_id].positions == in_angstrom(item["atoms"]["positions"])
        assert math.hypot(*(found[entry_id].cell or [[]])[0]) * ANGSTROM == pytest.approx(
            item["cell"]["a"], rel=1e-12
        )


def test_the_original_structure_stands_behind_a_reference(tmp_path: Path) -> None:
    """In these archives it is the last system."""
    found = read(tmp_path, "original")
    for entry_id, archive in archives().items():
        assert archive["results"]["material"]["topology"][0]["atoms_ref"].endswith("/atoms")
        assert found[entry_id].positions == in_angstrom(archive["run"][0]["system"][-1]["atoms"]["positions"])


def test_frames_carry_energy_forces_and_stress(tmp_path: Path) -> None:
    """One for each calculation, with the system it refers to; J → eV, N → eV/Å, J/m³ → eV/Å³."""
    search = a_search_of(tmp_path, archives()).per("run.calculation").select(**structure_columns("frames"))
    found = {one.key: one for one in structures_of(search.rows(), "frames") if isinstance(one, Structure)}
    calculations = archives()[VASP]["run"][0]["calculation"]
    assert [key for key in found if key[0] == VASP] == [(VASP, 0, n) for n in range(len(calculations))]
    for n, calculation in enumerate(calculations):
        frame = found[VASP, 0, n]
        assert frame.energy == pytest.approx(calculation["energy"]["total"]["value"] / EV, rel=1e-12)
        stored = calculation["stress"]["total"]["value"][0][0] * ANGSTROM**3 / EV
        assert frame.stress is not None
        assert frame.stress[0][0] == pytest.approx(-stored, rel=1e-12)  # VASP prints compression positive
        assert frame.info == {"entry_id": VASP, "run": 0, "calculation": n, "program_name": "VASP"}


def test_stress_does_the_work_that_changes_the_energy() -> None:
    """dE = V tr(σ)/3 · dV/V along a relaxation without forces: the sign of VASP is turned, within 10 %."""
    run = archives()[VASP]["run"][0]
    volumes = [abs(_volume(system["atoms"]["lattice_vectors"])) for system in run["system"]]
    energies = [one["energy"]["total"]["value"] for one in run["calculation"]]
    stresses = [signed_stress(one["stress"]["total"]["value"], "VASP") for one in run["calculation"]]
    mean = sum(stress[0][0] for stress in stresses[1:] if stress is not None) / 2
    assert mean * (volumes[2] - volumes[1]) == pytest.approx(energies[2] - energies[1], rel=0.1)


def test_minus_a_third_of_the_trace_is_the_pressure_that_castep_prints() -> None:
    """CASTEP's stress has ASE's sign already; the pressure has fewer digits."""
    for calculation in archives()[CASTEP]["run"][0]["calculation"][3:5]:
        signed = signed_stress(calculation["stress"]["total"]["value"], "CASTEP")
        assert signed is not None
        pressure = calculation["thermodynamics"][0]["pressure"]
        assert -sum(signed[i][i] for i in range(3)) / 3 == pytest.approx(pressure, rel=1e-4)


def _volume(cell: list[list[float]]) -> float:
    (a, b, c), (d, e, f), (g, h, i) = cell
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def test_a_stress_of_unknown_sign_is_kept_aside() -> None:
    """Never mixed with others whose sign is known."""
    stress = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    found, problems = built(a_frame(stress=stress, program_name="mycode"))
    assert found[0].stress is None
    assert found[0].info["stress_as_stored"] == stress
    assert problems == ["the sign that mycode prints is not known: kept as info['stress_as_stored']"]


@pytest.mark.parametrize("which", ["last", "first", "original", "conventional", "frames"])
def test_the_columns_of_each_choice_exist(which: Which) -> None:
    """In the catalogue, in units of Å and eV."""
    for name, text in structure_columns(which).items():
        path, rule, unit = read_column(text)
        planned = plan_column(Column(name, path, rule, unit), CATALOGUE)
        assert rule is None
        assert not planned.is_custom
        assert (planned.unit or "").startswith(("angstrom", "eV")) == (planned.stored_unit is not None)


def test_labels_and_positions_come_from_one_system() -> None:
    """The last that has both, not the last labels beside the last positions."""
    row = {
        "entry_id": "e",
        "labels": [[["Ti"], ["Ti", "O"], ["O"]]],
        "positions": [[[[0.0, 0.0, 1.0]], None, None]],
        "cell": [[None, LATTICE, LATTICE]],
        "periodic": [[None, [True] * 3, [True] * 3]],
    }
    found, problems = built(row, "last")
    assert (found[0].symbols, found[0].cell, found[0].info["system"]) == (("Ti",), None, 0)
    assert problems == ["the last system lacks labels or positions; system 0 of run 0 was taken"]


def test_a_run_without_systems_is_passed_over() -> None:
    """The structure of an entry is not lost because its last run has none."""
    columns = {"positions": [[[[0.0, 0.0, 0.0]]], None], "cell": [[None], None], "periodic": None}
    found, problems = built({"entry_id": "e", "labels": [[["He"]], None], **columns}, "last")
    assert (found[0].symbols, found[0].info["run"]) == (("He",), 0)
    assert problems == []


def test_older_entries_have_their_structure_elsewhere() -> None:
    """Where the topology has none: results.properties.structures."""
    row = dict.fromkeys(structure_columns("conventional"))
    row |= {"older_labels": ["Si"], "older_positions": [[0.0] * 3], "older_cell": LATTICE}
    found, problems = built({"entry_id": "e", **row, "older_periodic": [1, 1, 0]}, "conventional")
    assert (found[0].symbols, found[0].pbc, problems) == (("Si",), (True, True, False), [])


def test_two_conventional_cells_are_told() -> None:
    """The first is taken."""
    row: dict[str, Any] = dict.fromkeys(structure_columns("conventional"))
    row |= {"entry_id": "e", "labels": [["C"], ["Si"]], "positions": [[[0.0] * 3], [[0.0] * 3]]}
    found, problems = built(row, "conventional")
    assert found[0].symbols == ("C",)
    assert problems == ["2 items are labelled 'conventional cell'; the first was taken"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"positions": None}, "with both labels and positions"),
        ({"labels": ["Ti"]}, "1 labels and 2 positions"),
        ({"labels": [], "positions": []}, "no atoms"),
        ({"positions": [[0.0, 0.0, None], [0.0, 0.0, 1.0]]}, "not three finite numbers"),
        ({"positions": [[0.0, 0.0, math.nan], [0.0, 0.0, 1.0]]}, "not three finite numbers"),
        ({"cell": [[5.0, 0.0, 0.0]]}, "not 3 × 3"),
        ({"cell": [[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 5.0, 0.0]]}, "in one plane"),
    ],
)
def test_what_is_no_structure_is_refused_with_the_reason(changed: dict[str, Any], why: str) -> None:
    """A line in the problems, and nothing else lost."""
    found, problems = built(a_frame(**changed))
    assert found == []
    assert len(problems) == 1
    assert why in problems[0]


@pytest.mark.parametrize(
    ("label", "symbol"),
    [
        *(("Ti", "Ti"), ("Ti1", "Ti"), ("O2-", "O"), ("Fe_up", "Fe"), ("X", "X"), ("", "X"), (None, "X")),
        *(("CA", "X"), ("OH", "X"), ("1", "X"), ("si", "X"), ("Q", "X"), ("H3", "H"), ("Xx1", "X")),
    ],
)
def test_a_label_is_an_element_or_unknown(label: str | None, symbol: str) -> None:
    """An appended index is passed over; letters that name no element are not guessed at."""
    assert symbol_of(label) == symbol


def test_unknown_labels_are_told_and_kept() -> None:
    """As X, with the labels beside the symbols."""
    found, problems = built(a_frame(labels=["Ti1", "CT"]))
    assert (found[0].symbols, found[0].arrays) == (("Ti", "X"), {"labels": ["Ti1", "CT"]})
    assert problems == ["no chemical element, taken as X: 'CT'"]


@pytest.mark.parametrize(
    ("changed", "cell", "pbc", "told"),
    [
        ({"periodic": None}, LATTICE, (False, False, False), "does not say whether the cell repeats"),
        ({"cell": None}, None, (False, False, False), "periodic without a lattice vector"),
        ({"cell": [[0.0] * 3] * 3, "periodic": [False] * 3}, None, (False, False, False), None),
        ({"periodic": [True, True, False]}, LATTICE, (True, True, False), None),
    ],
)
def test_periodicity_is_what_the_entry_says(
    changed: dict[str, Any], cell: Any, pbc: tuple[bool, bool, bool], told: str | None
) -> None:
    """Where it says nothing, as NOMAD: not periodic, and that is told. A cell of zeros is none."""
    found, problems = built(a_frame(**changed))
    assert (found[0].cell, found[0].pbc) == (cell, pbc)
    assert [told in why for why in problems if told] == ([True] if told else [])


def test_forces_of_other_shape_are_left_out() -> None:
    """The structure stays."""
    found, problems = built(a_frame(forces=[[0.0, 0.0, 1.0]]))
    assert found[0].forces is None
    assert problems == ["left out: not 2 × 3 finite numbers"]


def test_a_trajectory_says_a_problem_once() -> None:
    """With the number of frames, behind the entry's structures."""
    rows = [a_frame(n, labels=None) for n in range(3)] + [a_frame(entry_id="f")]
    found = list(structures_of(rows, "frames"))
    assert found[0] == StructureProblem(
        "e", "run.calculation.system_ref", "no structure with both labels and positions (3 frames)"
    )
    assert [one.entry_id for one in found[1:]] == ["f"]


def test_frames_of_systems_need_no_calculation() -> None:
    """.per("run.system"): each system is a frame, without energy."""
    row = {name: value for name, value in a_frame().items() if name in structure_columns("last")}
    found = list(structures_of([{"entry_id": "e", "run": 1, "system": 4, **row}], "frames", per="run.system"))
    assert isinstance(found[0], Structure)
    assert (found[0].key, found[0].energy) == (("e", 1, 4), None)


def test_words_that_make_no_sense_are_refused() -> None:
    """Before anything is fetched."""
    with pytest.raises(QueryError, match="which is one of 'last'"):
        structure_columns("middle")  # type: ignore[arg-type]  # what a user may type
    with pytest.raises(QueryError, match=r"run\.calculation or run\.system, not of data\.jv_curve"):
        structure_columns("frames", per="data.jv_curve")
    with pytest.raises(QueryError, match="as_ is 'ase', 'pymatgen' or 'columns', not 'cif'"):
        check_form("cif")


# -- other libraries -----------------------------------------------------------------------

STRESS = [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]


def test_voigt_order_is_ases() -> None:
    """xx yy zz yz xz xy."""
    assert voigt(STRESS) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_ase_atoms_have_everything() -> None:
    """Silicon: the nearest neighbour at a √3/4, results of a calculator, info and arrays."""
    pytest.importorskip("ase")
    forces = [[0.0, 0.0, float(n)] for n in range(8)]
    atoms = to_ase(silicon(energy=-1.5, forces=forces, stress=STRESS, arrays={"labels": ["Si1"] * 8}))
    assert atoms.get_chemical_formula() == "Si8"
    assert atoms.get_volume() == pytest.approx(A_SILICON**3, rel=1e-12)
    assert atoms.get_distance(0, 4, mic=True) == pytest.approx(A_SILICON * math.sqrt(3) / 4, rel=1e-12)
    assert atoms.get_potential_energy() == -1.5
    assert atoms.get_forces().tolist() == forces
    assert atoms.get_stress().tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert (atoms.info["entry_id"], atoms.arrays["labels"][0]) == ("silicon", "Si1")


def test_ase_atoms_without_results_have_no_calculator() -> None:
    """And an unknown atom has number 0."""
    pytest.importorskip("ase")
    atoms = to_ase(Structure("e", ("X", "H"), [[0.0] * 3, [0.0, 0.0, 1.0]]))
    assert (atoms.calc, atoms.pbc.any(), atoms.cell.rank) == (None, False, 0)
    assert atoms.numbers.tolist() == [0, 1]


def test_pymatgen_has_structures_and_molecules() -> None:
    """By periodicity; a missing vector along which nothing repeats is made up, and X is a dummy."""
    core: Any = pytest.importorskip("pymatgen.core")
    crystal = to_pymatgen(silicon(energy=-1.5))
    assert isinstance(crystal, core.Structure)
    assert crystal.density == pytest.approx(2.33, abs=0.01)  # g/cm³, silicon
    assert crystal.properties == {"entry_id": "silicon", "energy": -1.5}
    molecule = to_pymatgen(Structure("e", ("X", "H"), [[0.0] * 3, [0.0, 0.0, 1.0]]))
    assert isinstance(molecule, core.Molecule)
    assert molecule.get_distance(0, 1) == 1.0
    cell = [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]
    layer = to_pymatgen(Structure("e", ("C",), [[1.0, 1.0, 4.0]], cell, (True, True, False)))
    assert layer.cart_coords[0].tolist() == pytest.approx([1.0, 1.0, 4.0], rel=1e-12)
    assert (layer.lattice.pbc, layer.lattice.volume) == ((True, True, False), pytest.approx(6.0, rel=1e-12))


def test_structures_are_a_table_too() -> None:
    """One row each, units in the metadata, nulls for what is not there."""
    table = structure_table([silicon(), the(a_frame(3))], ("run", "calculation"))
    assert table.column_names[:4] == ["entry_id", "run", "calculation", "symbols"]
    assert table["calculation"].to_pylist() == [None, 3]
    assert table["energy"].to_pylist() == [None, -1.0]
    assert table.schema.field("positions").metadata == {b"unit": b"angstrom", b"array": b"2"}
