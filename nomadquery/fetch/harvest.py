"""Carry a plan out: pages → columns → disk, until the ledger says complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nomadquery.columns.arrays import arrow_schema
from nomadquery.columns.compiled import listed
from nomadquery.columns.settle import observe, settled_batch, settled_schema
from nomadquery.errors import CacheCorrupt, IncompleteResult, TransportError
from nomadquery.fetch.archives import ArchiveReader
from nomadquery.fetch.custom import with_custom_sources
from nomadquery.fetch.ledger import Ledger, entered, verdict
from nomadquery.fetch.pages import Document, Source
from nomadquery.fetch.plan import Question, first_page_size, identity, named_ids, next_page_size
from nomadquery.fetch.progress import Progress
from nomadquery.fetch.rows import entry_ids_of, reader_for, rows_of
from nomadquery.fetch.wishes import (
    Wishes,
    is_servable,
    is_shared,
    warn_of_damage,
    was_begun_too_long_ago,
)
from nomadquery.http.endpoints import LARGEST_PAGE
from nomadquery.store.files import explained
from nomadquery.store.tables import Manifest, TableStore

if TYPE_CHECKING:
    pass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    """One table to fetch: where it is kept, where it comes from, how it may be had."""

    store: TableStore
    source: Source
    reader: ArchiveReader
    wishes: Wishes


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
        known = _undamaged(store)
        if known is not None and (is_servable(known, source.question, wishes) or is_shared(known, asked_at)):
            return known  # another process fetched it meanwhile
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
    page = source.page(after=None, size=min(n_rows, LARGEST_PAGE))
    documents = listed(page.items)
    batch, _ = rows_of(documents, source, reader_for(source))
    shapes = observe([batch], batch.schema)
    return settled_batch(batch, settled_schema(batch.schema, shapes), shapes).slice(0, n_rows), page.total


def _undamaged(store: TableStore) -> Manifest | None:
    """Return what is here; a damaged table is removed."""
    try:
        return store.manifest()
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
        and all(begun.facts.get(name) == fact for name, fact in facts.items())
    )
    if begun is not None and goes_on:
        return begun
    return store.begin(identity(question), {**facts, "begun_at": _now()})


def _filled(store: TableStore, manifest: Manifest, source: Source, wishes: Wishes) -> Manifest:
    question, n_resumed = source.question, manifest.n_entries
    ledger = Ledger(
        promised=manifest.total, n_rows=manifest.n_entries, last_id=manifest.last_id, limit=question.limit
    )
    job = _Job(store, source, reader_for(source), wishes)
    try:
        manifest, ledger, is_short = _walked(job, manifest, ledger)
        if is_short:
            manifest = _reconciled(job, manifest, ledger)
    except TransportError as error:
        raise _interrupted(store, question, error) from error
    schema = arrow_schema(question.columns, question.per)
    facts = {"fetched_at": _now(), "n_listed": ledger.total, "n_promised": ledger.promised}
    _log.info("fetched %d entries from %s (%d were here)", manifest.n_entries, question.deployment, n_resumed)
    lines = [*_ids_not_found(store, manifest, source), *_rowless(manifest, question)]
    manifest = store.with_problems(manifest, lines)
    return store.complete(manifest, schema, facts, in_order=question.sort is None)


def _walked(job: _Job, manifest: Manifest, ledger: Ledger) -> tuple[Manifest, Ledger, bool]:
    """Return what is here after the last page, and whether fewer entries arrived than were promised."""
    source, question = job.source, job.source.question
    size = first_page_size(question)
    decision = "done" if ledger.n_rows == question.limit else "more"
    with Progress(job.wishes.progress, "fetching") as progress:
        while decision == "more":
            began_s = time.monotonic()
            page = source.page(after=ledger.last_id, size=size)
            documents = listed(page.items)
            if question.limit is not None:
                documents = documents[: question.limit - ledger.n_rows]
            grown = _entered(ledger, documents, page.total, question)
            rows, lines = rows_of(documents, source, job.reader)
            manifest = job.store.append(
                manifest, rows, lines, entry_ids=entry_ids_of(documents), total=page.total
            )
            ledger = grown
            progress.show(ledger.n_rows, ledger.n_wanted)
            decision = "done" if question.sort is not None else verdict(ledger, len(page.items), size)
            took_s = time.monotonic() - began_s
            size = next_page_size(
                question, len(documents), page.n_bytes, rows_bytes=rows.nbytes, took_s=took_s
            )
            if question.limit is not None:
                size = max(1, min(size, question.limit - ledger.n_rows))
    return manifest, ledger, decision == "reconcile"


def _entered(ledger: Ledger, documents: Sequence[Document], total: int, question: Question) -> Ledger:
    ids = entry_ids_of(documents)
    if question.sort is None:
        return entered(ledger, ids, total)
    return Ledger(total, total, len(ids), ids[-1] if ids else None, question.limit)


def _reconciled(job: _Job, manifest: Manifest, ledger: Ledger) -> Manifest:
    """Return the manifest with entries that the pages left out, or say that they could not be had.

    Fewer rows than were promised: either entries were deleted meanwhile, or the server left some out.
    """
    store, source = job.store, job.source
    here = _here(store, manifest)
    listed = list(source.ids())
    n_wanted = None if source.question.limit is None else source.question.limit - manifest.n_entries
    missing = [entry_id for entry_id in listed if entry_id not in here][:n_wanted]
    documents = source.documents_of(missing)
    rows, lines = rows_of(documents, source, job.reader)
    found = set(entry_ids_of(documents))
    manifest = store.append(
        manifest, rows, lines, entry_ids=entry_ids_of(documents), total=ledger.total or 0, is_late=True
    )
    lost = tuple(entry_id for entry_id in missing if entry_id not in found)
    if lost:
        raise IncompleteResult(
            f"{len(lost)} of {ledger.promised} entries are listed by the server but were not given, "
            f"for example {lost[0]}. What arrived is kept; the same call tries again.",
            n_arrived=manifest.n_entries,
            n_missing=len(lost),
            missing=lost,
        )
    return store.with_problems(
        manifest, _deletions(here, listed, (ledger.promised or 0) - manifest.n_entries)
    )


def _here(store: TableStore, manifest: Manifest) -> set[str]:
    """Return the ids of the entries that were read, with rows or without."""
    rows = (batch.column(0).to_pylist() for batch in store.batches(manifest))
    return {*manifest.rowless, *(entry_id for ids in rows for entry_id in ids)}


def _rowless(manifest: Manifest, question: Question) -> list[dict[str, str]]:
    if question.per is None or not manifest.rowless:
        return []
    section, number = question.per.section, len(manifest.rowless)
    why = f"{number} of {manifest.n_entries} entries have no item of {section}, hence no row"
    return [{"entry_id": "", "path": section, "why": why}]


def _deletions(here: set[str], listed: Sequence[str], n_gone: int) -> list[dict[str, str]]:
    """Return lines about entries that went while reading: after they were read, and before."""
    why = "deleted or hidden while the table was read; the row is as it was before"
    lines = [{"entry_id": one, "path": "", "why": why} for one in sorted(here.difference(listed))]
    if n_gone > 0:
        why = f"{n_gone} entries were deleted or hidden while reading"
        lines.append({"entry_id": "", "path": "", "why": why})
    return lines


def _interrupted(
    store: TableStore, question: Question, error: TransportError
) -> IncompleteResult | TransportError:
    """Return the error of a walk that broke off: with nothing here yet, the failure itself."""
    begun = store.partial()
    if begun is None or begun.n_entries == 0 or begun.total is None:
        return error
    n_wanted = begun.total if question.limit is None else min(begun.total, question.limit)
    return IncompleteResult(
        f"{begun.n_entries} of {n_wanted} entries arrived, then the server failed: {error} "
        "What arrived is kept; the same call goes on there.",
        n_arrived=begun.n_entries,
        n_missing=max(0, n_wanted - begun.n_entries),
    )


def _ids_not_found(store: TableStore, manifest: Manifest, source: Source) -> list[dict[str, str]]:
    """Return a line for each id that the query names and no hit has.

    Entry ids are looked up in the table; other identifiers take one request for each quantity.
    """
    question = source.question
    if question.limit is not None:
        return []
    lines: list[dict[str, str]] = []
    for quantity, named in named_ids(question.criterion):
        if quantity == "entry_id":
            here = _here(store, manifest)
        else:
            here = source.values_of(quantity) if manifest.n_entries else set()
        for one in (one for one in named if one not in here):
            entry_id, what = (one, "such entry") if quantity == "entry_id" else ("", repr(one))
            why = f"no {what} among the hits: unknown id, not visible, or excluded by another criterion"
            lines.append({"entry_id": entry_id, "path": quantity, "why": why})
    return lines


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
