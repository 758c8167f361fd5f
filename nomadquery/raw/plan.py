"""How files will be fetched: for each upload the cheapest of three routes, decided before anything is sent.

All routes give the same bytes. What each costs is estimated from NOMAD's documented limits and from what
users measured at the public installation in 2026; it only decides between routes, so being wrong by half
does no harm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from nomadquery.errors import QueryError
from nomadquery.http.pace import IN_FLIGHT, REQUESTS_PER_S
from nomadquery.raw.files import RawFile, size_words

Route = Literal["files", "batches", "upload"]
ROUTES: Final[tuple[Route, ...]] = ("files", "batches", "upload")

#: Files and bytes of one zip by query: it cannot be gone on with, so what a failure costs is bounded.
BATCH_FILES: Final = 200
BATCH_BYTES: Final = 64 << 20

#: Single files; not measured, and limited by nothing that is known but the requests.
FILES_BYTES_PER_S: Final = 10e6
#: What a request for one file takes, of which `IN_FLIGHT` run at once.
FILE_S: Final = 0.2
#: ``entries/raw/query``: users measured about 0.3 MB/s, and some 5 s from one request to the next.
BATCH_BYTES_PER_S: Final = 0.3e6
BATCH_S: Final = 5.0
#: ``uploads/{id}/raw``: a stored file, 15 to 30 MB/s.
UPLOAD_BYTES_PER_S: Final = 15e6
UPLOAD_S: Final = 1.0
#: The end of the zip, its directory, and the first run of members.
UPLOAD_REQUESTS: Final = 3


@dataclass(frozen=True, slots=True)
class Whole:
    """What is known of an upload beside the files that are wanted.

    Attributes
    ----------
    n_files, n_bytes : int
        All files that were listed of it.
    is_published : bool
        Whether it has a stored zip.
    """

    n_files: int
    n_bytes: int
    is_published: bool


@dataclass(frozen=True, slots=True)
class Leg:
    """The files of one upload that go one way.

    Attributes
    ----------
    upload_id : str
    route : {"files", "batches", "upload"}
    files : tuple of RawFile
        In the order of their paths.
    n_requests : int
        About so many.
    seconds : float
        About so long, if nothing else went on.
    """

    upload_id: str
    route: Route
    files: tuple[RawFile, ...]
    n_requests: int
    seconds: float

    @property
    def n_bytes(self) -> int:
        """Bytes of its files."""
        return sum(one.size_bytes for one in self.files)


@dataclass(frozen=True, slots=True)
class RawPlan:
    """What a download will do; prints well.

    Attributes
    ----------
    legs : tuple of Leg
    here : tuple of RawFile
        Files that are in the folder already, and are not asked for.
    refused : mapping of RawFile to str
        Files that will not be written, and why.
    missing : mapping of str to str
        Entries whose files could not be listed, and why.
    free_bytes : int or None
        Of the disk, where a folder was named.
    packing_bytes : int
        Room that is needed beside the files while the largest zip is made of them.
    choice : str
        Which files were asked for, in words.
    """

    legs: tuple[Leg, ...]
    here: tuple[RawFile, ...] = ()
    refused: Mapping[RawFile, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    free_bytes: int | None = None
    packing_bytes: int = 0
    choice: str = "all files"

    @property
    def files(self) -> tuple[RawFile, ...]:
        """The files to fetch."""
        return tuple(one for leg in self.legs for one in leg.files)

    @property
    def n_files(self) -> int:
        """Files to fetch."""
        return sum(len(leg.files) for leg in self.legs)

    @property
    def n_bytes(self) -> int:
        """Bytes to fetch."""
        return sum(leg.n_bytes for leg in self.legs)

    @property
    def n_requests(self) -> int:
        """Requests, about."""
        return sum(leg.n_requests for leg in self.legs)

    @property
    def seconds(self) -> float:
        """How long it takes, about: the routes share pace and line, so their times add up."""
        return sum(leg.seconds for leg in self.legs)

    @property
    def room_bytes(self) -> int:
        """The room that is needed on the disk."""
        return self.n_bytes + self.packing_bytes

    @property
    def is_too_large(self) -> bool:
        """Whether the disk has less room than the files need."""
        return self.free_bytes is not None and self.room_bytes > self.free_bytes

    def __str__(self) -> str:
        lines = [
            f"raw files: {self.choice}",
            f"  to fetch  {self.n_files:,} files, {size_words(self.n_bytes)}, "
            f"about {self.n_requests:,} requests and {_duration(self.seconds)}",
        ]
        for route in ROUTES:
            legs = [leg for leg in self.legs if leg.route == route]
            if legs:
                n_files = sum(len(leg.files) for leg in legs)
                n_bytes = sum(leg.n_bytes for leg in legs)
                lines.append(
                    f"  {route:<8}  {n_files:,} files, {size_words(n_bytes)} of {_uploads(len(legs))}: "
                    f"{_WORDS[route]}"
                )
        if self.here:
            lines.append(f"  here      {len(self.here):,} files, {size_words(_sum(self.here))}")
        if self.packing_bytes:
            lines.append(f"  packing   {size_words(self.packing_bytes)} more while a zip is made")
        if self.free_bytes is not None:
            short = " (too little)" if self.is_too_large else ""
            lines.append(f"  free      {size_words(self.free_bytes)} on the disk{short}")
        lines += [f"  refused   {one.path!r} of {one.upload_id}: {self.refused[one]}" for one in self.refused]
        lines += [f"  missing   entry {one}: {self.missing[one]}" for one in self.missing]
        return "\n".join(lines)


_WORDS: Final[Mapping[Route, str]] = {
    "files": "one request a file",
    "batches": "zips of some files each, by query",
    "upload": "out of the stored zip",
}


def plan_legs(
    files: Iterable[RawFile], uploads: Mapping[str, Whole], *, route: Route | None = None
) -> tuple[Leg, ...]:
    """Return which way each file goes: for each upload the cheapest, or ``route`` where that can be gone.

    Each file is in exactly one leg. By query only files of entries can be had, and the stored zip only of
    published uploads; what cannot go the chosen way goes file by file.

    Raises
    ------
    QueryError
        If there is no such route.
    """
    if route is not None and route not in ROUTES:
        raise QueryError(
            f"route is one of {', '.join(ROUTES)}, not {route!r}; leave it out for the cheapest."
        )
    legs: list[Leg] = []
    by_upload: defaultdict[str, list[RawFile]] = defaultdict(list)
    for file in files:
        by_upload[file.upload_id].append(file)
    for upload_id in sorted(by_upload):
        wanted = tuple(sorted(by_upload[upload_id], key=lambda one: one.path))
        whole = uploads.get(upload_id, Whole(len(wanted), _sum(wanted), False))
        choices = [_legs(upload_id, one, wanted, whole) for one in (ROUTES if route is None else (route,))]
        legs += min(choices, key=lambda some: sum(leg.seconds for leg in some))
    return tuple(legs)


def _legs(upload_id: str, route: Route, files: Sequence[RawFile], whole: Whole) -> list[Leg]:
    """Return the legs of an upload if a route is gone where it can be."""
    can = [one for one in files if _can_go(route, one, whole)]
    cannot = [one for one in files if not _can_go(route, one, whole)]
    parts: list[tuple[Route, list[RawFile]]] = [(route, can), ("files", cannot)]
    return [Leg(upload_id, way, tuple(some), *_cost(way, some, whole)) for way, some in parts if some]


def _can_go(route: Route, file: RawFile, whole: Whole) -> bool:
    match route:
        case "files":
            return True
        case "batches":
            return bool(file.entry_ids)
        case "upload":
            return whole.is_published


def _cost(route: Route, files: Sequence[RawFile], whole: Whole) -> tuple[int, float]:
    """Return requests and seconds, about."""
    n_files, n_bytes = len(files), _sum(files)
    match route:
        case "files":
            per_file_s = max(1 / REQUESTS_PER_S, FILE_S / IN_FLIGHT)
            return n_files, max(FILE_S, n_files * per_file_s) + n_bytes / FILES_BYTES_PER_S
        case "batches":
            n_requests = len(batches_of(files))
            return n_requests, n_requests * BATCH_S + n_bytes / BATCH_BYTES_PER_S
        case "upload":
            # members beside each other come with one request; how many stand alone, only the directory tells
            n_apart = min(n_files, max(0, whole.n_files - n_files))
            n_requests = UPLOAD_REQUESTS + n_apart
            time_s = UPLOAD_S + n_requests * FILE_S + n_bytes / UPLOAD_BYTES_PER_S
            return n_requests, time_s


def batches_of(files: Sequence[RawFile]) -> list[tuple[RawFile, ...]]:
    """Return files in batches of bounded number and size, in their order; a large one stands alone."""
    batches: list[tuple[RawFile, ...]] = []
    batch: list[RawFile] = []
    n_bytes = 0
    for file in files:
        if batch and (len(batch) == BATCH_FILES or n_bytes + file.size_bytes > BATCH_BYTES):
            batches.append(tuple(batch))
            batch, n_bytes = [], 0
        batch.append(file)
        n_bytes += file.size_bytes
    return [*batches, tuple(batch)] if batch else batches


def wholes_of(files: Iterable[RawFile], published: Mapping[str, bool]) -> dict[str, Whole]:
    """Return what is known of each upload, from all files that were listed of it."""
    by_upload: defaultdict[str, list[RawFile]] = defaultdict(list)
    for file in files:
        by_upload[file.upload_id].append(file)
    return {one: Whole(len(some), _sum(some), published.get(one, False)) for one, some in by_upload.items()}


def _sum(files: Iterable[RawFile]) -> int:
    return sum(one.size_bytes for one in files)


def _uploads(n: int) -> str:
    return "1 upload" if n == 1 else f"{n:,} uploads"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
