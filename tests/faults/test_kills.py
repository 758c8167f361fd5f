"""Killed again and again, a harvest ends with the table that nobody disturbed, and asks for little twice."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.faults.catalogue import Catalogue
from tests.faults.children import child, wait_until_closed
from tests.faults.entries import Asked, EntriesServer, healthy
from tests.faults.fetching import Row, rows_from
from tests.faults.server import Answer

N, PAGE = 3_000, 10
N_KILLS = 50
#: Requests that a client has on their way at once, at most.
IN_FLIGHT = 8


@pytest.fixture(scope="module")
def server() -> Iterator[EntriesServer]:
    with EntriesServer(Catalogue(range(N))) as running:
        yield running


def undisturbed(server: EntriesServer, cache: Path, *, archives: bool = False) -> list[Row]:
    """Return the rows of the table that nothing happens to."""
    server.will(healthy)
    rows = rows_from(server, cache / "undisturbed", archives=archives, page_size=1_000)
    server.forget()
    return rows


class Killer:
    """A schedule that kills a process some milliseconds after its n-th request arrived."""

    def __init__(self, victim: BaseProcess, *, n_requests: int, delay_s: float) -> None:
        self._victim = victim
        self._n_requests = n_requests
        self._delay_s = delay_s
        self._timers: list[threading.Timer] = []

    def __call__(self, asked: Asked, answer: Answer) -> Answer:
        if asked.number == self._n_requests and self._delay_s == 0:
            self._victim.kill()
        elif asked.number == self._n_requests:
            self._timers.append(threading.Timer(self._delay_s, self._victim.kill))
            self._timers[0].start()
        return answer

    def rest(self) -> None:
        """Wait until it will kill no more."""
        for timer in self._timers:
            timer.join()


def killed(
    server: EntriesServer, cache: Path, *, n_requests: int, delay_s: float, archives: bool = False
) -> bool:
    """Start a process that goes on with the table, kill it, and return whether it was not yet done."""
    victim = child(server, cache, page_size=PAGE, archives=archives)
    killer = Killer(victim, n_requests=n_requests, delay_s=delay_s)
    server.era += 1
    server.will(killer)
    victim.start()
    victim.join(timeout=60)
    killer.rest()
    wait_until_closed(server)
    assert victim.exitcode in {0, -signal.SIGKILL}
    return victim.exitcode != 0


def length_of_life(server: EntriesServer, n_kills_left: int, rng: random.Random) -> int:
    """Return after how many requests to kill: mostly few, sometimes many; all kills fit into one harvest."""
    sizes = [len(one.ids) for one in server.given if one.ids] or [PAGE]
    n_entries_left = N - len({one for page in server.given for one in page.ids})
    n_pages_left = n_entries_left * len(sizes) / sum(sizes)
    share = min(0.3, rng.choice([0.2, 0.4, 0.6, 2.5]) / n_kills_left)
    return max(1, int(n_pages_left * share))


def lost_pages(server: EntriesServer) -> dict[int, int]:
    """Return for each era how many pages that were given to their end in it were asked for again later."""
    last_era: dict[str, int] = {}
    pages = [one for one in server.given if not one.is_listing]
    for page in pages:
        last_era.update(dict.fromkeys(page.ids, page.era))
    lost: defaultdict[int, int] = defaultdict(int)
    for page in pages:
        lost[page.era] += any(last_era[one] > page.era for one in page.ids)
    return lost


def test_fifty_kills_cost_no_row_and_few_pages(server: EntriesServer, cache: Path) -> None:
    """At random moments of one harvest; what each kill costs is at most what was on its way."""
    expected = undisturbed(server, cache)
    rng = random.Random(11)
    for n_kills in range(N_KILLS):
        n_requests = length_of_life(server, N_KILLS - n_kills, rng)
        delay_s = rng.choice([0.0, rng.uniform(0, 0.02)])
        assert killed(server, cache, n_requests=n_requests, delay_s=delay_s)
    server.era += 1
    server.will(healthy)
    assert rows_from(server, cache, page_size=PAGE) == expected
    lives = Counter(page.era for page in server.given)
    assert sum(length > 1.2 * IN_FLIGHT for length in lives.values()) > 5  # where a loss of all would be seen
    assert max(lost_pages(server).values()) <= IN_FLIGHT


def test_kills_among_archives_cost_no_row(server: EntriesServer, cache: Path) -> None:
    """Pages and their archives belong together: both are here, or both are asked for again."""
    server.catalogue = Catalogue(range(300))
    expected = undisturbed(server, cache, archives=True)
    rng, n_kills, is_begun = random.Random(12), 0, True
    while is_begun and n_kills < 12:
        n_requests, delay_s = rng.randint(1, 12), rng.uniform(0, 0.01)
        is_begun = killed(server, cache, n_requests=n_requests, delay_s=delay_s, archives=True)
        n_kills += is_begun
    assert n_kills > 3
    server.will(healthy)
    assert rows_from(server, cache, archives=True, page_size=PAGE) == expected


@pytest.mark.parametrize("n_ms", [0, 3, 6, 10, 15, 20, 30, 40])
def test_killed_while_the_table_is_put_together_it_costs_no_row(
    server: EntriesServer, cache: Path, n_ms: int
) -> None:
    """Some milliseconds after the last entries were given."""
    server.catalogue = Catalogue(range(150))
    expected = undisturbed(server, cache)
    killed_after_the_last_page(server, cache, delay_s=n_ms / 1e3)
    assert rows_from(server, cache, page_size=PAGE) == expected


def killed_after_the_last_page(server: EntriesServer, cache: Path, *, delay_s: float) -> None:
    """Start a process for the table and kill it when all entries have been given and some time has passed."""
    victim = child(server, cache, page_size=PAGE)
    victim.start()
    while victim.is_alive() and server.n_given() < len(server.catalogue.ids):
        victim.join(timeout=0.001)
    victim.join(timeout=delay_s)
    victim.kill()
    victim.join(timeout=60)
    wait_until_closed(server)
