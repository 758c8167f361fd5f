"""What is done beside reading is all done in the end; a failure is not lost. Runs of bytes cover."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.raw.aside import Aside
from nomadquery.raw.stored import runs_of


def test_all_jobs_are_done_when_the_context_is_left() -> None:
    """However many, by several threads."""
    done: list[int] = []
    mutex = threading.Lock()

    def work(job: int) -> None:
        with mutex:
            done.append(job)

    with Aside(work) as aside:
        for job in range(200):
            aside.give(job)
    assert sorted(done) == list(range(200))


@pytest.mark.parametrize("n_jobs", [1, 100])
def test_a_failure_is_raised(n_jobs: int) -> None:
    """While jobs are given, or at the end; the others are done."""
    done: list[int] = []

    def work(job: int) -> None:
        if job == 0:
            raise OSError("full")
        done.append(job)

    with pytest.raises(OSError, match="full"), Aside(work) as aside:
        for job in range(n_jobs):
            aside.give(job)
    assert len(done) <= n_jobs - 1


def test_an_error_of_the_reader_comes_after_what_was_given_is_done() -> None:
    """It is that error that is raised."""
    done: list[int] = []
    with pytest.raises(KeyError), Aside(done.append) as aside:
        aside.give(1)
        raise KeyError("reader")
    assert done == [1]


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 50)).map(lambda one: (one[0], one[0] + one[1]))),
    st.integers(0, 100),
)
def test_runs_cover_all_places_and_lie_far_apart(places: list[tuple[int, int]], gap: int) -> None:
    """Every place is in one run; between two runs there is more than a gap."""
    runs = runs_of(places, gap)
    assert all(sum(begin <= b and e <= end for begin, end in runs) == 1 for b, e in places)
    assert {begin for begin, _ in runs} <= {b for b, _ in places}
    assert {end for _, end in runs} <= {e for _, e in places}
    assert all(later[0] - one[1] > gap for one, later in pairwise(runs))
