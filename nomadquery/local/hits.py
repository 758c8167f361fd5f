"""Which entries a search finds, and in which order.

Walking through pages asks the same question again and again; what was found last is
remembered until something is written.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from nomadquery.errors import NotAuthenticated
from nomadquery.local.matching import test_of
from nomadquery.local.ordering import Cursor, Ordering, ordering_for
from nomadquery.local.store import LocalStore
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import Criterion, canonical_json

Document = dict[str, Any]

OWNERS: Final = ("public", "all", "visible", "shared", "user", "staging", "admin")

#: The group that everybody is in, logged in or not.
_EVERYBODY: Final = "all"
_MOST_REMEMBERED: Final = 16

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Hits:
    """The entries of one search: their documents by id, and their cursors in ascending order."""

    documents: Mapping[str, Document]
    ordering: Ordering
    cursors: Sequence[Cursor]


class Searches:
    """Searches over a store for somebody who is not logged in: a local deployment has no users."""

    def __init__(self, store: LocalStore, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue
        self._found: _Memory[tuple[int, str, str], dict[str, Document]] = _Memory()
        self._ordered: _Memory[tuple[int, str, str, str, str | None], Hits] = _Memory()

    def hits(self, criterion: Criterion, owner: str, order_by: str, order: str | None) -> Hits:
        """Return the entries of ``owner`` that satisfy a resolved tree.

        Raises
        ------
        NotAuthenticated
            For an owner that needs a login (401).
        NotExpressible
            For what only a server can decide (OPTIMADE).
        InvalidRequest
            If there is no such order.
        """
        is_visible = visibility(owner)
        generation, documents = self._store.snapshot()
        question = (generation, owner, canonical_json(criterion))
        found = self._found.recall(question)
        if found is None:
            test = test_of(criterion, self._catalogue)
            found = {key: entry for key, entry in documents.items() if is_visible(entry) and test(entry)}
            self._found.keep(question, found)
        hits = self._ordered.recall((*question, order_by, order))
        if hits is None:
            entries = list(found.values())
            ordering = ordering_for(order_by, order, self._catalogue, entries)
            hits = Hits(found, ordering, ordering.cursors(entries))
            self._ordered.keep((*question, order_by, order), hits)
        return hits


class _Memory(Generic[Key, Value]):
    """The results last used, by what was asked; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: OrderedDict[Key, Value] = OrderedDict()

    def recall(self, key: Key) -> Value | None:
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def keep(self, key: Key, value: Value) -> None:
        with self._lock:
            self._results[key] = value
            while len(self._results) > _MOST_REMEMBERED:
                self._results.popitem(last=False)


def visibility(owner: str) -> Callable[[Document], bool]:
    """Return whether somebody who is not logged in sees an entry under ``owner``.

    Raises
    ------
    NotAuthenticated
        For an owner that needs a login (401).
    """
    match owner:
        case "public":
            return _is_public
        case "visible":
            return lambda entry: _is_public(entry) or _is_shared(entry)
        case "all":
            return lambda entry: entry.get("published") is True or _is_shared(entry)
        case _:
            text = f"Authentication required for owner={owner!r}."
            raise NotAuthenticated(text, status=401, detail=text)


def _is_public(entry: Document) -> bool:
    return entry.get("published") is True and not entry.get("with_embargo")


def _is_shared(entry: Document) -> bool:
    return _EVERYBODY in (entry.get("viewer_groups") or ())
