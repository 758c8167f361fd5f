"""Parts of raw files of a local deployment, and what is sent while it is read."""

from __future__ import annotations

import bz2
import gzip
import http.client
import io
import lzma
import os
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.http.message import Request, WireFailure
from nomadquery.local.answer import Readable
from nomadquery.local.byte_ranges import RangeRefused, Stretch, parse_range
from nomadquery.local.media_types import media_type_of
from nomadquery.local.server import serve
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from nomadquery.local.zipping import zipped
from tests.local_entries import a_store, an_archive
from tests.local_raw import FILES, UPLOAD, Params, a_raw_store, get, members, refusal
from tests.strategies import byte_ranges


@pytest.fixture(scope="module")
def store() -> Iterator[LocalStore]:
    """Hold entries with and without raw files."""
    with a_raw_store() as filled:
        yield filled


@pytest.fixture(scope="module")
def packed() -> Iterator[LocalStore]:
    """Hold one file, packed in three formats."""
    with a_store(an_archive("packed", mainfile="OUTCAR.gz")) as filled:
        content = FILES["a/OUTCAR"]
        formats = {"gz": gzip.compress(content), "xz": lzma.compress(content), "bz2": bz2.compress(content)}
        filled.add_raw_files(UPLOAD, {f"OUTCAR.{kind}": one for kind, one in formats.items()})
        yield filled


@given(offset=st.integers(0, 6000), length=st.integers(-1, 6000).filter(bool))
def test_a_part_of_a_file_is_the_slice(store: LocalStore, offset: int, length: int) -> None:
    """By the path in the upload, and by the name beside the mainfile of an entry."""
    content = FILES["a/vasprun.xml"]
    wanted = content[offset:] if length < 0 else content[offset : offset + length]
    params = (("offset", str(offset)), ("length", str(length)))
    for path in (f"uploads/{UPLOAD}/raw/a/vasprun.xml", "entries/a/raw/vasprun.xml"):
        assert get(store, path, *params).body == wanted


@given(
    offset=st.integers(0, 1300), length=st.integers(-1, 1300).filter(bool), kind=st.sampled_from(["gz", "xz"])
)
def test_a_part_of_a_packed_file_counts_in_what_it_holds(
    packed: LocalStore, offset: int, length: int, kind: str
) -> None:
    """With ``decompress``; the offset is one of the unpacked bytes."""
    content = FILES["a/OUTCAR"]
    wanted = content[offset:] if length < 0 else content[offset : offset + length]
    params = (("offset", str(offset)), ("length", str(length)), ("decompress", "true"))
    assert get(packed, f"uploads/{UPLOAD}/raw/OUTCAR.{kind}", *params).body == wanted


def test_other_formats_stay_packed(packed: LocalStore) -> None:
    """NOMAD unpacks .gz and .xz only, and says nothing about the others."""
    reply = get(packed, f"uploads/{UPLOAD}/raw/OUTCAR.bz2", ("decompress", "true"))
    assert bz2.decompress(reply.body) == FILES["a/OUTCAR"]


@given(byte_ranges())
def test_a_range_is_the_slice_or_is_refused(asked: tuple[int, str]) -> None:
    """RFC 9110, section 14.1.2: first and last byte, all from one on, so many at the end."""
    size_bytes, text = asked
    first, _, last = text.partition("-")
    content = bytes(number % 256 for number in range(size_bytes))
    match parse_range(f"bytes={text}", size_bytes):
        case Stretch(begin, end):
            expected = content[int(first) :] if first else content[max(0, size_bytes - int(last)) :]
            if first and last:
                expected = content[int(first) : int(last) + 1]
            assert content[begin:end] == expected != b""
        case RangeRefused(status):
            no_bytes = int(first) >= size_bytes if first else int(last) == 0
            assert status == (416 if no_bytes else 400)
            assert no_bytes or int(last) < int(first)
        case None:
            pytest.fail("one range is never the whole file")


def test_a_stored_zip_is_given_whole_or_by_range(store: LocalStore) -> None:
    """206 says which bytes of how many; beyond the end there are none."""
    path = f"uploads/{UPLOAD}/raw"
    whole = get(store, path)
    assert members(whole) == dict(sorted(FILES.items()))
    assert whole.headers["content-length"] == str(len(whole.body))
    part = get(store, path, range="bytes=10-19")
    assert (part.status, part.body) == (206, whole.body[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.body)}"
    beyond = get(store, path, range="bytes=99999999-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(whole.body)}")


