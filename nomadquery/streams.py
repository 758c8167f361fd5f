"""Whole archives of a search or of one entry: which ones, from which folder. Wiring only."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, cast

from nomadquery.asking import Wanted, drafted, read_one
from nomadquery.columns.archive import Archive
from nomadquery.columns.definitions import Declared
from nomadquery.columns.references import Home
from nomadquery.columns.required_check import check_required
from nomadquery.errors import CacheError, QueryError
from nomadquery.fetch.archives import ArchiveReader, Required
from nomadquery.fetch.plan import Question
from nomadquery.fetch.whole import Hit, WholeArchives, processed_text, utc_now
from nomadquery.fetch.wishes import Wishes
from nomadquery.inquiry import Inquiry
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.query import Query
from nomadquery.session import Session
from nomadquery.store.archives import FORMAT, ArchiveStore
from nomadquery.store.cache import ARCHIVES
from nomadquery.store.view import View

#: What a person writes: ``"*"``, or NOMAD's JSON for a part of each archive.
RequiredWords = Mapping[str, Any] | Literal["*"]

_LISTED: Final = ("upload_id", "last_processing_time")


def checked_required(required: object, session: Session) -> Required:
    """Return the ``required`` as plain JSON, or say why NOMAD would refuse or misread it.

    Raises
    ------
    QueryError
        See `check_required`.
    """
    release = session.release()
    check_required(required, catalogue_for(release), release)
    return cast(Required, json.loads(json.dumps(required)))


def archives_of_hits(inquiry: Inquiry, required: RequiredWords, wishes: Wishes) -> Iterator[Archive]:
    """Return the archives of the hits, in the order of the listing; what is asked is checked at once.

    Raises
    ------
    QueryError
        If NOMAD would refuse or misread ``required``, or rows are to be left out.
    """
    if inquiry.wanted.needed:
        raise QueryError(
            "archives() gives the archive of every entry, and drop_missing is about rows of a table. Leave "
            "it out, or take the entries of the DataFrame: nomad.entries(Q.entry_id.isin(df)).archives()."
        )
    checked = checked_required(required, inquiry.session)
    columns = tuple(read_one(name, None) for name in _LISTED)
    wanted = replace(inquiry.wanted, columns=columns, is_chosen=True, per=None)
    return _streamed(replace(inquiry, wanted=wanted), checked, wishes)


def archive_of_entry(
    session: Session,
    entry_id: str,
    metadata: Callable[[], Mapping[str, Any]],
    required: RequiredWords,
    wishes: Wishes,
) -> Archive:
    """Return the archive of one entry; ``metadata`` is asked for unless it is offline."""
    checked = checked_required(required, session)
    question = drafted(session, Query(), Wanted(session.owner(None), ()))
    is_trusted = not wishes.refresh and question.state is None
    whole = _whole(session, question, checked, wishes, since=utc_now(), trusts_times=is_trusted)
    if wishes.offline:
        kept = whole.store.index().get(entry_id)
        upload_id = "" if kept is None else kept.upload_id
        return next(whole.stream([Hit(entry_id, upload_id, None)], 1, progress=False))
    known = metadata()
    processed_at = processed_text(known.get("last_processing_time"))
    hit = Hit(entry_id, str(known.get("upload_id", "")), processed_at)
    (archive,) = whole.stream([hit], 1, progress=wishes.progress)
    return archive


def _streamed(listing: Inquiry, required: Required, wishes: Wishes) -> Iterator[Archive]:
    view, question = listing.viewed(wishes)
    n_hits = view.manifest.n_rows
    if not n_hits:
        warnings.warn(
            f"No entry matches {listing.query!r}. search.narrowing() shows which criterion leaves nothing.",
            stacklevel=2,
        )
        return
    whole = _whole(
        listing.session,
        question,
        required,
        wishes,
        since=str(view.manifest.facts.get("begun_at")),
        trusts_times=not wishes.refresh and question.state is None,
    )
    yield from whole.stream(_hits(view), n_hits, progress=wishes.progress)


def _hits(view: View) -> Iterator[Hit]:
    for batch in view.batches():
        for row in batch.to_pylist():
            moment = processed_text(row["last_processing_time"])
            yield Hit(row["entry_id"], row["upload_id"] or "", moment)


def _whole(
    session: Session,
    question: Question,
    required: Required,
    wishes: Wishes,
    *,
    since: str,
    trusts_times: bool,
) -> WholeArchives:
    request = {
        "deployment": question.deployment,
        "owner": question.owner,
        "user": question.user,
        "required": required,
    }
    text = json.dumps({"format": FORMAT, **request}, sort_keys=True, separators=(",", ":"))
    key = hashlib.sha256(text.encode()).hexdigest()[:32]

    def writable() -> ArchiveStore:
        return ArchiveStore(session.writable_store(key).folder.parents[1] / ARCHIVES / key)

    def declared(m_def: str, home: Home, names: tuple[str, ...]) -> Declared | None:
        try:
            return session.declared(m_def, home, names)
        except CacheError:  # offline: only what is shipped is known
            return None

    return WholeArchives(
        reader=ArchiveReader(session.send, question, catalogue_for(question.release), declared),
        store=ArchiveStore(session.kept_store(key).folder.parents[1] / ARCHIVES / key),
        writable=writable,
        request=request,
        required=required,
        since=since,
        trusts_times=trusts_times,
        offline=wishes.offline,
    )
