"""`Q`, `within` and `Query`: what scientists type, and what they are told when it is wrong."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from datetime import date
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nomadquery import Q, Query, optimade, units, within
from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError, UnitError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.criteria import And, Or, Range
from nomadquery.query.predicate import matches
from nomadquery.query.resolve import Resolver

M = Q.results.material
GAP = Q.results.properties.electronic.band_gap
CELL = Q.results.properties.optoelectronic.solar_cell
ELEMENTS, N, PROGRAM = (
    "results.material.elements",
    "results.material.n_elements",
    "results.method.simulation.program_name",
)
VALUE = "results.properties.electronic.band_gap.value"


def asked(query: Query) -> Any:
    return query.to_json()


# --- comparisons


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (M.n_elements == 2, {N: 2}),
        (M.n_elements == 2.0, {N: 2}),
        (M.n_elements != 2, {N: {"none": [2]}}),
        (M.n_elements < 2, {N: {"lt": 2}}),
        (M.n_elements <= 2, {N: {"lte": 2}}),
        (M.n_elements > 2, {N: {"gt": 2}}),
        (M.n_elements >= 2, {N: {"gte": 2}}),
        (2 < M.n_elements, {N: {"gt": 2}}),  # noqa: SIM300  # the reflected comparison
        (M.n_elements.between(2, 4), {N: {"gte": 2, "lte": 4}}),
        (M.n_elements.between(2, 4, inclusive="left"), {N: {"gte": 2, "lt": 4}}),
        (M.n_elements.between(2, 4, inclusive="right"), {N: {"gt": 2, "lte": 4}}),
        (M.n_elements.between(2, 4, inclusive="neither"), {N: {"gt": 2, "lt": 4}}),
        (M.elements == "Ti", {ELEMENTS: "Ti"}),
        (M.elements.has_all("Ti", "O"), {ELEMENTS: {"all": ["O", "Ti"]}}),
        (M.elements.has_any("Ti", "O"), {ELEMENTS: {"any": ["O", "Ti"]}}),
        (M.elements.has_none("Ti", "O"), {ELEMENTS: {"none": ["O", "Ti"]}}),
        (M.elements.has_exactly("Ti", "O"), {"and": [{N: 2}, {ELEMENTS: {"all": ["O", "Ti"]}}]}),
        (M.elements.has_exactly("Ti", "O", "O"), {"and": [{N: 2}, {ELEMENTS: {"all": ["O", "Ti"]}}]}),
        (Q.program.isin(["VASP", "exciting"]), {PROGRAM: {"any": ["VASP", "exciting"]}}),
        (M.n_elements.has_any(5), {N: 5}),
        (Q.published == True, {"published": True}),  # noqa: E712  # a value, not a condition
        (Q["results.material.n_elements"] == 1, {N: 1}),
        (Q.metadata.upload_id == "x", {"upload_id": "x"}),
        (Q.comment == "annealed", {"comment": "annealed"}),
    ],
)
def test_comparisons(query: Query, expected: object) -> None:
    """Each operator and word, as NOMAD's JSON."""
    assert asked(query) == expected


@pytest.mark.parametrize("several", [["Ti", "O"], ("Ti", "O"), {"Ti": 1, "O": 1}, pd.Series(["Ti", "O"])])
def test_words_take_values_or_one_iterable(several: Any) -> None:
    """Both spellings are one query."""
    assert M.elements.has_all(several) == M.elements.has_all("Ti", "O")
    assert M.elements.has_any(iter(several)) == M.elements.has_any("Ti", "O")
    assert Q.elements.isin(several) == Q.elements.isin("Ti", "O")


def test_has_only_leaves_no_other_element() -> None:
    """A subset of these: one of them, and none of the 117 others."""
    both = asked(M.elements.has_only("Ti", "O"))["and"]
    assert both[0] == {ELEMENTS: {"any": ["O", "Ti"]}}
    others = both[1][ELEMENTS]["none"]
    assert len(others) == 117
    assert not {"Ti", "O"} & set(others)


def test_exact_composition_within_a_section_counts_its_own_elements() -> None:
    """The number beside the list is that of the item, not of the material."""
    query = within("results.material.topology", Q.elements.has_exactly("Ti", "O"))
    assert asked(query) == {"results.material.topology": {"n_elements": 2, "elements:all": ["O", "Ti"]}}


def test_lists_without_known_members_have_no_others() -> None:
    """NOMAD cannot say "and no others" of any text."""
    for word in (
        Q.results.eln.lab_ids.has_exactly,
        Q.results.eln.lab_ids.has_only,
        M.structural_type.has_only,
    ):
        with pytest.raises(NotExpressible, match="compare in pandas"):
            word("a")


def test_equality_with_a_list_names_the_four_words() -> None:
    """The list might mean any of them."""
    with pytest.raises(QueryError) as refused:
        _ = M.elements == ["Ti", "O"]
    for word in ("has_all", "has_any", "has_exactly", "has_only", "isin"):
        assert word in str(refused.value)


@pytest.mark.parametrize("word", ["has_all", "has_any", "has_none", "has_exactly", "has_only"])
def test_words_need_a_value(word: str) -> None:
    """An empty list asks nothing, and NOMAD reads it as everything."""
    for nothing in ([()], []):
        with pytest.raises(QueryError, match="give at least one"):
            getattr(M.elements, word)(*nothing)


