"""A real NOMAD server, given by the environment, and all that the public may see of it."""

from __future__ import annotations

import os
from typing import Any

import pytest
import requests


@pytest.fixture(scope="session")
def real_url() -> str:
    """Return the API address of the server that ``NOMADQUERY_REAL_URL`` names, without a trailing slash."""
    url = os.environ.get("NOMADQUERY_REAL_URL", "").rstrip("/")
    if not url:
        pytest.fail(
            "These tests ask a real NOMAD server. Start one, seeded with the sample entries, and set "
            "NOMADQUERY_REAL_URL to its API address, such as http://127.0.0.1:8765/api/v1."
        )
    return url if url.endswith("/api/v1") else f"{url}/api/v1"


@pytest.fixture(scope="session")
def real_documents(real_url: str) -> list[dict[str, Any]]:
    """Return the whole search document of every public entry, in the order of ``entry_id``."""
    documents: list[dict[str, Any]] = []
    pagination: dict[str, Any] = {"page_size": 1000, "order_by": "entry_id"}
    while True:
        body = {"owner": "public", "pagination": pagination}
        reply = requests.post(f"{real_url}/entries/query", json=body, timeout=120)
        reply.raise_for_status()
        answer = reply.json()
        documents += answer["data"]
        after = answer["pagination"].get("next_page_after_value")
        if after is None or not answer["data"]:
            break
        pagination = {**pagination, "page_after_value": after}
    if len(documents) != answer["pagination"]["total"]:
        pytest.fail(f"{len(documents)} of {answer['pagination']['total']} public entries arrived.")
    return documents
