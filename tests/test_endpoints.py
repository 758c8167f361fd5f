"""Requests are what NOMAD documents; answers are read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import pytest

from nomadquery.errors import InvalidRequest, ResponseFormatError
from nomadquery.http.endpoints import (
    EVERY_ENTRY,
    Bucket,
    Info,
    Pagination,
    User,
    archive_query,
    entries_query,
    get_entry,
    info,
    parse_aggregations,
    parse_entries_page,
    parse_entry,
    parse_info,
    parse_terms,
    parse_user,
    terms_query,
)
from nomadquery.http.message import Headers, Reply

# Answers of NOMAD 2.0.0 (a local server with sample entries), 2026-11-20, shortened to fewer keys.
PAGE = (
    b'{"owner":"public","query":{"and":[]},"pagination":{"page_size":2,"order_by":"entry_id","order":"asc",'
    b'"total":388,"next_page_after_value":"-DrJZk9E5SbLPwthBS2U2ZCOgwFw"},"required":{"include":["entry_id"]},'
    b'"data":[{"entry_id":"-0AjNE7yDFZ5H3iYNZ0gHVQZ6yXk"},{"entry_id":"-DrJZk9E5SbLPwthBS2U2ZCOgwFw"}]}'
)
LAST_PAGE = b'{"pagination":{"page_size":10,"order_by":"entry_id","order":"asc","total":0},"data":[]}'
TERMS = (
    b'{"owner":"public","query":{"and":[]},"pagination":{"page_size":0,"order_by":"entry_id","order":"asc",'
    b'"total":388},"data":[],"aggregations":{"values":{"terms":{"quantity":"results.method.simulation.program_name",'
    b'"exclude_from_search":false,"metrics":[],"size":3,"include":"a","data":['
    b'{"count":24,"nested_count":24,"value":"FHI-aims"},{"count":0,"value":"ABACUS"}]}}}}'
)
ME = (
    b'{"name":"Ada Lovelace","first_name":"Ada","last_name":"Lovelace","email":"ada@example.org","user_id":'
    b'"3a2c1f0e-5b7d-4c7e-9d10-000000000001","username":"ada","repo_user_id":null,"is_admin":false}'
)


def as_reply(body: bytes) -> Reply:
    return Reply(200, Headers(), body, "https://our.host/api/v1/entries/query")


def test_a_query_becomes_the_body_that_nomad_documents() -> None:
    """Owner, query, pagination and required under NOMAD's names; a search that may be repeated."""
    request = entries_query(
        {"results.material.elements": {"all": ["Ti"]}},
        owner="visible",
        pagination=Pagination(100, after="abc"),
        required={"include": ["entry_id", "datasets*"]},
    )
    assert (request.method, request.path, request.kind, request.repeatable) == (
        "POST",
        "entries/query",
        "search",
        True,
    )
    assert request.json == {
        "owner": "visible",
        "query": {"results.material.elements": {"all": ["Ti"]}},
        "pagination": {"page_size": 100, "order_by": "entry_id", "order": "asc", "page_after_value": "abc"},
        "required": {"include": ["entry_id", "datasets*"]},
    }


def test_what_is_absent_is_left_out() -> None:
    """NOMAD fails on nulls here; the first page has no cursor."""
    request = entries_query(EVERY_ENTRY, owner="public", pagination=Pagination(0))
    assert request.json == {
        "owner": "public",
        "query": {},
        "pagination": {"page_size": 0, "order_by": "entry_id", "order": "asc"},
    }


def test_archives_are_asked_for_at_their_own_endpoint_and_pace() -> None:
    """The required of archives goes along; the kind is archive."""
    request = archive_query(
        {"entry_id:any": ["x"]}, owner="public", pagination=Pagination(10), required={"run[-1]": "*"}
    )
    assert (request.path, request.kind) == ("entries/archive/query", "archive")
    assert request.json["required"] == {"run[-1]": "*"}


