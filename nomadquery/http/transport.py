"""`Transport.send`: a request goes out, a whole and successful answer comes back, or an error is raised.

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
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
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
        url, params, sent = f"{self._api_base}/{request.path}", request.params, Headers(headers)
        for _ in range(_MOST_REDIRECTS):
            reply = self._exchange_once(request, url, params=params, headers=sent)
            location = reply.headers.get("location")
            step = follow(request.method, reply.url, reply.status, location) if location else None
            if step is None or (request.form is not None and not step.with_secrets):
                break
            if not step.with_secrets:
                sent = Headers({name: sent[name] for name in sent if name not in SECRET_HEADERS})
            url, params = step.url, ()
        return reply

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for session in self._sessions:
                session.close()

    def _exchange_once(
        self,
        request: Request,
        url: str,
        *,
        params: tuple[tuple[str, str], ...],
        headers: Headers,
    ) -> Reply:
        body, content_type = _body_of(request)
        try:
            with self._session().request(
                request.method,
                url,
                params=params,
                data=body,
                headers={**headers, **content_type},
                timeout=(_CONNECT_TIMEOUT_S, request.timeout_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                reply = _whole_reply(response)
        except requests.RequestException as error:
            raise _wire_failure(error) from _without_frames(error)
        if reply.status >= 500:
            # NOMAD 2.0.0 closes the connection after a 500 without saying so: the next request would be lost.
            self._session().close()
        return reply

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
        headers = self._login.headers(self._deliver)
        try:
            return self._deliver(request, headers)
        except NotAuthenticated:
            if not self._login.renew_after(headers) or not request.repeatable:
                raise
        return self._deliver(request, self._login.headers(self._deliver))

    def identity(self) -> Identity:
        """Return who the server takes us for, where the credentials came from, and how long they hold."""
        return self._login.identity(self._deliver)

    def close(self) -> None:
        """Give back the connections."""
        self._wire.close()

    def _deliver(self, request: Request, headers: Headers) -> Reply:
        """Return the answer to a request with these headers, after as many attempts as it takes."""
        elapsed_s, number = 0.0, 0  # counted, since clocks of the wall are put forwards and back
        while True:
            number += 1
            began_s = time.monotonic()
            outcome = self._attempt(request, headers)
            elapsed_s += time.monotonic() - began_s
            if isinstance(outcome, Reply):
                self._is_contacted = True
                if outcome.is_ok and (not _promises_json(request, outcome) or _looks_whole(outcome.body)):
                    self._is_known = True
                    return outcome
            attempt = Attempt(
                number,
                elapsed_s=elapsed_s,
                now_s=self._clock(),
                chance=self._chance(),
                is_repeatable=request.repeatable,
                is_contacted=self._is_contacted,
                is_known=self._is_known,
            )
            pause_s = pause_before_retry(outcome, attempt, self._policy)
            if request.is_divisible and asks_for_less(outcome):
                pause_s = None
            if pause_s is None:
                cause = outcome if isinstance(outcome, WireFailure) else None
                raise self._error(request, outcome, attempt) from cause
            _log.debug("%s failed (attempt %d), again in %.1f s", request, number, pause_s)
            self._sleep(pause_s)
            elapsed_s += pause_s

    def _attempt(self, request: Request, headers: Headers) -> Reply | WireFailure:
        with nullcontext(Slot()) if self._pace is None else self._pace.slot(request.kind) as slot:
            began_s = time.perf_counter()
            outcome: Reply | WireFailure
            try:
                outcome = self._wire.exchange(request, headers)
            except WireFailure as failure:
                outcome = failure.with_traceback(None)  # its frames hold what was sent
            took_s = time.perf_counter() - began_s
            slot.done = done_of(outcome, took_s=took_s, now_s=self._clock())
            if isinstance(outcome, WireFailure):
                _log.debug("%s: %s, %.0f ms", request, outcome.kind, 1e3 * took_s)
                return outcome
            n_bytes = len(outcome.body)
            _log.debug("%s: %d, %.0f ms, %d bytes", request, outcome.status, 1e3 * took_s, n_bytes)
            return outcome

    def _error(self, request: Request, failure: Reply | WireFailure, attempt: Attempt) -> NomadError:
        effort = "" if attempt.number == 1 else f" ({attempt.number} attempts in {attempt.elapsed_s:.0f} s)"
        if isinstance(failure, WireFailure):
            return _unreachable(request, failure, api_base=self.deployment.api_base, effort=effort)
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


def _unreachable(request: Request, failure: WireFailure, *, api_base: str, effort: str) -> Unreachable:
    happened = {
        "connect": "no connection",
        "timeout": f"no answer within {request.timeout_s:g} s",
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


def _whole_body(response: requests.Response) -> bytes:
    """Return the body in one piece: ``requests`` would put it together from pieces of ten kilobytes."""
    try:
        return response.raw.read(decode_content=True) or b""
    except ProtocolError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    except DecodeError as error:
        raise requests.exceptions.ContentDecodingError(error) from error
    except (ReadTimeoutError, SSLError) as error:
        raise requests.ConnectionError(error) from error


def _whole_reply(response: requests.Response) -> Reply:
    body = _whole_body(response)
    promised = response.headers.get("Content-Length", "")
    # urllib3 before 2.0 takes a connection closed early for the end of the body
    if promised.isdigit() and response.request.method != "HEAD" and response.raw.tell() < int(promised):
        raise WireFailure("truncated", f"{response.raw.tell()} of {promised} bytes")
    return Reply(response.status_code, Headers(response.headers), body, response.url)


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
