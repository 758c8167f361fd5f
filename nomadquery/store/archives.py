"""Whole archives on disk, compressed: parts that are added and never changed.

::

    <folder>/<key>/request.json       what was asked: deployment, owner, user, required
    <folder>/<key>/part-00000.zip     archives/<entry_id>.json for each entry, and index.json
    <folder>/<key>/part-00001.zip …

A part comes into its place in one rename, so that it is whole or not there, wherever the process was
killed. Of an entry that stands in several parts the last one counts. The checksums of the ZIP format are
verified whenever an archive is read; any unpacker reads the files.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from nomadquery.errors import CacheCorrupt, CacheFormatTooNew
from nomadquery.store.files import explained, read_json, remove_file, replacing, write_json

FORMAT: Final = 1
_REQUEST: Final = "request.json"
_INDEX: Final = "index.json"
_LOCK: Final = ".lock"
_PART: Final = re.compile(r"part-(\d+)\.zip")
#: So many small parts (single archives, asked for one by one) become one.
_MOST_SMALL: Final = 32
_SMALL_BYTES: Final = 1 << 20
#: In the header of a member: where the lengths of its name and of what follows that stand.
_NAME_LENGTHS: Final = 26
#: What reading a file raises whose bytes are not those that were written.
_DAMAGES: Final = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """One archive on disk, without its content.

    Attributes
    ----------
    entry_id, upload_id : str
    processed_at : str or None
        When NOMAD processed it last, as its index said; ``None``: not known.
    fetched_at : str
        ISO time in UTC.
    part : str
        The file that holds it.
    offset, size_bytes, crc : int
        Where its member of the ZIP file begins, how many compressed bytes it has, and the checksum of its
        text: one of ten thousand archives is read without looking at the others.
    """

    entry_id: str
    upload_id: str
    processed_at: str | None
    fetched_at: str
    part: str = ""
    offset: int = 0
    size_bytes: int = 0
    crc: int = 0


class ArchiveStore:
    """The folder of the archives that one deployment gave for one ``required``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: dict[str, tuple[Kept, ...]] = {}

    def lock(self, timeout_s: float = -1) -> FileLock:
        """Return the lock that whoever adds archives holds; others wait."""
        with explained(self.folder / _LOCK):
            self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / _LOCK, timeout=timeout_s)

    def request(self) -> Mapping[str, Any] | None:
        """Return what was asked, ``None`` if nothing was begun here.

        Raises
        ------
        CacheCorrupt
            If it cannot be read.
        CacheFormatTooNew
            If a newer nomadquery wrote it.
        """
        path = self.folder / _REQUEST
        try:
            content = read_json(path)
            written = 0 if content is None else content["format"]
            if written > FORMAT:
                raise CacheFormatTooNew(
                    f"{path} was written by a newer nomadquery (format {written}, this one reads {FORMAT}). "
                    "Update nomadquery, or give another cache_dir."
                )
            return None if content is None else dict(content["request"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._corrupt(f"{_REQUEST} cannot be read") from error

    def begin(self, request: Mapping[str, Any]) -> None:
        """Say what will be kept here, if that is not said yet; what killed processes left goes."""
        if self.request() is None:
            write_json(self.folder / _REQUEST, {"format": FORMAT, "request": dict(request)})
        for path in self.folder.glob(".*.part"):
            remove_file(path)

    def index(self, damaged: Callable[[str, CacheCorrupt], None] | None = None) -> dict[str, Kept]:
        """Return what is here, by entry id.

        A part that cannot be read is told to ``damaged``, by its name.

        Raises
        ------
        CacheCorrupt
            If a part cannot be read, and nobody wants to be told.
        """
        found: dict[str, Kept] = {}
        names = self._names()
        self._parts = {name: kept for name, kept in self._parts.items() if name in names}
        for name in names:
            try:
                if name not in self._parts:
                    self._parts[name] = self._index_of(name)
            except CacheCorrupt as error:
                if damaged is None:
                    raise
                damaged(name, error)
                continue
            found.update((kept.entry_id, kept) for kept in self._parts[name])
        return found

    def append(self, archives: Iterable[tuple[Kept, Mapping[str, Any]]]) -> None:
        """Put archives safely on disk, as one part; what they replace goes where its part is empty then."""
        self._write(archives)
        self._tidy()

    def read(self, kept: Kept) -> dict[str, Any]:
        """Return the content of an archive.

        Raises
        ------
        CacheCorrupt
            If it is not what was written, or its file is gone.
        """
        with self._readable(kept.part), (self.folder / kept.part).open("rb") as stream:
            stream.seek(kept.offset + _NAME_LENGTHS)
            stream.seek(sum(struct.unpack("<HH", stream.read(4))), os.SEEK_CUR)
            text = zlib.decompress(stream.read(kept.size_bytes), wbits=-zlib.MAX_WBITS)
            if zlib.crc32(text) != kept.crc:
                raise ValueError(f"the checksum of {_member(kept)} is wrong")
            content: dict[str, Any] = json.loads(text)
            return content

    def discard(self, part: str) -> None:
        """Remove a part that cannot be read."""
        remove_file(self.folder / part)
        self._parts.pop(part, None)

    def files(self) -> list[Path]:
        """Return the files that hold archives."""
        return [self.folder / name for name in self._names()]

    def clear(self) -> None:
        """Remove all archives; the lock stays with whoever holds it."""
        for path in (*self.files(), *self.folder.glob(".*.part"), self.folder / _REQUEST):
            remove_file(path)
        self._parts = {}

    # -- inside ---------------------------------------------------------------------------

    def _names(self) -> list[str]:
        """Return the names of the parts in the order in which they were written."""
        if not self.folder.is_dir():
            return []
        found = (_PART.fullmatch(path.name) for path in self.folder.iterdir())
        return [one[0] for one in sorted((one for one in found if one), key=lambda one: int(one[1]))]

    def _index_of(self, name: str) -> tuple[Kept, ...]:
        with self._readable(name), zipfile.ZipFile(self.folder / name) as part:
            return tuple(Kept(**{**row, "part": name}) for row in json.loads(part.read(_INDEX)))

    def _write(self, archives: Iterable[tuple[Kept, Mapping[str, Any]]]) -> None:
        names = self._names()
        number = int(names[-1].removeprefix("part-").removesuffix(".zip")) + 1 if names else 0
        index: list[dict[str, Any]] = []
        with (
            replacing(self.folder / f"part-{number:05d}.zip") as stream,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as part,
        ):
            for kept, content in archives:
                part.writestr(_member(kept), _text(content))
                member = part.getinfo(_member(kept))
                place = replace(
                    kept, offset=member.header_offset, size_bytes=member.compress_size, crc=member.CRC
                )
                index.append(asdict(place))
            part.writestr(_INDEX, _text(index))

    def _tidy(self) -> None:
        """Remove parts of which newer ones hold everything, and put many small ones together."""
        here = self.index(damaged=lambda *_: None)
        live = {kept.part for kept in here.values()}
        for name in [name for name in self._parts if name not in live]:
            self.discard(name)
        small = [name for name in live if (self.folder / name).stat().st_size < _SMALL_BYTES]
        if len(small) < _MOST_SMALL:
            return
        with suppress(CacheCorrupt):  # it is told when it is read
            self._write((kept, self.read(kept)) for kept in here.values() if kept.part in small)
            for name in small:
                self.discard(name)

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        try:
            yield
        except _DAMAGES as error:
            why = " ".join(str(error).split())
            raise self._corrupt(f"{name} cannot be read ({why})") from error

    def _corrupt(self, what: str) -> CacheCorrupt:
        return CacheCorrupt(
            f"The cached archives in {self.folder} are damaged: {what}. Ask for them again without offline, "
            f"or remove them: nomadquery cache remove {self.folder.name}."
        )


def _member(kept: Kept) -> str:
    return f"archives/{kept.entry_id}.json"


def _text(content: Any) -> str:
    """Return JSON that reads back as the same, NaN and halves of surrogate pairs included."""
    return json.dumps(content, separators=(",", ":"))
