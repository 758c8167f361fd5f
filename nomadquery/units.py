"""Units: reading "1.5 eV", comparing dimensions, converting numbers and arrays.

Common units convert by a table of factors to SI; the first unit that is not in the table
brings in pint (about 0.2 s). Unit texts are pint's, so NOMAD's own spellings
(``joule``, ``ampere / meter ** 2``) and the customary ones (``eV``, ``mA/cm^2``, ``Å``) mean
the same here as there. Factors follow the 2019 SI and CODATA 2022, as pint does.
"""

from __future__ import annotations

import math
import re
import tokenize
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nomadquery.errors import UnitError

Number = TypeVar("Number")


@dataclass(frozen=True, slots=True)
class Scale:
    """What a unit is in SI: ``value_in_SI = value * factor + offset``, and its dimension.

    ``dimension`` holds the exponents of metre, kilogram, second, ampere, kelvin, mole, candela.
    """

    factor: float
    dimension: tuple[float, ...]
    offset: float = 0.0


_NONE: Final = (0, 0, 0, 0, 0, 0, 0)
_LENGTH: Final = (1, 0, 0, 0, 0, 0, 0)
_AREA: Final = (2, 0, 0, 0, 0, 0, 0)
_VOLUME: Final = (3, 0, 0, 0, 0, 0, 0)
_PER_VOLUME: Final = (-3, 0, 0, 0, 0, 0, 0)
_DENSITY: Final = (-3, 1, 0, 0, 0, 0, 0)
_TIME: Final = (0, 0, 1, 0, 0, 0, 0)
_RATE: Final = (0, 0, -1, 0, 0, 0, 0)
_MASS: Final = (0, 1, 0, 0, 0, 0, 0)
_CURRENT_DENSITY: Final = (-2, 0, 0, 1, 0, 0, 0)
_TEMPERATURE: Final = (0, 0, 0, 0, 1, 0, 0)
_ENERGY: Final = (2, 1, -2, 0, 0, 0, 0)
_PER_ENERGY: Final = (-2, -1, 2, 0, 0, 0, 0)
_FORCE: Final = (1, 1, -2, 0, 0, 0, 0)
_PRESSURE: Final = (-1, 1, -2, 0, 0, 0, 0)
_VOLTAGE: Final = (2, 1, -3, -1, 0, 0, 0)
_INTENSITY: Final = (0, 1, -3, 0, 0, 0, 0)

_EV: Final = 1.602176634e-19
_HARTREE: Final = 4.3597447222060e-18
_BOHR: Final = 5.29177210544e-11
_DEGREE: Final = 0.017453292519943295

