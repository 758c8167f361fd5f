"""Metadata ``required``: which parts of a search document are returned.

The rules are those of nomad-lab 2.0.0 and of the filter that Elasticsearch applies to its
sources; the surprising ones are:

- ``entry_id`` and the quantity that orders the page are always included;
- names without ``*`` must be quantities of the index, names with ``*`` are not checked;
- items of a list in which nothing is included are dropped;
- values of custom schemas are rebuilt below ``data`` from ``search_quantities``;
- once an include begins with ``data`` (also ``datasets``), a second, stricter filter runs,
  in which a name without ``*`` means exactly that path, and nothing below it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from nomadquery.local.refusals import Problem, not_a_quantity, not_a_text, not_an_object, problem
from nomadquery.query.catalogue import Catalogue

Document = dict[str, Any]

#: Added to every document: no other metadata has a default that NOMAD adds on return.
_LICENSE: Final = "CC BY 4.0"
_HIDDEN: Final = "*__suggestion"
_VALUES: Final = ("float_value", "str_value", "int_value", "datetime_value", "bool_value")
_TYPED_SCHEMAS: Final = ("entry_id:", "pynxtools.nomad.schema")


@dataclass(frozen=True, slots=True)
class Required:
    """A metadata ``required``; ``None`` for a part that was not given."""

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, list[str]]:
        """Return it as NOMAD writes it into its answer."""
        parts = {"include": self.include, "exclude": self.exclude}
        return {name: list(patterns) for name, patterns in parts.items() if patterns is not None}


def parse_required(given: Any, loc: Sequence[str | int], problems: list[Problem]) -> Required | None:
    """Return a ``required`` of a request; what is wrong is added to ``problems``."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        problems.append(not_an_object(loc, given))
        return None
    parts: dict[str, tuple[str, ...]] = {}
    for part in ("include", "exclude"):
        patterns = given.get(part)
        if patterns is None:
            continue
        if not isinstance(patterns, list):
            problems.append(problem("list_type", [*loc, part], "Input should be a valid list", patterns))
            continue
        problems += [
            not_a_text([*loc, part, position], pattern)
            for position, pattern in enumerate(patterns)
            if not isinstance(pattern, str)
        ]
        parts[part] = tuple(patterns)
    return Required(**parts)


def checked_required(required: Required, order_by: str, catalogue: Catalogue) -> Required:
    """Return what NOMAD makes of a ``required``: ``order_by`` and ``entry_id`` are returned anyhow.

    Raises
    ------
    InvalidRequest
        If a name without ``*`` is not a quantity of the index.
    """
    for name in (*(required.include or ()), *(required.exclude or ())):
        if "*" not in name and not is_doc_quantity(name, catalogue):
            raise not_a_quantity(name, ["required"])
    include, exclude = required.include, required.exclude
    for name in (order_by, "entry_id"):
        if include is not None and name not in include:
            include = (*include, name)
        if exclude is not None:
            exclude = tuple(pattern for pattern in exclude if pattern != name)
    return Required(include, exclude)


def is_doc_quantity(name: str, catalogue: Catalogue) -> bool:
    """Return whether a query, an order or a ``required`` may name this quantity.

    Quantities of custom schemas (``data.x#schema``) pass: which schemas exist is not known
    here. Those of uploaded schemas must say their type (``#float``), as in NOMAD.
    """
    if name.startswith("data.") and "#" in name:
        _, schema, *data_type = name.split("#")
        return not schema.startswith(_TYPED_SCHEMAS) or data_type[:1] in (
            ["str"],
            ["int"],
            ["float"],
            ["bool"],
            ["datetime"],
        )
    quantity = catalogue.find(name)
    if quantity is None or quantity.name != name:
        return False
    return quantity.index is not None or quantity.type == "section_reference"


def selection(required: Required | None) -> Callable[[Document], Document]:
    """Return the function that cuts a search document to a checked ``required``.

    The result is new wherever it differs from the document; what is equal is shared.
    """
    chosen = required or Required()
    include = chosen.include or None
    hidden = [pattern for pattern in chosen.exclude or () if not pattern.startswith("search_quantities")]
    is_strict = len(hidden) < len(chosen.exclude or ())
    if include and any(pattern.startswith("data") for pattern in include):
        is_strict = True
        source = _SourceFilter((*include, "search_quantities*"), (_HIDDEN, *hidden))
    else:
        is_strict = is_strict or any(pattern.startswith("data") for pattern in hidden)
        source = _SourceFilter(include, (_HIDDEN, *hidden))
    patterns = _Patterns(_without_schemas(chosen.include), _without_schemas(chosen.exclude))

    def select(document: Document) -> Document:
        kept = source.apply(document)
        if "license" not in kept and patterns.pass_name("license"):
            kept["license"] = _LICENSE
        if kept.get("search_quantities"):
            custom = patterns.pass_name if is_strict else None
            kept |= rebuilt_values(kept["search_quantities"], custom)
        return patterns.pruned(kept) if is_strict else kept

    return select


def rebuilt_values(
    search_quantities: Iterable[Mapping[str, Any]], is_wanted: Callable[[str], bool] | None = None
) -> Document:
    """Return the values of custom schemas as nested objects and lists (``{"data": {…}}``).

    ``is_wanted`` decides by the path without schema and indices.
    """
    root: Document = {}
    for item in search_quantities:
        name, path = item.get("id"), item.get("path_archive")
        if name is None or path is None or (is_wanted and not is_wanted(name.partition("#")[0])):
            continue
        for key in _VALUES:
            if key in item:
                _place(root, path.split("."), item[key])
                break
    return root


