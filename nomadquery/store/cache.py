"""All tables and archives below one cache folder: list, find, remove, verify.

Of a table only what a manifest names counts; files that a killed process left beside it are removed with
it and never read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, assert_never

from filelock import Timeout

from nomadquery.errors import CacheCorrupt, CacheError, QueryError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.explain import in_words
from nomadquery.query.plain import tree_of
from nomadquery.query.resolve import stated
from nomadquery.store.archives import ArchiveStore, Kept
from nomadquery.store.files import explained
from nomadquery.store.manifests import Manifest
from nomadquery.store.tables import TableStore

TABLES: Final = "tables"
ARCHIVES: Final = "archives"
_WAIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class KeptTable:
    """One table on disk, as far as its manifest can be read.

    Attributes
    ----------
    key : str
        Hash of what was asked; the name of its folder.
    store : TableStore
    manifest : Manifest or None
        ``None`` if it cannot be read, or files that it names are missing.
    damage : str or None
        Why there is no manifest.
    """

    key: str
    store: TableStore
    manifest: Manifest | None
    damage: str | None = None

    @property
    def state(self) -> Literal["complete", "partial", "damaged"]:
        """``complete``; ``partial``: fetching goes on when it is asked for again; ``damaged``."""
        return "damaged" if self.manifest is None else self.manifest.state

    @property
    def request(self) -> Mapping[str, Any]:
        """What was asked: deployment, owner, user, query, columns, sort, limit."""
        return {} if self.manifest is None else self.manifest.request

    @property
    def n_rows(self) -> int:
        """Rows that are here."""
        return 0 if self.manifest is None else self.manifest.n_rows

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files on disk, the ones left by killed processes included."""
        with explained(self.store.folder):
            return sum(path.stat().st_size for path in self.store.folder.iterdir() if path.is_file())

    @property
    def fetched_at(self) -> str | None:
        """When it was fetched, or begun; ISO time in UTC."""
        facts: Mapping[str, Any] = {} if self.manifest is None else self.manifest.facts
        return facts.get("fetched_at") or facts.get("begun_at")

    @property
    def words(self) -> str:
        """The query in plain words, one line for each criterion."""
        return _in_words(self.request.get("query"))


