"""The independent reading of archive columns: by hand, and against the library on drawn archives."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomadquery.columns.extract import extract
from nomadquery.columns.plan import plan_column
from nomadquery.local.store import LocalStore
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from tests.archive_oracle import (
    EVERY,
    FACTORS,
    Reading,
    SeveralWithoutBrackets,
    Spec,
    evaluate,
    id_of_mainfile,
    target_of,
)
from tests.strategies import referring_archives, referring_columns
from tests.tables import CountedWire, a_document, a_search

CATALOGUE = catalogue_for("2.0.0")

CALCULATIONS: list[Any] = [
    {"step": 0, "energy": {"total": {"value": -1.5}}, "system_ref": "#/run/0/system/0"},
    {"step": 1, "energy": {"total": {"value": -2}}, "forces": [[0.5, 1.0], [-4.0, 2.0]]},
    {"step": 2, "dos": True, "system_ref": "/run/0/system/-1"},
    {"step": 3, "system_ref": "#/run/0/system/9"},
]
ONE: dict[str, Any] = {
    "metadata": {"upload_id": "u1"},
    "run": [
        {
            "calculation": CALCULATIONS,
            "system": [{"labels": ["H", "H"]}, {"labels": ["O"]}],
        },
        {"program": "VASP"},
    ],
    "workflow2": {
        "results": {
            "calculations_ref": ["#/run/0/calculation/1", "#/run/0/calculation/0"],
            "energies": [-1.5, -2.0],
            "last": "#/run/0/calculation/1/energy/total/value",
        }
    },
    "results": {
        "energies": "#/workflow2/results/energies",
        "chain": "#/results/energies",
        "self": "#/results/self",
    },
    "data": {
        "samples": [
            {"reference": "../upload/archive/TWO#/data"},
            {"reference": "../uploads/u1/archive/TWO#data"},
            {"reference": "../uploads/u9/archive/TWO#/data"},
            {"reference": "../upload/u1/raw/sub/a b.archive.yaml#/data"},
            {"reference": "../upload/u9/raw/sub/a b.archive.yaml#/data"},
            {"reference": "../upload/archive/mainfile/sub/a b.archive.yaml#/data"},
            {"reference": "../upload/archive/NOBODY#/data"},
            {"reference": "https://elsewhere.org/api#/data"},
        ]
    },
}
NAMED = id_of_mainfile("u1", "sub/a b.archive.yaml")
ARCHIVES: dict[str, dict[str, Any]] = {
    "ONE": ONE,
    "TWO": {"metadata": {"upload_id": "u1"}, "data": {"name": "two", "own": "#/data"}},
    NAMED: {"metadata": {"upload_id": "u1"}, "data": {"name": "three"}},
}
ENERGY = ("run", EVERY, "calculation", EVERY, "energy", "total", "value")


def has_early_step(item: dict[str, Any]) -> bool:
    return bool(item["step"] < 2)


@pytest.mark.parametrize(
    ("steps", "rule", "expected"),
    [
        (ENERGY, None, [[-1.5, -2, None, None], None]),
        (("run", -2, "calculation", EVERY, "energy", "total", "value"), None, [-1.5, -2, None, None]),
        (("run", 0, "calculation", -1, "energy", "total", "value"), None, None),
        (("run", 5, "calculation", EVERY, "step"), None, None),
        (("run", 0, "calculation", slice(1, 3), "step"), None, [1, 2]),
        (("run", 0, "calculation", slice(3, 1), "step"), None, []),
        (("run", 0, "calculation", has_early_step, "step"), None, [0, 1]),
        (("results", "nothing", "below"), None, None),
        (ENERGY, "first", -1.5),
        (ENERGY, "last", -2),
        (ENERGY, "min", -2),
        (ENERGY, "mean", -1.75),
        (ENERGY, "count", 2),
        (("run", 1, "calculation", EVERY, "step"), "count", 0),
        (("run", 1, "calculation", EVERY, "step"), "max", None),
        (("run", 0, "calculation", EVERY, "forces"), "max", 2.0),
        (("run", 0, "calculation", EVERY, "forces"), "last", [[0.5, 1.0], [-4.0, 2.0]]),
        (("run", 0, "calculation", EVERY, "forces"), "size", [None, 2, None, None]),
        (("run", 0, "calculation", 1, "forces", 0, 1), None, 1.0),
        (("run", 0, "calculation", 1, "forces", slice(0, 1)), None, [[0.5, 1.0]]),
        (("workflow2", "results", "energies"), "count", 1),
    ],
)
def test_steps_and_rules_mean_what_the_grammar_says(
    steps: tuple[Any, ...], rule: str | None, expected: Any
) -> None:
    """Expected by hand."""
    assert evaluate(Spec(steps, rule), "ONE", ARCHIVES) == Reading(expected)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (("workflow2", "results", "calculations_ref", EVERY, "step"), [1, 0]),
        (("workflow2", "results", "calculations_ref", -1, "step"), 0),
        (("workflow2", "results", "calculations_ref"), ["#/run/0/calculation/1", "#/run/0/calculation/0"]),
        (("run", 0, "calculation", slice(0, 3), "system_ref", "labels"), [["H", "H"], None, ["O"]]),
        (("run", 0, "calculation", 0, "system_ref"), "#/run/0/system/0"),
    ],
)
def test_references_within_an_entry_are_followed(steps: tuple[Any, ...], expected: Any) -> None:
    """Also from a list of them and by negative positions; at the end they are the text."""
    assert evaluate(Spec(steps), "ONE", ARCHIVES) == Reading(expected)


@pytest.mark.parametrize("leaf", ["energies", "chain"])
def test_a_reference_to_a_quantity_gives_its_values(leaf: str) -> None:
    """If the column says so; else the text."""
    steps = ("results", leaf)
    assert evaluate(Spec(steps, leads_to_values=True), "ONE", ARCHIVES).value == [-1.5, -2.0]
    assert evaluate(Spec(steps, "min", leads_to_values=True), "ONE", ARCHIVES).value == -2.0
    assert evaluate(Spec(steps), "ONE", ARCHIVES).value == ONE["results"][leaf]


def test_references_to_other_entries_name_them_in_several_ways() -> None:
    """By id, whatever the upload, and by mainfile of an upload; wrong ones give null and are told."""
    found = evaluate(Spec(("data", "samples", EVERY, "reference", "name")), "ONE", ARCHIVES)
    assert found.value == ["two", "two", "two", "three", None, "three", None, None]
    assert found.dangling == tuple(ONE["data"]["samples"][place]["reference"] for place in (4, 6, 7))


def test_a_reference_in_another_entry_is_relative_to_that_entry() -> None:
    """Its ``#/data`` is its own."""
    steps = ("data", "samples", 0, "reference", "own", "own", "name")
    assert evaluate(Spec(steps), "ONE", ARCHIVES) == Reading("two")


