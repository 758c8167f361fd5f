"""Demo calculations with ASE's effective medium theory: metals, alloys, surfaces, clusters.

EMT after Jacobsen, Stoltze and Nørskov, Surf. Sci. 366, 394 (1996). Energies are relative to the fcc metals.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import combinations, permutations
from typing import Literal

import ase
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from demo_crystals import ELEMENTAL, EQUIATOMIC, HEUSLER, THREE_TO_ONE, TWO_TO_ONE, Crystal
from demo_entry import Calculation, Fit, Method, Optimization, Step

METALS = ("Ag", "Al", "Au", "Cu", "Ni", "Pd", "Pt")
EMT_METHOD = Method("ASE", ase.__version__, "emt", "https://doi.org/10.1016/0039-6028(96)00816-3")
FMAX = 0.005
MAX_STEPS = 60
EOS_STRAINS = tuple(np.linspace(-0.045, 0.045, 7))
_EOS_FUNCTIONS: dict[Literal["birch_murnaghan", "vinet"], str] = {
    "birch_murnaghan": "birchmurnaghan",
    "vinet": "vinet",
}
_STATIC = "unrelaxed structure"


def random_source(stem: str) -> np.random.Generator:
    """Return the random numbers that belong to one entry: the same on every run."""
    return np.random.default_rng(zlib.crc32(stem.encode()))


def step_of(atoms: Atoms) -> Step:
    """Return energy, forces and (for a full cell) stress of a structure as a step."""
    energy = float(atoms.get_potential_energy())
    stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
    frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    return Step(frame, energy, atoms.get_forces().copy(), stress)


def evaluated(atoms: Atoms) -> Step:
    """Return the EMT step of a structure, its positions first rounded to 1e-4 Å to keep the file small."""
    copy = atoms.copy()
    copy.positions = np.round(copy.positions, 4)
    copy.calc = EMT()
    return step_of(copy)


def relaxed(atoms: Atoms, *, cell: bool) -> tuple[tuple[Step, ...], Optimization]:
    """Return the steps of a BFGS relaxation of the atoms, and of the cell if asked, and how it went."""
    copy = atoms.copy()
    copy.calc = EMT()
    optimizer = BFGS(FrechetCellFilter(copy) if cell else copy, logfile=None)
    steps = []
    converged = False
    for converged in optimizer.irun(fmax=FMAX, steps=MAX_STEPS):  # noqa: B007 — the last value is used
        steps.append(step_of(copy))
    return tuple(steps), Optimization("cell_shape" if cell else "atomic", "bfgs", FMAX, bool(converged))


def equation_of_state(atoms: Atoms) -> tuple[tuple[Step, ...], tuple[Fit, ...]]:
    """Return seven energies at isotropic strains around a relaxed cell, and the fits through them."""
    steps = []
    for strain in EOS_STRAINS:
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
        scaled.calc = EMT()
        steps.append(step_of(scaled))
    return tuple(steps), fits_of(steps)


def fits_of(steps: list[Step]) -> tuple[Fit, ...]:
    """Return the equations of state through energies (eV) and cell volumes (Å³)."""
    volumes = [step.atoms.get_volume() for step in steps]
    energies = [step.energy for step in steps]
    fits = []
    for function, ase_name in _EOS_FUNCTIONS.items():
        equation = EquationOfState(volumes, energies, eos=ase_name)
        volume, energy, modulus = equation.fit()
        fitted = tuple(float(value) for value in equation.func(np.array(volumes), *equation.eos_parameters))
        derivative = float(equation.eos_parameters[2])
        fits.append(Fit(function, float(energy), float(volume), float(modulus), derivative, fitted))
    return tuple(fits)


def guess(crystal: Crystal, elements: tuple[str, ...]) -> Atoms:
    """Return the crystal at the cell size of lowest EMT energy on a coarse grid."""
    best: tuple[float, Atoms] | None = None
    unit = crystal.atoms(1.0, *elements)
    volume = sum(bulk(symbol).get_volume() for symbol in unit.symbols)
    size = (volume / unit.get_volume()) ** (1 / 3)
    for factor in np.linspace(0.9, 1.3, 21):
        atoms = crystal.atoms(size * factor, *elements)
        atoms.calc = EMT()
        energy = float(atoms.get_potential_energy())
        if best is None or energy < best[0]:
            best = (energy, atoms)
    assert best is not None
    return best[1]


def crystal_entries(name: str, crystal: Crystal, elements: tuple[str, ...]) -> Iterator[Calculation]:
    """Yield the cell relaxation of one crystal and its equation of state."""
    start = guess(crystal, elements)
    strain = random_source(f"{name}{elements}").uniform(0.01, 0.03)
    start.set_cell(start.cell * (1 + strain), scale_atoms=True)
    steps, optimization = relaxed(start, cell=True)
    label = f"{start.get_chemical_formula('metal')}-{name}"
    group = {1: "elements", 2: "binary alloys", 3: "ternary Heusler compounds"}[len(set(elements))]
    yield Calculation(
        stem=f"relaxation/{label}",
        upload=f"EMT cell relaxations, {group}",
        dataset="EMT relaxations",
        note="cell and atoms relaxed within the symmetry of the start",
        method=EMT_METHOD,
        workflow="GeometryOptimization",
        steps=steps,
        structural_type="bulk",
        representative=len(steps) - 1,
        prototype=crystal.prototype,
        optimization=optimization,
    )
    steps, fits = equation_of_state(steps[-1].atoms)
    yield Calculation(
        stem=f"eos/{label}",
        upload=f"EMT equations of state, {group}",
        dataset="EMT equations of state",
        note="seven volumes, isotropic linear strain of -4.5 to 4.5 % around the relaxed cell",
        method=EMT_METHOD,
        workflow="EquationOfState",
        steps=steps,
        structural_type="bulk",
        representative=len(steps) // 2,
        prototype=crystal.prototype,
        fits=fits,
    )


def bulk_crystals() -> Iterator[Calculation]:
    """Yield relaxations and equations of state of all elements, binary and Heusler crystals."""
    for element in METALS:
        for name, crystal in ELEMENTAL.items():
            yield from crystal_entries(name, crystal, (element,))
    for pair in combinations(METALS, 2):
        for name, crystal in EQUIATOMIC.items():
            yield from crystal_entries(name, crystal, pair)
    for pair in permutations(METALS, 2):
        for name, crystal in {**THREE_TO_ONE, **TWO_TO_ONE}.items():
            yield from crystal_entries(name, crystal, pair)


def heuslers() -> Iterator[Calculation]:
    """Yield relaxations and equations of state of all Heusler and half-Heusler crystals of the metals."""
    for first in METALS:
        for second, third in combinations([metal for metal in METALS if metal != first], 2):
            for name, crystal in HEUSLER.items():
                yield from crystal_entries(name, crystal, (first, second, third))
