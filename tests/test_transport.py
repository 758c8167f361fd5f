"""What a server does wrong costs time or raises the right error, and no secret leaves its host."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from nomadquery.errors import (
    InvalidRequest,
    NomadError,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    NotSupported,
    RateLimited,
    RequestRefused,
    ResponseFormatError,
    ServerFailure,
    Unreachable,
)
from nomadquery.http.deployment import find_deployment
from nomadquery.http.message import Reply, Request, Stream, WireFailure
from nomadquery.http.pace import Pace
from nomadquery.http.transport import RequestsWire, Transport
from tests.faults.clock import Clock
from tests.faults.connection import connected
from tests.faults.server import Answer, FaultServer, as_json, as_proxy, redirect

QUERY = Request("POST", "entries/query", json={"query": {}})
CHANGE = Request("POST", "uploads", repeatable=False)
BAD_GATEWAY = as_proxy(502, "502 Bad Gateway")
BUSY = as_proxy(503, "503 Service Temporarily Unavailable")


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


def test_a_request_arrives_as_it_was_meant(server: FaultServer, connect: Connect) -> None:
    """Method, path, parameters, body and the headers that NOMAD looks at."""
    request = Request("POST", "entries/query", params=(("a", "1"), ("a", "ü&")), json={"x": "Å"})
    assert connect().send(request).json() == {"ok": True}
    [received] = server.received
    assert (received.method, received.path) == ("POST", "/api/v1/entries/query?a=1&a=%C3%BC%26")
    assert json.loads(received.body) == {"x": "Å"}
    assert received.headers["accept"] == "application/json"
    assert received.headers["accept-encoding"] == "gzip"
    assert received.headers["user-agent"].startswith("nomadquery/")
    assert "authorization" not in received.headers


def test_a_compressed_answer_is_unpacked(server: FaultServer, connect: Connect) -> None:
    """gzip on the way is invisible; header names are found in any case."""
    packed = gzip.compress(b'{"total": 7}')
    server.will_answer(Answer(body=packed, headers=(("Content-Encoding", "gzip"), ("X-Some", "y"))))
    reply = connect().send(QUERY)
    assert reply.json() == {"total": 7}
    assert reply.headers["x-SOME"] == "y"


@pytest.mark.parametrize(
    "failing",
    [
        as_proxy(500, "500 Internal Server Error"),
        BAD_GATEWAY,
        BUSY,
        as_proxy(504, "504 Gateway Time-out"),
        as_proxy(429, "429 Too Many Requests"),
        Answer(408, b""),
        Answer(fault="reset"),
        Answer(fault="cut"),
        Answer(fault="cut_chunks"),
        Answer(fault="cut_gzip"),
        Answer(body=b'{"data": ['),
        Answer(body=b""),
        as_proxy(200, "Please wait"),
    ],
    ids=lambda answer: f"{answer.status}-{answer.fault or answer.body[:8]!r}",
)
def test_a_passing_failure_costs_time_and_nothing_else(
    server: FaultServer, clock: Clock, connect: Connect, failing: Answer
) -> None:
    """After two failures the third attempt gives the answer; the pauses are 0.5 and 1 s."""
    server.will_answer(failing, failing)
    assert connect().send(QUERY).json() == {"ok": True}
    assert clock.pauses == [0.5, 1.0]
    assert [received.body for received in server.received] == [b'{"query":{}}'] * 3


def test_a_silent_server_is_asked_again(server: FaultServer, clock: Clock, connect: Connect) -> None:
    """No answer within the time limit counts as a failure of the wire."""
    server.will_answer(Answer(fault="silence"))
    assert connect().send(Request("GET", "info", timeout_s=0.1)).json() == {"ok": True}
    assert clock.pauses == [0.5]


def test_every_second_request_refused_loses_nothing(
    server: FaultServer, clock: Clock, connect: Connect
) -> None:
    """Twenty answers arrive in order although each is preceded by a 503."""
    numbered = (as_json({"page": n}) for n in range(20))
    server.script(itertools.chain.from_iterable((BUSY, page) for page in numbered))
    transport = connect()
    assert [transport.send(QUERY).json()["page"] for _ in range(20)] == list(range(20))
    assert clock.pauses == [0.5] * 20


def test_retry_after_is_waited_for(server: FaultServer, clock: Clock, connect: Connect) -> None:
    """The pause is the one that the server asks for."""
    server.will_answer(as_proxy(429, "429 Too Many Requests", Retry_After="17"))
    connect().send(QUERY)
    assert clock.pauses == [17.0]


@pytest.mark.parametrize(
    ("failing", "error", "words"),
    [
        (BAD_GATEWAY, ServerFailure, r"status 502 \(10 attempts in 122 s\): 502 Bad Gateway"),
        (BUSY, RateLimited, r"\(503\) \(10 attempts in 122 s\).*overloaded"),
        (as_proxy(429, "Slow down"), RateLimited, "Slow down"),
        (as_proxy(503, "Busy", Retry_After="900"), RateLimited, "Retry-After: 900"),
        (Answer(fault="cut"), Unreachable, "10 attempts.*cut short"),
        (Answer(fault="reset"), Unreachable, "connection was lost"),
        (as_proxy(200, "Welcome"), ResponseFormatError, "not in JSON: Welcome.*check the address"),
    ],
    ids=["502", "503", "429", "retry-after", "cut", "reset", "html"],
)
def test_a_lasting_failure_becomes_an_error_that_tells_it(
    server: FaultServer, connect: Connect, failing: Answer, error: type[NomadError], words: str
) -> None:
    """The class names the failure; the message has the request, what came, and what to do."""
    server.script(itertools.repeat(failing))
    with pytest.raises(error, match=words) as caught:
        connect().send(QUERY)
    assert "POST entries/query" in str(caught.value) or isinstance(caught.value, ResponseFormatError)


def test_a_failure_inside_nomad_is_repeated_once_and_named(server: FaultServer, connect: Connect) -> None:
    """A 500 with an exception in its detail: two attempts, and the exception in the message."""
    detail = {"exception_class": "KeyError", "exception": "'x'", "exception_traceback": "…", "reason": "…"}
    server.script(itertools.repeat(as_json({"detail": detail}, 500)))
    with pytest.raises(ServerFailure, match="KeyError: 'x'") as caught:
        connect().send(QUERY)
    assert (len(server.received), caught.value.status) == (2, 500)


@pytest.mark.parametrize(
    "failing", [BAD_GATEWAY, BUSY, Answer(fault="reset"), Answer(fault="cut"), Answer(401, b"{}")], ids=str
)
def test_what_changes_the_server_is_sent_once(server: FaultServer, connect: Connect, failing: Answer) -> None:
    """One attempt, whatever happens; no second one after a new login either."""
    server.will_answer(as_json({"access_token": "t", "expires_in": 300}), failing)
    with pytest.raises(NomadError):
        connect(password="open").send(CHANGE)
    assert [received.path for received in server.received] == ["/api/v1/auth/token", "/api/v1/uploads"]


@pytest.mark.parametrize("failing", [BAD_GATEWAY, Answer(fault="reset")], ids=["502", "reset"])
def test_an_unclear_change_says_to_look_first(server: FaultServer, connect: Connect, failing: Answer) -> None:
    """Whoever changed something and got no answer must read the state."""
    server.will_answer(failing)
    with pytest.raises(NomadError, match="read the state before trying again"):
        connect().send(CHANGE)


def test_nobody_listening_is_told_within_seconds(clock: Clock) -> None:
    """A refused connection is tried three times at first contact; the message has the address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v1"
    deployment = find_deployment(base)
    transport = Transport(
        RequestsWire(base), deployment, clock=clock.time, sleep=clock.sleep, chance=lambda: 0.0
    )
    with pytest.raises(Unreachable, match=f"{base}.*3 attempts.*no connection.*refused"):
        transport.send(QUERY)
    assert clock.pauses == [0.5, 1.0]
    transport.close()


