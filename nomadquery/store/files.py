"""Files that are whole or absent: written beside their place, flushed, then moved into it."""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from nomadquery.errors import CacheError

CACHE_ADVICE: Final = "Set NOMADQUERY_CACHE_DIR, or Nomad(cache_dir=…), to a folder that can."
_BLOCK: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
#: No permission, a read-only disk, a file where a folder should be.
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o644, advice: str = CACHE_ADVICE) -> Iterator[IO[bytes]]:
    """Give a stream whose content becomes ``path`` when the block ends without an error.

    Killed or failing at any point, ``path`` is what it was before. The folder is made. ``advice``
    is said where the folder cannot be written.

    Raises
    ------
    CacheError
        If the disk is full or the folder cannot be written.
    """
    with explained(path, advice=advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        neighbour = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            neighbour.chmod(mode)
            neighbour.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                neighbour.unlink()
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def explained(path: Path, *, advice: str = CACHE_ADVICE) -> Iterator[None]:
    """Turn what the file system refuses at ``path`` into a `CacheError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise CacheError(
                f"The disk is full: {path} could not be written. Nothing half-written is read. Make room "
                "(`nomadquery cache list` shows what is kept) and run it again: it goes on where it stopped."
            ) from error
        if error.errno in _REFUSED:
            raise CacheError(f"{path.parent} cannot be written. {advice}") from error
        raise


def sync_folder(folder: Path) -> None:
    """Make the renames in ``folder`` durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, content: Any, *, mode: int = 0o644) -> None:
    """Write ``content`` as readable JSON, whole or not at all."""
    with replacing(path, mode=mode) as stream:
        stream.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, ``None`` if there is no such file.

    Raises
    ------
    ValueError
        If it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def holds(path: Path, content: bytes) -> bool:
    """Return whether there is a file with exactly this content."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def copied(source: IO[bytes], target: IO[bytes] | None) -> tuple[int, str]:
    """Copy what is left of a stream (``None``: only read it); return its bytes and their SHA-256."""
    digest, size_bytes = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        digest.update(block)
        size_bytes += len(block)
        if target is not None:
            target.write(block)
    return size_bytes, digest.hexdigest()


def remove_file(path: Path) -> None:
    """Remove a file; one that is not there is as well."""
    with explained(path):
        path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that it holds; one that is not there is as well."""
    if folder.exists():
        with explained(folder):
            shutil.rmtree(folder)


def is_writable(folder: Path) -> bool:
    """Return whether files can be made in ``folder`` (which is made if it can be).

    A full disk is no reason to look elsewhere: it is told when something is written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        return error.errno in _FULL


def temporary_folder() -> Path:
    """Return a new folder for what cannot be kept; it goes when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="nomadquery-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def save_token(path: Path, content: dict[str, Any]) -> None:
    """Write a login file that only the user can read (0600)."""
    write_json(path, content, mode=0o600)
