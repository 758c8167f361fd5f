"""Formulas: whatever the order they are typed in, they are asked as NOMAD stores them."""

from __future__ import annotations

import pytest

from nomadquery import Q, Query
from nomadquery.errors import NotExpressible, QueryError, WouldBeMisread
from nomadquery.query.formulas import composition, same_formula, stored_spellings

M = Q.results.material


@pytest.mark.parametrize("typed", ["TiO2", "O2Ti", "Ti1O2", "OTiO", "(O)2Ti"])
def test_reduced_formula_is_found_in_any_element_order(typed: str) -> None:
    """NOMAD stores reduced formulas by the alphabet and compares them letter by letter."""
    asked = {"results.material.chemical_formula_reduced": "O2Ti"}
    assert (M.chemical_formula_reduced == typed).to_json() == asked
    assert (Q.formula == typed).to_json() == asked


@pytest.mark.parametrize(
    ("typed", "stored"),
    [("TiO2", "O2Ti"), ("Ti2O4", "O4Ti2"), ("CH3CH2OH", "C2H6O"), ("H2O", "H2O"), ("SiC", "CSi")],
)
def test_hill_formula_has_carbon_and_hydrogen_first(typed: str, stored: str) -> None:
    """With carbon C, H, the alphabet; without it the alphabet; all atoms counted."""
    assert (M.chemical_formula_hill == typed).to_json() == {"results.material.chemical_formula_hill": stored}


@pytest.mark.parametrize(
    ("typed", "stored"), [("TiO2", "A2B"), ("AB2", "A2B"), ("NaCl", "AB"), ("CaTiO3", "A3BC")]
)
def test_anonymous_formula_has_the_most_frequent_first(typed: str, stored: str) -> None:
    """A real formula names its prototype, too."""
    query = M.chemical_formula_anonymous == typed
    assert query.to_json() == {"results.material.chemical_formula_anonymous": stored}


def test_descriptive_formula_is_asked_in_every_order() -> None:
    """Its order depends on chemistry (NaCl, but H2O), so all orders are asked."""
    query = M.chemical_formula_descriptive == "NaCl"
    assert query.to_json() == {"results.material.chemical_formula_descriptive": {"any": ["ClNa", "NaCl"]}}


def test_descriptive_formula_may_be_any_text() -> None:
    """Perovskites are described as 'CsPbBr0.9I2.1' and the like, which is found as it stands."""
    query = M.chemical_formula_descriptive == "OPV | CsPbBr0.9I2.1"
    assert query.to_json() == {"results.material.chemical_formula_descriptive": "OPV | CsPbBr0.9I2.1"}


def test_iupac_formula_is_left_to_the_server_to_order() -> None:
    """NOMAD puts an asked IUPAC formula in order and reduces it."""
    assert (M.chemical_formula_iupac == "O4Ti2").to_json() == {
        "results.material.chemical_formula_iupac": "O2Ti"
    }


@pytest.mark.parametrize(
    ("name", "right"), [("chemical_formula_reduced", "O2Ti"), ("chemical_formula_anonymous", "A2B")]
)
def test_unreduced_formula_is_refused_with_the_reduced_one(name: str, right: str) -> None:
    """Ti2O4 is stored nowhere; nothing is corrected silently."""
    with pytest.raises(QueryError, match=f"not a reduced formula. Write '{right}'"):
        _ = M[name] == "Ti2O4"


@pytest.mark.parametrize("typed", ["titania", "2H2O", "Ti(", "", "()", "Ti0"])
def test_what_is_no_formula_is_refused(typed: str) -> None:
    """With an example of one."""
    with pytest.raises(QueryError, match="not a chemical formula; write it like 'TiO2'"):
        _ = Q.formula == typed


def test_formulas_have_no_order() -> None:
    """NOMAD fails (500) on ranges of the formulas that it normalises."""
    with pytest.raises(NotExpressible, match="no order"):
        _ = M.chemical_formula_hill > "A"


def test_existence_of_a_normalised_formula_is_asked_of_its_path() -> None:
    """A range over all values, as elsewhere, would make the server fail."""
    assert M.chemical_formula_hill.exists().to_json() == {
        "quantities": "results.material.chemical_formula_hill"
    }
    asked = {"results.material.chemical_formula_reduced": {"gte": " "}}
    assert M.chemical_formula_reduced.exists().to_json() == asked


def test_pasted_formula_in_another_order_would_never_be_found() -> None:
    """What the server compares letter by letter must be written as stored; what it normalises need not."""
    with pytest.raises(WouldBeMisread, match="stores 'O2Ti'"):
        Query.from_json({"results.material.chemical_formula_reduced": "TiO2"})
    hill = Query.from_json({"results.material.chemical_formula_hill": "TiO2"})
    assert hill == (M.chemical_formula_hill == "O2Ti")


@pytest.mark.parametrize(
    ("formula", "counts"),
    [
        ("Mg(OH)2", {"Mg": 1, "O": 2, "H": 2}),
        ("((OH)2)3", {"O": 6, "H": 6}),
        ("Fe0.5Ni0.5", {"Fe": 1, "Ni": 1}),
        ("C60", {"C": 60}),
        ("Ti)", None),
    ],
)
def test_composition_counts_atoms(formula: str, counts: dict[str, int] | None) -> None:
    """Brackets multiply, fractions become the smallest whole numbers."""
    assert composition(formula) == counts


def test_too_many_orders_are_not_tried() -> None:
    """Seven elements have 5,040 orders."""
    with pytest.raises(NotExpressible, match="chemical_formula_reduced instead"):
        stored_spellings("ABCDEFG", "descriptive")


@pytest.mark.parametrize(
    ("stored", "asked", "order", "found"),
    [
        ("O2Ti", "TiO2", "hill", True),
        ("O2Ti", "Ti2O4", "hill", False),
        ("TiO2", "O4Ti2", "iupac", True),
        ("O2Ti", "TiO2", "reduced", False),
        ("a | b", "a | b", "hill", True),
    ],
)
def test_server_side_comparison(stored: str, asked: str, order: str, found: bool) -> None:
    """The predicate compares as the server does."""
    assert same_formula(stored, asked, order) is found  # type: ignore[arg-type]  # parametrised Literal
