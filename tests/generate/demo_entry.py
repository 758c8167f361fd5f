"""What one demo calculation yields, before it is written as a NOMAD archive: values in eV and Å."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Workflow = Literal["SinglePoint", "GeometryOptimization", "EquationOfState"]
StructuralType = Literal["bulk", "surface", "2D", "molecule / cluster", "atom"]


@dataclass(frozen=True, slots=True)
class Gap:
    """The highest occupied and the lowest unoccupied level (eV); a type only if k-points were compared."""

    highest_occupied: float
    lowest_unoccupied: float
    type: Literal["direct", "indirect"] | None = None

    @property
    def value(self) -> float:
        """Return the gap in eV, never below zero."""
        return max(self.lowest_unoccupied - self.highest_occupied, 0.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One structure and what was calculated for it: eV, eV/Å, eV/Å³ (tension positive)."""

    atoms: Atoms
    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64] | None = None
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """The program and the model; ``mesh`` is the Γ-centred k-mesh, None where there are no k-points."""

    program: str
    version: str
    model: Literal["emt", "gfn1", "gfn2"]
    reference: str
    mesh: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """An equation of state fitted to energies (eV) and cell volumes (Å³); bulk modulus in eV/Å³."""

    function: Literal["birch_murnaghan", "vinet"]
    energy: float
    volume: float
    bulk_modulus: float
    derivative: float
    fitted: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Optimization:
    """How a structure was relaxed; the tolerance is the largest force (eV/Å) on an atom or strain."""

    type: Literal["atomic", "cell_shape"]
    method: str
    tolerance: float
    converged: bool


@dataclass(frozen=True, slots=True)
class Prototype:
    """The known names of a crystal structure; ``structure_name`` is one of NOMAD's words or None."""

    strukturbericht: str
    aflow_id: str
    formula: str
    structure_name: str | None = None


@dataclass(frozen=True, slots=True)
class Calculation:
    """One entry to be: ``stem`` is unique, ``representative`` indexes ``steps``."""

    stem: str
    upload: str
    dataset: str
    note: str
    method: Method
    workflow: Workflow
    steps: tuple[Step, ...]
    structural_type: StructuralType
    representative: int
    prototype: Prototype | None = None
    fits: tuple[Fit, ...] = ()
    optimization: Optimization | None = None
