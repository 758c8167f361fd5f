"""A table is pinned by a lockfile, and comes back from it: the same, or `LockMismatch` says what is not."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomadquery
from nomadquery import Lock, Nomad, Q, Query, within
from nomadquery.asking import wanted_of
from nomadquery.columns.pins import pins_schema
from nomadquery.errors import (
    CacheCorrupt,
    CacheError,
    CacheFormatTooNew,
    IncompleteResult,
    LockMismatch,
    QueryError,
)
from nomadquery.fetch.plan import key_of
from nomadquery.inquiry import Inquiry
from nomadquery.local.store import LocalStore
from nomadquery.locked import Changed, locked_search
from nomadquery.query.criteria import canonical, to_plain
from nomadquery.query.plain import tree_of
from nomadquery.search import Search
from tests.strategies import trees
from tests.tables import API_BASE, CountedWire, a_document, a_search, a_session, ids, lost
from tests.test_update import SECOND, put

GAP = Q.results.properties.electronic.band_gap
C = Q.run.calculation


@pytest.fixture
def wire() -> CountedWire:
    store = LocalStore()
    put(store, *ids(10))
    return CountedWire(store)


def from_lock(
    wire: CountedWire, cache: Path, lock: Lock, changed: Changed = "refuse", *, offline: bool = False
) -> Search:
    """Return the table of a lock as a new process with this cache has it."""
    return locked_search(a_session(wire, cache, offline=offline), lock, changed=changed)


def a_lock(*rows: tuple[str, str | None, str | None], editable: tuple[str, ...] = ()) -> Lock:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)] or [pa.array([])] * 3
    entries = pa.Table.from_arrays([one.cast(pa.string()) for one in columns], schema=pins_schema())
    question: dict[str, Any] = {"query": ["And", []], "columns": [], "per": None, "sort": None}
    question |= {"limit": None, "drop_missing": []}
    return Lock("prod", API_BASE, "2.0.0", "public", {}, question, editable, "2026-01-01", entries)


# -- the question ------------------------------------------------------------------------------


@given(trees())
def test_a_tree_is_read_back(criterion: Any) -> None:
    """As it was written, by way of JSON."""
    tree = canonical(criterion)
    assert tree_of(json.loads(json.dumps(to_plain(tree)))) == tree


WINDOW = within(GAP, Q.value.between("1.1 eV", "1.8 eV"), Q.type == "direct")

#: Every kind of column and table that the documentation shows.
TABLES: dict[str, Any] = {
    "default": lambda s: s,
    "none": lambda s: s.select(),
    "short": lambda s: s.select("formula", "gap", "energy", "forces", "uploaded", "doi", "lab_ids"),
    "text": lambda s: s.select(e="run[-1].calculation.energy.total.value.last() in eV"),
    "unit": lambda s: s.select(gap=GAP.value.min().to("meV")),
    "matching": lambda s: s.select(gap=GAP.matching(WINDOW).value.min().to("eV")),
    "filter": lambda s: s.select(b=GAP[Q.provenance.label == "band_structure"].value.min().to("eV")),
    "filter with units": lambda s: s.select(b=GAP[(Q.value > "1 eV") | ~(Q.type == "direct")].value),
    "filter as text": lambda s: s.select(b='results.properties.electronic.band_gap[type == "direct"].value'),
    "index": lambda s: s.select(a=Q.run[0].program.name, b=Q.run[-1].system[0:3].atoms.labels.size()),
    "open slice": lambda s: s.select(a=Q.run[1:].program.name, b=Q.run[:].program.name.count()),
    "people": lambda s: s.select("authors", "datasets", "metadata.comment", "main_author.name"),
    "reference": lambda s: s.select(n=C.system_ref.atoms.labels.size()),
    "custom": lambda s: s.select("data.ref.DOI_number", x="data.x in eV", n=Q["data.x"].count()),
    "custom class": lambda s: s.select(a=Q["data.area#my.Cell"], b=Q["data.area"].stored_in("cm**2")),
    "custom filter": lambda s: s.select(a=Q.data.samples[Q.kind == "x"].mass.first()),
    "unchecked": lambda s: s.select(a=Q["no.such.thing"].unchecked(), b=Q["data.y"].unchecked().max()),
    "percent": lambda s: s.select(e="efficiency", u=Q.results.material.n_elements.stored_in("percent")),
    "per": lambda s: s.per("run.calculation").select(e=C.energy.total.value.to("eV"), f="formula"),
    "per of the index": lambda s: s.per("datasets").select("datasets.doi"),
    "per custom": lambda s: s.per("data.jv_curve").select(pce="data.jv_curve.efficiency"),
    "sorted": lambda s: s.sort("uploaded", descending=True).limit(7),
    "limited": lambda s: s.limit(3).select("gap"),
    "drop_missing": lambda s: s.select("gap", "energy").drop_missing("energy"),
}

QUERIES: list[Any] = [
    Query(),
    WINDOW & Q.elements.has_all("Ti", "O") & ~(Q.program == "VASP"),
    Q.gap.between("1.1 eV", "1.8 eV") | Q.cutoff.exists(),
    Q.elements.has_exactly("Si") & (Q.uploaded >= "2024-01-01"),
    Q["data.area"] > 2,
    Q["data.area#my.Cell"] == 1.5,
    Q["an.unknown.name"].unchecked() == "x",
    Q.entry_id.isin(["a", "b"]),
    nomadquery.optimade('elements HAS "Ti"'),
]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("query", QUERIES[:2], ids=repr)
def test_every_table_is_built_again(wire: CountedWire, tmp_path: Path, name: str, query: Query) -> None:
    """Without the session that made it: under the same key, with the same columns."""
    assert_same_question(wire, tmp_path, TABLES[name](a_search(wire, tmp_path, query)))


@pytest.mark.parametrize("query", QUERIES, ids=repr)
def test_every_query_is_built_again(wire: CountedWire, tmp_path: Path, query: Query) -> None:
    """Also one that only a server can complete."""
    assert_same_question(wire, tmp_path, a_search(wire, tmp_path, query).select("gap"))


def assert_same_question(wire: CountedWire, folder: Path, table: Search) -> None:
    inquiry = table._inquiry
    question = inquiry.drafted(inquiry.query)
    path = plain_lock(inquiry).write(folder / "t.lock.json")
    again = from_lock(wire, folder, Lock.read(path))._inquiry
    found = replace(again.drafted(again.query), pinned=None)
    assert found.columns == question.columns
    assert key_of(found) == key_of(question)
    assert again.wanted.needed == inquiry.wanted.needed
    assert key_of(again.drafted(again.query)) != key_of(question)
    assert again.query.explain()


def plain_lock(inquiry: Inquiry) -> Lock:
    """Return the lock of a table, of whose entries nothing is known."""
    from nomadquery.asking import plain_question

    question = inquiry.drafted(inquiry.query)
    lock = a_lock(("a", None, None))
    return replace(lock, owner=question.owner, question=plain_question(question, inquiry.wanted))


# -- the file ----------------------------------------------------------------------------------

PINS = st.lists(
    st.tuples(st.text("abcXYZ0189-_", min_size=1, max_size=6), st.none() | st.text(), st.none() | st.text()),
    unique_by=lambda row: row[0],
    max_size=40,
)


@given(PINS, st.sampled_from(["lock.json", "lock.json.gz"]))
def test_a_lock_is_read_back(tmp_path_factory: Any, rows: list[Any], name: str) -> None:
    """With every id and every text, compressed or not."""
    path = tmp_path_factory.mktemp("lock") / name
    lock = a_lock(*rows)
    assert Lock.read(lock.write(path)) == lock
    assert Lock.read(path).sha256 == lock.sha256
    assert path.read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")


@given(PINS, st.integers(1, 9))
def test_shards_are_disjoint_and_together_everything(rows: list[Any], n: int) -> None:
    """Contiguous in the order of the ids, and about equally large."""
    lock = a_lock(*rows)
    parts = [lock.shard(i, n) for i in range(n)]
    together = [entry_id for part in parts for entry_id in part.entries["entry_id"].to_pylist()]
    assert together == sorted(row[0] for row in rows)
    sizes = [part.n_entries for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sorted(map(str, pa.concat_tables(part.entries for part in parts).to_pylist())) == sorted(
        map(str, lock.entries.to_pylist())
    )


@pytest.mark.parametrize(("i", "n"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_other_shard(i: int, n: int) -> None:
    """Tasks are counted from 0."""
    with pytest.raises(QueryError, match="counted from 0"):
        a_lock(("a", None, None)).shard(i, n)


def test_a_diff_names_each_entry_with_its_times() -> None:
    """The same moment in another form is the same."""
    old = a_lock(("a", "2024-01-01T00:00:00Z", None), ("b", "2024-01-01T00:00:00Z", None), ("c", None, None))
    new = a_lock(
        ("a", "2024-01-01T01:00:00+01:00", None), ("b", "2025-01-01T00:00:00Z", None), ("d", None, None)
    )
    frame = old.diff(new)
    assert frame[["entry_id", "change"]].to_numpy().tolist() == [
        ["b", "changed"],
        ["c", "removed"],
        ["d", "added"],
    ]
    assert frame.loc[0, "processed_before"] == "2024-01-01T00:00:00Z"
    assert frame.loc[0, "processed_after"] == "2025-01-01T00:00:00Z"
    assert old.diff(old).empty


def test_edits_are_compared_where_both_pin_them() -> None:
    """A digest of other columns says nothing."""
    old, new = a_lock(("a", None, "x"), editable=("comment",)), a_lock(("a", None, "y"))
    assert old.diff(new).empty
    assert list(old.diff(replace(new, editable=("comment",)))["change"]) == ["changed"]


def test_a_lockfile_is_readable_by_others(wire: CountedWire, tmp_path: Path) -> None:
    """It says where, when, what in NOMAD's own words, and an entry a line."""
    table = a_search(wire, tmp_path, Q.n_elements == 2).select("gap")
    table.lock(tmp_path / "paper.lock.json")
    content = json.loads((tmp_path / "paper.lock.json").read_text())
    assert content["nomadquery_lock"] == 1
    assert content["deployment"] == "our.host/nomad-oasis"
    assert content["api"] == API_BASE
    assert (content["owner"], content["n_entries"]) == ("public", 10)
    assert content["query"] == {"results.material.n_elements": 2}
    assert content["entries"][3] == ["entry-0003", "2024-05-01T10:00:00.000000+00:00", None]
    assert '\n["entry-0003", ' in (tmp_path / "paper.lock.json").read_text()


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"{}", QueryError, "is no lockfile"),
        (b"[1]", QueryError, "is no lockfile"),
        (b'{"nomadquery_lock": 99}', CacheFormatTooNew, "Update nomadquery"),
        (b'{"nomadquery_lock": 1}', CacheCorrupt, "damaged"),
        (b'{"nomadquery_lock": 1, "entr', CacheCorrupt, "cut or damaged"),
        (gzip.compress(b"{}", mtime=0)[:-4], CacheCorrupt, "cut or damaged"),
    ],
)
def test_what_is_no_lock_is_refused(tmp_path: Path, content: bytes, error: type, words: str) -> None:
    """With what to do."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(error, match=words):
        Lock.read(path)


def test_a_lock_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """An entry twice, another number of entries, no question."""
    path = a_lock(("a", None, None), ("b", None, None)).write(tmp_path / "lock.json")
    for old, new in (('"b"', '"a"'), ('"n_entries": 2', '"n_entries": 3'), ('"question": {', '"asked": {')):
        (tmp_path / "harmed").write_text(path.read_text().replace(old, new))
        with pytest.raises(CacheCorrupt, match="damaged"):
            Lock.read(tmp_path / "harmed")
    lock = Lock.read(path)
    with pytest.raises(CacheCorrupt, match="question"):
        wanted_of(replace(lock, question={"query": ["Xor"]}), accepts=False)


# -- making one --------------------------------------------------------------------------------


def test_a_lock_can_be_made_before_the_harvest(wire: CountedWire, tmp_path: Path) -> None:
    """Ids and times only; it is the lock of the table fetched then."""
    table = a_search(wire, tmp_path).select("gap", "comment", energy="energy")
    before = table.lock()
    assert not wire.archive_pages
    assert not (tmp_path / "tables").exists()
    table.to_arrow()
    n_sent = len(wire.sent)
    after = table.lock()
    assert len(wire.sent) == n_sent
    assert before.diff(after).empty
    assert before.sha256 == after.sha256


def test_a_limited_table_is_locked_as_it_is(wire: CountedWire, tmp_path: Path) -> None:
    """The first by id, or in the server's order."""
    put(wire.store, "entry-0001", mainfile="z.xml")
    for search in (
        a_search(wire, tmp_path).limit(3).select("gap"),
        a_search(wire, tmp_path).sort("mainfile", descending=True).limit(3).select("mainfile"),
    ):
        before = search.lock()
        expected = search.to_arrow()["entry_id"].to_pylist()
        assert before.entries["entry_id"].to_pylist() == expected
        assert search.lock() == replace(before, fetched_at=search.lock().fetched_at)


