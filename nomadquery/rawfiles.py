"""`RawFiles`: the raw files of a search, an entry or an upload: listed, planned, downloaded, read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from nomadquery.errors import CacheError, NotFound, QueryError
from nomadquery.fetch.parallel import check_function
from nomadquery.fetch.progress import Progress
from nomadquery.fetch.whole import utc_now
from nomadquery.http.pace import IN_FLIGHT
from nomadquery.raw import remote
from nomadquery.raw.bounds import Bounds
from nomadquery.raw.download import Downloader
from nomadquery.raw.files import Choice, RawFile, bytes_of, chosen, matches, size_words
from nomadquery.raw.names import Layout
from nomadquery.raw.parallel import Here, map_files, portions
from nomadquery.raw.placing import places_of
from nomadquery.raw.plan import RawPlan, Route, plan_legs, wholes_of
from nomadquery.raw.reports import Lost, downloaded_frame, incomplete, listed_frame, manifest_facts
from nomadquery.raw.targets import Found, Loose, Target, packed_target
from nomadquery.rawsources import Listed, RawSource
from nomadquery.store.downloads import DownloadFolder, Record
from nomadquery.store.files import remove_folder, temporary_folder

if TYPE_CHECKING:
    import pandas as pd

_LAYOUTS: Final[tuple[Layout, ...]] = ("entry", "upload", "flat")
_MOST_NAMED: Final = 3
_MOST_SHOWN: Final = 10


class RawFiles:
    """Raw files that were chosen. Lazy: the list is asked for when it is first needed, and remembered."""

    def __init__(self, source: RawSource, choice: Choice) -> None:
        self._source = source
        self._choice = choice
        self._listed: Listed | None = None

    # -- what there is ---------------------------------------------------------------------

    def to_pandas(self) -> pd.DataFrame:
        """Return the files, one row each, in the order of upload and path.

        Columns: ``entry_id`` (whose mainfile it is, else the first entry in whose folder it lies; missing for
        a file of no entry), ``upload_id``, ``path`` (in the upload), ``size_bytes``, ``mainfile`` (whether it
        is one), ``entry_ids`` (a list: all entries that share it).

        Raises
        ------
        IncompleteResult
            If the files of some entries could not be listed; ``error.results`` has all others.
        """
        listed, files = self._found()
        frame = listed_frame(files, self._facts(listed))
        if listed.missing:
            raise incomplete(Lost(entries=listed.missing), frame, len(files))
        return frame

    def plan(
        self,
        dest: str | Path | None = None,
        *,
        layout: Layout = "entry",
        unpack: bool = True,
        route: Route | None = None,
        decompress: bool = False,
        verify: bool = False,
    ) -> RawPlan:
        """Return what a download will do: files, bytes, routes; prints well.

        Only the list of files is asked for. With a ``dest`` also what is there already, and the room on its
        disk; the other parameters are those of `download`.
        """
        _check_options(layout, unpack=unpack, decompress=decompress)
        if dest is None:
            listed, files = self._found()
            legs = plan_legs(files, wholes_of(listed.files, listed.published), route=route)
            return RawPlan(legs, missing=listed.missing, choice=str(self._choice))
        folder = DownloadFolder(Path(dest).expanduser())
        target = _target(folder, self._found()[1], layout, unpack=unpack, decompress=decompress)
        return self._planned(target, route=route, verify=verify)[0]

    # -- getting it ------------------------------------------------------------------------

    def download(
        self,
        dest: str | Path,
        *,
        layout: Layout = "entry",
        unpack: bool = True,
        decompress: bool = False,
        verify: bool = False,
        route: Route | None = None,
        max_workers: int | None = None,
        progress: bool | None = None,
        bounds: Bounds | None = None,
    ) -> pd.DataFrame:
        """Download the files into a folder; what is there already is not asked for again.

        Files are streamed, and get their names when all of them is here and checked: size, and CRC-32 where
        they come in a zip. Interrupted in any way, the same call goes on. The folder gets a manifest,
        ``nomadquery-files.parquet`` and ``nomadquery-files.json``: SHA-256, source, time, licence, authors.
        Other processes that download into the folder wait.

        Parameters
        ----------
        dest : str or Path
            The folder; made if it is not there.
        layout : {"entry", "upload", "flat"}
            ``"entry"``: ``<entry_id>/<name>``, files that entries share for each of them; ``"upload"``:
            ``<upload_id>/<path>``; ``"flat"``: ``<name>``. Names that some system cannot hold are changed by
            rule, and those that lead elsewhere refused; see `nomadquery.raw.names`.
        unpack : bool
            ``False``: the files of each upload stay packed, in ``<upload_id>.zip`` whatever the layout, at
            their paths in the upload. Members are stored as they are; the same files give the same bytes.
            A zip of an earlier download keeps its members and gets those that it lacks. It is made when all
            of its files are here, which needs its size on the disk once more.
        decompress : bool
            Unpack ``.gz``, ``.xz`` and ``.bz2`` on the way; not into a zip.
        verify : bool
            Read what is there already and compare its SHA-256, not only size and time.
        route : {"files", "batches", "upload"}, optional
            The way to go where it can be gone, in place of the cheapest; see `plan`.
        max_workers : int, optional
            Requests at once, at most 8.
        progress : bool, optional
            Show a bar; by default on a terminal and in a notebook.
        bounds : Bounds, optional
            What packed content may unpack to.

        Returns
        -------
        pandas.DataFrame
            ``entry_id``, ``upload_id``, ``path`` (in NOMAD), ``local_path``, ``size_bytes`` (of the local
            file), ``sha256``; one row for each local file, in the order of their names. With
            ``unpack=False`` one row for each member of a zip: ``local_path`` is the zip, ``path`` what the
            member is called in it, ``size_bytes`` and ``sha256`` are those of the member.

        Raises
        ------
        QueryError
            If an option is none, or ``decompress=True`` is to go into a zip; before anything is asked.
        IncompleteResult, DownloadTruncated
            After all others have come, if files could not be had: gone, not permitted, of another size than
            listed, without a safe name. ``error.missing`` names them as ``upload_id/path`` (and entries
            whose files could not be listed), ``error.results`` is the DataFrame without them.
        CacheError
            If the disk is full or too small, or the folder cannot be written.
        """
        _check_options(layout, unpack=unpack, decompress=decompress)
        n_places = self._checked_places(max_workers)
        folder = DownloadFolder(Path(dest).expanduser())
        listed, files = self._found()
        target = _target(folder, files, layout, unpack=unpack, decompress=decompress)
        records: list[Record] = []
        with folder.lock():
            plan, found = self._planned(target, route=route, verify=verify)
            _check_room(folder, plan)
            with Progress(progress, "raw files", "files") as bar:
                done, stopped = self._downloader(target, bounds).run(
                    plan.legs, n_places=n_places, show=bar.show
                )
            lost = Lost({**plan.refused, **done.failed}, listed.missing, frozenset(done.cut), stopped)
            if not isinstance(stopped, CacheError):
                records = target.kept(found, done)
                if folder.has_news() or not folder.facts():
                    self._note(folder, listed, records, is_complete=not lost)
        if not files and not listed.missing:
            self._warn_of_nothing(listed)
        if isinstance(stopped, CacheError) or (stopped is not None and not records):
            raise stopped
        frame = downloaded_frame(folder.folder, records, self._facts(listed))
        if lost:
            raise incomplete(lost, frame, len(files))
        return frame

    def map(
        self,
        function: Callable[[Path], Any],
        *,
        n_jobs: int | None = None,
        dest: str | Path | None = None,
        keep: bool | None = None,
        decompress: bool = False,
        on_error: Literal["row", "raise"] = "row",
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Return what a function makes of each file, one row for each, in the order of upload and path.

        It runs where joblib is configured to (loky, threading, Dask). Files are fetched in portions of at
        most 500 files or 1 GB while workers are at those before them.

        Parameters
        ----------
        function : callable
            Takes the path of a file on disk. A mapping that it returns gives a column for each of its
            names, ``None`` no value, and anything else a value in the column ``value``. What it returns must
            be picklable.
        n_jobs : int, optional
            How many workers, as for `joblib.Parallel`; -1 is one for each core.
        dest : str or Path, optional
            The folder for the files, in the layout ``"upload"``. Without, a folder that goes with them.
        keep : bool, optional
            Whether files stay after the function has ended; by default if there is a ``dest``.
        decompress, progress : bool
            As for `download`.
        on_error : {"row", "raise"}
            ``"raise"``: afterwards raise `IncompleteResult` if there is a row with an error.

        Returns
        -------
        pandas.DataFrame
            ``upload_id``, ``path``, ``entry_id``, the columns of the function, ``error``: what the function
            raised, or why the file is not here, else missing.

        Raises
        ------
        QueryError
            If the workers are processes and the function cannot be sent to them; before anything is asked.
        IncompleteResult
            After all others were mapped, if the files of some entries could not be listed, files stopped
            coming or the workers failed; ``error.results`` is the DataFrame.
        """
        check_function(function, n_jobs)
        if keep and dest is None:
            raise QueryError("keep=True keeps files in a folder: name it, dest=….")
        is_kept = dest is not None if keep is None else keep
        listed, files = self._found()
        target = temporary_folder() if dest is None else Path(dest).expanduser()
        try:
            brought = self._brought(
                DownloadFolder(target), decompress=decompress, keep=is_kept, progress=progress
            )
            frame = map_files(function, brought, n_jobs=n_jobs, keep=is_kept, on_error=on_error)
        finally:
            if dest is None:
                remove_folder(target)
        frame.attrs["nomadquery"] = {**self._facts(listed), "n_rows": len(frame)}
        if listed.missing:
            raise incomplete(Lost(entries=listed.missing), frame, len(files))
        return frame

    # -- reading it where it lies ----------------------------------------------------------

    def open(self, path: str, mode: Literal["rb", "r", "rt"] = "rb", *, encoding: str = "utf-8") -> IO[Any]:
        """Return one file to be read, as `open` does; only the bytes that are needed travel.

        Parameters
        ----------
        path : str
            The path in its upload, or its end: ``"OUTCAR"``; it must fit one file only.
        mode : {"rb", "r", "rt"}
            Bytes, or text.
        encoding : str
            Of a text.

        Raises
        ------
        NotFound, QueryError
            If no file, or more than one, has this path.
        """
        source = self._remote(path)
        if mode == "rb":
            return remote.opened(source, PurePosixPath(source.path).name, "rb")
        return remote.opened(source, PurePosixPath(source.path).name, mode, encoding=encoding)

    def head(self, path: str, size_bytes: int | str = 4096) -> bytes:
        """Return the first bytes of a file; ``path`` as for `open`, ``size_bytes`` also as ``"64 KiB"``."""
        return remote.head(self._remote(path), bytes_of(size_bytes))

    def tail(self, path: str, size_bytes: int | str = 4096) -> bytes:
        """Return the last bytes of a file; ``path`` as for `open`, ``size_bytes`` also as ``"64 KiB"``."""
        return remote.tail(self._remote(path), bytes_of(size_bytes))

    # -- inside ----------------------------------------------------------------------------

    def _found(self) -> tuple[Listed, tuple[RawFile, ...]]:
        if self._listed is None:
            self._listed = self._source.listed()
        return self._listed, chosen(self._listed.files, self._choice)

    def _facts(self, listed: Listed) -> dict[str, Any]:
        return {**listed.facts, "choice": str(self._choice)}

    def _downloader(self, target: Target, bounds: Bounds | None) -> Downloader:
        session = self._source.session
        return Downloader(
            session.open,
            target.into,
            target.places,
            self._source.owner,
            session.release(),
            utc_now,
            bounds or Bounds(),
        )

    def _brought(
        self, folder: DownloadFolder, *, decompress: bool, keep: bool, progress: bool | None
    ) -> Iterator[Here]:
        """Yield the files in their order, a portion of them fetched at a time."""
        listed, files = self._found()
        places = places_of(files, "upload", decompress=decompress)
        n_done = 0
        with Progress(progress, "raw files", "files") as bar:
            for portion in portions(files):
                some = Loose(folder, places.only(portion))
                with folder.lock():
                    plan, found = self._planned(some, route=None, verify=False)
                    _check_room(folder, plan)
                    fetch = self._downloader(some, None)
                    done, stopped = fetch.run(plan.legs, n_places=self._source.n_places, show=_show_nothing)
                    records = some.kept(found, done)
                    if keep and done.records:
                        self._note(folder, listed, records, is_complete=False)
                if stopped is not None:
                    raise stopped
                n_done += len(portion)
                bar.show(n_done, len(files))
                local = {(one.upload_id, one.path): folder.folder / one.local_path for one in records}
                why = {**plan.refused, **done.failed}
                for file in portion:
                    yield Here(file, local.get((file.upload_id, file.path)), why.get(file))

    def _planned(self, target: Target, *, route: Route | None, verify: bool) -> tuple[RawPlan, Found]:
        """Return the plan of a download, and what is there already."""
        listed, _ = self._found()
        found = target.found(verify=verify)
        wanted = [one for one in target.places.of if one not in found.here and one not in found.taken]
        plan = RawPlan(
            plan_legs(wanted, wholes_of(listed.files, listed.published), route=route),
            here=tuple(found.here),
            refused={**target.places.refused, **found.taken},
            missing=listed.missing,
            free_bytes=target.folder.free_bytes(),
            packing_bytes=target.packing_bytes(found),
            choice=str(self._choice),
        )
        return plan, found

    def _note(
        self, folder: DownloadFolder, listed: Listed, records: Sequence[Record], *, is_complete: bool
    ) -> None:
        """Write the manifest of a folder: what was there before, and what is there now."""
        ours = sorted({one.upload_id for one in records})
        download = {**self._facts(listed), "downloaded_at": utc_now()}
        facts = manifest_facts(folder.facts(), download, {one: listed.uploads.get(one, {}) for one in ours})
        before = [one for some in folder.known().values() for one in some]
        known = {(one.local_path, one.path): one for one in (*before, *records)}
        folder.write_manifest(known.values(), facts, is_complete=is_complete)

    def _remote(self, path: str) -> remote.RemoteFile:
        found = [one for one in self._found()[1] if one.path == path]
        found = found or [one for one in self._found()[1] if matches(one.path, _literal(path))]
        if not found:
            raise NotFound(
                f"None of these files {self._source.words} is called {path!r}. to_pandas() lists them."
            )
        if len(found) > 1:
            named = ", ".join(f"{one.upload_id}/{one.path}" for one in found[:_MOST_NAMED])
            raise QueryError(
                f"{len(found)} of these files are called {path!r}: {named}… Give a longer path, or choose "
                "one entry: nomad.entry(entry_id).raw()."
            )
        one = found[0]
        return remote.RemoteFile(self._source.session.send, one.upload_id, one.path, one.size_bytes)

    def _checked_places(self, max_workers: int | None) -> int:
        if max_workers is None or self._source.n_places == 0:
            return self._source.n_places
        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise QueryError(
                f"max_workers is a number of requests at once, 1 to {IN_FLIGHT}, not {max_workers!r}."
            )
        return min(max_workers, IN_FLIGHT)

    def _warn_of_nothing(self, listed: Listed) -> None:
        why = (
            f"none of {len(listed.files)} files fits ({self._choice})"
            if listed.files
            else "there are no files at all"
        )
        warnings.warn(f"Nothing was downloaded: {why}.", stacklevel=3)

    def __repr__(self) -> str:
        session = self._source.session
        return (
            f"<raw files {self._source.words} of {session.deployment.name}: {self._choice}; {self._state()}>"
        )

    def _repr_html_(self) -> str:
        if self._listed is None:
            return f"<pre>{escape(repr(self))}</pre>"
        files = self._found()[1]
        rows = "".join(
            f"<tr><td>{escape(one.upload_id)}</td><td>{escape(one.path)}</td>"
            f"<td>{escape(size_words(one.size_bytes))}</td></tr>"
            for one in files[:_MOST_SHOWN]
        )
        more = f"<p>and {len(files) - _MOST_SHOWN:,} more</p>" if len(files) > _MOST_SHOWN else ""
        head = "<tr><th>upload_id</th><th>path</th><th>size</th></tr>"
        return f"<p>{escape(repr(self))}</p><table>{head}{rows}</table>{more}"

    def _state(self) -> str:
        if self._listed is None:
            return "not listed yet"
        files = self._found()[1]
        return f"{len(files):,} files, {size_words(sum(one.size_bytes for one in files))}"


def _check_room(folder: DownloadFolder, plan: RawPlan) -> None:
    if plan.is_too_large:
        raise CacheError(
            f"{size_words(plan.room_bytes)} of room are needed, and the disk of {folder.folder} has "
            f"{size_words(plan.free_bytes or 0)} free. Make room, or choose fewer files or another folder."
        )


def _show_nothing(_n_done: int, _n_total: int) -> None:
    """The bar counts whole portions."""


def _check_options(layout: Layout, *, unpack: bool, decompress: bool) -> None:
    if layout not in _LAYOUTS:
        raise QueryError(f"layout is one of {', '.join(_LAYOUTS)}, not {layout!r}.")
    if decompress and not unpack:
        raise QueryError(
            "decompress=True unpacks .gz, .xz and .bz2 on the way to files of their own; with unpack=False "
            "they stay in a zip as they are. Leave one of the two out."
        )


def _target(
    folder: DownloadFolder, files: Sequence[RawFile], layout: Layout, *, unpack: bool, decompress: bool
) -> Target:
    if not unpack:
        return packed_target(folder, files)
    return Loose(folder, places_of(files, layout, decompress=decompress))


def _literal(path: str) -> str:
    """Return the pattern that fits ends of paths that are spelled so."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in path)
