"""A fast NOMAD of synthetic entries on real sockets, which fails by a schedule.

Requests may come from many threads and in any order. A schedule sees which request it is, how often the
very same one was asked before, and the entries that its right answer gives, so that a fault can be tied to
the request, to the number of the attempt or to an entry, whatever pages the client chooses.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.catalogue import Catalogue, is_listing
from tests.faults.server import Answer, FaultServer, Received, as_json

INFO = {"version": "2.0.0", "deployment": "a server of synthetic entries", "oasis": True}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request about entries, and what its right answer gives.

    Attributes
    ----------
    number : int
        Which of the requests about entries since the schedule was set it is, from 1.
    attempt : int
        How often the very same request has been asked since then, from 1.
    era : int
        The `EntriesServer.era` in which it came.
    path : str
        ``"entries/query"`` or ``"entries/archive/query"``.
    body : mapping
        Its JSON.
    ids : tuple of str
        The entries of the right answer, in its order.
    """

    number: int
    attempt: int
    era: int
    path: str
    body: Mapping[str, Any] = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)

    @property
    def is_archive(self) -> bool:
        return "archive" in self.path

    @property
    def is_listing(self) -> bool:
        """Whether no more than the ids of the entries is asked for."""
        return is_listing(self.body.get("required"))


Schedule = Callable[[Asked, Answer], Answer]


def healthy(_: Asked, answer: Answer) -> Answer:
    """Give every answer as it is."""
    return answer


class EntriesServer(FaultServer):
    """Answers about the entries of a catalogue; ``schedule`` makes of each right answer what is sent.

    Attributes
    ----------
    catalogue : Catalogue
        What is there now; may be exchanged at any time.
    asked : list of Asked
        Requests about entries, as they arrived.
    given : list of Asked
        Those of them whose right answer was sent to its end.
    era : int
        Set by a test to tell requests of one time from those of another.
    """

    def __init__(self, catalogue: Catalogue, schedule: Schedule = healthy) -> None:
        super().__init__()
        self.catalogue = catalogue
        self.era = 0
        self.asked: list[Asked] = []
        self.given: list[Asked] = []
        self.n_open = 0
        self._schedule = schedule
        self._attempts: Counter[bytes] = Counter()
        self._number = 0
        self._right: dict[int, tuple[Asked, Answer]] = {}

    def will(self, schedule: Schedule) -> None:
        """Follow this schedule from now on; requests are counted anew."""
        with self._lock:
            self._schedule, self._number = schedule, 0
            self._attempts.clear()

    def forget(self) -> None:
        """Forget all that was asked and given."""
        with self._lock:
            self.asked, self.given = [], []
            self.received.clear()

    def next_answer(self, received: Received) -> Answer:
        path = received.path.removeprefix("/api/v1/")
        if path == "info":
            return as_json(INFO)
        if path not in {"entries/query", "entries/archive/query"}:
            return as_json({"detail": "Not Found"}, 404)
        body = json.loads(received.body)
        right, ids = self.catalogue.answer(path, body)
        with self._lock:
            self.n_open += 1
            self._number += 1
            self._attempts[received.body] += 1
            asked = Asked(self._number, self._attempts[received.body], self.era, path, body, ids)
            self.asked.append(asked)
            schedule = self._schedule
        answer = schedule(asked, right)
        with self._lock:
            self._right[id(received)] = asked, right
        return answer

    def was_answered(self, received: Received, answer: Answer, *, to_the_end: bool) -> None:
        with self._lock:
            asked, right = self._right.pop(id(received), (None, None))
            if asked is None or right is None:
                return
            self.n_open -= 1
            is_right = answer == right or (answer.fault in HARMLESS and replace(answer, fault=None) == right)
            if to_the_end and is_right:
                self.given.append(asked)

    def n_given(self, *, archives: bool = False) -> int:
        """Return how many documents (or archives) of entries were given, each time counted."""
        with self._lock:
            return sum(
                len(one.ids) for one in self.given if one.is_archive == archives and not one.is_listing
            )


#: Faults of an answer that arrives whole all the same.
HARMLESS = frozenset({"drip", "surplus"})