def test_single_value_cannot_have_all_of_several() -> None:
    """One program is not two."""
    with pytest.raises(QueryError, match=r"has one value and cannot have all .* write .isin"):
        Q.program.has_all("VASP", "exciting")


def test_measured_numbers_are_never_exactly_equal() -> None:
    """Neither to one value nor to one of a list."""
    with pytest.raises(QueryError, match=r"never exactly '1.1 eV'. Write .between"):
        _ = GAP.value == "1.1 eV"
    with pytest.raises(QueryError, match=r"write .between"):
        GAP.value.isin(["1.1 eV"])
    assert asked(CELL.fill_factor == 0.5)  # without a dimension it may be a stated number


@pytest.mark.parametrize(
    "between",
    [
        lambda: M.n_elements.between(4, 2),
        lambda: GAP.value.between("2 eV", "1 eV"),
        lambda: Q.uploaded.between("2024-02-01", "2024-01-01"),
    ],
)
def test_empty_intervals_are_refused(between: Callable[[], object]) -> None:
    """Numbers, measures and dates the wrong way round."""
    with pytest.raises(QueryError, match="Give the lower one first"):
        between()


def test_ends_of_an_interval_are_named_as_in_pandas() -> None:
    """Another word is refused with the four."""
    with pytest.raises(QueryError, match="both, left, right, neither"):
        M.n_elements.between(1, 2, inclusive="yes")


def test_not_equal_matches_entries_without_the_quantity() -> None:
    """Unless .exists() is added."""
    query = Q.crystal_system != "cubic"
    document: dict[str, Any] = {}
    catalogue = catalogue_for()
    assert matches(query.resolved(catalogue), document, catalogue)
    assert not matches((query & Q.crystal_system.exists()).resolved(catalogue), document, catalogue)


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        (lambda: M.elements == "Tii", "is not one of the values .* nearest are 'Ti'"),
        (lambda: M.structural_type == "crystal", "is not one of the values"),
        (lambda: M.n_elements == "two", "holds integers, not the text 'two'"),
        (lambda: M.n_elements == 2.5, "holds integers; 2.5 is never found"),
        (lambda: M.n_elements == True, "holds integers, not True"),  # noqa: E712  # a value
        (lambda: Q.published == "yes", "True or False"),
        (lambda: Q.program == 5, "holds text, not 5"),
        (lambda: M.n_elements == None, r"write ~Q.results.material.n_elements.exists\(\)"),  # noqa: E711
        (lambda: M.n_elements.between(float("nan"), 1), r"\.exists\(\)"),
        (lambda: M.n_elements < float("inf"), "leave the bound out"),
        (lambda: M.n_elements < 2**31, "from -2147483648 to 2147483647"),
    ],
)
def test_wrong_values_are_refused_when_typed(compare: Callable[[], object], message: str) -> None:
    """With what the quantity holds, and how to write it."""
    with pytest.raises(QueryError, match=message):
        compare()


def test_values_of_other_types_are_a_type_error() -> None:
    """Objects, functions, complex numbers."""
    for value in (object(), print, 1j):
        with pytest.raises(TypeError, match="text, numbers, truth values or dates"):
            _ = M.n_elements == value


def test_numpy_values_become_pythons() -> None:
    """So that JSON and repr are the same as for plain ones."""
    for value in (np.int64(2), np.float64(2), np.array(2)):
        assert repr(M.n_elements == value) in {
            "Q.results.material.n_elements == 2",
            "Q.results.material.n_elements == 2.0",
        }
    assert repr(Q.program == np.str_("VASP")) == "Q.program == 'VASP'"
    assert asked(Q.published == np.bool_(True)) == {"published": True}


# --- isin


@pytest.mark.parametrize(
    "values",
    [
        ["b", "a", "b"],
        ("a ", " b", None, "a"),
        {"a", "b"},
        (x for x in ("a", "b")),
        pd.Series(["a", "b", None, "a"]),
        pd.Series(["a", "b"], dtype="category"),
        pd.Series(["a", pd.NA, "b"], dtype="string"),
        pd.Index(["a", "b"]),
        np.array(["a", "b", "a"]),
        pa.array(["a", None, "b"]),
        pa.chunked_array([["a"], ["b", None]]),
        pd.DataFrame({"entry_id": ["a", "b"], "other": [1, 2]}),
        pa.table({"entry_id": ["a", "b"], "other": [1, 2]}),
        ["a", "b", "", "  ", float("nan"), pd.NaT],
    ],
)
def test_isin_takes_everything_that_holds_ids(values: object) -> None:
    """Nulls, blanks and repeats are dropped, blanks around trimmed."""
    assert asked(Q.entry_id.isin(values)) == {"entry_id": {"any": ["a", "b"]}}


