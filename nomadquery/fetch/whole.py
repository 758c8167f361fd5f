"""Whole archives: what is kept of them, and what is missing from the server, one after the other.

The entries are listed first; a listed entry ends as an archive, or is named by `IncompleteResult` after all
others have come. Archives come in the order of the listing, which is that of entry ids: so a run that was
stopped goes on at the same place, and two of them can be compared. They are asked for in batches, within
some hundred entries grouped by upload, and each batch is on disk before the next one is asked for.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, cast

from nomadquery.columns.archive import Archive, archive_of
from nomadquery.columns.decode import read_documents
from nomadquery.columns.reach import Found
from nomadquery.columns.references import Wish
from nomadquery.errors import CacheCorrupt, CacheError, IncompleteResult, TransportError
from nomadquery.fetch.archives import ArchiveReader, Required
from nomadquery.fetch.progress import Progress
from nomadquery.fetch.wishes import warn_of_damage
from nomadquery.http.endpoints import Owner, Pagination, entries_query, parse_entries_page
from nomadquery.query import dates
from nomadquery.query.body import body
from nomadquery.query.criteria import And, Equals, canonical
from nomadquery.store.archives import ArchiveStore, Kept

_log = logging.getLogger(__name__)

_FIRST_WINDOW: Final = 200
_LARGEST_WINDOW: Final = 10_000
_WINDOW_S: Final = 60.0
_SECTIONS_KEPT: Final = 16
_MOST_NAMED: Final = 3
_NOT_GIVEN: Final = "the server gave no archive: the entry has none, or it may not be read"
_NOT_THERE: Final = "there is no such entry, or it may not be read"
_ADDED: Final = "m_ref_archives"  # the server adds it to every answer; it is no part of an archive


@dataclass(frozen=True, slots=True)
class Hit:
    """A listed entry: its ids, and when NOMAD processed it last (``None``: not known)."""

    entry_id: str
    upload_id: str
    processed_at: str | None


@dataclass(slots=True)
class WholeArchives:
    """The archives of one deployment for one ``required``: from the cache, else from the server.

    Attributes
    ----------
    reader : ArchiveReader
        Asks the server.
    store : ArchiveStore
        What is kept.
    writable : callable
        Gives the store that new archives go to; called when the first one is asked for.
    request : mapping
        What is asked, as the store notes it.
    required : mapping or "*"
    since : str
        ISO time in UTC: what was fetched later is current.
    trusts_times : bool
        Whether an archive fetched before is current if its entry has not been processed since.
    offline : bool
        Whether nothing may be sent; what is kept is current then.
    refused : dict
        Entry id → why its archive could not be had.
    """

    reader: ArchiveReader
    store: ArchiveStore
    writable: Callable[[], ArchiveStore]
    request: Mapping[str, Any]
    required: Required
    since: str
    trusts_times: bool = True
    offline: bool = False
    refused: dict[str, str] = field(default_factory=dict)

    def stream(self, hits: Iterable[Hit], n_hits: int, *, progress: bool | None = None) -> Iterator[Archive]:
        """Yield the archive of each hit, in their order; one is in memory, and one batch while asking.

        Raises
        ------
        IncompleteResult
            At the end, if archives could not be had; at once, if the server fails. What arrived is kept,
            and the same call goes on there.
        CacheError
            Offline, if an archive is not kept.
        """
        neighbours = Neighbours(self.reader)
        waiting, size, n_done = iter(hits), _FIRST_WINDOW, 0
        with Progress(progress, "archives") as bar:
            while window := list(islice(waiting, size)):
                began_s = time.monotonic()
                try:
                    here = self._had(window)
                except TransportError as error:
                    raise _interrupted(error, n_done, n_hits) from error
                took_s = time.monotonic() - began_s
                size = max(
                    1, min(2 * size, _LARGEST_WINDOW, int(_WINDOW_S * len(window) / max(took_s, 1e-3)))
                )
                for place, hit in enumerate(window):
                    bar.show(n_done, n_hits)
                    content, here = self._content(window[place:], here)
                    if content is not None:
                        n_done += 1
                        yield self._archive(hit, content, neighbours)
        if self.refused:
            raise self._incomplete(n_done)

    def _archive(self, hit: Hit, content: Mapping[str, Any], neighbours: Neighbours) -> Archive:
        return archive_of(
            hit.entry_id,
            hit.upload_id,
            content,
            required=self.required,
            catalogue=self.reader.catalogue,
            declares=self.reader.declares,
            fetch=None if self.offline else neighbours.fetch,
        )

    def _content(
        self, window: Sequence[Hit], here: dict[str, Kept]
    ) -> tuple[dict[str, Any] | None, dict[str, Kept]]:
        """Return the archive of the first hit and what is here; what turns out damaged is fetched again."""
        entry_id = window[0].entry_id
        kept = here.get(entry_id)
        if kept is None:
            return None, here
        try:
            return self.store.read(kept), here
        except CacheCorrupt as error:
            if self.offline:
                raise
            self._discard(kept.part, error)
        here = self._had(window)
        kept = here.get(entry_id)
        return None if kept is None else self.store.read(kept), here

    def _had(self, window: Sequence[Hit]) -> dict[str, Kept]:
        """Return what is kept of the window's archives, after fetching what was missing."""
        here = self._current(window)
        missing = self._missing(window, here)
        if not missing:
            return here
        if self.offline:
            raise CacheError(
                f"{len(missing)} of {len(window)} archives are not kept on this machine, for example that of "
                f"{missing[0].entry_id}, and offline=True forbids asking. Run the same call once without it."
            )
        self.store = self.writable()
        with self.store.lock():
            self.store.begin(self.request)
            # another process may have fetched them meanwhile
            self._fetch(self._missing(window, self._current(window)))
        return self._current(window)

    def _missing(self, window: Sequence[Hit], here: Mapping[str, Kept]) -> list[Hit]:
        return [hit for hit in window if hit.entry_id not in here and hit.entry_id not in self.refused]

    def _current(self, window: Sequence[Hit]) -> dict[str, Kept]:
        index = self.store.index(None if self.offline else self._discard)
        pairs = ((hit, index.get(hit.entry_id)) for hit in window)
        return {hit.entry_id: kept for hit, kept in pairs if kept is not None and self._is_current(kept, hit)}

    def _is_current(self, kept: Kept, hit: Hit) -> bool:
        if self.offline or kept.fetched_at >= self.since:
            return True
        return self.trusts_times and hit.processed_at is not None and kept.processed_at == hit.processed_at

    def _fetch(self, missing: Sequence[Hit]) -> None:
        """Ask for archives, the last upload kept open by the server; each batch goes to disk."""
        waiting = sorted(missing, key=lambda hit: (hit.upload_id, hit.entry_id))
        while waiting:
            batch, waiting = waiting[: self.reader.size], waiting[self.reader.size :]
            found, refused = self.reader.wanted([hit.entry_id for hit in batch], self.required)
            now = utc_now()
            archives = [
                (Kept(hit.entry_id, hit.upload_id, hit.processed_at, now), _as_stored(found[hit.entry_id]))
                for hit in batch
                if hit.entry_id in found
            ]
            if archives:
                self.store.append(archives)
            lost = (hit.entry_id for hit in batch if hit.entry_id not in found)
            self.refused.update((one, refused.get(one, _NOT_GIVEN)) for one in lost)
            _log.info("fetched %d archives from %s", len(archives), self.reader.question.deployment)

    def _discard(self, part: str, error: CacheCorrupt) -> None:
        warn_of_damage(error)
        self.store.discard(part)

    def _incomplete(self, n_done: int) -> IncompleteResult:
        named = "; ".join(f"{one}: {why}" for one, why in islice(self.refused.items(), _MOST_NAMED))
        n_lost, more = len(self.refused), "; …" if len(self.refused) > _MOST_NAMED else ""
        return IncompleteResult(
            f"{n_lost} of {n_done + n_lost} archives could not be had, all others came. "
            f"{named}{more}. The same call tries again; to leave them out: "
            ".where(~Q.entry_id.isin(error.missing)).",
            n_arrived=n_done,
            n_missing=len(self.refused),
            missing=tuple(self.refused),
        )


