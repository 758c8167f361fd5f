"""What tells whether an entry is as it was: when it was processed, and what of it people may have edited.

NOMAD's index has the time of the last processing, and (2.0.0, 1.4.3) none of the last edit of the
metadata. An edit is therefore seen in the values themselves: of the quantities that can be edited, those
that a table has columns of go into a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from nomadquery.columns.compiled import Entry, Listed, read_document
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


def pins_of(entries: Sequence[Entry], editable: Sequence[str] = ()) -> pa.RecordBatch:
    """Return one row for each entry: its id, when it was processed, and its edit: a time, or a digest.

    ``editable``: the names whose values make the digest; without any it is the time, mostly null.
    """
    import pyarrow as pa

    ids = [str(entry["entry_id"]) for entry in entries]
    processed = [entry.processed if isinstance(entry, Listed) else None for entry in entries]
    edited = [_edited(entry, editable) for entry in entries]
    columns = [pa.array(some, pa.string()) for some in (ids, processed, edited)]
    return pa.record_batch(columns, schema=pins_schema())


def _edited(entry: Entry, editable: Sequence[str]) -> str | None:
    if not isinstance(entry, Listed):
        return None
    if not editable:
        return entry.edited
    document = read_document(entry.item)
    values = [entry.edited, *(document.get(name) for name in editable)]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
