"""A kept table is brought up to date: only what is new or changed is fetched, and said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nomadquery import Q
from nomadquery.errors import IncompleteResult, QueryError, Unreachable
from nomadquery.local.store import LocalStore
from nomadquery.search import Search
from nomadquery.store.pins import Changes
from tests.tables import CountedWire, a_document, a_search, an_archive_of, ids, lost, lost_after
from tests.test_custom_columns import a_custom_document

FIRST, SECOND = "2024-05-01T10:00:00.000000+00:00", "2024-06-01T10:00:00.000000+00:00"


def put(store: LocalStore, *entry_ids: str, **more: Any) -> None:
    """Publish entries, or replace them: as processed at the first time unless another is said."""
    documents = [a_document(one, **{"last_processing_time": FIRST, **more}) for one in entry_ids]
    store.add_entries((document, an_archive_of(document)) for document in documents)


@pytest.fixture
def wire() -> CountedWire:
    store = LocalStore()
    put(store, *ids(8))
    return CountedWire(store)


def rows(table: Search) -> list[dict[str, Any]]:
    return list(table.rows())


def undisturbed(wire: CountedWire, cache: Path, table: Search) -> list[dict[str, Any]]:
    """Return the rows that somebody gets who fetches the table for the first time now."""
    wanted = table._inquiry.wanted
    fresh = a_search(wire, cache / "another cache", table._inquiry.query)
    return rows(fresh._with(columns=wanted.columns, is_chosen=True, per=wanted.per, limit=wanted.limit))


def test_a_table_never_fetched_is_fetched(wire: CountedWire, tmp_path: Path) -> None:
    """All its entries are added; nothing is asked afterwards."""
    table = a_search(wire, tmp_path).select("gap")
    assert table.update() == Changes(added=tuple(ids(8)))
    n_sent = len(wire.sent)
    assert len(table.to_pandas()) == 8
    assert len(wire.sent) == n_sent


def test_nothing_changed_costs_one_listing(wire: CountedWire, tmp_path: Path) -> None:
    """And the table counts as fetched now."""
    table = a_search(wire, tmp_path).select("gap")
    before = table.to_pandas().attrs["nomadquery"]["fetched_at"]
    n_pages = len(wire.pages)
    changes = table.update()
    assert not changes and changes == Changes()
    assert len(wire.pages) - n_pages == 1
    after = table.to_pandas().attrs["nomadquery"]
    assert after["fetched_at"] > before
    assert after["updated"] == {"since": before, "n_added": 0, "n_changed": 0, "n_removed": 0}


def test_added_changed_and_removed_are_told_apart(wire: CountedWire, tmp_path: Path) -> None:
    """And the rows are those of a table fetched now."""
    table = a_search(wire, tmp_path).select("gap", "mainfile")
    table.to_arrow()
    put(wire.store, "entry-0009", "entry-0008")
    put(wire.store, "entry-0003", mainfile="other.xml", last_processing_time=SECOND)
    put(wire.store, "entry-0005", published=False)
    n_pages = len(wire.pages)
    changes = table.update()
    assert changes.added == ("entry-0008", "entry-0009")
    assert changes.changed == ("entry-0003",)
    assert changes.removed == ("entry-0005",)
    assert len(wire.pages) - n_pages == 2
    assert rows(table) == undisturbed(wire, tmp_path, table)
    assert table.to_pandas()["entry_id"].is_monotonic_increasing
    assert table.to_pandas().attrs["nomadquery"]["updated"]["n_added"] == 2


def test_changes_print_and_become_a_frame() -> None:
    """Long lists are cut when they are printed, not in the frame."""
    changes = Changes(added=tuple(ids(5)), removed=("z",))
    assert str(changes) == "5 added (entry-0000, entry-0001, entry-0002, …), 0 changed, 1 removed (z)"
    assert repr(changes) == f"<changes: {changes}>"
    frame = changes.to_pandas()
    assert list(frame.columns) == ["entry_id", "change"]
    assert frame["change"].value_counts().to_dict() == {"added": 5, "removed": 1}
    assert Changes().to_pandas().empty


def test_entries_published_later_with_old_times_are_found(wire: CountedWire, tmp_path: Path) -> None:
    """An embargo that ends changes no time."""
    put(wire.store, "entry-0004", published=False, last_processing_time="2020-01-01T00:00:00+00:00")
    table = a_search(wire, tmp_path).select("gap")
    table.to_arrow()
    put(wire.store, "entry-0004", last_processing_time="2020-01-01T00:00:00+00:00")
    assert table.update() == Changes(added=("entry-0004",))


@pytest.mark.parametrize(
    ("column", "edit"),
    [
        ("comment", {"comment": "measured again"}),
        ("datasets.doi", {"datasets": [{"dataset_id": "d", "dataset_name": "n", "doi": "10.1/2"}]}),
        ("external_db", {"external_db": "EELS Data Base"}),
    ],
)
def test_edits_are_seen_in_what_the_table_shows(
    wire: CountedWire, tmp_path: Path, column: str, edit: Mapping[str, Any]
) -> None:
    """NOMAD's index has no time of edits: the values tell, of columns that there are."""
    shows, ignores = (a_search(wire, tmp_path).select(one) for one in (column, "gap"))
    shows.to_arrow(), ignores.to_arrow()
    put(wire.store, "entry-0002", **edit)
    assert shows.update() == Changes(changed=("entry-0002",))
    assert shows.to_pandas()[column].notna().sum() == 1
    assert shows.update() == Changes()
    assert ignores.update() == Changes()


