"""How many hits have a value in which bin: numbers and dates, as small DataFrames."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from nomadquery.errors import QueryError
from nomadquery.fetch.pages import Source
from nomadquery.fetch.summaries import (
    Columns,
    Schemas,
    ask_aggregations,
    check_unlimited,
    dtype_of,
    extremes,
    summary_frame,
)
from nomadquery.http.aggregations import (
    DateBin,
    date_of,
    parse_auto_date_histogram,
    parse_date_histogram,
    parse_histogram,
)
from nomadquery.query.aggregate import MOST_BINS, AutoDateHistogram, DateHistogram, Histogram, checked_bins
from nomadquery.query.aggregated import (
    Aggregated,
    calendar_interval,
    fixed_milliseconds,
    measured_quantity,
    milliseconds_of,
    stored_range,
    stored_width,
)
from nomadquery.query.criteria import EVERYTHING, Criterion, Range, Value
from nomadquery.query.dates import moment_of
from nomadquery.query.quantity import QuantityPath

if TYPE_CHECKING:
    import pandas as pd

_DEFAULT_BINS: Final = 10
#: Bins are half open: one that ended at the largest value would not hold it.
_A_HAIR: Final = 1e-12
#: How far a range may be from a whole number of bins: converting units rounds.
_ROUNDING: Final = 1e-9
_INTERVAL: Final = re.compile(r"(\d+)([smhdwMqy])")
#: The last letter of an interval, in the words of pandas, and how many of these it is.
_CALENDAR: Final = {
    "s": ("seconds", 1),
    "m": ("minutes", 1),
    "h": ("hours", 1),
    "d": ("days", 1),
    "w": ("weeks", 1),
    "M": ("months", 1),
    "q": ("months", 3),
    "y": ("years", 1),
}
_ASKED: Final = "bins"


@dataclass(frozen=True, slots=True)
class Grid:
    """Bins of one width side by side: bin ``i`` begins at ``offset + i * width``.

    Attributes
    ----------
    offset, width : float
        In the stored unit; of dates in milliseconds. A width of 0 is the one bin of equal values.
    n_bins : int
    holds_all : bool
        Whether every value is in one of the bins.
    """

    offset: float
    width: float
    n_bins: int
    holds_all: bool

    def edge(self, position: int) -> float:
        """Return where the bin at a position begins."""
        return self.offset + position * self.width


def histogram(
    source: Source,
    path: str | QuantityPath,
    *,
    bins: int | None = None,
    bin_width: Any = None,
    range: tuple[Any, Any] | None = None,
    schemas: Schemas | None = None,
) -> pd.DataFrame:
    """Return how many hits have a value in each bin, empty bins included, in ascending order.

    Columns: ``lower`` and ``upper``, of which the first belongs to the bin and the second does not;
    ``n_entries``, or for quantities of a nested section ``n_items``, since NOMAD counts items there.
    An entry with several values is in several bins. No hit with a value: no rows.

    Parameters
    ----------
    source : Source
    path : str or QuantityPath
        A number or date in the search index.
    bins : int, optional
        So many bins of one width from the smallest to the largest value (the last ends a hair, 1e-12
        of the whole, above it), or over ``range``; of integers and dates at most so many, since these
        have whole widths: integers are counted by whole numbers, dates by a round interval that the
        server chooses. 10 without ``bin_width``.
    bin_width : number, str or timedelta, optional
        Numbers with a dimension carry their unit (``"0.1 eV"``); bins begin at multiples of it, or at
        the beginning of ``range``. Of dates ``"day" "week" "month" "quarter" "year"``, or a length
        (``"30d"``, ``"12h"``, a timedelta).
    range : tuple, optional
        Values from the first up to, not including, the second. With calendar intervals or ``bins`` of
        dates: hits with a value in it, in all intervals that overlap it.
    schemas : mapping, optional

    Raises
    ------
    QuantityNotFound, NotExpressible
        If NOMAD does not know the quantity, or it holds neither numbers nor dates.
    UnitError
        If a number lacks its unit, or has one that does not fit.
    QueryError
        If the bins do not fit, or are more than 10,000.
    """
    check_unlimited(source)
    measured = measured_quantity(path, source.catalogue, schemas)
    if bins is not None and bin_width is not None:
        raise QueryError("A histogram has bins or a bin_width, not both.")
    bounds = None if range is None else stored_range(range, measured)
    if bin_width is None:
        n_bins = checked_bins(_DEFAULT_BINS if bins is None else bins)
        if measured.is_date:
            return _chosen_by_server(source, measured, n_bins, bounds)
        return _evenly(source, measured, bounds, n_bins=n_bins)
    if not measured.is_date:
        return _evenly(source, measured, bounds, width=stored_width(bin_width, measured))
    calendar = calendar_interval(bin_width)
    if calendar is not None:
        return _by_calendar(source, measured, calendar, bounds)
    return _evenly(source, measured, bounds, width=fixed_milliseconds(bin_width))


def grid_of_bins(low: float, high: float, n_bins: int, *, is_whole: bool, is_closed: bool) -> Grid:
    """Return at most ``n_bins`` bins from ``low`` to ``high``; ``is_closed``: ``high`` is inside.

    ``is_whole``: bins of integers, as wide as whole numbers are.
    """
    if is_whole:
        span = high - low + (1 if is_closed else 0)
        width = float(math.ceil(span / n_bins))
        return Grid(low, width, math.ceil(span / width), is_closed)
    if low == high:
        return Grid(low, 0.0, 1, is_closed)
    width = (high - low) / n_bins * (1 + _A_HAIR if is_closed else 1)
    return Grid(low, width, n_bins, is_closed)


def grid_of_width(low: float, high: float, width: float, *, is_closed: bool) -> Grid:
    """Return bins of one width: at its multiples if all values are meant, else from ``low`` to ``high``.

    Raises
    ------
    QueryError
        If they are too many, or ``high`` is not where a bin ends.
    """
    if is_closed:
        first = math.floor(low / width)
        grid = Grid(first * width, width, math.floor(high / width) - first + 1, is_closed)
    else:
        steps = (high - low) / width
        grid = Grid(low, width, round(steps), is_closed)
        if abs(steps - grid.n_bins) > _ROUNDING * steps:
            raise QueryError(f"The range is {steps:g} times bin_width; give a range of whole bins.")
    if grid.n_bins > MOST_BINS:
        raise QueryError(
            f"This bin_width makes {grid.n_bins:,} bins; the most are {MOST_BINS:,}. Take a larger one, or "
            "give range=…"
        )
    return grid


def _evenly(
    source: Source,
    measured: Aggregated,
    bounds: tuple[Value, Value] | None,
    *,
    n_bins: int = 0,
    width: float = 0.0,
) -> pd.DataFrame:
    """Return the histogram of ``n_bins`` bins, or of bins as wide as ``width``."""
    is_closed = bounds is None
    limits = extremes(source, measured) if bounds is None else _numbers(bounds, measured)
    if limits is None:
        return _frame(source, measured, [], [], [])
    if n_bins:
        is_whole = measured.quantity.kind == "integer"
        grid = grid_of_bins(*limits, n_bins, is_whole=is_whole, is_closed=is_closed)
    else:
        grid = grid_of_width(*limits, width, is_closed=is_closed)
    asked = Histogram(measured.name, grid.width or 1.0, grid.offset)
    _, answers = ask_aggregations(source, {_ASKED: asked}, _inside(measured, bounds))
    found = parse_histogram(answers[_ASKED])
    counts = {round((one.lower - grid.offset) / asked.interval): one.count for one in found}
    first, last = 0, grid.n_bins - 1
    if grid.holds_all:  # at an edge the server may round to the bin beside
        first, last = min(first, *counts, first), max(last, *counts, last)
    edges = _shown_edges(measured, grid.edge(first), grid.edge(last + 1), last + 1 - first)
    counted = [counts.get(position, 0) for position in range(first, last + 1)]
    return _frame(source, measured, edges[:-1], edges[1:], counted)


def _shown_edges(measured: Aggregated, begin: float, end: float, n_bins: int) -> list[Any]:
    """Return the edges of bins of one width in the unit of the results; round ends give round edges."""
    if not measured.is_date:
        begin, end = measured.shown(begin), measured.shown(end)
    edges = [begin + (end - begin) * position / n_bins for position in range(n_bins + 1)]
    return [date_of(edge) for edge in edges] if measured.is_date else edges


def _by_calendar(
    source: Source, measured: Aggregated, interval: str, bounds: tuple[Value, Value] | None
) -> pd.DataFrame:
    asked = DateHistogram(measured.name, interval)
    _, answers = ask_aggregations(source, {_ASKED: asked}, _inside(measured, bounds))
    return _dates(source, measured, interval, parse_date_histogram(answers[_ASKED]), bounds)


def _chosen_by_server(
    source: Source, measured: Aggregated, n_bins: int, bounds: tuple[Value, Value] | None
) -> pd.DataFrame:
    asked = AutoDateHistogram(measured.name, n_bins)
    _, answers = ask_aggregations(source, {_ASKED: asked}, _inside(measured, bounds))
    interval, found = parse_auto_date_histogram(answers[_ASKED])
    return _dates(source, measured, interval, found, bounds)


def _dates(
    source: Source,
    measured: Aggregated,
    interval: str,
    found: tuple[DateBin, ...],
    bounds: tuple[Value, Value] | None,
) -> pd.DataFrame:
    rows = [(one.lower, _end(one.lower, interval), one.count) for one in found]
    if bounds is not None:
        begin, end = (moment_of(str(bound)) for bound in bounds)
        rows = [row for row in rows if row[1] > begin and row[0] < end]
    frame = _frame(
        source,
        measured,
        [lower for lower, _, _ in rows],
        [upper for _, upper, _ in rows],
        [count for _, _, count in rows],
    )
    frame.attrs["nomadquery"]["interval"] = interval
    return frame


def _end(lower: datetime, interval: str) -> datetime:
    """Return where the interval of the calendar that begins at ``lower`` ends."""
    import pandas as pd

    found = _INTERVAL.fullmatch(interval)
    if found is None:
        raise QueryError(f"The server counted by an interval that is not known here: {interval!r}.")
    word, times = _CALENDAR[found[2]]
    step: Any = {word: int(found[1]) * times}
    return (pd.Timestamp(lower) + pd.DateOffset(**step)).to_pydatetime()


def _numbers(bounds: tuple[Value, Value], measured: Aggregated) -> tuple[float, float]:
    if measured.is_date:
        low, high = (milliseconds_of(moment_of(str(bound))) for bound in bounds)
        return low, high
    return float(bounds[0]), float(bounds[1])


def _inside(measured: Aggregated, bounds: tuple[Value, Value] | None) -> Criterion:
    """Return what keeps the server from counting far outside: some value within the bounds."""
    return EVERYTHING if bounds is None else Range(measured.name, gte=bounds[0], lt=bounds[1])


def _frame(
    source: Source, measured: Aggregated, lower: list[Any], upper: list[Any], counts: list[int]
) -> pd.DataFrame:
    dtype = dtype_of(measured)
    columns: Columns = {
        "lower": (lower, dtype),
        "upper": (upper, dtype),
        "n_items" if measured.is_nested else "n_entries": (counts, "int64"),
    }
    return summary_frame(source, measured, columns, measures=("lower", "upper"))
