"""A table's own columns, put into the structures of its rows.

The structures of a table are read by a second table with the same query, owner and ``.per``. Its rows are
those of the first one before `drop_missing`, so the first one's rows are found among them in order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from nomadquery import units as unit_tools
from nomadquery.columns.planned import PlannedColumn
from nomadquery.columns.stress import signed_stress
from nomadquery.columns.structure import Structure, StructureProblem
from nomadquery.columns.structures import FRAME_INDEX, Note, Which, frame_section, structures_of
from nomadquery.columns.vectors import is_matrix, is_number
from nomadquery.errors import QueryError, ResultChanged, UnitError
from nomadquery.query.catalogue import Catalogue

#: Columns that are the structure's own results, and the unit that they have there.
RESULT_UNITS: Final[Mapping[str, str]] = {
    "energy": "eV",
    "free_energy": "eV",
    "forces": "eV/angstrom",
    "stress": "eV/angstrom^3",
}
_TAKEN: Final = frozenset(
    {"species", "symbols", "numbers", "Z", "pos", "positions", "cell", "Lattice", "pbc"}
)
_OF_THE_FORMAT: Final = frozenset({"Properties", "units", "stress_as_stored", "comment"})
_ATOM_SHAPES: Final = frozenset({"n_atoms", "number_of_atoms", "n_sites"})
_ROW: Final = "selected"


def check_attachable(column_units: Mapping[str, str | None]) -> None:
    """Refuse, before anything is fetched, columns whose names mean something else beside a structure.

    ``column_units`` has every column of the table, without the index columns.

    Raises
    ------
    QueryError
        If a name stands for a part of the structure.
    UnitError
        If ``energy``, ``free_energy``, ``forces`` or ``stress`` cannot be in eV, eV/Å or eV/Å³.
    """
    for name, unit in column_units.items():
        if name in _TAKEN | _OF_THE_FORMAT:
            raise QueryError(
                f"The column {name!r} has the name of a part of the structure, which is written anyway. "
                f"Leave it out, or give it another name: select(my_{name}=…)."
            )
        wanted = RESULT_UNITS.get(name)
        if wanted is not None and (unit is None or not unit_tools.same_dimension(unit, wanted)):
            raise UnitError(
                f"The column {name!r} would be read as the structure's {name} in {wanted}, but it has "
                f"{'no unit' if unit is None else unit}. Give it another name: select(my_{name}=…)."
            )


def per_atom_columns(columns: Iterable[PlannedColumn], catalogue: Catalogue) -> frozenset[str]:
    """Return the names of the columns whose value is an array with one item for each atom."""
    return frozenset(column.name for column in columns if _is_per_atom(column, catalogue))


def structures_with_columns(
    structure_rows: Iterable[Mapping[str, Any]],
    rows: Iterable[Mapping[str, Any]],
    which: Which,
    *,
    per: str | None = None,
    column_units: Mapping[str, str],
    per_atom: Collection[str] = (),
) -> Iterator[Structure | StructureProblem]:
    """Yield the structures of ``rows`` with the values of their columns.

    ``energy`` (eV), ``forces`` (eV/Å) and ``stress`` (eV/Å³, with the program's sign made ASE's) take the
    place of the structure's own; columns in ``per_atom`` go into ``arrays`` and all others into ``info``, in
    the table's units, which stand in ``info["units"]`` as ``"gap: eV, cutoff: eV"``. Nulls are left out.

    Parameters
    ----------
    structure_rows : iterable of mapping
        Rows of the table with the columns of `structure_columns`: all of them, in the order of ``rows``.
    rows : iterable of mapping
        Rows of the user's table; those that were dropped are missing, and their structures too.
    which, per
        As for `structures_of`.
    column_units : mapping
        Column → unit, for the columns that have one.
    per_atom : collection of str
        See `per_atom_columns`.

    Raises
    ------
    ResultChanged
        If a row has no counterpart among ``structure_rows``.
    """
    section = frame_section(per, which)
    index = FRAME_INDEX[section] if section is not None else ()
    attach = partial(_attached, skipped={"entry_id", *index}, column_units=column_units, per_atom=per_atom)
    return structures_of(matched(structure_rows, rows, index), which, per=per, attach=attach)


def matched(
    structure_rows: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]], index: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield, for each of ``rows``, the structure's row with the same entry id and positions.

    The user's row stands in it under ``"selected"``. One pass over both; nothing is kept.

    Raises
    ------
    ResultChanged
        If a row has no counterpart behind that of the row before it.
    """
    names = ("entry_id", *index)
    remaining = iter(structure_rows)
    for row in rows:
        key = tuple(row[name] for name in names)
        found = next((other for other in remaining if tuple(other[name] for name in names) == key), None)
        if found is None:
            raise ResultChanged(
                f"The row {key} has no structure's row beside it: the data changed between the two readings. "
                "Run it again with refresh=True.",
                missing=(str(key[0]),),
            )
        yield {**found, _ROW: row}