def test_the_same_moment_written_otherwise_is_no_change(wire: CountedWire, tmp_path: Path) -> None:
    """NOMAD's releases write Z or +00:00."""
    table = a_search(wire, tmp_path).select("gap")
    table.to_arrow()
    put(wire.store, "entry-0001", last_processing_time="2024-05-01T10:00:00Z")
    assert table.update() == Changes()


@pytest.mark.parametrize("per", [None, "run.calculation"])
def test_tables_from_archives_are_updated(wire: CountedWire, tmp_path: Path, per: str | None) -> None:
    """Only the archives of changed entries are asked for; rows of an item follow their entry."""
    column = "run.calculation.energy.total.value in eV"
    search = a_search(wire, tmp_path)
    table = (search.per(per) if per else search).select(energy=column)
    table.to_arrow()
    put(wire.store, "entry-0008")
    put(wire.store, "entry-0001", last_processing_time=SECOND)
    put(wire.store, "entry-0000", published=False)
    n_pages = len(wire.archive_pages)
    changes = table.update()
    assert (changes.added, changes.changed, changes.removed) == (
        ("entry-0008",),
        ("entry-0001",),
        ("entry-0000",),
    )
    asked = [request.json["query"] for request in wire.archive_pages[n_pages:]]
    assert "entry-0002" not in str(asked)
    assert rows(table) == undisturbed(wire, tmp_path, table)


def test_a_limited_table_is_fetched_anew_and_compared(wire: CountedWire, tmp_path: Path) -> None:
    """Sorted or not."""
    for search in (a_search(wire, tmp_path).limit(3), a_search(wire, tmp_path).limit(3).sort("mainfile")):
        search.select("gap").to_arrow()
    put(wire.store, "entry-00005")
    for search in (a_search(wire, tmp_path).limit(3), a_search(wire, tmp_path).limit(3).sort("mainfile")):
        changes = search.select("gap").update()
        assert changes == Changes(added=("entry-00005",), removed=("entry-0002",))


