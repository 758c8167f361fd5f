"""The space of entry ids, cut into ranges that can be asked for side by side.

NOMAD's entry ids are the base64url text of a hash, so they are spread evenly over the space of texts in
the ASCII order ``- 0-9 A-Z _ a-z``, and equal ranges hold about equal numbers of entries. Nothing here
relies on that for completeness: a range that holds more than one page is read on page by page, and where
ids turn out to be of another kind, there is one range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_DIGITS: Final = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_LENGTH: Final = 8
_END: Final = 64**_LENGTH
#: How many standard deviations more than expected a page has room for.
_MARGIN: Final = 6.0
#: By how much ids may be unevenly spread before they are taken for another kind.
_UNEVEN: Final = 8.0
#: With fewer entries a page the room for more would be most of it.
LEAST_SLICE: Final = 50


@dataclass(frozen=True, slots=True)
class Slice:
    """The entry ids after ``after``, up to and with ``upto``; ``None``: from the first, to the last."""

    after: str | None = None
    upto: str | None = None

    @property
    def width(self) -> float:
        """The share of all ids that lie in it, 0 to 1."""
        end = 1.0 if self.upto is None else place(self.upto)
        return max(0.0, end - (0.0 if self.after is None else place(self.after)))

    def __contains__(self, entry_id: str) -> bool:
        is_after = self.after is None or entry_id > self.after
        return is_after and (self.upto is None or entry_id <= self.upto)


EVERYWHERE: Final = Slice()


def place(entry_id: str) -> float:
    """Return where an id stands among all ids, 0 to 1, by its first eight characters."""
    number = 0
    for position in range(_LENGTH):
        digit = entry_id[position] if position < len(entry_id) else _DIGITS[0]
        value = _VALUES.get(digit)
        if value is None:  # no character of such ids: where one would stand beside it
            value = sum(known <= digit for known in _DIGITS) - 1
        number = number * 64 + max(0, value)
    return number / _END


def boundary(share: float) -> str | None:
    """Return the text before which about ``share`` of all ids stand, ``None`` for all of them."""
    number = round(share * _END)
    if number >= _END:
        return None
    digits = []
    for _ in range(_LENGTH):
        number, value = divmod(number, 64)
        digits.append(_DIGITS[value])
    return "".join(reversed(digits))


def first_part(whole: Slice, share: float) -> tuple[Slice, Slice | None]:
    """Return the first ``share`` (0 to 1) of a slice, and the rest, ``None`` where nothing is left."""
    start = 0.0 if whole.after is None else place(whole.after)
    cut = boundary(start + share * whole.width)
    ends_before = cut is not None and (whole.upto is None or cut < whole.upto)
    begins_after = cut is not None and (whole.after is None or cut > whole.after)
    if share >= 1 or not ends_before or not begins_after:
        return whole, None
    return Slice(whole.after, cut), Slice(cut, whole.upto)


def gaps(covered: Iterable[tuple[str | None, str | None]]) -> tuple[Slice, ...]:
    """Return what is left of all ids, in order, after ranges ``(after, upto]`` have been read."""
    left: list[Slice] = []
    reached: str | None = None
    is_first = True
    for after, upto in sorted(covered, key=lambda pair: pair[0] or ""):
        if after is not None and (is_first or (reached is not None and after > reached)):
            left.append(Slice(reached, after))
        is_first = False
        if upto is None:
            return tuple(left)
        reached = upto if reached is None else max(reached, upto)
    return (*left, Slice(reached, None))


def page_for(n_expected: float) -> int:
    """Return how many entries to ask for, so that a slice with about so many is one page."""
    return math.ceil(n_expected + _MARGIN * math.sqrt(max(1.0, n_expected)) + 1)


def expected_for(page_size: int) -> float:
    """Return of how many entries a slice may be expected to be, to fit into a page."""
    root = (math.sqrt(_MARGIN**2 + 4 * max(0, page_size - 1)) - _MARGIN) / 2
    return float(root**2)


def is_even(slices: Sequence[Slice], n_here: int, n_all: int) -> bool:
    """Return whether ``n_here`` of ``n_all`` entries in these slices look like ids that are spread evenly."""
    share = min(1.0, sum(one.width for one in slices))
    expected = n_all * share
    spread = math.sqrt(max(1.0, n_all * share * (1 - share)))
    return abs(n_here - expected) <= _UNEVEN * spread + 1
