"""Ask for pages of entries, each by one `send`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from nomadquery.columns.compiled import Entry, Listed, listed
from nomadquery.columns.extract import Declares
from nomadquery.columns.pins import PINNED
from nomadquery.columns.plain import Plain, Read
from nomadquery.fetch.plan import Question, query_body, required_for
from nomadquery.fetch.slices import EVERYWHERE, Slice
from nomadquery.fetch.walk import Ask
from nomadquery.http.endpoints import (
    LARGEST_PAGE,
    Owner,
    Page,
    Pagination,
    entries_query,
    parse_entries_page,
    parse_pagination,
    parse_terms,
    terms_query,
)
from nomadquery.http.message import Reply, Request
from nomadquery.query.body import body, within_ids
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import And, Criterion, HasAny, canonical

_MOST_VALUES: Final = 10_000

#: Of a slice in which nothing can match.
NO_PAGE: Final = Page(0, None, b"[]", 0)

Send = Callable[[Request], Reply]
Document = Entry


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
    n_places : int
        Requests at once; 0: one after the other, as a deployment inside the process needs it.
    """

    send: Send
    question: Question
    catalogue: Catalogue
    declares: Declares | None = None
    n_places: int = 0

    def page(self, ask: Ask, plain: Plain | None = None) -> tuple[Page, Read | None]:
        """Return a page, and what `parsed` reads of it.

        Who asks for less where the server cannot give it is `fetch.paging`.
        """
        sort = self.question.sort
        paging = (
            Pagination(ask.size, ask.ledger.last_id)
            if sort is None
            else Pagination(ask.size, None, sort.quantity, "desc" if sort.descending else "asc")
        )
        is_divisible = ask.size > 1 and sort is None
        required = required_for(self.question, self.catalogue)
        reply = self._answer(paging, required, ask.slice, is_divisible=is_divisible)
        return (NO_PAGE, None) if reply is None else parsed(reply, plain)

    def count(self) -> int:
        """Return how many entries match, asking for none."""
        unsorted = replace(self, question=replace(self.question, sort=None))
        return unsorted._entries(Pagination(0)).total

    def count_in(self, within: Slice) -> int:
        """Return how many entries of a slice match, asking for none."""
        return self._entries(Pagination(0), within=within).total

    def ids(self, within: Slice = EVERYWHERE) -> Iterator[str]:
        """Yield the ids of all entries that match now, in order."""
        return (entry.entry_id for entry in self.listing(within, ()))

    def listing(self, within: Slice = EVERYWHERE, include: Sequence[str] = PINNED) -> Iterator[Listed]:
        """Yield all entries that match now, in order, with little of each: 10,000 a request."""
        after = None
        while True:
            paging = Pagination(LARGEST_PAGE, after)
            page = self._entries(paging, {"include": ["entry_id", *include]}, within)
            found = listed(page.items)
            yield from found
            if not found or (len(found) < LARGEST_PAGE and after is None and len(found) == page.total):
                return
            after = found[-1].entry_id

    def values_of(self, quantity: str) -> set[str]:
        """Return the values that the hits have of a keyword quantity."""
        request = terms_query(
            query_body(self.question, self.catalogue),
            quantity,
            owner=cast(Owner, self.question.owner),
            size=_MOST_VALUES,
        )
        return {str(b.value) for b in parse_terms(self.send(request)).buckets if b.n_entries}

    def ids_of(self, ask: Ask) -> tuple[list[str], int]:
        """Return the ids of a page's entries, and the total of its slice: what a server can always list."""
        page = self._entries(Pagination(ask.size, ask.ledger.last_id), {"include": ["entry_id"]}, ask.slice)
        return [entry.entry_id for entry in listed(page.items)], page.total

    def documents_of(self, ids: Sequence[str]) -> Page:
        """Return the search documents of at most 10,000 entries that are known by id."""
        request = entries_query(
            _of_ids(ids, self.question.release),
            owner=cast(Owner, self.question.owner),
            pagination=Pagination(len(ids)),
            required=required_for(self.question, self.catalogue),
            is_divisible=len(ids) > 1,
        )
        return parse_entries_page(self.send(request))

    def _entries(
        self,
        paging: Pagination,
        required: Mapping[str, Any] | None = None,
        within: Slice = EVERYWHERE,
    ) -> Page:
        reply = self._answer(paging, required, within)
        return NO_PAGE if reply is None else parse_entries_page(reply)

    def _answer(
        self,
        paging: Pagination,
        required: Mapping[str, Any] | None,
        within: Slice,
        *,
        is_divisible: bool = False,
    ) -> Reply | None:
        """Return the server's answer, ``None`` where it need not be asked: nothing can match."""
        criterion = _narrowed(self.question.criterion, within)
        if criterion is None:
            return None
        narrowed = replace(self.question, criterion=criterion)
        request = entries_query(
            within_ids(query_body(narrowed, self.catalogue), within.after, within.upto),
            owner=cast(Owner, self.question.owner),
            pagination=paging,
            required=required,
            is_divisible=is_divisible,
        )
        return self.send(request)


def parsed(reply: Reply, plain: Plain | None) -> tuple[Page, Read | None]:
    """Return a page; with what ``plain`` reads of it where that can be, and then without its entries."""
    read = None if plain is None else plain.read(reply.body)
    if read is None or read.pagination is None:
        return parse_entries_page(reply), None
    return Page(*parse_pagination(read.pagination), b"[]", len(reply.body)), read


def _narrowed(criterion: Criterion, within: Slice) -> Criterion | None:
    """Return the tree with lists of entry ids cut to a slice: ten thousand ids need not go with each page.

    ``None``: nothing is left of such a list, so that no entry can match.
    """
    if within == EVERYWHERE:
        return criterion
    match criterion:
        case HasAny("entry_id", values):
            kept = tuple(value for value in values if str(value) in within)
            return HasAny("entry_id", kept) if kept else None
        case And(parts):
            narrowed = [_narrowed(part, within) for part in parts]
            return None if None in narrowed else And(tuple(part for part in narrowed if part is not None))
        case _:
            return criterion


def _of_ids(ids: Sequence[str], release: str) -> dict[str, Any]:
    criterion: Criterion = HasAny("entry_id", tuple(ids))
    return body(canonical(criterion), release=release)
