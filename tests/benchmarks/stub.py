"""A stub of NOMAD's API on loopback that is never what is waited for, under conditions of one's choice.

Run ``python tests/benchmarks/stub.py --entries 100000 [--archives small] [conditions]``: it says its
port and answers until killed. In programs, `running` starts and stops one. ``--speed`` measures how fast a
bare socket reads a page of 10,000 entries from it; without latency that should be more than 1 GB/s.

It knows ``GET info``, ``POST …/entries/query`` and ``POST …/entries/archive/query``: pages by
``page_after_value`` (any text) in the order of ids or of uploads, ranges and lists of entry ids, joined by
``and``. Anything else is answered by 422, so that no benchmark measures what NOMAD would not have answered.
Answers do not depend on ``required`` but for one thing: whoever asks only for ids and times gets only these.

With ``--raw-files 5000 --raw-bytes 400000`` it answers all that a local deployment does, about one upload
with these files (see `raw`), under the same conditions; bodies without a known length go out in chunks.

Conditions are those between a client and NOMAD: latency before each answer (handshakes cost nothing, which
flatters those who open many connections), a rate as of nginx' ``limit_req`` (a bucket that is full at
first) and a number of requests at a time, beyond which the answer is an HTML 503, a share of failures
(half 502, half lost connections), a bandwidth that all connections share, gzip for those who accept it,
and seconds of work for each archive. ``GET /-/counts`` tells what happened so far, ``DELETE`` forgets it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qsl, urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from nomadquery.http.message import Request
from tests.benchmarks.conditions import Gate, Options, Pipe
from tests.benchmarks.documents import IDENTIFYING, Kind
from tests.benchmarks.index import Index, NotUnderstood, runs_of
from tests.benchmarks.raw import open_raw
from tests.benchmarks.stored import Part, default_folder, open_entries, open_stored

API: Final = "/nomad-oasis/api/v1"
_LARGEST_PAGE: Final = 10_000
_INFO: Final = b'{"version":"2.0.0","deployment":"stub","oasis":true}'


class Stub:
    """Answers requests, each connection in a thread of its own."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._raw = open_raw(folder, options.raw_files, options.raw_bytes) if options.raw_files else None
        kinds: list[Kind] = ["metadata", "listed"] if self._raw is None else []
        if options.archives != "none" and kinds:
            kinds.append("full" if options.archives == "full" else "small")
        self._options = options
        self._index = Index(open_entries(options.entries))
        self._stored = [open_stored(folder, kind, options.entries) for kind in kinds]
        self._gate, self._pipe = Gate(options), Pipe(options.bytes_per_s)

    def serve(self, listening: socket.socket) -> None:
        """Answer until killed."""
        while True:
            connection, _ = listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        self._gate.add("connections")
        with connection, connection.makefile("rb") as asked:
            try:
                while (request := _read_request(asked)) is not None:
                    if not self._answer(connection, *request):
                        return
            except (ConnectionError, ValueError):
                return

    def _answer(
        self, connection: socket.socket, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> bool:
        """Answer one request; return whether the connection stays open."""
        if path == "/-/counts":
            if method == "DELETE":
                self._gate.reset()
            return self._give(connection, 200, json.dumps(self._gate.counts()).encode())
        time.sleep(self._options.latency_s)
        if not self._gate.enter():
            return self._give(connection, 503)
        try:
            match self._gate.failure():
                case "502":
                    return self._give(connection, 502)
                case "lost":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return False
            bare = path.partition("?")[0]
            if method == "GET" and bare.endswith("/info"):
                return self._give(connection, 200, _INFO)
            if self._raw is not None:
                return self._give_raw(connection, method, path, headers, body)
            path = bare
            if method == "POST" and path.endswith("/entries/query"):
                return self._give_page(connection, json.loads(body), headers, is_archive=False)
            if method == "POST" and path.endswith("/entries/archive/query"):
                return self._give_page(connection, json.loads(body), headers, is_archive=True)
            return self._give(connection, 404, b'{"detail":"Not Found"}')
        except NotUnderstood as error:
            return self._give(connection, 422, json.dumps({"detail": f"stub: {error}"}).encode())
        finally:
            self._gate.leave()

    def _give_page(
        self,
        connection: socket.socket,
        asked: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        is_archive: bool,
    ) -> bool:
        if asked.get("aggregations") or (is_archive and self._options.archives == "none"):
            raise NotUnderstood("aggregations, or archives where there are none")
        paging = dict(asked.get("pagination") or {})
        selected = self._index.selected(asked.get("query"))
        hits, after = self._index.page(selected, paging)
        runs = runs_of(hits)
        told = {"page_size": 10, "order_by": "entry_id", "order": "asc"} | paging | {"total": len(selected)}
        if after is not None:
            told["next_page_after_value"] = after
        head = b'{"owner":"public","pagination":%b,"data":[' % json.dumps(told).encode()
        if is_archive:
            time.sleep(len(hits) * self._options.archive_s)
        stored = self._stored[2 if is_archive else 1 if _is_listing(asked) else 0]
        lines = b"Content-Type: application/json\r\n"
        if self._options.gzip and "gzip" in headers.get("accept-encoding", ""):
            lines += b"Content-Encoding: gzip\r\n"
            return self._send(connection, 200, lines, stored.gzipped(runs, head, b"]}"))
        return self._send(connection, 200, lines, [head, *stored.parts(runs), b"]}"])

    def _give_raw(
        self, connection: socket.socket, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> bool:
        """Send what a local deployment answers, block by block."""
        bare, _, query = path.partition("?")
        request = Request(
            method,
            bare.removeprefix(f"{API}/"),
            params=tuple(parse_qsl(query, keep_blank_values=True)),
            json=json.loads(body) if body else None,
            headers=tuple(headers.items()),
        )
        assert self._raw is not None
        answer = self._raw.respond(request, api_base=f"http://{headers.get('host', '')}{API}")
        is_chunked = "content-length" not in answer.headers
        fields = {**answer.headers, **({"transfer-encoding": "chunked"} if is_chunked else {})}
        lines = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
        phrase = http.client.responses[answer.status]
        head = f"HTTP/1.1 {answer.status} {phrase}\r\n{lines}\r\n".encode("latin-1")
        try:
            for block in answer.blocks:
                parts = (b"%x\r\n" % len(block), block, b"\r\n") if is_chunked else (block,)
                if block:
                    self._gate.add("sent_bytes", self._pipe.send(connection, head, parts))
                    head = b""
            end = b"0\r\n\r\n" if is_chunked else b""
            self._gate.add("sent_bytes", self._pipe.send(connection, head, (end,)))
        finally:
            answer.close()
        return True

    def _give(self, connection: socket.socket, status: int, body: bytes | None = None) -> bool:
        """Send an answer of a few bytes, or the page by which a proxy says what went wrong."""
        if body is not None:
            return self._send(connection, status, b"Content-Type: application/json\r\n", [body])
        title = f"{status} {http.client.responses[status]}"
        page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>{title}</body>\r\n</html>\r\n"
        return self._send(connection, status, b"Content-Type: text/html\r\n", [page.encode()])

    def _send(self, connection: socket.socket, status: int, lines: bytes, parts: Sequence[Part]) -> bool:
        head = b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n\r\n" % (
            status,
            http.client.responses[status].encode(),
            lines,
            sum(map(len, parts)),
        )
        self._gate.add("sent_bytes", self._pipe.send(connection, head, parts))
        return True


def _read_request(asked: BinaryIO) -> tuple[str, str, dict[str, str], bytes] | None:
    """Return method, address, headers and body; ``None`` where the client has gone."""
    first = asked.readline().decode().split()
    if not first:
        return None
    headers: dict[str, str] = {}
    while line := asked.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return first[0], first[1], headers, asked.read(int(headers.get("content-length", 0)))


def _is_listing(asked: Mapping[str, Any]) -> bool:
    """Return whether only ids and times are asked for."""
    include = set((asked.get("required") or {}).get("include") or ())
    return bool(include) and include <= set(IDENTIFYING)


# -- for those who use it ----------------------------------------------------------------------------------


@contextmanager
def running(options: Options, folder: Path | None = None) -> Iterator[str]:
    """Run a stub as a process of its own, and give the address of its API."""
    where = ["--data", str(folder or default_folder()), "--attached"]
    command = [sys.executable, __file__, *options.arguments(), *where]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline()
            if not port:
                raise RuntimeError("the stub did not start")
            yield f"http://127.0.0.1:{int(port)}{API}"
        finally:
            process.kill()


def counts(address: str, *, reset: bool = False) -> dict[str, int]:
    """Return what the stub at this address counted; forget it with ``reset``."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    try:
        connection.request("DELETE" if reset else "GET", "/-/counts")
        told: dict[str, int] = json.loads(connection.getresponse().read())
        return told
    finally:
        connection.close()


def speed(address: str, n_pages: int = 20) -> float:
    """Return the GB/s at which a bare socket receives pages of 10,000 entries."""
    body = json.dumps({"pagination": {"page_size": _LARGEST_PAGE}}).encode()
    request = b"POST %b/entries/query HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (
        API.encode(),
        len(body),
        body,
    )
    buffer = bytearray(1 << 20)
    n_bytes, began_s = 0, time.perf_counter()
    with socket.create_connection((urlsplit(address).hostname or "", urlsplit(address).port or 0)) as wire:
        for _ in range(n_pages):
            wire.sendall(request)
            n_left = -1
            while n_left:
                received = wire.recv_into(buffer)
                if n_left < 0:
                    head, _, rest = bytes(buffer[:received]).partition(b"\r\n\r\n")
                    n_left = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) - len(rest)
                else:
                    n_left -= received
                n_bytes += received
    return n_bytes / (time.perf_counter() - began_s) / 1e9


def main() -> None:
    """Say on which port, then answer until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for option in fields(Options):
        name, default = f"--{option.name.replace('_', '-')}", option.default
        if isinstance(default, bool):
            parser.add_argument(name, action="store_true")
        else:
            choices = ("none", "small", "full") if option.name == "archives" else None
            parser.add_argument(name, type=type(default), default=default, choices=choices)
    parser.add_argument("--data", type=Path, default=default_folder(), help="where entries are kept")
    parser.add_argument("--attached", action="store_true", help="end with the end of the standard input")
    parser.add_argument("--speed", action="store_true", help="measure how fast a page is sent")
    given = parser.parse_args()
    options = Options(**{option.name: getattr(given, option.name) for option in fields(Options)})
    if given.speed:
        with running(options, given.data) as address:
            print(f"{speed(address):.2f} GB/s")
        return
    stub = Stub(options, given.data)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        print(listening.getsockname()[1], flush=True)
        serving = threading.Thread(target=stub.serve, args=(listening,), daemon=True)
        serving.start()
        if given.attached:
            sys.stdin.read()
        else:
            serving.join()


if __name__ == "__main__":
    main()
