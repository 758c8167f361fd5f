"""The plan says what will happen, asks at most one count, and keeps its word."""

from __future__ import annotations

from pathlib import Path

import pytest

from nomadquery import Q
from nomadquery.errors import IncompleteResult
from nomadquery.fetch.plan import FIRST_BATCH, FIRST_PAGE, LARGEST_PAGE, PAGE_BYTES, next_page_size
from nomadquery.search import Search, make_search
from tests.tables import CountedWire, a_filled_store, a_search, a_session, ids, lost_after


@pytest.fixture
def wire() -> CountedWire:
    return CountedWire(a_filled_store(ids(30)))


@pytest.fixture
def search(wire: CountedWire, tmp_path: Path) -> Search:
    search = a_search(wire, tmp_path)
    search._inquiry.session.release()
    wire.sent.clear()
    return search


def test_one_count_is_asked_and_no_entry(search: Search, wire: CountedWire) -> None:
    """Of a table that is not kept."""
    plan = search.select("gap").plan()
    assert [request.json["pagination"]["page_size"] for request in wire.sent] == [0]
    assert (plan.n_rows, plan.cached, plan.endpoint) == (30, "nothing", "entries/query")


def test_it_foresees_the_requests(search: Search, wire: CountedWire) -> None:
    """Pages of entries and batches of archives; a limit makes fewer."""
    for table in (
        search.select("gap").page_size(7),
        search.select("gap").limit(12).page_size(5),
        search.select("energy", "gap"),
        search.select("energy").page_size(8),
    ):
        foreseen = table.plan().n_requests
        wire.sent.clear()
        table.to_arrow()
        assert len(wire.sent) == foreseen, repr(table)


def test_what_is_kept_costs_nothing(search: Search, wire: CountedWire) -> None:
    """Not even the count."""
    table = search.select("gap")
    table.to_arrow()
    wire.sent.clear()
    plan = table.plan()
    assert wire.sent == []
    assert (plan.n_rows, plan.n_requests, plan.size_bytes) == (30, 0, 0)
    assert plan.cached.startswith("complete, 30 rows, fetched 20")


def test_a_begun_table_needs_only_the_rest(search: Search, wire: CountedWire) -> None:
    """It says how much is here."""
    table = search.select("gap").page_size(10)
    wire.change = lost_after(wire, 2)
    with pytest.raises(IncompleteResult):
        table.to_arrow()
    wire.change = None
    plan = table.plan()
    assert plan.cached.startswith("20 of 30 entries, begun 20")
    assert plan.n_requests == 1


def test_a_table_that_is_always_asked_for_is_planned_whole(wire: CountedWire, tmp_path: Path) -> None:
    """Although it is kept."""
    table = a_search(wire, tmp_path, owner="visible").select("gap")
    table.to_arrow()
    plan = table.plan()
    assert plan.cached.startswith("complete")
    assert plan.n_requests == 1


def test_a_search_inside_is_a_step_of_its_own(search: Search, wire: CountedWire) -> None:
    """Nothing is asked for the plan; once it is kept, the ids are known."""
    inner = search.where(Q.gap > "3 eV")
    table = search.where(Q.entry_id.isin(inner)).select("gap")
    plan = table.plan()
    assert wire.sent == []
    assert (plan.n_rows, plan.n_requests) == (None, None)
    assert plan.steps[0].startswith("ask for the entry ids of ")
    assert "gap" in plan.steps[0]
    inner.entry_ids()
    assert table.plan().n_rows == 26


def test_it_prints_well(search: Search) -> None:
    """Rows, requests, bytes, what is kept, the question, the columns."""
    text = str(search.where(Q.elements.has_all("Ti")).select("gap", "energy").plan())
    for words in (
        "30 rows from https://our.host/nomad-oasis/api/v1 (public)",
        "requests   2",
        "cached     nothing",
        '{"results.material.elements": "Ti"}',
        "entries/archive/query",
        "gap in eV  [search]",
        "energy in eV  [archive]",
    ):
        assert words in text


def test_a_long_query_is_shown_in_short(search: Search) -> None:
    """Ten thousand ids are no text for people."""
    many = [f"id-{number}" for number in range(10_000)]
    assert len(str(search.where(Q.entry_id.isin(many)).plan())) < 2_000


def test_damage_is_told_and_not_mended(search: Search, tmp_path: Path) -> None:
    """A plan changes nothing."""
    table = search.select("gap")
    table.to_arrow()
    (path,) = (tmp_path / "tables").glob("*/table.parquet")
    path.unlink()
    assert "is missing or cut" in table.plan().cached
    assert table.plan().n_requests == 1


def test_offline_it_tells_what_is_kept(wire: CountedWire, tmp_path: Path) -> None:
    """And sends nothing."""
    a_search(wire, tmp_path).select("gap").to_arrow()
    wire.sent.clear()
    offline = a_search(wire, tmp_path, offline=True)
    assert offline.select("gap").plan().n_rows == 30
    unknown = offline.select("formula").plan()
    assert (unknown.n_rows, unknown.cached) == (None, "nothing")
    assert wire.sent == []


def test_pages_follow_the_bytes_of_the_one_before(search: Search) -> None:
    """At most 6 MB and ten seconds a page, at most ten thousand entries, whatever was said comes first."""

    def question(table: Search) -> object:
        return table._inquiry.drafted(table._inquiry.query)

    small, said = question(search.select("gap")), question(search.select("gap").page_size(7))
    assert next_page_size(small, FIRST_PAGE, FIRST_PAGE * 100) == LARGEST_PAGE  # type: ignore[arg-type]  # a Question
    assert next_page_size(small, 1_000, 2 * PAGE_BYTES) == 500  # type: ignore[arg-type]  # a Question
    assert next_page_size(small, 1_000, 1_000, took_s=40.0) == 250  # type: ignore[arg-type]  # a Question
    assert next_page_size(said, 7, 10**9) == 7  # type: ignore[arg-type]  # a Question


def test_batches_of_archives_follow_bytes_and_time(tmp_path: Path) -> None:
    """Four times as many while they are small and quick; all that can be are asked for at once."""
    wire = CountedWire(a_filled_store(ids(600)))
    session = a_session(wire, tmp_path)
    make_search(session, (), None).select("energy").to_arrow()
    sizes = [request.json["pagination"]["page_size"] for request in wire.archive_pages]
    assert sizes[:2] == [FIRST_BATCH] * 2  # before one has come nobody knows how large archives are
    assert max(sizes) == 4 * FIRST_BATCH
    assert sum(sizes) == 600
