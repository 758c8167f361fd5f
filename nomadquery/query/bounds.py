"""Bounds that every stored value satisfies, and ranges from zero.

NOMAD takes a range whose bounds are all zero (or ``""``) for an empty one. It is sent with a second
bound that every value satisfies, which is taken away again where a query is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nomadquery.query.catalogue import Quantity
from nomadquery.query.criteria import (
    FLOAT_LIMIT,
    INT32_LIMIT,
    INT64_LIMIT,
    TEXT_LIMIT,
    Range,
    Value,
)

SIDES: Final = ("gt", "gte", "lt", "lte")
#: The smallest positive double. Of a number of unknown type (integer or not) ``> 0`` is ``>= _TINY``,
#: ``>= 0`` is ``> -_TINY``; a limit would be too small for some types and too large for others.
_TINY: Final = 5e-324
_BESIDE_ZERO: Final = {
    "gt": ("gte", _TINY),
    "gte": ("gt", -_TINY),
    "lt": ("lte", -_TINY),
    "lte": ("lt", _TINY),
}


def bounds_of(leaf: Range) -> dict[str, Value]:
    """Return the bounds that are set, by their word."""
    return {side: bound for side in SIDES if (bound := getattr(leaf, side)) is not None}


def joined_ranges(ranges: Iterable[Range]) -> list[Range]:
    """Return the ranges of one quantity, those with different sides joined to one.

    That is the same question only where there is one value that all of them are about.
    """
    joined: list[Range] = []
    for leaf in ranges:
        for position, other in enumerate(joined):
            if not _sides(leaf) & _sides(other):
                joined[position] = Range(leaf.quantity, **bounds_of(leaf), **bounds_of(other))
                break
        else:
            joined.append(leaf)
    return joined


def _sides(leaf: Range) -> set[str]:
    return {side[0] for side in bounds_of(leaf)}  # g for lower, l for upper bounds


def limits(quantity: Quantity) -> tuple[int | float, int | float] | None:
    """Return the least and the greatest number that the index can hold, ``None`` where it is not known."""
    match quantity.kind:
        case "integer":
            greatest = INT64_LIMIT if quantity.index == "long" else INT32_LIMIT
            return -greatest - 1, greatest
        case "number":
            return -FLOAT_LIMIT, FLOAT_LIMIT
        case _:
            return None


def as_sent(leaf: Range, quantity: Quantity) -> dict[str, Value]:
    """Return the range object that NOMAD reads as this canonical range."""
    given = bounds_of(leaf)
    if any(given.values()) or not given:
        return given
    [(side, zero)] = given.items()
    known = limits(quantity)
    if isinstance(zero, str):
        return {side: zero, "lte": TEXT_LIMIT}
    if known is None:
        word, tiny = _BESIDE_ZERO[side]
        return {word: tiny}
    return {side: zero, "lte": known[1]} if side.startswith("g") else {side: zero, "gte": known[0]}


def as_meant(leaf: Range, quantity: Quantity) -> Range:
    """Return the range without the second bound that `as_sent` adds."""
    given = bounds_of(leaf)
    for side in given:
        alone = Range(leaf.quantity, **{side: given[side]})
        if len(given) == 2 and not given[side] and as_sent(alone, quantity) == given:
            return alone
    for side, (word, tiny) in _BESIDE_ZERO.items():
        if limits(quantity) is None and given in ({word: tiny}, {side: 0}):
            return Range(leaf.quantity, **{side: 0})
    return leaf
