"""Which properties and which items the keys of an archive ``required`` choose (nomad-lab 2.0.0)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nomadquery.columns.required_keys import Key, parse_key
from nomadquery.errors import InvalidRequest
from nomadquery.local.references import NotThere
from nomadquery.local.refusals import refused, unforeseen


def wanted_of(section: Mapping[str, Any], required: Mapping[str, Any]) -> Iterator[tuple[Key, Any]]:
    """Yield key and ``required`` of the properties asked for; a star means all the others.

    Raises
    ------
    InvalidRequest
        For a key that is none (422).
    """
    if "*" not in required:
        for text, wanted in required.items():
            if wanted != "exclude":
                yield _parsed(text), wanted
        return
    keys = ((_parsed(text), wanted) for text, wanted in required.items() if text != "*")
    own = {key.name: (key, wanted) for key, wanted in keys}
    for name in section:
        key, wanted = own.get(name) or (Key(name), required["*"])
        if name not in own or wanted != "exclude":
            yield key, wanted


def _parsed(text: str) -> Key:
    try:
        key = parse_key(text)
    except ValueError as error:
        raise unforeseen("ValueError", str(error)) from error
    if key is None:
        detail = [{"msg": "invalid required key", "loc": [text.strip()]}]
        raise InvalidRequest("invalid required key", status=422, detail=detail)
    return key


def items_of(value: Any, key: Key) -> Any:
    """Return the chosen items of a list as a list, all of them without an index; or the value.

    Positions are clamped to the list, and equal bounds give one item.

    Raises
    ------
    NotThere
        If no item is chosen.
    RequestRefused
        For an index on what is no list (400).
    """
    if key.index is None:
        return value
    if not isinstance(value, list):
        raise refused(400, f"cannot use list key on none list {key.name}")
    if isinstance(key.index, tuple):
        first, last = key.index
        start, end = _clamped(first, len(value)), None if last is None else _clamped(last, len(value))
        if start != end:
            return value[start:end]
    else:
        start = _clamped(key.index, len(value))
    if start >= len(value) or start < -len(value):
        raise NotThere(key.name)
    return [value[start]]


def _clamped(position: int, length: int) -> int:
    return max(-length, position) if position < 0 else min(length, position)
