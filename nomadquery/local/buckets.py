"""Values of many entries sorted into buckets: by value, by bins of numbers, by intervals of time.

What is counted are `Item`: the entries, or the objects of a nested section, which the search index
keeps apart from their entries. Nothing here knows of requests.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nomadquery.local.matching import values_at
from nomadquery.query.catalogue import Quantity
from nomadquery.query.dates import moment_of

Document = Mapping[str, Any]

#: Most buckets of one search (Elasticsearch's ``search.max_buckets``).
MOST_BUCKETS: Final = 65_536
#: The index leaves out longer keywords.
_LONGEST_KEYWORD: Final = 8191
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CUSTOM_VALUES: Final = {
    "str_value": "text",
    "float_value": "number",
    "int_value": "integer",
    "bool_value": "boolean",
    "datetime_value": "date",
}
_FIXED: Final = re.compile(r"(\d+)(ms|s|m|h|d)")
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LENGTHS: Final = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_UNITS: Final = {
    **{f"1{unit[0]}": unit for unit in ("second", "minute", "hour", "day", "week", "quarter", "year")},
    "1M": "month",
}
#: The intervals among which the search engine chooses one for ``auto_date_histogram``.
_ROUND: Final = (
    *((f"{n}s", "second", n) for n in (1, 5, 10, 30)),
    *((f"{n}m", "minute", n) for n in (1, 5, 10, 30)),
    *((f"{n}h", "hour", n) for n in (1, 3, 12)),
    *((f"{n}d", "day", n) for n in (1, 7)),
    *((f"{n}M", "month", n) for n in (1, 3)),
    *((f"{n}y", "year", n) for n in (1, 5, 10, 20, 50, 100)),
)


class TooManyBuckets(ValueError):
    """More buckets than the search engine makes for one search."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is counted: an entry, or an object of a nested section.

    Attributes
    ----------
    entry_id : str
        The entry that it is, or is part of.
    source : mapping
        Its own object.
    values : tuple
        Its different values as the index holds them: dates in epoch milliseconds.
    """

    entry_id: str
    source: Document
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The items that have one value, or a value in one interval that begins with it."""

    key: Any
    items: Sequence[Item]

    @property
    def n_entries(self) -> int:
        """The number of different entries."""
        return len({item.entry_id for item in self.items})


def items_of(documents: Iterable[Document], quantity: Quantity) -> list[Item]:
    """Return what is counted by a quantity of the index, with its values."""
    section = quantity.nested
    name = quantity.name.rpartition(".")[0] if quantity.is_view else quantity.name
    steps = name.removeprefix(f"{section}.").split(".")
    found = []
    for document in documents:
        objects = [document] if section is None else values_at(document, section.split("."))
        for one in objects:
            stored = (indexed(value, quantity.kind) for value in values_at(one, steps))
            values = tuple(dict.fromkeys(value for value in stored if value is not None))
            found.append(Item(document["entry_id"], one, values))
    return found


def custom_items(documents: Iterable[Document], name: str) -> tuple[list[Item], str | None]:
    """Return the same for a custom quantity ``data.x#schema[#type]``, and the kind of its values."""
    identity = "#".join(name.split("#")[:2])
    kinds: set[str] = set()
    found = []
    for document in documents:
        for one in document.get("search_quantities") or ():
            if one.get("id") != identity:
                continue
            held = [(key, kind) for key, kind in _CUSTOM_VALUES.items() if one.get(key) is not None]
            kinds |= {kind for _, kind in held}
            stored = (indexed(one[key], kind) for key, kind in held)
            found.append(Item(document["entry_id"], one, tuple(v for v in stored if v is not None)))
    return found, min(kinds, default=None)


def indexed(value: Any, kind: str) -> Any:
    """Return a value of a document as the index holds it, ``None`` for one that it leaves out."""
    match kind:
        case "date":
            return _milliseconds(moment_of(value)) if isinstance(value, str) else None
        case "number" | "integer":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case _:
            text = value if isinstance(value, str) else str(value)
            return text if len(text) <= _LONGEST_KEYWORD else None


def by_value(items: Iterable[Item]) -> list[Bucket]:
    """Return a bucket for each value, those of most items first, then by value."""
    grouped = _grouped(items, lambda value: value)
    return sorted(
        (Bucket(value, members) for value, members in grouped.items()),
        key=lambda bucket: (-len(bucket.items), bucket.key),
    )


def by_interval(
    items: Iterable[Item], interval: float, offset: float, bounds: Mapping[str, float]
) -> list[Bucket]:
    """Return the buckets of a histogram in ascending order, empty ones between and up to ``bounds``.

    Raises
    ------
    TooManyBuckets
    """
    grouped = _grouped(items, lambda value: math.floor((value - offset) / interval))
    reached = [math.floor((bound - offset) / interval) for bound in bounds.values()]
    has_both = bool(grouped) or len(reached) == 2
    if not has_both:
        return []
    first, last = min([*grouped, *reached]), max([*grouped, *reached])
    if last - first > MOST_BUCKETS:
        raise TooManyBuckets(f"{last - first}")
    return [
        Bucket(position * interval + offset, grouped.get(position, ())) for position in range(first, last + 1)
    ]


