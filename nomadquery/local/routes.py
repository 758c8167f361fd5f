"""From a request to an answer: which endpoint it is, and how the answer is written.

A local deployment answers what this module lists; every other address is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from nomadquery.errors import RequestRefused
from nomadquery.http.message import Headers, Reply, Request
from nomadquery.local.answer import JSON, Answer, as_json
from nomadquery.local.downloads import ArchiveFiles, Export
from nomadquery.local.entries import Entries, Json
from nomadquery.local.raw_entries import RawEntries
from nomadquery.local.raw_uploads import RawUploads
from nomadquery.local.refusals import refused
from nomadquery.local.store import LocalStore
from nomadquery.query.catalogue import catalogue_for

#: The release of NOMAD whose behaviour this is.
RELEASE: Final = "2.0.0"

#: Entries in one download of files or archives: NOMAD's own limit.
MOST_ENTRIES: Final = 50_000

#: Of a request, its address and the parts of its path it makes an `Answer`, or what an answer says in JSON.
Handler = Callable[[Request, str, Sequence[str]], Any]


class LocalDeployment:
    """The endpoints of a NOMAD deployment over one store, for a reader who is not logged in."""

    def __init__(self, store: LocalStore, *, most_entries: int = MOST_ENTRIES) -> None:
        self._store = store
        self._entries = Entries(store, catalogue_for(RELEASE))
        self._raw_entries = RawEntries(self._entries, store, most_entries=most_entries)
        self._raw_uploads = RawUploads(store)
        self._archives = ArchiveFiles(self._entries, most_entries=most_entries)
        self._export = Export(self._entries)
        self._routes: tuple[tuple[str, re.Pattern[str], Handler], ...] = tuple(
            (method, re.compile(pattern), handler)
            for method, pattern, handler in (
                *self._routes_of_files(),  # before entries/{entry_id}, which "raw" is not
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

    def _routes_of_files(self) -> Sequence[tuple[str, str, Handler]]:
        """Return the endpoints that give files, and those that list them."""
        entries, uploads, archives = self._raw_entries, self._raw_uploads, self._archives
        return (
            ("POST", r"entries/raw/query", lambda asked, _, __: entries.zip_of_query(_body(asked))),
            ("GET", r"entries/raw", lambda asked, _, __: entries.zip_of_parameters(asked.params)),
            ("GET", r"entries/([^/]+)/raw", lambda asked, _, ids: entries.zip_of_entry(ids[0], asked.params)),
            (
                "GET",
                r"entries/([^/]+)/raw/([^/]+)",
                lambda asked, _, ids: entries.file(ids[0], ids[1], asked.params),
            ),
            ("POST", r"entries/rawdir/query", lambda asked, _, __: entries.listing_of_query(_body(asked))),
            ("GET", r"entries/rawdir", self._get_rawdir),
            ("GET", r"entries/([^/]+)/rawdir", lambda _, __, ids: entries.listing(ids[0])),
            ("GET", r"uploads/([^/]+)/raw", self._get_upload),
            (
                "GET",
                r"uploads/([^/]+)/raw/(.*)",
                lambda asked, _, ids: uploads.file_or_folder(ids[0], ids[1], asked.params),
            ),
            ("GET", r"uploads/([^/]+)/rawdir(?:/(.*))?", self._get_upload_rawdir),
            (
                "POST",
                r"entries/archive/download/query",
                lambda asked, _, __: archives.zip_of_query(_body(asked)),
            ),
            (
                "GET",
                r"entries/archive/download",
                lambda asked, _, __: archives.zip_of_parameters(asked.params),
            ),
            ("GET", r"entries/([^/]+)/archive/download", lambda _, __, ids: archives.file(ids[0])),
            ("GET", r"entries/export", self._get_export),
        )

    def answer(self, request: Request, *, api_base: str) -> Reply:
        """Return the answer to a request below ``api_base``, whole and whatever its status."""
        answer = self.respond(request, api_base=api_base)
        url = address_of(request, api_base)
        return Reply(answer.status, Headers(answer.headers), b"".join(answer.blocks), url)

    def respond(self, request: Request, *, api_base: str) -> Answer:
        """Return the answer to a request, its body still to be made.

        Of the headers only those of `Request` itself are looked at: there is nobody to be logged in.
        """
        try:
            content = self._content(request, address_of(request, api_base))
        except RequestRefused as refusal:
            return as_json({"detail": refusal.detail}, refusal.status)
        return content if isinstance(content, Answer) else as_json(content)

    def _content(self, request: Request, url: str) -> Any:
        path = unquote(request.path)
        matching = self._matching(path) or self._matching(path.rstrip("/"))
        for method, match, handler in matching:
            if method == request.method:
                return handler(request, url, match.groups())
        if matching:
            raise refused(405, "Method Not Allowed")
        raise refused(
            404, f"Not Found: the local deployment of nomadquery does not answer {request.method} {path}."
        )

    def _matching(self, path: str) -> list[tuple[str, re.Match[str], Handler]]:
        return [
            (method, match, handler)
            for method, pattern, handler in self._routes
            if (match := pattern.fullmatch(path)) is not None
        ]

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

    def _get_rawdir(self, request: Request, url: str, _ids: Sequence[str]) -> Json:
        answer = self._raw_entries.listing_of_parameters(request.params)
        answer["pagination"] |= _page_addresses(url, answer["pagination"])
        return answer

    def _get_upload(self, request: Request, _url: str, ids: Sequence[str]) -> Answer:
        return self._raw_uploads.stored_zip(ids[0], Headers(dict(request.headers)))

    def _get_upload_rawdir(self, request: Request, url: str, ids: Sequence[str]) -> Json:
        answer = self._raw_uploads.listing(ids[0], ids[1] or "", request.params)
        if "pagination" in answer:
            if ids[1] is None:  # NOMAD redirects to the address with a slash
                url = urlunsplit((parts := urlsplit(url))._replace(path=f"{parts.path}/"))
            answer["pagination"] |= _page_addresses(url, answer["pagination"])
        return answer

    def _get_export(self, request: Request, _url: str, _ids: Sequence[str]) -> Answer:
        content_type = Headers(dict(request.headers)).get("content-type", JSON)
        return self._export.file(request.params, content_type)

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


def address_of(request: Request, api_base: str) -> str:
    """Return the whole address of a request."""
    return f"{api_base}/{request.path}" + (f"?{urlencode(request.params)}" if request.params else "")
