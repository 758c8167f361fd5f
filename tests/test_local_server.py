"""The local deployment over the wire in the process and over a port of this machine."""

from __future__ import annotations

import gzip
import http.client
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from nomadquery.errors import InvalidRequest, NotSupported
from nomadquery.http.message import Request, Wire
from nomadquery.local.database import FILE_NAME
from nomadquery.local.server import serve
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from tests.local_entries import a_store, an_archive

PROGRAM = "results.method.simulation.program_name"


def test_the_wire_is_one_that_the_transport_takes() -> None:
    """It has the two methods of the protocol and says where an answer came from."""
    wire: Wire = LocalWire(a_store(an_archive("a")), api_base="nomadquery:demo")
    reply = wire.exchange(Request("GET", "entries/a", params=(("include", "upload_id"),)), {})
    assert (reply.status, reply.url) == (200, "nomadquery:demo/entries/a?include=upload_id")
    assert reply.headers["Content-Type"] == "application/json"
    wire.close()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[LocalStore, str]]:
    """Serve fifty entries on a free port."""
    with a_store(*(an_archive(f"entry-{n:02}") for n in range(50))) as store, serve(store) as api_base:
        yield store, api_base


def over_http(
    url: str, method: str = "GET", body: bytes | None = None, accepted: str = ""
) -> tuple[int, Any, bytes]:
    """Return status, headers and content of one exchange."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body=body, headers={"Accept-Encoding": accepted})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "info"),
        Request("GET", "users/me"),
        Request("GET", "entries/entry-07"),
        Request("GET", "entries/entry-07/archive"),
        Request("GET", "entries/none"),
        Request(
            "GET", "entries", params=(("page_size", "3"), ("results.material.elements", "Ti"), ("page", "2"))
        ),
        Request("GET", "foo"),
        Request("PUT", "entries/query"),
        Request("POST", "entries/query", json={}),
        Request(
            "POST",
            "entries/query",
            json={"pagination": {"page_size": 7}, "required": {"include": ("upload_id",)}},
        ),
        Request("POST", "entries/query", json={"query": {PROGRAM: "vasp"}}),
        Request("POST", "entries/query", json={"query": {"foo": 1}}),
        Request("POST", "entries/query"),
        Request("POST", "entries/archive/query", json={"required": {"run": {"calculation[-1]": "*"}}}),
        Request("POST", "entries/entry-07/archive/query", json={"required": "foo"}),
    ],
    ids=str,
)
def test_the_port_answers_as_the_wire_does(served: tuple[LocalStore, str], request_: Request) -> None:
    """The same status and the same content, byte for byte."""
    store, api_base = served
    expected = LocalWire(store, api_base=api_base).exchange(request_, {})
    url = f"{api_base}/{request_.path}" + (f"?{urlencode(request_.params)}" if request_.params else "")
    body = None if request_.json is None else json.dumps(request_.json).encode()
    status, headers, content = over_http(url, request_.method, body)
    assert (status, content) == (expected.status, expected.body)
    assert headers["Content-Type"] == "application/json"


def test_a_page_is_compressed_for_who_takes_it(served: tuple[LocalStore, str]) -> None:
    """Only if the request says gzip; the content is the same."""
    url = f"{served[1]}/entries?page_size=20"
    _, headers, packed = over_http(url, accepted="gzip, deflate")
    _, plain_headers, plain = over_http(url)
    assert headers["Content-Encoding"] == "gzip"
    assert plain_headers["Content-Encoding"] is None
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 2


def test_the_path_of_the_public_installation_is_answered_too(served: tuple[LocalStore, str]) -> None:
    """Below /prod/v1, with page addresses below it."""
    root = served[1].removesuffix("/api/v1")
    status, _, content = over_http(f"{root}/prod/v1/api/v1/entries?page_size=1")
    assert status == 200
    assert json.loads(content)["pagination"]["next_page_url"].startswith(f"{root}/prod/v1/api/v1/entries?")
    assert over_http(f"{root}/prod/v1/alive")[2] == over_http(f"{root}/alive")[2] == b'"I am, alive!"'


def test_a_body_that_is_not_json_is_refused_as_nomad_does(served: tuple[LocalStore, str]) -> None:
    """422, type json_invalid."""
    status, _, content = over_http(f"{served[1]}/entries/query", "POST", b"{")
    assert (status, json.loads(content)["detail"][0]["type"]) == (422, "json_invalid")


def test_requests_are_answered_side_by_side(served: tuple[LocalStore, str]) -> None:
    """One connection that is open and silent holds up nobody."""
    parts = urlsplit(served[1])
    silent = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    silent.connect()
    try:
        assert over_http(f"{served[1]}/info")[0] == 200
    finally:
        silent.close()


def test_the_port_is_given_back(tmp_path: Path) -> None:
    """After the context nobody listens; a folder can be served directly."""
    with LocalStore(tmp_path) as store:
        store.add_archives([an_archive("a")])
    with serve(tmp_path) as api_base:
        assert json.loads(over_http(f"{api_base}/entries")[2])["pagination"]["total"] == 1
    with pytest.raises(ConnectionRefusedError):
        over_http(f"{api_base}/info")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "example.org"])
def test_only_this_machine_is_served(host: str) -> None:
    """Other interfaces are refused before anything is opened."""
    with pytest.raises(InvalidRequest, match="this machine only"), serve(a_store(), host=host):
        pass


def test_without_werkzeug_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the command that installs it."""
    monkeypatch.setitem(sys.modules, "werkzeug", None)
    with pytest.raises(NotSupported, match=r'pip install "nomadquery\[local\]"'), serve(a_store()):
        pass


def test_a_damaged_store_is_told_over_the_port(tmp_path: Path) -> None:
    """500, with what the user can do."""
    with LocalStore(tmp_path) as store, serve(store) as api_base:
        store.add_archives([an_archive("a")])
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
            connection.execute("UPDATE archives SET content = x'00'")
            connection.commit()
        status, _, content = over_http(f"{api_base}/entries/a/archive")
    assert status == 500
    assert "archive of a" in json.loads(content)["detail"]
