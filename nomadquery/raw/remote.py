"""Raw files read where they lie: only the bytes that are needed travel, by ``offset`` and ``length``."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Final, Literal, overload

from nomadquery.errors import DownloadTruncated, ResponseFormatError
from nomadquery.http.message import Reply, Request
from nomadquery.http.raw_endpoints import raw_file
from nomadquery.raw.sources import RandomAccess

Send = Callable[[Request], Reply]

#: Bytes of the largest request: each is whole in memory.
MOST_BYTES: Final = 8 << 20
#: Read at least, also where fewer were asked for; doubled for each read that goes on where the last ended.
_LEAST_BYTES: Final = 1 << 16


class RemoteFile:
    """One raw file, to be read anywhere. Keeps nothing and no connection; safe in several threads.

    Parameters
    ----------
    send : callable
        `Transport.send`: what fails on the way is repeated there.
    upload_id, path : str
        Which file.
    size_bytes : int
        As the server lists it.
    """

    def __init__(self, send: Send, upload_id: str, path: str, size_bytes: int) -> None:
        self._send = send
        self._upload_id = upload_id
        self.path = path
        self.size_bytes = size_bytes

    def read_at(self, offset: int, length: int, /) -> bytes:
        """Return so many bytes from there, fewer only at the end; one request for each 8 MiB.

        Raises
        ------
        DownloadTruncated
            If the file is shorter than it was listed.
        NotFound, NotPermitted, Unreachable …
            As `Transport.send`.
        """
        stop = min(offset + length, self.size_bytes)
        pieces = [
            self._piece(start, min(MOST_BYTES, stop - start)) for start in range(offset, stop, MOST_BYTES)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, offset: int, length: int) -> bytes:
        body = self._send(raw_file(self._upload_id, self.path, offset=offset, length=length)).body
        if len(body) < length:
            raise DownloadTruncated(
                f"{self.path!r} of upload {self._upload_id} was listed with {self.size_bytes} bytes and ends "
                f"at {offset + len(body)}: it was replaced, or the answer was cut. List it again."
            )
        if len(body) > length:
            raise ResponseFormatError(
                f"{len(body)} bytes of {self.path!r} came where {length} were asked for: the server does not "
                "give parts of files. Download the whole file."
            )
        return body

    def __repr__(self) -> str:
        return f"RemoteFile({self._upload_id!r}, {self.path!r}, {self.size_bytes} bytes)"


class FileLike(io.RawIOBase):
    """Anything that can be read anywhere as a binary file of Python, with a bounded read-ahead.

    What is read on and on is asked for in ever larger parts, up to 8 MiB, which is also what is in memory; a
    jump begins small again.

    Parameters
    ----------
    source : RandomAccess
        What is read.
    name : str
        What the file is called, as libraries look at suffixes.
    """

    def __init__(self, source: RandomAccess, name: str) -> None:
        super().__init__()
        self._source = source
        self.name = name
        self._at = 0
        self._begin, self._kept = 0, b""
        self._ahead = _LEAST_BYTES

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place, and return it; nothing is asked for.

        Raises
        ------
        ValueError
            If it lies before the beginning, or ``whence`` is none.
        """
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size_bytes}
        if whence not in origins or origins[whence] + offset < 0:
            raise ValueError(f"There is no place {offset} from {whence} in {self.name!r}.")
        self._at = origins[whence] + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer with the next bytes, as far as they are here or come with one request."""
        self._checkClosed()
        view = memoryview(buffer).cast("B")
        start = self._at - self._begin
        if not 0 <= start < len(self._kept):
            self._fill(len(view))
            start = 0
        given = self._kept[start : start + len(view)]
        view[: len(given)] = given
        self._at += len(given)
        return len(given)

    def _fill(self, wanted: int) -> None:
        is_going_on = bool(self._kept) and self._at == self._begin + len(self._kept)
        self._ahead = min(2 * self._ahead, MOST_BYTES) if is_going_on else _LEAST_BYTES
        length = min(max(wanted, self._ahead), MOST_BYTES)
        self._kept = b""  # not both in memory
        self._begin, self._kept = self._at, self._source.read_at(self._at, length)


@overload
def opened(source: RandomAccess, name: str, mode: Literal["rb"] = ...) -> io.BufferedReader[FileLike]: ...
@overload
def opened(
    source: RandomAccess, name: str, mode: Literal["r", "rt"], *, encoding: str = ...
) -> io.TextIOWrapper: ...
def opened(
    source: RandomAccess, name: str, mode: Literal["rb", "r", "rt"] = "rb", *, encoding: str = "utf-8"
) -> io.BufferedReader[FileLike] | io.TextIOWrapper:
    """Return a file of Python over anything that can be read anywhere; nothing is asked for yet.

    Parameters
    ----------
    source : RandomAccess
        Such as a `RemoteFile`.
    name : str
        What it is called.
    mode : {"rb", "r", "rt"}
        Bytes, or text.
    encoding : str
        Of a text.

    Raises
    ------
    ValueError
        If the mode is none of these: raw files cannot be written here.
    """
    if mode not in {"rb", "r", "rt"}:
        raise ValueError(f"mode={mode!r}: raw files are opened to be read, with 'rb', 'r' or 'rt'.")
    reader = io.BufferedReader(FileLike(source, name), _LEAST_BYTES)
    return reader if mode == "rb" else io.TextIOWrapper(reader, encoding)


def head(source: RandomAccess, size_bytes: int) -> bytes:
    """Return the first bytes, all if there are fewer; nothing else is read."""
    return source.read_at(0, _checked(size_bytes))


def tail(source: RandomAccess, size_bytes: int) -> bytes:
    """Return the last bytes, all if there are fewer; nothing else is read."""
    begin = max(0, source.size_bytes - _checked(size_bytes))
    return source.read_at(begin, source.size_bytes - begin)


def _checked(size_bytes: int) -> int:
    if size_bytes < 0:
        raise ValueError(f"There are no {size_bytes} bytes.")
    return size_bytes
