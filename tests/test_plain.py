"""Plain columns, read by the compiled reader or by Arrow's, say what `decode` says, or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nomadquery.asking import chosen_columns
from nomadquery.columns.arrays import arrow_schema
from nomadquery.columns.compiled import listed
from nomadquery.columns.decode import decode, shelved
from nomadquery.columns.pins import Pinning, pins_of
from nomadquery.columns.plain import Plain, compiled_plain
from nomadquery.columns.plan import plan_columns
from nomadquery.columns.records import IS_COMPILED
from nomadquery.query.catalogue import catalogue_for
from tests.strategies import changed_somewhere, column_documents, run_archives

CATALOGUE = catalogue_for("2.0.0")
GAP = "results.properties.electronic.band_gap"
TEXTS = {
    "published": "published",
    "uploaded": "upload_create_time",
    "processed": "last_processing_time",
    "elements": "results.material.elements",
    "n_elements": "results.material.n_elements",
    "gaps": f"{GAP}.value in eV",
    "types": f"{GAP}.type",
    "least": f"{GAP}.value.min() in eV",
    "first": f"{GAP}.value.first()",
    "number": f"{GAP}.value.count()",
    "author": "main_author.name",
    "labels": "results.eln.lab_ids",
}


def plain_of(texts: dict[str, str]) -> tuple[Plain | None, Any]:
    columns, per = plan_columns(chosen_columns((), texts, None, CATALOGUE), CATALOGUE, None)
    return compiled_plain(columns, CATALOGUE, per), columns


def both(plain: Plain | None) -> list[Plain]:
    """Return a reader by way of Arrow, and one by the compiled module where there is one."""
    assert plain is not None
    ways = [False, True] if IS_COMPILED else [False]
    return [replace(plain, records=replace(plain.records, is_compiled=way)) for way in ways]


def rows_of(plain: Plain, body: bytes) -> pa.RecordBatch | None:
    read = plain.read(body)
    schema = arrow_schema(plain.columns)
    return None if read is None else pa.record_batch([read.ids, *read.arrays], schema=schema)


def answer(items: list[bytes]) -> bytes:
    return b'{"pagination":{"total":7},"data":[%b]}' % b",".join(items)


def encoded(documents: list[Any]) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


def named(documents: list[Any]) -> list[dict[str, Any]]:
    """Return the documents with ids; what is no object has nothing else."""
    return [
        {**(one if isinstance(one, dict) else {}), "entry_id": f"e{place}"}
        for place, one in enumerate(documents)
    ]


_PLAIN, _COLUMNS = plain_of(TEXTS)
_PLAINS = both(_PLAIN)


def assert_same(documents: list[dict[str, Any]]) -> bool:
    """Compare all ways; return whether every quick one gave something."""
    expected, problems = decode(listed(encoded(documents)), _COLUMNS, CATALOGUE)
    found = [rows_of(plain, answer(encoded(documents))) for plain in _PLAINS]
    for rows in found:
        assert rows is None or problems == []
        assert rows is None or is_same(rows, expected)
    return None not in found


def is_same(rows: Any, expected: Any) -> bool:
    rows.validate(full=True)
    assert rows.schema.equals(expected.schema, check_metadata=True)
    return [repr(row) for row in rows.to_pylist()] == [repr(row) for row in expected.to_pylist()]


@settings(max_examples=150)
@given(st.lists(column_documents().flatmap(changed_somewhere), max_size=6))
@example([{"results": None}, {"results": {"properties": {"electronic": {"band_gap": None}}}}])
@example([{"results": {"properties": {"electronic": {"band_gap": [None, {"value": 1}, {}]}}}}, {}])
@example([{"upload_create_time": "1969-12-31T23:59:59.999999+00:00"}])
@example([{"upload_create_time": "2024-02-30T00:00:00Z"}])
@example([{"results": {"material": {"n_elements": 2**63}}}])
@example([{"results": {"material": {"n_elements": 2.0}}}])
@example([{"results": {"material": {"elements": "Si"}}}])
@example([{"results": {"properties": {"electronic": {"band_gap": {"value": 1.0}}}}}])
@example([{"published": 1}])
@example([{"main_author": {"name": "\ud800"}}])
def test_whatever_stands_in_the_documents_it_says_the_same_or_nothing(documents: list[Any]) -> None:
    """Never a row that `decode` would not give, and never one that would have had a problem."""
    assert_same(named(documents))


ARCHIVED = {
    "energy": "run[-1].calculation.energy.total.value.last() in eV",
    "begun": "run.calculation.energy.total.value.first()",
    "energies": "run.calculation.energy.total.value in eV",
    "mean": "run[0].calculation.energy.total.value.mean() in eV",
    "forces": "run[-1].calculation.forces.total.value.last() in eV/angstrom",
    "all_forces": "run.calculation.forces.total.value",
    "second": "run[0].calculation[1].energy.total.value",
    "before": "run[0].calculation[-2].energy.total.value",
    "program": "run[0].program.name",
    "programs": "run.program.name",
    "steps": "run.calculation.energy.total.value.count()",
}


@settings(max_examples=150)
@given(st.lists(run_archives().flatmap(changed_somewhere), max_size=5))
def test_whatever_stands_in_archives_it_says_the_same_or_nothing(archives: list[Any]) -> None:
    """Positions, first and last, arrays, lists of lists."""
    columns, _ = plan_columns(chosen_columns((), ARCHIVED, None, CATALOGUE), CATALOGUE, None)
    contents = {f"e{n}": one if isinstance(one, dict) else {} for n, one in enumerate(archives)}
    documents = [{"entry_id": one} for one in contents]
    expected, problems = decode(documents, columns, CATALOGUE, archives=shelved(contents))
    body = answer(encoded([{"entry_id": one, "archive": own} for one, own in contents.items()]))
    for plain in both(compiled_plain(columns, CATALOGUE, source="archive")):
        rows = rows_of(plain, body)
        assert rows is None or problems == []
        assert rows is None or is_same(rows, expected)


def test_archives_as_the_schema_says_are_read() -> None:
    """Two runs, steps without a value, none at all."""
    columns, _ = plan_columns(chosen_columns((), ARCHIVED, None, CATALOGUE), CATALOGUE, None)
    steps = [{"energy": {"total": {"value": -n * 1e-18}}, "forces": FORCES} for n in (1, 2)]
    run = {"program": {"name": "VASP"}, "calculation": [*steps, {"energy": {}}]}
    body = answer(encoded([{"entry_id": "a", "archive": {"run": [{}, run]}}, {"entry_id": "b"}]))
    for plain in both(compiled_plain(columns, CATALOGUE, source="archive")):
        rows = rows_of(plain, body)
        assert rows is not None
        energies = rows.column("energy").to_pylist()
        assert energies == [pytest.approx(-2e-18 / 1.602176634e-19, rel=1e-12), None]
        assert rows.column("begun").to_pylist() == [-1e-18, None]
        assert rows.column("steps").to_pylist() == [2, 0]
        assert rows.column("programs").to_pylist() == [[None, "VASP"], None]
        assert len(rows.column("forces")[0]) == 2


FORCES = {"total": {"value": [[1e-10, 2e-10, 3e-10], [4e-10, 5e-10, 6e-10]]}}


def a_document(**more: Any) -> dict[str, Any]:
    gaps = [{"value": 1.6e-19, "type": "direct"}, {"value": 3.2e-19}, {"type": "indirect"}]
    return {
        "published": True,
        "upload_create_time": "2024-01-02T03:04:05.678900+00:00",
        "last_processing_time": "2024-01-02T03:04:05+00:00",
        "main_author": {"name": "Ada", "user_id": "x"},
        "results": {
            "material": {"elements": ["O", "Ti"], "n_elements": 2, "unknown": {"a": 1}},
            "properties": {"electronic": {"band_gap": gaps}},
            "eln": {"lab_ids": []},
        },
        **more,
    }


def test_documents_as_the_schema_says_are_read() -> None:
    """Else nothing would be gained: values, lists, items without a value, nothing at all, odd texts."""
    assert assert_same(
        named([a_document(), {}, a_document(results=None), a_document(main_author={"name": 'é"\n'})])
    )


@pytest.mark.parametrize(
    "text",
    [
        f"{GAP}[0:2].value",
        "data.x",
        f'{GAP}[type == "direct"].value',
    ],
)
def test_other_paths_are_left_to_others(text: str) -> None:
    """Slices, filters, custom schemas."""
    plain, _ = plain_of({"column": text})
    assert plain is None


def test_an_answer_in_several_lines_gives_one_row_for_each_entry() -> None:
    """Its lines are not taken for entries."""
    body = json.dumps({"data": [{"entry_id": "a"}, {"entry_id": "b"}]}, indent=1).encode()
    for plain in _PLAINS:
        rows = rows_of(plain, body)
        assert rows is None or rows.column(0).to_pylist() == ["a", "b"]


edits = st.fixed_dictionaries(
    {},
    optional={
        "last_processing_time": st.none() | st.just("2024-01-02T03:04:05+00:00"),
        "last_edit_time": st.none() | st.text(max_size=3),
        "published": st.none() | st.booleans(),
        "comment": st.none() | st.text(max_size=5),
        "main_author": st.none() | st.fixed_dictionaries({"name": st.text(max_size=4)}),
        "datasets": st.lists(st.fixed_dictionaries({"dataset_name": st.text(max_size=3)}), max_size=2),
    },
)


@settings(max_examples=100)
@given(st.lists(edits, max_size=4), st.booleans())
def test_pins_of_a_page_are_those_of_its_entries(documents: list[Any], is_edited: bool) -> None:
    """However the page was read, an entry has the same digest: locks go from machine to machine."""
    items = encoded(named(documents))
    names = ("comment", "main_author", "published") if is_edited else ()
    columns, _ = plan_columns(
        chosen_columns((), {"author": "main_author.name"}, None, CATALOGUE), CATALOGUE, None
    )
    pinning = Pinning(names)
    expected = pins_of(pinning.listed(items)).to_pylist()
    for plain in both(compiled_plain(columns, CATALOGUE, texts=names)):
        read = plain.read(answer(items))
        assert read is not None
        assert pinning.of_page(read).to_pylist() == expected
        assert read.pagination == b'{"total":7}'
