"""The entries of a local deployment: one SQLite file in a folder, or in memory.

Search documents are kept as JSON, archives as compressed JSON; raw files lie beside them
(`raw_store`). A process parses the documents once and keeps them until some process has
written; a deployment of up to 100,000 entries is meant. Any number of processes and threads
may read; one writes at a time, and others wait for it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import msgspec

from nomadquery.errors import CacheCorrupt, CacheError
from nomadquery.local.database import FILE_NAME, errors_named, opened, opened_to_read
from nomadquery.local.index import Document, Known, search_document, without_mail_addresses
from nomadquery.local.raw_store import Content, RawStore
from nomadquery.query.catalogue import catalogue_for

_COMPRESSION: Final = 1  # three times faster than the usual 6, a tenth larger
_LINES_AT_ONCE: Final = 200
_RAW: Final = "raw"
_UNFINISHED: Final = ".building-"
_ABANDONED_AFTER_S: Final = 3600.0
_NOBODY: Final[Known] = MappingProxyType({})


class LocalStore:
    """The entries in ``folder``; without a folder they live in memory and end with the object.

    A folder that is not there is made. One that cannot be written to can still be read
    (`is_read_only`). Documents are shared with the store: whoever changes one copies it first.

    Raises
    ------
    CacheFormatTooNew
        If a newer nomadquery wrote the file.
    CacheCorrupt
        If the file is not what this class writes.
    CacheError
        If there is nothing to read and nothing can be written.
    """

    def __init__(self, folder: Path | None = None, *, read_only: bool = False) -> None:
        self.folder = folder
        self.is_read_only = read_only
        self.raw = RawStore(None if folder is None else folder / _RAW)
        self._lock = threading.RLock()
        self._loaded: tuple[int, dict[str, Document]] = (-1, {})
        self._connection: sqlite3.Connection | None = None
        self._parents: sqlite3.Connection | None = None
        self._process_id = os.getpid()
        self._connected()

    @property
    def count(self) -> int:
        """How many entries there are, visible or not."""
        with self._reading() as connection:
            count: int = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
        return count

    @property
    def generation(self) -> int:
        """A number that changes whenever any process has written."""
        with self._reading() as connection:
            generation: int = connection.execute("SELECT generation FROM state").fetchone()[0]
        return generation

    def document(self, entry_id: str) -> Document | None:
        """Return the search document of an entry, ``None`` if there is no such entry."""
        return self.snapshot()[1].get(entry_id)

    def documents(self) -> Iterator[Document]:
        """Return all search documents in the order of their entry ids."""
        return iter(self.snapshot()[1].values())

    def snapshot(self) -> tuple[int, Mapping[str, Document]]:
        """Return the `generation` and its search documents by entry id, in the order of the ids."""
        with self._reading() as connection:
            generation = connection.execute("SELECT generation FROM state").fetchone()[0]
            if self._loaded[0] != generation:
                rows = connection.execute("SELECT entry_id, document FROM entries ORDER BY entry_id")
                decode = msgspec.json.Decoder(dict[str, Any]).decode
                try:
                    self._loaded = (generation, {entry_id: decode(text) for entry_id, text in rows})
                except msgspec.DecodeError as error:
                    raise CacheCorrupt(f"A search document in {self._place} is damaged: {error}") from error
            return self._loaded

    def archive(self, entry_id: str) -> dict[str, Any] | None:
        """Return a fresh copy of an entry's archive, ``None`` if it has none."""
        with self._reading() as connection:
            rows = connection.execute("SELECT content FROM archives WHERE entry_id = ?", (entry_id,))
            row = rows.fetchone()
        if row is None:
            return None
        try:
            archive: dict[str, Any] = msgspec.json.decode(zlib.decompress(row[0]))
        except (zlib.error, msgspec.DecodeError) as error:
            raise CacheCorrupt(f"The archive of {entry_id} in {self._place} is damaged: {error}") from error
        return archive

    def entry_of(self, upload_id: str, mainfile: str) -> str | None:
        """Return the id of the (first) entry of a mainfile, ``None`` if there is none."""
        query = "SELECT min(entry_id) FROM entries WHERE upload_id = ? AND mainfile = ?"
        with self._reading() as connection:
            entry_id: str | None = connection.execute(query, (upload_id, mainfile)).fetchone()[0]
        return entry_id

    def uploads(self) -> dict[str, list[str]]:
        """Return the ids of the entries of each upload, both in their order."""
        query = "SELECT upload_id, entry_id FROM entries ORDER BY upload_id, entry_id"
        found: dict[str, list[str]] = {}
        with self._reading() as connection:
            for upload_id, entry_id in connection.execute(query):
                found.setdefault(upload_id, []).append(entry_id)
        return found

    def documents_of(self, upload_id: str, *, most: int = -1) -> list[Document]:
        """Return the search documents of the entries of an upload, in the order of their entry ids."""
        query = "SELECT entry_id FROM entries WHERE upload_id = ? ORDER BY entry_id LIMIT ?"
        with self._reading() as connection:
            ids = [row[0] for row in connection.execute(query, (upload_id, most))]
            documents = self.snapshot()[1]
        return [documents[entry_id] for entry_id in ids]

    def add_raw_files(self, upload_id: str, files: Mapping[str, Content] | Path) -> int:
        """Make these (path → bytes or file), or all files below a folder, the raw files of an upload.

        All of them arrive or none, in place of those that the upload had. Returns how many.

        Raises
        ------
        CacheError
            If the store cannot be written to, or the disk is full.
        """
        self._check_writable()
        if isinstance(files, Path):
            return self.raw.add_folder(upload_id, files)
        return self.raw.add(upload_id, files)

    def add_archives(
        self, archives: Iterable[Mapping[str, Any]], *, people: Known = _NOBODY, datasets: Known = _NOBODY
    ) -> int:
        """Index and keep archives; return how many. See `index.search_document` for the two tables.

        All of them arrive or none. An entry that is there already is replaced.
        """
        catalogue = catalogue_for("2.0.0")
        return self.add_entries(
            (search_document(archive, catalogue, people=people, datasets=datasets), archive)
            for archive in archives
        )

    def add_archive_lines(self, lines: Iterable[bytes]) -> int:
        """Index and keep archives written as JSON, one a line, as `add_archives` does, but sooner.

        Of most archives only the indexed sections are parsed, and another thread compresses.
        """
        with ThreadPoolExecutor(max_workers=1) as compressing:
            return self._write(_indexed_lines(lines, compressing))

    def add_entries(self, entries: Iterable[tuple[Mapping[str, Any], Mapping[str, Any] | None]]) -> int:
        """Keep search documents as ``entries/query`` returns them, each with its archive or ``None``.

        All of them arrive or none. An entry that is there already is replaced.
        """
        return self._write(
            (document, None if archive is None else _compressed(msgspec.json.encode(archive)))
            for document, archive in entries
        )

    def _write(self, entries: Iterable[tuple[Mapping[str, Any], bytes | None]]) -> int:
        count, uploads = 0, {}
        with self._writing() as connection:
            for document, content in entries:
                uploads[document["upload_id"]] = _upload_row(document)
                _write_entry(connection, without_mail_addresses(document), content)
                count += 1
            connection.executemany(
                "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)", uploads.values()
            )
            connection.execute("UPDATE state SET generation = generation + 1")
        return count

    def close(self) -> None:
        """Give back the file; what was in memory only is gone."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._loaded = (-1, {})
            self.raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LocalStore({self._place})"

    @property
    def _place(self) -> str:
        return "memory" if self.folder is None else str(self.folder)

    def _check_writable(self) -> None:
        if self.is_read_only:
            raise CacheError(
                f"The local deployment in {self._place} cannot be written to. "
                "Copy it into a folder of your own, or name another folder."
            )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, errors_named(self._place):
            connection = self._connected()
            if connection.in_transaction:  # of the writer in this thread, who sees what it wrote
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._check_writable()
        with self._lock, errors_named(self._place):
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connected(self) -> sqlite3.Connection:
        """Return the connection, a new one after a fork: SQLite's must not cross it, nor be closed there."""
        if self.folder is not None and self._process_id != os.getpid():
            self._parents, self._connection, self._process_id = self._connection, None, os.getpid()
        if self._connection is None:
            with errors_named(self._place):
                self._connection = self._opened()
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        if self.folder is None:
            return opened(None)
        path = self.folder / FILE_NAME
        if not self.is_read_only:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                places = [self.folder, path] if path.exists() else [self.folder]
                self.is_read_only = not all(os.access(place, os.W_OK) for place in places)
            except OSError:
                self.is_read_only = True
        return opened_to_read(path) if self.is_read_only else opened(path)


