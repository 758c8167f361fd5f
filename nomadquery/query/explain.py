"""Tree → plain words; tree → the Python that builds it."""

from __future__ import annotations

from typing import Final, assert_never

from nomadquery.query.bounds import bounds_of
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.criteria import (
    EVERYTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Leaf,
    Not,
    Optimade,
    Or,
    Range,
    Value,
    Within,
)
from nomadquery.query.path import is_attribute
from nomadquery.query.resolve import UNCHECKED, full_name

_VALUES_SHOWN = 12
_VALUES_WRITTEN = 1000
_SIGNS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_ENDS_IN_WORDS: Final = {
    ("gte", "lte"): "both included",
    ("gte", "lt"): "the first included",
    ("gt", "lte"): "the second included",
    ("gt", "lt"): "both excluded",
}
_ENDS_IN_PYTHON: Final = {
    ("gte", "lte"): "",
    ("gte", "lt"): ", inclusive='left'",
    ("gt", "lte"): ", inclusive='right'",
    ("gt", "lt"): ", inclusive='neither'",
}


def in_words(criterion: Criterion) -> str:
    """Return the question in plain words, one line for each criterion, indented by nesting."""
    if criterion == EVERYTHING:
        return "all entries"
    parts = criterion.criteria if isinstance(criterion, And) else (criterion,)
    return "\n".join(line for part in parts for line in _lines(part))


def in_python(criterion: Criterion, section: str = "") -> str:
    """Return the Python expression that builds the query; names are relative to ``section``.

    Lists of more than 1,000 values are cut short.
    """
    match criterion:
        case And(()):
            return "Query()"
        case And(parts):
            return " & ".join(_operand(part, section) for part in parts)
        case Or(()):
            return "~Query()"
        case Or(parts):
            return " | ".join(_operand(part, section) for part in parts)
        case Not(Equals(name, value)) if not _is_measured(name, section):
            return f"{_q(name, section)} != {value!r}"
        case Not(inner):
            return f"~{_operand(inner, section)}"
        case HasAll(name, values) if _is_single(name, section):  # Q refuses has_all where one value is
            return in_python(And(tuple(Equals(name, value) for value in values)), section)
        case Within(name, parts):
            below = full_name(name, section)
            return f"within({name!r}, {', '.join(in_python(part, below) for part in parts)})"
        case Optimade(text):
            return f"optimade({text!r})"
        case _:
            return _leaf_in_python(criterion, section)


def _operand(criterion: Criterion, section: str) -> str:
    text = in_python(criterion, section)
    return text if _is_call(criterion, section) else f"({text})"


def _is_call(criterion: Criterion, section: str) -> bool:
    """Return whether the expression is one call, which needs no parentheses."""
    match criterion:
        case HasAll(name) if _is_single(name, section):
            return False
        case HasAll() | HasAny() | HasNone() | Within() | Optimade() | And(()):
            return True
        case Equals(name):
            return _is_measured(name, section)
        case Range():
            return len(bounds_of(criterion)) != 1
        case _:
            return False


def _q(name: str, section: str) -> str:
    if name.startswith(UNCHECKED):
        return f"Q[{name[1:]!r}].unchecked()"
    name = name.removeprefix(f"{section}.") if section else name
    plain = all(map(is_attribute, name.split(".")))
    return f"Q.{name}" if plain else f"Q[{name!r}]"


def _leaf_in_python(leaf: Leaf, section: str) -> str:
    name = _q(leaf.quantity, section)
    match leaf:
        case Equals(_, value):
            measured = _is_measured(leaf.quantity, section)
            return f"{name}.has_any({value!r})" if measured else f"{name} == {value!r}"
        case HasAll(_, values):
            return f"{name}.has_all({_listed(values)})"
        case HasAny(_, values):
            return f"{name}.has_any({_listed(values)})"
        case HasNone(_, values):
            return f"{name}.has_none({_listed(values)})"
        case Range():
            return _range_in_python(leaf, name)
        case _:
            assert_never(leaf)


def _range_in_python(leaf: Range, name: str) -> str:
    match list(bounds_of(leaf).items()):
        case []:
            return f"{name}.exists()"
        case [(side, bound)]:
            return f"{name} {_SIGNS[side]} {bound!r}"
        case [(lower, low), (upper, high), *_]:
            return f"{name}.between({low!r}, {high!r}{_ENDS_IN_PYTHON[lower, upper]})"
        case _:
            raise AssertionError("a dictionary has none, one or more items")


def _is_measured(name: str, section: str) -> bool:
    """Return whether Q refuses ``==`` because it is a float with a dimension."""
    known = catalogue_for().find(full_name(name, section))
    return known is not None and known.kind == "number" and known.is_dimensional


def _is_single(name: str, section: str) -> bool:
    known = catalogue_for().find(full_name(name, section))
    return known is not None and not known.is_list


def _listed(values: tuple[Value, ...]) -> str:
    written = ", ".join(repr(value) for value in values[:_VALUES_WRITTEN])
    return written + (f", … {len(values)} values" if len(values) > _VALUES_WRITTEN else "")


def _lines(criterion: Criterion) -> list[str]:
    match criterion:
        case And(()):
            return ["any entry"]
        case And(parts):
            return ["all of:", *_indented(parts)]
        case Or(()):
            return ["no entry"]
        case Or(parts):
            return ["at least one of:", *_indented(parts)]
        case Not(Equals() | HasAny() | HasAll() | Range() as leaf):
            return [f"not: {_sentence(leaf)} (entries without {_plain(leaf.quantity)} included)"]
        case Not(inner):
            return ["not:", *_indented((inner,))]
        case Within(section, parts):
            return [f"one and the same item of {section} has:", *_indented(parts)]
        case Optimade(text):
            return [f"OPTIMADE filter: {text}"]
        case _:
            return [_sentence(criterion)]


def _indented(parts: tuple[Criterion, ...]) -> list[str]:
    return ["  " + line for part in parts for line in _lines(part)]


def _sentence(leaf: Leaf) -> str:
    name = _plain(leaf.quantity)
    match leaf:
        case Equals(_, value):
            return f"{name} is {value!r}"
        case HasAll(_, values):
            return f"{name} has all of {_shown(values)}"
        case HasAny(_, values):
            return f"{name} is or has one of {_shown(values)}"
        case HasNone(_, values):
            return f"{name} has none of {_shown(values)} (entries without {name} included)"
        case Range():
            return _range_in_words(leaf, name)
        case _:
            assert_never(leaf)


def _range_in_words(leaf: Range, name: str) -> str:
    match list(bounds_of(leaf).items()):
        case []:
            return f"{name} has a value"
        case [(side, bound)]:
            return f"{name} {_SIGNS[side]} {bound!r}"
        case [(lower, low), (upper, high), *_]:
            return f"{name} is between {low!r} and {high!r}, {_ENDS_IN_WORDS[lower, upper]}"
        case _:
            raise AssertionError("a dictionary has none, one or more items")


def _plain(name: str) -> str:
    return name.removeprefix(UNCHECKED)


def _shown(values: tuple[Value, ...]) -> str:
    shown = ", ".join(repr(value) for value in values[:_VALUES_SHOWN])
    return shown + (f" … ({len(values)} values)" if len(values) > _VALUES_SHOWN else "")
