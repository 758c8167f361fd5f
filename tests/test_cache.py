"""What is kept is given again without asking, for the same question only, and never when damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nomadquery import Nomad, Q, Query, within
from nomadquery.errors import CacheError, QueryError, Unreachable
from nomadquery.http.auth import Identity
from nomadquery.local.store import LocalStore
from nomadquery.query.quantity import QuantityPath
from nomadquery.search import Search, make_search
from tests.tables import CountedWire, a_document, a_filled_store, a_search, a_session, ids, lost, lost_after

GAP = Q.results.properties.electronic.band_gap


@pytest.fixture
def wire() -> CountedWire:
    return CountedWire(a_filled_store(ids(8)))


def folders(cache: Path) -> list[Path]:
    return list((cache / "tables").iterdir())


def kept_file(cache: Path, pattern: str) -> Path:
    (file,) = (cache / "tables").glob(f"*/{pattern}")
    return file


def change_manifest(cache: Path, **facts: Any) -> None:
    path = kept_file(cache, "manifest.json")
    content = json.loads(path.read_text())
    content["facts"] |= facts
    path.write_text(json.dumps(content))


# -- the key -----------------------------------------------------------------------------


def test_every_spelling_of_a_question_finds_the_same_table(wire: CountedWire, tmp_path: Path) -> None:
    """Queries, JSON, paths, text, short names, order of criteria, units."""
    window = within(GAP, Q.value.between("1.5 eV", "6.5 eV"), Q.type == "direct")
    of_items = {"value": {"lte": 6.5 * 1.602176634e-19, "gte": 1.5 * 1.602176634e-19}, "type": "direct"}
    spelled: list[tuple[tuple[Any, ...], dict[str, str | QuantityPath]]] = [
        ((window, Q.elements.has_all("Ti", "O")), {"gap": GAP.value.min().to("eV")}),
        ((Q.elements.has_all("O", "Ti") & window,), {"gap": Q.gap}),
        ((Q["results.material.elements"].has_all(["Ti", "O"]), window & window), {"gap": "gap"}),
        (
            (
                within(GAP, Q.type == "direct", Q.value.between("1500 meV", "6500 meV")),
                ~~Q.elements.has_all("O", "Ti"),
            ),
            {"gap": "results.properties.electronic.band_gap.value.min() in eV"},
        ),
        (
            (
                {
                    "and": [
                        {"results.properties.electronic.band_gap": of_items},
                        {"results.material.elements": ["O", "Ti"]},
                    ]
                },
            ),
            {"gap": Q["results.properties.electronic.band_gap.value"].min().to("eV")},
        ),
    ]
    tables = [a_search(wire, tmp_path, *criteria).select(**columns) for criteria, columns in spelled]
    rows = [list(table.page_size(size).rows()) for size, table in enumerate(tables, 1)]
    assert all(one == rows[0] for one in rows)
    assert len(rows[0]) == 5
    assert len(folders(tmp_path)) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda search: search.where(Q.n_elements == 2),
        lambda search: search.owner("visible"),
        lambda search: search.select("formula"),
        lambda search: search.select(gap="gap in meV"),
        lambda search: search.select(other="gap"),
        lambda search: search.limit(3),
        lambda search: search.limit(3).sort("mainfile"),
        lambda search: search.limit(3).sort("mainfile", descending=True),
    ],
)
def test_another_question_is_another_table(
    wire: CountedWire, tmp_path: Path, other: Callable[[Search], Search]
) -> None:
    """Query, owner, columns, their names and units, number and order."""
    search = a_search(wire, tmp_path).select("gap")
    search.to_arrow()
    other(search).to_arrow()
    assert len(folders(tmp_path)) == 2


def test_another_user_has_another_table(wire: CountedWire, tmp_path: Path) -> None:
    """Unless the owner is public, when everybody sees the same."""

    def table_of(user: str, owner: str) -> Search:
        session = a_session(wire, tmp_path)
        session.is_anonymous = False
        session._identity = Identity(user, user, user, "a token", None)
        return make_search(session, (), owner).select("gap")

    for owner, n_tables in (("public", 1), ("visible", 3)):
        for user in ("ada", "grace"):
            table_of(user, owner).to_arrow()
        assert len(folders(tmp_path)) == n_tables


# -- when the server is asked --------------------------------------------------------------


def test_a_complete_public_table_is_given_without_asking(wire: CountedWire, tmp_path: Path) -> None:
    """In every form, by this process and the next."""
    a_search(wire, tmp_path).select("gap").to_arrow()
    n_sent = len(wire.sent)
    table = a_search(wire, tmp_path).select("gap")
    table.to_pandas()
    list(table.rows())
    table.dataset().to_table()
    table.to_csv(tmp_path / "t.csv")
    assert table.plan().n_requests == 0
    assert "complete, 8 rows, fetched 20" in repr(table)
    assert table.problems.empty
    assert len(wire.sent) == n_sent


def test_the_repr_says_when_it_was_fetched_and_sends_nothing(tmp_path: Path) -> None:
    """Before the first request too."""
    wire = CountedWire(a_filled_store(ids(2)))
    table = a_search(wire, tmp_path, Q.n_elements == 2)
    assert "not known before the server has been asked" in repr(table)
    assert wire.sent == []
    assert table.count() == 2
    assert "kept: nothing" in repr(table)


@pytest.mark.parametrize("owner", ["visible", "all"])
def test_with_another_owner_the_server_is_asked_again(wire: CountedWire, tmp_path: Path, owner: str) -> None:
    """Who may see what can change; offline the kept table is given."""
    table = a_search(wire, tmp_path, owner=owner).select("gap")
    for n_pages in (1, 2):
        assert len(table.to_pandas()) == 8
        assert len(wire.pages) == n_pages
    assert len(table.to_pandas(offline=True)) == 8
    assert len(wire.pages) == 2


def test_an_empty_table_is_asked_for_again(wire: CountedWire, tmp_path: Path) -> None:
    """There may be entries now."""
    table = a_search(wire, tmp_path, Q.n_elements == 7).select("gap")
    assert len(table.to_arrow()) == 0
    entry = a_document("entry-9")
    entry["results"]["material"]["n_elements"] = 7
    wire.store.add_entries([(entry, None)])
    assert len(table.to_arrow()) == 1


def test_refresh_fetches_again(wire: CountedWire, tmp_path: Path) -> None:
    """And what was there is given until the new table is whole."""
    table = a_search(wire, tmp_path).select("gap").page_size(5)
    table.to_arrow()
    wire.change = lost
    with pytest.raises(Unreachable):
        table.to_pandas(refresh=True)
    assert len(table.to_pandas()) == 8
    wire.change = None
    _publish(wire.store, "entry-0008")
    assert len(table.to_pandas()) == 8
    assert len(table.to_pandas(refresh=True)) == 9
    assert len(table.to_pandas()) == 9


def _publish(store: LocalStore, entry_id: str) -> None:
    store.add_entries([(a_document(entry_id), None)])


def test_max_age_fetches_what_is_older(wire: CountedWire, tmp_path: Path) -> None:
    """As text or as a time."""
    table = a_search(wire, tmp_path).select("gap")
    table.to_arrow()
    change_manifest(tmp_path, fetched_at=(datetime.now(UTC) - timedelta(days=3)).isoformat())
    n_sent = len(wire.pages)
    table.to_pandas(max_age="4d")
    assert len(wire.pages) == n_sent
    table.to_pandas(max_age=timedelta(days=2))
    assert len(wire.pages) == n_sent + 1
    table.to_arrow(max_age="1h")
    assert len(wire.pages) == n_sent + 1


def test_offline_gives_what_is_kept_and_sends_nothing(wire: CountedWire, tmp_path: Path) -> None:
    """By the client's word or by the call's."""
    a_search(wire, tmp_path).select("gap").to_arrow()
    n_sent = len(wire.sent)
    assert len(a_search(wire, tmp_path).select("gap").to_pandas(offline=True)) == 8
    client = a_search(wire, tmp_path, offline=True)
    assert len(client.select("gap").to_pandas()) == 8
    with pytest.raises(CacheError, match="is not kept on this machine"):
        client.select("formula").to_pandas()
    with pytest.raises(CacheError, match="would have to be sent"):
        client.count()
    with pytest.raises(CacheError, match="longer ago than"):
        client.select("gap").to_arrow(max_age=timedelta(0))
    with pytest.raises(QueryError, match="refresh=True asks the server, and offline=True forbids it"):
        client.to_pandas(refresh=True)
    assert len(wire.sent) == n_sent


def test_offline_before_anything_was_asked_sends_nothing(wire: CountedWire, tmp_path: Path) -> None:
    """Not even for the release."""
    with pytest.raises(CacheError, match="offline"):
        a_search(wire, tmp_path).to_pandas(offline=True)
    assert wire.sent == []


def test_offline_says_how_much_of_a_begun_table_is_here(wire: CountedWire, tmp_path: Path) -> None:
    """Less than all is never given as all."""
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    wire.change = lost_after(wire, 2)
    with pytest.raises(Exception, match="6 of 8 entries arrived"):
        table.to_arrow()
    with pytest.raises(CacheError, match="Only 6 of 8 entries"):
        table.to_pandas(offline=True)
    assert "6 of 8 entries, begun 20" in repr(table)


def test_a_begun_table_older_than_max_age_is_begun_again(wire: CountedWire, tmp_path: Path) -> None:
    """Old rows are not finished into a table that looks fresh."""
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    wire.change = lost_after(wire, 2)
    with pytest.raises(Exception, match="6 of 8 entries arrived"):
        table.to_arrow()
    begun = kept_file(tmp_path, "partial.json")
    content = json.loads(begun.read_text())
    content["facts"]["begun_at"] = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    begun.write_text(json.dumps(content))
    wire.change = None
    n_before = len(wire.pages)
    assert table.to_arrow(max_age="1d").num_rows == 8
    assert len(wire.pages) - n_before == 3


def test_a_local_deployment_made_anew_is_another_one(tmp_path: Path) -> None:
    """Even in the same folder, with as many entries after as many writes."""
    folder, cache = tmp_path / "mine", tmp_path / "cache"
    found = []
    for entry_id in ("entry-0001", "entry-0002"):
        with LocalStore(folder) as store:
            _publish(store, entry_id)
        found += Nomad(folder, cache_dir=cache).entries().to_arrow()["entry_id"].to_pylist()
        shutil.rmtree(folder)
    assert found == ["entry-0001", "entry-0002"]


def test_the_release_is_asked_once_a_day(wire: CountedWire, tmp_path: Path) -> None:
    """And not at all for what is kept."""
    a_search(wire, tmp_path).select("gap").to_arrow()
    note = next((tmp_path / "deployments").iterdir())
    note.write_text(json.dumps(json.loads(note.read_text()) | {"asked_at_s": 0}))
    n_sent = len(wire.sent)
    a_search(wire, tmp_path).select("gap").to_arrow()
    assert len(wire.sent) == n_sent
    a_search(wire, tmp_path).select("formula").to_arrow()
    assert [request.path for request in wire.sent[n_sent:]] == ["info", "entries/query"]


def test_a_deployment_inside_the_process_is_asked_after_each_write(tmp_path: Path) -> None:
    """What is kept of it holds as long as it is as it was."""
    nomad = Nomad(tmp_path / "mine", cache_dir=tmp_path / "cache")
    with LocalStore(tmp_path / "mine") as store:
        _publish(store, "entry-0001")
        table = nomad.entries().select("gap")
        assert len(table.to_pandas()) == 1
        fetched_at = table.to_pandas().attrs["nomadquery"]["fetched_at"]
        assert table.to_pandas().attrs["nomadquery"]["fetched_at"] == fetched_at
        _publish(store, "entry-0002")
        assert len(table.to_pandas()) == 2


# -- what is asked first ---------------------------------------------------------------------


def test_a_search_inside_is_kept_and_found_again(wire: CountedWire, tmp_path: Path) -> None:
    """Both tables are given without asking."""

    def outer() -> Search:
        inner = a_search(wire, tmp_path, Q.mainfile.isin([f"{one}/vasprun.xml" for one in ids(3)]))
        return a_search(wire, tmp_path, Q.entry_id.isin(inner)).select("gap")

    assert len(outer().to_pandas()) == 3
    n_sent = len(wire.sent)
    assert len(outer().to_pandas()) == 3
    assert len(outer().to_pandas(offline=True)) == 3
    assert outer().plan().n_requests == 0
    assert len(wire.sent) == n_sent


def test_refresh_asks_the_search_inside_again(wire: CountedWire, tmp_path: Path) -> None:
    """Else its ids were those of before."""
    inner = a_search(wire, tmp_path, Query.from_json({"published": True}))
    outer = a_search(wire, tmp_path, Q.entry_id.isin(inner)).select("gap")
    assert len(outer.to_pandas()) == 8
    _publish(wire.store, "entry-0008")
    assert len(outer.to_pandas()) == 8
    assert len(outer.to_pandas(refresh=True)) == 9


def test_facts_do_not_grow_with_long_lists(wire: CountedWire, tmp_path: Path) -> None:
    """Pandas copies attrs with every step."""
    many = [f"entry-{number:04d}" for number in range(5_000)]
    frame = a_search(wire, tmp_path, Q.entry_id.isin(many)).select("gap").to_pandas()
    assert len(frame) == 8
    assert len(json.dumps(frame.attrs)) < 5_000
