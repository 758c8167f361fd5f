"""GET parameters → tree. The rules stand in the docstring of `params`; here they are applied.

What NOMAD would refuse, ignore or read as something else is refused here, with the right spelling.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from nomadquery.errors import QuantityNotFound, QueryError, WouldBeMisread
from nomadquery.query import dates
from nomadquery.query.criteria import Criterion, Value
from nomadquery.query.gui_filters import filters_ending_in
from nomadquery.query.params import OPTIONS, OWNERS, SIDES, TypeOf, read_as

_TRUE_WORDS: Final = ("true", "1", "yes")
_PATTERN: Final = "name=value, name__op=value"


def parse_get_params(
    pairs: Iterable[tuple[str, str]],
    *,
    types: TypeOf,
    many_all: Collection[str],
    parse_json: Callable[[object], Criterion],
) -> Criterion:
    """Return the tree that NOMAD evaluates for these GET parameters.

    Parameters
    ----------
    pairs : iterable of (str, str)
        Decoded names and values, in the order of the address. Those in `OPTIONS` are skipped:
        ``owner`` and paging belong to the request, not to the question.
    types : callable
        Type of a searchable quantity, ``None`` for any other name.
    many_all : collection of str
        Quantities whose repeated parameters mean all-of.
    parse_json : callable
        Reads a query object of NOMAD into a tree.

    Raises
    ------
    WouldBeMisread
        If NOMAD would ignore a parameter, or read another value than stands there.
    QuantityNotFound
        If ``q`` names no quantity.
    QueryError
        If NOMAD would refuse the parameters or fail.
    """
    given, json_text = _sorted_out(pairs, types)
    _refuse_second_operators(given)
    members = [
        _member(name, operator, texts, types=types, many_all=many_all)
        for (name, operator), texts in given.items()
    ]
    overlay = {} if json_text is None else _overlay(json_text, frozenset(name for name, _ in given))
    if overlay:
        members.append(overlay)
    return parse_json(members[0] if len(members) == 1 else {"and": members} if members else {})


def _sorted_out(
    pairs: Iterable[tuple[str, str]], types: TypeOf
) -> tuple[dict[tuple[str, str | None], list[str]], str | None]:
    """Return (quantity, operator) → texts, and the text of ``json_query``."""
    given: dict[tuple[str, str | None], list[str]] = {}
    encoded: list[tuple[str, str]] = []
    json_text: str | None = None
    for key, text in pairs:
        if key == "json_query":
            if json_text is not None:
                raise WouldBeMisread(
                    'NOMAD reads only the last json_query. Join them: json_query={"and": [{…}, {…}]}.'
                )
            json_text = text
        elif key == "q":
            encoded.append(_split_q(text, types))
        elif key == "owner":
            _check_owner(text)
        elif key not in OPTIONS:
            given.setdefault(_split_key(key), []).append(text)
    for key, text in encoded:  # NOMAD appends these to the parameters
        given.setdefault(_split_key(key), []).append(text)
    return given, json_text


def _split_q(text: str, types: TypeOf) -> tuple[str, str]:
    fragments = text.split("__")
    if len(fragments) not in {2, 3}:
        raise QueryError(
            f"NOMAD refuses q={text!r}; it reads q=name__value and q=name__op__value only. "
            f"A value that contains '__' goes into {_PATTERN}."
        )
    name = fragments[0]
    if types(name) is None:
        raise QuantityNotFound(
            f"NOMAD refuses q={text!r}: {name!r} is no quantity{_meant(name)}.",
            name=name,
            nearest=filters_ending_in(name.rpartition(".")[2]),
        )
    return "__".join(fragments[:-1]), fragments[-1]


def _split_key(key: str) -> tuple[str, str | None]:
    name, separator, operator = key.partition("__")
    if "__" in operator:
        raise QueryError(f"NOMAD fails on the parameter {key!r}; it reads {_PATTERN}.")
    return name, operator if separator else None


def _check_owner(owner: str) -> None:
    if owner not in OWNERS:
        raise QueryError(f"NOMAD has no owner={owner!r}; it is one of {', '.join(OWNERS)}.")


def _refuse_second_operators(given: Mapping[tuple[str, str | None], list[str]]) -> None:
    keys: dict[str, str] = {}
    for name, operator in given:
        key = _key(name, operator)
        if name in keys:
            raise WouldBeMisread(
                f"Of {keys[name]} and {key} NOMAD reads only the last. Write bounds as "
                f'json_query={{"{name}": {{"gte": …, "lte": …}}}}, others as json_query={{"and": […]}}.'
            )
        keys[name] = key


def _key(name: str, operator: str | None) -> str:
    return name if operator is None else f"{name}__{operator}"


def _member(
    name: str, operator: str | None, texts: list[str], *, types: TypeOf, many_all: Collection[str]
) -> dict[str, Any]:
    """Return the query object that NOMAD makes of one parameter."""
    found = types(name)
    if found is None:
        raise _unknown(name)
    read = [_read(name, text, found, operator) for text in texts]
    match operator:
        case None | "any" | "all" if len(read) == 1:
            return {name: read[0]}
        case None:
            return {f"{name}:{'all' if name in many_all else 'any'}": read}
        case "any" | "all":
            return {f"{name}:{operator}": read}
        case "gt" | "gte" | "lt" | "lte" if len(read) > 1:
            raise QueryError(f"NOMAD refuses {_key(name, operator)} given {len(read)} times; keep one.")
        case "gt" | "gte" | "lt" | "lte":
            return {name: {operator: _bound(name, operator, read[0])}}
        case "none":
            right = json.dumps({f"{name}:none": read}, ensure_ascii=False)
            raise QueryError(f"NOMAD fails on {name}__none. Write json_query={right}.")
        case _:
            raise QueryError(
                f"NOMAD knows no operator {operator!r} as in {_key(name, operator)}; "
                f"it has any, all, {', '.join(SIDES)}."
            )


def _unknown(name: str) -> QueryError:
    if "#" in name:
        return WouldBeMisread(
            f"NOMAD ignores the parameter {name!r} unless the plugin of its schema is installed. "
            f'Write json_query={{"{name}": …}}.'
        )
    return WouldBeMisread(
        f"{name!r} is no quantity, so NOMAD ignores it and answers without it{_meant(name)}. "
        "Use the full name, or leave the parameter out."
    )


def _meant(name: str) -> str:
    nearest = filters_ending_in(name.rpartition(".")[2])
    return f"; meant is perhaps {' or '.join(nearest)}" if nearest else ""


def _read(name: str, text: str, type_name: str, operator: str | None) -> Value:
    match read_as(type_name):
        case "boolean":
            if text.lower() in _TRUE_WORDS:
                return True
            raise WouldBeMisread(
                f"NOMAD reads every text at {name} as true, also {text!r}. "
                f'Write json_query={{"{name}": false}}.'
            )
        case "date":
            whole = dates.instant(text).removesuffix(".000Z")
            return dates.as_indexed(whole, last=operator in {"gt", "lte"})
        case "text":
            return text
        case None:
            raise QueryError(
                f"{name} is a section; NOMAD fails on it as a parameter. Name one of its quantities."
            )
        case kind:
            try:
                number = int(text) if kind == "integer" else float(text)
            except ValueError as error:
                word = "an integer" if kind == "integer" else "a number"
                raise QueryError(
                    f"{name} holds numbers; NOMAD fails on {text!r}, which is not {word}."
                ) from error
            if isinstance(number, float) and not math.isfinite(number):
                raise QueryError(f"NOMAD fails on {name}={text}; give a finite number.")
            return number


def _bound(name: str, operator: str, value: Value) -> Value:
    if value or isinstance(value, bool):
        return value
    largest = "2147483647" if isinstance(value, int) else "1e308"
    other = f'"lte": {largest}' if operator.startswith("g") else f'"gte": -{largest}'
    raise QueryError(
        f"NOMAD fails on {name}__{operator} with zero or nothing as its only bound. "
        f'Write json_query={{"{name}": {{"{operator}": {json.dumps(value)}, {other}}}}}.'
    )


def _overlay(text: str, names: frozenset[str]) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QueryError(f"NOMAD refuses json_query={text!r}: {error}. It takes a JSON object.") from error
    if not isinstance(found, dict):
        raise QueryError(f"json_query takes a JSON object, not {text!r}.")
    logic = [word for word in ("and", "or", "not") if word in found]
    if logic and names:
        raise WouldBeMisread(
            f"NOMAD ignores {', '.join(sorted(names))} beside a json_query with {logic[0]!r}. "
            f'Put all into it: json_query={{"and": [{{"{logic[0]}": …}}, {{…}}]}}.'
        )
    twice = sorted(names & {str(key).partition(":")[0] for key in found})
    if twice:
        raise WouldBeMisread(
            f"{twice[0]} stands in json_query and as a parameter, of which NOMAD drops one or refuses both. "
            'Put both into json_query as {"and": [{…}, {…}]}.'
        )
    return found
