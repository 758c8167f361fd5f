"""Dates as NOMAD's index keeps them: instants in UTC, written ``2024-01-01T00:00:00Z``.

A day (``"2024-01-01"``, `datetime.date`) is the whole day in UTC; an instant is a text with
a time, a `datetime.datetime`, or (in NOMAD's own JSON) epoch milliseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from nomadquery.errors import QueryError

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(value: str | int | float) -> str:
    """Return the moment ``value`` as text in UTC; without an offset it is UTC already.

    Raises
    ------
    QueryError
        If it is no date.
    """
    if isinstance(value, int | float):
        return text_of(_EPOCH + timedelta(milliseconds=value))
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError as error:
        raise QueryError(
            f"{value!r} is not a date. Write '2024-01-31', '2024-01-31T12:00:00' or give a datetime."
        ) from error
    return text_of(moment)


def text_of(moment: datetime | date) -> str:
    """Return a day as ``2024-01-31``, a moment as ``2024-01-31T12:00:00Z`` (naive: UTC)."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def is_day(value: object) -> bool:
    """Return whether the text names a whole day."""
    return isinstance(value, str) and _DAY.fullmatch(value.strip()) is not None


def day_bounds(day: str) -> tuple[str, str]:
    """Return the first instant of the day and the first of the next."""
    start = instant(day)
    return start, text_of(moment_of(start) + timedelta(days=1))


def moment_of(text: str) -> datetime:
    """Return the moment that NOMAD (or `instant`) wrote as ``text``; without an offset it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
