"""A loopback server on real sockets that fails as told: scripted answers, cut bodies, resets, silence."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

PROXY_PAGE = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


Fault = Literal[
    "reset",
    "reset_in_headers",
    "reset_in_body",
    "silence",
    "stall",
    "stall_at_the_last",
    "drip",
    "cut",
    "cut_chunks",
    "cut_gzip",
    "too_long",
    "too_short",
    "surplus",
]

#: What follows an answer with the fault ``surplus``: a page of NOMAD without entries.
NOTHING_FOUND = b'{"pagination": {"page_size": 100, "total": 0}, "data": []}'
_DRIPS = 40


@dataclass(frozen=True)
class Answer:
    """What one request gets.

    ``fault``: ``reset`` drops the connection without an answer; ``reset_in_headers`` and
    ``reset_in_body`` half-way through either; ``silence`` never answers; ``stall`` sends half of the
    body and then nothing, the connection open; ``stall_at_the_last`` the same where it is to be closed after
    the answer; ``drip`` sends the first bytes
    few at a time; ``cut`` promises the whole body and closes after half of it; ``cut_chunks`` the same
    without a promised length; ``cut_gzip`` sends half of the compressed body as if it were whole;
    ``too_long`` promises more than the whole body and closes; ``too_short`` promises half of the body that
    it sends; ``surplus`` sends another whole answer, `NOTHING_FOUND`, that nobody asked for.
    ``kept`` is how many bytes of the body arrive, where that need not be half of them.
    """

    status: int = 200
    body: bytes = b'{"ok": true}'
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    fault: Fault | None = None
    kept: int | None = None


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

    def was_answered(self, received: Received, answer: Answer, *, to_the_end: bool) -> None:
        """Learn that an answer was sent, and whether to its end."""

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
    request_queue_size = 64

    def __init__(self, faults: FaultServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults = faults

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Take no notice of clients that are gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: _Server

    def do_GET(self) -> None:
        promised = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(promised)
        if len(body) < promised:
            raise ConnectionAbortedError("the client is gone")
        received = Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        answer = self.server.faults.next_answer(received)
        is_sent = False
        try:
            self._give(answer)
            is_sent = True
        finally:
            self.server.faults.was_answered(received, answer, to_the_end=is_sent)

    do_POST = do_GET
    do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def _give(self, answer: Answer) -> None:
        body = answer.body
        half = body[: len(body) // 2 if answer.kept is None else answer.kept]
        match answer.fault:
            case "reset":
                self._reset()
            case "reset_in_headers":
                head = self._message(answer, b"", ("Content-Length", len(body)))
                self._send(head[: len(head) // 2])
                self._reset()
            case "reset_in_body":
                self._send(self._message(answer, half, ("Content-Length", len(body))))
                self._reset()
            case "silence":
                self.server.faults.wait_until_over()
                self.close_connection = True
            case "stall" | "stall_at_the_last":
                closing = (("Connection", "close"),) if answer.fault == "stall_at_the_last" else ()
                self._send(self._message(answer, half, *closing, ("Content-Length", len(body))))
                self.server.faults.wait_until_over()
                self.close_connection = True
            case "drip":
                self._drip(self._message(answer, body, ("Content-Length", len(body))))
            case "cut":
                self._send(self._message(answer, half, ("Content-Length", len(body))))
                self.close_connection = True
            case "cut_chunks":
                chunk = b"%x\r\n%b\r\n" % (len(half), half)
                self._send(self._message(answer, chunk, ("Transfer-Encoding", "chunked")))
                self.close_connection = True
            case "cut_gzip":
                packed = gzip.compress(body)
                part = packed[: len(packed) // 2]
                gzipped = ("Content-Encoding", "gzip"), ("Content-Length", len(part))
                self._send(self._message(answer, part, *gzipped))
            case "too_long":
                self._send(self._message(answer, body, ("Content-Length", len(body) + 10)))
                self.close_connection = True
            case "too_short":
                self._send(self._message(answer, body, ("Content-Length", len(half))))
            case "surplus":
                other = self._message(answer, NOTHING_FOUND, ("Content-Length", len(NOTHING_FOUND)))
                self._send(self._message(answer, body, ("Content-Length", len(body))) + other)
            case None:
                self._send(self._message(answer, body, ("Content-Length", len(body))))

    def _message(self, answer: Answer, body: bytes, *framing: tuple[str, object]) -> bytes:
        phrase = self.responses.get(answer.status, ("", ""))[0]
        named = (("Date", self.date_time_string()), *answer.headers, *framing)
        fields = "".join(f"{name}: {value}\r\n" for name, value in named)
        return f"HTTP/1.1 {answer.status} {phrase}\r\n{fields}\r\n".encode("latin-1") + body

    def _send(self, message: bytes) -> None:
        self.wfile.write(message)
        self.wfile.flush()

    def _drip(self, message: bytes) -> None:
        """Send it in small pieces, each after a pause; what is left of a long one in larger ones."""
        head, rest = message[: 5 * _DRIPS], message[5 * _DRIPS :]
        size = max(5, -(-len(rest) // _DRIPS))
        pieces = [head[i : i + 5] for i in range(0, len(head), 5)]
        for piece in (*pieces, *(rest[i : i + size] for i in range(0, len(rest), size))):
            self._send(piece)
            time.sleep(0.0002)

    def _reset(self) -> None:
        # zero linger time makes the kernel send RST instead of FIN
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
