"""From what has arrived of a table to the whole one: settled types, the order of ids, two files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nomadquery.columns.frame import units_of
from nomadquery.columns.pins import pins_schema
from nomadquery.columns.settle import (
    Lack,
    lacking,
    observe,
    settled_batch,
    settled_schema,
    widening,
)
from nomadquery.store.journal import Record
from nomadquery.store.manifests import Manifest, Part
from nomadquery.store.merging import Piece, in_order
from nomadquery.store.tables import TableStore

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Base:
    """A whole table that another one is made from.

    Attributes
    ----------
    manifest : Manifest
    dropped : collection of str
        Entries whose rows are left out: they are gone, or their rows have arrived anew.
    """

    manifest: Manifest
    dropped: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Written:
    """A whole table whose files are on disk, not yet the one that is read.

    Attributes
    ----------
    parts : tuple of Part
        Rows and pins.
    n_rowless : int
        Entries without a row, where rows are items of a section.
    problems : tuple of dict
        What rows lack, as far as the types of the columns tell.
    units : dict
        Of the columns that have one.
    """

    parts: tuple[Part, ...]
    n_rowless: int
    problems: tuple[Mapping[str, str], ...]
    units: Mapping[str, str]


class OtherTypes(Exception):
    """New rows have other types than the table that they should join; all of it has to be fetched."""


def assemble(
    store: TableStore,
    schema: pa.Schema,
    *,
    ordered: bool = True,
    base: Base | None = None,
    order: Sequence[str] | None = None,
) -> Written:
    """Write the whole table from what has arrived, and from ``base``: row groups of a good size.

    Columns that are JSON text get the type that fits all their values. ``ordered``: rows stand in
    the order of their entry ids, whenever they arrived. ``order``: in that of these ids, held in memory.

    Raises
    ------
    CacheCorrupt
        If what arrived cannot be read, or an entry stands in it twice; it is of no use then.
    OtherTypes
        If such a column has another type in ``base``.
    """
    journal = store.journal
    records = journal.records()

    def arrived() -> Iterator[pa.RecordBatch]:
        return (rows for record in records if (rows := journal.rows(record)) is not None)

    shapes = observe(arrived(), schema)
    settled = settled_schema(schema, shapes)
    if base is not None:
        settled = _agreed(settled, store.schema(base.manifest), shapes)
    problems = tuple(map(_line, (*lacking(arrived(), shapes), *widening(shapes))))

    def rows_of(record: Record) -> pa.RecordBatch:
        return settled_batch(journal.rows(record), settled, shapes)

    rows = [_piece(record, rows_of) for record in records if record.n_rows]
    pins = [_piece(record, journal.pins) for record in records if record.n_entries]
    if base is not None:
        rows += _kept_pieces(store, base, 0)
        pins += _kept_pieces(store, base, 1)
    counted = _Counted(store, is_strict=False)
    table = store.write_rows("table", counted.through(_ordered(rows, ordered, order)), settled)
    entries = _Counted(store, is_strict=ordered)
    pinned = store.write_rows("pins", entries.through(_ordered(pins, ordered, order)), pins_schema())
    return Written((table, pinned), entries.n_ids - counted.n_ids, problems, units_of(settled))


def arrived_rows(store: TableStore, schema: pa.Schema) -> pa.Table:
    """Return the rows that are here of a table that is not whole, in the order of their ids."""
    import pyarrow as pa

    journal = store.journal
    batches = [rows for record in journal.records() if (rows := journal.rows(record)) is not None]
    shapes = observe(batches, schema)
    settled = settled_schema(schema, shapes)
    return pa.Table.from_batches(
        [settled_batch(batch, settled, shapes) for batch in batches], settled
    ).sort_by("entry_id")


def _kept_pieces(store: TableStore, base: Base, which: int) -> list[Piece]:
    """Return the row groups of a file of a whole table, without what is dropped."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = store.folder / base.manifest.parts[which].file
    dropped = pa.array(sorted(base.dropped), pa.string())

    def load(group: int) -> pa.Table:
        with store.readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            rows = file.read_row_group(group)
        return rows.filter(pc.invert(pc.is_in(rows.column(0), value_set=dropped)))

    with store.readable(path):
        known = pq.read_metadata(path)
    spans = [known.row_group(group).column(0).statistics for group in range(known.num_row_groups)]
    return [Piece(span.min, span.max, partial(load, group)) for group, span in enumerate(spans)]


@dataclass(slots=True)
class _Counted:
    """Counts the entries of rows that pass in the order of their ids."""

    store: TableStore
    is_strict: bool
    n_ids: int = 0
    _last: str | None = None

    def through(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the rows as they come; where each entry has one, an entry that stands twice is damage."""
        import pyarrow.compute as pc

        for table in tables:
            ids = table.column(0)
            if len(ids):
                n_new = pc.sum(pc.not_equal(ids[:-1], ids[1:])).as_py() or 0
                is_new = ids[0].as_py() != self._last
                if self.is_strict and n_new + is_new < len(ids):
                    raise self.store.corrupt("an entry stands in it twice")
                self.n_ids += n_new + is_new
                self._last = ids[-1].as_py()
            yield table


def _piece(record: Record, load: Callable[[Record], pa.RecordBatch | None]) -> Piece:
    import pyarrow as pa

    return Piece(record.first_id or "", record.last_id or "", lambda: pa.Table.from_batches([load(record)]))


def _ordered(pieces: Sequence[Piece], ordered: bool, order: Sequence[str] | None) -> Iterator[pa.Table]:
    if order is not None:
        return _arranged(pieces, order)
    return in_order(pieces) if ordered else (piece.load() for piece in pieces)


def _arranged(pieces: Sequence[Piece], order: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows in the order of these entry ids, each entry's in their own."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pieces:
        table = pa.concat_tables([piece.load() for piece in pieces])
        ranks = pc.index_in(table.column(0), value_set=pa.array(order, pa.string()))
        yield table.take(pa.array(np.argsort(ranks.to_numpy(), kind="stable")))


def _agreed(settled: pa.Schema, kept: pa.Schema, shapes: Mapping[str, Any]) -> pa.Schema:
    """Return the schema that rows on disk and new ones have in common.

    A column of which no new row has a value takes the type that it had.
    """
    import pyarrow as pa

    fields = []
    for new, old in zip(settled, kept, strict=True):
        shape = shapes.get(new.name)
        if shape is not None and not shape.kinds and shape.n_levels in {0, _n_levels(old.type)}:
            new = old  # noqa: PLW2901  # the same column
        if not new.equals(old, check_metadata=True):
            raise OtherTypes(new.name)
        fields.append(new)
    return pa.schema(fields, metadata=settled.metadata)


def _n_levels(kind: pa.DataType) -> int:
    import pyarrow as pa

    return 1 + _n_levels(kind.value_type) if pa.types.is_list(kind) else 0


def _line(lack: Lack) -> dict[str, str]:
    return dict(zip(("entry_id", "path", "why"), lack, strict=True))
