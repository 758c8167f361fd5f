"""What goes to a server, what comes back, the wire between them, and what a refusal means.

Nothing here touches the network. `error_for` holds what NOMAD and the proxies in front of
it say when they refuse (NOMAD 1.3.17 to 2.0.0): ``detail`` is a text, a list of objects
(pydantic's, or NOMAD's own with a list inside ``loc``) or, for unforeseen failures, an
object; proxies answer in HTML.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from nomadquery.errors import (
    InvalidRequest,
    NomadError,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    NotSupported,
    RateLimited,
    ResponseFormatError,
    ServerFailure,
)

Kind = Literal["search", "archive", "raw", "account"]

#: Names of headers whose values are never shown.
SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "upload-token", "proxy-authorization"})


class Headers(Mapping[str, str]):
    """Header fields; names are looked up without regard to case, secret values are not shown."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self._fields = {name.lower(): value for name, value in (fields or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        shown = {n: "<hidden>" if n in SECRET_HEADERS else v for n, v in self._fields.items()}
        return f"Headers({shown!r})"


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the API of a deployment: a value; who sends it adds the credentials.

    Attributes
    ----------
    method : str
        ``"GET"``, ``"POST"`` …
    path : str
        Below the API base, without a leading slash, as it stands in an address (names of files have
        ``%20`` for a blank): ``"entries/query"``.
    params : tuple of (str, str)
        The query of the address, in order; a name may occur several times.
    json : object
        The body, ``None`` for none.
    headers : tuple of (str, str)
        Further header fields, such as ``Range``; none of them secret.
    form : tuple of (str, str) or None
        A form as body in place of ``json``. It may hold a password and is not shown.
    repeatable : bool
        Whether it may be sent again after an unclear failure. False for all that changes the server.
    kind : {"search", "archive", "raw", "account"}
        What it asks for; decides its pace. The answers of all but ``"raw"`` are JSON.
    timeout_s : float
        How long the server may be silent before its answer begins.
    silence_s : float
        How long it may be silent within its answer, if that is shorter: it stalls then, and prepares nothing.
    is_divisible : bool
        Whether who sends it asks for less when the server is too slow (a time-out, 504) or fails over
        what was asked (a 500 of its own), so that it is not repeated then.
    """

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    json: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    form: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    repeatable: bool = True
    kind: Kind = "search"
    timeout_s: float = 60.0
    silence_s: float = 60.0
    is_divisible: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer. ``body`` is decompressed; it may hold a token and is not shown."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str

    @property
    def is_ok(self) -> bool:
        """Whether the status says success (2xx)."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the body as Python objects.

        Raises
        ------
        ResponseFormatError
            If the body is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise not_json(self) from error


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is read piece by piece, while it arrives.

    Attributes
    ----------
    status : int
    headers : mapping
    url : str
    read : callable
        ``read(n)`` gives the next bytes of the body, 1 to ``n`` of them, and ``b""`` at its end. What goes
        wrong on the way, a body shorter than promised included, is raised out of it: `WireFailure` by a
        wire, `Unreachable` by `Transport.open`.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    read: Callable[[int], bytes] = field(repr=False)

    @property
    def is_ok(self) -> bool:
        """Whether the status says success (2xx)."""
        return 200 <= self.status < 300


def stream_of(reply: Reply) -> Stream:
    """Return a whole answer as one to be read piece by piece."""
    return Stream(reply.status, reply.headers, reply.url, io.BytesIO(reply.body).read)


