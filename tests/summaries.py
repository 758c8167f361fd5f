"""Where summaries come from in tests: a store in this process, counted requests, pages as small as wanted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from nomadquery.columns.planned import PlannedColumn
from nomadquery.fetch.pages import Source
from nomadquery.fetch.plan import Question
from nomadquery.http.message import Reply, Request
from nomadquery.local.demo import open_demo
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.criteria import EVERYTHING, Criterion
from tests.command_line import demo_shell
from tests.local_entries import query

EV = 1.602176634e-19  # joule; SI 2019
Document = dict[str, Any]


class Sent:
    """Carries requests to a store, and keeps them."""

    def __init__(self, store: LocalStore) -> None:
        self.requests: list[Request] = []
        self._wire = LocalWire(store)

    def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = self._wire.exchange(request, {})
        assert reply.status == 200, json.loads(reply.body)
        return reply


def a_source(
    store: LocalStore | Sent,
    *,
    criterion: Criterion = EVERYTHING,
    columns: tuple[PlannedColumn, ...] = (),
    limit: int | None = None,
    release: str = "2.0.0",
) -> Source:
    """Return the source of a search over a store; ``release`` is what is said of the store."""
    question = Question(
        deployment="here",
        release=release,
        owner="public",
        user=None,
        asked=criterion,
        columns=columns,
        criterion=criterion,
        limit=limit,
    )
    return Source(
        send=store if isinstance(store, Sent) else Sent(store),
        question=question,
        catalogue=catalogue_for(release),
    )


def a_store_of(documents: Iterable[Mapping[str, Any]]) -> LocalStore:
    """Return a store in memory that holds search documents without archives."""
    store = LocalStore()
    store.add_entries((dict(document), None) for document in documents)
    return store


def demo_store(factory: pytest.TempPathFactory) -> LocalStore:
    """Return the store of the demo, unpacked once for all tests of this run."""
    return open_demo(demo_shell(factory).cache / "demo")


def documents_of(store: LocalStore) -> list[Document]:
    """Return every search document of a store."""
    answer = query(store, pagination={"page_size": 10_000})
    found: list[Document] = answer["data"]
    assert len(found) == answer["pagination"]["total"]
    return found


def gaps_of(document: Document) -> list[float]:
    """Return the band gaps of an entry in electronvolts."""
    found = document["results"].get("properties", {}).get("electronic", {}).get("band_gap", [])
    return [gap["value"] / EV for gap in found if gap.get("value") is not None]
