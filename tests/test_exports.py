"""A finished table in other files: whole or absent, units included."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from nomadquery import Q
from nomadquery.errors import CacheError, QueryError
from nomadquery.search import Search
from tests.tables import CountedWire, a_filled_store, a_search, ids


@pytest.fixture
def table(tmp_path: Path) -> Search:
    wire = CountedWire(a_filled_store(ids(5)))
    return a_search(wire, tmp_path / "cache").select(
        "formula", "uploaded", "published", "doi", gap=Q.gap, positions=Q.positions, elements=Q.elements
    )


@pytest.mark.parametrize("write", ["to_csv", "to_parquet", "to_jsonl"])
def test_a_folder_is_no_file_to_write(table: Search, tmp_path: Path, write: str) -> None:
    """Said before anything is fetched, with what to write instead."""
    with pytest.raises(QueryError, match=r"is a folder\. Give the name of a file"):
        getattr(table, write)(tmp_path)


def test_exports_take_the_words_of_the_cache(table: Search, tmp_path: Path) -> None:
    """refresh, max_age and offline mean the same for every method that gives the table."""
    first = table.to_pandas().attrs["nomadquery"]["fetched_at"]
    table.to_csv(tmp_path / "t.csv", refresh=True)
    assert table.to_pandas(offline=True).attrs["nomadquery"]["fetched_at"] > first
    assert len(list(table.rows(offline=True))) == 5


def test_parquet_holds_rows_units_and_where_it_comes_from(table: Search, tmp_path: Path) -> None:
    """Any program reads it; the facts are JSON in the schema's metadata."""
    path = table.to_parquet(tmp_path / "deep" / "t.parquet")
    read = pq.read_table(path)
    assert read.to_pylist() == list(table.rows())
    assert read.schema.field("gap").metadata[b"unit"] == b"eV"
    assert read.schema.field("positions").metadata == {
        b"path": b"run.system.atoms.positions",
        b"unit": b"angstrom",
        b"array": b"2",
    }
    facts = json.loads(read.schema.metadata[b"nomadquery"])
    assert (facts["n_entries"], facts["owner"]) == (5, "public")
    assert pd.read_parquet(path)["gap"].tolist() == pytest.approx([0, 1, 2, 3, 4], rel=1e-12)


def test_csv_has_units_in_the_names_and_lists_as_json(table: Search, tmp_path: Path) -> None:
    """In UTF-8, times in ISO form, nulls empty."""
    path = table.to_csv(tmp_path / "t.csv")
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [
        "entry_id",
        "formula",
        "uploaded",
        "published",
        "doi",
        "gap (eV)",
        "positions (angstrom)",
        "elements",
    ]
    assert len(rows) == 5
    assert rows[2][:5] == ["entry-0002", "O2Ti", "2024-01-02T03:04:05.678000+00:00", "True", ""]
    assert float(rows[2][5]) == pytest.approx(2.0, rel=1e-12)
    assert json.loads(rows[2][7]) == ["O", "Ti"]
    assert json.loads(rows[2][6])[1] == pytest.approx([0.0, 0.0, 2.0], rel=1e-12)


def test_json_lines_hold_one_row_each(table: Search, tmp_path: Path) -> None:
    """Nulls kept."""
    path = table.to_jsonl(tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["entry_id"] for row in rows] == ids(5)
    assert rows[0]["doi"] is None
    assert rows[0]["uploaded"] == "2024-01-02T03:04:05.678000+00:00"


def test_the_kept_parquet_is_read_in_place(table: Search) -> None:
    """By whatever reads a pyarrow dataset, filters pushed down."""
    import pyarrow.compute as pc

    dataset = table.dataset()
    assert dataset.count_rows() == 5
    assert dataset.to_table(columns=["entry_id"], filter=pc.field("gap") > 2.5)["entry_id"].to_pylist() == [
        "entry-0003",
        "entry-0004",
    ]
    assert dataset.schema.field("gap").metadata[b"unit"] == b"eV"


def test_batches_and_rows_are_the_table(table: Search) -> None:
    """Piece by piece."""
    assert [batch.num_rows for batch in table.batches(2)] == [2, 2, 1]
    assert list(table.rows()) == table.to_arrow().to_pylist()


EXPORTS: dict[str, Callable[[Search, Path], Any]] = {
    "parquet": lambda table, path: table.to_parquet(path),
    "csv": lambda table, path: table.to_csv(path),
    "jsonl": lambda table, path: table.to_jsonl(path),
}


@pytest.mark.parametrize("form", EXPORTS)
def test_a_file_that_cannot_be_finished_leaves_the_one_before(
    table: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """And nothing beside it."""
    table.to_arrow()
    target = tmp_path / "out" / f"t.{form}"
    EXPORTS[form](table, target)
    before = target.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="disk is full"):
        EXPORTS[form](table, target)
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("form", EXPORTS)
def test_a_place_that_cannot_be_written_is_told(table: Search, tmp_path: Path, form: str) -> None:
    """With what to do, which is not to move the cache."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"cannot be written\. Give another folder") as caught:
        EXPORTS[form](table, tmp_path / "file" / "t")
    assert "NOMADQUERY_CACHE_DIR" not in str(caught.value)


@pytest.mark.parametrize("form", EXPORTS)
def test_an_empty_table_is_a_file_too(table: Search, tmp_path: Path, form: str) -> None:
    """With its header, where the form has one."""
    path = EXPORTS[form](table.where(Q.n_elements == 9), tmp_path / "t")
    if form == "parquet":
        assert pq.read_table(path).schema.field("gap").type == "double"
    assert path.read_text(errors="replace").count("\n") <= 1 or form == "parquet"
