"""Raw files are read where they lie: as any file of Python, and only the bytes that are needed travel."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import DownloadTruncated, NotFound, ResponseFormatError
from nomadquery.raw.remote import MOST_BYTES, FileLike, RemoteFile, head, opened, tail
from tests.faults.clock import Clock
from tests.faults.connection import connected
from tests.faults.raw import RawServer, Spoil, Uploads
from tests.faults.server import Answer, Fault, Received
from tests.zips import InMemory

TEXT = "".join(f"step {n}: energy {-n / 7:.6f} eV Å\n" for n in range(40_000)).encode()
FILES = Uploads({"up": {"calc 1/OUTCAR": TEXT, "empty": b"", "a/b/pos.csv": b"x,y\n1,2\n"}})


@contextmanager
def served(spoil: Spoil | None = None) -> Iterator[tuple[RawServer, RemoteFile]]:
    with RawServer(FILES, spoil) as server, connected(server, Clock()) as transport:
        yield server, RemoteFile(transport.send, "up", "calc 1/OUTCAR", len(TEXT))


# -- laws ------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.just("read"), st.integers(-1, 90_000))
    | st.tuples(st.just("seek"), st.integers(0, 300_000))
    | st.tuples(st.just("back"), st.integers(0, 300_000))
    | st.tuples(st.just("line"), st.just(0)),
    max_size=12,
)


@given(st.integers(0, 250_000), steps)
def test_it_reads_as_a_file_in_memory_does(size: int, given_steps: list[tuple[str, int]]) -> None:
    """Whatever is read, skipped and gone back to, behind the end as well."""
    data = TEXT[:size]
    expected, found = io.BytesIO(data), opened(InMemory(data), "OUTCAR")
    for word, n in given_steps:
        match word:
            case "read":
                assert found.read(n) == expected.read(n)
            case "seek":
                assert found.seek(n) == expected.seek(n)
            case "back":
                back = min(n, size)
                assert found.seek(-back, io.SEEK_END) == expected.seek(-back, io.SEEK_END)
            case "line":
                assert found.readline() == expected.readline()
        assert found.tell() == expected.tell()


@given(st.integers(0, 1_000), st.integers(0, 2_000))
def test_head_and_tail_are_the_ends(size: int, n: int) -> None:
    """All of a file that is shorter; nothing else is read."""
    data = TEXT[:size]
    source = InMemory(data)
    assert head(source, n) == data[:n]
    assert tail(source, n) == data[max(0, size - n) :]
    assert sum(length for _, length in source.reads) <= 2 * n


# -- what travels ------------------------------------------------------------------------------


def test_only_the_end_travels() -> None:
    """One request, of so many bytes."""
    with served() as (server, file):
        assert tail(file, 100) == TEXT[-100:]
    (request,) = server.received
    assert f"offset={len(TEXT) - 100}&" in request.path and request.path.endswith("length=100")
    assert request.path.startswith("/api/v1/uploads/up/raw/calc%201/OUTCAR?")


def test_a_jump_into_a_file_reads_little() -> None:
    """64 KiB where ten bytes are wanted; opening asks for nothing."""
    source = InMemory(TEXT)
    file = opened(source, "OUTCAR")
    assert source.reads == []
    file.seek(1_000_000)
    assert file.read(10) == TEXT[1_000_000:1_000_010]
    assert source.reads == [(1_000_000, 1 << 16)]


def test_reading_on_asks_for_ever_larger_parts_up_to_a_bound() -> None:
    """Few requests for a long file, and no more than 8 MiB in memory."""
    source = InMemory(bytes(30 << 20))
    file = FileLike(source, "CHGCAR")
    while file.read(1 << 16):
        pass
    lengths = [length for _, length in source.reads]
    assert lengths[:3] == [1 << 16, 1 << 17, 1 << 18] and max(lengths) == MOST_BYTES
    assert len(lengths) < 13


def test_a_long_read_is_divided_into_requests() -> None:
    """Of 8 MiB each, since each is whole in memory."""
    big = Uploads({"up": {"big": bytes(MOST_BYTES + 5)}})
    with RawServer(big) as server, connected(server, Clock()) as transport:
        file = RemoteFile(transport.send, "up", "big", MOST_BYTES + 5)
        assert len(file.read_at(0, MOST_BYTES + 100)) == MOST_BYTES + 5
    assert len(server.received) == 2


def test_text_and_libraries_read_it() -> None:
    """Lines, and gzip over it."""
    with served() as (_, file), opened(file, "OUTCAR", "r") as lines:
        assert next(lines) == "step 0: energy 0.000000 eV Å\n"
        assert sum(1 for _ in lines) == 39_999
    packed = gzip.compress(TEXT)
    with gzip.open(opened(InMemory(packed), "OUTCAR.gz")) as unpacked:
        assert unpacked.read() == TEXT


def test_an_empty_file_costs_nothing() -> None:
    """Its size is known."""
    with served() as (server, _), connected(server, Clock()) as transport:
        assert opened(RemoteFile(transport.send, "up", "empty", 0), "empty").read() == b""
    assert server.received == []


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut", "cut_chunks", "reset", "reset_in_body"])
def test_a_part_that_fails_is_asked_for_again(fault: Fault) -> None:
    """What arrives is the same."""

    def spoil(_: Received, number: int, answer: Answer) -> Answer:
        return answer if number % 2 else replace(answer, fault=fault)

    with served(spoil) as (server, file):
        assert opened(file, "OUTCAR").read() == TEXT
    assert len(server.received) % 2 == 0


def test_a_file_that_became_shorter_is_told() -> None:
    """It is never given as if it were whole."""
    with served() as (server, _), connected(server, Clock()) as transport:
        file = RemoteFile(transport.send, "up", "calc 1/OUTCAR", len(TEXT) + 5)
        with pytest.raises(DownloadTruncated, match="List it again"):
            tail(file, 100)


def test_a_server_that_ignores_parts_is_told() -> None:
    """Its bytes are not those that were asked for."""

    def spoil(_: Received, __: int, answer: Answer) -> Answer:
        return Answer(body=TEXT, headers=answer.headers)

    with served(spoil) as (_, file), pytest.raises(ResponseFormatError, match="does not give parts"):
        head(file, 10)


def test_a_file_that_is_not_there_is_told() -> None:
    with served() as (server, _), connected(server, Clock()) as transport, pytest.raises(NotFound):
        head(RemoteFile(transport.send, "up", "nothing", 10), 5)


def test_nothing_is_written() -> None:
    """A mode for that is refused, and the file says so."""
    with pytest.raises(ValueError, match="opened to be read"):
        opened(InMemory(b""), "x", "wb")  # type: ignore[call-overload]  # what a user may type
    assert not opened(InMemory(b""), "x").writable()


def test_a_place_before_the_beginning_is_no_place() -> None:
    with pytest.raises(ValueError, match="no place"):
        FileLike(InMemory(b"123"), "x").seek(-4, io.SEEK_END)