@dataclass(frozen=True, slots=True)
class KeptArchives:
    """The archives on disk that one deployment gave for one ``required``.

    Attributes
    ----------
    key : str
        Hash of what was asked; the name of their folder.
    store : ArchiveStore
    request : mapping
        What was asked: deployment, owner, user, required.
    index : mapping
        Entry id → what is known of its archive, as far as that can be read.
    damage : str or None
        What cannot be read.
    """

    key: str
    store: ArchiveStore
    request: Mapping[str, Any]
    index: Mapping[str, Kept]
    damage: str | None = None

    @property
    def state(self) -> Literal["complete", "damaged"]:
        """``complete``: each archive is whole; others are added as they are asked for."""
        return "complete" if self.damage is None else "damaged"

    @property
    def n_rows(self) -> int:
        """Archives that are here."""
        return len(self.index)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files on disk."""
        with explained(self.store.folder):
            return sum(path.stat().st_size for path in self.store.folder.iterdir() if path.is_file())

    @property
    def fetched_at(self) -> str | None:
        """When the last of them was fetched; ISO time in UTC."""
        return max((kept.fetched_at for kept in self.index.values()), default=None)

    @property
    def words(self) -> str:
        """What was asked of each archive."""
        required = self.request.get("required")
        if required == "*":
            return "whole archives"
        return f"archives, required {json.dumps(required, ensure_ascii=False)}"


#: What `nomadquery cache` is about.
KeptData = KeptTable | KeptArchives


def kept_data(folder: Path) -> list[KeptData]:
    """Return all tables and archives below a cache folder, the last fetched first, damaged ones last."""
    return sorted(
        [*kept_tables(folder), *kept_archives(folder)], key=lambda kept: kept.fetched_at or "", reverse=True
    )


def kept_archives(folder: Path) -> list[KeptArchives]:
    """Return all sets of archives below a cache folder, by key."""
    found = (_kept_archives(path) for path in _folders(folder / ARCHIVES))
    return [one for one in found if one is not None]


def kept_tables(folder: Path) -> list[KeptTable]:
    """Return all tables below a cache folder, the last fetched first, damaged ones at the end."""
    tables = [table for table in map(_kept, _folders(folder / TABLES)) if table is not None]
    return sorted(tables, key=lambda table: table.fetched_at or "", reverse=True)


def find_kept(folder: Path, key: str) -> KeptData:
    """Return the table, or the archives, whose key begins with ``key``.

    Raises
    ------
    CacheError
        If there is none, or there are several.
    """
    found = [kept for kept in kept_data(folder) if key and kept.key.startswith(key)]
    if not found:
        raise CacheError(
            f"No table kept in {folder} has a key that begins with {key!r}: nomadquery cache list."
        )
    if len(found) > 1:
        keys = ", ".join(kept.key for kept in found)
        raise CacheError(f"Several tables have a key that begins with {key!r}: {keys}. Give more of it.")
    return found[0]


def remove_kept(kept: KeptData) -> None:
    """Remove a table, or archives, from disk.

    Raises
    ------
    CacheError
        If another process is fetching it, or the folder cannot be written to.
    """
    with locked(kept):
        kept.store.clear()


def damage_in(kept: KeptData) -> str | None:
    """Return what is wrong with a table, or archives, after reading all of it; ``None`` if nothing is."""
    if kept.damage is not None:
        return kept.damage
    try:
        match kept:
            case KeptTable(store=table, manifest=manifest):
                if manifest is not None and manifest.state == "complete":
                    table.check_hashes(manifest)
                for _ in table.batches():
                    pass
            case KeptArchives(store=archives):
                for one in kept.index.values():
                    archives.read(one)
            case _:
                assert_never(kept)
    except CacheCorrupt as error:
        return str(error)
    return None


def _folders(place: Path) -> list[Path]:
    with explained(place):
        return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _kept_archives(folder: Path) -> KeptArchives | None:
    """Return the archives in a folder; ``None`` if nothing was begun there, or it was removed."""
    store = ArchiveStore(folder)
    damages: list[str] = []
    request: Mapping[str, Any] | None = {}
    index: dict[str, Kept] = {}
    try:
        request = store.request()
        index = store.index(lambda _, error: damages.append(str(error)))
    except CacheError as error:
        damages.append(str(error))
    if request is None and not index and not damages:
        return None
    return KeptArchives(folder.name, store, request or {}, index, damages[0] if damages else None)


def _kept(folder: Path) -> KeptTable | None:
    """Return the table in a folder; ``None`` if nothing was begun there, or it was removed."""
    store = TableStore(folder)
    try:
        manifest = store.manifest()
    except CacheError as error:
        return KeptTable(folder.name, store, None, str(error))
    if manifest is None:
        return None
    if not isinstance(manifest.request, Mapping) or not isinstance(manifest.facts, Mapping):
        return KeptTable(folder.name, store, None, f"the manifest in {folder} is not what nomadquery writes")
    return KeptTable(folder.name, store, manifest)


def release_note(folder: Path, api_base: str) -> Path:
    """Return the file that says which release runs at an address, in a cache folder."""
    host = "".join(c if c.isalnum() else "-" for c in api_base)
    return folder / "deployments" / f"{host}.json"


@contextmanager
def locked(kept: KeptData) -> Iterator[None]:
    """Hold the lock of a table, or archives, that nobody is fetching.

    Raises
    ------
    CacheError
        If another process is.
    """
    try:
        with explained(kept.store.folder), kept.store.lock(_WAIT_S):
            yield
    except Timeout as error:
        raise CacheError(
            f"The table {kept.key} is being fetched by another process; end that first."
        ) from error


def _in_words(plain: Any) -> str:
    try:
        return in_words(stated(tree_of(plain), catalogue_for()))
    except (QueryError, TypeError, ValueError):
        return json.dumps(plain, ensure_ascii=False)  # of a version that spells questions otherwise
