"""Structures and tables written for other programs: extended XYZ, CIF, Excel. Whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nomadquery.columns.frame import units_of
from nomadquery.columns.structure import Structure, StructureProblem
from nomadquery.columns.structure_texts import cif_refusal, cif_text, extxyz_text
from nomadquery.errors import QueryError, UnsafeContent
from nomadquery.fetch.exports import checked_target
from nomadquery.store.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_ADVICE: Final = "Give another folder."
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_MOST_ROWS: Final = 1_048_576  # of a sheet, header included
_MOST_COLUMNS: Final = 16_384
_MOST_CHARACTERS: Final = 32_767  # of a cell
_WHOLE: Final = 2**53  # sheets hold numbers as doubles
_FIRST_DAY: Final = datetime(1900, 3, 1, tzinfo=UTC)  # sheets count a 29 February 1900
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPE_LIKE: Final = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_SHEETS_NEED: Final = 'Sheets (.xlsx) need openpyxl: pip install "nomadquery[excel]", or write .to_csv(…).'


def write_extxyz(structures: Iterable[Structure], path: str | Path) -> Path:
    """Write one frame for each structure, in their order, as UTF-8; return the file.

    Positions and cell in Å, energy in eV, forces in eV/Å, stress in eV/Å³ with tension positive: see
    `extxyz_text`. No structures make an empty file.

    Raises
    ------
    QueryError
        If ``path`` is a folder.
    CacheError
        If it cannot be written.
    """
    target = checked_target(path)
    with replacing(target, advice=_ADVICE) as stream:
        for structure in structures:
            stream.write(extxyz_text(structure).encode())
    return target


def write_cif(
    structures: Iterable[Structure], folder: str | Path
) -> tuple[tuple[Path, ...], tuple[StructureProblem, ...]]:
    """Write one file for each structure into ``folder``; return the files, and what was left out.

    The files are called ``<entry_id>.cif``; frames ``<entry_id>-<run>-<calculation>.cif``. Å and
    degrees, see `cif_text`. The folder is made. Each file is whole; one of that name is replaced. A
    structure that does not repeat, or has no whole cell, is left out and told.

    Raises
    ------
    QueryError
        If ``folder`` is a file, or two structures would get one name.
    UnsafeContent
        If an entry id cannot be a file name.
    CacheError
        If a file cannot be written.
    """
    place = _checked_folder(folder)
    problems: list[StructureProblem] = []
    written: dict[Path, None] = {}
    for structure in structures:
        refusal = cif_refusal(structure)
        if refusal is not None:
            problems.append(
                StructureProblem(structure.entry_id, "atoms.lattice_vectors", f"no CIF: {refusal}")
            )
            continue
        target = place / f"{_file_name(structure)}.cif"
        if target in written:
            raise QueryError(f"Two structures would be written to {target.name}. Take one for each entry.")
        with replacing(target, advice=_ADVICE) as stream:
            stream.write(cif_text(structure).encode())
        written[target] = None
    return tuple(written), tuple(problems)


def check_excel() -> None:
    """Refuse, before anything is fetched, if sheets cannot be written here.

    Raises
    ------
    QueryError
        If openpyxl is not installed.
    """
    if find_spec("openpyxl") is None:
        raise QueryError(_SHEETS_NEED)


def write_excel(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: str | Path, facts: Mapping[str, Any]
) -> Path:
    """Write an ``.xlsx`` file with the sheets ``table`` and ``about``; return the file.

    ``table`` has one row for each of the table's, and the units in the column names as CSV has:
    ``gap (eV)``. Times are UTC without saying so, as sheets know no zones (before March 1900: ISO text).
    Lists are JSON text. Missing values, NaN included, are empty cells; infinities are text, and so are
    integers beyond ±2**53, which a sheet would round. A text that begins with ``=`` is no formula.
    ``about`` lists the unit and path of each column, and ``facts``: where the table comes from.

    Raises
    ------
    QueryError
        If openpyxl is not installed, ``path`` is a folder, or the table has more than 1,048,575 rows,
        16,384 columns or 32,767 characters in a cell; nothing is written then.
    CacheError
        If the file cannot be written.
    """
    check_excel()
    from openpyxl import Workbook

    target = checked_target(path)
    if len(schema.names) > _MOST_COLUMNS:
        raise QueryError(f"A sheet holds {_MOST_COLUMNS:,} columns, not {len(schema.names):,}. Select fewer.")
    book = Workbook(write_only=True)
    with replacing(target, advice=_ADVICE) as stream:
        try:
            for title, rows in (
                ("table", _table_rows(batches, schema)),
                ("about", _about_rows(schema, facts)),
            ):
                sheet = book.create_sheet(title)
                for row in rows:
                    sheet.append([_cell(sheet, value) for value in row])
            book.save(stream)
        except BaseException:
            _close(book)
            raise
    return target


def _close(book: Any) -> None:
    """End the sheets of a book that is not saved: openpyxl's temporary files stay open until then."""
    from openpyxl.utils.exceptions import WorkbookAlreadySaved

    for sheet in book.worksheets:
        with contextlib.suppress(WorkbookAlreadySaved):
            sheet.close()


