"""The entries of a local deployment in their folder: kept whole, read by many, written by one."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nomadquery.errors import CacheCorrupt, CacheError, CacheFormatTooNew, InvalidRequest
from nomadquery.local.database import FILE_NAME, SCHEMA_VERSION
from nomadquery.local.store import LocalStore, build_store
from tests.local_entries import a_store, an_archive


def test_what_is_kept_is_read_again_from_the_folder(tmp_path: Path) -> None:
    """Documents in the order of ids, archives as they were."""
    archives = [an_archive(entry_id) for entry_id in ("b", "a", "C")]
    with LocalStore(tmp_path / "new" / "folder") as store:
        assert store.add_archives(archives) == 3
    with LocalStore(tmp_path / "new" / "folder") as store:
        assert [document["entry_id"] for document in store.documents()] == ["C", "a", "b"]
        assert store.archive("a") == archives[1]
        assert store.count == 3
        assert store.document("d") is store.archive("d") is None


def test_lines_of_json_are_kept_as_archives_are(tmp_path: Path) -> None:
    """The two ways to add archives make the same documents and archives."""
    archives = [an_archive("a"), an_archive("b", quantities=["", "run"], n_quantities=2)]
    slow, quick = a_store(*archives), LocalStore(tmp_path)
    assert quick.add_archive_lines(json.dumps(archive).encode() + b"\n" for archive in archives) == 2
    assert list(quick.documents()) == list(slow.documents())
    assert quick.archive("b") == archives[1]


def test_an_entry_that_is_there_is_replaced() -> None:
    """Its document and its archive are the new ones."""
    store = a_store(an_archive("a"))
    store.add_entries([({"entry_id": "a", "upload_id": "u", "comment": "new"}, None)])
    assert store.document("a") == {"entry_id": "a", "upload_id": "u", "comment": "new"}
    assert store.archive("a") is None
    assert store.count == 1


def test_of_several_archives_all_are_kept_or_none() -> None:
    """A broken one in the middle leaves the store as it was."""
    store = a_store(an_archive("a"))
    with pytest.raises(InvalidRequest):
        store.add_archives([an_archive("b"), {"metadata": {}}, an_archive("c")])
    assert [document["entry_id"] for document in store.documents()] == ["a"]


def test_mail_addresses_are_never_kept() -> None:
    """Not even those in a document from elsewhere."""
    person = {"user_id": "u", "name": "Ada", "email": "a@example.org"}
    store = LocalStore()
    store.add_entries(
        [({"entry_id": "a", "upload_id": "u", "main_author": person, "authors": [person]}, None)]
    )
    assert "example.org" not in json.dumps(store.document("a"))


def test_what_another_writes_is_seen(tmp_path: Path) -> None:
    """A reader that has parsed its documents notices that there are new ones."""
    with LocalStore(tmp_path) as reader, LocalStore(tmp_path) as writer:
        assert list(reader.documents()) == []
        writer.add_archives([an_archive("a")])
        assert [document["entry_id"] for document in reader.documents()] == ["a"]


def add_one(folder: Path, entry_id: str) -> None:
    """Add one entry, in a process of its own."""
    with LocalStore(folder) as store:
        store.add_archives([an_archive(entry_id)])


def test_processes_write_one_after_the_other(tmp_path: Path) -> None:
    """Four that open a new folder and write at once all succeed."""
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=add_one, args=(tmp_path, name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    with LocalStore(tmp_path) as store:
        assert [document["entry_id"] for document in store.documents()] == ["a", "b", "c", "d"]


READ_IN_A_CHILD = """
import os, pathlib, sys
from nomadquery.local.store import LocalStore

store = LocalStore(pathlib.Path(sys.argv[1]))
if os.fork() == 0:
    os._exit(store.count)
assert os.waitstatus_to_exitcode(os.wait()[1]) == store.count == 1
"""


def test_a_store_made_before_a_fork_is_read_in_the_child(tmp_path: Path) -> None:
    """The child opens its own connection; the parent's stays usable."""
    add_one(tmp_path, "a")
    subprocess.run([sys.executable, "-c", READ_IN_A_CHILD, str(tmp_path)], check=True, timeout=60)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """The message says what to do."""
    LocalStore(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(CacheFormatTooNew, match="Upgrade nomadquery"):
        LocalStore(tmp_path)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_file_is_named(tmp_path: Path, read_only: bool) -> None:
    """Something that is no database is not touched."""
    (tmp_path / FILE_NAME).write_bytes(b"something else " * 100)
    with pytest.raises(CacheCorrupt, match=FILE_NAME):
        LocalStore(tmp_path, read_only=read_only)
    assert (tmp_path / FILE_NAME).read_bytes() == b"something else " * 100


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    """Bytes that do not unpack are an error, never an empty archive."""
    with LocalStore(tmp_path) as store:
        store.add_archives([an_archive("a")])
        with sqlite3.connect(tmp_path / FILE_NAME) as connection:
            connection.execute("UPDATE archives SET content = x'00'")
        connection.close()
        with pytest.raises(CacheCorrupt, match="archive of a"):
            store.archive("a")


def test_a_read_only_store_is_read_and_not_written(tmp_path: Path) -> None:
    """Writing says that it cannot be."""
    add_one(tmp_path, "a")
    with LocalStore(tmp_path, read_only=True) as store:
        assert store.count == 1
        with pytest.raises(CacheError, match="cannot be written to"):
            store.add_archives([an_archive("b")])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_forbids_writing_is_read(tmp_path: Path) -> None:
    """Without being told, and without leaving files."""
    add_one(tmp_path, "a")
    tmp_path.chmod(0o500)
    try:
        with LocalStore(tmp_path) as store:
            assert store.is_read_only
            assert store.count == 1
    finally:
        tmp_path.chmod(0o700)


def test_a_place_with_nothing_to_read_and_nowhere_to_write_is_an_error() -> None:
    """A folder that cannot be made."""
    with pytest.raises(CacheError, match="holds no local deployment"):
        LocalStore(Path("/proc/none/such"))


def test_a_store_that_is_not_finished_is_not_seen(tmp_path: Path) -> None:
    """If filling fails, nothing is there; if it succeeds, one file."""

    def fail(store: LocalStore) -> None:
        store.add_archives([an_archive("a")])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(tmp_path, fail)
    assert list(tmp_path.iterdir()) == []
    build_store(tmp_path, lambda store: store.add_archives([an_archive("a")]))
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    with LocalStore(tmp_path, read_only=True) as store:
        assert store.count == 1


def test_what_a_killed_process_left_is_removed_later(tmp_path: Path) -> None:
    """A folder of unfinished work that is older than an hour goes; a younger one may be in use."""
    old, young = tmp_path / ".building-old", tmp_path / ".building-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / FILE_NAME).write_bytes(b"half")
    os.utime(old, (0, 0))
    build_store(tmp_path, lambda store: store.add_archives([an_archive("a")]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".building-young", FILE_NAME]
