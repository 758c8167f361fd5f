"""From what people type to the question that is sent and kept: names, columns, owner, order.

A question is *drafted* without asking the server for anything but its release and who asks; that
names the kept table. Only what has to be fetched is *completed*, with the schemas that the server
knows of custom quantities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from nomadquery.columns.plan import plan_column, without_schemas
from nomadquery.errors import NotExpressible, QueryError
from nomadquery.fetch.plan import Question, check_sort
from nomadquery.query.catalogue import Catalogue, catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.criteria import Criterion, canonical, has_optimade, quantities_of
from nomadquery.query.phrases import read_column
from nomadquery.query.quantity import QuantityPath, column_of
from nomadquery.query.query import Query
from nomadquery.query.resolve import UNCHECKED, Resolver, full_name
from nomadquery.session import Session

OWNERS: Final = ("public", "visible", "all", "user", "shared", "staging", "admin")
DEFAULT_COLUMNS: Final = (
    "formula",
    "space_group",
    "program",
    "functional",
    "entry_type",
    "upload_id",
    "mainfile",
    "uploaded",
    "doi",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search says beside its query: owner, columns, order, number of entries, size of a page."""

    owner: str
    columns: tuple[Column, ...]
    sort: tuple[str, bool] | None = None
    limit: int | None = None
    page_size: int | None = None


def joined(session: Session, criteria: Sequence[Query | Mapping[str, Any]]) -> tuple[Query, str | None]:
    """Return the query that all ``criteria`` make, its names checked, and the owner of a request body.

    Raises
    ------
    QuantityNotFound
        If the deployment does not know a name.
    QueryError
        If bodies ask for different owners, or NOMAD would misread one.
    """
    query = Query()
    owners: set[str] = set()
    for criterion in criteria:
        if isinstance(criterion, Mapping):
            if criterion.get("owner") is not None:  # no quantity has this name
                owners.add(str(criterion["owner"]))
            criterion = Query.from_json(criterion)  # noqa: PLW2901  # the same criterion, read
        if not isinstance(criterion, Query):
            raise TypeError(
                f"entries() takes queries such as Q.n_elements == 2, or NOMAD's JSON, not {criterion!r}."
            )
        query = query & criterion
    inside = sorted(owners)
    if len(inside) > 1:
        raise QueryError(f"The request bodies ask for different owners: {', '.join(inside)}.")
    resolved_as_typed(query.criterion, session.catalogue())
    return query, inside[0] if inside else None


def checked_owner(owner: str, session: Session) -> str:
    """Return the owner word, or say which there are, or that it needs a login."""
    if owner not in OWNERS:
        raise QueryError(f"owner is one of {', '.join(OWNERS)}, not {owner!r}.")
    if owner in {"user", "shared", "staging", "admin"} and session.is_anonymous:
        raise QueryError(
            f"owner={owner!r} needs a login: pass token=…, set NOMADQUERY_TOKEN, or use `nomadquery login`."
        )
    return owner


def chosen_columns(
    columns: Sequence[str | QuantityPath], named: Mapping[str, str | QuantityPath], catalogue: Catalogue
) -> tuple[Column, ...]:
    """Return the columns beside ``entry_id``, checked against the catalogue.

    Raises
    ------
    QuantityNotFound, UnitError, QueryError
        If a path, a rule or a unit does not fit, or two columns have one name.
    """
    pairs = [*((None, path) for path in columns), *named.items()]
    chosen = [read_one(path, name) for name, path in pairs]
    chosen = [column for column in chosen if not _is_index(column)]
    names = [column.name for column in chosen]
    if "entry_id" in names:
        raise QueryError("The column 'entry_id' holds the ids of the entries; give yours another name.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QueryError(
            f"Two columns are called {twice[0]!r}; name one: select(..., other_name={twice[0]!r})."
        )
    for column in chosen:
        plan_column(column, catalogue)
    return tuple(chosen)


def read_one(path: str | QuantityPath, name: str | None) -> Column:
    """Return the column that was typed; without a ``name`` it is called like its path."""
    if isinstance(path, QuantityPath):
        column = column_of(path, name or "")
    elif isinstance(path, str):
        where, rule, unit = read_column(path)
        column = Column(name or "", where, rule, unit)
    else:
        raise TypeError(f"select takes names, dotted paths or Q paths, not {path!r}.")
    return column if name else replace(column, name=column.quantity)


def drafted(session: Session, query: Query, wanted: Wanted) -> Question:
    """Return the question as far as it can be said without the schemas of custom quantities.

    Searches inside the query must have been replaced by their entry ids.

    Raises
    ------
    QueryError
        If the order does not go with the rest.
    """
    release = session.release()
    catalogue = catalogue_for(release)
    asked = resolved_as_typed(query.criterion, catalogue)
    if session.deployment.in_process and has_optimade(asked):
        raise NotExpressible(
            f"The deployment {session.deployment.name} runs inside this process and cannot evaluate OPTIMADE "
            "filters. Say it with Q (Q.elements.has_all(...), Q.n_elements == 2), or ask a NOMAD server."
        )
    return Question(
        deployment=session.deployment.api_base,
        release=release,
        owner=wanted.owner,
        user=session.user(wanted.owner),
        asked=asked,
        columns=tuple(plan_column(column, catalogue) for column in wanted.columns),
        criterion=asked,
        sort=None if wanted.sort is None else check_sort(*wanted.sort, wanted.limit, catalogue),
        limit=wanted.limit,
        page_size=wanted.page_size,
        state=session.state(),
    )


def completed(session: Session, query: Query, question: Question) -> Question:
    """Return the question with the tree to send: custom quantities with their schemas.

    Raises
    ------
    QuantityNotFound
        If the server knows no schema of a custom quantity, or several.
    """
    schemas = {name: session.schemas_of(name, question.owner) for name in _open_names(query.criterion)}
    return replace(question, criterion=query.resolved(catalogue_for(question.release), schemas))


def resolved_as_typed(criterion: Criterion, catalogue: Catalogue) -> Criterion:
    """Return the canonical tree, custom quantities without a schema where none was typed."""
    placeholders = {name: (f"{name}#",) for name in _open_names(criterion)}
    return without_schemas(canonical(Resolver(catalogue, placeholders).resolve(criterion)))


def _open_names(criterion: Criterion) -> list[str]:
    """Return the custom quantities whose schema the tree leaves open."""
    typed = (name for name in quantities_of(criterion) if not name.startswith(UNCHECKED))
    full = {full_name(name) for name in typed}
    return sorted(name for name in full if name.startswith("data.") and "#" not in name)


def _is_index(column: Column) -> bool:
    """Return whether this is the column that every table begins with."""
    return column.name == "entry_id" and column.quantity in {"entry_id", "metadata.entry_id"}
