"""How many requests at once and per second, and when again after a failure.

NOMAD documents limits per address of 30 requests a second and 10 at a time, above which it
answers 503. A `Pace` stays below both for all requests that this machine sends to a host: its processes
share what they know (`bucket`), and `lanes` decides by that when a request may start. Whether and when to
repeat a failed request is decided by `pause_before_retry`.
"""

from __future__ import annotations

import email.utils
import os
import random
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Final, assert_never

from nomadquery.http.bucket import Bucket, OwnBucket, SharedBucket
from nomadquery.http.lanes import (
    LANES,
    Bounds,
    Done,
    Lane,
    LaneName,
    Traffic,
    is_sound,
    new_traffic,
    wait_s,
    with_end,
    with_seat,
    with_start,
    with_wish,
    without,
)
from nomadquery.http.message import Kind, Reply, WireFailure, is_own_failure

#: Bounds for all requests of a machine together, below NOMAD's 30 a second and 10 at a time.
REQUESTS_PER_S: Final = 25.0
IN_FLIGHT: Final = 8
#: The public NOMAD serves few archives and raw files at a time, so these begin with fewer.
FILES_AT_FIRST: Final = 4

#: Names the folder in place of the user's runtime folder.
RUNTIME_VARIABLE: Final = "NOMADQUERY_RUNTIME_DIR"

#: Who waits for room looks again after so long and up to twice that, at random.
_LOOK_S: Final = 0.01
#: No sleep is longer, so that nobody waits for what has been started afresh meanwhile.
_LONGEST_SLEEP_S: Final = 1.0
#: How often is looked who is gone, and said that one waits for room.
_CHECK_S: Final = 1.0
_WISH_S: Final = 0.3

_REPEATED_STATUS: Final = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(slots=True)
class Slot:
    """The permission for one request; set ``done`` when its end is known. Without it nothing is learned."""

    started_s: float = 0.0
    done: Done = Done("failed")  # noqa: RUF009 # frozen


@dataclass(slots=True)
class _Process:
    """What one process holds of a pace; a process forked from it begins with its own.

    ``gates``: of its threads, one in each lane asks at a time. ``mutex`` guards all the rest.
    """

    mutex: threading.Lock = field(default_factory=threading.Lock)
    gates: dict[LaneName, threading.Lock] = field(
        default_factory=lambda: {name: threading.Lock() for name in LANES}
    )
    in_flight: dict[LaneName, int] = field(default_factory=lambda: dict.fromkeys(LANES, 0))
    bucket: Bucket | None = None


