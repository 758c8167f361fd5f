"""Small archives to put into a local deployment, and one way to ask it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from nomadquery.http.message import Request
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire

Answer = tuple[int, Any]


def an_archive(entry_id: str, *, elements: Iterable[str] = ("O", "Ti"), **metadata: Any) -> dict[str, Any]:
    """Return a published archive of a VASP calculation with two runs of two calculations."""
    calculation = {"energy": {"total": {"value": -1.5e-18}}, "system_ref": "/run/0/system/0"}
    return {
        "metadata": {
            "entry_id": entry_id,
            "upload_id": "upload-1",
            "mainfile": f"{entry_id}/vasprun.xml",
            "parser_name": "parsers/vasp",
            "upload_create_time": "2024-01-02T03:04:05+00:00",
            "published": True,
            "with_embargo": False,
            "main_author": {"user_id": "user-1", "name": "Ada Lovelace"},
            **metadata,
        },
        "run": [{"program": {"name": "VASP"}, "calculation": [calculation, calculation]}] * 2,
        "results": {
            "material": {"elements": list(elements), "chemical_formula_hill": "O2Ti"},
            "method": {"simulation": {"program_name": "VASP", "program_version": "6.3"}},
            "properties": {
                "electronic": {
                    "band_gap": [
                        {"value": 3.2e-19, "type": "direct"},
                        {"type": "indirect"},
                        {"value": 4.8e-19, "type": "indirect"},
                    ]
                }
            },
        },
    }


def a_store(*archives: dict[str, Any]) -> LocalStore:
    """Return a store in memory that holds the archives."""
    store = LocalStore()
    store.add_archives(archives)
    return store


def ask(
    store: LocalStore, method: str, path: str, body: Any = None, params: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """Return status and content of what the deployment over ``store`` answers."""
    reply = LocalWire(store).exchange(Request(method, path, params=params, json=body), {})
    return reply.status, json.loads(reply.body)


def query(store: LocalStore, **body: Any) -> Any:
    """Return the content of the answer to ``POST entries/query``, which must succeed."""
    status, content = ask(store, "POST", "entries/query", body)
    assert status == 200, content
    return content
