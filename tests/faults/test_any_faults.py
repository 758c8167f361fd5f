"""Whatever happens in whatever order: no row is lost, none is there twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from nomadquery.errors import IncompleteResult, ResponseFormatError, TransportError
from tests.faults.catalogue import Catalogue
from tests.faults.conftest import IN_MEMORY
from tests.faults.entries import EntriesServer, healthy
from tests.faults.faults import Course
from tests.faults.fetching import Row, rows_from
from tests.strategies import courses

N, PAGE = 150, 25


@pytest.fixture(scope="module")
def server() -> Iterator[EntriesServer]:
    with EntriesServer(Catalogue(range(N))) as running:
        yield running


@pytest.fixture(scope="module")
def expected(server: EntriesServer, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return rows_from(server, tmp_path_factory.mktemp("undisturbed"), page_size=PAGE)


@settings(max_examples=200, deadline=None)
@given(course=courses())
@example(course=Course((None, "an entry twice"), None, (1, "all entries left out")))  # listed twice by ids
def test_no_course_of_faults_costs_a_row(server: EntriesServer, expected: list[Row], course: Course) -> None:
    """The table is as without faults, or an error says what is missing and the next call completes it."""
    server.will(course)
    server.forget()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        try:
            rows = rows_from(server, Path(folder), page_size=PAGE)
        except (IncompleteResult, TransportError, ResponseFormatError) as error:
            check_told(error, course)
            server.will(healthy)
            server.forget()
            rows = rows_from(server, Path(folder), page_size=PAGE)
            check_nothing_asked_twice(error, server, course)
        assert rows == expected


def check_told(error: IncompleteResult | TransportError | ResponseFormatError, course: Course) -> None:
    """An incomplete result says how much is here and how much is not; totals that were wrong aside."""
    if isinstance(error, IncompleteResult):
        assert error.n_arrived > 0
        assert course.quiet is not None or error.n_arrived + error.n_missing == N
        assert len(error.missing) in {0, error.n_missing}


def check_nothing_asked_twice(error: Exception, server: EntriesServer, course: Course) -> None:
    """What had arrived is not asked for again."""
    if isinstance(error, IncompleteResult) and course.quiet is None:
        assert server.n_given() <= N - error.n_arrived
