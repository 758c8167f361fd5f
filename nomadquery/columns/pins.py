"""What tells whether an entry is as it was: when it was processed, and what of it people may have edited.

NOMAD's index has the time of the last processing, and (2.0.0, 1.4.3) none of the last edit of the
metadata. An edit is therefore seen in the values themselves: of the quantities that can be edited, those
that a table has columns of go into a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import astuple, replace

from nomadquery.columns.compiled import Entry, Ids, Json, Listed, listed, read_document
from nomadquery.columns.plain import Read
from nomadquery.columns.planned import PlannedColumn

if TYPE_CHECKING:
    import pyarrow as pa

#: What is asked of each entry; the index of no known release has the second (the star makes it legal).
PINNED: Final = ("last_processing_time", "last_edit_time*")

#: Top names of metadata that can change without processing: by edits, publishing, the end of an embargo.
EDITABLE: Final = frozenset(
    {
        "authors",
        "coauthor_groups",
        "coauthors",
        "comment",
        "datasets",
        "entry_coauthors",
        "external_db",
        "external_id",
        "license",
        "main_author",
        "publish_time",
        "published",
        "references",
        "reviewer_groups",
        "reviewers",
        "upload_name",
        "viewer_groups",
        "viewers",
        "with_embargo",
        "writer_groups",
        "writers",
    }
)


def editable_names(columns: Iterable[PlannedColumn]) -> tuple[str, ...]:
    """Return the top names of metadata that columns read and that can be edited."""
    names = {column.names[0] for column in columns if column.source == "search"}
    return tuple(sorted(names & EDITABLE))


def pins_schema() -> pa.Schema:
    """Return the schema of pins: ``entry_id``, ``processed``, ``edited``, all texts."""
    import pyarrow as pa

    times = [pa.field(name, pa.string()) for name in ("processed", "edited")]
    return pa.schema([pa.field("entry_id", pa.string(), nullable=False), *times])


@dataclass(frozen=True, slots=True)
class Pinning:
    """How entries are pinned: by the values of which editable names, if by any.

    The digest is that of the values as the server writes them, so that nothing has to be built of them.
    """

    editable: tuple[str, ...] = ()
    _decoder: msgspec.json.Decoder[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = {f"field_{number}": name for number, name in enumerate(self.editable)}
        fields: list[tuple[str, Any, Any]] = [(field, msgspec.Raw, msgspec.Raw()) for field in names]
        kind = msgspec.defstruct("pinned", fields, bases=(Ids,), rename=names, gc=False, eq=False)
        object.__setattr__(self, "_decoder", msgspec.json.Decoder(kind))

    def listed(self, items: Iterable[Json]) -> list[Listed]:
        """Return the entries in their order, each with its pin: `Listed.processed` and `Listed.edited`.

        The latter is the digest of the editable values; without editable names the time, mostly ``None``.

        Raises
        ------
        ResponseFormatError
            If one is not a JSON object with an ``entry_id``.
        """
        if not self.editable:
            return listed(items)
        entries = []
        for item in items:
            try:
                entry_id, upload_id, processed, edited, *values = astuple(self._decoder.decode(item))
            except msgspec.DecodeError:  # numbers that JSON has not
                entries.append(self._slowly(item))
                continue
            digest = _digest(edited, values)
            entries.append(Listed(entry_id, str(upload_id or ""), item, _text(processed), digest))
        return entries

    def of_page(self, read: Read) -> pa.RecordBatch:
        """Return the pins of a page that was read as columns; the same as `pins_of` of `listed`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        edited = read.edited
        if self.editable:
            time = pa.nulls(len(read.ids), pa.binary()) if edited is None else edited.cast(pa.binary())
            parts = [*(read.texts[name] for name in self.editable), time]
            joined = pc.binary_join_element_wise(*parts, b"\0", null_handling="replace", null_replacement=b"")
            edited = pa.array(map(_hashed, joined.to_pylist()), pa.string())
        return pa.record_batch([read.ids, read.processed, edited], schema=pins_schema())

    def _slowly(self, item: Json) -> Listed:
        (entry,) = listed([item])
        document = read_document(item)
        values = [json.dumps(document[name]).encode() if name in document else b"" for name in self.editable]
        return replace(entry, edited=_digest(entry.edited, values))


def pins_of(entries: Sequence[Entry]) -> pa.RecordBatch:
    """Return one row for each entry: its id, when it was processed, and its edit, as it is listed."""
    import pyarrow as pa

    ids = [str(entry["entry_id"]) for entry in entries]
    processed = [entry.processed if isinstance(entry, Listed) else None for entry in entries]
    edited = [entry.edited if isinstance(entry, Listed) else None for entry in entries]
    columns = [pa.array(some, pa.string()) for some in (ids, processed, edited)]
    return pa.record_batch(columns, schema=pins_schema())


def _digest(edited: Any, values: Sequence[bytes | msgspec.Raw]) -> str:
    return _hashed(b"\0".join((*values, str(edited or "").encode())))


def _hashed(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
