"""How NOMAD 2.0.0 says no: the status and ``detail`` of its refusals.

Three forms: what its request model finds (a list of objects with ``type``, ``loc``, ``msg``,
``input``), what its own checks find (``msg`` and a list inside ``loc``), and a text.
Every function returns the error to raise; `routes` turns it into the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nomadquery.errors import InvalidRequest, NotFound, NotSupported, RequestRefused

Problem = dict[str, Any]


def problem(kind: str, loc: Sequence[str | int], msg: str, given: Any, **context: Any) -> Problem:
    """Return one finding of the request model."""
    found: Problem = {"type": kind, "loc": list(loc), "msg": msg, "input": given}
    return found | {"ctx": context} if context else found


def not_an_object(loc: Sequence[str | int], given: Any) -> Problem:
    """Return the finding that something is no JSON object."""
    msg = "Input should be a valid dictionary or object to extract fields from"
    return problem("model_attributes_type", loc, msg, given)


def not_a_text(loc: Sequence[str | int], given: Any) -> Problem:
    """Return the finding that something is no text."""
    return problem("string_type", loc, "Input should be a valid string", given)


def not_a_member(loc: Sequence[str | int], given: Any, members: Sequence[str]) -> Problem:
    """Return the finding that a word is none of ``members``."""
    *others, last = (repr(member) for member in members)
    expected = f"{', '.join(others)} or {last}"
    return problem("enum", loc, f"Input should be {expected}", given, expected=expected)


def malformed(problems: Sequence[Problem]) -> InvalidRequest:
    """Return the refusal for what the request model found (422)."""
    return InvalidRequest("The request is malformed.", status=422, detail=list(problems))


def failed_check(msg: str, loc: Sequence[str]) -> InvalidRequest:
    """Return the refusal for what NOMAD's own check of a search found (422)."""
    return InvalidRequest(msg, status=422, detail=[{"msg": msg, "loc": [list(loc)]}])


def not_a_quantity(name: str, loc: Sequence[str] | None = None) -> InvalidRequest:
    """Return the refusal of a name that the search index does not know (422)."""
    return failed_check(f"{name} is not a doc quantity", [name] if loc is None else loc)


def refused_by_engine(reason: str) -> InvalidRequest:
    """Return the refusal for what NOMAD leaves to its search engine to find (400)."""
    detail = (
        "Elasticsearch could not process your query: "
        f"BadRequestError(400, 'search_phase_execution_exception', {reason!r})"
    )
    return InvalidRequest(reason, status=400, detail=detail)


def refused(status: int, detail: Any) -> RequestRefused:
    """Return a refusal with a text."""
    return RequestRefused(str(detail), status=status, detail=detail)


def unforeseen(exception_class: str, exception: str = "") -> RequestRefused:
    """Return what NOMAD answers to a mistake that it did not foresee (500)."""
    detail = {
        "reason": "Unexpected exception while handling your request",
        "exception": exception,
        "exception_class": exception_class,
    }
    return RequestRefused(exception_class, status=500, detail=detail)


def no_such_entry(text: str) -> NotFound:
    """Return the refusal for an entry that is not there or not visible (404)."""
    return NotFound(text, status=404, detail=text)


def not_done_here(what: str) -> NotSupported:
    """Return the refusal of something that NOMAD does and the local deployment does not (400)."""
    text = f"The local deployment of nomadquery does not do this: {what}."
    return NotSupported(text, status=400, detail=text)
