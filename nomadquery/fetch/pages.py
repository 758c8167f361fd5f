"""Ask for pages of entries and for archives in batches; each by one `send`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

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
)
from nomadquery.http.message import Reply, Request
from nomadquery.query.body import body
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import Criterion, HasAny, canonical

Send = Callable[[Request], Reply]
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the pages of one question come from."""

    send: Send
    question: Question
    catalogue: Catalogue

    def page(self, *, after: str | None, size: int) -> Page:
        """Return the page of ``size`` entries after an entry id."""
        sort = self.question.sort
        paging = (
            Pagination(size, after)
            if sort is None
            else Pagination(size, after, sort.quantity, "desc" if sort.descending else "asc")
        )
        request = entries_query(
            query_body(self.question, self.catalogue),
            owner=cast(Owner, self.question.owner),
            pagination=paging,
            required=required_for(self.question, self.catalogue),
        )
        return parse_entries_page(self.send(request))

    def count(self) -> int:
        """Return how many entries match, asking for none."""
        request = entries_query(
            query_body(self.question, self.catalogue),
            owner=cast(Owner, self.question.owner),
            pagination=Pagination(0),
        )
        return parse_entries_page(self.send(request)).total

    def ids(self) -> Iterator[str]:
        """Yield the ids of all entries that match now, in order."""
        after = None
        while True:
            request = entries_query(
                query_body(self.question, self.catalogue),
                owner=cast(Owner, self.question.owner),
                pagination=Pagination(LARGEST_PAGE, after),
                required={"include": ["entry_id"]},
            )
            page = parse_entries_page(self.send(request))
            found = [document["entry_id"] for document in read_documents(page.items)]
            yield from found
            if len(found) < LARGEST_PAGE:
                return
            after = found[-1]

    def documents_of(self, ids: Sequence[str]) -> list[Document]:
        """Return the search documents of entries that are known by id."""
        found: list[Document] = []
        for part in _chunks(ids, LARGEST_PAGE):
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
        by_upload = sorted(
            documents, key=lambda document: (document.get("upload_id", ""), document["entry_id"])
        )
        waiting = [str(document["entry_id"]) for document in by_upload]
        found: dict[str, Document] = {}
        problems: list[Problem] = []
        size = FIRST_BATCH
        while waiting:
            batch, waiting = waiting[:size], waiting[size:]
            n_bytes = self._batch(batch, found, problems)
            size = max(1, min(2 * size, PAGE_BYTES * len(batch) // max(1, n_bytes)))
        missing = [
            entry_id for entry_id in map(str, (d["entry_id"] for d in documents)) if entry_id not in found
        ]
        refused = {problem.entry_id for problem in problems}
        why = "the server gave no archive: the entry has none, or it may not be read"
        problems += [Problem(entry_id, "archive", why) for entry_id in missing if entry_id not in refused]
        return found, problems

    def _batch(self, ids: Sequence[str], found: dict[str, Document], problems: list[Problem]) -> int:
        """Add the archives of ``ids`` to ``found``; halve around an entry that the server cannot serve."""
        try:
            page = self._archive_page(ids)
        except (InvalidRequest, ServerFailure) as error:
            if len(ids) > 1:
                middle = len(ids) // 2
                return self._batch(ids[:middle], found, problems) + self._batch(ids[middle:], found, problems)
            problems.append(Problem(ids[0], "archive", f"the server could not serve it: {_short(error)}"))
            return 0
        for item in read_documents(raw for raw in page.items if bytes(raw) != b"null"):
            found[item["entry_id"]] = item.get("archive") or {}
        return page.n_bytes

    def _archive_page(self, ids: Sequence[str]) -> Page:
        owner = "visible" if self.question.owner == "all" else self.question.owner
        request = archive_query(
            _of_ids(ids, self.question.release),
            owner=cast(Owner, owner),
            pagination=Pagination(len(ids)),
            required=archive_required(self.question.archive_columns),
        )
        return parse_entries_page(self.send(request))


def _of_ids(ids: Sequence[str], release: str) -> dict[str, Any]:
    criterion: Criterion = HasAny("entry_id", tuple(ids))
    return body(canonical(criterion), release=release)


def _chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _short(error: NomadError) -> str:
    text = str(error).splitlines()[0]
    return text if len(text) <= 160 else text[:159] + "…"
