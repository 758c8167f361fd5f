"""Dates as NOMAD's index keeps them: instants in UTC to the millisecond, ``2024-01-01T00:00:00.000Z``.

A day (``"2024-01-01"``, `datetime.date`) is the whole day in UTC; an instant is a text with
a time, a `datetime.datetime`, or (in NOMAD's own JSON) epoch milliseconds. Instants are always
written in full: where a part is left out, the index takes its last moment for ``gt`` and ``lte``
(``lte: 2024-01-01T12:00:00`` includes the second that begins there).
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta

from nomadquery.errors import QueryError

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
#: What the index reads as a date: ISO 8601 in its extended form, from the year on.
_ISO = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T(\d{2})(?::(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?"
    r"(Z|[-+]\d{2}(?::?\d{2})?)?)?)?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(value: str | int | float) -> str:
    """Return the moment ``value`` as text in UTC; without an offset it is UTC already.

    Raises
    ------
    QueryError
        If it is no date of the years 1 to 9999.
    """
    try:
        if isinstance(value, int | float):
            return text_of(_EPOCH + timedelta(milliseconds=int(value)))
        if _DAY.match(value.strip()) is not None:  # fromisoformat takes 20240131 too, which NOMAD does not
            return text_of(datetime.fromisoformat(value.strip()))
    except (ValueError, OverflowError) as error:
        raise _no_date(value) from error
    raise _no_date(value)


def as_indexed(value: str | int | float, *, last: bool = False) -> str:
    """Return the instant that NOMAD's index reads in a date of its own JSON.

    Parts that are left out are the first ones or, where ``last`` is set (bounds ``gt`` and ``lte``),
    the last ones. Texts of digits and numbers are epoch milliseconds.

    Raises
    ------
    QueryError
        If the index refuses it, or it is relative to the time of asking (``now-1d``).
    """
    text = value.strip() if isinstance(value, str) else ""
    found = _ISO.fullmatch(text)
    if found is None and isinstance(value, str):
        if re.fullmatch(r"-?\d+", text):
            return instant(int(text))
        if text.startswith("now") or "||" in text:
            raise QueryError(f"{value!r} is another date each time it is asked; write the date itself.")
        raise _no_date(value)
    if found is None:
        return instant(value)
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    month = month or ("12" if last else "01")
    try:
        day = day or (f"{calendar.monthrange(int(year), int(month))[1]}" if last else "01")
        hour, minute, second = (
            part or ("59" if last else "00") for part in (hour or (last and "23"), minute, second)
        )
        fraction = (fraction or ("999" if last else "000")).ljust(3, "0")[:3]
        return instant(f"{year}-{month}-{day}T{hour}:{minute}:{second}.{fraction}{offset or 'Z'}")
    except ValueError as error:
        raise _no_date(value) from error


def text_of(moment: datetime | date) -> str:
    """Return a day as ``2024-01-31``, a moment as ``2024-01-31T12:00:00.000Z`` (naive: UTC)."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def is_day(value: object) -> bool:
    """Return whether the text names a whole day."""
    return isinstance(value, str) and _DAY.fullmatch(value.strip()) is not None


def day_bounds(day: str) -> tuple[str, str]:
    """Return the first instant of the day and the first of the next."""
    start = instant(day)
    try:
        return start, text_of(moment_of(start) + timedelta(days=1))
    except OverflowError as error:
        raise _no_date(day) from error


def moment_of(text: str) -> datetime:
    """Return the moment that NOMAD (or `instant`) wrote as ``text``; without an offset it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _no_date(value: object) -> QueryError:
    return QueryError(
        f"{value!r} is not a date. Write '2024-01-31', '2024-01-31T12:00:00' or give a date or datetime."
    )