class Pace:
    """The bounds at one host, shared by all threads and processes of this machine that ask it.

    Parameters
    ----------
    place : callable, optional
        Gives the folder that the processes share, called when the first request is sent; ``None``: the
        pace is this object's own. Where the folder cannot be used, it is too, with one warning.
    per_s, in_flight, files_at_first : float, int, int
        Starts per second, requests in flight, and how many archive, and raw, requests of these at first.
    clock : callable
        Seconds, the same for all processes.
    sleep, chance : callable
        Wait for seconds; give a random number in [0, 1).
    """

    def __init__(
        self,
        place: Callable[[], Path] | None = None,
        *,
        per_s: float = REQUESTS_PER_S,
        in_flight: int = IN_FLIGHT,
        files_at_first: int = FILES_AT_FIRST,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._place = place
        self._bounds = Bounds(per_s, in_flight, files_at_first)
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._processes: dict[int, _Process] = {}

    def traffic(self) -> Traffic:
        """Return what is known now of all requests of this machine to the host."""
        return self._change(self._here(), lambda traffic, *_: traffic)

    def lane(self, kind: Kind) -> Lane:
        """Return what a kind of request may do now."""
        return self.traffic().lanes[lane_of(kind)]

    @contextmanager
    def slot(self, kind: Kind) -> Iterator[Slot]:
        """Wait until a request of this kind may be sent, and count it in flight while it is."""
        here, name = self._here(), lane_of(kind)
        slot = Slot(self._start(here, name))
        try:
            yield slot
        finally:
            self._end(here, name, slot)

    def _here(self) -> _Process:
        process_id = os.getpid()
        return self._processes.get(process_id) or self._processes.setdefault(process_id, _Process())

    def _start(self, here: _Process, name: LaneName) -> float:
        """Return when the request started, after waiting for its place in time and in flight."""
        gate = here.gates[name]
        while not gate.acquire(timeout=_LONGEST_SLEEP_S):
            pass  # Windows sees Ctrl-C only between two waits
        try:
            pause_s = self._take(here, name)
            while pause_s > 0:
                self._sleep(min(pause_s, _LONGEST_SLEEP_S))
                pause_s = self._pause(here, name) or self._take(here, name)
            return self._clock()
        finally:
            gate.release()

    def _pause(self, here: _Process, name: LaneName) -> float:
        """Return for how long to wait, as far as that can be seen without keeping others out."""
        bucket, now_s = self._bucket(here), self._clock()
        seen = bucket.look()
        if seen is None or not is_sound(seen, self._bounds, now_s):
            return 0.0
        waits_s = wait_s(seen, name, bucket.seat, self._bounds, now_s)
        if waits_s is not None:
            return waits_s
        if now_s - seen.checked_s >= _CHECK_S:
            gone = bucket.gone(seen.seats)
            self._change(here, lambda traffic, *_: without(traffic, gone, now_s))
            return 0.0
        mine = seen.seats.get(bucket.seat)
        is_said = mine is not None and now_s - mine.wants_s.get(name, float("-inf")) < _WISH_S
        return self._look_s() if is_said else 0.0

    def _take(self, here: _Process, name: LaneName) -> float:
        """Take a place and return 0; else say that we wait and return for how long."""
        waits_s: float | None = 0.0

        def taken(traffic: Traffic, seat: str, now_s: float) -> Traffic:
            nonlocal waits_s
            waits_s = wait_s(traffic, name, seat, self._bounds, now_s)
            if waits_s is None:
                return with_wish(traffic, name, seat, now_s)
            if waits_s > 0:
                return traffic
            here.in_flight[name] += 1
            return with_start(with_wish(traffic, name, seat, None), name, self._bounds, now_s)

        self._change(here, taken)
        return self._look_s() if waits_s is None else waits_s

    def _end(self, here: _Process, name: LaneName, slot: Slot) -> None:
        with here.mutex:
            here.in_flight[name] -= 1
        self._change(
            here,
            lambda traffic, _, now_s: with_end(
                traffic, name, slot.done, self._bounds, started_s=slot.started_s, now_s=now_s
            ),
        )

    def _look_s(self) -> float:
        return _LOOK_S * (1 + self._chance())

    def _change(self, here: _Process, change: Callable[[Traffic, str, float], Traffic]) -> Traffic:
        """Return the traffic after ``change(traffic, seat, now_s)``, with what this process has in flight."""
        self._bucket(here)
        with here.mutex:
            bucket = here.bucket or OwnBucket()
            before, after = dict(here.in_flight), new_traffic(self._bounds)

            def whole_change(found: Traffic | None) -> Traffic:
                nonlocal after
                now_s = self._clock()
                if found is None or not is_sound(found, self._bounds, now_s):
                    found = new_traffic(self._bounds)
                found = with_seat(found, bucket.seat, here.in_flight)
                after = with_seat(change(found, bucket.seat, now_s), bucket.seat, here.in_flight)
                return after

            try:
                bucket.change(whole_change)
            except OSError as error:
                here.in_flight, here.bucket = before, OwnBucket()
                reason = error
            except BaseException:
                here.in_flight = before
                raise
            else:
                return after
        _warn_alone(reason)
        return self._change(here, change)

    def _bucket(self, here: _Process) -> Bucket:
        """Return where the traffic is kept; decided when it is first needed."""
        if here.bucket is not None:
            return here.bucket
        with here.mutex:
            if here.bucket is not None:
                return here.bucket
            try:
                here.bucket = OwnBucket() if self._place is None else SharedBucket(self._place())
            except OSError as error:
                here.bucket, reason = OwnBucket(), error
            else:
                return here.bucket
        _warn_alone(reason)
        return here.bucket


def lane_of(kind: Kind) -> LaneName:
    """Return the lane of a kind of request; account requests go with the searches."""
    match kind:
        case "archive":
            return "archives"
        case "raw":
            return "raw"
        case "search" | "account":
            return "searches"
        case _:
            assert_never(kind)


def done_of(outcome: Reply | WireFailure, *, took_s: float, now_s: float) -> Done:
    """Return how a request ended; ``now_s`` is in seconds since 1970."""
    if isinstance(outcome, WireFailure):
        return Done("overdue" if outcome.kind == "timeout" else "failed", took_s)
    n_bytes = len(outcome.body)
    match outcome.status:
        case 429 | 503:
            return Done("refused", took_s, n_bytes, asked_pause_s(outcome, now_s))
        case 504:
            return Done("overdue", took_s, n_bytes)
        case status if status >= 500:
            return Done("failed", took_s, n_bytes)
        case status:
            return Done("answered" if status < 400 else "declined", took_s, n_bytes)


def _warn_alone(reason: OSError) -> None:
    warnings.warn(
        f"The pace of requests cannot be shared with other processes of this machine: {reason}. Several at "
        f"once may be refused (503) and become slow. Set {RUNTIME_VARIABLE} to a folder on a local disk.",
        stacklevel=2,
    )


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
        The same for successful answers that are not JSON, before the deployment ever gave one that is.
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
    is_repeatable, is_contacted, is_known : bool
        Whether the request may be repeated; whether the deployment has ever answered, and ever as the
        API of a NOMAD does.
    """

    number: int
    elapsed_s: float
    now_s: float
    chance: float
    is_repeatable: bool
    is_contacted: bool
    is_known: bool = False


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
        pause_s = max(pause_s, asked_pause_s(failure, attempt.now_s))
    return pause_s if attempt.elapsed_s + pause_s <= policy.total_s else None


def _n_allowed(failure: Reply | WireFailure, attempt: Attempt, policy: Policy) -> int:
    """Return how many attempts a failure of this sort is worth, the first included."""
    match failure:
        case WireFailure(kind="connect") if not attempt.is_contacted:
            return policy.n_first_contacts
        case WireFailure():
            return policy.n_attempts
        case Reply() if failure.is_ok:
            return policy.n_attempts if attempt.is_known else policy.n_not_json
        case Reply() if is_own_failure(failure):
            return 2
        case _:
            return policy.n_attempts if failure.status in _REPEATED_STATUS else 1


def asked_pause_s(reply: Reply, now_s: float) -> float:
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
