"""The tree of a question: ten frozen node types, their canonical form and its hash.

A tree is a value: no methods, nothing that changes. What it means stands in
`predicate`, how NOMAD spells it in `body`, what people type in `quantity`.

Quantities are named as in NOMAD's search index (``results.material.elements``).
Values are ``str``, ``int``, ``float`` or ``bool``; numbers are in the unit that
NOMAD stores, dates are ISO strings in UTC.

=============================  ==============================================================
node                           true for an entry when
=============================  ==============================================================
``Equals(q, v)``               some value at ``q`` equals ``v``, same type
``HasAll HasAny HasNone``      every / some / no ``v`` is among the values at ``q``
``Range(q, gt, gte, lt, lte)`` **one** value satisfies all the bounds
``And Or Not``                 two-valued logic; ``And(())`` is everything, ``Or(())`` nothing
``Within(section, criteria)``  one and the same item of ``section`` satisfies all the criteria
``Optimade(filter)``           decided by the server
=============================  ==============================================================

A missing quantity makes every leaf but ``HasNone`` false, hence ``Not(leaf)`` true.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard, assert_never

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Equals:
    """Some value at ``quantity`` equals ``value``."""

    quantity: str
    value: Value


@dataclass(frozen=True, slots=True)
class HasAll:
    """Every one of ``values`` is among the values at ``quantity``."""

    quantity: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class HasAny:
    """At least one of ``values`` is among the values at ``quantity``."""

    quantity: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class HasNone:
    """None of ``values`` is among the values at ``quantity``; also true where it is missing."""

    quantity: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """One value at ``quantity`` satisfies all the bounds; ``None`` is an absent bound."""

    quantity: str
    gt: Value | None = None
    gte: Value | None = None
    lt: Value | None = None
    lte: Value | None = None


@dataclass(frozen=True, slots=True)
class And:
    """All of ``criteria`` hold; the empty ``And`` is everything."""

    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of ``criteria`` holds; the empty ``Or`` is nothing."""

    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """``criterion`` does not hold."""

    criterion: Criterion


@dataclass(frozen=True, slots=True)
class Within:
    """One item of the repeating ``section`` satisfies all of ``criteria`` (full names)."""

    section: str
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class Optimade:
    """The OPTIMADE ``filter`` holds; only a server can decide it."""

    filter: str


Leaf = Equals | HasAll | HasAny | HasNone | Range
Criterion = Leaf | And | Or | Not | Within | Optimade

EVERYTHING = And(())
NOTHING = Or(())

#: Bounds that every stored value satisfies; see `bounds`.
FLOAT_LIMIT = 1e308
INT32_LIMIT = 2**31 - 1
INT64_LIMIT = 2**63 - 1
TEXT_LIMIT = "\U0010ffff"


def canonical(criterion: Criterion) -> Criterion:
    """Return the one tree that stands for all trees of the same spelling-independent meaning.

    Nested ``And`` and ``Or`` are flattened, their parts sorted, repeats and neutral parts
    dropped; ``Equals`` of one quantity are gathered into ``HasAll`` or ``HasAny``; negations
    move into ``HasNone`` where one exists; a part beside its own negation decides the whole.
    ``canonical(canonical(c)) == canonical(c)``.
    """
    match criterion:
        case Equals(quantity, value):
            return Equals(quantity, _plain(value))
        case HasAll(quantity, values):
            return _has_all(quantity, values)
        case HasAny(quantity, values):
            return _has_any(quantity, values)
        case HasNone(quantity, values):
            return HasNone(quantity, _value_set(values)) if values else EVERYTHING
        case Range():
            return _canonical_range(criterion)
        case Not(inner):
            return _negation(canonical(inner))
        case And(parts):
            return _canonical_and(parts)
        case Or(parts):
            return _canonical_or(parts)
        case Within(section, parts):
            return _canonical_within(section, parts)
        case Optimade(text):
            return Optimade(text.strip())
        case _:
            assert_never(criterion)


def to_plain(criterion: Criterion) -> list[Any]:
    """Return the tree as nested JSON lists, the node's name first."""
    match criterion:
        case Equals(quantity, value):
            return ["Equals", quantity, value]
        case HasAll(quantity, values) | HasAny(quantity, values) | HasNone(quantity, values):
            return [type(criterion).__name__, quantity, list(values)]
        case Range(quantity, gt, gte, lt, lte):
            return ["Range", quantity, gt, gte, lt, lte]
        case Not(inner):
            return ["Not", to_plain(inner)]
        case And(parts) | Or(parts):
            return [type(criterion).__name__, [to_plain(part) for part in parts]]
        case Within(section, parts):
            return ["Within", section, [to_plain(part) for part in parts]]
        case Optimade(text):
            return ["Optimade", text]
        case _:
            assert_never(criterion)


def canonical_json(criterion: Criterion) -> str:
    """Return the canonical tree as JSON text, in which ``true``, ``1`` and ``1.0`` differ."""
    return _text(canonical(criterion))


def fingerprint(criterion: Criterion) -> str:
    """Return the SHA-256 of `canonical_json`, in hexadecimal."""
    return hashlib.sha256(canonical_json(criterion).encode()).hexdigest()


def quantities_of(criterion: Criterion) -> frozenset[str]:
    """Return the names of all quantities that the tree mentions."""
    match criterion:
        case And(parts) | Or(parts) | Within(_, parts):
            return frozenset().union(*(quantities_of(part) for part in parts))
        case Not(inner):
            return quantities_of(inner)
        case Optimade():
            return frozenset()
        case _:
            return frozenset({criterion.quantity})


