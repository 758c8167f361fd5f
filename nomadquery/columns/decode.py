"""Entries as JSON bytes → Arrow arrays, column by column, in the columns' units."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nomadquery import units
from nomadquery.columns.extract import SeveralItems, extract
from nomadquery.columns.plan import PlannedColumn
from nomadquery.errors import ResponseFormatError
from nomadquery.query import dates
from nomadquery.query.catalogue import Catalogue, Kind

if TYPE_CHECKING:
    import pyarrow as pa

_INT64: Final = 2**63


@dataclass(frozen=True, slots=True)
class Problem:
    """What a row lacks, and why.

    Attributes
    ----------
    entry_id : str
    path : str
        The path or column concerned.
    why : str
    """

    entry_id: str
    path: str
    why: str


def arrow_schema(columns: Sequence[PlannedColumn]) -> pa.Schema:
    """Return the schema of the table: ``entry_id`` first; units stand in the field metadata.

    Columns of unknown kind are JSON text until `settle` finds their type.
    """
    import pyarrow as pa

    fields = [pa.field("entry_id", pa.string(), nullable=False)]
    for column in columns:
        metadata = {"path": column.quantity} | ({"unit": column.unit} if column.unit else {})
        if column.kind == "other":
            metadata["json"] = "1"
        if column.n_dimensions and column.n_dimensions == column.n_levels and column.kind == "number":
            metadata["array"] = str(column.n_dimensions)
        fields.append(pa.field(column.name, _type_of(column), metadata=metadata))
    return pa.schema(fields)


def read_documents(items: Iterable[bytes | msgspec.Raw]) -> list[Mapping[str, Any]]:
    """Return the entries as objects, in their order.

    Raises
    ------
    ResponseFormatError
        If one is not a JSON object with an ``entry_id``.
    """
    return [_document(item) for item in items]


def decode(
    documents: Sequence[Mapping[str, Any]],
    columns: Sequence[PlannedColumn],
    catalogue: Catalogue,
    *,
    archives: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[pa.RecordBatch, list[Problem]]:
    """Return one row for each search document, in their order, and what some of them lack.

    ``archives`` holds, by entry id, the archives that archive columns are read from; an
    entry without one has nulls there.
    """
    import pyarrow as pa

    ids = [document["entry_id"] for document in documents]
    sources = {
        "search": documents,
        "archive": [(archives or {}).get(entry_id, {}) for entry_id in ids],
    }
    problems: list[Problem] = []
    arrays: list[pa.Array] = [pa.array(ids, pa.string())]
    for column in columns:
        values = _extracted(sources[column.source], ids, column, catalogue, problems)
        arrays.append(_array(values, ids, column, problems))
    return pa.record_batch(arrays, schema=arrow_schema(columns)), problems


def _document(item: bytes | msgspec.Raw) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(item)
    except msgspec.DecodeError:
        document = json.loads(bytes(item))  # NaN and Infinity, which some codes leave behind
    if not isinstance(document, dict) or not isinstance(document.get("entry_id"), str):
        raise ResponseFormatError("An entry of the answer has no entry_id, so its row could not be named.")
    return document


def _extracted(
    documents: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    column: PlannedColumn,
    catalogue: Catalogue,
    problems: list[Problem],
) -> list[Any]:
    values: list[Any] = []
    for entry_id, document in zip(ids, documents, strict=True):
        try:
            values.append(extract(document, column, catalogue))
        except SeveralItems as error:
            problems.append(Problem(entry_id, column.quantity, str(error)))
            values.append(None)
    return values


def _array(values: list[Any], ids: Sequence[str], column: PlannedColumn, problems: list[Problem]) -> pa.Array:
    import pyarrow as pa

    if column.kind == "other":
        texts = [
            None if v is None else json.dumps(_in_unit(v, column), separators=(",", ":")) for v in values
        ]
        return pa.array(texts, pa.string())
    wanted = _type_of(column)
    levels = column.n_levels
    if column.kind == "date":
        values = [_mapped(value, levels, _moment) for value in values]
    try:
        array = pa.array([_listed(value, levels) for value in values], wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        array = pa.array(_fitting(values, ids, column, problems), wanted)
    return _scaled(array, column)


def _fitting(
    values: list[Any], ids: Sequence[str], column: PlannedColumn, problems: list[Problem]
) -> list[Any]:
    """Return the values with ``None`` in place of each that does not have the declared type."""
    fits = _CHECKS[column.kind]
    kept: list[Any] = []
    for entry_id, value in zip(ids, values, strict=True):
        listed = _listed(value, column.n_levels)
        if _all_fit(listed, column.n_levels, fits):
            kept.append(listed)
            continue
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        problems.append(
            Problem(entry_id, column.quantity, f"{shown} is no {column.kind} value of the declared shape")
        )
        kept.append(None)
    return kept


_CHECKS: Final[Mapping[Kind, Callable[[Any], bool]]] = {
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "date": lambda value: value is None or hasattr(value, "tzinfo"),
    "other": lambda _: True,
}


def _all_fit(value: Any, levels: int, fits: Callable[[Any], bool]) -> bool:
    if value is None:
        return True
    if levels:
        return isinstance(value, list) and all(_all_fit(item, levels - 1, fits) for item in value)
    return fits(value)


def _listed(value: Any, levels: int) -> Any:
    """Return ``value``, a single one in place of a list of one put into a list."""
    return [value] if levels == 1 and value is not None and not isinstance(value, list) else value


def _mapped(value: Any, levels: int, function: Callable[[Any], Any]) -> Any:
    if value is None:
        return None
    if levels and isinstance(value, list):
        return [_mapped(item, levels - 1, function) for item in value]
    return function(value)


def _moment(value: Any) -> Any:
    try:
        return dates.moment_of(value)
    except (TypeError, ValueError):
        return value


def _in_unit(value: Any, column: PlannedColumn) -> Any:
    if column.stored_unit is None or column.unit in {None, column.stored_unit}:
        return value
    if isinstance(value, list):
        return [_in_unit(item, column) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return units.convert(float(value), column.stored_unit, str(column.unit))


def _scaled(array: pa.Array, column: PlannedColumn) -> pa.Array:
    """Return the array with its numbers converted to the column's unit, at whatever depth."""
    if column.kind != "number" or column.unit is None or column.stored_unit in {None, column.unit}:
        return array
    return _converted(array, str(column.stored_unit), column.unit)


def _converted(array: pa.Array, stored: str, unit: str) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_list(array.type):
        inner = _converted(array.values, stored, unit)
        return pa.ListArray.from_arrays(array.offsets, inner, type=array.type, mask=array.is_null())
    numbers = array.to_numpy(zero_copy_only=False)
    return pa.array(
        units.convert(numbers, stored, unit), array.type, mask=array.is_null().to_numpy(zero_copy_only=False)
    )


def _type_of(column: PlannedColumn) -> pa.DataType:
    import pyarrow as pa

    leaf = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.timestamp("ms", tz="UTC"),
    }.get(column.kind, pa.string())
    for _ in range(column.n_levels):
        leaf = pa.list_(leaf)
    return leaf
