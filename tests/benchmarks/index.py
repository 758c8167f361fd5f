"""Which entries a request to the stub means: by range, by list of ids, page by page."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.benchmarks.stored import Entries

_LARGEST_PAGE: Final = 10_000


class NotUnderstood(Exception):
    """A request that this stub does not know; NOMAD would refuse it, or the stub has to learn it."""


class Index:
    """Which entries a request means, as places in the order of the ids."""

    def __init__(self, entries: Entries) -> None:
        self.ids, self.uploads = entries.ids, entries.uploads
        self._places = {entry_id: place for place, entry_id in enumerate(self.ids)}
        self._by_upload = sorted(zip(self.uploads, self.ids, strict=True))
        self._ranks = [0] * len(self.ids)
        for rank, (_, entry_id) in enumerate(self._by_upload):
            self._ranks[self._places[entry_id]] = rank

    def selected(self, query: Any) -> Sequence[int]:
        """Return the hits of a query, in the order of their ids."""
        low, high, named = 0, len(self.ids), None
        for name, wanted in _conditions(query):
            match name.partition(":")[::2], wanted:
                case ("quantities", _), _:
                    continue
                case ("entry_id", ""), str():
                    ids: Sequence[str] = [wanted]
                case (("entry_id", "any"), [*ids]) | (("entry_id", ""), {"any": [*ids]}):
                    pass
                case ("entry_id", ""), dict():
                    low, high = self._bounds(wanted, low, high)
                    continue
                case ("entry_id", side), str():
                    low, high = self._bounds({side: wanted}, low, high)
                    continue
                case _:
                    raise NotUnderstood(f"query {name}: {wanted!r}"[:200])
            places = {self._places[one] for one in ids if one in self._places}
            named = places if named is None else named & places
        if named is None:
            return range(low, max(low, high))
        return sorted(place for place in named if low <= place < high)

    def page(self, selected: Sequence[int], paging: Mapping[str, Any]) -> tuple[Sequence[int], str | None]:
        """Return the hits of a page, and what the next one begins after."""
        unknown = paging.keys() - {"page_size", "page_after_value", "order_by", "order"}
        order, size = paging.get("order_by") or "entry_id", int(paging.get("page_size", 10))
        if unknown or paging.get("order", "asc") != "asc" or not 0 <= size <= _LARGEST_PAGE:
            raise NotUnderstood(f"pagination {paging!r}")
        after = paging.get("page_after_value")
        match order:
            case "entry_id":
                place = 0 if after is None else bisect.bisect_right(self.ids, after)
                start = bisect.bisect_left(selected, place)
            case "upload_id":
                selected = sorted(selected, key=self._ranks.__getitem__)
                upload, _, entry_id = (after or "").partition(":")
                rank = 0 if after is None else bisect.bisect_right(self._by_upload, (upload, entry_id))
                start = bisect.bisect_left(selected, rank, key=self._ranks.__getitem__)
            case _:
                raise NotUnderstood(f"order_by {order!r}")
        hits = selected[start : start + size]
        if not 0 < len(hits) < len(selected) or len(hits) < size:
            return hits, None
        last = self.ids[hits[-1]]
        return hits, last if order == "entry_id" else f"{self.uploads[hits[-1]]}:{last}"

    def _bounds(self, wanted: Mapping[str, str], low: int, high: int) -> tuple[int, int]:
        for side, text in wanted.items():
            match side:
                case "gte":
                    low = max(low, bisect.bisect_left(self.ids, text))
                case "gt":
                    low = max(low, bisect.bisect_right(self.ids, text))
                case "lt":
                    high = min(high, bisect.bisect_left(self.ids, text))
                case "lte":
                    high = min(high, bisect.bisect_right(self.ids, text))
                case _:
                    raise NotUnderstood(f"bound {side!r}")
        return low, high


def _conditions(query: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and what is wanted of them; all must be met."""
    for name, wanted in (query or {}).items():
        if name == "and":
            for part in wanted:
                yield from _conditions(part)
        else:
            yield name, wanted


def runs_of(hits: Sequence[int]) -> list[range]:
    """Return neighbours together."""
    if isinstance(hits, range):
        return [hits] if hits else []
    runs: list[range] = []
    for place in hits:
        if runs and runs[-1].stop == place:
            runs[-1] = range(runs[-1].start, place + 1)
        else:
            runs.append(range(place, place + 1))
    return runs