def has_optimade(criterion: Criterion) -> bool:
    """Return whether a part of the tree is an OPTIMADE filter, which only a server can decide."""
    match criterion:
        case Optimade():
            return True
        case And(parts) | Or(parts) | Within(_, parts):
            return any(has_optimade(part) for part in parts)
        case Not(inner):
            return has_optimade(inner)
        case _:
            return False


def _text(criterion: Criterion) -> str:
    return json.dumps(to_plain(criterion), separators=(",", ":"), ensure_ascii=False)


def _plain(value: Value) -> Value:
    return 0.0 if isinstance(value, float) and value == 0.0 else value


def _value_set(values: tuple[Value, ...]) -> tuple[Value, ...]:
    by_text = {json.dumps(_plain(value)): _plain(value) for value in values}
    return tuple(by_text[text] for text in sorted(by_text))


def _has_all(quantity: str, values: tuple[Value, ...]) -> Criterion:
    distinct = _value_set(values)
    if not distinct:
        return EVERYTHING
    return Equals(quantity, distinct[0]) if len(distinct) == 1 else HasAll(quantity, distinct)


def _has_any(quantity: str, values: tuple[Value, ...]) -> Criterion:
    distinct = _value_set(values)
    if not distinct:
        return NOTHING
    return Equals(quantity, distinct[0]) if len(distinct) == 1 else HasAny(quantity, distinct)


def _canonical_range(criterion: Range) -> Criterion:
    gt, gte = _stricter(criterion.gt, criterion.gte, max)
    lt, lte = _stricter(criterion.lt, criterion.lte, min)
    if _is_number(gte) and _is_number(lte) and gte == lte and type(gte) is type(lte):
        return Equals(criterion.quantity, gte)
    if "" in {lt, lte}:  # no text comes before the empty one
        return Equals(criterion.quantity, "") if (gt, lt) == (None, None) and gte in {None, ""} else NOTHING
    lower, upper = gte if gt is None else gt, lte if lt is None else lt
    if (
        _is_number(lower)
        and _is_number(upper)
        and (lower > upper or (lower == upper and (gt, lt) != (None, None)))
    ):
        return NOTHING
    return Range(criterion.quantity, gt, gte, lt, lte)


def _stricter(
    strict: Value | None, closed: Value | None, choose: Callable[..., Any]
) -> tuple[Value | None, Value | None]:
    """Return (strict, closed) with at most one of two numbers on one side."""
    strict = None if strict is None else _plain(strict)
    closed = None if closed is None else _plain(closed)
    if not (_is_number(strict) and _is_number(closed)):
        return strict, closed
    return (strict, None) if choose(strict, closed) == strict else (None, closed)


def _is_number(value: Value | None) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _negation(inner: Criterion) -> Criterion:
    """Return the canonical negation of a canonical tree."""
    match inner:
        case Not(positive):
            return positive
        case Equals(quantity, value):
            return HasNone(quantity, (value,))
        case HasAny(quantity, values):
            return HasNone(quantity, values)
        case HasNone(quantity, values):
            return _has_any(quantity, values)
        case And(()):
            return NOTHING
        case Or(()):
            return EVERYTHING
        case _:
            return Not(inner)


def _canonical_and(parts: tuple[Criterion, ...]) -> Criterion:
    flat = [
        p for part in map(canonical, parts) for p in (part.criteria if isinstance(part, And) else (part,))
    ]
    if NOTHING in flat:
        return NOTHING
    wanted: dict[str, list[Value]] = {}
    unwanted: dict[str, list[Value]] = {}
    rest: list[Criterion] = []
    for part in flat:
        match part:
            case Equals(quantity, value):
                wanted.setdefault(quantity, []).append(value)
            case HasAll(quantity, values):
                wanted.setdefault(quantity, []).extend(values)
            case HasNone(quantity, values):
                unwanted.setdefault(quantity, []).extend(values)
            case _:
                rest.append(part)
    rest += [_has_all(quantity, tuple(values)) for quantity, values in wanted.items()]
    rest += [HasNone(quantity, _value_set(tuple(values))) for quantity, values in unwanted.items()]
    return _gathered(rest, And, undecided=EVERYTHING, decided=NOTHING)


def _canonical_or(parts: tuple[Criterion, ...]) -> Criterion:
    flat = [p for part in map(canonical, parts) for p in (part.criteria if isinstance(part, Or) else (part,))]
    if EVERYTHING in flat:
        return EVERYTHING
    wanted: dict[str, list[Value]] = {}
    rest: list[Criterion] = []
    for part in flat:
        match part:
            case Equals(quantity, value):
                wanted.setdefault(quantity, []).append(value)
            case HasAny(quantity, values):
                wanted.setdefault(quantity, []).extend(values)
            case _:
                rest.append(part)
    rest += [_has_any(quantity, tuple(values)) for quantity, values in wanted.items()]
    return _gathered(rest, Or, undecided=NOTHING, decided=EVERYTHING)


def _gathered(
    parts: list[Criterion], node: type[And] | type[Or], *, undecided: Criterion, decided: Criterion
) -> Criterion:
    """Return ``node`` of the distinct parts in order, or what a part and its negation decide."""
    by_text = {_text(part): part for part in parts}
    if any(_text(_negation(part)) in by_text for part in by_text.values()):
        return decided
    if len(by_text) <= 1:
        return next(iter(by_text.values()), undecided)
    return node(tuple(by_text[text] for text in sorted(by_text)))


def _canonical_within(section: str, parts: tuple[Criterion, ...]) -> Criterion:
    inner = _canonical_and(parts)
    match inner:
        case Equals() | HasAny() | Range():
            return inner  # one leaf about one value: the same item is any item
        case Or(()):
            return NOTHING
        case And(several):
            return Within(section, several)
        case _:
            return Within(section, (inner,))
