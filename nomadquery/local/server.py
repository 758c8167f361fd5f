"""A local deployment on a port of this machine, for programs that speak HTTP.

Only this module uses werkzeug (``pip install "nomadquery[local]"``). It listens on the
loopback interface and nowhere else: a local deployment knows no users and no passwords.
"""

from __future__ import annotations

import gzip
import ipaddress
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nomadquery.errors import CacheError, InvalidRequest, NotSupported
from nomadquery.http.message import Request
from nomadquery.local.answer import JSON, Answer, as_json
from nomadquery.local.refusals import malformed, problem
from nomadquery.local.routes import LocalDeployment
from nomadquery.local.store import LocalStore

if TYPE_CHECKING:
    from werkzeug.wrappers import Request as HttpRequest
    from werkzeug.wrappers import Response as HttpResponse

logger = logging.getLogger(__name__)

_API: Final = "/api/v1"
#: The path of the public installation: its API is answered below it too.
_CENTRAL_PREFIX: Final = "/prod/v1"
_ALIVE: Final = "I am, alive!"

#: The header fields of a request that something depends on.
_HEADERS: Final = ("range", "if-range", "content-type")
#: Smaller answers are not worth compressing.
_LEAST_COMPRESSED_BYTES: Final = 1000


@contextmanager
def serve(store: LocalStore | Path, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve a store, or the one in a folder, while the context lasts; give the address of its API.

    Every request runs in a thread of its own. Port 0 takes a free one.

    Raises
    ------
    InvalidRequest
        If ``host`` is not this machine's loopback interface.
    NotSupported
        If werkzeug is not installed.
    OSError
        If the port is taken.
    """
    _check_loopback(host)
    serving = _werkzeug_serving()
    with LocalStore(store) if isinstance(store, Path) else nullcontext(store) as opened:
        server = serving.make_server(
            host, port, _Application(opened), threaded=True, request_handler=_quiet_handler(serving)
        )
        shown = f"[{host}]" if ":" in host else host
        api_base = f"http://{shown}:{server.server_port}{_API}"
        thread = threading.Thread(target=server.serve_forever, name="nomadquery-serve", daemon=True)
        thread.start()
        logger.info("serving %s on %s", opened, api_base)
        try:
            yield api_base
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Application:
    """The WSGI application over one store."""

    def __init__(self, store: LocalStore) -> None:
        self._deployment = LocalDeployment(store)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        from werkzeug.wrappers import Request as HttpRequest

        return self._respond(HttpRequest(environ))(environ, start_response)

    def _respond(self, http: HttpRequest) -> HttpResponse:
        from werkzeug.wrappers import Response as HttpResponse

        answer = self._answer(http)
        headers = dict(answer.headers)
        if headers["content-type"] != JSON or "content-disposition" in headers:
            return HttpResponse(
                _Blocks(answer), status=answer.status, headers=headers, direct_passthrough=True
            )
        body = b"".join(answer.blocks)
        if len(body) >= _LEAST_COMPRESSED_BYTES and http.accept_encodings.quality("gzip") > 0:
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
        return HttpResponse(body, status=answer.status, headers=headers)

    def _answer(self, http: HttpRequest) -> Answer:
        address = str(http.environ["REQUEST_URI"])  # as it was sent: what is percent-encoded in it stays so
        sent = address.partition("?")[0]
        prefix = _CENTRAL_PREFIX if sent.startswith(f"{_CENTRAL_PREFIX}/") else ""
        path = sent.removeprefix(prefix)
        api_base = f"{http.host_url.rstrip('/')}{prefix}{_API}"
        if path == "/alive":
            return as_json(_ALIVE)
        if not path.startswith(f"{_API}/"):
            return as_json({"detail": "Not Found"}, 404)
        body, refusal = _parsed_body(http.get_data())
        if refusal is not None:
            return as_json({"detail": refusal}, 422)
        request = Request(
            http.method,
            path.removeprefix(f"{_API}/"),
            params=tuple(http.args.items(multi=True)),
            json=body,
            headers=tuple((name, http.headers[name]) for name in _HEADERS if name in http.headers),
        )
        try:
            return self._deployment.respond(request, api_base=api_base)
        except CacheError as error:
            logger.exception("%s could not be answered", request)
            return as_json({"detail": str(error)}, 500)


class _Blocks:
    """The blocks of an answer, which are given back when the client goes; a failure cuts the answer short."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield b""  # the head goes out before the first block is made, which may take its time
        try:
            yield from self._answer.blocks
        except Exception as error:
            logger.exception("an answer could not be sent to its end")
            # The one kind of failure after which werkzeug sends nothing more: no page of words behind a zip.
            raise ConnectionAbortedError("the answer was cut short") from error

    def close(self) -> None:
        self._answer.close()


def _parsed_body(content: bytes) -> tuple[Any, Any]:
    """Return a JSON body, or how NOMAD refuses one that is none."""
    if not content:
        return None, None
    try:
        return msgspec.json.decode(content), None
    except msgspec.DecodeError as error:
        found = problem("json_invalid", ["body", 0], "JSON decode error", {}, error=str(error))
        return None, malformed([found]).detail


def _check_loopback(host: str) -> None:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise InvalidRequest(
            f"A local deployment is served to this machine only, not on {host!r}: it knows no users. "
            "Use 127.0.0.1, and a tunnel (ssh -L) to reach it from another machine."
        )


def _werkzeug_serving() -> Any:
    try:
        from werkzeug import serving
    except ImportError as error:
        raise NotSupported(
            'Serving on a port needs werkzeug: pip install "nomadquery[local]". '
            "Inside Python, Nomad(folder) reads a local deployment without it."
        ) from error
    return serving


def _quiet_handler(serving: Any) -> Any:
    """Return werkzeug's request handler, reporting to the log instead of standard error."""

    class Handler(serving.WSGIRequestHandler):  # type: ignore[misc]  # werkzeug is imported late
        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: ARG002
            logger.debug(message, *args)

        def connection_dropped(self, error: BaseException, environ: Any = None) -> None:  # noqa: ARG002
            self.close_connection = True  # nobody waits for the rest of an answer that was cut short

    return Handler
