"""Write a finished table elsewhere, batch by batch, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from nomadquery.columns.frame import units_of
from nomadquery.errors import QueryError
from nomadquery.store.files import replacing
from nomadquery.store.view import View

_ROWS_AT_ONCE: Final = 8_192
_ADVICE: Final = "Give another folder."


def checked_target(path: str | Path) -> Path:
    """Return the file to write, ``~`` written out.

    Raises
    ------
    QueryError
        If a folder is there.
    """
    target = Path(path).expanduser()
    if target.is_dir():
        example = target / "table.csv"
        raise QueryError(f"{target} is a folder. Give the name of a file in it, such as {example}.")
    return target


def write_parquet(view: View, path: Path, facts: Mapping[str, Any]) -> Path:
    """Write one Parquet file; units in the field metadata, where it comes from in the schema's."""
    import pyarrow.parquet as pq

    schema = view.schema().with_metadata({"nomadquery": json.dumps(facts)})
    with (
        replacing(path, advice=_ADVICE) as stream,
        pq.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        for batch in view.batches():
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    return path


def write_csv(view: View, path: Path) -> Path:
    """Write CSV in UTF-8: units in the column names, lists as JSON, times in ISO form."""
    schema = view.schema()
    units = units_of(schema)
    names = [f"{name} ({units[name]})" if name in units else name for name in schema.names]
    with replacing(path, advice=_ADVICE) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        for batch in view.batches(batch_size=_ROWS_AT_ONCE):
            writer.writerows([_cell(value) for value in row.values()] for row in batch.to_pylist())
        text.detach()
    return path


def write_jsonl(view: View, path: Path) -> Path:
    """Write one JSON object a line; times in ISO form, nulls kept."""
    with replacing(path, advice=_ADVICE) as stream:
        for batch in view.batches(batch_size=_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                stream.write(json.dumps(row, ensure_ascii=False, default=_iso).encode() + b"\n")
    return path


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, default=_iso)
    return _iso(value) if isinstance(value, datetime) else value


def _iso(value: datetime) -> str:
    return value.isoformat()
