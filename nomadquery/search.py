"""`Search`: entries to be found; with columns it is a table. Wiring only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from nomadquery.asking import (
    DEFAULT_COLUMNS,
    Wanted,
    checked_owner,
    chosen_columns,
    completed,
    joined,
    read_one,
)
from nomadquery.columns.frame import Dtypes, UnitStyle, check_styles, to_pandas
from nomadquery.durations import age
from nomadquery.errors import QueryError
from nomadquery.fetch.exports import checked_target, write_csv, write_jsonl, write_parquet
from nomadquery.fetch.harvest import Wishes, preview
from nomadquery.fetch.narrowing import narrowing_rows
from nomadquery.fetch.pages import Source
from nomadquery.fetch.plan import Question, TablePlan, facts_of
from nomadquery.frames import register_accessor
from nomadquery.inquiry import Inquiry
from nomadquery.query.criteria import And
from nomadquery.query.explain import in_words
from nomadquery.query.quantity import QuantityPath, column_of
from nomadquery.query.query import Query
from nomadquery.session import Session
from nomadquery.store.tables import Manifest, TableStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

_LARGEST_PREVIEW = 10_000
_Read = TypeVar("_Read")


class WishWords(TypedDict, total=False):
    """How a table may be had; the words of every method that gives one.

    ``refresh``: fetch again what is kept. ``max_age``: fetch again what is older (``"7d"``, ``"12h"``).
    ``offline``: give only what is kept. ``progress``: show a bar.
    """

    refresh: bool
    max_age: str | timedelta | None
    offline: bool | None
    progress: bool | None


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Search:
    """Entries that satisfy a query, and the columns wanted of them. Immutable and lazy.

    Without ``select`` the columns are entry_id, formula, space_group, program, functional,
    entry_type, upload_id, mainfile, uploaded, doi. Rows are in the order of their entry ids.
    """

    _inquiry: Inquiry

    # -- saying what is wanted ------------------------------------------------------------

    def where(self, *criteria: Query | Mapping[str, Any]) -> Search:
        """Return the search narrowed to entries that also satisfy ``criteria``; its owner stays."""
        inquiry = self._inquiry
        query, owner = joined(inquiry.session, (inquiry.query, *criteria))
        if owner not in {None, inquiry.wanted.owner}:
            raise QueryError(
                f"The request body asks for owner={owner!r}, and this search for {inquiry.wanted.owner!r}. "
                f"Leave 'owner' out of the body, or write .owner({owner!r})."
            )
        return Search(replace(inquiry, query=query))

    def owner(self, owner: str) -> Search:
        """Return the search among other entries: ``public``, ``visible``, ``user`` …"""
        return self._with(owner=checked_owner(owner, self._inquiry.session))

    def select(self, *columns: str | QuantityPath, **named: str | QuantityPath) -> Search:
        """Return the search with these columns after ``entry_id``.

        Columns are short names, dotted paths (``"results.material.elements"``, ``"path in eV"``), `Q`
        paths, or ``name=path`` pairs; see the path grammar in the documentation.

        Raises
        ------
        QuantityNotFound, UnitError, QueryError
            If a path, a rule or a unit does not fit.
        """
        return self._with(columns=chosen_columns(columns, named, self._inquiry.session.catalogue()))

    def sort(self, path: str | QuantityPath, *, descending: bool = False) -> Search:
        """Return the search in another order; goes with ``limit(n)``, n at most 10,000."""
        name = path if isinstance(path, str) else column_of(path, "sort").quantity
        return self._with(sort=(name, descending))

    def limit(self, n_entries: int) -> Search:
        """Return the search for the first ``n_entries``; without ``sort`` the first by entry id."""
        if isinstance(n_entries, bool) or not isinstance(n_entries, int) or n_entries < 1:
            raise QueryError(f"limit takes a number of entries, at least 1, not {n_entries!r}.")
        return self._with(limit=n_entries)

    def page_size(self, n_entries: int) -> Search:
        """Return the search fetched in pages of ``n_entries`` (1 to 10,000) in place of the planned size."""
        if isinstance(n_entries, bool) or not isinstance(n_entries, int) or not 1 <= n_entries <= 10_000:
            raise QueryError(f"page_size is 1 to 10,000 entries, not {n_entries!r}.")
        return self._with(page_size=n_entries)

    # -- asking about it ------------------------------------------------------------------

    def count(self) -> int:
        """Return how many entries match; one request."""
        return self._source().count()

    def preview(self, n_rows: int = 5) -> pd.DataFrame:
        """Return the first rows; one request (one more for archives), nothing is kept."""
        import pyarrow as pa

        if isinstance(n_rows, bool) or not isinstance(n_rows, int) or not 1 <= n_rows <= _LARGEST_PREVIEW:
            raise QueryError(f"preview takes 1 to {_LARGEST_PREVIEW:,} rows, not {n_rows!r}.")
        source = self._source()
        question = source.question
        batch, total = preview(source, min(n_rows, question.limit or n_rows))
        facts = {
            "preview": True,
            "fetched_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "deployment": question.deployment,
            "owner": question.owner,
            "n_rows": batch.num_rows,
            "n_total": total,
        }
        return to_pandas(pa.Table.from_batches([batch]), facts)

    def entry_ids(self) -> tuple[str, ...]:
        """Return the ids of all entries that match, in order."""
        return self._inquiry.entry_ids(self._wishes())

    def narrowing(self) -> pd.DataFrame:
        """Return each criterion's hits: alone, and together with those before it.

        Columns: ``criterion``, ``alone``, ``cumulative``, ``near``: values that the server knows and that
        resemble one that it does not. Two requests a criterion, and one for near values.
        """
        import pandas as pd

        source = self._source()
        criterion = self._inquiry.ready(self._wishes()).criterion
        parts = criterion.criteria if isinstance(criterion, And) else (criterion,)
        session = self._inquiry.session
        resolved = [
            (in_words(part), completed(session, Query(part), source.question).criterion) for part in parts
        ]
        rows = narrowing_rows(source, resolved)
        return pd.DataFrame(rows, columns=["criterion", "alone", "cumulative", "near"])

    def explain(self) -> str:
        """Return the question in plain words, one line for each criterion."""
        return self._inquiry.query.explain()

    def plan(self) -> TablePlan:
        """Return what fetching the table will do, and what is kept of it; asks at most one count."""
        return self._inquiry.plan(self._wishes())

    # -- having it ------------------------------------------------------------------------

    def to_pandas(
        self, *, units: UnitStyle = "attrs", dtypes: Dtypes = "numpy", **wishes: Unpack[WishWords]
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
        check_styles(units, dtypes)
        register_accessor()
        table, facts = self._inquiry.arrow_table(self._wishes(**wishes))
        frame = to_pandas(table, facts, units=units, dtypes=dtypes)
        _warn_if_empty(frame, self)
        return frame

    def to_arrow(self, **wishes: Unpack[WishWords]) -> pa.Table:
        """Return the complete table as Arrow; units stand in the field metadata under ``unit``.

        It takes ``refresh``, ``max_age``, ``offline`` and ``progress`` as `to_pandas` does, and so do all
        that follow.
        """
        return self._inquiry.arrow_table(self._wishes(**wishes))[0]

    def batches(self, batch_size: int = 65_536, **wishes: Unpack[WishWords]) -> Iterator[pa.RecordBatch]:
        """Yield the complete table as Arrow record batches; memory holds one row group."""
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise QueryError(f"batch_size is a number of rows, at least 1, not {batch_size!r}.")
        store, manifest, _ = self._inquiry.harvested(self._wishes(**wishes))
        return store.batches(manifest, batch_size=batch_size)

    def rows(self, **wishes: Unpack[WishWords]) -> Iterator[dict[str, Any]]:
        """Yield each row as a dictionary of plain Python values."""
        for batch in self.batches(8_192, **wishes):
            yield from batch.to_pylist()

    def dataset(self, **wishes: Unpack[WishWords]) -> ds.Dataset:
        """Return the kept Parquet as a ``pyarrow.dataset``, to be read in place by DuckDB, Dask, polars.

        It is readable until the table is fetched again.
        """
        import pyarrow.dataset as ds

        def opened(store: TableStore, manifest: Manifest, _: Question) -> ds.Dataset:
            return ds.dataset([str(file) for file in store.files(manifest)], store.schema(manifest))

        return self._read(opened, wishes)

    def to_parquet(self, path: str | Path, **wishes: Unpack[WishWords]) -> Path:
        """Write the complete table as one Parquet file with units in the field metadata; return its path."""
        file = checked_target(path)
        return self._read(
            lambda store, manifest, question: write_parquet(
                store, manifest, file, facts_of(question, manifest)
            ),
            wishes,
        )

    def to_csv(self, path: str | Path, **wishes: Unpack[WishWords]) -> Path:
        """Write the complete table as CSV, units in the column names, lists as JSON; return its path."""
        file = checked_target(path)
        return self._read(lambda store, manifest, _: write_csv(store, manifest, file), wishes)

    def to_jsonl(self, path: str | Path, **wishes: Unpack[WishWords]) -> Path:
        """Write the complete table as JSON, one row a line; return its path."""
        file = checked_target(path)
        return self._read(lambda store, manifest, _: write_jsonl(store, manifest, file), wishes)

    @property
    def problems(self) -> pd.DataFrame:
        """What rows lack: ``entry_id``, ``path``, ``why``; the table is fetched if it is not kept whole."""
        import pandas as pd

        manifest = self._inquiry.kept_manifest()
        if manifest is None:
            _, manifest, _ = self._inquiry.harvested(self._wishes())
        return pd.DataFrame(list(manifest.problems), columns=["entry_id", "path", "why"], dtype="string")

    def __repr__(self) -> str:
        inquiry, wanted = self._inquiry, self._inquiry.wanted
        names = ", ".join(["entry_id", *(column.name for column in wanted.columns)])
        limited = f".limit({wanted.limit})" if wanted.limit is not None else ""
        return (
            f"<search of {inquiry.session.deployment.name} ({wanted.owner}){limited}: {inquiry.query!r}\n"
            f" columns: {names}\n"
            f" kept: {inquiry.kept_words()}>"
        )

    # -- inside ---------------------------------------------------------------------------

    def _with(self, **changes: Any) -> Search:
        inquiry = self._inquiry
        return Search(replace(inquiry, wanted=replace(inquiry.wanted, **changes)))

    def _source(self) -> Source:
        return self._inquiry.source(self._inquiry.completed(self._wishes()))

    def _read(self, read: Callable[[TableStore, Manifest, Question], _Read], wishes: WishWords) -> _Read:
        return self._inquiry.read(self._wishes(**wishes), read)

    def _wishes(
        self,
        refresh: bool = False,
        max_age: str | timedelta | None = None,
        offline: bool | None = None,
        progress: bool | None = None,
    ) -> Wishes:
        is_offline = self._inquiry.session.offline if offline is None else offline
        if refresh and is_offline:
            raise QueryError(
                "refresh=True asks the server, and offline=True forbids it; leave one of them out."
            )
        return Wishes(
            refresh=refresh,
            max_age=None if max_age is None else age(max_age),
            offline=is_offline,
            progress=self._inquiry.session.progress if progress is None else progress,
        )


def make_search(
    session: Session, criteria: tuple[Query | Mapping[str, Any], ...], owner: str | None
) -> Search:
    """Return the search for entries that satisfy all ``criteria``; names are checked, nothing is sent.

    The argument ``owner`` comes before the owner of a request body.
    """
    query, inside = joined(session, criteria)
    checked = checked_owner(session.owner(inside if owner is None else owner), session)
    columns = tuple(read_one(name, None) for name in DEFAULT_COLUMNS)
    return Search(Inquiry(session, query, Wanted(checked, columns)))


def _warn_if_empty(frame: pd.DataFrame, search: Search) -> None:
    if frame.empty:
        import warnings

        warnings.warn(
            f"No entry matches {search._inquiry.query!r}. "
            "search.narrowing() shows which criterion leaves nothing.",
            stacklevel=3,
        )


#: A search with columns is a table.
Table = Search
