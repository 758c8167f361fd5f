"""Fetching: this package beside the loop people write and NOMAD's ArchiveQuery, job by job, in one table.

Run ``python tests/benchmarks/bench_fetch.py [--runs 5] [--only JOB …] [--peer-python PYTHON]``; ``--list``
names the jobs. Each run is a process of its own (``peers.py``) against a stub of NOMAD on loopback
(``stub.py``) in another; those compared take turns, so that a busy moment meets them all, and what is shown
are medians. ArchiveQuery runs in a Python that has nomad-lab 2: ``--peer-python``, or the variable
``NOMADQUERY_PEER_PYTHON``; without one its jobs are skipped.

Those that took over 20 s are run ``--peer-runs`` times (1), which the table says. The entries are made at
the first call (half a minute) and kept below the folder of temporary files, about 0.6 GB. ``--save FILE``
writes every run as JSON. The last columns say what must be reached, what would be better, and whether it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.figures import Row, missing, shown
from tests.benchmarks.jobs import Job, jobs
from tests.benchmarks.peers import Run, Task
from tests.benchmarks.stub import running

ROOT: Final = Path(__file__).parents[2]
PEER_VARIABLE: Final = "NOMADQUERY_PEER_PYTHON"
_SLOW_S: Final = 20.0
_MOST_S: Final = 900


def run_part(task: Task, python: str) -> Run:
    """Return what a process of its own measured, or that it was stopped or told nothing."""
    command = [python, str(Path(__file__).with_name("peers.py")), json.dumps(asdict(task))]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_MOST_S,
        )
        return Run(**json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return Run(_MOST_S, _MOST_S, 0, 0, error="too long")
    except (IndexError, ValueError, TypeError):
        print(done.stderr[-3000:], file=sys.stderr)
        return Run(0, 0, 0, 0, error="no figures")


def _environment() -> dict[str, str]:
    """Return the variables of this process, with nothing between client and stub."""
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    return {name: value for name, value in os.environ.items() if name.lower() not in proxies}


def run_job(job: Job, n_runs: int, n_slow: int, peer_python: str | None) -> dict[str, list[Run]]:
    """Return the runs of each part; they take turns."""
    parts = {name: part for name, part in job.parts.items() if peer_python or not part.needs_nomad}
    runs: dict[str, list[Run]] = {name: [] for name in parts}
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(prefix="nomadquery-benchmark-"))
        stubs = {part.stub for part in parts.values() if part.stub is not None}
        addresses = {stub: stack.enter_context(running(stub)) for stub in sorted(stubs, key=repr)}
        for _ in range(n_runs):
            for name, part in parts.items():
                is_slow = bool(runs[name]) and runs[name][0].wall_s > _SLOW_S and not part.is_ours
                if len(runs[name]) >= (1 if part.is_told_only else n_slow if is_slow else n_runs):
                    continue
                options = {**part.options, **({"cache": cache} if part.peer in _USE_CACHE else {})}
                task = Task(part.peer, options=options)
                if part.stub is not None:
                    task = replace(task, address=addresses[part.stub], n_entries=part.stub.entries)
                python = peer_python if part.needs_nomad and peer_python else sys.executable
                runs[name].append(run := run_part(task, python))
                took = shown(run.wall_s, "wall_s")
                print(f"{job.name}: {name} {took} {run.error}".rstrip(), file=sys.stderr, flush=True)
    return runs


def _promised(job: Job) -> dict[str, int]:
    """Return how many rows each part that is ours has to give."""
    ours = {name: part.stub for name, part in job.parts.items() if part.is_ours}
    return {name: stub.entries for name, stub in ours.items() if stub is not None}


_USE_CACHE: Final = frozenset({"ours_kept", "ours_hit", "bare_hit"})
_HEADS: Final = ("job", "condition", "what", "ours", "peer", "ratio", "must (better)", "reached")


def printed(lines: Sequence[tuple[Job, Row]]) -> str:
    """Return the table."""
    cells = [_HEADS, *(_cells(job, row) for job, row in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _cells(job: Job, row: Row) -> tuple[str, ...]:
    reached = {None: "", False: "NO", True: "yes, better" if row.is_better else "yes"}[row.is_reached]
    return (job.name, job.condition, row.what, row.ours, row.peer, row.ratio, row.must, reached)


def main() -> None:
    """Run the jobs and print the table."""
    known = jobs()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of each peer")
    parser.add_argument("--peer-runs", type=int, default=1, help="of those that take over 20 s")
    parser.add_argument("--only", nargs="+", metavar="JOB", choices=[job.name for job in known])
    parser.add_argument("--peer-python", default=os.environ.get(PEER_VARIABLE), help="has nomad-lab 2")
    parser.add_argument("--save", type=Path, help="file for every run, as JSON")
    parser.add_argument("--list", action="store_true", help="name the jobs")
    given = parser.parse_args()
    if given.list:
        print("\n".join(f"{job.name:<16}{job.condition}" for job in known))
        return
    if given.peer_python is None:
        print(f"ArchiveQuery is skipped: no --peer-python and no {PEER_VARIABLE}", file=sys.stderr)
    lines: list[tuple[Job, Row]] = []
    saved: dict[str, Any] = {}
    began_s = time.monotonic()
    for job in known:
        if given.only is None or job.name in given.only:
            runs = run_job(job, given.runs, given.peer_runs, given.peer_python)
            saved[job.name] = {name: [asdict(run) for run in of_name] for name, of_name in runs.items()}
            lines += [(job, row) for row in (*job.rows(runs), *missing(runs, _promised(job)))]
    if given.save is not None:
        given.save.write_text(json.dumps(saved, indent=1))
    print(printed(lines))
    print(f"medians of {given.runs} runs, {(time.monotonic() - began_s) / 60:.0f} min in all")


if __name__ == "__main__":
    main()
