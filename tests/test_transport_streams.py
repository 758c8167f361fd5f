"""A file arrives piece by piece, with all that a whole answer has; what is cut short is said."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from nomadquery.errors import NotAuthenticated, NotFound, ServerFailure, Unreachable
from nomadquery.http.deployment import find_deployment
from nomadquery.http.message import Request, Stream
from nomadquery.http.pace import Pace
from nomadquery.http.transport import RequestsWire, Transport
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from tests.faults.clock import Clock
from tests.faults.connection import connected
from tests.faults.server import Answer, FaultServer, as_json, as_proxy, redirect

FILE = Request("GET", "uploads/u/raw/OUTCAR", kind="raw")
CONTENT = bytes(range(256)) * 1000
BINARY = (("Content-Type", "application/octet-stream"),)
WHOLE = Answer(body=CONTENT, headers=BINARY)

Connect = Callable[..., Transport]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connect(server: FaultServer, clock: Clock) -> Iterator[Connect]:
    with ExitStack() as stack:
        yield lambda **login: stack.enter_context(connected(server, clock, **login))


def rest_of(stream: Stream, n: int = 10_000) -> bytes:
    """Return what is left of a stream, read in pieces of at most ``n`` bytes."""
    pieces = []
    while piece := stream.read(n):
        assert len(piece) <= n
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("n", [999, 1 << 20])
def test_the_pieces_together_are_the_file(server: FaultServer, connect: Connect, n: int) -> None:
    """Status, headers and address are there before; the end is an empty piece, again and again."""
    server.will_answer(WHOLE)
    with connect().open(FILE) as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "application/octet-stream")
        assert stream.url == f"{server.api_base}/uploads/u/raw/OUTCAR"
        assert rest_of(stream, n) == CONTENT
        assert stream.read(n) == b""


def test_a_file_is_asked_for_as_it_is(server: FaultServer, connect: Connect) -> None:
    """Not packed, so that its length is its size; further header fields and the token go along."""
    server.will_answer(WHOLE)
    request = Request("GET", "uploads/u/raw", headers=(("Range", "bytes=5-"),), kind="raw")
    with connect(token="secret").open(request):
        pass
    [received] = server.received
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["range"] == "bytes=5-"
    assert received.headers["authorization"] == "Bearer secret"


def test_what_a_proxy_packs_all_the_same_is_unpacked(server: FaultServer, connect: Connect) -> None:
    """Whatever was asked."""
    headers = (*BINARY, ("Content-Encoding", "gzip"))
    server.will_answer(Answer(body=gzip.compress(CONTENT), headers=headers))
    with connect().open(FILE) as stream:
        assert rest_of(stream) == CONTENT


@pytest.mark.parametrize(
    "failing",
    [
        as_proxy(502, "502 Bad Gateway"),
        as_proxy(503, "503 Service Temporarily Unavailable"),
        Answer(fault="reset"),
        Answer(fault="reset_in_headers"),
    ],
    ids=["502", "503", "reset", "reset_in_headers"],
)
def test_what_fails_before_the_head_costs_time_only(
    server: FaultServer, clock: Clock, connect: Connect, failing: Answer
) -> None:
    """After two failures the third attempt gives the file."""
    server.will_answer(failing, failing, WHOLE)
    with connect().open(FILE) as stream:
        assert rest_of(stream) == CONTENT
    assert clock.pauses == [0.5, 1.0]


@pytest.mark.parametrize("fault", ["cut", "cut_chunks", "reset_in_body", "too_long"])
def test_a_file_that_ends_early_is_never_taken_for_whole(
    server: FaultServer, clock: Clock, connect: Connect, fault: str
) -> None:
    """What came is given, then it is said; it is not asked for again behind the reader's back."""
    server.will_answer(Answer(body=CONTENT, headers=BINARY, fault=fault))  # type: ignore[arg-type]  # of a list
    arrived = b""
    with pytest.raises(Unreachable, match="uploads/u/raw/OUTCAR"), connect().open(FILE) as stream:
        while piece := stream.read(1000):
            arrived += piece
    assert CONTENT.startswith(arrived)
    assert len(server.received) == 1
    assert clock.pauses == []


