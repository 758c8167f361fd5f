"""Columns whose type only the data can tell: kept as JSON text, settled once all rows are there.

Integers widen to numbers, anything mixed to text; lists keep their levels. Texts that are all
ISO times with a clock time become times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nomadquery.query import dates

if TYPE_CHECKING:
    import pyarrow as pa

_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}.*")
_INT64: Final = 2**63


@dataclass(slots=True)
class Shape:
    """What has been seen in a column: list levels, and kinds of single values."""

    n_levels: int = 0
    kinds: set[str] = field(default_factory=set)

    def see(self, value: Any, level: int = 0) -> None:
        """Take a value into account; null tells nothing."""
        if isinstance(value, list):
            self.n_levels = max(self.n_levels, level + 1)
            for item in value:
                self.see(item, level + 1)
        elif value is not None:
            self.kinds.add(_kind(value))

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


def unsettled_fields(schema: pa.Schema) -> tuple[str, ...]:
    """Return the names of the columns that are JSON text still."""
    return tuple(column.name for column in schema if (column.metadata or {}).get(b"json"))


def settled_schema(schema: pa.Schema, shapes: dict[str, Shape]) -> pa.Schema:
    """Return the schema with the types that ``shapes`` ask for."""
    import pyarrow as pa

    fields = []
    for column in schema:
        shape = shapes.get(column.name)
        if shape is None:
            fields.append(column)
            continue
        metadata = {key: value for key, value in column.metadata.items() if key != b"json"}
        if shape.is_widened:
            metadata[b"widened"] = ", ".join(sorted(shape.kinds)).encode()
        fields.append(pa.field(column.name, _type_of(shape), metadata=metadata))
    return pa.schema(fields, metadata=schema.metadata)


def observe(batches: Iterable[pa.RecordBatch], names: Iterable[str]) -> dict[str, Shape]:
    """Return what has been seen in each of the JSON columns ``names``."""
    shapes = {name: Shape() for name in names}
    for batch in batches:
        for name, shape in shapes.items():
            for text in batch.column(name).to_pylist():
                if text is not None:
                    shape.see(json.loads(text))
    return shapes


def settled_batch(batch: pa.RecordBatch, schema: pa.Schema, shapes: dict[str, Shape]) -> pa.RecordBatch:
    """Return the batch with its JSON columns decoded into the types of ``schema``."""
    import pyarrow as pa

    arrays = []
    for wanted in schema:
        column = batch.column(wanted.name)
        shape = shapes.get(wanted.name)
        if shape is not None:
            values = [None if text is None else json.loads(text) for text in column.to_pylist()]
            column = pa.array([_fitted(value, shape, shape.n_levels) for value in values], wanted.type)
        arrays.append(column)
    return pa.record_batch(arrays, schema=schema)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if abs(value) < _INT64 else "number"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "time" if _is_time(value) else "text"
    return "object"


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        dates.moment_of(text)
    except ValueError:
        return False
    return True


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
            return value if isinstance(value, str) else json.dumps(value)
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