def test_isin_of_numbers_and_dates() -> None:
    """Also as columns."""
    assert asked(M.n_elements.isin(pd.Series([1, 2, None]))) == {N: {"any": [1, 2]}}
    days = pd.Series([pd.Timestamp("2024-01-31T12:00"), pd.NaT])
    assert asked(Q.uploaded.isin(days)) == {"upload_create_time": "2024-01-31T12:00:00.000Z"}
    assert (
        asked(Q.uploaded.isin([date(2024, 1, 31)]))["upload_create_time"]["gte"] == "2024-01-31T00:00:00.000Z"
    )


@pytest.mark.parametrize("nothing", [[], pd.Series([], dtype=str), [None, " "], ()])
def test_isin_of_nothing_matches_nothing(nothing: object) -> None:
    """Not everything, as an empty list would."""
    assert Q.entry_id.isin(nothing) == ~Query()


def test_isin_of_a_frame_without_ids_names_the_column() -> None:
    """Which of the columns is meant must be said."""
    with pytest.raises(QueryError, match="no column 'entry_id'"):
        Q.entry_id.isin(pd.DataFrame({"lab_id": ["a"]}))


class Found:
    """Stands where a search or a table would."""

    def entry_ids(self) -> tuple[str, ...]:
        return ("a", "b")


def test_isin_of_a_search_is_asked_first() -> None:
    """The query keeps the search; its ids take their place before it is sent."""
    found = Found()
    query = Q.entry_references.target_entry_id.isin(found) & (Q.n_elements == 1)
    ((placeholder, source),) = query.asked_first
    assert source is found
    with pytest.raises(QueryError, match="asked first"):
        query.to_json()
    filled = query.with_ids({placeholder: found.entry_ids()})
    assert filled == Q.entry_references.target_entry_id.isin(["a", "b"]) & (Q.n_elements == 1)


def test_ids_take_their_place_wherever_they_stand() -> None:
    """In or, not and within."""
    searched = Q.entry_id.isin(Found())
    ((placeholder, _),) = searched.asked_first
    both = {placeholder: ("a", "b")}
    asked_for = Q.entry_id.isin("a", "b")
    assert (~searched | (Q.n_elements == 1)).with_ids(both) == ~asked_for | (Q.n_elements == 1)
    inner = within("entry_references", Q.target_entry_id.isin(Found()), Q.source_name == "x")
    ((placeholder, _),) = inner.asked_first
    expected = within("entry_references", Q.target_entry_id.isin("a", "b"), Q.source_name == "x")
    assert inner.with_ids({placeholder: ("a", "b")}) == expected


def test_searches_are_numbered_within_a_query() -> None:
    """A search that stands there twice has one number; the text is the same in every run."""
    one, other = Found(), Found()
    query = Q.entry_id.isin(one) & (Q.calc_id.isin(other) | ~Q.entry_id.isin(one))
    assert [source for _, source in query.asked_first] == [one, other]
    assert repr(query) == (
        "Q.entry_id.has_any('the entry ids of search 1') & (Q.calc_id.has_any('the entry ids of search 2') "
        "| (~Q.entry_id.has_any('the entry ids of search 1')))"
    )
    assert query.explain().count("the entry ids of search 1") == 2
    first, second = (name for name, _ in query.asked_first)
    filled = query.with_ids({first: ("a",), second: ("b",)})
    assert filled == Q.entry_id.isin("a") & (Q.calc_id.isin("b") | ~Q.entry_id.isin("a"))


def test_queries_with_searches_are_equal_if_the_searches_are_the_same() -> None:
    """In whatever order they stand; another search is another question."""
    one, other = Found(), Found()
    both = Q.entry_id.isin(one) & Q.calc_id.isin(other)
    assert both == Q.calc_id.isin(other) & Q.entry_id.isin(one)
    assert hash(both) == hash(Q.calc_id.isin(other) & Q.entry_id.isin(one))
    assert both != Q.entry_id.isin(other) & Q.calc_id.isin(one)
    assert Q.entry_id.isin(one) != Q.entry_id.isin(other)
    assert repr(Q.entry_id.isin(one)) == repr(Q.entry_id.isin(other))


@pytest.mark.parametrize("ids", [Found(), pd.DataFrame({"entry_id": ["a"], "upload_id": ["u"]})])
def test_entry_ids_are_compared_with_entry_ids_only(ids: object) -> None:
    """They would be looked for in vain among other ids."""
    with pytest.raises(QueryError, match=r"frame\['upload_id'\], or write Q\.entry_id\.isin"):
        Q.upload_id.isin(ids)
    for taken in (Q.entry_id, Q.calc_id, Q.entry_references.target_entry_id, Q.mainfile.unchecked()):
        taken.isin(ids)


def test_filter_of_items_cannot_hold_a_search() -> None:
    """Nobody would put its ids in."""
    searched = Q.target_entry_id.isin(Found())
    with pytest.raises(QueryError, match=r"isin\(search\.entry_ids\(\)\)"):
        _ = Q.entry_references[searched]
    with pytest.raises(QueryError, match=r"isin\(search\.entry_ids\(\)\)"):
        Q.entry_references.matching(within("entry_references", searched))


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_isin_of_a_missing_value_is_refused(missing: object) -> None:
    """A list without values finds nothing, and nothing at all is no list."""
    with pytest.raises(QueryError, match=r"for a missing value write ~Q\.entry_id\.exists\(\)"):
        Q.entry_id.isin(missing)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["Ti"]], "one flat list"),
        ([("Ti", "O")], "one flat list"),
        (np.array([["Ti", "O"]]), "one flat list"),
        (pd.Series([["Ti"]]), "one flat list"),
        (b"Ti", r"write b'Ti'\.decode\(\)"),
        ([b"Ti"], r"write b'Ti'\.decode\(\)"),
        ([bytearray(b"Ti")], "not bytes"),
    ],
)
def test_isin_takes_one_flat_list_of_values(values: object, message: str) -> None:
    """And says how to make one."""
    with pytest.raises(QueryError, match=message):
        Q.elements.isin(values)


