"""The independent evaluator on small documents; every expected answer is written out."""

from __future__ import annotations

from typing import Any

import pytest

from nomadquery.query.criteria import (
    EVERYTHING,
    NOTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Optimade,
    Or,
    Range,
    Within,
)
from tests.oracle import DecidedByServer, matches, select, values_of

ELEMENTS = "results.material.elements"
N_ELEMENTS = "results.material.n_elements"
GAP = "results.properties.electronic.band_gap"
TOPOLOGY = "results.material.topology"
COMPOSITION = f"{TOPOLOGY}.elemental_composition"
CUSTOM = "data.t#entry_id:abc.Furnace#float"


def entry(**fields: Any) -> dict[str, Any]:
    """Return a search document; ``a__b=1`` stands for ``{"a": {"b": 1}}``."""
    document: dict[str, Any] = {"entry_id": "e"}
    for name, value in fields.items():
        *parents, last = name.split("__")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return document


def gaps(*items: dict[str, Any]) -> dict[str, Any]:
    return entry(results__properties__electronic__band_gap=list(items))


OXIDE = entry(results__material={"elements": ["O", "Ti"], "n_elements": 2})
NOTHING_KNOWN = entry()


@pytest.mark.parametrize(
    ("criterion", "of_oxide", "of_unknown"),
    [
        (Equals(ELEMENTS, "Ti"), True, False),
        (Equals(ELEMENTS, "Si"), False, False),
        (Equals(ELEMENTS, "ti"), False, False),
        (HasAll(ELEMENTS, ("Ti", "O")), True, False),
        (HasAll(ELEMENTS, ("Ti", "Si")), False, False),
        (HasAny(ELEMENTS, ("Ti", "Si")), True, False),
        (HasAny(ELEMENTS, ("Si", "C")), False, False),
        (HasNone(ELEMENTS, ("Si", "C")), True, True),
        (HasNone(ELEMENTS, ("Si", "Ti")), False, True),
        (Range(N_ELEMENTS, gte=2), True, False),
        (Range(N_ELEMENTS, gt=2), False, False),
        (Range(N_ELEMENTS, gt=1.5, lt=2.5), True, False),
        (Not(Equals(ELEMENTS, "Ti")), False, True),
        (Not(Range(N_ELEMENTS, lte=1)), True, True),
        (Not(Not(Equals(ELEMENTS, "Ti"))), True, False),
        (And((Equals(ELEMENTS, "Ti"), Equals(N_ELEMENTS, 2))), True, False),
        (And((Equals(ELEMENTS, "Ti"), Equals(N_ELEMENTS, 3))), False, False),
        (Or((Equals(ELEMENTS, "Si"), Equals(N_ELEMENTS, 2))), True, False),
        (Or((Equals(ELEMENTS, "Si"), HasNone(ELEMENTS, ("C",)))), True, True),
        (EVERYTHING, True, True),
        (NOTHING, False, False),
    ],
)
def test_nodes_mean_what_their_table_says(criterion: Criterion, of_oxide: bool, of_unknown: bool) -> None:
    """Each node, on an entry that has the quantities and on one that lacks them."""
    assert matches(criterion, OXIDE) is of_oxide
    assert matches(criterion, NOTHING_KNOWN) is of_unknown


@pytest.mark.parametrize(
    ("stored", "asked", "equal"),
    [
        (2, 2, True),
        (2, 2.0, True),
        (2, "2", False),
        (1, True, False),
        (True, True, True),
        (True, 1, False),
        (False, 0, False),
        (True, "true", False),
        ("2", 2, False),
        (None, 0, False),
        ([], 0, False),
        ([None, 3], 3, True),
        ([[1, 2], [3]], 2, True),
    ],
)
def test_only_values_of_the_same_type_are_equal(stored: Any, asked: Any, equal: bool) -> None:
    """Booleans are not numbers, texts are neither; nulls and empty lists are no values."""
    assert matches(Equals("x", asked), entry(x=stored)) is equal