_COMMON: Final[dict[str, Scale]] = {
    "dimensionless": Scale(1.0, _NONE),
    "": Scale(1.0, _NONE),
    "percent": Scale(0.01, _NONE),
    "%": Scale(0.01, _NONE),
    "radian": Scale(1.0, _NONE),
    "rad": Scale(1.0, _NONE),
    "degree": Scale(_DEGREE, _NONE),
    "deg": Scale(_DEGREE, _NONE),
    "joule": Scale(1.0, _ENERGY),
    "J": Scale(1.0, _ENERGY),
    "electron_volt": Scale(_EV, _ENERGY),
    "eV": Scale(_EV, _ENERGY),
    "meV": Scale(_EV * 1e-3, _ENERGY),
    "keV": Scale(_EV * 1e3, _ENERGY),
    "hartree": Scale(_HARTREE, _ENERGY),
    "rydberg": Scale(_HARTREE / 2, _ENERGY),
    "Ry": Scale(_HARTREE / 2, _ENERGY),
    "1 / joule": Scale(1.0, _PER_ENERGY),
    "1/eV": Scale(1 / _EV, _PER_ENERGY),
    "meter": Scale(1.0, _LENGTH),
    "m": Scale(1.0, _LENGTH),
    "angstrom": Scale(1e-10, _LENGTH),
    "Å": Scale(1e-10, _LENGTH),
    "nm": Scale(1e-9, _LENGTH),
    "nanometer": Scale(1e-9, _LENGTH),
    "um": Scale(1e-6, _LENGTH),
    "mm": Scale(1e-3, _LENGTH),
    "cm": Scale(1e-2, _LENGTH),
    "bohr": Scale(_BOHR, _LENGTH),
    "meter ** 2": Scale(1.0, _AREA),
    "cm^2": Scale(1e-4, _AREA),
    "cm**2": Scale(1e-4, _AREA),
    "angstrom^2": Scale(1e-20, _AREA),
    "meter ** 3": Scale(1.0, _VOLUME),
    "angstrom^3": Scale(1e-30, _VOLUME),
    "angstrom**3": Scale(1e-30, _VOLUME),
    "1 / meter ** 3": Scale(1.0, _PER_VOLUME),
    "kilogram / meter ** 3": Scale(1.0, _DENSITY),
    "kg/m^3": Scale(1.0, _DENSITY),
    "g/cm^3": Scale(1e3, _DENSITY),
    "g/cm**3": Scale(1e3, _DENSITY),
    "second": Scale(1.0, _TIME),
    "s": Scale(1.0, _TIME),
    "fs": Scale(1e-15, _TIME),
    "femtosecond": Scale(1e-15, _TIME),
    "ps": Scale(1e-12, _TIME),
    "ns": Scale(1e-9, _TIME),
    "1 / second": Scale(1.0, _RATE),
    "kilogram": Scale(1.0, _MASS),
    "kg": Scale(1.0, _MASS),
    "ampere / meter ** 2": Scale(1.0, _CURRENT_DENSITY),
    "A/m^2": Scale(1.0, _CURRENT_DENSITY),
    "mA/cm^2": Scale(10.0, _CURRENT_DENSITY),
    "mA/cm**2": Scale(10.0, _CURRENT_DENSITY),
    "milliampere / centimeter ** 2": Scale(10.0, _CURRENT_DENSITY),
    "kelvin": Scale(1.0, _TEMPERATURE),
    "K": Scale(1.0, _TEMPERATURE),
    "newton": Scale(1.0, _FORCE),
    "N": Scale(1.0, _FORCE),
    "eV/angstrom": Scale(_EV / 1e-10, _FORCE),
    "eV/Å": Scale(_EV / 1e-10, _FORCE),
    "pascal": Scale(1.0, _PRESSURE),
    "Pa": Scale(1.0, _PRESSURE),
    "joule / meter ** 3": Scale(1.0, _PRESSURE),
    "kPa": Scale(1e3, _PRESSURE),
    "MPa": Scale(1e6, _PRESSURE),
    "GPa": Scale(1e9, _PRESSURE),
    "bar": Scale(1e5, _PRESSURE),
    "kbar": Scale(1e8, _PRESSURE),
    "eV/angstrom^3": Scale(_EV / 1e-30, _PRESSURE),
    "volt": Scale(1.0, _VOLTAGE),
    "V": Scale(1.0, _VOLTAGE),
    "mV": Scale(1e-3, _VOLTAGE),
    "watt / meter ** 2": Scale(1.0, _INTENSITY),
    "mW/cm^2": Scale(10.0, _INTENSITY),
}

_MEASURE = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*$", re.DOTALL)
#: Characters of unit texts. pint passes over some others, and over what stands behind them.
_UNIT = re.compile(r"(?:[\w\s%°*/^()+\-·⁻]|\.(?=\d))*")
#: A number in front of a unit, as in ``1 eV``; ``1 / joule`` is a unit.
_COUNTED = re.compile(r"\d(?!\.?0*\s*/)")
#: What pint raises for texts that are no unit expression, beside its own errors.
_UNREADABLE = (ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, SyntaxError)
_BASE_UNITS = ("[length]", "[mass]", "[time]", "[current]", "[temperature]", "[substance]", "[luminosity]")


