"""Work beside reading: some threads flush files to the disk while the next is read from the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from nomadquery.fetch.crew import Crew, ended

#: A disk takes several flushes at once; each waits for it, not for the processor.
N_THREADS: Final = 4
#: Jobs that may wait, each a file whose content is in the memory of the system.
_MOST_WAITING: Final = 16

_Job = TypeVar("_Job")


class Aside(Generic[_Job]):
    """Carries out jobs in the order in which there is a thread for them; leave the context to have all done.

    The first failure is raised out of `give`, or at the end. Left by an error, what was given is still done.
    """

    def __init__(self, work: Callable[[_Job], object]) -> None:
        self._crew: Crew[_Job, object] = Crew(work, N_THREADS)

    def __enter__(self) -> Aside[_Job]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        failure: BaseException | None = None
        while self._crew.n_out:
            failure = failure or self._crew.take().failure
        self._crew.dismiss()
        if kind is None and failure is not None:
            raise failure

    def give(self, job: _Job) -> None:
        """Have a job done; wait if too many are."""
        while self._crew.n_out >= _MOST_WAITING:
            ended(self._crew.take())
        self._crew.give(job)