PYDANTIC = [{"type": "enum", "loc": ["body", "owner"], "msg": "Input should be 'public'", "input": "me"}]
NOMADS_OWN = [{"msg": "foo is not a doc quantity", "loc": [["pagination", "order_by"]]}]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            as_json({"detail": NOMADS_OWN}, 422),
            InvalidRequest,
            "pagination.order_by: foo is not a doc quantity",
        ),
        (as_json({"detail": PYDANTIC}, 422), InvalidRequest, "body.owner: Input should be 'public'"),
        (as_json({"detail": PYDANTIC * 100}, 422), InvalidRequest, r"\(and 97 more\)"),
        (as_json({"detail": "unknown directive foo"}, 400), InvalidRequest, "unknown directive foo"),
        (as_json({"detail": "exists"}, 409), InvalidRequest, "exists"),
        (as_proxy(413, "413 Request Entity Too Large"), InvalidRequest, "send less at once"),
        (as_json({"detail": "Authentication required."}, 401), NotAuthenticated, "nomadquery login"),
        (as_json({"detail": "Missing scopes: []"}, 403), NotPermitted, "Nobody is logged in"),
        (as_json({"detail": "The entry does not exist"}, 404), NotFound, "does not exist"),
        (as_proxy(404, "404 Not Found"), NotFound, "address of the deployment"),
        (as_json({"detail": "Not Found"}, 404), NotSupported, "no such endpoint"),
        (as_json({"detail": "Method Not Allowed"}, 405), NotSupported, "no such endpoint"),
        (
            redirect(302, "https://login.our.host/?return=secret"),
            NotSupported,
            "redirected.*login.our.host/, ",
        ),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else None,
)
def test_a_refusal_becomes_its_error_at_once(
    server: FaultServer, connect: Connect, answer: Answer, error: type[RequestRefused], words: str
) -> None:
    """All shapes of `detail` that NOMAD uses are read; nothing is repeated."""
    server.will_answer(answer)
    with pytest.raises(error, match=words) as caught:
        connect().send(QUERY)
    assert (len(server.received), caught.value.status) == (1, answer.status)