@pytest.mark.parametrize("fault", ["stall", "stall_at_the_last"])
def test_a_file_that_stalls_is_given_up_after_a_bounded_silence(
    server: FaultServer, connect: Connect, fault: str
) -> None:
    """However long the server may take before it begins: what came is given, then it is said."""
    server.will_answer(Answer(body=CONTENT, headers=BINARY, fault=fault))  # type: ignore[arg-type]  # of a list
    arrived, began_s = b"", time.monotonic()
    request = replace(FILE, timeout_s=300.0, silence_s=0.2)
    with (
        pytest.raises(Unreachable, match=r"nothing more came for 0\.2 s") as caught,
        connect().open(request) as stream,
    ):
        while piece := stream.read(1000):
            arrived += piece
    assert caught.value.is_timeout
    assert time.monotonic() - began_s < 5
    assert arrived == CONTENT[: len(CONTENT) // 2]


def test_a_server_may_take_longer_to_begin_than_within_its_answer(
    server: FaultServer, connect: Connect
) -> None:
    """Preparing a zip takes minutes in silence; a short limit within the answer does not end that."""
    server.script(late(WHOLE, 0.5) for _ in range(1))
    with connect().open(replace(FILE, timeout_s=10.0, silence_s=0.1)) as stream:
        assert rest_of(stream) == CONTENT
    assert len(server.received) == 1


def test_the_limit_within_an_answer_ends_with_it(server: FaultServer, connect: Connect) -> None:
    """The next answer on the same connection may take its own time to begin."""
    server.script(late(WHOLE, pause_s) for pause_s in (0, 0.5))
    transport = connect()
    for silence_s in (0.1, 60.0):
        with transport.open(replace(FILE, silence_s=silence_s)) as stream:
            assert rest_of(stream) == CONTENT
    assert len(server.received) == 2


def late(answer: Answer, pause_s: float) -> Answer:
    """Return an answer after a pause, before anything of it is sent."""
    time.sleep(pause_s)
    return answer


def test_a_connection_works_again_after_a_file_was_left_half_read(
    server: FaultServer, connect: Connect
) -> None:
    """Nothing of the first answer is taken for the second."""
    server.will_answer(WHOLE, as_json({"second": True}))
    transport = connect()
    with transport.open(FILE) as stream:
        assert stream.read(10) == CONTENT[:10]
    assert transport.send(Request("GET", "info")).json() == {"second": True}


def test_two_files_can_be_read_at_once(server: FaultServer, connect: Connect) -> None:
    """Each keeps its own connection."""
    server.will_answer(WHOLE, Answer(body=CONTENT[::-1], headers=BINARY))
    transport = connect()
    with transport.open(FILE) as first, transport.open(FILE) as second:
        pieces = [(first.read(100_000), second.read(100_000)) for _ in range(3)]
    assert b"".join(one for one, _ in pieces) == CONTENT
    assert b"".join(other for _, other in pieces) == CONTENT[::-1]


def test_a_refusal_says_what_the_server_said(server: FaultServer, connect: Connect) -> None:
    """As for whole answers; nothing is given."""
    server.will_answer(as_json({"detail": "Not found. Invalid path?"}, 404))
    with pytest.raises(NotFound, match="Invalid path"), connect().open(FILE):
        pass


def test_a_server_that_keeps_failing_is_an_error(server: FaultServer, connect: Connect) -> None:
    """After all attempts, with their number."""
    server.script(as_proxy(500, "500 Internal Server Error") for _ in range(99))
    with pytest.raises(ServerFailure, match="10 attempts"), connect().open(FILE):
        pass


def test_a_token_that_ran_out_is_renewed_once(server: FaultServer, connect: Connect) -> None:
    """With the password, as for whole answers."""
    token = as_json({"access_token": "new", "token_type": "bearer"})
    refused = as_json({"detail": "The token is expired."}, 401)
    server.will_answer(as_json({"access_token": "old", "token_type": "bearer"}), refused, token, WHOLE)
    with connect(password="word").open(FILE) as stream:
        assert rest_of(stream) == CONTENT
    assert [one.headers.get("authorization") for one in server.received if "OUTCAR" in one.path] == [
        "Bearer old",
        "Bearer new",
    ]
    server.will_answer(refused, as_json({"detail": "no"}, 401))
    with pytest.raises(NotAuthenticated), connect(token="t").open(FILE):
        pass


def test_a_redirect_to_another_host_gets_no_token(server: FaultServer, connect: Connect) -> None:
    """The stored file may lie elsewhere; what is asked of it goes along."""
    with FaultServer() as other:
        server.will_answer(redirect(307, f"{other.api_base}/elsewhere"))
        other.will_answer(WHOLE)
        request = Request("GET", "uploads/u/raw", headers=(("Range", "bytes=5-"),), kind="raw")
        with connect(token="secret").open(request) as stream:
            assert rest_of(stream) == CONTENT
        [received] = other.received
    assert "authorization" not in received.headers
    assert received.headers["range"] == "bytes=5-"


def test_a_stream_counts_in_flight_until_it_is_left(server: FaultServer) -> None:
    """In the lane of raw files, also after a failure in the middle, which says it was no success."""
    pace = Pace(per_s=1000.0)
    deployment = find_deployment(server.api_base)
    transport = Transport(RequestsWire(deployment.api_base), deployment, pace=pace)
    server.will_answer(WHOLE, Answer(body=CONTENT, headers=BINARY, fault="cut"))
    with transport.open(FILE) as stream:
        stream.read(10)
        assert pace.traffic().n_in_flight("raw") == 1
    with pytest.raises(Unreachable), transport.open(FILE) as stream:
        rest_of(stream)
    assert pace.traffic().n_in_flight("raw") == 0
    assert pace.lane("raw").latency.n_seen == 1
    transport.close()


def test_a_deployment_in_this_process_gives_streams_too() -> None:
    """The same bytes as the whole answer."""
    with LocalStore() as store:
        wire = LocalWire(store)
        with wire.open(Request("GET", "info"), {}) as stream:
            assert rest_of(stream, 7) == wire.exchange(Request("GET", "info"), {}).body
