"""How a table may be had, and whether what is kept of it will do."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nomadquery.errors import CacheCorrupt, CacheError
from nomadquery.fetch.plan import Question
from nomadquery.store.manifests import Manifest
from nomadquery.store.tables import TableStore


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a table may be had.

    Attributes
    ----------
    refresh : bool
        Fetch it again, whatever is kept.
    max_age : timedelta or None
        Fetch it again if it is older.
    offline : bool
        Send nothing.
    progress : bool or None
        Show a bar; ``None``: where somebody looks.
    goes_on : bool
        Finish what was begun, whatever is kept whole.
    """

    refresh: bool = False
    max_age: timedelta | None = None
    offline: bool = False
    progress: bool | None = None
    goes_on: bool = False


def is_servable(manifest: Manifest, question: Question, wishes: Wishes) -> bool:
    """Return whether the table on disk is given without asking the server.

    Only a complete, public table that has rows is, of a deployment that is as it was; and one that
    is asked for offline.
    """
    if manifest.state != "complete" or wishes.refresh or wishes.goes_on or _is_too_old(manifest, wishes):
        return False
    if wishes.offline or question.pinned is not None:
        return True  # what a lockfile pins does not change
    is_same_state = manifest.facts.get("state") == question.state
    return question.owner == "public" and manifest.n_entries > 0 and is_same_state


def kept(store: TableStore, question: Question, wishes: Wishes) -> Manifest | None:
    """Return the table on disk if it is given without asking; what is damaged is not, with a warning.

    Raises
    ------
    CacheError
        Offline, if the table is not kept whole, is damaged, or too old.
    """
    try:
        known = store.manifest()
        if known is not None and is_servable(known, question, wishes):
            store.check_after_unclean_end(known)
            return known
    except CacheCorrupt as error:
        if wishes.offline:
            raise
        warn_of_damage(error)
        return None
    if wishes.offline:
        raise _not_kept(known, wishes)
    return None


def warn_of_damage(error: CacheCorrupt) -> None:
    """Warn that a kept table is damaged and fetched again."""
    warnings.warn(f"{error} It is fetched again now.", stacklevel=2)


def _is_too_old(manifest: Manifest, wishes: Wishes) -> bool:
    if wishes.max_age is None:
        return False
    fetched_at = datetime.fromisoformat(str(manifest.facts["fetched_at"]))
    return datetime.now(UTC) - fetched_at > wishes.max_age


def was_begun_too_long_ago(begun: Manifest, wishes: Wishes) -> bool:
    """Return whether what was begun is older than the table may be."""
    if wishes.max_age is None:
        return False
    return datetime.now(UTC) - datetime.fromisoformat(str(begun.facts["begun_at"])) > wishes.max_age


def is_shared(manifest: Manifest, asked_at: datetime) -> bool:
    """Return whether the table was finished after it was asked for, by somebody else."""
    if manifest.state != "complete":
        return False
    return datetime.fromisoformat(str(manifest.facts["fetched_at"])) >= asked_at


def _not_kept(manifest: Manifest | None, wishes: Wishes) -> CacheError:
    if manifest is None:
        return CacheError(
            "This table is not kept on this machine, and offline=True forbids asking. Run the same call once "
            "without offline."
        )
    if manifest.state != "complete":
        return CacheError(
            f"Only {manifest.n_entries} of {manifest.total} entries of this table are kept on this machine, "
            "and offline=True forbids asking for the rest. Run the same call once without offline."
        )
    return CacheError(
        f"This table was fetched at {manifest.facts.get('fetched_at')}, longer ago than {wishes.max_age}, "
        "and offline=True forbids asking. Leave out max_age, or offline."
    )
