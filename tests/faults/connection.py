"""A transport to a faulty server, with its own time and no chance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nomadquery.http.auth import ANONYMOUS, Credentials, Secret
from nomadquery.http.deployment import find_deployment
from nomadquery.http.transport import RequestsWire, Transport
from tests.faults.clock import Clock
from tests.faults.server import FaultServer


@contextmanager
def connected(
    server: FaultServer, clock: Clock, *, token: str | None = None, password: str | None = None
) -> Iterator[Transport]:
    """Give a transport to the server: anonymous, with a token, or as a user with a password."""
    deployment = find_deployment(server.api_base)
    credentials = ANONYMOUS
    if token is not None:
        credentials = Credentials("the variable X", deployment.api_base, Secret(token))
    if password is not None:
        credentials = Credentials("the variable X", deployment.api_base, None, "ada", Secret(password))
    transport = Transport(
        RequestsWire(deployment.api_base),
        deployment,
        credentials=credentials,
        clock=clock.time,
        sleep=clock.sleep,
        chance=lambda: 0.0,
    )
    try:
        yield transport
    finally:
        transport.close()
