"""Does an entry match? Every expected answer follows from the table of nodes or NOMAD's analysers."""

from __future__ import annotations

from typing import Any

import pytest

from nomadquery.errors import NotExpressible, QueryError
from nomadquery.query.catalogue import catalogue_for
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
from nomadquery.query.predicate import item_matches, matches

CATALOGUE = catalogue_for()
ELEMENTS, N = "results.material.elements", "results.material.n_elements"
GAP, TOPOLOGY = "results.properties.electronic.band_gap", "results.material.topology"
OXIDE = {"results": {"material": {"elements": ["O", "Ti"], "n_elements": 2}}}
CUSTOM = "data.t#entry_id:abc.Furnace"


def holds(criterion: Criterion, document: dict[str, Any]) -> bool:
    return matches(criterion, document, CATALOGUE)


def at(name: str, value: Any) -> dict[str, Any]:
    """Return ``{"a": {"b": value}}`` for ``a.b``."""
    for step in reversed(name.split(".")):
        value = {step: value}
    return dict(value)


@pytest.mark.parametrize(
    ("criterion", "of_oxide", "of_unknown"),
    [
        (Equals(ELEMENTS, "Ti"), True, False),
        (Equals(ELEMENTS, "ti"), False, False),
        (HasAll(ELEMENTS, ("Ti", "O")), True, False),
        (HasAll(ELEMENTS, ("Ti", "Si")), False, False),
        (HasAny(ELEMENTS, ("Ti", "Si")), True, False),
        (HasAny(ELEMENTS, ("Si", "C")), False, False),
        (HasNone(ELEMENTS, ("Si", "C")), True, True),
        (HasNone(ELEMENTS, ("Si", "Ti")), False, True),
        (Range(N, gte=2), True, False),
        (Range(N, gt=2), False, False),
        (Range(N, gt=1.5, lt=2.5), True, False),
        (Not(Equals(ELEMENTS, "Ti")), False, True),
        (Not(Range(N, lte=1)), True, True),
        (And((Equals(ELEMENTS, "Ti"), Equals(N, 2))), True, False),
        (Or((Equals(ELEMENTS, "Si"), Equals(N, 2))), True, False),
        (EVERYTHING, True, True),
        (NOTHING, False, False),
    ],
)
def test_every_node_with_and_without_the_quantity(
    criterion: Criterion, of_oxide: bool, of_unknown: bool
) -> None:
    """A missing quantity makes every leaf but HasNone false, hence its negation true."""
    assert holds(criterion, OXIDE) is of_oxide
    assert holds(criterion, {}) is of_unknown


def test_one_value_satisfies_both_bounds() -> None:
    """1 is above, 9 below, but neither is between 3 and 5."""
    name = "results.properties.catalytic.reaction.products.selectivity"
    assert not holds(Range(name, gte=3.0, lte=5.0), at(name, [1.0, 9.0]))
    assert holds(Range(name, gte=3.0, lte=5.0), at(name, [1.0, 4.0]))


@pytest.mark.parametrize(
    ("stored", "asked", "equal"),
    [
        (2, 2.0, True),
        (2, "2", False),
        (1, True, False),
        (True, True, True),
        (True, 1, False),
        ("2", 2, False),
    ],
)
def test_values_are_equal_only_within_a_type(stored: Any, asked: Any, equal: bool) -> None:
    """Numbers are numbers, integer or not; booleans and texts are none."""
    assert holds(Equals("no.such.quantity", asked), at("no.such.quantity", stored)) is equal


@pytest.mark.parametrize("nothing", [None, [], [None], {}])
def test_null_and_empty_lists_are_no_value(nothing: object) -> None:
    """As in the index."""
    assert not holds(Range(N, gte=-(2**31), lte=2**31 - 1), at(N, nothing))


def test_within_asks_one_item_for_everything() -> None:
    """Two items that share the criteria between them do not count, unless asked one by one."""
    leaves = (Equals(f"{GAP}.type", "direct"), Range(f"{GAP}.value", gte=2.0))
    shared = at(GAP, [{"type": "direct", "value": 1.0}, {"type": "indirect", "value": 3.0}])
    joined = at(GAP, [{"type": "direct", "value": 3.0}])
    assert [holds(Within(GAP, leaves), document) for document in (shared, joined, {})] == [False, True, False]
    assert holds(And(leaves), shared)


def test_none_within_needs_an_item_and_alone_looks_at_all() -> None:
    """An item that is not direct; no item that is direct."""
    no_direct = HasNone(f"{GAP}.type", ("direct",))
    mixed, empty = at(GAP, [{"type": "direct"}, {"value": 1.0}]), at(GAP, [])
    assert [holds(Within(GAP, (no_direct,)), document) for document in (mixed, empty)] == [True, False]
    assert [holds(no_direct, document) for document in (mixed, empty)] == [False, True]


def test_sections_within_sections() -> None:
    """The inner item is looked for in the outer one, not in its neighbour."""
    composition = f"{TOPOLOGY}.elemental_composition"
    much = Within(
        composition, (Equals(f"{composition}.element", "O"), Range(f"{composition}.mass_fraction", gt=0.5))
    )
    asked = Within(TOPOLOGY, (Equals(f"{TOPOLOGY}.label", "original"), much))
    oxygen = {"element": "O", "mass_fraction": 0.9}
    assert holds(asked, at(TOPOLOGY, [{"label": "original", "elemental_composition": [oxygen]}]))
    assert not holds(asked, at(TOPOLOGY, [{"label": "original"}, {"elemental_composition": [oxygen]}]))


