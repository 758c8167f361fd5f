"""A cache that is damaged, newer, read-only or full: told, and never read as whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nomadquery.errors import CacheCorrupt, CacheError, CacheFormatTooNew
from nomadquery.store import files
from tests.tables import CountedWire, a_filled_store, a_search, ids, lost_after


@pytest.fixture
def wire() -> CountedWire:
    return CountedWire(a_filled_store(ids(8)))


def kept_file(cache: Path, pattern: str) -> Path:
    (file,) = (cache / "tables").glob(f"*/{pattern}")
    return file


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(4, len(content) // 3):
        content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("table.parquet", cut),
        ("table.parquet", Path.unlink),
        ("table.parquet", flip),
        ("manifest.json", lambda path: path.write_text("{")),
    ],
)
@pytest.mark.parametrize("form", ["frame", "file"])
def test_a_damaged_table_is_fetched_again_with_a_warning(
    wire: CountedWire, tmp_path: Path, file: str, harm: Callable[[Path], Any], form: str
) -> None:
    """Online; offline it is an error."""
    table = a_search(wire, tmp_path).select("gap", "elements")

    def n_rows() -> int:
        if form == "frame":
            return len(table.to_pandas())
        return len(table.to_jsonl(tmp_path / "t.jsonl").read_text().splitlines())

    table.to_arrow()
    harm(kept_file(tmp_path, file))
    with pytest.raises(CacheCorrupt, match="is damaged"):
        table.to_pandas(offline=True)
    with pytest.warns(UserWarning, match=r"is damaged.*It is fetched again now"):
        assert n_rows() == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert n_rows() == 8


@pytest.mark.parametrize("harm", [cut, flip, Path.unlink])
def test_a_damaged_beginning_is_begun_again(
    wire: CountedWire, tmp_path: Path, harm: Callable[[Path], Any]
) -> None:
    """What is damaged, and what came after it, is asked for again; what came before is not."""
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    wire.change = lost_after(wire, 2)
    with pytest.raises(Exception, match="6 of 8"):
        table.to_arrow()
    wire.change = None
    undisturbed = a_search(wire, tmp_path / "other").select("gap").to_pandas()
    n_pages = len(wire.pages)
    harm(kept_file(tmp_path, "pages.journal"))
    pd.testing.assert_frame_equal(table.to_pandas(), undisturbed)
    assert len(wire.pages) - n_pages == (2 if harm is cut else 3)


def test_the_table_of_a_newer_version_is_left_alone(wire: CountedWire, tmp_path: Path) -> None:
    """Online and offline."""
    table = a_search(wire, tmp_path).select("gap")
    table.to_arrow()
    path = kept_file(tmp_path, "manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    for offline in (False, True):
        with pytest.raises(CacheFormatTooNew, match="Update nomadquery"):
            table.to_pandas(offline=offline)
    assert json.loads(path.read_text())["format"] == 99


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only, also for root, by giving up its rights for a while."""
    is_root = os.geteuid() == 0
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and str(parent).startswith("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.skipif(sys.platform == "win32", reason="rights of folders are another matter there")
def test_a_read_only_cache_is_read_and_what_is_new_is_kept_for_the_process(tmp_path: Path) -> None:
    """With one warning."""
    wire, cache = CountedWire(a_filled_store(ids(8))), tmp_path / "cache"
    a_search(wire, cache).select("gap").to_arrow()
    n_pages = len(wire.pages)
    with read_only(cache):
        search = a_search(wire, cache)
        assert len(search.select("gap").to_pandas()) == 8
        assert len(wire.pages) == n_pages
        with pytest.warns(
            UserWarning, match=r"cannot be written.*for this process only.*NOMADQUERY_CACHE_DIR"
        ):
            assert len(search.select("formula").to_pandas()) == 8
        assert len(search.select("formula").to_pandas()) == 8
        assert len(wire.pages) == n_pages + 1
        assert len(search.select("gap").to_pandas(refresh=True)) == 8
    assert len(list((cache / "tables").iterdir())) == 1


def test_a_cache_folder_that_cannot_be_made_is_done_without(wire: CountedWire, tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "file").write_text("")
    table = a_search(wire, tmp_path / "file" / "cache").select("gap")
    with pytest.warns(UserWarning, match="cannot be written"):
        assert len(table.to_pandas()) == 8


def test_a_full_disk_is_told_and_the_next_call_goes_on(
    wire: CountedWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While parts are written and while the table is put together."""
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    for n_writes in (1, 7, 3, 2):
        left = n_writes

        def sync(_: int) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(files, "sync_folder", lambda _: None)
            patched.setattr(os, "fsync", sync)
            with pytest.raises(CacheError, match=r"disk is full.*run it again"):
                table.to_pandas()
    n_pages = len(wire.pages)
    assert len(table.to_pandas()) == 8
    assert len(wire.pages) <= n_pages + 1


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of 64 kB, where the system lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_is_told_and_the_next_call_goes_on(tiny_disk: Path) -> None:
    """The pages that fitted are not asked for again."""
    wire = CountedWire(a_filled_store(ids(3_000), archives=False))
    table = a_search(wire, tiny_disk).select("gap", "upload_id", "mainfile", "uploaded").page_size(500)
    (tiny_disk / "other").write_bytes(b"x" * 36_000)
    with pytest.raises(CacheError, match=r"disk is full.*run it again"):
        table.to_pandas()
    n_kept = int(repr(table).partition("kept: ")[2].partition(" of 3,000")[0].replace(",", ""))
    assert 0 < n_kept < 3_000
    n_pages = len(wire.pages)
    subprocess.run(["mount", "-o", "remount,size=10m", str(tiny_disk)], check=True)
    assert len(table.to_pandas()) == 3_000
    begun = [page.json["pagination"].get("page_after_value") for page in wire.pages[n_pages:]]
    assert begun
    assert None not in begun
    assert min(begun) >= ids(3_000)[n_kept - 1]
