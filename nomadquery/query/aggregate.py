"""Questions about all hits at once: NOMAD's aggregations as frozen values, and their JSON by release.

Numbers are in the unit that NOMAD stores, dates are epoch milliseconds. What an aggregation may be
asked of stands in `aggregated`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from nomadquery.errors import NotExpressible, QueryError, WouldBeMisread
from nomadquery.query.catalogue import Quantity, tables_of

#: What a bucket can count beside its entries: numbers of different values, and sums.
METRICS: Final = ("n_entries", "n_uploads", "n_materials", "n_calculations", "n_quantities")
#: NOMAD counts the section ``authors``, which is no field of its index (nomad-lab 2.0.0).
_ALWAYS_ZERO: Final = "n_authors"
#: Most bins of one histogram; the search engine takes 65,536, with what is inside them.
MOST_BINS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How many entries have which value: the ``size`` most frequent, or a page of all by value."""

    quantity: str
    size: int | None = None
    include: str | tuple[str, ...] | None = None
    page_size: int | None = None
    after: str | None = None
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many entries have a value in each bin from ``offset`` on, ``interval`` wide, and before it."""

    quantity: str
    interval: float
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class DateHistogram:
    """The same by days, weeks, months, quarters or years of the calendar: ``1d 1w 1M 1q 1y``."""

    quantity: str
    interval: str


@dataclass(frozen=True, slots=True)
class AutoDateHistogram:
    """The same in at most ``buckets`` intervals that the server chooses."""

    quantity: str
    buckets: int


@dataclass(frozen=True, slots=True)
class MinMax:
    """The smallest and the largest value."""

    quantity: str


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles, from 0 to 100, of all values, or of those of each value of ``group_by``."""

    quantity: str
    percents: tuple[float, ...]
    group_by: str | None = None
    group_by_size: int = 10


@dataclass(frozen=True, slots=True)
class Statistics:
    """Numbers about all hits, each one of `METRICS`."""

    metrics: tuple[str, ...]


Aggregation = Terms | Histogram | DateHistogram | AutoDateHistogram | MinMax | Percentiles | Statistics


def aggregation_json(aggregation: Aggregation, *, release: str) -> dict[str, Any]:
    """Return NOMAD's JSON of one aggregation, ``{type: {…}}``.

    Raises
    ------
    NotExpressible
        If the release does not have the type.
    """
    match aggregation:
        case Terms():
            return {"terms": _terms_json(aggregation)}
        case Histogram(quantity, interval, offset):
            return {"histogram": {"quantity": quantity, "interval": interval, "offset": offset}}
        case DateHistogram(quantity, interval):
            key = "calendar_interval" if tables_of(release) == "2.0.0" else "interval"
            return {"date_histogram": {"quantity": quantity, key: interval}}
        case AutoDateHistogram(quantity, buckets):
            return {"auto_date_histogram": {"quantity": quantity, "buckets": buckets}}
        case MinMax(quantity):
            return {"min_max": {"quantity": quantity}}
        case Percentiles(quantity, percents, group_by, group_by_size):
            if not has_percentiles(release):
                raise NotExpressible(f"NOMAD {release} has no percentiles; they came with 1.4.")
            grouped = {} if group_by is None else {"group_by": group_by, "group_by_size": group_by_size}
            return {"percentiles": {"quantity": quantity, "percents": list(percents), **grouped}}
        case Statistics(metrics):
            return {"statistics": {"metrics": list(metrics)}}
        case _:
            assert_never(aggregation)


def has_percentiles(release: str) -> bool:
    """Return whether the release computes percentiles (1.4 and later)."""
    major, minor = release.split(".")[:2]
    return (int(major), int(minor)) >= (1, 4)


def checked_metrics(metrics: Iterable[str], quantity: Quantity) -> tuple[str, ...]:
    """Return what each bucket counts beside entries.

    Raises
    ------
    WouldBeMisread
        If NOMAD would answer 0 whatever the truth: authors, and anything inside a nested section.
    QueryError
        If it is none of `METRICS`.
    """
    chosen = tuple(metrics)
    if isinstance(metrics, str):
        raise QueryError(f"metrics is a list, as in metrics=[{metrics!r}].")
    for metric in chosen:
        if metric == _ALWAYS_ZERO:
            raise WouldBeMisread(
                "NOMAD answers 0 for n_authors, whatever the hits. List them: facet('authors.name')."
            )
        if metric not in METRICS:
            raise QueryError(f"{metric!r} is no metric; there are {', '.join(METRICS)}.")
    if chosen and (quantity.nested or "#" in quantity.name):
        raise WouldBeMisread(
            f"NOMAD answers 0 for metrics by {quantity.name}, because the index keeps its items apart from "
            "their entries. Leave metrics out; n_entries is counted anyhow."
        )
    return chosen


def checked_percents(percents: Sequence[float]) -> tuple[float, ...]:
    """Return the percents in ascending order, each from 0 to 100 and each once."""
    for percent in percents:
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
            raise QueryError(f"percents are numbers from 0 to 100, not {percent!r}.")
    return tuple(sorted({float(percent) for percent in percents}))


def checked_bins(bins: object) -> int:
    """Return the number of bins.

    Raises
    ------
    QueryError
        If it is no integer from 1 to `MOST_BINS`.
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= MOST_BINS:
        raise QueryError(f"bins is a number from 1 to {MOST_BINS:,}, not {bins!r}.")
    return bins


def _terms_json(terms: Terms) -> dict[str, Any]:
    body: dict[str, Any] = {"quantity": terms.quantity}
    if terms.size is not None:
        body["size"] = terms.size
    if terms.include is not None:
        body["include"] = terms.include if isinstance(terms.include, str) else list(terms.include)
    if terms.page_size is not None:
        after = {} if terms.after is None else {"page_after_value": terms.after}
        body["pagination"] = {"page_size": terms.page_size, **after}
    if terms.metrics:
        body["metrics"] = list(terms.metrics)
    return body