def test_one_item_by_itself() -> None:
    """Filters of columns ask the items of a section, names in full."""
    item = {"type": "direct", "value": 3.0}
    assert item_matches(Equals(f"{GAP}.type", "direct"), item, GAP, CATALOGUE)
    assert not item_matches(Range(f"{GAP}.value", lt=3.0), item, GAP, CATALOGUE)


@pytest.mark.parametrize(
    ("quantity", "stored", "asked", "found"),
    [
        ("mainfile", "run/Si/vasprun.xml", "vasprun.xml", False),
        ("mainfile.path", "run/Si/vasprun.xml", "vasprun.xml", True),
        ("mainfile.path", "run/Si/vasprun.xml", "si", False),
        ("mainfile.path", "run/Si/vasprun.xml", "vasprun", False),
        ("comment", "Annealed at 300.5 K, don't trust", "frozen, DON'T use", True),
        ("comment", "Annealed at 300.5 K, don't trust", "300", False),
        ("comment", "Annealed at 300.5 K, don't trust", "300.5", True),
        ("comment", "Annealed at 300.5 K, don't trust", "don", False),
        ("comment", "x1.y", "x1", True),
        ("comment", "one_word and/or", "word", False),
        ("comment", "one_word and/or", "", False),
        ("entry_name.prefix", "Si VASP DFT SinglePoint", "vasp dft sin", True),
        ("entry_name.prefix", "Si VASP DFT SinglePoint", "Si DFT", False),
        ("entry_name.prefix", "Si VASP DFT SinglePoint", "asp", False),
        ("text_search_contents", "hot plate", "pla", True),
        ("text_search_contents", "hot plate", "pla cold", False),
        ("text_search_contents", "hot plate", "hot cold", True),
        ("authors.name.text", "Ada Lovelace", "ada", True),
    ],
)
def test_texts_are_compared_by_words(quantity: str, stored: str, asked: str, found: bool) -> None:
    """Steps of a path; whole words in small letters; the last word of some fields by its beginning."""
    name = quantity.removesuffix(".path").removesuffix(".prefix").removesuffix(".text")
    assert holds(Equals(quantity, asked), at(name, stored)) is found


def test_range_of_a_text_is_asked_of_its_words() -> None:
    """Which are in small letters."""
    assert holds(Range("comment", gte="h", lt="i"), {"comment": "Hot plate"})
    assert not holds(Range("comment", gte="H", lt="I"), {"comment": "Hot plate"})


def test_keywords_too_long_for_the_index_are_no_values() -> None:
    """NOMAD leaves out those of more than 8,191 characters."""
    assert holds(Range("external_id", gte=" "), {"external_id": "x" * 8191})
    assert not holds(Range("external_id", gte=" "), {"external_id": "x" * 8192})


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Equals("publish_time", "2024-03-01T11:00:00.000Z"), True),
        (Equals("publish_time", "2024-03-01T11:00:00.001Z"), False),
        (Range("publish_time", gt="2024-03-01T11:00:00.000Z"), False),
        (Range("publish_time", gte="2024-03-01T11:00:00.000Z"), True),
        (Range("publish_time", lt="2024-03-01T11:00:00.001Z"), True),
    ],
)
def test_dates_are_instants_to_the_millisecond(asked: Criterion, found: bool) -> None:
    """12:00 at +01:00 is 11:00 in UTC; what is finer than a millisecond is cut off."""
    assert holds(asked, {"publish_time": "2024-03-01T12:00:00.000999+01:00"}) is found


@pytest.mark.parametrize(
    ("asked", "value", "found"),
    [
        (Range(f"{CUSTOM}#float", gt=300.0), {"float_value": 310.0}, True),
        (Range(f"{CUSTOM}#float", gt=300.0), {"int_value": 310}, False),
        (Range("data.t#lab.Device", gt=300), {"int_value": 310}, True),
        (HasNone(f"{CUSTOM}#float", (310.0,)), {"float_value": 310.0}, False),
        (Equals("data.t#lab.Device", "hot plate"), {"str_value": "hot plate"}, True),
        (Equals("data.t#lab.Device", "plate"), {"str_value": "hot plate"}, False),
        (Equals("data.u#lab.Device", "hot plate"), {"str_value": "hot plate"}, False),
        (Equals("data.t#lab.Oven", "hot plate"), {"str_value": "hot plate"}, False),
        (Equals("data.t#lab.Device", "2024-03-01"), {"datetime_value": "2024-03-01T00:00:00+00:00"}, True),
        (Equals(f"{CUSTOM}#bool", True), {"bool_value": True}, True),
    ],
)
def test_custom_quantities_by_path_schema_and_type(
    asked: Criterion, value: dict[str, Any], found: bool
) -> None:
    """The schema may be a class that the entry's own one is derived from; texts are exact."""
    classes = {"1": {"path": "data", "definitions": ["entry_id:abc.Furnace", "lab.Device"]}}
    document = {"search_quantities": [{"id": "data.t#entry_id:abc.Furnace", "segments": classes, **value}]}
    assert holds(asked, document) is found


def test_custom_date_that_is_none_is_an_error() -> None:
    """The server would refuse it, too (400)."""
    stored = {"id": "data.t#lab.Device", "datetime_value": "2024-03-01T00:00:00+00:00"}
    with pytest.raises(QueryError, match="not a date"):
        holds(Equals("data.t#lab.Device", "tomorrow"), {"search_quantities": [stored]})


def test_optimade_is_left_to_the_server() -> None:
    """It is not evaluated approximately."""
    with pytest.raises(NotExpressible, match="decided by a NOMAD server"):
        holds(Optimade("nelements=2"), OXIDE)
