"""From the tree as typed to the tree as NOMAD stores it: full names, stored units, instants.

A typed (*stated*) tree may use short names, names relative to a section, values with units
(``"1.5 eV"``), days, and a `Range` without bounds for "has a value". A resolved tree has none
of these; `body`, `params` and `predicate` take resolved trees only. `stated` goes back.

A name that begins with ``!`` is taken as it stands, values included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final, assert_never

from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError
from nomadquery.query import dates, formulas, values
from nomadquery.query.bounds import as_meant, bounds_of, joined_ranges, limits
from nomadquery.query.catalogue import Catalogue, Kind, Quantity
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
from nomadquery.query.path import split_brackets
from nomadquery.query.short_names import SHORT_NAMES

UNCHECKED = "!"
_MOST_ALTERNATIVES = 64
_NAMES_SHOWN = 12
_EARLIEST = "0001-01-01T00:00:00.000Z"
#: Where an archive holds what only the deployment's parsers and schemas know.
_OPEN_SECTIONS = ("data", "run", "workflow", "workflow2", "measurement", "nexus", "definitions")
_CUSTOM_KINDS: Final[dict[str, Kind]] = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "datetime": "date",
}


def full_name(name: str, section: str = "") -> str:
    """Return the name in full: short names spelled out, relative names below ``section``."""
    if section:
        return name if name.startswith(f"{section}.") else f"{section}.{name}"
    if name in SHORT_NAMES:
        pieces = split_brackets(SHORT_NAMES[name].path)
        return ".".join(text for kind, text in pieces if kind == "name")
    return name.removeprefix("metadata.")


@dataclass(frozen=True, slots=True)
class Resolver:
    """What resolving needs to know.

    Attributes
    ----------
    catalogue : Catalogue
        The quantities of the release that is asked.
    schemas : mapping
        ``data.x`` → its known full names ``data.x#schema[#dtype]``, from the server.
    strict : bool
        Whether values that NOMAD takes but never finds (an unknown member of an
        enumeration, 2.5 for an integer) are refused.
    searchable_only : bool
        Whether quantities outside the search index are refused; filters of columns take them.
    """

    catalogue: Catalogue
    schemas: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strict: bool = False
    searchable_only: bool = True

    def resolve(self, criterion: Criterion, section: str = "") -> Criterion:
        """Return the resolved tree; names are relative to ``section`` where it is given.

        Raises
        ------
        QuantityNotFound
            If a name is not known; with the nearest known ones.
        UnitError
            If a number lacks its unit, or has one that does not fit.
        QueryError
            If a value has the wrong type.
        NotExpressible
            If the quantity is not in the search index.
        """
        match criterion:
            case And(parts):
                return And(tuple(self.resolve(part, section) for part in parts))
            case Or(parts):
                return Or(tuple(self.resolve(part, section) for part in parts))
            case Not(inner):
                return Not(self.resolve(inner, section))
            case Within(name, parts):
                return self._within(full_name(name, section), parts)
            case Optimade():
                return criterion
            case _:
                return self._leaf(criterion, section)

    def quantity(self, name: str, section: str = "") -> Quantity:
        """Return what is known of the searchable quantity that ``name`` stands for."""
        full = full_name(name, section)
        found = self.catalogue.find(full)
        if found is None and full.startswith("data."):
            return custom_quantity(full if "#" in full else self._completed(full))
        if found is None:
            raise unknown_quantity(full, self.catalogue)
        if found.kind == "section":
            raise NotExpressible(
                f"{full!r} is a section, not a quantity. Compare one of its quantities "
                f"({comparable_in(full, self.catalogue)}), or ask .exists()."
            )
        if self.searchable_only and not found.searchable:
            release = f"NOMAD {self.catalogue.release}'s" if self.catalogue.release else "NOMAD's"
            raise NotExpressible(
                f"{release} search index does not hold {full!r}, so a query can only ask whether it "
                ".exists(). Select it as a column and narrow the table with drop_missing() or in pandas."
            )
        return found

    def _leaf(self, leaf: Leaf, section: str) -> Criterion:
        if leaf.quantity.startswith(UNCHECKED):
            return self._unchecked(leaf, section)
        if leaf == Range(leaf.quantity):
            return self._existence(full_name(leaf.quantity, section), section)
        quantity = self.quantity(leaf.quantity, section)
        match leaf:
            case Equals(_, value):
                return self._any_of((value,), quantity)
            case HasAll(_, several):
                return And(tuple(self._any_of((value,), quantity) for value in several))
            case HasAny(_, several):
                return self._any_of(several, quantity)
            case HasNone(_, several):
                return canonical(Not(self._any_of(several, quantity)))
            case Range():
                return self._range(leaf, quantity)
            case _:
                assert_never(leaf)

    def _unchecked(self, leaf: Leaf, section: str) -> Criterion:
        name = leaf.quantity.removeprefix(UNCHECKED)
        if leaf != Range(leaf.quantity):
            return replace(leaf, quantity=full_name(name, section) if section else name)
        if section:
            raise NotExpressible(f"Whether an item of {section} has {name} cannot be asked unchecked.")
        return Equals("quantities", name)

    def _existence(self, full: str, section: str) -> Criterion:
        """Return "has a value", which NOMAD's language lacks.

        Indexed quantities are asked for any value at all; the others, and sections, by the list
        ``quantities`` of the archive paths that an entry has.
        """
        found = self.catalogue.find(full)
        if found is None and full.partition(".")[0] not in _OPEN_SECTIONS:
            raise unknown_quantity(full, self.catalogue)
        is_value = found is not None and found.kind != "section" and not formulas.normalised_by_server(full)
        if found is not None and is_value and (found.searchable or not self.searchable_only):
            return existence(found)
        if section:
            raise NotExpressible(
                f"NOMAD can tell whether an entry has {full}, not whether an item of {section} has it."
            )
        path = self.catalogue.archive_path(full.partition("#")[0])
        if found is not None and found.kind == "section" and path.startswith("metadata."):
            return canonical(Or(tuple(self._children_exist(full))))  # the archive's copy goes stale
        return Equals("quantities", path)

    def _children_exist(self, section: str) -> Iterator[Criterion]:
        for child in self.catalogue.children(section):
            found = self.catalogue.find(f"{section}.{child}")
            if found is not None and found.searchable:
                yield existence(found)

    def _any_of(self, several: tuple[Value, ...], quantity: Quantity) -> Criterion:
        """Return "one of these values", in stored units; a day is all its instants."""
        days = [value for value in several if quantity.kind == "date" and dates.is_day(value)]
        exact = [value for value in several if value not in days]
        stored = [s for value in exact for s in values.stored_spellings(value, quantity, strict=self.strict)]
        whole_days = [
            Range(quantity.name, gte=first, lt=end)
            for first, end in (dates.day_bounds(str(day)) for day in days)
        ]
        return canonical(Or((HasAny(quantity.name, tuple(stored)), *whole_days)))

    def _range(self, leaf: Range, quantity: Quantity) -> Criterion:
        if quantity.kind == "boolean" or any(isinstance(bound, bool) for bound in bounds_of(leaf).values()):
            raise QueryError(f"{quantity.name}: true and false have no order; compare with == or !=.")
        formula = not quantity.is_view and formulas.formula_order(quantity.name) is not None
        if formula and (self.strict or formulas.normalised_by_server(quantity.name)):
            raise NotExpressible(f"Formulas have no order, and NOMAD fails on ranges of {quantity.name}.")
        stored: dict[str, Value] = {}
        for side, bound in bounds_of(leaf).items():
            if quantity.kind == "date" and dates.is_day(bound):
                side, bound = _day_edge(side, bound)  # noqa: PLW2901  # the same bound, as an instant
            stored[side] = bound if formula else values.stored_spellings(bound, quantity, strict=False)[0]
        return canonical(as_meant(Range(quantity.name, **stored), quantity))

    def _within(self, section: str, parts: tuple[Criterion, ...]) -> Criterion:
        found = self.catalogue.find(section)
        if found is None:
            raise unknown_quantity(section, self.catalogue)
        if found.kind != "section":
            above = _section_of(found)
            hint = f"write within({above!r}, …)" if above else "compare it outside of within"
            raise QueryError(f"{section} is no section; {hint}.")
        inner = And(tuple(self.resolve(part, section) for part in parts))
        if not found.repeats or found.repeats[-1] != section:
            return inner  # a section that occurs once: the same item is the only one
        possible = (leaves for leaves in alternatives(inner) if self._is_possible(leaves, section))
        return canonical(Or(tuple(Within(section, self._joined(leaves, section)) for leaves in possible)))

    def _joined(self, leaves: tuple[Criterion, ...], section: str) -> tuple[Criterion, ...]:
        """Return the leaves with the ranges of one value joined: a section form takes one a quantity."""
        by_name: dict[str, list[Range]] = {}
        others: list[Criterion] = []
        for leaf in leaves:
            if isinstance(leaf, Range) and self._has_one(leaf.quantity, section):
                by_name.setdefault(leaf.quantity, []).append(leaf)
            else:
                others.append(leaf)
        return (*others, *(leaf for ranges in by_name.values() for leaf in joined_ranges(ranges)))

    def _is_possible(self, leaves: tuple[Criterion, ...], section: str) -> bool:
        """Return whether no leaf wants several values where an item of the section has one."""
        return not any(isinstance(leaf, HasAll) and self._has_one(leaf.quantity, section) for leaf in leaves)

    def _has_one(self, name: str, section: str) -> bool:
        found = self.catalogue.find(name)
        return found is not None and has_one_value(found, section)

    def _completed(self, name: str) -> str:
        candidates = self.schemas.get(name, ())
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise QuantityNotFound(
                f"{name!r} occurs in several schemas: {', '.join(map(repr, candidates))}. "
                f"Choose one, as in Q[{candidates[0]!r}].",
                name=name,
                nearest=candidates,
            )
        raise QuantityNotFound(
            f"The schema of {name!r} is not known here. Write it, as in "
            f"Q['{name}#my_package.schema.MySection'] or Q['{name}#entry_id:<id>.<Section>#float'], "
            "or ask with .exists().",
            name=name,
        )


def existence(quantity: Quantity) -> Criterion:
    """Return "an indexed quantity has a value" as a range over all values.

    The server fails on ranges of some formulas, and the type of custom quantities may not be known:
    these are asked by their archive path.
    """
    if formulas.normalised_by_server(quantity.name) or "#" in quantity.name:
        return Equals("quantities", quantity.name.partition("#")[0])
    match quantity.kind:
        case "boolean":
            return HasAny(quantity.name, (False, True))
        case "date":
            return Range(quantity.name, gte=_EARLIEST)
        case "integer" | "number":
            least, greatest = limits(quantity) or (None, None)
            return Range(quantity.name, gte=least, lte=greatest)
        case _:
            return Range(quantity.name, gte=" ")


def comparable_in(section: str, catalogue: Catalogue) -> str:
    """Return the names of some searchable quantities of the section, for messages."""
    names = [f"{section}.{child}" for child in catalogue.children(section)]
    found = [name for name in names if (known := catalogue.find(name)) is not None and known.searchable]
    shown = ", ".join((found or names)[:_NAMES_SHOWN])
    return shown + (", …" if len(found or names) > _NAMES_SHOWN else "")


def has_one_value(quantity: Quantity, section: str = "") -> bool:
    """Return whether an entry (or an item of ``section``) has at most one value of the quantity."""
    deeper = [repeating for repeating in quantity.repeats if len(repeating) > len(section)]
    return not (quantity.shape or deeper or "#" in quantity.name)


def _section_of(quantity: Quantity) -> str:
    """Return the innermost repeating section that holds the quantity, else the section it is in."""
    return (quantity.repeats or (quantity.name.rpartition(".")[0],))[-1]


def stated(criterion: Criterion, catalogue: Catalogue) -> Criterion:
    """Return a resolved tree with units said, so that resolving it gives the same tree again."""
    match criterion:
        case And(parts):
            return And(tuple(stated(part, catalogue) for part in parts))
        case Or(parts):
            return Or(tuple(stated(part, catalogue) for part in parts))
        case Not(inner):
            return Not(stated(inner, catalogue))
        case Within(section, parts):
            return Within(section, tuple(stated(part, catalogue) for part in parts))
        case Optimade():
            return criterion
        case _:
            return _stated_leaf(criterion, catalogue)


def _stated_leaf(leaf: Leaf, catalogue: Catalogue) -> Leaf:
    quantity = catalogue.find(leaf.quantity) or custom_quantity(leaf.quantity)
    if quantity.searchable and leaf == existence(quantity):
        return Range(leaf.quantity)
    match leaf:
        case Equals(name, value):
            return Equals(name, values.stated(value, quantity))
        case HasAll(name, several) | HasAny(name, several) | HasNone(name, several):
            return type(leaf)(name, tuple(values.stated(value, quantity) for value in several))
        case Range(name):
            return Range(name, **{s: values.stated(b, quantity) for s, b in bounds_of(leaf).items()})
        case _:
            assert_never(leaf)


def custom_quantity(name: str) -> Quantity:
    """Return what the name ``data.x#schema[#dtype]`` itself tells of a custom quantity."""
    dtype = name.rpartition("#")[2] if name.count("#") > 1 else ""
    kind = _CUSTOM_KINDS.get(dtype, "other")
    index = {"integer": "long", "text": "keyword"}.get(kind)
    return Quantity(name=name, kind=kind, type=dtype or "custom", index=index, searchable=True)


