"""One page of entries, had in one way or another: asked again if it is disordered, by ids if it fails.

These are the jobs of `crew`; they wait for the server, and read of what comes the ids, or plain columns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, TypeVar

from nomadquery.columns.compiled import Listed
from nomadquery.columns.pins import Pinning
from nomadquery.columns.plain import Plain, Read
from nomadquery.errors import InvalidRequest, NomadError, ResponseFormatError, ServerFailure, Unreachable
from nomadquery.fetch.ledger import Ledger
from nomadquery.fetch.pages import Source
from nomadquery.fetch.slices import Slice, boundary, place
from nomadquery.fetch.walk import Ask
from nomadquery.http.endpoints import LARGEST_PAGE

#: How a server fails over one entry among many: NOMAD's own 500, or an answer too large.
_REFUSED: Final = frozenset({413, 500})
_TOO_SLOW: Final = 504
_MOST_ATTEMPTS: Final = 3
#: As many as there are bits in the part of an id that tells its place.
_MOST_HALVINGS: Final = 48
_DISORDERED: Final = (
    "Each time that it was asked the server listed entries after {} repeatedly, out of the order of their "
    "ids or beside what was asked; the result could not be known to be complete. What arrived before is kept."
)


_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of a page.

    Attributes
    ----------
    entries : sequence of Listed
        In the order of their ids, but for a sorted table; none where ``read`` is there.
    total : int
        Entries of the slice, as the server says.
    ids : sequence of str
        All that the page listed; more than the entries where some could not be had.
    n_bytes : int
        Of the answers.
    took_s : float
    refused : mapping
        Entry id → why it could not be had.
    read : Read or None
        The columns of the entries, where they could be read from the page as it is.
    """

    entries: Sequence[Listed]
    total: int
    ids: Sequence[str]
    n_bytes: int
    took_s: float
    refused: Mapping[str, str] = field(default_factory=dict)
    read: Read | None = None

    @property
    def n_entries(self) -> int:
        """How many entries were had."""
        return len(self.entries) if self.read is None else len(self.ids)


def fetch_page(source: Source, ask: Ask, pinning: Pinning, plain: Plain | None = None) -> Fetched:
    """Return a page. Where the server fails over it or is too slow, its entries are asked for by their ids.

    ``plain``: reads the columns, if all that is wanted are these.

    Raises
    ------
    ResponseFormatError
        If entries are out of order, repeated, or outside of what was asked, each time.
    """
    began_s = time.monotonic()
    for attempt in range(_MOST_ATTEMPTS):
        try:
            page, read = readable(lambda: source.page(ask, plain))
        except (InvalidRequest, ServerFailure, Unreachable) as error:
            if not (can_be_less(error) and ask.size > 1 and source.question.sort is None):
                raise
            if attempt == 0 and not is_too_slow(error):
                continue  # it may have been for a moment; then fewer entries would only cost requests
            return _page_in_parts(source, ask, pinning, began_s)
        entries = pinning.listed(page.items) if read is None else []
        ids = [entry.entry_id for entry in entries] if read is None else read.ids.to_pylist()
        if is_whole(ids, page.total, ask) if source.question.sort is not None else is_in_place(ids, ask):
            took_s = time.monotonic() - began_s
            return Fetched(entries, page.total, ids, page.n_bytes, took_s, read=read)
    raise ResponseFormatError(_DISORDERED.format(ask.after or "the beginning"))


def readable(ask: Callable[[], _Answer]) -> _Answer:
    """Return an answer; one that cannot be read is asked for again.

    Of large answers the transport does not look at every byte, since whoever reads them does.
    """
    for _ in range(_MOST_ATTEMPTS - 1):
        try:
            return ask()
        except ResponseFormatError:
            continue
    return ask()


def fetch_by_ids(source: Source, ids: Sequence[str], pinning: Pinning) -> Fetched:
    """Return the entries that are known by id, halved around those that the server cannot serve.

    Each once, however often it is given; entries that are gone, or may not be seen, are left out.
    """
    began_s = time.monotonic()
    found: dict[str, Listed] = {}
    refused: dict[str, str] = {}
    n_bytes = 0
    for start in range(0, len(ids), LARGEST_PAGE):
        n_bytes += _asked(source, ids[start : start + LARGEST_PAGE], pinning, found, refused)
    entries = [found[entry_id] for entry_id in sorted(found)]
    return Fetched(entries, len(ids), ids, n_bytes, time.monotonic() - began_s, refused)


def can_be_less(error: NomadError) -> bool:
    """Return whether fewer entries may succeed: the server was too slow, or failed over what was asked."""
    return is_too_slow(error) or getattr(error, "status", None) in _REFUSED


def is_too_slow(error: NomadError) -> bool:
    """Return whether it is a time-out, the client's or the proxy's."""
    if isinstance(error, Unreachable):
        return error.is_timeout
    return getattr(error, "status", None) == _TOO_SLOW


