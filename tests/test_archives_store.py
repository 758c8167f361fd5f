"""Whole archives on disk: what was written is read, wherever a process was killed."""

from __future__ import annotations

import itertools
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from nomadquery.errors import CacheCorrupt, CacheFormatTooNew
from nomadquery.store.archives import ArchiveStore, Kept
from tests.strategies import json_values, run_archives

REQUEST = {"deployment": "https://our.host/api/v1", "owner": "public", "user": None, "required": "*"}


def kept(entry_id: str, processed_at: str | None = "2024") -> Kept:
    return Kept(entry_id, "upload-1", processed_at, "2025-01-01T00:00:00.000+00:00")


def contents(folder: Path) -> dict[str, Any]:
    """Return what a new process finds, by entry id."""
    store = ArchiveStore(folder)
    return {entry_id: store.read(one) for entry_id, one in store.index().items()}


def filled(folder: Path, *entry_ids: str) -> ArchiveStore:
    """Return a store with one part for each id."""
    store = ArchiveStore(folder)
    store.begin(REQUEST)
    for entry_id in entry_ids:
        store.append([(kept(entry_id), {"of": entry_id})])
    return store


@given(run_archives(), json_values())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, archive: dict[str, Any], value: Any
) -> None:
    """Whatever JSON, in one part or in several."""
    folder = tmp_path_factory.mktemp("store")
    store = ArchiveStore(folder)
    store.begin(REQUEST)
    store.append([(kept("a"), archive), (kept("index"), {"data": value})])
    store.append([(kept("c", None), {"data": [value]})])
    assert contents(folder) == {"a": archive, "index": {"data": value}, "c": {"data": [value]}}
    assert store.request() == REQUEST


@pytest.mark.parametrize("value", [float("inf"), 10**400, -0.0, "\ud800", "Å"])
def test_what_json_has_no_word_for_is_kept_too(tmp_path: Path, value: Any) -> None:
    """Infinity, halves of surrogate pairs, numbers of any size."""
    filled(tmp_path).append([(kept("a"), {"data": value})])
    assert repr(contents(tmp_path)["a"]["data"]) == repr(value)


def test_the_last_of_an_entry_counts(tmp_path: Path) -> None:
    """A part of which nothing is left goes."""
    store = filled(tmp_path, "a", "b")
    store.append([(kept("a", "2025"), {"of": "a", "again": True})])
    assert contents(tmp_path) == {"a": {"of": "a", "again": True}, "b": {"of": "b"}}
    assert store.index()["a"].processed_at == "2025"
    assert [path.name for path in store.files()] == ["part-00001.zip", "part-00002.zip"]


def test_many_small_parts_become_one(tmp_path: Path) -> None:
    """Nothing is lost."""
    names = [f"entry-{number}" for number in range(70)]
    store = filled(tmp_path, *names)
    assert contents(tmp_path) == {name: {"of": name} for name in names}
    assert len(store.files()) < 35


def test_any_unpacker_reads_a_part(tmp_path: Path) -> None:
    """It is a ZIP file with an archive for each entry."""
    (file,) = filled(tmp_path, "a").files()
    with zipfile.ZipFile(file) as part:
        assert part.read("archives/a.json") == b'{"of":"a"}'
        assert part.getinfo("archives/a.json").compress_type == zipfile.ZIP_DEFLATED


# -- kill and damage -----------------------------------------------------------------------


def interrupted_at(moment: int, function: Any) -> Any:
    """Return the function, interrupted the n-th time that it is called."""
    done = itertools.count(1)

    def wrapped(*arguments: Any, **more: Any) -> Any:
        if next(done) == moment:
            raise KeyboardInterrupt
        return function(*arguments, **more)

    return wrapped


@pytest.mark.parametrize("step", ["fsync", "replace", "unlink"])
def test_killed_at_any_step_nothing_half_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What was there stays, what was being added is there or not; the same again completes it."""
    names = [f"e{number}" for number in range(34)]  # so that small parts are put together too
    places = {"fsync": (os, "fsync"), "replace": (Path, "replace"), "unlink": (Path, "unlink")}
    for moment in itertools.count(1):
        folder = tmp_path / f"{step} {moment}"
        filled(folder, *names[:30])
        with monkeypatch.context() as patched:
            owner, name = places[step]
            patched.setattr(owner, name, interrupted_at(moment, getattr(owner, name)))
            try:
                filled(folder, *names[30:])
                break
            except KeyboardInterrupt:
                pass
        found = contents(folder)
        assert set(names[:30]) <= found.keys()
        assert all(archive == {"of": entry_id} for entry_id, archive in found.items())
        store = filled(folder, *(one for one in names if one not in found))
        assert contents(folder) == {one: {"of": one} for one in names}
        assert not list(folder.glob(".*.part")), store.files()
    assert moment > 3


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9, 0.99])
def test_a_byte_turned_over_is_never_read_as_sound(tmp_path: Path, place: float) -> None:
    """It is told with the part; the others are read."""
    store = filled(tmp_path, "a", "b")
    file = store.files()[0]
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    file.write_bytes(content)
    damages: list[str] = []
    found = ArchiveStore(tmp_path)
    index = found.index(lambda name, _: damages.append(name))
    assert found.read(index["b"]) == {"of": "b"}
    if "a" in index:
        try:
            assert found.read(index["a"]) == {"of": "a"}  # a byte that means nothing, such as a date
        except CacheCorrupt as error:
            assert "nomadquery cache remove" in str(error)
    else:
        assert damages == ["part-00000.zip"]


@pytest.mark.parametrize(
    "harm", [lambda p: p.write_bytes(p.read_bytes()[:-10]), lambda p: p.write_bytes(b"")]
)
def test_a_part_that_was_cut_is_told(tmp_path: Path, harm: Any) -> None:
    """Removed, it is as if it had never been there."""
    store = filled(tmp_path, "a", "b")
    harm(store.files()[0])
    with pytest.raises(CacheCorrupt, match=r"damaged: part-00000\.zip cannot be read"):
        ArchiveStore(tmp_path).index()
    store.discard("part-00000.zip")
    assert contents(tmp_path) == {"b": {"of": "b"}}


def test_the_archives_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    """With what to do."""
    store = filled(tmp_path, "a")
    (tmp_path / "request.json").write_text('{"format": 99, "request": {}}')
    with pytest.raises(CacheFormatTooNew, match="Update nomadquery"):
        store.begin(REQUEST)
    assert len(store.files()) == 1


def test_clearing_leaves_only_the_lock(tmp_path: Path) -> None:
    """Also what a killed process left."""
    store = filled(tmp_path, "a")
    (tmp_path / ".part-00001.zip.x.part").write_bytes(b"half")
    with store.lock():
        store.clear()
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == []
    assert store.index() == {} and store.request() is None
