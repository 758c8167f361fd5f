"""When a request may start, and what its end teaches: pure functions from traffic to traffic.

`Traffic` is all that the processes of a machine know together about one host: what each has in flight, when
the next request may start, and what was learned. Searches, archives and raw files go in a `Lane` each, since
their times tell nothing of each other's; each learns by additive increase and halving:

- refused for being too many (429, 503): rate and number in flight are halved;
- too late (a time-out, 504): the number in flight is halved;
- slower and slower: the number in flight is halved, and if that does not help, what is slow now is taken for
  normal;
- answered: both grow a little, up to the documented bounds.

Times are seconds of a clock that all processes share and that only restarts with the machine. The values are
structs of msgspec in place of dataclasses: all are read, changed and written with each request.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

LaneName = Literal["searches", "archives", "raw"]
LANES: Final[tuple[LaneName, ...]] = ("searches", "archives", "raw")

#: How a request ended: with success; refused for what it asked (4xx); as one too many; too late; otherwise.
Outcome = Literal["answered", "declined", "refused", "overdue", "failed"]

FORMAT: Final = 2

#: Requests that may start at the same moment; with 25 a second no second sees more than 29.
_BURST: Final = 4
#: A start is not put off for less: sleeping is not more exact than this.
_NOW_S: Final = 0.001

_SLOWEST_PER_S: Final = 0.5
_RECOVERY_PER_S: Final = 0.25  # gained with each answer: from half to full speed in about 50 answers

#: How long ``Retry-After`` holds back all processes, at most; who was refused waits in full.
LONGEST_HOLD_S: Final = 60.0
#: Times further in the future are not of this run of the machine.
_HORIZON_S: Final = LONGEST_HOLD_S + 1.0
#: A process that has not said for so long that it waits for room does not wait any more.
_PATIENT_S: Final = 1.0

#: Answers up to 64 kB, 512 kB, 4 MB, and larger, are only compared among themselves.
_SIZES_BYTES: Final = (1 << 16, 1 << 19, 1 << 22)
_STRAINED: Final = 3.0  # so many times the shortest time is too slow
_SLOW_S: Final = 1.0  # quicker requests are never too slow
_HELPED: Final = 0.8  # a halving helped if it brought the strain below this part
_FEWEST_SEEN: Final = 4
_WEIGHT: Final = 0.2
_FORGETTING: Final = 1.005  # with each answer: the shortest time counts twice after 139


class Bounds(msgspec.Struct, frozen=True):
    """What a machine may do at one host: starts per second, and requests in flight."""

    per_s: float
    in_flight: int
    files_at_first: int

    def first_limit(self, name: LaneName) -> float:
        """Return how many may be in flight before anything was learned."""
        return float(self.in_flight if name == "searches" else min(self.in_flight, self.files_at_first))


class Done(msgspec.Struct, frozen=True):
    """How a request ended.

    Attributes
    ----------
    outcome : Outcome
    took_s : float
    n_bytes : int
        Size of the answer, unpacked.
    hold_s : float
        How long the server asks not to be asked (``Retry-After``).
    """

    outcome: Outcome
    took_s: float = 0.0
    n_bytes: int = 0
    hold_s: float = 0.0


class Latency(msgspec.Struct, frozen=True):
    """How long answers take, compared with the shortest time of answers of like size.

    Attributes
    ----------
    best_s : tuple of float
        The shortest time for each size of `_SIZES_BYTES`, slowly forgotten; 0 where none came.
    strain, took_s : float
        Smoothed: times the best, and seconds.
    n_seen : int
        Answers in these two.
    since_s : float
        When the number in flight was last halved; requests that began before tell nothing.
    strain_before : float
        The strain that was the reason; 0 if it has eased since.
    """

    best_s: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    strain: float = 0.0
    took_s: float = 0.0
    n_seen: int = 0
    since_s: float = 0.0
    strain_before: float = 0.0


class Lane(msgspec.Struct, frozen=True):
    """What one kind of request may do now.

    Attributes
    ----------
    per_s, limit : float
        Starts per second; requests in flight, rounded down.
    next_start_s : float
        The next place in time, after a burst.
    not_before_s : float
        Until when the server asked not to be asked.
    slowed_s : float
        When it was last refused; requests that began before tell nothing more.
    latency : Latency
    """

    per_s: float
    limit: float
    next_start_s: float = 0.0
    not_before_s: float = 0.0
    slowed_s: float = 0.0
    latency: Latency = Latency()


class Seat(msgspec.Struct, frozen=True):
    """What one process has in flight in each lane, and when it last said that it waits for room there."""

    in_flight: Mapping[LaneName, int]
    wants_s: Mapping[LaneName, float] = {}


class Traffic(msgspec.Struct, frozen=True):
    """Everything at one host; see the module. ``checked_s``: when it was last seen who is gone."""

    lanes: Mapping[LaneName, Lane]
    seats: Mapping[str, Seat] = {}
    next_start_s: float = 0.0
    checked_s: float = 0.0
    format: int = FORMAT

    def n_in_flight(self, name: LaneName) -> int:
        """Return how many requests of a lane are in flight, of all processes."""
        return sum(seat.in_flight.get(name, 0) for seat in self.seats.values())


def new_traffic(bounds: Bounds) -> Traffic:
    """Return the traffic of those who know nothing yet."""
    return Traffic({name: Lane(bounds.per_s, bounds.first_limit(name)) for name in LANES})


def is_sound(traffic: Traffic, bounds: Bounds, now_s: float) -> bool:
    """Return whether it can be of this format, these bounds and this run of the machine."""
    if traffic.format != FORMAT or set(traffic.lanes) != set(LANES):
        return False
    lanes = traffic.lanes.values()
    times = [traffic.next_start_s, traffic.checked_s]
    times += [t for lane in lanes for t in (lane.next_start_s, lane.not_before_s, lane.slowed_s)]
    times += [lane.latency.since_s for lane in lanes]
    times += [wants_s for seat in traffic.seats.values() for wants_s in seat.wants_s.values()]
    slowest_per_s = min(_SLOWEST_PER_S, bounds.per_s)
    return (
        all(time_s <= now_s + _HORIZON_S for time_s in times)
        and all(slowest_per_s <= lane.per_s <= bounds.per_s for lane in lanes)
        and all(1 <= lane.limit <= bounds.in_flight for lane in lanes)
        and all(n >= 0 for seat in traffic.seats.values() for n in seat.in_flight.values())
    )


def wait_s(traffic: Traffic, name: LaneName, seat: str, bounds: Bounds, now_s: float) -> float | None:
    """Return in how many seconds a request may start, 0 for now; ``None`` if there is no room for it."""
    lane = traffic.lanes[name]
    start_s = max(
        lane.not_before_s,
        lane.next_start_s - (_BURST - 1) / lane.per_s,
        traffic.next_start_s - (_BURST - 1) / bounds.per_s,
    )
    if start_s - now_s >= _NOW_S:
        return start_s - now_s
    return 0.0 if _has_room(traffic, name, seat, bounds, now_s) else None


def _has_room(traffic: Traffic, name: LaneName, seat: str, bounds: Bounds, now_s: float) -> bool:
    """Return whether there is a place in the lane and in all, beyond those kept for others.

    A place is kept for each waiting process that has fewer requests in flight than the asking one, so that
    one with many threads does not keep others out. What they wait for counts in its own lane; elsewhere
    only if it is not their lane that is full.
    """
    left = {lane: int(traffic.lanes[lane].limit) - traffic.n_in_flight(lane) for lane in LANES}
    left_in_all = bounds.in_flight - sum(traffic.n_in_flight(lane) for lane in LANES)
    mine = _n_of(traffic, seat)
    first = {
        lane: {
            other
            for other, theirs in traffic.seats.items()
            if other != seat
            and now_s - theirs.wants_s.get(lane, float("-inf")) < _PATIENT_S
            and _n_of(traffic, other) < mine
        }
        for lane in LANES
    }
    first_in_all = {other for lane in LANES if lane == name or left[lane] > 0 for other in first[lane]}
    return left[name] > len(first[name]) and left_in_all > len(first_in_all)


def _n_of(traffic: Traffic, seat: str) -> int:
    return sum(traffic.seats[seat].in_flight.values()) if seat in traffic.seats else 0


def with_start(traffic: Traffic, name: LaneName, bounds: Bounds, now_s: float) -> Traffic:
    """Return the traffic after a request took the next place in time; see `with_seat` for its number."""
    lane = traffic.lanes[name]
    lane = replace(lane, next_start_s=max(now_s, lane.next_start_s) + 1 / lane.per_s)
    return replace(
        traffic,
        lanes={**traffic.lanes, name: lane},
        next_start_s=max(now_s, traffic.next_start_s) + 1 / bounds.per_s,
    )


def with_seat(traffic: Traffic, seat: str, in_flight: Mapping[LaneName, int]) -> Traffic:
    """Return the traffic with what a process itself knows to have in flight."""
    known = traffic.seats.get(seat)
    now = Seat(dict(in_flight)) if known is None else replace(known, in_flight=dict(in_flight))
    seats = {**traffic.seats, seat: now}
    if not any(now.in_flight.values()) and not now.wants_s:
        del seats[seat]
    return replace(traffic, seats=seats)


def with_wish(traffic: Traffic, name: LaneName, seat: str, wants_s: float | None) -> Traffic:
    """Return the traffic after a process said that it waits for room, or waits no more (``None``)."""
    known = traffic.seats.get(seat, Seat({}))
    wishes = {lane: time_s for lane, time_s in known.wants_s.items() if lane != name}
    if wants_s is not None:
        wishes[name] = wants_s
    return replace(traffic, seats={**traffic.seats, seat: replace(known, wants_s=wishes)})


def without(traffic: Traffic, gone: Collection[str], now_s: float) -> Traffic:
    """Return the traffic without those whose process has ended."""
    seats = {name: seat for name, seat in traffic.seats.items() if name not in gone}
    return replace(traffic, seats=seats, checked_s=now_s)


def with_end(
    traffic: Traffic, name: LaneName, done: Done, bounds: Bounds, *, started_s: float, now_s: float
) -> Traffic:
    """Return the traffic that has learned from how a request ended."""
    lane = learned(traffic.lanes[name], done, bounds, started_s=started_s, now_s=now_s)
    return replace(traffic, lanes={**traffic.lanes, name: lane})


def learned(lane: Lane, done: Done, bounds: Bounds, *, started_s: float, now_s: float) -> Lane:
    """Return the lane after one of its requests ended.

    Requests that were in flight together count once: what began before the last halving tells no more.
    """
    match done.outcome:
        case "refused":
            until_s = now_s + min(done.hold_s, LONGEST_HOLD_S)
            lane = replace(lane, not_before_s=max(lane.not_before_s, until_s))
            if started_s < lane.slowed_s:
                return lane
            per_s = max(min(_SLOWEST_PER_S, bounds.per_s), lane.per_s / 2)
            return replace(_with_half(lane, now_s), per_s=per_s, slowed_s=now_s)
        case "overdue":
            return lane if started_s < lane.latency.since_s else _with_half(lane, now_s)
        case "answered" | "declined":
            grown = replace(
                lane,
                per_s=min(bounds.per_s, lane.per_s + _RECOVERY_PER_S),
                limit=min(float(bounds.in_flight), lane.limit + 1 / (4 * lane.limit)),
            )
            if done.outcome == "declined" or started_s < lane.latency.since_s:
                return grown
            return _judged(replace(grown, latency=_observed(lane.latency, done)), now_s)
        case "failed":
            return lane


def _observed(latency: Latency, done: Done) -> Latency:
    """Return the latency after one more answer."""
    took_s = max(done.took_s, 1e-3)
    size = sum(done.n_bytes > bound for bound in _SIZES_BYTES)
    best = [known_s * _FORGETTING for known_s in latency.best_s]
    best[size] = min(best[size] or took_s, took_s)
    n_seen = latency.n_seen + 1
    weight = max(1 / n_seen, _WEIGHT)
    return replace(
        latency,
        best_s=(best[0], best[1], best[2], best[3]),
        strain=latency.strain + weight * (took_s / best[size] - latency.strain),
        took_s=latency.took_s + weight * (took_s - latency.took_s),
        n_seen=n_seen,
    )


def _judged(lane: Lane, now_s: float) -> Lane:
    """Return the lane with half the number in flight if its answers take far longer than they could.

    Where a first halving did not help, the requests are slow by themselves or by others, and more halvings
    would help nobody: what is slow now becomes the measure.
    """
    latency = lane.latency
    if latency.n_seen < _FEWEST_SEEN:
        return lane
    if latency.strain <= _STRAINED:
        return replace(lane, latency=replace(latency, strain_before=0.0))
    if latency.took_s <= _SLOW_S:
        return lane
    if latency.strain_before and latency.strain > _HELPED * latency.strain_before:
        return replace(lane, latency=Latency(since_s=latency.since_s))
    halved = _with_half(lane, now_s)
    return replace(halved, latency=replace(halved.latency, strain_before=latency.strain))


def _with_half(lane: Lane, now_s: float) -> Lane:
    latency = replace(lane.latency, strain=0.0, took_s=0.0, n_seen=0, since_s=now_s)
    return replace(lane, limit=max(1.0, lane.limit / 2), latency=latency)
