"""One server of synthetic entries for the tests of this folder, healthy before each of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.catalogue import Catalogue
from tests.faults.entries import EntriesServer, healthy
from tests.faults.fetching import Row, rows_from

CATALOGUE = Catalogue(range(1_000))


#: Hundreds of tables would wait for the disk; where the system has a folder in memory, they do not.
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture
def cache() -> Iterator[Path]:
    """Return an empty folder for tables."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def running_server() -> Iterator[EntriesServer]:
    with EntriesServer(CATALOGUE) as running:
        yield running


@pytest.fixture
def entries(running_server: EntriesServer) -> EntriesServer:
    """Return a healthy server of 1,000 entries that was asked nothing yet."""
    running_server.catalogue = CATALOGUE
    running_server.will(healthy)
    running_server.forget()
    return running_server


@pytest.fixture(scope="session")
def undisturbed(running_server: EntriesServer, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Return the rows of the table that nothing happened to."""
    running_server.will(healthy)
    running_server.catalogue = CATALOGUE
    return rows_from(running_server, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="session")
def undisturbed_archives(
    running_server: EntriesServer, tmp_path_factory: pytest.TempPathFactory
) -> list[Row]:
    """Return the same with values from archives."""
    running_server.will(healthy)
    running_server.catalogue = CATALOGUE
    return rows_from(running_server, tmp_path_factory.mktemp("undisturbed"), archives=True)
