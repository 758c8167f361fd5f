"""The shipped demo data, judged from outside: what it holds, how it is labelled, and its physics."""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from nomadquery.query.catalogue import catalogue_for

EV = 1.602176634e-19
ANGSTROM = 1e-10
Archive = dict[str, Any]

# fcc metals at room temperature: lattice constant (Å) and bulk modulus (GPa), C. Kittel, Introduction to
# Solid State Physics, 8th ed., chapter 1 table 3 and chapter 3 table 3.
KITTEL = {
    "Ag": (4.09, 100.7),
    "Al": (4.05, 72.2),
    "Au": (4.08, 173.2),
    "Cu": (3.61, 137.0),
    "Ni": (3.52, 186.0),
    "Pd": (3.89, 180.8),
    "Pt": (3.92, 278.3),
}
# Energies (eV) of ASE's water molecule in the documentation of tblite (page of its ASE calculator).
TBLITE_WATER = {"gfn1": -156.96750590276173, "gfn2": -137.96777594361677}
# Bond lengths (Å) of gas phase molecules, NIST Computational Chemistry Comparison and Benchmark Database.
BONDS = {"H2": 0.7414, "N2": 1.0977, "CO": 1.1282, "HCl": 1.2746, "H2O": 0.9578, "CH4": 1.087}


@pytest.fixture(scope="module")
def packed() -> bytes:
    """Return the shipped file as it is."""
    return files("nomadquery.local").joinpath("demo.jsonl.xz").read_bytes()


@pytest.fixture(scope="module")
def entries(packed: bytes) -> dict[str, Archive]:
    """Return all archives by what their ``external_id`` says they are, in the order of the file."""
    archives = [json.loads(line) for line in lzma.decompress(packed).splitlines()]
    return {entry["metadata"]["external_id"].removeprefix("nomadquery-demo/"): entry for entry in archives}


def _of_kind(entries: dict[str, Archive], kind: str) -> Iterator[tuple[str, Archive]]:
    return ((stem, entry) for stem, entry in entries.items() if stem.startswith(f"{kind}/"))


def _websafe(text: str) -> str:
    return base64.b64encode(hashlib.sha512(text.encode()).digest(), altchars=b"-_").decode()


def _resolved(archive: Archive, reference: str) -> Any:
    value: Any = archive
    for step in reference.removeprefix("#/").split("/"):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("#/"):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, f"{path}.{key}")
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for item in value:
            yield from _paths(item, path)
    else:
        yield path


def _volume(system: dict[str, Any]) -> float:
    return abs(float(np.linalg.det(system["atoms"]["lattice_vectors"])))


def test_the_file_is_small_and_sorted(packed: bytes, entries: dict[str, Archive]) -> None:
    """At most 3 MB, two to five thousand different entries, in the order of their ids."""
    ids = [entry["metadata"]["entry_id"] for entry in entries.values()]
    assert len(packed) <= 3_000_000
    assert 2000 <= len(ids) <= 5000
    assert ids == sorted(set(ids))


def test_ids_follow_the_rule_of_nomad(entries: dict[str, Archive]) -> None:
    """An entry id is the first 28 characters of the hash of upload id and mainfile."""
    for entry in entries.values():
        metadata = entry["metadata"]
        assert metadata["entry_id"] == _websafe(metadata["upload_id"] + metadata["mainfile"])[:28]
        assert len(metadata["upload_id"]) == 22
        assert all(len(dataset["dataset_id"]) == 22 for dataset in metadata["datasets"])


def test_every_entry_says_what_it_is(entries: dict[str, Archive]) -> None:
    """Comment, upload, dataset and author say demo; the program is the one that calculated."""
    programs = {"EMT": "ASE", "GFN1-xTB": "tblite", "GFN2-xTB": "tblite"}
    for entry in entries.values():
        metadata = entry["metadata"]
        words = metadata["comment"].removeprefix("Demo data of nomadquery: ").split()
        assert programs[words[0]] == entry["run"][0]["program"]["name"]
        assert programs[words[0]] == entry["results"]["method"]["simulation"]["program_name"]
        assert "not for research" in metadata["comment"]
        assert metadata["upload_name"].startswith("nomadquery demo: ")
        assert [dataset["dataset_name"][:17] for dataset in metadata["datasets"]] == ["nomadquery demo: "]
        assert metadata["main_author"]["name"] == "nomadquery demo"


