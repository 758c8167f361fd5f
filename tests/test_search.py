"""A search is lazy and immutable: it says what is wanted, and asks one thing at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from nomadquery import Nomad, Q
from nomadquery.durations import age
from nomadquery.errors import QueryError
from nomadquery.query.query import HasEntryIds
from nomadquery.search import Search
from tests.tables import CountedWire, a_filled_store, a_search, ids


@pytest.fixture
def wire() -> CountedWire:
    return CountedWire(a_filled_store(ids(8)))


@pytest.fixture
def search(wire: CountedWire, tmp_path: Path) -> Search:
    search = a_search(wire, tmp_path, Q.n_elements == 2)
    search._inquiry.session.release()
    wire.sent.clear()
    return search


def test_building_a_search_sends_nothing(search: Search, wire: CountedWire) -> None:
    """However much is said."""
    built = search.where(Q.gap > "1 eV").owner("visible").select("gap", x="energy").sort("mainfile").limit(2)
    built = built.page_size(1)
    assert repr(built)
    assert built.explain()
    assert wire.sent == []


def test_every_method_gives_another_search(search: Search) -> None:
    """The first stays as it was."""
    before = repr(search)
    others = [search.limit(2), search.select("gap"), search.owner("all"), search.sort("mainfile")]
    others += [search.where(Q.gap > "1 eV"), search.page_size(3)]
    assert all(isinstance(other, Search) and other is not search for other in others)
    assert repr(search) == before


def test_a_count_is_one_request_without_entries(search: Search, wire: CountedWire) -> None:
    """Of all that match, whatever limit and order."""
    assert search.count() == 8
    assert search.where(Q.gap > "4.5 eV").count() == 3
    assert search.sort("external_id").limit(2).count() == 8
    assert [request.json["pagination"]["page_size"] for request in wire.sent] == [0, 0, 0]


def test_a_preview_is_one_request_and_keeps_nothing(
    search: Search, wire: CountedWire, tmp_path: Path
) -> None:
    """The first rows, in their types and units; it says that it is no table."""
    frame = search.select("gap", "uploaded").preview(3)
    assert frame["gap"].tolist() == pytest.approx([0.0, 1.0, 2.0], rel=1e-12)
    assert frame.attrs["units"] == {"gap": "eV"}
    facts = frame.attrs["nomadquery"]
    assert (facts["preview"], facts["n_rows"], facts["n_total"], facts["owner"]) == (True, 3, 8, "public")
    assert datetime.fromisoformat(facts["fetched_at"]) <= datetime.now(UTC)
    assert len(wire.sent) == 1
    assert not (tmp_path / "tables").exists()


def test_a_preview_of_archive_columns_is_one_request_more(search: Search, wire: CountedWire) -> None:
    """For the archives of the shown entries."""
    assert search.select("energy").preview(2)["energy"].tolist() == pytest.approx([-0.5, -1.5], rel=1e-12)
    assert [request.path for request in wire.sent] == ["entries/query", "entries/archive/query"]


def test_a_preview_obeys_order_and_limit(search: Search) -> None:
    """It shows what the table will begin with."""
    assert len(search.limit(2).preview()) == 2
    first = search.select("mainfile").sort("mainfile", descending=True).limit(5).preview(1)
    assert first["entry_id"].tolist() == ["entry-0007"]


def test_a_search_can_stand_in_isin(search: Search) -> None:
    """It is something with entry ids, in their order."""
    assert isinstance(search, HasEntryIds)
    assert search.limit(3).entry_ids() == tuple(ids(3))


def test_it_is_explained_in_plain_words(search: Search) -> None:
    """One line for each criterion."""
    assert search.where(Q.elements.has_all("Ti")).explain().splitlines() == [
        "n_elements is 2",
        "elements has all of 'Ti'",
    ]


def test_quantities_are_listed_and_nothing_is_sent(tmp_path: Path) -> None:
    """Names, short names, types, units; those that resemble where none contains the word."""
    nomad = Nomad("https://our.host/nomad-oasis", cache_dir=tmp_path)
    gaps = nomad.quantities("gap").set_index("short")
    assert gaps.loc["gap", "name"] == "results.properties.electronic.band_gap.value"
    assert gaps.loc["gap", "unit"] == "joule"
    assert nomad.quantities("crystl_system")["name"].str.contains("crystal_system").any()
    everything = nomad.quantities()
    assert list(everything.columns) == ["name", "short", "type", "unit", "searchable", "returnable"]
    energy = everything[everything["short"] == "energy"].iloc[0]
    assert (energy["searchable"], energy["returnable"]) == (False, False)
    licence = everything[everything["name"] == "license"].iloc[0]
    assert (licence["searchable"], licence["returnable"]) == (False, True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90 s", 90), ("30min", 1800), ("1.5h", 5400), ("7d", 604_800), ("2 w", 1_209_600)]
)
def test_lengths_of_time_are_read(text: str, seconds: float) -> None:
    """As people write them."""
    assert age(text).total_seconds() == seconds
    assert age(pd.Timedelta(seconds=seconds).to_pytimedelta()).total_seconds() == seconds


@pytest.mark.parametrize("text", ["soon", "7", "7 y", "-1 d", "d", ""])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    """With examples."""
    with pytest.raises(QueryError, match="'7d', '12h' or '30min'"):
        age(text)
