"""One table on disk: rows come back as they went in, and nothing half-written is read as whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from nomadquery.columns.pins import pins_schema
from nomadquery.columns.settle import cell
from nomadquery.errors import CacheCorrupt, CacheError, CacheFormatTooNew
from nomadquery.store.assembling import Base, OtherTypes, assemble
from nomadquery.store.files import replacing, write_json
from nomadquery.store.journal import Page, Record
from nomadquery.store.manifests import Manifest
from nomadquery.store.tables import TableStore
from tests.strategies import arrow_rows

SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.string(), nullable=False),
        pa.field("gap", pa.float64(), metadata={"unit": "eV", "path": "gap"}),
    ]
)
#: A column whose type only the data can tell.
OPEN = pa.schema([SCHEMA.field(0), pa.field("x", pa.string(), metadata={"json": "1", "path": "data.x"})])


def a_batch(numbers: Sequence[int]) -> pa.RecordBatch:
    arrays = [pa.array([f"{n:04d}" for n in numbers]), pa.array([float(n) for n in numbers])]
    return pa.record_batch(arrays, schema=SCHEMA)


def open_batch(**values: Any) -> pa.RecordBatch:
    """Return a row for each entry with its value of the open column."""
    cells = [cell(value, None) for value in values.values()]
    return pa.record_batch([list(values), pa.array(cells, pa.string())], schema=OPEN)


def a_page(rows: pa.RecordBatch, *, total: int | None = None) -> Page:
    ids = list(dict.fromkeys(rows.column(0).to_pylist()))
    pins = pa.record_batch([ids, [f"at {one}" for one in ids], [None] * len(ids)], schema=pins_schema())
    first_id, last_id = min(ids, default=None), max(ids, default=None)
    return Page(Record(len(ids), rows.num_rows, first_id, last_id, None, len(ids), total), rows, pins)


def a_store(folder: Path, *sizes: int) -> TableStore:
    """Return a store with a begun table of pages of these sizes."""
    store = TableStore(folder / "key")
    store.begin({"query": ["And", []]}, {"release": "2.0.0"})
    for position, size in enumerate(sizes):
        first = sum(sizes[:position])
        store.journal.append([a_page(a_batch(range(first, first + size)), total=sum(sizes))])
    return store


def completed(
    store: TableStore, schema: pa.Schema = SCHEMA, *, ordered: bool = True, base: Base | None = None
) -> Manifest:
    """Put together what has arrived, and make it the table that is read."""
    written = assemble(store, schema, ordered=ordered, base=base)
    rows, pins = written.parts
    whole = Manifest("complete", {}, written.parts, pins.n_rows, rows.n_rows, problems=written.problems)
    store.publish(whole)
    return whole


def a_whole_store(folder: Path, *sizes: int) -> tuple[TableStore, Manifest]:
    store = a_store(folder, *sizes)
    return store, completed(store)


def names(store: TableStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()} - {".lock"}


def values(store: TableStore, name: str = "entry_id") -> list[Any]:
    values_: list[Any] = store.table(columns=[name])[name].to_pylist()
    return values_


# -- rows ----------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(arrow_rows())
def test_rows_to_journal_to_parquet_to_rows_is_the_identity(
    tmp_path: Path, rows: tuple[pa.Schema, list[list[dict[str, Any]]]]
) -> None:
    """Whatever the types, the pages, their number and the order in which they arrive; units included."""
    schema, pages = rows
    store = TableStore(tmp_path / "key")
    store.clear()
    store.begin({}, {})
    store.journal.append(a_page(pa.RecordBatch.from_pylist(page, schema)) for page in reversed(pages))
    whole = completed(store, schema)
    read = pa.Table.from_batches(list(store.batches(whole)), store.schema(whole))
    assert read.to_pylist() == [row for page in pages for row in page]
    assert read.schema.equals(schema, check_metadata=True)
    assert store.table(whole).equals(read, check_metadata=True)


def test_what_has_arrived_is_known_as_it_arrives(tmp_path: Path) -> None:
    """Entries, rows, the total that was promised first, and what rows lack."""
    store = a_store(tmp_path, 3, 2)
    lack = {"entry_id": "0004", "path": "gap", "why": "no number"}
    store.journal.append([Page(Record(total=6, problems=(lack,)))])
    begun = store.manifest()
    assert begun is not None
    assert begun == store.partial()
    assert (begun.state, begun.n_entries, begun.n_rows, begun.total) == ("partial", 5, 5, 5)
    assert (begun.request, begun.facts, begun.problems) == (
        {"query": ["And", []]},
        {"release": "2.0.0"},
        (lack,),
    )
    assert store.pins(begun)["entry_id"].to_pylist() == ["0000", "0001", "0002", "0003", "0004"]


def test_a_whole_table_is_its_rows_its_pins_and_its_manifest(tmp_path: Path) -> None:
    """The journal and what a killed process left beside them go."""
    store = a_store(tmp_path, 3, 2)
    for orphan in ("part-00002.parquet", ".table.parquet.x1.part", "table-1.parquet"):
        (store.folder / orphan).write_bytes(b"half")
    (store.folder / "folder").mkdir()
    whole = completed(store)
    assert store.manifest() == whole
    assert store.partial() is None
    assert (whole.n_entries, whole.n_rows) == (5, 5)
    assert names(store) == {"manifest.json", "table.parquet", "pins.parquet"}


def test_a_file_that_a_killed_process_left_is_not_overwritten(tmp_path: Path) -> None:
    """Who knows what it is; another name is taken, and the file goes once the table is whole."""
    store = a_store(tmp_path, 3)
    (store.folder / "table.parquet").write_bytes(b"half")
    whole = completed(store)
    assert names(store) == {"manifest.json", "table-1.parquet", "pins.parquet"}
    assert store.table(whole).num_rows == 3


def test_any_program_reads_the_table(tmp_path: Path) -> None:
    """Plain Parquet, the unit in the field metadata."""
    store, _ = a_whole_store(tmp_path, 3)
    table = pq.read_table(store.folder / "table.parquet")
    assert table["gap"].to_pylist() == [0.0, 1.0, 2.0]
    assert table.schema.field("gap").metadata[b"unit"] == b"eV"
    pins = pq.read_table(store.folder / "pins.parquet")
    assert pins["processed"].to_pylist() == ["at 0000", "at 0001", "at 0002"]


def test_entries_that_arrived_late_stand_in_their_place(tmp_path: Path) -> None:
    """Rows and pins are in the order of their ids."""
    store = a_store(tmp_path, 0)
    store.journal.append(a_page(a_batch(numbers)) for numbers in ([5, 9], [7, 2], [0, 1], [3, 8, 6]))
    whole = completed(store)
    assert values(store, "gap") == [0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert store.pins(whole)["entry_id"].to_pylist() == values(store)


def test_rows_of_a_sorted_table_stand_as_they_arrived(tmp_path: Path) -> None:
    """Another order than that of ids was asked for."""
    store = a_store(tmp_path, 0)
    store.journal.append(a_page(a_batch(numbers)) for numbers in ([5, 2], [9, 0]))
    completed(store, ordered=False)
    assert values(store, "gap") == [5.0, 2.0, 9.0, 0.0]


def test_entries_without_rows_are_counted(tmp_path: Path) -> None:
    """Where rows are items of a section: three entries, of which one has two rows and one has none."""
    store = a_store(tmp_path, 0)
    page = a_page(a_batch([1, 1, 2]))
    pins = pa.record_batch([["0001", "0002", "0003"], [None] * 3, [None] * 3], schema=pins_schema())
    store.journal.append([Page(Record(3, 3, "0001", "0003"), page.rows, pins)])
    written = assemble(store, SCHEMA)
    assert [part.n_rows for part in written.parts] == [3, 3]
    assert written.n_rowless == 1
    assert written.units == {"gap": "eV"}


def test_an_entry_that_arrived_twice_is_damage(tmp_path: Path) -> None:
    """In pages that overlap, or one after the other; the table is fetched again."""
    for numbers in ([2, 3], [1], [0]):
        store = a_store(tmp_path, 3)
        store.journal.append([a_page(a_batch(numbers))])
        with pytest.raises(CacheCorrupt, match="an entry stands in it twice"):
            assemble(store, SCHEMA)


# -- one table after another -----------------------------------------------------------------


def test_the_whole_table_stays_until_the_next_is_whole(tmp_path: Path) -> None:
    """A refresh that is killed costs nothing, and whoever reads meanwhile reads on."""
    store, old = a_whole_store(tmp_path, 3)
    reading = store.batches(old, batch_size=2)
    assert next(reading).num_rows == 2
    store.begin({}, {})
    store.journal.append([a_page(a_batch([5]))])
    assert store.manifest() == old
    written = assemble(store, SCHEMA)
    assert store.manifest() == old
    new = Manifest("complete", {}, written.parts, 1, 1)
    store.publish(new)
    assert next(reading).num_rows == 1
    assert store.manifest() == new
    assert names(store) == {"manifest.json", "table-1.parquet", "pins-1.parquet"}


def test_an_abandoned_beginning_leaves_the_whole_table(tmp_path: Path) -> None:
    """Its journal, its manifest, and files that were put together and not published go."""
    store, old = a_whole_store(tmp_path, 3)
    store.begin({}, {})
    store.journal.append([a_page(a_batch([5]))])
    assemble(store, SCHEMA)
    store.abandon()
    assert store.manifest() == old
    assert store.partial() is None
    assert names(store) == {"manifest.json", "table.parquet", "pins.parquet"}


def test_another_beginning_begins_with_nothing(tmp_path: Path) -> None:
    """The journal of the one before goes."""
    store = a_store(tmp_path, 3)
    begun = store.begin({"other": 1}, {})
    assert store.partial() == begun
    assert store.journal.records() == ()


def test_a_cleared_table_leaves_the_lock(tmp_path: Path) -> None:
    """Whoever waits for it holds it."""
    store, _ = a_whole_store(tmp_path, 3)
    with store.lock():
        store.clear()
    assert store.manifest() is None
    assert names(store) == set()


def test_rows_of_a_whole_table_are_merged_with_new_ones(tmp_path: Path) -> None:
    """Entries that are gone are dropped; of those that changed the new row stands in the old one's place."""
    store, old = a_whole_store(tmp_path, 3, 3)
    store.begin({}, {})
    changed = pa.record_batch([["0001", "0003x"], [100.0, 200.0]], schema=SCHEMA)
    store.journal.append([a_page(changed)])
    new = completed(store, base=Base(old, {"0001", "0004"}))
    assert values(store) == ["0000", "0001", "0002", "0003", "0003x", "0005"]
    assert values(store, "gap") == [0.0, 100.0, 2.0, 3.0, 200.0, 5.0]
    assert store.pins(new)["entry_id"].to_pylist() == values(store)
    assert (new.n_entries, new.n_rows) == (6, 6)


