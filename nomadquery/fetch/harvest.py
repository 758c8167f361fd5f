"""Carry a plan out: pages → columns → disk, until the ledger says complete."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from nomadquery.columns.arrays import arrow_schema
from nomadquery.columns.pins import Pinning
from nomadquery.columns.settle import observe, settled_batch, settled_schema
from nomadquery.errors import CacheCorrupt, IncompleteResult, TransportError
from nomadquery.fetch.custom import with_custom_sources
from nomadquery.fetch.gathering import Gathering, begin_gathering
from nomadquery.fetch.ledger import Ledger
from nomadquery.fetch.pages import Source
from nomadquery.fetch.paging import fetch_page
from nomadquery.fetch.plan import Question, identity, named_ids
from nomadquery.fetch.progress import Progress
from nomadquery.fetch.rows import reader_for, rows_of
from nomadquery.fetch.slices import EVERYWHERE
from nomadquery.fetch.walk import Ask
from nomadquery.fetch.wishes import (
    Wishes,
    is_servable,
    is_shared,
    warn_of_damage,
    was_begun_too_long_ago,
)
from nomadquery.http.endpoints import LARGEST_PAGE
from nomadquery.store.assembling import Base, Written, assemble
from nomadquery.store.files import explained
from nomadquery.store.manifests import Manifest
from nomadquery.store.tables import TableStore

_log = logging.getLogger(__name__)

#: What the facts of a begun table hold if entries known by their ids are fetched, not all of a question:
#: of which table on disk they are the news, or of which lock.
UPDATES: Final = "updates"
PINNED_BY: Final = "pinned_by"
OF_IDS: Final = frozenset({UPDATES, PINNED_BY})


def harvest(store: TableStore, source: Source, wishes: Wishes) -> Manifest:
    """Return the manifest of the complete table, fetching what is missing of it.

    Whoever else wants the same table waits, and then finds it.

    Raises
    ------
    IncompleteResult
        If promised entries could not be had; what arrived is kept, and the next call goes on there.
    CacheError
        If the table cannot be written.
    """
    asked_at = datetime.now(UTC)
    source = with_custom_sources(source)
    with explained(store.folder / "table"), store.lock():
        known = _undamaged(store, source.question, wishes)
        if known is not None and (is_servable(known, source.question, wishes) or is_shared(known, asked_at)):
            return known  # another process fetched it meanwhile
        return fetched(store, source, wishes)


def fetched(store: TableStore, source: Source, wishes: Wishes) -> Manifest:
    """Return the complete table, fetched from where its beginning ends; the caller holds the lock."""
    try:
        return _filled(store, _begun(store, source.question, wishes), source, wishes)
    except CacheCorrupt as error:
        warn_of_damage(error)
        store.abandon()
        return _filled(store, _begun(store, source.question, wishes), source, wishes)


def preview(source: Source, n_rows: int) -> tuple[Any, int]:
    """Return the first rows as one batch, and the total; nothing is kept.

    One request, and one more for archives and for each custom column.
    """
    source = with_custom_sources(source)
    fetched = fetch_page(source, Ask(EVERYWHERE, Ledger(), min(n_rows, LARGEST_PAGE)), Pinning())
    batch, _ = rows_of(fetched.entries, source, reader_for(source))
    shapes = observe([batch], batch.schema)
    return settled_batch(batch, settled_schema(batch.schema, shapes), shapes).slice(0, n_rows), fetched.total


def _undamaged(store: TableStore, question: Question, wishes: Wishes) -> Manifest | None:
    """Return what is here; a damaged table is removed."""
    try:
        known = store.manifest()
        if known is not None and is_servable(known, question, wishes):
            store.check_after_unclean_end(known)
        return known
    except CacheCorrupt:
        store.clear()
        return None


def _begun(store: TableStore, question: Question, wishes: Wishes) -> Manifest:
    """Return the table that was begun and can be gone on with, else one of which nothing is here yet."""
    try:
        begun = store.partial()
    except CacheCorrupt as error:
        warn_of_damage(error)
        begun = None
    facts = {"release": question.release, "state": question.state}
    goes_on = (
        begun is not None
        and not wishes.refresh
        and not was_begun_too_long_ago(begun, wishes)
        and question.sort is None
        and not _is_published(store, begun)
        and not OF_IDS & begun.facts.keys()
        and all(begun.facts.get(name) == fact for name, fact in facts.items())
    )
    if begun is not None and goes_on:
        return begun
    return store.begin(identity(question), {**facts, "begun_at": utc_now()})


def _is_published(store: TableStore, begun: Manifest) -> bool:
    """Return whether the begun table is the whole one; somebody was killed before it was swept away."""
    try:
        whole = store.whole()
    except CacheCorrupt:
        return False
    return whole is not None and whole.facts.get("begun_at") == begun.facts.get("begun_at")


def _filled(store: TableStore, manifest: Manifest, source: Source, wishes: Wishes) -> Manifest:
    """Fetch what is missing, put the table together, and make it the one that is read."""
    question = source.question
    with Progress(wishes.progress, "fetching") as progress:
        fetch = begin_gathering(store, source, progress.show)
        n_resumed = fetch.n_arrived
        try:
            fetch.run()
            _leave_out_vanished(fetch, store)
            problems = _reconciled(fetch, store)
        except TransportError as error:
            fetch.writer.close()
            raise interrupted(store, question, error) from error
        finally:
            fetch.writer.close()
    _log.info("fetched %d entries from %s (%d were here)", fetch.n_arrived, question.deployment, n_resumed)
    if question.limit is None and named_ids(question.criterion):
        begun = store.partial() or manifest
        problems += ids_not_found(source, set(store.pins(begun)["entry_id"].to_pylist()))
    return finished(store, manifest, question, problems, order=fetch.order)


def _leave_out_vanished(fetch: Gathering, store: TableStore) -> None:
    """Take out entries that arrived before a window broke off and are not listed in it any more."""
    vanished = fetch.known - fetch.met
    if vanished:
        fetch.writer.flush()
        store.journal.leave_out(vanished)
        fetch.n_arrived -= len(vanished)


def finished(
    store: TableStore,
    manifest: Manifest,
    question: Question,
    problems: Sequence[Mapping[str, str]],
    *,
    base: Base | None = None,
    total: int | None = None,
    facts: Mapping[str, Any] | None = None,
    order: Sequence[str] | None = None,
) -> Manifest:
    """Put the table together from what has arrived (and from ``base``) and make it the one that is read.

    ``total``: entries that were promised, where no page said it. ``facts``: what else is known.
    ``order``: the ids in the order of the rows, where that is not their own.
    """
    begun = store.partial() or manifest
    written = assemble(
        store,
        arrow_schema(question.columns, question.per),
        ordered=question.sort is None or question.pinned is not None,
        base=base,
        order=order,
    )
    rows, pins = written.parts
    promised = begun.total if total is None else total
    lines = (*begun.problems, *problems, *_rowless(written, question), *written.problems)
    complete = Manifest(
        state="complete",
        request=begun.request,
        parts=written.parts,
        n_entries=pins.n_rows,
        n_rows=rows.n_rows,
        total=promised,
        problems=tuple({tuple(line.items()): line for line in lines}.values()),
        facts={
            **{name: fact for name, fact in begun.facts.items() if name not in OF_IDS},
            "fetched_at": utc_now(),
            "n_promised": promised,
            "units": dict(written.units),
            **(facts or {}),
        },
    )
    store.publish(complete)
    return complete


def _reconciled(fetch: Gathering, store: TableStore) -> list[dict[str, str]]:
    """Fetch entries that the pages left out, or say that they could not be had; return lines about others.

    Fewer entries than were promised: either some were deleted meanwhile, or the server left some out.
    """
    walk, source = fetch.walk, fetch.source
    promised = walk.n_wanted
    if promised is None or source.question.sort is not None:
        return []
    is_all_here = fetch.n_arrived >= max(promised, walk.n_here)
    if is_all_here and not walk.is_short and not fetch.refused:
        return []
    here = _ids_here(store, fetch)
    listed = list(source.ids())
    n_wanted = None if source.question.limit is None else max(0, source.question.limit - len(here))
    missing = [entry_id for entry_id in listed if entry_id not in here][:n_wanted]
    fetch.refused.clear()
    fetch.run_for(missing)
    lost = tuple(one for one in missing if one not in _ids_here(store, fetch)) if missing else ()
    if lost:
        why = fetch.refused.get(lost[0])
        raise IncompleteResult(
            f"{len(lost)} of {promised} entries are listed by the server but were not given, "
            f"for example {lost[0]}{f' ({why})' if why else ''}. What arrived is kept; the same call tries "
            "again.",
            n_arrived=fetch.n_arrived,
            n_missing=len(lost),
            missing=lost,
            why=why or "listed, but not given",
        )
    n_unlisted = source.count() - len(listed) if source.question.limit is None else 0
    if n_unlisted > 0 and n_unlisted == source.count() - len(list(source.ids())):
        raise IncompleteResult(
            f"The server counts {n_unlisted} entries more than the {len(listed)} that it lists: nobody knows "
            "which they are. What arrived is kept; the same call tries again.",
            n_arrived=fetch.n_arrived,
            n_missing=n_unlisted,
            why="counted by the server, but not listed",
        )
    return _deletions(here, listed, promised - fetch.n_arrived)


def _ids_here(store: TableStore, fetch: Gathering) -> set[str]:
    """Return the ids of the entries whose rows are on disk, after those that wait have been written."""
    fetch.writer.flush()
    begun = store.partial()
    return set() if begun is None else set(store.pins(begun)["entry_id"].to_pylist())


def _rowless(written: Written, question: Question) -> list[dict[str, str]]:
    if question.per is None or not written.n_rowless:
        return []
    section, number = question.per.section, written.n_rowless
    why = f"{number} of {written.parts[1].n_rows} entries have no item of {section}, hence no row"
    return [{"entry_id": "", "path": section, "why": why}]


def _deletions(here: set[str], listed: Sequence[str], n_gone: int) -> list[dict[str, str]]:
    """Return lines about entries that went while reading: after they were read, and before."""
    why = "deleted or hidden while the table was read; the row is as it was before"
    lines = [{"entry_id": one, "path": "", "why": why} for one in sorted(here.difference(listed))]
    if n_gone > 0:
        why = f"{n_gone} entries were deleted or hidden while reading"
        lines.append({"entry_id": "", "path": "", "why": why})
    return lines


def interrupted(
    store: TableStore, question: Question, error: TransportError
) -> IncompleteResult | TransportError:
    """Return the error of a walk that broke off: with nothing here yet, the failure itself."""
    begun = store.partial()
    if begun is None or begun.n_entries == 0 or begun.total is None:
        return error
    n_wanted = begun.total if question.limit is None else min(begun.total, question.limit)
    return IncompleteResult(
        f"{begun.n_entries} of {n_wanted} entries arrived, then the server failed: {error} "
        "What arrived is kept; the same call goes on there (with refresh=True it begins anew, and "
        "error.resume() goes on).",
        n_arrived=begun.n_entries,
        n_missing=max(0, n_wanted - begun.n_entries),
        why=str(error),
    )


def ids_not_found(source: Source, here: Collection[str]) -> list[dict[str, str]]:
    """Return a line for each id that the query names and no hit has; ``here`` are the ids of the hits.

    Identifiers other than entry ids take one request for each quantity.
    """
    lines: list[dict[str, str]] = []
    for quantity, named in named_ids(source.question.criterion):
        known = here if quantity == "entry_id" else source.values_of(quantity)
        for one in (one for one in named if one not in known):
            entry_id, what = (one, "such entry") if quantity == "entry_id" else ("", repr(one))
            why = f"no {what} among the hits: unknown id, not visible, or excluded by another criterion"
            lines.append({"entry_id": entry_id, "path": quantity, "why": why})
    return lines


def utc_now() -> str:
    """Return this moment as manifests spell it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
