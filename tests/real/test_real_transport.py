"""The transport against a real NOMAD server: logins, tokens, refusals and faults."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec
import pytest

from nomadquery.errors import InvalidRequest, NotAuthenticated, NotFound, NotSupported
from nomadquery.http.auth import ANONYMOUS, Credentials, Secret
from nomadquery.http.deployment import RELEASES, find_deployment
from nomadquery.http.endpoints import (
    Page,
    Pagination,
    archive_query,
    entries_query,
    get_entry,
    info,
    parse_entries_page,
    parse_entry,
    parse_info,
    parse_terms,
    terms_query,
)
from nomadquery.http.message import Request
from nomadquery.http.pace import Pace, Policy
from nomadquery.http.transport import RequestsWire, Transport

ONE_ENTRY = entries_query({}, owner="public", pagination=Pagination(1))
#: The faults of the server last for milliseconds; so do the pauses.
HASTY = Policy(n_attempts=20, first_pause_s=0.001, longest_pause_s=0.01)


@contextmanager
def connected(real_url: str, *, token: str | None = None, password: str | None = None) -> Iterator[Transport]:
    """Give a transport to the server: anonymous, with a token, or as the user ada."""
    deployment = find_deployment(real_url)
    credentials = ANONYMOUS
    if token is not None:
        credentials = Credentials("the test's token", deployment.api_base, Secret(token))
    if password is not None:
        credentials = Credentials(
            "the test's password", deployment.api_base, username="ada", password=Secret(password)
        )
    wire = RequestsWire(deployment.api_base)
    transport = Transport(wire, deployment, credentials=credentials, pace=Pace(), policy=HASTY)
    yield transport
    transport.close()


@contextmanager
def personal_access_token(real_url: str, *scopes: str) -> Iterator[str]:
    """Give a token of the user ada with these scopes; it is deleted afterwards."""
    body = {"metadata": {"name": "transport test", "scopes": scopes}, "expires_in_days": 1}
    with connected(real_url, password="ada-password") as ada:
        made = ada.send(Request("POST", "auth/pats", json=body, repeatable=False, kind="account")).json()
        try:
            yield made["raw_token"]
        finally:
            ada.send(Request("DELETE", f"auth/pats/{made['pat']['id']}", repeatable=False, kind="account"))


@contextmanager
def faults(real_url: str, **settings: object) -> Iterator[None]:
    """Switch on faults of the server, and off again."""
    parts = urlsplit(real_url)

    def put(content: dict[str, object]) -> None:
        url = f"{parts.scheme}://{parts.netloc}/-/faults"
        urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(content).encode(), method="PUT"), timeout=10
        ).close()

    put(settings)
    try:
        yield
    finally:
        put({"fail_rate": 0, "fail_paths": "", "fail_kinds": ["502", "503", "reset"]})


def walk(transport: Transport, page_size: int) -> list[str]:
    """Return the ids of all public entries, page by page."""
    ids: list[str] = []
    after: str | None = None
    while True:
        request = entries_query(
            {}, owner="public", pagination=Pagination(page_size, after), required={"include": ["entry_id"]}
        )
        page: Page = parse_entries_page(transport.send(request))
        ids += [msgspec.json.decode(item)["entry_id"] for item in page.items]
        if page.next_after is None:
            assert len(ids) == page.total
            return ids
        after = page.next_after


def test_the_release_is_a_known_one(real_url: str) -> None:
    """`GET info` is read."""
    with connected(real_url) as transport:
        assert parse_info(transport.send(info())).release in RELEASES


def test_a_password_logs_in(real_url: str) -> None:
    """The server knows who asks, and the token says when it ends."""
    with connected(real_url, password="ada-password") as transport:
        identity = transport.identity()
    assert (identity.username, identity.origin) == ("ada", "the test's password")
    assert identity.expires is not None


def test_a_wrong_password_is_refused(real_url: str) -> None:
    """The server's words and the place of the password."""
    with (
        connected(real_url, password="wrong") as transport,
        pytest.raises(NotAuthenticated, match=r"Incorrect username or password.*the test's password"),
    ):
        transport.send(ONE_ENTRY)


