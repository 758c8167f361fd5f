"""Lengths of time as people write them: ``"7d"``, ``"12 h"``, ``"30 min"``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from nomadquery.errors import QueryError

_UNITS: Final = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_LENGTH: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


def age(text: str | timedelta) -> timedelta:
    """Return the length of time.

    Raises
    ------
    QueryError
        If it is none (a number lacks its unit), or longer than a `timedelta` can be.
    """
    if isinstance(text, timedelta):
        return text
    found = _LENGTH.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[2] not in _UNITS:
        raise QueryError(f"{text!r} is no length of time; write '7d', '12h' or '30min'.")
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError as error:
        raise QueryError(f"{text!r} is too long; write for example '7d'.") from error
