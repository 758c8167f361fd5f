"""Everything that can go wrong with one answer, by name; and schedules of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.faults.entries import Asked, EntriesServer, Schedule
from tests.faults.server import Answer, Fault, as_json, as_proxy

Spoil = Callable[[Answer], Answer]


def on_the_wire(fault: Fault) -> Spoil:
    """Return what sends a right answer with a fault of the connection."""
    return lambda answer: replace(answer, fault=fault)


def in_the_page(change: Callable[[Any], None]) -> Spoil:
    """Return what changes the JSON of an answer."""

    def spoil(answer: Answer) -> Answer:
        content = json.loads(answer.body)
        change(content)
        return replace(answer, body=json.dumps(content).encode())

    return spoil


def own_failure(_: Answer) -> Answer:
    """Fail as NOMAD itself does over an entry that it cannot put into its answer."""
    detail = {
        "reason": "An unexpected exception occurred while handling your request.",
        "exception_class": "ValidationError",
        "exception": "1 validation error for EntryMetadata",
    }
    return as_json({"detail": detail}, 500)


def _repeat_the_first(page: Any) -> None:
    page["data"] += page["data"][:1]


def _leave_one_out(page: Any) -> None:
    if page["data"]:
        del page["data"][len(page["data"]) // 2]


def _turn_round(page: Any) -> None:
    page["data"].reverse()


def total_becomes(change: Callable[[int], int]) -> Spoil:
    """Return what changes the total that a page tells."""
    return in_the_page(
        lambda page: page["pagination"].update(total=max(0, change(page["pagination"]["total"])))
    )


def leaving_out(entry_id: str) -> Spoil:
    """Return what takes an entry out of a page in silence: its total stays."""
    return in_the_page(
        lambda page: page.update(data=[one for one in page["data"] if one["entry_id"] != entry_id])
    )


#: No answer that could be used: whoever asks again, at most twice, gets the right one.
LOST: Final[Mapping[str, Spoil]] = {
    "reset before headers": on_the_wire("reset"),
    "reset in headers": on_the_wire("reset_in_headers"),
    "reset in the body": on_the_wire("reset_in_body"),
    "body cut": on_the_wire("cut"),
    "chunks cut": on_the_wire("cut_chunks"),
    "gzip cut": on_the_wire("cut_gzip"),
    "Content-Length too long": on_the_wire("too_long"),
    "Content-Length too short": on_the_wire("too_short"),
    "503": lambda _: as_proxy(503, "503 Service Temporarily Unavailable"),
    "503 that names a pause": lambda _: as_proxy(503, "503 Service Unavailable", Retry_After="7"),
    "502": lambda _: as_proxy(502, "502 Bad Gateway"),
    "504": lambda _: as_proxy(504, "504 Gateway Time-out"),
    "HTML with status 200": lambda _: as_proxy(200, "Welcome to our network"),
}

#: The answer arrives whole, in an unusual way.
UNUSUAL: Final[Mapping[str, Spoil]] = {
    "drip": on_the_wire("drip"),
    "another answer behind it": on_the_wire("surplus"),
}

#: The page cannot be right, and whoever reads it can see that.
DISORDERED: Final[Mapping[str, Spoil]] = {
    "an entry twice": in_the_page(_repeat_the_first),
    "entries in another order": in_the_page(_turn_round),
}

#: The page may be right, as far as one can see.
QUIET: Final[Mapping[str, Spoil]] = {
    "an entry left out": in_the_page(_leave_one_out),
    "all entries left out": in_the_page(lambda page: page.update(data=[])),
    "a larger total": total_becomes(lambda total: total + 17),
    "a smaller total": total_becomes(lambda total: total // 2),
    "no total": total_becomes(lambda _: 0),
}


def at_first(n_attempts: int, spoil: Spoil) -> Schedule:
    """Return the schedule that spoils the first answers to each request."""
    return lambda asked, answer: spoil(answer) if asked.attempt <= n_attempts else answer


def always_with(entry_id: str, spoil: Spoil) -> Schedule:
    """Return the schedule that spoils every page in which an entry is."""
    return lambda asked, answer: spoil(answer) if entry_id in asked.ids else answer


class FirstTimes:
    """A schedule that spoils the first answers, one or ``times``, that give an entry (not only its id)."""

    def __init__(self, entry_id: str, spoil: Spoil, times: int = 1) -> None:
        self._entry_id = entry_id
        self._spoil = spoil
        self._left = threading.Semaphore(times)

    def __call__(self, asked: Asked, answer: Answer) -> Answer:
        if self._entry_id not in asked.ids or asked.is_listing:
            return answer
        return self._spoil(answer) if self._left.acquire(blocking=False) else answer


class AfterSome:
    """A schedule that is healthy until so many entries were given, and follows another one then.

    Requests for ``last`` wait (at most a second) until then, so that its page is not among the first,
    in whatever order pages are asked for.
    """

    def __init__(self, server: EntriesServer, n_entries: int, then: Schedule, *, last: str = "") -> None:
        self._server = server
        self._n_entries = n_entries
        self._then = then
        self._last = last

    def __call__(self, asked: Asked, answer: Answer) -> Answer:
        if self._last in asked.ids:
            self._wait()
        return self._then(asked, answer) if self._is_time() else answer

    def _is_time(self) -> bool:
        return self._server.n_given() >= self._n_entries

    def _wait(self) -> None:
        pause = threading.Event()
        for _ in range(100):
            if self._is_time():
                return
            pause.wait(0.01)


#: All of them, and NOMAD's own failure, by name.
EVERY: Final[Mapping[str, Spoil]] = {
    **LOST,
    **UNUSUAL,
    **DISORDERED,
    **QUIET,
    "a failure inside NOMAD": own_failure,
}


@dataclass(frozen=True, slots=True)
class Course:
    """A schedule by the number of the request, as `tests.strategies.courses` draws it.

    Attributes
    ----------
    faults : tuple of str or None
        What happens to each of the first answers.
    afterwards : str or None
        What happens to all later ones.
    quiet : tuple of (int, str) or None
        Which of the answers that give entries has a fault of `QUIET`, and which one: one in all, since
        several can together look like a right answer.
    """

    faults: tuple[str | None, ...]
    afterwards: str | None
    quiet: tuple[int, str] | None

    def __call__(self, asked: Asked, answer: Answer) -> Answer:
        if self.quiet is not None and asked.number == self.quiet[0] and asked.ids:
            return EVERY[self.quiet[1]](answer)
        is_early = asked.number <= len(self.faults)
        name = self.faults[asked.number - 1] if is_early else self.afterwards
        return answer if name is None or _is_empty(name, asked) else EVERY[name](answer)


def _is_empty(name: str, asked: Asked) -> bool:
    """Return whether a page has too few entries for a fault to show."""
    return name in DISORDERED and len(asked.ids) < 2
