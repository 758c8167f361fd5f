"""What agreeing on the pace costs each request, alone and with other processes at the same folder.

Run ``python tests/benchmarks/bench_pace.py [N]``; medians of N requests (2,000) that take no time and are
never held back, beside a pace of the process's own.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nomadquery.http.lanes import Done
from nomadquery.http.pace import Pace

_N_OTHERS = 3


def microseconds(pace: Pace, n: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of what one slot costs."""
    taken = []
    for _ in range(n):
        began_s = time.perf_counter()
        with pace.slot("search") as slot:
            slot.done = Done("answered", took_s=0.1)
        taken.append(1e6 * (time.perf_counter() - began_s))
    return statistics.median(taken), statistics.quantiles(taken, n=100)[-1]


def unbounded(place: Callable[[], Path] | None) -> Pace:
    return Pace(place, per_s=1e6, in_flight=1000)


def ask_calmly(folder: str) -> None:
    """Send 25 requests a second, for ever."""
    pace = unbounded(lambda: Path(folder))
    while True:
        with pace.slot("search") as slot:
            slot.done = Done("answered", took_s=0.1)
        time.sleep(0.04)


def main() -> None:
    """Print a line for each case."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    with tempfile.TemporaryDirectory() as folder:
        cases = {"own": unbounded(None), "shared, alone": unbounded(lambda: Path(folder))}
        for name, pace in cases.items():
            print("{:<28}{:8.0f} µs   (99 %: {:.0f} µs)".format(name, *microseconds(pace, n)))
        others = [multiprocessing.Process(target=ask_calmly, args=(folder,)) for _ in range(_N_OTHERS)]
        for other in others:
            other.start()
        time.sleep(1)
        found = microseconds(unbounded(lambda: Path(folder)), n)
        print("{:<28}{:8.0f} µs   (99 %: {:.0f} µs)".format(f"shared, {_N_OTHERS} others", *found))
        for other in others:
            other.kill()
            other.join()


if __name__ == "__main__":
    main()
