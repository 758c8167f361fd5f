"""The ledger: the walk ends with every listed entry once, or says why not."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nomadquery.errors import ResponseFormatError
from nomadquery.fetch.ledger import Ledger, entered, verdict
from tests.strategies import changing_entries


def walk(
    pages_of: list[list[str]], page_sizes: list[int], *, limit: int | None = None
) -> tuple[list[str], str, list[list[str]]]:
    """Walk over a server whose entries before the n-th request are ``pages_of[n]`` ."""
    ledger, decision, n_requests = Ledger(limit=limit), "more", 0
    seen: list[str] = []
    listed: list[list[str]] = []
    while decision == "more":
        entries = sorted(pages_of[min(n_requests, len(pages_of) - 1)])
        size = page_sizes[n_requests % len(page_sizes)]
        page = [one for one in entries if ledger.last_id is None or one > ledger.last_id][:size]
        taken = page if limit is None else page[: limit - len(seen)]
        ledger = entered(ledger, taken, len(entries))
        seen += taken
        listed.append(entries)
        n_requests += 1
        decision = verdict(ledger, len(page), size)
        assert n_requests < 1_000
    return seen, decision, listed


@given(st.sets(st.text(max_size=3), max_size=40), st.lists(st.integers(1, 7), min_size=1, max_size=5))
@example({f"{n}" for n in range(6)}, [3])
@example({f"{n}" for n in range(6)}, [6])
@example(set(), [1])
def test_whatever_the_page_sizes_every_entry_is_listed_once(entries: set[str], sizes: list[int]) -> None:
    """Also if the last page is full, and if there is nothing at all."""
    seen, decision, _ = walk([list(entries)], sizes)
    assert decision == "done"
    assert seen == sorted(entries)


@given(st.sets(st.text(max_size=3), max_size=40), st.integers(1, 7), st.integers(1, 50))
def test_a_limited_walk_ends_with_the_first_entries(entries: set[str], size: int, limit: int) -> None:
    """In the order of the ids, as many as wanted."""
    seen, decision, _ = walk([list(entries)], [size], limit=limit)
    assert decision == "done"
    assert seen == sorted(entries)[:limit]


@given(changing_entries(), st.lists(st.integers(1, 4), min_size=1, max_size=3))
@example([["a", "b", "c", "d"], ["a", "c", "cc", "d"]], [2])
def test_entries_that_stay_while_others_come_and_go_are_all_listed(
    states: list[list[str]], sizes: list[int]
) -> None:
    """Deletions and publications that leave the total as it was end no walk early."""
    seen, decision, listed = walk(states, sizes)
    always = set(listed[0]).intersection(*listed)
    assert always <= set(seen)
    assert len(set(seen)) == len(seen)
    assert decision == ("done" if len(seen) >= len(listed[0]) else "reconcile")


def test_a_short_page_is_no_end_while_entries_are_missing() -> None:
    """A server may give fewer than asked for."""
    ledger = entered(Ledger(), ["a", "b"], 5)
    assert verdict(ledger, n_listed=2, n_asked=10) == "more"


def test_an_empty_page_before_the_promised_total_is_reconciled() -> None:
    """Somebody has to look for the others."""
    ledger = entered(entered(Ledger(), ["a", "b"], 5), [], 5)
    assert verdict(ledger, n_listed=0, n_asked=10) == "reconcile"


def test_an_empty_result_is_complete_at_once() -> None:
    """No second request for nothing."""
    assert verdict(entered(Ledger(), [], 0), n_listed=0, n_asked=1000) == "done"


@pytest.mark.parametrize("page", [["b"], ["a"], ["c", "c"], ["d", "c"]])
def test_a_repeated_or_disordered_page_is_refused(page: list[str]) -> None:
    """Completeness could not be known."""
    ledger = entered(Ledger(), ["a", "b"], 9)
    with pytest.raises(ResponseFormatError, match="in order of their ids"):
        entered(ledger, page, 9)
