"""How many requests at once and per second, and when again after a failure.

NOMAD documents limits per address of 30 requests a second and 10 at a time, above which it
answers 503. A `Pace` stays below both for all requests together; below that, searches and
the dearer archive and raw requests have a `Lane` each, which halves when its requests are
refused for being too many and recovers slowly. Whether and when to repeat a failed request is
decided by `pause_before_retry`.

The pace is this process's own. Processes of one machine do not know of each other's.
"""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from nomadquery.http.message import Kind, Reply, WireFailure, is_own_failure

#: Bounds for all requests of a process together, below NOMAD's 30 a second and 10 at a time.
REQUESTS_PER_S: Final = 25.0
IN_FLIGHT: Final = 8

#: Requests that may start at the same moment; with 25 a second no second sees more than 29.
_BURST = 4

_SLOWEST_PER_S = 0.5
_REPEATED_STATUS: Final = frozenset({408, 429, 500, 502, 503, 504})
_RECOVERY_PER_S = 0.25  # gained with each answer: from half to full speed in about 50 answers


@dataclass(slots=True)
class Slot:
    """The permission for one request; set ``is_refused`` if the server said it was one too many."""

    started_s: float
    is_refused: bool = False
    is_answered: bool = False


class Lane:
    """What one kind of request may do now: a rate and a number in flight that learn from refusals.

    Not safe by itself: `Pace` calls it under its lock.
    """

    __slots__ = ("_max_in_flight", "_max_per_s", "_next_start_s", "_slowed_s", "in_flight", "limit", "per_s")

    def __init__(self, *, per_s: float, in_flight: int) -> None:
        self._max_per_s = per_s
        self._max_in_flight = in_flight
        self.per_s = per_s
        self.limit = float(in_flight)
        self.in_flight = 0
        self._next_start_s = float("-inf")
        self._slowed_s = float("-inf")

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in flight as may be."""
        return self.in_flight >= int(self.limit)

    def reserve(self, now_s: float) -> float:
        """Take the next place in time; return for how many seconds to wait for it."""
        start_s = max(now_s, self._next_start_s - (_BURST - 1) / self.per_s)
        self._next_start_s = max(now_s, self._next_start_s) + 1 / self.per_s
        return start_s - now_s

    def learn(self, slot: Slot, now_s: float) -> None:
        """Halve after a refusal, once for all requests that were in flight together; else recover."""
        if slot.is_refused and slot.started_s >= self._slowed_s:
            self.per_s = max(_SLOWEST_PER_S, self.per_s / 2)
            self.limit = max(1.0, self.limit / 2)
            self._slowed_s = now_s
        elif slot.is_answered:
            self.per_s = min(self._max_per_s, self.per_s + _RECOVERY_PER_S)
            self.limit = min(float(self._max_in_flight), self.limit + 1 / (4 * self.limit))


class Pace:
    """The bounds of one deployment, shared by all threads that ask it."""

    def __init__(
        self,
        *,
        per_s: float = REQUESTS_PER_S,
        in_flight: int = IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._changed = threading.Condition()
        self._whole = Lane(per_s=per_s, in_flight=in_flight)
        self._searches = Lane(per_s=per_s, in_flight=in_flight)
        self._files = Lane(per_s=per_s, in_flight=in_flight)

    def lane(self, kind: Kind) -> Lane:
        """Return the lane of a kind of request; account requests go with the searches."""
        return self._files if kind in ("archive", "raw") else self._searches

    @contextmanager
    def slot(self, kind: Kind) -> Iterator[Slot]:
        """Wait until a request of this kind may be sent, and count it in flight while it is.

        Only answers speed the lane up again: set ``is_answered`` or ``is_refused`` of the slot.
        """
        lane = self.lane(kind)
        with self._changed:
            self._changed.wait_for(lambda: not (lane.is_full or self._whole.is_full))
            lane.in_flight += 1
            self._whole.in_flight += 1
            now_s = self._clock()
            wait_s = max(lane.reserve(now_s), self._whole.reserve(now_s))
        slot = Slot(now_s + wait_s)
        try:
            if wait_s > 0:
                self._sleep(wait_s)
            yield slot
        finally:
            with self._changed:
                lane.in_flight -= 1
                self._whole.in_flight -= 1
                lane.learn(slot, self._clock())
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Policy:
    """How patiently failures are met.

    Attributes
    ----------
    n_attempts : int
        Attempts at one request, the first included.
    n_first_contacts : int
        The same for connections that fail before the deployment ever answered: a wrong address is told
        soon.
    n_not_json : int
        The same for successful answers that are not JSON.
    total_s : float
        No pause begins that would end later than this after the first attempt began.
    first_pause_s, longest_pause_s : float
        The pause doubles from the first to the longest; up to half of it is cut off at random.
    """

    n_attempts: int = 10
    n_first_contacts: int = 3
    n_not_json: int = 3
    total_s: float = 300.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """The circumstances of a failed attempt.

    Attributes
    ----------
    number : int
        1 for the first.
    elapsed_s : float
        Since the first attempt began.
    now_s : float
        Seconds since 1970, for a ``Retry-After`` that gives a date.
    chance : float
        Random number in [0, 1).
    is_repeatable, is_contacted : bool
        Whether the request may be repeated; whether the deployment has ever answered.
    """

    number: int
    elapsed_s: float
    now_s: float
    chance: float
    is_repeatable: bool
    is_contacted: bool


def pause_before_retry(failure: Reply | WireFailure, attempt: Attempt, policy: Policy) -> float | None:
    """Return for how many seconds to wait before repeating, ``None`` for not at all.

    Repeated are failures of the wire, the statuses 408, 429, 500, 502, 503 and 504, and
    successful answers that are not JSON. A 500 that names an exception is NOMAD's own and is
    repeated once. ``Retry-After``, in seconds or as a date, is waited for in full.
    """
    if not attempt.is_repeatable or attempt.number >= _n_allowed(failure, attempt, policy):
        return None
    doubled_s = policy.first_pause_s * 2.0 ** min(attempt.number - 1, 60)
    pause_s = min(policy.longest_pause_s, doubled_s) * (1 - attempt.chance / 2)
    if isinstance(failure, Reply):
        pause_s = max(pause_s, _asked_pause_s(failure, attempt.now_s))
    return pause_s if attempt.elapsed_s + pause_s <= policy.total_s else None


def _n_allowed(failure: Reply | WireFailure, attempt: Attempt, policy: Policy) -> int:
    """Return how many attempts a failure of this sort is worth, the first included."""
    match failure:
        case WireFailure(kind="connect") if not attempt.is_contacted:
            return policy.n_first_contacts
        case WireFailure():
            return policy.n_attempts
        case Reply() if failure.is_ok:
            return policy.n_not_json
        case Reply() if is_own_failure(failure):
            return 2
        case _:
            return policy.n_attempts if failure.status in _REPEATED_STATUS else 1


def _asked_pause_s(reply: Reply, now_s: float) -> float:
    """Return how long ``Retry-After`` asks to wait; a date counts from the server's own ``Date``."""
    asked = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+", asked):
        return float(asked)
    until_s, since_s = _time_of(asked), _time_of(reply.headers.get("date", ""))
    return 0.0 if until_s is None else max(0.0, until_s - (now_s if since_s is None else since_s))


def _time_of(text: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
