"""Where the traffic to a host is kept: in this process, or in a note that all of this machine share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from nomadquery.http.lanes import Traffic
from nomadquery.store.shared import Shared

Change = Callable[[Traffic | None], Traffic]


class Bucket(Protocol):
    """Where traffic is kept, and under which name this process has its seat there."""

    seat: str

    def look(self) -> Traffic | None:
        """Return what is kept, without waiting; ``None`` if that cannot be read just now."""
        ...

    def change(self, change: Change) -> None:
        """Replace what is kept, while nobody else does; ``None`` is given where there is nothing usable.

        Raises
        ------
        OSError
            If it can be kept there no longer.
        """
        ...

    def gone(self, seats: Iterable[str]) -> tuple[str, ...]:
        """Return the seats of processes that have ended."""
        ...


class OwnBucket:
    """Traffic of this process alone; who changes it must keep other threads out."""

    def __init__(self) -> None:
        self.seat = "own"
        self._traffic: Traffic | None = None

    def look(self) -> Traffic | None:
        """Return what is kept; see `Bucket`."""
        return self._traffic

    def change(self, change: Change) -> None:
        """Replace what is kept; see `Bucket`."""
        self._traffic = change(self._traffic)

    def gone(self, seats: Iterable[str]) -> tuple[str, ...]:
        """Return the seats of others; there can be none."""
        return tuple(seat for seat in seats if seat != self.seat)


class SharedBucket:
    """Traffic in a folder of this machine; who changes it must keep other threads out.

    Raises
    ------
    OSError
        If the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._shared = Shared(folder)
        self.seat = self._shared.seat
        self._decoder = msgspec.json.Decoder(Traffic)

    def look(self) -> Traffic | None:
        """Return what is kept; see `Bucket`."""
        try:
            return self._read(self._shared.read())
        except OSError:
            return None  # told when it is changed

    def change(self, change: Change) -> None:
        """Replace what is kept; see `Bucket`."""
        self._shared.change(lambda note: msgspec.json.encode(change(self._read(note))))

    def gone(self, seats: Iterable[str]) -> tuple[str, ...]:
        """Return the seats of processes that have ended; see `Bucket`."""
        return self._shared.gone(seats)

    def _read(self, note: bytes) -> Traffic | None:
        try:
            return self._decoder.decode(note)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # empty, half-written or of another format: started afresh
