"""What each column needs: full path, source, type and unit, from the catalogue.

Nothing is guessed from a page of data: a known quantity has the type that the schema
declares. Quantities that only a custom schema knows are kept as JSON until all rows are
there, and take the type that fits them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from nomadquery import units
from nomadquery.errors import NotExpressible, QueryError, UnitError
from nomadquery.query.catalogue import Catalogue, Kind, Quantity
from nomadquery.query.column import Column
from nomadquery.query.criteria import (
    And,
    Criterion,
    Not,
    Optimade,
    Or,
    Within,
    canonical,
    quantities_of,
    to_plain,
)
from nomadquery.query.path import Index, Items, Name, Path, Slice, Step, dotted, path_of
from nomadquery.query.phrases import read_path
from nomadquery.query.resolve import Resolver, full_name, unknown_quantity
from nomadquery.query.short_names import SHORT_NAMES, Rule

Source = Literal["search", "archive"]

_COUNTING: Final = frozenset({"count", "size"})

#: Declared as one number, and a series over time in the data (nomad-lab 2.0.0, all 33 of the
#: sampled trajectories).
_SERIES: Final = re.compile(
    r"results\.properties\.(thermodynamic\.trajectory\.(temperature|pressure|volume|energy_potential)"
    r"|structural\.radius_of_gyration)\.(time|value)"
)


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """One column, ready to be read from a document.

    Attributes
    ----------
    name : str
        Name in the table.
    path : Path
        Full path; filters hold resolved trees with full names.
    rule : str or None
        What becomes of several values.
    kind : str
        Kind of one value after the rule; ``other`` where only the data can tell.
    n_levels : int
        List levels of one value: repeating sections without an index, then array dimensions.
    n_dimensions : int
        How many of these are dimensions of an array.
    stored_unit, unit : str or None
        Unit of the stored number, and of the column.
    source : str
        ``search`` (``entries/query``) or ``archive``.
    repeats : tuple of str
        The repeating sections on the way, in full.
    is_custom : bool
        Whether only an entry's own schema knows the quantity.
    schema : str or None
        For a custom quantity: entries of this class only.
    follows : bool
        Whether the path leads (or, for a custom quantity, may lead) through a reference.
    unchecked : bool
        Whether the path is taken as it stands.
    """

    name: str
    path: Path
    rule: Rule | None
    kind: Kind
    n_levels: int
    n_dimensions: int
    stored_unit: str | None
    unit: str | None
    source: Source
    repeats: tuple[str, ...]
    is_custom: bool = False
    schema: str | None = None
    follows: bool = False
    unchecked: bool = False

    @property
    def quantity(self) -> str:
        """The dotted name without positions and filters."""
        return dotted(self.path)

    def filter_quantities(self) -> Iterator[str]:
        """Yield the full names that the filters of the path look at."""
        for step in self.path.steps:
            if isinstance(step, Items):
                yield from sorted(quantities_of(step.criterion))


def plan_column(column: Column, catalogue: Catalogue) -> PlannedColumn:
    """Return the column with its path in full, its source, type and unit.

    Raises
    ------
    QuantityNotFound
        If the path is not known; with the nearest ones.
    QueryError
        If a rule does not fit the type.
    UnitError
        If the unit does not fit the stored one.
    """
    column = _spelled_out(column)
    name = dotted(column.path)
    quantity = catalogue.find(name)
    if quantity is None and not (column.unchecked or is_custom(name)):
        raise unknown_quantity(name, catalogue)
    if quantity is None:
        return _planned_custom(column, _resolved_filters(column.path, catalogue))
    if quantity.kind in {"section", "reference"}:
        below = ", ".join(catalogue.children(name)[:8])
        raise NotExpressible(f"{name!r} is a section or reference; select one of its quantities: {below}.")
    return _planned(column, _resolved_filters(column.path, catalogue), _as_found(quantity), catalogue)


def describe(column: PlannedColumn) -> Mapping[str, Any]:
    """Return the column as JSON: the same for columns with the same content, whatever their spelling."""
    return {
        "name": column.name,
        "path": [_plain_step(step) for step in column.path.steps],
        "schema": column.schema,
        "rule": column.rule,
        "unit": column.unit,
        "stored_unit": column.stored_unit,
        "kind": column.kind,
        "n_levels": column.n_levels,
    }


def is_custom(name: str) -> bool:
    """Return whether only an entry's own schema knows the quantity."""
    return name.startswith(("data.", "definitions.", "workflow2.", "measurement.", "tabular_tree."))


def _spelled_out(column: Column) -> Column:
    """Return the column with its short name written out, and without ``metadata.`` in front."""
    head = column.path.steps[0] if column.path.steps else None
    if not isinstance(head, Name):
        raise QueryError(f"The column {column.name!r} has no path; select for example 'formula'.")
    rest = column.path.steps[1:]
    if head.name == "metadata" and rest:
        return replace(column, path=Path(rest))
    short = SHORT_NAMES.get(head.name)
    if short is None or any(isinstance(step, Name) for step in rest):
        return column
    path, rule = Path((*read_path(short.path).steps, *rest)), column.rule or short.rule
    unit = column.unit or (None if rule in _COUNTING else short.unit)
    return replace(column, path=path, rule=rule, unit=unit)


