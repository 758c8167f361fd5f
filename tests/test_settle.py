"""Columns of custom schemas take the type that holds all their values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.columns.settle import cell, observe, settled_batch, settled_schema, widening
from tests.strategies import json_values

SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.string(), nullable=False),
        pa.field("x", pa.string(), metadata={"json": "1"}),
    ]
)


def settled(*pages: list[Any]) -> pa.Table:
    """Return the table that pages of values make."""
    batches = []
    for page in pages:
        texts = [cell(value, "eV") for value in page]
        ids = pa.array([str(number) for number in range(len(page))], pa.string())
        batches.append(pa.record_batch([ids, pa.array(texts, pa.string())], schema=SCHEMA))
    shapes = observe(batches, SCHEMA)
    schema = settled_schema(SCHEMA, shapes)
    return pa.Table.from_batches([settled_batch(batch, schema, shapes) for batch in batches], schema)


@pytest.mark.parametrize(
    ("values", "kind", "kept"),
    [
        ([1, 2, None], pa.int64(), [1, 2, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**70, 1], pa.float64(), [float(2**70), 1.0]),
        ([True, None], pa.bool_(), [True, None]),
        (["a", "b"], pa.string(), ["a", "b"]),
        ([None, None], pa.string(), [None, None]),
        ([[1, 2], 3], pa.list_(pa.int64()), [[1, 2], [3]]),
        ([[[1]], [2]], pa.list_(pa.list_(pa.int64())), [[[1]], [[2]]]),
        ([[None, 1.5]], pa.list_(pa.float64()), [[None, 1.5]]),
        ([{"a": 1}], pa.string(), ['{"a": 1}']),
        (
            ["2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05.5+01:00"],
            pa.timestamp("ms", tz="UTC"),
            [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2024, 1, 2, 2, 4, 5, 500_000, tzinfo=UTC)],
        ),
        (["2024-01-02T03:04:05+00:00", "soon"], pa.string(), ["2024-01-02T03:04:05+00:00", "soon"]),
        (["2024-01-02"], pa.string(), ["2024-01-02"]),
    ],
)
def test_the_type_fits_all_values(values: list[Any], kind: pa.DataType, kept: list[Any]) -> None:
    """Whichever page they stand in; the unit stays in the metadata."""
    for pages in ([values], [[value] for value in values]):
        table = settled(*pages)
        assert table.schema.field("x").type == kind
        is_numeric = (
            kind in {pa.int64(), pa.float64()} or pa.types.is_list(kind) or isinstance(values[0], dict)
        )
        assert table.schema.field("x").metadata.get(b"unit") == (b"eV" if is_numeric else None)
        assert table["x"].to_pylist() == kept


def test_values_of_several_types_become_text_and_say_so() -> None:
    """True and 1 are not one thing."""
    table = settled([True, 1, "a", {"b": None}])
    assert table["x"].to_pylist() == ["true", "1", "a", '{"b": null}']
    assert table.schema.field("x").metadata[b"widened"] == b"boolean, integer, object, text"


@given(st.lists(json_values(), max_size=6), st.integers(0, 6))
def test_where_a_page_ends_changes_nothing(values: list[Any], cut: int) -> None:
    """The type is found when all rows are there."""
    assert settled(values[:cut], values[cut:])["x"].to_pylist() == settled(values)["x"].to_pylist()


def test_a_list_of_sections_and_a_single_one_agree_on_what_is_the_array() -> None:
    """One array in one section of a list is not a list of sections with one number each."""
    cells = [cell([[1, 2, 3]], None, 1), cell([1, 2, 3], None), cell([None], None)]
    ids = pa.array(["0", "1", "2"], pa.string())
    batch = pa.record_batch([ids, pa.array(cells, pa.string())], schema=SCHEMA)
    shapes = observe([batch], SCHEMA)
    whole = settled_batch(batch, settled_schema(SCHEMA, shapes), shapes)
    assert whole.column("x").to_pylist() == [[[1, 2, 3]], [[1, 2, 3]], [None]]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (10**400, "1" + "0" * 400),
        ("\ud800", "\\ud800"),
        ("9999-12-31T23:59:59-10:00", "9999-12-31T23:59:59-10:00"),
    ],
)
def test_what_no_type_of_arrow_holds_is_kept_as_text(value: Any, kept: str) -> None:
    """It must not break a table that is nearly finished."""
    assert settled([value])["x"].to_pylist() == [kept]


def test_a_unit_of_what_is_no_number_is_told() -> None:
    """It means nothing there."""
    schema = pa.schema([SCHEMA.field(0), SCHEMA.field(1).with_metadata({"json": "1", "unit": "eV"})])
    batch = pa.record_batch(
        [pa.array(["0"], pa.string()), pa.array([cell("a", None)], pa.string())], schema=schema
    )
    assert [why for *_, why in widening(observe([batch], schema))] == [
        "holds text, which has no unit; eV means nothing here"
    ]
