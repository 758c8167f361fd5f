"""Values of one column → an Arrow array of the declared type, in the column's unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, chain
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from nomadquery import units
from nomadquery.columns.planned import Per, PlannedColumn
from nomadquery.columns.settle import nested
from nomadquery.query import dates
from nomadquery.query.catalogue import Kind

if TYPE_CHECKING:
    import pyarrow as pa

_INT64: Final = 2**63

#: How many items each list has, for all lists of one level; ``None``: there is no list.
Lengths = Sequence[int | None]


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


def arrow_schema(columns: Sequence[PlannedColumn], per: Per | None = None) -> pa.Schema:
    """Return the schema of the table: ``entry_id``, positions of rows, columns.

    Units stand in the field metadata. Columns of unknown kind are JSON text until `settle` finds their
    type. ``array`` says how many of the innermost list levels are dimensions of an array.
    """
    import pyarrow as pa

    fields = [pa.field("entry_id", pa.string(), nullable=False)]
    fields += [pa.field(name, pa.int64(), nullable=False) for name in (per.index_names if per else ())]
    for column in columns:
        metadata = {"path": column.quantity} | ({"unit": column.unit} if column.unit else {})
        if column.kind == "other":
            metadata["json"] = "1"
        elif column.n_dimensions:
            metadata["array"] = str(column.n_dimensions)
        fields.append(pa.field(column.name, _type_of(column), metadata=metadata))
    return pa.schema(fields)


def array_of(
    values: Sequence[Any],
    ids: Sequence[str],
    column: PlannedColumn,
    problems: list[Problem],
    levels: Sequence[Lengths] = (),
) -> pa.Array:
    """Return the values of the rows ``ids``; one that has not the declared type is null, with a line.

    ``levels`` are the lengths of lists, outermost first, that ``values`` are the flat items of. Values
    of unknown kind come as the JSON text of `settle.cell`.
    """
    import pyarrow as pa

    if column.kind == "other":
        return pa.array(values, pa.string())
    array = _flat_array(values, levels, column)
    if array is None:
        fitting = _fitting(nested_values(values, levels), ids, column, problems)
        array = _flat_array(fitting, (), column)
    return array


def nested_values(values: Sequence[Any], levels: Sequence[Lengths]) -> list[Any]:
    """Return lists of lists of values in place of flat ones."""
    nested = list(values)
    for lengths in reversed(levels):
        items = iter(nested)
        nested = [None if length is None else [next(items) for _ in range(length)] for length in lengths]
    return nested


def _flat_array(values: Sequence[Any], levels: Sequence[Lengths], column: PlannedColumn) -> pa.Array | None:
    """Return the array by way of its single values, ``None`` where one has not the declared type."""
    import pyarrow as pa

    lengths = list(levels)
    if column.n_levels == 1 and not lengths and not _LISTS.issuperset(map(type, values)):
        values = [_listed(value) for value in values]
    while len(lengths) < column.n_levels:
        kinds = set(map(type, values))
        if not kinds <= _LISTS:
            return None
        if NoneType in kinds:
            lengths.append([None if value is None else len(value) for value in values])
            values = [value for value in values if value is not None]
        else:
            lengths.append(list(map(len, values)))
        values = list(chain.from_iterable(values))
    # of its own accord Arrow would cut 1.5 to 1, take true for 1.0 and a number for a time
    types = _TYPES.get(column.kind)
    if types is not None and not types.issuperset(map(type, values)):
        return None
    try:
        array = _dates(values) if column.kind == "date" else pa.array(values, _leaf_of(column))
        array = scaled(array, column)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    for some in reversed(lengths):
        array = nested_lists(array, some)
    return array


def nested_lists(items: pa.Array, lengths: Lengths) -> pa.Array:
    """Return the items cut into lists of these lengths."""
    import pyarrow as pa

    counts = [length or 0 for length in lengths]
    offsets = pa.array(list(accumulate(counts, initial=0)), pa.int32())
    missing = pa.array([length is None for length in lengths], pa.bool_()) if None in lengths else None
    return pa.ListArray.from_arrays(offsets, items, type=nested(items.type, 1), mask=missing)


_LISTS: Final[frozenset[type]] = frozenset({list, NoneType})

#: What values of a kind must be, where Arrow is not as strict.
_TYPES: Final[Mapping[Kind, frozenset[type]]] = {
    "integer": frozenset({int, NoneType}),
    "number": frozenset({int, float, NoneType}),
    "date": frozenset({str, datetime, NoneType}),
}


def _fitting(
    values: list[Any], ids: Sequence[str], column: PlannedColumn, problems: list[Problem]
) -> list[Any]:
    """Return the values with ``None`` in place of each that does not have the declared type."""
    fit = _FITTED[column.kind]
    kept: list[Any] = []
    if column.n_levels == 1:
        values = [_listed(value) for value in values]
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
    moment = _moment(value)
    if not isinstance(moment, datetime):
        raise TypeError
    return moment


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


def _listed(value: Any) -> Any:
    """Return a list of one in place of a single value."""
    return value if value is None or isinstance(value, list) else [value]


def _dates(values: Sequence[Any]) -> pa.Array:
    """Return moments: of texts, or of moments that were read one by one."""
    import pyarrow as pa

    if any(isinstance(value, datetime) for value in values):
        return pa.array(values, pa.timestamp("ms", tz="UTC"))
    return dates_of(pa.array(values, pa.string()))


def dates_of(texts: pa.Array) -> pa.Array:
    """Return moments to the millisecond, read by Arrow; one that it cannot read is an `ArrowException`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    exact = texts.cast(pa.timestamp("us", tz="UTC"))
    to_ms = pa.timestamp("ms", tz="UTC")
    try:
        return exact.cast(to_ms)
    except pa.ArrowInvalid:  # some have microseconds, which the index does not keep
        return pc.floor_temporal(exact, unit="millisecond").cast(to_ms)


def _moment(value: Any) -> Any:
    """Return the moment to the millisecond, as the index keeps it; what is none stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        moment = dates.moment_of(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return value
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def scaled(array: pa.Array, column: PlannedColumn) -> pa.Array:
    """Return the numbers converted to the column's unit."""
    import pyarrow as pa

    if column.kind != "number" or column.unit is None or column.stored_unit in {None, column.unit}:
        return array
    numbers = units.convert(array.to_numpy(zero_copy_only=False), str(column.stored_unit), column.unit)
    missing = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    return pa.array(numbers, array.type, mask=missing)


def _type_of(column: PlannedColumn) -> pa.DataType:
    import pyarrow as pa

    return pa.string() if column.kind == "other" else nested(_leaf_of(column), column.n_levels)


def _leaf_of(column: PlannedColumn) -> pa.DataType:
    import pyarrow as pa

    match column.kind:
        case "text":
            return pa.string()
        case "integer":
            return pa.int64()
        case "number":
            return pa.float64()
        case "boolean":
            return pa.bool_()
        case "date":
            return pa.timestamp("ms", tz="UTC")
    raise AssertionError(column.kind)  # `other` has no type yet