def test_only_test_dois_occur(entries: dict[str, Archive]) -> None:
    """A DOI of a dataset, where there is one, has the test prefix of DataCite."""
    dois = {item.get("doi") for entry in entries.values() for item in entry["metadata"]["datasets"]}
    assert len(dois) == 3
    assert all(doi is None or doi.startswith("10.5072/nomadquery-demo.") for doi in dois)


def test_every_entry_is_public_and_dated_in_2025(entries: dict[str, Archive]) -> None:
    """Created, processed, published, in this order; no embargo."""
    names = ("upload_create_time", "entry_create_time", "last_processing_time", "publish_time")
    for entry in entries.values():
        metadata = entry["metadata"]
        times = [datetime.fromisoformat(metadata[name]) for name in names]
        assert times == sorted(times)
        assert {time.year for time in times} == {2025}
        assert (metadata["published"], metadata["with_embargo"], metadata["processed"]) == (True, False, True)


def test_entries_of_one_upload_agree_on_it(entries: dict[str, Archive]) -> None:
    """One id, one name, one time for each upload, and mainfiles that differ."""
    rows = [entry["metadata"] for entry in entries.values()]
    uploads = {(row["upload_id"], row["upload_name"], row["upload_create_time"]) for row in rows}
    assert len({upload_id for upload_id, _, _ in uploads}) == len(uploads)
    assert len({(row["upload_id"], row["mainfile"]) for row in rows}) == len(rows)


def test_every_name_is_a_quantity_of_nomad(entries: dict[str, Archive]) -> None:
    """The catalogue of 2.0.0 knows each path below results and run."""
    known = catalogue_for("2.0.0")
    paths = {path for entry in entries.values() for path in _paths(entry["results"], "results")}
    paths |= {path for entry in entries.values() for path in _paths(entry["run"], "run")}
    assert len(paths) > 100
    assert [path for path in sorted(paths) if known.find(path) is None] == []


def test_quantities_lists_what_the_archive_holds(entries: dict[str, Archive]) -> None:
    """``metadata.quantities`` holds every path of run and results, also those of sections."""
    for _, entry in _of_kind(entries, "cluster"):
        listed = set(entry["metadata"]["quantities"])
        assert {"", "run", "run.system.atoms", "results.material.elements", "workflow2.results"} <= listed
        assert set(_paths(entry["results"], "results")) <= listed


def test_all_references_resolve(entries: dict[str, Archive]) -> None:
    """Every reference points to something in its own archive."""
    for entry in entries.values():
        for reference in _references([entry["run"], entry["workflow2"], entry["results"]]):
            assert _resolved(entry, reference) is not None


def test_the_structure_of_each_calculation_has_its_forces(entries: dict[str, Archive]) -> None:
    """Labels, positions and forces have one length; the representative system is marked once."""
    for entry in entries.values():
        run = entry["run"][0]
        for calculation in run["calculation"]:
            atoms = _resolved(entry, calculation["system_ref"])["atoms"]
            assert len(atoms["labels"]) == len(atoms["positions"])
            assert len(atoms["labels"]) == len(calculation["forces"]["total"]["value"])
        assert sum(system.get("is_representative", False) for system in run["system"]) == 1


def test_formulas_agree_with_the_atoms(entries: dict[str, Archive]) -> None:
    """Elements, their number, and fractions that sum to one follow from the labels."""
    for entry in entries.values():
        material = entry["results"]["material"]
        system = next(item for item in entry["run"][0]["system"] if item.get("is_representative"))
        elements = sorted(set(system["atoms"]["labels"]))
        assert material["elements"] == elements
        assert material["n_elements"] == len(elements)
        fractions = [part["mass_fraction"] for part in material["elemental_composition"]]
        assert sum(fractions) == pytest.approx(1, abs=1e-6)  # seven digits are shipped
        assert material["topology"][0]["n_atoms"] == len(system["atoms"]["labels"])


