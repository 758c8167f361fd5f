"""How a local deployment keeps raw files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from nomadquery.errors import CacheCorrupt, CacheError
from nomadquery.local.store import LocalStore, build_store
from tests.local_entries import a_store, an_archive
from tests.local_raw import FILES, UPLOAD


def test_files_below_a_folder_become_the_raw_files_of_an_upload(tmp_path: Path) -> None:
    """By their paths below it, in folders of any depth; another store reads them from its folder."""
    source = tmp_path / "from"
    for path, content in FILES.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    with LocalStore(tmp_path / "store") as writer:
        assert writer.add_raw_files(UPLOAD, source) == len(FILES)
    with LocalStore(tmp_path / "store", read_only=True) as reader:
        files = reader.raw.files(UPLOAD)
        assert {path: file.size_bytes for path, file in files.items()} == {
            path: len(content) for path, content in FILES.items()
        }
        for path, file in files.items():
            with reader.raw.open(file) as content_of:
                assert content_of.read() == FILES[path]


def test_raw_files_are_kept_as_one_zip_whose_members_are_not_compressed(tmp_path: Path) -> None:
    """Anything that reads zips reads them; names that a file system would not take are kept too."""
    odd = {"a/../b": b"1", "C:\\x": b"2", "n" * 300: b"3"}
    with LocalStore(tmp_path) as store:
        store.add_raw_files(UPLOAD, odd)
    with zipfile.ZipFile(tmp_path / "raw" / f"{UPLOAD}.zip") as packed:
        assert {one.filename: packed.read(one) for one in packed.infolist()} == odd
        assert {one.compress_type for one in packed.infolist()} == {zipfile.ZIP_STORED}


def test_raw_files_are_replaced_whole_and_seen_by_readers(tmp_path: Path) -> None:
    """A reader that knows the old files finds the new ones; one that fails leaves the old ones."""
    with LocalStore(tmp_path) as reader, LocalStore(tmp_path) as writer:
        writer.add_raw_files(UPLOAD, {"old": b"1"})
        assert [*reader.raw.files(UPLOAD)] == ["old"]
        writer.add_raw_files(UPLOAD, {"new": b"12", "newer": b""})
        assert [*reader.raw.files(UPLOAD)] == ["new", "newer"]
        with pytest.raises(FileNotFoundError):
            writer.add_raw_files(UPLOAD, {"a": b"1", "b": tmp_path / "not there"})
        assert [*reader.raw.files(UPLOAD)] == ["new", "newer"]
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [f"{UPLOAD}.zip"]


def test_a_file_that_was_listed_before_a_replacement_is_not_read_from_the_new_zip(tmp_path: Path) -> None:
    """Its bytes would be those of another file; what was opened before is read to its end."""
    with LocalStore(tmp_path) as store:
        store.add_raw_files(UPLOAD, {"a": b"of the old"})
        listed = store.raw.files(UPLOAD)["a"]
        with store.raw.open(listed) as opened:
            store.add_raw_files(UPLOAD, {"A": b"another", "a": b"of the new"})
            assert opened.read() == b"of the old"
        with pytest.raises(CacheError, match="replaced meanwhile"), store.raw.open(listed):
            pass


def test_without_a_folder_raw_files_end_with_the_store() -> None:
    """They lie in a temporary folder meanwhile."""
    store = a_store(an_archive("a"))
    store.add_raw_files(UPLOAD, FILES)
    place = store.raw.zip_path(UPLOAD)
    assert place is not None
    store.close()
    assert not place.parent.exists()


def test_a_read_only_store_takes_no_raw_files(tmp_path: Path) -> None:
    """As it takes no entries."""
    LocalStore(tmp_path).close()
    with (
        LocalStore(tmp_path, read_only=True) as store,
        pytest.raises(CacheError, match="cannot be written to"),
    ):
        store.add_raw_files(UPLOAD, FILES)


def test_a_store_that_is_built_beside_its_place_moves_with_its_raw_files(tmp_path: Path) -> None:
    """And nothing else is left behind."""

    def fill(store: LocalStore) -> None:
        store.add_archives([an_archive("a")])
        store.add_raw_files(UPLOAD, FILES)

    build_store(tmp_path, fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entries.sqlite", "raw"]
    with LocalStore(tmp_path, read_only=True) as store:
        assert [*store.raw.files(UPLOAD)] == sorted(FILES)


def test_a_damaged_zip_is_named(tmp_path: Path) -> None:
    """Bytes that are no zip are an error, never an upload without files."""
    with LocalStore(tmp_path) as store:
        store.add_raw_files(UPLOAD, FILES)
        (tmp_path / "raw" / f"{UPLOAD}.zip").write_bytes(b"half a zip")
        with pytest.raises(CacheCorrupt, match=rf"{UPLOAD}\.zip are damaged"):
            store.raw.files(UPLOAD)
