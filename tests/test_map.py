"""`archives().map`: a function over all archives, where joblib is configured to run it."""

from __future__ import annotations

import gc
import importlib.util
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from nomadquery.columns.archive import Archive
from nomadquery.errors import IncompleteResult, MissingQuantity, QueryError, RateLimited
from nomadquery.fetch import parallel
from nomadquery.fetch.parallel import Mapped, frame_of, mapped
from nomadquery.http.message import Reply, Request
from tests.tables import CountedWire, a_filled_store, a_search, edited, ids

HAS_DASK = importlib.util.find_spec("distributed") is not None
BACKENDS = ["sequential", "threading", "loky"]
N = 12


@pytest.fixture
def wire() -> CountedWire:
    return CountedWire(a_filled_store(ids(N)))


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Configure joblib as a user would."""
    with joblib.parallel_config(backend=name, n_jobs=1 if name == "sequential" else 2):
        yield


def energy(archive: Archive) -> dict[str, Any]:
    """Return the last energy in eV: that of entry n is -(n + 0.5) eV; entry 3 breaks."""
    if archive.entry_id == "entry-0003":
        raise ZeroDivisionError("no energy per nothing")
    return {"energy": archive.get("energy"), "n_runs": len(archive.run), "process": os.getpid()}


def number(archive: Archive) -> int:
    return int(archive.entry_id[-4:])


def leaving(archive: Archive) -> int:
    """Die as a worker that runs out of memory does."""
    if number(archive) == 30:
        os._exit(1)
    return number(archive)


def without(*entry_ids: str) -> Any:
    """Return how a server answers that has no archives of some entries."""

    def change(request: Request, reply: Reply) -> Reply:
        if request.path != "entries/archive/query":
            return reply
        return edited(
            reply, lambda page: page.update(data=[d for d in page["data"] if d["entry_id"] not in entry_ids])
        )

    return change


# -- everywhere the same -------------------------------------------------------------------


def assert_energies(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == ["entry_id", "energy", "n_runs", "process", "error"]
    assert list(frame["entry_id"]) == ids(N)
    expected = [np.nan if n == 3 else -(n + 0.5) for n in range(N)]
    # the archive has joule, converted with the SI value of the electronvolt and back
    np.testing.assert_allclose(frame["energy"], expected, rtol=1e-12)
    assert frame["energy"].dtype == np.float64
    errors = frame["error"].dropna()
    assert errors.to_dict() == {3: "ZeroDivisionError: no energy per nothing"}


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_are_in_the_order_of_the_archives(name: str, wire: CountedWire, tmp_path: Path) -> None:
    """One that raises is a row with its error; threads and processes give the same."""
    with backend(name):
        frame = a_search(wire, tmp_path).archives().map(energy)
    assert_energies(frame)
    here = set(frame["process"].dropna()) == {os.getpid()}
    assert here is (name != "loky")


@pytest.mark.skipif(not HAS_DASK, reason="needs dask[distributed]")
def test_a_dask_cluster_runs_it(wire: CountedWire, tmp_path: Path) -> None:
    """In its workers, which are processes of their own."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        frame = a_search(wire, tmp_path).archives().map(energy)
    assert_energies(frame)
    assert os.getpid() not in set(frame["process"].dropna())


@pytest.mark.parametrize("name", BACKENDS)
def test_archives_come_without_the_client(name: str, wire: CountedWire, tmp_path: Path) -> None:
    """As pickled ones do, also where the workers are threads: paths are read, nothing is sent."""

    def what_came(archive: Archive) -> dict[str, Any]:
        return {
            "is_pickled": archive == pickle.loads(pickle.dumps(archive)),
            "labels": archive.get("species"),
        }

    required = {"run": {"calculation": {"system_ref": "*"}, "system": {"atoms": {"labels": "*"}}}}
    with backend(name):
        frame = a_search(wire, tmp_path).limit(2).archives(required).map(what_came)
    assert frame["error"].isna().all() and frame["is_pickled"].all()
    assert [list(labels) for labels in frame["labels"]] == [["Ti", "Ti"]] * 2


# -- what a function returns ----------------------------------------------------------------


def rows_of(function: Any, items: list[Any]) -> pd.DataFrame:
    done = mapped(function, (({"name": str(n)}, item) for n, item in enumerate(items)), n_jobs=1)
    assert done.stopped is None
    return frame_of(done.rows, ["name"])


def test_anything_but_a_mapping_is_a_value() -> None:
    """Of the dtype that pandas finds for it; nothing is nothing."""
    numbers = rows_of(lambda item: item, [1, 2])
    assert list(numbers.columns) == ["name", "value", "error"]
    assert numbers["value"].dtype == np.int64
    gaps = rows_of(lambda item: item, [1.5, None])
    assert gaps["value"].dtype == np.float64 and gaps["value"].isna().tolist() == [False, True]
    arrays = rows_of(np.zeros, [2, 2])
    assert [array.shape for array in arrays["value"]] == [(2,), (2,)]
    assert rows_of(lambda item: item, [None]).columns.tolist() == ["name", "value", "error"]