def test_of_a_quantity_with_attributes_the_value_is_read() -> None:
    """As NOMAD writes it when a schema gives attributes to a quantity; variable names stay as they are."""
    full = {"m_value": "v", "m_attributes": {"a": 0.0}}
    archives = {"E": {"data": {"q": {"q": full}, "x": {"foo": full}}}}
    assert evaluate(Spec(("data", "q")), "E", archives) == Reading("v")
    assert evaluate(Spec(("data", "x")), "E", archives) == Reading({"foo": full})


def test_what_may_not_be_read_is_not_there() -> None:
    """The archives are all that somebody may read."""
    found = evaluate(Spec(("data", "samples", 0, "reference", "name")), "ONE", {"ONE": ONE})
    assert found == Reading(None, ("../upload/archive/TWO#/data",))


def test_circles_and_missing_targets_lead_nowhere() -> None:
    """Null, and the reference is named."""
    circle = evaluate(Spec(("results", "self", "name")), "ONE", ARCHIVES)
    assert circle == Reading(None, ("#/results/self",))
    beyond = evaluate(Spec(("run", 0, "calculation", -1, "system_ref", "labels")), "ONE", ARCHIVES)
    assert beyond == Reading(None, ("#/run/0/system/9",))
    assert target_of("#/run/0/calculation/1/energy/total/value", "ONE", ARCHIVES) == (-2, "ONE")


