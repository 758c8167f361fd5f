"""``order_by``: the order of a result, and the cursors that tell where a page begins.

A cursor is the value that an entry is sorted by and its id. NOMAD writes it as
``<value>:<entry_id>``, and as the id alone in the order of ids. Values are written as the
search engine holds them: dates in epoch milliseconds, truth as 1 or 0, and for an entry
without a value ``None`` (text) or the largest number there is (at the end in either
order). ``None`` is read back as the text "None", so that paging through entries without a
text never ends; that is so in nomad-lab 2.0.0, and therefore here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isinf
from typing import Any, Final, Literal

from nomadquery.local.matching import values_at
from nomadquery.local.refusals import failed_check, not_a_quantity, refused_by_engine
from nomadquery.local.select import is_doc_quantity
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.dates import moment_of

Document = Mapping[str, Any]
#: A rank that keeps entries with and without a value apart, the value, and the entry id.
Cursor = tuple[int, Any, str]
_Kind = Literal["id", "keyword", "boolean", "date", "double", "integer", "long"]

_LOC: Final = ("pagination", "order_by")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Written for an entry without a number, date or truth, in descending and ascending order.
_INTEGER_LIMITS: Final = (-(2**63), 2**63 - 1)
#: Read as the same: some releases of the engine write the limits of the field's own type.
_READ_AS_MISSING: Final = frozenset({*_INTEGER_LIMITS, -(2**31), 2**31 - 1})
_CUSTOM_KINDS: Final[Mapping[str, tuple[str, _Kind]]] = {
    "str": ("str_value", "keyword"),
    "int": ("int_value", "long"),
    "float": ("float_value", "double"),
    "bool": ("bool_value", "boolean"),
    "datetime": ("datetime_value", "date"),
}


@dataclass(frozen=True, slots=True)
class Ordering:
    """One order: by which quantity, of which kind, and in which direction.

    Attributes
    ----------
    order_by : str
        The quantity; one of a custom schema without its data type.
    kind : str
        How its values are compared and written; ``"id"`` for the entry id itself.
    is_descending : bool
        The direction of both the values and the ids.
    values : callable
        All values of a document; the smallest counts, in descending order the largest.
    """

    order_by: str
    kind: _Kind
    is_descending: bool
    values: Callable[[Document], Iterable[Any]]

    def cursors(self, documents: Iterable[Document]) -> list[Cursor]:
        """Return the cursors of documents in ascending order."""
        return sorted(self._cursor(document) for document in documents)

    def all(self, cursors: Sequence[Cursor]) -> Sequence[Cursor]:
        """Return ascending cursors in this order."""
        return cursors[::-1] if self.is_descending else cursors

    def after(self, cursors: Sequence[Cursor], text: str) -> Sequence[Cursor]:
        """Return, in this order, those of the ascending cursors that come after the written one.

        Raises
        ------
        InvalidRequest
            If the text is no cursor of this order.
        """
        start = self._parsed(text)
        if self.is_descending:
            return cursors[: bisect_left(cursors, start)][::-1]
        return cursors[bisect_right(cursors, start) :]

    def text(self, cursor: Cursor) -> str:
        """Return the cursor as NOMAD writes it."""
        rank, value, entry_id = cursor
        if self.kind == "id":
            return entry_id
        return f"{value if rank == self._rank else self._written_missing()}:{entry_id}"

    @property
    def _rank(self) -> int:
        """What cursors with a value begin with: entries without one come last in either direction."""
        return int(self.is_descending)

    def _cursor(self, document: Document) -> Cursor:
        entry_id: str = document["entry_id"]
        if self.kind == "id":
            return 0, "", entry_id
        found = [self._sortable(value) for value in self.values(document)]
        if not found:
            return self._missing(entry_id)
        return self._rank, max(found) if self.is_descending else min(found), entry_id

    def _missing(self, entry_id: str) -> Cursor:
        return 1 - self._rank, "" if self.kind == "keyword" else 0, entry_id

    def _sortable(self, value: Any) -> Any:
        match self.kind:
            case "date":
                return (moment_of(value) - _EPOCH) // timedelta(milliseconds=1)
            case "double":
                return float(value)
            case "keyword":
                return str(value)
            case _:
                return int(value)

    def _written_missing(self) -> str:
        match self.kind:
            case "keyword":
                return "None"
            case "double":
                return "-Infinity" if self.is_descending else "Infinity"
            case _:
                return str(_INTEGER_LIMITS[0 if self.is_descending else 1])

    def _parsed(self, text: str) -> Cursor:
        parts = text.rsplit(":", 1)
        n_expected = 1 if self.kind == "id" else 2
        if len(parts) != n_expected:
            raise refused_by_engine(f"search_after has {len(parts)} value(s) but sort has {n_expected}.")
        if self.kind == "id":
            return 0, "", text
        written, entry_id = parts
        value = written if self.kind == "keyword" else self._parsed_number(written)
        return self._missing(entry_id) if value is None else (self._rank, value, entry_id)

    def _parsed_number(self, written: str) -> float | None:
        """Return the number of a cursor, ``None`` for one that stands for no value."""
        try:
            if self.kind == "double":
                value = float(written)
                return None if isinf(value) else value
            if self.kind == "date" and not written.lstrip("-").isdigit():
                return int(self._sortable(written))
            number = int(written)
        except ValueError as error:
            raise refused_by_engine(
                f"Failed to parse search_after value {written!r} for field [{self.order_by}]."
            ) from error
        return None if number in _READ_AS_MISSING else number


def ordering_for(
    order_by: str, order: str | None, catalogue: Catalogue, documents: Sequence[Document]
) -> Ordering:
    """Return the ordering that ``order_by`` and ``order`` mean.

    ``_score`` and ``_doc`` order by id here: without relevance all entries are equal.
    ``documents`` are those to be ordered; a quantity of a custom schema has the type it has there.

    Raises
    ------
    InvalidRequest
        If there is no such quantity, it is a list, or the engine cannot sort by it.
    """
    is_descending = order == "desc"
    if order_by == "entry_id":
        return Ordering(order_by, "id", is_descending, lambda _: ())
    if order_by in ("_score", "_doc"):
        return Ordering(order_by, "double", is_descending, lambda _: (1.0,))
    if not is_doc_quantity(order_by, catalogue):
        raise not_a_quantity(order_by, _LOC)
    if order_by.startswith("data.") and "#" in order_by:
        return _custom_ordering(order_by, is_descending, documents)
    quantity = catalogue.find(order_by)
    assert quantity is not None  # is_doc_quantity
    if quantity.shape:
        raise failed_check("the order_by quantity must be a scalar", _LOC)
    if quantity.index == "text":
        raise refused_by_engine(f"Fielddata is disabled on [{order_by}]. Please use a keyword field instead.")
    kind = _kind_of(quantity.index)
    if kind is None:
        raise refused_by_engine(f"No mapping found for [{order_by}] in order to sort on")
    if quantity.nested is not None:  # the document itself has no such value
        return Ordering(order_by, kind, is_descending, lambda _: ())
    steps = order_by.split(".")
    return Ordering(order_by, kind, is_descending, lambda document: values_at(document, steps))


def _kind_of(index: str | None) -> _Kind | None:
    match index:
        case "keyword" | "boolean" | "date" | "double" | "integer" | "long":
            return index
        case _:
            return None


def _custom_ordering(name: str, is_descending: bool, documents: Sequence[Document]) -> Ordering:
    """Return the ordering by a quantity of a custom schema, ``data.x#schema[#type]``."""
    path, schema, *data_type = name.split("#")
    identity = f"{path}#{schema}"
    candidates = [_CUSTOM_KINDS[data_type[0]]] if data_type else list(_CUSTOM_KINDS.values())

    def values(key: str) -> Callable[[Document], Iterable[Any]]:
        return lambda document: [
            item[key]
            for item in document.get("search_quantities") or ()
            if item.get("id") == identity and item.get(key) is not None
        ]

    for key, kind in candidates:
        if data_type or any(values(key)(document) for document in documents):
            return Ordering(identity, kind, is_descending, values(key))
    return Ordering(identity, "keyword", is_descending, lambda _: ())