def _checked_folder(folder: str | Path) -> Path:
    place = Path(folder).expanduser()
    if place.exists() and not place.is_dir():
        raise QueryError(f"{place} is a file. Give the name of a folder for one CIF file an entry.")
    return place


def _file_name(structure: Structure) -> str:
    name = "-".join(map(str, structure.key))
    if _PLAIN_NAME.fullmatch(name) is None:
        raise UnsafeContent(
            f"The entry id {structure.entry_id!r} cannot be the name of a file; nothing is written."
        )
    return name


def _table_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[list[Any]]:
    units = units_of(schema)
    yield [_text(f"{name} ({units[name]})" if name in units else name) for name in schema.names]
    n_rows = 1
    for batch in batches:
        n_rows += batch.num_rows
        if n_rows > _MOST_ROWS:
            raise QueryError(
                f"A sheet holds {_MOST_ROWS - 1:,} rows, and the table has more. Write .to_parquet(…) or "
                ".to_csv(…), or take fewer entries with .limit(n)."
            )
        for row in batch.to_pylist():
            yield [_plain(value, name, row) for name, value in row.items()]


def _about_rows(schema: pa.Schema, facts: Mapping[str, Any]) -> Iterator[list[Any]]:
    yield ["column", "unit", "path"]
    for field in schema:
        known = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        yield [_text(field.name), known.get("unit"), known.get("path")]
    yield []
    yield ["Times are UTC. Lists are JSON. Empty cells are missing values."]
    yield []
    for name, value in facts.items():
        text = _text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_iso))
        yield [name, text if len(text) <= _MOST_CHARACTERS else f"{text[:1_000]}… ({len(text):,} characters)"]


def _plain(value: Any, name: str, row: Mapping[str, Any]) -> Any:
    """Return what a cell can hold."""
    match value:
        case list() | dict():
            value = json.dumps(value, ensure_ascii=False, default=_iso)
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None) if value >= _FIRST_DAY else _iso(value)
        case bool() | None:
            return value
        case int():
            return value if abs(value) <= _WHOLE else str(value)
        case float():
            return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    text = _text(value)
    if len(text) > _MOST_CHARACTERS:
        raise QueryError(
            f"Entry {row.get('entry_id')}: the value of {name!r} has {len(text):,} characters as text; a "
            f"cell holds {_MOST_CHARACTERS:,}. Leave the column out, or write .to_parquet(…)."
        )
    return text


def _text(value: object) -> str:
    """Return text in the form in which Office Open XML holds characters that XML cannot."""
    marked = _ESCAPE_LIKE.sub("_x005F_", str(value))
    return _CONTROL.sub(lambda found: f"_x{ord(found[0]):04X}_", marked)


def _cell(sheet: Any, value: Any) -> Any:
    """Return a cell; texts as text, never as formulas or error values."""
    if not isinstance(value, str):
        return value
    from openpyxl.cell import WriteOnlyCell

    cell = WriteOnlyCell(sheet, value=value)
    cell.data_type = "s"
    return cell


def _iso(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
