"""`Transport.send`: a request goes out, a whole and successful answer comes back, or an error is raised.

`Transport.open` gives a successful answer to be read piece by piece instead, once its head is here.

Between the two stand the credentials, the pace and the repetition of what failed. Where a redirect
may lead, and whether a token goes along, is decided by the pure function `follow`. `RequestsWire`
is the only user of a network.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Final, TypeVar
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

import requests
from urllib3.exceptions import DecodeError, ProtocolError, ReadTimeoutError, SSLError

from nomadquery.errors import InvalidRequest, NomadError, NotAuthenticated, Unreachable
from nomadquery.http.auth import ANONYMOUS, Credentials, Identity, Login
from nomadquery.http.deployment import Deployment
from nomadquery.http.message import (
    SECRET_HEADERS,
    Headers,
    Reply,
    Request,
    Stream,
    Wire,
    WireFailure,
    error_for,
    is_json,
    is_own_failure,
    not_json,
)
from nomadquery.http.pace import Attempt, Pace, Policy, Slot, done_of, pause_before_retry

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 10.0
_MOST_REDIRECTS = 5
_LARGE_BYTES = 1 << 18
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_REFUSAL_BYTES: Final = 1 << 20
#: Files are wanted as they are: their sizes and places count bytes that are not packed.
_AS_THEY_ARE: Final = {"accept": "*/*", "accept-encoding": "identity"}

#: The socket that a body is read from, also where the connection has let go of it to be closed afterwards.
_SOCKET: Final = attrgetter("raw._fp.fp.raw._sock")

_Given = TypeVar("_Given")


@dataclass(frozen=True, slots=True)
class Step:
    """Where a redirect leads, and whether the secret headers may go there."""

    url: str
    with_secrets: bool


def follow(method: str, url: str, status: int, location: str) -> Step | None:
    """Return the next step of a redirect, ``None`` where it is not followed.

    307 and 308 are followed with the same method, to another host without the secret headers.
    301, 302 and 303 change the method of a POST and often lead to a login page; they are followed
    only to the same host, by GET, or if all they change is http to https.
    A redirect from https to http of the same host is what a server behind a proxy writes
    that does not know of the https: https is kept. To another host it goes without secrets.
    """
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        is_same_host = (here.hostname, _own_port(here)) == (there.hostname, _own_port(there))
    except ValueError:
        return None
    if there.scheme not in _DEFAULT_PORTS or not there.hostname:
        return None
    is_upgrade = is_same_host and (here.scheme, there.scheme) == ("http", "https")
    if is_same_host and (here.scheme, there.scheme) == ("https", "http"):
        there = there._replace(scheme="https", netloc=here.netloc)
    if status in (307, 308):
        return Step(there.geturl(), is_same_host)
    is_only_upgrade = is_upgrade and (here.path, here.query) == (there.path, there.query)
    if status in (301, 302, 303) and is_same_host and (method == "GET" or is_only_upgrade):
        return Step(there.geturl(), True)
    return None


class RequestsWire:
    """Sockets, through ``requests``: one session for each thread.

    Proxies and certificates of the environment are used, ``~/.netrc`` is not.
    """

    def __init__(self, api_base: str) -> None:
        self._api_base = api_base
        self._own = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._user_agent = f"nomadquery/{_version()}"

    def exchange(self, request: Request, headers: Mapping[str, str]) -> Reply:
        """Return the answer after redirects; see `Wire`.

        Raises
        ------
        InvalidRequest
            If the body has numbers that JSON has not (NaN, infinity).
        WireFailure
            If no whole answer came.
        """
        with self._answered(request, Headers(headers)) as response, _told_as_wire_failures():
            return _whole_reply(response)

    @contextmanager
    def open(self, request: Request, headers: Mapping[str, str]) -> Iterator[Stream]:
        """Give the answer after redirects, its body still to be read; see `Wire`.

        Raises
        ------
        InvalidRequest, WireFailure
            As `exchange`.
        """
        with self._answered(request, Headers({**headers, **_AS_THEY_ARE})) as response:
            read = partial(_next_bytes, response)
            yield Stream(response.status_code, Headers(response.headers), response.url, read)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for session in self._sessions:
                session.close()

    @contextmanager
    def _answered(self, request: Request, headers: Headers) -> Iterator[requests.Response]:
        """Give the answer after redirects, its body not read yet."""
        response = self._followed(request, headers)
        try:
            yield response
        finally:
            response.close()
            if response.status_code >= 500:
                # NOMAD 2.0.0 closes the connection after a 500 without saying so: the next request would be
                # lost.
                self._session().close()

    def _followed(self, request: Request, headers: Headers) -> requests.Response:
        url, params, sent = f"{self._api_base}/{request.path}", request.params, headers
        for n_left in reversed(range(_MOST_REDIRECTS)):
            response = self._begun(request, url, params=params, headers=sent)
            location = response.headers.get("location")
            step = follow(request.method, response.url, response.status_code, location) if location else None
            if step is None or not n_left or (request.form is not None and not step.with_secrets):
                break
            with response, _told_as_wire_failures():
                _read(response, None)  # or the connection could not be used again
            if not step.with_secrets:
                sent = Headers({name: sent[name] for name in sent if name not in SECRET_HEADERS})
            url, params = step.url, ()
        return response

    def _begun(
        self,
        request: Request,
        url: str,
        *,
        params: tuple[tuple[str, str], ...],
        headers: Headers,
    ) -> requests.Response:
        body, content_type = _body_of(request)
        with _told_as_wire_failures():
            response = self._session().request(
                request.method,
                url,
                params=params,
                data=body,
                headers={**headers, **dict(request.headers), **content_type},
                timeout=(_CONNECT_TIMEOUT_S, request.timeout_s),
                allow_redirects=False,
                stream=True,
            )
        _bound_silence(response, min(request.timeout_s, request.silence_s))
        return response

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._own, "session", None)
        if session is None:
            session = requests.Session()
            # Any callable here keeps requests from looking into ~/.netrc, which would replace the token.
            session.auth = _unchanged
            session.headers.update(
                {
                    "Accept": "application/json",  # exactly this, or NOMAD answers uploads with a text
                    "Accept-Encoding": "gzip",
                    "User-Agent": self._user_agent,
                }
            )
            self._own.session = session
            with self._lock:
                self._sessions.add(session)
        return session


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream, and what is to be closed after it: the connection, and the place in flight."""

    stream: Stream
    closing: ExitStack


