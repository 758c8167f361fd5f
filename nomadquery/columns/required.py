"""Columns → the ``required`` of a request: the smallest that brings them whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile, zip_longest
from typing import Any

from nomadquery.columns.planned import Per, PlannedColumn
from nomadquery.columns.references import Tree, Wish, ask, indexed, selected_position
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.path import Index, Name

#: What tells of which class an entry's ``data`` is, base classes included.
CLASS_PATTERNS = ("search_quantities.id*", "search_quantities.segments.1.definitions*")


def metadata_required(
    columns: Iterable[PlannedColumn], catalogue: Catalogue, per: Per | None = None
) -> dict[str, list[str]]:
    """Return ``{"include": [...]}`` for ``entries/query``.

    The server drops items of a list that lack every included leaf, so a column inside a
    repeating section asks for the whole outermost section. Names that the index cannot
    search are refused unless they carry a star, and with a custom column (``data*``) objects
    named without one come back empty.
    """
    patterns = {"entry_id"}
    if per is not None and per.source == "search":
        patterns.add(f"{per.repeats[0]}*")
    for column in columns:
        if column.schema is not None:
            patterns.update(CLASS_PATTERNS)
        if column.source != "search":
            continue
        for name in (column.quantity, *column.filter_quantities()):
            patterns.add(_pattern(name, catalogue))
    return {"include": sorted(patterns)}


def archive_required(columns: Iterable[PlannedColumn], catalogue: Catalogue, per: Per | None = None) -> Tree:
    """Return the ``required`` tree for ``entries/archive/query``.

    Of a list of which all columns take the first or the last item only that one is asked for. Other
    lists are asked for whole: with an index the server returns a compacted list in which positions
    no longer mean what they say, and clamps those that are out of bounds. A reference is asked for as
    its text, because a server that follows it says nothing about those that lead nowhere, and loses
    targets below what is asked explicitly. References that stand beside their targets
    (``run.calculation.system_ref``) come with these; others are followed by further requests.
    """
    tree: Tree = {}
    for column in columns:
        keys = _keys(column)
        _ask_along(tree, keys, column.references, catalogue)
        for name in column.filter_quantities():
            parts = name.split(".")
            pairs = zip(parts, column.names, strict=False)
            n_shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            _ask_along(tree, [*keys[:n_shared], *parts[n_shared:]], catalogue.references_on(name), catalogue)
    if per is not None and per.source == "archive":
        _ask_items(tree, per.section.split("."))
    return _joined(tree)


def target_required(wishes: Iterable[Wish], catalogue: Catalogue, *, exact: bool) -> Tree:
    """Return the tree that brings the targets of references.

    ``exact``: only the items that are meant, for wishes with the same positions.
    """
    tree: Tree = {}
    for wish in wishes:
        names = tuple(part for part in wish.path if not part.lstrip("-").isdecimal())
        for rest in wish.rests:
            below = _up_to_reference(names, rest, catalogue)
            if not (names or below):  # the target is an archive: of that nothing can be a value
                continue
            ask(tree, (*(indexed(wish.path) if exact else names), *below))
    return tree


def _up_to_reference(names: tuple[str, ...], rest: tuple[str, ...], catalogue: Catalogue) -> tuple[str, ...]:
    """Return as many names of ``rest`` as lead to the next reference, this included."""
    references = catalogue.references_on(".".join((*names, *rest, "")))
    first = next((one for one in references if one.count(".") >= len(names)), None)
    return rest if first is None else rest[: first.count(".") + 1 - len(names)]


def _keys(column: PlannedColumn) -> list[str]:
    """Return the names of the path, with the position of lists of which it takes the first or the last."""
    keys: list[str] = []
    names: list[str] = []
    for step, following in zip_longest(column.path.steps, column.path.steps[1:]):
        if not isinstance(step, Name):
            continue
        names.append(step.name)
        is_list = not column.is_custom and ".".join(names) in column.repeats
        if is_list and isinstance(following, Index) and following.position in {0, -1}:
            keys.append(f"{step.name}[{following.position}]")
        else:
            keys.append(step.name)
    return keys


def _joined(tree: Tree) -> Tree:
    """Return the tree with one key for each name: without a position where there are several."""
    by_name: dict[str, list[tuple[str, Any]]] = {}
    for key, below in tree.items():
        by_name.setdefault(selected_position(key)[0], []).append((key, below))
    joined: Tree = {}
    for name, wanted in by_name.items():
        parts = [below for _, below in wanted]
        key = wanted[0][0] if len(wanted) == 1 else name
        joined[key] = "*" if "*" in parts else _joined(_together(parts))
    return joined


def _together(trees: Sequence[Tree]) -> Tree:
    """Return one tree that asks for all that several ask for."""
    whole: Tree = {}
    for tree in trees:
        for key, below in tree.items():
            have = whole.get(key)
            whole[key] = below if have is None else "*" if "*" in (have, below) else _together([have, below])
    return whole


def _ask_along(tree: Tree, keys: Sequence[str], references: Sequence[str], catalogue: Catalogue) -> None:
    """Ask for a path up to its first reference; for what follows, where such targets stand beside it."""
    if not references:
        ask(tree, keys)
        return
    n_names = references[0].count(".") + 1
    ask(tree, keys[:n_names])
    place = _place_beside(references[0], catalogue)
    if place is not None:
        target = [*place.split("."), *(selected_position(key)[0] for key in keys[n_names:])]
        _ask_along(tree, target, catalogue.references_on(".".join(target)), catalogue)


def _place_beside(reference: str, catalogue: Catalogue) -> str | None:
    """Return where the targets of a reference stand, if that is near it and nowhere else."""
    known = catalogue.find(reference)
    places = () if known is None or known.target is None else catalogue.places_of(known.target)
    top = reference.partition(".")[0]
    near = [place for place in places if place.partition(".")[0] == top]
    is_one_of_many = known is not None and len(known.repeats) > 1
    return near[0] if len(near) == 1 and is_one_of_many else None


def _ask_items(tree: Tree, names: Sequence[str]) -> None:
    """Ask for the items of a section, with nothing in them unless something is asked for."""
    branch = tree
    for name in names:
        inner = branch.setdefault(name, {})
        if inner == "*":
            return
        branch = inner
    if not branch:
        branch["name"] = "*"  # what a section lacks leaves it empty, not out


def _pattern(name: str, catalogue: Catalogue) -> str:
    if name.startswith("data."):
        return "data*"
    known = catalogue.find(name)
    if known is not None and known.repeats:
        return f"{known.repeats[0]}*"
    return name if known is not None and known.searchable else f"{name}*"
