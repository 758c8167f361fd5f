"""`Results`: what the hits of a search give: tables, files, structures. Wiring only."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from nomadquery.asking import read_one
from nomadquery.atoms import (
    Asked,
    Form,
    Structures,
    cif_of,
    extxyz_of,
    made_structures,
    wanted_columns,
)
from nomadquery.columns.frame import Dtypes, UnitStyle, check_styles, to_pandas
from nomadquery.columns.structures import Which
from nomadquery.durations import age
from nomadquery.errors import QueryError
from nomadquery.fetch.exports import checked_target, write_csv, write_jsonl, write_parquet
from nomadquery.fetch.plan import Question, facts_of
from nomadquery.fetch.wishes import Wishes
from nomadquery.fetch.writers import check_excel, write_excel
from nomadquery.frames import register_accessor
from nomadquery.inquiry import Inquiry
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.path import dotted
from nomadquery.store.pins import Changes, Lock
from nomadquery.store.view import View

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

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
class Results:
    """What a search gives. Each method takes the words of `WishWords`, as `to_pandas` does."""

    _inquiry: Inquiry

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

    def batches(self, batch_size: int = 16_384, **wishes: Unpack[WishWords]) -> Iterator[pa.RecordBatch]:
        """Yield the complete table as Arrow record batches; memory holds one row group."""
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise QueryError(f"batch_size is a number of rows, at least 1, not {batch_size!r}.")
        view, _ = self._inquiry.viewed(self._wishes(**wishes))
        return view.batches(batch_size=batch_size)

    def rows(self, **wishes: Unpack[WishWords]) -> Iterator[dict[str, Any]]:
        """Yield each row as a dictionary of plain Python values."""
        for batch in self.batches(8_192, **wishes):
            yield from batch.to_pylist()

    def dataset(self, **wishes: Unpack[WishWords]) -> ds.Dataset:
        """Return the kept Parquet as a ``pyarrow.dataset``, to be read in place by DuckDB, Dask, polars.

        It is readable until the table is fetched again.
        """
        return self._read(lambda view, _: view.dataset(), wishes)

    def to_parquet(self, path: str | Path, **wishes: Unpack[WishWords]) -> Path:
        """Write the complete table as one Parquet file with units in the field metadata; return its path."""
        file = checked_target(path)
        return self._read(
            lambda view, question: write_parquet(
                view, file, facts_of(question, view.manifest, view.n_dropped())
            ),
            wishes,
        )

    def to_csv(self, path: str | Path, **wishes: Unpack[WishWords]) -> Path:
        """Write the complete table as CSV, units in the column names, lists as JSON; return its path."""
        file = checked_target(path)
        return self._read(lambda view, _: write_csv(view, file), wishes)

    def to_excel(self, path: str | Path, **wishes: Unpack[WishWords]) -> Path:
        """Write the complete table as an Excel sheet, units in the column names; return its path.

        A second sheet says units, paths and where the table comes from; see `write_excel`.
        """
        check_excel()
        file = checked_target(path)
        if file.suffix.lower() != ".xlsx":
            raise QueryError(f"to_excel writes an .xlsx file, and {file.name!r} is called otherwise.")
        return self._read(
            lambda view, question: write_excel(
                view.batches(), view.schema(), file, facts_of(question, view.manifest, view.n_dropped())
            ),
            wishes,
        )

    def to_jsonl(self, path: str | Path, **wishes: Unpack[WishWords]) -> Path:
        """Write the complete table as JSON, one row a line; return its path."""
        file = checked_target(path)
        return self._read(lambda view, _: write_jsonl(view, file), wishes)

    @property
    def problems(self) -> pd.DataFrame:
        """What rows lack: ``entry_id``, ``path``, ``why``; the table is fetched if it is not kept whole."""
        import pandas as pd

        lines = self._inquiry.problems(self._wishes())
        return pd.DataFrame(lines, columns=["entry_id", "path", "why"], dtype="string")

    # -- keeping it up to date ----------------------------------------------------------------

    def update(self, *, progress: bool | None = None) -> Changes:
        """Bring the kept table up to date and return what changed: ``added``, ``changed``, ``removed``.

        All hits are listed with the times of their last processing (10,000 a request), and only what is new,
        processed again, or edited in what the table shows is fetched. What is no hit any more goes. A table
        that was never fetched is fetched, so that one script does for the first and every later run; one
        with a ``limit`` is fetched anew. What an update that was stopped had fetched is not fetched again.

        What archives of *other* entries hold, reached through references, is not looked at: use
        ``refresh=True`` for that.

        Raises
        ------
        IncompleteResult
            If an entry could not be had; the same call continues, and the old table is given until then.
        """
        wishes = self._wishes(progress=progress)
        if wishes.offline:
            raise QueryError("update() asks the server, and this client is offline. Leave out offline=True.")
        return self._inquiry.updated(wishes)

    def lock(self, path: str | Path | None = None, *, progress: bool | None = None) -> Lock:
        """Pin the table: write question, entry ids and times to a lockfile (JSON; ``.gz`` compresses it).

        A table that is kept whole is pinned as it is kept. Else ids and times alone are listed by the server,
        so that a lock can be made before the table is fetched. `nomadquery.from_lock` gives the table again,
        here or elsewhere. Without a ``path`` nothing is written.

        Raises
        ------
        CacheError
            If the file cannot be written; offline, if the table is not kept whole.
        """
        lock = self._inquiry.locked(self._wishes(progress=progress))
        if path is not None:
            lock.write(path)
        return lock

    # -- structures -------------------------------------------------------------------------

    def structures(
        self, which: Which = "last", as_: Form = "ase", **wishes: Unpack[WishWords]
    ) -> Structures | pd.DataFrame:
        """Return the structures of the hits: lengths in Å, energies in eV, forces in eV/Å, stress in eV/Å³.

        Parameters
        ----------
        which : {"last", "first", "original", "conventional", "frames"}
            Of each entry the last or first structure that has atoms and positions, the one that was
            calculated, its conventional cell, or every frame: the items of ``.per("run.calculation")``
            (or ``run.system``), which carry energy, forces and stress.
        as_ : {"ase", "pymatgen", "columns"}
            ``ase.Atoms``, pymatgen objects (both in a `Structures`), or a DataFrame.

        Columns that were selected go into ``info`` (``arrays``, where they have one item for each atom);
        ``info["entry_id"]`` is always there. What has no structure stands in ``.problems``, with a warning.
        """
        return made_structures(self._asked(which, wishes), as_)

    def to_extxyz(self, path: str | Path, **wishes: Unpack[WishWords]) -> Path:
        """Write the structures as extended XYZ in Å, eV and eV/Å; return the file.

        With ``.per("run.calculation")`` every frame, else the last structure of each entry. Columns
        ``energy``, ``forces``, ``stress`` take the place of the structure's own; others go beside them.
        """
        which: Which = "last" if self._inquiry.wanted.per is None else "frames"
        return extxyz_of(self._asked(which, wishes), path)

    def to_cif(
        self, folder: str | Path, which: Which = "last", **wishes: Unpack[WishWords]
    ) -> tuple[Path, ...]:
        """Write one CIF file for each structure into a folder, called by the entry's id; return the files."""
        return cif_of(self._asked(which, wishes), folder)

    # -- inside ---------------------------------------------------------------------------

    def _with(self, **changes: Any) -> Self:
        inquiry = self._inquiry
        return replace(self, _inquiry=replace(inquiry, wanted=replace(inquiry.wanted, **changes)))

    def _asked(self, which: Which, wishes: WishWords) -> Asked:
        """Return what structures are made from: their own columns, and those that were selected."""
        wanted, session = self._inquiry.wanted, self._inquiry.session
        if wanted.per is None and which == "frames":
            return replace(self._with(per=read_one("run.calculation", "per").path))._asked(which, wishes)
        per = None if wanted.per is None else dotted(wanted.per)
        columns = tuple(read_one(path, name) for name, path in wanted_columns(which, per).items())
        catalogue = catalogue_for(session.release())
        own = self._inquiry.drafted_columns(catalogue) if wanted.is_chosen else ()
        return Asked(
            which=which,
            per=per,
            structure_rows=partial(self._with(columns=columns, needed=()).rows, **wishes),
            own_rows=partial(self.rows, **wishes) if own else None,
            own_columns=own,
            catalogue=catalogue,
        )

    def _read(self, read: Callable[[View, Question], _Read], wishes: WishWords) -> _Read:
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


def _warn_if_empty(frame: pd.DataFrame, search: Results) -> None:
    if frame.empty:
        facts = frame.attrs["nomadquery"]
        why = (
            f"{facts['n_entries']} entries match, and none gives a row; .problems says why."
            if facts["n_entries"]
            else f"No entry matches {search._inquiry.query!r}. "
            "search.narrowing() shows which criterion leaves nothing."
        )
        warnings.warn(why, stacklevel=3)
