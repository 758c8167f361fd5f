"""Carry a plan out: pages → columns → disk, until the ledger says complete."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nomadquery.columns.decode import Problem, arrow_schema, decode, read_documents
from nomadquery.columns.frame import units_of
from nomadquery.columns.settle import observe, settled_batch, settled_schema, unsettled_fields
from nomadquery.errors import CacheCorrupt, CacheError, IncompleteResult, TransportError
from nomadquery.fetch.custom import with_custom_sources
from nomadquery.fetch.ledger import Ledger, entered, verdict
from nomadquery.fetch.pages import Document, Source
from nomadquery.fetch.plan import Question, first_page_size, identity, named_ids, next_page_size
from nomadquery.fetch.progress import Progress
from nomadquery.http.endpoints import LARGEST_PAGE
from nomadquery.store.files import explained
from nomadquery.store.tables import Manifest, TableStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a table may be had.

    Attributes
    ----------
    refresh : bool
        Fetch it again, whatever is kept.
    max_age : timedelta or None
        Fetch it again if it is older.
    offline : bool
        Send nothing.
    progress : bool or None
        Show a bar; ``None``: where somebody looks.
    """

    refresh: bool = False
    max_age: timedelta | None = None
    offline: bool = False
    progress: bool | None = None


def is_servable(manifest: Manifest, question: Question, wishes: Wishes) -> bool:
    """Return whether the table on disk is given without asking the server.

    Only a complete, public table that has rows is, of a deployment that is as it was; and one that
    is asked for offline.
    """
    if manifest.state != "complete" or wishes.refresh or _is_too_old(manifest, wishes):
        return False
    if wishes.offline:
        return True
    is_same_state = manifest.facts.get("state") == question.state
    return question.owner == "public" and manifest.n_rows > 0 and is_same_state


def kept(store: TableStore, question: Question, wishes: Wishes) -> Manifest | None:
    """Return the table on disk if it is given without asking; what is damaged is not, with a warning.

    Raises
    ------
    CacheError
        Offline, if the table is not kept whole, is damaged, or too old.
    """
    try:
        known = store.manifest()
    except CacheCorrupt as error:
        if wishes.offline:
            raise
        warn_of_damage(error)
        return None
    if known is not None and is_servable(known, question, wishes):
        return known
    if wishes.offline:
        raise _not_kept(known, wishes)
    return None


def warn_of_damage(error: CacheCorrupt) -> None:
    """Warn that a kept table is damaged and fetched again."""
    warnings.warn(f"{error} It is fetched again now.", stacklevel=2)


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
        if known is not None and (is_servable(known, source.question, wishes) or _is_shared(known, asked_at)):
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
    documents = read_documents(page.items)
    archives = source.archives(documents)[0] if source.question.archive_columns and documents else {}
    batch, _ = decode(documents, source.question.columns, source.catalogue, archives=archives)
    shapes = observe([batch], unsettled_fields(batch.schema))
    return settled_batch(batch, settled_schema(batch.schema, shapes), shapes), page.total


def _undamaged(store: TableStore) -> Manifest | None:
    """Return what is here; a damaged table is removed."""
    try:
        return store.manifest()
    except CacheCorrupt:
        store.clear()
        return None


def _is_too_old(manifest: Manifest, wishes: Wishes) -> bool:
    if wishes.max_age is None:
        return False
    fetched_at = datetime.fromisoformat(str(manifest.facts["fetched_at"]))
    return datetime.now(UTC) - fetched_at > wishes.max_age


def _was_begun_too_long_ago(begun: Manifest, wishes: Wishes) -> bool:
    if wishes.max_age is None:
        return False
    return datetime.now(UTC) - datetime.fromisoformat(str(begun.facts["begun_at"])) > wishes.max_age


def _is_shared(manifest: Manifest, asked_at: datetime) -> bool:
    """Return whether the table was finished after it was asked for, by somebody else."""
    if manifest.state != "complete":
        return False
    return datetime.fromisoformat(str(manifest.facts["fetched_at"])) >= asked_at


def _not_kept(manifest: Manifest | None, wishes: Wishes) -> CacheError:
    if manifest is None:
        return CacheError(
            "This table is not kept on this machine, and offline=True forbids asking. Run the same call once "
            "without offline."
        )
    if manifest.state != "complete":
        return CacheError(
            f"Only {manifest.n_rows} of {manifest.total} rows of this table are kept on this machine, and "
            "offline=True forbids asking for the rest. Run the same call once without offline."
        )
    return CacheError(
        f"This table was fetched at {manifest.facts.get('fetched_at')}, longer ago than {wishes.max_age}, "
        "and offline=True forbids asking. Leave out max_age, or offline."
    )


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
        and not _was_begun_too_long_ago(begun, wishes)
        and question.sort is None
        and all(begun.facts.get(name) == fact for name, fact in facts.items())
    )
    if begun is not None and goes_on:
        return begun
    return store.begin(identity(question), {**facts, "begun_at": _now()})


