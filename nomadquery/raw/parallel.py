"""A function over files that are here: one row for each file, in their order, by joblib as it is configured.

Files come from an iterable, so that they can be fetched while workers parse those before them, and deleted as
soon as they are parsed: what lies on the disk then is bounded, however many files there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from nomadquery.errors import IncompleteResult
from nomadquery.fetch.parallel import Mapped, Row, check_function, frame_of, in_words, mapped
from nomadquery.raw.files import RawFile
from nomadquery.store.files import remove_file

if TYPE_CHECKING:
    import pandas as pd

#: Columns that are always there, before those of the function.
KEYS: Final = ("upload_id", "path", "entry_id")

#: Files that are on the disk at once, where they are deleted when parsed: two portions of so many.
PORTION_FILES: Final = 500
PORTION_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Here:
    """A file that was to be fetched.

    Attributes
    ----------
    file : RawFile
    local_path : Path or None
        Where it is; ``None`` if it could not be had.
    error : str or None
        Why not.
    """

    file: RawFile
    local_path: Path | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Local:
    """What goes to a worker."""

    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker does with a file."""

    function: Callable[[Path], Any]
    keep: bool

    def __call__(self, local: _Local) -> Any:
        try:
            return self.function(local.path)
        finally:
            if not self.keep:
                remove_file(local.path)


def portions(
    files: Sequence[RawFile], *, most_files: int = PORTION_FILES, most_bytes: int = PORTION_BYTES
) -> Iterator[tuple[RawFile, ...]]:
    """Yield the files in their order, in parts of at most so many and so many bytes; a large one is alone."""
    part: list[RawFile] = []
    n_bytes = 0
    for file in files:
        if part and (len(part) == most_files or n_bytes + file.size_bytes > most_bytes):
            yield tuple(part)
            part, n_bytes = [], 0
        part.append(file)
        n_bytes += file.size_bytes
    if part:
        yield tuple(part)


def map_files(
    function: Callable[[Path], Any],
    files: Iterable[Here],
    *,
    n_jobs: int | None = None,
    keep: bool = True,
    on_error: Literal["row", "raise"] = "row",
) -> pd.DataFrame:
    """Return what a function makes of each file, one row for each, in their order.

    It runs where joblib is configured to (``joblib.parallel_config``: loky, threading, Dask); workers must
    see the disk of this process. A file that cannot be had, or over which the function fails, is a row with
    the error.

    Parameters
    ----------
    function : callable
        Takes the path of a file on disk. A mapping that it returns gives a column for each of its names,
        ``None`` no value, and anything else a value in the column ``value``. What it returns must be
        picklable.
    files : iterable of Here
        Consumed by the calling thread while workers work.
    n_jobs : int, optional
        As for `joblib.Parallel`.
    keep : bool
        False: each file is deleted as soon as the function has ended, also if it failed.
    on_error : {"row", "raise"}
        ``"raise"``: afterwards raise `IncompleteResult` if there is a row with an error.

    Returns
    -------
    pandas.DataFrame
        ``upload_id``, ``path``, ``entry_id``, the columns of the function, ``error``: class and message of
        what the function raised, or why the file is not here, else missing.

    Raises
    ------
    QueryError
        If the workers are processes and the function cannot be sent to them; before anything is fetched.
    IncompleteResult
        After all others were mapped, if the workers failed or files stopped coming, or as ``on_error`` says;
        ``error.results`` is the DataFrame of those that were.
    """
    check_function(function, n_jobs)
    if on_error not in {"row", "raise"}:
        raise ValueError(f"on_error={on_error!r}: 'row' or 'raise'.")
    not_here: dict[int, Row] = {}
    done = mapped(
        _Work(function, keep),
        _items(files, not_here),
        n_jobs=n_jobs,
        weigh=lambda local: local.size_bytes,
        most_bytes=PORTION_BYTES,
    )
    rows = list(_woven(done.rows, not_here, is_whole=done.stopped is None))
    frame = frame_of(rows, KEYS)
    frame.attrs["units"] = {}
    _check(done, rows, frame, on_error)
    return frame


def _items(files: Iterable[Here], not_here: dict[int, Row]) -> Iterator[tuple[dict[str, str | None], _Local]]:
    """Yield the files that are here; keep a row for each that is not, by its place."""
    for place, one in enumerate(files):
        key = {"upload_id": one.file.upload_id, "path": one.file.path, "entry_id": one.file.entry_id}
        if one.local_path is None:
            not_here[place] = Row(key, {}, one.error or "it is not here")
        else:
            yield key, _Local(one.local_path, one.file.size_bytes)


def _woven(rows: Iterable[Row], not_here: dict[int, Row], *, is_whole: bool) -> Iterator[Row]:
    """Yield all rows in their order; after what ended them too early, none of those that are not here."""
    mapped_rows, place = iter(rows), 0
    while True:
        if place in not_here:
            yield not_here.pop(place)
        elif (row := next(mapped_rows, None)) is not None:
            yield row
        else:
            assert not not_here or not is_whole
            return
        place += 1


def _check(done: Mapped, rows: Sequence[Row], frame: pd.DataFrame, on_error: str) -> None:
    """Raise if something stopped before its end, or there is an error where none may be.

    Raises
    ------
    IncompleteResult
        If so, with what was mapped.
    """
    failed = [row for row in rows if row.error is not None]
    if done.stopped is not None:
        why = in_words(done.stopped)
        message = f"{len(rows)} files were mapped, then it stopped: {why}. error.results has those."
    elif failed and on_error == "raise":
        first, why = failed[0].key, str(failed[0].error)
        message = (
            f"There are errors at {len(failed)} of {len(rows)} files, first at {first['path']!r} of upload "
            f"{first['upload_id']}: {why}. error.results has all rows."
        )
    else:
        return
    missing = tuple(str(row.key["path"]) for row in failed)
    raise IncompleteResult(
        message,
        n_arrived=len(rows) - len(failed),
        n_missing=len(failed),
        missing=missing,
        why=why,
        results=frame,
    ) from done.stopped
