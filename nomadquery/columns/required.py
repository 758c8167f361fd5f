"""Columns → the ``required`` of a request: the smallest that brings them whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nomadquery.columns.plan import PlannedColumn
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.path import Name


def metadata_required(columns: Iterable[PlannedColumn], catalogue: Catalogue) -> dict[str, list[str]]:
    """Return ``{"include": [...]}`` for ``entries/query``.

    The server drops items of a list that lack every included leaf, so a column inside a
    repeating section asks for the whole outermost section. Names that the index cannot
    search are refused unless they carry a star, and with a custom column (``data*``) objects
    named without one come back empty.
    """
    patterns = {"entry_id"}
    for column in columns:
        name = column.quantity
        known = catalogue.find(name)
        if name.startswith("data."):
            patterns.add("data*")
        elif column.repeats:
            patterns.add(f"{column.repeats[0]}*")
        elif known is not None and known.searchable:
            patterns.add(name)
        else:
            patterns.add(f"{name}*")
    return {"include": sorted(patterns)}


def archive_required(columns: Iterable[PlannedColumn]) -> dict[str, Any]:
    """Return the ``required`` tree for ``entries/archive/query``.

    Lists are asked for whole: with an index the server returns a compacted list in which
    positions no longer mean what they say.
    """
    tree: dict[str, Any] = {}
    for column in columns:
        names = [step.name for step in column.path.steps if isinstance(step, Name)]
        branch = tree
        for name in names[:-1]:
            inner = branch.setdefault(name, {})
            if inner == "*":
                break
            branch = inner
        else:
            branch[names[-1]] = "*"
    return tree