@pytest.mark.parametrize("pagination", [Pagination(-1), Pagination(10_001), Pagination(0, after="x")])
def test_pages_that_nomad_refuses_are_refused_before(pagination: Pagination) -> None:
    """Negative, larger than the window of the search engine, or empty in the middle."""
    with pytest.raises(InvalidRequest, match="page"):
        entries_query(EVERY_ENTRY, owner="public", pagination=pagination)


def test_archives_of_all_owners_are_refused_with_the_word_to_use() -> None:
    """NOMAD answers 403 to owner=all here."""
    with pytest.raises(InvalidRequest, match="visible"):
        archive_query(EVERY_ENTRY, owner="all", pagination=Pagination(10), required="*")


def test_a_page_gives_total_cursor_and_the_bytes_of_each_entry() -> None:
    """Entries stay JSON, in the server's order."""
    page = parse_entries_page(as_reply(PAGE))
    assert (page.total, page.next_after, page.n_bytes) == (388, "-DrJZk9E5SbLPwthBS2U2ZCOgwFw", len(PAGE))
    assert [bytes(item) for item in page.items] == [
        b'{"entry_id":"-0AjNE7yDFZ5H3iYNZ0gHVQZ6yXk"}',
        b'{"entry_id":"-DrJZk9E5SbLPwthBS2U2ZCOgwFw"}',
    ]


def test_the_last_page_has_no_cursor() -> None:
    """An absent cursor is None."""
    page = parse_entries_page(as_reply(LAST_PAGE))
    assert (page.total, page.next_after, page.items) == (0, None, [])


def test_a_missing_archive_in_a_page_stays_in_its_place() -> None:
    """NOMAD may put null for an entry whose archive file is missing."""
    page = parse_entries_page(as_reply(b'{"pagination":{"total":2},"data":[null,{"entry_id":"x"}]}'))
    assert [bytes(item) for item in page.items] == [b"null", b'{"entry_id":"x"}']


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"data":[]}',
        b'{"pagination":{},"data":[]}',
        b'{"pagination":{"total":1}}',
        b'{"pagination":{"total":null},"data":[]}',
        b'{"pagination":{"total":"3"},"data":[]}',
        b'{"pagination":{"total":-1},"data":[]}',
        b'{"pagination":{"total":1.5},"data":[]}',
        b'{"pagination":{"total":1},"data":{}}',
        b'{"pagination":{"total":1},"data":null}',
        b'{"pagination":{"total":1,"next_page_after_value":7},"data":[]}',
        b'{"pagination":{"total":1},"data":[{"entry_id"',
        b"<html></html>",
        b"",
    ],
)
def test_a_page_without_what_is_promised_is_an_error(body: bytes) -> None:
    """Nothing is guessed from a page without a total, or whose data are no list."""
    with pytest.raises(ResponseFormatError, match="page of entries"):
        parse_entries_page(as_reply(body))


def test_values_are_asked_for_by_one_aggregation_without_entries() -> None:
    """A terms aggregation and a page of no entries."""
    request = terms_query({}, "results.method.simulation.program_name", owner="public", size=3, pattern="a")
    assert request.json["pagination"]["page_size"] == 0
    assert request.json["aggregations"] == {
        "values": {"terms": {"quantity": "results.method.simulation.program_name", "size": 3, "include": "a"}}
    }


def test_values_come_with_their_numbers_of_entries() -> None:
    """The most frequent first; known values without entries count 0."""
    terms = parse_terms(as_reply(TERMS))
    assert terms.total == 388
    assert terms.buckets == (Bucket("FHI-aims", 24), Bucket("ABACUS", 0))


@pytest.mark.parametrize("value", ["true", "false", "3", "0.5", '"x"'])
def test_values_keep_their_type(value: str) -> None:
    """A boolean is a boolean, not a number."""
    data = f'[{{"value":{value},"count":1}}]'
    body = (
        f'{{"pagination":{{"total":1}},"data":[],"aggregations":{{"values":{{"terms":{{"data":{data}}}}}}}}}'
    )
    [bucket] = parse_terms(as_reply(body.encode())).buckets
    assert json.dumps(bucket.value) == value


