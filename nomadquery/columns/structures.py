"""Rows → atomic structures, in Å and eV: which columns to select, and what becomes of their values.

NOMAD stores metres, joules and newtons; here lengths are Å, energies eV, forces eV/Å and
stresses eV/Å³, because ASE, pymatgen and the file formats expect them.

*Where structures are.* ``last`` and ``first``: of all systems of all runs of the entry, the last or
first one that has labels **and** positions; labels, positions, cell and periodicity are always taken
from one and the same system. ``original`` and ``conventional``: the item of
``results.material.topology`` labelled so, its ``atoms`` or what its ``atoms_ref`` leads to; in
older entries ``results.properties.structures``. ``frames``: the system that a calculation refers to,
or each system, by the section of ``.per``.

*Stress* has ASE's sign where the program's is known, see `stress`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, Literal, assert_never

from nomadquery.columns.elements import UNKNOWN, symbol_of
from nomadquery.columns.stress import signed_stress
from nomadquery.columns.structure import Structure, StructureProblem
from nomadquery.columns.vectors import Vectors, are_dependent, is_matrix, is_number
from nomadquery.errors import QueryError

#: Notes a problem: path, why.
Note = Callable[[str, str], None]
Attach = Callable[[Structure, Mapping[str, Any], Note], Structure]
Which = Literal["last", "first", "original", "conventional", "frames"]

#: Sections that frames follow → names of the index columns beside ``entry_id``.
FRAME_INDEX: Final[Mapping[str, tuple[str, ...]]] = {
    "run.calculation": ("run", "calculation"),
    "run.system": ("run", "system"),
}
_CHOICES: Final = ("last", "first", "original", "conventional", "frames")
_LABELS: Final[Mapping[str, str]] = {"original": "original", "conventional": "conventional cell"}
_TOPOLOGY: Final = "results.material.topology"
_SYSTEM: Final = "run.system.atoms"
_STRESS: Final = "run.calculation.stress.total.value"
_FORCES: Final = "run.calculation.forces.total.value"
_PARTS: Final = ("labels", "positions", "cell", "periodic")


@dataclass(frozen=True, slots=True)
class _Atoms:
    """What a row says about one set of atoms; ``info`` says where it was found."""

    labels: Any
    positions: Any
    cell: Any
    periodic: Any
    info: Mapping[str, Any]

    @property
    def is_complete(self) -> bool:
        return isinstance(self.labels, list) and isinstance(self.positions, list)


class _Notes(Counter[tuple[str, str]]):
    """(path, why) → how often, within one entry."""

    def add(self, path: str, why: str) -> None:
        self[path, why] += 1


def frame_section(per: str | None, which: Which) -> str | None:
    """Return the section that structures follow: of ``frames`` that of ``.per``, else ``None``.

    Raises
    ------
    QueryError
        If ``which`` is another word, or frames cannot follow ``per``.
    """
    if which not in _CHOICES:
        raise QueryError(f"which is one of {', '.join(map(repr, _CHOICES))}, not {which!r}.")
    if which != "frames":
        return None
    section = "run.calculation" if per is None else per
    if section not in FRAME_INDEX:
        raise QueryError(
            f"Frames are the items of run.calculation or run.system, not of {section}. "
            "Write .per('run.calculation'), or ask for structures('last')."
        )
    return section


def structure_columns(which: Which, *, per: str | None = None) -> dict[str, str]:
    """Return name → column in text form: what must be selected to build the structures.

    Parameters
    ----------
    which : str
        ``last first original conventional frames``.
    per : str or None
        For frames: ``run.calculation`` (``None`` too) or ``run.system``; the columns are meant for a table
        of one row for each item.

    Raises
    ------
    QueryError
        If ``which`` is another word, or frames cannot follow ``per``.
    """
    section = frame_section(per, which)
    if section is None and which in {"last", "first"}:
        return _atoms_columns(_SYSTEM)
    if section == "run.system":
        return _atoms_columns(_SYSTEM)
    if section == "run.calculation":
        return {
            **_atoms_columns(f"{section}.system_ref.atoms"),
            "energy": f"{section}.energy.total.value in eV",
            "forces": f"{_FORCES} in eV/angstrom",
            "stress": f"{_STRESS} in eV/angstrom^3",
            "program_name": "results.method.simulation.program_name",
        }
    items = f'{_TOPOLOGY}[label == "{_LABELS[which]}"]'
    older = f"results.properties.structures.structure_{which}"
    return {
        **_atoms_columns(f"{items}.atoms"),
        **{f"referenced_{name}": path for name, path in _atoms_columns(f"{items}.atoms_ref").items()},
        "older_labels": f"{older}.species_at_sites",
        "older_positions": f"{older}.cartesian_site_positions in angstrom",
        "older_cell": f"{older}.lattice_vectors in angstrom",
        "older_periodic": f"{older}.dimension_types",
    }


def structures_of(
    rows: Iterable[Mapping[str, Any]], which: Which, *, per: str | None = None, attach: Attach | None = None
) -> Iterator[Structure | StructureProblem]:
    """Yield the structure of each row, and behind those of an entry what some of them lack.

    ``rows`` are those of a table with the columns of `structure_columns` and, for frames, the index
    columns of `FRAME_INDEX`; rows of one entry stand together. A row without a structure yields
    only a problem. ``attach`` is given each structure, its row and a function that notes a problem (path,
    why), and returns the structure to yield.

    Raises
    ------
    QueryError
        As `structure_columns`.
    """
    section = frame_section(per, which)
    names = FRAME_INDEX[section] if section is not None else ()
    path = _TOPOLOGY if which in _LABELS else _SYSTEM
    path = "run.calculation.system_ref" if section == "run.calculation" else path
    for entry_id, group in groupby(rows, key=lambda row: str(row["entry_id"])):
        notes = _Notes()
        for row in group:
            index = {name: row[name] for name in names}
            structure = _structure(entry_id, index, _chosen(row, which, path, notes), row, notes)
            if structure is not None:
                yield structure if attach is None else attach(structure, row, notes.add)
        for (path, why), n_times in notes.items():
            yield StructureProblem(entry_id, path, why if n_times == 1 else f"{why} ({n_times} frames)")


def _atoms_columns(atoms: str) -> dict[str, str]:
    return {
        "labels": f"{atoms}.labels",
        "positions": f"{atoms}.positions in angstrom",
        "cell": f"{atoms}.lattice_vectors in angstrom",
        "periodic": f"{atoms}.periodic",
    }


def _chosen(row: Mapping[str, Any], which: Which, path: str, notes: _Notes) -> _Atoms | None:
    """Return the atoms of a row; ``None``, noted, where there are none."""
    match which:
        case "frames":
            found = [_atoms(row, "", (), {})]
        case "last" | "first":
            found = list(_systems(row))
            if which == "last":
                found.reverse()
        case "original" | "conventional":
            found = list(_parts(row, _LABELS[which], notes))
        case _:
            assert_never(which)
    complete = next((atoms for atoms in found if atoms.is_complete), None)
    if complete is None:
        missing = f"labelled {_LABELS[which]!r}" if which in _LABELS else "with both labels and positions"
        notes.add(path, f"no structure {missing}")
    elif complete is not found[0] and which in {"last", "first"}:
        place = f"system {complete.info['system']} of run {complete.info['run']}"
        notes.add(path, f"the {which} system lacks labels or positions; {place} was taken")
    return complete


def _atoms(row: Mapping[str, Any], prefix: str, place: tuple[int, ...], info: Mapping[str, Any]) -> _Atoms:
    """Return the atoms at a place of the list levels of the columns that begin with ``prefix``."""
    labels, positions, cell, periodic = (_at(row[prefix + name], place) for name in _PARTS)
    return _Atoms(labels, positions, cell, periodic, info)


def _at(value: Any, place: tuple[int, ...]) -> Any:
    for position in place:
        value = value[position] if isinstance(value, list) and position < len(value) else None
    return value


def _length(*values: Any) -> int:
    return max((len(value) for value in values if isinstance(value, list)), default=0)


def _systems(row: Mapping[str, Any]) -> Iterator[_Atoms]:
    """Yield the systems of all runs in order; one without any atoms too."""
    columns = [row["labels"], row["positions"]]
    for run in range(_length(*columns)):
        for system in range(_length(*(_at(column, (run,)) for column in columns))):
            yield _atoms(row, "", (run, system), {"run": run, "system": system})


def _parts(row: Mapping[str, Any], label: str, notes: _Notes) -> Iterator[_Atoms]:
    """Yield the labelled items of the topology that are complete, then the structure of older entries."""
    for prefix in ("", "referenced_"):
        n_items = _length(row[f"{prefix}labels"], row[f"{prefix}positions"])
        found = [_atoms(row, prefix, (item,), {}) for item in range(n_items)]
        complete = [atoms for atoms in found if atoms.is_complete]
        if len(complete) > 1:
            notes.add(_TOPOLOGY, f"{len(complete)} items are labelled {label!r}; the first was taken")
        yield from complete
    older = _atoms(row, "older_", (), {})
    if isinstance(older.periodic, list):  # dimension_types: 1 where the structure repeats, else 0
        older = replace(older, periodic=[kind == 1 for kind in older.periodic])
    yield older


def _structure(
    entry_id: str, index: Mapping[str, int], atoms: _Atoms | None, row: Mapping[str, Any], notes: _Notes
) -> Structure | None:
    """Return the structure, ``None`` where the atoms make none; what is wrong is noted."""
    if atoms is None:
        return None
    refusal = _refusal(atoms)
    if refusal is not None:
        notes.add("atoms", f"no structure: {refusal}")
        return None
    cell = atoms.cell if atoms.cell is not None and any(map(any, atoms.cell)) else None
    pbc = _periodicity(atoms.periodic, cell, notes)
    if cell is not None and are_dependent([v for v, repeats in zip(cell, pbc, strict=True) if repeats]):
        notes.add("atoms.lattice_vectors", "no structure: lattice vectors are parallel or lie in one plane")
        return None
    symbols = tuple(map(symbol_of, atoms.labels))
    _note_unknown(atoms.labels, symbols, notes)
    info: dict[str, Any] = {"entry_id": entry_id, **atoms.info, **index}
    if row.get("program_name") is not None:
        info["program_name"] = row["program_name"]
    return Structure(
        entry_id=entry_id,
        symbols=symbols,
        positions=atoms.positions,
        cell=cell,
        pbc=pbc,
        index=tuple(index.values()),
        energy=row["energy"] if is_number(row.get("energy")) else None,
        forces=_matrix(row.get("forces"), len(symbols), _FORCES, notes),
        stress=_stress(_matrix(row.get("stress"), 3, _STRESS, notes), info, notes),
        info=info,
        arrays={} if list(symbols) == atoms.labels else {"labels": [label or "" for label in atoms.labels]},
    )


def _refusal(atoms: _Atoms) -> str | None:
    n_atoms = len(atoms.labels)
    if n_atoms != len(atoms.positions):
        return f"{n_atoms} labels and {len(atoms.positions)} positions"
    if not n_atoms:
        return "no atoms"
    if not is_matrix(atoms.positions, n_atoms):
        return "positions are not three finite numbers for each atom"
    if atoms.cell is not None and not is_matrix(atoms.cell, 3):
        return "lattice vectors are not 3 × 3 finite numbers"
    return None


def _periodicity(periodic: Any, cell: Vectors | None, notes: _Notes) -> tuple[bool, bool, bool]:
    """Return along which lattice vectors the structure repeats; as NOMAD, along none where it is not said."""
    stated = [False] * 3
    if isinstance(periodic, list) and len(periodic) == 3:
        stated = [flag is True for flag in periodic]
    elif cell is not None:
        notes.add("atoms.periodic", "the entry does not say whether the cell repeats: taken as not periodic")
    has_vector = [False] * 3 if cell is None else [any(vector) for vector in cell]
    if any(flag and not vector for flag, vector in zip(stated, has_vector, strict=True)):
        notes.add("atoms.lattice_vectors", "periodic without a lattice vector: taken as not periodic there")
    first, second, third = (flag and vector for flag, vector in zip(stated, has_vector, strict=True))
    return first, second, third


def _note_unknown(labels: Sequence[Any], symbols: Sequence[str], notes: _Notes) -> None:
    pairs = zip(labels, symbols, strict=True)
    unknown = sorted({str(label or "") for label, symbol in pairs if symbol == UNKNOWN})
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:8]) + (", …" if len(unknown) > 8 else "")
        notes.add("atoms.labels", f"no chemical element, taken as X: {shown}")


def _matrix(value: Any, n_rows: int, path: str, notes: _Notes) -> Vectors | None:
    if value is None:
        return None
    if is_matrix(value, n_rows):
        found: Vectors = value
        return found
    notes.add(path, f"left out: not {n_rows} × 3 finite numbers")
    return None


def _stress(stress: Vectors | None, info: dict[str, Any], notes: _Notes) -> Vectors | None:
    """Return the stress with ASE's sign; put into ``info`` as it is stored where the sign is not known."""
    signed = None if stress is None else signed_stress(stress, info.get("program_name"))
    if stress is not None and signed is None:
        info["stress_as_stored"] = stress
        program = info.get("program_name") or "the program"
        notes.add(_STRESS, f"the sign that {program} prints is not known: kept as info['stress_as_stored']")
    return signed
