"""The left side of a comparison: a name as typed, and what it may be compared with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from nomadquery import units
from nomadquery.errors import NotExpressible, QueryError, UnitError
from nomadquery.query.catalogue import COUNTED_BY, Quantity, catalogue_for
from nomadquery.query.criteria import (
    NOTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Range,
    Value,
)
from nomadquery.query.given import (
    has_entry_ids,
    is_null,
    is_table,
    listed_values,
    plain_value,
    several_values,
)
from nomadquery.query.query import Query, ids_placeholder
from nomadquery.query.resolve import UNCHECKED, Resolver, full_name

_INCLUSIVE: Final = {
    "both": ("gte", "lte"),
    "left": ("gte", "lt"),
    "right": ("gt", "lte"),
    "neither": ("gt", "lt"),
}


@dataclass(frozen=True, slots=True)
class Operand:
    """A quantity that is compared.

    Attributes
    ----------
    name : str
        The dotted name as typed; with ``!`` in front it is taken as it stands.
    shown : str
        Its Python spelling, for messages.
    stored_in : str or None
        Unit of the stored number where the user says it.
    """

    name: str
    shown: str
    stored_in: str | None = None

    @property
    def known(self) -> Quantity | None:
        """What the shipped tables know of it; ``None`` for names that only a server knows."""
        is_unchecked = self.name.startswith(UNCHECKED)
        return None if is_unchecked else catalogue_for().find(full_name(self.name))

    def compared(self, leaf: Callable[[str, Value], Criterion], value: object) -> Query:
        """Return the comparison ``leaf`` with one value."""
        return self._made(leaf(self.name, self._value(value, None)))

    def equals(self, value: object) -> Query:
        """Return: some value equals ``value``."""
        if self._is_measured():
            raise QueryError(
                f"{self.shown} is a measured number and never exactly {value!r}. Write .between(low, high), "
                f"as in {self.shown}.between('1.1 eV', '1.2 eV')."
            )
        return self.compared(Equals, value)

    def between(self, low: object, high: object, *, unit: str | None, inclusive: str) -> Query:
        """Return: one value lies between the two."""
        if inclusive not in _INCLUSIVE:
            raise QueryError(f"inclusive={inclusive!r} is not one of {', '.join(_INCLUSIVE)}.")
        lower, upper = _INCLUSIVE[inclusive]
        leaf = Range(self.name, **{lower: self._value(low, unit), upper: self._value(high, unit)})
        if _is_empty(self._resolved(leaf)):
            raise QueryError(
                f"{self.shown}: nothing is between {low!r} and {high!r}. Give the lower one first."
            )
        return Query(leaf)

    def has_all(self, values: tuple[object, ...], *, unit: str | None) -> Query:
        """Return: every one of ``values`` is there."""
        several = self._several(values, unit)
        if self.known is not None and not self.known.is_list and len(set(several)) > 1:
            raise QueryError(
                f"{self.shown} has one value and cannot have all of {several}; write .isin(...)."
            )
        return self._made(HasAll(self.name, several))

    def has_any(self, values: tuple[object, ...], *, unit: str | None) -> Query:
        """Return: at least one of ``values`` is there."""
        return self._made(HasAny(self.name, self._several(values, unit)))

    def has_none(self, values: tuple[object, ...], *, unit: str | None) -> Query:
        """Return: none of ``values`` is there."""
        return self._made(HasNone(self.name, self._several(values, unit)))

    def has_exactly(self, values: tuple[object, ...]) -> Query:
        """Return: these values and no others."""
        several, known = self._several(values, None), self._enumerated()
        if known.name not in COUNTED_BY:
            return self._made(And((HasAll(self.name, several), HasNone(self.name, _others(several, known)))))
        section, dot, _ = self.name.rpartition(".")
        count = f"{section}{dot}{COUNTED_BY[known.name].rpartition('.')[2]}"
        return self._made(And((HasAll(self.name, several), Equals(count, len(set(several))))))

    def has_only(self, values: tuple[object, ...]) -> Query:
        """Return: at least one of these values and nothing else."""
        several, others = self._several(values, None), self._enumerated()
        return self._made(And((HasAny(self.name, several), HasNone(self.name, _others(several, others)))))

    def isin(self, values: tuple[object, ...]) -> Query:
        """Return: the value is one of ``values``, or one of the entry ids of a search."""
        if len(values) == 1 and is_null(values[0]):
            raise QueryError(
                f"{self.shown}.isin takes values, not {values[0]!r}; for a missing value write "
                f"~{self.shown}.exists()."
            )
        if len(values) == 1 and (is_table(values[0]) or has_entry_ids(values[0])):
            self._check_takes_entry_ids()
        if len(values) == 1 and has_entry_ids(values[0]):
            placeholder = ids_placeholder(1)
            return Query(HasAny(self.name, (placeholder,)), ((placeholder, values[0]),))
        if self._is_measured():
            raise QueryError(
                f"{self.shown} is a measured number and never exactly in a list; write .between(low, high)."
            )
        several = tuple(self._value(value, None) for value in listed_values(values))
        return self._made(HasAny(self.name, several)) if several else Query(NOTHING)

    def exists(self) -> Query:
        """Return: the entry has a value."""
        return self._made(Range(self.name))

    def _made(self, criterion: Criterion) -> Query:
        self._resolved(criterion)
        return Query(criterion)

    def _resolved(self, criterion: Criterion) -> Criterion | None:
        """Return the checked tree, ``None`` where the shipped tables do not know the quantity."""
        return None if self.known is None else checked(criterion, self.name)

    def _check_takes_entry_ids(self) -> None:
        last = full_name(self.name).partition("#")[0].rpartition(".")[2]
        if not (self.name.startswith(UNCHECKED) or last.endswith(("entry_id", "calc_id"))):
            raise QueryError(
                f"{self.shown}.isin compares with entry ids where it is given a search or a table, and "
                f"{self.shown} holds none. Give the column, as in frame[{last!r}], or write "
                "Q.entry_id.isin(...)."
            )

    def _is_measured(self) -> bool:
        return self.known is not None and self.known.kind == "number" and self.known.is_dimensional

    def _enumerated(self) -> Quantity:
        if self.known is None or not self.known.members or not self.known.is_list:
            raise NotExpressible(
                f"NOMAD cannot say 'and no others' of {self.shown}, whose possible values are not listed. "
                "Ask has_all(...), select the column and compare in pandas."
            )
        return self.known

    def _several(self, values: tuple[object, ...], unit: str | None) -> tuple[Value, ...]:
        listed = several_values(values)
        if not listed:
            raise QueryError(f"{self.shown} is compared with no value at all; give at least one.")
        return tuple(self._value(value, unit) for value in listed)

    def _value(self, value: object, unit: str | None) -> Value:
        plain = plain_value(value, self.shown)
        if unit is not None:
            if isinstance(plain, bool | str):
                raise QueryError(f"unit={unit!r} goes with a number, not with {plain!r}.")
            units.check_named(unit)
            plain = f"{plain!r} {unit}"
        return plain if self.stored_in is None else self._in_stored_unit(plain, self.stored_in)

    def _in_stored_unit(self, value: Value, stored_in: str) -> Value:
        if isinstance(value, bool):
            return value
        number, unit = units.parse_measure(value) if isinstance(value, str) else (value, "")
        return units.convert(float(number), unit, stored_in) if unit else float(number)


def checked(criterion: Criterion, name: str) -> Criterion:
    """Return the resolved tree, checked strictly against the shipped tables.

    A ``name`` such as ``elements`` is a short name or, inside a `within`, relative to its section,
    which is not known yet: one reading must hold.
    """
    catalogue = catalogue_for()
    resolver = Resolver(catalogue, strict=True)
    try:
        return resolver.resolve(criterion)
    except QueryError:
        for section in catalogue.nested_sections:
            if catalogue.find(f"{section}.{name}") is not None:
                with suppress(QueryError):
                    return resolver.resolve(criterion, section)
        raise


def refuse_stated_unit(name: str, unit: str) -> None:
    """Refuse ``.stored_in(unit)`` of a quantity whose unit is known.

    Raises
    ------
    UnitError
        With the unit that is stored.
    """
    known = catalogue_for().find(full_name(name))
    if known is not None and known.unit not in {None, "dimensionless"}:
        raise UnitError(
            f"{known.name} is stored in {known.unit}, which is known; leave out .stored_in({unit!r}). "
            f"Give a value with its unit, as in '1.5 {unit}', and a column .to({unit!r})."
        )


def _others(values: tuple[Value, ...], known: Quantity) -> tuple[Value, ...]:
    return tuple(member for member in known.members if member not in values)


def _is_empty(criterion: Criterion | None) -> bool:
    """Return whether no value can lie in a resolved range."""
    match criterion:
        case Range(_, gt, gte, lt, lte):
            lower, upper = (gt or gte, lt or lte)
            return isinstance(lower, str) and isinstance(upper, str) and lower > upper
        case _:
            return criterion == NOTHING
