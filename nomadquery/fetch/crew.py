"""Requests side by side: threads that wait for the server, and one that takes what they bring.

Receiving, inflating and reading plain columns leave the interpreter to others, building Python objects does
not: so there are many threads that ask, and what needs objects is decoded by the one that calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")

_WAKE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Brought(Generic[_Job, _Answer]):
    """What became of a job: an answer, or the failure that it ended with."""

    job: _Job
    answer: _Answer | None
    failure: BaseException | None = None


class Crew(Generic[_Job, _Answer]):
    """Carries out jobs, at most ``n_threads`` at once; without threads each when it is waited for.

    The threads do not keep the interpreter alive: after an interruption nobody waits for a server.
    """

    def __init__(self, work: Callable[[_Job], _Answer], n_threads: int) -> None:
        self._work = work
        self._n_threads = n_threads
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: SimpleQueue[Brought[_Job, _Answer]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._inline: list[_Job] = []
        self.n_out = 0

    @property
    def n_places(self) -> int:
        """How many jobs may be given at once."""
        return max(1, self._n_threads)

    def give(self, job: _Job) -> None:
        """Begin a job, in a thread of its own if there are fewer than allowed."""
        self.n_out += 1
        if not self._n_threads:
            self._inline.append(job)
            return
        self._jobs.put(job)
        if len(self._threads) < min(self.n_out, self._n_threads):
            thread = threading.Thread(target=self._carry_out, name="nomadquery-fetch", daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self) -> Brought[_Job, _Answer]:
        """Return the next job that has ended; wait for it, interruptibly."""
        if self._inline:
            self.n_out -= 1
            return self._brought(self._inline.pop(0))
        while True:
            try:
                brought = self._done.get(timeout=_WAKE_S)
            except Empty:  # some systems see Ctrl-C only between two waits
                continue
            self.n_out -= 1
            return brought

    def dismiss(self) -> None:
        """End the threads once they have done what they are at; nobody waits for that."""
        for _ in self._threads:
            self._jobs.put(None)

    def _carry_out(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._done.put(Brought(job, self._work(job)))
            except BaseException as failure:  # whatever it is, somebody waits for this job
                self._done.put(Brought(job, None, failure))

    def _brought(self, job: _Job) -> Brought[_Job, _Answer]:
        try:
            return Brought(job, self._work(job))
        except Exception as failure:
            return Brought(job, None, failure)


def ended(brought: Brought[Any, _Answer]) -> _Answer:
    """Return the answer of a job, or raise what it failed with."""
    if brought.failure is not None:
        raise brought.failure
    return brought.answer  # type: ignore[return-value]  # there is one where nothing failed
