"""The raw files of a local deployment: for each upload one zip, its members stored and not compressed.

So NOMAD keeps the raw files of published uploads. The zip is whole or absent, a member can be read from any
byte, and a name may be one that no file system takes.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

from nomadquery.errors import CacheCorrupt, CacheError
from nomadquery.store.files import copied, remove_folder, replacing, temporary_folder

#: What a file is made of: its bytes, or a file on disk.
Content = bytes | Path

_DATE: Final = (1980, 1, 1, 0, 0, 0)  # as NOMAD writes it: the same files make the same zip
_MODE: Final = 0o600 << 16
_LOCAL_HEADER: Final = struct.Struct("<26x2H")
_MOST_DIRECTORIES: Final = 16
_ADVICE: Final = "Name another folder for the local deployment."

#: What tells a zip from another one in its place.
Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A raw file: its path in its upload, and where in the upload's zip it begins."""

    path: str
    size_bytes: int
    zip_path: Path
    zip_stamp: Stamp
    header_offset: int


class StoredFiles(Mapping[str, StoredFile]):
    """The raw files of an upload by their paths.

    Attributes
    ----------
    paths : sequence of str
        In their order, also that of the mapping.
    """

    def __init__(self, files: Iterable[StoredFile] = ()) -> None:
        self._by_path = {file.path: file for file in sorted(files, key=lambda file: file.path)}
        self.paths = list(self._by_path)

    def __getitem__(self, path: str) -> StoredFile:
        return self._by_path[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


class RawStore:
    """The raw files of uploads, below ``folder``; without one, for as long as the process lasts."""

    def __init__(self, folder: Path | None = None) -> None:
        self._given = folder
        self._temporary: Path | None = None
        self._lock = threading.Lock()
        self._directories: dict[Path, tuple[Stamp, StoredFiles]] = {}

    def add(self, upload_id: str, files: Mapping[str, Content]) -> int:
        """Make these, by their paths, the raw files of an upload in place of what it had; return how many.

        Raises
        ------
        CacheError
            If the folder cannot be written or the disk is full; the upload is then as it was.
        """
        with (
            replacing(self._made_folder() / _name(upload_id), advice=_ADVICE) as stream,
            zipfile.ZipFile(stream, "w") as packed,
        ):
            for path in sorted(files):
                member = zipfile.ZipInfo(path, _DATE)
                member.external_attr = _MODE
                with _opened(files[path]) as source, packed.open(member, "w", force_zip64=True) as target:
                    copied(source, target)
        return len(files)

    def add_folder(self, upload_id: str, folder: Path) -> int:
        """Make all files below ``folder`` the raw files of an upload, as `add` does; return how many."""
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return self.add(upload_id, files)

    def files(self, upload_id: str) -> StoredFiles:
        """Return the raw files of an upload, none if it has none.

        Raises
        ------
        CacheCorrupt
            If the zip is damaged.
        """
        place = self.zip_path(upload_id)
        if place is None:
            return StoredFiles()
        stamp = _stamp_of(place.stat())
        with self._lock:
            known = self._directories.pop(place, None)
            if known is None or known[0] != stamp:
                known = (stamp, _directory(place, stamp))
            self._directories[place] = known  # the last used is the last to go
            while len(self._directories) > _MOST_DIRECTORIES:
                del self._directories[next(iter(self._directories))]
        return known[1]

    def zip_path(self, upload_id: str) -> Path | None:
        """Return where the zip of an upload is, ``None`` if it has no raw files."""
        folder = self._given or self._temporary
        place = folder / _name(upload_id) if folder is not None else None
        return place if place is not None and place.exists() else None

    @contextmanager
    def open(self, file: StoredFile) -> Iterator[IO[bytes]]:
        """Give a raw file to be read from any byte.

        Raises
        ------
        CacheError
            If the raw files of the upload were replaced since the file was listed.
        """
        with file.zip_path.open("rb", buffering=0) as packed:
            if _stamp_of(os.fstat(packed.fileno())) != file.zip_stamp:
                raise CacheError(f"The raw files in {file.zip_path} were replaced meanwhile: ask again.")
            packed.seek(file.header_offset)
            n_name, n_extra = _LOCAL_HEADER.unpack(packed.read(_LOCAL_HEADER.size))
            begin = file.header_offset + _LOCAL_HEADER.size + n_name + n_extra
            yield io.BufferedReader(_Section(packed, begin, file.size_bytes))

    def close(self) -> None:
        """Forget what was read; files that had no folder are gone."""
        with self._lock:
            self._directories.clear()
            if self._temporary is not None:
                remove_folder(self._temporary)
            self._temporary = None

    def _made_folder(self) -> Path:
        with self._lock:
            if self._given is None and self._temporary is None:
                self._temporary = temporary_folder()
            folder = self._given or self._temporary
        assert folder is not None
        return folder


def _name(upload_id: str) -> str:
    return f"{quote(upload_id, safe='')}.zip"


class _Section(io.RawIOBase):
    """A stretch of an open file, as a file of its own."""

    def __init__(self, whole: io.FileIO, begin: int, size_bytes: int) -> None:
        self._whole = whole
        self._begin = begin
        self._size_bytes = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size_bytes - self._at))
        self._whole.seek(self._begin + self._at)
        n_read = self._whole.readinto(memoryview(buffer)[:wanted])
        self._at += n_read
        return n_read


@contextmanager
def _opened(content: Content) -> Iterator[IO[bytes]]:
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
        yield source


def _stamp_of(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _directory(place: Path, stamp: Stamp) -> StoredFiles:
    try:
        with zipfile.ZipFile(place) as packed:
            members: Iterable[zipfile.ZipInfo] = packed.infolist()
    except zipfile.BadZipFile as error:
        raise CacheCorrupt(
            f"The raw files in {place} are damaged ({error}). Remove it, and import them again."
        ) from error
    return StoredFiles(
        StoredFile(one.filename, one.file_size, place, stamp, one.header_offset) for one in members
    )
