"""Downloaded files in a zip: the same files give the same bytes, and it has its name only when it is whole.

Members are stored as they are, in the order of their paths, at the first time that a zip can tell. Each is
compared with its record on the way into the zip, and the whole zip is read back before it gets its name.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Final

from nomadquery.errors import CacheError
from nomadquery.store.downloads import ADVICE, DownloadFolder, Record
from nomadquery.store.files import copied, explained, remove_file, sync_folder

_FIRST_TIME: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_PLAIN_FILE: Final = 0o100644 << 16
_EMPTY: Final = b"PK\5\6" + bytes(18)
_AGAIN: Final = "Download again with verify=True: what is there is read, and what is damaged fetched again."
#: What reading a zip raises that is none, is damaged, or is packed in another way than here.
_UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Member:
    """A file on its way into a zip.

    Attributes
    ----------
    path : str
        What the member is called.
    size_bytes : int
    sha256 : str
        What its content must have.
    open : callable
        Gives the content.
    """

    path: str
    size_bytes: int
    sha256: str
    open: Callable[[], IO[bytes]]


def write_zip(stream: IO[bytes], members: Iterable[Member]) -> None:
    """Write a zip; the same members give the same bytes.

    Parameters
    ----------
    stream : file
        Can be read and sought in: the zip is read back.
    members : iterable of Member
        Each path once.

    Raises
    ------
    CacheError
        If a content is not what it must be, or the zip does not read as it was written.
    """
    ordered = sorted(members, key=lambda one: one.path)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as packed:
        for member in ordered:
            if not _copied(member, packed):
                raise CacheError(
                    f"{member.path!r} is not what was downloaded: it was changed or damaged on the disk. "
                    f"{_AGAIN}"
                )
    with zipfile.ZipFile(stream) as packed:
        written = [(one.filename, one.file_size) for one in packed.infolist()]
        damaged = packed.testzip()
    if damaged is not None or written != [(one.path, one.size_bytes) for one in ordered]:
        raise CacheError(
            f"A zip does not read as it was written ({damaged or 'its directory'}): the disk fails. {ADVICE}"
        )


def pack(
    folder: DownloadFolder, local_path: str, loose: Iterable[Record], packed: Iterable[Record]
) -> tuple[Record, ...]:
    """Make the zip at a local path, in place of the one that is there; return its records.

    Parameters
    ----------
    folder : DownloadFolder
    local_path : str
        Of the zip.
    loose : iterable of Record
        Files in `DownloadFolder.unpacked`; they go when the zip is there.
    packed : iterable of Record
        Members of the zip that is there, which stay.

    Raises
    ------
    CacheError
        If the disk is full, the folder cannot be written, or what is there was changed meanwhile.
    """
    files, target = list(loose), folder.folder / local_path
    paths = {one.path for one in files}
    stay = [one for one in packed if one.path not in paths]
    part = folder.scratch(f"{local_path}.zip")
    try:
        with explained(target, advice=ADVICE):
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("w+b") as stream, _before(target if stay else None) as before:
                source = folder.unpacked.folder
                members = [_member(one, partial(_read, source / one.local_path)) for one in files]
                members += [_member(one, partial(before.open, one.path)) for one in stay]
                write_zip(stream, members)
                stream.flush()
                os.fsync(stream.fileno())
                made = os.fstat(stream.fileno())
            records = _records(local_path, (*files, *stay), made)
            folder.note(*records)
            part.replace(target)
            sync_folder(target.parent)
    except BaseException:
        remove_file(part)
        raise
    for one in files:
        folder.unpacked.remove(one)
    return records


def whole_members(folder: DownloadFolder, records: Sequence[Record], *, verify: bool) -> tuple[Record, ...]:
    """Return those members of a zip that are there as they were written; ``verify`` reads all of them.

    Without, size and time of the zip tell, and only a zip with others is read.
    """
    path = folder.folder / records[0].local_path
    try:
        found = path.lstat()
        if not path.is_file() or path.is_symlink():
            return ()
        said = records[0].local_bytes, records[0].mtime_ns
        if (found.st_size, found.st_mtime_ns) == said and not verify:
            return tuple(records)
        with zipfile.ZipFile(path) as packed:
            return tuple(one for one in records if _has(packed, one))
    except (*_UNREADABLE, OSError):
        return ()


def _records(local_path: str, records: Iterable[Record], made: os.stat_result) -> tuple[Record, ...]:
    """Return the records of files as members of the zip that was made of them."""
    size_bytes, mtime_ns = made.st_size, made.st_mtime_ns
    return tuple(
        replace(one, local_path=local_path, local_bytes=size_bytes, mtime_ns=mtime_ns, is_packed=True)
        for one in sorted(records, key=lambda one: one.path)
    )


def _has(packed: zipfile.ZipFile, record: Record) -> bool:
    """Return whether a zip has a member as it was written; one that somebody has packed is not unpacked."""
    try:
        head = packed.getinfo(record.path)
        if (head.compress_type, head.file_size) != (zipfile.ZIP_STORED, record.size_bytes):
            return False
        with packed.open(head) as content:
            return copied(content, None) == (record.size_bytes, record.sha256)
    except _UNREADABLE:
        return False


def _member(record: Record, content: Callable[[], IO[bytes]]) -> Member:
    return Member(record.path, record.size_bytes, record.sha256, content)


def _read(path: Path) -> IO[bytes]:
    return path.open("rb")


def _head(member: Member) -> zipfile.ZipInfo:
    """Return what a zip says of a member: on every system the same."""
    head = zipfile.ZipInfo(member.path, _FIRST_TIME)
    head.filename = member.path  # a backslash is no end of a folder, also not on Windows
    head.file_size = member.size_bytes
    head.create_system = _UNIX
    head.external_attr = _PLAIN_FILE
    return head


def _copied(member: Member, packed: zipfile.ZipFile) -> bool:
    """Copy a content into a zip; return whether it was what it must be."""
    try:
        with packed.open(_head(member), "w") as target, member.open() as content:
            return copied(content, target) == (member.size_bytes, member.sha256)
    except (*_UNREADABLE, FileNotFoundError):
        return False


@contextmanager
def _before(path: Path | None) -> Iterator[zipfile.ZipFile]:
    """Give the zip that is there to be read, or an empty one."""
    try:
        packed = zipfile.ZipFile(io.BytesIO(_EMPTY) if path is None else path)
    except (*_UNREADABLE, FileNotFoundError) as error:
        raise CacheError(f"{path} was changed or removed while it was used. {_AGAIN}") from error
    with packed:
        yield packed
