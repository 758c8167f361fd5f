"""The SQLite file of a local deployment: opening it, its tables, its version, its failures."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nomadquery.errors import CacheCorrupt, CacheError, CacheFormatTooNew

#: Written into the file; a file with a higher number is refused.
SCHEMA_VERSION: Final = 1
FILE_NAME: Final = "entries.sqlite"

#: How long a writer waits for another one.
_BUSY_TIMEOUT_S: Final = 30.0

_TABLES: Final = """
CREATE TABLE state (generation INTEGER NOT NULL);
INSERT INTO state VALUES (abs(random() >> 2));  -- no two deployments begin alike, even in one folder
CREATE TABLE uploads (
    upload_id TEXT PRIMARY KEY, upload_name TEXT, main_author TEXT, upload_create_time TEXT,
    published INTEGER NOT NULL, with_embargo INTEGER NOT NULL
);
CREATE TABLE entries (
    entry_id TEXT PRIMARY KEY, upload_id TEXT NOT NULL REFERENCES uploads, mainfile TEXT,
    main_author TEXT, published INTEGER NOT NULL, with_embargo INTEGER NOT NULL, document BLOB NOT NULL
);
CREATE INDEX entries_of_upload ON entries (upload_id);
CREATE TABLE archives (entry_id TEXT PRIMARY KEY REFERENCES entries, content BLOB NOT NULL);
"""


def opened(path: Path | None) -> sqlite3.Connection:
    """Return a connection that reads and writes, with its tables made; without a path, in memory."""
    connection = _connect(":memory:" if path is None else str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if _version(connection) == 0:
        connection.execute("BEGIN IMMEDIATE")
        if _version(connection) == 0:  # another process may have made them meanwhile
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    return _checked(connection, path)


def opened_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that reads only and needs no permission to write in the folder.

    Raises
    ------
    CacheError
        If there is no file.
    """
    if not path.is_file():
        raise CacheError(
            f"{path.parent} holds no local deployment and cannot be written to. Name another folder, "
            "or one that `nomadquery serve` or `search.mirror` has filled."
        )
    address = f"{path.absolute().as_uri()}?mode=ro"
    connection = _connect(address)
    try:
        _version(connection)
    except sqlite3.OperationalError:
        # A write-ahead log needs files that this folder forbids; as nobody can be writing,
        # the file can be read as one that does not change.
        connection.close()
        connection = _connect(f"{address}&immutable=1")
    return _checked(connection, path)


@contextmanager
def errors_named(place: str) -> Iterator[None]:
    """Turn what SQLite says about the database in ``place`` into what the user can do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        said = str(error)
        if "locked" in said:
            raise CacheError(
                f"Another process has been writing to {place} for {_BUSY_TIMEOUT_S:.0f} s: try again."
            ) from error
        if "not a database" in said or "malformed" in said:
            raise CacheCorrupt(
                f"The database in {place} is damaged ({said}). Remove {FILE_NAME} there, "
                "or name another folder."
            ) from error
        raise CacheError(f"The local deployment in {place} cannot be used: {said}.") from error


def _connect(target: str) -> sqlite3.Connection:
    return sqlite3.connect(
        target,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        uri=target.startswith("file:"),
    )


def _checked(connection: sqlite3.Connection, path: Path | None) -> sqlite3.Connection:
    version = _version(connection)
    if version > SCHEMA_VERSION:
        raise CacheFormatTooNew(
            f"{path} has format {version}; this nomadquery knows {SCHEMA_VERSION}. "
            "Upgrade nomadquery, or name another folder."
        )
    if version == 0:
        raise CacheCorrupt(f"{path} is not a database of nomadquery. Name another folder.")
    return connection


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
