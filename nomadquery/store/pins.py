"""What pins a table: the ids of its entries, and when each was processed and edited; what changed since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_SHOWN: Final = 3


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
    differs = pa.array([False] * len(stayed))
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
