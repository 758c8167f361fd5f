"""The header ``Range`` of a request for a file, read as the server under NOMAD 2.0.0 does (Starlette 1).

Parts that are no range are passed over. Several ranges in one request, which that server answers in
several parts, are answered here with the whole file, as the standard allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MOST_RANGES: Final = 100


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes ``begin`` to ``end`` (not included) of a file."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class RangeRefused:
    """No such bytes (416), or no range at all (400)."""

    status: int
    text: str = ""


def parse_range(given: str | None, size_bytes: int) -> Stretch | RangeRefused | None:
    """Return which bytes a ``Range`` asks for, ``None`` for the whole file.

    >>> parse_range("bytes=-5", 100)
    Stretch(begin=95, end=100)
    """
    if given is None:
        return None
    unit, sign, text = given.partition("=")
    if not sign:
        return RangeRefused(400, "Malformed range header.")
    if unit.strip().lower() != "bytes":
        return RangeRefused(400, "Only support bytes range")
    parts = text.split(",")
    if len(parts) > _MOST_RANGES:
        return None
    found = [one for part in parts if (one := _stretch(part.strip(), size_bytes)) is not None]
    if not found:
        return RangeRefused(400, "Range header: range must be requested")
    if any(not 0 <= one.begin < size_bytes for one in found):
        return RangeRefused(416)
    if any(one.begin >= one.end for one in found):
        return RangeRefused(400, "Range header: start must be less than end")
    return found[0] if len(found) == 1 else None


def _stretch(part: str, size_bytes: int) -> Stretch | None:
    first, sign, last = (piece.strip() for piece in part.partition("-"))
    try:
        if not sign or not (first or last):
            return None
        if not first:
            return Stretch(max(size_bytes - int(last), 0), size_bytes)
        end = min(int(last) + 1, size_bytes) if last else size_bytes
        return Stretch(int(first), end)
    except ValueError:
        return None
