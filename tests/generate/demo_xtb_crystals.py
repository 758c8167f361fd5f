"""Demo calculations with tblite on crystals: gaps of GFN1-xTB from supercells, with k-points told apart.

tblite calculates at Γ only. Γ of a supercell holds the k-points of the primitive cell on a mesh; which
orbital belongs to which of them follows from translation symmetry. So ``direct`` and ``indirect`` are said
where k-points were compared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from demo_crystals import (
    ANATASE,
    CRISTOBALITE,
    CUPRITE,
    ELEMENTAL,
    EQUIATOMIC,
    HONEYCOMB,
    PEROVSKITE,
    RHENIUM_TRIOXIDE,
    RUTILE,
    TWO_TO_ONE,
    WURTZITE,
    Crystal,
)
from demo_entry import Calculation, Gap
from demo_xtb import Levels, evaluate, method
from numpy.typing import NDArray
from scipy.linalg import eigh
from tblite.exceptions import TBLiteRuntimeError

STRAINS = (-0.02, 0.0, 0.02, 0.04)
SMALLEST_OVERLAP = 5e-3  # below, the basis is close to linearly dependent and the levels mean little
LARGEST_SPREAD = 0.01  # e: equivalent atoms must carry equal charges, else the levels have no k-point
LARGEST_SHIFT = 0.05  # eV: between the gap of the supercell and the one with exact translation symmetry
_DEGENERATE = 1e-3  # eV

_DOUBLE = 2 * np.eye(3, dtype=int)
_SHEET = np.diag([6, 6, 1])  # a mesh that holds the corner K of the hexagonal zone
_CUBIC_64 = 2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])  # 2×2×2 conventional cells of an fcc lattice


@dataclass(frozen=True, slots=True)
class Material:
    """A crystal, its measured (if hypothetical, a plausible) lattice constant in Å, the supercell used."""

    family: str
    crystal: Crystal
    elements: tuple[str, ...]
    a: float
    c_over_a: float | None
    supercell: NDArray[np.int_]
    strains: tuple[float, ...]


def _family(
    name: str, crystal: Crystal, supercell: NDArray[np.int_], table: str, strains: tuple[float, ...] = STRAINS
) -> Iterator[Material]:
    for item in table.split():
        elements, _, numbers = item.partition("=")
        a, _, ratio = numbers.partition("/")
        c_over_a = float(ratio) if ratio else None
        yield Material(name, crystal, tuple(elements.split("-")), float(a), c_over_a, supercell, strains)


def materials() -> Iterator[Material]:
    """Yield the crystals: lattice constants in Å at room temperature, after the usual tables, rounded.

    They are those for which the basis of GFN1-xTB is not close to linearly dependent, less the insulators in
    which the model finds no gap (such as CdS): a demo should not look wrong where the fault is the model's.
    """
    yield from _family("diamond", ELEMENTAL["diamond"], _CUBIC_64, "C=3.567 Si=5.431 Sn=6.489")
    yield from _family(
        "zincblende",
        EQUIATOMIC["B3"],
        _CUBIC_64,
        "Si-C=4.360 B-N=3.615 B-P=4.538 B-As=4.777 Al-P=5.451 Be-O=3.800 Be-S=4.865 Be-Se=5.139 Zn-Te=6.104 "
        "Cu-Cl=5.406 Cu-Br=5.690 Cu-I=6.050 Ag-I=6.490",
    )
    yield from _family(
        "rocksalt",
        EQUIATOMIC["B1"],
        _CUBIC_64,
        "Li-H=4.084 Li-F=4.026 Li-Cl=5.130 Li-Br=5.501 Li-I=6.000 Na-Cl=5.640 Na-Br=5.974 Na-I=6.473 "
        "Ag-F=4.920 Ag-Cl=5.549 Ag-Br=5.774 Pb-S=5.936 Pb-Se=6.124 Pb-Te=6.462 Sn-Te=6.318",
    )
    yield from _family("caesium-chloride", EQUIATOMIC["B2"], _DOUBLE, "Tl-Cl=3.834 Tl-Br=3.970")
    yield from _family("rutile", RUTILE, _DOUBLE, "Si-O=4.177/0.638")
    yield from _family("anatase", ANATASE, _DOUBLE, "Ti-O=3.785/2.514")
    yield from _family("wurtzite", WURTZITE, _DOUBLE, "Be-O=2.698/1.622 Si-C=3.076/1.641")
    yield from _family("fluorite", TWO_TO_ONE["C1"], _DOUBLE, "O-Zr=5.090 O-Hf=5.080 F-Pb=5.940")
    yield from _family("cuprite", CUPRITE, _DOUBLE, "Cu-O=4.270 Ag-O=4.730")
    yield from _family("sheet", HONEYCOMB, _SHEET, "C-C=2.461/6.1 B-N=2.504/6 Si-C=3.090/4.85 Be-O=2.680/5.6")
    yield from _family("cristobalite", CRISTOBALITE, _DOUBLE, "Si-O=7.160")
    yield from _family("rhenium-trioxide", RHENIUM_TRIOXIDE, _DOUBLE, "W-O=3.780 Re-O=3.747 Sc-F=4.010")
    yield from _family(
        "perovskite",
        PEROVSKITE,
        _DOUBLE,
        "Cs-Pb-I=6.290 Cs-Pb-Br=5.870 Cs-Pb-Cl=5.605 Cs-Sn-I=6.220 Cs-Sn-Br=5.800 Cs-Sn-Cl=5.560 "
        "Rb-Pb-I=6.200 Rb-Pb-Br=5.800 Rb-Pb-Cl=5.550 Rb-Sn-I=6.150 Rb-Sn-Br=5.700 Rb-Sn-Cl=5.500 "
        "K-Pb-I=6.150 K-Pb-Br=5.750 K-Pb-Cl=5.500 K-Sn-I=6.100 K-Sn-Br=5.650 K-Sn-Cl=5.450 "
        "Pb-Ti-O=3.970 Pb-Zr-O=4.130 Pb-Hf-O=4.120 Sn-Ti-O=3.900",
        (*STRAINS, 0.06),
    )


def translations_in(supercell: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return the translations of the primitive lattice that lie in a supercell, in cells: shape (n, 3)."""
    reach = int(np.abs(supercell).sum())
    grid = np.array(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij")).reshape(3, -1).T
    inside = np.all((fractions := np.round(grid @ np.linalg.inv(supercell), 9)) >= 0, axis=1) & np.all(
        fractions < 1, axis=1
    )
    translations: NDArray[np.int_] = grid[inside]
    return translations


def expanded(primitive: Atoms, supercell: NDArray[np.int_]) -> Atoms:
    """Return the supercell, atoms of one primitive cell after those of another."""
    shifts = translations_in(supercell) @ primitive.cell.array
    positions = (primitive.positions + shifts[:, None, :]).reshape(-1, 3)
    atoms = Atoms(
        list(primitive.symbols) * len(shifts), positions=positions, cell=supercell @ primitive.cell, pbc=True
    )
    atoms.wrap(eps=1e-9)
    return atoms


def levels_by_k(levels: Levels, supercell: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return the levels (eV) of the primitive cell at the k-points that are folded to Γ: (k-point, level).

    The Hamiltonian is rebuilt from orbitals and overlap, H = S C ε Cᵀ S, and projected on the Bloch sums of
    each k-point, which averages over the primitive cells.
    """
    shifts = translations_in(supercell)
    n_cells = len(shifts)
    transposed = levels.coefficients.T @ levels.overlap
    hamiltonian = transposed.T @ (levels.energies[:, None] * transposed)
    shape = (n_cells, len(levels.energies) // n_cells) * 2
    bands = []
    for k in (np.linalg.inv(supercell) @ translations_in(supercell.T).T).T:
        phase = np.exp(2j * np.pi * shifts @ k) / np.sqrt(n_cells)
        h, s = (
            np.einsum("a,aibj,b->ij", phase.conj(), m.reshape(shape), phase)
            for m in (hamiltonian, levels.overlap)
        )
        bands.append(eigh((h + h.conj().T) / 2, (s + s.conj().T) / 2, eigvals_only=True))
    return np.array(bands)


def typed_gap(gap: Gap, levels: Levels, supercell: NDArray[np.int_]) -> Gap:
    """Return the gap of the supercell, with its type where comparing the k-points tells it."""
    bands = levels_by_k(levels, supercell)
    n_occupied = round(float(levels.occupations.sum()) / 2 / len(bands))
    top, bottom = bands[:, n_occupied - 1], bands[:, n_occupied]
    compared = float(bottom.min() - top.max())
    if gap.value < _DEGENERATE or abs(compared - gap.value) > LARGEST_SHIFT:
        return gap
    same = (top > top.max() - _DEGENERATE) & (bottom < bottom.min() + _DEGENERATE)
    return replace(gap, type="direct" if same.any() else "indirect")


def objection(levels: Levels, n_cells: int) -> str | None:
    """Return why the levels of a crystal should not be shown, or None."""
    smallest = float(np.linalg.eigvalsh(levels.overlap)[0])
    if smallest < SMALLEST_OVERLAP:
        return f"basis nearly linearly dependent, smallest eigenvalue of the overlap {smallest:.1e}"
    spread = float(np.ptp(levels.charges.reshape(n_cells, -1), axis=0).max())
    return f"charges of equivalent atoms differ by {spread:.3f} e" if spread > LARGEST_SPREAD else None


def crystal_gaps() -> Iterator[Calculation]:
    """Yield the crystals at four or five lattice constants; what cannot be trusted is left out, on stderr."""
    for material in materials():
        for strain in material.strains:
            try:
                yield _crystal(material, strain)
            except (TBLiteRuntimeError, ValueError) as problem:
                print(
                    f"left out: {material.elements} {material.family} {strain:+.0%}: {problem}",
                    file=sys.stderr,
                    flush=True,
                )


def _crystal(material: Material, strain: float) -> Calculation:
    a = round(material.a * (1 + strain), 4)
    primitive = material.crystal.atoms(a, *material.elements, c_over_a=material.c_over_a)
    atoms = expanded(primitive, material.supercell)
    step, levels = evaluate(atoms, "gfn1")
    n_cells = len(atoms) // len(primitive)
    if reason := objection(levels, n_cells):
        raise ValueError(reason)
    assert step.gap is not None
    sheet = material.crystal is HONEYCOMB
    gap = typed_gap(step.gap, levels, material.supercell)
    step = replace(step, gap=gap, stress=None if sheet else step.stress)  # vacuum has no stress
    formula = primitive.get_chemical_formula("metal", empirical=True)
    return Calculation(
        stem=f"crystal/{formula}-{material.family}-{1 + strain:.2f}a",
        upload=f"GFN1-xTB crystals, {material.family}",
        dataset="xTB crystals",
        note=(
            f"unrelaxed {formula}, a = {a} Å ({strain:+.0%} of the measured or a plausible one); "
            f"k-mesh: Γ of a supercell of {n_cells} primitive cells, which holds {n_cells} k-points of the "
            "primitive cell; gap between single-particle levels, its type from comparing these k-points"
        ),
        method=method("gfn1", (1, 1, 1)),
        workflow="SinglePoint",
        steps=(step,),
        structural_type="2D" if sheet else "bulk",
        representative=0,
        prototype=material.crystal.prototype,
    )
