"""What hits can be counted by: the quantity behind a path, its units, and bounds and widths of bins.

All is checked before anything is sent: the quantity is known, in the search index and of the right
kind, numbers carry their units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nomadquery import units
from nomadquery.errors import NotExpressible, QueryError, UnitError
from nomadquery.query.catalogue import Catalogue, Quantity
from nomadquery.query.column import Column
from nomadquery.query.criteria import Value
from nomadquery.query.given import plain_value
from nomadquery.query.path import dotted, is_plain
from nomadquery.query.phrases import read_column
from nomadquery.query.quantity import QuantityPath, column_of
from nomadquery.query.resolve import Resolver, full_name, unknown_quantity
from nomadquery.query.short_names import SHORT_NAMES
from nomadquery.query.values import stored_spellings

_TERMS_INDEX: Final = frozenset({"keyword", "boolean"})
_MEASURED_KINDS: Final = frozenset({"integer", "number", "date"})
_SHOWN: Final = 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: Calendar intervals as people write them, and the word of NOMAD for each.
_CALENDAR: Final = {
    **dict.fromkeys(("1d", "day", "d"), "1d"),
    **dict.fromkeys(("1w", "week", "w"), "1w"),
    **dict.fromkeys(("1M", "month", "M"), "1M"),
    **dict.fromkeys(("1q", "quarter", "q"), "1q"),
    **dict.fromkeys(("1y", "year", "y"), "1y"),
}
_FIXED: Final = re.compile(r"(\d+)\s*(s|min|m|h|d)")
_MILLISECONDS: Final = {"s": 1_000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Aggregated:
    """A quantity that hits are counted by.

    Attributes
    ----------
    quantity : Quantity
        As the catalogue knows it; its ``unit`` is that of the stored numbers.
    unit : str or None
        Unit of the results: the wanted one, the customary one of a short name, or the stored one.
    """

    quantity: Quantity
    unit: str | None

    @property
    def name(self) -> str:
        """The name as in the search index."""
        return self.quantity.name

    @property
    def is_date(self) -> bool:
        """Whether values are dates."""
        return self.quantity.kind == "date"

    @property
    def is_nested(self) -> bool:
        """Whether the index keeps its items apart from their entries."""
        return self.quantity.nested is not None or "#" in self.name

    def shown(self, stored: float) -> float:
        """Return a stored number in the unit of the results."""
        if self.unit is None or self.quantity.unit is None:
            return stored
        return units.convert(stored, self.quantity.unit, self.unit)


def facet_quantity(
    path: str | QuantityPath, catalogue: Catalogue, schemas: Mapping[str, tuple[str, ...]] | None = None
) -> Aggregated:
    """Return the quantity whose values are counted: text of fixed words, or a truth value.

    Parameters
    ----------
    path : str or QuantityPath
        Short name or full path, without positions, filters and rules: all values of an entry count.
    schemas : mapping, optional
        ``data.x`` → its full names ``data.x#schema``, where the server has been asked.

    Raises
    ------
    QuantityNotFound
        If nobody knows the quantity.
    NotExpressible
        If NOMAD cannot count its values: it is not in the index, a number, a date, or free text.
    """
    found = _indexed(path, catalogue, schemas or {}, _fits_terms)
    quantity = found.quantity
    if _fits_terms(quantity):
        return found
    if quantity.kind in _MEASURED_KINDS:
        raise NotExpressible(
            f"NOMAD lists the values of texts and truth values; {quantity.name} holds {quantity.kind} "
            f"values. Count them in bins: histogram({quantity.name!r}, bins=10) or bin_width=…"
        )
    raise NotExpressible(
        f"The index holds {quantity.name} as words of free text, whose values cannot be listed."
        + _what_would_do(quantity.name, catalogue, _fits_terms)
    )


def measured_quantity(
    path: str | QuantityPath, catalogue: Catalogue, schemas: Mapping[str, tuple[str, ...]] | None = None
) -> Aggregated:
    """Return the quantity that is measured: a number or a date; parameters as for `facet_quantity`.

    Raises
    ------
    QuantityNotFound
        If nobody knows the quantity.
    NotExpressible
        If it is not in the index, or holds neither numbers nor dates.
    UnitError
        If the wanted unit does not fit the stored one.
    """
    found = _indexed(path, catalogue, schemas or {}, _fits_measures)
    if _is_open(found.quantity):  # the server refuses what is no number
        return replace(found, quantity=replace(found.quantity, kind="number"))
    if _fits_measures(found.quantity):
        return found
    counted = f" List its values: facet({found.name!r})." if _fits_terms(found.quantity) else ""
    raise NotExpressible(
        f"{found.name} holds {found.quantity.kind} values; histogram, statistics and minmax take numbers "
        f"and dates.{counted}" + _what_would_do(found.name, catalogue, _fits_measures)
    )


def open_name(path: str | QuantityPath) -> str | None:
    """Return the custom quantity ``data.x`` whose schema the path leaves open, ``None`` for all others."""
    name = full_name(dotted(_read(path).path))
    return name if name.startswith("data.") and "#" not in name else None


def stored_range(bounds: tuple[Any, Any], measured: Aggregated) -> tuple[Value, Value]:
    """Return two bounds as NOMAD stores them: numbers in its unit, dates as instants.

    Raises
    ------
    UnitError
        If a number lacks its unit, or has one that does not fit.
    QueryError
        If there are not two bounds, or the first is not below the second.
    """
    if isinstance(bounds, str) or len(bounds) != 2:
        raise QueryError(f"range is two bounds, as in range=({_example(measured)}), not {bounds!r}.")
    low, high = (
        stored_spellings(plain_value(bound, measured.name), measured.quantity, strict=False)[0]
        for bound in bounds
    )
    if not low < high:  # type: ignore[operator]  # two numbers or two instants
        raise QueryError(f"range begins below its end; {bounds[0]!r} is not below {bounds[1]!r}.")
    return low, high


def stored_width(width: Any, measured: Aggregated) -> float:
    """Return the width of a bin in the stored unit of a number.

    Raises
    ------
    UnitError
        If it lacks its unit, or has one that does not fit or that does not begin at zero (``degC``).
    QueryError
        If it is not positive.
    """
    value = plain_value(width, f"bin_width of {measured.name}")
    if isinstance(value, str) and units.scale_of(units.parse_measure(value)[1]).offset:
        raise UnitError(f"A width of {value!r} is a difference: give it in {measured.quantity.unit}.")
    number = replace(measured.quantity, kind="number")  # half-integer widths are widths too
    stored = stored_spellings(value, number, strict=False)[0]
    if not isinstance(stored, int | float) or stored <= 0:
        raise QueryError(f"bin_width is positive, not {width!r}.")
    return float(stored)


def calendar_interval(width: object) -> str | None:
    """Return NOMAD's word for a day, week, month, quarter or year, ``None`` for other widths."""
    return _CALENDAR.get(width) if isinstance(width, str) else None


