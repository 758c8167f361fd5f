"""What stands between a client and the stub: rate, failures, bandwidth; and counts of what happened."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from tests.benchmarks.stored import Part, Stretch

_SENT_AT_ONCE: Final = 64 << 10
_MOST_BUFFERS: Final = 1_000  # the system takes 1,024


@dataclass(frozen=True, slots=True)
class Options:
    """What a stub holds (``archives``: none, small, full), and its conditions; 0 or less is none.

    With ``raw_files`` it holds so many files of ``raw_bytes`` each, and their entries in place of others.
    """

    entries: int = 10_000
    archives: str = "none"
    raw_files: int = 0
    raw_bytes: int = 1_000
    latency_s: float = 0.0
    rate_per_s: float = 0.0
    concurrent: int = 0
    failures: float = 0.0
    bytes_per_s: float = 0.0
    gzip: bool = False
    archive_s: float = 0.0

    def arguments(self) -> list[str]:
        """Return the options as words of the command line."""
        words: list[str] = []
        for name, value in asdict(self).items():
            option = f"--{name.replace('_', '-')}"
            words += ([option] if value else []) if isinstance(value, bool) else [option, str(value)]
        return words


class Gate:
    """Rate, number of requests at a time, failures; and what became of the requests."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._n_inside, self._tokens, self._filled_s = 0, options.rate_per_s, time.monotonic()
        self.reset()

    def reset(self) -> None:
        """Forget what happened; the same requests fail again as failed before."""
        self._chance = random.Random(0)
        self._counts = dict.fromkeys(("requests", "refused", "failed", "connections", "sent_bytes"), 0)

    def counts(self) -> dict[str, int]:
        """Return how often what happened."""
        return dict(self._counts)

    def add(self, what: str, number: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[what] += number

    def enter(self) -> bool:
        """Return whether a request is admitted; then it has to `leave`."""
        with self._lock:
            self._counts["requests"] += 1
            now_s, rate = time.monotonic(), self._options.rate_per_s
            self._tokens = min(rate, self._tokens + rate * (now_s - self._filled_s))
            self._filled_s = now_s
            is_crowded = 0 < self._options.concurrent <= self._n_inside
            if is_crowded or (rate > 0 and self._tokens < 1):
                self._counts["refused"] += 1
                return False
            self._tokens -= 1
            self._n_inside += 1
            return True

    def leave(self) -> None:
        """Make room for the next."""
        with self._lock:
            self._n_inside -= 1

    def failure(self) -> str | None:
        """Return whether a request fails, and how."""
        with self._lock:
            drawn = self._chance.random()
            if drawn >= self._options.failures:
                return None
            self._counts["failed"] += 1
            return "502" if drawn < self._options.failures / 2 else "lost"


class Pipe:
    """What all connections send through, at a bandwidth that they share."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_s = 0.0
        self._lock = threading.Lock()

    def send(self, connection: socket.socket, head: bytes, parts: Sequence[Part]) -> int:
        """Send everything; return how many bytes."""
        buffers: list[bytes | memoryview] = [head]
        n_bytes = len(head) + sum(map(len, parts))
        for part in parts:
            if isinstance(part, Stretch):
                self._send_buffers(connection, buffers, flags=socket.MSG_MORE)
                buffers = []
                self._send_stretch(connection, part)
            else:
                buffers.append(part)
        self._send_buffers(connection, buffers)
        return n_bytes

    def _send_buffers(
        self, connection: socket.socket, buffers: Sequence[bytes | memoryview], flags: int = 0
    ) -> None:
        waiting = [memoryview(buffer) for buffer in buffers if len(buffer)]
        if self._bytes_per_s > 0:
            for buffer in waiting:
                for start in range(0, len(buffer), _SENT_AT_ONCE):
                    piece = buffer[start : start + _SENT_AT_ONCE]
                    self._wait(len(piece))
                    connection.sendall(piece, flags)
            return
        first = 0
        while first < len(waiting):
            sent = connection.sendmsg(waiting[first : first + _MOST_BUFFERS], (), flags)
            while first < len(waiting) and sent >= len(waiting[first]):
                sent -= len(waiting[first])
                first += 1
            if sent:
                waiting[first] = waiting[first][sent:]

    def _send_stretch(self, connection: socket.socket, stretch: Stretch) -> None:
        start = stretch.start
        while start < stretch.stop:
            n_bytes = stretch.stop - start
            if self._bytes_per_s > 0:
                n_bytes = min(n_bytes, _SENT_AT_ONCE)
                self._wait(n_bytes)
            start += os.sendfile(connection.fileno(), stretch.file, start, n_bytes)

    def _wait(self, n_bytes: int) -> None:
        with self._lock:
            self._free_s = max(time.monotonic(), self._free_s) + n_bytes / self._bytes_per_s
            free_s = self._free_s
        time.sleep(max(0.0, free_s - time.monotonic()))
