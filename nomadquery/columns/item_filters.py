"""Filters of items in a path: their names in full, their values as they are stored."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from nomadquery.errors import UnitError
from nomadquery.query.bounds import bounds_of
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import (
    And,
    Criterion,
    Not,
    Optimade,
    Or,
    Range,
    Within,
    canonical,
    quantities_of,
)
from nomadquery.query.path import Items, Path, Step, dotted
from nomadquery.query.resolve import Resolver, full_name

#: A number with a unit behind it, and no date.
_WITH_UNIT: Final = re.compile(r"\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*[^\d\s:.+-].*")


def is_custom(name: str) -> bool:
    """Return whether only an entry's own schema, or that of one code (``x_…``), may know the quantity."""
    if name.startswith(("data.", "definitions.", "workflow2.", "measurement.", "tabular_tree.")):
        return True
    return any(part.startswith("x_") for part in name.split("."))


def resolved_filters(path: Path, catalogue: Catalogue) -> Path:
    """Return the path with its filters resolved.

    Raises
    ------
    QuantityNotFound, UnitError
        If a name or a value does not fit.
    """
    steps: list[Step] = []
    for step in path.steps:
        if isinstance(step, Items):
            section = dotted(Path(tuple(steps)))
            steps.append(Items(_resolved_filter(step.criterion, section, catalogue)))
        else:
            steps.append(step)
    return Path(tuple(steps))


def _resolved_filter(criterion: Criterion, section: str, catalogue: Catalogue) -> Criterion:
    """Return the tree with full names; values of custom quantities are taken as they stand."""
    names = (full_name(name, section) for name in quantities_of(criterion))
    schemas = {name: (f"{name}#",) for name in names if name.startswith("data.")}
    resolver = Resolver(catalogue, schemas, strict=True, searchable_only=False)
    resolved = without_schemas(canonical(resolver.resolve(criterion, section)))
    _check_custom_bounds(resolved, catalogue)
    return resolved


def _check_custom_bounds(criterion: Criterion, catalogue: Catalogue) -> None:
    """Refuse a unit in a comparison with a custom quantity: in which one it is stored, its entry tells.

    Raises
    ------
    UnitError
        If there is one.
    """
    match criterion:
        case And(parts) | Or(parts) | Within(_, parts):
            for part in parts:
                _check_custom_bounds(part, catalogue)
        case Not(inner):
            _check_custom_bounds(inner, catalogue)
        case Range(quantity) if catalogue.find(quantity) is None:
            bounds = (str(bound) for bound in bounds_of(criterion).values() if isinstance(bound, str))
            united = next((bound for bound in bounds if _WITH_UNIT.fullmatch(bound)), None)
            if united is not None:
                raise UnitError(
                    f"In which unit {quantity} is stored, the entry's own schema says, so a filter of items "
                    f"cannot take {united!r}: give the bare number in the stored unit, or select the column "
                    "and compare in pandas."
                )
        case _:
            pass


def without_schemas(criterion: Criterion) -> Criterion:
    """Return the tree with ``data.x`` for each ``data.x#``, the placeholder of a schema left open."""
    match criterion:
        case And(parts) | Or(parts):
            return type(criterion)(tuple(without_schemas(part) for part in parts))
        case Within(section, parts):
            return Within(section, tuple(without_schemas(part) for part in parts))
        case Not(inner):
            return Not(without_schemas(inner))
        case Optimade():
            return criterion
        case _:
            return replace(criterion, quantity=criterion.quantity.removesuffix("#"))
