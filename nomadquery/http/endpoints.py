"""One request builder and one answer parser for each endpoint of NOMAD's API that is read from.

Builders and parsers are pure. Builders check what a server would misread or ignore in silence;
parsers raise `ResponseFormatError` where an answer lacks what the endpoint promises. Entries
stay bytes (`msgspec.Raw`), so that a decoder can read them column by column.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from nomadquery.errors import InvalidRequest, ResponseFormatError
from nomadquery.http.auth import token_request, users_me_request
from nomadquery.http.deployment import release_of
from nomadquery.http.message import Reply, Request

__all__ = [
    "EVERY_ENTRY",
    "LARGEST_PAGE",
    "Bucket",
    "Info",
    "Page",
    "Pagination",
    "Terms",
    "User",
    "archive_query",
    "entries_query",
    "get_entry",
    "get_schema",
    "info",
    "items_of_list",
    "parse_aggregations",
    "parse_entries_page",
    "parse_entry",
    "parse_info",
    "parse_pagination",
    "parse_schema",
    "parse_terms",
    "parse_user",
    "terms_query",
    "token_request",
    "users_me_request",
]

Owner = Literal["public", "visible", "all", "user", "shared", "staging", "admin"]

#: Entries of the largest page (the window of the search engine); more is 400.
LARGEST_PAGE: Final = 10_000

#: The query that every entry meets, as NOMAD spells it.
EVERY_ENTRY: Final[Mapping[str, Any]] = {}

#: The name of the one aggregation of `terms_query` in its answer.
_TERMS_NAME = "values"

#: Of a body that is held to UTF-8, at once.
_PIECE_BYTES: Final = 1 << 16

_Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Pagination:
    """Which part of a result is asked for.

    Attributes
    ----------
    page_size : int
        Entries of the page, 0 for the total only.
    after : str or None
        What the page before gave as `Page.next_after`; ``None`` for the first.
    order_by, order : str
        Other orders than by ``entry_id`` repeat or lose entries that lack the quantity.
    """

    page_size: int
    after: str | None = None
    order_by: str = "entry_id"
    order: Literal["asc", "desc"] = "asc"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of entries.

    Attributes
    ----------
    total : int
        Entries of the whole result.
    next_after : str or None
        Where the next page begins; ``None`` after the last. After a full last page it is there
        although only an empty page follows.
    data : msgspec.Raw or bytes
        The JSON list of the entries in the server's order. In archive answers an item may be ``null``, and
        there may be fewer than asked for: entries whose archive is missing.
    n_bytes : int
        Size of the whole answer, decompressed.
    """

    total: int
    next_after: str | None
    data: msgspec.Raw | bytes
    n_bytes: int

    @property
    def items(self) -> list[msgspec.Raw]:
        """The JSON of each entry."""
        return items_of_list(self.data)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One value of a quantity, and how many entries have it."""

    value: str | int | float | bool
    n_entries: int


@dataclass(frozen=True, slots=True)
class Terms:
    """The values of a quantity among ``total`` entries, the most frequent first.

    Quantities with a fixed list of values give values without entries too, with 0. ``sample`` holds an entry,
    if one was asked for.
    """

    total: int
    buckets: tuple[Bucket, ...]
    sample: tuple[Mapping[str, Any], ...] = ()


class User(msgspec.Struct, frozen=True):
    """An account; only one's own has an ``email``."""

    user_id: str
    username: str | None = None
    name: str | None = None
    email: str | None = None


class Info(msgspec.Struct, frozen=True):
    """What a deployment says about itself: its ``version``, and whether it is an Oasis."""

    version: str
    deployment: str | None = None
    oasis: bool | None = None

    @property
    def release(self) -> str:
        """The known release that behaves like it, see `deployment.release_of`."""
        return release_of({"version": self.version})


def entries_query(
    query: Mapping[str, Any],
    *,
    owner: Owner,
    pagination: Pagination,
    required: Mapping[str, Any] | None = None,
    aggregations: Mapping[str, Any] | None = None,
    is_divisible: bool = False,
) -> Request:
    """Return the request for a page of entry metadata.

    Parameters
    ----------
    query : mapping
        NOMAD's JSON, as `query.body` writes it; `EVERY_ENTRY` for no restriction.
    required : mapping, optional
        ``{"include": […], "exclude": […]}``; all metadata without it.
    is_divisible : bool
        Whether whoever sends it asks for fewer entries if the server cannot give so many.

    Raises
    ------
    InvalidRequest
        If the page is larger than `LARGEST_PAGE`, negative, or empty and not the first.
    """
    body = _paged_body(query, owner, pagination)
    if required is not None:
        body["required"] = required
    if aggregations:
        body["aggregations"] = aggregations
    return Request("POST", "entries/query", json=body, is_divisible=is_divisible)


