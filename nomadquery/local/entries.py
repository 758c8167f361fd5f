"""What the endpoints about entries answer: a request's parts in, JSON objects out.

Nobody is logged in to a local deployment. A refusal is raised as the error that carries its
status and ``detail``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError, RequestRefused
from nomadquery.local.aggregate import answer_aggregations, check_types, without
from nomadquery.local.aggregation_form import Asked, parse_aggregations
from nomadquery.local.archives import FindArchive, RequiredReader, check_form
from nomadquery.local.hits import OWNERS, Document, Hits, Searches, visibility
from nomadquery.local.paging import Pagination, page_of, parse_pagination
from nomadquery.local.refusals import (
    Problem,
    failed_check,
    malformed,
    no_such_entry,
    not_a_member,
    not_a_quantity,
    not_an_object,
    not_done_here,
    problem,
    refused,
    unforeseen,
)
from nomadquery.local.select import Required, checked_required, parse_required, selection
from nomadquery.local.store import LocalStore
from nomadquery.query.body_reader import parse
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import EVERYTHING, Criterion
from nomadquery.query.params_reader import parse_get_params

Json = dict[str, Any]
Parameters = Sequence[tuple[str, str]]

_RELEASE: Final = "2.0.0"
_EVERYTHING_ECHO: Final[Json] = {"and": []}
_NOT_VISIBLE: Final = "The entry with the given id does not exist or is not visible to you."
_NO_ARCHIVE_VISIBLE: Final = "The entry does not exist or is not visible to you."
_CONTENT_OF_ALL: Final = (
    "The owner=all is not allowed for this operation as it will search for entries\n"
    "that you might now be allowed to access."
)
_ARCHIVES_KEPT: Final = 16
_PAGING: Final = ("page_size", "order_by", "order", "page_after_value", "page", "page_offset")


@dataclass(frozen=True, slots=True)
class _Search:
    """A sound request for a page of entries."""

    owner: str
    query: Any
    pagination: Pagination
    required: Required | None
    aggregations: Mapping[str, Asked]

    @property
    def is_sorted(self) -> bool:
        """Whether the engine sorts: not for one entry, named at the top of the query."""
        return not (isinstance(self.query, Mapping) and isinstance(self.query.get("entry_id"), str))


class Entries:
    """The answers about the entries of one store."""

    def __init__(self, store: LocalStore, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue
        self._searches = Searches(store, catalogue)

    def query(self, body: Any) -> Json:
        """Answer ``POST entries/query``."""
        search = self._parsed_search(body)
        return self._page(search, criterion_of(search.query))

    def query_by_parameters(self, parameters: Parameters) -> Json:
        """Answer ``GET entries``; the addresses of the pages are not in it."""
        owner, pagination = _owner_and_paging(parameters)
        visibility(owner)
        search = _Search(owner, None, pagination, _required_of(parameters), {})
        return self._page(search, self.criterion_of_parameters(parameters))

    def listed(self, body: Any, include: tuple[str, ...]) -> Json:
        """Answer a search for entries whose files or archives are wanted: of no owner's but all."""
        search = self._parsed_search(body, include=include)
        check_not_all(search.owner)
        return self._page(search, criterion_of(search.query))

    def listed_by_parameters(self, parameters: Parameters, include: tuple[str, ...]) -> Json:
        """Answer the same search by the parameters of an address."""
        owner, pagination = _owner_and_paging(parameters)
        check_not_all(owner)
        visibility(owner)
        search = _Search(owner, None, pagination, Required(include), {})
        return self._page(search, self.criterion_of_parameters(parameters))

    def found(self, owner: str, criterion: Criterion) -> Sequence[Document]:
        """Return all entries that a search finds, in the order of uploads and entries."""
        hits = self._hits(owner, criterion, Pagination(order_by="upload_id"))
        return [hits.documents[entry_id] for _, _, entry_id in hits.cursors]

    def exported(self, owner: str, parameters: Parameters) -> Sequence[Document]:
        """Return what the parameters of an address ask for of all entries that they find."""
        required = checked_required(_required_of(parameters), "upload_id", self._catalogue)
        found = self.found(owner, self.criterion_of_parameters(parameters))
        return [*map(selection(required), found)]

    def visible(self, entry_id: str) -> Document:
        """Return the entry whose files may be seen.

        Raises
        ------
        NotFound
            If there is none, or not for the asker.
        """
        document = self._visible(entry_id, "visible")
        if document is None:
            raise no_such_entry(_NOT_VISIBLE)
        return document

    def entry(self, entry_id: str, parameters: Parameters) -> Json:
        """Answer ``GET entries/{entry_id}``."""
        required = checked_required(_required_of(parameters), "entry_id", self._catalogue)
        document = self._visible(entry_id, "all")
        if document is None:
            raise no_such_entry(_NOT_VISIBLE)
        return {
            "entry_id": entry_id,
            "required": required.to_json(),
            "data": selection(required)(document),
        }

    def archive(self, entry_id: str, body: Any) -> Json:
        """Answer ``POST entries/{entry_id}/archive/query``; the GET form has an empty body."""
        _object(body)
        given = body.get("required", "*")
        if given is None:
            raise unforeseen("AssertionError")
        check_form(given)
        reader = RequiredReader(given, self._archives_to_follow())
        document = self._visible(entry_id, "visible")
        if document is None:
            raise no_such_entry(_NO_ARCHIVE_VISIBLE)
        answer = self._archive_answer(document, reader)
        if answer is None:
            raise no_such_entry("The entry does exist, but it has no archive.")
        return {"entry_id": entry_id, "required": given, "data": answer}

    def archives(self, body: Any) -> Json:
        """Answer ``POST entries/archive/query``; entries without an archive are left out."""
        search = self._parsed_search(body, include=("entry_id", "upload_id", "parser_name"))
        given = body.get("required")
        given = "*" if given is None else given
        check_form(given)
        check_not_all(search.owner)
        answer = self._page(search, criterion_of(search.query))
        read = map(self.archive_reader(given), answer["data"])
        return {**answer, "required": given, "data": [one for one in read if one]}

    def archive_reader(self, required: Any) -> Callable[[Document], Json | None]:
        """Return what makes of a found entry the answer about its archive, ``None`` if it has none."""
        reader = RequiredReader(required, self._archives_to_follow())
        return lambda document: self._archive_answer(document, reader)

    def _parsed_search(self, body: Any, *, include: tuple[str, ...] | None = None) -> _Search:
        """Return the search of a body; with ``include`` only these are returned of an entry."""
        problems: list[Problem] = []
        owner, query = owner_and_query(body, problems)
        pagination = parse_pagination(body.get("pagination"), ["body", "pagination"], problems)
        required: Required | None = Required(include)
        aggregations: Mapping[str, Asked] = {}
        if include is None:
            required = parse_required(body.get("required"), ["body", "required"], problems)
            aggregations = parse_aggregations(body.get("aggregations", {}), problems)
        if problems:
            raise malformed(problems)
        check_types(aggregations)
        visibility(owner)
        return _Search(owner, query, pagination, required, aggregations)

    def _page(self, search: _Search, criterion: Criterion) -> Json:
        paging = search.pagination
        hits = self._hits(search.owner, criterion, paging)
        required = search.required and checked_required(search.required, paging.order_by, self._catalogue)
        cursors, following = page_of(paging, hits.ordering, hits.cursors, is_sorted=search.is_sorted)
        select = selection(required)
        pagination: Json = {
            **paging.to_json(),
            "order_by": hits.ordering.order_by,
            "total": len(hits.cursors),
        }
        if following is not None:
            pagination["next_page_after_value"] = following
        answer: Json = {
            "owner": search.owner,
            "query": search.query or _EVERYTHING_ECHO,
            "pagination": pagination,
        }
        if required is not None:
            answer["required"] = required.to_json()
        answer["data"] = [select(hits.documents[entry_id]) for _, _, entry_id in cursors]
        if search.aggregations:
            answer["aggregations"] = answer_aggregations(
                search.aggregations,
                self._catalogue,
                lambda left_out: self._aggregated(search, criterion, left_out),
            )
        return answer

    def _aggregated(self, search: _Search, criterion: Criterion, left_out: str | None) -> Iterable[Document]:
        """Return the hits of a search, without its criteria on the quantity ``left_out``."""
        wanted = criterion if left_out is None else without(criterion, left_out)
        return self._hits(search.owner, wanted, search.pagination).documents.values()

    def _hits(self, owner: str, criterion: Criterion, paging: Pagination) -> Hits:
        try:
            return self._searches.hits(criterion, owner, paging.order_by, paging.order)
        except NotExpressible as error:
            raise not_done_here(str(error).rstrip(".")) from error

    def _visible(self, entry_id: str, owner: str) -> Document | None:
        document = self._store.document(entry_id)
        return document if document is not None and visibility(owner)(document) else None

    def _archive_answer(self, document: Document, reader: RequiredReader) -> Json | None:
        entry_id, upload_id = document["entry_id"], document["upload_id"]
        archive = self._store.archive(entry_id)
        if archive is None:
            return None
        return {
            "entry_id": entry_id,
            "upload_id": upload_id,
            "parser_name": document.get("parser_name"),
            "archive": reader.read(archive, entry_id, upload_id),
        }

    def _archives_to_follow(self) -> FindArchive:
        """Return what finds the archives that references lead to; the last few are kept for one answer."""

        @lru_cache(maxsize=_ARCHIVES_KEPT)
        def find(kind: Literal["archive", "raw"], name: str, upload_id: str) -> Json | None:
            entry_id = self._store.entry_of(upload_id, name) if kind == "raw" else name
            if entry_id is None or self._visible(entry_id, "visible") is None:
                return None
            return self._store.archive(entry_id)

        return find

    def criterion_of_parameters(self, parameters: Parameters) -> Criterion:
        """Return what the parameters of an address ask for."""
        names = self._catalogue.names
        known = {name: self._catalogue.find(name) for name in names}
        types = {name: found.type for name, found in known.items() if found and found.searchable}
        many_all = {name for name, found in known.items() if found and found.all_by_default}
        try:
            return parse_get_params(parameters, types=types.get, many_all=many_all, parse_json=criterion_of)
        except QueryError as error:
            raise _refused_query(error) from error


