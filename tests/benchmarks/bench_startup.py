"""How long ``import nomadquery`` and ``nomadquery --help`` take, in fresh processes.

Run ``python tests/benchmarks/bench_startup.py [N]``; medians of N runs (15), beside an empty Python.
The limits are 0.3 s and 0.5 s.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = {
    "python -c pass": "pass",
    "import nomadquery": "import nomadquery",
    "nomadquery --help": "from nomadquery.cli.main import cli; cli(['--help'])",
    "nomadquery entries --help": "from nomadquery.cli.main import cli; cli(['entries', '--help'])",
}


def seconds(code: str) -> float:
    """Return how long a process that runs ``code`` lives."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - started


def main() -> None:
    """Print a line for each case; the cases take turns, so that a busy moment meets them all."""
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    runs = [{name: seconds(code) for name, code in CASES.items()} for _ in range(n_runs + 1)][1:]
    for name in CASES:
        taken = [run[name] for run in runs]
        print(f"{name:<28}{statistics.median(taken):6.3f} s   (fastest {min(taken):.3f} s, {n_runs} runs)")


if __name__ == "__main__":
    main()
