"""Lengths of time as people write them: ``"7d"``, ``"12 h"``, ``"30 min"``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from nomadquery.errors import QueryError

_UNITS: Final = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def age(text: str | timedelta) -> timedelta:
    """Return the length of time.

    Raises
    ------
    QueryError
        If it is none.
    """
    if isinstance(text, timedelta):
        return text
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
    if found is None or found[2] not in _UNITS:
        raise QueryError(f"{text!r} is no length of time; write '7d', '12h' or '30min'.")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
