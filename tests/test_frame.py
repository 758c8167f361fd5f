"""From Arrow to pandas: dtypes, arrays of their full shape, units."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery import concat, ureg
from nomadquery.columns.frame import to_pandas, units_of
from nomadquery.errors import QueryError, UnitError
from nomadquery.frames import register_accessor
from tests.strategies import nested_cells

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def a_table(**columns: tuple[list[Any], pa.DataType, dict[str, str]]) -> pa.Table:
    fields = [pa.field(name, kind, metadata=metadata) for name, (_, kind, metadata) in columns.items()]
    arrays = [pa.array(values, kind) for values, kind, _ in columns.values()]
    return pa.table(arrays, schema=pa.schema(fields))


TABLE = a_table(
    entry_id=(["a", "b", "c"], pa.string(), {}),
    gap=([1.5, None, 0.0], pa.float64(), {"unit": "eV"}),
    n=([2, None, 3], pa.int64(), {}),
    published=([True, None, False], pa.bool_(), {}),
    formula=(["TiO2", None, ""], pa.string(), {}),
    uploaded=([NOON, None, NOON], pa.timestamp("ms", tz="UTC"), {}),
    elements=([["Ti", "O"], None, []], pa.list_(pa.string()), {}),
    gaps=([[1.0, None], None, []], pa.list_(pa.float64()), {"unit": "eV"}),
    positions=(
        [[[0.0, 0.0, 0.0]], None, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]],
        pa.list_(pa.list_(pa.float64())),
        {"unit": "angstrom", "array": "2"},
    ),
    frames=([[[1.0, 2.0], None], None, []], pa.list_(pa.list_(pa.float64())), {"array": "1"}),
    indices=([[1, 2], None, [3, None]], pa.list_(pa.int64()), {"array": "1"}),
    ragged=([[[1.0], [2.0, 3.0]], None, None], pa.list_(pa.list_(pa.float64())), {"array": "2"}),
)


def test_dtypes_are_those_of_the_contract() -> None:
    """Nullable integers and truth values, strings, UTC times, objects for lists."""
    dtypes = {name: str(dtype) for name, dtype in to_pandas(TABLE, {}).dtypes.items()}
    assert dtypes == {
        "entry_id": "string",
        "gap": "float64",
        "n": "Int64",
        "published": "boolean",
        "formula": "string",
        "uploaded": "datetime64[ms, UTC]",
        **dict.fromkeys(["elements", "gaps", "positions", "frames", "indices", "ragged"], "object"),
    }


def test_an_empty_table_has_the_same_dtypes() -> None:
    """Whoever concatenates it meets no surprise."""
    assert to_pandas(TABLE.slice(0, 0), {}).dtypes.equals(to_pandas(TABLE, {}).dtypes)


def test_missing_values_are_missing() -> None:
    """And an empty text, zero and an empty list are values."""
    frame = to_pandas(TABLE, {})
    scalar = ["gap", "n", "published", "formula", "uploaded"]
    assert frame[scalar].isna().to_numpy().tolist() == [[False] * 5, [True] * 5, [False] * 5]
    assert frame["elements"].tolist() == [["Ti", "O"], None, []]


def test_an_array_quantity_is_an_array_of_its_full_shape() -> None:
    """Atoms by three; integers stay integers unless one is missing; ragged ones stay lists."""
    frame = to_pandas(TABLE, {})
    positions = frame["positions"]
    assert [None if cell is None else cell.shape for cell in positions] == [(1, 3), None, (2, 3)]
    assert positions[2].dtype == np.float64
    assert positions[2][1, 2] == 6.0
    assert (frame["indices"][0].dtype, frame["indices"][2].dtype) == (np.int64, np.float64)
    assert frame["ragged"][0] == [[1.0], [2.0, 3.0]]


def test_arrays_of_several_sections_are_a_list_of_arrays() -> None:
    """One item for each section, null where it has none."""
    first, missing = to_pandas(TABLE, {})["frames"][0]
    assert isinstance(first, np.ndarray)
    assert missing is None


def test_arrow_dtypes_are_given_on_request() -> None:
    """The same values, in pandas' Arrow types."""
    frame = to_pandas(TABLE, {}, dtypes="arrow")
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)
    assert frame["n"].to_list() == [2, pd.NA, 3]


def test_units_stand_in_attrs_and_on_request_in_the_names() -> None:
    """Numbers stay as they are."""
    frame = to_pandas(TABLE, {"key": "k"})
    assert frame.attrs == {
        "units": {"gap": "eV", "gaps": "eV", "positions": "angstrom"},
        "nomadquery": {"key": "k"},
    }
    named = to_pandas(TABLE, {}, units="names")
    assert named.attrs["units"] == {"gap (eV)": "eV", "gaps (eV)": "eV", "positions (angstrom)": "angstrom"}
    assert named["gap (eV)"][0] == 1.5


def test_pint_quantities_carry_their_units() -> None:
    """Scalars, lists with a missing item, arrays; nothing where there is nothing."""
    frame = to_pandas(TABLE, {}, units="pint")
    assert frame["gap"][0].to("meV").magnitude == pytest.approx(1500.0, rel=1e-12)
    assert frame["gap"][1] is None
    assert frame["positions"][2].to("nm").magnitude[1, 2] == pytest.approx(0.6, rel=1e-12)
    assert np.isnan(frame["gaps"][0].magnitude[1])
    assert frame["gap"][0] + 1 * ureg.eV == 2.5 * ureg.eV


