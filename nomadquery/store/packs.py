"""Tables and archives as one file, to be carried to a machine without a network.

::

    pack.json                       format, and the SHA-256 of every other file
    tables/<key>/manifest.json, table.parquet, pins.parquet
    archives/<key>/request.json, part-00000.zip, …
    deployments/<address>.json      which release runs there: without it nothing can be asked offline

A ZIP file whose members are stored as they are: they are compressed already. A pack comes from
elsewhere, so nothing is unpacked before all of it has been looked at: names, sizes, hashes.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Literal, assert_never

from nomadquery.errors import CacheCorrupt, CacheError, CacheFormatTooNew, UnsafeContent
from nomadquery.store.archives import ArchiveStore
from nomadquery.store.cache import ARCHIVES, TABLES, KeptArchives, KeptData, KeptTable, locked, release_note
from nomadquery.store.files import copied, read_json, remove_folder, replacing, temporary_folder, write_json
from nomadquery.store.manifests import Manifest, manifest_from
from nomadquery.store.tables import TableStore

PACK_FORMAT: Final = 1
_INDEX: Final = "pack.json"
_NOTES: Final = "deployments"
_MANIFEST: Final = "manifest.json"
_KEY: Final = r"(?P<key>[0-9a-f]{32})"
#: The only names that a pack may hold.
_NAMES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{TABLES}/{_KEY}/(manifest\.json|(table|pins)(-\d+)?\.parquet)",
        rf"{ARCHIVES}/{_KEY}/(request\.json|part-\d+\.zip)",
        rf"{_NOTES}/[A-Za-z0-9-]+\.json",
        re.escape(_INDEX),
    )
)
_DAMAGES: Final = (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError)
_LARGEST_INDEX: Final = 64 << 20

Outcome = Literal["unpacked", "here already", "newer here"]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What became of one table, or one set of archives.

    Attributes
    ----------
    key : str
    n_rows : int
    outcome : {"unpacked", "here already", "newer here"}
    """

    key: str
    n_rows: int
    outcome: Outcome


def write_pack(folder: Path, several: Sequence[KeptData], target: Path) -> Path:
    """Write tables and archives of a cache folder into one file; return it.

    Raises
    ------
    CacheError
        If one is not complete, is being fetched, or the file cannot be written.
    CacheCorrupt
        If one is not what was written.
    """
    files: dict[str, dict[str, Any]] = {}
    notes: dict[str, Any] = {}
    advice = "Give another file with -o."
    with (
        replacing(target, advice=advice) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as pack,
    ):
        for kept in several:
            with locked(kept):
                for name, path in _files_of(kept):
                    with path.open("rb") as source, pack.open(_member(name), "w", force_zip64=True) as member:
                        size_bytes, sha256 = copied(source, member)
                    files[name] = {"sha256": sha256, "size_bytes": size_bytes}
            notes.update(_note(folder, kept))
        for name, note in notes.items():
            text = json.dumps(note).encode()
            pack.writestr(_member(name), text)
            files[name] = {"sha256": hashlib.sha256(text).hexdigest(), "size_bytes": len(text)}
        pack.writestr(_member(_INDEX), json.dumps({"format": PACK_FORMAT, "files": files}, indent=1))
    return target


def read_pack(folder: Path, file: Path) -> list[Unpacked]:
    """Unpack a file into a cache folder; return what became of each table.

    Nothing is written unless all of the file is sound. What is newer here stays.

    Raises
    ------
    UnsafeContent
        If it holds names that no pack has: absolute ones, ``..``, files that belong nowhere.
    CacheCorrupt
        If it is cut or damaged, or no pack.
    CacheFormatTooNew
        If a newer nomadquery wrote it.
    CacheError
        If a table in it is being fetched by another process.
    """
    try:
        with zipfile.ZipFile(file) as pack:
            files = _checked(pack, file)
            keys = sorted({(name.split("/")[0], name.split("/")[1]) for name in files})
            manifests = {
                key: manifest_from(json.loads(pack.read(f"{TABLES}/{key}/{_MANIFEST}")), f"{file} ({key})")
                for kind, key in keys
                if kind == TABLES
            }
            _check_manifests(manifests, files, file)
            done = [_table(folder, pack, key, manifest) for key, manifest in manifests.items()]
            done += [_archives(folder, pack, key, files) for kind, key in keys if kind == ARCHIVES]
            for kind, name in keys:
                if kind == _NOTES:
                    _put_note(folder / _NOTES / name, json.loads(pack.read(f"{_NOTES}/{name}")))
            return done
    except FileNotFoundError:
        raise
    except _DAMAGES as error:
        raise _corrupt(file, str(error)) from error


# -- packing --------------------------------------------------------------------------------


def _files_of(kept: KeptData) -> Iterator[tuple[str, Path]]:
    """Yield the names in a pack, and the files; they are what was written."""
    match kept:
        case KeptTable(key=key, store=store):
            whole = store.whole()
            if whole is None:
                raise CacheError(f"The table {key} is not complete. Fetch it first, then pack it.")
            store.check_hashes(whole)
            for name in (_MANIFEST, *(part.file for part in whole.parts)):
                yield f"{TABLES}/{key}/{name}", store.folder / name
        case KeptArchives(key=key, store=archives):
            if kept.damage is not None:
                raise CacheCorrupt(kept.damage)
            for path in (archives.folder / "request.json", *archives.files()):
                yield f"{ARCHIVES}/{key}/{path.name}", path
        case _:
            assert_never(kept)


