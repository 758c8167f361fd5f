"""What is known of a table on disk: `Manifest`, as its JSON files say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nomadquery.errors import CacheFormatTooNew

FORMAT: Final = 3


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file of a table: its name, rows, size and SHA-256."""

    file: str
    n_rows: int
    size_bytes: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a table on disk.

    Attributes
    ----------
    state : {"partial", "complete"}
    request : dict
        What was asked: deployment, owner, query, columns; the key is its hash.
    parts : tuple of Part
        The files of a whole table: its rows, and its pins.
    n_entries, n_rows : int
        Entries that are here, and their rows; without ``per`` each has one.
    total : int or None
        Entries that the server promised when reading began.
    problems : tuple of dict
        What rows lack: ``entry_id``, ``path``, ``why``.
    facts : dict
        When it was fetched, from which release, units, totals at the end.
    """

    state: Literal["partial", "complete"] = "partial"
    request: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    n_entries: int = 0
    n_rows: int = 0
    total: int | None = None
    problems: tuple[Mapping[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def manifest_from(content: Any, where: object) -> Manifest:
    """Return the manifest that a file at ``where`` holds.

    Raises
    ------
    CacheFormatTooNew
        If a newer nomadquery wrote it.
    ValueError, KeyError, TypeError, AttributeError
        If it is none.
    """
    if content["format"] > FORMAT:
        raise CacheFormatTooNew(
            f"{where} was written by a newer nomadquery (format {content['format']}, this one reads "
            f"{FORMAT}). Update nomadquery, or give another cache_dir."
        )
    known = {name: value for name, value in content.items() if name != "format"}
    parts = tuple(Part(**part) for part in content["parts"])
    return Manifest(**{**known, "problems": tuple(content["problems"]), "parts": parts})
