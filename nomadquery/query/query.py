"""`Query`: a question as an immutable value, to be combined with ``&``, ``|`` and ``~``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol, runtime_checkable

from nomadquery.errors import QueryError, WouldBeMisread
from nomadquery.query.addresses import owner_of_address, read_address
from nomadquery.query.body import body
from nomadquery.query.body_reader import parse
from nomadquery.query.catalogue import Catalogue, catalogue_for, check_release
from nomadquery.query.criteria import (
    EVERYTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Or,
    Within,
    canonical,
    canonical_json,
)
from nomadquery.query.explain import in_python, in_words
from nomadquery.query.levels import check_levels
from nomadquery.query.resolve import Resolver, stated

#: What stands beside ``query`` in the bodies of NOMAD's requests (``files`` is a quantity, too).
_ONLY_IN_BODIES: Final = {"owner", "pagination", "required", "aggregations", "metadata", "verify_only"}
_BODY_KEYS: Final = {"query", "files", "include_parent_folders", "dataset_name", "entries", *_ONLY_IN_BODIES}


@runtime_checkable
class HasEntryIds(Protocol):
    """Something that can be asked for entry ids: a search, a table."""

    def entry_ids(self) -> tuple[str, ...]:
        """Return the entry ids, asking the server for them."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Query:
    """A question to NOMAD.

    Build it with `Q`, `within` and `optimade`, or read it with `from_json` and `from_url`.
    Two queries are equal if they ask the same, however they were spelled.

    Attributes
    ----------
    criterion : Criterion
        The tree as it was typed: short names, values with their units.
    asked_first : tuple
        Pairs of placeholder and search whose entry ids take its place before this query is sent.
    """

    criterion: Criterion = EVERYTHING
    asked_first: tuple[tuple[str, HasEntryIds], ...] = ()

    def __post_init__(self) -> None:
        check_levels(self.criterion)

    @classmethod
    def from_json(cls, request: object, *, release: str | None = None) -> Query:
        """Return the query of a NOMAD ``query`` object (or its text), or of a whole request body.

        Of a whole body only ``query`` is read: owner, paging and required are not part of
        the question.

        Raises
        ------
        WouldBeMisread
            If NOMAD would drop a part of it or read it as another question.
        QueryError
            If NOMAD would refuse it.
        """
        if release is not None:
            check_release(release)
        return cls(stated(parse(_query_of(request), release=release), catalogue_for(release)))

    @classmethod
    def from_url(cls, url: str) -> Query:
        """Return the query of a pasted search address, of the web interface or of the API.

        Owner, paging and sorting are no part of a query; where the address asks for entries of one's
        own, or others that not everybody sees, a warning says so.

        Raises
        ------
        QueryError
            If the address holds no search, or one that cannot be read.
        """
        if not isinstance(url, str):
            raise QueryError(f"{url!r} is no address. Give the text that the browser shows, 'https://…'.")
        query, owner = cls(read_address(url)), owner_of_address(url)
        if owner is not None:
            warnings.warn(
                f"The address asks for owner {owner!r}, which is no part of a query. Say it where the query "
                f"is put: nomad.entries(query, owner={owner!r}).",
                stacklevel=2,
            )
        return query

    def to_json(self, *, release: str | None = None) -> dict[str, Any]:
        """Return the ``query`` object that NOMAD reads rightly; numbers in stored units.

        Parameters
        ----------
        release : str, optional
            ``"2.0.0"``, ``"1.4.3"``, ``"1.3.17"`` or another version of these lines; the newest by default.

        Raises
        ------
        QuantityNotFound, UnitError, NotExpressible
            If a name is unknown, a unit is missing, or NOMAD's language cannot say it.
        QueryError
            If the release is not known.
        """
        if release is not None:
            check_release(release)
        return body(self.resolved(catalogue_for(release)), release=release)

    def explain(self) -> str:
        """Return the question in plain words, one line for each criterion."""
        return in_words(self.criterion)

    def resolved(
        self, catalogue: Catalogue, schemas: Mapping[str, tuple[str, ...]] | None = None
    ) -> Criterion:
        """Return the canonical tree with full names and stored units."""
        if self.asked_first:
            raise QueryError(
                "This query holds another search, whose entry ids are asked first; "
                "give it to nomad.entries(...), which does so."
            )
        return canonical(Resolver(catalogue, schemas or {}).resolve(self.criterion))

    def with_ids(self, ids: Mapping[str, tuple[str, ...]]) -> Query:
        """Return the query with each placeholder of `asked_first` replaced by its entry ids."""
        return Query(_replaced(self.criterion, ids))

    def __and__(self, other: object) -> Query:
        return self._joined(And, other, "&")

    def __or__(self, other: object) -> Query:
        return self._joined(Or, other, "|")

    def __invert__(self) -> Query:
        return Query(Not(self.criterion), self.asked_first)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "A query is neither true nor false. Combine queries with & | ~ (not and, or, not), each in "
            "parentheses; for a range write .between(low, high) instead of low < quantity < high."
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Query):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return in_python(self.criterion)

    def _key(self) -> tuple[object, ...]:
        try:
            tree = Resolver(catalogue_for()).resolve(self.criterion)
        except QueryError:
            tree = self.criterion  # a name that only a server knows; equal if typed alike
        by_source = {name: (f"search {id(source)}",) for name, source in self.asked_first}
        return canonical_json(_replaced(tree, by_source)), frozenset(by_source.values())

    def _joined(self, node: type[And] | type[Or], other: object, sign: str) -> Query:
        if not isinstance(other, Query):
            raise TypeError(
                f"{sign} joins queries; {other!r} is none. Put each comparison in parentheses: "
                f"(Q.a == 1) {sign} (Q.b == 2)."
            )
        trees, asked_first = side_by_side((self, other))
        parts = tuple(
            part
            for tree in trees
            if node is Or or tree != EVERYTHING
            for part in (tree.criteria if isinstance(tree, node) else (tree,))
        )
        return Query(parts[0] if len(parts) == 1 else node(parts), asked_first)


