"""What pins a table: the ids of its entries, and when each was processed and edited; what changed since."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from nomadquery.columns.pins import pins_schema
from nomadquery.errors import CacheCorrupt, CacheFormatTooNew, QueryError
from nomadquery.store.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LOCK_FORMAT: Final = 1
_FORMAT_WORD: Final = "nomadquery_lock"
_GZIP: Final = b"\x1f\x8b"
_SHOWN: Final = 3
_BATCH: Final = 50_000


@dataclass(frozen=True, slots=True, repr=False)
class Changes:
    """What became of the entries of a table; false where nothing did.

    Attributes
    ----------
    added : tuple of str
        Ids of entries that are new: published since, freed from embargo, or hits only now.
    changed : tuple of str
        Ids of entries that were processed again, or edited in what the table shows.
    removed : tuple of str
        Ids of entries that are no hits any more: deleted, hidden, or changed so.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        several = {"added": self.added, "changed": self.changed, "removed": self.removed}
        return ", ".join(f"{len(ids):,} {word}{_some(ids)}" for word, ids in several.items())

    def __repr__(self) -> str:
        return f"<changes: {self}>"

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each: ``entry_id`` and ``change`` (``added``, ``changed``, ``removed``)."""
        import pandas as pd

        words = {"added": self.added, "changed": self.changed, "removed": self.removed}
        rows = [(entry_id, word) for word, ids in words.items() for entry_id in ids]
        return pd.DataFrame(rows, columns=["entry_id", "change"], dtype="string")


@dataclass(frozen=True, slots=True, repr=False)
class Lock:
    """A table pinned: the question, and its entries with the times of their last processing.

    Attributes
    ----------
    deployment : str
        What `Nomad` is called with to reach it.
    api_base : str
        The address of its API.
    release : str
        The release that ran there.
    owner : str
    query : dict or None
        NOMAD's own JSON of the query, for other readers; ``None`` where only the server could spell it.
    question : dict
        What builds the table again: the tree of the query, columns, section of the rows, order, limit.
    editable : tuple of str
        The names of metadata whose values are pinned, because the table shows them.
    fetched_at : str
        When the entries were as they are pinned: when the table was fetched, or else they were listed.
    entries : pyarrow.Table
        ``entry_id``, ``processed``, ``edited`` (texts), in the order of the table.
    """

    deployment: str
    api_base: str
    release: str
    owner: str
    query: Mapping[str, Any] | None
    question: Mapping[str, Any]
    editable: tuple[str, ...]
    fetched_at: str
    entries: pa.Table

    @property
    def n_entries(self) -> int:
        """The number of entries."""
        return int(self.entries.num_rows)

    @property
    def sha256(self) -> str:
        """What tells this lock from any other: a hash of the question and its entries."""
        head = [self.api_base, self.owner, self.question, self.editable]
        text = json.dumps(head, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(text.encode())
        for line in self._lines():
            digest.update(line)
        return digest.hexdigest()

    @classmethod
    def read(cls, path: str | Path) -> Lock:
        """Return the lock in a file, compressed or not.

        Raises
        ------
        QueryError
            If it is no lockfile.
        CacheFormatTooNew
            If a newer nomadquery wrote it.
        CacheCorrupt
            If it is cut or damaged.
        """
        file = Path(path)
        content = file.read_bytes()
        try:
            if content.startswith(_GZIP):
                content = gzip.decompress(content)
            known = json.loads(content)
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise CacheCorrupt(f"The lockfile {file} is cut or damaged ({error}). Get it anew.") from error
        if not isinstance(known, dict) or not isinstance(known.get(_FORMAT_WORD), int):
            raise QueryError(f"{file} is no lockfile; table.lock(path) writes one.")
        if known[_FORMAT_WORD] > LOCK_FORMAT:
            raise CacheFormatTooNew(
                f"{file} was written by a newer nomadquery (format {known[_FORMAT_WORD]}, this one reads "
                f"{LOCK_FORMAT}). Update nomadquery."
            )
        return _lock_of(known, file)

    def write(self, path: str | Path) -> Path:
        """Write the lock as JSON, an entry a line, compressed if the name ends in ``.gz``; return the file.

        Raises
        ------
        CacheError
            If the file cannot be written.
        """
        file = Path(path).expanduser()
        with replacing(file, advice="Give another path.") as stream:
            if file.suffix == ".gz":
                with gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed:
                    self._write(packed)
            else:
                self._write(stream)
        return file

    def shard(self, i: int, n: int) -> Lock:
        """Return the ``i``-th (from 0) of ``n`` parts of the entries, in the order of their ids.

        The parts are disjoint, together they are everything, and their sizes differ by at most one.

        Raises
        ------
        QueryError
            If there is no such part.
        """
        if n < 1 or not 0 <= i < n:
            raise QueryError(f"shard(i, n) takes 0 <= i < n, not shard({i}, {n}); tasks are counted from 0.")
        start, end = (self.n_entries * one // n for one in (i, i + 1))
        return replace(self, entries=self.entries.sort_by("entry_id").slice(start, end - start))

    def diff(self, other: Lock) -> pd.DataFrame:
        """Return what is otherwise in ``other``, a row for each entry, by ``entry_id``.

        Columns: ``entry_id``, ``change`` (``added``: only there; ``removed``: only here; ``changed``),
        ``processed_before``, ``processed_after``, ``edited_before``, ``edited_after``. Edits count where both
        locks pin the same metadata.
        """
        changes = changes_between(
            self.entries, other.entries, with_edits=self.editable == other.editable
        ).to_pandas()
        here, there = (lock.entries.to_pandas().set_index("entry_id") for lock in (self, other))
        for name in ("processed", "edited"):
            changes[f"{name}_before"] = here[name].reindex(changes["entry_id"]).to_numpy()
            changes[f"{name}_after"] = there[name].reindex(changes["entry_id"]).to_numpy()
        return changes.astype("string").sort_values("entry_id", ignore_index=True)

    def to_pandas(self) -> pd.DataFrame:
        """Return the entries: ``entry_id``, ``processed`` (a time), ``edited`` (a time or a digest)."""
        import pandas as pd

        frame: pd.DataFrame = self.entries.to_pandas().astype("string")
        return frame.assign(processed=pd.to_datetime(frame["processed"], utc=True, format="ISO8601"))

    def __repr__(self) -> str:
        where = f"{self.deployment} ({self.owner})"
        return f"<lock of {self.n_entries:,} entries of {where}, as of {self.fetched_at}>"

    # -- inside ---------------------------------------------------------------------------

    def _lines(self) -> Iterator[bytes]:
        """Yield the entries as JSON, one a line."""
        separator = "\n"
        for batch in self.entries.to_batches(_BATCH):
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
            yield f"{separator}{text}".encode()
            separator = ",\n"

    def _write(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        head = {
            _FORMAT_WORD: LOCK_FORMAT,
            "deployment": self.deployment,
            "api": self.api_base,
            "release": self.release,
            "owner": self.owner,
            "fetched_at": self.fetched_at,
            "n_entries": self.n_entries,
            "query": self.query,
            "question": self.question,
            "editable": self.editable,
        }
        text = json.dumps(head, indent=1, ensure_ascii=False)
        stream.write(f'{text[:-2]},\n "entries": ['.encode())
        for line in self._lines():
            stream.write(line)
        stream.write(b"\n ]\n}\n")


def _lock_of(known: Mapping[str, Any], file: Path) -> Lock:
    import pyarrow as pa

    try:
        columns = list(zip(*known["entries"], strict=True)) or [(), (), ()]
        arrays = [pa.array(column, pa.string()) for column in columns]
        entries = pa.Table.from_arrays(arrays, schema=pins_schema())
        entries.validate(full=True)
        words = [known[name] for name in ("deployment", "api", "release", "owner", "fetched_at")]
        is_whole = entries.num_rows == known["n_entries"] and all(isinstance(word, str) for word in words)
        is_whole = is_whole and isinstance(known["question"], dict) and entries["entry_id"].null_count == 0
        if not is_whole or len(entries["entry_id"].unique()) < entries.num_rows:
            raise ValueError("it contradicts itself")
        deployment, api_base, release, owner, fetched_at = words
        editable = tuple(str(name) for name in known["editable"])
        query = known["query"]
    except (KeyError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise CacheCorrupt(f"The lockfile {file} is damaged ({error!r}). Get it anew.") from error
    return Lock(deployment, api_base, release, owner, query, known["question"], editable, fetched_at, entries)


def changes_between(old: pa.Table, new: pa.Table, *, with_edits: bool = True) -> Changes:
    """Return what became of entries between two tables of pins; ids are in order.

    Times that differ as texts and are the same moment are the same. ``with_edits``: an edit counts, too;
    it can be seen only where both were pinned by the same columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    old, new = old.combine_chunks(), new.combine_chunks()
    before, after = (_ids(table) for table in (old, new))
    places = pc.index_in(after, value_set=before)
    stayed = new.filter(pc.is_valid(places))
    was = old.take(places.drop_null())
    columns = ("processed", "edited") if with_edits else ("processed",)
    differs = pa.array([False] * len(stayed), pa.bool_())
    for name in columns:
        differs = pc.or_(differs, _differ(was[name], stayed[name]))
    suspects = zip(was.filter(differs).to_pylist(), stayed.filter(differs).to_pylist(), strict=True)
    changed = (
        now["entry_id"] for then, now in suspects if any(_moment(then[n]) != _moment(now[n]) for n in columns)
    )
    return Changes(
        added=tuple(sorted(after.filter(pc.is_null(places)).to_pylist())),
        changed=tuple(sorted(changed)),
        removed=tuple(sorted(before.filter(pc.invert(pc.is_in(before, value_set=after))).to_pylist())),
    )


def _ids(pins: pa.Table) -> pa.Array:
    import pyarrow as pa

    ids = pins["entry_id"].combine_chunks()
    return pa.concat_arrays(ids.chunks) if isinstance(ids, pa.ChunkedArray) else ids


def _differ(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return where two columns differ as texts; null is a value of its own."""
    import pyarrow.compute as pc

    return pc.not_equal(pc.fill_null(old, "\0"), pc.fill_null(new, "\0"))


def _moment(text: str | None) -> Any:
    """Return the moment of a time, however it is written; any other text as it is."""
    try:
        moment = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return text
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _some(ids: tuple[str, ...]) -> str:
    if not ids:
        return ""
    return f" ({', '.join(ids[:_SHOWN])}{', …' if len(ids) > _SHOWN else ''})"
