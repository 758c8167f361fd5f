"""Carry a plan out: pages → columns → disk, until the ledger says complete."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nomadquery.columns.decode import Problem, decode, read_documents
from nomadquery.columns.frame import units_of
from nomadquery.errors import CacheCorrupt, CacheError, IncompleteResult, TransportError
from nomadquery.fetch.ledger import Ledger, entered, verdict
from nomadquery.fetch.pages import Document, Source
from nomadquery.fetch.plan import (
    Question,
    first_page_size,
    identity,
    next_page_size,
    schema_of,
)
from nomadquery.fetch.progress import Progress
from nomadquery.http.endpoints import LARGEST_PAGE, Page
from nomadquery.query.criteria import And, Criterion, Equals, HasAny
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

    Only a complete, public table that has rows is; and one that is asked for offline.
    """
    if manifest.state != "complete" or wishes.refresh:
        return False
    if wishes.offline:
        return True
    if question.owner != "public" or manifest.n_rows == 0:
        return False
    fetched = datetime.fromisoformat(str(manifest.facts["fetched_at"]))
    return wishes.max_age is None or datetime.now(UTC) - fetched <= wishes.max_age


def harvest(store: TableStore, source: Source, wishes: Wishes) -> Manifest:
    """Return the manifest of the complete table, fetching what is missing of it.

    Whoever else wants the same table waits, and then finds it.

    Raises
    ------
    IncompleteResult
        If promised entries could not be had; what arrived is kept, and the next call goes on there.
    CacheError
        Offline, if the table is not kept whole.
    """
    question = source.question
    known = _kept(store, wishes)
    if known is not None and is_servable(known, question, wishes):
        return known
    if wishes.offline:
        raise CacheError(
            "This table is not kept on this machine, and offline=True forbids asking. Run the same call once "
            "without offline."
        )
    with store.lock():
        known = _kept(store, wishes)
        if known is not None and is_servable(known, question, wishes):
            return known  # another process fetched it meanwhile
        if known is None or known.state == "complete" or wishes.refresh or question.sort is not None:
            known = store.begin(identity(question), {"release": question.release, "begun_at": _now()})
        return _filled(store, known, source, wishes)


def _kept(store: TableStore, wishes: Wishes) -> Manifest | None:
    try:
        return store.manifest()
    except CacheCorrupt as error:
        if wishes.offline:
            raise
        import warnings

        warnings.warn(f"{error} It is fetched again now.", stacklevel=2)
        store.clear()
        return None


def _filled(store: TableStore, manifest: Manifest, source: Source, wishes: Wishes) -> Manifest:
    question = source.question
    ledger = Ledger(
        promised=manifest.total, n_rows=manifest.n_rows, last_id=manifest.last_id, limit=question.limit
    )
    size = first_page_size(question)
    n_resumed = ledger.n_rows
    with Progress(wishes.progress, "fetching") as progress:
        while True:
            try:
                page = source.page(after=ledger.last_id, size=size)
                documents = read_documents(page.items)
                if question.limit is not None:
                    documents = documents[: question.limit - ledger.n_rows]
                ledger = _noted(ledger, documents, page, question)
                manifest = _stored(store, manifest, source, documents, page.total)
            except TransportError as error:
                raise _interrupted(ledger, error) from error
            progress.show(ledger.n_rows, ledger.n_wanted)
            decision = "done" if question.sort is not None else verdict(ledger, len(documents))
            if decision != "more":
                break
            size = next_page_size(question, len(documents), page.n_bytes)
            if question.limit is not None:
                size = min(size, question.limit - ledger.n_rows)
    if decision == "reconcile":
        manifest = _reconciled(store, manifest, source, ledger)
    facts = {
        "fetched_at": _now(),
        "n_listed": ledger.total,
        "n_promised": ledger.promised,
        "units": units_of(schema_of(question)),
    }
    _log.info("fetched %d entries from %s (%d were here)", manifest.n_rows, question.deployment, n_resumed)
    manifest = store.with_problems(manifest, _ids_not_found(store, question))
    return store.complete(manifest, schema_of(question), facts, in_order=question.sort is None)


def _noted(ledger: Ledger, documents: Sequence[Document], page: Page, question: Question) -> Ledger:
    ids = [str(document["entry_id"]) for document in documents]
    if question.sort is None:
        return entered(ledger, ids, page.total)
    return Ledger(page.total, page.total, len(ids), ids[-1] if ids else None, question.limit)


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
    here = {entry_id.as_py() for batch in store.batches() for entry_id in batch.column(0)}
    missing = [entry_id for entry_id in source.ids() if entry_id not in here]
    if not missing:
        gone = (ledger.promised or 0) - ledger.n_rows
        line = {"entry_id": "", "path": "", "why": f"{gone} entries were deleted or hidden while reading"}
        return store.with_problems(manifest, [line])
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
    return manifest


def _interrupted(ledger: Ledger, error: TransportError) -> IncompleteResult | TransportError:
    """Return the error of a walk that broke off: with nothing here yet, the failure itself."""
    if ledger.n_rows == 0 or ledger.n_wanted is None:
        return error
    missing = ledger.n_wanted - ledger.n_rows
    return IncompleteResult(
        f"{ledger.n_rows} of {ledger.n_wanted} entries arrived, then the server failed: {error} "
        "What arrived is kept; the same call goes on there.",
        n_arrived=ledger.n_rows,
        n_missing=missing,
    )


def _ids_not_found(store: TableStore, question: Question) -> list[dict[str, str]]:
    """Return a line for each entry id that the query names and no row has."""
    named = _named_ids(question.criterion)
    if not named or question.limit is not None:
        return []
    here = {entry_id.as_py() for batch in store.batches() for entry_id in batch.column(0)}
    why = "no such entry among the hits: unknown id, not visible, or excluded by another criterion"
    return [{"entry_id": one, "path": "entry_id", "why": why} for one in named if one not in here]


def _named_ids(criterion: Criterion) -> list[str]:
    match criterion:
        case HasAny("entry_id", values):
            return [str(value) for value in values]
        case Equals("entry_id", value):
            return [str(value)]
        case And(parts):
            return [one for part in parts for one in _named_ids(part)]
        case _:
            return []


def _now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def preview(source: Source, n_rows: int) -> tuple[Any, int]:
    """Return the first rows as one batch, and the total; one request, nothing is kept."""
    page = source.page(after=None, size=min(n_rows, LARGEST_PAGE))
    documents = read_documents(page.items)
    archives = source.archives(documents)[0] if source.question.archive_columns and documents else {}
    batch, _ = decode(documents, source.question.columns, source.catalogue, archives=archives)
    return batch, page.total
