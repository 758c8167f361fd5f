"""Does this entry match? The reference meaning of every node, on a search document.

A document is what NOMAD's index holds of an entry: metadata at the top level, ``results``,
``search_quantities`` for custom schemas. The local deployment answers queries with this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, assert_never

from nomadquery.errors import NotExpressible
from nomadquery.query import dates, formulas
from nomadquery.query.bounds import SIDES, bounds_of
from nomadquery.query.catalogue import Catalogue, Kind, Quantity
from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Leaf,
    Not,
    Optimade,
    Or,
    Range,
    Value,
    Within,
)
from nomadquery.query.resolve import custom_quantity

Document = Mapping[str, Any]

#: Word boundaries of Unicode's annex 29 as far as Western texts need them: a mark between letters
#: (``don't``) or between digits (``1.5``) joins them.
_WORDS = re.compile(r"\w(?:\w|(?<=[^\W\d])[.':\u2019\u00b7](?=[^\W\d])|(?<=\d)[.,;'](?=\d))*")
_PREFIX_FIELDS = {"entry_name.prefix", "text_search_contents"}
_PATH_FIELDS = {"mainfile.path", "mainfile_key.path", "files.path", "quantities.path"}
_CUSTOM_VALUES: dict[str, Kind] = {
    "str_value": "text",
    "float_value": "number",
    "int_value": "integer",
    "bool_value": "boolean",
    "datetime_value": "date",
}
#: The index leaves out longer keywords.
_LONGEST_KEYWORD = 8191


def matches(criterion: Criterion, document: Document, catalogue: Catalogue) -> bool:
    """Return whether the entry behind ``document`` satisfies the resolved tree.

    Raises
    ------
    NotExpressible
        For an OPTIMADE filter, which only a server can decide.
    """
    return _Entry(document, catalogue).satisfies(criterion, _Scope("", (document,)))


def item_matches(criterion: Criterion, item: Document, section: str, catalogue: Catalogue) -> bool:
    """Return whether one item of the repeating ``section`` satisfies the tree (full names)."""
    return _Entry(item, catalogue).satisfies(criterion, _Scope(section, (item,)))


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where names are looked up: the ``items`` at ``section`` (at the root: the document)."""

    section: str
    items: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    document: Document
    catalogue: Catalogue

    def satisfies(self, criterion: Criterion, scope: _Scope) -> bool:
        match criterion:
            case And(parts):
                return all(self.satisfies(part, scope) for part in parts)
            case Or(parts):
                return any(self.satisfies(part, scope) for part in parts)
            case Not(inner):
                return not self.satisfies(inner, scope)
            case Within(section, parts):
                return any(
                    all(self.satisfies(part, _Scope(section, (item,))) for part in parts)
                    for item in self._items(section, scope)
                )
            case Optimade():
                raise NotExpressible(
                    "An OPTIMADE filter is decided by a NOMAD server; it cannot be evaluated here."
                )
            case _:
                return self._leaf(criterion, scope)

    def _leaf(self, leaf: Leaf, scope: _Scope) -> bool:
        quantity = self.catalogue.find(leaf.quantity) or custom_quantity(leaf.quantity)
        stored = list(self._values(quantity, scope))

        def has(value: Value) -> bool:
            return any(_equal(have, value, kind) for have, kind in stored)

        match leaf:
            case Equals(_, value):
                return has(value)
            case HasAll(_, several):
                return all(has(value) for value in several)
            case HasAny(_, several):
                return _has_any(stored, several, quantity)
            case HasNone(_, several):
                return not _has_any(stored, several, quantity)
            case Range():
                return any(_between(have, leaf, kind) for have, kind in stored)
            case _:
                assert_never(leaf)

    def _items(self, section: str, scope: _Scope) -> Iterator[Mapping[str, Any]]:
        relative = section.removeprefix(f"{scope.section}.") if scope.section else section
        for top in scope.items:
            yield from (item for item in _reach(top, relative.split(".")) if isinstance(item, Mapping))

    def _values(self, quantity: Quantity, scope: _Scope) -> Iterator[tuple[Any, Quantity]]:
        """Yield the indexed values with what is known of each (a custom quantity by where its value is)."""
        name = quantity.name
        if name.startswith("data.") and "#" in name:
            yield from self._custom_values(quantity)
            return
        if quantity.is_view:
            name = name.rpartition(".")[0]
        relative = name.removeprefix(f"{scope.section}.") if scope.section else name
        for item in scope.items:
            for value in _reach(item, relative.split(".")):
                if quantity.index != "keyword" or len(str(value)) <= _LONGEST_KEYWORD:
                    yield value, quantity

    def _custom_values(self, quantity: Quantity) -> Iterator[tuple[Any, Quantity]]:
        path, schema = quantity.name.split("#")[:2]
        for found in self.document.get("search_quantities") or ():
            stored_path, _, stored_schema = str(found.get("id")).partition("#")
            first = (found.get("segments") or {}).get("1") or {}
            is_of_schema = schema == stored_schema or schema in first.get("definitions", ())
            if stored_path != path or not is_of_schema:
                continue
            for key, kind in _CUSTOM_VALUES.items():
                if found.get(key) is not None and quantity.kind in {kind, "other"}:
                    yield found[key], replace(quantity, kind=kind)