@pytest.mark.parametrize(
    ("stem", "formula", "space_group", "crystal_system"),
    [
        ("eos/Cu-fcc", "Cu", 225, "cubic"),
        ("eos/Ni2-hcp", "Ni", 194, "hexagonal"),
        ("eos/AgAu3-L12", "AgAu3", 221, "cubic"),
        ("eos/AuCu-L10", "AuCu", 123, "tetragonal"),
        ("eos/CuPt-L11", "CuPt", 166, "trigonal"),
        ("eos/AlNi3-D022", "AlNi3", 139, "tetragonal"),
        ("crystal/CsPbI3-perovskite-1.00a", "CsI3Pb", 221, "cubic"),
        ("crystal/TiO2-anatase-1.00a", "O2Ti", 141, "tetragonal"),
        ("crystal/BeO-wurtzite-1.00a", "BeO", 186, "hexagonal"),
    ],
)
def test_known_crystals_have_their_space_group(
    entries: dict[str, Archive], stem: str, formula: str, space_group: int, crystal_system: str
) -> None:
    """Space groups after the International Tables; the formula is reduced, elements in alphabetical order."""
    material = entries[stem]["results"]["material"]
    assert material["chemical_formula_reduced"] == formula
    assert material["symmetry"]["space_group_number"] == space_group
    assert material["symmetry"]["crystal_system"] == crystal_system


@pytest.mark.parametrize("metal", KITTEL)
def test_emt_lattice_constants_are_near_the_measured_ones(entries: dict[str, Archive], metal: str) -> None:
    """Within 2 %: EMT is fitted to them, aluminium least well."""
    [_, _, conventional] = entries[f"eos/{metal}-fcc"]["results"]["material"]["topology"]
    assert conventional["label"] == "conventional cell"
    assert conventional["cell"]["a"] / ANGSTROM == pytest.approx(KITTEL[metal][0], rel=0.02)


@pytest.mark.parametrize("metal", sorted(set(KITTEL) - {"Al"}))
def test_emt_bulk_moduli_are_near_the_measured_ones(entries: dict[str, Archive], metal: str) -> None:
    """Within 8 %; aluminium is left out, whose EMT is known to be half as stiff as the metal."""
    moduli = entries[f"eos/{metal}-fcc"]["results"]["properties"]["mechanical"]["bulk_modulus"]
    assert [item["type"] for item in moduli] == ["birch_murnaghan", "vinet"]
    for item in moduli:
        assert item["value"] / 1e9 == pytest.approx(KITTEL[metal][1], rel=0.08)


def test_the_mass_density_of_copper(entries: dict[str, Archive]) -> None:
    """Four atoms of 63.546 u in the conventional cell, calculated here from its lattice constant."""
    cell = entries["eos/Cu-fcc"]["results"]["material"]["topology"][2]["cell"]
    assert cell["mass_density"] == pytest.approx(4 * 63.546 * 1.66053907e-27 / cell["a"] ** 3, rel=1e-6)


@pytest.mark.parametrize("metal", ["Ag", "Au", "Cu", "Ni", "Pd", "Pt"])
def test_fcc_is_the_most_stable_structure(entries: dict[str, Archive], metal: str) -> None:
    """These metals are fcc; EMT energies are relative to fcc, so per atom about zero there.

    Only hcp has the same nearest neighbours, and EMT hardly tells the two apart.
    """
    energies = {}
    for stem, entry in _of_kind(entries, "eos"):
        material = entry["results"]["material"]
        if material["elements"] == [metal]:
            fit = entry["workflow2"]["results"]["eos_fit"][0]
            n_atoms = material["topology"][0]["n_atoms"]
            energies[stem.rpartition("-")[2]] = fit["equilibrium_energy"] / EV / n_atoms
    assert set(energies) == {"fcc", "bcc", "hcp", "diamond", "sc", "betaW"}
    assert energies.pop("hcp") == pytest.approx(energies["fcc"], abs=0.002)
    assert min(energies, key=lambda name: energies[name]) == "fcc"
    assert energies["fcc"] == pytest.approx(0, abs=0.02)


