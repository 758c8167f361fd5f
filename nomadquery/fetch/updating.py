"""Bring a kept table up to date: list what there is now, fetch what is new or changed, put both together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nomadquery.errors import CacheCorrupt, IncompleteResult, TransportError
from nomadquery.fetch.custom import with_custom_sources
from nomadquery.fetch.gathering import Gathering, gathering_by_id
from nomadquery.fetch.harvest import UPDATES, fetched, finished, ids_not_found, interrupted, utc_now
from nomadquery.fetch.listing import listed_pins, still_listed
from nomadquery.fetch.pages import Source
from nomadquery.fetch.plan import Question, identity, named_ids
from nomadquery.fetch.progress import Progress
from nomadquery.fetch.wishes import Wishes, warn_of_damage
from nomadquery.store.assembling import Base, OtherTypes
from nomadquery.store.files import explained
from nomadquery.store.manifests import Manifest
from nomadquery.store.pins import Changes, changes_between
from nomadquery.store.tables import TableStore

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Old:
    """The kept table: its manifest and its pins."""

    manifest: Manifest
    pins: pa.Table


def update_table(store: TableStore, source: Source, wishes: Wishes) -> Changes:
    """Make the kept table what the server has now; return what became of its entries.

    A table that is not kept whole is fetched. One with a limit is fetched anew and then compared, and so
    is one whose columns turn out to have other types than before.

    Raises
    ------
    IncompleteResult
        If entries could not be had; what arrived is kept, and the next update goes on there.
    CacheError
        If the table cannot be written.
    """
    source = with_custom_sources(source)
    question = source.question
    with explained(store.folder / "table"), store.lock():
        old = _kept(store)
        if old is None:
            manifest = fetched(store, source, wishes)
            return Changes(added=tuple(sorted(store.pins(manifest)["entry_id"].to_pylist())))
        if question.limit is not None:
            return _anew(store, source, wishes, old)
        with Progress(wishes.progress, "listing") as progress:
            listed = listed_pins(source, progress.show)
        changes = changes_between(old.pins, listed)
        if not changes:
            _confirm(store, question, old.manifest)
            return changes
        try:
            return _merged(store, source, wishes, old, listed)
        except OtherTypes as error:
            _log.info("the column %s has another type now; the table is fetched anew", error)
        except CacheCorrupt as error:
            warn_of_damage(error)
            store.clear()
        return _anew(store, source, wishes, old)


def _kept(store: TableStore) -> Old | None:
    """Return the whole table that is here; a damaged one is removed, with a warning."""
    try:
        whole = store.whole()
        return None if whole is None else Old(whole, store.pins(whole))
    except CacheCorrupt as error:
        warn_of_damage(error)
        store.clear()
        return None


def _anew(store: TableStore, source: Source, wishes: Wishes, old: Old) -> Changes:
    """Fetch all of the table; return what is otherwise than in the old one."""
    manifest = fetched(store, source, replace(wishes, refresh=True))
    changes = changes_between(old.pins, store.pins(manifest))
    store.publish(replace(manifest, facts={**manifest.facts, **_noted(old.manifest, changes)}))
    return changes


def _confirm(store: TableStore, question: Question, base: Manifest) -> None:
    """Note that the table is as the server has it now."""
    facts = {"release": question.release, "state": question.state, "begun_at": utc_now()}
    noted = {**base.facts, **facts, "fetched_at": utc_now(), **_noted(base, Changes())}
    store.publish(replace(base, facts=noted))


def _merged(store: TableStore, source: Source, wishes: Wishes, old: Old, listed: pa.Table) -> Changes:
    """Fetch what is new or changed, and put it together with what is not."""
    question, base = source.question, old.manifest
    changes = changes_between(old.pins, listed)
    wanted = (*changes.added, *changes.changed)
    _begin(store, question, base, listed, set(wanted))
    with Progress(wishes.progress, "updating") as progress:
        fetch = gathering_by_id(store, source, len(wanted), progress.show)
        try:
            gone = fetch_all(fetch, store, wanted)
        except TransportError as error:
            fetch.writer.close()
            raise interrupted(store, question, error) from error
        finally:
            fetch.writer.close()
    changes = Changes(
        added=tuple(one for one in changes.added if one not in gone),
        changed=tuple(one for one in changes.changed if one not in gone),
        removed=tuple(sorted({*changes.removed, *(gone.intersection(changes.changed))})),
    )
    dropped = {*changes.changed, *changes.removed}
    here = set(listed["entry_id"].to_pylist()) - gone
    stayed = set(old.pins["entry_id"].to_pylist()) - dropped
    problems = [line for line in base.problems if _holds_still(line, question, stayed)]
    if named_ids(question.criterion):
        problems += ids_not_found(source, here)
    facts = _noted(base, changes)
    finished(store, base, question, problems, base=Base(base, dropped), total=len(here), facts=facts)
    _log.info("updated from %s: %s", question.deployment, changes)
    return changes


def _begin(store: TableStore, question: Question, base: Manifest, listed: pa.Table, wanted: set[str]) -> None:
    """Begin the update, or go on with one of the same table: without entries that are not as listed now."""
    try:
        begun = store.partial()
        goes_on = begun is not None and begun.facts.get(UPDATES) == _version(base)
        if begun is not None and goes_on and begun.facts.get("release") == question.release:
            store.journal.recovered()
            there = store.pins(begun)
            differs = changes_between(there, listed)
            here = set(there["entry_id"].to_pylist())
            store.journal.leave_out({*differs.changed, *(here - wanted)})
            return
    except CacheCorrupt as error:
        warn_of_damage(error)
    facts = {"release": question.release, "state": question.state, "begun_at": utc_now()}
    store.begin(identity(question), {**facts, UPDATES: _version(base)}, len(wanted))


def fetch_all(fetch: Gathering, store: TableStore, wanted: Sequence[str]) -> set[str]:
    """Fetch the entries that are not here yet; return those that turn out to be gone.

    Raises
    ------
    IncompleteResult
        If the server could not give some that it lists.
    """
    here = _ids_here(store)
    fetch.run_for([one for one in wanted if one not in here])
    fetch.writer.flush()
    lost = sorted(set(wanted) - _ids_here(store))
    kept_back = [one for one in lost if one in fetch.refused]
    unseen = [one for one in lost if one not in fetch.refused]
    kept_back += sorted(still_listed(fetch.source, unseen)) if unseen else []
    if kept_back:
        why = fetch.refused.get(kept_back[0])
        raise IncompleteResult(
            f"{len(kept_back)} of {len(wanted)} entries are listed by the server but were not given, for "
            f"example {kept_back[0]}{f' ({why})' if why else ''}. What arrived is kept; the same call tries "
            "again.",
            n_arrived=fetch.n_arrived,
            n_missing=len(kept_back),
            missing=tuple(kept_back),
        )
    return set(unseen)


def _ids_here(store: TableStore) -> set[str]:
    begun = store.partial()
    return set() if begun is None else set(store.pins(begun)["entry_id"].to_pylist())


def _holds_still(line: Mapping[str, str], question: Question, kept: set[str]) -> bool:
    """Return whether a line about the old table is true of the new one, and is not said anew."""
    if line["entry_id"]:
        return line["entry_id"] in kept
    return any(column.kind == "other" and column.name == line["path"] for column in question.columns)


def _version(base: Manifest) -> list[str]:
    """Return what tells a table on disk from any other state of it."""
    return [part.sha256 for part in base.parts]


def _noted(base: Manifest, changes: Changes) -> dict[str, Any]:
    """Return what a manifest says about an update."""
    return {
        "updated": {
            "since": base.facts.get("fetched_at"),
            "n_added": len(changes.added),
            "n_changed": len(changes.changed),
            "n_removed": len(changes.removed),
        }
    }
