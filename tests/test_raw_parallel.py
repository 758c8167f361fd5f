"""A function over files: rows in their order on every backend, an error is a row, what was parsed may go."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import IncompleteResult, QueryError
from nomadquery.raw import parallel
from nomadquery.raw.files import RawFile
from nomadquery.raw.parallel import Here, map_files, portions

HAS_DASK = importlib.util.find_spec("distributed") is not None
BACKENDS = ["sequential", "threading", "loky"]
N = 12


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Configure joblib as a user would."""
    with joblib.parallel_config(backend=name, n_jobs=1 if name == "sequential" else 2):
        yield


def a_file(n: int, size_bytes: int = 1) -> RawFile:
    return RawFile("up", f"calc/{n:03}.txt", size_bytes, (f"entry-{n}",), ())


def files_in(folder: Path, n_files: int = N) -> list[Here]:
    """Return files that hold their number; the fifth could not be had."""
    found = []
    for n in range(n_files):
        path = folder / f"{n:03}.txt"
        path.write_text(str(n))
        found.append(Here(a_file(n), None, "NotFound: nobody has it") if n == 5 else Here(a_file(n), path))
    return found


def parsed(path: Path) -> dict[str, Any]:
    """Return the number that a file holds; the fourth breaks."""
    number = int(path.read_text())
    if number == 3:
        raise ZeroDivisionError("three")
    return {"number": number, "process": os.getpid()}


def assert_numbers(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == ["upload_id", "path", "entry_id", "number", "process", "error"]
    assert list(frame["path"]) == [f"calc/{n:03}.txt" for n in range(N)]
    assert list(frame["entry_id"]) == [f"entry-{n}" for n in range(N)]
    assert frame["number"].dropna().tolist() == [n for n in range(N) if n not in {3, 5}]
    assert frame["error"].dropna().to_dict() == {3: "ZeroDivisionError: three", 5: "NotFound: nobody has it"}


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", BACKENDS)
def test_rows_are_in_the_order_of_the_files(name: str, keep: bool, tmp_path: Path) -> None:
    """Those that cannot be had or parsed are rows; what is not kept is gone, also where it failed."""
    files = files_in(tmp_path)
    with backend(name):
        frame = map_files(parsed, files, keep=keep)
    assert_numbers(frame)
    assert (set(frame["process"].dropna()) == {os.getpid()}) is (name != "loky")
    here = {one.local_path.name for one in files if one.local_path is not None and one.local_path.exists()}
    assert len(here) == (N - 1 if keep else 0)


@pytest.mark.skipif(not HAS_DASK, reason="needs dask[distributed]")
def test_a_dask_cluster_runs_it(tmp_path: Path) -> None:
    """In its workers, which see the same disk."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        frame = map_files(parsed, files_in(tmp_path), keep=False)
    assert_numbers(frame)
    assert os.getpid() not in set(frame["process"].dropna())


def test_few_files_are_on_the_disk_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched and not parsed yet never exceeds two batches and the file that fills one."""
    monkeypatch.setattr(parallel, "PORTION_BYTES", 1_000)
    most = 0

    def arriving() -> Iterator[Here]:
        nonlocal most
        for n in range(200):
            path = tmp_path / str(n)
            path.write_text(str(n))
            yield Here(a_file(n, size_bytes=100), path)
            most = max(most, len(list(tmp_path.iterdir())))

    with backend("threading"):
        frame = map_files(lambda path: int(path.read_text()), arriving(), keep=False)
    assert frame["value"].tolist() == list(range(200))
    assert 10 <= most <= 2 * 10 + 1
    assert list(tmp_path.iterdir()) == []


def test_errors_can_be_raised(tmp_path: Path) -> None:
    """After all were mapped, with the rows."""
    with (
        backend("threading"),
        pytest.raises(IncompleteResult, match=r"2 of 12 files.*'calc/003.txt'") as caught,
    ):
        map_files(parsed, files_in(tmp_path), on_error="raise")
    assert_numbers(caught.value.results)
    assert caught.value.missing == ("calc/003.txt", "calc/005.txt")


def test_files_that_stop_coming_do_not_cost_what_was_computed(tmp_path: Path) -> None:
    """What ended them is the cause."""

    def arriving() -> Iterator[Here]:
        yield from files_in(tmp_path)
        raise OSError("the disk is full")

    with backend("threading"), pytest.raises(IncompleteResult, match="the disk is full") as caught:
        map_files(parsed, arriving())
    assert_numbers(caught.value.results)
    assert isinstance(caught.value.__cause__, OSError)


def leaving(path: Path) -> int:
    """Die as a worker that runs out of memory does."""
    if path.name == "030.txt":
        os._exit(1)
    return int(path.read_text())


def test_a_worker_that_dies_does_not_cost_what_was_computed(tmp_path: Path) -> None:
    """Rows of the batches before it."""
    with backend("loky"), pytest.raises(IncompleteResult) as caught:
        map_files(leaving, files_in(tmp_path, 60))
    rows = caught.value.results
    assert 24 <= len(rows) <= 30
    assert rows["path"].tolist() == [f"calc/{n:03}.txt" for n in range(len(rows))]


def test_a_function_that_cannot_be_sent_is_told_before_a_file_is_fetched() -> None:
    lock = threading.Lock()

    def counted(path: Path) -> int:
        with lock:
            return len(path.name)

    def arriving() -> Iterator[Here]:
        raise AssertionError("a file was fetched")
        yield

    with backend("loky"), pytest.raises(QueryError, match="cannot be sent there"):
        map_files(counted, arriving())


def test_no_files_give_an_empty_table() -> None:
    """With the columns that are always there."""
    frame = map_files(parsed, [])
    assert list(frame.columns) == ["upload_id", "path", "entry_id", "value", "error"] and frame.empty


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 7), st.integers(1, 100))
def test_portions_are_all_files_in_their_order(sizes: list[int], most_files: int, most_bytes: int) -> None:
    """None is larger than allowed, unless it is one file; none could take the next file as well."""
    files = [a_file(n, size) for n, size in enumerate(sizes)]
    parts = list(portions(files, most_files=most_files, most_bytes=most_bytes))
    assert [one for part in parts for one in part] == files
    for part, after in zip(parts, [*parts, ()][1:], strict=True):
        n_bytes = sum(one.size_bytes for one in part)
        assert 1 <= len(part) <= most_files and (len(part) == 1 or n_bytes <= most_bytes)
        assert not after or len(part) == most_files or n_bytes + after[0].size_bytes > most_bytes
