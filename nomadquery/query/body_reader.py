"""NOMAD's query JSON → tree. The rules stand in `body`'s docstring; here they are applied.

What the server would refuse or read as another question is refused here, with the right
spelling; everything else becomes the tree that the server evaluates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.errors import QuantityNotFound, QueryError, WouldBeMisread
from nomadquery.query import dates, formulas, values
from nomadquery.query.bounds import SIDES, as_meant, as_sent
from nomadquery.query.catalogue import Catalogue, Quantity, catalogue_for
from nomadquery.query.criteria import (
    EVERYTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    Not,
    Optimade,
    Or,
    Range,
    Value,
    Within,
    canonical,
)
from nomadquery.query.levels import check_json_levels
from nomadquery.query.optimade_syntax import check_filter
from nomadquery.query.resolve import comparable_in, custom_quantity, has_one_value, unknown_quantity

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
    if query is None:
        return EVERYTHING
    check_json_levels(query)
    return canonical(_Reader(catalogue_for(release)).read(query))


@dataclass(frozen=True, slots=True)
class _Reader:
    catalogue: Catalogue

    def read(self, query: object) -> Criterion:
        if not isinstance(query, Mapping):
            raise QueryError(
                f"A NOMAD query is a JSON object, not {type(query).__name__}: {_shown(query)}. "
                'Write for example {"results.material.n_elements": 1}.'
            )
        if query.keys() in ({"name", "value"}, {"prefix", "query"}):
            raise QueryError(
                f"{_shown(dict(query))} is the form in which NOMAD echoes a query, which it does not read. "
                'Write {"results.material.n_elements": 2}, or {"results.material": {"n_elements": 2}}.'
            )
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
            return _optimade(value, word)
        if section and name in _LOGIC:
            raise QueryError(
                f"{name!r} cannot stand inside the section {section!r}; combine whole sections instead."
            )
        quantity = self._quantity(full)
        if quantity.kind == "section":
            return self._section_form(quantity, value, word)
        if word is None and isinstance(value, Mapping):
            return self._object(quantity, value, section)
        if word in SIDES:
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
                    f"Inside a section NOMAD takes the suffix only: write "
                    f"{name.removeprefix(section + '.')}:{words[0]}."
                )
            return self._set(quantity, words[0], value[words[0]], section)
        if all(word in SIDES for word in words):
            return _range(quantity, {str(word): bound for word, bound in value.items()})
        raise QueryError(
            f"{{{', '.join(words)}}} does not compare {name}. An object takes either one of any, all, none "
            "with a list, or bounds (gt or gte, lt or lte); different kinds go into separate objects of an "
            "'and'. Words are lower case."
        )

    def _set(
        self, quantity: Quantity, word: str, value: object, section: str, *, bare: bool = False
    ) -> Criterion:
        name = quantity.name
        if not isinstance(value, list | tuple):
            inside = "…" if value is None else _shown(value)
            raise QueryError(f"{name}:{word} takes a list: {{{name + ':' + word!r}: [{inside}]}}.")
        if not value:
            raise WouldBeMisread(
                f"An empty list at {name} asks nothing: NOMAD finds everything or, with 'any', by release "
                "everything or nothing. Leave it out."
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
        if isinstance(every, HasAll) and has_one_value(quantity, quantity.nested or ""):
            raise WouldBeMisread(
                f"{'A bare list' if bare else word!r} means that all values hold at once, which {name} "
                f"with one value{' an item' if quantity.nested else ''} never does. For one of them write "
                f'{{"{name}:any": […]}}, for all in different items an "and" of single values.'
            )
        return Within(str(quantity.nested), (every,)) if in_one_item else every

    def _section_form(self, section: Quantity, value: object, word: str | None) -> Criterion:
        name = section.name
        if word is not None or not isinstance(value, Mapping):
            raise WouldBeMisread(
                f"{name!r} is a section and equals nothing. Compare one of its quantities: "
                f"{comparable_in(name, self.catalogue)}."
            )
        if not value:
            raise WouldBeMisread(f"NOMAD reads {{{name!r}: {{}}}} as everything. Leave it out.")
        parts = tuple(self._criterion(str(key), inner, section=name) for key, inner in value.items())
        if name not in self.catalogue.nested_sections:
            return And(parts)
        if any(_wants_several_of_one(part, name, self.catalogue) for part in _parts(canonical(And(parts)))):
            raise WouldBeMisread(f"One item of {name} never has two values of one of these: {_shown(value)}.")
        return Within(name, parts)


def _parts(criterion: Criterion) -> tuple[Criterion, ...]:
    return criterion.criteria if isinstance(criterion, And) else (criterion,)


def _wants_several_of_one(leaf: Criterion, section: str, catalogue: Catalogue) -> bool:
    found = catalogue.find(leaf.quantity) if isinstance(leaf, HasAll) else None
    return found is not None and has_one_value(found, section)


def _split_word(key: str) -> tuple[str, str | None]:
    name, colon, word = key.rpartition(":")
    return (name, word) if colon and word in (*SIDES, *_SETS) else (key, None)


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


def _optimade(value: object, word: str | None) -> Criterion:
    filters: list[Criterion] = []
    for text in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(text, str):
            raise QueryError(f"optimade_filter takes a text, not {_shown(text)}.")
        check_filter(text)
        filters.append(Optimade(text))
    if word in {None, "all"}:
        return And(tuple(filters))
    raise QueryError(
        f'optimade_filter has no {word!r}. Write {{"or": [{{"optimade_filter": "…"}}, …]}} or not.'
    )


def _range(quantity: Quantity, bounds: Mapping[str, object]) -> Criterion:
    name = quantity.name
    given = {side: bound for side, bound in bounds.items() if bound is not None}
    for side, bound in given.items():
        if isinstance(bound, bool) or not isinstance(bound, str | int | float):
            raise QueryError(f"The bound {side} of {name} must be a number or a text, not {_shown(bound)}.")
    if {"gt", "gte"} <= given.keys() or {"lt", "lte"} <= given.keys():
        raise QueryError(f"{name} has two bounds on one side; keep one of gt and gte, one of lt and lte.")
    if quantity.kind == "boolean":
        raise QueryError(f"{name} is true or false and has no order: write {{{name!r}: true}}.")
    if formulas.normalised_by_server(name):
        raise QueryError(f"NOMAD fails on ranges of {name}; formulas have no order.")
    leaf = Range(name, **{side: _scalar(bound, quantity, side=side) for side, bound in given.items()})
    if not any(given.values()):
        right = as_sent(leaf, quantity) if len(given) == 1 else {"gte": 0, "lte": 1}
        raise QueryError(
            "NOMAD refuses a range whose bounds are all zero or empty, or has none. Add a bound that every "
            f"value satisfies: {json.dumps({name: right})}."
        )
    return as_meant(leaf, quantity)


def _equals(quantity: Quantity, value: Value) -> Criterion:
    if quantity.kind != "text" or not isinstance(value, str):
        return Equals(quantity.name, value)
    several = values.stored_spellings(value, quantity, strict=False)
    if len(several) == 1 and several[0] != value and not formulas.normalised_by_server(quantity.name):
        raise WouldBeMisread(
            f"NOMAD compares {quantity.name} letter by letter and never finds {value!r}: "
            f"it stores {several[0]!r}."
        )
    return HasAny(quantity.name, several) if len(several) > 1 else Equals(quantity.name, several[0])


def _scalar(value: object, quantity: Quantity, *, side: str = "") -> Value:
    """Return a JSON scalar as the index reads it for this quantity, as the bound ``side`` of a range."""
    if value is None or not isinstance(value, str | int | float):
        raise QueryError(
            f"{quantity.name} is compared with text, numbers or true/false, not with {_shown(value)}."
        )
    match quantity.kind:
        case "text":
            return value if isinstance(value, str) else _as_text(value)
        case "boolean" if value in {"true", "false"}:
            return value == "true"
        case "number" | "integer" if not isinstance(value, bool):
            return values.stored_number(_as_number(value, quantity), quantity)
        case "date" if not isinstance(value, bool):
            return dates.as_indexed(value, last=side in {"gt", "lte"})
        case "other":
            return value
        case _:
            return values.stored_spellings(value, quantity, strict=False)[0]


def _as_number(value: str | float, quantity: Quantity) -> int | float:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError as error:
        raise QueryError(
            f"{quantity.name} holds {quantity.kind}s{f' in {quantity.unit}' if quantity.unit else ''}; "
            f"{value!r} is none, and NOMAD refuses it."
        ) from error


def _as_text(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _checked_custom(name: str) -> Quantity:
    schema = name.partition("#")[2]
    dtype = name.rpartition("#")[2]
    if schema.startswith(_WITH_DTYPE) and dtype not in _DTYPES:
        raise QuantityNotFound(
            f"{name!r} needs the data type at its end: {'#'.join(name.split('#')[:2])}#<type>, "
            f"where the type is one of {', '.join(_DTYPES)}.",
            name=name,
        )
    return custom_quantity(name)


def _not_a_quantity(name: str, catalogue: Catalogue) -> QuantityNotFound:
    words = ", ".join((*SIDES, *_SETS))
    if name.lower() in _LOGIC:
        return QuantityNotFound(
            f'NOMAD writes {name.lower()!r} in lower case: {{"{name.lower()}": …}}.', name=name
        )
    known, _, word = name.rpartition(":")
    if not known:
        known, _, word = name.rpartition(".")
    if word.lower() in {*SIDES, *_SETS} or (catalogue.find(known) is not None and ":" in name):
        return QuantityNotFound(
            f"{word!r} is no word of NOMAD's for {known}; there are {words}, as in {{'{known}:gte': …}}.",
            name=name,
            nearest=(known,),
        )
    return unknown_quantity(name, catalogue)


def _below(section: str, nested: str) -> bool:
    return section == nested or section.startswith(f"{nested}.")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "…"
