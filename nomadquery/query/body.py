"""Tree → NOMAD's query JSON (`body_reader` goes back), and every rule about what a server misreads.

Rules, each with its case in ``tests/data/query-cases.json`` and its test:

* Keys beside ``and``, ``or``, ``not`` are dropped by the server; empty lists and ``not: {}``
  match everything (or nothing, by release). Written here: one key an object, never an empty
  list. Read: refused.
* A bare list means all-of. On a quantity with one value it can never match. Read: refused.
* A range whose bounds are all zero is refused by the server. Written: with a second bound
  that every value satisfies (`bounds`).
* Items of a *nested* section: every flat criterion may be met by another item; only the
  section form asks for the same item, and it takes suffixes (``"type:any"``), not objects.
  All-of on a nested quantity asks for one item with all the values, ``none`` for some item without.
* 1.3 takes at most 1,024 values in ``any``, later releases 65,536; analysed texts, custom
  quantities and ``none`` take 1,024 in all.
* A date without its last parts means their last moment for ``gt`` and ``lte``. Written: in full.
* OPTIMADE strings need double quotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from nomadquery.errors import NotExpressible
from nomadquery.query.bounds import as_sent
from nomadquery.query.catalogue import (
    MOST_CLAUSES,
    RELEASES,
    Catalogue,
    Quantity,
    catalogue_for,
    terms_in_one_list,
)
from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Leaf,
    Not,
    Optimade,
    Or,
    Range,
    Value,
    Within,
    canonical,
)
from nomadquery.query.optimade_syntax import double_quoted
from nomadquery.query.resolve import custom_quantity, has_one_value

Json = dict[str, Any]

_IMPOSSIBLE_ID: Final = "-"


def body(criterion: Criterion, *, release: str | None = None) -> Json:
    """Return the ``query`` object that a server of ``release`` reads as the resolved tree.

    Raises
    ------
    NotExpressible
        If NOMAD's language cannot say it.
    """
    return _Writer(catalogue_for(release), release or RELEASES[0]).write(canonical(criterion))


def within_ids(query: Json, after: str | None, upto: str | None) -> Json:
    """Return the query for those of its entries whose ids come after ``after``, up to and with ``upto``.

    Both bounds stand in one object: as suffixes the quantity would occur twice, which is refused.
    """
    bounds = {word: value for word, value in (("gt", after), ("lte", upto)) if value is not None}
    if not bounds:
        return query
    part: Json = {"entry_id": bounds}
    return {"and": [query, part]} if query else part


@dataclass(frozen=True, slots=True)
class _Writer:
    catalogue: Catalogue
    release: str

    def write(self, criterion: Criterion) -> Json:
        match criterion:
            case And(()):
                return {}
            case Or(()):
                return {"and": [{"entry_id": _IMPOSSIBLE_ID}, {"not": {"entry_id": _IMPOSSIBLE_ID}}]}
            case And(parts):
                return {"and": [self.write(part) for part in parts]}
            case Or(parts):
                return {"or": [self.write(part) for part in parts]}
            case Not(inner):
                return {"not": self.write(inner)}
            case Within(section, parts):
                return self._section_form(section, parts)
            case Optimade(text):
                return {"optimade_filter": double_quoted(text)}
            case _:
                return self._leaf(criterion)

    def _leaf(self, leaf: Leaf) -> Json:
        quantity = self._quantity(leaf.quantity)
        name, nested = leaf.quantity, quantity.nested is not None
        match leaf:
            case Equals(_, value):
                return {name: value}
            case HasAll(_, several) if nested or has_one_value(quantity):
                return {"and": [{name: value} for value in several]}
            case HasAll(_, several):
                return {name: {"all": list(several)}}
            case HasNone(_, several) if nested or len(several) > MOST_CLAUSES:
                return {"not": self.write(canonical(HasAny(name, several)))}
            case HasNone(_, several):
                return {name: {"none": list(several)}}
            case HasAny(_, several):
                return self._any(name, several, self._most_values(quantity))
            case Range():
                return {name: as_sent(leaf, quantity)}
            case _:
                assert_never(leaf)

    def _quantity(self, name: str) -> Quantity:
        return self.catalogue.find(name) or custom_quantity(name)

    def _any(self, name: str, several: Sequence[Value], most: int) -> Json:
        parts = [{name: {"any": list(several[i : i + most])}} for i in range(0, len(several), most)]
        return parts[0] if len(parts) == 1 else {"or": parts}

    def _most_values(self, quantity: Quantity) -> int:
        is_one_clause = quantity.index not in {None, "text"} and "#" not in quantity.name
        return terms_in_one_list(self.release) if is_one_clause else MOST_CLAUSES

    def _section_form(self, section: str, parts: tuple[Criterion, ...]) -> Json:
        if section not in self.catalogue.nested_sections:
            raise NotExpressible(
                f"NOMAD's index mixes the items of {section}, so it cannot ask for one item with all of this."
                " Ask for the parts one by one, and select the column with .matching(...) or an item filter."
            )
        form: Json = {}
        for leaf in sorted(parts, key=_ranges_first):
            form.update(self._relative(section, leaf, form))
        return {section: form}

    def _relative(self, section: str, leaf: Criterion, so_far: Json) -> Json:
        if isinstance(leaf, Within) and leaf.section.startswith(f"{section}."):
            [(inner, form)] = self._section_form(leaf.section, leaf.criteria).items()
            return {_unused(inner.removeprefix(f"{section}."), so_far, section): form}
        if not isinstance(leaf, Equals | HasAll | HasAny | HasNone | Range):
            raise NotExpressible(
                f"Within {section} NOMAD can only combine plain comparisons (and), "
                f"not {type(leaf).__name__.lower()}."
            )
        if not leaf.quantity.startswith(f"{section}."):
            raise NotExpressible(f"Within {section} NOMAD cannot ask for {leaf.quantity}.")
        name = leaf.quantity.removeprefix(f"{section}.")
        quantity = self._quantity(leaf.quantity)
        if quantity.nested not in {None, section} and isinstance(leaf, HasAll | HasNone):
            raise NotExpressible(
                f"Within {section} NOMAD cannot ask for all or none of several items at {leaf.quantity}."
            )
        most = self._most_values(quantity)
        if isinstance(leaf, HasAny) and len(leaf.values) > most:
            raise NotExpressible(f"Within {section} NOMAD takes at most {most:,} values at {leaf.quantity}.")
        match leaf:
            case Equals(_, value):
                return {_unused(f"{name}:all", so_far, section): [value]} if name in so_far else {name: value}
            case HasAll(_, several):
                return {_unused(f"{name}:all", so_far, section): list(several)}
            case HasAny(_, several):
                return {_unused(f"{name}:any", so_far, section): list(several)}
            case HasNone(_, several):
                return {_unused(f"{name}:none", so_far, section): list(several)}
            case Range():
                return {_unused(name, so_far, section): as_sent(leaf, quantity)}
            case _:
                assert_never(leaf)


def _unused(key: str, so_far: Json, section: str) -> str:
    if key in so_far:
        raise NotExpressible(
            f"Within {section} NOMAD takes {key.partition(':')[0]!r} only once in this way; "
            "combine the comparisons into one."
        )
    return key


def _ranges_first(leaf: Criterion) -> bool:
    """Return the order of the leaves in a section form; a range takes the plain name as its key."""
    return not isinstance(leaf, Range)