@pytest.mark.parametrize(("size", "pattern"), [(0, None), (5, "a.b"), (5, ""), (5, "ü")])
def test_values_that_nomad_cannot_look_for_are_refused(size: int, pattern: str | None) -> None:
    """The server would answer 422, or 500 for an empty pattern."""
    with pytest.raises(InvalidRequest):
        terms_query({}, "entry_type", owner="public", size=size, pattern=pattern)


@pytest.mark.parametrize("body", [LAST_PAGE, b'{"pagination":{"total":1},"data":[],"aggregations":{}}'])
def test_an_answer_without_the_values_is_an_error(body: bytes) -> None:
    """An ignored aggregation is not an empty one."""
    with pytest.raises(ResponseFormatError):
        parse_terms(as_reply(body))


def test_aggregations_of_any_type_are_kept_as_json() -> None:
    """By name, with all that the server said."""
    found = parse_aggregations(as_reply(b'{"aggregations":{"range":{"min_max":{"data":[1,2]}}}}'))
    assert {name: json.loads(bytes(part)) for name, part in found.items()} == {
        "range": {"min_max": {"data": [1, 2]}}
    }


def test_one_entry_is_asked_for_by_its_id() -> None:
    """Includes and excludes are repeated parameters."""
    request = get_entry(
        "-0AjNE7yDFZ5H3iYNZ0gHVQZ6yXk", include=("results*", "comment"), exclude=("quantities",)
    )
    assert (request.method, request.path) == ("GET", "entries/-0AjNE7yDFZ5H3iYNZ0gHVQZ6yXk")
    assert request.params == (("include", "results*"), ("include", "comment"), ("exclude", "quantities"))


@pytest.mark.parametrize("entry_id", ["", "..", "a/b", "a?b", "a b", "é", "a\n"])
def test_an_id_that_would_lead_elsewhere_is_refused(entry_id: str) -> None:
    """`..` or a slash would ask another endpoint."""
    with pytest.raises(InvalidRequest, match="no entry id"):
        get_entry(entry_id)


def test_an_entry_is_what_stands_under_data() -> None:
    """The metadata of the entry as JSON."""
    body = b'{"entry_id":"x","required":{"include":["entry_id"]},"data":{"entry_id":"x"}}'
    assert bytes(parse_entry(as_reply(body))) == b'{"entry_id":"x"}'


@pytest.mark.parametrize(("version", "release"), [("2.0.0", "2.0.0"), ("1.4.3.dev1", "1.4.3")])
def test_info_tells_the_release(version: str, release: str) -> None:
    """The version as given and the known release that behaves like it."""
    assert (info().method, info().path) == ("GET", "info")
    answer: Info = parse_info(as_reply(json.dumps({"version": version, "oasis": False, "git": {}}).encode()))
    assert (answer.version, answer.release, answer.oasis) == (version, release, False)


def test_the_account_is_read() -> None:
    """Name, user name, id and e-mail of `users/me`."""
    assert parse_user(as_reply(ME)) == User(
        "3a2c1f0e-5b7d-4c7e-9d10-000000000001", "ada", "Ada Lovelace", "ada@example.org"
    )


@pytest.mark.parametrize("parse", [parse_entry, parse_info, parse_user, parse_aggregations])
def test_every_parser_refuses_another_answer(parse: Callable[[Reply], Any]) -> None:
    """Another object is an error that says what was expected."""
    with pytest.raises(ResponseFormatError, match="answer is not"):
        parse(as_reply(b'{"detail":"x"}'))


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_another_order_is_passed_on(order: Literal["asc", "desc"]) -> None:
    """For one sorted page."""
    request = entries_query({}, owner="public", pagination=Pagination(5, order_by="n_atoms", order=order))
    assert request.json["pagination"] == {"page_size": 5, "order_by": "n_atoms", "order": order}
