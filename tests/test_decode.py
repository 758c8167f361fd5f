"""Documents become Arrow rows: declared types, units, and a line for each value that does not fit."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nomadquery.columns.arrays import arrow_schema
from nomadquery.columns.decode import decode, read_documents, shelved
from nomadquery.columns.plan import plan_column, plan_columns, plan_per
from nomadquery.columns.planned import PlannedColumn
from nomadquery.columns.settle import cell_of
from nomadquery.errors import ResponseFormatError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from tests.strategies import column_documents

CATALOGUE = catalogue_for("2.0.0")
EV = 1.602176634e-19  # joule; SI 2019


def planned(**paths: str) -> list[PlannedColumn]:
    """Return columns by their names in the table."""
    columns = []
    for name, path in paths.items():
        where, rule, unit = read_column(path)
        columns.append(plan_column(Column(name, where, rule, unit), CATALOGUE))
    return columns


ALL_KINDS = planned(
    formula="formula",
    elements="elements",
    n_elements="n_elements",
    published="published",
    uploaded="uploaded",
    gaps="results.properties.electronic.band_gap.value in eV",
    custom="data.x",
)


def rows_of(documents: list[dict[str, Any]], columns: list[PlannedColumn]) -> list[dict[str, Any]]:
    batch, _ = decode(documents, columns, CATALOGUE)
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows


@given(st.lists(column_documents(), max_size=12), st.data())
@example(
    [{"entry_id": "a", "n_elements": 2.5}, {"entry_id": "b", "results": {"material": {"n_elements": 1.0}}}],
    None,
)
def test_decoding_page_by_page_equals_decoding_the_whole(
    documents: list[dict[str, Any]], data: st.DataObject | None
) -> None:
    """No value depends on what else stands in its page, however wrong that is."""
    cut = 1 if data is None else data.draw(st.integers(0, len(documents)))
    whole, problems = decode(documents, ALL_KINDS, CATALOGUE)
    first, lacking = decode(documents[:cut], ALL_KINDS, CATALOGUE)
    second, lacking_too = decode(documents[cut:], ALL_KINDS, CATALOGUE)
    assert pa.Table.from_batches([first, second]).to_pylist() == whole.to_pylist()
    assert sorted(map(str, [*lacking, *lacking_too])) == sorted(map(str, problems))
    assert whole.schema == arrow_schema(ALL_KINDS)


@given(column_documents())
def test_every_value_arrives_exactly_or_is_told(document: dict[str, Any]) -> None:
    """Never cut, never taken for another type: what does not fit is null and stands in problems."""
    batch, problems = decode([document], ALL_KINDS, CATALOGUE)
    (row,) = batch.to_pylist()
    material = document.get("results", {}).get("material", {})
    told = {problem.path for problem in problems}
    for name, path, given_value in (
        ("n_elements", "results.material.n_elements", material.get("n_elements")),
        ("formula", "results.material.chemical_formula_reduced", material.get("chemical_formula_reduced")),
        ("published", "published", document.get("published")),
    ):
        if path in told:
            assert row[name] is None
        else:
            assert row[name] == given_value
            assert isinstance(row[name], bool) == isinstance(given_value, bool)


@pytest.mark.parametrize("wrong", [True, "1", [1.0], {}])
@pytest.mark.parametrize("n_before", [0, 1, 20])
def test_a_number_is_a_number_whatever_stands_beside_it(wrong: Any, n_before: int) -> None:
    """Arrow alone takes true among numbers for 1.0."""
    archives = {
        f"{n}": {"run": [{"calculation": [{"energy": {"total": {"value": value}}}]}]}
        for n, value in enumerate([*[1.5] * n_before, wrong, 2, 2.5])
    }
    columns = planned(e="run[0].calculation[0].energy.total.value", es="run.calculation.energy.total.value")
    batch, problems = decode(
        [{"entry_id": n} for n in archives], columns, CATALOGUE, archives=shelved(archives)
    )
    assert batch.column("e").to_pylist() == [*[1.5] * n_before, None, 2.0, 2.5]
    assert batch.column("es").to_pylist() == [*[[[1.5]]] * n_before, None, [[2.0]], [[2.5]]]
    assert [problem.entry_id for problem in problems] == [f"{n_before}"] * 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2, 2), (2.0, 2), (None, None), (2.5, None), (True, None), ("2", None), (2**70, None), ([2], None)],
)
def test_an_integer_is_an_integer(value: Any, expected: int | None) -> None:
    """Whole floats are; truth values, texts, fractions and what no 64 bits hold are told."""
    document = {"entry_id": "a", "results": {"material": {"n_elements": value}}}
    batch, problems = decode([document, {"entry_id": "b"}], planned(n="n_elements"), CATALOGUE)
    assert batch.column("n").to_pylist() == [expected, None]
    assert [problem.entry_id for problem in problems] == (
        ["a"] if value is not expected and value != expected else []
    )


def test_a_wrong_value_costs_only_itself() -> None:
    """The rest of the page keeps its values."""
    column = planned(e="run[0].calculation[0].energy.total.value in eV")
    archives: dict[str, dict[str, Any]] = {
        "a": {"run": [{"calculation": [{"energy": {"total": {"value": "much"}}}]}]},
        "b": {"run": [{"calculation": [{"energy": {"total": {"value": 2 * EV}}}]}]},
        "c": {"run": [{"calculation": [{"energy": {"total": {"value": True}}}]}]},
    }
    documents = [{"entry_id": one} for one in archives]
    batch, problems = decode(documents, column, CATALOGUE, archives=shelved(archives))
    assert batch.column("e").to_pylist() == [None, pytest.approx(2.0, rel=1e-12), None]
    assert [(problem.entry_id, problem.path) for problem in problems] == [
        ("a", "run.calculation.energy.total.value"),
        ("c", "run.calculation.energy.total.value"),
    ]


def test_numbers_come_in_the_unit_of_the_column_at_any_depth() -> None:
    """Joule to electronvolt, newton to eV/Å; nulls and shapes stay."""
    columns = planned(
        gaps="results.properties.electronic.band_gap.value in eV",
        forces="run.calculation.forces.total.value in eV/angstrom",
    )
    gaps = [{"value": 3 * EV}, {"type": "direct"}]
    force = [[0.0, EV / 1e-10, -2 * EV / 1e-10]]
    document = {"entry_id": "a", "results": {"properties": {"electronic": {"band_gap": gaps}}}}
    archive = {"run": [{"calculation": [{"forces": {"total": {"value": force}}}, {}]}]}
    batch, problems = decode([document], columns, CATALOGUE, archives=shelved({"a": archive}))
    (row,) = batch.to_pylist()
    assert problems == []
    assert row["gaps"] == [pytest.approx(3.0, rel=1e-12), None]
    assert row["forces"] == [[[pytest.approx([0.0, 1.0, -2.0], rel=1e-12)], None]]
    assert batch.schema.field("gaps").metadata[b"unit"] == b"eV"
    assert batch.schema.field("forces").metadata[b"array"] == b"2"


def test_times_are_instants_in_utc_to_the_millisecond() -> None:
    """With an offset, without one, with microseconds."""
    texts = ["2024-01-02T03:04:05.123456+02:00", "2024-01-02T03:04:05", "not a time", 5]
    documents = [{"entry_id": str(i), "upload_create_time": text} for i, text in enumerate(texts)]
    batch, problems = decode(documents, planned(t="uploaded"), CATALOGUE)
    assert batch.column("t").to_pylist() == [
        datetime(2024, 1, 2, 1, 4, 5, 123000, tzinfo=UTC),
        datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        None,
        None,
    ]
    assert [problem.entry_id for problem in problems] == ["2", "3"]


def test_one_value_in_place_of_a_list_is_a_list_of_one() -> None:
    """The index gives the single value of a list quantity bare."""
    rows = rows_of([{"entry_id": "a", "results": {"material": {"elements": "Ti"}}}], planned(e="elements"))
    assert rows[0]["e"] == ["Ti"]


def test_entries_without_an_archive_have_nulls_and_no_items() -> None:
    """A count of nothing is zero, everything else null."""
    columns = planned(e="energy", n="run.calculation.energy.total.value.count()")
    batch, problems = decode([{"entry_id": "a"}], columns, CATALOGUE, archives=shelved({}))
    assert batch.to_pylist() == [{"entry_id": "a", "e": None, "n": 0}]
    assert problems == []


def test_not_a_number_stays_one() -> None:
    """Python's JSON writes it; some codes leave it behind."""
    (document,) = read_documents([b'{"entry_id": "a", "results": {"material": {"n_elements": NaN}}}'])
    assert math.isnan(document["results"]["material"]["n_elements"])
    batch, problems = decode([document], planned(n="n_elements"), CATALOGUE)
    assert batch.column("n").to_pylist() == [None]
    assert len(problems) == 1


