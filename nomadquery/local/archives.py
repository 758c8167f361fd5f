"""Archive ``required``: which parts of an archive are returned.

The rules are those of nomad-lab 2.0.0, with two exceptions: references are not followed
(whatever would follow one is refused by name), and a property is looked up in the data, not
in the schema, so that one which the schema lacks is returned too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from nomadquery.errors import InvalidRequest
from nomadquery.local.refusals import malformed, not_done_here, problem, refused, unforeseen

_KEY: Final = re.compile(r"([\s\w\-]+)(\[([-?0-9]*)(?::([-?0-9]*))?])?")
_REFERENCE: Final = re.compile(r"#?/|\.\./|https?://\S+#/")

#: No index; one position; start and end of a slice.
_Index = int | tuple[int, int | None] | None


def checked_required(given: Any) -> Any:
    """Return the archive ``required`` of a request as it is applied.

    What is wrong with its directives and keys shows only when an archive is read, as in NOMAD.

    Raises
    ------
    RequestRefused
        If it is neither an object nor a text, or asks for references to be resolved.
    """
    if not isinstance(given, str | Mapping):
        text = problem("string_type", ["body", "required", "str"], "Input should be a valid string", given)
        where = ["body", "required", "dict[str,any]"]
        raise malformed([text, problem("dict_type", where, "Input should be a valid dictionary", given)])
    if isinstance(given, str):
        return given
    in_place = given.get("resolve-inplace")
    if in_place is not None and not isinstance(in_place, bool):
        detail = [{"msg": "resolve-inplace is not a bool", "loc": ["required", "resolve-inplace"]}]
        raise InvalidRequest("resolve-inplace is not a bool", status=422, detail=detail)
    if in_place:
        raise not_done_here("follow references (resolve-inplace)")
    return {key: value for key, value in given.items() if key != "resolve-inplace"}


def required_part(archive: Mapping[str, Any], required: Any) -> dict[str, Any]:
    """Return the part of an archive that a checked ``required`` asks for.

    ``m_ref_archives`` stands beside it, empty: NOMAD adds it to every answer.

    Raises
    ------
    RequestRefused
        For an unknown directive or key, an index on what is no list, or a reference to follow.
    """
    return {**_part(archive, required), "m_ref_archives": {}}


def _part(value: Any, required: Any) -> Any:
    if value is None:
        return None
    if isinstance(required, str):
        return _directed(value, required)
    if isinstance(value, str):
        if _REFERENCE.match(value):
            raise not_done_here(f"follow references (an object is required where {value!r} stands)")
        return value
    if not isinstance(required, Mapping):
        raise unforeseen("AssertionError")
    if not isinstance(value, Mapping):
        raise unforeseen("AttributeError", "all_properties")
    chosen = {"m_def": value["m_def"]} if "m_def" in value else {}
    for name, index, wanted in _wanted(value, required):
        if name not in value:
            continue
        found = _indexed(value[name], index, name)
        if isinstance(found, list):
            chosen[name] = [_part(item, wanted) for item in found]
        elif found is not None:
            chosen[name] = _part(found, wanted)
    return chosen


def _directed(value: Any, directive: str) -> Any:
    if directive in ("*", "include"):
        return value
    if directive == "include-resolved":
        raise not_done_here("follow references (include-resolved)")
    raise refused(400, f"unknown directive {directive}")


def _wanted(value: Mapping[str, Any], required: Mapping[str, Any]) -> list[tuple[str, _Index, Any]]:
    """Return name, index and ``required`` of the children asked for; a star means all the others."""
    named = [
        (*_parsed_key(key), wanted) for key, wanted in required.items() if key != "*" and wanted != "exclude"
    ]
    if "*" not in required:
        return named
    own = {_parsed_key(key)[0] for key in required if key != "*"}
    return [*named, *((name, None, required["*"]) for name in value if name not in own)]


def _parsed_key(key: str) -> tuple[str, _Index]:
    """Return the name and the index of a key: ``calculation[-1]``, ``system[0:2]``."""
    match = _KEY.fullmatch(key.strip())
    if match is None:
        detail = [{"msg": "invalid required key", "loc": [key.strip()]}]
        raise InvalidRequest("invalid required key", status=422, detail=detail)
    name, _, first, second = match.groups()
    try:
        start = int(first) if first else None
        if second is None:
            return name, start
        return name, (start or 0, int(second) if second else None)
    except ValueError as error:
        raise unforeseen("ValueError", str(error)) from error


def _indexed(value: Any, index: _Index, name: str) -> Any:
    """Return the chosen items of a list as a list, or the value; ``None`` where there are none.

    Positions are clamped to the list, and equal bounds give one item (nomad-lab 2.0.0).
    """
    if not isinstance(value, list):
        if index is not None:
            raise refused(400, f"cannot use list key on none list {name}")
        return value
    if index is None:
        return value
    if isinstance(index, tuple):
        start, end = (
            _clamped(index[0], len(value)),
            None if index[1] is None else _clamped(index[1], len(value)),
        )
        if start != end:
            return value[start:end]
        index = start
    try:
        return [value[_clamped(index, len(value))]]
    except IndexError:
        return None


def _clamped(position: int, length: int) -> int:
    return max(-length, position) if position < 0 else min(length, position)
