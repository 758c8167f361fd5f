"""Whole archives of a search or of one entry: which ones, from which folder. Wiring only."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from nomadquery.asking import Wanted, drafted, read_one
from nomadquery.columns.archive import Archive
from nomadquery.columns.definitions import Declared
from nomadquery.columns.references import Home
from nomadquery.columns.required_check import check_required
from nomadquery.errors import CacheError, IncompleteResult, QueryError, TransportError
from nomadquery.fetch.archives import ArchiveReader, Required
from nomadquery.fetch.parallel import check_function, frame_of, in_words, mapped
from nomadquery.fetch.plan import Question, facts_of
from nomadquery.fetch.whole import Hit, WholeArchives, processed_text, utc_now
from nomadquery.fetch.wishes import Wishes
from nomadquery.inquiry import Inquiry
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.query import Query
from nomadquery.raw.names import safe
from nomadquery.session import Session
from nomadquery.store.archives import FORMAT, ArchiveStore
from nomadquery.store.cache import ARCHIVES
from nomadquery.store.files import holds, replacing
from nomadquery.store.view import View

if TYPE_CHECKING:
    import pandas as pd

#: What a person writes: ``"*"``, or NOMAD's JSON for a part of each archive.
RequiredWords = Mapping[str, Any] | Literal["*"]

_LISTED: Final = ("upload_id", "last_processing_time")


class Archives:
    """The archives of a search, one after the other; or, by `map`, what a function makes of each.

    An iterator: ``for archive in archives``, ``next(archives)``. Nothing is asked before the first one.
    """

    def __init__(self, listing: Inquiry, required: Required, wishes: Wishes) -> None:
        self._listing = listing
        self._required = required
        self._wishes = wishes
        self._stream = self._streamed()

    def __iter__(self) -> Iterator[Archive]:
        return self

    def __next__(self) -> Archive:
        return next(self._stream)

    def map(self, function: Callable[[Archive], Any], *, n_jobs: int | None = None) -> pd.DataFrame:
        """Return what a function makes of each archive, one row for each entry, in the order of the rows.

        It runs where joblib is configured to: ``with joblib.parallel_config(backend="loky", n_jobs=4)``,
        ``"threading"``, ``"dask"``. Archives are asked for, or read from the cache, in this process, and go
        to the workers in batches (at most 1,000 archives and, unless one alone is larger, 32 MB and the
        archive that fills it): while they work on one, the next is asked for. All archives of the search are
        mapped, also those that ``next`` has given. They come to the function as a pickled one does: with
        their JSON, without the client.

        Parameters
        ----------
        function : callable
            Takes an `Archive`. A mapping that it returns gives a column for each of its names, ``None`` no
            value, and anything else a value in the column ``value``. What it returns must be picklable.
        n_jobs : int, optional
            How many workers, as for `joblib.Parallel`; -1 is one for each core.

        Returns
        -------
        pandas.DataFrame
            ``entry_id``, the columns of the function, ``error``: class and message of what the function
            raised for this entry, else missing. pandas infers the dtypes.

        Raises
        ------
        QueryError
            If the workers are processes and the function cannot be sent to them; before anything is asked.
        IncompleteResult
            After all others were mapped, if archives could not be had or the workers failed:
            ``error.results`` is the DataFrame without them, ``error.missing`` has their ids, as far as known.
        """
        check_function(function, n_jobs)
        view, question = self._listing.viewed(self._wishes)
        items = (({"entry_id": one.entry_id}, one) for one in self._of(view, question))
        done = mapped(function, items, n_jobs=n_jobs)
        frame = frame_of(done.rows, ["entry_id"])
        frame.attrs["units"] = {}
        frame.attrs["nomadquery"] = {
            **facts_of(question, view.manifest),
            "n_rows": len(frame),
            "n_errors": int(frame["error"].notna().sum()),
            "required": self._required,
        }
        if done.stopped is not None:
            raise _unfinished(done.stopped, frame, view.manifest.n_rows, "mapped")
        return frame

    def download(self, dest: str | Path) -> pd.DataFrame:
        """Write each archive as a file ``<entry_id>.json`` into a folder; return where they are.

        Archives come from the cache, or are asked for and kept there, so that the same call goes on after
        any end. A file gets its name when all of it is written; one that holds the same already stays.

        Parameters
        ----------
        dest : str or Path
            The folder; made if it is not there.

        Returns
        -------
        pandas.DataFrame
            ``entry_id``, ``upload_id``, ``local_path``, ``size_bytes``, ``sha256``; one row for each archive,
            in their order.

        Raises
        ------
        IncompleteResult
            After all others were written, if archives could not be had: ``error.results`` is the DataFrame
            without them, ``error.missing`` has their ids.
        CacheError
            If the folder cannot be written, or the disk is full.
        """
        import pandas as pd

        folder = Path(dest).expanduser()
        view, question = self._listing.viewed(self._wishes)
        rows: list[dict[str, Any]] = []
        stopped: Exception | None = None
        try:
            rows.extend(_written(archive, folder) for archive in self._of(view, question))
        except (IncompleteResult, TransportError) as error:
            stopped = error
        texts = ("entry_id", "upload_id", "local_path", "sha256")
        frame = pd.DataFrame(rows, columns=["entry_id", "upload_id", "local_path", "size_bytes", "sha256"])
        frame = frame.astype({"size_bytes": "Int64", **dict.fromkeys(texts, "string")})
        frame.attrs["units"] = {"size_bytes": "byte"}
        frame.attrs["nomadquery"] = {**facts_of(question, view.manifest), "required": self._required}
        if stopped is not None:
            raise _unfinished(stopped, frame, view.manifest.n_rows, "written")
        return frame

    def _streamed(self) -> Iterator[Archive]:
        yield from self._of(*self._listing.viewed(self._wishes))

    def _of(self, view: View, question: Question) -> Iterator[Archive]:
        """Yield the archives of a listing."""
        n_hits = view.manifest.n_rows
        if not n_hits:
            warnings.warn(
                f"No entry matches {self._listing.query!r}. search.narrowing() shows which criterion leaves "
                "nothing.",
                stacklevel=2,
            )
            return
        wishes = self._wishes
        whole = _whole(
            self._listing.session,
            question,
            self._required,
            wishes,
            since=str(view.manifest.facts.get("begun_at")),
            trusts_times=not wishes.refresh and question.state is None,
        )
        yield from whole.stream(_hits(view), n_hits, progress=wishes.progress)


def _written(archive: Archive, folder: Path) -> dict[str, Any]:
    """Write an archive to its file unless that holds it; return the row about it."""
    path = folder / f"{safe(archive.entry_id)}.json"
    content = json.dumps(archive.data, separators=(",", ":"), ensure_ascii=False).encode()
    if not holds(path, content):
        with replacing(path, advice="Give another folder.") as stream:
            stream.write(content)
    return {
        "entry_id": archive.entry_id,
        "upload_id": archive.upload_id,
        "local_path": str(path),
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def checked_required(required: object, session: Session) -> Required:
    """Return the ``required`` as plain JSON, or say why NOMAD would refuse or misread it.

    Raises
    ------
    QueryError
        See `check_required`.
    """
    release = session.release()
    check_required(required, catalogue_for(release), release)
    return cast(Required, json.loads(json.dumps(required)))


def archives_of_hits(inquiry: Inquiry, required: RequiredWords, wishes: Wishes) -> Archives:
    """Return the archives of the hits, in the order of the listing; what is asked is checked at once.

    Raises
    ------
    QueryError
        If NOMAD would refuse or misread ``required``, or rows are to be left out.
    """
    if inquiry.wanted.needed:
        raise QueryError(
            "archives() gives the archive of every entry, and drop_missing is about rows of a table. Leave "
            "it out, or take the entries of the DataFrame: nomad.entries(Q.entry_id.isin(df)).archives()."
        )
    checked = checked_required(required, inquiry.session)
    columns = tuple(read_one(name, None) for name in _LISTED)
    wanted = replace(inquiry.wanted, columns=columns, is_chosen=True, per=None)
    return Archives(replace(inquiry, wanted=wanted), checked, wishes)


def archive_of_entry(
    session: Session,
    entry_id: str,
    metadata: Callable[[], Mapping[str, Any]],
    required: RequiredWords,
    wishes: Wishes,
) -> Archive:
    """Return the archive of one entry; ``metadata`` is asked for unless it is offline."""
    checked = checked_required(required, session)
    question = drafted(session, Query(), Wanted(session.owner(None), ()))
    is_trusted = not wishes.refresh and question.state is None
    whole = _whole(session, question, checked, wishes, since=utc_now(), trusts_times=is_trusted)
    if wishes.offline:
        kept = whole.store.index().get(entry_id)
        upload_id = "" if kept is None else kept.upload_id
        return next(whole.stream([Hit(entry_id, upload_id, None)], 1, progress=False))
    known = metadata()
    processed_at = processed_text(known.get("last_processing_time"))
    hit = Hit(entry_id, str(known.get("upload_id", "")), processed_at)
    (archive,) = whole.stream([hit], 1, progress=wishes.progress)
    return archive


def _unfinished(error: Exception, frame: pd.DataFrame, n_hits: int, was_done: str) -> Exception:
    """Return the error with the rows that there are of what ``was_done``; without any, as it is."""
    if isinstance(error, IncompleteResult):
        error.results = frame
        error.add_note(f"What was {was_done} of the others stands in error.results.")
        return error
    if frame.empty:
        return error
    incomplete = IncompleteResult(
        f"{len(frame)} of {n_hits} archives were {was_done}, then it stopped: {in_words(error)} What was "
        f"{was_done} stands in error.results; the archives that arrived are kept.",
        n_arrived=len(frame),
        n_missing=n_hits - len(frame),
        results=frame,
    )
    incomplete.__cause__ = error
    return incomplete


def _hits(view: View) -> Iterator[Hit]:
    for batch in view.batches():
        for row in batch.to_pylist():
            moment = processed_text(row["last_processing_time"])
            yield Hit(row["entry_id"], row["upload_id"] or "", moment)


def _whole(
    session: Session,
    question: Question,
    required: Required,
    wishes: Wishes,
    *,
    since: str,
    trusts_times: bool,
) -> WholeArchives:
    request = {
        "deployment": question.deployment,
        "owner": question.owner,
        "user": question.user,
        "required": required,
    }
    text = json.dumps({"format": FORMAT, **request}, sort_keys=True, separators=(",", ":"))
    key = hashlib.sha256(text.encode()).hexdigest()[:32]

    def writable() -> ArchiveStore:
        return ArchiveStore(session.writable_store(key).folder.parents[1] / ARCHIVES / key)

    def declared(m_def: str, home: Home, names: tuple[str, ...]) -> Declared | None:
        try:
            return session.declared(m_def, home, names)
        except CacheError:  # offline: only what is shipped is known
            return None

    return WholeArchives(
        reader=ArchiveReader(session.send, question, catalogue_for(question.release), declared),
        store=ArchiveStore(session.kept_store(key).folder.parents[1] / ARCHIVES / key),
        writable=writable,
        request=request,
        required=required,
        since=since,
        trusts_times=trusts_times,
        offline=wishes.offline,
    )
