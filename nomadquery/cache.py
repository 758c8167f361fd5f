"""What is kept on this machine: `list_tables`, `describe`, `remove`, `clear`, `verify`, `pack`, `unpack`.

::

    from nomadquery import cache
    cache.list_tables()
    cache.remove("0db219")

``folder`` is the one given to ``Nomad(cache_dir=…)``; else ``NOMADQUERY_CACHE_DIR``, else the user's
cache folder. Tables are found by the first letters of their key. Whole archives of one deployment and one
``required`` are kept together and count as one table here, a row for each archive.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nomadquery.errors import InvalidRequest, QueryError
from nomadquery.http.deployment import find_deployment
from nomadquery.session import cache_folder
from nomadquery.store.cache import (
    KeptArchives,
    KeptData,
    damage_in,
    find_kept,
    kept_data,
    remove_kept,
)
from nomadquery.store.packs import read_pack, write_pack

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("key", "deployment", "owner", "query", "rows", "state", "size_bytes", "fetched_at")


def list_tables(folder: str | Path | None = None) -> pd.DataFrame:
    """Return a row for each table, the last fetched first.

    Columns: ``key``, ``deployment``, ``owner``, ``query`` (in words; of archives what was asked of each),
    ``rows``, ``state`` (``complete``; ``partial``: the same call goes on; ``damaged``), ``size_bytes``,
    ``fetched_at`` (UTC; of archives that of the last one).
    """
    import pandas as pd

    rows = [_row(table) for table in kept_data(_folder(folder))]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    times = pd.to_datetime(frame["fetched_at"], utc=True, format="ISO8601", errors="coerce")
    return frame.assign(fetched_at=times).astype({"rows": "int64", "size_bytes": "int64"})


def describe(key: str, *, folder: str | Path | None = None) -> dict[str, Any]:
    """Return what is known of one table, as JSON holds it.

    That is ``key``, ``state``, ``deployment``, ``owner``, ``query`` (in words), ``columns`` (name → unit or
    ``None``), ``sort``, ``limit``, ``rows``, ``size_bytes``, ``fetched_at``, ``release``, ``files`` (paths),
    ``problems`` (what rows lack) and ``damage``. Archives have no columns, sort, limit, release and problems.

    Raises
    ------
    CacheError
        If no table, or several, have a key that begins so.
    """
    table = find_kept(_folder(folder), key)
    if isinstance(table, KeptArchives):
        files = [str(path) for path in table.store.files()]
        return {**dict(zip(_COLUMNS, _row(table), strict=True)), "files": files, "damage": table.damage}
    manifest = table.manifest
    columns = {
        one["name"]: one.get("unit") or one.get("stored_unit") for one in table.request.get("columns", ())
    }
    return {
        **dict(zip(_COLUMNS, _row(table), strict=True)),
        "columns": columns,
        "sort": table.request.get("sort"),
        "limit": table.request.get("limit"),
        "release": None if manifest is None else manifest.facts.get("release"),
        "files": [] if manifest is None else [str(table.store.folder / part.file) for part in manifest.parts],
        "problems": [] if manifest is None else [dict(line) for line in manifest.problems],
        "damage": table.damage,
    }


def remove(key: str, *, folder: str | Path | None = None) -> str:
    """Remove one table; return its whole key.

    Raises
    ------
    CacheError
        If no table, or several, have a key that begins so, or another process is fetching it.
    """
    table = find_kept(_folder(folder), key)
    remove_kept(table)
    return table.key


def clear(*, folder: str | Path | None = None) -> list[str]:
    """Remove all tables; return their keys.

    Raises
    ------
    CacheError
        If another process is fetching one of them.
    """
    tables = kept_data(_folder(folder))
    for table in tables:
        remove_kept(table)
    return [table.key for table in tables]


def verify(*keys: str, folder: str | Path | None = None) -> pd.DataFrame:
    """Return ``key``, ``rows`` and ``damage`` (null where there is none) after reading tables to their end.

    Files are compared with the SHA-256 that was noted when they were written.

    Without ``keys`` all tables are read.

    Raises
    ------
    CacheError
        If no table, or several, have a key that begins so.
    """
    import pandas as pd

    where = _folder(folder)
    tables = [find_kept(where, key) for key in keys] if keys else kept_data(where)
    rows = [(table.key, table.n_rows, damage_in(table)) for table in tables]
    return pd.DataFrame(rows, columns=["key", "rows", "damage"]).astype({"damage": "string"})


def pack(*keys: str, to: str | Path, folder: str | Path | None = None) -> Path:
    """Write tables and archives into one file, for a machine without a network; return its path.

    ``keys`` are those of `list_tables`, or their first letters.

    Raises
    ------
    CacheError
        If no table, or several, have a key that begins so; if one is not complete, or damaged.
    """
    where = _folder(folder)
    if not keys:
        raise QueryError("pack(...) takes the keys of the tables: nomadquery cache list shows them.")
    found = {kept.key: kept for kept in (find_kept(where, key) for key in keys)}
    return write_pack(where, list(found.values()), Path(to).expanduser())


def unpack(file: str | Path, *, folder: str | Path | None = None) -> pd.DataFrame:
    """Put the tables of a packed file into the cache folder; return ``key``, ``rows``, ``outcome`` of each.

    ``outcome`` is ``unpacked``, ``here already`` or ``newer here``: a newer table stays. All hashes are
    compared before anything is written. Afterwards ``offline=True`` gives the tables.

    Raises
    ------
    UnsafeContent
        If the file holds names that no pack has.
    CacheCorrupt, CacheFormatTooNew
        If it is damaged, no pack, or written by a newer nomadquery.
    """
    import pandas as pd

    done = read_pack(_folder(folder), Path(file).expanduser())
    rows = [(one.key, one.n_rows, one.outcome) for one in done]
    return pd.DataFrame(rows, columns=["key", "rows", "outcome"])


def _folder(given: str | Path | None) -> Path:
    return cache_folder(given, os.environ)


def _row(table: KeptData) -> tuple[Any, ...]:
    request = table.request
    return (
        table.key,
        _deployment_name(request.get("deployment")),
        request.get("owner"),
        _on_one_line(table.words) if request else None,
        table.n_rows,
        table.state,
        table.size_bytes,
        table.fetched_at,
    )


def _deployment_name(address: Any) -> str | None:
    """Return ``prod`` for the address of the public API, and the like; other addresses as they stand."""
    if not isinstance(address, str):
        return None
    try:
        return find_deployment(address).name
    except InvalidRequest:
        return address.removeprefix("nomadquery:")


def _on_one_line(words: str) -> str:
    return "; ".join(line.strip() for line in words.splitlines()).replace(":; ", ": ")
