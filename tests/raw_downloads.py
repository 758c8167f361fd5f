"""Downloads of small uploads from a server on real sockets, with its own time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nomadquery.errors import CacheError, NomadError
from nomadquery.raw.bounds import Bounds
from nomadquery.raw.download import Done, Downloader
from nomadquery.raw.files import RawFile
from nomadquery.raw.listing import ListedEntry, list_entries
from nomadquery.raw.names import Layout
from nomadquery.raw.placing import here_already, places_of, taken_by_others
from nomadquery.raw.plan import Route, plan_legs, wholes_of
from nomadquery.raw.targets import packed_target
from nomadquery.store.downloads import OWN_NAMES, DownloadFolder, Record
from tests.faults.clock import Clock
from tests.faults.connection import connected
from tests.faults.raw import RawServer, Uploads


def listed_files(uploads: Uploads) -> list[RawFile]:
    """Return the files of all entries, without asking anybody."""
    entries = {one: uploads.mainfiles[one] for one in uploads.mainfiles}
    files: dict[tuple[str, str], RawFile] = {}
    for upload_id, mainfile in entries.values():
        folder = mainfile.rpartition("/")[0]
        own = tuple(
            one for one, (u, m) in entries.items() if (u, m.rpartition("/")[0]) == (upload_id, folder)
        )
        for path, content in uploads.files[upload_id].items():
            if path.rpartition("/")[0] == folder:
                mains = tuple(one for one, place in entries.items() if place == (upload_id, path))
                files[upload_id, path] = RawFile(upload_id, path, len(content), own, mains)
    return sorted(files.values(), key=lambda one: (one.upload_id, one.path))


def downloaded(
    server: RawServer,
    dest: Path,
    *,
    files: list[RawFile] | None = None,
    route: Route | None = None,
    layout: Layout = "upload",
    n_places: int = 0,
    verify: bool = False,
    decompress: bool = False,
    bounds: Bounds | None = None,
    show: Callable[[int, int], None] = lambda *_: None,
) -> tuple[Done, NomadError | None]:
    """Fetch what is missing of the files of all entries (or of ``files``) into a folder."""
    wanted = listed_files(server.uploads) if files is None else files
    folder = DownloadFolder(dest)
    published = {one: one not in server.uploads.unpublished for one in server.uploads.files}
    with connected(server, Clock()) as transport, folder.lock():
        places, records = places_of(wanted, layout, decompress=decompress), folder.records()
        here = here_already(folder, places, records, verify=verify)
        taken = taken_by_others(folder, places, records)
        legs = plan_legs(
            [one for one in places.of if one not in here and one not in taken],
            wholes_of(wanted, published),
            route=route,
        )
        fetch = Downloader(
            transport.open,
            folder,
            places,
            "public",
            "2.0.0",
            lambda: "2026-11-28T00:00:00+00:00",
            bounds or Bounds(),
        )
        done, stopped = fetch.run(legs, n_places=n_places, show=show)
    done.failed.update(taken)
    return done, stopped


def packed(
    server: RawServer,
    dest: Path,
    *,
    files: list[RawFile] | None = None,
    route: Route | None = None,
    n_places: int = 0,
    verify: bool = False,
) -> tuple[list[Record], Done, NomadError | None]:
    """Fetch what is missing of the files, and pack it: the records of what is in zips then."""
    wanted = listed_files(server.uploads) if files is None else files
    folder = DownloadFolder(dest)
    published = {one: one not in server.uploads.unpublished for one in server.uploads.files}
    with connected(server, Clock()) as transport, folder.lock():
        target = packed_target(folder, wanted)
        found = target.found(verify=verify)
        missing = [one for one in target.places.of if one not in found.here and one not in found.taken]
        fetch = Downloader(
            transport.open, target.into, target.places, "public", "2.0.0", lambda: "2026-11-28T00:00:00+00:00"
        )
        legs = plan_legs(missing, wholes_of(wanted, published), route=route)
        done, stopped = fetch.run(legs, n_places=n_places, show=lambda *_: None)
        done.failed.update({**target.places.refused, **found.taken})
        records = [] if isinstance(stopped, CacheError) else target.kept(found, done)
    return records, done, stopped


def on_disk(dest: Path) -> dict[str, bytes]:
    """Return the files below a folder by their paths, but for the library's own."""
    found = {}
    for path in dest.rglob("*"):
        local = path.relative_to(dest).as_posix()
        if path.is_file() and local.partition("/")[0] not in OWN_NAMES:
            found[local] = path.read_bytes()
    return found


def by_upload(uploads: Uploads) -> Mapping[str, bytes]:
    """Return what the layout ``"upload"`` has for the files of all entries."""
    return {
        f"{one.upload_id}/{one.path}": uploads.files[one.upload_id][one.path] for one in listed_files(uploads)
    }


def entries_of(uploads: Uploads) -> list[ListedEntry]:
    """Return the entries of the uploads."""
    return [ListedEntry(one, *place) for one, place in uploads.mainfiles.items()]


__all__ = ["by_upload", "downloaded", "entries_of", "list_entries", "listed_files", "on_disk", "packed"]
