"""A server with NOMAD's documented limits: 503 above 30 requests in any second, or 10 at a time."""

from __future__ import annotations

import threading
import time

from tests.faults.server import Answer, FaultServer, Received, as_proxy

PER_S, AT_A_TIME = 30, 10
_BUSY = as_proxy(503, "503 Service Temporarily Unavailable")


class LimitedServer(FaultServer):
    """Answers ``{"ok": true}`` after ``took_s``; ``n_refused`` and ``most`` tell what it met."""

    def __init__(self, *, took_s: float) -> None:
        super().__init__()
        self.n_refused = 0
        self.most = 0
        self._took_s = took_s
        self._starts: list[float] = []
        self._n_now = 0
        self._counting = threading.Lock()

    def next_answer(self, received: Received) -> Answer:
        with self._counting:
            now_s = time.monotonic()
            self.received.append(received)
            self._starts = [*(t for t in self._starts if t > now_s - 1), now_s]
            self._n_now += 1
            self.most = max(self.most, self._n_now)
            is_over = len(self._starts) > PER_S or self._n_now > AT_A_TIME
            self.n_refused += is_over
        time.sleep(0 if is_over else self._took_s)
        with self._counting:
            self._n_now -= 1
        return _BUSY if is_over else Answer()