def test_offline_only_a_kept_table_is_locked(wire: CountedWire, tmp_path: Path) -> None:
    """Nothing is sent."""
    a_search(wire, tmp_path).select("gap").to_arrow()
    n_sent = len(wire.sent)
    assert a_search(wire, tmp_path, offline=True).select("gap").lock().n_entries == 10
    with pytest.raises(CacheError, match="offline=True forbids"):
        a_search(wire, tmp_path, offline=True).select("formula").lock()
    assert len(wire.sent) == n_sent


# -- the table again ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "per", "people", "drop_missing", "sorted", "limited", "reference"])
def test_from_a_server_comes_the_same_table(wire: CountedWire, tmp_path: Path, name: str) -> None:
    """Rows, order and units, into an empty cache."""
    table = TABLES[name](a_search(wire, tmp_path / "here"))
    frame = table.to_pandas()
    again = from_lock(wire, tmp_path / "there", table.lock(tmp_path / "t.json"))
    found = again.to_pandas()
    assert found.equals(frame)
    assert found.attrs["units"] == frame.attrs["units"]
    n_sent = len(wire.sent)
    assert from_lock(wire, tmp_path / "there", table.lock(), offline=True).to_pandas().equals(frame)
    assert len(wire.sent) == n_sent


def test_the_table_that_was_locked_is_given_from_the_cache(wire: CountedWire, tmp_path: Path) -> None:
    """As long as it is as it was."""
    table = a_search(wire, tmp_path).select("gap")
    table.to_arrow()
    lock = table.lock()
    n_sent = len(wire.sent)
    assert from_lock(wire, tmp_path, lock).to_arrow().equals(table.to_arrow())
    assert from_lock(wire, tmp_path, lock).entry_ids() == tuple(ids(10))
    assert from_lock(wire, tmp_path, lock).plan().n_requests == 0
    assert len(wire.sent) == n_sent
    put(wire.store, "entry-0010")
    table.update()
    assert from_lock(wire, tmp_path, lock).to_arrow().num_rows == 10
    assert len(list((tmp_path / "tables").iterdir())) == 2


