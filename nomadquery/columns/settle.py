"""Columns whose type only the data can tell: kept as JSON text, settled once all rows are there.

A cell is ``[value]``, ``[value, unit]`` or ``[value, unit, list levels of sections]``. Integers widen
to numbers, anything mixed to text; lists keep their levels. Texts that are all ISO times with a clock
time become times. Numbers come in the unit that was asked for, else in the first one that an entry
declares; others are converted.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from nomadquery import units
from nomadquery.errors import UnitError
from nomadquery.query import dates

if TYPE_CHECKING:
    import pyarrow as pa

_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}.*")
_INT64: Final = 2**63
_LARGEST_NUMBER: Final = int(sys.float_info.max)

#: Entry id, column, and what its row lacks.
Lack = tuple[str, str, str]


@dataclass(slots=True)
class Shape:
    """What has been seen in a column: list levels, kinds of single values, declared units.

    Attributes
    ----------
    unit : str or None
        The column's unit: what was asked for, else the first one seen.
    """

    unit: str | None = None
    n_sections: int = 0
    n_dimensions: int = 0
    kinds: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)

    @property
    def n_levels(self) -> int:
        """List levels of a value: of sections, and below them of arrays."""
        return self.n_sections + self.n_dimensions

    def see(self, value: Any, level: int = 0) -> None:
        """Take a value into account, ``level`` lists below its sections; null tells nothing."""
        if isinstance(value, list):
            self.n_dimensions = max(self.n_dimensions, level + 1)
            for item in value:
                self.see(item, level + 1)
        elif value is not None:
            self.kinds.add(_kind(value))

    def see_cell(self, text: str) -> None:
        """Take a cell into account."""
        value, unit, n_sections = _parts_of(text)
        self.n_sections = max(self.n_sections, n_sections)
        if unit is not None:
            self.declared.add(unit)
            self.unit = self.unit or unit
            if unit != self.unit:
                self.kinds.add("number")  # what is converted is no integer any more
        self.see(value, -n_sections)

    @property
    def word(self) -> str:
        """The kind that holds all values seen: ``boolean integer number time text``."""
        if len(self.kinds) == 1:
            return next(iter(self.kinds))
        return "number" if self.kinds and self.kinds <= {"integer", "number"} else "text"

    @property
    def is_widened(self) -> bool:
        """Whether values of different kinds had to become text."""
        return self.word == "text" and not self.kinds <= {"text", "time"}

    @property
    def is_numeric(self) -> bool:
        """Whether all values are numbers (complex ones are objects), so that a unit means something."""
        return self.word in {"integer", "number", "object"}


def cell(value: Any, unit: str | None, n_sections: int = 0) -> str | None:
    """Return a value and its unit as they are kept until the column is settled.

    ``n_sections``: how many of its list levels are sections, not dimensions of an array.
    """
    if value is None:
        return None
    parts = [value, unit, n_sections] if n_sections else [value] if unit is None else [value, unit]
    return json.dumps(parts, separators=(",", ":"))


def cell_of(text: str) -> tuple[Any, str | None]:
    """Return the value of a cell and its unit."""
    value, unit, _ = _parts_of(text)
    return value, unit


def _parts_of(text: str) -> tuple[Any, str | None, int]:
    parts = json.loads(text)
    unit: str | None = parts[1] if len(parts) > 1 else None
    return parts[0], unit, int(parts[2]) if len(parts) > 2 else 0


def unsettled_fields(schema: pa.Schema) -> tuple[str, ...]:
    """Return the names of the columns that are JSON text still."""
    return tuple(column.name for column in schema if (column.metadata or {}).get(b"json"))


def settled_schema(schema: pa.Schema, shapes: dict[str, Shape]) -> pa.Schema:
    """Return the schema with the types and units that ``shapes`` ask for."""
    import pyarrow as pa

    fields = []
    for column in schema:
        shape = shapes.get(column.name)
        if shape is None:
            fields.append(column)
            continue
        metadata = {key: value for key, value in column.metadata.items() if key not in {b"json", b"unit"}}
        if shape.is_widened:
            metadata[b"widened"] = ", ".join(sorted(shape.kinds)).encode()
        if shape.unit is not None and (shape.is_numeric or not shape.kinds):
            metadata[b"unit"] = shape.unit.encode()
        fields.append(pa.field(column.name, _type_of(shape), metadata=metadata))
    return pa.schema(fields, metadata=schema.metadata)


def observe(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> dict[str, Shape]:
    """Return what has been seen in each JSON column of the schema."""
    shapes = {}
    for name in unsettled_fields(schema):
        unit = schema.field(name).metadata.get(b"unit")
        shapes[name] = Shape(None if unit is None else unit.decode())
    for batch in batches if shapes else ():
        for name, shape in shapes.items():
            for text in batch.column(name).to_pylist():
                if text is not None:
                    shape.see_cell(text)
    return shapes


def settled_batch(batch: pa.RecordBatch, schema: pa.Schema, shapes: dict[str, Shape]) -> pa.RecordBatch:
    """Return the batch with its JSON columns decoded into the types of ``schema``."""
    import pyarrow as pa

    arrays = []
    for wanted in schema:
        column = batch.column(wanted.name)
        shape = shapes.get(wanted.name)
        if shape is not None:
            values = [None if text is None else fitted(text, shape) for text in column.to_pylist()]
            column = pa.array(values, wanted.type)
        arrays.append(column)
    return pa.record_batch(arrays, schema=schema)


def lacking(batches: Iterable[pa.RecordBatch], shapes: dict[str, Shape]) -> Iterator[Lack]:
    """Yield a line for each value that has no unit, or one that cannot be converted; it became null.

    Nothing is read again where no column has a unit.
    """
    numeric = {name: shape for name, shape in shapes.items() if shape.unit is not None and shape.is_numeric}
    for batch in batches if numeric else ():
        ids = batch.column("entry_id").to_pylist()
        for name, shape in numeric.items():
            for entry_id, text in zip(ids, batch.column(name).to_pylist(), strict=True):
                value, unit = (None, None) if text is None else cell_of(text)
                if value is not None and _in_unit(value, unit, shape) is None:
                    yield entry_id, name, _why(unit, shape)


def widening(shapes: dict[str, Shape]) -> Iterator[Lack]:
    """Yield a line for each column whose values took another type or unit than some of them have."""
    for name, shape in shapes.items():
        if shape.is_widened:
            kinds = ", ".join(sorted(shape.kinds))
            declared = f"; declared units: {', '.join(sorted(shape.declared))}" if shape.declared else ""
            yield "", name, f"holds values of several types ({kinds}), all kept as text{declared}"
        elif shape.unit is not None and shape.kinds and not shape.is_numeric:
            yield "", name, f"holds {shape.word}, which has no unit; {shape.unit} means nothing here"
        elif len(shape.declared) > 1 and shape.is_numeric:
            declared = ", ".join(sorted(shape.declared))
            yield "", name, f"entries declare several units ({declared}); all are in {shape.unit} here"


def _why(unit: str | None, shape: Shape) -> str:
    if unit is None:
        return f"its schema declares no unit, so it is not known in {shape.unit}; say it with .stored_in('…')"
    return f"it is in {unit}, which cannot be expressed in {shape.unit}"


def _in_unit(value: Any, unit: str | None, shape: Shape) -> Any:
    """Return the numbers in the unit of the column, ``None`` where that cannot be said."""
    if shape.unit is None or not shape.is_numeric or unit == shape.unit or not _holds_numbers(value):
        return value
    if unit is None:
        return None
    try:
        return _converted(value, unit, shape.unit)
    except UnitError:
        return None


def _converted(value: Any, have: str, want: str) -> Any:
    if isinstance(value, list):
        return [_converted(item, have, want) for item in value]
    if isinstance(value, dict):
        return {name: _converted(part, have, want) for name, part in value.items()}
    return units.convert(float(value), have, want) if _is_number(value) else value


def _holds_anything(value: Any) -> bool:
    """Return whether there is a value in it, at whatever depth of lists."""
    return any(map(_holds_anything, value)) if isinstance(value, list) else value is not None


def _holds_numbers(value: Any) -> bool:
    """Return whether there is a number in it, at whatever depth."""
    if isinstance(value, list | dict):
        return any(map(_holds_numbers, value.values() if isinstance(value, dict) else value))
    return _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if abs(value) < _INT64:
            return "integer"
        return "number" if abs(value) <= _LARGEST_NUMBER else "text"  # kept digit by digit
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "time" if _is_time(value) else "text"
    return "object"


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        dates.moment_of(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True


def fitted(text: str, shape: Shape) -> Any:
    """Return the value of a cell as the column has it: its unit, its list levels, its type."""
    value, unit, n_sections = _parts_of(text)
    value = _in_unit(value, unit, shape)
    # of nulls alone nobody can tell how deep they stand
    for _ in range(shape.n_sections - n_sections if _holds_anything(value) else 0):
        value = [value]
    return _fitted(value, shape, shape.n_levels)


def _fitted(value: Any, shape: Shape, level: int) -> Any:
    if value is None:
        return None
    if level:
        items = value if isinstance(value, list) else [value]
        return [_fitted(item, shape, level - 1) for item in items]
    match shape.word:
        case "time":
            return dates.moment_of(value)
        case "number":
            return float(value)
        case "text":
            # halves of a surrogate pair are no text, and are shown as they are written in JSON
            text = value if isinstance(value, str) else json.dumps(value)
            return text.encode("utf-8", "backslashreplace").decode()
        case "object":
            return json.dumps(value)
        case _:
            return value


def _type_of(shape: Shape) -> pa.DataType:
    import pyarrow as pa

    leaf = {
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "time": pa.timestamp("ms", tz="UTC"),
    }.get(shape.word, pa.string())
    return nested(leaf, shape.n_levels)


def nested(leaf: pa.DataType, n_levels: int) -> pa.DataType:
    """Return lists of lists of ``leaf``, their items called as Parquet calls them."""
    import pyarrow as pa

    for _ in range(n_levels):
        leaf = pa.list_(pa.field("element", leaf))
    return leaf
