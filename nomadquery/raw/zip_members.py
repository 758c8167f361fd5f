"""The content of a zip's members as it is read: unpacked, counted, bounded, checked at the end."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from nomadquery.errors import DownloadTruncated
from nomadquery.raw.bounds import Bounds
from nomadquery.raw.sources import BLOCK, Source
from nomadquery.raw.zip_records import (
    CENTRAL,
    DEFLATED,
    DESCRIPTOR,
    DESCRIPTORS,
    LOCAL,
    LONGEST_DESCRIPTOR,
    Header,
    damaged,
    truncated,
)

#: Packed bytes given to the inflater at once.
_PIECE: Final = 1 << 16


class Tally:
    """What was unpacked of a member so far, held against the bounds."""

    __slots__ = ("_bounds", "_n_before", "_source", "crc32", "packed_bytes", "size_bytes")

    def __init__(self, bounds: Bounds, source: Source, n_before: int) -> None:
        self._bounds, self._source, self._n_before = bounds, source, n_before
        self.crc32 = self.size_bytes = self.packed_bytes = 0

    @property
    def said(self) -> tuple[int, int, int]:
        """What a descriptor says: CRC-32, packed and unpacked size."""
        return self.crc32, self.packed_bytes, self.size_bytes

    def add(self, block: bytes) -> bytes:
        """Count a block, and return it."""
        self.crc32 = zlib.crc32(block, self.crc32)
        self.size_bytes += len(block)
        self._bounds.check(self._n_before + self.size_bytes, self._source.position)
        return block


class Member:
    """The content of one member, to be read once, forwards.

    Only when its end was read (`read` gave nothing, `blocks` ended) its size and CRC-32 have been checked.

    Attributes
    ----------
    name : str
        As the zip says it, from outside: see `raw/names`.
    size_bytes, crc32 : int
        Of what was read so far.
    """

    __slots__ = ("_blocks", "_rest", "_tally", "name")

    def __init__(self, name: str, blocks: Iterator[bytes], tally: Tally) -> None:
        self.name = name
        self._blocks = blocks
        self._tally = tally
        self._rest = b""

    @property
    def size_bytes(self) -> int:
        """How many bytes were unpacked so far."""
        return self._tally.size_bytes

    @property
    def crc32(self) -> int:
        """The CRC-32 of the bytes that were unpacked so far."""
        return self._tally.crc32

    def blocks(self) -> Iterator[bytes]:
        """Yield what is left, in blocks of at most 256 KiB.

        Raises
        ------
        DownloadTruncated
            If the zip ends before.
        ResponseFormatError
            If size or CRC-32 are not what the zip says.
        UnsafeContent
            If it exceeds the bounds.
        """
        if self._rest:
            rest, self._rest = self._rest, b""
            yield rest
        while (block := next(self._blocks, None)) is not None:  # not "yield from": who breaks off may go on
            yield block

    def read(self, n: int = -1, /) -> bytes:
        """Return at most ``n`` bytes, fewer where a block ends, none at the end; all for a negative ``n``.

        Raises
        ------
        DownloadTruncated, ResponseFormatError, UnsafeContent
            As for `blocks`.
        """
        if n < 0:
            return b"".join(self.blocks())
        while not self._rest:  # a block may be empty
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = block
        given, self._rest = self._rest[:n], self._rest[n:]
        return given


def checked(source: Source, header: Header, tally: Tally, size_bytes: int | None) -> Iterator[bytes]:
    """Yield the blocks of the member whose header was taken; at its end, check it and take its descriptor."""
    is_said = not header.follows or header.packed_bytes > 0
    if header.method == DEFLATED:
        yield from _inflated(source, tally, header.packed_bytes if is_said else None)
    elif is_said or size_bytes is not None:
        yield from _stored(source, tally, header.packed_bytes if is_said else size_bytes or 0)
    else:
        yield from _stored_until_told(source, tally, header.name)
    if header.follows:
        n_bytes = _descriptor_bytes(source, tally)
        if n_bytes is None:
            raise damaged(f"size or CRC-32 of {header.name!r} are not what was read")
        source.take(n_bytes)
    elif (tally.crc32, tally.size_bytes) != (header.crc32, header.size_bytes):
        raise damaged(
            f"{header.name!r} has {tally.size_bytes} bytes and CRC-32 {tally.crc32:08x}, not "
            f"{header.size_bytes} and {header.crc32:08x}"
        )


def _stored(source: Source, tally: Tally, n_bytes: int) -> Iterator[bytes]:
    while tally.packed_bytes < n_bytes:
        block = source.some(min(BLOCK, n_bytes - tally.packed_bytes))
        tally.packed_bytes += len(block)
        yield tally.add(block)


def _stored_until_told(source: Source, tally: Tally, name: str) -> Iterator[bytes]:
    """Yield a stored member up to the descriptor that says its size and CRC-32.

    A descriptor inside a file, of a zip that is stored there, says the size of less than came before it.
    """
    n_data = 0  # bytes that are here and known to be data
    while True:
        n_data, is_found = source.before(DESCRIPTOR, n_data)
        if not is_found:
            if n_data:
                tally.packed_bytes += n_data
                yield tally.add(source.take(n_data))
                n_data = 0
            if not source.fill():
                raise DownloadTruncated(
                    f"The zip ended within {name!r}, or does not say in a readable way where that ends. "
                    "Members that came whole are good; fetch this file by itself."
                )
        elif _says(source.peek(n_data + LONGEST_DESCRIPTOR)[n_data:], tally.packed_bytes + n_data):
            tally.packed_bytes += n_data
            if n_data:
                yield tally.add(source.take(n_data))
            if _descriptor_bytes(source, tally) is not None:
                return
            n_data = len(DESCRIPTOR)
        else:
            n_data += len(DESCRIPTOR)


def _inflated(source: Source, tally: Tally, n_packed: int | None) -> Iterator[bytes]:
    """Yield a deflated member, of so many packed bytes where that is known."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflater.eof:
        piece = inflater.unconsumed_tail
        if not piece and (n_packed is None or tally.packed_bytes < n_packed):
            piece = source.some(_PIECE if n_packed is None else min(_PIECE, n_packed - tally.packed_bytes))
            tally.packed_bytes += len(piece)
        try:
            block = inflater.decompress(piece, BLOCK)
        except zlib.error as error:
            raise damaged(f"a deflated member cannot be read ({error})") from error
        if not block and not piece:
            raise damaged("a deflated member ends within its data")
        if block:
            yield tally.add(block)
    n_unused = len(inflater.unused_data)
    source.give_back(n_unused)
    tally.packed_bytes -= n_unused
    if n_packed is not None and tally.packed_bytes != n_packed:
        raise damaged("a deflated member ends before its data do")


def _says(descriptor: bytes, size_bytes: int) -> bool:
    """Return whether what has the signature of a descriptor says this size; quick, for most do not."""
    return any(
        len(descriptor) >= len(DESCRIPTOR) + form.size
        and form.unpack_from(descriptor, len(DESCRIPTOR))[1:] == (size_bytes, size_bytes)
        for signature, form in DESCRIPTORS
        if signature
    )


def _descriptor_bytes(source: Source, tally: Tally) -> int | None:
    """Return the length of the descriptor that comes next and says what was read, ``None`` if none does.

    Behind it must stand the next member or the directory: so a short one is not taken for a long one.
    """
    ahead = source.peek(LONGEST_DESCRIPTOR + 4)
    for signature, form in DESCRIPTORS:
        end = len(signature) + form.size
        if ahead[end : end + 4] not in {LOCAL, CENTRAL} or not ahead.startswith(signature):
            continue
        if form.unpack_from(ahead, len(signature)) == tally.said:
            return end
    if len(ahead) < LONGEST_DESCRIPTOR + 4:
        raise truncated()
    return None
