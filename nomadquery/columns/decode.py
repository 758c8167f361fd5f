"""Entries as JSON bytes → Arrow arrays, column by column, in the columns' units."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nomadquery import units
from nomadquery.columns.extract import reader
from nomadquery.columns.plan import PlannedColumn
from nomadquery.columns.settle import nested
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
        Empty where it concerns the whole table.
    path : str
        The path or column concerned.
    why : str
    """

    entry_id: str
    path: str
    why: str


def arrow_schema(columns: Sequence[PlannedColumn]) -> pa.Schema:
    """Return the schema of the table: ``entry_id`` first; units stand in the field metadata.

    Columns of unknown kind are JSON text until `settle` finds their type. ``array`` says how many
    of the innermost list levels are dimensions of an array.
    """
    import pyarrow as pa

    fields = [pa.field("entry_id", pa.string(), nullable=False)]
    for column in columns:
        metadata = {"path": column.quantity} | ({"unit": column.unit} if column.unit else {})
        if column.kind == "other":
            metadata["json"] = "1"
        elif column.n_dimensions:
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
        read_from = sources[column.source]
        if column.schema is not None:
            read_from = [
                source if _is_of_class(document, column.schema) else {}
                for document, source in zip(documents, read_from, strict=True)
            ]
        values = _extracted(read_from, ids, column, catalogue, problems)
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


def _is_of_class(document: Mapping[str, Any], schema: str) -> bool:
    """Return whether the entry's ``data`` is of the class ``schema``, or of one derived from it."""
    schema = schema.partition("#")[0]
    for found in document.get("search_quantities") or ():
        first = (found.get("segments") or {}).get("1") or {}
        if str(found.get("id")).partition("#")[2] == schema or schema in first.get("definitions", ()):
            return True
    return False


def _extracted(
    documents: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    column: PlannedColumn,
    catalogue: Catalogue,
    problems: list[Problem],
) -> list[Any]:
    read = reader(column, catalogue)
    values: list[Any] = []
    notes: list[str] = []
    for entry_id, document in zip(ids, documents, strict=True):
        values.append(read(document, notes))
        if notes:
            problems += [Problem(entry_id, column.quantity, note) for note in dict.fromkeys(notes)]
            notes.clear()
    return values


def _array(values: list[Any], ids: Sequence[str], column: PlannedColumn, problems: list[Problem]) -> pa.Array:
    import pyarrow as pa

    if column.kind == "other":
        return pa.array([_json_text(_in_unit(value, column)) for value in values], pa.string())
    wanted = _type_of(column)
    listed = [_listed(value, column.n_levels) for value in values]
    if column.kind == "date":
        listed = [_mapped(value, column.n_levels, _moment) for value in listed]
    try:
        # of its own accord Arrow would cut 1.5 to 1, take true for 1.0 and a number for a time
        if not _types_in(listed, column.n_levels) <= _TYPES[column.kind]:
            raise TypeError
        array = pa.array(listed, wanted)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        array = pa.array(_fitting(listed, ids, column, problems), wanted)
    return _scaled(array, column)


_TYPES: Final[Mapping[Kind, frozenset[type]]] = {
    "text": frozenset({str, NoneType}),
    "integer": frozenset({int, NoneType}),
    "number": frozenset({int, float, NoneType}),
    "boolean": frozenset({bool, NoneType}),
    "date": frozenset({datetime, NoneType}),
}


def _types_in(values: list[Any], n_levels: int) -> set[type]:
    """Return the types of single values ``n_levels`` lists below, and of what stands in place of a list."""
    if not n_levels:
        return set(map(type, values))
    found: set[type] = set()
    for value in values:
        if isinstance(value, list):
            found |= _types_in(value, n_levels - 1)
        elif value is not None:
            found.add(object)
    return found


def _fitting(
    values: list[Any], ids: Sequence[str], column: PlannedColumn, problems: list[Problem]
) -> list[Any]:
    """Return the values with ``None`` in place of each that does not have the declared type."""
    fit = _FITTED[column.kind]
    kept: list[Any] = []
    for entry_id, value in zip(ids, values, strict=True):
        try:
            kept.append(_strictly_mapped(value, column.n_levels, fit))
        except (ValueError, TypeError, OverflowError):
            shown = ascii(value)
            shown = shown if len(shown) <= 60 else shown[:57] + "..."
            why = f"{shown} is no {column.kind} value of the declared shape"
            problems.append(Problem(entry_id, column.quantity, why))
            kept.append(None)
    return kept


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # halves of a surrogate pair are no text
    return value


def _as_integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError
    if not -_INT64 <= value < _INT64:
        raise OverflowError
    return int(value)


def _as_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _as_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _as_moment(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError
    return value


_FITTED: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    "text": _as_text,
    "integer": _as_integer,
    "number": _as_number,
    "boolean": _as_boolean,
    "date": _as_moment,
}


def _strictly_mapped(value: Any, levels: int, function: Callable[[Any], Any]) -> Any:
    if value is None:
        return None
    if levels:
        if not isinstance(value, list):
            raise TypeError
        return [_strictly_mapped(item, levels - 1, function) for item in value]
    return function(value)


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
    """Return the moment to the millisecond, as the index keeps it; what is none stays as it is."""
    try:
        moment = dates.moment_of(value)
    except (TypeError, ValueError):
        return value
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


def _json_text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))


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

    if column.kind == "other":
        return pa.string()
    leaf = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.timestamp("ms", tz="UTC"),
    }[column.kind]
    return nested(leaf, column.n_levels)
