"""``pagination`` of a search: how NOMAD 2.0.0 checks it, cuts pages, and writes cursors.

The first problem of a field is reported, then those of the next; what concerns several
fields is looked at only if each is sound by itself. Sources: ``tests/data/pagination-cases.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.local.ordering import Cursor, Ordering
from nomadquery.local.refusals import (
    Problem,
    not_a_member,
    not_a_text,
    not_an_object,
    problem,
    refused_by_engine,
    unforeseen,
)

_POSITIONS: Final = ("page_offset", "page", "page_after_value")

#: Entries that the search engine looks through for one page.
_WINDOW: Final = 10_000


@dataclass(frozen=True, slots=True)
class Pagination:
    """A sound ``pagination``; ``None`` for what was not given."""

    page_size: int = 10
    order_by: str = "entry_id"
    order: str | None = "asc"
    page_after_value: str | None = None
    page: int | None = None
    page_offset: int | None = None

    @property
    def offset(self) -> int:
        """How many entries of the ordered result are passed over."""
        if self.page_offset:
            return self.page_offset
        return (self.page - 1) * self.page_size if self.page else 0

    def to_json(self) -> dict[str, Any]:
        """Return it as NOMAD repeats it in its answer."""
        echo = {
            "page_size": self.page_size,
            "order_by": self.order_by,
            "order": self.order,
            "page_after_value": self.page_after_value,
            "page": self.page,
            "page_offset": self.page_offset,
        }
        after = self.page_after_value
        if after is not None and self.order_by != "entry_id" and ":" not in after:
            echo["page_after_value"] = f"{after}:"
        return {name: value for name, value in echo.items() if value is not None}


def parse_pagination(given: Any, loc: Sequence[str], problems: list[Problem]) -> Pagination:
    """Return the ``pagination`` of a request; what is wrong is added to ``problems``.

    Numbers may be texts, as in the parameters of an address.

    Raises
    ------
    RequestRefused
        If ``page_size`` is null, which NOMAD does not foresee (500).
    """
    if given is None:
        return Pagination()
    if not isinstance(given, Mapping):
        problems.append(not_an_object(loc, given))
        return Pagination()
    if given.get("page_size", 10) is None:
        raise unforeseen("TypeError", "'<' not supported between instances of 'NoneType' and 'int'")
    found: list[Problem] = []
    size = integer_of(given.get("page_size", 10), [*loc, "page_size"], found)
    if size is not None and size < 0:
        found.append(
            problem("invalid_page_size", [*loc, "page_size"], "page_size must be >= 0", given["page_size"])
        )
        size = None
    order_by = _text(given.get("order_by"), [*loc, "order_by"], found)
    order = given.get("order", "asc")
    if order not in ("asc", "desc", None):
        found.append(not_a_member([*loc, "order"], order, ("asc", "desc")))
    after = _text(given.get("page_after_value"), [*loc, "page_after_value"], found)
    page = _page(given.get("page"), 10 if size is None else size, [*loc, "page"], found)
    offset = _offset(given.get("page_offset"), 10 if size is None else size, [*loc, "page_offset"], found)
    found = found or _clashes(
        given, size, {"page_offset": offset, "page": page, "page_after_value": after}, loc
    )
    problems += found
    if found:
        return Pagination()
    order_by = {"mainfile_path": "mainfile", None: "entry_id"}.get(order_by, order_by)
    return Pagination(size or 0, order_by or "", order, after, page, offset)


def page_of(
    pagination: Pagination, ordering: Ordering, cursors: Sequence[Cursor], *, is_sorted: bool = True
) -> tuple[Sequence[Cursor], str | None]:
    """Return the cursors of a page, and the value after which the next page begins.

    ``cursors`` are those of the whole result in ascending order. NOMAD does not sort where
    the query names one ``entry_id`` (``is_sorted=False``), and can then not page either.

    Raises
    ------
    InvalidRequest
        If the page is out of the engine's window, or the value is none of this order.
    """
    last = pagination.offset + pagination.page_size
    if last > _WINDOW:
        limit = f"from + size must be less than or equal to: [{_WINDOW}] but was [{last}]"
        raise refused_by_engine(f"Result window is too large, {limit}.")
    after = None if pagination.offset else pagination.page_after_value
    if after and not is_sorted:
        raise refused_by_engine("Sort must contain at least one field.")
    rest = ordering.after(cursors, after) if after else ordering.all(cursors)
    page = rest[pagination.offset : last]
    has_next = 0 < len(page) < len(cursors) and len(page) >= pagination.page_size
    return page, ordering.text(page[-1]) if has_next else None


def integer_of(value: Any, loc: Sequence[str], problems: list[Problem]) -> int | None:
    """Return a whole number, also one written as text or with a zero fraction; else a problem is added."""
    kind, why = "int_type", ""
    if isinstance(value, str):
        try:
            return int(value.strip().removesuffix(".0"))
        except ValueError:
            kind, why = "int_parsing", ", unable to parse string as an integer"
    elif isinstance(value, float):
        if value.is_integer():
            return int(value)
        kind, why = "int_from_float", ", got a number with a fractional part"
    elif isinstance(value, int):
        return int(value)
    problems.append(problem(kind, loc, f"Input should be a valid integer{why}", value))
    return None


def _text(value: Any, loc: Sequence[str], problems: list[Problem]) -> str | None:
    if value is None or isinstance(value, str):
        return value
    problems.append(not_a_text(loc, value))
    return None


def _page(value: Any, page_size: int, loc: Sequence[str], problems: list[Problem]) -> int | None:
    page = None if value is None else integer_of(value, loc, problems)
    if page is None:
        return None
    if page <= 0:
        problems.append(problem("bad_page", loc, "Page has to be larger than 1", value))
    elif page * page_size >= _WINDOW:
        problems.append(problem("bad_page", loc, "Pagination by `page` is limited to 10.000 entries.", value))
    return page


def _offset(value: Any, page_size: int, loc: Sequence[str], problems: list[Problem]) -> int | None:
    offset = None if value is None else integer_of(value, loc, problems)
    if offset is None:
        return None
    if offset < 0:
        problems.append(problem("bad_page_offset", loc, "Page offset has to be larger than 0", value))
    elif offset + page_size >= _WINDOW:
        msg = "Page offset plus page size has to be smaller than 10,000"
        problems.append(problem("bad_page_offset", loc, msg, value))
    return offset


def _clashes(
    given: Mapping[str, Any], page_size: int | None, positions: Mapping[str, Any], loc: Sequence[str]
) -> list[Problem]:
    """Return what is wrong between sound fields; a position of 0 or ``""`` is none."""
    if sum(bool(position) for position in positions.values()) > 1:
        msg = "Can only specify one of: page_offset, page, or page_after_value"
        return [problem("multiple_pagination_criteria", loc, msg, given)]
    named = [name for name in _POSITIONS if positions[name] is not None]
    if page_size == 0 and named:
        msg = f"Cannot specify {named[0]} when page_size is set to 0"
        return [problem("invalid_pagination", loc, msg, given)]
    return []
