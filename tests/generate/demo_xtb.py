"""Demo calculations with tblite: energies, forces and HOMO–LUMO gaps of GFN1-xTB and GFN2-xTB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.collections import g2, s22
from ase.optimize import BFGS
from ase.units import Bohr, Hartree
from demo_entry import Calculation, Gap, Method, Optimization, Step
from numpy.typing import NDArray
from tblite.interface import Calculator

TBLITE_VERSION = version("tblite")
TITLES = {"gfn1": "GFN1-xTB", "gfn2": "GFN2-xTB"}
REFERENCES = {
    "gfn1": "https://doi.org/10.1021/acs.jctc.7b00118",
    "gfn2": "https://doi.org/10.1021/acs.jctc.8b01176",
}
FMAX = 0.02
MAX_STEPS = 100
_FORCE_NOISE = 1e-4  # eV/Å, what the convergence of the charges leaves of a force that is zero by symmetry
_STRESS_NOISE = 1e-5  # eV/Å³


@dataclass(frozen=True, slots=True)
class Levels:
    """The orbitals of one calculation: energies (eV), occupations (0 to 2), coefficients and overlap."""

    energies: NDArray[np.float64]
    occupations: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    overlap: NDArray[np.float64]
    charges: NDArray[np.float64]

    @property
    def gap(self) -> Gap:
        """Return the gap of a closed shell, from the number of electrons."""
        n_occupied = round(float(self.occupations.sum()) / 2)
        return Gap(float(self.energies[n_occupied - 1]), float(self.energies[n_occupied]))


def _quiet(values: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    return np.where(np.abs(values) < noise, 0.0, values)


def evaluate(atoms: Atoms, model: Literal["gfn1", "gfn2"], n_unpaired: int = 0) -> tuple[Step, Levels]:
    """Return the step and the orbitals of a structure; tblite's error if the charges do not converge."""
    cell = atoms.cell.array / Bohr if atoms.pbc.any() else None
    calculator = Calculator(
        TITLES[model],
        atoms.numbers,
        atoms.positions / Bohr,
        0,
        n_unpaired,
        cell,
        atoms.pbc if cell is not None else None,
    )
    calculator.set("verbosity", 0)
    calculator.set("save-integrals", 1)
    found = calculator.singlepoint()
    levels = Levels(
        np.array(found.get("orbital-energies")) * Hartree,
        np.array(found.get("orbital-occupations")),
        np.array(found.get("orbital-coefficients")),
        np.array(found.get("overlap-matrix")),
        np.array(found.get("charges")),
    )
    forces = _quiet(-np.array(found.get("gradient")) * Hartree / Bohr, _FORCE_NOISE)
    stress = None
    if atoms.pbc.all():
        stress = _quiet(np.array(found.get("virial")) * Hartree / atoms.get_volume(), _STRESS_NOISE)
    frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    energy = float(found.get("energy")) * Hartree
    return Step(frame, energy, forces, stress, levels.gap if n_unpaired == 0 else None), levels


class XtbCalculator(AseCalculator):  # type: ignore[misc]  # ASE ships no types
    """Let ASE's optimizers call ``evaluate``, and remember the steps."""

    implemented_properties = ("energy", "forces")

    def __init__(self, model: Literal["gfn1", "gfn2"], n_unpaired: int) -> None:
        super().__init__()
        self.model: Literal["gfn1", "gfn2"] = model
        self.n_unpaired = n_unpaired
        self.steps: list[Step] = []

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Evaluate the structure, keep the step."""
        super().calculate(atoms, properties, system_changes)
        step, _ = evaluate(self.atoms, self.model, self.n_unpaired)
        self.steps.append(step)
        self.results = {"energy": step.energy, "forces": step.forces}


def method(model: Literal["gfn1", "gfn2"], mesh: tuple[int, int, int] | None = None) -> Method:
    """Return the method of an entry."""
    return Method("tblite", TBLITE_VERSION, model, REFERENCES[model], mesh)


def molecules() -> Iterator[Calculation]:
    """Yield the molecules of the G2 set, relaxed, and its atoms."""
    for model in ("gfn1", "gfn2"):
        for name in sorted(g2.names):
            yield _molecule(name, model)


def _molecule(name: str, model: Literal["gfn1", "gfn2"]) -> Calculation:
    start = molecule(name)
    start.positions = np.round(start.positions - start.positions.mean(axis=0), 4)
    n_unpaired = round(float(start.get_initial_magnetic_moments().sum()))
    calculator = XtbCalculator(model, n_unpaired)
    start.set_initial_magnetic_moments(None)
    start.calc = calculator
    shell = "closed shell" if n_unpaired == 0 else f"{n_unpaired} unpaired electrons, hence no gap"
    optimization = None
    if len(start) == 1:
        start.get_potential_energy()
    else:
        converged = BFGS(start, logfile=None).run(fmax=FMAX, steps=MAX_STEPS)
        optimization = Optimization("atomic", "bfgs", FMAX, bool(converged))
    return Calculation(
        stem=f"molecule/{model}/{name}",
        upload=f"{TITLES[model]} molecules of the G2 set",
        dataset="xTB molecules",
        note=f"{name} of the G2 set, {shell}; the gap is HOMO–LUMO of single-particle levels",
        method=method(model),
        workflow="SinglePoint" if optimization is None else "GeometryOptimization",
        steps=tuple(calculator.steps),
        structural_type="atom" if len(start) == 1 else "molecule / cluster",
        representative=len(calculator.steps) - 1,
        optimization=optimization,
    )


def dimers() -> Iterator[Calculation]:
    """Yield single points of the weakly bound pairs of the S22 set."""
    for model in ("gfn1", "gfn2"):
        for name in sorted(s22.names):
            atoms = s22[name]
            atoms.positions = np.round(atoms.positions - atoms.positions.mean(axis=0), 4)
            atoms.pbc = False
            step, _ = evaluate(atoms, model)
            yield Calculation(
                stem=f"dimer/{model}/{name}",
                upload=f"{TITLES[model]} dimers of the S22 set",
                dataset="xTB molecules",
                note=f"{name.replace('_', ' ')} of the S22 set at its published geometry; HOMO–LUMO gap",
                method=method(model),
                workflow="SinglePoint",
                steps=(step,),
                structural_type="molecule / cluster",
                representative=0,
            )