def test_the_id_of_a_mainfile_is_nomads() -> None:
    """A recorded one of the sample data (upload ``RGa9F-94cvXX42wHj2uL6z``)."""
    found = id_of_mainfile("RGa9F-94cvXX42wHj2uL6z", "growth.archive.yaml")
    assert found == "ILe2TDEWskBc1IGhi5NcWRhhvdSY"


def test_units_are_converted_exactly() -> None:
    """-5.697771591896252e-14 J over 1.602176634e-19 J/eV, rounded once: -355626.93… eV."""
    factor = FACTORS["joule"]["eV"]
    archives = {"E": {"energy": [-5.697771591896252e-14, None, "text", True]}}
    exact = Fraction(-5.697771591896252e-14) / Fraction("1.602176634e-19")
    found = evaluate(Spec(("energy",), factor=factor), "E", archives).value
    assert found == [float(exact), None, "text", True]
    assert round(found[0], 2) == -355626.93


def test_a_list_without_brackets_is_refused() -> None:
    """The oracle never guesses; neither do brackets behind a single section."""
    with pytest.raises(SeveralWithoutBrackets, match="2 items"):
        evaluate(Spec(("run", "program")), "ONE", ARCHIVES)
    with pytest.raises(SeveralWithoutBrackets, match="brackets"):
        evaluate(Spec(("metadata", EVERY, "upload_id")), "ONE", ARCHIVES)


def test_joules_become_electronvolts_to_the_last_digit(tmp_path: Path) -> None:
    """-5.697771591896252e-14 J are -355626.93… eV: the double nearest to the exact quotient."""
    joules = -5.697771591896252e-14
    store = LocalStore()
    archive = {"run": [{"calculation": [{"energy": {"total": {"value": joules}}}]}]}
    store.add_entries([(a_document("e"), {"metadata": {"entry_id": "e"}, **archive})])
    energy = "run[-1].calculation.energy.total.value.last() in eV"
    frame = a_search(CountedWire(store), tmp_path).select(x=energy, y="energy").to_pandas()
    nearest = float(Fraction(joules) / Fraction("1.602176634e-19"))
    assert round(nearest, 2) == -355626.93
    assert frame["x"].tolist() == [nearest]
    assert frame["y"].tolist() == [nearest]


@settings(max_examples=40)
@given(referring_archives(), st.lists(referring_columns(), min_size=3, max_size=3))
def test_a_table_follows_references_into_other_entries_likewise(
    archives: dict[str, dict[str, Any]], columns: list[tuple[str, tuple[Any, ...], str | None]]
) -> None:
    """From the requests to the rows, on a deployment in this process; what leads nowhere is told."""
    store = LocalStore()
    store.add_entries((a_document(one, upload_id="u1"), archive) for one, archive in archives.items())
    asked = {f"c{place}": typed(text, rule) for place, (text, _, rule) in enumerate(columns)}
    with TemporaryDirectory() as folder:
        table = a_search(CountedWire(store), Path(folder)).select(**asked)
        rows = {row["entry_id"]: row for row in table.rows()}
        told = set(table.problems["entry_id"])
    read = {
        one: [evaluate(Spec(steps, rule), one, archives) for _, steps, rule in columns] for one in archives
    }
    assert {one: [row[name] for name in asked] for one, row in rows.items()} == {
        one: [reading.value for reading in readings] for one, readings in read.items()
    }
    assert told == {one for one, readings in read.items() if any(reading.dangling for reading in readings)}


def typed(text: str, rule: str | None) -> str:
    return f"{text}.{rule}()" if rule else text


@given(referring_archives(others=False), referring_columns())
def test_the_library_reads_columns_through_references_likewise(
    archives: dict[str, dict[str, Any]], column: tuple[str, tuple[Any, ...], str | None]
) -> None:
    """Within an archive: the same values, and something is noted where a reference led nowhere."""
    text, steps, rule = column
    path, rule_read, unit = read_column(typed(text, rule))
    planned = plan_column(Column("x", path, rule_read, unit), CATALOGUE)
    for entry_id, archive in archives.items():
        notes: list[str] = []
        expected = evaluate(Spec(steps, rule), entry_id, archives)
        assert extract(archive, planned, CATALOGUE, notes) == expected.value
        assert bool(notes) == bool(expected.dangling)