def test_table_is_no_list_of_values() -> None:
    """Its columns' names would be taken for them."""
    with pytest.raises(QueryError, match=r"frame\['…'\]"):
        Q.elements.has_any(pd.DataFrame({"Ti": [1]}))


def test_search_within_a_section_is_kept() -> None:
    """within does not lose what is asked first."""
    query = within("entry_references", Q.target_entry_id.isin(Found()), Q.source_name == "x")
    assert len(query.asked_first) == 1
    assert len((~query | query).asked_first) == 1


# --- exists


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (M.elements, {ELEMENTS: {"gte": " "}}),
        (M.n_elements, {N: {"gte": -(2**31), "lte": 2**31 - 1}}),
        (GAP.value, {VALUE: {"gte": -1e308, "lte": 1e308}}),
        (Q.published, {"published": {"any": [False, True]}}),
        (Q.uploaded, {"upload_create_time": {"gte": "0001-01-01T00:00:00.000Z"}}),
        (Q.comment, {"comment": {"gte": " "}}),
        (Q.run.calculation.energy.total.value, {"quantities": "run.calculation.energy.total.value"}),
        (Q.energy, {"quantities": "run.calculation.energy.total.value"}),
        (Q.run.x_vasp_incar, {"quantities": "run.x_vasp_incar"}),
        (Q.results.properties.electronic, {"quantities": "results.properties.electronic"}),
        (Q.data.lab_id, {"quantities": "data.lab_id"}),
        (Q["data.lab_id#pkg.Class"], {"quantities": "data.lab_id"}),
        (Q.license, {"quantities": "metadata.license"}),
        (Q["anything.at.all"].unchecked(), {"quantities": "anything.at.all"}),
    ],
)
def test_exists_for_indexed_and_archive_paths(path: Any, expected: object) -> None:
    """A range over the whole domain where the index has it, else the list of archive paths."""
    assert asked(path.exists()) == expected
    assert repr(path.exists()).endswith(".exists()")


def test_exists_of_a_reference_to_datasets_asks_their_fields() -> None:
    """The archive lists `metadata.datasets` for every entry, and its copy goes stale."""
    parts = asked(Q.datasets.exists())["or"]
    assert {"datasets.dataset_id": {"gte": " "}} in parts


def test_exists_of_an_unknown_name_is_an_error() -> None:
    """A misspelt name would match nothing."""
    with pytest.raises(QuantityNotFound, match=r"results.material.elements"):
        M.element.exists().to_json()


def test_existence_within_an_item() -> None:
    """Indexed ones yes; archive paths are known for the entry only."""
    query = within("results.material.topology", Q.label == "original", Q.cell.a.exists())
    form = {"cell.a": {"gte": -1e308, "lte": 1e308}, "label": "original"}
    assert asked(query) == {"results.material.topology": form}
    with pytest.raises(NotExpressible, match="not whether an item"):
        within("results.material.topology", Q.atoms.exists())


def test_unsearchable_paths_name_drop_missing() -> None:
    """Other comparisons than exists() are left to the table."""
    with pytest.raises(NotExpressible, match="drop_missing"):
        _ = Q.run.calculation.energy.total.value > "1 eV"
    with pytest.raises(NotExpressible, match="drop_missing"):
        _ = Q.license == "CC BY 4.0"


def test_filters_of_columns_may_ask_what_the_index_lacks() -> None:
    """They are decided on the archive; units and types are checked all the same."""
    resolver = Resolver(catalogue_for(), searchable_only=False)
    section = "run.calculation.energy.total"
    asked_item = resolver.resolve((Q.value.exists() & (Q.value < "0 eV")).criterion, section)
    full = f"{section}.value"
    assert asked_item == And((Range(full, gte=-1e308, lte=1e308), Range(full, lt=0.0)))
    with pytest.raises(UnitError):
        resolver.resolve((Q.value < 5).criterion, section)


# --- units


@pytest.mark.parametrize(
    "query",
    [
        GAP.value >= "1.5 eV",
        GAP.value >= "1.5eV",
        GAP.value >= "1500 meV",
        GAP.value >= 1.5 * units.registry().eV,
        GAP.value.between(1.5, 2, unit="eV"),
    ],
)
def test_values_carry_their_unit(query: Query) -> None:
    """Text, pint quantities, or unit=; 1.5 eV is 2.403264951e-19 J."""
    assert asked(query)[VALUE]["gte"] == pytest.approx(2.403264951e-19, rel=1e-12)


