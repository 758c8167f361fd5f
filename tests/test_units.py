"""Units: the table of factors is pint's, and what is not a unit is said to be none."""

from __future__ import annotations

import math

import numpy as np
import pint
import pytest

from nomadquery import units
from nomadquery.errors import UnitError

TABLE = sorted(units._COMMON)
#: Texts that pint takes for electronvolts.
PASSED_OVER = ("eV.", "eV;", "eV:", "eV?", "eV=", "eV # gap", "@eV", "{eV}", "1 eV", "1.0 eV")


@pytest.mark.parametrize("unit", TABLE)
def test_every_factor_of_the_table_is_pints(unit: str) -> None:
    """To a relative 1e-12, as both follow the SI of 2019 and CODATA 2022."""
    one = pint.get_application_registry().Quantity(1.0, unit).to_base_units()  # type: ignore[no-untyped-call]  # pint
    scale = units.scale_of(unit)
    assert math.isclose(scale.factor, one.magnitude, rel_tol=1e-12)
    assert scale.offset == 0
    dimension = [one.dimensionality.get(base, 0) for base in units._BASE_UNITS]
    assert list(scale.dimension) == dimension


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1.5, "eV", "joule", 2.403264951e-19),
        (13.605693122990, "eV", "rydberg", 1.0),
        (1.0, "Å", "meter", 1e-10),
        (1.0, "mA/cm^2", "ampere / meter ** 2", 10.0),
        (180.0, "degree", "radian", math.pi),
        (1.0, "eV/angstrom^3", "GPa", 160.2176634),
        (25.0, "degC", "kelvin", 298.15),
        (0.0, "kelvin", "degC", -273.15),
        (212.0, "degF", "degC", 100.0),
        (96.48533212331, "kJ/mol", "kJ/mol", 96.48533212331),
        (15.0, "percent", "dimensionless", 0.15),
        (2.0, "furlong", "meter", 402.33680467),
    ],
)
def test_numbers_are_converted(value: float, source: str, target: str, expected: float) -> None:
    """Also with an offset, and with units that only pint knows; arithmetic in doubles."""
    assert math.isclose(units.convert(value, source, target), expected, rel_tol=1e-9)


def test_arrays_are_converted_as_a_whole() -> None:
    """Element by element, in one multiplication."""
    assert np.allclose(units.convert(np.array([1.0, 2.0]), "eV", "meV"), [1000.0, 2000.0], rtol=1e-12)


def test_the_same_unit_changes_no_digit() -> None:
    """Not even the last one."""
    assert units.convert(0.1, "joule", "joule") == 0.1


def test_other_dimension_is_refused() -> None:
    """Both units are named."""
    with pytest.raises(UnitError, match="'eV' cannot be expressed in 'meter'"):
        units.convert(1.0, "eV", "meter")
    assert not units.same_dimension("eV", "meter")
    assert units.same_dimension("eV", "joule")


@pytest.mark.parametrize(
    "wrong", ["elektronvolt", "eV eV eV)", "1.5", "2*eV", "__class__", "(", "eV**eV", *PASSED_OVER]
)
def test_what_is_no_unit_is_said_to_be_none(wrong: str) -> None:
    """With examples of units."""
    with pytest.raises(UnitError, match=r"is not a unit. Write it as pint does, for example 'eV'"):
        units.scale_of(wrong)


def test_logarithmic_units_are_refused() -> None:
    """A factor cannot convert decibels."""
    with pytest.raises(UnitError, match="logarithmic"):
        units.scale_of("dB")


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("1.5 eV", 1.5, "eV"),
        ("1.5eV", 1.5, "eV"),
        (" -1e-3  mA/cm^2 ", -1e-3, "mA/cm^2"),
        (".5 Å", 0.5, "Å"),
        ("2", 2.0, ""),
        ("15 %", 15.0, "%"),
    ],
)
def test_a_measure_is_a_number_and_a_unit(text: str, number: float, unit: str) -> None:
    """With or without a blank between them."""
    assert units.parse_measure(text) == (number, unit)


@pytest.mark.parametrize("wrong", ["", "eV", "about 1.5 eV", "nan eV"])
def test_a_measure_begins_with_a_number(wrong: str) -> None:
    """The message shows one."""
    with pytest.raises(UnitError, match=r"Write for example '1.5 eV'"):
        units.parse_measure(wrong)


def test_pint_quantity_becomes_text_exactly() -> None:
    """No digit is lost on the way."""
    quantity = 0.1 * units.registry().eV
    number, unit = units.parse_measure(units.text_of_pint(quantity))
    assert (number, unit) == (0.1, "electron_volt")


@pytest.mark.parametrize("wrong", ["1,1 eV", "1,eV", ",1 eV", "eV,", ",eV"])
def test_commas_are_refused_in_favour_of_points(wrong: str) -> None:
    """pint passes over them."""
    with pytest.raises(UnitError, match="decimal point"):
        units.parse_measure(wrong)
    with pytest.raises(UnitError, match="decimal point"):
        units.scale_of(wrong)


@pytest.mark.parametrize(
    "unit", ["1 / joule", "1/eV", "1.0/eV", "kg*m**2/s^2", "eV·Å", "m·s⁻¹", "eV ** 0.5", "m²"]
)
def test_units_may_have_signs_and_powers(unit: str) -> None:
    """They are pint's."""
    one = pint.get_application_registry().Quantity(3.0, unit).to_base_units()  # type: ignore[no-untyped-call]  # pint
    assert math.isclose(units.scale_of(unit).factor * 3.0, one.magnitude, rel_tol=1e-12)


def test_rates_may_be_per_degree() -> None:
    """A difference of temperatures is one in a composed unit."""
    assert units.scale_of("1/delta_degC") == units.scale_of("1/kelvin")
