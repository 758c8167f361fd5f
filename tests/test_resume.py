"""Killed anywhere, the next call asks only for what is missing, and the table is the same."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nomadquery import Nomad, Q
from nomadquery.search import Search
from nomadquery.store.tables import TableStore
from tests.faults.proxy import Proxy
from tests.faults.server import Answer
from tests.tables import CountedWire, a_filled_store, a_search, ids

N_ENTRIES, PAGE_SIZE = 40, 7

#: Fetches the table in a process of its own, which kills itself at a given moment: before the n-th time
#: that something is made durable or moved into its place.
CHILD = """
import os, signal, sys
from pathlib import Path
from nomadquery import Nomad, Q
from nomadquery.store import files

address, cache, moment = sys.argv[1], sys.argv[2], int(sys.argv[3])
done = 0

def killing(function):
    def wrapped(*args, **more):
        global done
        done += 1
        if done == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **more)
    return wrapped

if moment:
    files.os.fsync = killing(os.fsync)
    Path.replace = killing(Path.replace)
    Path.unlink = killing(Path.unlink)
nomad = Nomad(address, cache_dir=cache)
table = nomad.entries().select(gap=Q.gap, energy=Q.energy).page_size(7)
print(len(table.to_arrow()), done)
"""


def run_child(proxy: Proxy, cache: Path, *, moment: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, proxy.api_base, str(cache), str(moment)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy(a_filled_store(ids(N_ENTRIES)))
    with running:
        yield running


def table_of(proxy: Proxy, cache: Path) -> Search:
    return (
        Nomad(proxy.api_base, cache_dir=cache)
        .entries()
        .select(gap=Q.gap, energy=Q.energy)
        .page_size(PAGE_SIZE)
    )


def kept_rows(cache: Path) -> tuple[int, str | None]:
    """Return how many rows the only kept table has, and its last id."""
    folders = list((cache / "tables").iterdir()) if (cache / "tables").is_dir() else []
    manifest = TableStore(folders[0]).manifest() if folders else None
    return (0, None) if manifest is None else (manifest.n_rows, manifest.last_id)


def check_resumed(proxy: Proxy, cache: Path, expected: list[dict[str, Any]]) -> None:
    """Finish the table; nothing that is here is asked for again."""
    n_kept, last_id = kept_rows(cache)
    proxy.received.clear()
    table = table_of(proxy, cache)
    assert list(table.rows()) == expected
    asked_after = [page.get("page_after_value") for page in proxy.pages()]
    assert all(last_id is None or (after is not None and str(after) >= last_id) for after in asked_after)
    assert len(asked_after) <= -(-(N_ENTRIES - n_kept) // PAGE_SIZE) + 1
    batches = [json.loads(one.body)["query"] for one in proxy.received if "archive" in one.path]
    assert sum(len(batch["entry_id"]["any"]) for batch in batches) == N_ENTRIES - n_kept
    assert not list(cache.rglob("*.part"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    wire = CountedWire(a_filled_store(ids(N_ENTRIES)))
    table = a_search(wire, tmp_path_factory.mktemp("undisturbed")).select(gap=Q.gap, energy=Q.energy)
    return list(table.rows())


@pytest.mark.parametrize("page", random.Random(2).sample(range(2, 7), 2))
def test_killed_while_waiting_for_a_page(
    proxy: Proxy, tmp_path: Path, expected: list[dict[str, Any]], page: int
) -> None:
    """The pages before it are here."""
    child: list[subprocess.Popen[str]] = []

    def schedule(_: int, answer: Answer) -> Answer:
        if len(proxy.pages()) == page:
            child[0].kill()
        return answer

    proxy.schedule = schedule
    child.append(run_child(proxy, tmp_path))
    child[0].communicate(timeout=60)
    assert child[0].returncode == -signal.SIGKILL
    proxy.schedule = lambda _, answer: answer
    assert kept_rows(tmp_path)[0] in {(page - 1) * PAGE_SIZE, min(page * PAGE_SIZE, N_ENTRIES)}
    check_resumed(proxy, tmp_path, expected)


@pytest.mark.parametrize("moment", [*random.Random(1).sample(range(2, 44), 4), 47, 51])
def test_killed_while_writing(
    proxy: Proxy, tmp_path: Path, expected: list[dict[str, Any]], moment: int
) -> None:
    """Between any two steps on the disk, those of putting the whole table together included."""
    child = run_child(proxy, tmp_path, moment=moment)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    check_resumed(proxy, tmp_path, expected)


def test_the_moments_above_reach_the_end(proxy: Proxy, tmp_path: Path) -> None:
    """They stand before, within and after the steps of putting the table together."""
    child = run_child(proxy, tmp_path, moment=10_000)
    n_rows, n_moments = map(int, child.communicate(timeout=60)[0].split())
    assert n_rows == N_ENTRIES
    assert 51 < n_moments < 60


def interrupted_at(moment: int) -> Any:
    """Return a function that is interrupted the n-th time that it is called."""
    done = itertools.count(1)

    def wrapped(*_: Any) -> None:
        if next(done) == moment:
            raise KeyboardInterrupt

    return wrapped


def test_interrupted_at_every_step_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: list[dict[str, Any]]
) -> None:
    """Each time the next call continues, until the table is whole."""
    store = a_filled_store(ids(N_ENTRIES))
    moment, is_done = 0, False
    while not is_done:
        moment += 1
        cache = tmp_path / str(moment)
        wire = CountedWire(store)
        table = a_search(wire, cache).select(gap=Q.gap, energy=Q.energy).page_size(20)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", interrupted_at(moment))
            try:
                table.to_arrow()
                is_done = True
            except KeyboardInterrupt:
                pass
        assert list(table.rows()) == expected
        assert len(wire.pages) <= 5
    assert moment > 12


@contextmanager
def running(*children: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.communicate()


def test_two_processes_share_the_work(proxy: Proxy, tmp_path: Path) -> None:
    """One fetches, the other waits and finds the table."""

    def slowly(_: int, answer: Answer) -> Answer:
        time.sleep(0.1)
        return answer

    proxy.schedule = slowly
    one, other = run_child(proxy, tmp_path), run_child(proxy, tmp_path)
    with running(one, other):
        texts = [child.communicate(timeout=60)[0] for child in (one, other)]
    assert [text.split()[0] for text in texts] == [str(N_ENTRIES)] * 2
    assert len(proxy.pages()) == -(-N_ENTRIES // PAGE_SIZE)


def test_whoever_waited_takes_a_table_that_is_always_asked_for(tmp_path: Path) -> None:
    """Also with an owner whose tables are not given without asking: it was fetched just now."""
    wire = CountedWire(a_filled_store(ids(N_ENTRIES)))
    is_begun, go_on = threading.Event(), threading.Event()

    def held(_: Any, reply: Any) -> Any:
        is_begun.set()
        go_on.wait(timeout=10)
        return reply

    wire.change = held
    tables = [a_search(wire, tmp_path, owner="visible").select("gap") for _ in range(2)]
    threads = [threading.Thread(target=table.to_arrow) for table in tables]
    threads[0].start()
    assert is_begun.wait(timeout=10)
    threads[1].start()
    time.sleep(0.2)  # until the second waits at the lock
    go_on.set()
    for thread in threads:
        thread.join(timeout=10)
    assert len(wire.pages) == 1
    tables[0].to_arrow()
    assert len(wire.pages) == 2
