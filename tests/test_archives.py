"""`Search.archives` and `Entry.archive`: every listed entry's archive, kept, and asked for once."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nomadquery import Nomad, Q
from nomadquery.client import Nomad as Client
from nomadquery.entry import Entry
from nomadquery.errors import (
    CacheError,
    IncompleteResult,
    InvalidRequest,
    MissingQuantity,
    NotFound,
    QuantityNotFound,
    QueryError,
    RateLimited,
)
from nomadquery.http.message import Reply, Request
from nomadquery.local.store import LocalStore
from nomadquery.search import Search
from nomadquery.store.archives import ArchiveStore
from tests.faults.proxy import Proxy
from tests.tables import (
    CountedWire,
    a_document,
    a_search,
    a_session,
    an_archive_of,
    edited,
    ids,
)

PROCESSED = "2024-05-06T07:08:09+00:00"


def a_store(n_entries: int, **more: Any) -> LocalStore:
    """Return a store whose entries were processed at a known time."""
    store = LocalStore()
    put(store, *ids(n_entries), **more)
    return store


def put(store: LocalStore, *entry_ids: str, note: str | None = None, **more: Any) -> None:
    """Put entries into the store, or others into their place."""
    documents = [a_document(one, **{"last_processing_time": PROCESSED, **more}) for one in entry_ids]
    extra = {} if note is None else {"data": {"note": note}}
    store.add_entries((document, {**an_archive_of(document), **extra}) for document in documents)


@pytest.fixture
def wire() -> CountedWire:
    return CountedWire(a_store(12))


def asked(wire: CountedWire) -> list[str]:
    """Return the entry ids whose archives were asked for, in the order of requests."""
    bodies = (request.json for request in wire.archive_pages)
    return [one for body in bodies for one in named(body["query"])]


def named(query: Any) -> list[str]:
    wanted = query["entry_id"]
    return list(wanted["any"]) if isinstance(wanted, Mapping) else [wanted]


def forget(wire: CountedWire) -> None:
    wire.sent.clear()


def data_of(search: Search, **more: Any) -> dict[str, Any]:
    return {archive.entry_id: archive.data for archive in search.archives(**more)}


# -- every archive -------------------------------------------------------------------------


def test_every_hit_has_its_archive_in_the_order_of_ids(wire: CountedWire, tmp_path: Path) -> None:
    """As it was put in; columns and rows of the search play no part."""
    search = a_search(wire, tmp_path).select("gap").per("run.calculation")
    found = list(search.archives())
    assert [archive.entry_id for archive in found] == ids(12)
    assert found[7].data == an_archive_of(a_document("entry-0007"))
    assert found[7].upload_id == "upload-1"
    assert found[7].get("energy") == pytest.approx(-7.5, rel=1e-12)


def test_batches_are_grouped_by_upload(tmp_path: Path) -> None:
    """The server keeps the last upload open: 20 of each of three make batches of 20 + 20 + 10 and of 10."""
    wire = CountedWire(a_store(60))
    assert list(data_of(a_search(wire, tmp_path))) == ids(60)
    uploads = [[int(one[-4:]) % 3 for one in named(page.json["query"])] for page in wire.archive_pages]
    assert [[batch.count(upload) for upload in range(3)] for batch in uploads] == [[20, 20, 10], [0, 0, 10]]


def test_limit_and_sort_choose_the_archives(wire: CountedWire, tmp_path: Path) -> None:
    """In that order; no others are asked for."""
    search = a_search(wire, tmp_path).sort("mainfile", descending=True).limit(3)
    assert list(data_of(search)) == ["entry-0011", "entry-0010", "entry-0009"]
    assert sorted(asked(wire)) == ["entry-0009", "entry-0010", "entry-0011"]


def test_only_the_parts_that_were_asked_for_come(wire: CountedWire, tmp_path: Path) -> None:
    """They are kept apart from the whole archives."""
    search = a_search(wire, tmp_path)
    parts = data_of(search, required={"run": {"program": "*"}})
    assert parts["entry-0003"] == {"run": [{"program": {"name": "VASP"}}]}
    assert "results" in data_of(search)["entry-0003"]


@pytest.mark.parametrize(
    ("required", "error"),
    [
        ({"resluts": "*"}, QuantityNotFound),
        ("exclude", QueryError),
        (["results"], QueryError),
        (3, QueryError),
    ],
)
def test_required_is_checked_before_anything_is_asked(
    wire: CountedWire, tmp_path: Path, required: Any, error: type[Exception]
) -> None:
    """When it is said, not when the first archive is wanted."""
    search = a_search(wire, tmp_path)
    with pytest.raises(error):
        search.archives(required)
    with pytest.raises(QueryError, match="drop_missing"):
        search.select("gap").drop_missing().archives()
    assert not wire.archive_pages and not wire.pages


def test_no_hits_give_a_warning(wire: CountedWire, tmp_path: Path) -> None:
    """And nothing else."""
    with pytest.warns(UserWarning, match="No entry matches"):
        assert data_of(a_search(wire, tmp_path, Q.elements.has_all("Xe"))) == {}


# -- kept ----------------------------------------------------------------------------------


def test_public_archives_are_given_without_asking(wire: CountedWire, tmp_path: Path) -> None:
    """Also offline, and those that another search brought."""
    expected = data_of(a_search(wire, tmp_path))
    forget(wire)
    assert data_of(a_search(wire, tmp_path)) == expected
    assert data_of(a_search(wire, tmp_path, offline=True)) == expected
    assert wire.archive_pages == wire.pages == []
    assert len(data_of(a_search(wire, tmp_path, Q.entry_id.isin(["entry-0001", "entry-0002"])))) == 2
    assert (len(wire.archive_pages), len(wire.pages)) == (0, 1)


def test_what_was_processed_again_is_asked_for_again(wire: CountedWire, tmp_path: Path) -> None:
    """Nothing else is; with another owner the server is asked each time what there is."""
    data_of(a_search(wire, tmp_path, owner="visible"))
    put(wire.store, "entry-0004", note="new", last_processing_time="2024-07-01T00:00:00+00:00")
    forget(wire)
    found = data_of(a_search(wire, tmp_path, owner="visible"))
    assert found["entry-0004"]["data"] == {"note": "new"}
    assert asked(wire) == ["entry-0004"]
    assert len(wire.pages) == 1


def test_without_a_time_of_processing_a_new_listing_means_new_archives(tmp_path: Path) -> None:
    """Nothing could tell whether they are of today; the same listing serves them."""
    wire = CountedWire(a_store(5, last_processing_time=None))
    for _ in range(2):
        data_of(a_search(wire, tmp_path))
    assert len(asked(wire)) == 5
    data_of(a_search(wire, tmp_path), max_age="0 s")
    assert len(asked(wire)) == 10


def test_refresh_asks_for_all(wire: CountedWire, tmp_path: Path) -> None:
    """Offline it is refused."""
    data_of(a_search(wire, tmp_path))
    put(wire.store, "entry-0004", note="in silence")
    assert "data" in data_of(a_search(wire, tmp_path), refresh=True)["entry-0004"]
    assert len(asked(wire)) == 24
    with pytest.raises(QueryError, match="leave one of them out"):
        a_search(wire, tmp_path).archives(refresh=True, offline=True)


def test_offline_an_archive_that_is_not_kept_is_an_error(wire: CountedWire, tmp_path: Path) -> None:
    """It says how many."""
    search = a_search(wire, tmp_path)
    next(iter(search.limit(2).archives()))
    search.select("upload_id", "last_processing_time").to_arrow()
    with pytest.raises(CacheError, match=r"10 of 12 archives are not kept.*entry-0002"):
        data_of(a_search(wire, tmp_path, offline=True))


def test_a_damaged_part_is_fetched_again_with_one_warning(wire: CountedWire, tmp_path: Path) -> None:
    """Offline it is an error."""
    expected = data_of(a_search(wire, tmp_path))
    (file,) = (tmp_path / "archives").glob("*/part-*.zip")
    content = bytearray(file.read_bytes())
    content[60:90] = bytes(30)
    file.write_bytes(content)
    with pytest.raises(CacheError, match="damaged"):
        data_of(a_search(wire, tmp_path, offline=True))
    with pytest.warns(UserWarning, match="fetched again now") as told:
        assert data_of(a_search(wire, tmp_path)) == expected
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data_of(a_search(wire, tmp_path)) == expected


# -- what cannot be had --------------------------------------------------------------------


def without(*entry_ids: str) -> Any:
    """Return how a server answers that has no archives of some entries."""

    def change(request: Request, reply: Reply) -> Reply:
        if request.path != "entries/archive/query":
            return reply
        return edited(
            reply, lambda page: page.update(data=[d for d in page["data"] if d["entry_id"] not in entry_ids])
        )

    return change


def test_a_missing_archive_is_reported_after_all_others(wire: CountedWire, tmp_path: Path) -> None:
    """By its id and with a reason; the next call asks for it alone."""
    wire.change = without("entry-0002", "entry-0005")
    seen = []
    with pytest.raises(IncompleteResult, match=r"2 of 12 archives could not be had.*entry-000") as caught:
        for archive in a_search(wire, tmp_path).archives():
            seen.append(archive.entry_id)
    assert seen == [one for one in ids(12) if one not in {"entry-0002", "entry-0005"}]
    assert sorted(caught.value.missing) == ["entry-0002", "entry-0005"]
    assert (caught.value.n_arrived, caught.value.n_missing) == (10, 2)
    wire.change = None
    forget(wire)
    assert list(data_of(a_search(wire, tmp_path))) == ids(12)
    assert sorted(asked(wire)) == ["entry-0002", "entry-0005"]


def test_archives_become_files_that_stay_when_they_are_the_same(wire: CountedWire, tmp_path: Path) -> None:
    """One for each entry, whole; a second call writes only what is missing or changed."""
    search = a_search(wire, tmp_path / "cache")
    frame = search.archives().download(tmp_path / "files")
    expected = {one.entry_id: one.data for one in search.archives()}
    files = {path.stem: path for path in (tmp_path / "files").iterdir()}
    assert {name: json.loads(path.read_text()) for name, path in files.items()} == expected
    assert list(frame.entry_id) == sorted(expected)
    for row in frame.to_dict("records"):
        content = Path(row["local_path"]).read_bytes()
        assert (row["size_bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    times = {name: path.stat().st_mtime_ns for name, path in files.items()}
    first, second = sorted(files)[:2]
    files[first].write_text("{}")
    files[second].unlink()
    search.archives().download(tmp_path / "files")
    changed = {name for name, path in files.items() if path.stat().st_mtime_ns != times[name]}
    assert changed == {first, second}
    assert json.loads(files[first].read_text()) == expected[first]


def test_an_archive_that_cannot_be_had_is_named_after_all_others_were_written(
    wire: CountedWire, tmp_path: Path
) -> None:
    """The table of the others is in the error."""
    gone = ids(12)[3]
    wire.change = without(gone)
    with pytest.raises(IncompleteResult) as caught:
        a_search(wire, tmp_path / "cache").archives().download(tmp_path / "files")
    assert caught.value.missing == (gone,)
    assert sorted(path.stem for path in (tmp_path / "files").iterdir()) == sorted(set(ids(12)) - {gone})
    assert len(caught.value.results) == 11


def test_an_entry_that_the_server_fails_over_does_not_take_others_along(
    wire: CountedWire, tmp_path: Path
) -> None:
    """Batches are halved around it."""

    def change(request: Request, reply: Reply) -> Reply:
        is_hit = request.path == "entries/archive/query" and "entry-0006" in named(request.json["query"])
        return replace(reply, status=500, body=b'{"detail": "broken"}') if is_hit else reply

    wire.change = change
    with pytest.raises(IncompleteResult, match=r"1 of 12.*entry-0006: the server could not serve it"):
        data_of(a_search(wire, tmp_path))
    assert len(list(itertools.islice(a_search(wire, tmp_path).archives(), 11))) == 11


def test_a_server_that_goes_away_is_told_and_the_next_call_goes_on(wire: CountedWire, tmp_path: Path) -> None:
    """What arrived is not asked for again."""
    search = a_search(wire, tmp_path)
    data_of(search.limit(4))
    forget(wire)

    def change(request: Request, reply: Reply) -> Reply:
        return replace(reply, status=503) if request.path == "entries/archive/query" else reply

    wire.change = change
    with pytest.raises(RateLimited):
        data_of(a_search(wire, tmp_path))
    wire.change = None
    forget(wire)
    assert list(data_of(a_search(wire, tmp_path))) == ids(12)
    assert sorted(asked(wire)) == ids(12)[4:]


CHILD = """
import os, signal, sys
from pathlib import Path
from nomadquery import Nomad
from nomadquery.store import files