def build_store(folder: Path, fill: Callable[[LocalStore], object]) -> None:
    """Fill a store beside its place in ``folder`` and move it there whole.

    Nothing else is left behind. Of two processes that do it at once the later replaces
    the file of the earlier, which readers keep.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_UNFINISHED}*"):  # of a process that was killed
        if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as temporary:
        unfinished = Path(temporary)
        with LocalStore(unfinished) as store:
            fill(store)
            store._connected().execute("PRAGMA journal_mode = DELETE")
        with (unfinished / FILE_NAME).open("rb") as file:
            os.fsync(file.fileno())
        if (unfinished / _RAW).exists():  # before the entries, whose file says that the store is whole
            _move_files(unfinished / _RAW, folder / _RAW)
        (unfinished / FILE_NAME).replace(folder / FILE_NAME)


def _move_files(source: Path, target: Path) -> None:
    """Move the files of a folder into another one, in place of those with the same names."""
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        path.replace(target / path.name)


class _IndexedSections(msgspec.Struct, omit_defaults=True):
    """The sections of an archive that make its search document."""

    metadata: dict[str, Any]
    results: dict[str, Any] = {}


def _indexed_lines(
    lines: Iterable[bytes], compressing: ThreadPoolExecutor
) -> Iterator[tuple[Document, bytes]]:
    catalogue, remaining = catalogue_for("2.0.0"), iter(lines)
    while batch := [line.strip() for line in islice(remaining, _LINES_AT_ONCE)]:
        contents = compressing.map(_compressed, batch)
        documents = [search_document(_sections_of(line), catalogue) for line in batch]
        yield from zip(documents, contents, strict=True)


def _sections_of(line: bytes) -> Mapping[str, Any]:
    sections = msgspec.json.decode(line, type=_IndexedSections)
    if "quantities" in sections.metadata:
        return msgspec.structs.asdict(sections) if sections.results else {"metadata": sections.metadata}
    archive: Mapping[str, Any] = msgspec.json.decode(line)
    return archive


def _compressed(content: bytes) -> bytes:
    return zlib.compress(content, _COMPRESSION)


def _upload_row(document: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        document["upload_id"],
        document.get("upload_name"),
        (document.get("main_author") or {}).get("user_id"),
        document.get("upload_create_time"),
        bool(document.get("published")),
        bool(document.get("with_embargo")),
    )


def _write_entry(connection: sqlite3.Connection, document: Document, content: bytes | None) -> None:
    entry_id = document["entry_id"]
    row = (
        entry_id,
        document["upload_id"],
        document.get("mainfile"),
        (document.get("main_author") or {}).get("user_id"),
        bool(document.get("published")),
        bool(document.get("with_embargo")),
        msgspec.json.encode(document),
    )
    connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    if content is None:
        connection.execute("DELETE FROM archives WHERE entry_id = ?", (entry_id,))
    else:
        connection.execute("INSERT OR REPLACE INTO archives VALUES (?, ?)", (entry_id, content))
