"""Which pages of a result are still to be asked for: a value that grows with each answer, and asks nothing.

The first page says how many entries there are. Is it not all, and are ids spread as NOMAD's are, then the
rest is cut into slices of about one page each, and these can be asked for side by side, in any order.
Otherwise pages follow one another by cursor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from nomadquery.fetch.ledger import Ledger, entered, verdict
from nomadquery.fetch.slices import (
    LEAST_SLICE,
    Slice,
    expected_for,
    first_part,
    gaps,
    is_even,
    page_for,
)

#: With fewer entries left than this, one request is as good as several.
_WORTH_CUTTING: Final = 500
#: A range of so many pages, expected, is not cut once more.
_ALMOST_ONE: Final = 1.1


@dataclass(frozen=True, slots=True)
class Ask:
    """One page to ask for.

    Attributes
    ----------
    slice : Slice
        Which ids; the total of the answer is about them.
    ledger : Ledger
        What has arrived of the slice; the page begins after its last id.
    size : int
        Entries of the page.
    """

    slice: Slice
    ledger: Ledger
    size: int

    @property
    def after(self) -> str | None:
        """The id after which it begins."""
        return self.slice.after if self.ledger.last_id is None else self.ledger.last_id


@dataclass(frozen=True, slots=True)
class Listing:
    """What a page listed: ids in their order, how many entries the slice has now, and how many were listed.

    ``n_listed`` is more than the ids where a limit cuts the page.
    """

    ids: Sequence[str]
    total: int
    n_listed: int


@dataclass(slots=True)
class Walk:
    """What has been read and what has not.

    Attributes
    ----------
    covered : list of (after, upto]
        The ranges that have been read.
    n_here : int
        Entries that have arrived.
    promised : int or None
        The total of the whole result, of the first page.
    limit : int or None
        How many entries are wanted.
    n_places : int
        How many pages may be asked for at once; with 1 they follow one another.
    is_short : bool
        Whether a slice ended with fewer entries than it was said to have.
    """

    covered: list[tuple[str | None, str | None]] = field(default_factory=list)
    n_here: int = 0
    promised: int | None = None
    limit: int | None = None
    n_places: int = 1
    is_short: bool = False
    _waiting: deque[tuple[Slice, Ledger]] = field(default_factory=deque)
    _n_out: int = 0
    _fair: float | None = None

    def __post_init__(self) -> None:
        left = gaps(self.covered)
        if left and left[0] == left[-1] and left[0].upto is None:
            cursor = Ledger(self.promised, self.promised, self.n_here, left[0].after, self.limit)
            self._waiting.append((Slice(), cursor))
        else:  # several were asked for side by side
            self._waiting.extend((one, Ledger()) for one in left)
            self._begin_cutting((self.promised or 0) * sum(one.width for one in left))

    @property
    def is_over(self) -> bool:
        """Whether everything has been asked for and answered."""
        is_full = self.limit is not None and self.n_here >= self.limit
        return not self._n_out and (is_full or not self._waiting)

    @property
    def n_wanted(self) -> int | None:
        """Entries that will be here at the end, as far as is known."""
        if self.promised is None or self.limit is None:
            return self.promised
        return min(self.promised, self.limit)

    def next(self, size: int) -> Ask | None:
        """Return the next page to ask for, of at most ``size`` entries; ``None`` before more is known."""
        if not self._waiting or (self.limit is not None and self.n_here >= self.limit):
            return None
        if self._n_out and not self._is_cuttable(size):
            return None
        whole, ledger = self._waiting.popleft()
        if self._is_cuttable(size) and ledger.last_id is None:
            whole, size = self._cut(whole, size)
        elif self.limit is not None:
            size = max(1, min(size, self.limit - self.n_here))
        ask = Ask(whole, ledger, size)
        self._n_out += 1
        return ask

    def answered(self, ask: Ask, listing: Listing) -> tuple[str | None, str | None]:
        """Take a page into account; return the range that has been read with it.

        Raises
        ------
        ResponseFormatError
            If its entries repeat or are out of order.
        """
        ledger = entered(ask.ledger, listing.ids, listing.total)
        self._n_out -= 1
        self.n_here += len(listing.ids)
        if self.promised is None:
            self.promised = listing.total
        decision = verdict(ledger, listing.n_listed, ask.size)
        upto = ledger.last_id if decision == "more" else ask.slice.upto
        if decision == "more":
            self._waiting.appendleft(self._rest(ask, ledger))
        self.is_short |= decision == "reconcile"
        self.covered.append((ask.after, upto))
        return ask.after, upto

    def had(self, ask: Ask, n_here: int, total: int) -> tuple[str | None, str | None]:
        """Take into account that all of a slice is here, however it was had; return what has been read."""
        self._n_out -= 1
        self.n_here += n_here
        if self.promised is None:
            self.promised = total
        self.covered.append((ask.after, ask.slice.upto))
        return ask.after, ask.slice.upto

    # -- inside ---------------------------------------------------------------------------

    def _rest(self, ask: Ask, ledger: Ledger) -> tuple[Slice, Ledger]:
        """Return what is left of a slice: to be read by cursor, or a slice of its own that can be cut."""
        n_left, page = (ledger.total or 0) - ledger.n_rows, Slice(ask.after, ledger.last_id)
        is_worth_it = n_left >= _WORTH_CUTTING and expected_for(ask.size) >= LEAST_SLICE
        is_whole = ask.slice == Slice() and self.limit is None
        if not (is_whole and is_worth_it and self.n_places > 1):
            return ask.slice, ledger
        if not is_even([page], ledger.n_rows - ask.ledger.n_rows, ledger.total or 0):
            return ask.slice, ledger
        self._begin_cutting(n_left)
        return Slice(ledger.last_id), Ledger()

    def _begin_cutting(self, n_left: float) -> None:
        """Share what is left among the places."""
        self._fair = max(_WORTH_CUTTING, n_left / max(1, self.n_places))

    def _is_cuttable(self, size: int) -> bool:
        """Return whether pages may be asked for side by side: the total is known, ids are spread evenly."""
        return self._fair is not None and self.n_places > 1 and expected_for(size) >= LEAST_SLICE

    def _cut(self, whole: Slice, size: int) -> tuple[Slice, int]:
        """Return the first slice of a range, of about a page; what is left waits."""
        expected = (self.promised or 0) * whole.width
        wanted = min(expected_for(size), self._fair or expected)
        if expected > _ALMOST_ONE * wanted:
            whole, rest = first_part(whole, wanted / expected)
            if rest is not None:
                self._waiting.appendleft((rest, Ledger()))
            expected = (self.promised or 0) * whole.width
        return whole, min(size, page_for(expected))
