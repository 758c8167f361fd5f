"""Time that passes only when somebody sleeps."""

from __future__ import annotations

import threading


class Clock:
    """A clock and the sleep that moves it; ``pauses`` keeps what was slept, in seconds."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self.now_s = now_s
        self.pauses: list[float] = []
        self._lock = threading.Lock()

    def time(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        with self._lock:
            self.pauses.append(duration_s)
            self.now_s += duration_s


class ThreadClock(Clock):
    """A clock for threads that sleep at the same time: what one of them sleeps is no time to the others.

    Sleeping takes no time here, so that threads sleep one after the other; on a common clock their pauses
    would add up, as they do nowhere else.
    """

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        super().__init__(now_s)
        self._own = threading.local()

    def time(self) -> float:
        return self.now_s + float(getattr(self._own, "slept_s", 0.0))

    def sleep(self, duration_s: float) -> None:
        self._own.slept_s = getattr(self._own, "slept_s", 0.0) + duration_s
        with self._lock:
            self.pauses.append(duration_s)


class JumpingClock(ThreadClock):
    """A wall clock that is put forwards, or back, by ``jump_s`` whenever somebody looks at it."""

    def __init__(self, jump_s: float) -> None:
        super().__init__()
        self._jump_s = jump_s

    def time(self) -> float:
        with self._lock:
            self.now_s += self._jump_s
        return super().time()
