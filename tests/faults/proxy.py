"""A local deployment on real sockets behind a proxy that spoils its answers as told."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qsl

from nomadquery.http.message import Request
from nomadquery.local.routes import LocalDeployment
from nomadquery.local.store import LocalStore
from tests.faults.server import Answer, FaultServer, Received

Schedule = Callable[[int, Answer], Answer]


class Proxy(FaultServer):
    """Answers from ``store``; ``schedule`` gets the number of the request and its right answer."""

    def __init__(self, store: LocalStore, schedule: Schedule = lambda _, answer: answer) -> None:
        super().__init__()
        self._deployment = LocalDeployment(store)
        self.schedule = schedule

    def next_answer(self, received: Received) -> Answer:
        with self._lock:
            self.received.append(received)
            number = len(self.received)
        path, _, query = received.path.removeprefix("/api/v1/").partition("?")
        request = Request(
            received.method,
            path,
            params=tuple(parse_qsl(query, keep_blank_values=True)),
            json=json.loads(received.body) if received.body else None,
            headers=tuple(received.headers.items()),
        )
        reply = self._deployment.answer(request, api_base=self.api_base)
        headers = tuple((name, text) for name, text in reply.headers.items() if name != "content-length")
        return self.schedule(number, Answer(reply.status, reply.body, headers))

    def pages(self) -> list[dict[str, object]]:
        """Return the ``pagination`` of each request for entries, in their order."""
        asked = [one for one in self.received if one.path.endswith("/entries/query")]
        return [json.loads(one.body)["pagination"] for one in asked]
