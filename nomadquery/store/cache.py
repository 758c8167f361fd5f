"""All tables below one cache folder: list, find, remove, verify.

Only what a manifest names counts; files that a killed process left beside it are removed with
their table and never read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from filelock import Timeout

from nomadquery.errors import CacheCorrupt, CacheError, QueryError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Optimade,
    Or,
    Range,
    Within,
)
from nomadquery.query.explain import in_words
from nomadquery.query.resolve import stated
from nomadquery.store.files import explained
from nomadquery.store.tables import Manifest, TableStore

TABLES: Final = "tables"
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


def kept_tables(folder: Path) -> list[KeptTable]:
    """Return all tables below a cache folder, the last fetched first, damaged ones at the end."""
    places = folder / TABLES
    with explained(places):
        folders = sorted(path for path in places.iterdir() if path.is_dir()) if places.is_dir() else []
    tables = [table for table in map(_kept, folders) if table is not None]
    return sorted(tables, key=lambda table: table.fetched_at or "", reverse=True)


def find_table(folder: Path, key: str) -> KeptTable:
    """Return the table whose key begins with ``key``.

    Raises
    ------
    CacheError
        If there is none, or there are several.
    """
    found = [table for table in kept_tables(folder) if key and table.key.startswith(key)]
    if not found:
        raise CacheError(
            f"No table kept in {folder} has a key that begins with {key!r}: nomadquery cache list."
        )
    if len(found) > 1:
        keys = ", ".join(table.key for table in found)
        raise CacheError(f"Several tables have a key that begins with {key!r}: {keys}. Give more of it.")
    return found[0]


def remove_table(table: KeptTable) -> None:
    """Remove a table from disk.

    Raises
    ------
    CacheError
        If another process is fetching it, or the folder cannot be written to.
    """
    with _locked(table):
        table.store.clear()


def damage_in(table: KeptTable) -> str | None:
    """Return what is wrong with a table after reading all of it, ``None`` if nothing is."""
    if table.manifest is None:
        return table.damage
    try:
        for _ in table.store.batches():
            pass
    except CacheCorrupt as error:
        return str(error)
    return None


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


@contextmanager
def _locked(table: KeptTable) -> Iterator[None]:
    try:
        with explained(table.store.folder), table.store.lock(_WAIT_S):
            yield
    except Timeout as error:
        raise CacheError(
            f"The table {table.key} is being fetched by another process; end that first."
        ) from error


def _in_words(plain: Any) -> str:
    try:
        return in_words(stated(_tree(plain), catalogue_for()))
    except (QueryError, TypeError, ValueError):
        return json.dumps(plain, ensure_ascii=False)  # of a version that spells questions otherwise


def _tree(plain: Any) -> Criterion:
    """Return the tree that `criteria.to_plain` wrote."""
    match plain:
        case ["And", list(parts)]:
            return And(tuple(map(_tree, parts)))
        case ["Or", list(parts)]:
            return Or(tuple(map(_tree, parts)))
        case ["Not", inner]:
            return Not(_tree(inner))
        case ["Within", str(section), list(parts)]:
            return Within(section, tuple(map(_tree, parts)))
        case ["Optimade", str(text)]:
            return Optimade(text)
        case ["Equals", str(quantity), value]:
            return Equals(quantity, value)
        case ["Range", str(quantity), gt, gte, lt, lte]:
            return Range(quantity, gt, gte, lt, lte)
        case ["HasAll", str(quantity), list(values)]:
            return HasAll(quantity, tuple(values))
        case ["HasAny", str(quantity), list(values)]:
            return HasAny(quantity, tuple(values))
        case ["HasNone", str(quantity), list(values)]:
            return HasNone(quantity, tuple(values))
        case _:
            raise ValueError("no tree of a question")
