"""Processes that fetch a table: forked from one that has everything loaded, so that each starts at once."""

from __future__ import annotations

import json
import multiprocessing
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd  # noqa: F401 # these are loaded once, before children are forked
import pyarrow.compute
import pyarrow.parquet  # noqa: F401

from nomadquery.errors import IncompleteResult
from nomadquery.http.deployment import find_deployment
from nomadquery.http.transport import RequestsWire
from nomadquery.search import make_search
from tests.faults.entries import EntriesServer
from tests.faults.fetching import SEARCHED, WITH_ARCHIVES, Row
from tests.tables import a_session

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.faults.children"])


def child(
    server: EntriesServer,
    cache: Path,
    *,
    page_size: int,
    archives: bool = False,
    answer: Path | None = None,
) -> BaseProcess:
    """Return a process, not started, that fetches the table; it writes its rows as JSON to ``answer``."""
    arguments = (server.api_base, cache, page_size, archives, answer)
    return _processes.Process(target=_fetch, args=arguments, daemon=True)


def rows_in(answer: Path) -> list[Row]:
    """Return the rows that a child wrote, ``[]`` if the server failed it."""
    rows: list[Row] = json.loads(answer.read_text())
    return rows


def wait_until_closed(server: EntriesServer) -> None:
    """Wait until no request of a killed process is being answered."""
    until_s = time.monotonic() + 10
    while server.n_open and time.monotonic() < until_s:
        time.sleep(0.001)


def _fetch(api_base: str, cache: Path, page_size: int, archives: bool, answer: Path | None) -> None:
    session = a_session(RequestsWire(api_base), cache, deployment=find_deployment(api_base))
    table = make_search(session, (), None).select(**(WITH_ARCHIVES if archives else SEARCHED))
    rows: list[Row] = []
    with suppress(IncompleteResult):
        rows = list(table.page_size(page_size).rows())
    if answer is not None:
        answer.write_text(json.dumps(rows))