class Neighbours:
    """Parts of other archives that references lead to: the top section of each, the last ones kept."""

    def __init__(self, reader: ArchiveReader) -> None:
        self._reader = ArchiveReader(reader.send, reader.question, reader.catalogue)
        self._kept: OrderedDict[tuple[str, str], Mapping[str, Any] | str] = OrderedDict()

    def fetch(self, wishes: Collection[Wish]) -> Found:
        """Return what the server gives of what is looked for; entries without a known id are named first."""
        places = {wish.place for wish in wishes if wish.place is not None}
        tops: defaultdict[str, set[str]] = defaultdict(set)
        for wish in wishes:
            if wish.entry_id is not None:
                tops[wish.path[0] if wish.path else ""].add(wish.entry_id)
        parts: list[tuple[str, Any, Mapping[str, Any]]] = []
        refused: dict[str, str] = {}
        for top, ids in tops.items():
            for entry_id, content in self._sections(top, ids).items():
                if isinstance(content, str):
                    refused[entry_id] = content
                else:
                    parts.append((entry_id, _required(top), content))
        return Found({place: self._entry_at(place) for place in sorted(places)}, parts, refused)

    def _sections(self, top: str, ids: Collection[str]) -> dict[str, Mapping[str, Any] | str]:
        """Return a section of the archives' roots by entry id, or why there is none."""
        given = {one: self._kept[one, top] for one in ids if (one, top) in self._kept}
        asked = sorted(set(ids) - set(given))
        if top and top not in self._reader.catalogue.sections.children(""):
            given.update((one, {}) for one in asked)  # a text that only looks like a reference
        elif asked:
            found, refused = self._reader.wanted(asked, cast(Required, _required(top)))
            given.update((one, found.get(one, refused.get(one, _NOT_THERE))) for one in asked)
        for one in ids:
            self._kept[one, top] = given[one]
            self._kept.move_to_end((one, top))
        while len(self._kept) > _SECTIONS_KEPT:
            self._kept.popitem(last=False)
        return given

    def _entry_at(self, place: tuple[str, str]) -> str | None:
        """Return the id of the entry with this upload and mainfile."""
        question = self._reader.question
        criterion = And((Equals("upload_id", place[0]), Equals("mainfile", place[1])))
        request = entries_query(
            body(canonical(criterion), release=question.release),
            owner=cast(Owner, "visible" if question.owner == "all" else question.owner),
            pagination=Pagination(10),
            required={"include": ["entry_id", "mainfile_key"]},
        )
        found = read_documents(parse_entries_page(self._reader.send(request)).items)
        found.sort(key=lambda document: document.get("mainfile_key") is not None)
        return str(found[0]["entry_id"]) if found else None


def utc_now() -> str:
    """Return the time as it is noted with archives: ISO, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def processed_text(moment: object) -> str | None:
    """Return a time of processing, of whatever spelling, as it is noted; ``None`` if it is none."""
    try:
        found = moment if isinstance(moment, datetime) else dates.moment_of(cast(str, moment))
    except (ValueError, TypeError):
        return None
    return found.astimezone(UTC).isoformat(timespec="milliseconds")


def _required(top: str) -> dict[str, Any] | str:
    return {top: "*"} if top else "*"


def _as_stored(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an archive without what the server adds to every answer, if that is empty."""
    if content.get(_ADDED, True):
        return content
    return {name: value for name, value in content.items() if name != _ADDED}


def _interrupted(error: TransportError, n_done: int, n_hits: int) -> IncompleteResult | TransportError:
    if n_done == 0:
        return error
    return IncompleteResult(
        f"{n_done} of {n_hits} archives arrived, then the server failed: {error} What arrived is kept; the "
        "same call goes on there.",
        n_arrived=n_done,
        n_missing=max(0, n_hits - n_done),
    )
