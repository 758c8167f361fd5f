"""The journal: what was written is read back, and of what was cut or changed only what came before."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nomadquery.columns.pins import pins_schema
from nomadquery.errors import CacheCorrupt, CacheError
from nomadquery.store.journal import Journal, Page, Record, Writer
from tests.strategies import journal_records

Drawn = tuple[dict[str, Any], tuple[pa.Schema, list[dict[str, Any]]] | None]
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def pins_of_ids(ids: Sequence[str]) -> pa.RecordBatch:
    return pa.record_batch([ids, ["2024"] * len(ids), [None] * len(ids)], schema=pins_schema())


def a_page(number: int, *, n_rows: int = 2) -> Page:
    """Return the n-th page: so many rows, of entries that are told apart."""
    ids = [f"{number:03d}-{row}" for row in range(n_rows)]
    record = Record(n_rows, n_rows, ids[0], ids[-1], (ids[0], ids[-1]), n_rows, 99)
    rows = pa.record_batch({"entry_id": ids, "gap": [float(row) for row in range(n_rows)]})
    return Page(record, rows, pins_of_ids(ids))


#: A page with rows between two that end a range.
THREE = (Page(Record(covers=(None, "0"))), a_page(1), Page(Record(covers=("2", None), n_listed=3)))


def drawn_page(drawn: Drawn) -> Page:
    said, content = drawn
    if content is None:
        return Page(Record(**said))
    schema, rows = content
    pins = pins_of_ids([row["entry_id"] for row in rows])
    return Page(Record(**said), pa.RecordBatch.from_pylist(rows, schema), pins)


def is_same(one: pa.RecordBatch | None, other: pa.RecordBatch | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one.equals(other, check_metadata=True))


def written(path: Path, *pages: Page) -> tuple[Journal, list[int]]:
    """Return a new journal of these pages, and where each ends."""
    path.unlink(missing_ok=True)
    journal, ends = Journal(path), []
    for page in pages:
        journal.append([page])
        ends.append(path.stat().st_size)
    return journal, ends


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flush nothing: thousands of files are written."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


# -- laws --------------------------------------------------------------------------------


@settings(in_one_folder, max_examples=50)
@given(st.lists(st.lists(journal_records(), max_size=3), max_size=3))
def test_what_was_written_is_read_back(tmp_path: Path, appended: list[list[Drawn]]) -> None:
    """Whatever a record says and holds, however many were appended together; types and units included."""
    journal = Journal(tmp_path / "pages.journal")
    journal.path.unlink(missing_ok=True)
    pages = [[drawn_page(drawn) for drawn in some] for some in appended]
    for some in pages:
        journal.append(some)
    expected = [page for some in pages for page in some]
    for records in (journal.records(), journal.recovered()):
        assert records == tuple(page.record for page in expected)
        assert all(is_same(journal.rows(one), page.rows) for one, page in zip(records, expected, strict=True))
        assert all(is_same(journal.pins(one), page.pins) for one, page in zip(records, expected, strict=True))


@pytest.mark.usefixtures("quick_disk")
def test_cut_anywhere_the_records_before_the_cut_are_read(tmp_path: Path) -> None:
    """After each byte, as a process that is killed or a power cut leaves the file."""
    journal, ends = written(tmp_path / "pages.journal", *THREE)
    records = journal.records()
    for length in range(ends[-1], -1, -1):
        os.truncate(journal.path, length)
        assert journal.records() == records[: sum(end <= length for end in ends)]


@pytest.mark.usefixtures("quick_disk")
def test_what_was_cut_is_gone_on_with_after_its_last_record(tmp_path: Path) -> None:
    """No half record stays between those before the cut and those that follow; every 15th byte is tried."""
    journal, ends = written(tmp_path / "pages.journal", *THREE)
    whole, records = journal.path.read_bytes(), journal.records()
    for length in (*range(0, len(whole), 15), *ends):
        journal.path.write_bytes(whole[:length])
        n_whole = sum(end <= length for end in ends)
        assert journal.recovered() == records[:n_whole]
        assert journal.path.read_bytes() == whole[: [0, *ends][n_whole]]
        journal.append([a_page(7)])
        assert journal.recovered() == (*records[:n_whole], a_page(7).record)


@pytest.mark.usefixtures("quick_disk")
def test_a_byte_changed_anywhere_ends_the_journal_before_its_record(tmp_path: Path) -> None:
    """What is left is byte for byte what was written; the rest is asked for again."""
    journal, ends = written(tmp_path / "pages.journal", *THREE)
    whole, records = journal.path.read_bytes(), journal.records()
    for place in range(0, len(whole), 2):  # every second: they are many
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        journal.path.write_bytes(changed)
        n_whole = sum(end <= place for end in ends)
        assert journal.recovered() == records[:n_whole]
        assert journal.path.read_bytes() == whole[: [0, *ends][n_whole]]


@in_one_folder
@given(st.binary(max_size=80), st.booleans())
def test_whatever_stands_in_the_file_reading_it_ends(tmp_path: Path, content: bytes, is_late: bool) -> None:
    """Instead of records, or behind them."""
    journal, _ = written(tmp_path / "pages.journal", a_page(0))
    before = journal.path.read_bytes() if is_late else b""
    journal.path.write_bytes(before + content)
    assert len(journal.records()) == is_late
    assert len(journal.recovered()) == is_late
    assert journal.path.read_bytes() == before


# -- examples ----------------------------------------------------------------------------


def test_a_journal_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    """And none is made by reading."""
    journal = Journal(tmp_path / "none" / "pages.journal")
    assert journal.records() == journal.recovered() == ()
    assert not journal.path.parent.exists()


def test_rows_that_are_gone_or_damaged_after_they_were_found_are_told(tmp_path: Path) -> None:
    """They are read when the table is put together."""
    journal, ends = written(tmp_path / "pages.journal", a_page(0), a_page(1))
    first, second = journal.records()
    os.truncate(journal.path, ends[1] - 400)
    with pytest.raises(CacheCorrupt, match=r"pages\.journal cannot be read"):
        (journal.rows(second), journal.pins(second))
    journal.path.unlink()
    with pytest.raises(CacheCorrupt, match=r"pages\.journal cannot be read"):
        journal.rows(first)


def fails(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_records_that_could_not_be_flushed_are_cut_off_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before stays, and others can be appended."""
    journal, ends = written(tmp_path / "pages.journal", a_page(0))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(CacheError, match=r"disk is full.*goes on where it stopped"):
            journal.append([a_page(1), a_page(2)])
    assert journal.path.stat().st_size == ends[0]
    journal.append([a_page(3)])
    assert journal.recovered() == (a_page(0).record, a_page(3).record)