def test_what_is_otherwise_is_told_and_can_be_accepted(wire: CountedWire, tmp_path: Path) -> None:
    """What was fetched is kept, so accepting it asks nothing."""
    lock = a_search(wire, tmp_path / "here").select("gap", "mainfile").lock()
    put(wire.store, "entry-0003", mainfile="other.xml", last_processing_time=SECOND)
    put(wire.store, "entry-0005", published=False)
    put(wire.store, "entry-0011")
    with pytest.raises(
        LockMismatch, match=r"1 entry gone or hidden: entry-0005; 1 entry processed"
    ) as caught:
        from_lock(wire, tmp_path, lock).to_pandas()
    assert (caught.value.changed, caught.value.removed) == (("entry-0003",), ("entry-0005",))
    n_sent = len(wire.sent)
    with pytest.raises(LockMismatch, match="changed='accept'"):
        from_lock(wire, tmp_path, lock).to_pandas()
    accepted = from_lock(wire, tmp_path, lock, "accept")
    frame = accepted.to_pandas()
    assert list(frame["entry_id"]) == [one for one in ids(10) if one != "entry-0005"]
    assert frame.loc[3, "mainfile"] == "other.xml"
    assert sorted(accepted.problems["entry_id"]) == ["entry-0003", "entry-0005"]
    assert len(wire.sent) == n_sent
    assert len(accepted.to_pandas(refresh=True)) == 9
    assert len(wire.sent) > n_sent


