"""Columns → the ``required`` of a request: the smallest that brings them whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nomadquery.columns.plan import PlannedColumn
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.path import Name

#: What tells of which class an entry's ``data`` is, base classes included.
CLASS_PATTERNS = ("search_quantities.id*", "search_quantities.segments.1.definitions*")


def metadata_required(columns: Iterable[PlannedColumn], catalogue: Catalogue) -> dict[str, list[str]]:
    """Return ``{"include": [...]}`` for ``entries/query``.

    The server drops items of a list that lack every included leaf, so a column inside a
    repeating section asks for the whole outermost section. Names that the index cannot
    search are refused unless they carry a star, and with a custom column (``data*``) objects
    named without one come back empty.
    """
    patterns = {"entry_id"}
    for column in columns:
        if column.schema is not None:
            patterns.update(CLASS_PATTERNS)
        if column.source != "search":
            continue
        for name in (column.quantity, *column.filter_quantities()):
            patterns.add(_pattern(name, catalogue))
    return {"include": sorted(patterns)}


def archive_required(columns: Iterable[PlannedColumn]) -> dict[str, Any]:
    """Return the ``required`` tree for ``entries/archive/query``.

    Lists are asked for whole: with an index the server returns a compacted list in which
    positions no longer mean what they say. References on the way are replaced by what they lead
    to; without ``resolve-inplace`` the server puts it elsewhere, and loses some of it.
    """
    tree: dict[str, Any] = {}
    follows = False
    for column in columns:
        follows |= column.follows
        names = [step.name for step in column.path.steps if isinstance(step, Name)]
        for wanted in (names, *(name.split(".") for name in column.filter_quantities())):
            _ask(tree, wanted)
    return {**tree, "resolve-inplace": True} if follows else tree


def _pattern(name: str, catalogue: Catalogue) -> str:
    if name.startswith("data."):
        return "data*"
    known = catalogue.find(name)
    if known is not None and known.repeats:
        return f"{known.repeats[0]}*"
    return name if known is not None and known.searchable else f"{name}*"


def _ask(tree: dict[str, Any], names: Sequence[str]) -> None:
    branch = tree
    for name in names[:-1]:
        inner = branch.setdefault(name, {})
        if inner == "*":
            return
        branch = inner
    branch[names[-1]] = "*"