def test_words_take_a_unit_too() -> None:
    """Each value in that unit."""
    width = Q.results.method.simulation.precision.planewave_cutoff
    name = "results.method.simulation.precision.planewave_cutoff"
    several = asked(width.has_any(300, 400, unit="eV"))[name]["any"]
    assert several == pytest.approx([300 * 1.602176634e-19, 400 * 1.602176634e-19], rel=1e-12)
    with pytest.raises(QueryError, match="goes with a number"):
        width.has_any("300 eV", unit="eV")


def test_bare_number_is_told_what_to_write() -> None:
    """The stored unit, the customary one, and unit=; also where the number is text."""
    for bare in (1.5, "1.5"):
        with pytest.raises(UnitError) as refused:
            _ = GAP.value >= bare
        for hint in ("has the unit joule", "write '1.5 eV' (or another unit of energy)", "unit=…"):
            assert hint in str(refused.value)


@pytest.mark.parametrize(
    ("quantity", "written"),
    [
        (Q.cutoff, "'2 eV'"),
        (Q.k_density, "'2 angstrom'"),
        (Q.results.material.topology.cell.alpha, "'2 degree'"),
        (Q.results.properties.mechanical.bulk_modulus.value, "'2 GPa'"),
        (Q.jsc, "'2 mA/cm^2'"),
        (Q.density, "'2 g/cm^3'"),
        (Q.results.properties.catalytic.reaction.rates.reaction_rate, "'2 mole / gram / second'"),
    ],
)
def test_customary_unit_is_offered_for_a_bare_number(quantity: Any, written: str) -> None:
    """The stored one where nobody has another; what is offered is taken."""
    with pytest.raises(UnitError, match=re.escape(f"write {written}")):
        _ = quantity >= 2
    _ = quantity >= written.strip("'")


@pytest.mark.parametrize("value", ["1,1 eV", "2,1 eV", "1,eV", ",1 eV", "1.1 eV,", "1,000 eV", "1,1"])
def test_decimal_commas_are_refused(value: str) -> None:
    """Nothing of a number is dropped."""
    with pytest.raises(UnitError, match="decimal point"):
        _ = Q.gap >= value


@pytest.mark.parametrize("unit", ["", " ", None, 3, "eV,", ",eV", "eV;", "eV # gap"])
def test_unit_that_is_none_is_refused_where_one_is_taken(unit: Any) -> None:
    """By a column, a stated unit and unit=."""
    width = Q.cutoff
    with pytest.raises(UnitError, match="is not a unit"):
        width.to(unit)
    with pytest.raises(UnitError, match="is not a unit"):
        CELL.fill_factor.stored_in(unit)
    if unit is not None:
        with pytest.raises(UnitError, match="is not a unit"):
            width.has_any(300, unit=unit)


def test_difference_of_temperatures_is_no_temperature() -> None:
    """A difference of 300 degC is not 27 degC above freezing, nor 300 K."""
    temperature = Q.results.properties.catalytic.reaction.reaction_conditions.temperature
    with pytest.raises(UnitError, match="difference of temperatures"):
        _ = temperature >= "300 delta_degC"
    assert asked(temperature >= "27 degC")[repr(temperature)[2:]]["gte"] == pytest.approx(300.15, rel=1e-12)


def test_zero_needs_no_unit() -> None:
    """It is zero in every unit of that dimension."""
    assert asked(GAP.value > 0) == {VALUE: {"gt": 0.0, "lte": 1e308}}


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        (lambda: GAP.value > "1 kg", "is stored in joule: 'kg' cannot be expressed in 'joule'"),
        (lambda: GAP.value > "1 elektronvolt", "'elektronvolt' is not a unit"),
        (lambda: M.n_elements > "2 eV", "states no unit"),
        (lambda: CELL.fill_factor > "70 %", r"states no unit .* \.stored_in\('%'\)"),
        (lambda: CELL.fill_factor.stored_in("evolt"), "is not a unit"),
    ],
)
def test_wrong_units_are_unit_errors(compare: Callable[[], object], message: str) -> None:
    """Another dimension, no unit at all, or one on a quantity without, percent included."""
    with pytest.raises(UnitError, match=message):
        compare()


def test_percent_where_the_catalogue_knows_it() -> None:
    """Efficiencies are stored in percent, whatever the schema says; bare numbers are percent."""
    name = "results.properties.optoelectronic.solar_cell.efficiency"
    for query in (CELL.efficiency >= "15 %", CELL.efficiency >= 15, CELL.efficiency >= "15 percent"):
        assert asked(query) == {name: {"gte": 15.0}}


def test_stored_in_states_a_unit_that_nomad_does_not() -> None:
    """Values are converted to it; bare numbers are in it."""
    name = "results.properties.optoelectronic.solar_cell.fill_factor"
    assert asked(CELL.fill_factor.stored_in("percent") >= "0.7 dimensionless") == {name: {"gte": 70.0}}
    assert asked(CELL.fill_factor.stored_in("percent") >= 70) == {name: {"gte": 70.0}}
    custom = "data.t#entry_id:aB.S#float"
    assert asked(Q[custom].stored_in("degC") >= "300 K")[custom]["gte"] == pytest.approx(26.85)


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [
        (GAP.value, "joule"),
        (Q.gap.min(), "joule"),
        (CELL.efficiency, "percent"),
        (Q.run[-1].calculation.energy.total.value, "joule"),
    ],
)
def test_stored_in_cannot_overrule_a_known_unit(quantity: Any, unit: str) -> None:
    """In a query or a column it would give other numbers than NOMAD's."""
    with pytest.raises(UnitError, match=f"is stored in {unit}, which is known; leave out"):
        quantity.stored_in("eV")
    assert repr(quantity.unchecked().stored_in("eV")).endswith("stored_in('eV').unchecked()")


