"""Paging of a listing by position, as NOMAD 2.0.0 pages through folders.

``page_after_value`` is the position of the last item before. What an answer says of pages counts from the
start, also where ``page_offset`` cuts them elsewhere: so a last page may be followed by an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.local.paging import integer_of
from nomadquery.local.refusals import Problem, malformed, problem, refused, unforeseen

_POSITIONS: Final = ("page_offset", "page", "page_after_value")
_LEAST: Final = {"page_size": 0, "page": 1, "page_offset": 0}


@dataclass(frozen=True, slots=True)
class IndexPaging:
    """A page by its size, and the position where it starts; ``page_offset`` if it was given by that."""

    page_size: int
    start: int
    page_offset: int | None

    def to_json(self, total: int) -> dict[str, Any]:
        """Return what an answer says of the page of a listing of so many items.

        Raises
        ------
        RequestRefused
            If there is no such page (400).
        """
        page = self.start // self.page_size + 1 if self.page_size else 1
        if page > 1 and (page - 1) * self.page_size >= total:
            raise refused(400, "Page out of range requested.")
        answer: dict[str, Any] = {"page_size": self.page_size, "order": "asc"}
        if page > 1:
            answer["page_after_value"] = str(self.start - 1)
        answer["page"] = page
        if self.page_offset is not None:
            answer["page_offset"] = self.page_offset
        answer["total"] = total
        if 0 < self.page_size * page < total:
            answer["next_page_after_value"] = str(self.start + self.page_size - 1)
        return answer


def parse_index_paging(parameters: Mapping[str, str], problems: list[Problem]) -> IndexPaging:
    """Return the paging of an address; numbers that are none are added to ``problems``.

    Raises
    ------
    InvalidRequest
        If numbers make no sense (422); not while there are ``problems``.
    RequestRefused
        If ``page_after_value`` is no position (500).
    """
    given: dict[str, Any] = {"page_size": 10, "page_after_value": parameters.get("page_after_value")}
    for name in ("page_size", "page", "page_offset"):
        if name in parameters:
            given[name] = integer_of(parameters[name], ["query", name], problems)
        else:
            given.setdefault(name, None)
    if problems:
        return IndexPaging(10, 0, None)
    wrong = _out_of_bounds(given) or _clashes(given)
    if wrong:
        raise malformed(wrong)
    return IndexPaging(given["page_size"], _start(given), given["page_offset"])


def _out_of_bounds(given: Mapping[str, Any]) -> list[Problem]:
    return [
        problem(f"invalid_{name}", ["query", name], f"{name} must be >= {least}", given[name])
        for name, least in _LEAST.items()
        if given[name] is not None and given[name] < least
    ]


def _clashes(given: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong between sound numbers; a position of 0 or ``""`` is none."""
    if sum(bool(given[name]) for name in _POSITIONS) > 1:
        said = "Can only specify one of: page_offset, page, or page_after_value"
        return [problem("multiple_pagination_criteria", ["query"], said, given)]
    named = [name for name in _POSITIONS if given[name] is not None]
    if given["page_size"] == 0 and named:
        said = f"Cannot specify {named[0]} when page_size is set to 0"
        return [problem("invalid_pagination", ["query"], said, given)]
    return []


def _start(given: Mapping[str, Any]) -> int:
    if given["page_offset"] is not None:
        return int(given["page_offset"])
    if given["page"] is not None:
        return int((given["page"] - 1) * given["page_size"])
    if given["page_after_value"] is None:
        return 0
    try:
        start = int(given["page_after_value"]) + 1
    except ValueError as error:
        raise unforeseen("ValueError", str(error)) from error
    if start < 0:
        raise unforeseen("AssertionError")
    return start
