"""Archives come in batches: few on a fast server, short ones on a slow one, halved around trouble."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nomadquery.errors import IncompleteResult, Unreachable
from nomadquery.fetch.archives import ArchiveReader
from nomadquery.http.message import Reply, Request, WireFailure
from nomadquery.local.store import LocalStore
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.quantity import Q
from tests.tables import CountedWire, a_document, a_filled_store, a_search, an_archive_of, edited, ids

COLUMNS = {"energy": Q.energy}


@dataclass
class Server:
    """A NOMAD that needs a known time for each archive; its clock is the test's."""

    wire: CountedWire
    seconds_each: float = 0.0
    now_s: float = 0.0
    took_s: list[float] = field(default_factory=list)

    def send(self, request: Request) -> Reply:
        self.took_s.append(self.seconds_each * request.json["pagination"]["page_size"])
        self.now_s += self.took_s[-1]
        return self.wire.exchange(request, {})

    def clock(self) -> float:
        return self.now_s


def documents(count: int) -> list[dict[str, Any]]:
    return [a_document(one) for one in ids(count)]


def a_reader(server: Server, folder: Path) -> ArchiveReader:
    search = a_search(server.wire, folder).select(**COLUMNS)
    question = search._source().question
    return ArchiveReader(server.send, question, catalogue_for("2.0.0"), clock=server.clock)


def asked_ids(request: Request) -> list[str]:
    """Return the entries that a request names."""
    named = request.json["query"]["entry_id"]
    return named["any"] if isinstance(named, dict) else [named]


@pytest.fixture(scope="module")
def large() -> LocalStore:
    """Return ten thousand entries with archives of about 1.6 kB."""
    store = LocalStore()
    padding = {"x": "y" * 900}
    store.add_entries((one, {**an_archive_of(one), "padding": padding}) for one in documents(10_000))
    return store


def test_ten_thousand_small_archives_take_few_requests(large: LocalStore, tmp_path: Path) -> None:
    """Twenty at most, and the first asks for fifty."""
    wire = CountedWire(large)
    frame = a_search(wire, tmp_path).select(**COLUMNS).to_arrow()
    assert frame["energy"].null_count == 0
    sizes = [request.json["pagination"]["page_size"] for request in wire.archive_pages]
    assert sum(sizes) == 10_000
    assert sizes[0] == 50
    assert len(sizes) <= 20


def test_a_slow_server_is_asked_for_so_much_as_it_gives_in_ten_seconds(
    large: LocalStore, tmp_path: Path
) -> None:
    """0.1 s for each archive: no request takes more than fifteen seconds."""
    server = Server(CountedWire(large), seconds_each=0.1)
    reader = a_reader(server, tmp_path)
    found = [one for batch in reader.batches(documents(2_000)) for one in batch.archives.contents]
    assert sorted(found) == ids(2_000)
    assert max(server.took_s) <= 15
    assert server.took_s[-2] == pytest.approx(10, rel=0.01)


def test_batches_go_by_upload(tmp_path: Path) -> None:
    """The server keeps the last upload open."""
    wire = CountedWire(a_filled_store(ids(90)))
    a_search(wire, tmp_path).select(**COLUMNS).to_arrow()
    first = asked_ids(wire.archive_pages[0])
    uploads = [int(one[-4:]) % 3 for one in first]
    assert (uploads.count(0), uploads.count(1), uploads.count(2)) == (30, 20, 0)
    rows = a_search(wire, tmp_path).select(**COLUMNS).to_arrow()["entry_id"].to_pylist()
    assert rows == ids(90)


def test_an_entry_that_the_server_cannot_serve_stands_alone_in_the_end(tmp_path: Path) -> None:
    """Its value is null and told; all others are there."""

    def fails(request: Request, reply: Reply) -> Reply:
        if request.path == "entries/archive/query" and "entry-0033" in asked_ids(request):
            return edited(Reply(500, reply.headers, b"{}", reply.url), lambda content: content.update(OWN))
        return reply

    table = a_search(CountedWire(a_filled_store(ids(90)), fails), tmp_path).select(**COLUMNS)
    energies = table.to_arrow()["energy"].to_pylist()
    assert [place for place, energy in enumerate(energies) if energy is None] == [33]
    assert table.problems[["entry_id", "path"]].to_numpy().tolist() == [["entry-0033", "archive"]]
    assert "KeyError" in table.problems["why"][0]


OWN = {"detail": {"reason": "Unexpected exception", "exception_class": "KeyError", "exception": "x"}}


@pytest.mark.parametrize("failure", ["504", "timeout"])
def test_a_batch_that_takes_too_long_is_halved_and_later_ones_stay_small(
    tmp_path: Path, failure: str
) -> None:
    """It is not repeated as it was."""

    def too_slow(request: Request, reply: Reply) -> Reply:
        if request.path != "entries/archive/query" or request.json["pagination"]["page_size"] <= 20:
            return reply
        if failure == "timeout":
            raise WireFailure("timeout", "silence")
        return Reply(504, reply.headers, b"<html>", reply.url)

    wire = CountedWire(a_filled_store(ids(90)), too_slow)
    table = a_search(wire, tmp_path).select(**COLUMNS).to_arrow()
    assert table["energy"].null_count == 0
    sizes = [request.json["pagination"]["page_size"] for request in wire.archive_pages]
    assert sizes.count(50) == 1
    assert sorted(sizes)[-3] <= 25  # beside it at most one that was asked for before it failed
    assert sum(size for size in sizes if size <= 20) == 90


def test_a_server_that_is_always_too_slow_leaves_an_incomplete_table(tmp_path: Path) -> None:
    """A promised row that could not be had is an error."""

    def silent(request: Request, reply: Reply) -> Reply:
        if request.path == "entries/archive/query":
            raise WireFailure("timeout", "silence")
        return reply

    table = a_search(CountedWire(a_filled_store(ids(3)), silent), tmp_path).select(**COLUMNS)
    with pytest.raises((Unreachable, IncompleteResult)):
        table.to_arrow()


def test_index_columns_alone_ask_for_no_archive(tmp_path: Path) -> None:
    """Whatever they are called."""
    wire = CountedWire(a_filled_store(ids(5)))
    a_search(wire, tmp_path).select("formula", "gap", n=Q.results.material.elements.size()).to_arrow()
    assert wire.archive_pages == []


def test_owner_all_reads_archives_as_visible(tmp_path: Path) -> None:
    """NOMAD refuses it for archives; what may not be read is null and told."""
    store = LocalStore()
    one, two = a_document("entry-1"), a_document("entry-2", with_embargo=True)
    store.add_entries((document, an_archive_of(document)) for document in (one, two))
    table = a_search(CountedWire(store), tmp_path, owner="all").select(**COLUMNS)
    assert table.to_arrow()["energy"].null_count == 1
    assert table.problems["entry_id"].tolist() == ["entry-2"]
