"""Ask for what a table needs, side by side; make rows of what comes, one after the other; put it on disk.

Entries whose columns are all in the search index are rows as they are listed. Where archives are needed, a
listing of up to ten thousand entries is a *window*: its archives are asked for in batches by upload, each
batch becomes rows at once, and the window has been read when the last of them is here.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final, assert_never

from nomadquery.columns.arrays import Problem, arrow_schema
from nomadquery.columns.compiled import Entry
from nomadquery.columns.decode import decode
from nomadquery.columns.pins import Pinning, pins_of
from nomadquery.columns.plain import Plain, compiled_plain
from nomadquery.fetch.archives import UNKNOWN_BYTES, ArchiveReader, Batch, by_upload
from nomadquery.fetch.crew import Brought, Crew, ended
from nomadquery.fetch.pages import Source
from nomadquery.fetch.paging import Fetched, fetch_by_ids, fetch_page
from nomadquery.fetch.plan import (
    LARGEST_PAGE,
    PAGE_BYTES,
    bytes_each,
    editable_of,
    first_page_size,
    next_page_size,
)
from nomadquery.fetch.rows import reader_for, rows_with_archives
from nomadquery.fetch.slices import Slice, gaps
from nomadquery.fetch.walk import Ask, Listing, Walk
from nomadquery.memory import give_back
from nomadquery.store.journal import Page, Record, Writer
from nomadquery.store.tables import TableStore

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

#: Bytes of answers, as far as they can be foreseen, that may be on their way at once.
_BYTES_OUT: Final = 32 << 20
#: After answers of so many bytes, what they needed is given back to the system.
_GIVEN_BACK_BYTES: Final = 12 << 20
#: Batches of archives that are asked for before it is known how large archives are.
_PROBES: Final = 2
#: Rows of a window are put into order together when the table is put together.
_WINDOW_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class PageJob:
    """Ask for a page of entries."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class IdsJob:
    """Ask for entries by their ids."""

    ids: Sequence[str]


@dataclass(slots=True, eq=False)
class Window:
    """Entries that were listed together, and whose archives are asked for.

    Attributes
    ----------
    covers : tuple or None
        The range that has been read when all their rows are here.
    n_listed : int
    total : int or None
    waiting : list
        Entries whose archives have not been asked for, by upload.
    n_out : int
        Batches on their way.
    """

    covers: tuple[str | None, str | None] | None
    n_listed: int
    total: int | None
    waiting: list[Entry]
    n_out: int = 0


@dataclass(frozen=True, slots=True)
class ArchiveJob:
    """Ask for the archives of some entries of a window."""

    window: Window
    entries: Sequence[Entry]


Job = PageJob | IdsJob | ArchiveJob
Answer = Fetched | Batch