class WireFailure(Exception):
    """No whole answer came over the wire; `transport` repeats the request or names the error.

    Attributes
    ----------
    kind : {"connect", "timeout", "reset", "truncated"}
        No connection; silence; connection lost before the answer; answer cut short.
    """

    def __init__(self, kind: Literal["connect", "timeout", "reset", "truncated"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Wire(Protocol):
    """What carries a request to a deployment: sockets, or a deployment in this process."""

    def exchange(self, request: Request, headers: Mapping[str, str]) -> Reply:
        """Return the answer, whatever its status; raise `WireFailure` if none came whole."""
        ...

    def open(self, request: Request, headers: Mapping[str, str]) -> AbstractContextManager[Stream]:
        """Give the answer once its head is here, whatever its status; leaving gives the connection back.

        `WireFailure` is raised if no head came, and by `Stream.read` if the body does not come whole.
        """
        ...

    def close(self) -> None:
        """Give back connections; the wire may be used again afterwards."""
        ...


def is_json(body: bytes) -> bool:
    """Return whether ``body`` is one whole JSON value (its objects are not built), NaN allowed."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError:
        return _is_loose_json(body)
    return True


def _is_loose_json(body: bytes) -> bool:
    """Return whether Python can read it: it knows NaN and infinities, which some codes leave behind."""
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def not_json(reply: Reply) -> ResponseFormatError:
    """Return the error for a successful answer that is not JSON."""
    said = _as_text(reply.body) or "nothing"
    return ResponseFormatError(
        f"{_address(reply)} answered with status {reply.status}, but not in JSON: {said}. "
        "Either the answer was cut on the way, or this is not the API of a NOMAD: check the address of the "
        "deployment."
    )


def error_for(
    request: Request, reply: Reply, *, credentials: str | None = None, effort: str = ""
) -> NomadError:
    """Return the error that a refusing answer stands for.

    Parameters
    ----------
    request, reply : Request, Reply
        What was asked, and an answer whose status is not 2xx.
    credentials : str, optional
        Where the credentials sent along came from, in words; never the credentials themselves.
    effort : str
        How often and how long it was tried, in words; empty for once.
    """
    said, detail = _detail_of(reply)
    if request.form is not None:
        detail = said  # pydantic repeats its input, which may be a password
    start = f"NOMAD refused {request} at {_host(reply.url)} ({reply.status}){effort}: {said}"
    match reply.status:
        case 401:
            return NotAuthenticated(f"{start} {_login_advice(credentials)}", status=401, detail=detail)
        case 403:
            advice = f"The request was made with {credentials}." if credentials else "Nobody is logged in."
            return NotPermitted(f"{start} {advice}", status=403, detail=detail)
        case 404 | 405 if reply.status == 405 or str(detail).startswith("Not Found"):
            advice = "This release of NOMAD has no such endpoint; `GET info` tells its version."
            return NotSupported(f"{start} {advice}", status=reply.status, detail=detail)
        case 404:
            advice = "" if isinstance(detail, str) and detail else "Check the address of the deployment."
            return NotFound(f"{start} {advice}".rstrip(), status=404, detail=detail)
        case 413:
            advice = "The request is too large for this server: send less at once."
            return InvalidRequest(f"{start} {advice}", status=413, detail=detail)
        case 429 | 503:
            asked = reply.headers.get("retry-after")
            wait = f"wait as long as it asks (Retry-After: {asked})" if asked else "wait a while"
            return RateLimited(f"{start} It is overloaded or limits requests from this address: {wait}.")
        case status if 400 <= status < 500 and status != 408:
            return InvalidRequest(start, status=status, detail=detail)
        case status if 300 <= status < 400:
            return _redirected(request, reply)
        case _:
            return ServerFailure(_failure_text(request, reply, f"{effort}: {said}"), status=reply.status)


def is_own_failure(reply: Reply) -> bool:
    """Return whether NOMAD itself, not a proxy, failed: a 500 whose detail names an exception."""
    if reply.status != 500:
        return False
    detail = _detail_of(reply)[1]
    return isinstance(detail, dict) and "exception_class" in detail


def _login_advice(credentials: str | None) -> str:
    if credentials is None:
        return "Nobody is logged in: pass token=…, set NOMADQUERY_TOKEN, or use `nomadquery login`."
    return (
        f"It was sent with {credentials}: renew it there, or remove it (public data need none); "
        "`nomadquery login` saves a new one."
    )


def _redirected(request: Request, reply: Reply) -> NotSupported:
    target = reply.headers.get("location", "nowhere").partition("?")[0]
    return NotSupported(
        f"{request} at {_host(reply.url)} was redirected ({reply.status}) to {target}, which is not "
        "followed. Name the deployment by the address that its API has now; one behind a login page cannot "
        "be used.",
        status=reply.status,
    )


def _failure_text(request: Request, reply: Reply, said: str) -> str:
    if not request.repeatable:
        advice = "It may have been carried out all the same: read the state before trying again."
    elif is_own_failure(reply):
        advice = "This is a failure inside NOMAD: the same request will probably fail again."
    else:
        advice = "The server or the proxy in front of it has a problem: try again later."
    return f"{request} failed at {_host(reply.url)} with status {reply.status}{said} {advice}"


def _detail_of(reply: Reply) -> tuple[str, Any]:
    """Return what the server said, as one sentence and as it stood in ``detail``."""
    try:
        content = json.loads(reply.body)
    except ValueError:
        text = _as_text(reply.body)
        return _sentence(text), None
    detail = content.get("detail") if isinstance(content, dict) else content
    match detail:
        case str():
            return _sentence(detail), detail
        case list():
            return _sentence(_problems(detail)), detail
        case dict() if "exception_class" in detail:
            return _sentence(f"{detail['exception_class']}: {detail.get('exception', '')}"), detail
        case _:
            return _sentence(_shortened(json.dumps(detail))), detail


def _problems(problems: list[Any]) -> str:
    """Return the first three problems of a 422 as ``place: message``; a null alone gives a hundred."""
    told = [
        f"{place}: {problem['msg']}" if (place := _place(problem.get("loc"))) else str(problem["msg"])
        for problem in problems
        if isinstance(problem, dict) and "msg" in problem
    ]
    rest = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
    return "; ".join(told[:3]) + rest if told else _shortened(json.dumps(problems))


def _place(loc: Any) -> str:
    if isinstance(loc, list):
        return ".".join(part for part in map(_place, loc) if part)
    return "" if loc is None else str(loc)


def _as_text(body: bytes) -> str:
    """Return the words of a body that is not JSON: an HTML page without its tags."""
    text = body[:20_000].decode("utf-8", "replace")
    text = re.sub(r"<(script|style|title)\b.*?</\1>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    return _shortened(" ".join(re.sub(r"<[^>]*>", " ", text).split()))


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else text[:299] + "…"


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        return "no reason given."
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def _address(reply: Reply) -> str:
    return reply.url.partition("?")[0]


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0] or url