def by_calendar(items: Iterable[Item], interval: str) -> list[Bucket]:
    """Return the buckets of a day, week, month … each; the key is the first millisecond.

    Raises
    ------
    KeyError
        If there is no such interval.
    TooManyBuckets
    """
    unit = _UNITS.get(interval) or {unit: unit for unit in _UNITS.values()}[interval]
    grouped = _grouped(items, lambda value: _milliseconds(_floor(_moment(value), unit)))
    return _filled(grouped, lambda key: _milliseconds(_later(_moment(key), unit, 1)))


def by_length(items: Iterable[Item], interval: str) -> list[Bucket]:
    """Return the buckets of a fixed length such as ``30d``, counted from 1970.

    Raises
    ------
    KeyError
        If it is no such length.
    TooManyBuckets
    """
    found = _FIXED.fullmatch(interval)
    if found is None or int(found[1]) == 0:
        raise KeyError(interval)
    length = int(found[1]) * _MILLISECONDS[found[2]]
    grouped = _grouped(items, lambda value: math.floor(value / length) * length)
    return _filled(grouped, lambda key: key + length)


def by_round_interval(items: Sequence[Item], most: int) -> tuple[str, list[Bucket]]:
    """Return the shortest round interval that makes at most so many buckets, and these."""
    values = [value for item in items for value in item.values]
    if not values:
        return "1s", []
    choices = ((name, _edges(min(values), max(values), unit, step, most)) for name, unit, step in _ROUND)
    chosen, edges = next(((name, edges) for name, edges in choices if len(edges) <= most), ("100y", []))
    grouped = _grouped(items, lambda value: edges[bisect_right(edges, value) - 1])
    return chosen, [Bucket(edge, grouped.get(edge, ())) for edge in edges]


def percentiles(values: Iterable[float], percents: Sequence[float]) -> dict[float, float] | None:
    """Return the percentiles, linear between neighbours; ``None`` without values."""
    ordered = sorted(float(value) for value in values)
    if not ordered:
        return None
    found = {}
    for percent in percents:
        place = percent / 100 * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        found[percent] = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
    return found


def day_of(milliseconds: float) -> str:
    """Return the day in UTC as ``2024-01-31``."""
    return _moment(milliseconds).date().isoformat()


def _grouped(items: Iterable[Item], key_of: Callable[[Any], Any]) -> dict[Any, list[Item]]:
    """Return the items by key; one with several values of the same key is there once."""
    grouped: defaultdict[Any, list[Item]] = defaultdict(list)
    for item in items:
        for key in dict.fromkeys(key_of(value) for value in item.values):
            grouped[key].append(item)
    return grouped


def _filled(grouped: Mapping[int, Sequence[Item]], following: Callable[[int], int]) -> list[Bucket]:
    return [Bucket(key, grouped.get(key, ())) for key in _keys(grouped, following)]


def _keys(grouped: Mapping[int, Sequence[Item]], following: Callable[[int], int]) -> Iterator[int]:
    if not grouped:
        return
    key, last, n_keys = min(grouped), max(grouped), 0
    while key <= last:
        n_keys += 1
        if n_keys > MOST_BUCKETS:
            raise TooManyBuckets(str(n_keys))
        yield key
        key = following(key)


def _edges(first: float, last: float, unit: str, step: int, most: int) -> list[int]:
    """Return where intervals of ``step`` units begin, one more than ``most`` if these do not do."""
    edges = [_milliseconds(_floor(_moment(first), unit))]
    while len(edges) <= most:
        following = _milliseconds(_later(_moment(edges[-1]), unit, step))
        if following > last:
            break
        edges.append(following)
    return edges


def _floor(moment: datetime, unit: str) -> datetime:
    """Return the beginning of the unit of the calendar that holds the moment; weeks begin on Monday."""
    if unit in ("second", "minute", "hour"):
        return moment - (moment - _EPOCH) % _LENGTHS[unit]
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return day
    if unit == "week":
        return day - timedelta(days=day.weekday())
    months = _MONTHS[unit]
    return day.replace(day=1, month=(day.month - 1) // months * months + 1)


def _later(moment: datetime, unit: str, times: int) -> datetime:
    """Return the beginning of the unit so many units later."""
    if unit in _LENGTHS:
        return moment + times * _LENGTHS[unit]
    year, month = divmod(moment.year * 12 + moment.month - 1 + times * _MONTHS[unit], 12)
    return moment.replace(year=year, month=month + 1)


def _moment(milliseconds: float) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(milliseconds))


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
