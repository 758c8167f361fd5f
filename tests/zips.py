"""Zips as others write them: Python's zipfile to files and to streams, and records put together by hand."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field


class Unseekable(io.RawIOBase):
    """A stream that is only written forwards, as an answer of a server is."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block: object) -> int:
        added = bytes(block)  # type: ignore[call-overload]  # anything with a buffer
        self.written += added
        return len(added)


def a_zip(
    contents: Mapping[str, bytes],
    *,
    is_deflated: bool = False,
    is_seekable: bool = True,
    is_zip64: bool = False,
    comment: bytes = b"",
) -> bytes:
    """Return a zip as zipfile writes it; one that is not seekable is what NOMAD sends."""
    target = io.BytesIO() if is_seekable else Unseekable()
    method = zipfile.ZIP_DEFLATED if is_deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(target, "w", method) as written:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with written.open(info, "w", force_zip64=is_zip64) as stream:
                stream.write(content)
        written.comment = comment
    return target.getvalue() if isinstance(target, io.BytesIO) else bytes(target.written)


@dataclass
class ByHand:
    """A zip of records put together here, after APPNOTE.TXT 6.3.10; anything may be said in them."""

    data: bytearray = field(default_factory=bytearray)
    entries: list[bytes] = field(default_factory=list)

    def add(
        self,
        name: bytes,
        content: bytes,
        *,
        method: int = 0,
        flags: int = 8,
        descriptor: str = "<4s3L",
        offset: int | None = None,
        attributes: int = 0,
        said_name: bytes | None = None,
        said_size: int | None = None,
    ) -> ByHand:
        """Add a member; with flag 8 its sizes follow it, in the form given (``"<4s2LQ"``; 4s: signature)."""
        deflater = zlib.compressobj(wbits=-15)
        packed = content if method != 8 else deflater.compress(content) + deflater.flush()
        told = (zlib.crc32(content), len(packed), len(content))
        ahead = (0, 0, 0) if flags & 8 else told
        at = len(self.data) if offset is None else offset
        self.data += struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, flags, method, 0, 33, *ahead, len(name), 0)
        self.data += name + packed
        if flags & 8:
            signature = (b"PK\x07\x08",) if "4s" in descriptor else ()
            self.data += struct.pack(descriptor, *signature, *told)
        name = name if said_name is None else said_name
        if said_size is not None:
            told = (told[0], said_size, said_size)
        entry = (
            b"PK\x01\x02",
            3 << 8 | 45,
            45,
            flags,
            method,
            0,
            33,
            *told,
            len(name),
            0,
            0,
            0,
            0,
            attributes,
            at,
        )
        self.entries.append(struct.pack("<4s6H3L5H2L", *entry) + name)
        return self

    def whole(self) -> bytes:
        """Return the zip, with its directory."""
        directory = b"".join(self.entries)
        n = len(self.entries)
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n, n, len(directory), len(self.data), 0)
        return bytes(self.data) + directory + end


class InMemory:
    """Bytes that can be read anywhere; counts how much was."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[tuple[int, int]] = []

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read_at(self, offset: int, length: int, /) -> bytes:
        self.reads.append((offset, length))
        return self.data[offset : offset + length]


class Dribbling:
    """Bytes that come in pieces of few, as from a network."""

    def __init__(self, data: bytes, most: int) -> None:
        self._stream, self._most = io.BytesIO(data), most

    def read(self, n: int, /) -> bytes:
        return self._stream.read(min(n, self._most))
