"""Ask for pages of entries, each by one `send`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from nomadquery.columns.compiled import listed
from nomadquery.columns.extract import Declares
from nomadquery.fetch.plan import Question, query_body, required_for
from nomadquery.http.endpoints import (
    LARGEST_PAGE,
    Owner,
    Page,
    Pagination,
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


@dataclass(frozen=True, slots=True)
class Source:
    """Where the pages of one question come from.

    Attributes
    ----------
    send : callable
        Sends a request and returns its whole answer.
    question : Question
    catalogue : Catalogue
    declares : callable or None
        Tells the units that custom schemas declare.
    """

    send: Send
    question: Question
    catalogue: Catalogue
    declares: Declares | None = None

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
            found = [str(document["entry_id"]) for document in listed(page.items)]
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
            found += listed(parse_entries_page(self.send(request)).items)
        return sorted(found, key=lambda document: str(document["entry_id"]))

    def _entries(self, paging: Pagination, required: Mapping[str, Any] | None = None) -> Page:
        request = entries_query(
            query_body(self.question, self.catalogue),
            owner=cast(Owner, self.question.owner),
            pagination=paging,
            required=required,
        )
        return parse_entries_page(self.send(request))


def _of_ids(ids: Sequence[str], release: str) -> dict[str, Any]:
    criterion: Criterion = HasAny("entry_id", tuple(ids))
    return body(canonical(criterion), release=release)
