"""All entries that match now, with what pins each: 10,000 a request, side by side, nothing else of them.

Times in a query are not trusted to find what is new: entries that are published, or freed from embargo,
later carry the times of their processing long before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nomadquery.columns.pins import EDITABLE, Pinning, pins_of, pins_schema
from nomadquery.errors import IncompleteResult
from nomadquery.fetch.crew import Crew, ended
from nomadquery.fetch.pages import Source
from nomadquery.fetch.paging import Fetched, fetch_page
from nomadquery.fetch.plan import LARGEST_PAGE, PAGE_BYTES, Question, bytes_each, editable_of
from nomadquery.fetch.walk import Ask, Listing, Walk
from nomadquery.query.criteria import And, HasAny

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ATTEMPTS: Final = 3


def listed_pins(source: Source, show: Callable[[int, int | None], None] | None = None) -> pa.Table:
    """Return the pins of the entries that match now: in the order of their ids, or of a sorted question.

    Raises
    ------
    IncompleteResult
        If the server repeatedly lists fewer entries than it counts: those are not known to be gone.
    """
    bare = replace(source, question=bare_question(source.question))
    for _ in range(_MOST_ATTEMPTS):
        walk = Walk(limit=bare.question.limit, n_places=bare.n_places)
        pins = _walked(bare, walk, show or _show_nothing)
        if bare.question.sort is not None or not (walk.is_short or pins.num_rows < (walk.n_wanted or 0)):
            return pins
    raise IncompleteResult(
        f"The server counts {walk.n_wanted} entries and listed {pins.num_rows}, {_MOST_ATTEMPTS} times; what "
        "it left out is not known to be gone. Try again later.",
        n_arrived=pins.num_rows,
        n_missing=(walk.n_wanted or 0) - pins.num_rows,
    )


def still_listed(source: Source, ids: Sequence[str]) -> set[str]:
    """Return which of these entries match now."""
    found: set[str] = set()
    for start in range(0, len(ids), LARGEST_PAGE):
        some = HasAny("entry_id", tuple(ids[start : start + LARGEST_PAGE]))
        # a lock asks for nothing but its entries, all of which need not go along
        criterion = some if source.question.pinned else And((source.question.criterion, some))
        question = replace(source.question, criterion=criterion, sort=None, limit=None)
        found.update(replace(source, question=question).ids())
    return found


def bare_question(question: Question) -> Question:
    """Return the question for nothing but what pins its entries: times, and what can be edited of them."""
    columns = tuple(
        column
        for column in question.columns
        if column.source == "search" and column.schema is None and column.names[0] in EDITABLE
    )
    per = question.per
    is_edited = per is not None and per.source == "search" and per.section.partition(".")[0] in EDITABLE
    return replace(question, columns=columns, per=per if is_edited else None, page_size=None)


def _walked(source: Source, walk: Walk, show: Callable[[int, int | None], None]) -> pa.Table:
    import pyarrow as pa

    question = source.question
    pinning = Pinning(editable_of(question))
    size = min(LARGEST_PAGE, PAGE_BYTES // bytes_each(question))
    if question.sort is not None and question.limit is not None:
        size = question.limit  # one page in the server's order
    crew: Crew[Ask, Fetched] = Crew(lambda ask: fetch_page(source, ask, pinning), source.n_places)
    batches: list[pa.RecordBatch] = []

    def give() -> None:
        while crew.n_out < crew.n_places and (ask := walk.next(size)) is not None:
            crew.give(ask)

    try:
        give()
        while crew.n_out:
            brought = crew.take()
            whole = ended(brought)
            fetched = _wanted(whole, walk)
            if question.sort is not None:
                walk.had(brought.job, len(fetched.ids), fetched.total)
            else:
                walk.answered(brought.job, Listing(fetched.ids, fetched.total, len(whole.ids)))
            give()
            batches.append(pins_of(fetched.entries))
            show(walk.n_here, walk.n_wanted)
    finally:
        crew.dismiss()
    pins = pa.Table.from_batches(batches, pins_schema())
    return pins if question.sort is not None else pins.sort_by("entry_id")


def _wanted(fetched: Fetched, walk: Walk) -> Fetched:
    """Return no more of a page than is wanted.

    Raises
    ------
    IncompleteResult
        If the server cannot even tell the times of an entry.
    """
    if fetched.refused:
        lost = tuple(sorted(fetched.refused))
        raise IncompleteResult(
            f"The server cannot list {lost[0]} ({fetched.refused[lost[0]]}). Try again later.",
            n_missing=len(lost),
            missing=lost,
        )
    if walk.limit is None:
        return fetched
    n_wanted = walk.limit - walk.n_here
    return replace(fetched, entries=fetched.entries[:n_wanted], ids=fetched.ids[:n_wanted])


def _show_nothing(_n_done: int, _n_total: int | None) -> None:
    """Nobody looks."""
