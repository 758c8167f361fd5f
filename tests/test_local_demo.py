"""The demo data that are shipped with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from nomadquery.errors import CacheError
from nomadquery.local.database import FILE_NAME
from nomadquery.local.demo import open_demo
from tests.local_entries import an_archive, query


def test_the_demo_is_unpacked_once(tmp_path: Path) -> None:
    """The second opening reads the file that the first one made."""
    with open_demo(tmp_path) as first:
        count = first.count
    [folder] = tmp_path.iterdir()
    made = (folder / FILE_NAME).stat().st_mtime_ns
    with open_demo(tmp_path) as second:
        assert second.count == count
    assert (folder / FILE_NAME).stat().st_mtime_ns == made
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]


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
