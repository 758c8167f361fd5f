"""A column: a path, what becomes of several values, a unit and a name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nomadquery.errors import QueryError
from nomadquery.query.path import Path, dotted
from nomadquery.query.short_names import Rule


@dataclass(frozen=True, slots=True)
class Column:
    """What one column of a table holds.

    Attributes
    ----------
    name : str
        The column's name in the table.
    path : Path
        Where its values are; full names, filters with relative names and resolved values.
    rule : str or None
        ``first last min max mean count size``; ``None`` keeps every value.
    unit : str or None
        Unit to convert to; ``None``: as stored.
    stored_in : str or None
        Unit of the stored number where the user says it.
    unchecked : bool
        Whether the path is taken as it stands, unknown to the catalogue or not.
    """

    name: str
    path: Path
    rule: Rule | None = None
    unit: str | None = None
    stored_in: str | None = None
    unchecked: bool = False

    @property
    def quantity(self) -> str:
        """The dotted name without positions and filters, as the catalogue knows it."""
        return dotted(self.path)


def renamed(column: Column, name: str) -> Column:
    """Return the column under another name."""
    if not name:
        raise QueryError("A column needs a name.")
    return replace(column, name=name)
