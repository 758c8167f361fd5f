"""Bytes from somewhere: what can be read forwards, what can be read anywhere, and one read as the other."""

from __future__ import annotations

from typing import Final, Protocol

from nomadquery.raw.zip_records import truncated

#: Read at once: what is searched, counted and written then is still in the cache of a processor core.
BLOCK: Final = 1 << 18


class Readable(Protocol):
    """What can be read forwards."""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, none at the end."""
        ...


class RandomAccess(Protocol):
    """What can be read anywhere."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...

    def read_at(self, offset: int, length: int, /) -> bytes:
        """Return so many bytes from there, fewer only at the end."""
        ...


class Source:
    """A stream with what was read of it and not taken yet; knows how far it is."""

    __slots__ = ("_at", "_data", "_n_before", "_stream")

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._data, self._at, self._n_before = b"", 0, 0

    @property
    def position(self) -> int:
        """How many bytes were taken."""
        return self._n_before + self._at

    def peek(self, n: int) -> bytes:
        """Return the next ``n`` bytes without taking them, fewer only at the end."""
        while len(self._data) - self._at < n and self.fill():
            pass
        return self._data[self._at : self._at + n]

    def take(self, n: int) -> bytes:
        """Return the next ``n`` bytes.

        Raises
        ------
        DownloadTruncated
            If there are fewer.
        """
        taken = self.peek(n)
        if len(taken) < n:
            raise truncated()
        self._at += n
        return taken

    def some(self, most: int) -> bytes:
        """Return from one to ``most`` of the next bytes: those that are here.

        Raises
        ------
        DownloadTruncated
            If there are none.
        """
        if self._at == len(self._data) and not self.fill():
            raise truncated()
        taken = self._data[self._at : self._at + most]
        self._at += len(taken)
        return taken

    def give_back(self, n: int) -> None:
        """Let the last ``n`` bytes that `some` gave be the next ones again."""
        self._at -= n

    def before(self, signature: bytes, skip: int) -> tuple[int, bool]:
        """Return how many of the bytes that are here come before a signature, and whether it was found.

        The first ``skip`` bytes are not searched. Bytes that may be its beginning do not come before it.
        """
        start = self._at + skip
        # one byte is found ten times as fast as four, and most files are text, which has not this one
        is_there = self._data.find(signature[2:3], start) >= 0
        place = self._data.find(signature, start) if is_there else -1
        if place >= 0:
            return place - self._at, True
        return max(skip, len(self._data) - self._at - len(signature) + 1), False

    def fill(self) -> bool:
        """Read more behind what is here; return whether there was any."""
        block = self._stream.read(BLOCK)
        self._n_before += self._at
        self._data = self._data[self._at :] + block if self._at < len(self._data) else block
        self._at = 0
        return bool(block)


class Slice:
    """A part of something that can be read anywhere, to be read forwards."""

    __slots__ = ("_at", "_end", "_source")

    def __init__(self, source: RandomAccess, begin: int, end: int) -> None:
        self._source, self._at, self._end = source, begin, end

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` of the next bytes of the part, none at its end."""
        length = min(n, self._end - self._at)
        block = self._source.read_at(self._at, length) if length > 0 else b""
        self._at += len(block)
        return block
