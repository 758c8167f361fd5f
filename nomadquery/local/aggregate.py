"""The ``terms`` aggregation: how many entries have which value.

Of NOMAD's aggregations only this one, with ``size`` and ``include``; the others, and what
else ``terms`` can do, are refused by name. Two differences from a server: no buckets of
count 0 for values of a fixed list that do not occur, and always 10 buckets by default.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.errors import RequestRefused
from nomadquery.local.matching import values_at
from nomadquery.local.refusals import (
    Problem,
    failed_check,
    malformed,
    not_a_quantity,
    not_an_object,
    not_done_here,
    problem,
    unforeseen,
)
from nomadquery.local.select import is_doc_quantity
from nomadquery.query.catalogue import Catalogue, Quantity

Document = Mapping[str, Any]

#: NOMAD takes the first of these that an aggregation names.
_TYPES: Final = (
    "terms",
    "histogram",
    "date_histogram",
    "auto_date_histogram",
    "min_max",
    "percentiles",
    "statistics",
)
_NOT_DONE: Final = ("pagination", "entries", "metrics", "exclude_from_search")
_PART: Final = re.compile(r"[a-zA-Z0-9_\-\s]+")
_DEFAULT_SIZE: Final = 10


@dataclass(frozen=True, slots=True)
class Terms:
    """A sound ``terms`` aggregation.

    Attributes
    ----------
    quantity : Quantity
        Exact text or truth.
    size : int
        How many values are returned, the most frequent ones.
    include : str, tuple of str or None
        Only values that contain this text, or that are among these.
    """

    quantity: Quantity
    size: int
    include: str | tuple[str, ...] | None

    def to_json(self, documents: Iterable[Document]) -> dict[str, Any]:
        """Return the aggregation as NOMAD answers it, most frequent values first, then by value."""
        echo: dict[str, Any] = {
            "quantity": self.quantity.name,
            "exclude_from_search": False,
            "metrics": [],
            "size": self.size,
        }
        if self.include is not None:
            echo["include"] = self.include if isinstance(self.include, str) else list(self.include)
        return {"terms": {**echo, "data": self._buckets(documents)}}

    def _buckets(self, documents: Iterable[Document]) -> list[dict[str, Any]]:
        n_entries: Counter[Any] = Counter()
        n_items: Counter[Any] = Counter()
        for document in documents:
            items = [value for value in self._values(document) if self._is_included(value)]
            n_items.update(items)
            n_entries.update(set(items))
        ranked = sorted(n_items.items(), key=lambda pair: (-pair[1], pair[0]))
        return [
            {"count": n_entries[value], "nested_count": count, "value": value}
            for value, count in ranked[: self.size]
        ]

    def _values(self, document: Document) -> Iterable[Any]:
        """Return the values of an entry, each once, or once for each item that the index keeps apart."""
        section = self.quantity.nested
        if section is None:
            return set(values_at(document, self.quantity.name.split(".")))
        steps = self.quantity.name.removeprefix(f"{section}.").split(".")
        items = values_at(document, section.split("."))
        return [value for item in items for value in set(values_at(item, steps))]

    def _is_included(self, value: Any) -> bool:
        if self.include is None:
            return True
        return self.include in str(value) if isinstance(self.include, str) else value in self.include


def parse_aggregations(given: Any, catalogue: Catalogue, problems: list[Problem]) -> dict[str, Terms]:
    """Return the aggregations of a request by name; what its form lacks is added to ``problems``.

    Raises
    ------
    RequestRefused
        If an aggregation names no type (500, as in NOMAD), or another than ``terms``.
    """
    if given is None:
        raise unforeseen("AttributeError", "'NoneType' object has no attribute 'items'")
    loc = ["body", "aggregations"]
    if not isinstance(given, Mapping):
        problems.append(problem("dict_type", loc, "Input should be a valid dictionary", given))
        return {}
    return {name: _parsed(name, one, catalogue, problems) for name, one in given.items()}


def _parsed(name: str, given: Any, catalogue: Catalogue, problems: list[Problem]) -> Terms:
    if not isinstance(given, Mapping):
        raise malformed([*problems, not_an_object(["body", "aggregations", name], given)])
    kind = next((kind for kind in _TYPES if given.get(kind) is not None), None)
    if kind is None:
        raise unforeseen("NotImplementedError")
    if kind != "terms":
        raise not_done_here(f"aggregations of the type {kind}")
    terms, loc = given["terms"], ["body", "aggregations", name, "terms"]
    if not isinstance(terms, Mapping):
        raise malformed([*problems, not_an_object(loc, terms)])
    unable = [option for option in _NOT_DONE if terms.get(option)]
    if unable:
        raise not_done_here(f"{', '.join(unable)} in a terms aggregation")
    found = _form_problems(terms, loc)
    if found:
        raise malformed([*problems, *found])
    include = terms.get("include")
    return Terms(
        _checked_quantity(name, terms["quantity"], catalogue),
        terms.get("size") or _DEFAULT_SIZE,
        tuple(include) if isinstance(include, list) else include,
    )


def _form_problems(terms: Mapping[str, Any], loc: Sequence[str]) -> list[Problem]:
    found: list[Problem] = []
    if not isinstance(terms.get("quantity"), str):
        found.append(problem("missing", [*loc, "quantity"], "Field required", terms))
    size = terms.get("size")
    if size is not None and (not isinstance(size, int) or size <= 0):
        msg = "Input should be greater than 0"
        found.append(problem("greater_than", [*loc, "size"], msg, size, gt=0))
    include = terms.get("include")
    if isinstance(include, str) and not _PART.fullmatch(include):
        where, pattern = [*loc, "include", "constrained-str"], r"^[a-zA-Z0-9_\-\s]+$"
        msg = f"String should match pattern '{pattern}'"
        found.append(problem("string_pattern_mismatch", where, msg, include, pattern=pattern))
    elif include is not None and not isinstance(include, str | list):
        found.append(
            problem("list_type", [*loc, "include", "list[str]"], "Input should be a valid list", include)
        )
    return found


def _checked_quantity(name: str, quantity_name: str, catalogue: Catalogue) -> Quantity:
    if not is_doc_quantity(quantity_name, catalogue):
        raise not_a_quantity(quantity_name, ["aggregation", "quantity"])
    quantity = catalogue.find(quantity_name)
    if quantity is None:
        raise (
            _not_for_terms(name)
            if "#" not in quantity_name
            else not_done_here("aggregations over custom schemas")
        )
    if quantity.index not in ("keyword", "boolean"):
        raise _not_for_terms(name)
    return quantity


def _not_for_terms(name: str) -> RequestRefused:
    msg = "The aggregation quantity cannot be used in a terms aggregation."
    return failed_check(msg, ["aggregation", name, "terms", "quantity"])
