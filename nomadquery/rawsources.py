"""Whose raw files: of a search, an entry, an upload; each is listed in its own way. Wiring only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from nomadquery.asking import read_one
from nomadquery.errors import CacheError, QueryError
from nomadquery.fetch.plan import facts_of
from nomadquery.fetch.progress import Progress
from nomadquery.fetch.whole import utc_now
from nomadquery.fetch.wishes import Wishes
from nomadquery.http.pace import IN_FLIGHT
from nomadquery.inquiry import Inquiry
from nomadquery.raw.files import RawFile
from nomadquery.raw.listing import ListedEntry, list_entries, list_upload
from nomadquery.session import Session

#: What is asked of each entry: where its files are, and what is said of them in the manifest.
_LISTED: Final = ("upload_id", "mainfile", "published", "license", "authors.name")


@dataclass(frozen=True, slots=True)
class Listed:
    """All raw files of somebody, before any are chosen.

    Attributes
    ----------
    files : tuple of RawFile
    missing : mapping of str to str
        Entries whose files could not be listed, and why.
    published : mapping of str to bool
        By upload: whether it has a stored zip.
    uploads : mapping of str to dict
        By upload: ``license`` and ``authors``.
    facts : dict
        What was asked, of whom and when.
    """

    files: tuple[RawFile, ...]
    missing: Mapping[str, str]
    published: Mapping[str, bool]
    uploads: Mapping[str, Mapping[str, Any]]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RawSource:
    """Whose files are wanted.

    Attributes
    ----------
    session : Session
    owner : str
        Whose entries are asked for.
    words : str
        For people: ``"of a search"``.
    listed : callable
        Asks for the list.
    """

    session: Session
    owner: str
    words: str
    listed: Callable[[], Listed]

    @property
    def n_places(self) -> int:
        """Requests at once; 0 inside this process."""
        return places_at(self.session)


def places_at(session: Session) -> int:
    """Return how many requests a deployment gets at once; 0: one after the other, inside this process."""
    return 0 if session.deployment.in_process else IN_FLIGHT


def raw_of_hits(inquiry: Inquiry, wishes: Wishes, words: str) -> RawSource:
    """Return the files of the hits of a search.

    Raises
    ------
    QueryError
        If rows are to be left out.
    """
    if inquiry.wanted.needed:
        raise QueryError(
            "raw() gives the files of every entry, and drop_missing is about rows of a table. Leave it out, "
            "or take the entries of the DataFrame: nomad.entries(Q.entry_id.isin(df)).raw()."
        )
    if wishes.offline and not inquiry.session.deployment.in_process:
        raise CacheError("Lists of raw files are not kept on this machine, and offline=True forbids asking.")
    columns = tuple(read_one(name, None) for name in _LISTED)
    wanted = replace(inquiry.wanted, columns=columns, is_chosen=True, per=None)
    listing = replace(inquiry, wanted=wanted)
    return RawSource(inquiry.session, inquiry.wanted.owner, words, lambda: _listed_hits(listing, wishes))


def raw_of_entry(session: Session, entry_id: str, metadata: Callable[[], Mapping[str, Any]]) -> RawSource:
    """Return the files of one entry, in the folder of its mainfile; ``metadata`` asks for its document."""
    owner = session.owner(None)

    def listed() -> Listed:
        document = metadata()
        facts = {**_facts(session, owner), "entry_id": entry_id}
        row = {
            "entry_id": entry_id,
            **{name: document.get(name) for name in ("upload_id", "mainfile", "published", "license")},
            "authors.name": [one.get("name") for one in document.get("authors") or ()],
        }
        return _listed_rows(session, [row], owner, facts, progress=False)

    return RawSource(session, owner, f"of entry {entry_id}", listed)


def raw_of_upload(session: Session, upload_id: str, entries: Inquiry, wishes: Wishes) -> RawSource:
    """Return all files of an upload, those of no entry included; ``entries`` asks for its entries."""
    columns = tuple(read_one(name, None) for name in _LISTED)
    listing = replace(entries, wanted=replace(entries.wanted, columns=columns, is_chosen=True, limit=1))

    def listed() -> Listed:
        with Progress(wishes.progress, "listing", "folders") as bar:
            files = list_upload(session.send, upload_id, n_places=places_at(session), show=bar.show)
        rows = listing.arrow_table(wishes)[0].to_pylist()
        facts = {**_facts(session, entries.wanted.owner), "upload_id": upload_id}
        return Listed(files, {}, _published(rows), _uploads(rows), facts)

    return RawSource(session, entries.wanted.owner, f"of upload {upload_id}", listed)


def _listed_hits(listing: Inquiry, wishes: Wishes) -> Listed:
    view, question = listing.viewed(wishes)
    rows = view.table().to_pylist()
    facts = facts_of(question, view.manifest)
    return _listed_rows(listing.session, rows, question.owner, facts, progress=wishes.progress)


def _listed_rows(
    session: Session, rows: list[dict[str, Any]], owner: str, facts: dict[str, Any], *, progress: bool | None
) -> Listed:
    lost = {
        row["entry_id"]: "the server tells no mainfile of it"
        for row in rows
        if not row["mainfile"] or not row["upload_id"]
    }
    entries = [
        ListedEntry(row["entry_id"], row["upload_id"], row["mainfile"])
        for row in rows
        if row["entry_id"] not in lost
    ]
    with Progress(progress, "listing", "folders") as bar:
        found = list_entries(
            session.send,
            entries,
            owner=owner,
            release=session.release(),
            n_places=places_at(session),
            show=bar.show,
        )
    return Listed(found.files, {**lost, **found.missing}, _published(rows), _uploads(rows), facts)


def _published(rows: list[dict[str, Any]]) -> dict[str, bool]:
    return {row["upload_id"]: bool(row["published"]) for row in rows}


def _uploads(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return licence and authors of each upload, which all of its entries share."""
    return {
        row["upload_id"]: {"license": row["license"], "authors": list(row["authors.name"] or ())}
        for row in rows
    }


def _facts(session: Session, owner: str) -> dict[str, Any]:
    return {
        "fetched_at": utc_now(),
        "deployment": session.deployment.api_base,
        "release": session.release(),
        "owner": owner,
    }