# -- the writer --------------------------------------------------------------------------


class Disk:
    """Counts flushes; the first one waits until it is told to go on."""

    def __init__(self) -> None:
        self.n_flushes = 0
        self.is_busy, self.go_on = threading.Event(), threading.Event()

    def flush(self, _: int) -> None:
        self.n_flushes += 1
        self.is_busy.set()
        assert self.go_on.wait(timeout=30)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    one = Disk()
    monkeypatch.setattr(os, "fsync", one.flush)
    yield one
    one.go_on.set()


def test_the_writer_keeps_the_order(tmp_path: Path) -> None:
    """Of all that was put; after a flush it is on disk, after closing too, and closing twice is no harm."""
    journal = Journal(tmp_path / "pages.journal")
    writer = Writer(journal)
    for number in range(20):
        writer.put(a_page(number))
    writer.flush()
    assert journal.recovered() == tuple(a_page(number).record for number in range(20))
    writer.put(a_page(20))
    writer.close()
    writer.close()
    assert len(journal.recovered()) == 21


@pytest.mark.parametrize("last", [Writer.flush, Writer.close, lambda writer: writer.put(a_page(1))])
def test_what_could_not_be_written_is_told_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: Callable[[Writer], None]
) -> None:
    """Nothing is written after it: a later record would hide that one is missing."""
    journal, _ = written(tmp_path / "pages.journal", a_page(0))
    writer = Writer(journal)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(CacheError, match="disk is full"):
            for number in range(20):  # some wait before the first fails
                writer.put(a_page(number))
    with pytest.raises(CacheError, match="disk is full"):
        last(writer)
    with pytest.raises(CacheError, match="disk is full"):
        writer.close()
    assert journal.recovered() == (a_page(0).record,)


def test_an_interruption_within_the_writer_reaches_whoever_puts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, it is not swallowed by the thread."""

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    writer = Writer(Journal(tmp_path / "pages.journal"))
    writer.put(a_page(0))
    with pytest.raises(KeyboardInterrupt):
        writer.close()


def test_a_slow_disk_holds_up_whoever_puts(tmp_path: Path, disk: Disk) -> None:
    """While one page is being flushed four wait; the next has to be kept by whoever has it."""
    writer = Writer(Journal(tmp_path / "pages.journal"))
    writer.put(a_page(0))
    assert disk.is_busy.wait(timeout=30)
    for number in range(1, 5):
        writer.put(a_page(number))
    putting = threading.Thread(target=writer.put, args=(a_page(5),), daemon=True)
    putting.start()
    putting.join(timeout=0.2)
    assert putting.is_alive()
    disk.go_on.set()
    putting.join(timeout=30)
    assert not putting.is_alive()
    writer.close()
    assert len(Journal(tmp_path / "pages.journal").recovered()) == 6


def test_pages_that_wait_together_are_flushed_together(tmp_path: Path, disk: Disk) -> None:
    """One flush costs as much as decoding a page."""
    writer = Writer(Journal(tmp_path / "pages.journal"))
    writer.put(a_page(0))
    assert disk.is_busy.wait(timeout=30)
    for number in range(1, 5):
        writer.put(a_page(number))
    disk.go_on.set()
    writer.close()
    assert disk.n_flushes == 2
    assert len(Journal(tmp_path / "pages.journal").records()) == 5