def test_what_rows_lack_follows_the_entries(wire: CountedWire, tmp_path: Path) -> None:
    """Lines about entries that stayed stay; about changed ones they are made anew; ids are looked up."""
    wrong = a_document("entry-0001")["results"] | {"eln": {"tags": ["a"]}}
    wrong["material"]["n_elements"] = "two"
    put(wire.store, "entry-0001", "entry-0002", results=wrong)
    asked = [*ids(8), "entry-0090", "entry-0091"]
    table = a_search(wire, tmp_path, Q.entry_id.isin(asked)).select("n_elements")
    lines = table.problems
    assert sorted(lines["entry_id"]) == ["entry-0001", "entry-0002", "entry-0090", "entry-0091"]
    put(wire.store, "entry-0090")
    put(wire.store, "entry-0001", last_processing_time=SECOND)
    assert table.update() == Changes(added=("entry-0090",), changed=("entry-0001",))
    assert sorted(table.problems["entry_id"]) == ["entry-0002", "entry-0091"]


def test_a_custom_column_of_another_type_is_fetched_anew(wire: CountedWire, tmp_path: Path) -> None:
    """Whole numbers that become numbers; the changes are those of the entries."""

    def put_custom(entry_id: str, value: Any) -> None:
        document = a_custom_document(entry_id, "my.Cell", x=value) | {"last_processing_time": FIRST}
        content = {**an_archive_of(document), "data": {"m_def": "my.Cell", "x": value}}
        wire.store.add_entries([(document, content)])

    for number, entry_id in enumerate(ids(8)):
        put_custom(entry_id, number)
    table = a_search(wire, tmp_path).select(x="data.x")
    assert str(table.to_arrow().schema.field("x").type) == "int64"
    put_custom("entry-0008", 8)
    assert table.update() == Changes(added=("entry-0008",))
    put_custom("entry-0009", 9.5)
    assert table.update() == Changes(added=("entry-0009",))
    assert str(table.to_arrow().schema.field("x").type) == "double"
    assert table.to_pandas()["x"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9.5]


def test_drop_missing_plays_no_part(wire: CountedWire, tmp_path: Path) -> None:
    """The table is kept with all its rows."""
    table = a_search(wire, tmp_path).select("gap").drop_missing("gap")
    table.to_arrow()
    put(wire.store, "entry-0008", results={"material": {"elements": ["O"]}})
    assert table.update() == Changes(added=("entry-0008",))
    assert len(table.to_pandas()) == 8


# -- stopped in the middle ------------------------------------------------------------------------


def stopped(wire: CountedWire, table: Search) -> None:
    """Let the server be gone when it is asked for the last two of six new entries."""
    wire.change = lambda request, reply: lost(request, reply) if "new-4" in str(request.json) else reply
    with pytest.raises((IncompleteResult, Unreachable)):
        table.update()
    wire.change = None


def asked_ids(wire: CountedWire, n_pages: int) -> str:
    return str([request.json["query"] for request in wire.pages[n_pages:]])


def test_a_stopped_update_goes_on(wire: CountedWire, tmp_path: Path) -> None:
    """What has arrived is not asked for again, and the old table is given until the new one is whole."""
    table = a_search(wire, tmp_path).select("gap").page_size(2)
    table.to_arrow()
    put(wire.store, *(f"new-{number}" for number in range(6)))
    stopped(wire, table)
    assert len(table.to_pandas()) == 8
    n_pages = len(wire.pages)
    assert len(table.update().added) == 6
    asked = asked_ids(wire, n_pages)
    assert "new-5" in asked and "new-0" not in asked
    assert rows(table) == undisturbed(wire, tmp_path, table)


def test_what_changed_again_meanwhile_is_fetched_again(wire: CountedWire, tmp_path: Path) -> None:
    """Of a stopped update only what is as it is listed now is used."""
    table = a_search(wire, tmp_path).select("gap", "mainfile").page_size(2)
    table.to_arrow()
    put(wire.store, *(f"new-{number}" for number in range(6)))
    stopped(wire, table)
    put(wire.store, "new-0", mainfile="again.xml", last_processing_time=SECOND)
    put(wire.store, "new-1", published=False)
    n_pages = len(wire.pages)
    assert table.update().added == ("new-0", "new-2", "new-3", "new-4", "new-5")
    assert "new-0" in asked_ids(wire, n_pages) and "new-2" not in asked_ids(wire, n_pages)
    assert rows(table) == undisturbed(wire, tmp_path, table)