address, cache, moment = sys.argv[1], sys.argv[2], int(sys.argv[3])
done = 0

def killing(function):
    def wrapped(*args, **more):
        global done
        done += 1
        if done == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **more)
    return wrapped

files.os.fsync = killing(os.fsync)
Path.replace = killing(Path.replace)
for archive in Nomad(address, cache_dir=cache).entries().archives():
    pass
print(done)
"""


@pytest.mark.parametrize("moment", [12, 14, 16, 18, 10_000])
def test_killed_while_writing(tmp_path: Path, moment: int) -> None:
    """The next call asks only for what is not on disk, and gives the same archives."""
    store = a_store(130)
    with Proxy(store) as proxy:
        command = [sys.executable, "-c", CHILD, proxy.api_base, str(tmp_path), str(moment)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.run(command, env=environment, timeout=60, capture_output=True, check=False)
        assert child.returncode == (-signal.SIGKILL if moment < 100 else 0), child.stdout
        folders = list((tmp_path / "archives").glob("*")) if (tmp_path / "archives").is_dir() else []
        here = {one for folder in folders for one in ArchiveStore(folder).index()}
        assert len(here) in {0, 50, 130}
        proxy.received.clear()
        found = {a.entry_id: a.data for a in Nomad(proxy.api_base, cache_dir=tmp_path).entries().archives()}
        sent = [json.loads(one.body) for one in proxy.received if "archive/query" in one.path]
        assert sum(len(named(body["query"])) for body in sent) == 130 - len(here)
    assert found == {one: an_archive_of(a_document(one)) for one in ids(130)}
    assert not list(tmp_path.rglob("*.part"))


def test_memory_holds_a_batch(tmp_path: Path) -> None:
    """No more archives are asked for than the first ones need."""
    wire = CountedWire(a_store(450))
    archives = a_search(wire, tmp_path).archives()
    assert next(archives).entry_id == "entry-0000"
    assert len(asked(wire)) == 200
    assert max(len(named(request.json["query"])) for request in wire.archive_pages) <= 150


# -- references into other entries ---------------------------------------------------------


def linked() -> CountedWire:
    """Return a server with an entry that refers to others, one of which is not there."""
    store = a_store(3)
    document = a_document("entry-0100", last_processing_time=PROCESSED, upload_id="upload-1")
    data = {
        "sample": "../upload/archive/entry-0001#/run/0/system/1",
        "by_name": "../uploads/upload-2/raw/entry-0002/vasprun.xml#/run/0/program",
        "lost": "../upload/archive/entry-0999#/data",
    }
    store.add_entries([(document, {"metadata": {"entry_id": "entry-0100"}, "data": data})])
    return CountedWire(store)


def test_references_into_other_entries_are_asked_for_on_access(tmp_path: Path) -> None:
    """By id and by mainfile, each once; one that leads nowhere says why."""
    wire = linked()
    (archive,) = a_search(wire, tmp_path, Q.entry_id == "entry-0100").archives()
    forget(wire)
    data = archive["data"]
    assert wire.sent == []
    assert data.sample.atoms.labels == ["Ti", "Ti"]
    assert data.sample.atoms.labels == archive.get("data.sample.atoms.labels")
    assert data.by_name.name == "VASP"
    assert asked(wire) == ["entry-0001", "entry-0002"]
    with pytest.raises(MissingQuantity, match="there is no such entry, or it may not be read"):
        _ = data.lost
    assert archive.get("data.lost.name") is None
    assert "no such entry" in archive.problems("data.lost.name")[0]


# -- one entry -----------------------------------------------------------------------------


def a_client(wire: CountedWire, cache: Path, *, offline: bool = False) -> Client:
    client = Client("demo", cache_dir=cache, progress=False)
    client._session = a_session(wire, cache, offline=offline)
    return client


def test_an_entry_is_a_mapping_of_its_metadata(wire: CountedWire, tmp_path: Path) -> None:
    """Asked for when one of them is wanted, once."""
    entry = a_client(wire, tmp_path).entry("entry-0003")
    assert isinstance(entry, Entry) and entry.entry_id == "entry-0003"
    assert repr(entry).startswith("<entry entry-0003 of") and wire.sent == []
    assert entry["mainfile"] == "entry-0003/vasprun.xml"
    assert dict(entry)["upload_id"] == "upload-0" and "results" in entry and len(entry) > 5
    assert len(wire.sent) == 1


def test_an_entry_that_is_not_there_is_told(wire: CountedWire, tmp_path: Path) -> None:
    """What cannot be an id at once."""
    client = a_client(wire, tmp_path)
    with pytest.raises(NotFound):
        client.entry("entry-9999").archive()
    with pytest.raises(InvalidRequest, match="no entry id"):
        client.entry("../uploads")


def test_the_archive_of_an_entry_is_kept_until_it_is_processed_again(
    wire: CountedWire, tmp_path: Path
) -> None:
    """Its time of processing is asked each time; offline none is."""
    client = a_client(wire, tmp_path)
    first = client.entry("entry-0003").archive()
    assert first.data == an_archive_of(a_document("entry-0003"))
    assert client.entry("entry-0003").archive() == first
    assert asked(wire) == ["entry-0003"]
    offline = a_client(wire, tmp_path, offline=True)
    assert offline.entry("entry-0003").archive() == first
    with pytest.raises(CacheError, match="not kept"):
        offline.entry("entry-0004").archive()
    put(wire.store, "entry-0003", note="new", last_processing_time="2024-07-01T00:00:00+00:00")
    assert client.entry("entry-0003").archive()["data"].note == "new"


def test_an_entry_without_an_archive_is_an_error(wire: CountedWire, tmp_path: Path) -> None:
    """Not an empty archive."""
    wire.change = without("entry-0003")
    with pytest.raises(IncompleteResult, match="the server gave no archive"):
        a_client(wire, tmp_path).entry("entry-0003").archive()


def test_archives_of_a_deployment_in_this_process_follow_it(tmp_path: Path) -> None:
    """Whatever was written to it since."""
    with LocalStore(tmp_path / "own") as store:
        put(store, "entry-0001", note="old")
    nomad = Nomad(tmp_path / "own", cache_dir=tmp_path / "cache")
    assert nomad.entry("entry-0001").archive()["data"].note == "old"
    assert [one["data"].note for one in nomad.entries().archives()] == ["old"]
    nomad.close()
    with LocalStore(tmp_path / "own") as store:
        put(store, "entry-0001", note="new")
    nomad = Nomad(tmp_path / "own", cache_dir=tmp_path / "cache")
    assert [one["data"].note for one in nomad.entries().archives()] == ["new"]
    assert nomad.entry("entry-0001").archive()["data"].note == "new"


def test_the_demo_streams_its_archives(tmp_path: Path) -> None:
    """All of them, with what their columns say."""
    nomad = Nomad("demo", cache_dir=tmp_path, progress=False)
    search = nomad.entries().limit(8)
    gaps = [row["energy"] for row in search.select("energy").rows()]
    assert [archive.get("energy") for archive in search.archives()] == gaps
