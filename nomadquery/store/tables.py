"""One table on disk: the whole one as Parquet, the one that is being fetched as a journal.

::

    <folder>/<key>/manifest.json      of the whole table: what was asked, which files it is, since when
    <folder>/<key>/table.parquet      the whole table (after a refresh table-1.parquet, …)
    <folder>/<key>/pins.parquet       its entries, with the times of their last processing and edit
    <folder>/<key>/partial.json       what is being fetched
    <folder>/<key>/pages.journal      what has arrived of it, see `journal`
    <folder>/<key>/checked.json       after which unclean end the whole table was compared with its hashes

A file counts only once a manifest names it, and a manifest is replaced in one rename, so a
table is never read half-written, wherever the process was killed. What is whole stays until
something newer is. Everything whole is plain Parquet; units stand in the field metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from filelock import FileLock

from nomadquery.columns.pins import pins_schema
from nomadquery.errors import CacheCorrupt, CacheError
from nomadquery.memory import give_back
from nomadquery.store.files import (
    copied,
    explained,
    read_json,
    remove_file,
    remove_folder,
    replacing,
    sha256_of,
    write_json,
)
from nomadquery.store.journal import Journal, Record
from nomadquery.store.manifests import FORMAT, Manifest, Part, manifest_from
from nomadquery.store.merging import regrouped

if TYPE_CHECKING:
    import pyarrow as pa

_WHOLE: Final = "manifest.json"
_PARTIAL: Final = "partial.json"
_JOURNAL: Final = "pages.journal"
_CHECKED: Final = "checked.json"
_LOCK: Final = ".lock"
_ROWS_PER_GROUP: Final = 131_072
_CARDINALITY_OF_DICTIONARY: Final = 0.2
_SAMPLE: Final = 10_000


class TableStore:
    """The folder of one table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def journal(self) -> Journal:
        """What has arrived of a table that is not whole."""
        return Journal(self.folder / _JOURNAL)

    def lock(self, timeout_s: float = -1) -> FileLock:
        """Return the lock that whoever writes this table holds; others wait."""
        with explained(self.folder / _LOCK):
            self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / _LOCK, timeout=timeout_s)

    def manifest(self) -> Manifest | None:
        """Return what is here: the whole table, else the begun one, ``None`` if nothing was begun.

        Raises
        ------
        CacheCorrupt
            If the manifest cannot be read, or a file that it names is missing or cut.
        CacheFormatTooNew
            If a newer nomadquery wrote it.
        """
        return self.whole() or self.partial()

    def whole(self) -> Manifest | None:
        """Return the whole table, if there is one; see `manifest` for what is raised."""
        manifest = self._read(_WHOLE)
        while manifest is not None and (lost := self._lost_file(manifest)) is not None:
            again = self._read(_WHOLE)  # another process may replace both meanwhile
            if again == manifest:
                raise self.corrupt(f"{lost} is missing or cut")
            manifest = again
        return manifest

    def partial(self) -> Manifest | None:
        """Return the table that was begun and is not whole, if there is one.

        Raises
        ------
        CacheCorrupt, CacheFormatTooNew
            As for `manifest`.
        """
        begun = self._read(_PARTIAL)
        return None if begun is None else _with_arrived(begun, self.journal.records())

    def begin(
        self, request: Mapping[str, Any], facts: Mapping[str, Any], total: int | None = None
    ) -> Manifest:
        """Return the manifest of a table of which nothing is here yet; another begun one goes.

        ``total``: how many entries will be fetched, where that is known.
        """
        self.abandon()
        manifest = Manifest(request=dict(request), facts=dict(facts), total=total)
        self._commit(manifest)
        return manifest

    def publish(self, manifest: Manifest) -> None:
        """Make the table of a complete manifest the one that is read; what was begun goes."""
        self._commit(manifest)
        self._sweep({_WHOLE, *(part.file for part in manifest.parts)})

    def adopt(self, manifest: Manifest, opened: Callable[[str], IO[bytes]]) -> None:
        """Make a whole table from elsewhere the one that is read here; ``opened`` gives its files.

        Raises
        ------
        CacheCorrupt
            If a file is not what its manifest says; what is here stays as it was.
        """
        parts = tuple(self._adopted(part, opened) for part in manifest.parts)
        self.publish(replace(manifest, parts=parts))

    def check_after_unclean_end(self, manifest: Manifest) -> None:
        """Compare a whole table with what was written, once, if a process ended before its time beside it.

        Raises
        ------
        CacheCorrupt
            If a file differs.
        """
        left = self._left_behind()
        if not left:
            return
        checked = {"left": left, "files": [part.sha256 for part in manifest.parts]}
        with suppress(ValueError):
            if read_json(self.folder / _CHECKED) == checked:
                return
        self.check_hashes(manifest)
        with suppress(CacheError):  # a folder that is only read is checked each time
            write_json(self.folder / _CHECKED, checked)

    def files(self, manifest: Manifest | None = None) -> list[Path]:
        """Return the Parquet file of the rows, as a list of one; empty if the table is not whole."""
        known = self.whole() if manifest is None else manifest
        return [self.folder / part.file for part in known.parts[:1]] if known is not None else []

    def schema(self, manifest: Manifest | None = None) -> pa.Schema:
        """Return the schema of the table as it is on disk."""
        import pyarrow.parquet as pq

        path = self._file(manifest)
        with self.readable(path):
            return pq.read_schema(path)

    def batches(
        self, manifest: Manifest | None = None, *, batch_size: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows as record batches; one row group is in memory at a time.

        Raises
        ------
        CacheCorrupt
            If a file cannot be read to its end, or has other rows than its manifest says.
        """
        import pyarrow.parquet as pq

        known = self.whole() if manifest is None else manifest
        if known is None:
            return
        path, n_rows = self._file(known), 0
        with self.readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size):
                n_rows += batch.num_rows
                yield batch
        self._check_rows(known, n_rows)

    def table(self, manifest: Manifest | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows, of some columns if they are named, in the order of the file.

        Raises
        ------
        CacheCorrupt
            As for `batches`.
        """
        import pyarrow.parquet as pq

        path = self._file(manifest)
        with self.readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns=None if columns is None else list(columns))
        known = self.whole() if manifest is None else manifest
        if known is not None:
            self._check_rows(known, table.num_rows)
        return table if columns is None else table.select(list(columns))

    def pins(self, manifest: Manifest) -> pa.Table:
        """Return the entries of a table in the order of their ids: ``entry_id``, ``processed``, ``edited``.

        The times are texts as the server gave them.

        Raises
        ------
        CacheCorrupt
            If they cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if manifest.state == "partial":
            journal = self.journal
            some = (journal.pins(record) for record in journal.records())
            return pa.Table.from_batches([batch for batch in some if batch is not None], pins_schema())
        path = self.folder / manifest.parts[1].file
        with self.readable(path):
            return pq.read_table(path)

    def check_hashes(self, manifest: Manifest) -> None:
        """Read all files of a whole table and compare them with what was written.

        Raises
        ------
        CacheCorrupt
            If one differs.
        """
        for part in manifest.parts:
            path = self.folder / part.file
            with self.readable(path):
                found = sha256_of(path)
            if found != part.sha256:
                raise self.corrupt(f"{part.file} is not what was written (SHA-256)")

    def abandon(self) -> None:
        """Remove what was begun and is not whole; what is whole stays."""
        whole = self.whole() if (self.folder / _WHOLE).exists() else None
        self._sweep({_WHOLE, *(part.file for part in (() if whole is None else whole.parts))})

    def clear(self) -> None:
        """Remove the table's files; the lock stays with whoever holds it."""
        self._sweep(set())

    # -- inside ---------------------------------------------------------------------------

    def _adopted(self, part: Part, opened: Callable[[str], IO[bytes]]) -> Part:
        path = self.folder / self._unused_name(part.file.removesuffix(".parquet").partition("-")[0])
        with opened(part.file) as source, replacing(path) as stream:
            size_bytes, sha256 = copied(source, stream)
            if sha256 != part.sha256:
                raise self.corrupt(f"{part.file} is not what its manifest says (SHA-256)")
        return replace(part, file=path.name, size_bytes=size_bytes)

    def _left_behind(self) -> list[str]:
        """Return what tells that a process was killed: files without a place, and a begun table."""
        if not self.folder.is_dir():
            return []
        left = sorted(path.name for path in self.folder.glob(".*.part"))
        begun = self._read(_PARTIAL)
        return left if begun is None else [*left, f"{_PARTIAL} {begun.facts.get('begun_at')}"]

    def _file(self, manifest: Manifest | None) -> Path:
        files = self.files(manifest)
        if not files:
            raise self.corrupt("it has no file")
        return files[0]

    def _check_rows(self, manifest: Manifest, n_rows: int) -> None:
        part = manifest.parts[0]
        if n_rows != part.n_rows:
            raise self.corrupt(f"{part.file} has {n_rows} rows in place of {part.n_rows}")

    def _lost_file(self, manifest: Manifest) -> str | None:
        for part in manifest.parts:
            try:
                if (self.folder / part.file).stat().st_size != part.size_bytes:
                    return part.file
            except OSError:
                return part.file
        return None

    def _read(self, name: str) -> Manifest | None:
        path = self.folder / name
        try:
            content = read_json(path)
            return None if content is None else manifest_from(content, path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.corrupt(f"{path.name} cannot be read") from error

    def _commit(self, manifest: Manifest) -> None:
        content = {
            "format": FORMAT,
            "state": manifest.state,
            "request": manifest.request,
            "parts": [asdict(part) for part in manifest.parts],
            "n_entries": manifest.n_entries,
            "n_rows": manifest.n_rows,
            "total": manifest.total,
            "problems": manifest.problems,
            "facts": manifest.facts,
        }
        write_json(self.folder / (_WHOLE if manifest.state == "complete" else _PARTIAL), content)

    def write_rows(self, stem: str, tables: Iterable[pa.Table], schema: pa.Schema) -> Part:
        """Write one Parquet file under an unused name; dictionaries only where texts repeat."""
        import pyarrow.parquet as pq

        path = self.folder / self._unused_name(stem)
        settings: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
        # in the order of ids, which are hashes, the least and the largest of other columns tell nothing
        settings["write_statistics"] = schema.names[:1]
        n_rows = 0
        with replacing(path) as stream:
            writer: pq.ParquetWriter | None = None
            for table in regrouped(tables, schema):
                if writer is None:
                    words = _low_cardinality(table)
                    writer = pq.ParquetWriter(stream, schema, use_dictionary=words, **settings)
                writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
                n_rows += table.num_rows
            if writer is None:
                writer = pq.ParquetWriter(stream, schema, **settings)
            writer.close()
        give_back()
        return Part(path.name, n_rows, path.stat().st_size, sha256_of(path))

    def _unused_name(self, stem: str) -> str:
        names = (f"{stem}-{number}.parquet" if number else f"{stem}.parquet" for number in count())
        return next(name for name in names if not (self.folder / name).exists())

    def _sweep(self, kept: set[str]) -> None:
        """Remove all but the lock and ``kept``; manifests first, so that none names what is gone."""
        if not self.folder.is_dir():
            return
        for name in {_WHOLE, _PARTIAL} - kept:
            remove_file(self.folder / name)
        for path in self.folder.iterdir():
            if path.name not in {_LOCK, *kept}:
                remove_folder(path) if path.is_dir() else remove_file(path)

    @contextmanager
    def readable(self, path: Path) -> Iterator[None]:
        """Turn what reading a damaged file raises into `CacheCorrupt`."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            why = " ".join(str(error).split())
            raise self.corrupt(f"{path.name} cannot be read ({why})") from error

    def corrupt(self, what: str) -> CacheCorrupt:
        """Return the error that says what is damaged, and what to do."""
        return CacheCorrupt(
            f"The cached table in {self.folder} is damaged: {what}. Fetch it again with refresh=True, or "
            f"remove it: nomadquery cache remove {self.folder.name}."
        )


def _with_arrived(begun: Manifest, records: Sequence[Record]) -> Manifest:
    return replace(
        begun,
        n_entries=sum(record.n_entries for record in records),
        n_rows=sum(record.n_rows for record in records),
        total=next((record.total for record in records if record.total is not None), begun.total),
        problems=tuple(line for record in records for line in record.problems),
    )


def _low_cardinality(table: pa.Table) -> list[str]:
    """Return the text columns in which values repeat; a dictionary of ids only costs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = []
    sample = table.slice(0, _SAMPLE)
    for column in table.schema:
        if pa.types.is_string(column.type) and sample.num_rows:
            n_distinct = pc.count_distinct(sample[column.name]).as_py()
            if n_distinct <= _CARDINALITY_OF_DICTIONARY * sample.num_rows:
                names.append(column.name)
    return names
