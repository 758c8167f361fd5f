"""Where files go below a folder, which of them are there already, and which places are somebody else's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from nomadquery.raw.compressed import without_suffix
from nomadquery.raw.files import RawFile
from nomadquery.raw.names import Layout, names
from nomadquery.store.downloads import OWN_NAMES, DownloadFolder, Record

#: What is said of a place that is somebody else's.
TAKEN: Final = "is there and was not downloaded by this library"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file goes below the folder, and the entry for which it is there."""

    local_path: str
    entry_id: str | None


@dataclass(frozen=True, slots=True)
class Places:
    """Where all files go.

    Attributes
    ----------
    of : mapping of RawFile to tuple of Place
        Several where entries share a file and each has a folder of its own.
    refused : mapping of RawFile to str
        Files that can have no safe name, and why.
    unpacked : frozenset of RawFile
        Those that are decompressed on the way.
    """

    of: Mapping[RawFile, tuple[Place, ...]]
    refused: Mapping[RawFile, str]
    unpacked: frozenset[RawFile] = frozenset()

    def only(self, files: Iterable[RawFile]) -> Places:
        """Return the places of some of the files."""
        some = set(files)
        return Places(
            {one: places for one, places in self.of.items() if one in some},
            {one: why for one, why in self.refused.items() if one in some},
            self.unpacked & some,
        )


def places_of(files: Sequence[RawFile], layout: Layout, *, decompress: bool = False) -> Places:
    """Return where files go; with ``decompress`` without ``.gz``, ``.xz`` or ``.bz2`` at the end.

    A packed file keeps its name where another file of the upload has the unpacked one.
    """
    paths = {(one.upload_id, one.path) for one in files}
    named: dict[RawFile, RawFile] = {}
    for file in files:
        bare = without_suffix(file.path) if decompress else file.path
        is_free = bare == file.path or (file.upload_id, bare) not in paths
        paths.add((file.upload_id, bare))
        named[replace(file, path=bare) if is_free else file] = file
    found = names(named, layout, taken=OWN_NAMES)
    of = {named[one]: _placed(named[one], layout, places) for one, places in found.places.items()}
    refused = {named[one]: why for one, why in found.refused.items()}
    return Places(of, refused, frozenset(file for one, file in named.items() if one.path != file.path))


def here_already(
    folder: DownloadFolder, places: Places, records: Mapping[str, Record], *, verify: bool
) -> dict[RawFile, tuple[Record, ...]]:
    """Return the files that are in the folder with all their places, and their records.

    ``verify``: their content is read and compared, not only size and time.
    """
    found = {}
    for file, wanted in places.of.items():
        known = [records.get(one.local_path) for one in wanted]
        if all(one is not None and _is_of(one, file) and folder.is_here(one, verify=verify) for one in known):
            found[file] = tuple(
                replace(cast(Record, one), entry_id=place.entry_id)
                for one, place in zip(known, wanted, strict=True)
            )
    return found


def taken_by_others(
    folder: DownloadFolder, places: Places, records: Mapping[str, Record]
) -> dict[RawFile, str]:
    """Return the files whose place has something in it that was not downloaded: it is not replaced."""
    taken = {}
    for file, wanted in places.of.items():
        for place in wanted:
            size_bytes = -1 if file in places.unpacked else file.size_bytes
            if place.local_path not in records and folder.is_taken(place.local_path, size_bytes):
                taken[file] = f"{folder.folder / place.local_path} {TAKEN}"
    return taken


def _placed(file: RawFile, layout: Layout, local_paths: Sequence[str]) -> tuple[Place, ...]:
    if layout == "entry" and file.entry_ids:
        ids = list(dict.fromkeys(file.entry_ids))
        return tuple(Place(path, one) for path, one in zip(local_paths, ids, strict=True))
    return tuple(Place(path, file.entry_id) for path in local_paths)


def _is_of(record: Record, file: RawFile) -> bool:
    said = record.upload_id, record.path, record.size_bytes
    return said == (file.upload_id, file.path, file.size_bytes)
