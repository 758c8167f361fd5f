"""The demo data that are shipped with the package."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from nomadquery.errors import CacheError
from nomadquery.local.database import FILE_NAME
from nomadquery.local.demo import open_demo
from tests.local_entries import an_archive, ask, query


def test_the_demo_is_unpacked_once(tmp_path: Path) -> None:
    """The second opening reads the file that the first one made."""
    with open_demo(tmp_path) as first:
        count = first.count
    [folder] = tmp_path.iterdir()
    made = (folder / FILE_NAME).stat().st_mtime_ns
    with open_demo(tmp_path) as second:
        assert second.count == count
    assert (folder / FILE_NAME).stat().st_mtime_ns == made
    assert sorted(path.name for path in folder.iterdir()) == [FILE_NAME, "raw"]


def test_the_demo_is_whole_and_public() -> None:
    """Every entry is public, and has its archive."""
    store = open_demo()
    answer = query(store, pagination={"page_size": 0})
    assert answer["pagination"]["total"] == store.count > 500
    last = list(store.documents())[-1]
    archive = store.archive(last["entry_id"])
    assert archive is not None
    assert archive["metadata"]["entry_id"] == last["entry_id"]


def test_the_demo_cannot_be_written_to(tmp_path: Path) -> None:
    """Neither in a folder nor in memory."""
    for store in (open_demo(tmp_path), open_demo()):
        with pytest.raises(CacheError, match="cannot be written to"):
            store.add_archives([an_archive("a")])
        store.close()


def test_the_demo_needs_no_folder_that_can_be_written_to(caplog: pytest.LogCaptureFixture) -> None:
    """It is then unpacked in memory, and a warning says so."""
    store = open_demo(Path("/proc/none/such"))
    assert store.count > 500
    assert "unpacked in memory" in caplog.text


def test_a_damaged_demo_is_not_read_as_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The data are unpacked in memory, and the warning names the file."""
    open_demo(tmp_path).close()
    [folder] = tmp_path.iterdir()
    (folder / FILE_NAME).write_bytes(b"half a file " * 1000)
    assert open_demo(tmp_path).count > 500
    assert FILE_NAME in caplog.text


def test_small_uploads_of_the_demo_have_structures_as_raw_files() -> None:
    """Mainfiles with what was calculated, the structure as XYZ, and as CIF that is packed."""
    store = open_demo()
    silicon = [one for one in store.documents() if "Si-diamond-1.00a" in one["mainfile"]]
    [document] = silicon
    stem = document["mainfile"].removesuffix(".archive.json")
    files = store.raw.files(document["upload_id"])
    own = {path for path in files if path.startswith(stem)}
    assert own == {f"{stem}.archive.json", f"{stem}.xyz", f"{stem}.cif.gz"}

    def content(suffix: str) -> bytes:
        with store.raw.open(files[stem + suffix]) as source:
            return source.read()

    archive = store.archive(document["entry_id"])
    assert archive is not None
    metadata = archive.pop("metadata")
    assert json.loads(content(".archive.json")) == archive
    n_atoms, comment, *atoms = content(".xyz").decode().splitlines()
    assert int(n_atoms) == len(atoms) == len(archive["run"][0]["system"][-1]["atoms"]["labels"])
    assert all(line.startswith("Si ") for line in atoms)
    assert metadata["entry_id"] in comment
    assert b"_cell_length_a" in gzip.decompress(content(".cif.gz"))


def test_the_demo_lists_and_gives_its_raw_files(tmp_path: Path) -> None:
    """Over the endpoints, of every entry at least its mainfile; all of them are some 30 MB."""
    with open_demo(tmp_path) as store:
        for document in store.documents():
            assert document["mainfile"] in store.raw.files(document["upload_id"])
        last = {"pagination": {"page_size": 5, "order": "desc"}}
        status, listed = ask(store, "POST", "entries/rawdir/query", last)
        assert status == 200
        for one in listed["data"]:
            assert one["mainfile"] in {file["path"] for file in one["files"]}
    [raw] = tmp_path.glob("*/raw")
    assert sum(path.stat().st_size for path in raw.iterdir()) < 40_000_000