def archive_query(
    query: Mapping[str, Any],
    *,
    owner: Owner,
    pagination: Pagination,
    required: Mapping[str, Any] | Literal["*"],
    is_divisible: bool = False,
) -> Request:
    """Return the request for a page of archives; each item has ``entry_id`` and ``archive``.

    ``is_divisible``: whoever sends it asks for fewer entries if the server is too slow.

    Raises
    ------
    InvalidRequest
        As for `entries_query`, and for the owner ``"all"``, which NOMAD refuses here.
    """
    if owner == "all":
        raise InvalidRequest("NOMAD gives no archives for owner='all'; ask with owner='visible'.")
    body = {**_paged_body(query, owner, pagination), "required": required}
    return Request("POST", "entries/archive/query", json=body, kind="archive", is_divisible=is_divisible)


def parse_pagination(data: bytes) -> tuple[int, str | None]:
    """Return the total and where the next page begins, of the part of an answer that says so.

    Raises
    ------
    ResponseFormatError
        If the total is missing.
    """
    answer = _decoded_part(data, _PaginationAnswer, "a page of entries")
    return answer.total, answer.next_page_after_value


def items_of_list(data: msgspec.Raw | bytes) -> list[msgspec.Raw]:
    """Return the JSON of each item of a list, also with the numbers that JSON has not."""
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return [msgspec.Raw(json.dumps(item).encode()) for item in json.loads(bytes(data))]


def parse_entries_page(reply: Reply) -> Page:
    """Return the page that answers `entries_query` or `archive_query`.

    Raises
    ------
    ResponseFormatError
        If the total or the list of entries is missing, or not of the promised type.
    """
    answer = _page_answer(reply)
    return Page(
        answer.pagination.total,
        answer.pagination.next_page_after_value,
        answer.data,
        len(reply.body),
    )


def terms_query(
    query: Mapping[str, Any],
    quantity: str,
    *,
    owner: Owner,
    size: int,
    pattern: str | None = None,
    values: Sequence[str] = (),
    sample: Sequence[str] = (),
) -> Request:
    """Return the request for the ``size`` most frequent values of a quantity, without entries.

    Parameters
    ----------
    quantity : str
        A keyword or boolean quantity; others are refused by the server (422).
    pattern : str, optional
        Only values that contain this; letters, digits, ``_``, ``-`` and blanks.
    values : sequence of str
        Only these values, if any are given; not with a pattern.
    sample : sequence of str
        Patterns of metadata of one entry that is given beside the values.

    Raises
    ------
    InvalidRequest
        If ``size`` is not positive, or ``pattern`` has other characters.
    """
    if size < 1:
        raise InvalidRequest(f"The number of values must be at least 1, not {size}.")
    if pattern is not None and not re.fullmatch(r"[\w -]+", pattern, re.ASCII):
        raise InvalidRequest(
            f"NOMAD looks only for letters, digits, _, - and blanks in values, not {pattern!r}."
        )
    terms: dict[str, Any] = {"quantity": quantity, "size": size}
    if pattern is not None:
        terms["include"] = pattern
    elif values:
        terms["include"] = list(values)
    return entries_query(
        query,
        owner=owner,
        pagination=Pagination(1 if sample else 0),
        required={"include": list(sample)} if sample else None,
        aggregations={_TERMS_NAME: {"terms": terms}},
    )


def parse_terms(reply: Reply) -> Terms:
    """Return the values that answer `terms_query`.

    Raises
    ------
    ResponseFormatError
        If the answer has no such aggregation.
    """
    page = parse_entries_page(reply)
    answer = parse_aggregations(reply).get(_TERMS_NAME)
    if answer is None:
        raise ResponseFormatError("NOMAD's answer lacks the values of the quantity that were asked for.")
    terms = _decoded_part(answer, _TermsAnswer, "the values of a quantity").terms
    buckets = tuple(Bucket(bucket.value, bucket.count) for bucket in terms.data)
    return Terms(page.total, buckets, tuple(msgspec.json.decode(item) for item in page.items))


def parse_aggregations(reply: Reply) -> dict[str, msgspec.Raw]:
    """Return the JSON of each aggregation of an answer, ``{type: {…, "data": …}}``, by its name."""
    return _decoded(reply, _AggregationsAnswer, "aggregations").aggregations