def test_dropping_all_or_nothing_of_a_whole_table(tmp_path: Path) -> None:
    """Also of an empty one, and with nothing new."""
    store, old = a_whole_store(tmp_path, 3)
    for dropped in (set(), {"0000", "0001", "0002"}, set()):
        n_rows = old.n_rows - len(dropped)
        store.begin({}, {})
        old = completed(store, base=Base(old, dropped))
        assert (old.n_rows, len(values(store))) == (n_rows, n_rows)
    assert store.schema(old).equals(SCHEMA, check_metadata=True)


def test_an_entry_that_arrived_anew_and_was_not_dropped_is_damage(tmp_path: Path) -> None:
    """It would stand in the table twice."""
    store, old = a_whole_store(tmp_path, 3)
    store.begin({}, {})
    store.journal.append([a_page(a_batch([1]))])
    with pytest.raises(CacheCorrupt, match="an entry stands in it twice"):
        assemble(store, SCHEMA, base=Base(old))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [(1, 2, 2), (1, None, None), ([1.5], [], []), ([[1.5]], [[None]], [[None]]), ("a", "b", "b")],
)
def test_new_rows_take_the_types_of_the_table_that_they_join(
    tmp_path: Path, old: Any, new: Any, expected: Any
) -> None:
    """Where they have the same, or no value that could tell one."""
    store = a_store(tmp_path)
    store.journal.append([a_page(open_batch(a=old))])
    whole = completed(store, OPEN)
    store.begin({}, {})
    store.journal.append([a_page(open_batch(b=new))])
    joined = completed(store, OPEN, base=Base(whole))
    assert values(store, "x") == [old, expected]
    assert store.schema(joined).equals(pq.read_schema(store.folder / "table-1.parquet"), check_metadata=True)


