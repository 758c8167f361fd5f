"""Is the result complete? Every entry that the server listed ends as a row.

Pages are walked by cursor in ``entry_id`` order. NOMAD has no snapshots: entries may appear
and vanish meanwhile, and a page says the total of its own moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nomadquery.errors import ResponseFormatError

Verdict = Literal["more", "done", "reconcile"]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was promised and what has arrived.

    Attributes
    ----------
    promised : int or None
        The total of the first page, ``None`` before it.
    total : int or None
        The total of the last page.
    n_rows : int
        Entries that have arrived.
    last_id : str or None
        The last of them.
    limit : int or None
        How many are wanted.
    """

    promised: int | None = None
    total: int | None = None
    n_rows: int = 0
    last_id: str | None = None
    limit: int | None = None

    @property
    def n_wanted(self) -> int | None:
        """Rows that will be there at the end, as far as is known."""
        if self.promised is None:
            return None
        return self.promised if self.limit is None else min(self.promised, self.limit)


def entered(ledger: Ledger, ids: Sequence[str], total: int) -> Ledger:
    """Return the ledger after a page.

    Raises
    ------
    ResponseFormatError
        If the page repeats entries or is out of order, so that completeness could not be known.
    """
    last = ledger.last_id
    for entry_id in ids:
        if last is not None and entry_id <= last:
            raise ResponseFormatError(
                f"The server lists entry {entry_id} after {last}, although entries come in order of "
                "their ids; the result could not be known to be complete."
            )
        last = entry_id
    return replace(
        ledger,
        promised=total if ledger.promised is None else ledger.promised,
        total=total,
        n_rows=ledger.n_rows + len(ids),
        last_id=last,
    )


def verdict(ledger: Ledger, n_listed: int, n_asked: int) -> Verdict:
    """Return whether to read on after a page that listed ``n_listed`` of ``n_asked`` entries.

    Only an empty page ends the walk, or a short one after which the promised and unchanged total
    is here. A short page alone is no end, and neither is a full one at the promised total: what was
    deleted and published meanwhile may have kept the total as it was. ``reconcile``: fewer arrived than
    were promised.
    """
    wanted = ledger.n_wanted
    if ledger.limit is not None and ledger.n_rows >= ledger.limit:
        return "done"
    if n_listed < n_asked and ledger.n_rows == ledger.promised == ledger.total:
        return "done"
    if n_listed or wanted is None:
        return "more"
    return "done" if ledger.n_rows >= wanted else "reconcile"
