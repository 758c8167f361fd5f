"""``results.material`` of the demo data: formulas, symmetry, topology, in NOMAD's words and SI units."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from math import gcd
from string import ascii_uppercase
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_masses, atomic_names, atomic_numbers
from demo_entry import Calculation, Prototype

ANGSTROM = 1e-10
ATOMIC_MASS = 1.66053906892e-27  # CODATA 2022, kg
SYMMETRY_TOLERANCE = 0.1  # Å, the tolerance that NOMAD itself uses

# Table VI of the IUPAC Red Book (2005), from the end that is written first.
_IUPAC_ROWS = (
    "Rn Xe Kr Ar Ne He Fr Cs Rb K Na Li Ra Ba Sr Ca Mg Be",
    "Lr No Md Fm Es Cf Bk Cm Am Pu Np U Pa Th Ac Lu Yb Tm Er Ho Dy Tb Gd Eu Sm Pm Nd Pr Ce La Y Sc",
    "Rf Hf Zr Ti Db Ta Nb V Sg W Mo Cr Bh Re Tc Mn Hs Os Ru Fe Mt Ir Rh Co Ds Pt Pd Ni Rg Au Ag Cu",
    "Cn Hg Cd Zn Nh Tl In Ga Al B Fl Pb Sn Ge Si C Mc Bi Sb As P N H Lv Po Te Se S O Ts At I Br Cl F",
)
_IUPAC_ORDER = [symbol for row in _IUPAC_ROWS for symbol in row.split()]
# compounds of carbon that are written like inorganic ones
_INORGANIC_CARBON = {
    "SiC",
    "TiC",
    "VC",
    "WC",
    "ZrC",
    "B4C",
    "Al4C3",
    "CaC2",
    "MgC2",
    "CaCO3",
    "MgCO3",
    "BaCO3",
}
_SYSTEMS = (
    (2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal"),
    (167, "trigonal"), (194, "hexagonal"), (230, "cubic"),
)  # fmt: skip
_PEARSON_LETTER = {"triclinic": "a", "monoclinic": "m", "orthorhombic": "o", "tetragonal": "t", "cubic": "c"}
_ORIGINAL = "A representative system chosen from the original simulation."
_SUBSYSTEM = "Automatically detected subsystem."
_CONVENTIONAL = "The conventional cell of the material from which the subsystem is constructed from."
METALS = {"Ag", "Al", "Au", "Cu", "Ni", "Pd", "Pt"}
_DIMENSION = {"bulk": "3D", "surface": "2D", "2D": "2D", "molecule / cluster": "0D", "atom": "0D"}
_BUILDING_BLOCK = {"surface": "surface", "2D": "2D material"}


def _text(counts: dict[str, int]) -> str:
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in counts.items())


def formulas(symbols: list[str]) -> dict[str, str]:
    """Return the five ``chemical_formula_…`` values of a list of chemical symbols."""
    counts = Counter(symbols)
    divisor = gcd(*counts.values())
    first = [symbol for symbol in ("C", "H") if "C" in counts and symbol in counts]
    hill = {s: counts[s] for s in first + sorted(set(counts) - set(first))}
    iupac = {s: counts[s] // divisor for s in sorted(counts, key=_IUPAC_ORDER.index)}
    organic = "C" in counts and _text(iupac) not in _INORGANIC_CARBON
    anonymous = {
        ascii_uppercase[i]: n // divisor for i, n in enumerate(sorted(counts.values(), reverse=True))
    }
    return {
        "chemical_formula_descriptive": _text(hill) if organic else _text(iupac),
        "chemical_formula_reduced": _text({s: counts[s] // divisor for s in sorted(counts)}),
        "chemical_formula_hill": _text(hill),
        "chemical_formula_iupac": _text(iupac),
        "chemical_formula_anonymous": _text(anonymous),
    }


def composition(symbols: list[str]) -> dict[str, Any]:
    """Return elements, formulas and ``elemental_composition`` of a list of chemical symbols."""
    counts = Counter(symbols)
    masses = {symbol: float(atomic_masses[atomic_numbers[symbol]]) * n for symbol, n in counts.items()}
    elements = sorted(counts)
    return {
        "elements": elements,
        "n_elements": len(elements),
        "elements_exclusive": " ".join(elements),
        **formulas(symbols),
        "elemental_composition": [
            {
                "element": symbol,
                "mass": float(atomic_masses[atomic_numbers[symbol]]) * ATOMIC_MASS,
                "atomic_fraction": counts[symbol] / len(symbols),
                "mass_fraction": masses[symbol] / sum(masses.values()),
            }
            for symbol in elements
        ],
    }


def cell_of(atoms: Atoms) -> dict[str, float]:
    """Return lattice parameters (m, rad), volume and densities of a cell of full rank."""
    lengths = atoms.cell.lengths() * ANGSTROM
    angles = np.radians(atoms.cell.angles())
    volume = atoms.get_volume() * ANGSTROM**3
    return {
        **dict(zip("abc", map(float, lengths), strict=True)),
        **dict(zip(("alpha", "beta", "gamma"), map(float, angles), strict=True)),
        "volume": volume,
        "atomic_density": len(atoms) / volume,
        "mass_density": float(atoms.get_masses().sum()) * ATOMIC_MASS / volume,
    }


def conventional_cell(atoms: Atoms) -> tuple[Atoms, Any]:
    """Return the idealized conventional cell by spglib and the symmetry of that cell."""
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMMETRY_TOLERANCE)
    order = np.lexsort((*found.std_positions.round(6).T[::-1], found.std_types))
    positions, numbers = found.std_positions[order] % 1.0, found.std_types[order]
    positions[np.isclose(positions, 1.0, atol=1e-9)] = 0.0
    conventional = Atoms(numbers, cell=found.std_lattice, scaled_positions=positions, pbc=True)
    standard = (conventional.cell.array, positions, numbers)
    return conventional, spglib.get_symmetry_dataset(standard, symprec=1e-4, hall_number=found.hall_number)


def symmetry_of(dataset: Any) -> dict[str, Any]:
    """Return the symmetry words of a spglib dataset, as ``results.material.symmetry`` names them."""
    system = next(name for last, name in _SYSTEMS if dataset.number <= last)
    letter = dataset.international[0]
    centring = {"A": "S", "B": "S", "C": "S"}.get(letter, letter)
    return {
        "bravais_lattice": _PEARSON_LETTER.get(system, "h") + centring,
        "crystal_system": system,
        "hall_number": int(dataset.hall_number),
        "hall_symbol": dataset.hall,
        "point_group": dataset.pointgroup,
        "space_group_number": int(dataset.number),
        "space_group_symbol": dataset.international,
    }


def _wyckoff_sets(conventional: Atoms, dataset: Any) -> list[dict[str, Any]]:
    orbits: dict[int, list[int]] = {}
    for index, orbit in enumerate(dataset.crystallographic_orbits):
        orbits.setdefault(int(orbit), []).append(index)
    return [
        {
            "wyckoff_letter": dataset.wyckoffs[first],
            "indices": indices,
            "element": conventional.symbols[first],
        }
        for first, indices in orbits.items()
    ]


def material_id(number: int, wyckoff_sets: list[dict[str, Any]]) -> str:
    """Return an id made as NOMAD makes it: from space group and (element, Wyckoff letter, multiplicity).

    NOMAD first chooses among equivalent origins, which is not done here: equal ids mean equal materials
    within the demo data, but an id need not be the one that NOMAD gives to that material.
    """
    sites = sorted(f"{s['element']} {s['wyckoff_letter']} {len(s['indices'])}" for s in wyckoff_sets)
    digest = hashlib.sha512(f"{number} {', '.join(sites)}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:28]


def matches(prototype: Prototype | None, dataset: Any) -> bool:
    """Return whether a structure still has the space group of the prototype it was built from."""
    return prototype is not None and int(prototype.aflow_id.split("_")[2]) == int(dataset.number)


def atoms_section(atoms: Atoms, *, reciprocal: bool = False) -> dict[str, Any]:
    """Return an ``atoms`` section: labels, positions and lattice vectors in m."""
    section: dict[str, Any] = {
        "species": atoms.numbers.tolist(),
        "labels": list(atoms.symbols),
        "positions": (atoms.positions * ANGSTROM).tolist(),
    }
    if atoms.cell.rank == 3:
        section["lattice_vectors"] = (atoms.cell.array * ANGSTROM).tolist()
        if reciprocal:
            section["lattice_vectors_reciprocal"] = (
                2 * np.pi * atoms.cell.reciprocal().array / ANGSTROM
            ).tolist()
    section["periodic"] = atoms.pbc.tolist()
    return section


def _system(index: int, label: str, method: str, description: str, relation: str) -> dict[str, Any]:
    return {
        "system_id": f"results/material/topology/{index}",
        "label": label,
        "method": method,
        "description": description,
        "system_relation": {"type": relation},
    }


def _bulk_topology(
    original: dict[str, Any], atoms: Atoms, prototype: Prototype | None
) -> tuple[list[dict[str, Any]], Any]:
    conventional, dataset = conventional_cell(atoms)
    ids = [f"results/material/topology/{index}" for index in range(3)]
    bulk = {"structural_type": "bulk", "dimensionality": "3D"}
    original["child_systems"] = [ids[1]]
    subsystem = {
        **_system(1, "subsystem", "matid", _SUBSYSTEM, "subsystem"),
        **bulk,
        **composition(list(atoms.symbols)),
        "parent_system": ids[0],
        "child_systems": [ids[2]],
        "atomic_fraction": 1.0,
        "mass_fraction": 1.0,
        "atoms_ref": original["atoms_ref"],
        "n_atoms": len(atoms),
        "indices": [list(range(len(atoms)))],
    }
    sets = _wyckoff_sets(conventional, dataset)
    symmetry = {**symmetry_of(dataset), "symmetry_method": "spglib", "wyckoff_sets": sets}
    if prototype is not None and matches(prototype, dataset):
        symmetry["prototype_label_aflow"] = prototype.aflow_id
        if prototype.structure_name is not None:
            symmetry["prototype_name"] = prototype.structure_name
    cell = {
        **_system(2, "conventional cell", "matid", _CONVENTIONAL, "conventional_cell"),
        **bulk,
        **composition(list(conventional.symbols)),
        "material_id": material_id(int(dataset.number), sets),
        "parent_system": ids[1],
        "n_atoms": len(conventional),
        "atoms": atoms_section(conventional),
        "cell": cell_of(conventional),
        "symmetry": symmetry,
    }
    return [original, subsystem, cell], dataset


def material_of(calculation: Calculation) -> dict[str, Any]:
    """Return ``results.material`` of a calculation, from its representative structure."""
    atoms = calculation.steps[calculation.representative].atoms
    symbols = list(atoms.symbols)
    kind = calculation.structural_type
    material: dict[str, Any] = {"structural_type": kind, "dimensionality": _DIMENSION[kind]}
    if kind in _BUILDING_BLOCK:
        material["building_block"] = _BUILDING_BLOCK[kind]
    material |= composition(symbols)
    material["chemical_formula_reduced_fragments"] = _fragments(symbols)
    original = {
        **_system(0, "original", "parser", _ORIGINAL, "root"),
        "dimensionality": _DIMENSION[kind],
        **composition(symbols),
        "atoms_ref": f"#/run/0/system/{calculation.representative}/atoms",
        "n_atoms": len(atoms),
    }
    if atoms.cell.rank == 3:
        original["cell"] = cell_of(atoms)
    if kind != "bulk":
        return {**material, "topology": [original]}
    topology, dataset = _bulk_topology(original, atoms, calculation.prototype)
    symmetry = symmetry_of(dataset)
    prototype = calculation.prototype
    if prototype is not None and matches(prototype, dataset):
        symmetry["prototype_formula"] = prototype.formula
        symmetry["prototype_aflow_id"] = prototype.aflow_id
        symmetry["strukturbericht_designation"] = prototype.strukturbericht
        if prototype.structure_name is not None:
            symmetry["structure_name"] = prototype.structure_name
    if len(set(symbols)) == 1 or (set(symbols) <= METALS and len(set(symbols)) == 2):
        material["material_name"] = " ".join(
            atomic_names[atomic_numbers[symbol]] for symbol in sorted(set(symbols))
        )
    return {**material, "material_id": topology[2]["material_id"], "symmetry": symmetry, "topology": topology}


def _fragments(symbols: list[str]) -> list[str]:
    counts = Counter(symbols)
    divisor = gcd(*counts.values())
    first = [symbol for symbol in ("C", "H") if "C" in counts and symbol in counts]
    return [_text({s: counts[s] // divisor}) for s in first + sorted(set(counts) - set(first))]
