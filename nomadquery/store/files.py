"""Files that are whole or absent: written beside their place, flushed, then moved into it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nomadquery.errors import CacheError

_BLOCK = 1 << 20


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Give a stream whose content becomes ``path`` when the block ends without an error.

    Killed or failing at any point, ``path`` is what it was before. The folder is made.

    Raises
    ------
    CacheError
        If the disk is full or the folder cannot be written.
    """
    with explained(path):
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
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system refuses below ``path`` into a `CacheError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise CacheError(
                f"The disk is full: {path} could not be written. Nothing half-written is read. Make room "
                "(`nomadquery cache list` shows what is kept) and run it again: it goes on where it stopped."
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise CacheError(
                f"{path.parent} cannot be written. Set NOMADQUERY_CACHE_DIR, or Nomad(cache_dir=…), to "
                "a folder that can."
            ) from error
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
    except FileNotFoundError:
        return None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


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
    """Return whether files can be made in ``folder`` (which is made if it can be)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def temporary_folder() -> Path:
    """Return a new folder of this process, for what cannot be kept."""
    return Path(tempfile.mkdtemp(prefix="nomadquery-"))


def save_token(path: Path, content: dict[str, Any]) -> None:
    """Write a login file that only the user can read (0600)."""
    write_json(path, content, mode=0o600)