def fixed_milliseconds(width: object) -> float:
    """Return the milliseconds of ``"30d"``, ``"12h"``, ``"15min"``, ``"10s"`` or a `timedelta`.

    Raises
    ------
    QueryError
        If it is no such text, or not positive.
    """
    found = _FIXED.fullmatch(width.strip()) if isinstance(width, str) else None
    if found is not None:
        length = int(found[1]) * _MILLISECONDS[found[2]]
    elif isinstance(width, timedelta):
        length = int(width / timedelta(milliseconds=1))
    else:
        length = 0
    if length <= 0:
        raise QueryError(
            f"bin_width of dates is day, week, month, quarter or year, a length such as '30d', '12h', "
            f"'15min', or a timedelta; not {width!r}."
        )
    return float(length)


def milliseconds_of(moment: datetime) -> float:
    """Return a moment as epoch milliseconds."""
    return (moment - _EPOCH) / timedelta(milliseconds=1)


def _indexed(
    path: str | QuantityPath,
    catalogue: Catalogue,
    schemas: Mapping[str, tuple[str, ...]],
    fits: Callable[[Quantity], bool],
) -> Aggregated:
    """Return the quantity behind a path, with the unit of the results; it is in the index."""
    column = _read(path)
    typed = dotted(column.path)
    name = full_name(typed)
    known = catalogue.find(name)
    if known is None and column.unchecked:
        quantity = Quantity(name=name, kind="other", type="unchecked", searchable=True)
    elif known is None and not name.startswith("data."):
        raise unknown_quantity(name, catalogue)
    elif known is not None and (known.kind == "section" or not known.searchable):
        what = "is a section" if known.kind == "section" else "is not in NOMAD's search index"
        raise NotExpressible(
            f"{name} {what}, so its values cannot be counted there."
            + (_what_would_do(name, catalogue, fits) or " Select it as a column and count in pandas.")
        )
    else:
        quantity = Resolver(catalogue, schemas).quantity(name)
    if column.stored_in is not None:
        quantity = replace(quantity, unit=column.stored_in)
    customary = SHORT_NAMES[typed].unit if typed in SHORT_NAMES else None
    return Aggregated(quantity, _result_unit(column.unit or customary, quantity))


