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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nomadquery import Nomad
from nomadquery.local.store import LocalStore
from nomadquery.search import Search
from nomadquery.store.tables import TableStore
from tests.faults.proxy import Proxy
from tests.faults.server import Answer
from tests.strategies import hashed_ids
from tests.tables import CountedWire, a_document, a_filled_store, a_search, ids

N_ENTRIES, PAGE_SIZE = 40, 7
MAIN, WRITER = "MainThread", "nomadquery-journal"

#: Fetches the table in a process of its own, which kills itself at a given moment: before the n-th time
#: that something is made durable, moved into its place or removed by one of its threads.
CHILD = """
import os, signal, sys, threading
from collections import Counter
from pathlib import Path
from nomadquery import Nomad, Q
from nomadquery.store import files

address, cache, page_size, columns, thread, moment = sys.argv[1:]
done = Counter()

def killing(function):
    def wrapped(*args, **more):
        name = threading.current_thread().name
        done[name] += 1
        if (name, done[name]) == (thread, int(moment)):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **more)
    return wrapped

files.os.fsync = killing(os.fsync)
Path.replace = killing(Path.replace)
Path.unlink = killing(Path.unlink)
table = Nomad(address, cache_dir=cache).entries().select(*columns.split()).page_size(int(page_size))
print(len(table.to_arrow()), done["MainThread"], done["nomadquery-journal"])
"""
COLUMNS = ("gap", "energy")


