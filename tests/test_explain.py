"""A query in plain words and as Python."""

from __future__ import annotations

import pytest

from nomadquery import Q, Query, optimade, within

GAP = Q.results.properties.electronic.band_gap
NAMES = {"Q": Q, "Query": Query, "within": within, "optimade": optimade}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query(), "all entries"),
        (~Query(), "not:\n  any entry"),
        (Q.elements.isin([]), "no entry"),
        (Q.program == "VASP", "program is 'VASP'"),
        (Q.program != "VASP", "not: program is 'VASP' (entries without program included)"),
        (Q.elements.has_all("Ti", "O"), "elements has all of 'Ti', 'O'"),
        (Q.elements.has_any("Ti", "O"), "elements is or has one of 'Ti', 'O'"),
        (
            Q.elements.has_none("Ti", "O"),
            "elements has none of 'Ti', 'O' (entries without elements included)",
        ),
        (Q.gap >= "1.1 eV", "gap >= '1.1 eV'"),
        (Q.gap.between("1.1 eV", "1.8 eV"), "gap is between '1.1 eV' and '1.8 eV', both included"),
        (
            Q.gap.between("1.1 eV", "1.8 eV", inclusive="left"),
            "gap is between '1.1 eV' and '1.8 eV', the first included",
        ),
        (Q.gap.exists(), "gap has a value"),
        (optimade('elements HAS "Ti"'), 'OPTIMADE filter: elements HAS "Ti"'),
        (Q["x.y"].unchecked() == 1, "x.y is 1"),
        (
            within(GAP, Q.type == "direct", Q.value >= "1 eV"),
            "one and the same item of results.properties.electronic.band_gap has:\n"
            "  type is 'direct'\n"
            "  value >= '1 eV'",
        ),
        (
            (Q.n_elements == 1) | ((Q.program == "VASP") & ~Q.elements.has_all("Ti", "O")),
            "at least one of:\n"
            "  n_elements is 1\n"
            "  all of:\n"
            "    program is 'VASP'\n"
            "    not: elements has all of 'Ti', 'O' (entries without elements included)",
        ),
        (Q.entry_id.isin([str(i) for i in range(99)]), None),
    ],
)
def test_plain_words(query: Query, words: str | None) -> None:
    """One line for each criterion, indented by nesting; long lists are cut, their length said."""
    if words is None:
        assert query.explain().endswith("'10', '11' … (99 values)")
    else:
        assert query.explain() == words


def test_criteria_joined_by_and_stand_side_by_side() -> None:
    """One line each, in the order typed."""
    query = (Q.n_elements == 1) & (Q.program == "VASP") & Q.gap.exists()
    assert query.explain() == "n_elements is 1\nprogram is 'VASP'\ngap has a value"


@pytest.mark.parametrize(
    ("query", "python"),
    [
        (Query(), "Query()"),
        (~Query(), "~Query()"),
        (Q.program == "VASP", "Q.program == 'VASP'"),
        (Q.program != "VASP", "Q.program != 'VASP'"),
        (
            (Q.n_elements == 1) & (Q.gap >= "1 eV") & Q.gap.exists(),
            "(Q.n_elements == 1) & (Q.gap >= '1 eV') & Q.gap.exists()",
        ),
        (~((Q.n_elements == 1) | Q.gap.exists()), "~((Q.n_elements == 1) | Q.gap.exists())"),
        (
            Q.gap.between("1 eV", "2 eV", inclusive="neither"),
            "Q.gap.between('1 eV', '2 eV', inclusive='neither')",
        ),
        (Q["data.x#a.B"] == "y", "Q['data.x#a.B'] == 'y'"),
        (Q["x.y"].unchecked() == 1, "Q['x.y'].unchecked() == 1"),
        (Q["x.count"] == 1, "Q['x.count'] == 1"),
        (Q["x.class"] == 1, "Q['x.class'] == 1"),
        (
            within(GAP, Q.type == "direct"),
            "within('results.properties.electronic.band_gap', Q.type == 'direct')",
        ),
        (
            within(GAP, (Q.type == "direct") & (Q.value >= "1 eV")),
            "within('results.properties.electronic.band_gap', (Q.type == 'direct') & (Q.value >= '1 eV'))",
        ),
        (optimade("nelements=2"), "optimade('nelements=2')"),
    ],
)
def test_python(query: Query, python: str) -> None:
    """The repr can be typed, and then is an equal query."""
    assert repr(query) == python
    assert eval(python, NAMES) == query


def test_names_within_a_section_are_relative_but_values_are_left_alone() -> None:
    """A value that looks like a path of the section stays as it is."""
    asked = {"section_defs": {"definition_qualified_name": "Q.section_defs.x", "used_directly": True}}
    query = Query.from_json(asked)
    assert "Q.definition_qualified_name == 'Q.section_defs.x'" in repr(query)
    assert eval(repr(query), NAMES) == query


def test_equal_floats_of_a_pasted_request_can_be_typed() -> None:
    """Q refuses == there, so the repr says it in another way."""
    query = Query.from_json({"results.properties.electronic.band_gap.value": 1e-19})
    assert repr(query) == "Q.results.properties.electronic.band_gap.value.has_any('1e-19 joule')"
    assert eval(repr(query), NAMES) == query


def test_long_lists_are_cut_short() -> None:
    """A notebook must not show a hundred thousand ids."""
    text = repr(Q.entry_id.isin([f"{i:028}" for i in range(2000)]))
    assert text.endswith("… 2000 values)")
    assert len(text) < 33_000
