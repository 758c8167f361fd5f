"""NOMAD's query JSON → tree. The rules stand in `body`'s docstring; here they are applied.

What the server would refuse or read as another question is refused here, with the right
spelling; everything else becomes the tree that the server evaluates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.errors import QuantityNotFound, QueryError, WouldBeMisread
from nomadquery.query import formulas, values
from nomadquery.query.catalogue import Catalogue, Quantity, catalogue_for
from nomadquery.query.criteria import (
    EVERYTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Optimade,
    Or,
    Range,
    Value,
    Within,
    canonical,
)
from nomadquery.query.optimade_syntax import check_filter
from nomadquery.query.resolve import custom_quantity, unknown_quantity

_SIDES: Final = ("gt", "gte", "lt", "lte")
_SETS: Final = ("any", "all", "none")
_LOGIC: Final = ("and", "or", "not")
_DTYPES: Final = ("str", "int", "float", "bool", "datetime")
_WITH_DTYPE: Final = ("entry_id:", "pynxtools.nomad.schema")
_SUGGESTION: Final = "__suggestion"


def parse(query: object, *, release: str | None = None) -> Criterion:
    """Return the canonical resolved tree of a NOMAD ``query`` object.

    Numbers are in the stored unit, as NOMAD reads them.

    Raises
    ------
    WouldBeMisread
        If the server would drop a part of it, or read it as another question.
    QueryError
        If the server would refuse it.
    """
    return canonical(_Reader(catalogue_for(release)).read(query))


@dataclass(frozen=True, slots=True)
class _Reader:
    catalogue: Catalogue

    def read(self, query: object) -> Criterion:
        if query is None:
            return EVERYTHING
        if not isinstance(query, Mapping):
            raise QueryError(f"A NOMAD query is a JSON object, not {type(query).__name__}: {_shown(query)}.")
        logic = [key for key in query if key in _LOGIC]
        if logic:
            return self._logical(logic[0], query)
        _refuse_doubles(query)
        return And(tuple(self._criterion(str(key), value, section="") for key, value in query.items()))

    def _logical(self, word: str, query: Mapping[Any, Any]) -> Criterion:
        if len(query) > 1:
            others = ", ".join(repr(key) for key in query if key != word)
            raise WouldBeMisread(
                f"NOMAD drops {others} beside {word!r}. "
                f'Put each into an object of its own: {{"and": [{{"{word}": …}}, {{…}}]}}.'
            )
        value = query[word]
        if word == "not":
            if not isinstance(value, Mapping):
                raise QueryError(
                    '"not" takes one query object: {"not": {…}}; several go into {"not": {"and": […]}}.'
                )
            if not value:
                raise WouldBeMisread('NOMAD reads {"not": {}} as everything. Leave it out.')
            return Not(self.read(value))
        if not isinstance(value, list | tuple):
            raise QueryError(f'"{word}" takes a list of query objects: {{"{word}": [{{…}}, {{…}}]}}.')
        if word == "or" and not value:
            raise WouldBeMisread(
                'NOMAD reads {"or": []} as everything. Leave it out, or say what it should be.'
            )
        parts = tuple(self.read(part) for part in value)
        return And(parts) if word == "and" else Or(parts)

    def _criterion(self, key: str, value: object, section: str) -> Criterion:
        name, word = _split_word(key)
        full = f"{section}.{name}" if section else name
        if full == "optimade_filter":
            return _optimade(value)
        if section and name in _LOGIC:
            raise QueryError(
                f"{name!r} cannot stand inside the section {section!r}; combine whole sections instead."
            )
        quantity = self._quantity(full)
        if quantity.kind == "section":
            return self._section_form(quantity, value, word)
        if word is None and isinstance(value, Mapping):
            return self._object(quantity, value, section)
        if word in _SIDES:
            return _range(quantity, {word: value})
        if word in _SETS:
            return self._set(quantity, str(word), value, section)
        if isinstance(value, list | tuple):
            return self._set(quantity, "all", value, section, bare=True)
        return _equals(quantity, _scalar(value, quantity))

    def _quantity(self, name: str) -> Quantity:
        plain, _, schema = name.partition("#")
        if schema and plain.startswith("data."):
            return _checked_custom(name)
        if _SUGGESTION in name:
            raise QueryError(
                f"{name!r} only serves suggestions while typing; compare {name.partition('__')[0]!r}."
            )
        found = self.catalogue.find(name)
        if found is None or found.name != name:
            raise _not_a_quantity(name, self.catalogue)
        if found.kind != "section" and not found.searchable:
            raise _not_a_quantity(name, self.catalogue)
        return found

    def _object(self, quantity: Quantity, value: Mapping[Any, Any], section: str) -> Criterion:
        words = [str(word) for word in value]
        name = quantity.name
        if not words:
            raise WouldBeMisread(f"NOMAD reads {{{name!r}: {{}}}} as everything. Leave it out.")
        if len(words) == 1 and words[0] in _SETS:
            if section:
                raise QueryError(
                    f"Inside a section NOMAD takes the suffix only: write {name.rpartition('.')[2]}:{words[0]}."
                )
            return self._set(quantity, words[0], value[words[0]], section)
        if all(word in _SIDES for word in words):
            return _range(quantity, {str(word): bound for word, bound in value.items()})
        raise QueryError(
            f"{{{', '.join(words)}}} does not compare {name}. An object takes either one of any, all, none with a list, "
            "or bounds (gt or gte, lt or lte); different kinds go into separate objects of an 'and'."
        )

    def _set(
        self, quantity: Quantity, word: str, value: object, section: str, *, bare: bool = False
    ) -> Criterion:
        name = quantity.name
        if not isinstance(value, list | tuple):
            raise QueryError(f"{name}:{word} takes a list: {{{name + ':' + word!r}: [{_shown(value)}]}}.")
        if not value:
            raise WouldBeMisread(
                f"An empty list at {name} asks nothing: NOMAD finds everything or, with 'any', by release everything "
                "or nothing. Leave it out."
            )
        several = tuple(_scalar(item, quantity) for item in value)
        in_one_item = quantity.nested is not None and not _below(section, quantity.nested)
        if word == "any":
            return Or(tuple(_equals(quantity, item) for item in several))
        if word == "none" and in_one_item:
            raise WouldBeMisread(
                f"NOMAD reads none at {name} as: some item of {quantity.nested} has none of them. "
                f'For "no item has one" write {{"not": {{"{name}": {{"any": […]}}}}}}.'
            )
        if word == "none":
            return Not(Or(tuple(_equals(quantity, item) for item in several)))
        every = canonical(And(tuple(_equals(quantity, item) for item in several)))
        outer_repeats = [
            s for s in quantity.repeats if quantity.nested is None or len(s) > len(quantity.nested)
        ]
        if isinstance(every, HasAll) and not quantity.shape and not outer_repeats:
            raise WouldBeMisread(
                f"{'A bare list' if bare else word!r} means that all values hold at once, which {name} "
                f"with one value{' an item' if quantity.nested else ''} never does. For one of them write "
                f'{{"{name}:any": […]}}, for all in different items an "and" of single values.'
            )
        return Within(str(quantity.nested), (every,)) if in_one_item else every

    def _section_form(self, section: Quantity, value: object, word: str | None) -> Criterion:
        name = section.name
        if word is not None or not isinstance(value, Mapping):
            children = ", ".join(self.catalogue.children(name)[:6])
            raise WouldBeMisread(
                f"{name!r} is a section and equals nothing. Compare one of its quantities: {children}."
            )
        if not value:
            raise WouldBeMisread(f"NOMAD reads {{{name!r}: {{}}}} as everything. Leave it out.")
        parts = tuple(self._criterion(str(key), inner, section=name) for key, inner in value.items())
        return Within(name, parts) if name in self.catalogue.nested_sections else And(parts)


def _split_word(key: str) -> tuple[str, str | None]:
    name, colon, word = key.rpartition(":")
    return (name, word) if colon and word in (*_SIDES, *_SETS) else (key, None)


def _refuse_doubles(query: Mapping[Any, Any]) -> None:
    seen: set[str] = set()
    for key in query:
        name = _split_word(str(key))[0]
        if name in seen:
            raise QueryError(
                f"NOMAD takes {name!r} only once in an object. Write the bounds as one object, "
                f'{{"{name}": {{"gte": …, "lt": …}}}}, or put each into its own object of an "and".'
            )
        seen.add(name)


def _optimade(value: object) -> Criterion:
    filters = value if isinstance(value, list | tuple) else [value]
    for text in filters:
        if not isinstance(text, str):
            raise QueryError(f"optimade_filter takes a text, not {_shown(text)}.")
        check_filter(text)
    return And(tuple(Optimade(text) for text in filters))


def _range(quantity: Quantity, bounds: Mapping[str, object]) -> Criterion:
    name = quantity.name
    given = {side: bound for side, bound in bounds.items() if bound is not None}
    for side, bound in given.items():
        if isinstance(bound, bool) or not isinstance(bound, str | int | float):
            raise QueryError(f"The bound {side} of {name} must be a number or a text, not {_shown(bound)}.")
    if {"gt", "gte"} <= given.keys() or {"lt", "lte"} <= given.keys():
        raise QueryError(f"{name} has two bounds on one side; keep one of gt and gte, one of lt and lte.")
    if not any(given.values()):
        raise QueryError(
            f"NOMAD refuses a range whose bounds are all zero or empty. Add a bound that every value satisfies: "
            f'{{"{name}": {{"gte": 0, "lte": 1e308}}}}; Q.{name} >= 0 does so by itself.'
        )
    if formulas.formula_order(name) in {"hill", "iupac"}:
        raise QueryError(f"NOMAD fails on ranges of {name}; formulas have no order.")
    return Range(name, **{side: _scalar(bound, quantity, in_range=True) for side, bound in given.items()})


def _equals(quantity: Quantity, value: Value) -> Criterion:
    if quantity.kind == "text" and isinstance(value, str):
        several = values.stored_spellings(value, quantity, strict=False)
        return HasAny(quantity.name, several) if len(several) > 1 else Equals(quantity.name, str(several[0]))
    return Equals(quantity.name, value)


def _scalar(value: object, quantity: Quantity, *, in_range: bool = False) -> Value:
    """Return a JSON scalar as the index reads it for this quantity."""
    if value is None or not isinstance(value, str | int | float):
        raise QueryError(
            f"{quantity.name} is compared with text, numbers or true/false, not with {_shown(value)}."
        )
    match quantity.kind:
        case "text":
            return value if isinstance(value, str) else _as_text(value)
        case "boolean":
            if value in {"true", "false"}:
                return value == "true"
        case "number" | "integer" if not isinstance(value, bool):
            return _as_number(value, quantity)
        case "date" if in_range and isinstance(value, bool):
            pass
        case "other":
            return value
        case _:
            pass
    return values.stored_spellings(value, quantity, strict=False)[0]


def _as_number(value: str | float, quantity: Quantity) -> Value:
    try:
        number = float(value)
    except ValueError as error:
        raise QueryError(
            f"{quantity.name} holds numbers{f' in {quantity.unit}' if quantity.unit else ''}; "
            f"{value!r} is none, and NOMAD refuses it."
        ) from error
    whole = quantity.kind == "integer" and number.is_integer()
    return int(value) if whole and isinstance(value, int) else int(number) if whole else number


def _as_text(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _checked_custom(name: str) -> Quantity:
    schema = name.partition("#")[2]
    dtype = name.rpartition("#")[2]
    if schema.startswith(_WITH_DTYPE) and dtype not in _DTYPES:
        raise QuantityNotFound(
            f"{name!r} needs the data type at its end: {name.split('#')[0]}#{schema.split('#')[0]}#<type>, "
            f"where the type is one of {', '.join(_DTYPES)}.",
            name=name,
        )
    return custom_quantity(name)


def _not_a_quantity(name: str, catalogue: Catalogue) -> QuantityNotFound:
    head, _, last = name.rpartition(".")
    if last in {*_SIDES, *_SETS} or name.lower() in _LOGIC:
        return QuantityNotFound(
            f"{name!r}: NOMAD's words are lower case and stand as {head}:{last} or {{'and': […]}}.", name=name
        )
    return unknown_quantity(name, catalogue)


def _below(section: str, nested: str) -> bool:
    return section == nested or section.startswith(f"{nested}.")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "…"