def run_child(
    proxy: Proxy,
    cache: Path,
    *,
    columns: tuple[str, ...] = COLUMNS,
    page_size: int = PAGE_SIZE,
    killed: tuple[str, int] = (MAIN, 0),
) -> subprocess.Popen[str]:
    what = [proxy.api_base, str(cache), str(page_size), " ".join(columns), *map(str, killed)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, *what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    one = Proxy(a_filled_store(ids(N_ENTRIES)))
    with one:
        yield one


def table_of(
    proxy: Proxy, cache: Path, *, columns: tuple[str, ...] = COLUMNS, page_size: int = PAGE_SIZE
) -> Search:
    return Nomad(proxy.api_base, cache_dir=cache).entries().select(*columns).page_size(page_size)


def kept_store(cache: Path) -> TableStore | None:
    """Return the only kept table."""
    folders = list((cache / "tables").iterdir()) if (cache / "tables").is_dir() else []
    return TableStore(folders[0]) if folders else None


def kept_ids(cache: Path) -> list[str]:
    """Return the entries whose rows are on disk, whether their table is whole or not."""
    store = kept_store(cache)
    manifest = None if store is None else store.manifest()
    if store is None or manifest is None:
        return []
    found: list[str] = store.pins(manifest)["entry_id"].to_pylist()
    assert manifest.n_entries == len(found)
    return sorted(found)


def n_read_on(cache: Path) -> int:
    """Return how many entries stand in ranges that have been read, all of them if the table is whole."""
    store = kept_store(cache)
    if store is None or store.whole() is not None:
        return 0 if store is None else N_ENTRIES
    return sum(record.n_listed for record in store.journal.records() if record.covers is not None)


def forget(proxy: Proxy) -> None:
    """Forget all requests, once those that a killed process had sent have come."""
    n_received = -1
    while n_received != len(proxy.received):
        n_received = len(proxy.received)
        time.sleep(0.2)
    proxy.received.clear()


def check_resumed(proxy: Proxy, cache: Path, expected: list[dict[str, Any]]) -> None:
    """Finish the table; nothing that is here is asked for again."""
    kept, n_read = kept_ids(cache), n_read_on(cache)
    forget(proxy)
    assert list(table_of(proxy, cache).rows()) == expected
    after = [page.get("page_after_value") for page in proxy.pages()]
    assert all(n_read == 0 or (one is not None and str(one) >= ids(n_read)[-1]) for one in after)
    assert len(after) <= -(-(N_ENTRIES - n_read) // PAGE_SIZE) + 1
    batches = [json.loads(one.body)["query"] for one in proxy.received if "archive" in one.path]
    asked = [entry_id for batch in batches for entry_id in batch["entry_id"]["any"]]
    assert sorted(asked + kept) == ids(N_ENTRIES)
    assert not list(cache.rglob("*.part"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    wire = CountedWire(a_filled_store(ids(N_ENTRIES)))
    return list(a_search(wire, tmp_path_factory.mktemp("undisturbed")).select(*COLUMNS).rows())


@pytest.mark.parametrize("page", random.Random(2).sample(range(2, 7), 2))
def test_killed_while_waiting_for_a_page(
    proxy: Proxy, tmp_path: Path, expected: list[dict[str, Any]], page: int
) -> None:
    """The pages before it are here, but for those that were not on disk yet."""
    child: list[subprocess.Popen[str]] = []

    def schedule(_: int, answer: Answer) -> Answer:
        if len(proxy.pages()) >= page:
            child[0].kill()
        return answer

    proxy.schedule = schedule
    child.append(run_child(proxy, tmp_path))
    child[0].communicate(timeout=60)
    assert child[0].returncode == -signal.SIGKILL
    proxy.schedule = lambda _, answer: answer
    assert len(kept_ids(tmp_path)) <= page * PAGE_SIZE
    check_resumed(proxy, tmp_path, expected)


def test_killed_while_pages_come_side_by_side(tmp_path: Path) -> None:
    """What is left are ranges of ids, and each entry of them comes once."""
    entry_ids, columns, page_size = hashed_ids(2_500), ("gap",), 120
    n_given = Counter[str]()

    def killing(_: int, answer: Answer) -> Answer:
        if len(proxy.pages()) >= 16:  # eight of them were taken before
            child.kill()
        return answer

    def counting(_: int, answer: Answer) -> Answer:
        n_given.update(entry["entry_id"] for entry in json.loads(answer.body).get("data", ()))
        return answer

    proxy = Proxy(a_filled_store(entry_ids, archives=False), killing)
    with proxy:
        child = run_child(proxy, tmp_path, columns=columns, page_size=page_size)
        child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL
        kept = kept_ids(tmp_path)
        forget(proxy)
        proxy.schedule = counting
        rows = table_of(proxy, tmp_path, columns=columns, page_size=page_size).to_arrow()
        queries = [json.loads(one.body)["query"] for one in proxy.received if one.body]
    assert rows["entry_id"].to_pylist() == entry_ids
    assert 0 < len(kept) < 2_500
    assert sorted([*n_given.elements(), *kept]) == entry_ids
    assert any(query.get("entry_id", {}).keys() == {"gt", "lte"} for query in queries)


#: By the thread that does them: steps before the first page, pages, and putting the table together.
MOMENTS = (
    (MAIN, random.Random(1).randint(2, 7)),
    (WRITER, 2),
    *((MAIN, moment) for moment in (9, 12, 15, 17)),
)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_writing(
    proxy: Proxy, tmp_path: Path, expected: list[dict[str, Any]], moment: tuple[str, int]
) -> None:
    """Between any two steps on the disk, those of putting the whole table together included."""
    child = run_child(proxy, tmp_path, killed=moment)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    check_resumed(proxy, tmp_path, expected)


def test_the_moments_above_reach_the_end(proxy: Proxy, tmp_path: Path) -> None:
    """Seven steps before the first page; flushes, folder and rename of three files; two files go."""
    child = run_child(proxy, tmp_path)
    n_rows, n_main, n_writer = map(int, child.communicate(timeout=60)[0].split())
    assert n_rows == N_ENTRIES
    assert n_main == 7 + 3 * 3 + 2
    assert n_writer >= 2


def interrupted_at(moment: int) -> Any:
    """Return a function that is interrupted the n-th time that it is called."""
    done = itertools.count(1)

    def wrapped(*_: Any, **__: Any) -> None:
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
        table = a_search(wire, cache).select(*COLUMNS).page_size(20)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", interrupted_at(moment))
            try:
                table.to_arrow()
                is_done = True
            except KeyboardInterrupt:
                pass
        kept, n_before = kept_ids(cache), len(wire.archive_pages)
        assert list(table.rows()) == expected
        asked = [one.json["query"]["entry_id"]["any"] for one in wire.archive_pages[n_before:]]
        assert sorted(itertools.chain(kept, *asked)) == ids(N_ENTRIES)
    assert moment > 12


def test_interrupted_before_it_was_published_a_local_table_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a deployment inside the process has to give is in the journal."""
    with LocalStore(tmp_path / "mine") as store:
        store.add_entries([(a_document("entry-0001"), None)])
    table = Nomad(tmp_path / "mine", cache_dir=tmp_path / "cache").entries().select("gap")
    with monkeypatch.context() as patched:
        patched.setattr(TableStore, "publish", interrupted_at(1))
        with pytest.raises(KeyboardInterrupt):
            table.to_arrow()
    assert table.to_arrow().num_rows == 1


def test_what_was_published_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted before its journal was removed, a table that is asked for each time is asked for anew."""
    wire = CountedWire(a_filled_store(ids(5)))
    table = a_search(wire, tmp_path, owner="visible").select("gap")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", interrupted_at(2))  # the first is of what might have been begun
        with pytest.raises(KeyboardInterrupt):
            table.to_arrow()
    store = kept_store(tmp_path)
    assert store is not None
    assert store.whole() is not None
    assert store.partial() is not None
    wire.store.add_entries([(a_document("entry-0008"), None)])
    assert table.to_arrow().num_rows == 6


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