def _read(path: str | QuantityPath) -> Column:
    """Return the column of a path; the customary rule of a short name does not count."""
    if isinstance(path, QuantityPath):
        column = column_of(path, "")
    elif isinstance(path, str):
        where, rule, unit = read_column(path)
        column = Column("", where, rule, unit)
    else:
        raise TypeError(f"A quantity is a name, a dotted path or a Q path, not {path!r}.")
    if column.rule is not None or not is_plain(column.path):
        raise NotExpressible(
            f"NOMAD counts over all values of an entry: write {dotted(column.path)!r} without positions, "
            "filters and rules, or select the column and count in pandas."
        )
    return column


def _result_unit(wanted: str | None, quantity: Quantity) -> str | None:
    if wanted is None:
        return quantity.unit
    if quantity.unit is None:
        raise UnitError(f"NOMAD states no unit for {quantity.name}, so it cannot be given in {wanted!r}.")
    if not units.same_dimension(quantity.unit, wanted):
        raise UnitError(
            f"{quantity.name} is stored in {quantity.unit}, which cannot be expressed in {wanted!r}."
        )
    return wanted


def _fits_terms(quantity: Quantity) -> bool:
    if _is_open(quantity):
        return True
    return quantity.index in _TERMS_INDEX or ("#" in quantity.name and quantity.kind in {"text", "boolean"})


def _fits_measures(quantity: Quantity) -> bool:
    return _is_open(quantity) or (quantity.kind in _MEASURED_KINDS and not quantity.is_view)


def _is_open(quantity: Quantity) -> bool:
    """Return whether only the server knows the type."""
    return quantity.kind == "other"


def _what_would_do(name: str, catalogue: Catalogue, fits: Callable[[Quantity], bool]) -> str:
    """Return which quantities below ``name``, or beside it, can be asked, as a sentence."""
    section = name if catalogue.children(name) else name.rpartition(".")[0]
    near = [f"{section}.{child}" for child in catalogue.children(section)] if section else []
    found = [
        one for one in (section, *near) if (known := catalogue.find(one)) and _is_searchable(known, fits)
    ]
    if not found:
        return ""
    return f" These would do: {', '.join(found[:_SHOWN])}{', …' if len(found) > _SHOWN else ''}."


def _is_searchable(quantity: Quantity, fits: Callable[[Quantity], bool]) -> bool:
    return quantity.searchable and not quantity.is_view and fits(quantity)


def _example(measured: Aggregated) -> str:
    if measured.is_date:
        return "'2023-01-01', '2024-01-01'"
    return f"'0 {measured.unit}', '4 {measured.unit}'" if measured.quantity.is_dimensional else "0, 4"
