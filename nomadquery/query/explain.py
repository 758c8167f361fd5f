"""Tree → plain words; tree → the Python that builds it."""

from __future__ import annotations

from typing import assert_never

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

_VALUES_SHOWN = 12
_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def in_words(criterion: Criterion) -> str:
    """Return the question in plain words, one line for each criterion, indented by nesting."""
    if criterion == EVERYTHING:
        return "all entries"
    parts = criterion.criteria if isinstance(criterion, And) else (criterion,)
    return "\n".join(line for part in parts for line in _lines(part))


def in_python(criterion: Criterion) -> str:
    """Return the Python expression that builds the query."""
    match criterion:
        case And(()):
            return "Query()"
        case And(parts):
            return " & ".join(_operand(part) for part in parts)
        case Or(()):
            return "~Query()"
        case Or(parts):
            return " | ".join(_operand(part) for part in parts)
        case Not(Equals(quantity, value)):
            return f"{_q(quantity)} != {value!r}"
        case Not(inner):
            return f"~{_operand(inner)}"
        case Within(section, parts):
            return f"within({section!r}, {', '.join(_in_section(part, section) for part in parts)})"
        case Optimade(text):
            return f"optimade({text!r})"
        case _:
            return _leaf_in_python(criterion)


def _operand(criterion: Criterion) -> str:
    text = in_python(criterion)
    return (
        text
        if text.startswith(("within(", "optimade(", "Query()")) or text.endswith(")") and _is_call(criterion)
        else f"({text})"
    )


def _is_call(criterion: Criterion) -> bool:
    if isinstance(criterion, Range):
        return _spans(criterion) in {"all", "closed"}
    return isinstance(criterion, HasAll | HasAny | HasNone | Within | Optimade)


def _in_section(criterion: Criterion, section: str) -> str:
    text = in_python(criterion)
    return text.replace(f"Q.{section}.", "Q.")


def _q(name: str) -> str:
    if name.startswith("!"):
        return f"Q[{name[1:]!r}].unchecked()"
    plain = all(part.isidentifier() for part in name.split("."))
    return f"Q.{name}" if plain else f"Q[{name!r}]"


def _leaf_in_python(leaf: Leaf) -> str:
    name = _q(leaf.quantity)
    match leaf:
        case Equals(_, value):
            return f"{name} == {value!r}"
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
    match _spans(leaf):
        case "all":
            return f"{name}.exists()"
        case "closed":
            return f"{name}.between({leaf.gte!r}, {leaf.lte!r})"
        case _:
            given = [
                (sign, getattr(leaf, side))
                for side, sign in _SIGNS.items()
                if getattr(leaf, side) is not None
            ]
            return (
                " & ".join(f"({name} {sign} {bound!r})" for sign, bound in given)
                if len(given) > 1
                else (f"{name} {given[0][0]} {given[0][1]!r}")
            )


def _spans(leaf: Range) -> str:
    if leaf == Range(leaf.quantity):
        return "all"
    return "closed" if leaf.gte is not None and leaf.lte is not None else "open"


def _listed(values: tuple[Value, ...]) -> str:
    return ", ".join(repr(value) for value in values)


def _lines(criterion: Criterion) -> list[str]:
    match criterion:
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
            if _spans(leaf) == "all":
                return f"{name} has a value"
            if _spans(leaf) == "closed":
                return f"{name} is between {leaf.gte!r} and {leaf.lte!r}, both included"
            bounds = [
                f"{sign} {getattr(leaf, side)!r}"
                for side, sign in _SIGNS.items()
                if getattr(leaf, side) is not None
            ]
            return f"{name} {' and '.join(bounds)}"
        case _:
            assert_never(leaf)


def _plain(name: str) -> str:
    return name.removeprefix("!")


def _shown(values: tuple[Value, ...]) -> str:
    shown = ", ".join(repr(value) for value in values[:_VALUES_SHOWN])
    return shown + (f" … ({len(values)} values)" if len(values) > _VALUES_SHOWN else "")