def test_one_value_must_satisfy_both_bounds() -> None:
    """1 is above, 9 below, but neither is between 3 and 5."""
    assert not matches(Range("x", gte=3, lte=5), entry(x=[1, 9]))
    assert matches(Range("x", gte=3, lte=5), entry(x=[1, 4, 9]))


@pytest.mark.parametrize(
    ("bounds", "inside"),
    [
        ({"gte": " "}, True),
        ({"gte": "Ti"}, True),
        ({"gt": "Ti"}, False),
        ({"lt": "a"}, True),
        ({"gte": "a"}, False),
        ({"gte": 0}, False),
        ({"gte": "A", "lt": 5}, False),
    ],
)
def test_texts_are_ordered_by_code_points(bounds: dict[str, Any], inside: bool) -> None:
    """Capitals stand before small letters; a number is neither above nor below a text."""
    assert matches(Range("x", **bounds), entry(x="Ti")) is inside


def test_no_boolean_lies_in_a_range() -> None:
    """Neither as a value nor as a bound is a boolean a number."""
    assert not matches(Range("x", gte=0), entry(x=True))
    assert not matches(Range("x", gte=True), entry(x=3))


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (Equals("publish_time", "2024-03-01T11:00:00Z"), True),
        (Equals("publish_time", "2024-03-01T11:00:00"), True),
        (Equals("publish_time", "2024-03-01T12:00:00+01:00"), True),
        (Equals("publish_time", 1709290800000), True),
        (Equals("publish_time", "2024-03-01T12:00:00"), False),
        (Equals("publish_time", "2024-03-01"), False),
        (Range("publish_time", gte="2024-03-01T12:30:00+02:00"), True),
        (Range("publish_time", gt="2024-03-01T11:00:00Z"), False),
        (Range("publish_time", gte="2024-03-01", lt="2024-03-02"), True),
        (Range("publish_time", lte="2024-03-01"), False),
    ],
)
def test_dates_are_instants(criterion: Criterion, expected: bool) -> None:
    """2024-03-01T12:00+01:00 is 11:00 in UTC; without a zone UTC is meant, a bare day is its midnight."""
    assert matches(criterion, entry(publish_time="2024-03-01T12:00:00+01:00")) is expected


def test_what_is_no_date_is_an_error() -> None:
    """An asked date that cannot be read is a mistake of the tree, not an entry without a hit."""
    with pytest.raises(ValueError, match="2024-3-1"):
        matches(Range("publish_time", gte="2024-3-1"), entry(publish_time="2024-03-01T12:00:00Z"))


DIRECT_AND_WIDE = Within(GAP, (Equals(f"{GAP}.type", "direct"), Range(f"{GAP}.value", gte=2.0)))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (gaps({"type": "direct", "value": 3.0}), True),
        (gaps({"type": "direct", "value": 1.0}, {"type": "indirect", "value": 3.0}), False),
        (gaps({"value": 3.0}, {"type": "direct"}), False),
        (gaps({"value": 3.0}, {"type": "direct", "value": 2.0}), True),
        (gaps(), False),
        (entry(), False),
    ],
)
def test_within_asks_one_and_the_same_item(document: dict[str, Any], expected: bool) -> None:
    """Two items that share the criteria between them do not count."""
    assert matches(DIRECT_AND_WIDE, document) is expected


def test_flat_criteria_may_be_met_by_different_items() -> None:
    """The same two criteria without `Within` hold for items that share them."""
    document = gaps({"type": "direct", "value": 1.0}, {"type": "indirect", "value": 3.0})
    assert matches(And((Equals(f"{GAP}.type", "direct"), Range(f"{GAP}.value", gte=2.0))), document)


def test_none_within_needs_an_item_and_alone_looks_at_all() -> None:
    """An item that is not direct; no item that is direct; both are true of other entries."""
    no_direct = HasNone(f"{GAP}.type", ("direct",))
    mixed, empty = gaps({"type": "direct"}, {"value": 1.0}), gaps()
    assert [matches(Within(GAP, (no_direct,)), d) for d in (mixed, empty)] == [True, False]
    assert [matches(no_direct, d) for d in (mixed, empty)] == [False, True]