def side_by_side(
    queries: Iterable[Query],
) -> tuple[tuple[Criterion, ...], tuple[tuple[str, HasEntryIds], ...]]:
    """Return the trees of the queries and the searches in them, numbered through: a search has one number."""
    trees: list[Criterion] = []
    sources: list[HasEntryIds] = []
    for query in queries:
        renamed: dict[str, tuple[str, ...]] = {}
        for name, source in query.asked_first:
            if not any(source is known for known in sources):
                sources.append(source)
            number = next(i for i, known in enumerate(sources, 1) if known is source)
            renamed[name] = (ids_placeholder(number),)
        trees.append(_replaced(query.criterion, renamed) if renamed else query.criterion)
    return tuple(trees), tuple((ids_placeholder(i), source) for i, source in enumerate(sources, 1))


def ids_placeholder(number: int) -> str:
    """Return the text that stands for the entry ids of the ``number``-th search in a query."""
    return f"the entry ids of search {number}"


def _query_of(request: object) -> object:
    """Return the query object of a request body; anything else as it is."""
    if isinstance(request, str):
        try:
            request = json.loads(request)
        except ValueError as error:
            raise QueryError(f"{request!r} is not JSON ({error}). Give the query object.") from error
        except RecursionError as error:
            raise QueryError("The JSON is nested too deeply to be read. Flatten it.") from error
    if not isinstance(request, Mapping):
        return request
    if "query" not in request and not (request and request.keys() <= _ONLY_IN_BODIES):
        return request
    ignored = [str(key) for key in request if key not in _BODY_KEYS]
    if ignored and request.keys() != {"prefix", "query"}:
        raise WouldBeMisread(
            f"NOMAD ignores {', '.join(map(repr, ignored))} beside 'query'. Leave it out, or put it into "
            "the query."
        )
    return request if ignored else request.get("query")


def _replaced(criterion: Criterion, ids: Mapping[str, tuple[str, ...]]) -> Criterion:
    match criterion:
        case And(parts):
            return And(tuple(_replaced(part, ids) for part in parts))
        case Or(parts):
            return Or(tuple(_replaced(part, ids) for part in parts))
        case Not(inner):
            return Not(_replaced(inner, ids))
        case Within(section, parts):
            return Within(section, tuple(_replaced(part, ids) for part in parts))
        case Equals(quantity, str(value)) if value in ids:
            return HasAny(quantity, ids[value])
        case HasAny(quantity, values) | HasAll(quantity, values) | HasNone(quantity, values):
            found = tuple(
                one
                for value in values
                for one in (ids.get(value, (value,)) if isinstance(value, str) else (value,))
            )
            return type(criterion)(quantity, found)
        case _:
            return criterion
