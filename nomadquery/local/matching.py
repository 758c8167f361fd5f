"""Which documents satisfy a query: what `predicate` says, sooner.

`predicate.matches` is the meaning of every node. Comparisons of exact text (ids, names,
elements, ``quantities``) and ranges of numbers and dates are most of what is asked, of
thousands of documents at once and with hundreds of values; what does not depend on the
document is done once here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from operator import ge, gt, le, lt
from typing import Any

from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Or,
    Range,
    Value,
)
from nomadquery.query.dates import moment_of
from nomadquery.query.formulas import formula_order
from nomadquery.query.predicate import matches

Document = Mapping[str, Any]
Test = Callable[[Document], bool]


def test_of(criterion: Criterion, catalogue: Catalogue) -> Test:
    """Return the function that says whether a search document satisfies a resolved tree."""
    match criterion:
        case And(parts):
            return _all_of([test_of(part, catalogue) for part in parts])
        case Or(parts):
            return _any_of([test_of(part, catalogue) for part in parts])
        case Not(inner):
            return _opposite(test_of(inner, catalogue))
        case Equals(quantity, value) if _is_exact_text(quantity, catalogue):
            return _one_of(quantity, value)
        case HasAny(quantity, values) if _is_exact_text(quantity, catalogue):
            return _some_of(quantity, values)
        case HasNone(quantity, values) if _is_exact_text(quantity, catalogue):
            return _opposite(_some_of(quantity, values))
        case HasAll(quantity, values) if _is_exact_text(quantity, catalogue):
            return _every_of(quantity, values)
        case Range(quantity) if _kind_of(quantity, catalogue) in ("number", "integer"):
            return _between(criterion, _as_number)
        case Range(quantity) if _kind_of(quantity, catalogue) == "date":
            return _between(criterion, _as_moment)
        case _:
            return lambda document: matches(criterion, document, catalogue)


def values_at(document: Any, steps: list[str]) -> list[Any]:
    """Return every value at a path of names, through lists of any depth; null is no value.

    The list may be the document's own.
    """
    for position, step in enumerate(steps):
        if isinstance(document, list):
            return [value for item in document for value in values_at(item, steps[position:])]
        if not isinstance(document, Mapping):
            return []
        document = document.get(step)
    if not isinstance(document, list):
        return [] if document is None else [document]
    if not {list, type(None)}.isdisjoint(map(type, document)):
        return [value for item in document for value in values_at(item, [])]
    return document


def _is_exact_text(name: str, catalogue: Catalogue) -> bool:
    quantity = catalogue.find(name)
    return (
        quantity is not None
        and quantity.name == name
        and quantity.kind == "text"
        and quantity.index == "keyword"
        and not quantity.is_view
        and formula_order(name) is None
    )


def _kind_of(name: str, catalogue: Catalogue) -> str | None:
    quantity = catalogue.find(name)
    return quantity.kind if quantity is not None and quantity.name == name else None


def _as_number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _as_moment(value: Any) -> datetime | None:
    return moment_of(value) if isinstance(value, str) else None


def _between(leaf: Range, read: Callable[[Any], Any]) -> Test:
    steps = leaf.quantity.split(".")
    bounds = [
        (compare, read(bound))
        for compare, bound in ((gt, leaf.gt), (ge, leaf.gte), (lt, leaf.lt), (le, leaf.lte))
        if bound is not None
    ]

    def test(document: Document) -> bool:
        for value in values_at(document, steps):
            have = read(value)
            if have is not None and all(compare(have, bound) for compare, bound in bounds):
                return True
        return False

    return test


def _one_of(name: str, value: Value) -> Test:
    steps = name.split(".")
    return lambda document: value in values_at(document, steps)


def _some_of(name: str, values: tuple[Value, ...]) -> Test:
    wanted, steps = frozenset(value for value in values if isinstance(value, str)), name.split(".")
    return lambda document: not wanted.isdisjoint(values_at(document, steps))


def _every_of(name: str, values: tuple[Value, ...]) -> Test:
    wanted, steps = frozenset(values), name.split(".")
    return lambda document: wanted.issubset(values_at(document, steps))


def _all_of(tests: list[Test]) -> Test:
    return lambda document: all(test(document) for test in tests)


def _any_of(tests: list[Test]) -> Test:
    return lambda document: any(test(document) for test in tests)


def _opposite(test: Test) -> Test:
    return lambda document: not test(document)