def test_an_equation_of_state_gives_its_bulk_modulus(entries: dict[str, Archive]) -> None:
    """B = V·d²E/dV² of a quartic through the energies agrees with the fit that is shipped.

    Aluminium is left out: its EMT energies are not smooth when neighbours pass the cut-off.
    """
    for stem, entry in _of_kind(entries, "eos"):
        if "Al" in entry["results"]["material"]["elements"]:
            continue
        results = entry["workflow2"]["results"]
        volumes, energies = (np.array(results[name]) for name in ("volumes", "energies"))
        scale = volumes.mean()
        curve = np.polynomial.Polynomial.fit(volumes / scale, energies / EV, 4)
        fit = results["eos_fit"][0]
        at = fit["equilibrium_volume"] / scale
        modulus = at * float(curve.deriv(2)(at)) * EV / scale
        assert modulus == pytest.approx(fit["bulk_modulus"], rel=0.05), (
            stem
        )  # quartic against Birch-Murnaghan


def test_pressure_is_minus_the_slope_of_the_energy(entries: dict[str, Archive]) -> None:
    """Sign and unit of the stress: p = -dE/dV in the middle of the curve, p > 0 where squeezed."""
    for stem in ("eos/Cu-fcc", "eos/Pt-bcc", "eos/AlNi3-L12"):
        entry = entries[stem]
        run = entry["run"][0]
        volumes = np.array([_volume(system) for system in run["system"]])
        energies = np.array([item["energy"]["total"]["value"] for item in run["calculation"]])
        pressures = np.array([item["pressure"] for item in run["calculation"]])
        slope = np.polynomial.Polynomial.fit(volumes, energies, 4).deriv()
        modulus = entry["workflow2"]["results"]["eos_fit"][0]["bulk_modulus"]
        assert np.abs(pressures + slope(volumes))[1:-1].max() < 0.02 * modulus
        assert pressures[0] > 0 > pressures[-1]
        assert volumes == pytest.approx(np.array(entry["workflow2"]["results"]["volumes"]), rel=1e-5)


def test_forces_of_emt_add_up_to_zero(entries: dict[str, Archive]) -> None:
    """Newton's third law, for displaced atoms whose single forces are not small."""
    stems = 0
    for _, entry in _of_kind(entries, "displaced"):
        forces = np.array(entry["run"][0]["calculation"][0]["forces"]["total"]["value"]) * ANGSTROM / EV
        assert np.abs(forces.sum(axis=0)).max() < 1e-5  # eV/Å, seven digits of forces up to 10 eV/Å
        assert np.abs(forces).max() > 0.05
        stems += 1
    assert stems > 200


def test_relaxations_go_downhill_and_end_with_small_forces(entries: dict[str, Archive]) -> None:
    """The last energy is the lowest but for rounding; what says converged is below its tolerance."""
    for stem, entry in entries.items():
        workflow = entry["workflow2"]
        if not workflow["m_def"].endswith(".GeometryOptimization"):
            continue
        results = workflow["results"]
        assert results["energies"][-1] <= results["energies"][0] + 1e-5 * EV, stem
        tolerance = workflow["method"]["convergence_tolerance_force_maximum"]
        if results["is_converged_geometry"] and workflow["method"]["type"] == "atomic":
            assert results["final_force_maximum"] <= tolerance * 1.000001, stem


@pytest.mark.parametrize("model", ["gfn1", "gfn2"])
def test_water_has_the_energy_that_tblite_documents(entries: dict[str, Archive], model: str) -> None:
    """The first step is ASE's water molecule; its positions were rounded to 1e-4 Å (forces below 1 eV/Å)."""
    first = entries[f"molecule/{model}/H2O"]["run"][0]["calculation"][0]
    assert first["energy"]["total"]["value"] / EV == pytest.approx(TBLITE_WATER[model], abs=3e-4)


