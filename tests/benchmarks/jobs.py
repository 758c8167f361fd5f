"""The jobs of ``bench_fetch.py``: what takes turns, under which conditions, and what must be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.benchmarks.conditions import Options
from tests.benchmarks.figures import Row, Runs, at_most, median, peak, peer_shown, shown, times, whole


@dataclass(frozen=True, slots=True)
class Part:
    """One of those that take turns in a job.

    Attributes
    ----------
    stub : Options or None
        Whom it asks; ``None``: nobody.
    peer : str
        One of `peers.PEERS`.
    options : dict
        Of the peer.
    is_told_only : bool
        Run once, for nothing is measured by it.
    """

    stub: Options | None
    peer: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_told_only: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it is this package that fetches."""
        return self.peer.startswith("ours")

    @property
    def needs_nomad(self) -> bool:
        """Whether it needs the Python that has nomad-lab."""
        return self.peer.startswith("archive_query")


@dataclass(frozen=True, slots=True)
class Job:
    """What is compared under one condition; ``rows`` makes lines of all runs, those that were possible."""

    name: str
    condition: str
    parts: Mapping[str, Part]
    rows: Callable[[Runs], list[Row]]


_BIG: Final = Options(entries=100_000)
_TABLE: Final = Options(entries=10_000)
_LIMITS: Final = Options(entries=10_000, rate_per_s=30, concurrent=10)
_SMALL: Final = Options(entries=10_000, archives="small")
_SMALL_LIMITS: Final = replace(_LIMITS, archives="small")
_THOUSAND: Final = replace(_SMALL, entries=1_000)
_FULL: Final = Options(entries=10_000, archives="full")
_NARROW: Final = Options(entries=10_000, bytes_per_s=20e6, gzip=True)

#: The constructor's settings that were fastest among those that lose nothing under NOMAD's limits.
TUNED: Final = {"page_size": 9_999, "batch_size": 1_000, "semaphore": 10, "max_requests_per_second": 25}


def _naive(stub: Options, page_size: int, *, is_told_only: bool = False, **options: bool) -> Part:
    return Part(stub, "naive", {"page_size": page_size, **options}, is_told_only)


def _streaming_rows(runs: Runs) -> list[Row]:
    big, small = (median(runs[name], "peak_mb") for name in ("streaming", "streaming 10k"))
    flat = Row(
        "memory 100k / 10k",
        f"{big:.0f} / {small:.0f} MB",
        "",
        f"{big / max(small, 1):.2f}×",
        "flat: ≤ 1.25×",
        big <= 1.25 * small,
        big <= 1.1 * small,
    )
    return [peak(runs, "streaming", most=150, better=80), flat]


def _round_trips(runs: Runs) -> list[Row]:
    took = median(runs["ours"], "wall_s") - median(runs["without latency"], "wall_s")
    return [
        *times(runs, "without latency"),
        at_most("round trips", took / 0.2, f"{took / 0.2:.1f}", most=3, better=2, unit="times 200 ms"),
    ]


def _hits(runs: Runs) -> list[Row]:
    own, bare = median(runs["ours"], "wall_s"), median(runs["bare read"], "wall_s")
    three = median(runs["three"], "wall_s")
    return [
        Row(
            "wall",
            shown(own, "wall_s"),
            f"{shown(bare, 'wall_s')} (bare read)",
            f"{own / bare:.2f} of it",
            "≤ 1.15 of it",
            own <= 1.15 * bare,
            own <= 1.05 * bare,
        ),
        at_most(
            "3 columns",
            three * 1e3,
            shown(three, "wall_s"),
            most=15,
            better=5,
            unit="ms",
            peer=peer_shown(runs["bare 3"], "wall_s", "bare read", len(runs["three"])),
        ),
    ]


