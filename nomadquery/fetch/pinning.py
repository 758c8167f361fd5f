"""The table of a lockfile: its entries by their ids, compared with what the lock says of them.

NOMAD keeps no old versions, so an entry that was processed again is there as it is now only. What was
fetched is kept in any case, with what is otherwise: accepting that later costs nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nomadquery.errors import CacheCorrupt, LockMismatch, TransportError
from nomadquery.fetch.custom import with_custom_sources
from nomadquery.fetch.gathering import gathering_by_id
from nomadquery.fetch.harvest import PINNED_BY, finished, interrupted, utc_now
from nomadquery.fetch.pages import Source
from nomadquery.fetch.plan import Question, identity
from nomadquery.fetch.progress import Progress
from nomadquery.fetch.updating import fetch_all
from nomadquery.fetch.wishes import Wishes, is_servable, warn_of_damage
from nomadquery.store.files import explained
from nomadquery.store.manifests import Manifest
from nomadquery.store.pins import Changes, changes_between
from nomadquery.store.tables import TableStore

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

_CHANGES = "lock_changes"
_SHOWN = 5


def harvest_pinned(
    store: TableStore, source: Source, pins: pa.Table, wishes: Wishes, *, with_edits: bool
) -> Manifest:
    """Return the manifest of the table of pinned entries, fetching what is missing of it.

    Parameters
    ----------
    pins : pyarrow.Table
        The entries in the order of the rows, with the times that are expected.
    with_edits : bool
        Whether the pins tell of edits, too: they do of the columns that they were made for.

    Raises
    ------
    IncompleteResult
        If entries that are there could not be had; what arrived is kept, and the next call goes on there.
    """
    source = with_custom_sources(source)
    with explained(store.folder / "table"), store.lock():
        try:
            known = store.whole()
            if known is not None and is_servable(known, source.question, wishes):
                store.check_after_unclean_end(known)
                return known
        except CacheCorrupt as error:
            warn_of_damage(error)
            store.clear()
        try:
            return _filled(store, source, pins, wishes, with_edits=with_edits)
        except CacheCorrupt as error:
            warn_of_damage(error)
            store.clear()
            return _filled(store, source, pins, wishes, with_edits=with_edits)


def check_unchanged(manifest: Manifest, deployment: str) -> None:
    """Raise if the table of a lockfile is not what that pins.

    Raises
    ------
    LockMismatch
        With the ids of the entries that are gone or otherwise.
    """
    noted = manifest.facts.get(_CHANGES) or {}
    changed, removed = (tuple(noted.get(word, ())) for word in ("changed", "removed"))
    if not (changed or removed):
        return
    parts = [
        f"{len(ids)} {'entry' if len(ids) == 1 else 'entries'} {what}: {', '.join(ids[:_SHOWN])}"
        f"{', …' if len(ids) > _SHOWN else ''}"
        for ids, what in ((removed, "gone or hidden"), (changed, "processed again or edited since"))
        if ids
    ]
    raise LockMismatch(
        f"{deployment} no longer has what the lock pins: {'; '.join(parts)}. NOMAD keeps no old versions. "
        "What there is now was fetched and is kept: nomadquery.from_lock(..., changed='accept') gives it; "
        "refresh=True asks again.",
        changed=changed,
        removed=removed,
    )


def agrees(store: TableStore, pins: pa.Table, *, with_edits: bool) -> bool:
    """Return whether the table that is kept whole in ``store`` has just the pinned entries."""
    try:
        known = store.whole()
        if known is None or known.n_entries != pins.num_rows:
            return False
        return not changes_between(pins, store.pins(known), with_edits=with_edits)
    except CacheCorrupt:
        return False


def _filled(
    store: TableStore, source: Source, pins: pa.Table, wishes: Wishes, *, with_edits: bool
) -> Manifest:
    question = source.question
    begun = _begun(store, question, wishes, pins.num_rows)
    ids = pins["entry_id"].to_pylist()
    with Progress(wishes.progress, "fetching") as progress:
        fetch = gathering_by_id(store, source, len(ids), progress.show)
        try:
            fetch_all(fetch, store, ids)
        except TransportError as error:
            fetch.writer.close()
            raise interrupted(store, question, error) from error
        finally:
            fetch.writer.close()
    changes = changes_between(pins, store.pins(store.partial() or begun), with_edits=with_edits)
    _log.info("fetched %d pinned entries from %s", len(ids) - len(changes.removed), question.deployment)
    return finished(
        store,
        begun,
        question,
        _lines(changes),
        facts={_CHANGES: {"changed": list(changes.changed), "removed": list(changes.removed)}},
        order=None if ids == sorted(ids) else ids,
    )


def _begun(store: TableStore, question: Question, wishes: Wishes, n_entries: int) -> Manifest:
    """Return the table that was begun, else one of which nothing is here yet."""
    begun = store.partial()
    if begun is not None and not wishes.refresh and begun.facts.get("release") == question.release:
        return begun
    facts: dict[str, Any] = {"release": question.release, "state": question.state, "begun_at": utc_now()}
    return store.begin(identity(question), {**facts, PINNED_BY: question.pinned}, n_entries)


def _lines(changes: Changes) -> list[dict[str, str]]:
    """Return what is otherwise than the lock says, as what rows lack."""
    gone = "gone or hidden since it was pinned; it has no row"
    other = "processed again or edited since it was pinned; the row is as it is now"
    return [
        {"entry_id": entry_id, "path": "", "why": why}
        for ids, why in ((changes.removed, gone), (changes.changed, other))
        for entry_id in ids
    ]
