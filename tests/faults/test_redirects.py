"""Redirects are followed where they may lead, and no secret leaves its host."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from nomadquery.errors import NotAuthenticated, NotSupported
from nomadquery.http.auth import Credentials, Secret
from nomadquery.http.deployment import find_deployment
from nomadquery.http.message import Request
from nomadquery.http.transport import RequestsWire, Step, Transport, follow
from tests.faults.clock import Clock
from tests.faults.connection import connected
from tests.faults.server import FaultServer, redirect

QUERY = Request("POST", "entries/query", json={"query": {}})
Connect = Callable[..., Transport]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def connect(server: FaultServer) -> Iterator[Connect]:
    with ExitStack() as stack:
        yield lambda **login: stack.enter_context(connected(server, Clock(), **login))


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_on_the_same_host_takes_body_and_token_along(
    server: FaultServer, connect: Connect, status: int
) -> None:
    """A missing slash answered by 307 is followed with the same method."""
    server.will_answer(redirect(status, "/api/v1/datasets/?a=1"))
    connect(token="t").send(Request("POST", "datasets", params=(("a", "1"),), json={"x": 1}))
    again = server.received[1]
    assert (again.method, again.path, again.body) == ("POST", "/api/v1/datasets/?a=1", b'{"x":1}')
    assert again.headers["authorization"] == "Bearer t"


def test_a_redirect_to_another_host_goes_without_the_token(server: FaultServer, connect: Connect) -> None:
    """A signed address elsewhere is fetched as nobody; another port is another host."""
    with FaultServer() as elsewhere:
        server.will_answer(redirect(307, f"http://127.0.0.1:{elsewhere.port}/bucket?signature=s"))
        connect(token="t").send(Request("GET", "entries/x/raw", kind="raw"))
        assert elsewhere.received[0].path == "/bucket?signature=s"
        assert "authorization" not in elsewhere.received[0].headers


def test_a_password_follows_no_redirect_to_another_host(server: FaultServer, connect: Connect) -> None:
    """The form of a login is sent to the named host only."""
    with FaultServer() as elsewhere:
        server.will_answer(redirect(307, f"http://127.0.0.1:{elsewhere.port}/api/v1/auth/token"))
        with pytest.raises(NotSupported, match="redirected"):
            connect(password="open").send(QUERY)
        assert elsewhere.received == []


def test_an_endless_redirect_ends(server: FaultServer, connect: Connect) -> None:
    """A circle of redirects is an error after a few steps."""
    server.script(itertools.repeat(redirect(307, "/api/v1/entries/query")))
    with pytest.raises(NotSupported, match="redirected"):
        connect().send(QUERY)
    assert len(server.received) == 5


HTTPS = "https://our.host/api/v1/datasets"


@pytest.mark.parametrize(
    ("method", "url", "status", "location", "step"),
    [
        ("GET", HTTPS, 307, "http://our.host/api/v1/datasets/", Step(HTTPS + "/", True)),
        (
            "GET",
            HTTPS,
            307,
            "https://our.host:443/api/v1/datasets/",
            Step(HTTPS.replace("host", "host:443") + "/", True),
        ),
        ("POST", HTTPS, 308, "http://other.host/x", Step("http://other.host/x", False)),
        ("GET", HTTPS, 307, "http://our.host:8000/x", Step("http://our.host:8000/x", False)),
        ("GET", HTTPS, 307, "//other.host/x", Step("https://other.host/x", False)),
        ("POST", "http://our.host/x", 307, "https://our.host/x", Step("https://our.host/x", True)),
        (
            "POST",
            "http://our.host/x?a=1",
            301,
            "https://our.host/x?a=1",
            Step("https://our.host/x?a=1", True),
        ),
        ("POST", "http://our.host/x", 301, "https://our.host/y", None),
        ("POST", HTTPS, 303, "/other", None),
        ("GET", HTTPS, 302, "/api/v1/other", Step("https://our.host/api/v1/other", True)),
        ("GET", HTTPS, 302, "https://login.host/", None),
        ("GET", HTTPS, 307, "ftp://our.host/x", None),
        ("GET", HTTPS, 307, "https://our.host:port/x", None),
        ("GET", HTTPS, 300, "/x", None),
    ],
)
def test_where_a_redirect_may_lead(
    method: str, url: str, status: int, location: str, step: Step | None
) -> None:
    """Https stays https on its host; nothing secret goes to another host; logins are not followed."""
    assert follow(method, url, status, location) == step


def test_credentials_of_another_deployment_are_refused(server: FaultServer) -> None:
    """A token goes only to the host that it is for: a mix-up is an error before anything is sent."""
    credentials = Credentials("the variable X", "https://our.host/api/v1", Secret("t"))
    with pytest.raises(NotAuthenticated, match="not sent to"):
        Transport(RequestsWire(server.api_base), find_deployment(server.api_base), credentials=credentials)
    assert server.received == []