@dataclass(slots=True)
class Gathering:
    """The state of one fetch.

    Attributes
    ----------
    source : Source
    reader : ArchiveReader
    walk : Walk
    writer : Writer
        Where rows go.
    show : callable
        Told after each page how many entries are here, and how many there will be as far as is known.
    n_places : int
        Requests at once; 0: one after the other, in this thread.
    known : set of str
        Entries of windows that are not read whole, whose rows are here.
    met : set of str
        Those of them that have been listed again.
    n_arrived : int
        Entries whose rows are here.
    order : sequence of str or None
        The entry ids of a sorted table, as the server lists them.
    refused : dict
        Entry id → why it could not be had.
    """

    source: Source
    reader: ArchiveReader
    walk: Walk
    writer: Writer
    show: Callable[[int, int | None], None]
    n_places: int
    known: set[str] = field(default_factory=set)
    met: set[str] = field(default_factory=set)
    n_arrived: int = 0
    order: Sequence[str] | None = None
    refused: dict[str, str] = field(default_factory=dict)
    _size: int = 0
    _n_bytes: int = 0
    _bytes_each: float = 0.0
    _bytes_out: dict[int, float] = field(default_factory=dict)
    _windows: deque[Window] = field(default_factory=deque)
    _ids: deque[Sequence[str]] = field(default_factory=deque)
    _pinning: Pinning = field(default_factory=Pinning)
    _plain: Plain | None = None
    _failure: BaseException | None = None

    def __post_init__(self) -> None:
        question = self.source.question
        self._size = first_page_size(question)
        self._bytes_each = float(bytes_each(question))
        self._pinning = Pinning(editable_of(question))
        if not question.reads_archives:
            self._plain = compiled_plain(
                question.columns, self.source.catalogue, question.per, texts=self._pinning.editable
            )

    def run(self) -> None:
        """Ask until everything that the walk leaves is here; what had been asked for is still taken.

        Raises
        ------
        TransportError, RequestRefused, ResponseFormatError
            The first failure, after what was on its way.
        CacheError
            If rows cannot be written.
        """
        crew: Crew[Job, Answer] = Crew(self._work, self.n_places)
        try:
            self._give(crew)
            while crew.n_out:
                self._take(crew.take(), crew)
                if self._n_bytes > _GIVEN_BACK_BYTES:  # it takes some milliseconds
                    give_back()
                    self._n_bytes = 0
                self._give(crew)
        finally:
            crew.dismiss()
        if self._failure is not None:
            raise self._failure

    def run_for(self, ids: Sequence[str]) -> None:
        """Ask for these entries by their ids, whatever the walk says; see `run`."""
        ids = list(dict.fromkeys(ids))  # a listing may repeat some
        size = max(1, min(self._size, LARGEST_PAGE))
        self._ids.extend(ids[start : start + size] for start in range(0, len(ids), size))
        self.run()

    # -- what is asked --------------------------------------------------------------------

    def _work(self, job: Job) -> Answer:
        """Carry out a job, in one of the crew's threads."""
        match job:
            case PageJob(ask):
                return fetch_page(self.source, ask, self._pinning, self._plain)
            case IdsJob(ids):
                return fetch_by_ids(self.source, ids, self._pinning)
            case ArchiveJob(_, entries):
                return self.reader.batch(entries)
            case _:
                assert_never(job)

    def _give(self, crew: Crew[Job, Answer]) -> None:
        """Begin as many jobs as may be on their way at once."""
        while self._failure is None and crew.n_out < crew.n_places:
            if crew.n_out and sum(self._bytes_out.values()) > _BYTES_OUT:
                return
            job = self._next_job()
            if job is None:
                return
            self._bytes_out[id(job)] = self._foreseen_bytes(job)
            crew.give(job)

    def _next_job(self) -> Job | None:
        n_batches = sum(window.n_out for window in self._windows)
        is_probing = self.reader.bytes_each == UNKNOWN_BYTES and n_batches >= _PROBES
        for window in () if is_probing else self._windows:
            if window.waiting:
                some, window.waiting = window.waiting[: self.reader.size], window.waiting[self.reader.size :]
                window.n_out += 1
                return ArchiveJob(window, some)
        if len(self._windows) > 1:  # their archives first
            return None
        if self._ids:
            return IdsJob(self._ids.popleft())
        ask = self.walk.next(self._size)
        return None if ask is None else PageJob(ask)

    def _foreseen_bytes(self, job: Job) -> float:
        match job:
            case PageJob(ask):
                return ask.size * self._bytes_each
            case IdsJob(ids):
                return len(ids) * self._bytes_each
            case ArchiveJob(_, entries):
                return len(entries) * self.reader.bytes_each
            case _:
                assert_never(job)

    # -- what comes -----------------------------------------------------------------------

    def _take(self, brought: Brought[Job, Answer], crew: Crew[Job, Answer]) -> None:
        self._bytes_out.pop(id(brought.job), None)
        try:
            answer = ended(brought)
        except Exception as failure:
            self._failure = self._failure or failure
            return
        self._n_bytes += answer.n_bytes
        match brought.job, answer:
            case PageJob(ask), Fetched():
                self._take_page(ask, answer, crew)
            case IdsJob(), Fetched():
                self._enter(answer, None, None, 0)
            case ArchiveJob(window, _), Batch():
                self._take_archives(window, answer)
        self.show(self.n_arrived, self.walk.n_wanted)

    def _take_page(self, ask: Ask, fetched: Fetched, crew: Crew[Job, Answer]) -> None:
        question, n_listed = self.source.question, len(fetched.ids)
        if question.limit is not None:
            fetched = _cut(fetched, question.limit - self.walk.n_here)
        if question.sort is not None:
            covers, self.order = self.walk.had(ask, n_listed, fetched.total), fetched.ids
        else:
            covers = self.walk.answered(ask, Listing(fetched.ids, fetched.total, n_listed))
        self._learn(fetched)
        self._give(crew)  # the server works while this page is decoded
        self._enter(fetched, covers, self.walk.promised, len(fetched.ids))

    def _enter(
        self,
        fetched: Fetched,
        covers: tuple[str | None, str | None] | None,
        total: int | None,
        n_listed: int,
    ) -> None:
        """Take entries into account: as rows, or as a window whose archives are asked for."""
        self.refused.update(fetched.refused)
        question = self.source.question
        if not question.reads_archives:
            record = Record(covers=covers, n_listed=n_listed, is_short=self.walk.is_short, total=total)
            self._put(*self._rows_of(fetched), record)
            return
        self.met.update(self.known.intersection(fetched.ids))
        new = by_upload(entry for entry in fetched.entries if entry["entry_id"] not in self.known)
        window = Window(covers, n_listed, total, new)
        if new:
            self._windows.append(window)
        else:
            self._end(window)

    def _rows_of(self, fetched: Fetched) -> tuple[pa.RecordBatch, pa.RecordBatch, list[Problem]]:
        """Return the rows of a page, its pins, and what rows lack."""
        import pyarrow as pa

        question, read = self.source.question, fetched.read
        if read is not None:
            schema = arrow_schema(question.columns, question.per)
            rows = pa.record_batch([read.ids, *read.arrays], schema=schema)
            return rows, self._pinning.of_page(read), []
        rows, problems = decode(fetched.entries, question.columns, self.source.catalogue, per=question.per)
        return rows, pins_of(fetched.entries), problems

    def _take_archives(self, window: Window, batch: Batch) -> None:
        question = self.source.question
        rows, unreadable = rows_with_archives(batch, self.source)
        problems = [*batch.problems, *unreadable]
        self._put(rows, pins_of(batch.documents), problems, Record(total=window.total))
        if question.page_size is None:
            by_memory = _WINDOW_BYTES * len(batch.documents) // max(1, rows.nbytes)
            by_bytes = int(PAGE_BYTES / max(1.0, self._bytes_each))
            self._size = max(1, min(LARGEST_PAGE, by_memory, by_bytes))
        window.n_out -= 1
        if not (window.n_out or window.waiting):
            self._windows.remove(window)
            self._end(window)

    def _end(self, window: Window) -> None:
        """Note that a window has been read."""
        if window.covers is not None:
            self.writer.put(
                Page(
                    Record(
                        covers=window.covers,
                        n_listed=window.n_listed,
                        is_short=self.walk.is_short,
                        total=window.total,
                    )
                )
            )

    def _put(
        self, rows: pa.RecordBatch, pins: pa.RecordBatch, problems: Sequence[Problem], record: Record
    ) -> None:
        ids = pins.column(0).to_pylist()
        self.n_arrived += len(ids)
        known = replace(
            record,
            n_entries=len(ids),
            n_rows=rows.num_rows,
            first_id=min(ids, default=None),
            last_id=max(ids, default=None),
            problems=tuple(asdict(problem) for problem in problems),
        )
        self.writer.put(Page(known, rows, pins) if ids else Page(known))

    def _learn(self, fetched: Fetched) -> None:
        """Let the size of the next pages follow the bytes and the time of this one."""
        n_entries = fetched.n_entries
        if not n_entries:
            return
        self._bytes_each = fetched.n_bytes / n_entries
        if not self.source.question.reads_archives:
            self._size = next_page_size(
                self.source.question, n_entries, fetched.n_bytes, took_s=fetched.took_s
            )


