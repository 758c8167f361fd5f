"""Ask for aggregations, and read the answer of each type strictly.

Numbers stay in the unit that NOMAD stores. Dates, which NOMAD writes as epoch milliseconds or
as ``YYYY-MM-DD``, become datetimes in UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

import msgspec

from nomadquery.errors import ResponseFormatError
from nomadquery.http.endpoints import Owner, Pagination, entries_query, parse_aggregations
from nomadquery.http.message import Reply, Request

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class ValueBucket:
    """One value of a quantity.

    Attributes
    ----------
    value : str or bool
    n_entries : int
        Entries that have it; 0 for known values that no entry has.
    n_items : int
        Items of the nested section that have it; entries where there is none.
    metrics : mapping
        What else was counted, by its name.
    """

    value: str | bool
    n_entries: int
    n_items: int
    metrics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Values:
    """Values of a quantity, and after which value the next page begins (``None``: there is no page)."""

    buckets: tuple[ValueBucket, ...]
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a histogram: its lower edge, and entries in it (items, if the quantity is nested)."""

    lower: float
    count: int


@dataclass(frozen=True, slots=True)
class DateBin:
    """One bin of dates: its first moment, and entries in it (items, if the quantity is nested)."""

    lower: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Group:
    """Percentiles of one group (``all`` without groups), by percent, and how many values there are.

    With groups ``count`` is the number of entries in the group.
    """

    label: str
    percentiles: Mapping[float, float]
    count: int


def aggregations_query(
    query: Mapping[str, Any], aggregations: Mapping[str, Mapping[str, Any]], *, owner: Owner
) -> Request:
    """Return the request for aggregations (JSON of each, by a name) over all hits, without entries."""
    return entries_query(query, owner=owner, pagination=Pagination(0), aggregations=aggregations)


def answers_to(reply: Reply, names: Iterable[str]) -> dict[str, msgspec.Raw]:
    """Return the answer to each aggregation that was asked for, by its name.

    Raises
    ------
    ResponseFormatError
        If one is missing: an ignored aggregation is not an empty one.
    """
    found = parse_aggregations(reply)
    missing = [name for name in names if name not in found]
    if missing:
        raise ResponseFormatError(f"NOMAD's answer lacks the aggregation {missing[0]!r} that was asked for.")
    return found


def parse_values(answer: msgspec.Raw) -> Values:
    """Return the answer to ``terms``, in the server's order."""
    terms = _read(answer, _TermsAnswer, "terms").terms
    buckets = (
        ValueBucket(
            one.value, one.count, one.count if one.nested_count is None else one.nested_count, one.metrics
        )
        for one in terms.data
    )
    after = None if terms.pagination is None else terms.pagination.next_page_after_value
    return Values(tuple(buckets), after if isinstance(after, str) else None)


def parse_histogram(answer: msgspec.Raw) -> tuple[Bin, ...]:
    """Return the answer to ``histogram``, in ascending order; bins between are there with count 0."""
    data = _read(answer, _HistogramAnswer, "histogram").histogram.data
    return tuple(Bin(float(one.value), one.count) for one in data)


def parse_date_histogram(answer: msgspec.Raw) -> tuple[DateBin, ...]:
    """Return the answer to ``date_histogram``; NOMAD tells the day on which a bin begins."""
    data = _read(answer, _DateHistogramAnswer, "date_histogram").date_histogram.data
    return tuple(DateBin(_day(one.value), one.count) for one in data)


def parse_auto_date_histogram(answer: msgspec.Raw) -> tuple[str, tuple[DateBin, ...]]:
    """Return the answer to ``auto_date_histogram``: the interval chosen (``3M``), and the bins."""
    read = _read(answer, _AutoDateAnswer, "auto_date_histogram").auto_date_histogram
    return read.interval, tuple(DateBin(date_of(one.value), one.count) for one in read.data)


def parse_min_max(answer: msgspec.Raw) -> tuple[float, float] | None:
    """Return the answer to ``min_max``, dates as epoch milliseconds; ``None`` if no hit has a value."""
    low, high = _read(answer, _MinMaxAnswer, "min_max").min_max.data
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise ResponseFormatError(f"NOMAD's answer has one of minimum and maximum only: {[low, high]}.")
    return low, high


def parse_percentiles(answer: msgspec.Raw) -> tuple[Group, ...]:
    """Return the answer to ``percentiles``; groups without a value are left out, so it may be empty."""
    data = _read(answer, _PercentilesAnswer, "percentiles").percentiles.data
    return tuple(
        Group(one.label, {_percent(key): value for key, value in one.percentiles.items()}, one.count)
        for one in data
    )


def parse_statistics(answer: msgspec.Raw) -> dict[str, int]:
    """Return the answer to ``statistics``: number by metric."""
    return _read(answer, _StatisticsAnswer, "statistics").statistics.data


def date_of(milliseconds: float) -> datetime:
    """Return the moment so many milliseconds after 1970 in UTC.

    Raises
    ------
    ResponseFormatError
        If it lies outside the years 1 to 9999.
    """
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError) as error:
        raise ResponseFormatError(f"NOMAD's answer has no date, but {milliseconds!r}.") from error


class _ValueAnswer(msgspec.Struct):
    value: bool | str
    count: _Count
    nested_count: _Count | None = None
    metrics: dict[str, int] = {}  # msgspec copies the default


class _TermsPagination(msgspec.Struct):
    next_page_after_value: str | bool | None = None  # of truth values NOMAD gives the value itself


class _TermsData(msgspec.Struct):
    data: list[_ValueAnswer]
    pagination: _TermsPagination | None = None


class _TermsAnswer(msgspec.Struct):
    terms: _TermsData


class _BinAnswer(msgspec.Struct):
    value: float
    count: _Count


class _BinsData(msgspec.Struct):
    data: list[_BinAnswer]


class _HistogramAnswer(msgspec.Struct):
    histogram: _BinsData


class _DayAnswer(msgspec.Struct):
    value: str
    count: _Count


class _DaysData(msgspec.Struct):
    data: list[_DayAnswer]


class _DateHistogramAnswer(msgspec.Struct):
    date_histogram: _DaysData


class _AutoDateData(msgspec.Struct):
    data: list[_BinAnswer]
    interval: str


class _AutoDateAnswer(msgspec.Struct):
    auto_date_histogram: _AutoDateData


class _MinMaxData(msgspec.Struct):
    data: tuple[float | None, float | None]


class _MinMaxAnswer(msgspec.Struct):
    min_max: _MinMaxData


class _GroupAnswer(msgspec.Struct):
    label: str
    percentiles: dict[str, float]
    count: _Count


class _GroupsData(msgspec.Struct):
    data: list[_GroupAnswer]


class _PercentilesAnswer(msgspec.Struct):
    percentiles: _GroupsData


class _StatisticsData(msgspec.Struct):
    data: dict[str, _Count]


class _StatisticsAnswer(msgspec.Struct):
    statistics: _StatisticsData


_Answer = TypeVar("_Answer")


def _read(answer: msgspec.Raw, form: type[_Answer], what: str) -> _Answer:
    try:
        return msgspec.json.decode(answer, type=form)
    except msgspec.DecodeError as error:
        raise ResponseFormatError(f"NOMAD's answer is no aggregation of the type {what}: {error}.") from error


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ResponseFormatError(f"NOMAD's answer has no day, but {text!r}.") from error


def _percent(key: str) -> float:
    try:
        percent = float(key)
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise ResponseFormatError(f"NOMAD's answer has no percent, but {key!r}.")
    return percent
