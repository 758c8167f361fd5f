"""What lies in a folder of an upload: pure functions over the paths of its raw files.

A zip knows no folders; one is there if a file lies below it. Everything is in the order of paths.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from nomadquery.local.raw_store import StoredFile, StoredFiles


@dataclass(frozen=True, slots=True)
class Item:
    """A file in a folder, or a folder with the size of all that lies below it."""

    name: str
    is_file: bool
    size_bytes: int


def is_folder(files: StoredFiles, path: str) -> bool:
    """Return whether there is such a folder; the upload itself (``""``) always is one."""
    return not path or bool(below(files, path))


def below(files: StoredFiles, folder: str) -> Sequence[StoredFile]:
    """Return all files below a folder."""
    paths = files.paths
    start, end = (f"{folder}/", f"{folder}0") if folder else ("", "\U0010ffff")  # "0" follows "/"
    return [files[path] for path in paths[bisect_left(paths, start) : bisect_left(paths, end)]]


def directly_in(files: StoredFiles, folder: str) -> Sequence[StoredFile]:
    """Return the files of a folder itself: those of an entry, whose mainfile is one of them."""
    return [file for file in below(files, folder) if folder_of(file.path) == folder]


def items_of(files: StoredFiles, folder: str) -> Sequence[Item]:
    """Return the files and folders that a folder shows."""
    start = len(folder) + 1 if folder else 0
    items: dict[str, Item] = {}
    for file in below(files, folder):
        name, _, rest = file.path[start:].partition("/")
        known = items.get(name)
        size_bytes = file.size_bytes + (known.size_bytes if known else 0)
        items[name] = Item(name, not rest, size_bytes)
    return list(items.values())


def folder_of(path: str) -> str:
    """Return the folder that a file lies in, ``""`` for the upload itself."""
    return path.rpartition("/")[0]