def test_sections_nest() -> None:
    """The inner item is looked for in the outer one, not in its neighbour."""
    inner = Within(
        COMPOSITION, (Equals(f"{COMPOSITION}.element", "O"), Range(f"{COMPOSITION}.mass_fraction", gt=0.5))
    )
    criterion = Within(TOPOLOGY, (Equals(f"{TOPOLOGY}.label", "original"), inner))
    little, much = {"element": "O", "mass_fraction": 0.1}, {"element": "O", "mass_fraction": 0.9}
    right = [{"label": "original", "elemental_composition": [little, much]}]
    wrong = [{"label": "original", "elemental_composition": [little]}, {"elemental_composition": [much]}]
    assert matches(criterion, entry(results__material__topology=right))
    assert not matches(criterion, entry(results__material__topology=wrong))


def test_a_quantity_outside_its_section_is_an_error() -> None:
    """A tree that a `Within` cannot mean is refused, not answered."""
    with pytest.raises(ValueError, match="does not lie in the section"):
        matches(Within(GAP, (Equals(N_ELEMENTS, 2),)), gaps({"value": 1.0}))


def test_optimade_is_left_to_the_server() -> None:
    """Also where the rest of the tree would decide alone."""
    with pytest.raises(DecidedByServer, match="elements HAS"):
        matches(And((NOTHING, Not(Optimade('elements HAS "Ti"')))), OXIDE)


@pytest.mark.parametrize(
    ("quantity", "stored", "asked", "equal"),
    [
        ("mainfile", "run/Si/vasprun.xml", "vasprun.xml", False),
        ("mainfile.path", "run/Si/vasprun.xml", "vasprun.xml", True),
        ("mainfile.path", "run/Si/vasprun.xml", "other/Si", True),
        ("mainfile.path", "run/Si/vasprun.xml", "si", False),
        ("mainfile.path", "run/Si/vasprun.xml", "vasprun", False),
        ("comment", "Annealed at 300.5 K, don't trust", "annealed", True),
        ("comment", "Annealed at 300.5 K, don't trust", "frozen, DON'T use", True),
        ("comment", "Annealed at 300.5 K, don't trust", "300", False),
        ("comment", "Annealed at 300.5 K, don't trust", "don", False),
        ("comment", "Annealed at 300.5 K, don't trust", "", False),
        ("comment", "one_word and/or", "word", False),
        ("comment", "one_word and/or", "or", True),
        ("entry_name.prefix", "Si VASP DFT SinglePoint", "vasp dft sin", True),
        ("entry_name.prefix", "Si VASP DFT SinglePoint", "Si DFT", False),
        ("entry_name.prefix", "Si VASP DFT SinglePoint", "asp", False),
        ("entry_name.prefix", "Si VASP DFT SinglePoint", "SinglePoint simulation", False),
        ("text_search_contents", "hot plate", "pla", True),
        ("text_search_contents", "hot plate", "pla cold", False),
        ("text_search_contents", "hot plate", "hot cold", True),
    ],
)
def test_texts_are_compared_by_words(quantity: str, stored: str, asked: str, equal: bool) -> None:
    """Path steps, whole words, a phrase with a last word begun, or any word with a last word begun."""
    document = entry(**{quantity.removesuffix(".path").removesuffix(".prefix"): stored})
    assert matches(Equals(quantity, asked), document) is equal


def test_a_range_of_a_text_is_asked_of_its_words() -> None:
    """Words are small letters; the steps of a path are as written."""
    hot_plate = entry(comment="Hot plate", mainfile="Hot/plate")
    assert matches(Range("comment", gte="h", lt="i"), hot_plate)
    assert not matches(Range("comment", gte="H", lt="I"), hot_plate)
    assert matches(Range("mainfile.path", gte="p"), hot_plate)
    assert not matches(Range("mainfile", gte="p"), hot_plate)