@pytest.mark.parametrize(
    ("old", "new"), [(1, "b"), (1, 1.5), ([1], 1), (None, 1), ([1], [[1]]), (True, 1), (1, []), ("a", [None])]
)
def test_rows_of_other_types_do_not_join(tmp_path: Path, old: Any, new: Any) -> None:
    """All of the table has to be fetched again; what is whole stays."""
    store = a_store(tmp_path)
    store.journal.append([a_page(open_batch(a=old))])
    whole = completed(store, OPEN)
    store.begin({}, {})
    store.journal.append([a_page(open_batch(b=new))])
    with pytest.raises(OtherTypes, match="x"):
        assemble(store, OPEN, base=Base(whole))
    assert store.manifest() == whole


# -- damage --------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        *((file, harm) for file in ("table.parquet", "pins.parquet") for harm in (cut, Path.unlink, empty)),
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


def test_a_damaged_beginning_is_told(tmp_path: Path) -> None:
    """What was asked cannot be read."""
    store = a_store(tmp_path, 3)
    (store.folder / "partial.json").write_text("{")
    with pytest.raises(CacheCorrupt, match=r"partial\.json cannot be read"):
        store.partial()


@pytest.mark.parametrize("read", [lambda store: list(store.batches()), lambda store: store.table()])
def test_damage_within_a_file_is_told_when_it_is_read(
    tmp_path: Path, read: Callable[[TableStore], Any]
) -> None:
    """Every page has a checksum."""
    store, _ = a_whole_store(tmp_path, 500)
    flip(store.folder / "table.parquet")
    with pytest.raises(CacheCorrupt, match="cannot be read"):
        read(store)


