"""Trees, paths and columns as JSON, and back: what manifests and lockfiles hold of a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never, get_args

from nomadquery.query.column import Column
from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Optimade,
    Or,
    Range,
    Within,
    to_plain,
)
from nomadquery.query.path import Index, Items, Name, Path, Slice, Step
from nomadquery.query.short_names import Rule

_RULES: tuple[Rule, ...] = get_args(Rule)


def tree_of(plain: Any) -> Criterion:
    """Return the tree that `criteria.to_plain` wrote.

    Raises
    ------
    ValueError
        If it is none.
    """
    match plain:
        case ["And", list(parts)]:
            return And(tuple(map(tree_of, parts)))
        case ["Or", list(parts)]:
            return Or(tuple(map(tree_of, parts)))
        case ["Not", inner]:
            return Not(tree_of(inner))
        case ["Within", str(section), list(parts)]:
            return Within(section, tuple(map(tree_of, parts)))
        case ["Optimade", str(text)]:
            return Optimade(text)
        case ["Equals", str(quantity), value]:
            return Equals(quantity, value)
        case ["Range", str(quantity), gt, gte, lt, lte]:
            return Range(quantity, gt, gte, lt, lte)
        case ["HasAll", str(quantity), list(values)]:
            return HasAll(quantity, tuple(values))
        case ["HasAny", str(quantity), list(values)]:
            return HasAny(quantity, tuple(values))
        case ["HasNone", str(quantity), list(values)]:
            return HasNone(quantity, tuple(values))
        case _:
            raise ValueError("no tree of a question")


def plain_step(step: Step) -> Any:
    """Return a step of a path: a name, ``[position]``, ``[start, stop]``, or ``{"items": tree}``."""
    match step:
        case Name(name):
            return name
        case Index(position):
            return [position]
        case Slice(start, stop):
            return [start, stop]
        case Items(criterion):
            return {"items": to_plain(criterion)}
        case _:
            assert_never(step)


def step_of(plain: Any) -> Step:
    """Return the step that `plain_step` wrote.

    Raises
    ------
    ValueError
        If it is none.
    """
    match plain:
        case str(name):
            return Name(name)
        case [int(position)]:
            return Index(position)
        case [int() | None as start, int() | None as stop]:
            return Slice(start, stop)
        case {"items": criterion}:
            return Items(tree_of(criterion))
        case _:
            raise ValueError("no step of a path")


def plain_column(column: Column) -> dict[str, Any]:
    """Return a column as it was typed; what is not said is left out."""
    said = {"rule": column.rule, "unit": column.unit, "stored_in": column.stored_in}
    return {
        "name": column.name,
        "path": [plain_step(step) for step in column.path.steps],
        **{word: value for word, value in said.items() if value is not None},
        **({"unchecked": True} if column.unchecked else {}),
    }


def column_of_plain(plain: Mapping[str, Any]) -> Column:
    """Return the column that `plain_column` wrote.

    Raises
    ------
    ValueError, KeyError, TypeError
        If it is none.
    """
    rule = plain.get("rule")
    if rule is not None and rule not in _RULES:
        raise ValueError("no rule of a column")
    return Column(
        name=str(plain["name"]),
        path=Path(tuple(map(step_of, plain["path"]))),
        rule=rule,
        unit=plain.get("unit"),
        stored_in=plain.get("stored_in"),
        unchecked=bool(plain.get("unchecked")),
    )