def test_an_edit_is_a_mismatch_where_the_table_shows_it(wire: CountedWire, tmp_path: Path) -> None:
    """Else it is none."""
    shows, ignores = (a_search(wire, tmp_path / "here").select(one).lock() for one in ("comment", "gap"))
    put(wire.store, "entry-0003", comment="edited")
    assert len(from_lock(wire, tmp_path, ignores).to_pandas()) == 10
    with pytest.raises(LockMismatch) as caught:
        from_lock(wire, tmp_path, shows).to_pandas()
    assert caught.value.changed == ("entry-0003",)


def test_other_columns_of_the_same_entries_may_be_selected(wire: CountedWire, tmp_path: Path) -> None:
    """Another question may not be asked of them."""
    lock = a_search(wire, tmp_path).select("comment").lock()
    put(wire.store, "entry-0010")
    table = from_lock(wire, tmp_path, lock)
    assert list(table.select("mainfile").to_pandas()["entry_id"]) == ids(10)
    assert table.count() == 10
    assert table.facet("upload_id")["n_entries"].sum() == 10
    assert len(list(table.archives())) == 10
    for asked in (
        lambda: table.where(Q.n_elements == 2),
        lambda: table.limit(1),
        lambda: table.owner("all"),
        lambda: table.sort("mainfile"),
        table.update,
    ):
        with pytest.raises(QueryError, match="another question"):
            asked()
    assert "10 entries of a lock" in repr(table)


