"""Plain columns read by Arrow's own JSON reader say what `decode` says, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nomadquery.asking import chosen_columns
from nomadquery.columns.compiled import listed
from nomadquery.columns.decode import decode
from nomadquery.columns.plain import Plain, compiled_plain
from nomadquery.columns.plan import plan_columns
from nomadquery.query.catalogue import catalogue_for
from tests.strategies import changed_somewhere, column_documents

CATALOGUE = catalogue_for("2.0.0")
GAP = "results.properties.electronic.band_gap"
TEXTS = {
    "published": "published",
    "uploaded": "upload_create_time",
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


def encoded(documents: list[Any]) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


def named(documents: list[Any]) -> list[dict[str, Any]]:
    """Return the documents with ids; what is no object has nothing else."""
    return [
        {**(one if isinstance(one, dict) else {}), "entry_id": f"e{place}"}
        for place, one in enumerate(documents)
    ]


def assert_same(documents: list[dict[str, Any]]) -> bool:
    """Compare both ways; return whether Arrow's reader gave anything."""
    plain, columns = plain_of(TEXTS)
    assert plain is not None
    rows = plain.rows(encoded(documents))
    if rows is None:
        return False
    expected, problems = decode(listed(encoded(documents)), columns, CATALOGUE)
    assert problems == []
    assert rows.schema.equals(expected.schema, check_metadata=True)
    assert [repr(row) for row in rows.to_pylist()] == [repr(row) for row in expected.to_pylist()]
    rows.validate(full=True)
    return True


@settings(max_examples=300)
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


@given(st.lists(column_documents(), max_size=6))
def test_documents_as_the_schema_says_are_read(documents: list[Any]) -> None:
    """Else nothing would be gained."""
    plain, columns = plain_of(TEXTS)
    is_clean = not decode(listed(encoded(named(documents))), columns, CATALOGUE)[1]
    assert plain is not None
    assert assert_same(named(documents)) or not is_clean or _has_a_single_value_for_a_list(documents)


def _has_a_single_value_for_a_list(documents: list[Any]) -> bool:
    """`decode` takes 2.0 for an integer and a single value for a list; Arrow's reader leaves these to it."""
    text = json.dumps(documents)
    return '"elements": "' in text or ".0" in text or "NaN" in text or "Infinity" in text


@pytest.mark.parametrize(
    "text",
    [
        f"{GAP}[0].value",
        "run.program.name",
        "data.x",
        f'{GAP}[type == "direct"].value',
    ],
)
def test_other_paths_are_left_to_others(text: str) -> None:
    """Positions, filters, archives, custom schemas."""
    plain, _ = plain_of({"column": text})
    assert plain is None


def test_an_answer_in_several_lines_is_left_to_others() -> None:
    """Its lines would be taken for entries."""
    plain, _ = plain_of(TEXTS)
    assert plain is not None
    assert plain.rows([json.dumps({"entry_id": "a"}, indent=1).encode()]) is None