def test_a_personal_access_token_is_accepted(real_url: str) -> None:
    """With and without the scope to read its user."""
    with (
        personal_access_token(real_url, "entries:read", "users:read") as token,
        connected(real_url, token=token) as transport,
    ):
        assert transport.identity().username == "ada"
        assert parse_entries_page(transport.send(ONE_ENTRY)).total > 0
    with (
        personal_access_token(real_url, "entries:read") as token,
        connected(real_url, token=token) as transport,
    ):
        assert transport.identity().username is None
        assert parse_entries_page(transport.send(ONE_ENTRY)).total > 0


def test_an_unknown_personal_access_token_is_refused(real_url: str) -> None:
    """The server would answer the same search as to nobody."""
    with (
        connected(real_url, token="nomad_pat_x") as transport,
        pytest.raises(
            NotAuthenticated, match="does not know the personal access token from the test's token"
        ),
    ):
        transport.send(ONE_ENTRY)


def test_a_bad_token_is_refused_also_where_none_is_needed(real_url: str) -> None:
    """A stale token breaks public queries; the message tells its place."""
    with (
        connected(real_url, token="garbage") as transport,
        pytest.raises(NotAuthenticated, match=r"Could not validate credentials.*the test's token"),
    ):
        transport.send(ONE_ENTRY)


def test_an_unknown_quantity_comes_back_with_its_name(real_url: str) -> None:
    """NOMAD's own shape of a 422, with a list inside loc."""
    request = entries_query({"results.material.elementz": "Ti"}, owner="public", pagination=Pagination(1))
    with connected(real_url) as transport, pytest.raises(InvalidRequest) as caught:
        transport.send(request)
    assert "results.material.elementz is not a doc quantity" in str(caught.value)
    assert caught.value.detail[0]["loc"] == [["results.material.elementz"]]


def test_unknown_entries_and_endpoints_are_told_apart(real_url: str) -> None:
    """A missing entry is NotFound, a missing endpoint NotSupported."""
    with connected(real_url) as transport:
        with pytest.raises(NotFound, match="does not exist or is not visible"):
            transport.send(get_entry("no-such-entry"))
        with pytest.raises(NotSupported, match="no such endpoint"):
            transport.send(Request("GET", "materials"))


def test_a_redirect_for_a_missing_slash_keeps_the_login(real_url: str) -> None:
    """`datasets/` of older releases is answered by a redirect in 2.0.0 and the reverse."""
    with connected(real_url, password="ada-password") as transport:
        for path in ("datasets", "datasets/"):
            assert "data" in transport.send(Request("GET", path)).json()


def test_one_entry_and_its_archive_are_read(real_url: str) -> None:
    """The same id by three endpoints."""
    with connected(real_url) as transport:
        [first] = parse_entries_page(transport.send(ONE_ENTRY)).items
        entry_id = msgspec.json.decode(first)["entry_id"]
        entry = msgspec.json.decode(parse_entry(transport.send(get_entry(entry_id, include=("entry_id",)))))
        query = archive_query(
            {"entry_id": entry_id}, owner="public", pagination=Pagination(1), required={"metadata": "*"}
        )
        [archive] = parse_entries_page(transport.send(query)).items
    assert entry["entry_id"] == entry_id
    assert msgspec.json.decode(archive)["archive"]["metadata"]["entry_id"] == entry_id


def test_the_values_of_a_quantity_add_up_to_the_entries_that_have_it(real_url: str) -> None:
    """Every entry has one entry_type, upload_id or the like: counts add up to the total."""
    with connected(real_url) as transport:
        terms = parse_terms(transport.send(terms_query({}, "upload_id", owner="public", size=10_000)))
    assert sum(bucket.n_entries for bucket in terms.buckets) == terms.total > 0


def test_refusals_and_lost_connections_cost_time_not_entries(real_url: str) -> None:
    """With every second request failing, the walk over all entries gives the same ids."""
    with connected(real_url) as transport:
        undisturbed = walk(transport, 100)
        with faults(
            real_url, fail_rate=0.5, fail_kinds=["502", "503", "504", "reset"], fail_paths="entries/query"
        ):
            disturbed = walk(transport, 20)
    assert disturbed == undisturbed
    assert len(set(disturbed)) == len(disturbed)
