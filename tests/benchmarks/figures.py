"""Lines of the table of ``bench_fetch.py``: what runs came to, and what must be reached."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tests.benchmarks.peers import Run

Runs = Mapping[str, Sequence[Run]]
Figure = Literal["wall_s", "cpu_s", "peak_mb"]

_WORDS: Final[dict[Figure, str]] = {"wall_s": "wall", "cpu_s": "CPU", "peak_mb": "memory"}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: texts, and whether what must be reached is; ``None`` where nothing must."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    must: str = ""
    is_reached: bool | None = None
    is_better: bool = False


def median(runs: Sequence[Run], figure: Figure) -> float:
    """Return the median of a figure of some runs."""
    return statistics.median(float(getattr(run, figure)) for run in runs)


def shown(value: float, figure: Figure) -> str:
    """Return a figure with its unit."""
    if figure == "peak_mb":
        return f"{value:.0f} MB"
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.2f} ms"


def peer_shown(runs: Sequence[Run], figure: Figure, name: str, n_ours: int) -> str:
    """Return the figure of a peer, with its name, how few runs there were, and what stopped it."""
    few = f", {len(runs)} run{'s' if len(runs) > 1 else ''}" if len(runs) < n_ours else ""
    stopped = next((f", stopped by {run.error}" for run in runs if run.error), "")
    return f"{shown(median(runs, figure), figure)} ({name}{few}{stopped})"


def times(
    runs: Runs,
    name: str,
    figure: Figure = "wall_s",
    *,
    least: float | None = None,
    better: float | None = None,
    ours: str = "ours",
) -> list[Row]:
    """Return how many times as much a peer takes; no ratio where one was stopped."""
    if name not in runs:
        return [Row(_WORDS[figure], shown(median(runs[ours], figure), figure), f"({name} not run)")]
    own, other = median(runs[ours], figure), median(runs[name], figure)
    beside = peer_shown(runs[name], figure, name, len(runs[ours]))
    if any(run.error for run in (*runs[ours], *runs[name])):
        return [Row(_WORDS[figure], shown(own, figure), beside, "-")]
    ratio = other / max(own, 1e-9)
    must = "" if least is None else f"≥ {least:g}× ({better:g}×)"
    is_reached = None if least is None else ratio >= least
    is_better = better is not None and ratio >= better
    return [Row(_WORDS[figure], shown(own, figure), beside, f"{ratio:.1f}×", must, is_reached, is_better)]


def missing(runs: Runs, names: Mapping[str, int]) -> list[Row]:
    """Return a line for each of ours that did not give all its rows: its other figures say nothing then."""
    return [
        Row("all rows", f"{run.n_rows:,} {run.error} ({name})", "", "", f"{n_rows:,}", False)
        for name, n_rows in names.items()
        for run in runs[name]
        if run.n_rows != n_rows or run.error
    ]


def at_most(
    what: str, value: float, text: str, *, most: float, better: float, unit: str, peer: str = ""
) -> Row:
    """Return whether something of ours is small enough."""
    return Row(what, text, peer, "", f"≤ {most:g} {unit} ({better:g})", value <= most, value <= better)


def peak(runs: Runs, name: str, *, most: float, better: float, peer: str = "") -> Row:
    """Return whether memory is small enough."""
    value = median(runs[name], "peak_mb")
    beside = peer_shown(runs[peer], "peak_mb", peer, len(runs[name])) if peer in runs else ""
    return at_most("memory", value, f"{value:.0f} MB", most=most, better=better, unit="MB", peer=beside)


def whole(runs: Runs, n_entries: int) -> list[Row]:
    """Return a line for each peer about lost rows and refused requests; ours must lose none."""
    rows: list[Row] = []
    for name, of_name in runs.items():
        lost = max(n_entries - run.n_rows for run in of_name)
        refused = sum(run.n_refused for run in of_name) / max(1, sum(run.n_requests for run in of_name))
        failed = sum(run.n_failed for run in of_name)
        told = f"{lost:,} lost, {refused:.1%} refused" + (f", {failed} failed" if failed else "")
        told += next((f", {run.error}" for run in of_name if run.error), "")
        if name == "ours":
            must = "0 lost, < 1 % refused"
            rows.append(Row("rows", told, "", "", must, lost == 0 and refused < 0.01, refused == 0 == lost))
        else:
            rows.append(Row("rows", "", f"{told} ({name})"))
    return rows
