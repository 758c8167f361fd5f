"""The structures of a search's hits: from its rows to ASE, pymatgen, extxyz and CIF."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from nomadquery.columns.attached import check_attachable, per_atom_columns, structures_with_columns
from nomadquery.columns.frame import to_pandas
from nomadquery.columns.planned import PlannedColumn
from nomadquery.columns.structure import Structure, StructureProblem
from nomadquery.columns.structure_objects import check_form, structure_table, to_ase, to_pymatgen
from nomadquery.columns.structures import (
    FRAME_INDEX,
    Which,
    frame_section,
    structure_columns,
    structures_of,
)
from nomadquery.errors import QueryError
from nomadquery.fetch.exports import checked_target
from nomadquery.fetch.writers import write_cif, write_extxyz
from nomadquery.query.catalogue import Catalogue

if TYPE_CHECKING:
    import pandas as pd

Form = Literal["ase", "pymatgen", "columns"]


#: Gives the rows of a table.
Rows = Callable[[], Iterator[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What structures are made from.

    Attributes
    ----------
    which : str
    per : str or None
        The section whose items are the rows.
    structure_rows : callable
        Gives the rows of the table with the columns of `structure_columns`.
    own_rows : callable or None
        Gives those of the table with the user's own columns, without rows left out by `drop_missing`.
    own_columns : tuple of PlannedColumn
    catalogue : Catalogue
    """

    which: Which
    per: str | None
    structure_rows: Rows
    own_rows: Rows | None
    own_columns: tuple[PlannedColumn, ...]
    catalogue: Catalogue

    def check(self) -> None:
        """Check what can be known before anything is fetched; see `check_attachable`."""
        if self.own_rows is not None:
            check_attachable({column.name: column.unit for column in self.own_columns})

    def found(self) -> Iterator[Structure | StructureProblem]:
        """Yield the structures in the order of the rows, and what has none."""
        rows = self.structure_rows()
        if self.own_rows is None:
            return structures_of(rows, self.which, per=self.per)
        return structures_with_columns(
            rows,
            self.own_rows(),
            self.which,
            per=self.per,
            column_units={column.name: column.unit for column in self.own_columns if column.unit},
            per_atom=per_atom_columns(self.own_columns, self.catalogue),
        )


def wanted_columns(which: Which, per: str | None) -> dict[str, str]:
    """Return the columns to select for structures, by their names; frames need a section of rows.

    Raises
    ------
    QueryError
        If ``which`` is another word, or frames cannot follow ``per``.
    """
    return structure_columns(which, per=frame_section(per, which))


class Structures(Sequence[Any]):
    """The structures of a search, in the order of its rows; what has none stands in `problems`."""

    __slots__ = ("_items", "_problems")

    def __init__(self, items: Sequence[Any], problems: Sequence[StructureProblem]) -> None:
        self._items = tuple(items)
        self._problems = tuple(problems)

    @property
    def problems(self) -> pd.DataFrame:
        """What has no structure, or not all of it: ``entry_id``, ``path``, ``why``."""
        import pandas as pd

        lines = [(one.entry_id, one.path, one.why) for one in self._problems]
        return pd.DataFrame(lines, columns=["entry_id", "path", "why"], dtype="string")

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Any]: ...

    def __getitem__(self, place: int | slice) -> Any:
        return self._items[place]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        lacking = f", {len(self._problems)} problems" if self._problems else ""
        return f"<{len(self._items)} structures{lacking}>"


def made_structures(asked: Asked, form: Form) -> Structures | pd.DataFrame:
    """Return the structures as ASE or pymatgen objects, or as the columns of a DataFrame.

    Raises
    ------
    QueryError
        If the form is not known, or its library is not installed; before anything is fetched.
    """
    check_form(form)
    asked.check()
    problems: list[StructureProblem] = []
    whole = _told(asked.found(), problems)
    if form == "columns":
        section = frame_section(asked.per, asked.which)
        table = structure_table(whole, FRAME_INDEX[section] if section else ())
        _warn(problems)
        return to_pandas(table, {"n_rows": table.num_rows})
    items = []
    for structure in whole:
        try:
            items.append(to_ase(structure) if form == "ase" else to_pymatgen(structure))
        except QueryError as error:
            problems.append(StructureProblem(structure.entry_id, "", str(error)))
    _warn(problems)
    return Structures(items, problems)


def extxyz_of(asked: Asked, path: str | Path) -> Path:
    """Write one frame for each structure; see `write_extxyz`."""
    asked.check()
    checked_target(path)
    problems: list[StructureProblem] = []
    written = write_extxyz(_told(asked.found(), problems), path)
    _warn(problems)
    return written


def cif_of(asked: Asked, folder: str | Path) -> tuple[Path, ...]:
    """Write one file for each structure into a folder; see `write_cif`."""
    problems: list[StructureProblem] = []
    written, refused = write_cif(_told(asked.found(), problems), folder)
    _warn([*problems, *refused])
    return written


def _told(
    found: Iterator[Structure | StructureProblem], problems: list[StructureProblem]
) -> Iterator[Structure]:
    """Yield the structures; add to ``problems`` what has none."""
    for one in found:
        if isinstance(one, StructureProblem):
            problems.append(one)
        else:
            yield one


def _warn(problems: Sequence[StructureProblem]) -> None:
    """Warn that some structures, or parts of them, are missing: a file or a list would not say it."""
    if not problems:
        return
    first = problems[0]
    warnings.warn(
        f"{len(problems)} structures are missing or not whole, for example that of entry {first.entry_id}: "
        f"{first.why}",
        stacklevel=4,
    )
