"""A folder that files are downloaded into: parts that become files when they are whole, and a record of each.

A file is written as a *part*, in a folder of its own on the same disk, and is moved to its name only when all
of it is here and checked. What is here is known by records: a line in a journal before each move, and at the
end of a download the manifest, as Parquet and as JSON for people. A file without a record is somebody else's.

The members of a zip (`store.zips`) have a record each, in one line of the journal.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Final

from filelock import FileLock, Timeout

from nomadquery.errors import CacheError
from nomadquery.store.files import explained, remove_file, remove_folder, replacing, sha256_of, sync_folder

_log = logging.getLogger(__name__)

MANIFEST: Final = "nomadquery-files.parquet"
READABLE: Final = "nomadquery-files.json"
_JOURNAL: Final = ".nomadquery-files.jsonl"
_LOCK: Final = ".nomadquery-files.lock"
_PARTS: Final = ".nomadquery-parts"
_UNPACKED: Final = ".nomadquery-unpacked"
#: Names in the folder that no file may have.
OWN_NAMES: Final = (MANIFEST, READABLE, _JOURNAL, _LOCK, _PARTS, _UNPACKED)

FORMAT: Final = 1
ADVICE: Final = "Download to another folder, or make this one writable."
#: What lies before a multiple of this is safely on disk, so that a download goes on there.
SYNC_BYTES: Final = 32 << 20
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """A file that was downloaded.

    Attributes
    ----------
    local_path : str
        Below the folder, parts separated by ``/``; of the zip, where it lies in one.
    upload_id, path : str
        Where it lies in NOMAD. In a zip the member is called ``path``.
    entry_id : str or None
        The entry for which it is here.
    size_bytes : int
        As NOMAD lists it.
    local_bytes, mtime_ns : int
        Of the local file: another size where it was decompressed, or is a zip; when it was written.
    sha256 : str
        Of the local file; of the member, where that is a zip.
    fetched_at : str
        ISO, UTC.
    route : str
        How it came.
    is_packed : bool
        Whether it is a member of the zip at ``local_path``.
    """

    local_path: str
    upload_id: str
    path: str
    entry_id: str | None
    size_bytes: int
    local_bytes: int
    mtime_ns: int
    sha256: str
    fetched_at: str
    route: str
    is_packed: bool = False


class Part:
    """A file on its way: what is written is counted and hashed. Close it, or `DownloadFolder.keep` it.

    With ``hashes_later`` it is hashed by whoever finishes it, so that the one who writes can go on.
    """

    def __init__(self, path: Path, *, goes_on: bool, hashes_later: bool = False) -> None:
        self.path = path
        self.size_bytes = 0
        self._hashes_later = hashes_later
        self._digest = hashlib.sha256()
        self._mtime_ns = 0
        with explained(path, advice=ADVICE):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("r+b" if goes_on and path.exists() else "w+b")
            self._take_up()

    @property
    def sha256(self) -> str:
        """Of what was written so far; with ``hashes_later`` of all of it, once it is finished."""
        return self._digest.hexdigest()

    def write(self, block: bytes) -> None:
        """Write a block behind the others.

        Raises
        ------
        CacheError
            If the disk is full.
        """
        before = self.size_bytes
        with explained(self.path, advice=ADVICE):
            self._file.write(block)
            self._count(block)
            if self.size_bytes // SYNC_BYTES > before // SYNC_BYTES:
                self._sync()

    def finish(self) -> int:
        """Have all of it on disk, and close it; return its time, in nanoseconds since 1970."""
        if not self._file.closed:
            with explained(self.path, advice=ADVICE):
                self._sync()
                if self._hashes_later:
                    self._file.seek(0)
                    while block := self._file.read(_BLOCK):
                        self._digest.update(block)
                self._mtime_ns = os.fstat(self._file.fileno()).st_mtime_ns
                self._file.close()
        return self._mtime_ns

    def close(self) -> None:
        """Leave it as it is, for a later run to go on with."""
        if not self._file.closed:
            try:
                self._file.close()
            except OSError as error:  # a full disk: what is on it is looked at when going on
                _log.debug("%s was not closed in peace: %s", self.path, error)

    def discard(self) -> None:
        """Remove it."""
        self.close()
        remove_file(self.path)

    def _take_up(self) -> None:
        """Go on behind what an earlier run has surely written; a crash may leave anything behind that."""
        size = os.fstat(self._file.fileno()).st_size // SYNC_BYTES * SYNC_BYTES
        while self.size_bytes < size:
            self._count(self._file.read(_BLOCK))
        self._file.truncate(size)

    def _count(self, block: bytes) -> None:
        if not self._hashes_later:
            self._digest.update(block)
        self.size_bytes += len(block)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


class DownloadFolder:
    """A folder with its records; several threads may use one object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mutex = threading.Lock()
        self._journal: IO[bytes] | None = None
        self._unpacked: DownloadFolder | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from downloading into the folder; wait until they have ended.

        Raises
        ------
        CacheError
            If the folder cannot be written.
        """
        with explained(self.folder / _LOCK, advice=ADVICE):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                _log.warning("another process downloads into %s: waiting until it has ended", self.folder)
                lock.acquire()
        try:
            yield
        finally:
            self._close_journal()
            lock.release()

    @property
    def unpacked(self) -> DownloadFolder:
        """The folder inside in which the files of zips are gathered before they are packed.

        It is kept from other processes, and goes, with this one.
        """
        if self._unpacked is None:
            self._unpacked = DownloadFolder(self.folder / _UNPACKED)
        return self._unpacked

    def known(self) -> dict[str, tuple[Record, ...]]:
        """Return what was downloaded into the folder, by local path; what cannot be read is not known.

        A file has one record, a zip one for each of its members.
        """
        listed: defaultdict[str, list[Record]] = defaultdict(list)
        for record in self._manifest():
            listed[record.local_path].append(record)
        known = {local_path: tuple(records) for local_path, records in listed.items()}
        try:
            lines = (self.folder / _JOURNAL).read_bytes().splitlines()
        except OSError:
            lines = []
        for line in lines:
            records = _records_of(line)
            known.update({one.local_path: records for one in records[:1]})
        return known

    def records(self) -> dict[str, Record]:
        """Return the files that were downloaded into the folder, by local path; see `known`."""
        return {path: first for path, (first, *_) in self.known().items() if not first.is_packed}

    def members(self) -> dict[str, tuple[Record, ...]]:
        """Return the members of the zips in the folder, by the local path of the zip; see `known`."""
        return {path: records for path, records in self.known().items() if records[0].is_packed}

    def has_news(self) -> bool:
        """Return whether something was downloaded that the manifest does not have."""
        return (self.folder / _JOURNAL).exists()

    def is_here(self, record: Record, *, verify: bool) -> bool:
        """Return whether the file of a record is there as it was written; ``verify`` reads all of it.

        Without, size and time tell, and only a file with another time is read.
        """
        path = self.folder / record.local_path
        try:
            found = path.lstat()
            if not path.is_file() or path.is_symlink() or found.st_size != record.local_bytes:
                return False
            if found.st_mtime_ns == record.mtime_ns and not verify:
                return True
            return sha256_of(path) == record.sha256
        except OSError:
            return False

    def is_taken(self, local_path: str, size_bytes: int) -> bool:
        """Return whether something is there that no download of this file can have left: it is kept."""
        path = self.folder / local_path
        return path.is_symlink() or (path.exists() and (path.is_dir() or path.stat().st_size != size_bytes))

    def free_bytes(self) -> int:
        """Return how much room the disk has, the folder made or not."""
        place = self.folder
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def part(
        self,
        upload_id: str,
        path: str,
        size_bytes: int,
        *,
        goes_on: bool = False,
        hashes_later: bool = False,
    ) -> Part:
        """Return the part of a file; ``goes_on`` with what is there of it, or from the beginning."""
        part = self.scratch(f"{upload_id}/{path}/{size_bytes}")
        return Part(part, goes_on=goes_on, hashes_later=hashes_later)

    def scratch(self, key: str) -> Path:
        """Return where something lies that has no name yet."""
        return self.folder / _PARTS / hashlib.sha256(key.encode()).hexdigest()[:32]

    def keep(self, part: Part, make: Callable[[int], Record]) -> Record:
        """Move a whole part to its name; ``make`` gives its record of the time at which it was written.

        Raises
        ------
        CacheError
            If it cannot be moved there.
        """
        record = make(part.finish())
        target = self.folder / record.local_path
        with explained(target, advice=ADVICE):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.note(record)
            part.path.replace(target)
        return record

    def note(self, *records: Record) -> None:
        """Note a file, or all members of a zip, before it gets its name."""
        rows = [asdict(one) for one in records]
        with self._mutex:
            if self._journal is None:
                self._journal = (self.folder / _JOURNAL).open("ab")
            # a line that was cut by a crash must not spoil the next
            self._journal.write(b"\n" + json.dumps(rows).encode() + b"\n")
            self._journal.flush()
            if records[0].is_packed:  # a zip without its records would be somebody else's
                os.fsync(self._journal.fileno())

    def copy(self, record: Record, make: Callable[[int], Record]) -> Record:
        """Have a downloaded file a second time, under the name of the record that ``make`` gives."""
        copied = Part(self.folder / _PARTS / f"copy-{threading.get_ident()}", goes_on=False)
        try:
            with (self.folder / record.local_path).open("rb") as source:
                while block := source.read(_BLOCK):
                    copied.write(block)
        except BaseException:
            copied.discard()
            raise
        return self.keep(copied, make)

    def remove(self, record: Record) -> None:
        """Remove a downloaded file, and folders that are empty then."""
        path = self.folder / record.local_path
        remove_file(path)
        for parent in path.parents:
            if parent == self.folder or any(parent.iterdir()):
                return
            parent.rmdir()

    def write_manifest(
        self, records: Iterable[Record], facts: Mapping[str, Any], *, is_complete: bool = True
    ) -> None:
        """Write what was downloaded, and where it comes from; the journal is not needed then.

        Parts stay for a later run to go on with unless the download ``is_complete``.

        Raises
        ------
        CacheError
            If the folder cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        ordered = sorted(records, key=lambda one: (one.local_path, one.path))
        rows = [asdict(one) for one in ordered]
        content = {"format": FORMAT, **facts, "files": rows}
        table = pa.Table.from_pylist(rows, _schema())
        table = table.replace_schema_metadata({"nomadquery": json.dumps({"format": FORMAT, **facts})})
        with replacing(self.folder / MANIFEST, advice=ADVICE) as stream:
            pq.write_table(table, stream, compression="zstd")
        with replacing(self.folder / READABLE, advice=ADVICE) as stream:
            stream.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
        self._close_journal()
        remove_file(self.folder / _JOURNAL)
        if is_complete:
            remove_folder(self.folder / _PARTS)
            remove_folder(self.folder / _UNPACKED)
        sync_folder(self.folder)

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says beside its files; nothing if there is none."""
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_schema(self.folder / MANIFEST).metadata or {}
            return dict(json.loads(metadata[b"nomadquery"]))
        except (OSError, ValueError, KeyError):
            return {}

    def _manifest(self) -> list[Record]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.folder / MANIFEST)
        except (OSError, pa.ArrowException):
            return []
        if set(_schema().names) - set(table.column_names):
            raise CacheError(
                f"{self.folder / MANIFEST} was not written by this nomadquery. Download to another folder."
            )
        return [Record(**row) for row in table.select(_schema().names).to_pylist()]

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._unpacked is not None:
            self._unpacked._close_journal()


def _records_of(line: bytes) -> tuple[Record, ...]:
    """Return the records of a line of the journal; of one that was cut, none."""
    try:
        return tuple(
            Record(**{one.name: row[one.name] for one in fields(Record)}) for row in json.loads(line)
        )
    except (ValueError, KeyError, TypeError):
        return ()


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"size_bytes": pa.int64(), "local_bytes": pa.int64(), "mtime_ns": pa.int64()}
    kinds["is_packed"] = pa.bool_()
    return pa.schema([(one.name, kinds.get(one.name, pa.string())) for one in fields(Record)])
