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
from nomadquery.http.message import Headers, Reply, Request
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

        reply = self._reply(http)
        body, headers = reply.body, dict(reply.headers)
        if len(body) >= _LEAST_COMPRESSED_BYTES and http.accept_encodings.quality("gzip") > 0:
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
        return HttpResponse(body, status=reply.status, headers=headers)

    def _reply(self, http: HttpRequest) -> Reply:
        prefix = _CENTRAL_PREFIX if http.path.startswith(f"{_CENTRAL_PREFIX}/") else ""
        path = http.path.removeprefix(prefix)
        api_base = f"{http.host_url.rstrip('/')}{prefix}{_API}"
        if path == "/alive":
            return _json_reply(200, _ALIVE, http.url)
        if not path.startswith(f"{_API}/"):
            return _json_reply(404, {"detail": "Not Found"}, http.url)
        body, refusal = _parsed_body(http.get_data())
        if refusal is not None:
            return _json_reply(422, {"detail": refusal}, http.url)
        request = Request(
            http.method,
            path.removeprefix(f"{_API}/"),
            params=tuple(http.args.items(multi=True)),
            json=body,
        )
        try:
            return self._deployment.answer(request, api_base=api_base)
        except CacheError as error:
            logger.exception("%s could not be answered", request)
            return _json_reply(500, {"detail": str(error)}, http.url)


def _parsed_body(content: bytes) -> tuple[Any, Any]:
    """Return a JSON body, or how NOMAD refuses one that is none."""
    if not content:
        return None, None
    try:
        return msgspec.json.decode(content), None
    except msgspec.DecodeError as error:
        found = problem("json_invalid", ["body", 0], "JSON decode error", {}, error=str(error))
        return None, malformed([found]).detail


def _json_reply(status: int, content: Any, url: str) -> Reply:
    headers = Headers({"content-type": "application/json"})
    return Reply(status, headers, msgspec.json.encode(content), url)


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

    return Handler
