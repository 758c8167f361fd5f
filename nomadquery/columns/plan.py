"""What each column needs: full path, source, type and unit, from the catalogue.

Nothing is guessed from a page of data: a known quantity has the type that the schema
declares. Quantities that only a custom schema knows are kept as JSON until all rows are
there, and take the type that fits them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from nomadquery import units
from nomadquery.errors import NotExpressible, QueryError, UnitError
from nomadquery.query.catalogue import Catalogue, Kind, Quantity
from nomadquery.query.column import Column
from nomadquery.query.criteria import canonical, to_plain
from nomadquery.query.path import Index, Items, Name, Path, Slice, Step, dotted, path_of
from nomadquery.query.phrases import read_path
from nomadquery.query.resolve import Resolver, unknown_quantity
from nomadquery.query.short_names import SHORT_NAMES, Rule

Source = Literal["search", "archive"]

_NUMERIC_RULES = {"min", "max", "mean"}


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

    @property
    def quantity(self) -> str:
        """The dotted name without positions and filters."""
        return dotted(self.path)


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
    path = _resolved_filters(column.path, catalogue)
    name = dotted(path)
    quantity = catalogue.find(name)
    if quantity is None and not (column.unchecked or is_custom(name)):
        raise unknown_quantity(name, catalogue)
    if quantity is not None and quantity.kind in {"section", "reference"}:
        below = ", ".join(catalogue.children(name)[:8])
        raise NotExpressible(f"{name!r} is a section or reference; select one of its quantities: {below}.")
    if quantity is None:
        return _planned_custom(column, path)
    return _planned(column, path, quantity)


def describe(column: PlannedColumn) -> Mapping[str, Any]:
    """Return the column as JSON: the same for columns with the same content, whatever their spelling."""
    return {
        "name": column.name,
        "path": [_plain_step(step) for step in column.path.steps],
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
    if short is None or rest:
        return column
    rule, unit = column.rule or short.rule, column.unit or short.unit
    return replace(column, path=read_path(short.path), rule=rule, unit=unit)


def _resolved_filters(path: Path, catalogue: Catalogue) -> Path:
    steps: list[Step] = []
    for step in path.steps:
        section = dotted(Path(tuple(steps)))
        if isinstance(step, Items):
            resolver = Resolver(catalogue, strict=True, searchable_only=False)
            steps.append(Items(canonical(resolver.resolve(step.criterion, section))))
        else:
            steps.append(step)
    return Path(tuple(steps))


def _planned(column: Column, path: Path, quantity: Quantity) -> PlannedColumn:
    n_sections = len(_open_sections(path, quantity.repeats))
    n_dimensions = max(0, len(quantity.shape) - _trailing_positions(path))
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
    stored_unit = column.stored_in or quantity.unit
    counts = column.rule in {"count", "size"}
    return PlannedColumn(
        name=column.name,
        path=path,
        rule=column.rule,
        kind="number" if column.unit is not None and kind == "integer" and not counts else kind,
        n_levels=n_sections + n_dimensions,
        n_dimensions=n_dimensions,
        stored_unit=None if counts else stored_unit,
        unit=None if counts else _checked_unit(column, stored_unit, quantity.name),
        source="search" if quantity.returnable else "archive",
        repeats=quantity.repeats,
    )


def _planned_custom(column: Column, path: Path) -> PlannedColumn:
    name = dotted(path).partition("#")[0]
    steps = tuple(path_of(name).steps) if "#" in dotted(path) else path.steps
    return PlannedColumn(
        name=column.name,
        path=Path(steps),
        rule=column.rule,
        kind="integer" if column.rule in {"count", "size"} else "other",
        n_levels=0,
        n_dimensions=0,
        stored_unit=column.stored_in,
        unit=_checked_unit(column, column.stored_in, name),
        source="search" if name.startswith("data.") else "archive",
        repeats=(),
    )


def _checked_unit(column: Column, stored: str | None, name: str) -> str | None:
    if column.unit is None:
        return stored
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


def _trailing_positions(path: Path) -> int:
    """Return how many positions at the end choose elements of the array that the path reaches."""
    names = [i for i, step in enumerate(path.steps) if isinstance(step, Name)]
    return sum(isinstance(step, Index) for step in path.steps[names[-1] + 1 :])


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