def test_a_refresh_does_not_go_on_where_an_update_stopped(wire: CountedWire, tmp_path: Path) -> None:
    """Nor the other way round: what is begun of the one is of no use to the other."""
    table = a_search(wire, tmp_path).select("gap").page_size(2)
    table.to_arrow()
    put(wire.store, *(f"new-{number}" for number in range(6)))
    stopped(wire, table)
    assert len(table.to_pandas(refresh=True)) == 14
    put(wire.store, "new-7")
    wire.change = lost_after(wire, len(wire.pages) + 2)
    with pytest.raises(IncompleteResult):
        table.to_pandas(refresh=True)
    wire.change = None
    assert table.update() == Changes(added=("new-7",))
    assert rows(table) == undisturbed(wire, tmp_path, table)


def test_a_first_fetch_that_was_stopped_is_finished(wire: CountedWire, tmp_path: Path) -> None:
    """By the update."""
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    wire.change = lost_after(wire, 2)
    with pytest.raises(IncompleteResult):
        table.to_arrow()
    wire.change = None
    n_pages = len(wire.pages)
    assert len(table.update().added) == 8
    assert len(wire.pages) - n_pages == 1


def test_entries_that_go_between_listing_and_fetching_are_no_rows(wire: CountedWire, tmp_path: Path) -> None:
    """They are removed if they were there."""
    table = a_search(wire, tmp_path).select("gap")
    table.to_arrow()
    put(wire.store, "entry-0001", "entry-0002", "new-1", last_processing_time=SECOND)
    n_listed = len(wire.pages) + 1

    def gone_after_listing(_request: Any, reply: Any) -> Any:
        if len(wire.pages) == n_listed:
            put(wire.store, "entry-0001", "new-1", published=False)
        return reply

    wire.change = gone_after_listing
    assert table.update() == Changes(changed=("entry-0002",), removed=("entry-0001",))
    assert rows(table) == undisturbed(wire, tmp_path, table)


def test_a_server_that_lists_fewer_than_it_counts_removes_nothing(wire: CountedWire, tmp_path: Path) -> None:
    """What it left out is not known to be gone."""
    table = a_search(wire, tmp_path).select("gap")
    table.to_arrow()

    def short(_request: Any, reply: Any) -> Any:
        import json
        from dataclasses import replace

        content = json.loads(reply.body)
        content["data"] = content["data"][:5] if len(content["data"]) == 8 else []
        return replace(reply, body=json.dumps(content).encode())

    wire.change = short
    with pytest.raises(IncompleteResult, match="counts 8 entries and listed 5"):
        table.update()
    wire.change = None
    assert len(table.to_pandas()) == 8


def test_a_damaged_table_is_fetched_whole(wire: CountedWire, tmp_path: Path) -> None:
    """With a warning; a damage that only reading shows as well."""
    table = a_search(wire, tmp_path).select("gap", "mainfile")
    table.to_arrow()
    put(wire.store, "new-1")
    (file,) = (tmp_path / "tables").glob("*/table.parquet")
    content = bytearray(file.read_bytes())
    content[4 : len(content) // 3] = bytes(len(content) // 3 - 4)
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        assert table.update() == Changes(added=("new-1",))
    assert rows(table) == undisturbed(wire, tmp_path, table)


def test_offline_there_is_no_update(wire: CountedWire, tmp_path: Path) -> None:
    """It asks the server."""
    with pytest.raises(QueryError, match="asks the server"):
        a_search(wire, tmp_path, offline=True).update()


def test_a_server_that_is_gone_leaves_the_table(wire: CountedWire, tmp_path: Path) -> None:
    """As it was."""
    table = a_search(wire, tmp_path).select("gap")
    table.to_arrow()
    wire.change = lost
    with pytest.raises(Unreachable):
        table.update()
    assert len(table.to_pandas()) == 8
