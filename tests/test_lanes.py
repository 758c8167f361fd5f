"""What the end of requests teaches, when the next may start, and whose turn it is: without any clock."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given

from nomadquery.http.lanes import (
    LANES,
    LONGEST_HOLD_S,
    Bounds,
    Done,
    Lane,
    LaneName,
    Latency,
    Seat,
    Traffic,
    is_sound,
    learned,
    new_traffic,
    wait_s,
    with_end,
    with_seat,
    with_start,
    with_wish,
    without,
)
from tests.strategies import steps_at_a_host

BOUNDS = Bounds(25.0, 8, 4)
LANE = Lane(25.0, 8.0)
NOW_S = 1000.0
SMALL, LARGE = 1_000, 10_000_000


def after(lane: Lane, *dones: Done, every_s: float = 1.0, since_s: float = NOW_S) -> Lane:
    """Return the lane after requests one after another, each begun when the last had ended."""
    for number, done in enumerate(dones):
        start_s = since_s + number * every_s
        lane = learned(lane, done, BOUNDS, started_s=start_s, now_s=start_s + every_s)
    return lane


def answered(took_s: float, n_bytes: int = SMALL) -> Done:
    return Done("answered", took_s, n_bytes)


def traffic_of(**in_flight: int) -> Traffic:
    """Return the traffic of processes with so many searches in flight."""
    return Traffic(dict.fromkeys(LANES, LANE), {seat: Seat({"searches": n}) for seat, n in in_flight.items()})


@given(steps_at_a_host())
def test_whatever_happens_the_bounds_hold(steps: list[tuple[float, str, LaneName, Done | None]]) -> None:
    """Any order of starts and ends, by any processes: sound, few in flight, and no second too full."""
    traffic, now_s, starts = new_traffic(BOUNDS), NOW_S, list[float]()
    running: list[tuple[str, LaneName, float]] = []
    for pause_s, asking, lane, done in steps:
        now_s += pause_s / 20
        seat, name = asking, lane
        if done is not None and running:
            seat, name, started_s = running.pop(0)
            traffic = with_end(traffic, name, done, BOUNDS, started_s=started_s, now_s=now_s)
        elif wait_s(traffic, name, seat, BOUNDS, now_s) == 0:
            traffic = with_start(traffic, name, BOUNDS, now_s)
            running.append((seat, name, now_s))
            starts.append(now_s)
        counts = {one: sum((seat, one) == (s, n) for s, n, _ in running) for one in LANES}
        traffic = with_seat(traffic, seat, counts)
        assert is_sound(traffic, BOUNDS, now_s)
        assert len(running) <= BOUNDS.in_flight
    assert all(sum(begin <= t < begin + 1 for t in starts) <= 30 for begin in starts)
    assert msgspec.json.decode(msgspec.json.encode(traffic), type=Traffic) == traffic


@given(steps_at_a_host())
def test_nobody_waits_for_longer_than_a_minute(
    steps: list[tuple[float, str, LaneName, Done | None]],
) -> None:
    """Whatever was learned, an idle host may be asked again within the longest hold."""
    lane = LANE
    for pause_s, _, _, done in steps:
        if done is not None:
            lane = learned(lane, done, BOUNDS, started_s=NOW_S, now_s=NOW_S + pause_s)
    waits_s = wait_s(
        Traffic({"searches": lane, "archives": LANE, "raw": LANE}), "searches", "1-a", BOUNDS, NOW_S + 3
    )
    assert waits_s is not None
    assert waits_s <= LONGEST_HOLD_S


def test_growing_latency_halves_the_number_in_flight_and_not_the_rate() -> None:
    """Ten answers of half a second, then of four: eight in flight become four, at 25 a second."""
    calm = after(LANE, *[answered(0.5)] * 10)
    strained = after(calm, *[answered(4.0)] * 4, every_s=4, since_s=NOW_S + 10)
    assert (calm.limit, calm.per_s) == (8, 25)
    assert strained.limit == pytest.approx(4, abs=0.5)  # halved after the fourth, growth included
    assert strained.per_s == 25


def test_quick_answers_are_never_too_slow() -> None:
    """Ten times the shortest time is nothing to mind while it is less than a second."""
    assert after(LANE, *[answered(0.05)] * 10, *[answered(0.6)] * 20).limit == 8


def test_large_answers_are_compared_with_large_ones() -> None:
    """Pages of 10 MB in four seconds are no sign of strain after small answers in a tenth."""
    mixed = [answered(0.1), answered(4.0, LARGE)] * 20
    assert after(LANE, *mixed).limit == 8
    assert after(LANE, *mixed, *[answered(20.0, LARGE)] * 6, every_s=20).limit < 8


def test_a_halving_that_helped_is_followed_by_growth() -> None:
    """Eight in flight take 4 s, four take 1 s: the number halves once and then grows step by step."""
    lane = after(LANE, *[answered(0.5)] * 10)
    limits = []
    for number in range(60):
        took_s = 4.0 if lane.limit > 6 else 1.0
        lane = after(lane, answered(took_s), every_s=took_s, since_s=NOW_S + 100 + 10 * number)
        limits.append(lane.limit)
    falls = sum(later < earlier for earlier, later in pairwise(limits))
    assert falls in (1, 2, 3)
    assert min(limits) > 3


def test_a_halving_that_did_not_help_is_not_repeated() -> None:
    """Requests slow by themselves (another question, a busy server) cost one halving, for a while."""
    quick = after(LANE, *[answered(0.2)] * 10)
    slow = after(quick, *[answered(5.0)] * 10, every_s=5, since_s=NOW_S + 10)
    later = after(slow, *[answered(5.0)] * 100, every_s=5, since_s=NOW_S + 100)
    assert slow.limit >= 4
    assert later.limit == 8


def test_the_shortest_time_is_forgotten_slowly() -> None:
    """One lucky answer counts for half after some 140 others; nothing is measured by it for ever."""
    lucky = after(LANE, answered(0.1))
    assert after(lucky, *[answered(0.9)] * 139).latency.best_s[0] == pytest.approx(0.2, rel=0.01)
    assert after(lucky, *[answered(0.9)] * 1000).latency.best_s[0] == 0.9


@pytest.mark.parametrize("outcome", ["declined", "failed"])
def test_what_is_refused_for_itself_says_nothing_of_latency(outcome: str) -> None:
    """A 404 after a millisecond is no measure for answers."""
    done = Done("declined" if outcome == "declined" else "failed", 0.001)
    assert after(LANE, done).latency == Latency()


def test_a_time_out_halves_the_number_in_flight_once() -> None:
    """Eight that were in flight together and came too late count once, and the rate stays."""
    lane = LANE
    for _ in range(8):
        lane = learned(lane, Done("overdue", 60.0), BOUNDS, started_s=NOW_S, now_s=NOW_S + 60)
    assert (lane.limit, lane.per_s) == (4, 25)


@pytest.mark.parametrize(("asked_s", "held_s"), [(7.0, 7.0), (3600.0, 60.0)])
def test_retry_after_holds_everybody_back_for_a_minute_at_most(asked_s: float, held_s: float) -> None:
    """Nothing starts in that lane before; the other lane is free."""
    traffic = new_traffic(BOUNDS)
    done = Done("refused", hold_s=asked_s)
    traffic = with_end(traffic, "searches", done, BOUNDS, started_s=NOW_S, now_s=NOW_S)
    assert wait_s(traffic, "searches", "1-a", BOUNDS, NOW_S) == held_s
    assert wait_s(traffic, "archives", "1-a", BOUNDS, NOW_S) == 0


def test_archives_begin_with_four_and_grow_to_eight() -> None:
    """The public NOMAD serves few at a time: growth is learned by answers, 88 of them from 4 to 8."""
    lane = new_traffic(BOUNDS).lanes["archives"]
    assert lane.limit == 4
    assert int(after(lane, *[answered(0.5)] * 80).limit) == 7
    assert int(after(lane, *[answered(0.5)] * 100).limit) == 8


def test_who_has_fewer_in_flight_goes_first() -> None:
    """The last place is kept for a process that waits with none, not for one that has more."""
    traffic = with_wish(traffic_of(a=5, b=0, c=2), "searches", "b", NOW_S)
    assert wait_s(traffic, "searches", "a", BOUNDS, NOW_S + 0.1) is None
    assert wait_s(traffic, "searches", "b", BOUNDS, NOW_S + 0.1) == 0
    assert wait_s(with_wish(traffic, "searches", "b", None), "searches", "a", BOUNDS, NOW_S) == 0
    assert wait_s(traffic_of(a=4, b=0, c=2), "searches", "a", BOUNDS, NOW_S) == 0


def test_who_stopped_asking_keeps_nobody_waiting() -> None:
    """A wish counts for a second: its process may be gone."""
    traffic = with_wish(traffic_of(a=7, b=0), "searches", "b", NOW_S)
    assert wait_s(traffic, "searches", "a", BOUNDS, NOW_S + 0.9) is None
    assert wait_s(traffic, "searches", "a", BOUNDS, NOW_S + 1.1) == 0


def test_waiting_for_a_full_lane_does_not_close_the_other() -> None:
    """Who waits for archives while four are in flight does not keep searches out."""
    traffic = Traffic(
        new_traffic(BOUNDS).lanes, {"a": Seat({"archives": 3, "searches": 1}), "b": Seat({"archives": 1})}
    )
    traffic = with_wish(traffic, "archives", "b", NOW_S)
    assert wait_s(traffic, "archives", "b", BOUNDS, NOW_S) is None
    assert wait_s(traffic, "searches", "a", BOUNDS, NOW_S) == 0


def test_places_of_the_gone_are_free_again() -> None:
    """Without them there is room."""
    full = traffic_of(a=8)
    assert wait_s(full, "searches", "b", BOUNDS, NOW_S) is None
    assert wait_s(without(full, {"a"}, NOW_S), "searches", "b", BOUNDS, NOW_S) == 0


def test_times_of_another_run_of_the_machine_are_not_believed() -> None:
    """A minute ahead is possible (Retry-After), more is not; the past always is."""
    for ahead_s, is_believed in ((60.0, True), (62.0, False), (-900.0, True)):
        traffic = msgspec.structs.replace(new_traffic(BOUNDS), next_start_s=NOW_S + ahead_s)
        assert is_sound(traffic, BOUNDS, NOW_S) is is_believed
        traffic = with_wish(new_traffic(BOUNDS), "archives", "a", NOW_S + ahead_s)
        assert is_sound(traffic, BOUNDS, NOW_S) is is_believed


@pytest.mark.parametrize(
    "strange",
    [
        Traffic({"searches": LANE}),
        Traffic({"searches": LANE, "archives": LANE, "raw": LANE}, format=1),
        Traffic({"searches": LANE, "archives": Lane(25.0, 0.0), "raw": LANE}),
        Traffic({"searches": LANE, "archives": Lane(1e9, 8.0), "raw": LANE}),
        Traffic({"searches": LANE, "archives": Lane(0.0, 8.0), "raw": LANE}),
        Traffic({"searches": LANE, "archives": LANE, "raw": LANE}, {"a": Seat({"archives": -3})}),
    ],
)
def test_traffic_that_cannot_be_is_not_believed(strange: Traffic) -> None:
    """Another format, a missing lane, numbers out of bounds: it is started afresh."""
    assert not is_sound(strange, BOUNDS, NOW_S)
