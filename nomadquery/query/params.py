"""Tree ⇄ the parameters of a GET address such as ``/entries?results.material.elements=Ti``.

What NOMAD does with them (``QueryParameters`` in ``nomad/app/v1/models/models.py``, the same in
1.3.17, 1.4.3 and 2.0.0; cases ``get-*`` of ``tests/data/query-cases.json``):

* ``name=value`` and ``name__op=value``; a repeated parameter means any-of, all-of for the
  *many_all* quantities. ``q=name__op__value`` is another spelling of ``name__op=value``.
* Names that are no quantity are ignored, custom ones (``data.x#schema``) too unless their
  plugin is installed. Only the last of two operators on one quantity counts.
* Values are Python's ``int()``, ``float()``, ``bool()``, ``datetime.fromisoformat()`` of the text:
  ``published=false`` is true, and what cannot be read is a failure of the server (500). Whole
  seconds lose their fraction on the way, so that ``gt`` and ``lte`` mean the second's last moment.
* ``json_query`` is a query object laid over the rest: it replaces parameters of its names, and
  all of them if its key is ``and``, ``or`` or ``not``.

Numbers are in the unit that NOMAD stores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlencode

from nomadquery.errors import NotExpressible
from nomadquery.query.criteria import And, Criterion, Equals, HasAll, HasAny, Range, Value, canonical

#: Name of a searchable quantity → NOMAD's word for its type (``float64``, ``enum`` …), else ``None``.
TypeOf = Callable[[str], str | None]

#: Parameters that are no part of the question: whose entries, and how the answer is cut.
OPTIONS: Final = frozenset(
    {
        *("owner", "page_size", "order_by", "order", "page_after_value", "page", "page_offset"),
        *("include", "exclude", "compress", "glob_pattern", "re_pattern", "include_files"),
    }
)
OWNERS: Final = ("public", "visible", "all", "user", "shared", "staging", "admin")
#: Longest encoded address that proxies pass on (nginx: ``large_client_header_buffers 4 8k``).
LONGEST_ADDRESS_BYTES: Final = 8000

SIDES: Final = ("gt", "gte", "lt", "lte")
ReadAs = Literal["integer", "number", "boolean", "date", "text"]


def to_params(
    criterion: Criterion,
    *,
    types: TypeOf,
    many_all: Collection[str],
    nested_sections: Collection[str],
    to_json: Callable[[Criterion], Mapping[str, Any]],
) -> tuple[tuple[str, str], ...]:
    """Return the GET parameters, not yet percent-encoded, that NOMAD reads as the resolved tree.

    Plain parameters where they say it, else ``json_query`` alone. Everything is ``()``.

    Parameters
    ----------
    types : callable
        Type of a searchable quantity, ``None`` for any other name.
    many_all : collection of str
        Quantities whose repeated parameters mean all-of.
    nested_sections : collection of str
        Sections whose items the index keeps apart.
    to_json : callable
        Writes a tree as a query object.

    Raises
    ------
    NotExpressible
        If the address would be longer than servers take, or ``to_json`` raises it.
    """
    whole = canonical(criterion)
    parts = whole.criteria if isinstance(whole, And) else (whole,)
    plain = [_plain(part, types=types, many_all=many_all, nested_sections=nested_sections) for part in parts]
    params = tuple(pair for pairs in plain for pair in pairs or ())
    names = [quantity for pairs in plain for quantity in {key.partition("__")[0] for key, _ in pairs or ()}]
    if not all(plain) or len(set(names)) < len(names):
        text = json.dumps(to_json(whole), ensure_ascii=False, separators=(",", ":"))
        params = (("json_query", text),)
    length = len(urlencode(params))
    if length > LONGEST_ADDRESS_BYTES:
        raise NotExpressible(
            f"As an address the query has {length:,} bytes; servers take about {LONGEST_ADDRESS_BYTES:,}. "
            "Send it as a body to POST entries/query."
        )
    return params


def read_as(type_name: str) -> ReadAs | None:
    """Return what NOMAD reads a text as for a quantity of this type; ``None`` where it fails."""
    kinds: dict[str, ReadAs] = {"int": "integer", "float": "number", "bool": "boolean", "datetime": "date"}
    for start, kind in kinds.items():
        if type_name.startswith(start):
            return kind
    return "text" if type_name in {"str", "enum"} else None


def _plain(
    part: Criterion, *, types: TypeOf, many_all: Collection[str], nested_sections: Collection[str]
) -> tuple[tuple[str, str], ...] | None:
    """Return plain parameters that mean ``part``, ``None`` if there are none."""
    match part:
        case Equals(name, value):
            key, values = name, (value,)
        case HasAny(name, values):
            key = f"{name}__any" if name in many_all else name
        case HasAll(name, values) if not _is_nested(name, nested_sections):
            key = name if name in many_all else f"{name}__all"
        case Range(name):
            bounds = {side: getattr(part, side) for side in SIDES if getattr(part, side) is not None}
            if len(bounds) != 1 or not all(bounds.values()):
                return None
            [(side, bound)] = bounds.items()
            if types(name) == "datetime" and side in {"gt", "lte"} and str(bound).endswith(".000Z"):
                return None  # NOMAD drops the zeros, and then takes the last millisecond of the second
            key, values = f"{name}__{side}", (bound,)
        case _:
            return None
    texts = [_text(value, types(name)) for value in values]
    if "__" in name or "#" in name or name in OPTIONS or not texts:
        return None
    return None if None in texts else tuple((key, str(text)) for text in texts)


def _is_nested(name: str, nested_sections: Collection[str]) -> bool:
    return any(name.startswith(f"{section}.") for section in nested_sections)


def _text(value: Value, type_name: str | None) -> str | None:
    """Return the text that NOMAD reads as ``value``, ``None`` if there is none."""
    match read_as(type_name or ""), value:
        case "boolean", True:
            return "true"
        case (("integer" | "number"), bool()):
            return None
        case (("integer" | "number"), int()):
            return str(value)
        case "number", float() if math.isfinite(value):
            return repr(value)
        case "text", str():
            return value
        case "date", str():
            return _naive(value)
        case _:
            return None


def _naive(instant: str) -> str | None:
    """Return the date without its ``Z``, which Python before 3.11 cannot read; NOMAD takes UTC."""
    text = instant.removesuffix("Z")
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    return text
