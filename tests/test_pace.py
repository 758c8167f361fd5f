"""Requests are spread in time and number, fewer after refusals, and repeated after sensible pauses."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from nomadquery.http.lanes import Done
from nomadquery.http.message import Headers, Reply, WireFailure
from nomadquery.http.pace import Attempt, Pace, Policy, pause_before_retry
from tests.faults.clock import Clock

POLICY = Policy()
FIRST = Attempt(1, elapsed_s=0.0, now_s=0.0, chance=0.0, is_repeatable=True, is_contacted=True)


def answered(status: int, headers: dict[str, str] | None = None, *, body: bytes = b"<html>") -> Reply:
    return Reply(status, Headers(headers), body, "https://our.host/api/v1/entries/query")


def start_times(pace: Pace, clock: Clock, n: int) -> list[float]:
    times = []
    for _ in range(n):
        with pace.slot("search") as slot:
            times.append(clock.now_s)
            slot.done = Done("answered")
    return times


def refuse(pace: Pace) -> None:
    with pace.slot("search") as slot:
        slot.done = Done("refused")


def test_no_second_sees_more_than_nomad_allows() -> None:
    """However fast the answers, any window of one second has at most 30 starts."""
    clock = Clock()
    times = start_times(Pace(clock=clock.time, sleep=clock.sleep), clock, 200)
    busiest = max(sum(begin <= t < begin + 1.0 for t in times) for begin in times)
    assert busiest <= 30
    assert times[-1] - times[0] == pytest.approx(196 / 25, rel=0.02)  # 25 a second after a burst of 4


def test_slow_requests_are_not_delayed_further() -> None:
    """Requests that take longer than their share of time never wait."""
    clock = Clock()
    pace = Pace(clock=clock.time, sleep=clock.sleep)
    for _ in range(20):
        with pace.slot("search"):
            clock.now_s += 0.1
    assert clock.pauses == []


def test_no_more_than_the_bound_are_in_flight_together() -> None:
    """Of eight threads, two are in flight at once, of both kinds together."""
    pace, running, most = Pace(per_s=1e6, in_flight=2), [0], [0]
    lock = threading.Lock()

    def ask(number: int) -> None:
        with pace.slot("search" if number % 2 else "archive"):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            threading.Event().wait(0.005)
            with lock:
                running[0] -= 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 2


def test_a_refusal_halves_and_answers_restore_slowly() -> None:
    """25 a second become 12.5; answers bring it back step by step, not above the bound."""
    clock = Clock()
    pace = Pace(clock=clock.time, sleep=clock.sleep)
    refuse(pace)
    assert (pace.lane("search").per_s, int(pace.lane("search").limit)) == (12.5, 4)
    start_times(pace, clock, 10)
    assert 12.5 < pace.lane("search").per_s < 25
    start_times(pace, clock, 200)
    assert (pace.lane("search").per_s, int(pace.lane("search").limit)) == (25, 8)


def test_refusals_of_requests_in_flight_together_count_once() -> None:
    """Three requests refused at the same time halve the pace once, not three times."""
    clock = Clock()
    pace = Pace(clock=clock.time, sleep=clock.sleep)
    with pace.slot("search") as first, pace.slot("search") as second, pace.slot("search") as third:
        first.done = second.done = third.done = Done("refused")
        clock.now_s += 1
    assert pace.lane("search").per_s == 12.5


def test_archives_and_searches_learn_apart() -> None:
    """A refused search does not slow archive and raw requests."""
    clock = Clock()
    pace = Pace(clock=clock.time, sleep=clock.sleep)
    refuse(pace)
    assert pace.lane("archive").per_s == 25
    assert pace.lane("archive") == pace.lane("raw")
    assert pace.lane("account") == pace.lane("search") != pace.lane("raw")


def test_endless_refusals_leave_one_request_every_two_seconds() -> None:
    """The pace has a floor: it never stops altogether."""
    clock = Clock()
    pace = Pace(clock=clock.time, sleep=clock.sleep)
    for _ in range(20):
        refuse(pace)
        clock.now_s += 10
    assert (pace.lane("search").per_s, pace.lane("search").limit) == (0.5, 1)


def test_an_error_inside_gives_the_slot_back() -> None:
    """After an exception others may go on."""
    pace = Pace(in_flight=1)
    with pytest.raises(KeyError), pace.slot("search"):
        raise KeyError
    with pace.slot("search"):
        assert pace.traffic().n_in_flight("searches") == 1


@pytest.mark.parametrize(
    "failure",
    [
        *(answered(status) for status in (408, 429, 500, 502, 503, 504, 200)),
        *(WireFailure(kind, "x") for kind in ("connect", "timeout", "reset", "truncated")),
    ],
    ids=str,
)
def test_what_may_pass_is_repeated_unless_that_could_change_something(failure: Reply | WireFailure) -> None:
    """Each of these is worth another attempt; none if the request is not repeatable."""
    assert pause_before_retry(failure, FIRST, POLICY) is not None
    assert pause_before_retry(failure, replace(FIRST, is_repeatable=False), POLICY) is None


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 409, 413, 422, 501, 505])
def test_what_will_not_pass_is_not_repeated(status: int) -> None:
    """A refusal stays a refusal."""
    assert pause_before_retry(answered(status), FIRST, POLICY) is None


def test_pauses_double_up_to_the_longest_and_end_with_the_attempts() -> None:
    """Without jitter 0.5, 1, 2 … 30 s; after the tenth attempt there is none."""
    pauses = [
        pause_before_retry(answered(502), replace(FIRST, number=number), POLICY) for number in range(1, 11)
    ]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, None]


def test_jitter_takes_away_up_to_half() -> None:
    """Clients that failed together come back apart."""
    pause = pause_before_retry(answered(502), replace(FIRST, number=3, chance=0.5), POLICY)
    assert pause == pytest.approx(1.5)  # 2 s less half of half


def test_no_pause_ends_after_the_total_time() -> None:
    """Neither a doubled pause nor Retry-After exceeds the patience."""
    late = replace(FIRST, elapsed_s=299.9)
    assert pause_before_retry(answered(502), late, POLICY) is None
    assert pause_before_retry(answered(503, {"Retry-After": "3600"}), FIRST, POLICY) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "7"},
        {"Retry-After": "Sun, 06 Nov 1994 08:49:44 GMT"},
        {"Retry-After": "Sun, 06 Nov 1994 09:49:44 GMT", "Date": "Sun, 06 Nov 1994 09:49:37 GMT"},
    ],
)
def test_retry_after_is_obeyed_in_both_forms(headers: dict[str, str]) -> None:
    """Seconds, a date, and a date by a server whose clock is an hour off: seven seconds each."""
    at = replace(FIRST, now_s=784_111_777.0)  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110
    assert pause_before_retry(answered(429, headers), at, POLICY) == 7.0


@pytest.mark.parametrize("asked", ["0", "soon", "-5", "Sun, 06 Nov 1994 08:49:37 GMT", ""])
def test_a_retry_after_without_sense_falls_back_to_doubling(asked: str) -> None:
    """Zero, past or unreadable: the ordinary pause."""
    at = replace(FIRST, now_s=784_111_800.0)
    assert pause_before_retry(answered(503, {"Retry-After": asked}), at, POLICY) == 0.5


def test_a_failure_of_nomad_itself_is_repeated_once() -> None:
    """A 500 that names an exception has its reason in the request."""
    own = answered(
        500, body=json.dumps({"detail": {"exception_class": "KeyError", "exception": "'x'"}}).encode()
    )
    assert pause_before_retry(own, FIRST, POLICY) is not None
    assert pause_before_retry(own, replace(FIRST, number=2), POLICY) is None


def test_a_deployment_that_never_answered_is_given_up_soon() -> None:
    """A wrong address is told within seconds; one that has answered before is waited for."""
    stranger, refused = replace(FIRST, number=3, is_contacted=False), WireFailure("connect", "x")
    assert pause_before_retry(refused, stranger, POLICY) is None
    assert pause_before_retry(refused, replace(stranger, is_contacted=True), POLICY) is not None
    assert pause_before_retry(WireFailure("reset", "x"), stranger, POLICY) is not None
