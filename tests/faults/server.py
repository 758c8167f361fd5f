"""A loopback server on real sockets that fails as told: scripted answers, cut bodies, resets, silence."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

PROXY_PAGE = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True)
class Answer:
    """What one request gets.

    ``fault``: ``reset`` drops the connection without an answer; ``silence`` never answers;
    ``cut`` promises the whole body and closes after half of it; ``cut_chunks`` the same without a
    promised length; ``cut_gzip`` sends half of the compressed body as if it were whole.
    """

    status: int = 200
    body: bytes = b'{"ok": true}'
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    fault: Literal["reset", "silence", "cut", "cut_chunks", "cut_gzip"] | None = None


def as_json(content: Any, status: int = 200, **headers: str) -> Answer:
    """Return an answer as NOMAD gives it."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, json.dumps(content).encode(), (("Content-Type", "application/json"), *named))


def as_proxy(status: int, title: str, **headers: str) -> Answer:
    """Return an answer as the proxy in front of NOMAD gives it: an HTML page."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, PROXY_PAGE.format(title).encode(), (("Content-Type", "text/html"), *named))


def redirect(status: int, location: str) -> Answer:
    """Return a redirect."""
    return Answer(status, b"", (("Location", location),))


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class FaultServer:
    """Gives the scripted answers in turn, then ``{"ok": true}``; keeps what it received."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._script: Iterator[Answer] = iter(())
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    def will_answer(self, *answers: Answer) -> None:
        self.script(answers)

    def script(self, answers: Iterable[Answer]) -> None:
        """Give these answers in turn; the script may be endless."""
        self._script = iter(answers)

    def next_answer(self, received: Received) -> Answer:
        with self._lock:
            self.received.append(received)
            return next(self._script, Answer())

    def wait_until_over(self) -> None:
        self._over.wait(timeout=10)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, faults: FaultServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults = faults


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        received = Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        self._give(self.server.faults.next_answer(received))

    do_POST = do_GET
    do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def _give(self, answer: Answer) -> None:
        match answer.fault:
            case "reset":
                # zero linger time makes the kernel send RST instead of FIN
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            case "silence":
                self.server.faults.wait_until_over()
                self.close_connection = True
            case "cut":
                self._send(answer, answer.body[: len(answer.body) // 2], ("Content-Length", len(answer.body)))
                self.close_connection = True
            case "cut_chunks":
                half = answer.body[: len(answer.body) // 2]
                self._send(answer, b"%x\r\n%b\r\n" % (len(half), half), ("Transfer-Encoding", "chunked"))
                self.close_connection = True
            case "cut_gzip":
                packed = gzip.compress(answer.body)
                half = packed[: len(packed) // 2]
                self._send(answer, half, ("Content-Encoding", "gzip"), ("Content-Length", len(half)))
            case None:
                self._send(answer, answer.body, ("Content-Length", len(answer.body)))

    def _send(self, answer: Answer, body: bytes, *framing: tuple[str, object]) -> None:
        self.send_response(answer.status)
        for name, value in (*answer.headers, *framing):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