def _place(root: Document, steps: list[str], value: Any) -> None:
    """Put ``value`` at a path of names and list positions; positions not yet there become null."""
    target: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        key: Any = int(step) if isinstance(target, list) else step
        if isinstance(target, list) and key >= len(target):
            target.extend([None] * (key + 1 - len(target)))
        if following is None:
            target[key] = value
            return
        if isinstance(target, list):
            if target[key] is None:
                target[key] = [] if following.isdigit() else {}
        else:
            target.setdefault(key, [] if following.isdigit() else {})
        target = target[key]


def _without_schemas(patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return tuple(pattern.partition("#")[0] for pattern in patterns) if patterns else None


@dataclass(frozen=True, slots=True)
class _Patterns:
    """The strict filter: it runs on what is returned, not on what the index holds."""

    include: tuple[str, ...] | None
    exclude: tuple[str, ...] | None

    def pass_name(self, name: str) -> bool:
        """Return whether the whole name fits an include, and no exclude."""
        if self.include and not any(fnmatchcase(name, pattern) for pattern in self.include):
            return False
        return not any(fnmatchcase(name, pattern) for pattern in self.exclude or ())

    def pruned(self, document: Document) -> Document:
        """Return the document without what no include names."""
        wanted = [_branch(pattern) for pattern in self.include or ()]
        unwanted = [_branch(pattern) for pattern in self.exclude or ()]
        return _pruned(document, (), wanted, unwanted) or {}


def _branch(pattern: str) -> tuple[tuple[str, ...], bool]:
    """Return the steps of a pattern and whether it means everything below them too."""
    if pattern.endswith("*"):
        return tuple(pattern.rstrip("*").removesuffix(".").split(".")), True
    return tuple(pattern.split(".")), False


def _fits(path: tuple[str, ...], branches: list[tuple[tuple[str, ...], bool]]) -> bool:
    return any(path[: len(steps)] == steps if below else path == steps for steps, below in branches)


def _pruned(
    value: Any,
    path: tuple[str, ...],
    wanted: list[tuple[tuple[str, ...], bool]],
    unwanted: list[tuple[tuple[str, ...], bool]],
) -> Any:
    """Return what is left of a value, ``None`` for nothing; a list has the path of its items."""
    if _fits(path, unwanted):
        return None
    is_named = _fits(path, wanted)
    if wanted and not is_named and not any(steps[: len(path)] == path for steps, _ in wanted):
        return None
    left: Any
    match value:
        case dict():
            parts = {key: _pruned(item, (*path, key), wanted, unwanted) for key, item in value.items()}
            left = {key: item for key, item in parts.items() if item is not None}
        case list():
            left = [
                item for item in (_pruned(item, path, wanted, unwanted) for item in value) if item is not None
            ]
        case _:
            return value if is_named or not wanted else None
    return left if left or is_named else None


_State = Literal["whole", "parts", "nothing"]


class _SourceFilter:
    """Elasticsearch's filter of sources: a pattern takes a path and everything below it.

    What it decides about a path is remembered, because all documents have the same ones.
    """

    def __init__(self, include: Sequence[str] | None, exclude: Sequence[str]) -> None:
        self._include = None if include is None else [_SourcePattern(pattern) for pattern in include]
        self._exclude = [_SourcePattern(pattern) for pattern in exclude]
        self._included: dict[str, _State] = {}
        self._excluded: dict[str, _State] = {}

    def apply(self, document: Document) -> Document:
        """Return the part of a document that the patterns take; always a new dictionary."""
        return self._section(document, "", self._include is None)

    def _section(self, section: Mapping[str, Any], prefix: str, is_whole: bool) -> Document:
        kept: Document = {}
        for name, value in section.items():
            path = prefix + name
            included = "whole" if is_whole else _state(path, self._include or (), self._included)
            excluded = _state(path, self._exclude, self._excluded)
            if included == "nothing" or excluded == "whole":
                continue
            if isinstance(value, dict):
                part: Any = self._section(value, f"{path}.", included == "whole")
            elif isinstance(value, list):
                part = self._items(value, path, included == "whole")
            elif included == "whole":
                kept[name] = value
                continue
            else:
                continue
            if part or included == "whole":
                kept[name] = part
        return kept

    def _items(self, items: list[Any], path: str, is_whole: bool) -> list[Any]:
        if not items or not isinstance(items[0], dict | list):
            return items if is_whole else []
        parts = (
            self._section(item, f"{path}.", is_whole)
            if isinstance(item, dict)
            else self._items(item, path, is_whole)
            for item in items
        )
        return [part for part in parts if part]


class _SourcePattern:
    """One pattern, its regular expression and the text before its first ``*``."""

    __slots__ = ("expression", "has_star", "start")

    def __init__(self, pattern: str) -> None:
        self.start, star, _ = pattern.partition("*")
        self.has_star = bool(star)
        parts = (re.escape(part) for part in pattern.split("*"))
        self.expression = re.compile(f"(?:{'.*'.join(parts)})(?:[.].*)?", re.DOTALL)


def _state(path: str, patterns: Iterable[_SourcePattern], known: dict[str, _State]) -> _State:
    state = known.get(path)
    if state is None:
        state, inside = "nothing", f"{path}."
        for pattern in patterns:
            if pattern.expression.fullmatch(path):
                state = "whole"
                break
            if pattern.start.startswith(inside) or (pattern.has_star and inside.startswith(pattern.start)):
                state = "parts"
        known[path] = state
    return state
