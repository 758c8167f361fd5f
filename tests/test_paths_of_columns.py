"""What a path reaches: positions, filters, list levels and rules, on documents and archives."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given

from nomadquery.columns.extract import extract
from nomadquery.columns.plan import plan_column
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from nomadquery.query.quantity import Q, QuantityPath, column_of, within
from tests.strategies import run_archives, run_columns

CATALOGUE = catalogue_for("2.0.0")
GAP = Q.results.properties.electronic.band_gap


def value_of(path: str | QuantityPath, document: dict[str, Any], notes: list[str] | None = None) -> Any:
    """Return what a typed column gives for one document."""
    if isinstance(path, str):
        where, rule, unit = read_column(path)
        column = Column("x", where, rule, unit)
    else:
        column = column_of(path, "x")
    return extract(document, plan_column(column, CATALOGUE), CATALOGUE, notes)


# -- an independent reading of the grammar, on runs and calculations -------------------------


def chosen(items: list[Any] | None, bracket: str) -> Any:
    """Return what a bracket takes of a list: one item, or several as a list."""
    if items is None or bracket == "":
        return items
    if step := re.fullmatch(r"\[step >= (\d)\]", bracket):
        return [item for item in items if item and item.get("step", -1) >= int(step[1])]
    if ":" in bracket:
        start, stop = (int(bound) if bound else None for bound in bracket[1:-1].split(":"))
        return items[start:stop]
    place = int(bracket[1:-1])
    return items[place] if -len(items) <= place < len(items) else None


def leaf_of(calculation: dict[str, Any] | None, kind: str) -> Any:
    return ((calculation or {}).get(kind) or {"total": {}})["total"].get("value")


def expected(archive: dict[str, Any], of_run: str, of_calculation: str, path: str, rule: str) -> Any:
    kind = path.partition(".")[0]

    def in_run(run: dict[str, Any] | None) -> Any:
        found = chosen((run or {}).get("calculation"), of_calculation)
        return [leaf_of(one, kind) for one in found] if isinstance(found, list) else leaf_of(found, kind)

    runs = chosen(archive.get("run"), of_run)
    found = [in_run(run) for run in runs] if isinstance(runs, list) else in_run(runs)
    n_levels = sum(not re.fullmatch(r"\[-?\d\]", bracket) for bracket in (of_run, of_calculation))
    items = [found]
    for _ in range(n_levels):
        items = [inner for item in items if item is not None for inner in item]
    present = [item for item in items if item is not None]
    numbers = list(flat(present))
    match rule:
        case "":
            return found
        case ".first()":
            return present[0] if present else None
        case ".last()":
            return present[-1] if present else None
        case ".count()":
            return len(present)
        case ".size()":
            return sizes(found, n_levels)
        case ".mean()":
            return sum(numbers) / len(numbers) if numbers else None
        case _:
            return {".min()": min, ".max()": max}[rule](numbers) if numbers else None


def flat(value: Any) -> Any:
    if not isinstance(value, list):
        yield value
        return
    for item in value:
        yield from flat(item)


def sizes(value: Any, level: int) -> Any:
    if value is None:
        return None
    return [sizes(item, level - 1) for item in value] if level else len(value)


@given(run_archives(), run_columns())
@example({"run": [{"calculation": [None, {"step": 2}]}]}, ("[0]", "[step >= 1]", "energy.total.value", ""))
@example({"run": [{}]}, ("", "[-1]", "forces.total.value", ".size()"))
def test_paths_and_rules_mean_what_the_grammar_says(
    archive: dict[str, Any], column: tuple[str, str, str, str]
) -> None:
    """Lists, positions, slices, filters and rules agree with an independent reading."""
    of_run, of_calculation, path, rule = column
    text = f"run{of_run}.calculation{of_calculation}.{path}{rule}"
    assert value_of(text, archive) == expected(archive, *column)


# -- by example --------------------------------------------------------------------------

GAPS = {
    "results": {
        "properties": {
            "electronic": {
                "band_gap": [
                    {"value": 3.0, "type": "direct", "provenance": {"label": "dos"}},
                    {"type": "direct", "provenance": {"label": "band_structure"}},
                    {"value": 2.0, "type": "direct", "provenance": {"label": "band_structure"}},
                    {"value": 1.0, "type": "indirect", "provenance": {"label": "band_structure"}},
                ]
            }
        }
    }
}


def test_items_without_the_value_stay_as_null_so_that_siblings_align() -> None:
    """The second gap has a type and no value."""
    assert value_of(GAP.value, GAPS) == [3.0, None, 2.0, 1.0]
    assert value_of(GAP.type, GAPS) == ["direct", "direct", "direct", "indirect"]


def test_a_filter_takes_the_items_that_match() -> None:
    """Names in it are relative to the section, as Q and as text."""
    labelled = GAP[Q.provenance.label == "band_structure"]
    assert value_of(labelled.value, GAPS) == [None, 2.0, 1.0]
    text = 'results.properties.electronic.band_gap[provenance.label == "band_structure"].value.min()'
    assert value_of(text, GAPS) == 1.0


def test_matching_takes_the_items_that_a_within_asks_for() -> None:
    """One and the same item satisfies all of its criteria; the unit is the stored one."""
    window = within(GAP, Q.type == "direct", Q.value.between("1.5 J", "2.5 J"))
    assert value_of(GAP.matching(window).value, GAPS) == [2.0]
    assert value_of(GAP[window].value.first(), GAPS) == 2.0


def test_first_and_last_pass_over_items_without_a_value() -> None:
    """They are items that have a value."""
    direct = GAP[Q.type == "direct"]
    assert value_of(direct[1:].value.first(), GAPS) == 2.0
    assert value_of(direct[:2].value.last(), GAPS) == 3.0


@pytest.mark.parametrize(("bracket", "value"), [(0, 3.0), (-1, 1.0), (1, None), (7, None), (-7, None)])
def test_a_position_is_that_of_the_list(bracket: int, value: float | None) -> None:
    """Negative ones count from the end; one that is not there gives a null."""
    assert value_of(GAP[bracket].value, GAPS) == value


def test_a_filter_then_a_position_takes_one_of_the_matching_items() -> None:
    """Brackets are read from left to right."""
    assert value_of(GAP[Q.type == "direct"][-1].value, GAPS) == 2.0


def test_a_position_then_a_filter_takes_the_item_if_it_matches() -> None:
    """And no list of it."""
    assert value_of(GAP[0][Q.type == "direct"].value, GAPS) == 3.0
    assert value_of(GAP[3][Q.type == "direct"].value, GAPS) is None


def test_positions_behind_an_array_take_its_elements() -> None:
    """Row, then component."""
    archive = {"run": [{"system": [{"atoms": {"positions": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]}}]}]}
    assert value_of("run[0].system[0].atoms.positions[1]", archive) == [3.0, 4.0, 5.0]
    assert value_of("run[0].system[0].atoms.positions[1][2]", archive) == 5.0
    assert value_of("run[0].system[0].atoms.positions[-1:]", archive) == [[3.0, 4.0, 5.0]]


def test_numbers_of_sections_and_arrays_alike_are_summarised() -> None:
    """The largest component of any force of any calculation."""
    forces = [[[1.0, -9.0]], [[4.0, 2.0]]]
    archive = {"run": [{"calculation": [{"forces": {"total": {"value": f}}} for f in forces]}]}
    assert value_of("run.calculation.forces.total.value.max()", archive) == 4.0
    assert value_of("run.calculation.forces.total.value.mean()", archive) == -0.5


def test_what_is_no_number_is_left_out_of_a_summary() -> None:
    """NaN, which some codes leave behind, makes no result depend on the order."""
    items = [{"energy": {"total": {"value": value}}} for value in (float("nan"), 2.0, None)]
    assert value_of("run.calculation.energy.total.value.min()", {"run": [{"calculation": items}]}) == 2.0


def test_a_single_section_in_place_of_a_list_is_a_list_of_one() -> None:
    """Repeating by the schema, written without the list by some parsers."""
    assert value_of("run.program.name", {"run": {"program": {"name": "VASP"}}}) == ["VASP"]


def test_a_list_in_place_of_a_single_section_is_told() -> None:
    """One item is that section; several cannot be told apart."""
    notes: list[str] = []
    one = {"run": [{"calculation": [{"energy": [{"total": {"value": 1.0}}]}]}]}
    assert value_of("run[0].calculation[0].energy.total.value", one, notes) == 1.0
    assert notes == []
    two = {"run": [{"calculation": [{"energy": [{"total": {"value": 1.0}}, {}]}]}]}
    assert value_of("run[0].calculation[0].energy.total.value", two, notes) is None
    assert notes == ["run.calculation.energy occurs 2 times here, once in the schema"]


@pytest.mark.parametrize("reference", ["/run/0/system/1", "#/run/0/system/1"])
def test_a_reference_within_the_archive_is_followed(reference: str) -> None:
    """To the system of the calculation, not to the one at the same position."""
    systems = [{"atoms": {"labels": ["H"]}}, {"atoms": {"labels": ["Ti", "O"]}}]
    archive = {"run": [{"calculation": [{"system_ref": reference}], "system": systems}]}
    assert value_of("run.calculation.system_ref.atoms.labels.size()", archive) == [[2]]


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("../uploads/u/archive/e#/run/0/system/0", "it was not resolved"),
        ("/run/0/system/9", "there is nothing at its target"),
        ("https://a.b/api#/run/0", "it leads to another deployment"),
    ],
)
def test_a_reference_that_cannot_be_followed_is_told(reference: str, why: str) -> None:
    """A null that may not be one never stands there in silence."""
    notes: list[str] = []
    archive = {"run": [{"calculation": [{"system_ref": reference}, {}]}]}
    assert value_of("run[0].calculation.system_ref.atoms.labels.size()", archive, notes) == [None, None]
    assert notes == [f"the reference {reference!r} leads nowhere: {why}"]


def test_references_in_a_circle_end() -> None:
    """Nothing is at their end."""
    archive = {"run": [{"calculation": [{"system_ref": "/run/0/calculation/0/system_ref"}]}]}
    assert value_of("run[0].calculation[0].system_ref.atoms.labels.size()", archive) is None


def test_a_resolved_reference_is_read_in_place() -> None:
    """As the server gives it with resolve-inplace."""
    archive = {"run": [{"calculation": [{"system_ref": {"atoms": {"labels": ["Ti"]}}}]}]}
    assert value_of("run.calculation.system_ref.atoms.labels", archive) == [[["Ti"]]]


def test_custom_paths_take_lists_as_they_come() -> None:
    """Only the data know which sections of a custom schema repeat."""
    document = {"data": {"layers": [{"t": 1.5, "name": "a"}, {"t": 2.5, "name": "b"}, {}], "name": "x"}}
    assert value_of("data.layers.t", document) == [1.5, 2.5, None]
    assert value_of("data.layers[-2].t", document) == 2.5
    assert value_of(Q.data.layers[Q.name == "b"].t, document) == [2.5]
    assert value_of("data.layers.t.max()", document) == 2.5
    assert value_of("data.name", document) == "x"
