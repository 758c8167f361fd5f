"""A NOMAD to fetch tables from, in this process: it counts what is sent, and fails as told.

The client sees an Oasis on another host: nothing of what holds for deployments inside the process
only (no pace, no caution with the cache) applies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from nomadquery.http.deployment import Deployment, find_deployment
from nomadquery.http.message import Reply, Request, Stream, Wire, WireFailure, stream_of
from nomadquery.http.transport import Transport
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from nomadquery.query.query import Query
from nomadquery.search import Search, make_search
from nomadquery.session import Session
from tests.faults.clock import Clock

API_BASE = "https://our.host/nomad-oasis/api/v1"
Change = Callable[[Request, Reply], Reply]
EV = 1.602176634e-19  # joule; SI 2019


class CountedWire:
    """Carries requests to a store, keeps them, and lets ``change`` spoil the answers about entries."""

    def __init__(self, store: LocalStore, change: Change | None = None) -> None:
        self.store = store
        self.sent: list[Request] = []
        self.change = change
        self._wire = LocalWire(store, api_base=API_BASE)

    def exchange(self, request: Request, headers: Mapping[str, str]) -> Reply:
        self.sent.append(request)
        reply = self._wire.exchange(request, headers)
        change = self.change if request.path.startswith("entries/") else None
        return reply if change is None else change(request, reply)

    @contextmanager
    def open(self, request: Request, headers: Mapping[str, str]) -> Iterator[Stream]:
        yield stream_of(self.exchange(request, headers))

    def close(self) -> None:
        """Nothing is open."""

    @property
    def pages(self) -> list[Request]:
        """The requests for entries, counts included."""
        return [request for request in self.sent if request.path == "entries/query"]

    @property
    def archive_pages(self) -> list[Request]:
        return [request for request in self.sent if request.path == "entries/archive/query"]


def a_session(
    wire: Wire, cache: Path, *, offline: bool = False, deployment: Deployment | None = None
) -> Session:
    """Return a session with its own time: pauses after failures take none."""
    clock = Clock()
    where = deployment or find_deployment(API_BASE)
    transport = Transport(wire, where, clock=clock.time, sleep=clock.sleep, chance=lambda: 0.0)
    return Session(deployment=where, transport=transport, is_anonymous=True, folder=cache, offline=offline)


def a_search(
    wire: Wire,
    cache: Path,
    *criteria: Query | Mapping[str, Any],
    offline: bool = False,
    owner: str | None = None,
) -> Search:
    """Return the search that a new process with this cache would make."""
    return make_search(a_session(wire, cache, offline=offline), criteria, owner)


def lost(_request: Request, _reply: Reply) -> Reply:
    """Answer nothing: the connection is gone."""
    raise WireFailure("reset", "the connection is gone")


def lost_after(wire: CountedWire, n_pages: int) -> Change:
    """Return how a server answers that is gone after so many pages of entries."""
    return lambda request, reply: reply if len(wire.pages) <= n_pages else lost(request, reply)


def edited(reply: Reply, change: Callable[[Any], None]) -> Reply:
    """Return the answer with its JSON changed in place by ``change``."""
    content = json.loads(reply.body)
    change(content)
    return replace(reply, body=json.dumps(content).encode())


def a_document(entry_id: str, **more: Any) -> dict[str, Any]:
    """Return a public search document with one gap of one electronvolt times the number in its id."""
    number = int("".join(character for character in entry_id if character.isdigit()) or 0)
    results = {
        "material": {"elements": ["O", "Ti"], "n_elements": 2, "chemical_formula_reduced": "O2Ti"},
        "properties": {"electronic": {"band_gap": [{"value": number * EV, "type": "direct"}]}},
    }
    return {
        "entry_id": entry_id,
        "upload_id": f"upload-{number % 3}",
        "mainfile": f"{entry_id}/vasprun.xml",
        "published": True,
        "with_embargo": False,
        "upload_create_time": "2024-01-02T03:04:05.678000+00:00",
        "results": results,
        **more,
    }


def an_archive_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an archive with two energies and, for the second, a system that it refers to."""
    number = int("".join(c for c in document["entry_id"] if c.isdigit()) or 0)
    calculations = [
        {"energy": {"total": {"value": -number * EV}}, "system_ref": "#/run/0/system/0"},
        {"energy": {"total": {"value": -(number + 0.5) * EV}}, "system_ref": "/run/0/system/1"},
    ]
    systems = [{"atoms": {"labels": ["Ti"] * n, "positions": [[0.0, 0.0, n * 1e-10]] * n}} for n in (1, 2)]
    return {
        "metadata": {"entry_id": document["entry_id"]},
        "results": document["results"],
        "run": [{"program": {"name": "VASP"}, "calculation": calculations, "system": systems}],
    }


def ids(count: int) -> list[str]:
    """Return ids in the order in which the server lists them."""
    return [f"entry-{number:04d}" for number in range(count)]


def a_filled_store(entry_ids: Iterable[str], *, archives: bool = True) -> LocalStore:
    """Return a store in memory with a public entry for each id."""
    store = LocalStore()
    documents = [a_document(entry_id) for entry_id in entry_ids]
    store.add_entries((document, an_archive_of(document) if archives else None) for document in documents)
    return store
