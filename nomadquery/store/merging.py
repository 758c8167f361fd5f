"""Rows that arrived in any order → one table in the order of entry ids, a bounded part in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_GROUP: Final = 131_072
_BYTES_PER_GROUP: Final = 32 << 20
#: Rows of pieces that overlap are sorted together; more than this are sorted in parts.
_MOST_WAITING: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows: the smallest and the largest of their entry ids, and how to get them.

    Attributes
    ----------
    first_id, last_id : str
    load : callable
        Gives the rows; the column of the entry ids is the first.
    """

    first_id: str
    last_id: str
    load: Callable[[], pa.Table]


def in_order(pieces: Iterable[Piece]) -> Iterator[pa.Table]:
    """Yield the rows of all pieces in the order of their entry ids; rows of one entry stay in their order.

    Pieces that do not overlap, as pages of different ranges of ids, are loaded one at a time.
    """
    waiting: list[pa.Table] = []
    last_id = ""
    for piece in sorted(pieces, key=lambda piece: piece.first_id):
        if waiting and piece.first_id > last_id:
            yield _sorted(waiting)
            waiting = []
        elif sum(table.nbytes for table in waiting) > _MOST_WAITING:
            ready, rest = _parted(_sorted(waiting), piece.first_id)
            yield ready
            waiting = [rest]
        waiting.append(piece.load())
        last_id = max(last_id, piece.last_id)
    if waiting:
        yield _sorted(waiting)


def regrouped(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows in tables of one good row group each: 128k rows, or 32 MB."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    n_rows = n_bytes = 0
    for table in tables:
        for some in _not_too_large(table):
            waiting.append(some)
            n_rows, n_bytes = n_rows + some.num_rows, n_bytes + some.nbytes
            if n_rows >= _ROWS_PER_GROUP or n_bytes >= _BYTES_PER_GROUP:
                yield pa.concat_tables([schema.empty_table(), *waiting])
                waiting, n_rows, n_bytes = [], 0, 0
    if waiting:
        yield pa.concat_tables([schema.empty_table(), *waiting])


def is_ascending(ids: pa.ChunkedArray, *, strictly: bool) -> bool:
    """Return whether ids stand in order; ``strictly``: each once."""
    import pyarrow.compute as pc

    if len(ids) < 2:
        return True
    compare = pc.less if strictly else pc.less_equal
    return bool(pc.all(compare(ids[:-1], ids[1:])).as_py())


def _not_too_large(table: pa.Table) -> Iterator[pa.Table]:
    n_parts = max(1, -(-table.num_rows // _ROWS_PER_GROUP), -(-table.nbytes // _BYTES_PER_GROUP))
    size = max(1, -(-table.num_rows // n_parts))
    return (table.slice(start, size) for start in range(0, table.num_rows, size))


def _sorted(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    table = tables[0] if len(tables) == 1 else pa.concat_tables(tables)
    if is_ascending(table.column(0), strictly=False):
        return table
    return table.sort_by(table.column_names[0])


def _parted(table: pa.Table, before: str) -> tuple[pa.Table, pa.Table]:
    """Return the rows of a sorted table before an id, and the others."""
    import pyarrow.compute as pc

    n_before = pc.sum(pc.less(table.column(0), before)).as_py() or 0
    return table.slice(0, n_before), table.slice(n_before)