def _filled(store: TableStore, manifest: Manifest, source: Source, wishes: Wishes) -> Manifest:
    question, n_resumed = source.question, manifest.n_rows
    ledger = Ledger(
        promised=manifest.total, n_rows=manifest.n_rows, last_id=manifest.last_id, limit=question.limit
    )
    try:
        manifest, ledger, is_short = _walked(store, manifest, ledger, source, wishes)
        if is_short:
            manifest = _reconciled(store, manifest, source, ledger)
    except TransportError as error:
        raise _interrupted(store, question, error) from error
    schema = arrow_schema(question.columns)
    facts = {
        "fetched_at": _now(),
        "n_listed": ledger.total,
        "n_promised": ledger.promised,
        "units": units_of(schema),
    }
    _log.info("fetched %d entries from %s (%d were here)", manifest.n_rows, question.deployment, n_resumed)
    manifest = store.with_problems(manifest, _ids_not_found(store, manifest, source))
    return store.complete(manifest, schema, facts, in_order=question.sort is None)


def _walked(
    store: TableStore, manifest: Manifest, ledger: Ledger, source: Source, wishes: Wishes
) -> tuple[Manifest, Ledger, bool]:
    """Return what is here after the last page, and whether fewer entries arrived than were promised."""
    question = source.question
    size = first_page_size(question)
    decision = "done" if ledger.n_rows == question.limit else "more"
    with Progress(wishes.progress, "fetching") as progress:
        while decision == "more":
            page = source.page(after=ledger.last_id, size=size)
            documents = read_documents(page.items)
            if question.limit is not None:
                documents = documents[: question.limit - ledger.n_rows]
            grown = _entered(ledger, documents, page.total, question)
            manifest = _stored(store, manifest, source, documents, page.total)
            ledger = grown
            progress.show(ledger.n_rows, ledger.n_wanted)
            decision = "done" if question.sort is not None else verdict(ledger, len(page.items), size)
            size = next_page_size(question, len(documents), page.n_bytes)
            if question.limit is not None:
                size = max(1, min(size, question.limit - ledger.n_rows))
    return manifest, ledger, decision == "reconcile"


def _entered(ledger: Ledger, documents: Sequence[Document], total: int, question: Question) -> Ledger:
    ids = [str(document["entry_id"]) for document in documents]
    if question.sort is None:
        return entered(ledger, ids, total)
    return Ledger(total, total, len(ids), ids[-1] if ids else None, question.limit)


def _stored(
    store: TableStore, manifest: Manifest, source: Source, documents: Sequence[Document], total: int
) -> Manifest:
    archives: dict[str, Document] = {}
    problems: list[Problem] = []
    if source.question.archive_columns and documents:
        archives, problems = source.archives(documents)
    batch, unreadable = decode(documents, source.question.columns, source.catalogue, archives=archives)
    lines = [asdict(problem) for problem in (*problems, *unreadable)]
    return store.append(manifest, batch, lines, total=total)


def _reconciled(store: TableStore, manifest: Manifest, source: Source, ledger: Ledger) -> Manifest:
    """Return the manifest with entries that the pages left out, or say that they could not be had.

    Fewer rows than were promised: either entries were deleted meanwhile, or the server left some out.
    """
    here = {entry_id.as_py() for batch in store.batches(manifest) for entry_id in batch.column(0)}
    listed = list(source.ids())
    n_wanted = None if source.question.limit is None else source.question.limit - manifest.n_rows
    missing = [entry_id for entry_id in listed if entry_id not in here][:n_wanted]
    documents = source.documents_of(missing)
    manifest = _stored(store, manifest, source, documents, ledger.total or 0)
    found = {str(document["entry_id"]) for document in documents}
    lost = tuple(entry_id for entry_id in missing if entry_id not in found)
    if lost:
        raise IncompleteResult(
            f"{len(lost)} of {ledger.promised} entries are listed by the server but were not given, "
            f"for example {lost[0]}. What arrived is kept; the same call tries again.",
            n_arrived=manifest.n_rows,
            n_missing=len(lost),
            missing=lost,
        )
    return store.with_problems(manifest, _deletions(here, listed, (ledger.promised or 0) - manifest.n_rows))


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
    if begun is None or begun.n_rows == 0 or begun.total is None:
        return error
    n_wanted = begun.total if question.limit is None else min(begun.total, question.limit)
    return IncompleteResult(
        f"{begun.n_rows} of {n_wanted} entries arrived, then the server failed: {error} "
        "What arrived is kept; the same call goes on there.",
        n_arrived=begun.n_rows,
        n_missing=max(0, n_wanted - begun.n_rows),
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
            here = {entry_id.as_py() for batch in store.batches(manifest) for entry_id in batch.column(0)}
        else:
            here = source.values_of(quantity) if manifest.n_rows else set()
        for one in (one for one in named if one not in here):
            entry_id, what = (one, "such entry") if quantity == "entry_id" else ("", repr(one))
            why = f"no {what} among the hits: unknown id, not visible, or excluded by another criterion"
            lines.append({"entry_id": entry_id, "path": quantity, "why": why})
    return lines


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
