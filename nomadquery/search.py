"""`Search`: entries to be found; with columns it is a table. Wiring only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nomadquery.columns.frame import Dtypes, UnitStyle, to_pandas
from nomadquery.columns.plan import PlannedColumn, plan_column
from nomadquery.durations import age
from nomadquery.errors import QueryError
from nomadquery.fetch.exports import write_csv, write_jsonl, write_parquet
from nomadquery.fetch.harvest import Wishes, harvest, preview
from nomadquery.fetch.narrowing import narrowing_rows
from nomadquery.fetch.pages import Source
from nomadquery.fetch.plan import Question, TablePlan, check_sort, key_of, plan_of
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.criteria import And, Criterion, canonical, quantities_of
from nomadquery.query.explain import in_words
from nomadquery.query.phrases import read_column
from nomadquery.query.quantity import QuantityPath, column_of
from nomadquery.query.query import Query
from nomadquery.query.resolve import UNCHECKED, Resolver, full_name
from nomadquery.session import Session
from nomadquery.store.tables import Manifest, TableStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

_OWNERS = ("public", "visible", "all", "user", "shared", "staging", "admin")
_DEFAULT_COLUMNS = (
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


@dataclass(frozen=True, slots=True, repr=False)
class Search:
    """Entries that satisfy a query, and the columns wanted of them. Immutable and lazy.

    Without ``select`` the columns are entry_id, formula, space_group, program, functional,
    entry_type, upload_id, mainfile, uploaded, doi. Rows are in the order of their entry ids.
    """

    _session: Session
    _query: Query
    _owner: str
    _columns: tuple[Column, ...]
    _sort: tuple[str, bool] | None = None
    _limit: int | None = None
    _page_size: int | None = None

    # -- saying what is wanted ------------------------------------------------------------

    def where(self, *criteria: Query | Mapping[str, Any]) -> Search:
        """Return the search narrowed to entries that also satisfy ``criteria``."""
        return make_search(self._session, (self._query, *criteria), self._owner, like=self)

    def owner(self, owner: str) -> Search:
        """Return the search among other entries: ``public``, ``visible``, ``user`` …"""
        return replace(self, _owner=_checked_owner(owner, self._session))

    def select(self, *columns: str | QuantityPath, **named: str | QuantityPath) -> Search:
        """Return the search with these columns after ``entry_id``.

        Columns are short names, dotted paths (``"results.material.elements"``, ``"path in eV"``), `Q`
        paths, or ``name=path`` pairs; see the path grammar in the documentation.

        Raises
        ------
        QuantityNotFound, UnitError, QueryError
            If a path, a rule or a unit does not fit.
        """
        chosen = [_column(path, None) for path in columns]
        chosen += [_column(path, name) for name, path in named.items()]
        chosen = [column for column in chosen if column.name != "entry_id"]
        names = [column.name for column in chosen]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise QueryError(
                f"Two columns are called {twice[0]!r}; name one: select(..., other_name={twice[0]!r})."
            )
        catalogue = self._session.catalogue()
        for column in chosen:
            plan_column(column, catalogue)
        return replace(self, _columns=tuple(chosen))

    def sort(self, path: str | QuantityPath, *, descending: bool = False) -> Search:
        """Return the search in another order; goes with ``limit(n)``, n at most 10,000."""
        name = path if isinstance(path, str) else column_of(path, "sort").quantity
        return replace(self, _sort=(name, descending))

    def limit(self, n_entries: int) -> Search:
        """Return the search for the first ``n_entries``; without ``sort`` the first by entry id."""
        if isinstance(n_entries, bool) or not isinstance(n_entries, int) or n_entries < 1:
            raise QueryError(f"limit takes a number of entries, at least 1, not {n_entries!r}.")
        return replace(self, _limit=n_entries)

    def page_size(self, n_entries: int) -> Search:
        """Return the search fetched in pages of ``n_entries`` (1 to 10,000) in place of the planned size."""
        if isinstance(n_entries, bool) or not isinstance(n_entries, int) or not 1 <= n_entries <= 10_000:
            raise QueryError(f"page_size is 1 to 10,000 entries, not {n_entries!r}.")
        return replace(self, _page_size=n_entries)

    # -- asking about it ------------------------------------------------------------------

    def count(self) -> int:
        """Return how many entries match; one request."""
        return self._source(self._question()).count()

    def preview(self, n_rows: int = 5) -> pd.DataFrame:
        """Return the first rows; one request, nothing is kept."""
        import pyarrow as pa

        question = self._question()
        batch, total = preview(self._source(question), n_rows)
        facts = {"preview": True, "n_rows": batch.num_rows, "n_total": total, "owner": question.owner}
        return to_pandas(pa.Table.from_batches([batch]), facts)

    def entry_ids(self) -> tuple[str, ...]:
        """Return the ids of all entries that match, in order."""
        limited = self.select()
        return tuple(limited.to_arrow()["entry_id"].to_pylist())

    def narrowing(self) -> pd.DataFrame:
        """Return each criterion's hits: alone, and together with those before it.

        Columns: ``criterion``, ``alone``, ``cumulative``, ``near``: values that the server knows and that
        resemble one that it does not. Two requests a criterion, and one for near values.
        """
        import pandas as pd

        query = self._ready_query()
        parts = query.criterion.criteria if isinstance(query.criterion, And) else (query.criterion,)
        resolver = Resolver(self._session.catalogue(), self._schemas(query))
        source = self._source(self._question())
        rows = narrowing_rows(source, [(in_words(part), canonical(resolver.resolve(part))) for part in parts])
        return pd.DataFrame(rows, columns=["criterion", "alone", "cumulative", "near"])

    def explain(self) -> str:
        """Return the question in plain words, one line for each criterion."""
        return self._query.explain()

    def plan(self) -> TablePlan:
        """Return what fetching the table will do, and what is kept of it; asks at most one count."""
        question = self._question()
        store = self._store(question)
        manifest = store.manifest()
        asked = [name for name, _ in self._query.asked_first]
        known = manifest is not None and (manifest.state == "complete" or self._session.offline)
        total = manifest.n_rows if manifest is not None and known else self._source(question).count()
        return plan_of(question, self._session.catalogue(), manifest, total, n_asked_first=len(asked))

    # -- having it ------------------------------------------------------------------------

    def to_pandas(
        self,
        *,
        units: UnitStyle = "attrs",
        dtypes: Dtypes = "numpy",
        refresh: bool = False,
        max_age: str | timedelta | None = None,
        offline: bool | None = None,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Return the complete table as a DataFrame, one row for each entry.

        Parameters
        ----------
        units : {"attrs", "names", "pint"}
            Units stand in ``df.attrs["units"]``; also in the column names, or as pint quantities.
        dtypes : {"numpy", "arrow"}
            NumPy and nullable dtypes, or Arrow-backed ones.
        refresh : bool
            Fetch again what is kept.
        max_age : str or timedelta, optional
            Fetch again what is older: ``"7d"``, ``"12h"``.
        offline : bool, optional
            Give only what is kept.
        progress : bool, optional
            Show a bar.

        Raises
        ------
        IncompleteResult
            If a promised row could not be had; the same call continues.
        """
        table, facts = self._fetched(self._wishes(refresh, max_age, offline, progress))
        frame = to_pandas(table, facts, units=units, dtypes=dtypes)
        _warn_if_empty(frame, self)
        return frame

    def to_arrow(self, *, refresh: bool = False, max_age: str | timedelta | None = None) -> pa.Table:
        """Return the complete table as Arrow; units stand in the field metadata under ``unit``."""
        return self._fetched(self._wishes(refresh, max_age, None, None))[0]

    def batches(self, batch_size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the complete table as Arrow record batches; memory holds one row group."""
        store, _, _ = self._harvested(self._wishes())
        yield from store.batches(batch_size)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a dictionary of plain Python values."""
        for batch in self.batches(8_192):
            yield from batch.to_pylist()

    def dataset(self) -> ds.Dataset:
        """Return the kept Parquet as a ``pyarrow.dataset``, to be read in place by DuckDB, Dask, polars."""
        import pyarrow.dataset as ds

        store, _, _ = self._harvested(self._wishes())
        return ds.dataset(store.files(), format="parquet")

    def to_parquet(self, path: str | Path) -> Path:
        """Write the complete table as one Parquet file with units in the field metadata; return its path."""
        store, manifest, question = self._harvested(self._wishes())
        return write_parquet(store, Path(path), _facts(question, manifest))

    def to_csv(self, path: str | Path) -> Path:
        """Write the complete table as CSV, units in the column names, lists as JSON; return its path."""
        store, _, _ = self._harvested(self._wishes())
        return write_csv(store, Path(path))

    def to_jsonl(self, path: str | Path) -> Path:
        """Write the complete table as JSON, one row a line; return its path."""
        store, _, _ = self._harvested(self._wishes())
        return write_jsonl(store, Path(path))

    @property
    def problems(self) -> pd.DataFrame:
        """What rows lack: ``entry_id``, ``path``, ``why``; the table is fetched if it is not here."""
        import pandas as pd

        _, manifest, _ = self._harvested(self._wishes())
        return pd.DataFrame(list(manifest.problems), columns=["entry_id", "path", "why"], dtype="string")

    def __repr__(self) -> str:
        names = ", ".join(["entry_id", *(column.name for column in self._columns)])
        limited = f".limit({self._limit})" if self._limit is not None else ""
        return (
            f"<search of {self._session.deployment.name} ({self._owner}){limited}: {self._query!r}\n"
            f" columns: {names}>"
        )

    # -- inside ---------------------------------------------------------------------------

    def _wishes(
        self,
        refresh: bool = False,
        max_age: str | timedelta | None = None,
        offline: bool | None = None,
        progress: bool | None = None,
    ) -> Wishes:
        return Wishes(
            refresh=refresh,
            max_age=None if max_age is None else age(max_age),
            offline=self._session.offline if offline is None else offline,
            progress=self._session.progress if progress is None else progress,
        )

    def _fetched(self, wishes: Wishes) -> tuple[pa.Table, dict[str, Any]]:
        import pyarrow as pa

        store, manifest, question = self._harvested(wishes)
        table = pa.Table.from_batches(list(store.batches()), store.schema())
        return table, _facts(question, manifest)

    def _harvested(self, wishes: Wishes) -> tuple[TableStore, Manifest, Question]:
        question = self._question()
        store = self._store(question)
        return store, harvest(store, self._source(question), wishes), question

    def _store(self, question: Question) -> TableStore:
        return self._session.table_store(key_of(question))

    def _source(self, question: Question) -> Source:
        return Source(self._session.send, question, catalogue_for(question.release))

    def _ready_query(self) -> Query:
        """Return the query with the ids of searches that are asked first put in."""
        ids = {name: source.entry_ids() for name, source in self._query.asked_first}
        return self._query.with_ids(ids) if ids else self._query

    def _schemas(self, query: Query) -> dict[str, tuple[str, ...]]:
        """Return the known schemas of each ``data.x`` that the query leaves open."""
        names = {full_name(name) for name in quantities_of(query.criterion) if not name.startswith(UNCHECKED)}
        unknown = [name for name in names if name.startswith("data.") and "#" not in name]
        return {name: self._session.schemas_of(name) for name in unknown}

    def _question(self) -> Question:
        session = self._session
        catalogue = catalogue_for(session.release())
        query = self._ready_query()
        columns: tuple[PlannedColumn, ...] = tuple(plan_column(column, catalogue) for column in self._columns)
        sort = None
        if self._sort is not None:
            sort = check_sort(*self._sort, self._limit, catalogue)
        return Question(
            deployment=session.deployment.api_base,
            release=session.release(),
            owner=self._owner,
            user=session.user(self._owner),
            criterion=query.resolved(catalogue, self._schemas(query)),
            columns=columns,
            sort=sort,
            limit=self._limit,
            page_size=self._page_size,
        )


def make_search(
    session: Session,
    criteria: tuple[Query | Mapping[str, Any], ...],
    owner: str | None,
    *,
    like: Search | None = None,
) -> Search:
    """Return the search for entries that satisfy all ``criteria``; names are checked, nothing is sent."""
    query = Query()
    for criterion in criteria:
        if isinstance(criterion, Mapping):
            owner = owner or criterion.get("owner")
            criterion = Query.from_json(criterion)  # noqa: PLW2901  # the same criterion, read
        if not isinstance(criterion, Query):
            raise TypeError(
                f"entries() takes queries such as Q.n_elements == 2, or NOMAD's JSON, not {criterion!r}."
            )
        query = query & criterion
    _check_names(query.criterion, session)
    checked = _checked_owner(session.owner(owner), session)
    if like is not None:
        return replace(like, _query=query, _owner=checked)
    columns = tuple(_column(name, None) for name in _DEFAULT_COLUMNS)
    return Search(session, query, checked, columns)


def _check_names(criterion: Criterion, session: Session) -> None:
    """Raise for a name that this deployment does not know; custom schemas are the server's to know."""
    custom = {full_name(name) for name in quantities_of(criterion)}
    placeholders = {
        name: (f"{name}#custom",) for name in custom if name.startswith("data.") and "#" not in name
    }
    Resolver(session.catalogue(), placeholders).resolve(criterion)


def _checked_owner(owner: str, session: Session) -> str:
    if owner not in _OWNERS:
        raise QueryError(f"owner is one of {', '.join(_OWNERS)}, not {owner!r}.")
    if owner in {"user", "shared", "staging", "admin"} and session.is_anonymous:
        raise QueryError(
            f"owner={owner!r} needs a login: pass token=…, set NOMADQUERY_TOKEN, or use `nomadquery login`."
        )
    return owner


def _column(path: str | QuantityPath, name: str | None) -> Column:
    if isinstance(path, QuantityPath):
        column = column_of(path, name or "")
        return column if name else replace(column, name=column.quantity)
    if not isinstance(path, str):
        raise TypeError(f"select takes names, dotted paths or Q paths, not {path!r}.")
    where, rule, unit = read_column(path)
    column = Column(name or "", where, rule, unit)
    return column if name else replace(column, name=column.quantity)


def _facts(question: Question, manifest: Manifest) -> dict[str, Any]:
    return {
        "fetched_at": manifest.facts.get("fetched_at"),
        "deployment": question.deployment,
        "release": manifest.facts.get("release"),
        "owner": question.owner,
        "n_entries": manifest.n_rows,
        "n_problems": len(manifest.problems),
        "key": key_of(question),
        "request": dict(manifest.request),
    }


def _warn_if_empty(frame: pd.DataFrame, search: Search) -> None:
    if frame.empty:
        import warnings

        warnings.warn(
            f"No entry matches {search._query!r}. search.narrowing() shows which criterion leaves nothing.",
            stacklevel=3,
        )


#: A search with columns is a table.
Table = Search