def test_a_column_of_a_class_reads_entries_of_that_class_and_below() -> None:
    """The index tells the class of an entry's data and its base classes."""

    def entry(name: str, stored: str, bases: list[str]) -> dict[str, Any]:
        first = {"1": {"path": "data", "definitions": [stored, *bases]}}
        known = [{"id": f"data.other#{stored}", "segments": first}]
        return {"entry_id": name, "data": {"x": name}, "search_quantities": known}

    documents = [
        entry("a", "my.Class", []),
        entry("b", "my.Below", ["my.Class"]),
        entry("c", "other.Class", []),
    ]
    rows = rows_of(documents, planned(x="data.x#my.Class"))
    assert [row["x"] and cell_of(row["x"])[0] for row in rows] == ["a", "b", None]


@pytest.mark.parametrize("item", [b"[]", b'{"entry_id": 5}', b'{"x": 1}', b"null"])
def test_an_entry_without_its_id_is_refused(item: bytes) -> None:
    """Its row could not be named."""
    with pytest.raises(ResponseFormatError, match="entry_id"):
        read_documents([item])


@pytest.mark.parametrize("system", [True, 3, "x", {"atoms": {"labels": ["Ti"]}}])
def test_a_frame_without_a_reference_finds_no_structure_where_none_stands(system: Any) -> None:
    """A wrong value in place of the run's systems is no system; a single object is the only one."""
    path, rule, unit = read_column("run.calculation.system_ref.atoms.labels")
    per = plan_per(read_column("run.calculation")[0], CATALOGUE)
    columns, per_section = plan_columns([Column("labels", path, rule, unit)], CATALOGUE, per)
    archive = {"run": [{"calculation": [{"energy": {}}], "system": system}]}
    batch, problems = decode(
        [{"entry_id": "a"}], columns, CATALOGUE, archives=shelved({"a": archive}), per=per_section
    )
    is_there = isinstance(system, dict)
    assert batch.column("labels").to_pylist() == [["Ti"] if is_there else None]
    assert [problem.entry_id for problem in problems] == ([] if is_there else ["a"])
