"""`Search`: entries to be found; with columns it is a table. Wiring only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Unpack

from nomadquery.asking import (
    DEFAULT_COLUMNS,
    Wanted,
    check_unpinned,
    checked_columns,
    checked_owner,
    chosen_columns,
    chosen_section,
    completed,
    joined,
    needed_columns,
    read_one,
    schemas_for,
)
from nomadquery.columns.frame import to_pandas
from nomadquery.errors import QueryError
from nomadquery.fetch.coverage import coverage
from nomadquery.fetch.harvest import preview
from nomadquery.fetch.histograms import histogram
from nomadquery.fetch.narrowing import narrowing_rows
from nomadquery.fetch.pages import Source
from nomadquery.fetch.plan import TablePlan
from nomadquery.fetch.summaries import facet, minmax, statistics
from nomadquery.inquiry import Inquiry
from nomadquery.links import COLUMNS, SECTION, Targets, link_frame
from nomadquery.query.criteria import And
from nomadquery.query.explain import in_words
from nomadquery.query.path import dotted
from nomadquery.query.quantity import Q, QuantityPath, column_of
from nomadquery.query.query import Query
from nomadquery.raw.files import choice_of
from nomadquery.rawfiles import RawFiles
from nomadquery.rawsources import raw_of_hits
from nomadquery.results import Results, WishWords
from nomadquery.session import Session
from nomadquery.streams import Archives, RequiredWords, archives_of_hits

if TYPE_CHECKING:
    import pandas as pd

_LARGEST_PREVIEW = 10_000


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Search(Results):
    """Entries that satisfy a query, and the columns wanted of them. Immutable and lazy.

    Without ``select`` the columns are entry_id, formula, space_group, program, functional,
    entry_type, upload_id, mainfile, uploaded, doi. Rows are in the order of their entry ids.
    """

    # -- saying what is wanted ------------------------------------------------------------

    def where(self, *criteria: Query | Mapping[str, Any]) -> Search:
        """Return the search narrowed to entries that also satisfy ``criteria``; its owner stays."""
        inquiry = self._inquiry
        check_unpinned(inquiry.wanted, "where(...)")
        query, owner = joined(inquiry.session, (inquiry.query, *criteria))
        if owner not in {None, inquiry.wanted.owner}:
            raise QueryError(
                f"The request body asks for owner={owner!r}, and this search for {inquiry.wanted.owner!r}. "
                f"Leave 'owner' out of the body, or write .owner({owner!r})."
            )
        return Search(replace(inquiry, query=query))

    def owner(self, owner: str) -> Search:
        """Return the search among other entries: ``public``, ``visible``, ``user`` …"""
        check_unpinned(self._inquiry.wanted, "owner(...)")
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
        wanted, catalogue = self._inquiry.wanted, self._inquiry.session.catalogue()
        chosen = chosen_columns(columns, named, wanted.per, catalogue)
        needed = needed_columns(wanted.needed, chosen) if wanted.needed else ()
        return self._with(columns=chosen, is_chosen=True, needed=needed)

    def per(self, section: str | QuantityPath) -> Search:
        """Return the search with one row for each item of a repeating section, such as ``"run.calculation"``.

        A path that starts with the section means the row's own item; all others repeat the entry's
        value. Columns of positions (``run``, ``calculation``) follow ``entry_id``. A frame's structure
        is its ``system_ref``; without one the only system of its run; otherwise null, counted in
        `problems`. An entry without items has no row.

        Raises
        ------
        QueryError
            If the section does not repeat, or a column has brackets on the way to the items.
        QuantityNotFound
            If there is no such section.
        """
        inquiry = self._inquiry
        path = chosen_section(section, inquiry.session.catalogue())
        wanted = inquiry.wanted
        columns = wanted.columns if wanted.is_chosen else ()
        checked_columns(columns, path, inquiry.session.catalogue())
        return self._with(per=path, columns=columns)

    def drop_missing(self, *columns: str) -> Search:
        """Return the search without the rows that lack a value in one of ``columns`` (none: in any).

        The table is fetched and kept with all rows; they are left out when it is read. How many, stands in
        ``attrs["nomadquery"]["n_dropped"]`` and in `problems`.

        Raises
        ------
        QueryError
            If a column is not selected.
        """
        wanted = self._inquiry.wanted
        return self._with(needed=needed_columns(columns, wanted.columns))

    def sort(self, path: str | QuantityPath, *, descending: bool = False) -> Search:
        """Return the search in another order; goes with ``limit(n)``, n at most 10,000."""
        check_unpinned(self._inquiry.wanted, "sort(...)")
        name = path if isinstance(path, str) else column_of(path, "sort").quantity
        return self._with(sort=(name, descending))

    def limit(self, n_entries: int) -> Search:
        """Return the search for the first ``n_entries``; without ``sort`` the first by entry id."""
        if isinstance(n_entries, bool) or not isinstance(n_entries, int) or n_entries < 1:
            raise QueryError(f"limit takes a number of entries, at least 1, not {n_entries!r}.")
        check_unpinned(self._inquiry.wanted, "limit(...)")
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

    # -- before the download ----------------------------------------------------------------

    def coverage(self) -> pd.DataFrame:
        """Return how many hits have each selected column at most: ``column path n_entries share``.

        Never below the truth; see `nomadquery.fetch.coverage.coverage`. One request, mostly.
        """
        source = self._source()
        return coverage(source, source.question.columns)

    def facet(
        self,
        path: str | QuantityPath,
        *,
        size: int | None = None,
        contains: str | None = None,
        metrics: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Return the values that the hits have of a quantity and how many have each, the most frequent first.

        All of them, however many, unless ``size`` says how many; ``contains`` keeps values with this text in
        them. Columns: ``value n_entries`` (``n_items`` for nested sections), and ``metrics``.

        Raises
        ------
        QuantityNotFound, NotExpressible
            If NOMAD does not know the quantity, or cannot list its values.
        """
        schemas = self._schemas(path)
        return facet(self._source(), path, size=size, contains=contains, metrics=metrics, schemas=schemas)

    def histogram(
        self,
        path: str | QuantityPath,
        *,
        bins: int | None = None,
        bin_width: Any = None,
        range: tuple[Any, Any] | None = None,
    ) -> pd.DataFrame:
        """Return how many hits have a number or date in each bin: ``lower upper n_entries``, in order.

        ``bin_width`` and ``range`` carry their unit (``"0.1 eV"``); of dates ``"month"``, ``"30d"`` …;
        the unit is the path's (``"gap"``, ``"… in meV"``). See `nomadquery.fetch.histograms.histogram`.
        """
        schemas = self._schemas(path)
        return histogram(self._source(), path, bins=bins, bin_width=bin_width, range=range, schemas=schemas)

    def statistics(
        self, path: str | QuantityPath, *, percents: Sequence[float] = (25, 50, 75)
    ) -> pd.DataFrame:
        """Return one row about a number or date: hits with a value, smallest, percentiles, largest value.

        In the unit of the path; NOMAD gives no mean, and no percentiles before 1.4.
        """
        return statistics(self._source(), path, percents=percents, schemas=self._schemas(path))

    def minmax(self, path: str | QuantityPath) -> pd.DataFrame:
        """Return the smallest and the largest value that the hits have of a number or date, in one row."""
        return minmax(self._source(), path, schemas=self._schemas(path))

    # -- links ------------------------------------------------------------------------------

    def archives(self, required: RequiredWords = "*", **wishes: Unpack[WishWords]) -> Archives:
        """Return an iterator of every entry's archive, in the order of a table's rows; columns play no part.

        ``.map(function)`` runs a function over all of them, in parallel as joblib is configured; see
        `nomadquery.streams.Archives.map`.

        The entries are listed first, as a table is. Archives are kept compressed in the cache: only those
        that are missing, or were processed again, are asked for. One of them is in memory, and one batch
        (about 6 MB of JSON) while asking.

        Parameters
        ----------
        required : mapping or "*"
            Which parts of each archive, in NOMAD's own form; checked at once.
        **wishes
            As for `to_pandas`.

        Raises
        ------
        QueryError
            If NOMAD would refuse or misread ``required``.
        IncompleteResult
            After all others have come, if archives could not be had; ``error.missing`` has their ids.
        """
        return archives_of_hits(self._inquiry, required, self._wishes(**wishes))

    def raw(
        self,
        include: str | Sequence[str] = (),
        *,
        exclude: str | Sequence[str] = (),
        regex: str | None = None,
        max_size: int | str | None = None,
        **wishes: Unpack[WishWords],
    ) -> RawFiles:
        """Return the raw files of the hits: all that lie in the folders of their mainfiles; lazy.

        Parameters
        ----------
        include, exclude : str or sequence of str
            Patterns (``*``, ``?``, ``[…]``; capitals count). One without ``/`` is matched with the name:
            ``"OUTCAR*"``. One with ``/`` with the end of the path: ``"relax/OUTCAR"``; see
            `nomadquery.raw.files.matches`.
        regex : str
            A regular expression that is found somewhere in the path.
        max_size : int or str
            No larger files: ``"100 MB"``, or a number of bytes.
        **wishes
            As for `to_pandas`, for the list of entries.

        Raises
        ------
        QueryError
            If a pattern, the expression or the size is none.
        """
        choice = choice_of(include, exclude, regex, max_size)
        return RawFiles(raw_of_hits(self._inquiry, self._wishes(**wishes), "of a search"), choice)

    def links(self, **wishes: Unpack[WishWords]) -> pd.DataFrame:
        """Return the references of the hits into other entries, for ``merge``.

        Columns: ``source_entry_id``, ``source_path``, ``target_entry_id``, ``target_path``. They are from
        the index, which has the references that could be resolved when the entry was processed.
        """
        linked = self.where(Q[f"{SECTION}.target_entry_id"].exists()).per(SECTION)
        table, _ = linked.select(**COLUMNS)._inquiry.arrow_table(self._wishes(**wishes))
        return link_frame(to_pandas(table, {}))

    def referenced_by(self, *criteria: Query | Mapping[str, Any]) -> Search:
        """Return the search for entries that refer to one of the hits and satisfy ``criteria``."""
        found = Q[f"{SECTION}.target_entry_id"].isin(self)
        return make_search(self._inquiry.session, (found, *criteria), self._inquiry.wanted.owner)

    def references(self, *criteria: Query | Mapping[str, Any]) -> Search:
        """Return the search for entries that the hits refer to and that satisfy ``criteria``."""
        found = Q.entry_id.isin(Targets(self, repr(self._inquiry.query)))
        return make_search(self._inquiry.session, (found, *criteria), self._inquiry.wanted.owner)

    def explain(self) -> str:
        """Return the question in plain words, one line for each criterion."""
        return self._inquiry.query.explain()

    def plan(self) -> TablePlan:
        """Return what fetching the table will do, and what is kept of it; asks at most one count."""
        return self._inquiry.plan(self._wishes())

    def __repr__(self) -> str:
        inquiry, wanted = self._inquiry, self._inquiry.wanted
        names = ", ".join(["entry_id", *(column.name for column in wanted.columns)])
        limited = f".limit({wanted.limit})" if wanted.limit is not None else ""
        limited += "" if wanted.pinned is None else f", {wanted.pinned.lock.n_entries:,} entries of a lock"
        limited += f", a row for each {dotted(wanted.per)}" if wanted.per is not None else ""
        return (
            f"<search of {inquiry.session.deployment.name} ({wanted.owner}){limited}: {inquiry.query!r}\n"
            f" columns: {names}\n"
            f" kept: {inquiry.kept_words()}>"
        )

    # -- inside ---------------------------------------------------------------------------

    def _schemas(self, path: str | QuantityPath) -> dict[str, tuple[str, ...]]:
        return schemas_for(self._inquiry.session, path, self._inquiry.wanted.owner)

    def _source(self) -> Source:
        return self._inquiry.source(self._inquiry.completed(self._wishes()))


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


#: A search with columns is a table.
Table = Search
