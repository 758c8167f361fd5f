"""Files compressed by themselves (``.gz``, ``.xz``, ``.bz2``), read decompressed, forwards and bounded.

NOMAD decompresses ``.gz`` and ``.xz`` where one file is asked for; in zips, and for ``.bz2``, it does not.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from nomadquery.errors import DownloadTruncated, ResponseFormatError
from nomadquery.raw.bounds import Bounds
from nomadquery.raw.sources import BLOCK, Readable

#: Memory that a dictionary of xz may take; its own strongest setting takes 65 MiB.
_MOST_DICTIONARY: Final = 128 << 20


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib, which asks for what it left over in another way than bz2 and lzma."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail and not self._is_full

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        block = self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)
        self._is_full = len(block) == max_length
        return block


_DECOMPRESSORS: Final[dict[str, Callable[[], _Decompressor]]] = {
    ".gz": _Gzip,
    ".xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_DICTIONARY),
    ".bz2": bz2.BZ2Decompressor,
}


def suffix_of(name: str) -> str | None:
    """Return the suffix that tells how a file is compressed, ``None`` if it is not, or in a way not read."""
    return next((suffix for suffix in _DECOMPRESSORS if name.lower().endswith(suffix)), None)


def without_suffix(name: str) -> str:
    """Return the name of what a compressed file holds; one that has no other name keeps it."""
    suffix = suffix_of(name)
    stem = name if suffix is None else name[: -len(suffix)]
    return name if not stem or stem.endswith("/") else stem


class Decompressed:
    """What a compressed file holds, to be read once, forwards; nothing is given in place of a cut end.

    Parameters
    ----------
    stream : Readable
        At the beginning of the file.
    name : str
        By whose suffix it is read.
    bounds : Bounds
        What it may unpack to.

    Raises
    ------
    ValueError
        If the name says no compression that is read.
    """

    def __init__(self, stream: Readable, name: str, bounds: Bounds = Bounds()) -> None:  # noqa: B008 # frozen
        suffix = suffix_of(name)
        if suffix is None:
            raise ValueError(f"{name!r} ends in none of {', '.join(_DECOMPRESSORS)}.")
        self._stream, self._name, self._bounds = stream, name, bounds
        self._new = _DECOMPRESSORS[suffix]
        self._decompressor = self._new()
        self._ahead = self._rest = b""
        self._n_packed = self._n_bytes = 0

    def read(self, n: int = -1, /) -> bytes:
        """Return at most ``n`` bytes, perhaps fewer, none at the end; all for a negative ``n``.

        Raises
        ------
        DownloadTruncated
            If the file ends within its data.
        ResponseFormatError
            If it is damaged, or is not what its suffix says.
        UnsafeContent
            If it exceeds the bounds.
        """
        if n < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        while not self._rest:
            if self._decompressor.eof and not self._begin_next():
                return b""
            if self._decompressor.needs_input and not self._fill():
                raise DownloadTruncated(f"{self._name!r} ended within what it holds. Ask for it again.")
            self._rest = self._decompress()
        given, self._rest = self._rest[:n], self._rest[n:]
        return given

    def _decompress(self) -> bytes:
        data, self._ahead = self._ahead, b""
        try:
            block = self._decompressor.decompress(data, BLOCK)
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise ResponseFormatError(
                f"{self._name!r} cannot be decompressed ({error}): it is damaged, or not what its suffix "
                "says. Take it as it is, without decompress."
            ) from error
        self._n_bytes += len(block)
        self._bounds.check(self._n_bytes, self._n_packed)
        return block

    def _begin_next(self) -> bool:
        """Begin what follows in the file, as after ``cat a.gz b.gz``; return whether there is anything."""
        self._ahead = self._decompressor.unused_data + self._ahead
        while True:
            self._ahead = self._ahead.lstrip(b"\0")  # padding
            if self._ahead:
                self._decompressor = self._new()
                return True
            if not self._fill():
                return False

    def _fill(self) -> bool:
        if self._ahead:
            return True
        self._ahead = self._stream.read(BLOCK)
        self._n_packed += len(self._ahead)
        return bool(self._ahead)
