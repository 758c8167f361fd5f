"""The walk over a result: asked for side by side, answered in any order, every entry is had once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nomadquery.fetch.slices import expected_for, gaps
from nomadquery.fetch.walk import Ask, Listing, Walk
from tests.strategies import changing_listings, hashed_ids, listings

SIZES = st.lists(st.sampled_from([5, 20, 94, 100, 200, 1_000]), min_size=1, max_size=3)
SEEDS = st.integers(0, 2**32)


@dataclass
class Server:
    """Gives a page, and the total of its slice, of the ids that ``listed`` says for the n-th answer.

    ``most``: no page has more entries, whatever is asked for.
    """

    listed: Callable[[int], Sequence[str]]
    most: int = 10_000
    asks: list[Ask] = field(default_factory=list)

    def answer(self, ask: Ask) -> tuple[list[str], int]:
        ids = self.listed(len(self.asks))
        self.asks.append(ask)
        start = 0 if ask.slice.after is None else bisect_right(ids, ask.slice.after)
        end = len(ids) if ask.slice.upto is None else bisect_right(ids, ask.slice.upto)
        begin = start if ask.ledger.last_id is None else max(start, bisect_right(ids, ask.ledger.last_id))
        return list(ids[begin : min(end, begin + min(self.most, ask.size))]), max(0, end - start)


def a_server(entry_ids: Sequence[str]) -> Server:
    """Return one whose entries stay."""
    return Server(lambda _: entry_ids)


@dataclass
class Run:
    """What came of a walk: ids in the order of their arrival, and how many asks were out at most."""

    walk: Walk
    seen: list[str] = field(default_factory=list)
    most_out: int = 0


def walked(
    server: Server, walk: Walk, sizes: Sequence[int], *, seed: int = 0, n_answers: int | None = None
) -> Run:
    """Ask as often as the walk says and there are places, and take answers at random; or so many of them."""
    run, chance, out, size = Run(walk), Random(seed), list[Ask](), cycle(sizes)
    for number in count():
        while len(out) < max(1, walk.n_places) and (ask := walk.next(next(size))) is not None:
            out.append(ask)
        run.most_out = max(run.most_out, len(out))
        if not out or number == n_answers:
            return run
        ask = out.pop(chance.randrange(len(out)))
        page, total = server.answer(ask)
        ids = page if walk.limit is None else page[: walk.limit - walk.n_here]
        walk.answered(ask, Listing(ids, total, len(page)))
        run.seen += ids
        assert number < 20_000
    raise AssertionError


def resumed(walk: Walk) -> Walk:
    """Return the walk of the next process: it knows what has been read, and not what was asked for."""
    return Walk(
        list(walk.covered),
        n_here=walk.n_here,
        promised=walk.promised,
        limit=walk.limit,
        n_places=walk.n_places,
    )


# -- laws --------------------------------------------------------------------------------


@given(listings(), SIZES, st.integers(0, 9), SEEDS)
@example(hashed_ids(1_300), [100], 3, 0)
@example(hashed_ids(501, 1), [1_000, 94], 8, 1)
@example([], [1], 8, 0)
def test_every_entry_is_had_once(entry_ids: list[str], sizes: list[int], n_places: int, seed: int) -> None:
    """However ids are spread, whatever the sizes of pages, in whatever order answers come."""
    run = walked(a_server(entry_ids), Walk(n_places=n_places), sizes, seed=seed)
    assert sorted(run.seen) == entry_ids
    assert gaps(run.walk.covered) == ()
    assert run.walk.is_over
    assert not run.walk.is_short
    assert (run.walk.n_here, run.walk.promised, run.walk.n_wanted) == (len(entry_ids),) * 3


@given(listings(), SIZES, st.integers(0, 9), SEEDS, st.lists(st.integers(0, 15), min_size=1, max_size=3))
@example(hashed_ids(1_300), [100], 3, 0, [5, 1])
@example([f"entry-{number:04d}" for number in range(1_300)], [200], 8, 0, [3])
def test_what_breaks_off_anywhere_goes_on_to_the_same_end(
    entry_ids: list[str], sizes: list[int], n_places: int, seed: int, breaks: list[int]
) -> None:
    """Pages that were on their way are asked for again, those that were answered are not."""
    walk, server, seen = Walk(n_places=n_places), a_server(entry_ids), list[str]()
    for n_answers in breaks:
        seen += walked(server, walk, sizes, seed=seed, n_answers=n_answers).seen
        walk = resumed(walk)
    seen += walked(server, walk, sizes, seed=seed).seen
    assert sorted(seen) == entry_ids
    assert gaps(walk.covered) == ()
    assert walk.is_over
    assert not walk.is_short


@given(listings(), SIZES, st.integers(0, 9), st.integers(1, 3_000), st.integers(0, 5))
def test_a_limited_walk_ends_with_the_first_entries(
    entry_ids: list[str], sizes: list[int], n_places: int, limit: int, n_answers: int
) -> None:
    """In the order of their ids, one page after the other; also after it broke off."""
    walk, server = Walk(n_places=n_places, limit=limit), a_server(entry_ids)
    first = walked(server, walk, sizes, n_answers=n_answers)
    second = walked(server, resumed(walk), sizes)
    assert first.seen + second.seen == entry_ids[:limit]
    assert max(first.most_out, second.most_out) <= 1
    assert second.walk.is_over
    assert second.walk.n_wanted == min(limit, len(entry_ids))


@given(changing_listings(), SIZES, st.integers(0, 9), SEEDS, st.none() | st.integers(0, 9))
def test_entries_that_stay_while_others_come_and_go_are_all_had(
    listed: Callable[[int], list[str]], sizes: list[int], n_places: int, seed: int, n_answers: int | None
) -> None:
    """None is had twice; with fewer than a slice was said to have, somebody has to look for the others."""
    walk, server = Walk(n_places=n_places), Server(listed)
    seen = walked(server, walk, sizes, seed=seed, n_answers=n_answers).seen
    walk = resumed(walk) if n_answers is not None else walk
    seen += walked(server, walk, sizes, seed=seed).seen
    always = set(listed(0)).intersection(*(listed(number) for number in range(len(server.asks))))
    assert always <= set(seen)
    assert len(set(seen)) == len(seen)
    assert gaps(walk.covered) == ()
    assert walk.is_over


@given(listings(), SIZES, st.integers(2, 9), SEEDS, st.sampled_from([10, 60, 500]))
def test_pages_that_are_shorter_than_asked_end_nothing(
    entry_ids: list[str], sizes: list[int], n_places: int, seed: int, most: int
) -> None:
    """A server may give fewer entries; a slice ends with its total."""
    run = walked(Server(lambda _: entry_ids, most), Walk(n_places=n_places), sizes, seed=seed)
    assert sorted(run.seen) == entry_ids
    assert run.walk.is_over


@given(listings(), SIZES, SEEDS)
def test_with_one_place_pages_follow_one_another(entry_ids: list[str], sizes: list[int], seed: int) -> None:
    """By cursor, all of them about the whole result."""
    server = a_server(entry_ids)
    run = walked(server, Walk(n_places=1), sizes, seed=seed)
    assert run.most_out == 1
    assert {(ask.slice.after, ask.slice.upto) for ask in server.asks} == {(None, None)}
    assert run.seen == entry_ids


@settings(max_examples=50)
@given(
    st.integers(0, 6_000), st.integers(0, 99), st.sampled_from([100, 200, 1_000]), st.integers(2, 9), SEEDS
)
@example(6_000, 0, 100, 8, 0)
def test_hashed_ids_take_few_more_requests_than_pages(
    n_all: int, id_seed: int, size: int, n_places: int, seed: int
) -> None:
    """A slice leaves room for chance: half a page of 100, less of larger ones."""
    entry_ids = hashed_ids(n_all, id_seed)
    server = a_server(entry_ids)
    walked(server, Walk(n_places=n_places), [size], seed=seed)
    assert len(server.asks) <= 2 + 2 * n_all / size + n_places


@given(listings(), st.sampled_from([94, 200, 1_000]), st.integers(2, 9), SEEDS)
def test_ids_of_any_kind_take_no_more_requests_than_slices_and_pages(
    entry_ids: list[str], size: int, n_places: int, seed: int
) -> None:
    """Also where they look evenly spread and are not: slices that turn out too full are read by cursor."""
    server = a_server(entry_ids)
    walked(server, Walk(n_places=n_places), [size], seed=seed)
    n_slices = len(entry_ids) / min(expected_for(size), 500) + n_places
    assert len(server.asks) <= 2 + n_slices + 2 * len(entry_ids) / size


# -- examples ----------------------------------------------------------------------------


def answered_next(walk: Walk, server: Server, size: int) -> list[Ask]:
    """Have answered, in order, all that can be asked for at once; return it."""
    asks: list[Ask] = []
    while len(asks) < walk.n_places and (ask := walk.next(size)) is not None:
        asks.append(ask)
    for ask in asks:
        page, total = server.answer(ask)
        walk.answered(ask, Listing(page, total, len(page)))
    return asks


def test_ten_thousand_entries_take_two_rounds() -> None:
    """What the first page leaves is shared among the places: 8,000 entries, 1,000 for each."""
    walk, server = Walk(n_places=8), a_server(hashed_ids(10_000))
    first = answered_next(walk, server, 2_000)
    second = answered_next(walk, server, 2_000)
    assert [len(first), len(second)] == [1, 8]
    assert walk.is_over
    assert walk.n_here == 10_000
    assert max(ask.size for ask in second) < 1_500


def test_before_the_first_answer_nothing_else_is_asked() -> None:
    """How many entries there are is not known yet."""
    walk = Walk(n_places=8)
    assert walk.next(1_000) is not None
    assert walk.next(1_000) is None
    assert not walk.is_over


def test_ids_that_count_are_read_by_cursor() -> None:
    """The first page shows that they are not spread evenly; one request is out at a time."""
    server = a_server([f"entry-{number:04d}" for number in range(5_000)])
    run = walked(server, Walk(n_places=8), [1_000])
    assert run.most_out == 1
    assert len(server.asks) == 6  # the last of five pages is full


def test_what_is_left_by_few_is_asked_for_at_once() -> None:
    """Fewer than 500 entries: cutting them up would save nothing."""
    server = a_server(hashed_ids(1_400))
    run = walked(server, Walk(n_places=8), [1_000])
    assert (run.most_out, len(server.asks)) == (1, 2)


def test_small_pages_are_not_asked_for_side_by_side() -> None:
    """The room for chance would be more than half of each."""
    run = walked(a_server(hashed_ids(1_400)), Walk(n_places=8), [93])
    assert run.most_out == 1


def test_a_slice_that_is_resumed_within_is_read_from_where_it_stopped() -> None:
    """Nothing that was read is asked for again."""
    entry_ids = hashed_ids(4_000)
    walk, server = Walk(n_places=4), a_server(entry_ids)
    first = walked(server, walk, [500], seed=3, n_answers=5)
    n_before = len(server.asks)
    second = walked(server, resumed(walk), [500], seed=4)
    assert len(server.asks) > n_before
    assert not set(first.seen) & set(second.seen)
    assert second.most_out == 4


def test_a_slice_with_more_entries_than_its_page_is_read_on() -> None:
    """Hundreds were published between two bounds after the first page; no slice ends too early."""
    before = hashed_ids(3_000)
    crowd = [f"{before[2_000]}{number:03d}" for number in range(900)]
    after = sorted([*before, *crowd])
    server = Server(lambda n_answers: after if n_answers else before)
    run = walked(server, Walk(n_places=8), [500])
    assert set(run.seen) == set(after)


def test_entries_that_vanish_make_the_walk_short() -> None:
    """Whoever walks has to ask which they were."""
    entry_ids = hashed_ids(30)
    server = Server(lambda n_answers: entry_ids[: 30 if n_answers == 0 else 25])
    run = walked(server, Walk(), [10])
    assert run.walk.is_short
    assert run.seen == entry_ids[:25]


def test_a_walk_that_was_read_to_its_end_asks_nothing() -> None:
    """After what was on disk has been read back."""
    walk = Walk([(None, "b"), ("c", None), ("b", "c")], n_here=7, promised=7, n_places=8)
    assert walk.next(100) is None
    assert walk.is_over


def test_a_sorted_table_is_one_page() -> None:
    """However it was had, it is all of the result."""
    walk = Walk(limit=10)
    ask = walk.next(10)
    assert ask is not None
    assert walk.had(ask, 10, 50) == (None, None)
    assert walk.is_over
    assert walk.next(10) is None
    assert walk.n_wanted == 10


@pytest.mark.parametrize("n_places", [1, 8])
def test_the_first_answer_promises_the_total(n_places: int) -> None:
    """Later ones are about slices, or another moment."""
    entry_ids = hashed_ids(2_000)
    server = Server(lambda n_answers: entry_ids[n_answers:])
    run = walked(server, Walk(n_places=n_places), [200])
    assert run.walk.promised == 2_000
