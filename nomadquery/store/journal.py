"""Rows as they arrive: one file to which records are added, each safely on disk or not there.

::

    <folder>/<key>/pages.journal      record, record, …

A record is a short binary head (sizes and checksum), a JSON header that says which entries it is about,
and their rows and pins as compressed Arrow streams. A process that is killed, or a power cut, leaves
at most a last record that is not whole: reading ends before it, and the next writer cuts it off. One file
and one flush for each page cost a tenth of a Parquet file and a manifest for each.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from queue import Queue
from typing import IO, TYPE_CHECKING, Final

from nomadquery.errors import CacheCorrupt
from nomadquery.store.files import explained, replacing

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC: Final = b"NQ1\n"
#: Magic, bytes of the header, of the rows, of the pins, CRC-32 of these sizes and of all three.
_HEAD: Final = struct.Struct("<4sIQQI")
_LARGEST_HEADER: Final = 1 << 30
#: Pages that may wait for the disk.
_MOST_WAITING: Final = 4


@dataclass(frozen=True, slots=True)
class Record:
    """What a record is about.

    Attributes
    ----------
    n_entries, n_rows : int
        Entries whose rows it holds, and how many rows these have.
    first_id, last_id : str or None
        The smallest and the largest entry id; ``None`` without entries.
    covers : tuple of (str or None, str or None) or None
        After this record all listed entries with ids in ``(after, upto]`` are here; ``None`` at an end:
        from the first, to the last. ``None``: it says nothing about a range.
    n_listed : int
        How many entries the server listed in that range.
    total : int or None
        How many entries the server said there are in all, where it did.
    problems : tuple of dict
        What rows lack: ``entry_id``, ``path``, ``why``.
    is_short : bool
        Whether a range so far ended with fewer entries than the server counted in it.
    """

    n_entries: int = 0
    n_rows: int = 0
    first_id: str | None = None
    last_id: str | None = None
    covers: tuple[str | None, str | None] | None = None
    n_listed: int = 0
    total: int | None = None
    problems: tuple[Mapping[str, str], ...] = ()
    is_short: bool = False
    _place: tuple[int, int, int, int] = field(default=(0, 0, 0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """A record with what it is about: rows (those of the entries), and pins (one for each entry)."""

    record: Record
    rows: pa.RecordBatch | None = None
    pins: pa.RecordBatch | None = None


class Journal:
    """The file; whoever writes holds the lock of the table."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> tuple[Record, ...]:
        """Return the whole records in the order in which they were written; contents are not looked at."""
        return tuple(record for record, _ in self._scanned(checked=False))

    def recovered(self) -> tuple[Record, ...]:
        """Return the records whose contents are what was written, and cut off what follows them."""
        whole, end = [], 0
        for record, next_end in self._scanned(checked=True):
            whole.append(record)
            end = next_end
        if self.path.exists() and self.path.stat().st_size > end:
            with explained(self.path), self.path.open("r+b") as stream:
                stream.truncate(end)
                os.fsync(stream.fileno())
        return tuple(whole)

    def leave_out(self, entry_ids: Collection[str]) -> None:
        """Take entries out of all records, so that their rows may arrive anew."""
        if not entry_ids:
            return
        records = self.recovered()
        with replacing(self.path) as stream:
            for record in records:
                for part in _packed(self._without(record, entry_ids)):
                    stream.write(part)

    def append(self, pages: Iterable[Page]) -> None:
        """Write records and flush them to the disk together.

        What fails half-way is cut off again, so that nothing half-written lies before the next record.
        """
        with explained(self.path), self.path.open("ab", buffering=0) as stream:
            start = stream.seek(0, os.SEEK_END)
            try:
                for page in pages:
                    for part in _packed(page):
                        _write_all(stream, part)
                os.fsync(stream.fileno())
            except BaseException:
                with suppress(OSError):  # what is not whole is never read, and the next writer cuts it off
                    stream.truncate(start)
                raise

    def rows(self, record: Record) -> pa.RecordBatch | None:
        """Return the rows of a record, ``None`` if it has none.

        Raises
        ------
        CacheCorrupt
            If they are not what was written.
        """
        return self._read(record, 0)

    def pins(self, record: Record) -> pa.RecordBatch | None:
        """Return the ids and times of a record's entries; see `rows`."""
        return self._read(record, 1)

    def _without(self, record: Record, entry_ids: Collection[str]) -> Page:
        """Return a record with its rows and pins, but for those of some entries."""
        rows, pins = (_filtered(batch, entry_ids) for batch in (self.rows(record), self.pins(record)))
        ids = [] if pins is None else pins.column(0).to_pylist()
        known = replace(
            record,
            n_entries=len(ids),
            n_rows=0 if rows is None else rows.num_rows,
            first_id=min(ids, default=None),
            last_id=max(ids, default=None),
            problems=tuple(line for line in record.problems if line["entry_id"] not in entry_ids),
        )
        return Page(known, rows, pins) if ids else Page(known)

    def _read(self, record: Record, which: int) -> pa.RecordBatch | None:
        import pyarrow as pa

        offset, n_header, n_rows, n_pins = record._place
        start = offset + _HEAD.size + n_header + (n_rows if which else 0)
        try:
            with self.path.open("rb") as stream:
                stream.seek(start)
                body = stream.read(n_pins if which else n_rows)
            if not body:
                return None
            with pa.ipc.open_stream(body) as reader:
                return reader.read_next_batch()
        except (pa.ArrowException, OSError, StopIteration) as error:
            raise CacheCorrupt(f"{self.path} cannot be read ({error}).") from error

    def _scanned(self, *, checked: bool) -> Iterator[tuple[Record, int]]:
        """Yield the records and where each ends, up to the first that is not whole."""
        try:
            stream = self.path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return
        with stream:
            size, offset = os.fstat(stream.fileno()).st_size, 0
            while (head := stream.read(_HEAD.size)) and len(head) == _HEAD.size:
                magic, n_header, n_rows, n_pins, checksum = _HEAD.unpack(head)
                end = offset + _HEAD.size + n_header + n_rows + n_pins
                if magic != _MAGIC or n_header > _LARGEST_HEADER or end > size:
                    return
                header = stream.read(n_header)
                start = zlib.crc32(header, zlib.crc32(_sizes(n_header, n_rows, n_pins)))
                if checked and _checksum(stream, n_rows + n_pins, start) != checksum:
                    return
                try:
                    record = _record_of(header, (offset, n_header, n_rows, n_pins))
                except (ValueError, KeyError, TypeError, IndexError):
                    return
                yield record, end
                stream.seek(end)
                offset = end