def get_entry(entry_id: str, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Request:
    """Return the request for the metadata of one entry; all of them without ``include``.

    Raises
    ------
    InvalidRequest
        If ``entry_id`` cannot be one: it would lead to another endpoint.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", entry_id):
        raise InvalidRequest(f"{entry_id!r} is no entry id: these have letters, digits, - and _ only.")
    params = [("include", name) for name in include] + [("exclude", name) for name in exclude]
    return Request("GET", f"entries/{entry_id}", params=tuple(params))


def parse_entry(reply: Reply) -> msgspec.Raw:
    """Return the JSON of the entry that answers `get_entry`."""
    return _decoded(reply, _EntryAnswer, "an entry").data


def get_schema(class_name: str) -> Request:
    """Return the request for the JSON schema of a Python class, its base classes and all below it.

    The endpoint is there from NOMAD 1.4 on. The form ``metainfo`` is not asked for: it describes the
    class of all classes, whichever is named (nomad-lab 2.0.0).

    Raises
    ------
    InvalidRequest
        If ``class_name`` cannot be one: it would lead to another endpoint.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", class_name):
        raise InvalidRequest(f"{class_name!r} is no Python class: write package.module.Class.")
    return Request("GET", f"schemas/{class_name}")


def parse_schema(reply: Reply) -> dict[str, Any]:
    """Return the JSON schema that answers `get_schema`."""
    return _decoded(reply, dict[str, Any], "a schema")


def info() -> Request:
    """Return the request for what a deployment says about itself; needs no login."""
    return Request("GET", "info", kind="account")


def parse_info(reply: Reply) -> Info:
    """Return the answer to `info`."""
    return _decoded(reply, Info, "information about the deployment")


def parse_user(reply: Reply) -> User:
    """Return the account that answers ``users/me``."""
    return _decoded(reply, User, "a user")


class _PaginationAnswer(msgspec.Struct):
    total: _Count
    next_page_after_value: str | None = None


class _PageAnswer(msgspec.Struct):
    pagination: _PaginationAnswer
    data: msgspec.Raw


class _AggregationsAnswer(msgspec.Struct):
    aggregations: dict[str, msgspec.Raw]


class _BucketAnswer(msgspec.Struct):
    value: str | int | float | bool
    count: _Count


class _TermsData(msgspec.Struct):
    data: list[_BucketAnswer]


class _TermsAnswer(msgspec.Struct):
    terms: _TermsData


class _EntryAnswer(msgspec.Struct):
    data: msgspec.Raw


_Answer = TypeVar("_Answer")


def _page_answer(reply: Reply) -> _PageAnswer:
    """Return the answer; with NaN and infinities, which JSON has not and some codes leave behind, too.

    The entries keep them, for whoever reads these one by one.
    """
    _check_encoding(reply.body)
    try:
        answer = _decoded(reply, _PageAnswer, "a page of entries")
    except ResponseFormatError:
        try:
            content = json.loads(reply.body)
            paging = msgspec.convert(content["pagination"], _PaginationAnswer)
            data = msgspec.Raw(json.dumps(content["data"]).encode())
        except (ValueError, KeyError, TypeError, msgspec.ValidationError):
            pass
        else:
            return _with_list(_PageAnswer(paging, data))
        raise
    return _with_list(answer)


def _check_encoding(body: bytes) -> None:
    """Hold a body to UTF-8 piece by piece: what msgspec cuts out it has not looked at."""
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(body), _PIECE_BYTES):
            decoder.decode(body[start : start + _PIECE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ResponseFormatError(f"NOMAD's answer is not a page of entries: {error}.") from error


def _with_list(answer: _PageAnswer) -> _PageAnswer:
    if bytes(memoryview(answer.data)[:1]) != b"[":
        raise ResponseFormatError("NOMAD's answer is not a page of entries: its data are no list.")
    return answer


def _paged_body(query: Mapping[str, Any], owner: Owner, pagination: Pagination) -> dict[str, Any]:
    size = pagination.page_size
    if not 0 <= size <= LARGEST_PAGE:
        raise InvalidRequest(f"A page has 0 to {LARGEST_PAGE} entries, not {size}.")
    if size == 0 and pagination.after is not None:
        raise InvalidRequest("A page without entries has no place after another one.")
    paging: dict[str, Any] = {
        "page_size": size,
        "order_by": pagination.order_by,
        "order": pagination.order,
    }
    if pagination.after is not None:
        paging["page_after_value"] = pagination.after
    return {"owner": owner, "query": query, "pagination": paging}


def _decoded(reply: Reply, form: type[_Answer], what: str) -> _Answer:
    return _decoded_part(reply.body, form, what)


def _decoded_part(body: bytes | msgspec.Raw, form: type[_Answer], what: str) -> _Answer:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError as error:
        raise ResponseFormatError(f"NOMAD's answer is not {what}: {error}.") from error
