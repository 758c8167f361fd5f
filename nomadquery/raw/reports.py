"""What listing and downloading give: DataFrames, what the manifest says, the error that names the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nomadquery.errors import DownloadTruncated, IncompleteResult
from nomadquery.raw.files import RawFile
from nomadquery.store.downloads import Record

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Lost:
    """What did not come, and why.

    Attributes
    ----------
    files : mapping of RawFile to str
    entries : mapping of str to str
        Entries whose files could not be listed.
    cut : frozenset of RawFile
        Files that came, but not as they are listed.
    stopped : Exception or None
        What ended the download before its end.
    """

    files: Mapping[RawFile, str] = field(default_factory=dict)
    entries: Mapping[str, str] = field(default_factory=dict)
    cut: frozenset[RawFile] = frozenset()
    stopped: Exception | None = None

    def __bool__(self) -> bool:
        return bool(self.files or self.entries or self.stopped)


def listed_frame(files: Sequence[RawFile], facts: Mapping[str, Any]) -> pd.DataFrame:
    """Return files as a DataFrame, one row each; ``facts`` say where it comes from."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "entry_id": _texts([one.entry_id for one in files]),
            "upload_id": _texts([one.upload_id for one in files]),
            "path": _texts([one.path for one in files]),
            "size_bytes": pd.array([one.size_bytes for one in files], dtype="Int64"),
            "mainfile": pd.array([bool(one.mainfile_of) for one in files], dtype="boolean"),
            "entry_ids": pd.Series([list(one.entry_ids) for one in files], dtype=object),
        }
    )
    return _with_facts(frame, facts)


def downloaded_frame(folder: Path, records: Sequence[Record], facts: Mapping[str, Any]) -> pd.DataFrame:
    """Return downloaded files as a DataFrame, one row each, in the order of their names.

    A file in a zip has the local path of the zip, and its own size.
    """
    import pandas as pd

    rows = sorted(records, key=lambda one: (one.local_path, one.path))
    sizes = [one.size_bytes if one.is_packed else one.local_bytes for one in rows]
    frame = pd.DataFrame(
        {
            "entry_id": _texts([one.entry_id for one in rows]),
            "upload_id": _texts([one.upload_id for one in rows]),
            "path": _texts([one.path for one in rows]),
            "local_path": _texts([str(folder / one.local_path) for one in rows]),
            "size_bytes": pd.array(sizes, dtype="Int64"),
            "sha256": _texts([one.sha256 for one in rows]),
        }
    )
    return _with_facts(frame, facts)


def manifest_facts(
    known: Mapping[str, Any], download: Mapping[str, Any], uploads: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the manifest says beside its files: each download; licence and authors of each upload."""
    return {
        "uploads": {**known.get("uploads", {}), **uploads},
        "downloads": [*known.get("downloads", []), dict(download)],
    }


def incomplete(lost: Lost, frame: pd.DataFrame, n_files: int) -> IncompleteResult:
    """Return the error that names what did not come of ``n_files``; the rest stands in its results."""
    failed = {f"{one.upload_id}/{one.path}": why for one, why in lost.files.items()}
    reasons = {**failed, **{f"entry {one}": why for one, why in lost.entries.items()}}
    named = "; ".join(f"{one}: {why}" for one, why in list(reasons.items())[:_MOST_NAMED])
    more = "; …" if len(reasons) > _MOST_NAMED else ""
    unlisted = f", and the files of {len(lost.entries)} entries not listed" if lost.entries else ""
    n_missing = len(reasons)
    if lost.stopped is None:
        start = (
            f"{len(failed)} of {n_files} files could not be had{unlisted}; all others are here. {named}{more}"
        )
    else:
        n_missing = max(n_missing, n_files - len(frame))
        start = f"{len(frame)} files are here, then it stopped: {lost.stopped} {named}{more}".rstrip()
    is_cut = bool(lost.cut) and set(lost.files) == lost.cut and not lost.entries and lost.stopped is None
    kind = DownloadTruncated if is_cut else IncompleteResult
    error = kind(
        f"{start} The same call asks again for what is missing; error.missing names it.",
        n_arrived=len(frame),
        n_missing=n_missing,
        missing=(*failed, *lost.entries),
        why=next(iter(reasons.values()), str(lost.stopped or "")),
        results=frame,
    )
    error.__cause__ = lost.stopped
    return error


def _texts(values: list[Any]) -> Any:
    import pandas as pd

    return pd.array(values, dtype="string")


def _with_facts(frame: pd.DataFrame, facts: Mapping[str, Any]) -> pd.DataFrame:
    frame.attrs["units"] = {"size_bytes": "byte"}
    frame.attrs["nomadquery"] = {**facts, "n_rows": len(frame)}
    return frame
