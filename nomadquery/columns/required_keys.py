"""The keys of an archive ``required``: ``calculation``, ``calculation[-1]``, ``system[0:2]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nomadquery.errors import QueryError, WouldBeMisread

_KEY: Final = re.compile(r"([\s\w\-]+)(?:\[([-?0-9]*)(?:(:)([-?0-9]*))?])?")

_STEP: Final = r"[\w\s\-]+(\[[-0-9:]*\])?"
_PATH: Final = re.compile(rf"{_STEP}([./]{_STEP})+")

#: No index; one position; start and end of a slice, the end left open.
Index = int | tuple[int, int | None] | None


@dataclass(frozen=True, slots=True)
class Key:
    """A property, and which items of its list."""

    name: str
    index: Index = None


@lru_cache(maxsize=1024)
def parse_key(text: str) -> Key | None:
    """Return what a key says, ``None`` where NOMAD finds it invalid (422).

    Blanks around it do not count, and empty brackets are none (nomad-lab 2.0.0).

    Raises
    ------
    ValueError
        If a position is a question mark or has a minus at the wrong place: NOMAD lets these pass and
        fails (2.0.0), with this error's text.
    """
    match = _KEY.fullmatch(text.strip())
    if match is None:
        return None
    name, first, colon, last = match.groups()
    start = int(first) if first else None
    if colon is None:
        return Key(name, start)
    end = int(last) if last else None
    return Key(name, (start or 0, end))


def keeps_positions(key: Key) -> bool:
    """Return whether the chosen items stand in the answer where they stand in the archive."""
    return key.index is None or key.index == 0 or (isinstance(key.index, tuple) and key.index[0] == 0)


def checked_key(text: object, where: str) -> Key:
    """Return what a hand-written key says, if NOMAD reads it the same way; messages name ``where`` it stands.

    Raises
    ------
    QueryError
        If NOMAD would refuse it or fail, or if it can never choose anything.
    WouldBeMisread
        If NOMAD would choose other items than it seems to say: bounds are clamped to the list, and
        equal ones give one item.
    """
    key = _parsed(text, where)
    match key.index:
        case int(position) if position < -1:
            raise WouldBeMisread(
                f"required: in a list with fewer items {where} is the first one, not none (NOMAD clamps "
                f"positions). Ask for [-1] or for [{position}:], and choose in the answer."
            )
        case (start, int(end)) if start == end:
            raise WouldBeMisread(
                f"required: {where} looks empty, and NOMAD returns one item. Write [{start}] for it, or "
                "leave the key out."
            )
        case (start, int(end)) if start < 0 and end < 0:
            raise WouldBeMisread(
                f"required: in a list with fewer items {where} is the first one, not none (NOMAD clamps both "
                f"bounds). Ask for [{start}:], and choose in the answer."
            )
        case (start, int(end)) if 0 <= end < start or start < 0 == end:
            raise QueryError(f"required: {where} ends before it begins and gives nothing.")
    return key


def _parsed(text: object, where: str) -> Key:
    try:
        key = parse_key(text) if isinstance(text, str) else None
    except ValueError as error:
        raise QueryError(
            f"required: the position in {where} is no whole number ({error}); NOMAD fails over it."
        ) from error
    if key is not None:
        return key
    said = str(text)
    if _PATH.fullmatch(said):
        first, *rest = re.split(r"[./]", said)
        nested = f"{{{first!r}: " + "".join(f"{{{one!r}: " for one in rest) + "'*'" + "}" * (len(rest) + 1)
        raise QueryError(f"required: a key is one property, not a path: write {nested} for {said!r}.")
    raise QueryError(
        f"required: {said!r} is no key that NOMAD reads. A key is a name, with at most one position or slice "
        "behind it: calculation, calculation[-1], system[0:2]; steps do not exist."
    )