def begin_gathering(store: TableStore, source: Source, show: Callable[[int, int | None], None]) -> Gathering:
    """Return the fetch that goes on after what is in the journal of ``store``."""
    journal, question = store.journal, source.question
    records = journal.recovered()
    covered = [record.covers for record in records if record.covers is not None]
    walk = Walk(
        covered,
        n_here=sum(record.n_listed for record in records),
        promised=next((record.total for record in records if record.total is not None), None),
        limit=question.limit,
        is_short=any(record.is_short for record in records),
        n_places=1 if question.reads_archives else source.n_places,
    )
    left = gaps(covered)
    known: set[str] = set()
    for record in records:
        if record.covers is None and record.n_entries and _meets(record, left):
            pins = journal.pins(record)
            ids = [] if pins is None else pins.column(0).to_pylist()
            known.update(one for one in ids if any(one in part for part in left))
    return Gathering(
        source=source,
        reader=reader_for(source),
        walk=walk,
        writer=Writer(journal),
        show=show,
        n_places=source.n_places,
        known=known,
        n_arrived=sum(record.n_entries for record in records),
    )


def gathering_by_id(
    store: TableStore, source: Source, n_entries: int, show: Callable[[int, int | None], None]
) -> Gathering:
    """Return a fetch of ``n_entries`` that are known by their ids, after what is in the journal of ``store``.

    Nothing is walked: what is asked for is said to `Gathering.run_for`.
    """
    n_here = sum(record.n_entries for record in store.journal.recovered())
    return Gathering(
        source=source,
        reader=reader_for(source),
        walk=Walk([(None, None)], n_here=n_here, promised=n_entries),
        writer=Writer(store.journal),
        show=show,
        n_places=source.n_places,
        n_arrived=n_here,
    )


def _meets(record: Record, left: Sequence[Slice]) -> bool:
    """Return whether entries of a record may stand in what is left to read."""
    first, last = record.first_id or "", record.last_id or ""
    return any(
        (one.upto is None or first <= one.upto) and (one.after is None or last > one.after) for one in left
    )


def _cut(fetched: Fetched, n_wanted: int) -> Fetched:
    """Return no more of a page than is wanted."""
    read = None if fetched.read is None else fetched.read.first(n_wanted)
    return replace(fetched, entries=fetched.entries[:n_wanted], ids=fetched.ids[:n_wanted], read=read)
