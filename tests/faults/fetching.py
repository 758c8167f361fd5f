"""Tables from a faulty server: with a time of their own, so that pauses take none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from nomadquery.http.deployment import find_deployment
from nomadquery.http.message import Reply, Request
from nomadquery.http.pace import Policy
from nomadquery.http.transport import RequestsWire, Transport
from nomadquery.query.quantity import Q
from nomadquery.search import Search, make_search
from nomadquery.session import Session
from tests.faults.clock import Clock, ThreadClock
from tests.faults.server import FaultServer

SEARCHED = {"gap": Q.gap, "n_elements": Q.n_elements, "formula": Q.results.material.chemical_formula_reduced}
WITH_ARCHIVES = {"n_elements": Q.n_elements, "energy": Q.energy}

Row = dict[str, Any]


class ImpatientWire(RequestsWire):
    """Waits for ``timeout_s`` only, whatever a request says."""

    def __init__(self, api_base: str, timeout_s: float) -> None:
        super().__init__(api_base)
        self._timeout_s = timeout_s

    def exchange(self, request: Request, headers: Mapping[str, str]) -> Reply:
        return super().exchange(replace(request, timeout_s=self._timeout_s), headers)


@contextmanager
def a_table(
    server: FaultServer,
    cache: Path,
    *,
    archives: bool = False,
    page_size: int = 50,
    clock: Clock | None = None,
    patience: Policy | None = None,
    timeout_s: float | None = None,
    offline: bool = False,
) -> Iterator[Search]:
    """Give the table of all entries that a new process with this cache would ask for, without pace."""
    deployment, clock = find_deployment(server.api_base), clock or ThreadClock()
    wire = RequestsWire(server.api_base) if timeout_s is None else ImpatientWire(server.api_base, timeout_s)
    transport = Transport(
        wire,
        deployment,
        policy=patience or Policy(),
        clock=clock.time,
        sleep=clock.sleep,
        chance=lambda: 0.0,
    )
    session = Session(deployment, transport, is_anonymous=True, folder=cache, offline=offline)
    columns = WITH_ARCHIVES if archives else SEARCHED
    try:
        yield make_search(session, (), None).select(**columns).page_size(page_size)
    finally:
        transport.close()


def rows_from(server: FaultServer, cache: Path, **how: Any) -> list[Row]:
    """Return the rows of that table."""
    with a_table(server, cache, **how) as table:
        return list(table.rows())
