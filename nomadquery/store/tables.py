"""One table on disk: Parquet parts as they arrive, a manifest that says what is whole.

::

    <folder>/<key>/manifest.json      of the whole table: what was asked, which file it is, since when
    <folder>/<key>/table.parquet      the whole table (after a refresh table-1.parquet, …)
    <folder>/<key>/partial.json       the same of the table that is being fetched
    <folder>/<key>/part-00000.parquet …

A file counts only once a manifest names it, and a manifest is replaced in one rename, so a
table is never read half-written, wherever the process was killed. What is whole stays until
something newer is. Everything is plain Parquet; units stand in the field metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from filelock import FileLock

from nomadquery.columns.frame import units_of
from nomadquery.columns.settle import (
    Lack,
    lacking,
    observe,
    settled_batch,
    settled_schema,
    widening,
)
from nomadquery.errors import CacheCorrupt, CacheFormatTooNew
from nomadquery.store.files import explained, read_json, remove_file, remove_folder, replacing, write_json

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT: Final = 2
_WHOLE: Final = "manifest.json"
_PARTIAL: Final = "partial.json"
_LOCK: Final = ".lock"
_ROWS_PER_GROUP: Final = 131_072
_BYTES_PER_GROUP: Final = 64 << 20
_CARDINALITY_OF_DICTIONARY: Final = 0.2


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file of a table: its name, rows, size, and the last and the first entry id in it."""

    file: str
    n_rows: int
    size_bytes: int
    last_id: str
    first_id: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a table on disk.

    Attributes
    ----------
    state : {"partial", "complete"}
    request : dict
        What was asked: deployment, owner, query, columns; the key is its hash.
    parts : tuple of Part
        The files that are whole, in order.
    n_entries : int
        Entries whose rows are here; without ``per`` each has one row.
    rowless : tuple of str
        Those of them that have no row, where rows are items of a section.
    last_id : str or None
        The entry id after which reading goes on.
    total : int or None
        Entries that the server promised when reading began.
    problems : tuple of dict
        What rows lack: ``entry_id``, ``path``, ``why``.
    facts : dict
        When it was fetched, from which release, units, totals at the end.
    """

    state: Literal["partial", "complete"] = "partial"
    request: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    n_entries: int = 0
    rowless: tuple[str, ...] = ()
    last_id: str | None = None
    total: int | None = None
    problems: tuple[Mapping[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Rows that are here."""
        return sum(part.n_rows for part in self.parts)