def _filtered(batch: pa.RecordBatch | None, entry_ids: Collection[str]) -> pa.RecordBatch | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if batch is None:
        return None
    left_out = pa.array(sorted(entry_ids), pa.string())
    return batch.filter(pc.invert(pc.is_in(batch.column(0), value_set=left_out)))


def _record_of(header: bytes, place: tuple[int, int, int, int]) -> Record:
    known = json.loads(header)
    covers = known["covers"]
    return Record(
        n_entries=known["n_entries"],
        n_rows=known["n_rows"],
        first_id=known["first_id"],
        last_id=known["last_id"],
        covers=None if covers is None else (covers[0], covers[1]),
        n_listed=known["n_listed"],
        is_short=known["is_short"],
        total=known["total"],
        problems=tuple(known["problems"]),
        _place=place,
    )


def _packed(page: Page) -> tuple[bytes | pa.Buffer, ...]:
    """Return the bytes of a record; compressing them needs no interpreter."""
    record = page.record
    known = {
        "n_entries": record.n_entries,
        "n_rows": record.n_rows,
        "first_id": record.first_id,
        "last_id": record.last_id,
        "covers": record.covers,
        "n_listed": record.n_listed,
        "is_short": record.is_short,
        "total": record.total,
        "problems": record.problems,
    }
    header = json.dumps(known, separators=(",", ":")).encode()
    rows, pins = _stream(page.rows), _stream(page.pins)
    start = zlib.crc32(header, zlib.crc32(_sizes(len(header), len(rows), len(pins))))
    checksum = zlib.crc32(pins, zlib.crc32(rows, start))
    return _HEAD.pack(_MAGIC, len(header), len(rows), len(pins), checksum), header, rows, pins


def _sizes(n_header: int, n_rows: int, n_pins: int) -> bytes:
    return struct.pack("<IQQ", n_header, n_rows, n_pins)


def _write_all(stream: FileIO, part: bytes | pa.Buffer) -> None:
    left = memoryview(part).cast("B") if len(part) else b""
    while len(left):
        left = left[stream.write(left) :]


def _checksum(stream: IO[bytes], n_bytes: int, checksum: int) -> int:
    while n_bytes > 0 and (block := stream.read(min(n_bytes, 1 << 20))):
        checksum, n_bytes = zlib.crc32(block, checksum), n_bytes - len(block)
    return checksum


def _stream(batch: pa.RecordBatch | None) -> bytes | pa.Buffer:
    import pyarrow as pa

    if batch is None:
        return b""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


class Writer:
    """Puts records on disk in a thread of its own, so that the next page is decoded meanwhile.

    A slow disk holds up whoever puts: a few pages wait, not more. What waits together is flushed together.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._is_closed = False
        self._waiting: Queue[Page | None] = Queue(_MOST_WAITING)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="nomadquery-journal", daemon=True)
        self._thread.start()

    def put(self, page: Page) -> None:
        """Have a record written.

        Raises
        ------
        CacheError
            If an earlier one could not be.
        """
        self._check()
        if self._is_closed:
            raise RuntimeError("The journal is closed; what is put now would never be written.")
        self._waiting.put(page)

    def flush(self) -> None:
        """Wait until what was put is on disk; raises as `put` does."""
        self._waiting.join()
        self._check()

    def close(self) -> None:
        """End, once all records are on disk; raises as `put` does."""
        if not self._is_closed:
            self._is_closed = True
            self._waiting.put(None)
            self._thread.join()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _write(self) -> None:
        is_over = False
        while not is_over:
            some = [self._waiting.get()]
            while len(some) < _MOST_WAITING and not self._waiting.empty():
                some.append(self._waiting.get())
            is_over = None in some
            pages = [page for page in some if page is not None]
            if pages and self._failure is None:
                try:
                    self._journal.append(pages)
                except BaseException as failure:  # told to whoever puts the next page, or closes
                    self._failure = failure
            for _ in some:
                self._waiting.task_done()