def test_angles_and_densities_and_currents() -> None:
    """NOMAD stores radian, kg/m³ and A/m²."""
    alpha = asked(within("results.material.topology", Q.cell.alpha > "90 degree"))
    assert alpha["results.material.topology.cell.alpha"]["gt"] == pytest.approx(np.pi / 2, rel=1e-12)
    assert asked(Q.density > "2.33 g/cm^3")["results.material.topology.cell.mass_density"][
        "gt"
    ] == pytest.approx(2330)
    assert asked(Q.jsc > "20 mA/cm^2").popitem()[1]["gt"] == pytest.approx(200)


# --- names


def test_unknown_names_are_refused_with_the_nearest_when_the_query_meets_a_release() -> None:
    """Building needs no server: another deployment may know them."""
    query = Q.results.material.element == "Ti"
    with pytest.raises(QuantityNotFound) as refused:
        query.to_json()
    assert refused.value.name == "results.material.element"
    assert ELEMENTS in refused.value.nearest
    assert "unchecked()" in str(refused.value)


def test_unchecked_is_the_way_past() -> None:
    """Neither name nor value nor unit is looked at."""
    assert asked(Q["my.own.name"].unchecked() == "x") == {"my.own.name": "x"}
    assert asked(GAP.value.unchecked() >= 1.5) == {VALUE: {"gte": 1.5}}
    assert asked(M.elements.unchecked() == "Unobtainium") == {ELEMENTS: "Unobtainium"}


def test_custom_quantity_needs_its_schema() -> None:
    """Unless exactly one is known; several are listed."""
    query = Q.data.temperature >= 300
    with pytest.raises(QuantityNotFound, match=r"Q\['data.temperature#my_package"):
        query.to_json()
    catalogue = catalogue_for()
    one, other = "data.temperature#a.B", "data.temperature#c.D"
    resolved = query.resolved(catalogue, {"data.temperature": (one,)})
    assert resolved == (Q[one] >= 300).resolved(catalogue)
    with pytest.raises(QuantityNotFound, match="several schemas") as refused:
        query.resolved(catalogue, {"data.temperature": (one, other)})
    assert refused.value.nearest == (one, other)


@pytest.mark.parametrize(
    ("dtype", "value", "sent"),
    [
        ("float", 300, 300.0),
        ("int", 3, 3),
        ("str", "a b", "a b"),
        ("bool", True, True),
        ("datetime", "2024-01-31T12:00:00", "2024-01-31T12:00:00.000Z"),
    ],
)
def test_custom_quantities_have_the_type_of_their_name(dtype: str, value: Any, sent: object) -> None:
    """A value of another type is refused."""
    name = f"data.t#entry_id:aB.S#{dtype}"
    assert asked(Q[name] == value) == {name: sent}
    with pytest.raises(QueryError):
        (Q[name] == {"float": "x", "int": "x", "str": 1, "bool": 1, "datetime": 1}[dtype]).to_json()


def test_short_and_full_names_are_one_query() -> None:
    """Positions in a short name's path do not matter for a query."""
    assert (Q.n_elements == 1) == (M.n_elements == 1)
    assert Q.energy.exists() == Q.run.calculation.energy.total.value.exists()


def test_names_relative_to_a_section_may_look_like_short_names() -> None:
    """`structural_type` of a topology item has members that the material's lacks."""
    query = within("results.material.topology", Q.structural_type == "group")
    assert asked(query) == {"results.material.topology.structural_type": "group"}
    with pytest.raises(QueryError, match="is not one of the values"):
        _ = Q.structural_type == "crystal"


# --- within


def test_within_asks_for_one_item() -> None:
    """By the section's name or path; names are relative to it."""
    by_name = within("results.properties.electronic.band_gap", Q.value > "1 eV", Q.type == "direct")
    by_path = within(GAP, Q.value > "1 eV", Q.type == "direct")
    assert by_name == by_path
    assert set(asked(by_name)["results.properties.electronic.band_gap"]) == {"value", "type"}


def test_within_in_within() -> None:
    """An element of a topology item."""
    oxygen = within("elemental_composition", Q.element == "O", Q.mass_fraction > 0.5)
    query = within("results.material.topology", Q.label == "original", oxygen)
    inner = {"element": "O", "mass_fraction": {"gt": 0.5}}
    assert asked(query) == {
        "results.material.topology": {"elemental_composition": inner, "label": "original"}
    }


