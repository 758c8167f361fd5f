"""One table on disk: rows come back as they went in, and nothing half-written is read as whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from nomadquery.errors import CacheCorrupt, CacheError, CacheFormatTooNew
from nomadquery.store.files import replacing, write_json
from nomadquery.store.tables import Manifest, TableStore
from tests.strategies import arrow_rows

SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.string(), nullable=False),
        pa.field("gap", pa.float64(), metadata={"unit": "eV", "path": "gap"}),
    ]
)


def a_batch(first: int, count: int) -> pa.RecordBatch:
    numbers = range(first, first + count)
    arrays = [pa.array([f"{n:04d}" for n in numbers]), pa.array([float(n) for n in numbers])]
    return pa.record_batch(arrays, schema=SCHEMA)


def a_store(folder: Path, *sizes: int) -> tuple[TableStore, Manifest]:
    """Return a store with a begun table of parts of these sizes."""
    store = TableStore(folder / "key")
    manifest = store.begin({"query": ["And", []]}, {"release": "2.0.0"})
    for position, size in enumerate(sizes):
        manifest = store.append(manifest, a_batch(sum(sizes[:position]), size), [], total=sum(sizes))
    return store, manifest


def a_whole_store(folder: Path, *sizes: int) -> tuple[TableStore, Manifest]:
    store, manifest = a_store(folder, *sizes)
    return store, store.complete(manifest, SCHEMA, {"fetched_at": "2024-01-02T00:00:00+00:00"})


def names(store: TableStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()} - {".lock"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrow_rows())
def test_rows_to_arrow_to_parquet_to_rows_is_the_identity(
    tmp_path: Path, rows: tuple[pa.Schema, list[list[dict[str, Any]]]]
) -> None:
    """Whatever the types, the pages and their number; units included."""
    schema, pages = rows
    store = TableStore(tmp_path / "key")
    store.clear()
    manifest = store.begin({}, {})
    for page in pages:
        batch = pa.RecordBatch.from_pylist(page, schema)
        manifest = store.append(manifest, batch, [], total=0)
    whole = store.complete(manifest, schema, {})
    read = pa.Table.from_batches(list(store.batches(whole)), store.schema(whole))
    assert read.to_pylist() == [row for page in pages for row in page]
    assert read.schema.equals(schema, check_metadata=True)


def test_parts_are_in_the_manifest_as_they_arrive(tmp_path: Path) -> None:
    """With their rows and the id after which reading goes on."""
    store, manifest = a_store(tmp_path, 3, 2)
    assert store.manifest() == manifest
    assert (manifest.state, manifest.n_rows, manifest.last_id, manifest.total) == ("partial", 5, "0004", 5)


def test_a_whole_table_is_one_file_and_its_manifest(tmp_path: Path) -> None:
    """Parts and what a killed process left beside them go."""
    store, manifest = a_store(tmp_path, 3, 2)
    for orphan in ("part-00002.parquet", ".part-00001.parquet.x1.part", "table.parquet"):
        (store.folder / orphan).write_bytes(b"half")
    store.complete(manifest, SCHEMA, {})
    whole = store.manifest()
    assert whole is not None
    assert whole.state == "complete"
    assert names(store) == {"manifest.json", whole.parts[0].file}


def test_any_program_reads_the_table(tmp_path: Path) -> None:
    """Plain Parquet, the unit in the field metadata."""
    store, manifest = a_whole_store(tmp_path, 3)
    table = pq.read_table(store.folder / manifest.parts[0].file)
    assert table["gap"].to_pylist() == [0.0, 1.0, 2.0]
    assert table.schema.field("gap").metadata[b"unit"] == b"eV"


def test_entries_that_arrived_late_stand_in_their_place(tmp_path: Path) -> None:
    """Rows are in the order of their ids; unless another order was asked for."""
    store, manifest = a_store(tmp_path, 2)
    late = pa.record_batch([pa.array(["0000x"]), pa.array([9.0])], schema=SCHEMA)
    manifest = store.append(manifest, late, [], total=3)
    again = store.append(manifest, a_batch(2, 1), [], total=3)
    whole = store.complete(again, SCHEMA, {})
    assert [b.as_py() for batch in store.batches(whole) for b in batch.column(0)] == [
        "0000",
        "0000x",
        "0001",
        "0002",
    ]


def test_the_whole_table_stays_until_the_next_is_whole(tmp_path: Path) -> None:
    """A refresh that is killed costs nothing, and whoever reads meanwhile reads on."""
    store, old = a_whole_store(tmp_path, 3)
    reading = store.batches(old, batch_size=2)
    assert next(reading).num_rows == 2
    begun = store.append(store.begin({}, {}), a_batch(5, 1), [], total=1)
    assert store.manifest() == old
    assert store.partial() == begun
    new = store.complete(begun, SCHEMA, {})
    assert next(reading).num_rows == 1
    assert store.manifest() == new
    assert names(store) == {"manifest.json", new.parts[0].file}


def test_an_abandoned_beginning_leaves_the_whole_table(tmp_path: Path) -> None:
    """Its parts and its manifest go."""
    store, old = a_whole_store(tmp_path, 3)
    store.append(store.begin({}, {}), a_batch(5, 1), [], total=1)
    store.abandon()
    assert store.manifest() == old
    assert store.partial() is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("table.parquet", cut),
        ("table.parquet", Path.unlink),
        ("table.parquet", lambda path: path.write_bytes(b"")),
        ("manifest.json", lambda path: path.write_text("{")),
        ("manifest.json", lambda path: path.write_text("[]")),
        ("manifest.json", lambda path: path.write_text('{"format": 1}')),
        ("manifest.json", lambda path: path.write_text('{"format": "one", "parts": []}')),
    ],
)
def test_a_damaged_table_is_told_before_it_is_read(
    tmp_path: Path, file: str, harm: Callable[[Path], Any]
) -> None:
    """And how to get another."""
    store, _ = a_whole_store(tmp_path, 3)
    harm(store.folder / file)
    with pytest.raises(CacheCorrupt, match=r"is damaged: .*refresh=True.*nomadquery cache remove key"):
        store.manifest()


def test_damage_within_a_file_is_told_when_it_is_read(tmp_path: Path) -> None:
    """Every page has a checksum."""
    store, manifest = a_whole_store(tmp_path, 500)
    flip(store.folder / manifest.parts[0].file)
    with pytest.raises(CacheCorrupt, match="cannot be read"):
        list(store.batches(manifest))


def test_another_table_in_the_place_of_a_part_is_told(tmp_path: Path) -> None:
    """Of the same size and readable, with other rows than the manifest says."""
    store, manifest = a_whole_store(tmp_path, 3)
    broken = json.loads((store.folder / "manifest.json").read_text())
    broken["parts"][0]["n_rows"] = 4
    (store.folder / "manifest.json").write_text(json.dumps(broken))
    with pytest.raises(CacheCorrupt, match="has 3 rows in place of 4"):
        list(store.batches())
    assert manifest.n_rows == 3


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """It is not overwritten: a newer version may still want it."""
    store, _ = a_whole_store(tmp_path, 3)
    newer = json.loads((store.folder / "manifest.json").read_text()) | {"format": 99}
    (store.folder / "manifest.json").write_text(json.dumps(newer))
    with pytest.raises(CacheFormatTooNew, match="format 99"):
        store.manifest()


@pytest.mark.parametrize("manifest_name", ["partial.json", "manifest.json"])
def test_a_half_written_manifest_is_never_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest_name: str
) -> None:
    """Killed between writing and renaming, the one before it holds."""
    store, before = a_store(tmp_path, 3)

    def killed(self: Path, target: Path) -> None:
        if target.name == manifest_name:
            raise KeyboardInterrupt
        self.rename(target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        if manifest_name == "partial.json":
            store.append(before, a_batch(3, 1), [], total=4)
        else:
            store.complete(before, SCHEMA, {})
    assert store.manifest() == before
    assert sum(batch.num_rows for batch in store.batches()) == 3


def test_a_full_disk_says_so_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call goes on."""
    store, before = a_store(tmp_path, 3)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(CacheError, match=r"disk is full.*goes on where it stopped"):
            store.append(before, a_batch(3, 1), [], total=4)
    assert store.manifest() == before
    assert names(store) == {"partial.json", "part-00000.parquet"}
    assert store.append(before, a_batch(3, 1), [], total=4).n_rows == 4


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    """Whatever goes wrong while it is written."""
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), replacing(path) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == {"a": 1}
    assert [one.name for one in path.parent.iterdir()] == ["file.json"]


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CacheError, match="NOMADQUERY_CACHE_DIR"),
        replacing(tmp_path / "file" / "table.parquet"),
    ):
        pass
