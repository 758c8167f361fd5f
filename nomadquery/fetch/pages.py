"""Ask for pages of entries and for archives in batches; each by one `send`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

from nomadquery.columns.decode import Problem, read_documents
from nomadquery.columns.required import archive_required
from nomadquery.errors import InvalidRequest, NomadError, ServerFailure
from nomadquery.fetch.plan import FIRST_BATCH, PAGE_BYTES, Question, query_body, required_for
from nomadquery.http.endpoints import (
    LARGEST_PAGE,
    Owner,
    Page,
    Pagination,
    archive_query,
    entries_query,
    parse_entries_page,
    parse_terms,
    terms_query,
)
from nomadquery.http.message import Reply, Request
from nomadquery.query.body import body
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import Criterion, HasAny, canonical

_MOST_VALUES: Final = 10_000

Send = Callable[[Request], Reply]
Document = Mapping[str, Any]

_BATCH_S: Final = 10.0
_LEAST_BATCH: Final = 5  # pauses of a failing server are no reason for smaller batches
#: How a server fails over one entry among many: NOMAD's own 400 and 500, or an answer too large.
_REFUSED: Final = frozenset({400, 413, 500})
_TOO_SLOW: Final = 504


@dataclass(frozen=True, slots=True)
class Source:
    """Where the pages of one question come from.

    Attributes
    ----------
    send : callable
        Sends a request and returns its whole answer.
    question : Question
    catalogue : Catalogue
    clock : callable
        Seconds; batches of archives are made so large that each takes at most ten.
    """

    send: Send
    question: Question
    catalogue: Catalogue
    clock: Callable[[], float] = time.monotonic

    def page(self, *, after: str | None, size: int) -> Page:
        """Return the page of ``size`` entries after an entry id."""
        sort = self.question.sort
        paging = (
            Pagination(size, after)
            if sort is None
            else Pagination(size, after, sort.quantity, "desc" if sort.descending else "asc")
        )
        return self._entries(paging, required_for(self.question, self.catalogue))

    def count(self) -> int:
        """Return how many entries match, asking for none."""
        unsorted = replace(self, question=replace(self.question, sort=None))
        return unsorted._entries(Pagination(0)).total

    def ids(self) -> Iterator[str]:
        """Yield the ids of all entries that match now, in order."""
        after = None
        while True:
            page = self._entries(Pagination(LARGEST_PAGE, after), {"include": ["entry_id"]})
            found = [str(document["entry_id"]) for document in read_documents(page.items)]
            yield from found
            if not found or (len(found) < LARGEST_PAGE and after is None and len(found) == page.total):
                return
            after = found[-1]

    def values_of(self, quantity: str) -> set[str]:
        """Return the values that the hits have of a keyword quantity."""
        request = terms_query(
            query_body(self.question, self.catalogue),
            quantity,
            owner=cast(Owner, self.question.owner),
            size=_MOST_VALUES,
        )
        return {str(b.value) for b in parse_terms(self.send(request)).buckets if b.n_entries}

    def documents_of(self, ids: Sequence[str]) -> list[Document]:
        """Return the search documents of entries that are known by id, in the order of the ids."""
        found: list[Document] = []
        for start in range(0, len(ids), LARGEST_PAGE):
            part = ids[start : start + LARGEST_PAGE]
            request = entries_query(
                _of_ids(part, self.question.release),
                owner=cast(Owner, self.question.owner),
                pagination=Pagination(len(part)),
                required=required_for(self.question, self.catalogue),
            )
            found += read_documents(parse_entries_page(self.send(request)).items)
        return sorted(found, key=lambda document: str(document["entry_id"]))

    def archives(self, documents: Sequence[Document]) -> tuple[dict[str, Document], list[Problem]]:
        """Return the archives of the entries, by id, and why some could not be had.

        Batches are grouped by upload, since the server keeps the last upload open.
        """
        by_upload = sorted(documents, key=lambda one: (one.get("upload_id", ""), one["entry_id"]))
        waiting = [str(document["entry_id"]) for document in by_upload]
        found: dict[str, Document] = {}
        problems: list[Problem] = []
        size = FIRST_BATCH
        while waiting:
            batch, waiting = waiting[:size], waiting[size:]
            began_s = self.clock()
            n_bytes = self._batch(batch, found, problems)
            size = _next_batch(len(batch), n_bytes, self.clock() - began_s)
        refused = {problem.entry_id for problem in problems}
        why = "the server gave no archive: the entry has none, or it may not be read"
        ids = (str(document["entry_id"]) for document in documents)
        problems += [Problem(one, "archive", why) for one in ids if one not in found and one not in refused]
        return found, problems

    def _entries(self, paging: Pagination, required: Mapping[str, Any] | None = None) -> Page:
        request = entries_query(
            query_body(self.question, self.catalogue),
            owner=cast(Owner, self.question.owner),
            pagination=paging,
            required=required,
        )
        return parse_entries_page(self.send(request))

    def _batch(self, ids: Sequence[str], found: dict[str, Document], problems: list[Problem]) -> int:
        """Add the archives of ``ids`` to ``found``; halve around an entry that the server cannot serve."""
        try:
            page = self._archive_page(ids)
        except (InvalidRequest, ServerFailure) as error:
            if error.status not in _REFUSED and (error.status != _TOO_SLOW or len(ids) == 1):
                raise
            if len(ids) > 1:
                middle = len(ids) // 2
                return self._batch(ids[:middle], found, problems) + self._batch(ids[middle:], found, problems)
            refused = Problem(ids[0], "archive", f"the server could not serve it: {_short(error)}")
            return self._whole_archive(ids[0], found, problems, refused)
        _take(page, found)
        return page.n_bytes

    def _whole_archive(
        self, entry_id: str, found: dict[str, Document], problems: list[Problem], refused: Problem
    ) -> int:
        """Add an entry's archive as it is stored, where the server cannot resolve its references.

        That are references into another deployment (400), and all of a local deployment's.
        """
        if any(column.follows for column in self.question.archive_columns):
            try:
                page = self._archive_page([entry_id], required="*")
            except (InvalidRequest, ServerFailure) as error:
                if error.status not in _REFUSED:
                    raise
            else:
                _take(page, found)
                return page.n_bytes
        problems.append(refused)
        return 0

    def _archive_page(self, ids: Sequence[str], *, required: Literal["*"] | None = None) -> Page:
        owner = "visible" if self.question.owner == "all" else self.question.owner
        request = archive_query(
            _of_ids(ids, self.question.release),
            owner=cast(Owner, owner),
            pagination=Pagination(len(ids), order_by="upload_id"),
            required=required or archive_required(self.question.archive_columns),
        )
        return parse_entries_page(self.send(request))


def _take(page: Page, found: dict[str, Document]) -> None:
    for item in read_documents(raw for raw in page.items if bytes(raw) != b"null"):
        found[item["entry_id"]] = item.get("archive") or {}


def _next_batch(n_ids: int, n_bytes: int, took_s: float) -> int:
    """Return how many archives to ask for next: at most twice as many, 20 MB and ten seconds."""
    by_bytes = PAGE_BYTES * n_ids // max(1, n_bytes)
    by_time = max(_LEAST_BATCH, int(_BATCH_S * n_ids / max(took_s, 1e-3)))
    return max(1, min(2 * n_ids, by_bytes, by_time, LARGEST_PAGE))


def _of_ids(ids: Sequence[str], release: str) -> dict[str, Any]:
    criterion: Criterion = HasAny("entry_id", tuple(ids))
    return body(canonical(criterion), release=release)


def _short(error: NomadError) -> str:
    text = str(error).splitlines()[0]
    return text if len(text) <= 160 else text[:159] + "…"
