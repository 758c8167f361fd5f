"""Requests that NOMAD reads rightly find the same entries when they have been read and rewritten."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from nomadquery import Query
from tests.test_query_json import ABOUT_THE_OWNER, CASES, LEFT_TO_THE_SERVER, MISREAD, READ, REFUSED

#: Accepted by NOMAD's interface; the search engine behind it does not understand the value.
REFUSED_BY_THE_ENGINE = {"string-for-int", "date-garbage", "mixed-type-list"}


def answer(url: str, query: Any) -> requests.Response:
    """Return the answer to a request for the ids of all hits."""
    request = {"query": query, "pagination": {"page_size": 10_000}, "required": {"include": ["entry_id"]}}
    return requests.post(f"{url}/entries/query", json=request, timeout=120)


def ids(url: str, query: Any) -> list[str]:
    """Return the ids of all hits, in order."""
    reply = answer(url, query)
    assert reply.status_code == 200, reply.text[:400]
    return [entry["entry_id"] for entry in reply.json()["data"]]


@pytest.mark.parametrize("id", sorted(set(READ) - ABOUT_THE_OWNER))
def test_rewritten_case_finds_the_same_entries(id: str, real_url: str) -> None:
    """By entry id, each once, in order."""
    asked = CASES[id]["request"]["json"].get("query")
    assert ids(real_url, Query.from_json(asked).to_json()) == ids(real_url, asked)


@pytest.mark.parametrize("id", sorted(REFUSED.keys() | REFUSED_BY_THE_ENGINE | LEFT_TO_THE_SERVER))
def test_what_is_refused_here_is_refused_there(id: str, real_url: str) -> None:
    """By the interface (422), by a failure of the server (500) or by the engine (400)."""
    assert answer(real_url, CASES[id]["request"]["json"].get("query")).status_code in {400, 422, 500}


@pytest.mark.parametrize("id", sorted(MISREAD.keys() - REFUSED_BY_THE_ENGINE))
def test_what_is_misread_there_is_answered(id: str, real_url: str) -> None:
    """Which is why it must be refused here."""
    assert answer(real_url, CASES[id]["request"]["json"].get("query")).status_code == 200