def test_the_detail_of_a_refusal_is_kept_as_it_came(server: FaultServer, connect: Connect) -> None:
    """Code may look into `detail`; a 422 is a ValueError too."""
    server.will_answer(as_json({"detail": NOMADS_OWN}, 422))
    with pytest.raises(ValueError, match="doc quantity") as caught:
        connect().send(QUERY)
    assert isinstance(caught.value, InvalidRequest)
    assert caught.value.detail == NOMADS_OWN


def test_a_refused_token_is_named_by_its_place(server: FaultServer, connect: Connect) -> None:
    """401 says where the token came from, never what it is."""
    server.will_answer(as_json({"detail": "Could not validate credentials."}, 401))
    with pytest.raises(NotAuthenticated, match=r"sent with the variable X.*nomadquery login") as caught:
        connect(token="sesame").send(QUERY)
    assert "sesame" not in str(caught.value)


def test_an_expired_login_is_renewed_once(server: FaultServer, connect: Connect) -> None:
    """A 401 with a known password: one new login, the same request again, the answer."""
    tokens = [as_json({"access_token": token, "expires_in": 300}) for token in ("first", "second")]
    server.will_answer(tokens[0], Answer(401, b"{}"), tokens[1], as_json({"page": 1}))
    assert connect(password="open").send(QUERY).json() == {"page": 1}
    sent = [received.headers.get("authorization") for received in server.received]
    assert sent == [None, "Bearer first", None, "Bearer second"]
    assert server.received[0].body == b"grant_type=password&username=ada&password=open"


def test_a_wrong_password_is_told_by_its_place_and_never_shown(server: FaultServer, connect: Connect) -> None:
    """What the server repeats of the form stays out of message and detail."""
    echo = [{"msg": "no", "loc": ["body", "password"], "input": "open-sesame"}]
    server.will_answer(as_json({"detail": echo}, 401))
    with pytest.raises(NotAuthenticated, match="the variable X") as caught:
        connect(password="open-sesame").send(QUERY)
    assert "open-sesame" not in f"{caught.value} {caught.value.detail}"


