"""Ranges of entry ids: nothing between them is lost, and pages of them have room enough."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nomadquery.fetch.slices import (
    EVERYWHERE,
    Slice,
    boundary,
    expected_for,
    first_part,
    gaps,
    is_even,
    page_for,
    place,
)
from tests.strategies import covered_ranges, hashed_ids, id_texts

#: Texts of two ids next to each other that `place` tells apart are this far from one another.
STEP = 64.0**-8
ANY_TEXT = st.text(min_size=1, max_size=4) | id_texts()


@given(id_texts(), id_texts())
@example("a", "a-")
@example("entry-0009", "entry-0010")
def test_the_place_of_an_id_grows_with_the_id(one: str, other: str) -> None:
    """Ids that begin with the same eight characters share one."""
    first, second = sorted([one, other])
    assert 0 <= place(first) <= place(second) < 1
    if first[:8].ljust(8, "-") < second[:8].ljust(8, "-"):
        assert place(second) - place(first) >= STEP


@given(st.floats(0, 1), st.floats(0, 1))
def test_boundaries_stand_in_the_order_of_their_shares(one: float, other: float) -> None:
    """``None``, the end, comes after all of them."""
    first, second = (boundary(share) for share in sorted([one, other]))
    assert second is None or (first is not None and first <= second)


@given(st.floats(0, 1))
@example(0.0)
@example(1.0)
def test_a_boundary_stands_at_its_share(share: float) -> None:
    """Eight characters of 64: within half a step of them, and the rounding of floats."""
    cut = boundary(share)
    assert (1.0 if cut is None else place(cut)) == pytest.approx(share, abs=STEP)


@given(id_texts())
def test_the_boundary_at_the_place_of_an_id_is_its_beginning(entry_id: str) -> None:
    """64**8 places fit into a float without rounding."""
    assert boundary(place(entry_id)) == entry_id[:8].ljust(8, "-")


@given(st.tuples(st.none() | ANY_TEXT, st.none() | ANY_TEXT), st.floats(0, 2), ANY_TEXT)
def test_every_id_of_a_slice_is_in_one_of_its_two_parts(
    ends: tuple[str | None, str | None], share: float, entry_id: str
) -> None:
    """Whatever the characters: only order counts. Both parts are smaller than the whole."""
    whole = Slice(*ends)
    first, rest = first_part(whole, share)
    assert (entry_id in first) + (rest is not None and entry_id in rest) == (entry_id in whole)
    assert (first == whole) == (rest is None)


@given(covered_ranges(), ANY_TEXT, st.randoms(use_true_random=False))
def test_what_was_read_and_what_is_left_hold_every_id_once(
    ranges: tuple[list[tuple[str | None, str | None]], list[bool]], entry_id: str, chance: Random
) -> None:
    """In whatever order the ranges were read."""
    covered = [one for one, is_read in zip(*ranges, strict=True) if is_read]
    chance.shuffle(covered)
    left = gaps(covered)
    assert sum(entry_id in Slice(*one) for one in covered) + sum(entry_id in one for one in left) == 1
    assert gaps([*covered, *((one.after, one.upto) for one in left)]) == ()


@given(covered_ranges())
def test_what_is_left_is_said_with_as_few_slices_as_can_be(
    ranges: tuple[list[tuple[str | None, str | None]], list[bool]],
) -> None:
    """In order; two of them have something read between them."""
    covered = [one for one, is_read in zip(*ranges, strict=True) if is_read]
    left = gaps(covered)
    for one, other in pairwise(left):
        assert one.upto is not None
        assert other.after is not None
        assert one.upto < other.after


def test_ranges_that_overlap_are_read_once() -> None:
    """A range may have been read again as part of another."""
    assert gaps([("a", "f"), ("b", "c"), (None, "b"), ("k", None)]) == (Slice("f", "k"),)
    assert gaps([]) == (EVERYWHERE,)


@given(st.integers(8, 10_000))
def test_a_slice_of_the_expected_size_fits_into_its_page(size: int) -> None:
    """One more entry may come of the rounding of a square root; nobody asks for more than ``size``."""
    assert size <= page_for(expected_for(size)) <= size + 1
    assert expected_for(size) < size
    assert expected_for(size) < expected_for(size + 1)


@given(st.floats(0, 10_000), st.floats(0, 10_000))
def test_a_page_has_room_for_more_than_is_expected(one: float, other: float) -> None:
    """And for more the more is expected."""
    less, more = sorted([one, other])
    assert less < page_for(less) <= page_for(more)


@pytest.mark.parametrize("n_expected", [50, 200, 1_000])
def test_a_slice_of_hashed_ids_has_hardly_ever_more_entries_than_its_page(n_expected: int) -> None:
    """Six standard deviations: fewer than one in ten thousand slices, beginning anywhere."""
    n_slices = n_over = 0
    for seed in range(3):
        entry_ids = hashed_ids(40_000, seed)
        width = n_expected / len(entry_ids)
        for number in range(4_000):
            start = (number / 4_000) * (1 - width)
            after, upto = boundary(start), boundary(start + width)
            assert after is not None
            end = len(entry_ids) if upto is None else bisect_right(entry_ids, upto)
            n_over += end - bisect_right(entry_ids, after) > page_for(n_expected)
            n_slices += 1
    assert n_slices == 12_000
    assert n_over * 10_000 <= n_slices


@given(st.integers(0, 99), st.integers(0, 3_000), st.integers(0, 3_000))
def test_hashed_ids_are_even_whatever_the_first_page(seed: int, n_all: int, n_page: int) -> None:
    """Eight standard deviations: by chance it is never otherwise."""
    page = hashed_ids(n_all, seed)[:n_page]
    upto = page[-1] if page else None
    read = [Slice(None, upto)] if page else []
    assert is_even(read, len(page), n_all)


@given(st.integers(1_000, 9_999), st.data())
def test_ids_that_count_are_not_even(n_all: int, data: st.DataObject) -> None:
    """The first page stands at one place among all ids, or few of them stand there."""
    n_page = data.draw(st.integers(100, n_all // 2))
    upto = f"entry-{n_page - 1:04d}"
    assert not is_even([Slice(None, upto)], n_page, n_all)


def test_a_slice_holds_its_end_and_not_its_beginning() -> None:
    """So that slices that follow one another share no id."""
    assert [one in Slice("b", "d") for one in "abcde"] == [False, False, True, True, False]
    assert "whatever" in EVERYWHERE


def test_the_width_of_a_slice_is_its_share_of_all_ids() -> None:
    """Ids that begin with a character after the 32nd of 64 are the second half."""
    digits = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
    half, quarter = digits[32], digits[16]
    assert EVERYWHERE.width == 1.0
    assert Slice(None, half).width == 0.5
    assert Slice(quarter, half).width == 0.25
    assert Slice(half, quarter).width == 0.0