def test_a_range_of_a_zip_that_is_another_now_gives_the_whole(tmp_path: Path) -> None:
    """``If-Range`` holds the tag that was told with the first part."""
    with LocalStore(tmp_path) as store:
        store.add_archives([an_archive("a")])
        store.add_raw_files(UPLOAD, {"a/x": b"1"})
        tag = get(store, f"uploads/{UPLOAD}/raw", range="bytes=0-3").headers["etag"]
        assert get(store, f"uploads/{UPLOAD}/raw", range="bytes=4-", if_range=tag).status == 206
        store.add_raw_files(UPLOAD, {"a/x": b"12"})
        assert get(store, f"uploads/{UPLOAD}/raw", range="bytes=4-", if_range=tag).status == 200


@pytest.mark.parametrize(
    ("path", "params", "status", "said"),
    [
        ("a/vasprun.xml", (("offset", "-1"),), 400, "Invalid offset provided."),
        ("a/vasprun.xml", (("length", "0"),), 400, "Invalid length provided."),
        ("a/vasprun.xml", (("compress", "1"), ("offset", "1")), 400, "Cannot specify `offset` or `length`"),
        ("a", (), 400, "Path is a directory, `compress` must be set to true"),
        ("c", (), 404, "Not found. Invalid path?"),
        ("a/../README", (), 404, "Not found. Invalid path?"),
    ],
)
def test_what_is_no_file_or_no_part_is_refused(
    path: str, params: Params, status: int, said: str, store: LocalStore
) -> None:
    """With NOMAD's words."""
    told, detail = refusal(get(store, f"uploads/{UPLOAD}/raw/{path}", *params))
    assert (told, detail[: len(said)]) == (status, said)


def test_a_file_beside_the_mainfile_has_a_plain_name(store: LocalStore) -> None:
    """Nothing in folders below, and no word for a file that is not there but 404."""
    assert refusal(get(store, "entries/a/raw/none")) == (404, "The requested file does not exist.")
    assert refusal(get(store, "entries/a/raw/README")) == (404, "The requested file does not exist.")
    assert get(store, "entries/a/raw/deep/notes.txt").status == 404


@pytest.mark.parametrize(
    ("begin", "media_type"),
    [
        (b"", "application/x-empty"),
        (b"free energy", "text/plain"),
        (b"<?xml version='1.0'?>", "text/xml"),
        (b'{"data": {}}', "application/json"),
        (b"{ not json", "text/plain"),
        (b"\xfd7zXZ\x00rest", "application/x-xz"),
        (b"\x1f\x8brest", "application/gzip"),
        (b"ab\x00\x01", "application/octet-stream"),
    ],
)
def test_the_kind_of_a_file_is_told_by_how_it_begins(begin: bytes, media_type: str) -> None:
    """The types that libmagic gave for files of NOMAD's sample entries, 2026-11-28."""
    assert media_type_of(begin) == media_type


def test_a_type_is_said_of_whole_files_only(store: LocalStore) -> None:
    """And of none if it is not wanted; a file is given under its name, in ASCII too."""
    path = f"uploads/{UPLOAD}/raw/a/vasprun.xml"
    assert get(store, path).headers["content-type"] == "text/xml"
    for params in ((("offset", "1"),), (("length", "9"),), (("ignore_mime_type", "true"),)):
        assert get(store, path, *params).headers["content-type"] == "application/octet-stream"
    assert get(store, path).headers["content-disposition"] == (
        "attachment; filename=\"vasprun.xml\"; filename*=UTF-8''vasprun.xml"
    )


def test_a_zip_is_made_while_it_is_read() -> None:
    """Of 64 MiB never more than a few are in memory, and none is read before it is wanted."""
    opened: list[str] = []

    @contextmanager
    def zeros(name: str) -> Iterator[Readable]:
        opened.append(name)
        with Path("/dev/zero").open("rb", buffering=0) as source:
            yield _First(source, 16 << 20)

    tracemalloc.start()
    try:
        blocks = zipped(((name, zeros(name)) for name in "abcd"), compress=False)
        size_bytes = len(next(blocks))
        assert opened == ["a"]
        size_bytes += sum(map(len, blocks))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes > 64 << 20
    assert most_bytes < 8 << 20