def parse_measure(text: str) -> tuple[float, str]:
    """Return number and unit text of ``"1.5 eV"``; the unit is ``""`` where there is none.

    Raises
    ------
    UnitError
        If the text does not begin with a number, or has a decimal comma.
    """
    found = _MEASURE.match(text)
    if "," in text:
        raise UnitError(
            f"{text!r} has a comma. Write a decimal point, as in '1.5 eV', and nothing between thousands."
        )
    if found is None:
        raise UnitError(f"{text!r} is not a number with a unit. Write for example '1.5 eV'.")
    return float(found[1]), found[2]


def scale_of(unit: str) -> Scale:
    """Return what ``unit`` is in SI; the empty text is a number without a unit.

    Raises
    ------
    UnitError
        If no such unit is known.
    """
    plain = unit.strip()
    known = _COMMON.get(plain)
    if known is not None:
        return known
    if "," in plain:
        raise UnitError(f"{unit!r} is not a unit: it has a comma. Write decimal points, as in '1.5 eV'.")
    if not _UNIT.fullmatch(plain) or _COUNTED.match(plain):
        raise _no_unit(unit)
    return _scale_by_pint(plain)


def check_named(unit: object) -> None:
    """Check that ``unit`` is the name of a unit, for calls that take one.

    Raises
    ------
    UnitError
        If it is no text, the empty one, or no known unit.
    """
    if not isinstance(unit, str) or not unit.strip():
        raise UnitError(f"{unit!r} is not a unit. Write it as text, for example 'eV', 'angstrom', 'percent'.")
    scale_of(unit)


def same_dimension(one: str, other: str) -> bool:
    """Return whether numbers in ``one`` can be expressed in ``other``."""
    return scale_of(one).dimension == scale_of(other).dimension


def convert(values: Number, source: str, target: str) -> Number:
    """Return ``values`` (a number or an array), given in ``source``, expressed in ``target``.

    Raises
    ------
    UnitError
        If the two units have different dimensions, or one is unknown.
    """
    if source == target:
        return values
    have, want = scale_of(source), scale_of(target)
    if have.dimension != want.dimension:
        raise UnitError(f"{source!r} cannot be expressed in {target!r}: they have different dimensions.")
    numbers: Any = values
    converted: Number
    if have.offset == want.offset == 0.0:
        converted = numbers * (have.factor / want.factor)
    else:
        converted = (numbers * have.factor + have.offset - want.offset) / want.factor
    return converted


def text_of_pint(quantity: Any) -> str:
    """Return ``"1.5 electron_volt"`` for a pint quantity, exactly (the number by its `repr`)."""
    return f"{float(quantity.magnitude)!r} {quantity.units}"


if TYPE_CHECKING:
    ureg: Any


def __getattr__(name: str) -> Any:
    """Give ``ureg``, pint's application registry, importing pint when it is first used."""
    if name == "ureg":
        return registry()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def registry() -> Any:
    """Return pint's application registry, importing pint the first time."""
    import pint

    find_registry: Any = pint.get_application_registry  # pint ships it without types
    return find_registry()


@cache
def _scale_by_pint(unit: str) -> Scale:
    import pint

    try:
        one = registry().Unit(unit)
        dimension = one.dimensionality
        zero, first, second = (registry().Quantity(n, one).to_base_units().magnitude for n in (0.0, 1.0, 2.0))
    except (pint.PintError, tokenize.TokenError, *_UNREADABLE) as error:
        raise _no_unit(unit) from error
    if "delta_" in str(one) and dict(dimension) == {"[temperature]": 1}:
        raise UnitError(f"{unit!r} is a difference of temperatures. Write a temperature: '300 K', '27 degC'.")
    if not math.isclose(second - first, first - zero, rel_tol=1e-9):
        raise UnitError(f"{unit!r} is logarithmic; give the number in a linear unit.")
    exponents = tuple(float(dimension.get(base, 0)) for base in _BASE_UNITS)
    return Scale(float(first - zero), exponents, float(zero))


def _no_unit(unit: str) -> UnitError:
    return UnitError(
        f"{unit!r} is not a unit. Write it as pint does, for example 'eV', 'angstrom', 'mA/cm^2'."
    )
