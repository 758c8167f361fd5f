"""What each column needs: full path, source, type and unit, from the catalogue.

Nothing is guessed from a page of data: a known quantity has the type that the schema
declares. Quantities that only a custom schema knows are kept as JSON until all rows are
there, and take the type that fits them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Final

from nomadquery import units
from nomadquery.columns.item_filters import is_custom, resolved_filters
from nomadquery.columns.planned import Per, PlannedColumn
from nomadquery.columns.whole_lists import may_lose_items, needs_every_item
from nomadquery.errors import NotExpressible, QueryError, UnitError
from nomadquery.query.catalogue import Catalogue, Kind, Quantity
from nomadquery.query.column import Column
from nomadquery.query.path import Index, Items, Name, Path, Step, dotted, is_plain, path_of
from nomadquery.query.phrases import read_path
from nomadquery.query.resolve import unknown_quantity
from nomadquery.query.short_names import SHORT_NAMES

_COUNTING: Final = frozenset({"count", "size"})

#: Declared as one number, and a series over time in the data (nomad-lab 2.0.0, all 33 of the
#: sampled trajectories).
SERIES: Final = re.compile(
    r"results\.properties\.(thermodynamic\.trajectory\.(temperature|pressure|volume|energy_potential)"
    r"|structural\.radius_of_gyration)\.(time|value)"
)


def plan_per(path: Path, catalogue: Catalogue) -> Per:
    """Return the section that makes the rows.

    Raises
    ------
    QueryError
        If it does not repeat, or has positions or filters.
    QuantityNotFound
        If the schema does not know it.
    """
    path = _spelled_out(Column("per", path), with_ids=False).path
    name = dotted(path)
    if not is_plain(path):
        raise QueryError(f"per({name!r}) takes a section without brackets; its items become the rows.")
    if is_custom(name) and catalogue.find(name) is None:
        return Per(name, (name,), is_custom=True)
    quantity = catalogue.find(name)
    if quantity is None:
        raise unknown_quantity(name, catalogue)
    if quantity.kind != "section" or name not in quantity.repeats:
        hint = f" Repeating sections on its way: {', '.join(quantity.repeats)}." if quantity.repeats else ""
        raise QueryError(f"per({name!r}) needs a section that repeats; this one does not.{hint}")
    is_in_index = any(known.startswith(f"{name}.") for known in catalogue.names)
    if catalogue.references_on(f"{name}.x") and not is_in_index:
        raise NotExpressible(f"per({name!r}) leads through a reference; give the section where it stands.")
    return Per(name, quantity.repeats)


def settled_per(per: Per, columns: Iterable[PlannedColumn], catalogue: Catalogue) -> Per:
    """Return the section with the source that all the columns of its items have.

    From the index only if that holds each of them; with none, if it holds the section at all.
    """
    sources = {column.source for column in columns if column.per is not None}
    if per.is_custom:  # of lists in custom schemas the index holds the items with a value only
        return replace(per, source="archive")
    if sources:
        is_whole = sources == {"search"} and not any(map(may_lose_items, per.repeats))
        return replace(per, source="search" if is_whole else "archive")
    in_index = any(name.startswith(f"{per.section}.") for name in catalogue.names)
    is_whole = not any(map(may_lose_items, per.repeats))
    return replace(per, source="search" if in_index and is_whole else "archive")


def plan_columns(
    columns: Iterable[Column], catalogue: Catalogue, per: Per | None = None
) -> tuple[tuple[PlannedColumn, ...], Per | None]:
    """Return the columns with path, source, type and unit, and where the rows' items are read.

    Raises
    ------
    QuantityNotFound, QueryError, UnitError
        As `plan_column` does.
    """
    planned = tuple(plan_column(column, catalogue, per) for column in columns)
    if per is None:
        return planned, None
    taken = {"entry_id", *per.index_names} & {column.name for column in planned}
    if taken:
        raise QueryError(f"The column {sorted(taken)[0]!r} holds positions of rows; give yours another name.")
    per = settled_per(per, planned, catalogue)
    if per.source == "archive":
        planned = tuple(
            column if column.per is None else replace(column, source="archive") for column in planned
        )
    return planned, per


def plan_column(column: Column, catalogue: Catalogue, per: Per | None = None) -> PlannedColumn:
    """Return the column with its path in full, its source, type and unit.

    A path that leads into the section ``per`` means one of its items.

    Raises
    ------
    QuantityNotFound
        If the path is not known; with the nearest ones.
    QueryError
        If a rule does not fit the type, or there are brackets on the way to the rows' items.
    UnitError
        If the unit does not fit the stored one.
    """
    column = _spelled_out(column)
    name = dotted(column.path)
    section = None if per is None or not name.startswith(f"{per.section}.") else per.section
    if section is not None and not _is_plain_up_to(column.path, section.count(".") + 1):
        raise QueryError(
            f"{name!r} means the row's own item of {section}; leave out the brackets up to there. "
            "Rows are chosen afterwards, in the DataFrame."
        )
    quantity = catalogue.find(name)
    if quantity is None and not (column.unchecked or is_custom(name)):
        raise unknown_quantity(name, catalogue)
    path = resolved_filters(column.path, catalogue)
    if quantity is not None and not column.unchecked:
        _check_brackets(path, quantity)
    if quantity is None:
        return replace(_planned_custom(column, path), per=section)
    if quantity.kind == "section" and catalogue.sections.is_reference(name):
        quantity = replace(quantity, target=quantity.target or "")
    if quantity.target is None and quantity.kind in {"section", "reference"}:
        below = ", ".join(catalogue.children(name)[:8])
        raise NotExpressible(f"{name!r} is a section; select one of its quantities: {below}.")
    outer = () if section is None or per is None else per.repeats
    return replace(_planned(column, path, _as_found(quantity, catalogue), catalogue, outer), per=section)


#: Objects of the index that stand for an id in the archive.
_IDS: Final = {
    "main_author": "user_id",
    "authors": "user_id",
    "viewers": "user_id",
    "writers": "user_id",
    "datasets": "dataset_id",
}


def _spelled_out(column: Column, *, with_ids: bool = True) -> Column:
    """Return the column with its short name written out, and without ``metadata.`` in front.

    A person or a dataset alone is its id, unless the section is meant.
    """
    head = column.path.steps[0] if column.path.steps else None
    if not isinstance(head, Name):
        raise QueryError(f"The column {column.name!r} has no path; select for example 'formula'.")
    rest = column.path.steps[1:]
    if head.name == "metadata" and rest and isinstance(rest[0], Name):
        return _spelled_out(replace(column, path=Path(rest)), with_ids=with_ids)
    if with_ids and head.name in _IDS and not any(isinstance(step, Name) for step in rest):
        return replace(column, path=column.path / Name(_IDS[head.name]))
    short = SHORT_NAMES.get(head.name)
    if short is None or any(isinstance(step, Name) for step in rest):
        return column
    path, rule = Path((*read_path(short.path).steps, *rest)), column.rule or short.rule
    unit = column.unit or (None if rule in _COUNTING else short.unit)
    return replace(column, path=path, rule=rule, unit=unit)


def spelled_out(column: Column) -> Column:
    """Return the column without short names, so that it means the same in any later nomadquery."""
    return _spelled_out(column)


def _check_brackets(path: Path, quantity: Quantity) -> None:
    """Refuse brackets behind a section that does not repeat.

    Raises
    ------
    QueryError
        If there are any.
    """
    names: list[str] = []
    for step, following in pairwise(path.steps):
        if isinstance(step, Name):
            names.append(step.name)
        section = ".".join(names)
        is_on_the_way = section != quantity.name and section not in quantity.repeats
        if is_on_the_way and not isinstance(following, Name):
            raise QueryError(
                f"The section {section!r} does not repeat, so there is nothing to choose from: leave out the "
                "brackets behind it."
            )


def _is_plain_up_to(path: Path, n_names: int) -> bool:
    return all(isinstance(step, Name) for step in path.steps[: n_names + 1])


def _as_found(quantity: Quantity, catalogue: Catalogue) -> Quantity:
    """Return the quantity as the data have it; a reference to a section is its text."""
    row = catalogue.sections.quantity(quantity.name)
    shape = tuple(row.shape) if row is not None else ()
    if quantity.target is not None and quantity.kind in {"section", "reference"}:
        own = (name for name in quantity.repeats if name != quantity.name)
        return replace(quantity, kind="text", shape=shape, repeats=tuple(own), target=None)
    return replace(quantity, shape=("*",)) if SERIES.fullmatch(quantity.name) else quantity


def _planned(
    column: Column, path: Path, quantity: Quantity, catalogue: Catalogue, outer: tuple[str, ...] = ()
) -> PlannedColumn:
    n_sections = len([one for one in _open_sections(path, quantity.repeats) if one not in outer])
    n_dimensions = _open_dimensions(path, quantity)
    kind: Kind = quantity.kind
    if column.rule is not None and not n_sections + n_dimensions:
        raise QueryError(
            f"{quantity.name} is one value here, so .{column.rule}() has nothing to choose from or to sum "
            "up. Leave it out."
        )
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
        references=catalogue.references_on(quantity.name),
        resolves_leaf=quantity.target is not None,
        unchecked=column.unchecked,
    )
    looked_at = (quantity.name, *planned.filter_quantities())
    in_index = all((found := catalogue.find(name)) is not None and found.returnable for name in looked_at)
    if in_index and not needs_every_item(planned):
        return replace(planned, source="search")
    return _in_archive(planned, catalogue)


def _in_archive(column: PlannedColumn, catalogue: Catalogue) -> PlannedColumn:
    """Return the column as archives have it: what the index keeps at its root stands below ``metadata``."""
    name = column.quantity
    if catalogue.archive_path(name) == name:
        return column
    return replace(
        column,
        path=Path((Name("metadata"), *column.path.steps)),
        repeats=tuple(f"metadata.{section}" for section in column.repeats),
        references=tuple(f"metadata.{section}" for section in column.references),
    )


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
        unit=_custom_unit(column, name),
        source="search" if is_search else "archive",
        repeats=(),
        is_custom=True,
        schema=schema or None,
        unchecked=column.unchecked,
    )


def _custom_unit(column: Column, name: str) -> str | None:
    """Return the unit that was asked for; what is stored is known once the schema has been looked at."""
    if column.rule in _COUNTING or column.stored_in is not None:
        return _checked_unit(column, None if column.rule in _COUNTING else column.stored_in, name)
    return column.unit


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
