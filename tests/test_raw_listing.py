"""Files are listed once, with all their entries, and what is not listed is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import IncompleteResult, NotFound, ServerFailure
from nomadquery.http.message import Reply, Request
from nomadquery.http.transport import Transport
from nomadquery.raw.files import RawFile
from nomadquery.raw.listing import FOLDERS_AT_ONCE, ListedEntry, Listing, list_entries, list_upload
from tests.faults.clock import Clock
from tests.faults.connection import connected
from tests.faults.raw import RawAnswers, RawServer, Uploads
from tests.faults.server import Answer, Received, as_json
from tests.strategies import uploads_with_entries

TWO = Uploads(
    {
        "one": {"a/OUTCAR": b"1234", "a/INCAR": b"12", "a/deeper/x": b"1", "README": b"123"},
        "two": {"vasprun.xml": b"1"},
    },
    {"e1": ("one", "a/OUTCAR"), "e2": ("one", "a/INCAR"), "e3": ("two", "vasprun.xml")},
)


@contextmanager
def asked(uploads: Uploads) -> Iterator[tuple[RawServer, Transport]]:
    with RawServer(uploads) as server, connected(server, Clock()) as transport:
        yield server, transport


def listed(transport: Transport, uploads: Uploads, n_places: int = 0) -> Listing:
    entries = [ListedEntry(one, *place) for one, place in uploads.mainfiles.items()]
    return list_entries(transport.send, entries, owner="public", release="2.0.0", n_places=n_places)


def folder_of(path: str) -> str:
    parent = str(PurePosixPath(path).parent)
    return "" if parent == "." else parent


@given(uploads_with_entries(), st.integers(0, 2))
def test_every_entry_ends_with_its_files_or_is_named(uploads: Uploads, n_hidden: int) -> None:
    """Each path once, with all entries in whose folder it lies."""
    hidden = frozenset(sorted(uploads.mainfiles)[:n_hidden])
    world = Uploads(uploads.files, uploads.mainfiles, hidden)
    answers = RawAnswers(world)

    def send(request: Request) -> Reply:
        answer = answers.rawdir(request.json)
        return Reply(answer.status, {}, answer.body, "")

    entries = [ListedEntry(one, *place) for one, place in world.mainfiles.items()]
    found = list_entries(send, entries, owner="public", release="2.0.0")
    seen_folders = {
        (upload, folder_of(main)) for one, (upload, main) in world.mainfiles.items() if one not in hidden
    }
    expected = {
        (upload, path): tuple(
            sorted(
                e for e, (u, m) in world.mainfiles.items() if (u, folder_of(m)) == (upload, folder_of(path))
            )
        )
        for upload, files in world.files.items()
        for path in files
        if (upload, folder_of(path)) in seen_folders
    }
    assert {(one.upload_id, one.path): tuple(sorted(one.entry_ids)) for one in found.files} == expected
    assert len(found.files) == len(expected)
    assert all(one.size_bytes == len(world.files[one.upload_id][one.path]) for one in found.files)
    assert set(found.missing) == {
        one for one, (u, m) in world.mainfiles.items() if (u, folder_of(m)) not in seen_folders
    }


@pytest.mark.parametrize("n_places", [0, 4])
def test_shared_files_are_listed_once_with_all_their_entries(n_places: int) -> None:
    """Not those in folders below; in the order of upload and path."""
    with asked(TWO) as (_, transport):
        found = listed(transport, TWO, n_places)
    assert found == Listing(
        (
            RawFile("one", "a/INCAR", 2, ("e1", "e2"), ("e2",)),
            RawFile("one", "a/OUTCAR", 4, ("e1", "e2"), ("e1",)),
            RawFile("two", "vasprun.xml", 1, ("e3",), ("e3",)),
        ),
        {},
    )


def test_one_entry_speaks_for_its_folder() -> None:
    """A thousand entries of one folder are one request for one of them."""
    mainfiles = {f"e{n:04}": ("u", f"out{n}") for n in range(1000)}
    world = Uploads({"u": {f"out{n}": b"" for n in range(1000)}}, mainfiles)
    with asked(world) as (server, transport):
        found = listed(transport, world)
    assert len(server.received) == 1
    assert b"e0001" not in server.received[0].body
    assert {one.path: one.mainfile_of for one in found.files} == {
        f"out{n}": (f"e{n:04}",) for n in range(1000)
    }


def test_folders_are_asked_about_a_hundred_at_once() -> None:
    """Side by side, and nothing is lost."""
    n = 3 * FOLDERS_AT_ONCE + 1
    mainfiles = {f"e{k:04}": ("u", f"{k}/out") for k in range(n)}
    world = Uploads({"u": {f"{k}/out": b"" for k in range(n)}}, mainfiles)
    with asked(world) as (server, transport):
        found = listed(transport, world, n_places=3)
    assert len(server.received) == 4
    assert len(found.files) == n


def test_an_entry_that_breaks_the_list_is_named_and_the_rest_is_listed() -> None:
    """NOMAD answers 404 where an upload of one of the entries has no files."""
    mainfiles = {f"e{k}": ("u", f"{k}/out") for k in range(20)}
    world = Uploads({"u": {f"{k}/out": b"" for k in range(20)}}, mainfiles)

    def spoil(received: Received, _n: int, answer: Answer) -> Answer:
        gone = as_json({"detail": "Upload with id u does not exist."}, 404)
        return gone if b'"e7"' in received.body else answer

    with asked(world) as (server, transport):
        server.spoil = spoil
        found = listed(transport, world)
    assert list(found.missing) == ["e7"]
    assert "does not exist" in found.missing["e7"]
    assert len(found.files) == 19


def test_a_mainfile_that_is_not_there_is_told() -> None:
    """The other files of the folder are listed all the same."""
    world = Uploads({"u": {"a/x": b"1"}}, {"e": ("u", "a/gone.out")})
    with asked(world) as (_, transport):
        found = listed(transport, world)
    assert [one.path for one in found.files] == ["a/x"]
    assert "gone.out" in found.missing["e"]


def test_a_server_that_fails_over_all_is_an_error() -> None:
    """No list is better than a short one."""
    with asked(TWO) as (server, transport):
        server.spoil = lambda *_: as_json({"detail": "no"}, 502)
        with pytest.raises(ServerFailure):
            listed(transport, TWO)


@given(uploads_with_entries(), st.integers(1, 3))
def test_an_upload_is_listed_with_all_its_folders(uploads: Uploads, page_size: int) -> None:
    """In pages of any size; files of no entry included."""
    answers = RawAnswers(uploads)

    def send(request: Request) -> Reply:
        folder = request.path.split("/", 3)[3]
        params = {**dict(request.params), "page_size": str(page_size)}
        answer = answers.folder(request.path.split("/")[1], unquote(folder), params)
        return Reply(answer.status, {}, answer.body, "")

    for upload_id, files in uploads.files.items():
        found = list_upload(send, upload_id)
        assert {one.path: one.size_bytes for one in found} == {p: len(c) for p, c in files.items()}
        assert [one.path for one in found] == sorted(files)


def test_files_of_an_upload_know_their_entries() -> None:
    """Entries have the files of their folder, none below."""
    with asked(TWO) as (_, transport):
        found = list_upload(transport.send, "one", n_places=3)
    assert found == (
        RawFile("one", "README", 3, (), ()),
        RawFile("one", "a/INCAR", 2, ("e1", "e2"), ("e2",)),
        RawFile("one", "a/OUTCAR", 4, ("e1", "e2"), ("e1",)),
        RawFile("one", "a/deeper/x", 1, (), ()),
    )


def test_an_upload_that_is_not_there_is_an_error() -> None:
    """Not an empty list."""
    with asked(TWO) as (_, transport), pytest.raises(NotFound, match="upload_id"):
        list_upload(transport.send, "three")


def test_a_folder_that_lists_less_than_it_counts_is_incomplete() -> None:
    """As when somebody changes the upload meanwhile."""

    def spoil(_received: Received, _n: int, answer: Answer) -> Answer:
        return Answer(body=answer.body.replace(b'"total": 2', b'"total": 3'))

    with asked(TWO) as (server, transport):
        server.spoil = spoil
        with pytest.raises(IncompleteResult, match="counts 3"):
            list_upload(transport.send, "one")
