"""A finished table as it is read: whole, or without the rows that lack a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nomadquery.errors import QueryError
from nomadquery.store.manifests import Manifest
from nomadquery.store.tables import TableStore

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds


@dataclass(frozen=True, slots=True)
class View:
    """The rows of a table on disk.

    Attributes
    ----------
    store : TableStore
    manifest : Manifest
    needed : tuple of str
        Columns; a row without a value in one of them is left out. A list without any value is none.
    """

    store: TableStore
    manifest: Manifest
    needed: tuple[str, ...] = ()

    def schema(self) -> pa.Schema:
        """Return the schema of the table as it is on disk."""
        return self.store.schema(self.manifest)

    def batches(self, *, batch_size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the rows as record batches; one row group is in memory at a time.

        Raises
        ------
        CacheCorrupt
            If a file cannot be read to its end.
        """
        for batch in self.store.batches(self.manifest, batch_size=batch_size):
            kept = self._kept(batch)
            if kept.num_rows or not self.needed:
                yield kept

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows at once, of some columns if they are named.

        Raises
        ------
        CacheCorrupt, QueryError
            If a file cannot be read to its end; if there is no such column.
        """
        import pyarrow as pa

        if self.needed:
            whole = pa.Table.from_batches(list(self.batches()), self.schema())
            return whole if columns is None else whole.select(list(columns))
        return self.store.table(self.manifest, columns)

    def n_dropped(self) -> int:
        """Return how many rows are left out."""
        if not self.needed:
            return 0
        n_kept: int = sum(batch.num_rows for batch in self.batches())
        return self.manifest.n_rows - n_kept

    def dataset(self) -> ds.Dataset:
        """Return the rows as a ``pyarrow.dataset`` over the files on disk.

        Raises
        ------
        QueryError
            If rows are left out because a list in them has no value: that no file on disk can say.
        """
        import pyarrow.dataset as ds

        files: list[Path] = self.store.files(self.manifest)
        whole = ds.dataset([str(file) for file in files], self.schema())
        for name in self.needed:
            whole = whole.filter(ds.field(name).is_valid())
        if self.needed and whole.count_rows() != self.manifest.n_rows - self.n_dropped():
            raise QueryError(
                "drop_missing leaves out rows whose lists hold no value, which the kept files cannot say. "
                "Write them with to_parquet(...), and open that; or leave drop_missing out."
            )
        return whole

    def _kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import numpy as np
        import pyarrow as pa

        if not self.needed:
            return batch
        kept = np.logical_and.reduce([_has_value(batch.column(name)) for name in self.needed])
        return batch.filter(pa.array(kept))


def _has_value(array: pa.Array) -> Any:
    """Return for each row whether it has a value, at whatever depth, as an array of booleans."""
    import numpy as np
    import pyarrow as pa

    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if not pa.types.is_list(array.type):
        return valid
    inside = np.concatenate([[0], np.cumsum(_has_value(array.values))])
    offsets = array.offsets.to_numpy()
    return valid & (inside[offsets[1:]] > inside[offsets[:-1]])