def test_columns_are_in_the_order_of_their_coming() -> None:
    """A row without one of them has none; keys that are returned as well are no columns of their own."""
    frame = rows_of(lambda item: item, [{"name": "0", "b": 1}, {"a": "x", "b": 2}, None])
    assert list(frame.columns) == ["name", "b", "a", "error"]
    assert frame["b"].tolist()[:2] == [1.0, 2.0] and frame.isna()["b"][2]
    assert frame["a"].isna().tolist() == [True, False, True]
    assert frame["name"].dtype == frame["error"].dtype == "string"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"name": "other"}, "ValueError: .* called 'name'"),
        ({"error": "none"}, "ValueError: .* called 'error'"),
        ({1: "one"}, "TypeError: names of columns are texts"),
    ],
)
def test_a_name_that_cannot_be_a_column_is_an_error_of_the_row(result: Any, words: str) -> None:
    """Nothing is overwritten in silence."""
    frame = rows_of(lambda item: item, [{"a": 1}, result])
    assert list(frame.columns) == ["name", "a", "error"]
    assert pd.isna(frame["error"][0])
    assert frame["error"].str.match(words)[1]


@pytest.mark.parametrize("name", BACKENDS)
def test_a_result_that_cannot_be_sent_back_is_an_error_of_the_row(
    name: str, wire: CountedWire, tmp_path: Path
) -> None:
    """On every backend, and the others go on."""

    def generator_of_the_second(archive: Archive) -> Any:
        return (n for n in range(3)) if number(archive) == 1 else number(archive)

    with backend(name):
        frame = a_search(wire, tmp_path).limit(3).archives().map(generator_of_the_second)
    assert frame["value"].dropna().tolist() == [0, 2]
    assert "generator" in frame["error"][1]


def test_errors_of_our_own_and_exits_are_rows_too() -> None:
    """An absent quantity, and a parser that calls sys.exit()."""

    def fail(item: str) -> None:
        raise SystemExit(item) if item == "exit" else MissingQuantity(item)

    frame = rows_of(fail, ["exit", "no gap", ""])
    assert frame["error"].tolist() == ["SystemExit: exit", "MissingQuantity: no gap", "MissingQuantity"]


# -- before anything is asked ----------------------------------------------------------------


def test_a_function_that_cannot_be_sent_is_told_before_anything_is_asked(
    wire: CountedWire, tmp_path: Path
) -> None:
    """To processes; threads take it."""
    lock = threading.Lock()

    def counted(archive: Archive) -> int:
        with lock:
            return number(archive)

    archives = a_search(wire, tmp_path).archives()
    with backend("loky"), pytest.raises(QueryError, match=r"cannot be sent there.*lock.*threading"):
        archives.map(counted)
    assert wire.pages == wire.archive_pages == []
    with backend("threading"):
        assert archives.map(counted)["value"].tolist() == list(range(N))


@pytest.mark.parametrize(
    ("function", "n_jobs", "error"), [("mean", None, TypeError), (number, 0, ValueError)]
)
def test_what_is_no_function_or_no_number_of_workers_is_told_too(
    function: Any, n_jobs: int | None, error: type[Exception], wire: CountedWire, tmp_path: Path
) -> None:
    """Nothing is asked."""
    with pytest.raises(error):
        a_search(wire, tmp_path).archives().map(function, n_jobs=n_jobs)
    assert wire.pages == wire.archive_pages == []


# -- a stream, and kept ----------------------------------------------------------------------


def test_archives_are_still_an_iterator(wire: CountedWire, tmp_path: Path) -> None:
    """Lazy; a map is about all of them, whatever was taken before, and so is a second one."""
    archives = a_search(wire, tmp_path).archives()
    assert wire.pages == wire.archive_pages == []
    assert next(archives).entry_id == "entry-0000"
    assert archives.map(number)["value"].tolist() == list(range(N))
    assert archives.map(number)["entry_id"].tolist() == ids(N)
    assert [archive.entry_id for archive in archives] == ids(N)[1:]
    assert next(archives, None) is None


def test_kept_archives_are_not_asked_for_again(wire: CountedWire, tmp_path: Path) -> None:
    """The second function costs no request; the frame says when the entries were listed."""
    first = a_search(wire, tmp_path).archives().map(number)
    wire.sent.clear()
    second = a_search(wire, tmp_path).archives().map(energy)
    assert wire.archive_pages == wire.pages == []
    facts = second.attrs["nomadquery"]
    assert facts["fetched_at"] == first.attrs["nomadquery"]["fetched_at"]
    assert (facts["n_rows"], facts["n_errors"], facts["required"]) == (N, 1, "*")


def test_no_hits_give_an_empty_table_and_a_warning(wire: CountedWire, tmp_path: Path) -> None:
    """With the columns that are always there."""
    search = a_search(wire, tmp_path, {"entry_id": "entry-9999"})
    with pytest.warns(UserWarning, match="No entry matches"):
        frame = search.archives().map(number)
    assert list(frame.columns) == ["entry_id", "value", "error"] and frame.empty


