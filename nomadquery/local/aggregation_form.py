"""What NOMAD 2.0.0's request model finds in ``aggregations``: each field read, or a problem.

The model is lenient where JSON is read: numbers may be texts, whole floats are integers, ``"yes"``
is true. All types given under one name are read; the first one counts. Sources:
``tests/data/aggregation-cases.json``, and answers of a running server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from nomadquery.local.refusals import (
    Problem,
    not_a_member,
    not_a_text,
    not_an_object,
    problem,
    unforeseen,
)
from nomadquery.local.select import parse_required

Loc = Sequence[str | int]
#: Reads one field: its value, its place, and where problems go.
Reader = Callable[[Any, Loc, list[Problem]], Any]

_PART: Final = r"^[a-zA-Z0-9_\-\s]+$"
_CALENDAR: Final = frozenset(
    {"1s", "1m", "1h", "1d", "1w", "1M", "1q", "1y"}
    | {"second", "minute", "hour", "day", "week", "month", "quarter", "year"}
)
_TRUTHS: Final[dict[Any, bool]] = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One sound aggregation.

    Attributes
    ----------
    kind : str
        The first type that is named under its name, ``""`` if none is.
    fields : mapping
        Every field of the type, with its default where it was not given.
    """

    kind: str
    fields: Mapping[str, Any]

    @property
    def quantity(self) -> str:
        """What is aggregated; ``""`` for statistics."""
        return str(self.fields.get("quantity", ""))


def parse_aggregations(given: Any, problems: list[Problem]) -> dict[str, Asked]:
    """Return the aggregations of a request by name; what its form lacks is added to ``problems``.

    Raises
    ------
    RequestRefused
        If ``aggregations`` is null, which NOMAD does not foresee (500).
    """
    if given is None:
        raise unforeseen("AttributeError", "'NoneType' object has no attribute 'items'")
    loc: Loc = ["body", "aggregations"]
    if not isinstance(given, Mapping):
        problems.append(problem("dict_type", loc, "Input should be a valid dictionary", given))
        return {}
    return {name: _one(one, [*loc, name], problems) for name, one in given.items()}


def _one(given: Any, loc: Loc, problems: list[Problem]) -> Asked:
    if not isinstance(given, Mapping):
        problems.append(not_an_object(loc, given))
        return Asked("", {})
    found = [
        Asked(kind, _fields(kind, given[kind], [*loc, kind], problems))
        for kind in _FIELDS
        if given.get(kind) is not None
    ]
    return found[0] if found else Asked("", {})