def unknown_quantity(name: str, catalogue: Catalogue) -> QuantityNotFound:
    """Return the error for a name that nobody knows, with the nearest ones or the successor of an old one."""
    successor = catalogue.successor(name)
    if successor is not None:
        return QuantityNotFound(
            f"{name!r} is a path of old archives, which NOMAD no longer fills; its successor is "
            f"{successor!r}. To ask archives that still have it write Q[{name!r}].unchecked().",
            name=name,
            nearest=(successor,),
        )
    nearest = catalogue.nearest(name)
    hint = f" Nearest: {', '.join(nearest)}." if nearest else ""
    release = f" {catalogue.release}" if catalogue.release else ""
    return QuantityNotFound(
        f"NOMAD{release} has no quantity {name!r}.{hint} List them with nomad.quantities("
        f"{name.rpartition('.')[2]!r}); to ask all the same write Q[{name!r}].unchecked().",
        name=name,
        nearest=nearest,
    )


def alternatives(criterion: Criterion) -> tuple[tuple[Criterion, ...], ...]:
    """Return the tree as alternatives (or) of parts that hold together (and).

    "One item satisfies A or B" is "one satisfies A, or one satisfies B"; this is how an
    ``Or`` inside a section leaves it.
    """
    match canonical(criterion):
        case And(parts):
            choices = [alternatives(part) for part in parts]
        case Not(And(parts)):
            return alternatives(Or(tuple(Not(part) for part in parts)))
        case Not(Or(parts)):
            return alternatives(And(tuple(Not(part) for part in parts)))
        case Or(parts):
            return tuple(leaves for part in parts for leaves in alternatives(part))
        case part:
            return ((part,),)
    combined = tuple(tuple(leaf for leaves in choice for leaf in leaves) for choice in product(*choices))
    if len(combined) > _MOST_ALTERNATIVES:
        raise NotExpressible(f"Within one section this would need {len(combined)} alternatives; simplify it.")
    return combined


def _day_edge(side: str, day: Value) -> tuple[str, Value]:
    """Return the bound at a whole day as one at an instant: after a day means from the next."""
    first, end = dates.day_bounds(str(day))
    return {"gt": ("gte", end), "gte": ("gte", first), "lt": ("lt", first), "lte": ("lt", end)}[side]
