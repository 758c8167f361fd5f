"""Raw files are asked for as NOMAD documents; what it answers is read strictly."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import InvalidRequest, ResponseFormatError
from nomadquery.http.message import Headers, Reply, Request
from nomadquery.http.raw_endpoints import (
    EntryFiles,
    FolderItem,
    ListedFile,
    Part,
    archives_zip,
    end_of_stored_upload,
    entries_rawdir,
    entries_zip,
    parse_entries_rawdir,
    parse_part,
    parse_upload_folder,
    quoted_path,
    raw_file,
    stored_upload,
    upload_folder,
)
from tests.faults.clock import Clock
from tests.faults.connection import connected
from tests.faults.server import FaultServer
from tests.strategies import paths_in_uploads

# Answers of NOMAD 2.0.0 (a local server with sample entries), 2026-11-28, shortened.
ENTRIES = (
    b'{"owner":"public","query":{"name":"upload_id","value":"7oql7hoXT6vOxNbBC15BKJ"},"pagination":{"page_size":2,'
    b'"order_by":"entry_id","order":"asc","total":6,"next_page_after_value":"j6p33OAorPSxn0ztjIwUU-Woi4qY"},"data":['
    b'{"entry_id":"ESVM4iKo7isscvg_xwNfOgtifdMz","upload_id":"7oql7hoXT6vOxNbBC15BKJ","mainfile":'
    b'"polarized_vasp/vasprun.xml.relax2.xz","files":[{"path":"polarized_vasp/vasprun.xml.relax2.xz","size":90}]},'
    b'{"entry_id":"j6p33OAorPSxn0ztjIwUU-Woi4qY","upload_id":"7oql7hoXT6vOxNbBC15BKJ","mainfile":'
    b'"dos_si_exciting/INFO.OUT","files":[{"path":"dos_si_exciting/INFO.OUT","size":27558},'
    b'{"path":"dos_si_exciting/dos.xml","size":25933}]}]}'
)
FOLDER = (
    b'{"path":"","access":"public","directory_metadata":{"name":"","size":275586,"content":['
    b'{"name":"dos_si_exciting","size":53491,"is_file":false},{"name":"si_three_codes.archive.yaml","size":1299,'
    b'"entry_id":"zd37WP0v9kHsRV0xNwCoTq-aoUGC","parser_name":"parsers/archive","is_file":true}]},'
    b'"pagination":{"page_size":2,"order":"asc","page":1,"total":6,"next_page_after_value":"1"}}'
)
FILE = b'{"path":"INFO.OUT","access":"public","file_metadata":{"name":"INFO.OUT","size":27558}}'

Build = Callable[[], Request]


def as_reply(body: bytes, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, Headers(named), body, "https://our.host/api/v1/uploads/u/raw")


@given(paths_in_uploads())
def test_a_path_in_an_address_means_the_path_again(path: str) -> None:
    """Whatever its names hold, and slashes stay slashes."""
    quoted = quoted_path(path)
    assert unquote(quoted, errors="strict") == path
    assert re.fullmatch(r"([A-Za-z0-9._~/-]|%[0-9A-F]{2})+", quoted)
    assert quoted.count("/") == path.count("/")


@pytest.mark.parametrize(
    "path", ["a b%/ü#?&+.out", "100%25.log", "..hidden/x..", "-", "a:b;c=d@e!$'()*,[]", "日本/Å.out", "a\\b"]
)
def test_a_path_arrives_as_it_was_meant(path: str) -> None:
    """Over a socket, what stands before the parameters is the path."""
    with FaultServer() as server, connected(server, Clock()) as transport:
        with transport.open(raw_file("u", path, offset=3)):
            pass
        [received] = server.received
    place, _, params = received.path.partition("?")
    assert unquote(place, errors="strict") == f"/api/v1/uploads/u/raw/{path}"
    assert params == "offset=3&ignore_mime_type=true"


@pytest.mark.parametrize("path", ["", "/", "/a", "a/", "a//b", ".", "a/../b", "..", "./a", "a\0b", "\ud800"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest):
        raw_file("u", path)


@pytest.mark.parametrize(
    "build",
    [
        lambda: raw_file("u/../v", "a"),
        lambda: stored_upload("", offset=1),
        lambda: upload_folder("a?b"),
        lambda: end_of_stored_upload("a/b", 10),
        lambda: raw_file("u", "a", offset=-1),
        lambda: raw_file("u", "a", length=0),
        lambda: stored_upload("u", length=0),
        lambda: entries_rawdir({}, owner="public", page_size=0),
        lambda: entries_rawdir({}, owner="public", page_size=10_001),
        lambda: entries_rawdir({}, owner="all", page_size=1),
        lambda: entries_zip({}, owner="all"),
        lambda: archives_zip({}, owner="all"),
    ],
)
def test_what_the_server_refuses_or_misreads_is_not_sent(build: Build) -> None:
    """A length of 0 gives a broken answer, owner 'all' is refused, ids lead nowhere else."""
    with pytest.raises(InvalidRequest):
        build()


@given(st.lists(paths_in_uploads(), min_size=1, max_size=3), paths_in_uploads())
def test_a_zip_of_some_paths_has_these_and_no_others(paths: list[str], other: str) -> None:
    """The pattern is searched for in the whole path, as the server does (``re.search``)."""
    pattern = entries_zip({}, owner="public", paths=paths).json["files"]["re_pattern"]
    assert all(re.search(pattern, path) for path in paths)
    for near in (other, f"OLD_{paths[0]}", f"{paths[0]}.bak", f"{paths[0]}\n"):
        assert (re.search(pattern, near) is not None) == (near in paths)


def test_requests_for_zips_are_those_that_nomad_documents() -> None:
    """Queries in the body, no time to be impatient, and a stream as the answer."""
    query = {"upload_id": "u"}
    zip_of_all = entries_zip(query, owner="public")
    assert (zip_of_all.method, zip_of_all.path, zip_of_all.kind) == ("POST", "entries/raw/query", "raw")
    assert zip_of_all.json == {"owner": "public", "query": query, "files": {"compress": False}}
    archives = archives_zip(query, owner="visible", required={"run": "*"})
    assert archives.path == "entries/archive/download/query"
    assert archives.json == {
        "owner": "visible",
        "query": query,
        "required": {"run": "*"},
        "files": {"compress": True},
    }


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: stored_upload("u"), None),
        (lambda: stored_upload("u", offset=5), "bytes=5-"),
        (lambda: stored_upload("u", length=3), "bytes=0-2"),
        (lambda: stored_upload("u", offset=5, length=3), "bytes=5-7"),
        (lambda: end_of_stored_upload("u", 100), "bytes=-100"),
    ],
)
def test_parts_of_a_stored_upload_are_asked_for_by_range(build: Build, expected: str | None) -> None:
    """RFC 9110, 14.1.2: both ends are included."""
    assert dict(build().headers).get("Range") == expected


def test_the_files_of_entries_are_read() -> None:
    """With the number of all entries."""
    entries, total = parse_entries_rawdir(as_reply(ENTRIES))
    assert total == 6
    assert entries[1] == EntryFiles(
        "j6p33OAorPSxn0ztjIwUU-Woi4qY",
        "7oql7hoXT6vOxNbBC15BKJ",
        "dos_si_exciting/INFO.OUT",
        (ListedFile("dos_si_exciting/INFO.OUT", 27558), ListedFile("dos_si_exciting/dos.xml", 25933)),
    )


def test_a_folder_is_read() -> None:
    """Files and folders, entries of mainfiles, and where the next page begins."""
    page = parse_upload_folder(as_reply(FOLDER))
    assert page.items == (
        FolderItem("dos_si_exciting", size=53491, is_file=False),
        FolderItem(
            "si_three_codes.archive.yaml", size=1299, is_file=True, entry_id="zd37WP0v9kHsRV0xNwCoTq-aoUGC"
        ),
    )
    assert (page.total, page.next_after, page.access) == (6, "1", "public")


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (parse_entries_rawdir, FOLDER),
        (parse_entries_rawdir, ENTRIES.replace(b'"size":90', b'"size":-1')),
        (parse_entries_rawdir, ENTRIES[:-3]),
        (parse_upload_folder, ENTRIES),
        (parse_upload_folder, FILE),
    ],
)
def test_an_answer_of_another_form_is_an_error(parse: Callable[[Reply], Any], body: bytes) -> None:
    """Never taken for an empty list."""
    with pytest.raises(ResponseFormatError):
        parse(as_reply(body))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (as_reply(b"", 206, content_range="bytes 10-109/277892"), Part(10, 277892)),
        (as_reply(b"", 206, content_range="bytes 0-0/*"), Part(0, None)),
        (as_reply(b"", 200, content_length="277892"), Part(0, 277892)),
        (as_reply(b"", 200), Part(0, None)),
        (as_reply(b"", 200, content_length="10", content_encoding="gzip"), Part(0, None)),
    ],
)
def test_which_bytes_came_is_told_by_the_head(answer: Reply, expected: Part) -> None:
    """A server that gives the whole file where a part was asked for is noticed."""
    assert parse_part(answer) == expected


@pytest.mark.parametrize("told", ["", "bytes */100", "items 1-2/3", "bytes a-b/c"])
def test_a_part_of_unknown_place_is_an_error(told: str) -> None:
    """It must not be written anywhere."""
    with pytest.raises(ResponseFormatError, match="Content-Range"):
        parse_part(as_reply(b"", 206, content_range=told))


def test_the_page_of_a_folder_is_large() -> None:
    """Ten items a request, as NOMAD gives them unasked, would be a request for every ten files."""
    request = upload_folder("u", "a b", after="9")
    assert request.path == "uploads/u/rawdir/a%20b"
    assert dict(request.params) == {
        "include_entry_info": "true",
        "page_size": "10000",
        "page_after_value": "9",
    }
    assert upload_folder("u").path == "uploads/u/rawdir/"
