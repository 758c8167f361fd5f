"""From what people type to the question that is sent and kept: names, columns, owner, order.

A question is *drafted* without asking the server for anything but its release and who asks; that
names the kept table. Only what has to be fetched is *completed*, with the schemas that the server
knows of custom quantities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from nomadquery.columns.item_filters import without_schemas
from nomadquery.columns.plan import plan_columns, plan_per, spelled_out
from nomadquery.errors import CacheCorrupt, NotExpressible, QueryError
from nomadquery.fetch.plan import Question, check_sort
from nomadquery.query.catalogue import Catalogue, catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.criteria import Criterion, HasAny, canonical, has_optimade, quantities_of, to_plain
from nomadquery.query.path import Path, path_of
from nomadquery.query.phrases import read_column
from nomadquery.query.plain import column_of_plain, plain_column, tree_of
from nomadquery.query.quantity import QuantityPath, column_of
from nomadquery.query.query import Query
from nomadquery.query.resolve import UNCHECKED, Resolver, full_name, stated
from nomadquery.session import Session
from nomadquery.store.pins import Lock

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
class Pinned:
    """The lock whose entries are wanted, whatever the query finds now.

    Attributes
    ----------
    lock : Lock
    accepts : bool
        Whether entries may be as they are now, or gone.
    sha256 : str
        Of the lock.
    """

    lock: Lock
    accepts: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search says beside its query.

    Attributes
    ----------
    owner : str
    columns : tuple of Column
    is_chosen : bool
        Whether somebody selected them; else they are the default ones.
    sort : (path, whether descending) or None
    limit : int or None
        Number of entries.
    per : Path or None
        The section whose items are the rows.
    needed : tuple of str
        The columns without a value of which a row is left out.
    page_size : int or None
    pinned : Pinned or None
        The entries, where a lockfile says them.
    """

    owner: str
    columns: tuple[Column, ...]
    is_chosen: bool = False
    sort: tuple[str, bool] | None = None
    limit: int | None = None
    per: Path | None = None
    needed: tuple[str, ...] = ()
    page_size: int | None = None
    pinned: Pinned | None = None


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


def chosen_section(section: str | QuantityPath, catalogue: Catalogue) -> Path:
    """Return the section whose items become the rows, checked against the catalogue.

    Raises
    ------
    QuantityNotFound, QueryError
        If there is no such section, or it does not repeat.
    """
    path = read_one(section, "per").path
    plan_per(path, catalogue)
    return path


def checked_columns(columns: tuple[Column, ...], per: Path | None, catalogue: Catalogue) -> None:
    """Check columns and the section of the rows together; see `plan_columns` for what is raised."""
    plan_columns(columns, catalogue, None if per is None else plan_per(per, catalogue))


def needed_columns(names: Sequence[str], columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the columns that a row must have a value in; all of them where none is named.

    Raises
    ------
    QueryError
        If there is no such column.
    """
    known = [column.name for column in columns]
    lost = [name for name in names if name not in known]
    if lost:
        raise QueryError(
            f"drop_missing({lost[0]!r}): there is no such column. Select it first; columns are "
            f"{', '.join(known) or 'none'}."
        )
    return tuple(dict.fromkeys(names)) or tuple(known)


def chosen_columns(
    columns: Sequence[str | QuantityPath],
    named: Mapping[str, str | QuantityPath],
    per: Path | None,
    catalogue: Catalogue,
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
    checked_columns(tuple(chosen), per, catalogue)
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
    pinned = wanted.pinned
    if pinned is None:
        asked = resolved_as_typed(query.criterion, catalogue)
    else:
        asked = tree_of(pinned.lock.question["query"])
    if pinned is None and session.deployment.in_process and has_optimade(asked):
        raise NotExpressible(
            f"The deployment {session.deployment.name} runs inside this process and cannot evaluate OPTIMADE "
            "filters. Say it with Q (Q.elements.has_all(...), Q.n_elements == 2), or ask a NOMAD server."
        )
    per = None if wanted.per is None else plan_per(wanted.per, catalogue)
    columns, per = plan_columns(wanted.columns, catalogue, per)
    return Question(
        deployment=session.deployment.api_base,
        release=release,
        owner=wanted.owner,
        user=session.user(wanted.owner),
        asked=asked,
        columns=columns,
        criterion=asked,
        sort=None if wanted.sort is None else check_sort(*wanted.sort, wanted.limit, catalogue),
        limit=wanted.limit,
        per=per,
        page_size=wanted.page_size,
        state=session.state(),
        pinned=None if pinned is None else pinned.sha256,
    )


def completed(session: Session, query: Query, question: Question, pinned: Pinned | None = None) -> Question:
    """Return the question with the tree to send: custom quantities with their schemas, or pinned ids.

    Raises
    ------
    QuantityNotFound
        If the server knows no schema of a custom quantity, or several.
    """
    if pinned is not None:
        ids = pinned.lock.entries["entry_id"].to_pylist()
        return replace(question, criterion=canonical(HasAny("entry_id", tuple(ids))))
    schemas = {name: session.schemas_of(name, question.owner) for name in _open_names(query.criterion)}
    return replace(question, criterion=query.resolved(catalogue_for(question.release), schemas))


def plain_question(question: Question, wanted: Wanted) -> dict[str, Any]:
    """Return what builds the table again, as JSON: for a lockfile."""
    sort = question.sort
    plain = {
        "query": to_plain(question.asked),
        "columns": [plain_column(spelled_out(column)) for column in wanted.columns],
        "per": None if question.per is None else question.per.section,
        "sort": None if sort is None else [sort.quantity, sort.descending],
        "limit": question.limit,
        "drop_missing": list(wanted.needed),
    }
    return dict(json.loads(json.dumps(plain)))


def wanted_of(lock: Lock, *, accepts: bool) -> tuple[Query, Wanted]:
    """Return the query and all else that a lock says.

    Raises
    ------
    CacheCorrupt
        If it cannot be read.
    """
    question = lock.question
    try:
        tree = tree_of(question["query"])
        sort, per = question["sort"], question["per"]
        wanted = Wanted(
            owner=lock.owner,
            columns=tuple(map(column_of_plain, question["columns"])),
            is_chosen=True,
            sort=None if sort is None else (str(sort[0]), bool(sort[1])),
            limit=question["limit"],
            per=None if per is None else path_of(per),
            needed=tuple(question["drop_missing"]),
            pinned=Pinned(lock, accepts, lock.sha256),
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise CacheCorrupt(f"The question of {lock!r} cannot be read ({error!r}). Get it anew.") from error
    try:
        return Query(stated(tree, catalogue_for(lock.release))), wanted
    except QueryError:
        return Query(tree), wanted  # of a release that knew other names: only shown


def check_unpinned(wanted: Wanted, what: str) -> None:
    """Refuse to ask another question of the entries of a lock.

    Raises
    ------
    QueryError
        If they are pinned.
    """
    if wanted.pinned is not None:
        raise QueryError(
            f"{what} would be another question, and the entries of a lock are pinned. Take other columns of "
            "them with .select(...), or ask anew: nomad.entries(...)."
        )


def schemas_for(session: Session, path: str | QuantityPath, owner: str) -> dict[str, tuple[str, ...]]:
    """Return the full names that the server knows of a custom quantity ``data.x`` without a schema."""
    name = full_name(read_one(path, None).quantity)
    is_open = name.startswith("data.") and "#" not in name
    return {name: session.schemas_of(name, owner)} if is_open else {}


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