def owner_and_query(body: Any, problems: list[Problem]) -> tuple[str, Any]:
    """Return whose entries a body asks for, and by which query; what is wrong is added to ``problems``."""
    _object(body)
    owner = owner_of(body.get("owner"), ["body", "owner"], problems)
    query = body.get("query")
    if query is not None and not isinstance(query, Mapping):
        problems.append(not_an_object(["body", "query"], query))
    return owner, query


def check_not_all(owner: str) -> None:
    """Refuse files and archives of entries that are not for everybody.

    Raises
    ------
    RequestRefused
        For the owner ``all`` (403).
    """
    if owner == "all":
        raise refused(403, _CONTENT_OF_ALL)


def criterion_of(query: Any) -> Criterion:
    """Return what a query asks for; none asks for everything."""
    if query is None:
        return EVERYTHING
    try:
        return parse(query, release=_RELEASE)
    except QueryError as error:
        raise _refused_query(error) from error


def _refused_query(error: QueryError) -> RequestRefused:
    if isinstance(error, QuantityNotFound) and error.name:
        return not_a_quantity(error.name)
    return failed_check(str(error), ["query"])


def _required_of(parameters: Parameters) -> Required:
    parts = {
        part: tuple(value for name, value in parameters if name == part) or None
        for part in ("include", "exclude")
    }
    return Required(**parts)


def _object(body: Any) -> None:
    if body is None:
        raise malformed([problem("missing", ["body"], "Field required", None)])
    if not isinstance(body, Mapping):
        raise malformed([not_an_object(["body"], body)])


def _owner_and_paging(parameters: Parameters) -> tuple[str, Pagination]:
    problems: list[Problem] = []
    last = dict(parameters)
    owner = owner_of(last.get("owner"), ["query", "owner"], problems)
    paging = {name: last[name] for name in _PAGING if name in last}
    pagination = parse_pagination(paging, ["query"], problems)
    if problems:
        raise malformed(problems)
    return owner, pagination


def owner_of(given: Any, loc: Sequence[str], problems: list[Problem]) -> str:
    """Return the owner that was given, ``public`` if none was; what is wrong is added to ``problems``."""
    if given is None:
        return "public"
    if given not in OWNERS:
        problems.append(not_a_member(loc, given, OWNERS))
        return "public"
    return str(given)
