"""Pages that the server cannot serve, or spoils for a moment: all others arrive, and what lacks is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from nomadquery.errors import IncompleteResult, ResponseFormatError
from tests.faults.clock import JumpingClock
from tests.faults.entries import Asked, EntriesServer, Schedule, healthy
from tests.faults.faults import DISORDERED, LOST, FirstTimes, always_with, at_first, leaving_out, own_failure
from tests.faults.fetching import Row, a_table, rows_from
from tests.faults.server import Answer

N = 1_000
PAGE = 50


# -- an entry that turns its page into a 500 -------------------------------------------------


def failing_over(*entry_ids: str, listings_too: bool = False) -> Schedule:
    """Return the schedule of a server that cannot put these entries into an answer with search documents."""

    def schedule(asked: Asked, answer: Answer) -> Answer:
        is_page = not asked.is_archive and (listings_too or not asked.is_listing)
        return own_failure(answer) if is_page and set(entry_ids) & set(asked.ids) else answer

    return schedule


def incomplete(entries: EntriesServer, cache: Path, *, archives: bool = False) -> IncompleteResult:
    """Return the error of the table that lacks some entries."""
    with a_table(entries, cache, archives=archives) as table, pytest.raises(IncompleteResult) as caught:
        table.to_pandas()
    return caught.value


@pytest.mark.parametrize("places", [(0,), (617,), (N - 1,), (300, 301), (0, 49, 50, 51, 998)])
def test_entries_that_fail_their_pages_are_named_and_all_others_arrive(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], places: tuple[int, ...]
) -> None:
    """The first, the last, neighbours: each page is halved until such an entry stands alone."""
    failing = tuple(entries.catalogue.ids[place] for place in places)
    entries.will(failing_over(*failing))
    error = incomplete(entries, cache)
    assert (error.n_arrived, error.n_missing) == (N - len(failing), len(failing))
    assert sorted(error.missing) == sorted(failing)
    assert failing[0] in str(error)
    entries.will(healthy)
    entries.forget()
    assert rows_from(entries, cache) == undisturbed
    assert entries.n_given() <= PAGE * len(failing)


def test_an_entry_that_fails_its_page_costs_few_requests(entries: EntriesServer, cache: Path) -> None:
    """Halving is logarithmic: a page of 50 takes twice 6 requests, and those that fail are sent twice."""
    rows_from(entries, cache / "healthy")
    n_healthy = len(entries.asked)
    entries.forget()
    entries.will(failing_over(entries.catalogue.ids[617]))
    assert incomplete(entries, cache / "failing").n_arrived == N - 1
    assert len(entries.asked) - n_healthy <= 60


def test_while_an_entry_still_fails_the_next_call_asks_for_little(
    entries: EntriesServer, cache: Path
) -> None:
    """The same error again; what arrived is not fetched again."""
    failing = entries.catalogue.ids[617]
    entries.will(failing_over(failing))
    incomplete(entries, cache)
    entries.forget()
    error = incomplete(entries, cache)
    assert (error.n_arrived, error.missing) == (N - 1, (failing,))
    assert entries.n_given() <= PAGE


def test_an_entry_that_fails_even_where_only_ids_are_listed_costs_no_other(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """It may have no name then; that one entry is missing is told, and the next call completes the table."""
    entries.will(failing_over(entries.catalogue.ids[617], listings_too=True))
    error = incomplete(entries, cache)
    assert (error.n_arrived, error.n_missing) == (N - 1, 1)
    entries.will(healthy)
    assert rows_from(entries, cache) == undisturbed


def test_an_entry_that_fails_its_page_costs_no_archive_of_others(
    entries: EntriesServer, cache: Path, undisturbed_archives: list[Row]
) -> None:
    """The same of a table with values from archives."""
    failing = entries.catalogue.ids[617]
    entries.will(failing_over(failing))
    error = incomplete(entries, cache, archives=True)
    assert (error.n_arrived, error.missing) == (N - 1, (failing,))
    entries.will(healthy)
    assert rows_from(entries, cache, archives=True) == undisturbed_archives


# -- pages that are spoiled for a moment -----------------------------------------------------


@pytest.mark.parametrize("n_times", [1, 2])
@pytest.mark.parametrize("fault", DISORDERED)
def test_a_page_out_of_order_is_asked_for_again(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], fault: str, n_times: int
) -> None:
    """Spoiled once or twice in a row; the next answer is right."""
    entries.will(FirstTimes(entries.catalogue.ids[617], DISORDERED[fault], n_times))
    assert rows_from(entries, cache) == undisturbed


@pytest.mark.parametrize("fault", DISORDERED)
def test_a_page_that_stays_out_of_order_is_asked_for_at_most_four_times(
    entries: EntriesServer, cache: Path, fault: str
) -> None:
    """At least once more, and at most three times; then it is an error."""
    there = entries.catalogue.ids[617]
    entries.will(always_with(there, DISORDERED[fault]))
    with pytest.raises(ResponseFormatError, match="complete"):
        rows_from(entries, cache)
    attempts = [one.attempt for one in entries.asked if there in one.ids and not one.is_listing]
    assert 2 <= max(attempts) <= 4


# -- a result that is shorter than its total -------------------------------------------------


def test_an_entry_that_is_counted_and_never_listed_is_missing(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """Every total counts it, and no page or list of ids has it: nobody knows that it was deleted."""
    hidden = entries.catalogue.ids[617]
    entries.will(always_with(hidden, leaving_out(hidden)))
    error = incomplete(entries, cache)
    assert (error.n_arrived, error.n_missing) == (N - 1, 1)
    entries.will(healthy)
    assert rows_from(entries, cache) == undisturbed


# -- a clock that is put forwards ------------------------------------------------------------


def test_a_clock_put_forwards_does_not_use_up_the_patience(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """By two hours at every look, while requests fail and are sent again: a laptop that slept goes on."""
    entries.will(at_first(3, LOST["503"]))
    assert rows_from(entries, cache, clock=JumpingClock(7_200)) == undisturbed
