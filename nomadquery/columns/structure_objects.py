"""Structures as objects of ASE and pymatgen, and as one Arrow table. Lengths in Å, energies in eV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

from nomadquery.columns.structure import Structure
from nomadquery.columns.vectors import Vectors, are_dependent, completed_cell
from nomadquery.errors import QueryError

if TYPE_CHECKING:
    import ase
    import pyarrow as pa

As = Literal["ase", "pymatgen", "columns"]

_MODULES: Final = {"ase": "ase", "pymatgen": "pymatgen.core", "columns": "pyarrow"}


def check_form(form: str) -> None:
    """Refuse, before anything is fetched, a form that is not known or cannot be made here.

    Raises
    ------
    QueryError
        If ``form`` is another word, or its library is not installed.
    """
    if form not in _MODULES:
        raise QueryError(f"as_ is 'ase', 'pymatgen' or 'columns', not {form!r}.")
    if find_spec(_MODULES[form].partition(".")[0]) is None:
        raise QueryError(f'as_={form!r} needs {form}: pip install "nomadquery[{form}]", or as_="columns".')


def to_ase(structure: Structure) -> ase.Atoms:
    """Return the structure as ``ase.Atoms``: Å, eV, eV/Å, and the stress in eV/Å³ with tension positive.

    Energy, forces and stress are the results of a ``SinglePointCalculator``, where the structure has
    any; the stress has ASE's order xx yy zz yz xz xy. ``info`` and ``arrays`` are the structure's; an
    atom of unknown kind is ``X`` (number 0). A structure without cell has a cell of zeros.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(
        symbols=list(structure.symbols),
        positions=structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
        info=dict(structure.info),
    )
    for name, values in structure.arrays.items():
        atoms.set_array(name, _numpy(values))
    results = {
        "energy": structure.energy,
        "forces": None if structure.forces is None else _numpy(structure.forces),
        "stress": None if structure.stress is None else _numpy(voigt(structure.stress)),
    }
    found = {name: value for name, value in results.items() if value is not None}
    if found:
        atoms.calc = SinglePointCalculator(atoms, **found)
    return atoms


def to_pymatgen(structure: Structure) -> Any:
    """Return a ``pymatgen.core.Structure``, or a ``Molecule`` where nothing repeats. Lengths in Å.

    ``info``, ``energy`` (eV) and ``stress`` (3 × 3, eV/Å³, tension positive) are in ``properties``,
    ``forces`` (eV/Å) and ``arrays`` in the site properties. An atom of unknown kind is a
    ``DummySpecies("X")``. Where a cell lacks a vector along which nothing repeats, there is one of 1 Å
    at right angles to the others.

    Raises
    ------
    QueryError
        If lattice vectors are parallel or lie in one plane, so that pymatgen has no lattice for them.
    """
    from pymatgen.core import DummySpecies, Lattice, Molecule
    from pymatgen.core import Structure as Crystal

    species = [DummySpecies("X") if symbol == "X" else symbol for symbol in structure.symbols]
    facts = {"energy": structure.energy, "forces": structure.forces, "stress": structure.stress}
    sites = {**structure.arrays, **({"forces": facts["forces"]} if facts["forces"] is not None else {})}
    properties = {**structure.info, **{n: v for n, v in facts.items() if v is not None and n != "forces"}}
    given: dict[str, Any] = {"site_properties": sites or None, "properties": properties}
    if structure.cell is None or not any(structure.pbc):
        return Molecule(species, structure.positions, **given)
    cell = completed_cell(structure.cell)
    if are_dependent(cell):
        raise QueryError(
            f"Entry {structure.entry_id}: lattice vectors are parallel or lie in one plane, which pymatgen "
            "cannot hold. Take this structure with as_='ase'."
        )
    lattice = Lattice(cell, pbc=structure.pbc)
    return Crystal(lattice, species, structure.positions, coords_are_cartesian=True, **given)


def structure_table(structures: Iterable[Structure], index: Sequence[str] = ()) -> pa.Table:
    """Return one row for each structure: units stand in the field metadata, as in other tables.

    Columns: ``entry_id``, those of ``index`` (``run``, ``calculation``), ``symbols``, ``positions`` (Å),
    ``cell`` (Å), ``pbc``, ``energy`` (eV), ``forces`` (eV/Å), ``stress`` (eV/Å³, tension positive). What a
    structure lacks is null.
    """
    import pyarrow as pa

    matrix = pa.list_(pa.list_(pa.float64()))
    fields = [
        pa.field("entry_id", pa.string(), nullable=False),
        *(pa.field(name, pa.int64()) for name in index),
        pa.field("symbols", pa.list_(pa.string())),
        pa.field("positions", matrix, metadata={"unit": "angstrom", "array": "2"}),
        pa.field("cell", matrix, metadata={"unit": "angstrom", "array": "2"}),
        pa.field("pbc", pa.list_(pa.bool_())),
        pa.field("energy", pa.float64(), metadata={"unit": "eV"}),
        pa.field("forces", matrix, metadata={"unit": "eV/angstrom", "array": "2"}),
        pa.field("stress", matrix, metadata={"unit": "eV/angstrom^3", "array": "2"}),
    ]
    rows = [
        {
            "entry_id": one.entry_id,
            **dict(zip(index, one.index, strict=False)),
            **{name: getattr(one, name) for name in ("symbols", "positions", "cell", "pbc")},
            **{name: getattr(one, name) for name in ("energy", "forces", "stress")},
        }
        for one in structures
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def voigt(stress: Vectors) -> list[float]:
    """Return xx yy zz yz xz xy of a 3 × 3 stress; of each pair off the diagonal the mean."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = stress
    return [xx, yy, zz, (yz + zy) / 2, (xz + zx) / 2, (xy + yx) / 2]


def _numpy(values: Any) -> Any:
    import numpy as np

    return np.asarray(values)
