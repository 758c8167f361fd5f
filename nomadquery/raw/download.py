"""Files into a folder, by the routes of a plan: side by side, checked, and moved to their names when whole.

Each job runs in a thread of a crew: one file, one zip by query, or one stored upload. What a zip does not
give, for whatever reason, is asked for file by file; what a server refuses is named at the end, and the rest
arrives.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

from nomadquery.errors import (
    CacheError,
    DownloadTruncated,
    NomadError,
    RequestRefused,
    ResponseFormatError,
    ResultChanged,
    ServerFailure,
    TransportError,
    Unreachable,
    UnsafeContent,
)
from nomadquery.fetch.crew import Crew
from nomadquery.fetch.paging import in_short
from nomadquery.http.endpoints import Owner
from nomadquery.http.raw_endpoints import entries_zip, raw_file
from nomadquery.query.body import body
from nomadquery.query.criteria import HasAny, canonical
from nomadquery.raw.aside import Aside
from nomadquery.raw.bounds import Bounds
from nomadquery.raw.compressed import Decompressed
from nomadquery.raw.files import RawFile
from nomadquery.raw.placing import Place, Places
from nomadquery.raw.plan import Leg, Route, batches_of
from nomadquery.raw.stored import Open, StoredUpload
from nomadquery.raw.unpack import Info, directory, members, open_member
from nomadquery.store.downloads import DownloadFolder, Part, Record

_log = logging.getLogger(__name__)

BLOCK_BYTES: Final = 1 << 20
#: Failures without a byte between them, after which nobody goes on with a file.
_MOST_STALLS: Final = 3
#: Members of zips up to this are hashed when they are flushed: the system still has them in memory.
_HASHED_LATER_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """Some files of one upload, one way."""

    route: Route
    files: tuple[RawFile, ...]


@dataclass(slots=True)
class Done:
    """What became of a job.

    Attributes
    ----------
    records : list of Record
        Files that are here now.
    left : list of RawFile
        Files that this way did not give.
    failed : dict of RawFile to str
        Files that cannot be had, and why.
    cut : set of RawFile
        Those of them that came, but not as they are listed.
    """

    records: list[Record] = field(default_factory=list)
    left: list[RawFile] = field(default_factory=list)
    failed: dict[RawFile, str] = field(default_factory=dict)
    cut: set[RawFile] = field(default_factory=set)

    def add(self, other: Done) -> None:
        """Take over what became of another job."""
        self.records += other.records
        self.failed.update(other.failed)
        self.cut |= other.cut


class _Stopped(Exception):
    """The download was given up while a job was running."""


@dataclass(frozen=True, slots=True)
class Downloader:
    """Fetches files into a folder.

    Attributes
    ----------
    open : callable
        `Transport.open`.
    folder : DownloadFolder
    places : Places
    owner, release : str
        For queries.
    bounds : Bounds
        What packed content may unpack to.
    now : callable
        The time, in ISO form.
    """

    open: Open
    folder: DownloadFolder
    places: Places
    owner: str
    release: str
    now: Callable[[], str]
    bounds: Bounds = Bounds()  # noqa: RUF009 # frozen
    _over: threading.Event = field(default_factory=threading.Event)

    def run(
        self, legs: Iterable[Leg], *, n_places: int, show: Callable[[int, int], None]
    ) -> tuple[Done, NomadError | None]:
        """Return what became of all files, and what ended the download before its end, if anything did.

        Parameters
        ----------
        legs : iterable of Leg
        n_places : int
            Jobs at once; 0: one after the other, in this thread.
        show : callable
            Told how many files are done, of how many.
        """
        waiting = deque(_jobs(legs))
        total, done, stopped = sum(len(job.files) for job in waiting), Done(), None
        n_done = 0
        crew: Crew[Job, Done] = Crew(self.work, n_places)
        try:
            while (waiting and stopped is None) or crew.n_out:
                while waiting and stopped is None and crew.n_out < crew.n_places:
                    crew.give(waiting.popleft())
                brought = crew.take()
                if brought.answer is None:
                    if not isinstance(brought.failure, (TransportError, CacheError)):
                        raise cast(BaseException, brought.failure)
                    stopped = stopped or brought.failure
                    continue
                done.add(brought.answer)
                waiting.extend(Job("files", (one,)) for one in brought.answer.left)
                n_done += len(brought.job.files) - len(brought.answer.left)
                show(n_done, total)
        finally:
            self._over.set()
            while crew.n_out:  # nobody writes after the folder has been given free
                crew.take()
            crew.dismiss()
        return done, stopped

    def work(self, job: Job) -> Done:
        """Fetch the files of a job.

        Raises
        ------
        TransportError
            If the server cannot be reached, or not any more.
        CacheError
            If the folder cannot be written.
        """
        match job.route:
            case "files":
                return self._singly(job.files)
            case "batches":
                return self._by_query(job.files)
            case "upload":
                return self._from_stored(job.files)

    # -- one file a request ----------------------------------------------------------------

    def _singly(self, files: Sequence[RawFile]) -> Done:
        done = Done()
        for file in files:
            part = self.folder.part(file.upload_id, file.path, file.size_bytes, goes_on=True)
            try:
                self._stream(file, part)
            except (RequestRefused, ServerFailure) as error:
                part.discard()
                done.failed[file] = in_short(error)
                continue
            except BaseException:
                part.close()
                raise
            why = _difference(file, part)
            if why is None:
                self._keep(file, part, "files", done)
            else:
                part.discard()
                done.failed[file] = why
                done.cut.add(file)
        return done

    def _stream(self, file: RawFile, part: Part) -> None:
        """Write a file to its part, after a failure from the byte on that is missing."""
        n_stalls = 0
        while part.size_bytes < file.size_bytes:
            before, is_begun = part.size_bytes, False
            try:
                with self.open(raw_file(file.upload_id, file.path, offset=before)) as stream:
                    is_begun = True
                    self._copy(stream.read, file, part)
            except Unreachable:
                if not is_begun or (part.size_bytes == before and n_stalls == _MOST_STALLS - 1):
                    raise
            n_stalls = 0 if part.size_bytes > before else n_stalls + 1
            if n_stalls == _MOST_STALLS:
                return  # there is no more of it, whatever the list says
        if file.size_bytes == 0:
            with self.open(raw_file(file.upload_id, file.path)) as stream:
                self._copy(stream.read, file, part)

    def _copy(self, read: Callable[[int], bytes], file: RawFile, part: Part) -> None:
        """Write what comes, and no more than a block beyond the size that is listed."""
        while part.size_bytes <= file.size_bytes and (block := read(BLOCK_BYTES)):
            if self._over.is_set():
                raise _Stopped
            part.write(block)

    # -- a zip by query --------------------------------------------------------------------

    def _by_query(self, files: Sequence[RawFile]) -> Done:
        """Fetch files in one zip; they get their names when all of it was seen to be sound."""
        wanted = {f"{one.upload_id}/{one.path}": one for one in files}
        ids = tuple(sorted({str(one.entry_id) for one in files}))
        request = entries_zip(
            body(canonical(HasAny("entry_id", ids)), release=self.release),
            owner=cast(Owner, "visible" if self.owner == "all" else self.owner),
            paths=[one.path for one in files],
        )
        whole: list[tuple[RawFile, Part]] = []
        try:
            with Aside(Part.finish) as aside, self.open(request) as stream:
                sizes = {name: one.size_bytes for name, one in wanted.items()}
                for member in members(stream, self.bounds, sizes=sizes):
                    part = self._unpacked(wanted.get(member.name), member.read)
                    if part is not None:
                        whole.append((wanted[member.name], part))
                        aside.give(part)
        except UnsafeContent as error:
            _log.info("a zip by query is not trusted: %s", error)
            for _, part in whole:
                part.discard()
            whole = []
        except (RequestRefused, TransportError, ResponseFormatError, DownloadTruncated) as error:
            _log.info("a zip by query ended early: %s", error)
        except BaseException:
            for _, part in whole:
                part.close()
            raise
        done = Done()
        for file, part in whole:
            self._keep(file, part, "batches", done)
        arrived = {file for file, _ in whole}
        done.left = [one for one in files if one not in arrived]
        return done

    def _unpacked(self, file: RawFile | None, read: Callable[[int], bytes]) -> Part | None:
        """Return the part with the content of a member, if it is a file that is wanted, of the right size."""
        if file is None:
            return None
        is_small = file.size_bytes <= _HASHED_LATER_BYTES
        part = self.folder.part(file.upload_id, file.path, file.size_bytes, hashes_later=is_small)
        try:
            self._copy(read, file, part)
        except BaseException:
            part.discard()
            raise
        if _difference(file, part) is None:
            return part
        part.discard()
        return None

    # -- the stored zip --------------------------------------------------------------------

    def _from_stored(self, files: Sequence[RawFile]) -> Done:
        """Fetch members of the stored zip of a published upload, in the order in which they lie there."""
        done, upload_id = Done(), files[0].upload_id

        def keep(whole: tuple[RawFile, Part]) -> None:
            self._keep(*whole, "upload", done)

        try:
            with Aside(keep) as aside, StoredUpload(self.open, upload_id) as source:
                infos = {one.name: one for one in directory(source, self.bounds)}
                lying = [(infos[one.path], one) for one in files if _is_same(infos.get(one.path), one)]
                lying.sort(key=lambda pair: pair[0].offset)
                source.expect([(info.offset, info.end) for info, _ in lying])
                for info, file in lying:
                    part = self._member(source, info, file)
                    if part is not None:
                        aside.give((file, part))
        except (
            RequestRefused,
            TransportError,
            ResponseFormatError,
            UnsafeContent,
            DownloadTruncated,
            ResultChanged,
        ) as error:
            _log.info("the stored zip of upload %s is left: %s", upload_id, error)
        arrived = {one.path for one in done.records}
        done.left = [one for one in files if one.path not in arrived and one not in done.failed]
        return done

    def _member(self, source: StoredUpload, info: Info, file: RawFile) -> Part | None:
        """Return the part with the content of one member, unless it is not what the zip says of it."""
        try:
            return self._unpacked(file, open_member(source, info, self.bounds).read)
        except (ResponseFormatError, UnsafeContent) as error:
            _log.info("%s in the stored zip of upload %s is left: %s", file.path, file.upload_id, error)
            return None

    # -- what is here ----------------------------------------------------------------------

    def _keep(self, file: RawFile, part: Part, route: Route, done: Done) -> None:
        """Move a whole part to the first of its places, and copy it to the others."""
        if file in self.places.unpacked:
            try:
                part = self._decompressed(file, part)
            except (DownloadTruncated, ResponseFormatError, UnsafeContent) as error:
                part.discard()
                done.failed[file] = in_short(error)
                return
        first, *others = self.places.of[file]
        kept = self.folder.keep(part, partial(self._record, file, part, route, first))
        copies = [self.folder.copy(kept, partial(self._record, file, part, route, one)) for one in others]
        done.records += [kept, *copies]

    def _record(self, file: RawFile, part: Part, route: Route, place: Place, mtime_ns: int) -> Record:
        return Record(
            local_path=place.local_path,
            upload_id=file.upload_id,
            path=file.path,
            entry_id=place.entry_id,
            size_bytes=file.size_bytes,
            local_bytes=part.size_bytes,
            mtime_ns=mtime_ns,
            sha256=part.sha256,
            fetched_at=self.now(),
            route=route,
        )

    def _decompressed(self, file: RawFile, packed: Part) -> Part:
        """Return the part with the content that is packed in another, which goes.

        Raises
        ------
        UnsafeContent, ResponseFormatError, DownloadTruncated
            If it unpacks to more than the bounds; is not packed as its name says, or damaged; or ends early.
        """
        packed.finish()
        plain = self.folder.part(file.upload_id, f"{file.path}/", file.size_bytes)
        try:
            with packed.path.open("rb") as content:
                stream = Decompressed(content, file.path, self.bounds)
                while block := stream.read(BLOCK_BYTES):
                    plain.write(block)
        except BaseException:
            plain.discard()
            raise
        packed.discard()
        return plain


def _jobs(legs: Iterable[Leg]) -> list[Job]:
    """Return the jobs of a plan, the long ones first."""
    jobs: list[Job] = []
    for leg in legs:
        match leg.route:
            case "files":
                jobs += [Job("files", (one,)) for one in leg.files]
            case "batches":
                jobs += [Job("batches", batch) for batch in batches_of(leg.files)]
            case "upload":
                jobs.append(Job("upload", leg.files))
    return sorted(jobs, key=lambda job: job.route == "files")


def _is_same(info: Info | None, file: RawFile) -> bool:
    return info is not None and not info.is_folder and info.size_bytes == file.size_bytes


def _difference(file: RawFile, part: Part) -> str | None:
    """Return why a part cannot be the file, ``None`` if it is as long as listed."""
    if part.size_bytes == file.size_bytes:
        return None
    if part.size_bytes > file.size_bytes:
        return f"more came than the {file.size_bytes} bytes that the server lists"
    return f"{part.size_bytes} of the {file.size_bytes} bytes came that the server lists"