@pytest.mark.parametrize("model", ["gfn1", "gfn2"])
@pytest.mark.parametrize("name", BONDS)
def test_relaxed_molecules_have_measured_bond_lengths(
    entries: dict[str, Archive], name: str, model: str
) -> None:
    """The shortest distance is the bond; within 0.06 Å, the error of such a model."""
    positions = np.array(entries[f"molecule/{model}/{name}"]["run"][0]["system"][-1]["atoms"]["positions"])
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)[np.triu_indices(len(positions), 1)]
    assert distances.min() / ANGSTROM == pytest.approx(BONDS[name], abs=0.06)


def test_gaps_agree_with_their_levels_and_types_with_their_meaning(entries: dict[str, Archive]) -> None:
    """A gap is the distance of two levels; only crystals, where k-points were compared, have a type."""
    types: Counter[str] = Counter()
    for stem, entry in entries.items():
        for gap in entry["results"]["properties"].get("electronic", {}).get("band_gap", []):
            levels = gap["energy_lowest_unoccupied"] - gap["energy_highest_occupied"]
            assert gap["value"] == pytest.approx(max(levels, 0), rel=1e-6, abs=1e-7 * EV), stem
            assert "type" not in gap or stem.startswith("crystal/")
            types[gap.get("type", "none")] += 1
    assert types["direct"] > 50
    assert types["indirect"] > 50


def test_known_gaps_are_of_the_right_size(entries: dict[str, Archive]) -> None:
    """Silicon's gap is indirect; diamond has 5.5 eV (Kittel, chapter 8), GFN1-xTB comes within 1 eV.

    Grey tin and graphene have none; those of boron nitride sheets and of CsPbI3 are direct.
    """

    def gap(stem: str) -> dict[str, Any]:
        [found] = entries[stem]["results"]["properties"]["electronic"]["band_gap"]
        assert isinstance(found, dict)
        return found

    assert gap("crystal/Si-diamond-1.00a")["type"] == "indirect"
    assert gap("crystal/C-diamond-1.00a")["value"] / EV == pytest.approx(5.5, abs=1)
    assert gap("crystal/Sn-diamond-1.00a")["value"] / EV < 0.1
    assert gap("crystal/C-sheet-1.00a")["value"] / EV < 0.001
    assert gap("crystal/BN-sheet-1.00a")["type"] == "direct"
    assert gap("crystal/CsPbI3-perovskite-1.00a")["type"] == "direct"


def test_common_questions_find_something(entries: dict[str, Archive]) -> None:
    """Ti and O, caesium lead halides, silicon, direct gaps from 1.1 to 1.8 eV."""
    found: Counter[str] = Counter()
    for entry in entries.values():
        elements = set(entry["results"]["material"]["elements"])
        gaps = entry["results"]["properties"].get("electronic", {}).get("band_gap", [])
        direct = any(g.get("type") == "direct" and 1.1 <= g["value"] / EV <= 1.8 for g in gaps)
        found["Ti and O"] += {"Ti", "O"} <= elements
        found["oxides"] += "O" in elements and entry["results"]["material"]["structural_type"] == "bulk"
        found["Cs-Pb halides"] += {"Cs", "Pb"} <= elements and len(elements) == 3
        found["Si"] += elements == {"Si"}
        found["direct gaps"] += direct
        found["direct gaps of halide perovskites"] += direct and "Cs" in elements
    assert all(found[name] >= 3 for name in found), found


def test_the_kinds_are_all_there(entries: dict[str, Archive]) -> None:
    """Each kind of calculation, structure and workflow occurs many times."""
    kinds = Counter(stem.partition("/")[0] for stem in entries)
    structural = Counter(entry["results"]["material"]["structural_type"] for entry in entries.values())
    workflows = Counter(entry["workflow2"]["m_def"].rpartition(".")[2] for entry in entries.values())
    assert kinds["eos"] > 600
    assert kinds["relaxation"] > 600
    assert kinds["molecule"] == 2 * 162  # the G2 set with two models
    assert set(structural) == {"bulk", "surface", "2D", "molecule / cluster", "atom"}
    assert min(workflows[name] for name in ("SinglePoint", "GeometryOptimization", "EquationOfState")) > 600