def _is_per_atom(column: PlannedColumn, catalogue: Catalogue) -> bool:
    known = catalogue.find(column.quantity)
    return (
        known is not None
        and bool(known.shape)
        and known.shape[0] in _ATOM_SHAPES
        and column.n_dimensions == len(known.shape)
    )


def _attached(
    structure: Structure,
    row: Mapping[str, Any],
    note: Note,
    *,
    skipped: Collection[str],
    column_units: Mapping[str, str],
    per_atom: Collection[str],
) -> Structure:
    info, arrays, shown = dict(structure.info), dict(structure.arrays), []
    for name, value in row[_ROW].items():
        if name in skipped or value is None:
            continue
        if name in RESULT_UNITS:
            structure, info = _with_result(
                structure, info, name, _in_unit(value, name, column_units[name]), note
            )
            continue
        if name in per_atom and _fits(value, len(structure.symbols)):
            arrays[name] = value
        else:
            info[name] = value
        if name in column_units:
            shown.append(f"{name}: {column_units[name]}")
    if shown:
        info["units"] = ", ".join(shown)
    return replace(structure, info=info, arrays=arrays)


def _with_result(
    structure: Structure, info: dict[str, Any], name: str, value: Any, note: Note
) -> tuple[Structure, dict[str, Any]]:
    """Return structure and facts with the user's energy, forces or stress; one that does not fit is noted."""
    n_rows = {"forces": len(structure.symbols), "stress": 3}.get(name)
    if not (is_number(value) if n_rows is None else is_matrix(value, n_rows)):
        note(
            name, f"left out: not {'one finite number' if n_rows is None else f'{n_rows} × 3 finite numbers'}"
        )
        return structure, info
    match name:
        case "energy":
            return replace(structure, energy=value), info
        case "forces":
            return replace(structure, forces=value), info
        case "stress":
            signed = signed_stress(value, info.get("program_name"))
            if signed is None:
                return replace(structure, stress=None), {**info, "stress_as_stored": value}
            return replace(structure, stress=signed), info
        case _:
            return structure, {**info, name: value}


def _in_unit(value: Any, name: str, unit: str) -> Any:
    if isinstance(value, list):
        return [_in_unit(item, name, unit) for item in value]
    return unit_tools.convert(float(value), unit, RESULT_UNITS[name]) if is_number(value) else value


def _fits(value: Any, n_atoms: int) -> bool:
    """Return whether a value is one item, or one row of equal length, for each atom; no nulls."""
    if not isinstance(value, list) or len(value) != n_atoms:
        return False
    rows = [item if isinstance(item, list) else [item] for item in value]
    return (
        len({len(row) for row in rows}) == 1
        and bool(rows[0])
        and not any(cell is None or isinstance(cell, list) for row in rows for cell in row)
    )