@pytest.mark.parametrize(
    "failing", [Answer(fault="reset"), Answer(fault="cut"), Answer(401, b"{}"), BAD_GATEWAY]
)
@pytest.mark.parametrize("secrets", [{"token": "open-sesame"}, {"password": "open-sesame"}], ids=str)
def test_no_secret_stands_in_a_traceback_with_variables(
    server: FaultServer, connect: Connect, failing: Answer, secrets: dict[str, str]
) -> None:
    """Even reporters that print the variables of each frame (pytest, rich, IPython) show none."""
    server.script(itertools.repeat(failing))
    transport = connect(**secrets)
    try:
        transport.send(QUERY)
    except NomadError as error:
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        of_this_test = f"    secrets = {secrets!r}\n"
        assert of_this_test in told
        assert "open-sesame" not in told.replace(of_this_test, "")
    else:
        pytest.fail("the request must fail")


def test_log_lines_have_status_time_and_size_and_no_secret(
    server: FaultServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """One DEBUG line for each request; neither headers nor bodies."""
    caplog.set_level(logging.DEBUG, logger="nomadquery")
    server.will_answer(as_json({"secret_data": 1}))
    connect(token="sesame").send(QUERY)
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("nomadquery")]
    assert line.startswith("POST entries/query: 200, ")
    assert line.endswith(" ms, 18 bytes")


def test_netrc_does_not_replace_the_token(
    server: FaultServer, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ~/.netrc for the host is not used, with and without a token."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password netrc-password\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    connect(token="t").send(QUERY)
    connect().send(QUERY)
    assert [received.headers.get("authorization") for received in server.received] == ["Bearer t", None]


def test_a_proxy_of_the_environment_is_used(
    server: FaultServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request for another host arrives at the proxy, whole address first."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    base = "http://our.host/nomad-oasis/api/v1"
    transport = Transport(RequestsWire(base), find_deployment(base), clock=clock.time, sleep=clock.sleep)
    transport.send(QUERY)
    assert server.received[0].path == "http://our.host/nomad-oasis/api/v1/entries/query"
    transport.close()


def test_a_number_that_json_has_not_is_never_sent(server: FaultServer, connect: Connect) -> None:
    """NaN would arrive as null, which is another question."""
    with pytest.raises(InvalidRequest, match="NaN"):
        connect().send(Request("POST", "entries/query", json={"x": float("nan")}))
    assert server.received == []


def test_refusals_slow_the_pace(server: FaultServer, clock: Clock) -> None:
    """A 503 halves the pace of its kind of request."""
    server.will_answer(BUSY)
    pace = Pace(clock=clock.time, sleep=clock.sleep)
    deployment = find_deployment(server.api_base)
    transport = Transport(
        RequestsWire(server.api_base), deployment, pace=pace, clock=clock.time, sleep=clock.sleep
    )
    transport.send(QUERY)
    transport.close()
    assert pace.lane("search").per_s == pytest.approx(12.5 + 0.25)  # halved, then one answer


def test_threads_share_one_login(server: FaultServer, connect: Connect) -> None:
    """Four threads that start together log in once."""
    server.will_answer(as_json({"access_token": "t", "expires_in": 300}))
    transport = connect(password="open")
    threads = [threading.Thread(target=transport.send, args=(QUERY,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paths = [received.path for received in server.received]
    assert paths.count("/api/v1/auth/token") == 1
    assert {received.headers.get("authorization") for received in server.received[1:]} == {"Bearer t"}


def test_a_wire_in_this_process_needs_no_socket(clock: Clock) -> None:
    """Any object with `exchange`, `open` and `close` serves; its failures are met like those of sockets."""

    class Gone:
        def __init__(self) -> None:
            self.asked: list[tuple[Request, int]] = []

        def exchange(self, request: Request, headers: Mapping[str, str]) -> Reply:
            self.asked.append((request, len(headers)))
            raise WireFailure("reset", "gone")

        def open(self, request: Request, headers: Mapping[str, str]) -> AbstractContextManager[Stream]:
            self.asked.append((request, len(headers)))
            raise WireFailure("reset", "gone")

        def close(self) -> None:
            """Nothing to give back."""

    wire = Gone()
    with pytest.raises(Unreachable, match="gone"):
        Transport(wire, find_deployment("demo"), clock=clock.time, sleep=clock.sleep).send(QUERY)
    assert wire.asked == [(QUERY, 0)] * 10
