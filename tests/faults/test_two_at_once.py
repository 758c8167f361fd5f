"""Two who want the same table at the same time, while the server fails: both get it whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nomadquery.errors import IncompleteResult
from tests.faults.children import child, rows_in, wait_until_closed
from tests.faults.entries import Asked, EntriesServer, healthy
from tests.faults.faults import LOST, AfterSome
from tests.faults.fetching import Row, a_table, rows_from
from tests.faults.server import Answer

PAGE = 50
N = 1_000


def one_fault_after_the_other(asked: Asked, answer: Answer) -> Answer:
    """Spoil the first answer to each request, each time in another way."""
    faults = list(LOST.values())
    return faults[asked.number % len(faults)](answer) if asked.attempt == 1 else answer


def check_kept(entries: EntriesServer, cache: Path, expected: list[Row]) -> None:
    """The table on disk can be read, and is whole."""
    assert rows_from(entries, cache, offline=True) == expected


def test_two_processes_get_the_whole_table(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """Every entry is given once: one process fetches, the other waits."""
    entries.will(one_fault_after_the_other)
    answers = [cache / "one.json", cache / "other.json"]
    children = [child(entries, cache, page_size=PAGE, answer=answer) for answer in answers]
    for process in children:
        process.start()
    for process in children:
        process.join(timeout=60)
    assert [rows_in(answer) for answer in answers] == [undisturbed, undisturbed]
    assert entries.n_given() == N
    check_kept(entries, cache, undisturbed)


@pytest.mark.parametrize("n_requests", [3, 30])
def test_whoever_waits_goes_on_where_the_other_was_killed(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], n_requests: int
) -> None:
    """The killed one holds nothing back, not even the lock."""
    first = child(entries, cache, page_size=PAGE)
    other = child(entries, cache, page_size=PAGE, answer=cache / "other.json")

    def killing(asked: Asked, answer: Answer) -> Answer:
        if asked.number == 1:
            other.start()
        if asked.number == n_requests:
            first.kill()
        return one_fault_after_the_other(asked, answer)

    entries.will(killing)
    first.start()
    first.join(timeout=60)
    other.join(timeout=60)
    wait_until_closed(entries)
    assert rows_in(cache / "other.json") == undisturbed
    check_kept(entries, cache, undisturbed)


def both(read: Callable[[], list[Row]], other: Callable[[], list[Row]]) -> list[list[Row]]:
    """Return what two threads read that begin together."""
    start = threading.Barrier(2, timeout=10)

    def begin(one: Callable[[], list[Row]]) -> list[Row]:
        start.wait()
        return one()

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(begin, (read, other)))


def test_two_threads_with_a_client_each_get_the_whole_table(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """Every entry is given once."""
    entries.will(one_fault_after_the_other)

    def read() -> list[Row]:
        return rows_from(entries, cache, page_size=PAGE)

    assert both(read, read) == [undisturbed, undisturbed]
    assert entries.n_given() == N
    check_kept(entries, cache, undisturbed)


def test_two_threads_with_one_client_get_the_whole_table(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """The same search, read twice at the same time."""
    entries.will(one_fault_after_the_other)
    with a_table(entries, cache, page_size=PAGE) as table:
        assert both(lambda: list(table.rows()), lambda: list(table.rows())) == [undisturbed, undisturbed]
    check_kept(entries, cache, undisturbed)


def test_two_threads_read_archives_at_the_same_time(
    entries: EntriesServer, cache: Path, undisturbed_archives: list[Row]
) -> None:
    """Pages and archives fail in turn."""
    entries.will(lambda asked, answer: LOST["503"](answer) if asked.attempt == 1 else answer)

    def read() -> list[Row]:
        return rows_from(entries, cache, page_size=PAGE, archives=True)

    assert both(read, read) == [undisturbed_archives, undisturbed_archives]


def test_two_threads_that_the_server_fails_both_hear_of_it(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """Neither gets a shorter table, what arrived is kept, and the next call gives the whole one."""
    entries.will(AfterSome(entries, N // 2, lambda _, answer: LOST["503"](answer)))

    n_kept: list[int] = []

    def read() -> list[Row]:
        with pytest.raises(IncompleteResult, match="kept") as caught:
            rows_from(entries, cache, page_size=PAGE)
        n_kept.append(caught.value.n_arrived)
        return []

    both(read, read)
    entries.will(healthy)
    entries.forget()
    assert rows_from(entries, cache, page_size=PAGE) == undisturbed
    assert len(n_kept) == 2
    assert 0 < entries.n_given() <= N - max(n_kept)