def jobs() -> list[Job]:
    """Return all jobs, in the order in which they are run."""
    fetched = Part(_TABLE, "ours")
    return [
        Job(
            "table",
            "100k × 43",
            {
                "ours": Part(_BIG, "ours"),
                "page 1000": _naive(_BIG, 1_000),
                "page 100": _naive(_BIG, 100),
            },
            lambda runs: [
                *times(runs, "page 1000", least=5.5, better=7),
                *times(runs, "page 1000", "cpu_s", least=5.5, better=7),
                *times(runs, "page 100", least=5.5, better=7),
                *times(runs, "page 100", "cpu_s", least=5.5, better=7),
                *times(runs, "page 1000", "peak_mb"),
            ],
        ),
        Job(
            "streaming",
            "10k, 100k × 43",
            {"streaming": Part(_BIG, "ours_streaming"), "streaming 10k": Part(_TABLE, "ours_streaming")},
            _streaming_rows,
        ),
        Job(
            "latency-50",
            "10k × 43, 50 ms",
            {
                "ours": Part(replace(_TABLE, latency_s=0.05), "ours"),
                "page 100": _naive(replace(_TABLE, latency_s=0.05), 100),
                "page 100, session": _naive(replace(_TABLE, latency_s=0.05), 100, session=True),
            },
            lambda runs: [
                *times(runs, "page 100", least=14, better=18),
                *times(runs, "page 100, session"),
            ],
        ),
        Job(
            "latency-200",
            "10k × 43, 200 ms",
            {"ours": Part(replace(_TABLE, latency_s=0.2), "ours"), "without latency": fetched},
            _round_trips,
        ),
        Job(
            "limits",
            "10k × 43, 30 req/s, 10 at once",
            {"ours": Part(_LIMITS, "ours"), "page 100": _naive(_LIMITS, 100, is_told_only=True)},
            lambda runs: [*times(runs, "page 100"), *whole(runs, 10_000)],
        ),
        Job(
            "small-archives",
            "10k of 1.7 kB, 30 req/s, 10 at once",
            {
                "ours": Part(_SMALL_LIMITS, "ours", {"columns": "small"}),
                "AQ tuned": Part(_SMALL_LIMITS, "archive_query", {"settings": TUNED, "plain": True}),
                "AQ defaults": Part(_SMALL_LIMITS, "archive_query", is_told_only=True),
                # pages of ids come so fast on loopback that the limits stop it: only its own pace is left
                "AQ defaults, no limits": Part(_SMALL, "archive_query"),
            },
            lambda runs: [
                *times(runs, "AQ defaults, no limits", least=60, better=100),
                *times(runs, "AQ defaults"),
                *times(runs, "AQ tuned", least=6, better=9),
                *whole(runs, 10_000),
            ],
        ),
        Job(
            "archive-frame",
            "1k archives of 1.7 kB",
            {
                "ours": Part(_THOUSAND, "ours", {"columns": "small"}),
                "entries_to_dataframe": Part(_THOUSAND, "archive_query_frame", {"settings": TUNED}),
            },
            lambda runs: times(runs, "entries_to_dataframe", least=40, better=80),
        ),
        Job(
            "full-archives",
            "10k of 17.7 kB",
            {
                "ours": Part(_FULL, "ours", {"columns": "full"}),
                "by cursor": Part(_FULL, "naive_archives"),
                "ids first": Part(_FULL, "naive_archives", {"by": "ids"}, is_told_only=True),
            },
            lambda runs: [
                *times(runs, "by cursor", least=10, better=12),
                *times(runs, "ids first"),
                peak(runs, "ours", most=200, better=150, peer="by cursor"),
            ],
        ),
        Job(
            "bandwidth",
            "10k × 43, 20 MB/s, gzip",
            {
                "ours": Part(_NARROW, "ours"),
                "page 1000 WITHOUT gzip": _naive(_NARROW, 1_000, plain=True),
                "page 1000, gzip": _naive(_NARROW, 1_000),
            },
            lambda runs: [
                *times(runs, "page 1000 WITHOUT gzip", least=4.5, better=6.5),
                *times(runs, "page 1000, gzip"),
            ],
        ),
        _failing(),
        _working(),
        _kept(),
        Job(
            "units",
            "100k values, joule to eV",
            {"ours": Part(None, "units")},
            lambda runs: [
                at_most(
                    "wall",
                    median(runs["ours"], "wall_s") * 1e3,
                    shown(median(runs["ours"], "wall_s"), "wall_s"),
                    most=1,
                    better=0.1,
                    unit="ms",
                )
            ],
        ),
    ]


def _failing() -> Job:
    stub = Options(entries=10_000, failures=0.05)
    thousand = replace(_THOUSAND, failures=0.05)
    return Job(
        "failures",
        "10k × 43, pages of 100, 5 % fail (AQ: 1k archives)",
        {
            "ours": Part(stub, "ours", {"page_size": 100}),
            "page 100": _naive(stub, 100, is_told_only=True),
            "AQ defaults": Part(thousand, "archive_query", {"plain": True}, is_told_only=True),
        },
        lambda runs: [
            row
            for n_entries, names in ((10_000, ("ours", "page 100")), (1_000, ("AQ defaults",)))
            for row in whole({name: runs[name] for name in names if name in runs}, n_entries)
        ],
    )


def _working() -> Job:
    stub = replace(_SMALL, entries=100, archive_s=0.1)
    return Job(
        "slow-server",
        "100 archives, 0.1 s each",
        {
            "ours": Part(stub, "ours", {"columns": "small"}),
            "by cursor": Part(stub, "naive_archives", is_told_only=True),
            "AQ defaults": Part(stub, "archive_query", {"plain": True}, is_told_only=True),
        },
        lambda runs: [*times(runs, "by cursor"), *times(runs, "AQ defaults")],
    )


def _kept() -> Job:
    """Return the job whose parts find tables in a folder that its first two parts have filled."""
    three = {"columns": "three"}
    return Job(
        "cache-hit",
        "100k × 43, kept",
        {
            "fill": Part(_BIG, "ours_kept", is_told_only=True),
            "fill 3": Part(_BIG, "ours_kept", three, is_told_only=True),
            "ours": Part(_BIG, "ours_hit"),
            "bare read": Part(_BIG, "bare_hit"),
            "three": Part(_BIG, "ours_hit", three),
            "bare 3": Part(_BIG, "bare_hit", three),
        },
        _hits,
    )
