"""A process that asks: ``python -m tests.faults.asking API_BASE FOLDER N_THREADS N_REQUESTS``.

Prints what was answered, as lines of JSON.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nomadquery.http.deployment import find_deployment
from nomadquery.http.message import Request
from nomadquery.http.pace import Pace
from nomadquery.http.transport import RequestsWire, Transport


def main() -> None:
    """Ask from several threads, archives and searches in turn."""
    api_base, folder, n_threads, n_requests = sys.argv[1:]
    wire, pace = RequestsWire(api_base), Pace(lambda: Path(folder))
    transport = Transport(wire, find_deployment(api_base), pace=pace)
    asked = [
        Request("POST", "entries/query", json={}, kind="archive" if n % 3 == 0 else "search")
        for n in range(int(n_requests))
    ]
    with ThreadPoolExecutor(int(n_threads)) as pool:
        for reply in pool.map(transport.send, asked):
            print(reply.body.decode(), flush=True)
    transport.close()


if __name__ == "__main__":
    main()