def _has_any(stored: list[tuple[Any, Quantity]], several: tuple[Value, ...], quantity: Quantity) -> bool:
    is_exact = quantity.index == "keyword" and (quantity.is_view or not formulas.formula_order(quantity.name))
    if is_exact and all(isinstance(have, str) for have, _ in stored):  # lists of ids are long
        return any(have in several for have, _ in stored)
    return any(_equal(have, value, kind) for have, kind in stored for value in several)


def _reach(value: Any, names: list[str]) -> Iterator[Any]:
    """Yield every value at the dotted name, through lists of any depth; null is no value."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _reach(item, names)
    elif not names:
        if value is not None:
            yield value
    elif isinstance(value, Mapping) and names[0] in value:
        yield from _reach(value[names[0]], names[1:])


def _equal(have: Any, asked: Value, quantity: Quantity) -> bool:
    if quantity.index == "text":
        return _found_in_text(str(have), str(asked), quantity.name)
    order = None if quantity.is_view else formulas.formula_order(quantity.name)
    if order is not None:
        return formulas.same_formula(str(have), str(asked), order)
    if quantity.kind == "date":
        return not isinstance(asked, bool) and _moment(have) == _moment(dates.as_indexed(asked))
    if isinstance(have, bool) or isinstance(asked, bool):
        return have is asked
    if isinstance(have, int | float) and isinstance(asked, int | float):
        return float(have) == float(asked)
    return type(have) is type(asked) and bool(have == asked)


def _between(have: Any, leaf: Range, quantity: Quantity) -> bool:
    if quantity.index == "text":
        return any(_in_bounds(word, leaf) for word in _words(str(have), quantity.name))
    if quantity.kind == "date":
        moments: dict[str, datetime | None] = dict.fromkeys(SIDES)
        for side, bound in bounds_of(leaf).items():
            moments[side] = _moment(dates.as_indexed(bound, last=side in {"gt", "lte"}))
        return _ordered(_moment(have), **moments)
    return _in_bounds(have, leaf)


def _moment(value: Any) -> datetime:
    """Return an instant to the millisecond, as the index keeps it."""
    moment = dates.moment_of(value) if isinstance(value, str) else dates.moment_of(dates.as_indexed(value))
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _in_bounds(have: Any, leaf: Range) -> bool:
    kinds = str if isinstance(have, str) else int | float
    compared = (have, *bounds_of(leaf).values())
    if any(isinstance(value, bool) or not isinstance(value, kinds) for value in compared):
        return False
    return _ordered(have, gt=leaf.gt, gte=leaf.gte, lt=leaf.lt, lte=leaf.lte)


def _ordered(have: Any, *, gt: Any, gte: Any, lt: Any, lte: Any) -> bool:
    return (
        (gt is None or have > gt)
        and (gte is None or have >= gte)
        and (lt is None or have < lt)
        and (lte is None or have <= lte)
    )


def _found_in_text(have: str, asked: str, name: str) -> bool:
    """Return whether analysed text matches: any asked word, the last of some fields by its beginning."""
    words, wanted = _words(have, name), _words(asked, name)
    if not wanted:
        return False
    if name == "entry_name.prefix":  # the asked words in this order, the last one begun
        *whole, begun = wanted
        return any(
            words[i : i + len(whole)] == whole and words[i + len(whole)].startswith(begun)
            for i in range(len(words) - len(whole))
        )
    if name in _PREFIX_FIELDS:
        *whole, begun = wanted
        return any(word in words for word in whole) or any(word.startswith(begun) for word in words)
    return any(word in words for word in wanted)


def _words(text: str, name: str) -> list[str]:
    if name in _PATH_FIELDS:
        return [part for part in text.split("/") if part]
    return [word.lower() for word in _WORDS.findall(text)]
