"""`from_lock`: the table that a lockfile pins."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nomadquery.asking import wanted_of
from nomadquery.client import Nomad
from nomadquery.errors import QueryError
from nomadquery.inquiry import Inquiry
from nomadquery.search import Search
from nomadquery.session import Session
from nomadquery.store.pins import Lock

Changed = Literal["refuse", "accept"]


def from_lock(
    lock: str | Path | Lock,
    *,
    changed: Changed = "refuse",
    token: str | None = None,
    username: str | None = None,
    password: str | None = None,
    cache_dir: str | Path | None = None,
    offline: bool = False,
    progress: bool | None = None,
) -> Search:
    """Return the table that a lock pins; lazy. The lock names its deployment.

    The rows come from the table that the lock was made of, if it is kept as it was then (a pack that was
    unpacked counts), or from an earlier call; else the entries are fetched by their ids. NOMAD keeps no old
    versions: what is gone or was processed again or edited since makes `LockMismatch` of every method
    that gives rows. Other columns of the same entries may be selected.

    Parameters
    ----------
    lock : str, Path or Lock
        A lockfile, or a lock or a part of one (`Lock.shard`).
    changed : {"refuse", "accept"}
        Whether entries may be as they are now, or be missing; they stand in ``.problems`` then.
    token, username, password, cache_dir, offline, progress
        As for `Nomad`.

    Raises
    ------
    QueryError, CacheCorrupt, CacheFormatTooNew
        If the file is no lock, is damaged, or was written by a newer nomadquery.
    """
    if changed not in {"refuse", "accept"}:
        raise QueryError(f"changed is 'refuse' or 'accept', not {changed!r}.")
    pins = lock if isinstance(lock, Lock) else Lock.read(lock)
    nomad = Nomad(
        pins.deployment,
        token=token,
        username=username,
        password=password,
        cache_dir=cache_dir,
        offline=offline,
        progress=progress,
    )
    return locked_search(nomad._session, pins, changed=changed)


def locked_search(session: Session, lock: Lock, *, changed: Changed = "refuse") -> Search:
    """Return the table that a lock pins, as this session fetches it."""
    query, wanted = wanted_of(lock, accepts=changed == "accept")
    return Search(Inquiry(session, query, wanted))