def _note(folder: Path, kept: KeptData) -> dict[str, Any]:
    """Return the note about the release of a deployment that is asked over a network, with its name."""
    deployment = str(kept.request.get("deployment"))
    if not deployment.startswith(("http://", "https://")):
        return {}
    path = release_note(folder, deployment)
    note = read_json(path)
    if note is None and isinstance(kept, KeptTable) and kept.manifest is not None:
        note = {"release": kept.manifest.facts.get("release"), "asked_at_s": 0}
    return {} if note is None else {f"{_NOTES}/{path.name}": note}


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name)  # of 1980: equal content, equal pack


# -- unpacking ------------------------------------------------------------------------------


def _checked(pack: zipfile.ZipFile, file: Path) -> Mapping[str, Any]:
    """Return the hashes of the members by name, after all of them have been read."""
    members = pack.infolist()
    names = [member.filename for member in members]
    for member in members:
        is_plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
        if not is_plain or not any(pattern.fullmatch(member.filename) for pattern in _NAMES):
            raise UnsafeContent(
                f"{file} holds {member.filename!r}, which no pack of nomadquery does. Nothing was unpacked."
            )
    if len(set(names)) < len(names):
        raise UnsafeContent(f"{file} holds a name twice, which no pack does. Nothing was unpacked.")
    if pack.getinfo(_INDEX).file_size > _LARGEST_INDEX:
        raise UnsafeContent(f"{file} has too large an index. Nothing was unpacked.")
    index = json.loads(pack.read(_INDEX))
    if index["format"] > PACK_FORMAT:
        raise CacheFormatTooNew(f"{file} was packed by a newer nomadquery. Update nomadquery.")
    files: Mapping[str, Any] = index["files"]
    if {_INDEX, *files} != set(names):
        raise _corrupt(file, "its index names other files than it holds")
    for name, known in files.items():
        with pack.open(name) as stream:
            if copied(stream, None)[1] != known["sha256"]:
                raise _corrupt(file, f"{name} is not what was packed (SHA-256)")
    return files


def _check_manifests(manifests: Mapping[str, Manifest], files: Iterable[str], file: Path) -> None:
    here = set(files)
    for key, manifest in manifests.items():
        is_whole = manifest.state == "complete" and len(manifest.parts) == 2
        if not is_whole or not all(f"{TABLES}/{key}/{part.file}" in here for part in manifest.parts):
            raise _corrupt(file, f"the table {key} is not whole in it")
        datetime.fromisoformat(str(manifest.facts["fetched_at"]))


def _table(folder: Path, pack: zipfile.ZipFile, key: str, manifest: Manifest) -> Unpacked:
    store = TableStore(folder / TABLES / key)

    def opened(name: str) -> IO[bytes]:
        return pack.open(f"{TABLES}/{key}/{name}")

    with locked(KeptTable(key, store, None)):
        outcome = _compared(_fetched_at(_whole(store)), _fetched_at(manifest))
        if outcome == "unpacked":
            store.adopt(manifest, opened)
    return Unpacked(key, manifest.n_rows, outcome)


def _whole(store: TableStore) -> Manifest | None:
    try:
        return store.whole()
    except CacheCorrupt:
        return None  # the packed one is better


def _fetched_at(manifest: Manifest | None) -> datetime | None:
    return None if manifest is None else datetime.fromisoformat(str(manifest.facts["fetched_at"]))


def _compared(here: datetime | None, packed: datetime | None) -> Outcome:
    if here is None or packed is None or here < packed:
        return "unpacked"
    return "here already" if here == packed else "newer here"


def _archives(folder: Path, pack: zipfile.ZipFile, key: str, files: Iterable[str]) -> Unpacked:
    """Add the archives that are not here, or are older here."""
    place = temporary_folder()
    try:
        for name in (name for name in files if name.startswith(f"{ARCHIVES}/{key}/")):
            with pack.open(name) as source, replacing(place / name.rpartition("/")[2]) as stream:
                copied(source, stream)
        packed, store = ArchiveStore(place), ArchiveStore(folder / ARCHIVES / key)
        index = packed.index()
        with locked(KeptArchives(key, store, {}, {})):
            store.begin(packed.request() or {})
            here = store.index(lambda *_: None)
            new = [
                kept
                for entry_id, kept in index.items()
                if entry_id not in here or here[entry_id].fetched_at < kept.fetched_at
            ]
            if new:
                store.append((kept, packed.read(kept)) for kept in new)
    finally:
        remove_folder(place)
    return Unpacked(key, len(index), "unpacked" if new else "here already")


def _put_note(path: Path, note: Any) -> None:
    """Note which release runs there, unless that was asked later."""
    asked_at_s = float(note["asked_at_s"])
    try:
        known = read_json(path)
        is_later = known is not None and float(known["asked_at_s"]) >= asked_at_s
    except (ValueError, KeyError, TypeError):
        is_later = False
    if not is_later:
        write_json(path, {"release": str(note["release"]), "asked_at_s": asked_at_s})


def _corrupt(file: Path, why: str) -> CacheCorrupt:
    return CacheCorrupt(f"{file} is damaged, or no pack: {why}. Make it anew: nomadquery cache pack KEY.")
