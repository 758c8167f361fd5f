"""From a request to an answer: which endpoint it is, and how the answer is written.

A local deployment answers what this module lists; every other address is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from nomadquery.errors import RequestRefused
from nomadquery.http.message import Headers, Reply, Request
from nomadquery.local.entries import Entries, Json
from nomadquery.local.refusals import refused
from nomadquery.local.store import LocalStore
from nomadquery.query.catalogue import catalogue_for

#: The release of NOMAD whose behaviour this is.
RELEASE: Final = "2.0.0"

Handler = Callable[[Request, str, Sequence[str]], Any]


class LocalDeployment:
    """The endpoints of a NOMAD deployment over one store, for a reader who is not logged in."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._entries = Entries(store, catalogue_for(RELEASE))
        self._routes: tuple[tuple[str, re.Pattern[str], Handler], ...] = tuple(
            (method, re.compile(pattern), handler)
            for method, pattern, handler in (
                ("GET", r"info", self._info),
                ("GET", r"users/me", self._me),
                ("POST", r"entries/query", lambda request, _, __: self._entries.query(_body(request))),
                (
                    "POST",
                    r"entries/archive/query",
                    lambda request, _, __: self._entries.archives(_body(request)),
                ),
                ("GET", r"entries", self._get_entries),
                ("GET", r"entries/([^/]+)", self._get_entry),
                ("GET", r"entries/([^/]+)/archive", lambda _, __, ids: self._entries.archive(ids[0], {})),
                ("POST", r"entries/([^/]+)/archive/query", self._post_archive),
            )
        )

    def answer(self, request: Request, *, api_base: str) -> Reply:
        """Return the answer to a request below ``api_base``, whatever its status.

        Headers are not looked at: there is nobody to be logged in.
        """
        url = f"{api_base}/{request.path}" + (f"?{urlencode(request.params)}" if request.params else "")
        try:
            status, content = 200, self._content(request, url)
        except RequestRefused as refusal:
            status, content = refusal.status, {"detail": refusal.detail}
        return Reply(status, Headers({"content-type": "application/json"}), msgspec.json.encode(content), url)

    def _content(self, request: Request, url: str) -> Any:
        path = request.path.rstrip("/")
        matching = [
            (method, match, handler)
            for method, pattern, handler in self._routes
            if (match := pattern.fullmatch(path)) is not None
        ]
        for method, match, handler in matching:
            if method == request.method:
                return handler(request, url, match.groups())
        if matching:
            raise refused(405, "Method Not Allowed")
        raise refused(
            404, f"Not Found: the local deployment of nomadquery does not answer {request.method} {path}."
        )

    def _info(self, _request: Request, _url: str, _ids: Sequence[str]) -> Json:
        return {
            "version": RELEASE,
            "deployment": "nomadquery local deployment",
            "oasis": False,
            "statistics": {"n_entries": self._store.count},
        }

    def _me(self, _request: Request, _url: str, _ids: Sequence[str]) -> Json:
        raise refused(401, "Authentication required.")

    def _get_entries(self, request: Request, url: str, _ids: Sequence[str]) -> Json:
        answer = self._entries.query_by_parameters(request.params)
        answer["pagination"] |= _page_addresses(url, answer["pagination"])
        return answer

    def _get_entry(self, request: Request, _url: str, ids: Sequence[str]) -> Json:
        return self._entries.entry(ids[0], request.params)

    def _post_archive(self, request: Request, _url: str, ids: Sequence[str]) -> Json:
        return self._entries.archive(ids[0], _body(request))


def _body(request: Request) -> Any:
    """Return the body as it would arrive over a network: a tuple as a list."""
    return msgspec.json.decode(msgspec.json.encode(request.json))


def _page_addresses(url: str, pagination: Mapping[str, Any]) -> dict[str, str]:
    """Return the addresses of this page, the first, the next and the one before."""
    addresses = {"page_url": url}
    if pagination["page_size"]:
        addresses["first_page_url"] = _with_parameters(url, page=None, page_after_value=None)
    following = pagination.get("next_page_after_value")
    if following:
        addresses["next_page_url"] = _with_parameters(url, page=None, page_after_value=following)
    page = pagination.get("page")
    if page and page > 1:
        addresses["prev_page_url"] = _with_parameters(url, page=str(page - 1), page_after_value=None)
    return addresses


def _with_parameters(url: str, **changed: str | None) -> str:
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in changed]
    added = [(name, value) for name, value in changed.items() if value is not None]
    return urlunsplit(parts._replace(query=urlencode([*kept, *added])))