def test_parts_of_a_harvest_are_fetched_apart(wire: CountedWire, tmp_path: Path) -> None:
    """Each asks for its own entries; together they are the table."""
    whole = a_search(wire, tmp_path / "whole").select("gap", energy="energy")
    lock = whole.lock(tmp_path / "all.json")
    frames = []
    for i in range(3):
        n_pages = len(wire.pages)
        part = Lock.read(lock.shard(i, 3).write(tmp_path / f"{i}.json.gz"))
        frames.append(from_lock(wire, tmp_path / f"task-{i}", part).to_pandas())
        asked = str([request.json["query"] for request in wire.pages[n_pages:]])
        assert [one for one in ids(10) if one in asked] == list(frames[-1]["entry_id"])
    joined = nomadquery.concat(frames)
    assert joined.equals(whole.to_pandas())
    assert joined.nomad.units == {"gap": "eV", "energy": "eV"}


def test_an_interrupted_harvest_of_a_lock_goes_on(wire: CountedWire, tmp_path: Path) -> None:
    """What has arrived is not asked for again."""
    lock = a_search(wire, tmp_path).select("gap").lock()
    wire.change = lambda request, reply: lost(request, reply) if "entry-0007" in str(request.json) else reply
    table = from_lock(wire, tmp_path, lock).page_size(2)
    with pytest.raises(IncompleteResult):
        table.to_pandas()
    wire.change = None
    n_pages = len(wire.pages)
    assert len(table.to_pandas()) == 10
    assert "entry-0000" not in str([request.json["query"] for request in wire.pages[n_pages:]])


def test_a_lock_of_nothing_is_an_empty_table(wire: CountedWire, tmp_path: Path) -> None:
    """With its columns."""
    lock = a_search(wire, tmp_path, Q.n_elements == 7).select("gap").lock()
    with pytest.warns(UserWarning, match="No entry matches"):
        frame = from_lock(wire, tmp_path / "there", lock).to_pandas()
    assert list(frame.columns) == ["entry_id", "gap"]


def test_a_table_from_a_lock_is_locked_as_it_was(wire: CountedWire, tmp_path: Path) -> None:
    """The lock of a lock is that lock."""
    lock = a_search(wire, tmp_path).select("gap", "comment").lock()
    again = from_lock(wire, tmp_path / "there", lock).lock()
    assert replace(again, fetched_at=lock.fetched_at) == lock


def test_offline_a_lock_is_not_enough(wire: CountedWire, tmp_path: Path) -> None:
    """The table must be kept."""
    lock = a_search(wire, tmp_path).select("gap").lock()
    with pytest.raises(CacheError, match="not kept on this machine"):
        from_lock(wire, tmp_path, lock, offline=True).to_pandas()


def test_the_lock_names_its_deployment(tmp_path: Path) -> None:
    """A local one by its folder, the demo by its name."""
    with LocalStore(tmp_path / "mine") as store:
        store.add_entries([(a_document("entry-0001"), None)])
    table = Nomad(tmp_path / "mine", cache_dir=tmp_path / "cache").entries().select("gap")
    frame = table.to_pandas()
    table.lock(tmp_path / "paper.lock.json.gz")
    found = nomadquery.from_lock(tmp_path / "paper.lock.json.gz", cache_dir=tmp_path / "other")
    assert found.to_pandas().equals(frame)
    assert nomadquery.from_lock(tmp_path / "paper.lock.json.gz", cache_dir=tmp_path / "cache", offline=True)
    with pytest.raises(QueryError, match="'refuse' or 'accept'"):
        nomadquery.from_lock(tmp_path / "paper.lock.json.gz", changed="maybe")  # type: ignore[arg-type]