def test_within_a_section_that_occurs_once_is_and() -> None:
    """The same item is the only one."""
    query = within("results.material.symmetry", Q.crystal_system == "cubic", Q.point_group == "m-3m")
    assert len(asked(query)["and"]) == 2


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: within(GAP), QueryError, "at least one comparison"),
        (lambda: within(GAP, Q.value), TypeError, "takes comparisons"),  # type: ignore[arg-type]  # the mistake
        (lambda: within("results.no.section", Q.a == 1), QuantityNotFound, "no quantity"),
        (lambda: within(GAP, Q.valeu > "1 eV"), QuantityNotFound, "band_gap.value"),
        (lambda: within(GAP, Q.value > 1.5), UnitError, "has the unit joule"),
        (lambda: within(GAP, Q.type == "sideways"), QueryError, "not one of the values"),
        (lambda: within(GAP[0], Q.type == "direct"), NotExpressible, "for columns"),
    ],
)
def test_mistakes_within_a_section(build: Callable[[], object], error: type[Exception], message: str) -> None:
    """They are found when it is built."""
    with pytest.raises(error, match=message):
        build()


def test_conditions_on_one_value_within_an_item_are_one_range() -> None:
    """Two bounds of one quantity stand in one object."""
    query = within(GAP, Q.value > "1 joule", Q.value <= "2 joule", Q.type == "direct")
    form = {"value": {"gt": 1.0, "lte": 2.0}, "type": "direct"}
    assert asked(query) == {"results.properties.electronic.band_gap": form}


# --- protocols of Python


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: iter(M.elements), r"Select it: nomad.entries"),
        (lambda: list(M.elements), r"Select it: nomad.entries"),
        (lambda: "Ti" in M.elements, r"has_any\('Ti'\)"),
        (lambda: len(M.elements), r"\.size\(\) or \.count\(\)"),
        (lambda: bool(M.elements), r"\.exists\(\)"),
        (lambda: not M.elements, r"\.exists\(\)"),
        (lambda: M.elements == M.n_elements, "cannot compare two quantities"),
        (lambda: M.n_elements < Q.n_quantities, "cannot compare two quantities"),
        (lambda: M.elements.isin(M.elements), "cannot compare two quantities"),
        (lambda: M.elements.has_all("Ti", M.n_elements), "cannot compare two quantities"),
        (lambda: M.elements.contains("Ti"), "is no method. A path has: between, has_all"),
        (lambda: (M.n_elements == 1) and M.elements.exists(), "Combine queries with & | ~"),
        (lambda: (M.n_elements == 1) or M.elements.exists(), "Combine queries with & | ~"),
        (lambda: not M.elements.exists(), "Combine queries with & | ~"),
        (lambda: 1 < M.n_elements < 3, r"\.between\(low, high\)"),
        (lambda: M.n_elements == 1 & Q.published, "in parentheses"),
        (lambda: M.n_elements | M.elements, "in parentheses"),
        (lambda: (M.n_elements == 1) & 5, "Put each comparison in parentheses"),
        (lambda: ~M.elements, r"~ takes a comparison"),
    ],
)
def test_protocol_holes_are_closed_with_the_right_spelling(
    misuse: Callable[[], object], message: str
) -> None:
    """What Python would do silently wrong raises, and says what to write."""
    with pytest.raises(TypeError, match=message):
        misuse()


def test_underscore_names_are_no_quantities() -> None:
    """So that notebooks, copy and pickle see that the special methods are not there."""
    for name in ("_repr_html_", "__len_hint__", "_ipython_canary_method_should_not_exist_"):
        with pytest.raises(AttributeError):
            getattr(Q.results, name)
    assert not hasattr(Q, "__array__")


def test_paths_and_queries_do_not_change() -> None:
    """Assigning is a mistake for comparing."""
    with pytest.raises(AttributeError, match=r"To compare write Q.results.a == 5"):
        Q.results.a = 5
    with pytest.raises(AttributeError):
        (M.n_elements == 1).criterion = None


def test_tab_completion_lists_what_the_catalogue_knows() -> None:
    """Short names at the root, children and methods further down; nothing for leaves but methods."""
    assert {"results", "run", "entry_id", "gap", "elements"} <= set(dir(Q))
    assert {"elements", "topology", "has_all", "exists"} <= set(dir(M))
    assert "between" in dir(Q.gap)
    assert "elements" not in dir(M.elements)
    assert ELEMENTS in Q._ipython_key_completions_()


def test_columns_are_not_compared() -> None:
    """Positions, filters and list rules are for columns."""
    for path in (Q.run[-1].calculation.energy, GAP[Q.type == "direct"].value, GAP.value.min()):
        with pytest.raises(NotExpressible, match="for columns"):
            _ = path > 0


# --- Query as a value


def test_queries_combine() -> None:
    """And binds closer; Query() is everything and adds nothing."""
    a, b, c = M.n_elements == 1, Q.program == "VASP", M.elements == "Ti"
    assert asked(a & b | c) == {"or": [{"and": [{N: 1}, {PROGRAM: "VASP"}]}, {ELEMENTS: "Ti"}]}
    assert Query() & a == a
    assert a & a == a
    assert ~~a == a


