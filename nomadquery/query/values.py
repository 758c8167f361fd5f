"""One value for one quantity: from what people type to what NOMAD stores, and back."""

from __future__ import annotations

import difflib

from nomadquery import units
from nomadquery.errors import QueryError, UnitError
from nomadquery.query import dates, formulas
from nomadquery.query.bounds import limits
from nomadquery.query.catalogue import Quantity
from nomadquery.query.criteria import Value

_MEMBERS_SHOWN = 8


def stored_spellings(value: Value, quantity: Quantity, *, strict: bool) -> tuple[Value, ...]:
    """Return the stored values that ``value`` stands for: one, or all spellings of a formula.

    Numbers come back in ``quantity.unit``, dates as instants. ``strict`` also refuses what
    NOMAD would take but never find.

    Raises
    ------
    UnitError
        If a number lacks its unit, or has one that does not fit.
    QueryError
        If the value has the wrong type.
    """
    match quantity.kind:
        case "number" | "integer":
            return (_number(value, quantity, strict=strict),)
        case "boolean":
            if isinstance(value, bool):
                return (value,)
        case "date":
            if isinstance(value, str):
                return (dates.instant(value),)
        case "text":
            if isinstance(value, str):
                return _texts(value, quantity, strict=strict)
        case _:  # a custom quantity of unknown type: NOMAD decides
            return (value,)
    raise QueryError(
        f"{quantity.name} holds {_HOLDS[quantity.kind]}, not {value!r} ({type(value).__name__})."
        f" Write for example {_example(quantity)}."
    )


def stated(value: Value, quantity: Quantity) -> Value:
    """Return a stored value as people may type it: a number with a dimension carries its unit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return f"{float(value)!r} {quantity.unit}" if quantity.is_dimensional else value


_HOLDS = {
    "boolean": "True or False",
    "date": "dates",
    "text": "text",
    "number": "numbers",
    "integer": "integers",
}


#: The unit in which people give a number that is stored in the first one, and what it measures.
_CUSTOMARY = {
    "joule": ("eV", "of energy"),
    "1 / joule": ("1/eV", "of inverse energy"),
    "meter": ("angstrom", "of length"),
    "meter ** 2": ("angstrom^2", "of area"),
    "meter ** 3": ("angstrom^3", "of volume"),
    "1 / meter ** 3": ("1/angstrom^3", "of number density"),
    "kilogram / meter ** 3": ("g/cm^3", "of density"),
    "meter ** 2 / gram": ("m^2/g", "of specific area"),
    "radian": ("degree", "of angle"),
    "second": ("s", "of time"),
    "1 / second": ("1/s", "of rate"),
    "kelvin": ("K", "of temperature"),
    "pascal": ("GPa", "of pressure"),
    "newton": ("eV/angstrom", "of force"),
    "volt": ("V", "of voltage"),
    "ampere / meter ** 2": ("mA/cm^2", "of current density"),
    "watt / meter ** 2": ("mW/cm^2", "of intensity"),
    "meter ** 3 / second": ("mL/min", "of flow"),
}


def stored_number(number: float | int, quantity: Quantity) -> float | int:
    """Return a number of the stored unit as the index keeps it: whole ones of integers as ``int``.

    Raises
    ------
    QueryError
        If it is not finite, or larger than the index can hold.
    """
    greatest = limits(quantity)
    if greatest is not None and not greatest[0] <= number <= greatest[1]:
        raise QueryError(
            f"{quantity.name} holds {_HOLDS[quantity.kind]} from {greatest[0]} to {greatest[1]}, "
            f"not {number}. For an open range leave the bound out."
        )
    if quantity.kind == "integer" and float(number).is_integer():
        return int(number)
    return float(number)


def _number(value: Value, quantity: Quantity, *, strict: bool) -> float | int:
    number, unit = _split(value, quantity)
    if unit:
        number = _converted(number, unit, quantity)
    elif quantity.is_dimensional and number != 0:
        raise _lacks_unit(number, quantity)
    stored = stored_number(number, quantity)
    if quantity.kind == "integer" and strict and isinstance(stored, float):
        raise QueryError(f"{quantity.name} holds integers; {value!r} is never found. Compare with < or >.")
    return stored


def _split(value: Value, quantity: Quantity) -> tuple[float | int, str]:
    if isinstance(value, bool):
        raise QueryError(f"{quantity.name} holds {_HOLDS[quantity.kind]}, not {value!r}.")
    if not isinstance(value, str):
        return value, ""
    number, unit = units.parse_measure(value) if _starts_as_number(value) else (None, "")
    if number is not None and not unit and quantity.is_dimensional:
        raise _lacks_unit(value.strip(), quantity)
    if number is None or not unit:
        raise QueryError(
            f"{quantity.name} holds {_HOLDS[quantity.kind]}, not the text {value!r}. "
            f"Write for example {_example(quantity)}."
        )
    return number, unit


def _lacks_unit(number: float | str, quantity: Quantity) -> UnitError:
    unit, what = _CUSTOMARY.get(quantity.unit or "", (quantity.unit, "of the same dimension"))
    return UnitError(
        f"{quantity.name} has the unit {quantity.unit}, so {number!r} needs one: "
        f"write '{number} {unit}' (or another unit {what}), or give unit=…"
    )


def _starts_as_number(text: str) -> bool:
    return text.strip()[:1] in set("+-.,0123456789") and bool(text.strip())


def _converted(number: float, unit: str, quantity: Quantity) -> float:
    if quantity.unit is None:
        raise UnitError(
            f"NOMAD states no unit for {quantity.name}, so {unit!r} cannot be converted. Give the bare "
            f"number, or say the unit that is stored: .stored_in({unit!r})."
        )
    try:
        return units.convert(number, unit, quantity.unit)
    except UnitError as error:
        raise UnitError(f"{quantity.name} is stored in {quantity.unit}: {error}") from error


def _texts(value: str, quantity: Quantity, *, strict: bool) -> tuple[str, ...]:
    order = None if quantity.is_view else formulas.formula_order(quantity.name)
    if order is not None and (strict or formulas.composition(value) is not None):
        return formulas.stored_spellings(value, order)
    if strict and quantity.members and value not in quantity.members:
        raise QueryError(
            f"{value!r} is not one of the values of {quantity.name}: {_members(value, quantity)}."
        )
    return (value,)


def _members(value: str, quantity: Quantity) -> str:
    folded = {member.casefold(): member for member in quantity.members}
    close = difflib.get_close_matches(value.casefold(), folded, n=_MEMBERS_SHOWN, cutoff=0.5)
    if close:
        return "nearest are " + ", ".join(repr(folded[member]) for member in close)
    shown = ", ".join(repr(member) for member in quantity.members[:_MEMBERS_SHOWN])
    return shown + (", …" if len(quantity.members) > _MEMBERS_SHOWN else "")


def _example(quantity: Quantity) -> str:
    if quantity.kind in {"number", "integer"}:
        if not quantity.is_dimensional:
            return "2" if quantity.kind == "integer" else "0.5"
        return f"'1.5 {_CUSTOMARY.get(quantity.unit or '', (quantity.unit, ''))[0]}'"
    return {"boolean": "True", "date": "'2024-01-31'"}.get(quantity.kind, "'text'")