class TableStore:
    """The folder of one table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        return self._read(_WHOLE) or self._read(_PARTIAL)

    def partial(self) -> Manifest | None:
        """Return the table that was begun and is not whole, if there is one.

        Raises
        ------
        CacheCorrupt, CacheFormatTooNew
            As for `manifest`.
        """
        return self._read(_PARTIAL)

    def begin(self, request: Mapping[str, Any], facts: Mapping[str, Any]) -> Manifest:
        """Return the manifest of a table of which nothing is here yet; another begun one goes."""
        self.abandon()
        manifest = Manifest(request=dict(request), facts=dict(facts))
        self._commit(manifest)
        return manifest

    def append(
        self,
        manifest: Manifest,
        batch: pa.RecordBatch | pa.Table,
        problems: Iterable[Mapping[str, str]],
        *,
        total: int,
        entry_ids: Sequence[str] | None = None,
        is_late: bool = False,
    ) -> Manifest:
        """Return the manifest with the rows of entries added as a part that is safely on disk.

        ``entry_ids``: the entries, in order, where some may have several rows or none.
        ``is_late``: they were left out before, so that reading goes on where it would have.
        """
        import pyarrow as pa

        of_rows = batch.column(0).to_pylist()
        parts, with_rows = manifest.parts, set(of_rows)
        entry_ids = of_rows if entry_ids is None else entry_ids
        if not entry_ids:
            return manifest
        if batch.num_rows:
            name = f"part-{len(parts):05d}.parquet"
            table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
            self._write(name, [table], table.schema)
            size = (self.folder / name).stat().st_size
            parts = (*parts, Part(name, len(of_rows), size, of_rows[-1], of_rows[0]))
        grown = replace(
            manifest,
            parts=parts,
            n_entries=manifest.n_entries + len(entry_ids),
            rowless=(*manifest.rowless, *(one for one in entry_ids if one not in with_rows)),
            last_id=manifest.last_id if is_late else entry_ids[-1],
            total=total if manifest.total is None else manifest.total,
            problems=(*manifest.problems, *problems),
        )
        self._commit(grown)
        return grown

    def with_problems(self, manifest: Manifest, problems: Iterable[Mapping[str, str]]) -> Manifest:
        """Return the manifest with more lines about what rows lack; written with the next change."""
        return replace(manifest, problems=(*manifest.problems, *problems))

    def complete(
        self, manifest: Manifest, schema: pa.Schema, facts: Mapping[str, Any], *, in_order: bool = True
    ) -> Manifest:
        """Return the manifest of the finished table: one file, row groups of a good size.

        Columns that are JSON text still get the type that fits all their values. ``in_order``:
        rows stand in the order of their entry ids, also those that arrived late.

        Raises
        ------
        CacheCorrupt
            If a part cannot be read; the begun table is of no use then.
        """
        shapes = observe(self.batches(manifest), schema)
        lacks = list(lacking(self.batches(manifest), shapes))
        settled = settled_schema(schema, shapes)
        rows = (settled_batch(batch, settled, shapes) for batch in self.batches(manifest))
        tables = _regrouped(rows, settled)
        if in_order and not _ascending(manifest.parts):
            tables = _sorted_by_id(tables, settled)
        name = self._unused_name()
        self._write(name, tables, settled)
        size = (self.folder / name).stat().st_size
        done = replace(
            manifest,
            state="complete",
            parts=(Part(name, manifest.n_rows, size, manifest.last_id or ""),),
            problems=(*manifest.problems, *map(_line, (*lacks, *widening(shapes)))),
            facts={**manifest.facts, **facts, "units": units_of(settled)},
        )
        self._commit(done)
        self._sweep({_WHOLE, name})
        return done

    def files(self, manifest: Manifest | None = None) -> list[Path]:
        """Return the Parquet files of the table."""
        known = self.manifest() if manifest is None else manifest
        return [] if known is None else [self.folder / part.file for part in known.parts]

    def schema(self, manifest: Manifest | None = None) -> pa.Schema:
        """Return the schema of the table as it is on disk."""
        import pyarrow.parquet as pq

        files = self.files(manifest)
        if not files:
            raise self._corrupt("it has no file")
        with self._readable(files[-1]):
            return pq.read_schema(files[-1])

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

        known = self.manifest() if manifest is None else manifest
        for part in () if known is None else known.parts:
            path, n_rows = self.folder / part.file, 0
            with self._readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(batch_size):
                    n_rows += batch.num_rows
                    yield batch
            if n_rows != part.n_rows:
                raise self._corrupt(f"{part.file} has {n_rows} rows in place of {part.n_rows}")

    def abandon(self) -> None:
        """Remove what was begun and is not whole; what is whole stays."""
        whole = self._read(_WHOLE) if (self.folder / _WHOLE).exists() else None
        self._sweep({_WHOLE, *(part.file for part in (() if whole is None else whole.parts))})

    def clear(self) -> None:
        """Remove the table's files; the lock stays with whoever holds it."""
        self._sweep(set())

    def _read(self, name: str) -> Manifest | None:
        """Return a manifest whose files are there; another process may replace both meanwhile."""
        manifest = self._read_once(name)
        while manifest is not None and (lost := self._lost_file(manifest)) is not None:
            again = self._read_once(name)
            if again == manifest:
                raise self._corrupt(f"{lost} is missing or cut")
            manifest = again
        return manifest

    def _lost_file(self, manifest: Manifest) -> str | None:
        for part in manifest.parts:
            try:
                if (self.folder / part.file).stat().st_size != part.size_bytes:
                    return part.file
            except OSError:
                return part.file
        return None

    def _read_once(self, name: str) -> Manifest | None:
        path = self.folder / name
        try:
            content = read_json(path)
            if content is None:
                return None
            if content["format"] > FORMAT:
                raise CacheFormatTooNew(
                    f"{path} was written by a newer nomadquery (format {content['format']}, this one reads "
                    f"{FORMAT}). Update nomadquery, or give another cache_dir."
                )
            parts = tuple(Part(**part) for part in content.pop("parts"))
            content.pop("format")
            lists = {name: tuple(content[name]) for name in ("problems", "rowless")}
            return Manifest(**{**content, **lists, "parts": parts})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._corrupt(f"{path.name} cannot be read") from error

    def _commit(self, manifest: Manifest) -> None:
        content = {
            "format": FORMAT,
            "state": manifest.state,
            "request": manifest.request,
            "parts": [asdict(part) for part in manifest.parts],
            "n_entries": manifest.n_entries,
            "rowless": manifest.rowless,
            "last_id": manifest.last_id,
            "total": manifest.total,
            "problems": manifest.problems,
            "facts": manifest.facts,
        }
        write_json(self.folder / (_WHOLE if manifest.state == "complete" else _PARTIAL), content)

    def _write(self, name: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        settings: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
        with replacing(self.folder / name) as stream:
            writer: pq.ParquetWriter | None = None
            for table in tables:
                if writer is None:
                    words = _low_cardinality(table)
                    writer = pq.ParquetWriter(stream, schema, use_dictionary=words, **settings)
                writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
            if writer is None:
                writer = pq.ParquetWriter(stream, schema, **settings)
            writer.close()

    def _unused_name(self) -> str:
        names = (f"table-{number}.parquet" if number else "table.parquet" for number in count())
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
    def _readable(self, path: Path) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            why = " ".join(str(error).split())
            raise self._corrupt(f"{path.name} cannot be read ({why})") from error

    def _corrupt(self, what: str) -> CacheCorrupt:
        return CacheCorrupt(
            f"The cached table in {self.folder} is damaged: {what}. Fetch it again with refresh=True, or "
            f"remove it: nomadquery cache remove {self.folder.name}."
        )


def _line(lack: Lack) -> dict[str, str]:
    return dict(zip(("entry_id", "path", "why"), lack, strict=True))


def _regrouped(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows in tables of one good row group each."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    n_rows = n_bytes = 0
    for batch in batches:
        waiting.append(batch)
        n_rows, n_bytes = n_rows + batch.num_rows, n_bytes + batch.nbytes
        if n_rows >= _ROWS_PER_GROUP or n_bytes >= _BYTES_PER_GROUP:
            yield pa.Table.from_batches(waiting, schema)
            waiting, n_rows, n_bytes = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


def _low_cardinality(table: pa.Table) -> list[str]:
    """Return the text columns in which values repeat; a dictionary of ids only costs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = []
    for column in table.schema:
        if pa.types.is_string(column.type) and table.num_rows:
            n_distinct = pc.count_distinct(table[column.name]).as_py()
            if n_distinct <= _CARDINALITY_OF_DICTIONARY * table.num_rows:
                names.append(column.name)
    return names


def _ascending(parts: tuple[Part, ...]) -> bool:
    return all(one.last_id < other.first_id for one, other in pairwise(parts))


def _sorted_by_id(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield all rows in the order of their ids; only where some arrived late, so all are in memory."""
    import pyarrow as pa

    yield pa.concat_tables([schema.empty_table(), *tables]).sort_by("entry_id")