def test_equal_questions_are_equal_queries() -> None:
    """However they are spelled; with equal hashes; unlike ones differ, unknown names too."""
    one = (GAP.value >= "1 eV") & (M.n_elements == 1)
    other = (Q.n_elements == 1) & (Q.gap >= "1000 meV")
    assert one == other
    assert hash(one) == hash(other)
    assert {one: 1}[other] == 1
    assert one != (Q.n_elements == 1)
    assert (Q.no.such == 1) == (Q.no.such == 1)
    assert (Q.no.such == 1) != (Q.no.such == True)  # noqa: E712  # True is not 1
    assert (Q.no.such.between("9 K", "10 K")) != ~Query()
    assert one != "a query"


def test_queries_are_copied_and_pickled() -> None:
    """Also those of names that only a server knows."""
    for query in (M.n_elements == 1, Q.no.such == "x", within(GAP, Q.type == "direct"), optimade("a=1")):
        assert pickle.loads(pickle.dumps(query)) == query
        assert copy.deepcopy(query) == query


def test_from_url_reads_addresses_of_the_page_and_of_the_api() -> None:
    """Units as shown there; owner and paging are no part of the question."""
    base = "https://nomad-lab.eu/prod/v1"
    page = f"{base}/gui/search/entries?{ELEMENTS}=Ti&{ELEMENTS}=O&visibility=public"
    assert Query.from_url(page) == M.elements.has_all("Ti", "O")
    gap = "results.properties.electronic.band_gap"
    shown = Query.from_url(f"{base}/gui/search/entries?{gap}[value][gte]=1.5%20eV&{gap}[type]=direct")
    assert shown == within(GAP, Q.value >= "1.5 eV", Q.type == "direct")
    api = f"{base}/api/v1/entries?{N}__gte=3&{PROGRAM}=VASP&{PROGRAM}=exciting&page_size=5"
    assert Query.from_url(api) == (Q.n_elements >= 3) & Q.program.isin("VASP", "exciting")


@pytest.mark.parametrize("base", ["gui/search/entries?visibility=user&", "api/v1/entries?owner=user&"])
def test_from_url_warns_of_an_owner_that_a_query_does_not_hold(base: str) -> None:
    """Whose entries are meant is said where the query is put."""
    with pytest.warns(UserWarning, match=r"nomad\.entries\(query, owner='user'\)"):
        query = Query.from_url(f"https://nomad-lab.eu/prod/v1/{base}results.material.n_elements=2")
    assert query == (Q.n_elements == 2)


def test_from_url_knows_what_apps_add() -> None:
    """The solar cell page asks for solar cells, which its address does not show."""
    query = Query.from_url("https://nomad-lab.eu/prod/v1/gui/search/solarcells")
    assert query == (Q.sections == "nomad.datamodel.results.SolarCell")


def test_units_in_an_address_of_a_quantity_without_one() -> None:
    """The page shows none there either."""
    page = "https://nomad-lab.eu/prod/v1/gui/search/entries"
    with pytest.raises(UnitError, match="states no unit"):
        Query.from_url(f"{page}?results.properties.optoelectronic.solar_cell.fill_factor[gte]=70%20eV")


@pytest.mark.parametrize(
    "wrong",
    [
        "https://nomad-lab.eu/prod/v1/gui/search/entries?results.material.elementz=Ti",
        "https://nomad-lab.eu/prod/v1/api/v1/entries?results.material.elementz=Ti",
        "https://nomad-lab.eu/prod/v1/gui/entry/id/abc",
        "https://example.org/",
        "",
    ],
)
def test_other_addresses_are_refused(wrong: str) -> None:
    """With what can be pasted."""
    with pytest.raises(QueryError):
        Query.from_url(wrong)


@pytest.mark.parametrize("section", [Q.gap, "gap", GAP.value, GAP.type])
def test_within_a_quantity_names_its_section(section: Any) -> None:
    """At once, not when it is asked."""
    with pytest.raises(
        QueryError, match=r"no section; write within\('results.properties.electronic.band_gap', …\)"
    ):
        within(section, Q.value > "1 eV")


@pytest.mark.parametrize("address", [None, 5, b"https://x/gui/search/entries"])
def test_address_is_text(address: Any) -> None:
    """What else is given is shown."""
    with pytest.raises(QueryError, match=r"no address\. Give the text"):
        Query.from_url(address)


def test_combinations_that_are_too_deep_are_refused() -> None:
    """Alternating & and | nest; Python could not walk over the tree."""
    with pytest.raises(QueryError, match="more than 100 levels"):
        reduce(lambda q, i: (q & (Q.n_elements > i)) | (Q.n_elements < i), range(300), Q.n_elements == 1)


def test_rows_of_one_kind_are_one_level() -> None:
    """However long."""
    several = [Q.comment == f"word {i}" for i in range(600)]
    assert isinstance(reduce(lambda a, b: a | b, several).criterion, Or)
    assert len(reduce(lambda a, b: a & b, several).to_json()["and"]) == 600


def test_deepest_combination_works_everywhere() -> None:
    """100 levels can be asked, said, compared and read again."""
    query = reduce(lambda q, i: (q & (Q.n_elements > i)) | (Q.n_elements < i), range(50), Q.n_elements == 1)
    assert Query.from_json(query.to_json()) == query
    assert query.explain() and pickle.loads(pickle.dumps(query)) == query
    with pytest.raises(QueryError, match="more than 100 levels"):
        _ = ~query
