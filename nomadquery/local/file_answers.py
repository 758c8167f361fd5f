"""A raw file as an answer, from any byte on and unpacked if wanted; the zip of an upload, by ``Range``."""

from __future__ import annotations

import gzip
import io
import lzma
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import IO, Final

from nomadquery.local.answer import BINARY, ZIP, Answer, as_text, blocks_of
from nomadquery.local.byte_ranges import RangeRefused, parse_range
from nomadquery.local.media_types import LOOKED_AT_BYTES, media_type_of
from nomadquery.local.raw_store import RawStore, StoredFile

#: The zip of an upload that has no raw files: the end of a directory without entries.
_EMPTY_ZIP: Final = b"PK\x05\x06" + bytes(18)


@dataclass(frozen=True, slots=True)
class Part:
    """Which bytes of a file are wanted: ``length`` of them from ``offset`` on, all that follow for -1.

    With ``decompress`` they are counted in what ``.gz`` and ``.xz`` files hold; other formats stay packed.
    """

    offset: int = 0
    length: int = -1
    decompress: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file, whose media type can then be told."""
        return self.offset == 0 and self.length < 0


def file_blocks(store: RawStore, file: StoredFile, part: Part) -> Iterator[bytes]:
    """Yield a part of a raw file; beyond its end there is nothing."""
    with ExitStack() as open_files:
        stored = open_files.enter_context(store.open(file))
        source = _unpacked(stored, file.path, part)
        open_files.callback(source.close)
        source.seek(part.offset)
        yield from blocks_of(source, part.length)


def _unpacked(source: IO[bytes], path: str, part: Part) -> IO[bytes] | gzip.GzipFile | lzma.LZMAFile:
    if part.decompress and path.endswith(".gz"):
        return gzip.GzipFile(fileobj=source, mode="rb")
    if part.decompress and path.endswith(".xz"):
        return lzma.open(source, "rb")
    return source


def media_type(store: RawStore, file: StoredFile, part: Part) -> str:
    """Return what is said of a part: the type of a whole file, told by its first bytes, packed or not."""
    if not part.is_whole:
        return BINARY
    with store.open(file) as source:
        return media_type_of(source.read(LOOKED_AT_BYTES))


def upload_zip(place: Path | None, headers: Mapping[str, str]) -> Answer:
    """Return the zip of an upload, or the bytes of it that a ``Range`` asks for.

    ``If-Range`` gives the whole zip if it is another one than before.
    """
    if place is None:
        source: IO[bytes] = io.BytesIO(_EMPTY_ZIP)
        size_bytes, tags = len(_EMPTY_ZIP), {"etag": '"0"'}
    else:
        found = place.stat()
        source = place.open("rb")  # from now on the answer is this zip's, also if another one replaces it
        size_bytes = found.st_size
        tags = {
            "last-modified": formatdate(found.st_mtime, usegmt=True),
            "etag": f'"{found.st_mtime_ns:x}-{found.st_size:x}"',
        }
    condition = headers.get("if-range")
    is_same = condition is None or condition in tags.values()
    wanted = parse_range(headers.get("range"), size_bytes) if is_same else None
    common = {"content-type": ZIP, "accept-ranges": "bytes", **tags}
    match wanted:
        case RangeRefused(416):
            source.close()
            return as_text("", 416, content_range=f"bytes */{size_bytes}")
        case RangeRefused(status, text):
            source.close()
            return as_text(text, status)
        case None:
            return Answer(200, {**common, "content-length": str(size_bytes)}, _stretch(source, 0, size_bytes))
        case _:
            length = wanted.end - wanted.begin
            span = f"bytes {wanted.begin}-{wanted.end - 1}/{size_bytes}"
            fields = {**common, "content-length": str(length), "content-range": span}
            return Answer(206, fields, _stretch(source, wanted.begin, length))


def _stretch(source: IO[bytes], begin: int, length: int) -> Iterator[bytes]:
    with source:
        source.seek(begin)
        yield from blocks_of(source, length)
