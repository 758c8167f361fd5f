"""What processes of this machine share while they run: a note that they change in turn, and their seats.

Both rest on `filelock`: the system frees its locks however a process ends. Locks of network file systems
are slow or do nothing, so the folder must be on a disk of this machine.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import filelock
from filelock import FileLock, SoftFileLock, Timeout

#: A turn takes microseconds; whoever holds it for so long is stopped, not slow.
_PATIENCE_S: Final = 5.0
_POLL_S: Final = 0.002
_BLOCK: Final = 4096
_NEW_S: Final = 60.0
_SEAT: Final = re.compile(r"[0-9]+-[0-9a-f]{16}")
_MOUNTS: Final = Path("/proc/self/mounts")
_NETWORK: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "gpfs"}
    | {"lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"}
)
#: A `FileLock` takes 0.25 ms of Python for each turn in filelock 4, the lock itself 0.01 ms; since 3.30.
_take_turn: Final = getattr(filelock, "lock_descriptor", None)
_give_turn: Final = getattr(filelock, "unlock_descriptor", None)


class Shared:
    """A folder of this machine with one note of a few kilobytes, and a seat for each process.

    Not safe for several threads, nor to be taken along through a fork: each process opens its own.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    OSError
        If the folder cannot be used: not writable, of another user, on a network.
    """

    def __init__(self, folder: Path) -> None:
        if FileLock is SoftFileLock:
            raise OSError(errno.ENOLCK, "this system has no file locks")
        if is_on_network(folder, _MOUNTS.read_text(errors="replace") if _MOUNTS.exists() else ""):
            raise OSError(errno.ENOLCK, "it is on a network file system", str(folder))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            raise PermissionError(errno.EACCES, "it belongs to another user", str(folder))
        self._folder = folder
        self._note = folder / "note.json"
        self._lock_file = folder / "note.lock"
        self.seat = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._own = _lock(self._seat_file(self.seat))
        try:
            self._own.acquire(blocking=False)
        except NotImplementedError as error:
            raise OSError(errno.ENOLCK, "its file system has no locks", str(folder)) from error
        self._sweep()

    def read(self) -> bytes:
        """Return the note as it stands, perhaps while it is being changed; empty if there is none."""
        try:
            return self._note.read_bytes()
        except FileNotFoundError:
            return b""

    def change(self, change: Callable[[bytes], bytes]) -> None:
        """Replace the note by what ``change`` makes of it, while nobody else does.

        The text is padded with spaces: a note is never longer than what is written, so that nothing needs
        to be cut off, and one call of the system writes it.

        Raises
        ------
        OSError
            If the folder has become unusable, or somebody keeps the turn for seconds (`Timeout`).
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._turn():
            handle = os.open(self._note, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(handle, "r+b", buffering=0) as stream:
                before = stream.read()
                after = change(before)
                stream.seek(0)
                stream.write(after.ljust(max(len(before), -len(after) // _BLOCK * -_BLOCK)))

    def gone(self, seats: Iterable[str]) -> tuple[str, ...]:
        """Return those whose process has ended, and remove what is left of them."""
        return tuple(seat for seat in seats if seat != self.seat and self._is_gone(seat))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if _take_turn is None or _give_turn is None:
            with _lock(self._lock_file).acquire(timeout=_PATIENCE_S, poll_interval=_POLL_S):
                yield
            return
        handle = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            until_s = time.monotonic() + _PATIENCE_S
            while not _take_turn(handle, blocking=False):
                if time.monotonic() > until_s:
                    raise Timeout(str(self._lock_file))
                time.sleep(_POLL_S)
            try:
                yield
            finally:
                _give_turn(handle)
        finally:
            os.close(handle)

    def _seat_file(self, seat: str) -> Path:
        return self._folder / f"{seat}.seat"

    def _is_gone(self, seat: str) -> bool:
        path = self._seat_file(seat)
        if _SEAT.fullmatch(seat) is None or not path.exists():
            return True
        try:
            with _lock(path).acquire(blocking=False):
                pass
            path.unlink(missing_ok=True)  # names are never used again, so nobody can have taken it since
        except Timeout:
            return False
        return True

    def _sweep(self) -> None:
        """Remove the seats of processes that ended; one just made may not have been taken yet."""
        newest_s = time.time() - _NEW_S
        self.gone([path.stem for path in self._folder.glob("*.seat") if _changed_s(path) < newest_s])


def is_on_network(folder: Path, mounts: str) -> bool:
    """Return whether a folder (that need not exist yet) lies on a network file system.

    ``mounts`` is the table ``/proc/self/mounts`` of Linux. Where there is none, only the network paths of
    Windows are known.
    """
    whole = Path(os.path.realpath(folder))
    if any(str(path).startswith(("\\\\", "//")) for path in (folder, whole)):
        return True
    found, longest = "", -1
    for line in mounts.splitlines():
        _, place, kind, *_ = [*line.split(" "), "", ""]
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place))
        if len(point.parts) >= longest and (point == whole or point in whole.parents):
            found, longest = kind, len(point.parts)
    return found in _NETWORK


def _lock(path: Path) -> FileLock:
    """Return a lock that one thread may take and another give back, and that ends with its process."""
    if hasattr(FileLock, "fallback_to_soft"):  # filelock 4: a soft lock would outlive who was killed
        return FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False)
    return FileLock(path, mode=0o600, thread_local=False)


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")  # removed meanwhile
