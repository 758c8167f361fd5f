"""Time that passes only when somebody sleeps."""

from __future__ import annotations


class Clock:
    """A clock and the sleep that moves it; ``pauses`` keeps what was slept, in seconds."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self.now_s = now_s
        self.pauses: list[float] = []

    def time(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.pauses.append(duration_s)
        self.now_s += duration_s