def _resolved_filters(path: Path, catalogue: Catalogue) -> Path:
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
    return without_schemas(canonical(resolver.resolve(criterion, section)))


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


def _as_found(quantity: Quantity) -> Quantity:
    return replace(quantity, shape=("*",)) if _SERIES.fullmatch(quantity.name) else quantity


def _planned(column: Column, path: Path, quantity: Quantity, catalogue: Catalogue) -> PlannedColumn:
    n_sections = len(_open_sections(path, quantity.repeats))
    n_dimensions = _open_dimensions(path, quantity)
    kind: Kind = quantity.kind
    match column.rule:
        case "count":
            kind, n_sections, n_dimensions = "integer", 0, 0
        case "size":
            if not n_dimensions:
                raise QueryError(f"{quantity.name} is no array and has no size; .count() counts items.")
            kind, n_dimensions = "integer", 0
        case "min" | "max" | "mean":
            if kind not in {"number", "integer"}:
                raise QueryError(
                    f".{column.rule}() needs numbers; {quantity.name} holds {kind}. Use .first() or .last()."
                )
            kind = "number" if column.rule == "mean" else kind
            n_sections = n_dimensions = 0
        case "first" | "last":
            n_sections = 0
    counts = column.rule in _COUNTING
    stored_unit = None if counts else column.stored_in or quantity.unit
    planned = PlannedColumn(
        name=column.name,
        path=path,
        rule=column.rule,
        kind="number" if column.unit is not None and kind == "integer" and not counts else kind,
        n_levels=n_sections + n_dimensions,
        n_dimensions=n_dimensions,
        stored_unit=stored_unit,
        unit=_checked_unit(column, stored_unit, quantity.name),
        source="archive",
        repeats=quantity.repeats,
        follows=bool(catalogue.references_on(quantity.name)),
        unchecked=column.unchecked,
    )
    looked_at = (quantity.name, *planned.filter_quantities())
    in_index = all((found := catalogue.find(name)) is not None and found.returnable for name in looked_at)
    return replace(planned, source="search") if in_index else planned


def _planned_custom(column: Column, path: Path) -> PlannedColumn:
    name, _, schema = dotted(path).partition("#")
    steps = path_of(name).steps if schema else path.steps
    counts = column.rule in _COUNTING
    is_search = name.startswith("data.")
    return PlannedColumn(
        name=column.name,
        path=Path(steps),
        rule=column.rule,
        kind="integer" if column.rule == "count" else "other",
        n_levels=0,
        n_dimensions=0,
        stored_unit=None if counts else column.stored_in,
        unit=_checked_unit(column, None if counts else column.stored_in, name),
        source="search" if is_search else "archive",
        repeats=(),
        is_custom=True,
        schema=schema or None,
        follows=True,
        unchecked=column.unchecked,
    )


def _checked_unit(column: Column, stored: str | None, name: str) -> str | None:
    if column.unit is None:
        return stored
    if column.rule in _COUNTING:
        raise UnitError(f".{column.rule}() of {name} is a number without a unit; leave out {column.unit!r}.")
    if stored is None:
        raise UnitError(
            f"NOMAD states no unit for {name}, so it cannot be converted to {column.unit!r}. "
            f"Select it without a unit, or say what is stored: .stored_in('…').to({column.unit!r})."
        )
    if not units.same_dimension(stored, column.unit):
        raise UnitError(f"{name} is stored in {stored}, which cannot be expressed in {column.unit!r}.")
    return column.unit


def _open_sections(path: Path, repeats: tuple[str, ...]) -> list[str]:
    """Return the repeating sections of which the path takes several items."""
    several: list[str] = []
    names: list[str] = []
    for position, step in enumerate(path.steps):
        if not isinstance(step, Name):
            continue
        names.append(step.name)
        if ".".join(names) in repeats and not _takes_one(path.steps[position + 1 :]):
            several.append(".".join(names))
    return several


def _open_dimensions(path: Path, quantity: Quantity) -> int:
    """Return how many dimensions of the array are left by the positions behind its name.

    Raises
    ------
    QueryError
        If there are more positions than dimensions, or a filter.
    """
    names = [i for i, step in enumerate(path.steps) if isinstance(step, Name)]
    behind = path.steps[names[-1] + 1 :]
    if any(isinstance(step, Items) for step in behind):
        raise QueryError(f"{quantity.name} is a quantity, not a section: its values cannot be filtered.")
    n_positions = sum(isinstance(step, Index) for step in behind)
    if n_positions > len(quantity.shape) or (behind and not quantity.shape):
        raise QueryError(
            f"One value of {quantity.name} has {len(quantity.shape)} dimensions, so the brackets behind it "
            "mean nothing. To choose an item of a section, write them behind the section's name."
        )
    return len(quantity.shape) - n_positions


def _takes_one(steps: tuple[Step, ...]) -> bool:
    """Return whether brackets right at the front choose a single item."""
    for step in steps:
        if isinstance(step, Name):
            return False
        if isinstance(step, Index):
            return True
    return False


def _plain_step(step: Step) -> Any:
    match step:
        case Name(name):
            return name
        case Index(position):
            return [position]
        case Slice(start, stop):
            return [start, stop]
        case Items(criterion):
            return {"items": to_plain(criterion)}
