"""The stored zip of a published upload, read mostly forwards: one request for each run of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Final

from nomadquery.errors import DownloadTruncated, NotSupported, ResultChanged, Unreachable
from nomadquery.http.message import Request, Stream
from nomadquery.http.raw_endpoints import end_of_stored_upload, parse_part, stored_upload

Open = Callable[[Request], AbstractContextManager[Stream]]

#: What lies between two wanted members is read as well if it is not more: cheaper than another request.
GAP_BYTES: Final = 1 << 20
#: The end of a zip of some ten thousand members, with their directory.
_END_BYTES: Final = 1 << 20
#: Failures without a byte between them, after which nobody goes on.
_MOST_STALLS: Final = 3


def runs_of(places: Iterable[tuple[int, int]], gap_bytes: int = GAP_BYTES) -> tuple[tuple[int, int], ...]:
    """Return places (first byte, end) as runs: those that overlap or lie near each other become one."""
    runs: list[tuple[int, int]] = []
    for begin, end in sorted(places):
        if runs and begin - runs[-1][1] <= gap_bytes:
            runs[-1] = runs[-1][0], max(end, runs[-1][1])
        else:
            runs.append((begin, end))
    return tuple(runs)


class StoredUpload:
    """Bytes of the stored zip, for `unpack.directory` and `unpack.open_member`; leave the context to end it.

    A read goes on with the request that is open where it can, after a failure at the byte. The end of the
    zip is kept in memory, since its directory is read from there.

    Parameters
    ----------
    open_ : callable
        `Transport.open`.
    upload_id : str
    """

    def __init__(self, open_: Open, upload_id: str) -> None:
        self._open = open_
        self._upload_id = upload_id
        self._closing = ExitStack()
        self._stream: Stream | None = None
        self._at = self._until = 0
        self._etag: str | None = None
        self._runs: tuple[tuple[int, int], ...] = ()
        self._end, self.size_bytes = self._read_end()

    def __enter__(self) -> StoredUpload:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def expect(self, places: Sequence[tuple[int, int]]) -> None:
        """Say which places will be read, in their order, so that each run of them is one request."""
        self._runs = runs_of(places)

    def read_at(self, offset: int, length: int, /) -> bytes:
        """Return so many bytes from there, fewer only at the end.

        Raises
        ------
        Unreachable
            If it keeps failing without giving a byte.
        ResultChanged
            If the zip is another one meanwhile.
        DownloadTruncated
            If the answer ends before its end.
        """
        stop = min(offset + length, self.size_bytes)
        begins = self.size_bytes - len(self._end)
        if offset >= begins:
            return self._end[offset - begins : stop - begins]
        pieces: list[bytes] = []
        n_stalls = 0
        while offset < stop:
            try:
                piece = self._next(offset, stop - offset)
            except Unreachable:
                self._leave()
                n_stalls += 1
                if n_stalls == _MOST_STALLS:
                    raise
                continue
            n_stalls = 0
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def _next(self, offset: int, n: int) -> bytes:
        """Return the next bytes from a place, of the request that is open or a new one."""
        if self._stream is not None and not self._at <= offset < min(self._until, self._at + GAP_BYTES):
            self._leave()
        if self._stream is None:
            self._begin(offset)
        assert self._stream is not None
        while True:
            skipped = offset - self._at
            piece = self._stream.read(skipped or n)
            if not piece:
                at, self._at = self._at, self._until
                self._leave()
                raise DownloadTruncated(
                    f"The stored zip of upload {self._upload_id} ended at byte {at} of {self.size_bytes}."
                )
            self._at += len(piece)
            if not skipped:
                return piece

    def _begin(self, offset: int) -> None:
        end = next((end for begin, end in self._runs if begin <= offset < end), self.size_bytes)
        request = stored_upload(self._upload_id, offset=offset, length=end - offset)
        self._stream = self._closing.enter_context(self._open(request))
        part = parse_part(self._stream)
        self._check_same(self._stream, part.total_bytes)
        self._at, self._until = part.offset, end
        if part.offset > offset or (self._stream.status == 200 and offset - part.offset > GAP_BYTES):
            self._leave()
            raise _no_ranges(self._upload_id)

    def _leave(self) -> None:
        self._stream = None
        self._closing.close()

    def _read_end(self) -> tuple[bytes, int]:
        for n_stalls in range(_MOST_STALLS):
            try:
                with self._open(end_of_stored_upload(self._upload_id, _END_BYTES)) as stream:
                    part = parse_part(stream)
                    if stream.status != 206 or part.total_bytes is None:
                        raise _no_ranges(self._upload_id)
                    self._etag = stream.headers.get("etag")
                    pieces = []
                    while piece := stream.read(_END_BYTES):
                        pieces.append(piece)
            except Unreachable:
                if n_stalls == _MOST_STALLS - 1:
                    raise
                continue
            end = b"".join(pieces)
            if part.offset + len(end) != part.total_bytes:
                raise DownloadTruncated(f"The end of the stored zip of upload {self._upload_id} is cut.")
            return end, part.total_bytes
        raise AssertionError("a loop that returns or raises")

    def _check_same(self, stream: Stream, total_bytes: int | None) -> None:
        etag = stream.headers.get("etag")
        is_other = self._etag is not None and etag is not None and etag != self._etag
        if is_other or total_bytes not in (None, self.size_bytes):
            raise ResultChanged(
                f"The stored zip of upload {self._upload_id} was replaced while it was read. Try again."
            )


def _no_ranges(upload_id: str) -> NotSupported:
    return NotSupported(
        f"The server gives the stored zip of upload {upload_id} only as a whole. Its files can be had one by "
        'one: route="files".'
    )