def alive_at_some(archive: Archive) -> int | None:
    """Return, at every fiftieth, how many archives are in memory; pickled ones, which are bytes, are none."""
    if number(archive) % 50 != 49:
        return None
    gc.collect()
    return sum(isinstance(item, Archive) for item in gc.get_objects())


def test_few_archives_are_in_memory_at_once(tmp_path: Path) -> None:
    """One in the hands of each worker, and one on its way; not the 300 of the search."""
    wire = CountedWire(a_filled_store(ids(300)))
    with backend("threading"):
        frame = a_search(wire, tmp_path).archives().map(alive_at_some)
    assert frame["value"].count() == 6
    assert frame["value"].max() <= 4


@pytest.mark.parametrize("limit", ["items", "bytes"])
def test_two_batches_are_taken_from_the_items_at_once(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of at most so many items, or of so many bytes: what is taken and not done never exceeds both."""
    monkeypatch.setattr(parallel, "MOST_ITEMS", 10 if limit == "items" else 1_000)
    monkeypatch.setattr(parallel, "MOST_BYTES", 10 * 1_000 if limit == "bytes" else 1 << 30)
    lock = threading.Lock()
    n_taken, n_done, ahead = 0, 0, []

    def items() -> Iterator[tuple[dict[str, Any], bytes]]:
        nonlocal n_taken
        for n in range(200):
            with lock:
                n_taken += 1
                ahead.append(n_taken - n_done)
            yield {"n": n}, bytes(990)

    def done(_: bytes) -> None:
        nonlocal n_done
        with lock:
            n_done += 1

    with backend("threading"):
        assert len(mapped(done, items()).rows) == n_done == 200
    assert 10 <= max(ahead) <= 2 * 10 + 1


def test_workers_work_while_the_next_batch_is_put_together() -> None:
    """The fourth batch is not complete before an item of the third is done."""
    is_one_done = threading.Event()

    def items() -> Iterator[tuple[dict[str, Any], int]]:
        for n in range(100):
            if n == 30:  # after batches of 8 and 16
                assert is_one_done.wait(timeout=20)
            yield {"n": n}, n

    def done(item: int) -> None:
        if item >= 8:
            is_one_done.set()

    with backend("threading"):
        assert mapped(done, items()).stopped is None


# -- what cannot be had ----------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
def test_missing_archives_do_not_cost_the_results_of_others(
    name: str, wire: CountedWire, tmp_path: Path
) -> None:
    """They come with the error, which is raised after all others were mapped."""
    wire.change = without("entry-0002", "entry-0005")
    with backend(name), pytest.raises(IncompleteResult, match="2 of 12 archives could not be had") as caught:
        a_search(wire, tmp_path).archives().map(number)
    assert caught.value.results["value"].tolist() == [n for n in range(N) if n not in {2, 5}]
    assert sorted(caught.value.missing) == ["entry-0002", "entry-0005"]
    assert "error.results" in caught.value.__notes__[0]


def test_a_server_that_goes_away_does_not_cost_what_was_computed(tmp_path: Path) -> None:
    """It is told as without a map; before the first archive there is nothing to give."""
    wire = CountedWire(a_filled_store(ids(300)))

    def change(request: Request, reply: Reply) -> Reply:
        is_archives = request.path == "entries/archive/query"
        is_late = is_archives and max(request.json["query"]["entry_id"]["any"]) >= first_refused
        return replace(reply, status=503) if is_late else reply

    wire.change, first_refused = change, "entry-0000"
    with pytest.raises(RateLimited):
        a_search(wire, tmp_path).archives().map(number)
    first_refused = "entry-0200"  # the first window is of 200 entries
    with pytest.raises(IncompleteResult, match="200 of 300 archives arrived") as caught:
        a_search(wire, tmp_path).archives().map(number)
    assert caught.value.results["value"].tolist() == list(range(200))


def test_a_worker_that_dies_does_not_cost_what_was_computed(tmp_path: Path) -> None:
    """Batches of 8 and 16 were done before the one of entry 30."""
    wire = CountedWire(a_filled_store(ids(60)))
    with backend("loky"), pytest.raises(IncompleteResult, match="of 60 archives were mapped") as caught:
        a_search(wire, tmp_path).archives().map(leaving)
    n_rows = len(caught.value.results)
    assert 24 <= n_rows <= 30
    assert caught.value.results["value"].tolist() == list(range(n_rows))
    assert (caught.value.n_arrived, caught.value.n_missing) == (n_rows, 60 - n_rows)
    assert type(caught.value.__cause__).__name__ == "TerminatedWorkerError"


def test_what_items_raise_comes_with_the_rows_before_it() -> None:
    """Any class: nothing that was computed is lost."""

    def items() -> Iterator[tuple[dict[str, Any], int]]:
        yield from (({"n": n}, n) for n in range(3))
        raise OSError("the disk is full")

    done = mapped(lambda item: item, items(), n_jobs=1)
    assert isinstance(done, Mapped) and [row.values["value"] for row in done.rows] == [0, 1, 2]
    assert isinstance(done.stopped, OSError)
