"""Fetching 10,000 entries as a DataFrame: this package beside a loop of requests and `json_normalize`.

Run ``python tests/benchmarks/bench_table.py [N]``; medians of N runs (5), each in a fresh process, against a
stub server on loopback that answers from memory. Imports are not counted; our time includes checking
that nothing is missing and writing Parquet. Peak memory is that of the whole process.
"""

from __future__ import annotations

import bisect
import importlib
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

N_ENTRIES = 10_000
ROOT = Path(__file__).parents[2]
INCLUDE = [
    "entry_id",
    "results.material.chemical_formula_reduced",
    "results.material.elements",
    "results.material.n_elements",
    "results.material.symmetry.space_group_symbol",
    "results.method.simulation.program_name",
    "results.properties.electronic.band_gap*",
    "upload_create_time",
]


def a_document(number: int, chance: random.Random) -> dict[str, Any]:
    """Return a search document with the included fields; some lack a gap."""
    elements = chance.sample(["Al", "Cs", "Ga", "I", "N", "O", "Pb", "Si", "Ti"], chance.randint(1, 4))
    gaps = [
        {"index": index, "value": chance.random() * 1e-18, "type": chance.choice(["direct", "indirect"])}
        for index in range(chance.randint(0, 2))
    ]
    return {
        "entry_id": f"{number:028d}",
        "upload_create_time": f"2024-01-{1 + number % 28:02d}T03:04:05.678000+00:00",
        "results": {
            "material": {
                "chemical_formula_reduced": "".join(sorted(elements)),
                "elements": sorted(elements),
                "n_elements": len(elements),
                "symmetry": {"space_group_symbol": chance.choice(["Fm-3m", "Pm-3m", "P1"])},
            },
            "method": {"simulation": {"program_name": chance.choice(["VASP", "FHI-aims", "exciting"])}},
            "properties": {"electronic": {"band_gap": gaps}},
        },
    }


class Entries(ThreadingHTTPServer):
    """The server: the JSON of each entry, and the ids in their order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Stub)
        chance = random.Random(1)
        self.entries = [json.dumps(a_document(number, chance)).encode() for number in range(N_ENTRIES)]
        self.ids = [f"{number:028d}" for number in range(N_ENTRIES)]


class Stub(BaseHTTPRequestHandler):
    """Answers pages of the entries by cursor, and what release it is."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Entries

    def do_GET(self) -> None:
        self._give(b'{"version": "2.0.0"}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        paging = body["pagination"]
        ids, entries = self.server.ids, self.server.entries
        start = bisect.bisect_right(ids, paging.get("page_after_value") or "")
        stop = min(N_ENTRIES, start + paging["page_size"])
        told: dict[str, Any] = {"total": N_ENTRIES}
        if start < stop < N_ENTRIES:
            told["next_page_after_value"] = ids[stop - 1]
        items = b",".join(entries[start:stop])
        self._give(b'{"pagination": %b, "data": [%b]}' % (json.dumps(told).encode(), items))

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def _give(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve() -> None:
    """Say on which port, then answer until killed."""
    server = Entries()
    print(server.server_address[1], flush=True)
    server.serve_forever()


def naively(address: str) -> int:
    """Fetch as many scripts do: pages of 1,000 into a list, then one call."""
    import pandas as pd
    import requests

    entries: list[Any] = []
    paging: dict[str, Any] = {"page_size": 1000}
    while True:
        body = {"owner": "public", "pagination": paging, "required": {"include": INCLUDE}}
        answer = requests.post(f"{address}/entries/query", json=body, timeout=60).json()
        entries += answer["data"]
        after = answer["pagination"].get("next_page_after_value")
        if after is None:
            return len(pd.json_normalize(entries))
        paging["page_after_value"] = after


def with_nomadquery(address: str) -> int:
    """Fetch the same as a table: complete, typed, in electronvolt, kept."""
    from nomadquery import Nomad, Q

    with tempfile.TemporaryDirectory() as cache, Nomad(address, cache_dir=cache) as nomad:
        table = nomad.entries().select(
            "formula", "elements", "n_elements", "space_group", "program", "uploaded", gaps=Q.gap
        )
        return len(table.to_pandas(progress=False))


CASES = {"naive": naively, "nomadquery": with_nomadquery}


def run_case(case: str, address: str) -> None:
    """Print seconds and peak megabytes of one run."""
    for library in ("pandas", "pyarrow.parquet", "requests", "nomadquery.client"):
        importlib.import_module(library)
    began = time.perf_counter()
    assert CASES[case](address) == N_ENTRIES
    took = time.perf_counter() - began
    print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(case: str, address: str) -> tuple[float, float]:
    """Return seconds and peak megabytes of a run in a process of its own."""
    command = [sys.executable, __file__, case, address]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    took, peak = map(float, done.stdout.split())
    return took, peak


def main(n_runs: int) -> None:
    """Print a line for each case, and how many times as long ours takes; the cases take turns."""
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{int(server.stdout.readline())}/nomad-oasis/api/v1"
        runs = [{case: measured(case, address) for case in CASES} for _ in range(n_runs + 1)][1:]
    finally:
        server.kill()
        server.communicate()
    medians = {case: statistics.median(run[case][0] for run in runs) for case in CASES}
    for case, seconds in medians.items():
        peak = statistics.median(run[case][1] for run in runs)
        print(f"{case:<12}{seconds:7.3f} s   peak {peak:6.0f} MB   ({N_ENTRIES:,} entries, {n_runs} runs)")
    print(f"ratio of medians, nomadquery / naive: {medians['nomadquery'] / medians['naive']:.2f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case [case, address]:
            run_case(case, address)
        case given:
            main(int(given[0]) if given else 5)