@pytest.mark.parametrize("wrong", [{"units": "SI"}, {"dtypes": "polars"}])
def test_another_word_is_refused(wrong: dict[str, Any]) -> None:
    """With the words that there are."""
    with pytest.raises(QueryError, match=r"not '(SI|polars)'"):
        to_pandas(TABLE, {}, **wrong)


def test_attrs_are_json_and_survive_parquet(tmp_path: Path) -> None:
    """Pandas keeps attrs in the file."""
    frame = to_pandas(TABLE, {"n_entries": 3})
    frame[["entry_id", "gap", "elements"]].to_parquet(tmp_path / "t.parquet")
    again = pd.read_parquet(tmp_path / "t.parquet")
    assert json.loads(json.dumps(frame.attrs)) == again.attrs == frame.attrs


def test_units_are_read_from_the_schema() -> None:
    """Of the columns that have one."""
    assert units_of(TABLE.schema) == {"gap": "eV", "gaps": "eV", "positions": "angstrom"}


# -- units where pandas loses them ------------------------------------------------------


def a_frame(unit: str | None, values: list[Any], key: str = "k") -> pd.DataFrame:
    frame = pd.DataFrame({"gap": values})
    frame.attrs = {"units": {} if unit is None else {"gap": unit}, "nomadquery": {"key": key}}
    return frame


def test_concat_keeps_and_converts_units() -> None:
    """The unit of the first; where the parts came from stays known."""
    whole = concat([a_frame("eV", [1.0], "a"), a_frame("meV", [2500.0], "b"), a_frame(None, [None])])
    assert whole["gap"].tolist()[:2] == pytest.approx([1.0, 2.5], rel=1e-12)
    assert whole.attrs["units"] == {"gap": "eV"}
    assert [part["key"] for part in whole.attrs["nomadquery"]["parts"]] == ["a", "b", "k"]
    assert whole.index.tolist() == [0, 1, 2]


def test_concat_converts_arrays_too() -> None:
    """And leaves the frames that it was given alone."""
    second = a_frame("nm", [np.array([[0.1, 0.2]])])
    whole = concat([a_frame("angstrom", [np.array([[1.0, 2.0]])]), second])
    np.testing.assert_allclose(whole["gap"][1], [[1.0, 2.0]], rtol=1e-12)
    assert second["gap"][0][0, 0] == 0.1


@pytest.mark.parametrize("unit", ["kg", None])
def test_concat_refuses_units_that_do_not_fit(unit: str | None) -> None:
    """Another dimension, or numbers without a unit."""
    with pytest.raises(UnitError):
        concat([a_frame("eV", [1.0]), a_frame(unit, [1.0])])


def test_the_accessor_tells_and_takes_units() -> None:
    """Of the columns that are there."""
    register_accessor()
    frame: Any = a_frame("eV", [1.0]).assign(other=[2.0])
    assert frame.nomad.units == {"gap": "eV"}
    assert frame[["other"]].nomad.units == {}
    frame.nomad.units = {"gap": "eV", "other": "angstrom"}
    assert frame.attrs["units"] == {"gap": "eV", "other": "angstrom"}
    with pytest.raises(UnitError):
        frame.nomad.units = {"missing": "eV"}


def _expected(value: Any, n_lists: int, dtype: str | None) -> Any:
    """Return a cell as it should be: a list of cells, or the array that NumPy makes of it."""
    if value is None or dtype is None:
        return value
    if n_lists:
        return [_expected(item, n_lists - 1, dtype) for item in value]
    for kind in (dtype, "float64"):
        try:
            return np.asarray(value, dtype=kind)
        except (ValueError, TypeError):
            continue
    return value


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        is_alike = one.dtype == other.dtype and one.shape == other.shape
        return is_alike and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return type(one) is type(other) and bool(one == other)


@given(st.data(), st.integers(1, 3), st.integers(0, 3), st.sampled_from(["float64", "int64", None]))
def test_lists_and_arrays_are_what_python_and_numpy_make_of_them(
    data: st.DataObject, depth: int, n_dimensions: int, dtype: str | None
) -> None:
    """Missing rows, lists and numbers, ragged and empty ones, several chunks; arrays may be written to."""
    leaf: st.SearchStrategy[Any] = {
        "float64": st.floats(-9, 9),
        "int64": st.integers(-9, 9),
        None: st.text(max_size=2),
    }[dtype]
    rows = data.draw(st.lists(nested_cells(depth, leaf) | st.none(), min_size=1, max_size=5))
    kind: pa.DataType = {"float64": pa.float64(), "int64": pa.int64(), None: pa.string()}[dtype]
    for _ in range(depth):
        kind = pa.list_(pa.field("element", kind))
    n_arrays = min(n_dimensions, depth) if dtype else 0
    field = pa.field("x", kind, metadata={"array": str(n_arrays)} if n_arrays else {})
    cut = data.draw(st.integers(0, len(rows)))
    table = pa.concat_tables(
        pa.table([pa.array(some, kind)], schema=pa.schema([field])) for some in (rows[:cut], rows[cut:])
    )
    cells = list(to_pandas(table, {})["x"])
    expected = [_expected(row, depth - n_arrays, dtype if n_arrays else None) for row in rows]
    assert all(map(_is_same, cells, expected)), (cells, expected)
    assert all(cell.flags.writeable for cell in cells if isinstance(cell, np.ndarray))
