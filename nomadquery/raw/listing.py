"""All raw files of some entries, or of an upload: listed once each, and known to be all of them.

The files of an entry are those in the folder of its mainfile. Entries that share a folder share its files, so
one of them is asked about for all; a listed entry ends with its mainfile among the files, or is named in
`Listing.missing` with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from nomadquery.errors import (
    IncompleteResult,
    InvalidRequest,
    NotFound,
    ServerFailure,
    Unreachable,
)
from nomadquery.fetch.crew import Crew, ended
from nomadquery.fetch.paging import in_short, is_too_slow
from nomadquery.http.endpoints import Owner
from nomadquery.http.message import Reply, Request
from nomadquery.http.raw_endpoints import (
    FolderItem,
    FolderPage,
    ListedFile,
    entries_rawdir,
    parse_entries_rawdir,
    parse_upload_folder,
    upload_folder,
)
from nomadquery.query.body import body
from nomadquery.query.criteria import HasAny, canonical
from nomadquery.raw.files import RawFile

Send = Callable[[Request], Reply]
Show = Callable[[int, int | None], None]

#: Folders that are asked about in one request: the server opens an upload for each.
FOLDERS_AT_ONCE: Final = 100
#: How a server fails over one entry among many: an upload without files (404), or an answer too large.
_REFUSED: Final = frozenset({400, 404, 413, 500})
_NOT_GIVEN: Final = "the server lists no files of it: there is no such entry, or its files may not be read"

#: An upload and a folder in it.
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """An entry whose files are wanted; ``mainfile`` is a path in the upload."""

    entry_id: str
    upload_id: str
    mainfile: str

    @property
    def place(self) -> Place:
        """The folder in which its files lie."""
        return self.upload_id, self.mainfile.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Listing:
    """The files there are.

    Attributes
    ----------
    files : tuple of RawFile
        In the order of upload and path, each once.
    missing : mapping
        Entry id → why its files could not be listed, or its mainfile is not among them.
    """

    files: tuple[RawFile, ...]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Answered:
    """What was said about some entries: the files of each, or why there are none."""

    files: Mapping[str, Sequence[ListedFile]]
    refused: Mapping[str, str]


def list_entries(
    send: Send,
    entries: Iterable[ListedEntry],
    *,
    owner: str,
    release: str,
    n_places: int = 0,
    show: Show | None = None,
) -> Listing:
    """Return all files of some entries; requests go side by side, a hundred folders each.

    Parameters
    ----------
    send : callable
        Sends a request and returns its whole answer.
    owner : str
        Whose entries; ``"all"`` lists what is ``"visible"``, as NOMAD gives no files for it.
    n_places : int
        Requests at once; 0: one after the other, in this thread.
    show : callable, optional
        Told how many folders are listed, of how many.

    Raises
    ------
    TransportError, RequestRefused, ResponseFormatError
        If the server fails over all, not over some of them.
    """
    by_place: defaultdict[Place, list[ListedEntry]] = defaultdict(list)
    for entry in entries:
        by_place[entry.place].append(entry)
    places = sorted(by_place)
    found: dict[Place, Sequence[ListedFile]] = {}
    refused: dict[str, str] = {}

    def ask(ids: Sequence[str]) -> _Answered:
        return _asked(send, ids, cast(Owner, "visible" if owner == "all" else owner), release)

    # one entry speaks for its folder; where it is not given, all others of the folder are tried
    place_of = {by_place[place][0].entry_id: place for place in places}
    for attempt in range(2):
        for answered in _side_by_side(ask, _batches(list(place_of)), n_places):
            found.update((place_of[one], files) for one, files in answered.files.items() if one in place_of)
            refused.update(answered.refused)
            if show is not None:
                show(len(found), len(places))
        left = [place for place in places if place not in found]
        place_of = {one.entry_id: place for place in left for one in by_place[place][1:]}
        if attempt or not place_of:
            break
    return _listing(by_place, found, refused)


def list_upload(
    send: Send, upload_id: str, *, n_places: int = 0, show: Show | None = None
) -> tuple[RawFile, ...]:
    """Return all files of an upload, those of no entry included, in the order of their paths.

    One request for each folder, and ten thousand items.

    Raises
    ------
    NotFound, NotPermitted, NotAuthenticated
        If there is no such upload, or it may not be read.
    IncompleteResult
        If the server says that a folder has more items than it lists.
    """
    crew: Crew[tuple[str, str | None], FolderPage] = Crew(
        lambda job: parse_upload_folder(send(upload_folder(upload_id, job[0], after=job[1]))), n_places
    )
    items: defaultdict[str, list[FolderItem]] = defaultdict(list)
    waiting: list[tuple[str, str | None]] = [("", None)]
    n_done = 0
    try:
        while waiting or crew.n_out:
            while waiting and crew.n_out < crew.n_places:
                crew.give(waiting.pop())
            brought = crew.take()
            (folder, _), page = brought.job, ended(brought)
            items[folder] += page.items
            waiting += [(f"{folder}/{one.name}".lstrip("/"), None) for one in page.items if not one.is_file]
            if page.next_after is not None and page.items:
                waiting.append((folder, page.next_after))
            else:
                _check_whole(upload_id, folder, items[folder], page.total)
                n_done += 1
            if show is not None:
                show(n_done, None)
    finally:
        crew.dismiss()
    files = (one for folder, inside in items.items() for one in _files_in(upload_id, folder, inside))
    return tuple(sorted(files, key=lambda file: file.path))


def _batches(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + FOLDERS_AT_ONCE] for start in range(0, len(ids), FOLDERS_AT_ONCE)]


def _side_by_side(
    ask: Callable[[Sequence[str]], _Answered], batches: Sequence[Sequence[str]], n_places: int
) -> Iterator[_Answered]:
    crew: Crew[Sequence[str], _Answered] = Crew(ask, n_places)
    waiting = list(reversed(batches))
    try:
        while waiting or crew.n_out:
            while waiting and crew.n_out < crew.n_places:
                crew.give(waiting.pop())
            yield ended(crew.take())
    finally:
        crew.dismiss()


def _asked(send: Send, ids: Sequence[str], owner: Owner, release: str) -> _Answered:
    """Return the files of some entries; halve around one that the server cannot list."""
    query = body(canonical(HasAny("entry_id", tuple(ids))), release=release)
    try:
        reply = send(entries_rawdir(query, owner=owner, page_size=len(ids), is_divisible=len(ids) > 1))
    except (InvalidRequest, NotFound, ServerFailure, Unreachable) as error:
        is_slow = is_too_slow(error)
        if not is_slow and getattr(error, "status", None) not in _REFUSED:
            raise
        if len(ids) == 1:
            if is_slow:
                raise
            return _Answered({}, {ids[0]: f"the server could not list its files: {in_short(error)}"})
        middle = len(ids) // 2
        first, second = (_asked(send, part, owner, release) for part in (ids[:middle], ids[middle:]))
        return _Answered({**first.files, **second.files}, {**first.refused, **second.refused})
    entries, _ = parse_entries_rawdir(reply)
    files = {one.entry_id: one.files for one in entries}
    return _Answered(files, {one: _NOT_GIVEN for one in ids if one not in files})


def _listing(
    by_place: Mapping[Place, Sequence[ListedEntry]],
    found: Mapping[Place, Sequence[ListedFile]],
    refused: Mapping[str, str],
) -> Listing:
    """Return the files of all folders, with the entries of each."""
    files: list[RawFile] = []
    missing: dict[str, str] = {}
    for place, entries in by_place.items():
        if place not in found:
            reason = next((refused[one.entry_id] for one in entries if one.entry_id in refused), _NOT_GIVEN)
            missing.update((one.entry_id, refused.get(one.entry_id, reason)) for one in entries)
            continue
        sizes = {one.path: one.size for one in found[place]}
        all_ids = tuple(dict.fromkeys(one.entry_id for one in entries))
        mains: defaultdict[str, list[str]] = defaultdict(list)
        for one in entries:
            mains[one.mainfile].append(one.entry_id)
            if one.mainfile not in sizes:
                missing[one.entry_id] = f"its mainfile {one.mainfile!r} is not among the files of the upload"
        files += [
            RawFile(place[0], path, size, all_ids, tuple(mains.get(path, ()))) for path, size in sizes.items()
        ]
    return Listing(tuple(sorted(files, key=lambda one: (one.upload_id, one.path))), missing)


def _files_in(upload_id: str, folder: str, items: Sequence[FolderItem]) -> Iterator[RawFile]:
    """Yield the files of a folder; all entries whose mainfile lies in it have them."""
    files = {one.name: one for one in items if one.is_file}
    entry_ids = tuple(one.entry_id for one in files.values() if one.entry_id is not None)
    for one in files.values():
        mains = () if one.entry_id is None else (one.entry_id,)
        yield RawFile(upload_id, f"{folder}/{one.name}".lstrip("/"), one.size, entry_ids, mains)


def _check_whole(upload_id: str, folder: str, items: Sequence[FolderItem], total: int) -> None:
    n_listed = len({one.name for one in items})
    if n_listed == total:
        return
    raise IncompleteResult(
        f"The server counts {total} items in the folder {folder or '/'!r} of upload {upload_id} and lists "
        f"{n_listed}: the upload was changed meanwhile, or the server is at fault. Try again.",
        n_arrived=n_listed,
        n_missing=max(0, total - n_listed),
    )