def _fields(kind: str, given: Any, loc: Loc, problems: list[Problem]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        problems.append(not_an_object(loc, given))
        return {}
    if kind == "histogram" and given.get("interval") is None and given.get("buckets") is None:
        problems.append(_wrong_value("Provide either interval or the number of buckets.", loc, given))
        return {}
    found: list[Problem] = []
    fields: dict[str, Any] = {}
    for name, (default, read) in _FIELDS[kind].items():
        if name in given:
            fields[name] = read(given[name], [*loc, name], found)
        elif default is _REQUIRED:
            found.append(problem("missing", [*loc, name], "Field required", given))
        else:
            fields[name] = default
    if kind == "date_histogram" and not found:
        found += _settle_interval(fields, loc, given)
    problems += found
    return fields


def _settle_interval(fields: dict[str, Any], loc: Loc, given: Any) -> list[Problem]:
    """Put ``interval`` where it belongs: it is a calendar interval or a fixed one, a month without any."""
    specified = [
        name for name in ("interval", "calendar_interval", "fixed_interval") if fields[name] is not None
    ]
    if len(specified) > 1:
        msg = f"Only one of {', '.join(specified)} can be given for date histogram aggregation."
        return [_wrong_value(msg, loc, given)]
    interval = fields.pop("interval")
    if interval is not None:
        fields["calendar_interval" if interval in _CALENDAR else "fixed_interval"] = interval
    elif not specified:
        fields["calendar_interval"] = "1M"
    return []


def _wrong_value(msg: str, loc: Loc, given: Any) -> Problem:
    return problem("value_error", loc, f"Value error, {msg}", given, error={})


def _optional(read: Reader) -> Reader:
    return lambda value, loc, problems: None if value is None else read(value, loc, problems)


def _text(value: Any, loc: Loc, problems: list[Problem]) -> str:
    if not isinstance(value, str):
        problems.append(not_a_text(loc, value))
    return str(value)


def _texts(value: Any, loc: Loc, problems: list[Problem]) -> list[str]:
    return _list(_text, value, loc, problems)


def _list(read: Reader, value: Any, loc: Loc, problems: list[Problem]) -> list[Any]:
    if not isinstance(value, list):
        problems.append(problem("list_type", loc, "Input should be a valid list", value))
        return []
    return [read(item, [*loc, position], problems) for position, item in enumerate(value)]


def _truth(value: Any, loc: Loc, problems: list[Problem]) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.lower() in _TRUTHS:
        return _TRUTHS[value.lower()]
    if isinstance(value, str | int | float):
        msg = "Input should be a valid boolean, unable to interpret input"
        problems.append(problem("bool_parsing", loc, msg, value))
    else:
        problems.append(problem("bool_type", loc, "Input should be a valid boolean", value))
    return False


def _number(value: Any, loc: Loc, problems: list[Problem], *, above: float | None = None) -> float:
    number = None
    if isinstance(value, int | float):
        number = float(value)
    elif isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            msg = "Input should be a valid number, unable to parse string as a number"
            problems.append(problem("float_parsing", loc, msg, value))
    else:
        problems.append(problem("float_type", loc, "Input should be a valid number", value))
    return _above(number, above, value, loc, problems) or 0.0


def _integer(value: Any, loc: Loc, problems: list[Problem], *, above: int | None = None) -> int:
    number, kind, why = None, "int_type", ""
    if isinstance(value, str):
        kind, why = "int_parsing", ", unable to parse string as an integer"
        if re.fullmatch(r"\s*[-+]?\d+(\.0*)?\s*", value):
            number = int(float(value))
    elif isinstance(value, float):
        kind, why = "int_from_float", ", got a number with a fractional part"
        number = int(value) if value.is_integer() else None
    elif isinstance(value, int):
        number = int(value)
    if number is None:
        problems.append(problem(kind, loc, f"Input should be a valid integer{why}", value))
    return int(_above(number, above, value, loc, problems) or 0)


def _above(
    number: float | None, above: float | None, value: Any, loc: Loc, problems: list[Problem]
) -> float | None:
    if number is not None and above is not None and number <= above:
        msg = f"Input should be greater than {int(above)}"
        problems.append(problem("greater_than", loc, msg, value, gt=above))
    return number


def _include(value: Any, loc: Loc, problems: list[Problem]) -> str | list[str] | None:
    """Return a text to be contained, or a list of values; what is neither has the problems of both."""
    if value is None:
        return None
    found: list[Problem] = []
    listed = _texts(value, [*loc, "list[str]"], found)
    if not found:
        return listed
    text_loc = [*loc, "constrained-str"]
    if not isinstance(value, str):
        found.append(not_a_text(text_loc, value))
    elif not re.search(_PART, value):
        msg = f"String should match pattern '{_PART}'"
        found.append(problem("string_pattern_mismatch", text_loc, msg, value, pattern=_PART))
    else:
        return value
    problems += found
    return None


def _entries(value: Any, loc: Loc, problems: list[Problem]) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        problems.append(not_an_object(loc, value))
        return None
    size = value.get("size", 1)
    if size is not None:
        size = _integer(size, [*loc, "size"], problems, above=0)
    required = parse_required(value.get("required"), [*loc, "required"], problems)
    parts = {"size": size, "required": None if required is None else required.to_json()}
    return {name: part for name, part in parts.items() if part is not None}


def _pagination(value: Any, loc: Loc, problems: list[Problem]) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        problems.append(not_an_object(loc, value))
        return None
    found: list[Problem] = []
    size = _integer(value.get("page_size", 10), [*loc, "page_size"], found)
    if not found and size <= 0:
        msg = "0 or smaller page sizes are not allowed for aggregations."
        found.append(problem("invalid_page_size", [*loc, "page_size"], msg, value["page_size"]))
    read = {"page_size": size}
    for name in ("order_by", "order", "page_after_value"):
        read[name] = _optional(_text if name != "order" else _order)(
            value.get(name, "asc" if name == "order" else None), [*loc, name], found
        )
    if value.get("page") is not None:
        msg = "Pagination by `page` is not possible for aggregations, use `page_after_value`"
        found.append(problem("invalid_page", [*loc, "page"], msg, value["page"]))
    read["page_offset"] = _optional(_integer)(value.get("page_offset"), [*loc, "page_offset"], found)
    problems += found
    return {name: part for name, part in read.items() if part is not None}


def _order(value: Any, loc: Loc, problems: list[Problem]) -> Any:
    if value not in ("asc", "desc"):
        problems.append(not_a_member(loc, value, ("asc", "desc")))
    return value


def _bounds(value: Any, loc: Loc, problems: list[Problem]) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        problems.append(not_an_object(loc, value))
        return None
    low, high = value.get("min"), value.get("max")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        msg = "The maximum value should be greater than the minimum value."
        problems.append(_wrong_value(msg, loc, value))
        return None
    read = {
        name: _optional(_number)(bound, [*loc, name], problems)
        for name, bound in (("min", low), ("max", high))
    }
    return {name: bound for name, bound in read.items() if bound is not None}


_REQUIRED: Final = object()
_QUANTITY: Final[dict[str, tuple[Any, Reader]]] = {
    "quantity": (_REQUIRED, _text),
    "exclude_from_search": (False, _truth),
}
_METRICS: Final[dict[str, tuple[Any, Reader]]] = {"metrics": ((), _optional(_texts))}
_POSITIVE: Final = _optional(partial(_integer, above=0))

#: Type → field → its default and what reads it, both in the order of NOMAD's model.
_FIELDS: Final[dict[str, dict[str, tuple[Any, Reader]]]] = {
    "terms": {
        **_QUANTITY,
        **_METRICS,
        "pagination": (None, _pagination),
        "size": (None, _POSITIVE),
        "include": (None, _include),
        "entries": (None, _entries),
    },
    "histogram": {
        **_QUANTITY,
        **_METRICS,
        "interval": (None, _optional(partial(_number, above=0.0))),
        "buckets": (None, _POSITIVE),
        "offset": (None, _optional(_number)),
        "extended_bounds": (None, _bounds),
    },
    "date_histogram": {
        **_QUANTITY,
        **_METRICS,
        **{name: (None, _optional(_text)) for name in ("interval", "calendar_interval", "fixed_interval")},
    },
    "auto_date_histogram": {**_QUANTITY, **_METRICS, "buckets": (10, _integer)},
    "min_max": _QUANTITY,
    "percentiles": {
        **_QUANTITY,
        "percents": ((0, 25, 50, 75, 100), partial(_list, _number)),
        "group_by": (None, _optional(_text)),
        "group_by_size": (10, _integer),
    },
    "statistics": _METRICS,
}