@dataclass(frozen=True, slots=True)
class _Failure:
    """How an attempt failed: by an answer that is of no use, or without one."""

    found: Reply | WireFailure


class Transport:
    """Sends requests to one deployment; safe to use from several threads.

    Parameters
    ----------
    wire : Wire
        Carries each attempt.
    deployment : Deployment
        Whom it leads to.
    credentials : Credentials
        For this deployment, or `ANONYMOUS`.
    pace : Pace or None
        ``None``: not paced, as inside one process.
    policy : Policy
        How patiently failures are met.
    clock : callable
        Seconds since 1970.
    sleep, chance : callable
        Wait for seconds; give a random number in [0, 1).
    """

    def __init__(
        self,
        wire: Wire,
        deployment: Deployment,
        *,
        credentials: Credentials = ANONYMOUS,
        pace: Pace | None = None,
        policy: Policy = Policy(),  # noqa: B008 # frozen
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not credentials.is_anonymous and credentials.api_base != deployment.api_base:
            raise NotAuthenticated(
                f"The credentials from {credentials.origin} are for {credentials.api_base}; "
                f"they are not sent to {deployment.api_base}."
            )
        self.deployment = deployment
        self._wire = wire
        self._login = Login(credentials, clock=clock)
        self._pace = pace
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._is_contacted = False
        self._is_known = False

    def send(self, request: Request) -> Reply:
        """Return the answer, whole and with status 2xx; its body is JSON unless ``kind`` is ``"raw"``.

        Failures are repeated as `pause_before_retry` says if the request is repeatable. After a 401,
        a repeatable request is sent once more if a password is known to log in with again.

        Raises
        ------
        Unreachable, RateLimited, ServerFailure
            If it kept failing, or failed and is not repeatable.
        RequestRefused
            One of its kinds, if the server refused.
        ResponseFormatError
            If the answer is no JSON.
        """
        return self._as_user(request, self._deliver)

    @contextmanager
    def open(self, request: Request) -> Iterator[Stream]:
        """Give an answer with status 2xx to be read piece by piece, once its head is here.

        Up to there everything is as for `send`. What fails later is raised out of `Stream.read`, for only
        the reader knows how to go on. The request counts in flight until the context is left: a thread
        that opens a second one inside may wait for itself.

        Raises
        ------
        Unreachable, RateLimited, ServerFailure, RequestRefused
            As for `send`; `Unreachable` also out of `Stream.read`, if the rest of the body does not come, or
            ends before the promised length.
        """
        opened = self._as_user(request, self._begin)
        with opened.closing:
            yield opened.stream

    def identity(self) -> Identity:
        """Return who the server takes us for, where the credentials came from, and how long they hold."""
        return self._login.identity(self._deliver)

    def close(self) -> None:
        """Give back the connections."""
        self._wire.close()

    def _as_user(self, request: Request, deliver: Callable[[Request, Headers], _Given]) -> _Given:
        """Return what is delivered with the credentials; once more with new ones if they have run out."""
        headers = self._login.headers(self._deliver)
        try:
            return deliver(request, headers)
        except NotAuthenticated:
            if not self._login.renew_after(headers) or not request.repeatable:
                raise
        return deliver(request, self._login.headers(self._deliver))

    def _deliver(self, request: Request, headers: Headers) -> Reply:
        """Return the answer to a request with these headers, after as many attempts as it takes."""
        return self._persist(request, lambda: self._attempt(request, headers))

    def _begin(self, request: Request, headers: Headers) -> _Opened:
        """Return a successful answer whose head is here, after as many attempts as it takes."""
        return self._persist(request, lambda: self._attempt_opening(request, headers))

    def _persist(self, request: Request, attempt_once: Callable[[], _Given | _Failure]) -> _Given:
        """Return what an attempt gives that does not fail."""
        elapsed_s, number = 0.0, 0  # counted, since clocks of the wall are put forwards and back
        while True:
            number += 1
            began_s = time.monotonic()
            outcome = attempt_once()
            elapsed_s += time.monotonic() - began_s
            if not isinstance(outcome, _Failure):
                self._is_contacted = self._is_known = True
                return outcome
            failure = outcome.found
            self._is_contacted = self._is_contacted or isinstance(failure, Reply)
            attempt = Attempt(
                number,
                elapsed_s=elapsed_s,
                now_s=self._clock(),
                chance=self._chance(),
                is_repeatable=request.repeatable,
                is_contacted=self._is_contacted,
                is_known=self._is_known,
            )
            pause_s = pause_before_retry(failure, attempt, self._policy)
            if request.is_divisible and asks_for_less(failure):
                pause_s = None
            if pause_s is None:
                cause = failure if isinstance(failure, WireFailure) else None
                raise self._error(request, failure, attempt) from cause
            _log.debug("%s failed (attempt %d), again in %.1f s", request, number, pause_s)
            self._sleep(pause_s)
            elapsed_s += pause_s

    def _attempt(self, request: Request, headers: Headers) -> Reply | _Failure:
        with self._slot(request) as slot:
            began_s = time.perf_counter()
            try:
                reply = self._wire.exchange(request, headers)
            except WireFailure as failure:
                return self._failed(request, failure, slot, began_s)  # frames hold what was sent
            is_good = reply.is_ok and (not _promises_json(request, reply) or _looks_whole(reply.body))
            self._learn(request, reply, slot, began_s)
            return reply if is_good else _Failure(reply)

    def _attempt_opening(self, request: Request, headers: Headers) -> _Opened | _Failure:
        with ExitStack() as closing:
            slot = closing.enter_context(self._slot(request))
            began_s = time.perf_counter()
            try:
                stream = closing.enter_context(self._wire.open(request, headers))
                refusal = None if stream.is_ok else _refusal(stream)
            except WireFailure as failure:
                return self._failed(request, failure, slot, began_s)
            # of a stream the time to its head counts: how long the rest takes says how large it is
            head = Reply(stream.status, stream.headers, b"", stream.url)
            self._learn(request, refusal or head, slot, began_s)
            if refusal is not None:
                return _Failure(refusal)
            read = partial(self._read, request, stream, slot)
            return _Opened(replace(stream, read=read), closing.pop_all())

    def _read(self, request: Request, stream: Stream, slot: Slot, n: int) -> bytes:
        try:
            return stream.read(n)
        except WireFailure as failure:
            self._failed(request, failure, slot, time.perf_counter())
            silence_s = min(request.timeout_s, request.silence_s)
            raise _unreachable(
                request,
                failure,
                api_base=self.deployment.api_base,
                timeout=f"nothing more came for {silence_s:g} s",
            ) from failure

    def _slot(self, request: Request) -> AbstractContextManager[Slot]:
        return nullcontext(Slot()) if self._pace is None else self._pace.slot(request.kind)

    def _learn(self, request: Request, reply: Reply, slot: Slot, began_s: float) -> None:
        took_s = time.perf_counter() - began_s
        slot.done = done_of(reply, took_s=took_s, now_s=self._clock())
        _log.debug("%s: %d, %.0f ms, %d bytes", request, reply.status, 1e3 * took_s, len(reply.body))

    def _failed(self, request: Request, failure: WireFailure, slot: Slot, began_s: float) -> _Failure:
        """Return the failure, of which the pace has now learned; frames hold what was sent, and go."""
        failure = failure.with_traceback(None)
        took_s = time.perf_counter() - began_s
        slot.done = done_of(failure, took_s=took_s, now_s=self._clock())
        _log.debug("%s: %s, %.0f ms", request, failure.kind, 1e3 * took_s)
        return _Failure(failure)

    def _error(self, request: Request, failure: Reply | WireFailure, attempt: Attempt) -> NomadError:
        effort = "" if attempt.number == 1 else f" ({attempt.number} attempts in {attempt.elapsed_s:.0f} s)"
        if isinstance(failure, WireFailure):
            return _unreachable(
                request,
                failure,
                api_base=self.deployment.api_base,
                timeout=f"no answer within {request.timeout_s:g} s",
                effort=effort,
            )
        if failure.is_ok:
            return not_json(failure)
        return error_for(request, failure, credentials=self._login.origin, effort=effort)


def asks_for_less(outcome: Reply | WireFailure) -> bool:
    """Return whether the server was too slow for a request, or failed over what it asked for."""
    if isinstance(outcome, WireFailure):
        return outcome.kind == "timeout"
    return outcome.status == 504 or is_own_failure(outcome)


def _looks_whole(body: bytes) -> bool:
    """Return whether a body is JSON; of a large one only the ends are looked at, the rest by its reader."""
    if len(body) < _LARGE_BYTES:
        return is_json(body)
    return body[:1] in b"{[" and body[-16:].rstrip()[-1:] in b"}]"


def _promises_json(request: Request, reply: Reply) -> bool:
    """Return whether the body must be JSON; after a change of the server its parser judges alone."""
    return request.kind != "raw" and request.repeatable and request.method != "HEAD" and reply.status != 204


def _unreachable(
    request: Request, failure: WireFailure, *, api_base: str, timeout: str, effort: str = ""
) -> Unreachable:
    happened = {
        "connect": "no connection",
        "timeout": timeout,
        "reset": "the connection was lost",
        "truncated": "the answer was cut short",
    }[failure.kind]
    advice = (
        "Check the address and the network, and try again."
        if request.repeatable
        else "It may have been carried out all the same: read the state before trying again."
    )
    return Unreachable(
        f"{request} got no answer from {api_base}{effort}: {happened} ({failure.reason}). {advice}",
        is_timeout=failure.kind == "timeout",
    )


def _body_of(request: Request) -> tuple[bytes | None, dict[str, str]]:
    """Return the body and the header that tells its type."""
    if request.form is not None:
        return urlencode(request.form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    if request.json is None:
        return None, {}
    try:
        text = json.dumps(request.json, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError as error:
        raise InvalidRequest(f"{request} was not sent: its body has NaN or infinity ({error}).") from error
    return text.encode(), {"Content-Type": "application/json"}


@contextmanager
def _told_as_wire_failures() -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        raise _wire_failure(error) from _without_frames(error)


def _bound_silence(response: requests.Response, silence_s: float) -> None:
    """Wait no longer than this for the next bytes of a body whose head is here.

    ``requests`` knows one time limit for both; the next request on the connection sets its own.
    """
    with suppress(AttributeError):  # there is no body
        _SOCKET(response).settimeout(silence_s)


def _read(response: requests.Response, n: int | None) -> bytes:
    """Return a part of the body, or all of it: ``requests`` would put it together from small pieces."""
    try:
        return response.raw.read(n, decode_content=True) or b""
    except ProtocolError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    except DecodeError as error:
        raise requests.exceptions.ContentDecodingError(error) from error
    except (ReadTimeoutError, SSLError) as error:
        raise requests.ConnectionError(error) from error


def _whole_reply(response: requests.Response) -> Reply:
    body = _read(response, None)
    _check_whole(response)
    return Reply(response.status_code, Headers(response.headers), body, response.url)


def _next_bytes(response: requests.Response, n: int) -> bytes:
    with _told_as_wire_failures():
        piece = _read(response, n)
    if not piece:
        _check_whole(response)
    return piece


def _check_whole(response: requests.Response) -> None:
    """Refuse a body that ended early: urllib3 before 2.0 takes a connection closed early for its end."""
    promised = response.headers.get("Content-Length", "")
    if promised.isdigit() and response.request.method != "HEAD" and response.raw.tell() < int(promised):
        raise WireFailure("truncated", f"{response.raw.tell()} of {promised} bytes")


def _refusal(stream: Stream) -> Reply:
    """Return a refusing answer with its body, or as much of it as could be shown."""
    pieces, n_bytes = [], 0
    while n_bytes < _LONGEST_REFUSAL_BYTES and (piece := stream.read(_LONGEST_REFUSAL_BYTES - n_bytes)):
        pieces.append(piece)
        n_bytes += len(piece)
    return Reply(stream.status, stream.headers, b"".join(pieces), stream.url)


def _wire_failure(error: requests.RequestException) -> WireFailure:
    reason = _innermost(error)
    inner = error.args[0] if error.args else None
    match error:
        case requests.ConnectTimeout():
            return WireFailure("connect", reason)
        case requests.Timeout():
            return WireFailure("timeout", reason)
        case requests.exceptions.ChunkedEncodingError() | requests.exceptions.ContentDecodingError():
            return WireFailure("truncated", reason)
        case _ if isinstance(inner, ReadTimeoutError):
            return WireFailure("timeout", reason)
        case _ if isinstance(inner, ProtocolError):
            return WireFailure("reset", reason)
        case _:
            return WireFailure("connect", reason)


def _innermost(error: BaseException) -> str:
    """Return what the first error of the chain said; later ones repeat the address with its query."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return str(error) or type(error).__name__


def _without_frames(error: BaseException) -> BaseException:
    """Return the error, its chain stripped of the frames, in which the token and the body stand."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def _own_port(parts: SplitResult) -> int | None:
    """Return the port where it is not the default one of the scheme."""
    return None if parts.port == _DEFAULT_PORTS.get(parts.scheme) else parts.port


def _unchanged(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _version() -> str:
    try:
        return importlib.metadata.version("nomadquery")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # run from a folder, not installed