class _First(io.RawIOBase):
    """The first bytes of a source without an end."""

    def __init__(self, source: IO[bytes], size_bytes: int) -> None:
        self._source, self._left = source, size_bytes

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(min(size, self._left))
        self._left -= len(block)
        return block


def test_what_fails_in_the_middle_cuts_the_answer_short() -> None:
    """Over the wire in the process, as a connection that is lost."""
    with a_store(an_archive("a")) as store:
        store.add_raw_files(UPLOAD, {"a/x.gz": b"no gzip"})
        request = Request("GET", f"uploads/{UPLOAD}/raw/a/x.gz", params=(("decompress", "true"),))
        with LocalWire(store).open(request, {}) as stream:
            assert stream.status == 200
            with pytest.raises(WireFailure, match="cut short"):
                stream.read(10)


def test_who_stops_reading_leaves_no_file_open(store: LocalStore) -> None:
    """Leaving the answer closes what it is read from."""
    open_files = Path("/proc/self/fd")
    n_before = len([*open_files.iterdir()])
    for path in (f"uploads/{UPLOAD}/raw", f"uploads/{UPLOAD}/raw/a/OUTCAR", "entries/a/raw"):
        with LocalWire(store).open(Request("GET", path), {}) as stream:
            assert stream.read(1)
    assert len([*open_files.iterdir()]) == n_before


@pytest.fixture(scope="module")
def port(store: LocalStore) -> Iterator[str]:
    """Serve the store on a port."""
    with serve(store) as api_base:
        yield api_base


def over_http(
    api_base: str, path: str, read: Callable[[http.client.HTTPResponse], bytes], **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the answer of one exchange and what was read of it."""
    parts = urlsplit(api_base)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)) as connection:
        connection.request("GET", f"{parts.path}/{path}", headers=sent)
        reply = connection.getresponse()
        return reply, read(reply)


def test_files_are_sent_as_they_are_over_a_port(port: str, store: LocalStore) -> None:
    """In chunks without a length, and never compressed, whoever takes that."""
    path = f"uploads/{UPLOAD}/raw/a/vasprun.xml"
    reply, body = over_http(port, path, lambda reply: reply.read(), Accept_Encoding="gzip")
    assert body == FILES["a/vasprun.xml"]
    assert (reply.headers["Transfer-Encoding"], reply.headers["Content-Encoding"]) == ("chunked", None)
    reply, body = over_http(port, f"uploads/{UPLOAD}/raw", lambda reply: reply.read(), Range="bytes=-22")
    assert (reply.status, body) == (206, get(store, f"uploads/{UPLOAD}/raw").body[-22:])


def test_names_with_percent_signs_and_more_arrive_over_a_port() -> None:
    """A path is what it is once its percent-encoding is undone, and only once."""
    names = {"100%.txt": b"1", "a%2Fb": b"2", "ü ?#&+=": b"3", "x/y;z": b"4"}
    with a_store(an_archive("a")) as store, serve(store) as api_base:
        store.add_raw_files(UPLOAD, names)
        for name, content in names.items():
            _, body = over_http(api_base, f"uploads/{UPLOAD}/raw/{quote(name)}", lambda reply: reply.read())
            assert body == content


def test_what_fails_in_the_middle_ends_the_connection() -> None:
    """Without the end of the chunks, and without words behind what was sent."""
    with a_store(an_archive("a")) as store, serve(store) as api_base:
        good = gzip.compress(os.urandom(3 << 20))
        store.add_raw_files(UPLOAD, {"a/x.gz": good[:-100]})
        path = f"uploads/{UPLOAD}/raw/a/x.gz?decompress=true"
        with pytest.raises(http.client.IncompleteRead) as caught:
            over_http(api_base, path, lambda reply: reply.read())
        assert b"html" not in caught.value.partial[-1000:]


def test_other_parts_of_the_answer_are_those_of_the_wire(port: str, store: LocalStore) -> None:
    """Status and header fields of the port and of the wire in the process are the same."""
    for path in (f"uploads/{UPLOAD}/raw", f"uploads/{UPLOAD}/rawdir/a", "entries/a/raw", "entries/none/raw"):
        reply, _ = over_http(port, path, lambda reply: reply.read())
        expected = get(store, path)
        told: Mapping[str, str] = expected.headers
        assert reply.status == expected.status
        assert {name: reply.headers[name] for name in told} == dict(told)
