"""Where a download leads: files with names of their own, or one zip for each upload."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nomadquery.raw.download import Done
from nomadquery.raw.files import RawFile
from nomadquery.raw.names import names
from nomadquery.raw.placing import TAKEN, Places, here_already, places_of, taken_by_others
from nomadquery.store.downloads import OWN_NAMES, DownloadFolder, Record
from nomadquery.store.zips import pack, whole_members


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a folder before a download.

    Attributes
    ----------
    here : mapping of RawFile to tuple of Record
        Files that need not be fetched.
    taken : mapping of RawFile to str
        Files whose place is somebody else's, and what is there.
    members : mapping of str to tuple of Record
        Of each zip by its upload the members that are whole, wanted or not.
    """

    here: Mapping[RawFile, tuple[Record, ...]]
    taken: Mapping[RawFile, str]
    members: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loose:
    """Files go to places of their own.

    Attributes
    ----------
    folder : DownloadFolder
        The folder with the manifest.
    places : Places
    """

    folder: DownloadFolder
    places: Places

    @property
    def into(self) -> DownloadFolder:
        """The folder that files are fetched into."""
        return self.folder

    def found(self, *, verify: bool) -> Found:
        """Return what is there already; ``verify`` reads all of it."""
        records = self.folder.records()
        return Found(
            here_already(self.folder, self.places, records, verify=verify),
            taken_by_others(self.folder, self.places, records),
        )

    def packing_bytes(self, _found: Found) -> int:
        """Return the room that is needed beside the files: none."""
        return 0

    def kept(self, found: Found, done: Done) -> list[Record]:
        """Return the records of the wanted files that are here now."""
        return [*(record for some in found.here.values() for record in some), *done.records]


@dataclass(frozen=True, slots=True)
class Packed:
    """Files are gathered inside the folder, and go into a zip for each upload when all of it is there.

    Attributes
    ----------
    folder : DownloadFolder
        The folder with the manifest and the zips.
    places : Places
        Of the files while they are gathered.
    zips : mapping of str to str
        The local path of the zip of each upload.
    """

    folder: DownloadFolder
    places: Places
    zips: Mapping[str, str]

    @property
    def into(self) -> DownloadFolder:
        """The folder that files are fetched into."""
        return self.folder.unpacked

    def found(self, *, verify: bool) -> Found:
        """Return what is there already, in zips or gathered; ``verify`` reads all of it."""
        known = self.folder.members()
        members, taken = {}, {}
        for upload_id, local_path in self.zips.items():
            records = known.get(local_path, ())
            if any(one.upload_id == upload_id for one in records):
                members[upload_id] = whole_members(self.folder, records, verify=verify)
            elif self.folder.is_taken(local_path, -1):
                taken[upload_id] = f"{self.folder.folder / local_path} {TAKEN}"
        packed = {_key(one): one for some in members.values() for one in some}
        free = self.places.only(one for one in self.places.of if one.upload_id not in taken)
        gathered = here_already(self.into, free, self.into.records(), verify=verify)
        in_zips = {
            file: (replace(packed[_key(file)], entry_id=file.entry_id),)
            for file in self.places.of
            if _key(file) in packed
        }
        others = {one: taken[one.upload_id] for one in self.places.of if one.upload_id in taken}
        return Found({**gathered, **in_zips}, others, members)

    def packing_bytes(self, found: Found) -> int:
        """Return the room that is needed beside the files: that of the largest zip that is to be made."""
        n_bytes: defaultdict[str, int] = defaultdict(int)
        for file in self.places.of:
            if file not in found.taken and not _is_packed(found.here.get(file)):
                n_bytes[file.upload_id] += file.size_bytes
        for upload_id in n_bytes:
            n_bytes[upload_id] += sum(one.size_bytes for one in found.members.get(upload_id, ()))
        return max(n_bytes.values(), default=0)

    def kept(self, found: Found, done: Done) -> list[Record]:
        """Pack what has been gathered; return the records of the wanted files that are in zips now.

        An upload of which files are still to come is left for a later run; files that cannot be had are not.

        Raises
        ------
        CacheError
            If the disk is full, the folder cannot be written, or what is there was changed meanwhile.
        """
        here = [one for some in found.here.values() for one in some]
        gathered = {_key(one): one for one in (*here, *done.records) if not one.is_packed}
        loose: defaultdict[str, list[Record]] = defaultdict(list)
        to_come = set()
        for file in self.places.of:
            if _key(file) in gathered:
                loose[file.upload_id].append(replace(gathered[_key(file)], entry_id=file.entry_id))
            elif file not in found.here and file not in done.failed and file not in found.taken:
                to_come.add(file.upload_id)
        members = dict(found.members)
        for upload_id in sorted(set(loose) - to_come):
            members[upload_id] = pack(
                self.folder, self.zips[upload_id], loose[upload_id], members.get(upload_id, ())
            )
        packed = {_key(one): one for some in members.values() for one in some}
        wanted = [(packed.get(_key(file)), file.entry_id) for file in self.places.of]
        return [replace(one, entry_id=entry_id) for one, entry_id in wanted if one is not None]


Target = Loose | Packed


def packed_target(folder: DownloadFolder, files: Sequence[RawFile]) -> Packed:
    """Return where files go that stay packed: ``<upload_id>.zip``.

    Files whose names are unsafe are refused, as they are without a zip.
    """
    uploads = {one.upload_id: RawFile(one.upload_id, f"{one.upload_id}.zip", 0, (), ()) for one in files}
    named = names(uploads.values(), "flat", taken=OWN_NAMES)
    zips = {one.upload_id: local_path for one, (local_path,) in named.places.items()}
    unnamed = {one.upload_id: why for one, why in named.refused.items()}
    places = places_of([one for one in files if one.upload_id in zips], "upload")
    refused = {one: unnamed[one.upload_id] for one in files if one.upload_id in unnamed}
    return Packed(folder, replace(places, refused={**places.refused, **refused}), zips)


def _key(one: RawFile | Record) -> tuple[str, str, int]:
    return one.upload_id, one.path, one.size_bytes


def _is_packed(records: Sequence[Record] | None) -> bool:
    return records is not None and records[0].is_packed
