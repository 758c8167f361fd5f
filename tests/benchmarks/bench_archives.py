"""Memory while archives stream into a table: over the number of entries, beside the loop that keeps them.

Run ``python tests/benchmarks/bench_archives.py [RUNS]``: forces of archives of about 20 kB each, of 2,000,
8,000 and 32,000 entries, against a stub server on loopback that makes each answer when it is asked for.
Each run is a process of its own; what is printed are medians of the peak memory of the process beyond
that of one that has only imported what it needs.
"""

from __future__ import annotations

import importlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SIZES = (2_000, 8_000, 32_000)
N_ATOMS = 300
ROOT = Path(__file__).parents[2]
REQUIRED = {"run": {"calculation": {"forces": {"total": {"value": "*"}}}}}


def an_id(number: int) -> str:
    return f"{number:028d}"


class Stub(BaseHTTPRequestHandler):
    """Answers for as many entries as the address says: ``/<n>/…/api/v1/entries/…``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._give(b'{"version": "2.0.0"}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("archive/query"):
            named = body["query"]["entry_id"]
            ids = named["any"] if isinstance(named, dict) else [named]
            self._give(_page(len(ids), [_archive(one) for one in ids], None))
            return
        n_entries, paging = int(self.path.split("/")[1]), body["pagination"]
        start = int(paging.get("page_after_value") or -1) + 1
        stop = min(n_entries, start + paging["page_size"])
        items = [
            b'{"entry_id":"%b","upload_id":"u%d"}' % (an_id(n).encode(), n % 50) for n in range(start, stop)
        ]
        self._give(_page(n_entries, items, an_id(stop - 1) if start < stop < n_entries else None))

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def _give(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_FORCES = json.dumps([[1e-10 * (atom + axis / 7) for axis in range(3)] for atom in range(N_ATOMS)]).encode()


def _archive(entry_id: str) -> bytes:
    run = b'[{"calculation":[{"forces":{"total":{"value":%b}}}]}]' % _FORCES
    return b'{"entry_id":"%b","upload_id":"u","archive":{"run":%b}}' % (entry_id.encode(), run)


def _page(total: int, items: list[bytes], after: str | None) -> bytes:
    told: dict[str, Any] = {"total": total} | ({"next_page_after_value": after} if after else {})
    return b'{"pagination":%b,"data":[%b]}' % (json.dumps(told).encode(), b",".join(items))


def serve() -> None:
    """Say on which port, then answer until killed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def keeping(address: str) -> int:
    """Ask for pages of ids, then of archives, and keep what comes."""
    import requests

    kept: list[Any] = []
    paging: dict[str, Any] = {"page_size": 200}
    while True:
        page = requests.post(f"{address}/entries/query", json={"pagination": paging}, timeout=60).json()
        query = {"entry_id": {"any": [one["entry_id"] for one in page["data"]]}}
        body = {"query": query, "required": REQUIRED, "pagination": {"page_size": 200}}
        kept += requests.post(f"{address}/entries/archive/query", json=body, timeout=60).json()["data"]
        after = page["pagination"].get("next_page_after_value")
        if after is None:
            return len(kept)
        paging["page_after_value"] = after


def streaming(address: str) -> int:
    """Read the finished table batch by batch, as one reads what does not fit into memory."""
    from nomadquery import Nomad, Q

    with tempfile.TemporaryDirectory() as cache, Nomad(address, cache_dir=cache) as nomad:
        forces = Q.run[-1].calculation.forces.total.value.last()
        table = nomad.entries().select(forces=forces)
        return sum(batch.num_rows for batch in table.batches(1_000, progress=False))


def nothing(_address: str) -> int:
    """Only import."""
    return 0


CASES = {"imports": nothing, "keeping": keeping, "nomadquery": streaming}


def run_case(case: str, address: str) -> None:
    """Print the peak megabytes of one run."""
    for library in ("pandas", "pyarrow.parquet", "requests", "nomadquery.client"):
        importlib.import_module(library)
    CASES[case](address)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peak(case: str, address: str) -> float:
    """Return the peak megabytes of a run in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, case, address], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def main(n_runs: int) -> None:
    """Print a line for each number of entries."""
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        host = f"http://127.0.0.1:{int(server.stdout.readline())}"
        imports = statistics.median(peak("imports", host) for _ in range(n_runs))
        for size in SIZES:
            address = f"{host}/{size}/nomad-oasis/api/v1"
            peaks = {
                case: statistics.median(peak(case, address) for _ in range(n_runs)) - imports
                for case in ("keeping", "nomadquery")
            }
            shown = "   ".join(f"{case} {megabytes:7.0f} MB" for case, megabytes in peaks.items())
            print(f"{size:>7,} archives of {len(_archive(an_id(0))) / 1e3:.0f} kB   {shown}")
    finally:
        server.kill()
        server.communicate()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case [case, address]:
            run_case(case, address)
        case given:
            main(int(given[0]) if given else 3)
