"""A structure: atoms in space, in Å and eV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nomadquery.columns.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Structure:
    """Atoms in space.

    Attributes
    ----------
    entry_id : str
    symbols : tuple of str
        Chemical symbols, ``"X"`` for an atom of unknown kind.
    positions : sequence of n × 3 floats
        Cartesian, in Å.
    cell : sequence of 3 × 3 floats or None
        Lattice vectors as rows, in Å; ``None`` where the entry has none. A row of zeros is a direction
        without a vector.
    pbc : tuple of three bools
        Whether the structure repeats along each lattice vector.
    index : tuple of int
        Positions of the frame's sections (run and calculation); empty for other structures.
    energy : float or None
        Total energy in eV.
    forces : sequence of n × 3 floats or None
        In eV/Å.
    stress : sequence of 3 × 3 floats or None
        In eV/Å³, tension positive (ASE's sign). ASE's own six numbers are xx yy zz yz xz xy.
    info : mapping
        Facts about the structure: ``entry_id`` always; where they are known ``run``, ``system``,
        ``calculation``, ``program_name``, ``stress_as_stored`` (eV/Å³, sign not known).
    arrays : mapping
        Lists with one item for each atom; ``labels`` where they differ from the symbols.
    """

    entry_id: str
    symbols: tuple[str, ...]
    positions: Vectors
    cell: Vectors | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    index: tuple[int, ...] = ()
    energy: float | None = None
    forces: Vectors | None = None
    stress: Vectors | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str | int, ...]:
        """Entry id and positions: what names the structure's row."""
        return (self.entry_id, *self.index)


@dataclass(frozen=True, slots=True)
class StructureProblem:
    """What a structure lacks or why there is none, said once for each entry.

    Attributes
    ----------
    entry_id : str
    path : str
        The path concerned.
    why : str
        With the number of frames where it concerns several.
    """

    entry_id: str
    path: str
    why: str