@pytest.mark.parametrize(
    ("name", "stored", "asked", "equal"),
    [
        ("hill", "O2Ti", "TiO2", True),
        ("hill", "O2Ti", "Ti2O4", False),
        ("hill", "CH4O", "OHCH3", True),
        ("hill", "H2MgO2", "Mg(OH)2", True),
        ("hill", "H4O2", "2H2O", True),
        ("hill", "FeNi", "Fe0.5Ni0.5", True),
        ("hill", "OX2", "Qq2O", True),
        ("hill", "not a formula", "not a formula", True),
        ("iupac", "TiO2", "O4Ti2", True),
        ("iupac", "SrTiO3", "O3TiSr", True),
        ("iupac", "NH3", "H3N", True),
        ("iupac", "H2O", "OH2", True),
        ("iupac", "Si", "Si8", True),
        ("reduced", "O2Ti", "TiO2", False),
    ],
)
def test_an_asked_formula_is_brought_into_the_stored_order(
    name: str, stored: str, asked: str, equal: bool
) -> None:
    """Hill order is carbon, hydrogen, alphabet; IUPAC order is that of the red book's table VI, reduced."""
    quantity = f"chemical_formula_{name}"
    document = entry(results__material={quantity: stored, "topology": [{quantity: stored}]})
    assert matches(Equals(f"results.material.{quantity}", asked), document) is equal
    assert matches(Equals(f"{TOPOLOGY}.{quantity}", asked), document) is equal


def custom(value: dict[str, Any], *, schema: str = "entry_id:abc.Furnace") -> dict[str, Any]:
    classes = {"1": {"path": "data", "definitions": [schema, "lab.Device"]}}
    return entry(search_quantities=[{"id": f"data.t#{schema}", "segments": classes, **value}])


@pytest.mark.parametrize(
    ("criterion", "document", "expected"),
    [
        (Range(CUSTOM, gt=300), custom({"float_value": 310.0}), True),
        (Range(CUSTOM, gt=300), custom({"float_value": 300.0}), False),
        (Range(CUSTOM, gt=300), custom({"int_value": 310}), False),
        (Range(CUSTOM, gt=300), custom({"float_value": 310.0}, schema="entry_id:abc.Oven"), False),
        (HasNone(CUSTOM, (310.0,)), custom({"float_value": 310.0}), False),
        (HasNone(CUSTOM, (310.0,)), entry(), True),
        (Equals("data.t#lab.Device", "hot plate"), custom({"str_value": "hot plate"}), True),
        (Equals("data.t#lab.Device", "plate"), custom({"str_value": "hot plate"}), False),
        (Equals("data.t.u#lab.Device", "hot plate"), custom({"str_value": "hot plate"}), False),
        (
            Equals("data.t#lab.Device", "2024-03-01"),
            custom({"datetime_value": "2024-03-01T00:00:00+00:00"}),
            True,
        ),
        (Equals("search_quantities.str_value", "PLATE"), custom({"str_value": "hot plate"}), True),
        (Equals("search_quantities.str_value.keyword", "plate"), custom({"str_value": "hot plate"}), False),
    ],
)
def test_custom_quantities_are_found_by_path_schema_and_type(
    criterion: Criterion, document: dict[str, Any], expected: bool
) -> None:
    """The schema may be a class that the entry's own one is derived from; texts are exact."""
    assert matches(criterion, document) is expected


def test_select_returns_ids_in_their_order() -> None:
    """Whatever the order of the documents; the ids of NOMAD are ordered by code points."""
    documents = [{"entry_id": name, "x": 1} for name in ("b", "-a", "_c", "B")] + [{"entry_id": "a"}]
    assert select(Equals("x", 1), documents) == ["-a", "B", "_c", "b"]


def test_keywords_too_long_for_the_index_are_no_values() -> None:
    """NOMAD's index leaves out keywords of more than 8,191 characters; texts stay."""
    document = entry(entry_name="x" * 8192, comment="y" * 8192)
    assert values_of("entry_name", document) == []
    assert values_of("comment", document) == ["y" * 8192]
