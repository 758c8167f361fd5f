"""`PlannedColumn` and `Per`: a column, and the items that make rows, ready to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nomadquery.query.catalogue import Kind
from nomadquery.query.criteria import quantities_of
from nomadquery.query.path import Items, Name, Path, dotted
from nomadquery.query.plain import plain_step
from nomadquery.query.short_names import Rule

Source = Literal["search", "archive"]


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
    references : tuple of str
        The references on the way that are known, in full; followed by the client.
    resolves_leaf : bool
        Whether the quantity itself is a reference to another one, whose values are read.
    per : str or None
        The section whose items are the rows, where the path leads into it.
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
    references: tuple[str, ...] = ()
    resolves_leaf: bool = False
    per: str | None = None
    unchecked: bool = False

    @property
    def follows(self) -> bool:
        """Whether the path leads (or, for a custom quantity, may lead) through a reference."""
        leads = self.is_custom or self.resolves_leaf or bool(self.references)
        return self.source == "archive" and leads

    @property
    def n_outer(self) -> int:
        """How many steps of the path lead to the items that are the rows."""
        return 0 if self.per is None else self.per.count(".") + 1

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the path."""
        return tuple(step.name for step in self.path.steps if isinstance(step, Name))

    @property
    def quantity(self) -> str:
        """The dotted name without positions and filters."""
        return dotted(self.path)

    def filter_quantities(self) -> Iterator[str]:
        """Yield the full names that the filters of the path look at."""
        for step in self.path.steps:
            if isinstance(step, Items):
                yield from sorted(quantities_of(step.criterion))


@dataclass(frozen=True, slots=True)
class Per:
    """The section whose items are the rows of a table.

    Attributes
    ----------
    section : str
        In full.
    repeats : tuple of str
        The repeating sections on the way, this one included.
    is_custom : bool
        Whether only an entry's own schema knows it.
    source : str
        Where its items are read, ``search`` or ``archive``.
    """

    section: str
    repeats: tuple[str, ...]
    is_custom: bool = False
    source: Source = "archive"

    @property
    def index_names(self) -> tuple[str, ...]:
        """The names of the columns of positions, outermost section first."""
        lasts = [section.rpartition(".")[2] for section in self.repeats]
        return tuple(
            section if lasts.count(last) > 1 or last == "entry_id" else last
            for section, last in zip(self.repeats, lasts, strict=True)
        )


def describe(column: PlannedColumn) -> Mapping[str, Any]:
    """Return the column as JSON: the same for columns with the same content, whatever their spelling."""
    return {
        "name": column.name,
        "path": [plain_step(step) for step in column.path.steps],
        "schema": column.schema,
        "rule": column.rule,
        "unit": column.unit,
        "stored_unit": column.stored_unit,
        "kind": column.kind,
        "n_levels": column.n_levels,
        "per": column.per,
    }