@pytest.mark.parametrize("file", ["table.parquet", "pins.parquet"])
def test_hashes_find_what_differs_from_what_was_written(tmp_path: Path, file: str) -> None:
    """A sound table is passed over in silence; of a changed file size and footer may be right."""
    store, manifest = a_whole_store(tmp_path, 500)
    store.check_hashes(manifest)
    flip(store.folder / file)
    assert store.manifest() == manifest
    with pytest.raises(CacheCorrupt, match=rf"{file} is not what was written \(SHA-256\)"):
        store.check_hashes(manifest)


def test_another_table_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    """Of the same size and readable, with other rows than the manifest says."""
    store, manifest = a_whole_store(tmp_path, 3)
    broken = json.loads((store.folder / "manifest.json").read_text())
    broken["parts"][0]["n_rows"] = 4
    (store.folder / "manifest.json").write_text(json.dumps(broken))
    for read in (lambda: list(store.batches()), store.table):
        with pytest.raises(CacheCorrupt, match="has 3 rows in place of 4"):
            read()
    assert manifest.n_rows == 3


def test_pages_that_cannot_be_read_any_more_are_told(tmp_path: Path) -> None:
    """When the table is put together; it is fetched again then."""
    store = a_store(tmp_path, 500)
    content = bytearray(store.journal.path.read_bytes())
    content[600:700] = bytes(100)
    store.journal.path.write_bytes(content)
    with pytest.raises(CacheCorrupt, match=r"pages\.journal cannot be read"):
        assemble(store, SCHEMA)


@pytest.mark.parametrize("name", ["manifest.json", "partial.json"])
def test_a_newer_format_is_refused(tmp_path: Path, name: str) -> None:
    """It is not overwritten: a newer version may still want it."""
    store, _ = a_whole_store(tmp_path, 3)
    store.begin({}, {})
    newer = json.loads((store.folder / name).read_text()) | {"format": 99}
    (store.folder / name).write_text(json.dumps(newer))
    with pytest.raises(CacheFormatTooNew, match="format 99"):
        store.manifest() if name == "manifest.json" else store.partial()


# -- killed, or full ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["table.parquet", "pins.parquet", "manifest.json"])
def test_killed_before_a_rename_the_table_before_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And it can be put together afterwards."""
    store = a_store(tmp_path, 3)
    before = store.manifest()

    def killed(self: Path, target: Path) -> None:
        if target.name == name:
            raise KeyboardInterrupt
        self.rename(target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            completed(store)
    assert store.manifest() == before
    whole = completed(store)
    assert values(store, "gap") == [0.0, 1.0, 2.0]
    assert names(store) == {"manifest.json", *(part.file for part in whole.parts)}


def test_killed_before_a_beginning_is_there_the_whole_table_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was begun then."""
    store, whole = a_whole_store(tmp_path, 3)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.begin({}, {})
    assert store.manifest() == whole
    assert store.partial() is None


@pytest.mark.parametrize("n_flushes", range(6))
def test_a_full_disk_says_so_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_flushes: int
) -> None:
    """Whichever file does not fit; the next call goes on. (A folder that cannot be flushed is no failure.)"""
    store = a_store(tmp_path, 3)
    before, left = store.manifest(), n_flushes

    def full(_: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        if n_flushes < 5:  # rows, folder, pins, folder, manifest
            with pytest.raises(CacheError, match=r"disk is full.*goes on where it stopped"):
                completed(store)
            assert store.manifest() == before
            assert not list(store.folder.glob("*.part"))
    completed(store)
    assert values(store, "gap") == [0.0, 1.0, 2.0]


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
