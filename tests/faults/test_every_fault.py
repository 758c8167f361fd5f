"""Each fault by itself: the table is as without it, or the error says what is missing and the rest is kept.

How many pages there are, how large they are, and in which order they are asked for is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from nomadquery.errors import IncompleteResult, NomadError, ResponseFormatError
from nomadquery.http.pace import Policy
from tests.faults.clock import JumpingClock, ThreadClock
from tests.faults.entries import Asked, EntriesServer, healthy
from tests.faults.faults import (
    DISORDERED,
    LOST,
    QUIET,
    UNUSUAL,
    AfterSome,
    FirstTimes,
    always_with,
    at_first,
    leaving_out,
    on_the_wire,
    own_failure,
    total_becomes,
)
from tests.faults.fetching import Row, a_table, rows_from
from tests.faults.server import Answer, as_proxy

N = 1_000
PAGE = 50
#: Pages that may be on their way when something happens.
IN_FLIGHT = 8

#: Answers that nobody can read are told as such; of a server that does not answer, how much is missing.
BROKEN_OFF = (IncompleteResult, ResponseFormatError)


def at(entries: EntriesServer, share: float) -> str:
    """Return the id of the entry that stands at this share of all, in the order of the ids."""
    return entries.catalogue.ids[int(share * len(entries.catalogue.ids))]


def check_completed(
    entries: EntriesServer, cache: Path, expected: list[Row], *, n_kept: int, **how: Any
) -> None:
    """The same call, of a new process and with a healthy server, asks for what is missing only."""
    entries.will(healthy)
    entries.forget()
    assert rows_from(entries, cache, **how) == expected
    assert entries.n_given() <= N - n_kept


def kept_at_least(error: NomadError, n_given: int) -> int:
    """Return how many entries are kept for sure: what the error says, else what was given but lately."""
    if isinstance(error, IncompleteResult):
        assert error.n_arrived + error.n_missing == N
        assert error.n_arrived > 0
        return error.n_arrived
    return n_given - IN_FLIGHT * PAGE


def test_the_undisturbed_table_is_what_the_entries_are(
    entries: EntriesServer, undisturbed: list[Row], undisturbed_archives: list[Row]
) -> None:
    """The values follow from the number of each entry."""
    ids = entries.catalogue.ids
    numbers = [entries.catalogue.number_of(one) for one in ids]
    assert [row["entry_id"] for row in undisturbed] == ids
    assert [row["n_elements"] for row in undisturbed] == [number + 1 for number in numbers]
    assert [row["formula"] for row in undisturbed] == [f"O{number + 2}Ti" for number in numbers]
    # stored in joule as the nearest double, hence to a few units in the last place
    assert [row["gap"] for row in undisturbed] == pytest.approx([n / 64 for n in numbers], rel=1e-12)
    assert [row["entry_id"] for row in undisturbed_archives] == ids
    energies = [row["energy"] for row in undisturbed_archives]
    assert energies == pytest.approx([-n / 64 for n in numbers], rel=1e-12)


# -- answers that do not arrive --------------------------------------------------------------


#: A gateway that times out is a reason to ask for less, not for the same again; it has tests of its own.
ASKED_AGAIN = [fault for fault in (*LOST, *UNUSUAL) if fault != "504"]


@pytest.mark.parametrize("fault", ASKED_AGAIN)
def test_first_answers_that_are_lost_cost_time_not_rows(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], fault: str
) -> None:
    """The first two answers to each request are spoiled, the third is right."""
    entries.will(at_first(2, {**LOST, **UNUSUAL}[fault]))
    assert rows_from(entries, cache) == undisturbed


@pytest.mark.parametrize("fault", ASKED_AGAIN)
def test_first_archives_that_are_lost_cost_time_not_rows(
    entries: EntriesServer, cache: Path, undisturbed_archives: list[Row], fault: str
) -> None:
    """The same of archives and of the pages whose archives they are."""
    entries.will(at_first(2, {**LOST, **UNUSUAL}[fault]))
    assert rows_from(entries, cache, archives=True) == undisturbed_archives


@pytest.mark.parametrize("n_times", [1, 3])
def test_a_gateway_that_times_out_costs_no_row(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], n_times: int
) -> None:
    """Over a page in the middle, whether it is asked for again or in halves."""
    entries.will(FirstTimes(at(entries, 0.5), LOST["504"], n_times))
    assert rows_from(entries, cache) == undisturbed


def test_a_gateway_that_tires_of_many_archives_gives_fewer(
    entries: EntriesServer, cache: Path, undisturbed_archives: list[Row]
) -> None:
    """Time-outs for more than 20 of them at once."""
    entries.will(
        lambda asked, answer: LOST["504"](answer) if asked.is_archive and len(asked.ids) > 20 else answer
    )
    assert rows_from(entries, cache, archives=True) == undisturbed_archives


def test_a_storm_of_503_is_waited_out(entries: EntriesServer, cache: Path, undisturbed: list[Row]) -> None:
    """Seven refusals of each request, about a minute of pauses."""
    entries.will(at_first(7, LOST["503"]))
    assert rows_from(entries, cache) == undisturbed


def test_a_silent_server_is_asked_again(entries: EntriesServer, cache: Path, undisturbed: list[Row]) -> None:
    """After the time limit; the answer that never came is not waited for."""
    entries.will(FirstTimes(at(entries, 0.5), on_the_wire("silence")))
    assert rows_from(entries, cache, timeout_s=0.4) == undisturbed


@pytest.mark.parametrize("fault", LOST)
def test_a_server_that_fails_for_good_keeps_what_arrived(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], fault: str
) -> None:
    """Half of the entries arrive; the error says so, and the same call asks for the other half later."""
    entries.will(AfterSome(entries, N // 2, lambda _, answer: LOST[fault](answer)))
    with a_table(entries, cache) as table, pytest.raises(BROKEN_OFF) as caught:
        table.to_pandas()
    n_kept = kept_at_least(caught.value, entries.n_given())
    assert n_kept <= entries.n_given()
    check_completed(entries, cache, undisturbed, n_kept=n_kept)


def test_a_server_that_falls_silent_keeps_what_arrived(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """The error tells how many entries are here and how many are missing."""
    entries.will(AfterSome(entries, N // 2, lambda _, answer: on_the_wire("silence")(answer)))
    with (
        a_table(entries, cache, timeout_s=0.4, patience=Policy(n_attempts=2)) as table,
        pytest.raises(IncompleteResult, match="kept") as caught,
    ):
        table.to_pandas()
    n_kept = kept_at_least(caught.value, entries.n_given())
    check_completed(entries, cache, undisturbed, n_kept=n_kept)


@pytest.mark.parametrize("fault", ["reset in the body", "503", "502"])
def test_one_page_that_never_comes_is_what_is_missing(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], fault: str
) -> None:
    """All that was given before stays; what is missing is asked for by the next call."""
    there = at(entries, 0.8)
    entries.will(AfterSome(entries, N // 2, always_with(there, LOST[fault]), last=there))
    with a_table(entries, cache) as table, pytest.raises(IncompleteResult) as caught:
        table.to_pandas()
    assert caught.value.n_arrived >= N // 2 - IN_FLIGHT * PAGE
    n_kept = kept_at_least(caught.value, entries.n_given())
    check_completed(entries, cache, undisturbed, n_kept=n_kept)


@pytest.mark.parametrize("fault", ["reset in the body", "503", "502"])
def test_archives_that_never_come_are_what_is_missing(
    entries: EntriesServer, cache: Path, undisturbed_archives: list[Row], fault: str
) -> None:
    """Nulls stand for what an entry lacks, never for a server that failed."""
    there = at(entries, 0.8)

    def spoil(asked: Asked, answer: Answer) -> Answer:
        return LOST[fault](answer) if asked.is_archive and there in asked.ids else answer

    entries.will(AfterSome(entries, N // 2, spoil, last=there))
    with a_table(entries, cache, archives=True) as table, pytest.raises(IncompleteResult) as caught:
        table.to_pandas()
    n_kept = kept_at_least(caught.value, entries.n_given())
    check_completed(entries, cache, undisturbed_archives, n_kept=n_kept, archives=True)


# -- pages that are not what they should be ----------------------------------------------------


@pytest.mark.parametrize("fault", DISORDERED)
def test_a_page_that_stays_out_of_order_is_refused(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], fault: str
) -> None:
    """Nobody could know whether the result is complete; what came before stays."""
    there = at(entries, 0.8)
    entries.will(AfterSome(entries, N // 2, always_with(there, DISORDERED[fault]), last=there))
    with a_table(entries, cache) as table, pytest.raises(ResponseFormatError, match="complete"):
        table.to_pandas()
    check_completed(entries, cache, undisturbed, n_kept=N // 2 - IN_FLIGHT * PAGE)


@pytest.mark.parametrize("fault", DISORDERED)
def test_archives_in_any_order_go_to_their_entries(
    entries: EntriesServer, cache: Path, undisturbed_archives: list[Row], fault: str
) -> None:
    """Also archives that come twice."""
    entries.will(lambda asked, answer: DISORDERED[fault](answer) if asked.is_archive else answer)
    assert rows_from(entries, cache, archives=True) == undisturbed_archives


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9999])
@pytest.mark.parametrize("fault", QUIET)
def test_what_one_page_leaves_out_is_fetched_all_the_same(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], fault: str, share: float
) -> None:
    """The first page, one in the middle, the last: entries left out in silence, wrong totals."""
    entries.will(FirstTimes(at(entries, share), QUIET[fault]))
    assert rows_from(entries, cache) == undisturbed


def test_an_entry_that_is_listed_and_never_given_is_named(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """All others are kept, and the next call asks for that one."""
    hidden = at(entries, 0.4)
    hide = always_with(hidden, leaving_out(hidden))
    entries.will(lambda asked, answer: answer if asked.is_listing else hide(asked, answer))
    with a_table(entries, cache) as table, pytest.raises(IncompleteResult, match=hidden) as caught:
        table.to_pandas()
    assert (caught.value.n_arrived, caught.value.missing) == (N - 1, (hidden,))
    check_completed(entries, cache, undisturbed, n_kept=N - 1 - PAGE)


@pytest.mark.parametrize("change", [lambda number: 40 * number, lambda number: -40 * number])
def test_totals_that_change_while_reading_cost_no_entry(
    entries: EntriesServer, cache: Path, undisturbed: list[Row], change: Callable[[int], int]
) -> None:
    """Each answer tells a larger, or a smaller, total than the one before it; the entries are the same."""

    def telling(asked: Asked, answer: Answer) -> Answer:
        wrong = total_becomes(lambda total: total + change(asked.number))
        return wrong(answer) if asked.ids else answer

    entries.will(telling)
    assert rows_from(entries, cache) == undisturbed


# -- entries that come and go ------------------------------------------------------------------


def test_an_entry_that_vanishes_before_it_is_read_is_told(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """It has no row, the others have theirs, and a line of the problems tells that one is gone."""
    gone = at(entries, 0.7)

    def removing(asked: Asked, answer: Answer) -> Answer:
        if gone not in asked.ids or asked.number == 1:
            return answer
        entries.catalogue = entries.catalogue.without(gone)
        return entries.catalogue.answer(asked.path, asked.body)[0]

    entries.will(removing)
    with a_table(entries, cache) as table:
        assert list(table.rows()) == [row for row in undisturbed if row["entry_id"] != gone]
        assert table.problems["why"].str.contains("deleted or hidden").any()


def test_an_entry_that_vanishes_after_it_was_read_keeps_its_row(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """It was there when reading began."""
    gone = at(entries, 0.0)

    def removing(asked: Asked, answer: Answer) -> Answer:
        if any(gone in one.ids for one in entries.given):
            entries.catalogue = entries.catalogue.without(gone)
            return entries.catalogue.answer(asked.path, asked.body)[0]
        return answer

    entries.will(removing)
    assert rows_from(entries, cache) == undisturbed


def test_entries_published_while_reading_disturb_no_other(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """Those that lie ahead may come along; every entry that was there comes, once and in its place."""

    def publishing(asked: Asked, _: Answer) -> Answer:
        if asked.number % 4 == 0:
            entries.catalogue = entries.catalogue.with_more(N + asked.number)
        return entries.catalogue.answer(asked.path, asked.body)[0]

    entries.will(publishing)
    rows = rows_from(entries, cache)
    there = {row["entry_id"] for row in undisturbed}
    assert [row for row in rows if row["entry_id"] in there] == undisturbed
    ids = [row["entry_id"] for row in rows]
    assert ids == sorted(set(ids) & set(entries.catalogue.ids))


# -- an entry that the server cannot serve -----------------------------------------------------


def test_a_failure_of_the_moment_inside_nomad_costs_no_entry(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """A 500 with an exception, once, over a page in the middle."""
    entries.will(FirstTimes(at(entries, 0.5), own_failure))
    assert rows_from(entries, cache) == undisturbed


def test_an_archive_that_cannot_be_served_costs_only_its_own_values(
    entries: EntriesServer, cache: Path, undisturbed_archives: list[Row]
) -> None:
    """A 500 with an exception for every request in which it is; the entry is named with the reason."""
    there = at(entries, 0.6)
    entries.will(
        lambda asked, answer: own_failure(answer) if asked.is_archive and there in asked.ids else answer
    )
    with a_table(entries, cache, archives=True) as table:
        expected = [
            {**row, "energy": None} if row["entry_id"] == there else row for row in undisturbed_archives
        ]
        assert list(table.rows()) == expected
        assert table.problems["entry_id"].tolist() == [there]
        assert "could not serve it" in table.problems["why"][0]


# -- clocks -----------------------------------------------------------------------------------


def test_a_clock_that_goes_back_by_hours_costs_no_rows(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """While requests fail and are sent again."""
    entries.will(at_first(3, LOST["503"]))
    assert rows_from(entries, cache, clock=JumpingClock(-7_200)) == undisturbed


def test_a_clock_that_goes_forwards_costs_no_rows(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """By hours with every look, while the server answers."""
    assert rows_from(entries, cache, clock=JumpingClock(7_200)) == undisturbed


def test_a_pause_until_a_time_of_day_is_one_of_the_server(
    entries: EntriesServer, cache: Path, undisturbed: list[Row]
) -> None:
    """The client's clock is years behind; a minute of the server's is waited."""
    clock = ThreadClock(1_500_000_000.0)

    def refusing(asked: Asked, answer: Answer) -> Answer:
        if asked.attempt > 1:
            return answer
        until = datetime.now(UTC) + timedelta(seconds=60)
        return as_proxy(429, "429 Too Many Requests", Retry_After=format_datetime(until, usegmt=True))

    entries.will(refusing)
    assert rows_from(entries, cache, clock=clock) == undisturbed
    assert all(50 <= pause <= 61 for pause in clock.pauses)  # whole seconds, from when it is sent