def in_short(error: NomadError) -> str:
    """Return the first line of what an error says, at most 160 characters."""
    text = str(error).splitlines()[0]
    return text if len(text) <= 160 else text[:159] + "…"


def is_in_place(ids: Sequence[str], ask: Ask) -> bool:
    """Return whether ids stand in order, each once, and within what was asked."""
    if not ids:
        return True
    is_after = ask.after is None or ids[0] > ask.after
    is_within = ask.slice.upto is None or ids[-1] <= ask.slice.upto
    return is_after and is_within and all(one < other for one, other in pairwise(ids))


def is_whole(ids: Sequence[str], total: int, ask: Ask) -> bool:
    """Return whether a page in another order than that of ids has all its entries, each once."""
    return len(set(ids)) == len(ids) >= min(total, ask.size)


def _page_in_parts(source: Source, ask: Ask, pinning: Pinning, began_s: float) -> Fetched:
    """Return a page that the server cannot give at once: by the ids of its entries, if it can list these."""
    try:
        ids, total = _ids_in_place(source, ask)
    except (InvalidRequest, ServerFailure, Unreachable) as error:
        if not can_be_less(error):
            raise
        found = _without_nameless(source, ask, pinning)
        return replace(found, took_s=time.monotonic() - began_s)
    found = fetch_by_ids(source, ids, pinning)
    took_s = time.monotonic() - began_s
    return Fetched(found.entries, total, ids, found.n_bytes, took_s, found.refused)


def _ids_in_place(source: Source, ask: Ask) -> tuple[list[str], int]:
    """Return the ids of a page and the total of its slice; a disordered list is asked for again."""
    for _ in range(_MOST_ATTEMPTS):
        ids, total = source.ids_of(ask)
        if is_in_place(ids, ask):
            return ids, total
    raise ResponseFormatError(_DISORDERED.format(ask.after or "the beginning"))


def _without_nameless(source: Source, ask: Ask, pinning: Pinning) -> Fetched:
    """Return a page without the entries that the server can count, but not even list.

    Smaller and smaller pages are asked for in front of such an entry, until it is the next one; then what
    comes after it.
    """
    entries: list[Listed] = []
    after, upto, size, n_bytes = ask.after, ask.slice.upto, ask.size // 2, 0
    total, is_over = source.count_in(ask.slice), False
    while not is_over and len(entries) < ask.size:
        part = Ask(Slice(after, upto), Ledger(), size)
        try:
            page, _ = readable(lambda part=part: source.page(part))  # type: ignore[misc]  # a page each
        except (InvalidRequest, ServerFailure, Unreachable) as error:
            if not can_be_less(error):
                raise
            if size > 1:
                size //= 2
                continue
            beyond = _just_beyond(source, part.slice)
            if beyond is None:
                raise
            after, size = beyond, max(1, ask.size // 2)
            continue
        found = pinning.listed(page.items)
        if not is_in_place([entry.entry_id for entry in found], part):
            raise ResponseFormatError(_DISORDERED.format(after or "the beginning"))
        entries, n_bytes, is_over = entries + found, n_bytes + page.n_bytes, len(found) < size
        after, size = (found[-1].entry_id if found else after), min(2 * size, max(1, ask.size // 2))
    return Fetched(entries, total, [entry.entry_id for entry in entries], n_bytes, 0.0)


def _just_beyond(source: Source, whole: Slice) -> str | None:
    """Return an id that exactly one entry of the slice does not come after, by counting; ``None``: none."""
    low = 0.0 if whole.after is None else place(whole.after)
    high = 1.0 if whole.upto is None else place(whole.upto)
    for _ in range(_MOST_HALVINGS):
        middle = (low + high) / 2
        beyond = boundary(middle)
        n_before = source.count_in(Slice(whole.after, beyond))
        if n_before == 1:
            return beyond
        low, high = (middle, high) if n_before == 0 else (low, middle)
    return None


def _asked(
    source: Source, ids: Sequence[str], pinning: Pinning, found: dict[str, Listed], refused: dict[str, str]
) -> int:
    """Add the entries to ``found``; return the size of the answers."""
    try:
        page = readable(lambda: source.documents_of(ids))
    except (InvalidRequest, ServerFailure, Unreachable) as error:
        if not can_be_less(error):
            raise
        if len(ids) == 1:
            if is_too_slow(error):
                raise
            refused[ids[0]] = f"the server could not serve it: {in_short(error)}"
            return 0
        middle = len(ids) // 2
        first = _asked(source, ids[:middle], pinning, found, refused)
        return first + _asked(source, ids[middle:], pinning, found, refused)
    wanted = set(ids)
    found.update((entry.entry_id, entry) for entry in pinning.listed(page.items) if entry.entry_id in wanted)
    return page.n_bytes
