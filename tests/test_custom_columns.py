"""Columns and queries of custom schemas: found by what the server knows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nomadquery import Q
from nomadquery.errors import QuantityNotFound, QueryError, UnitError
from nomadquery.local.store import LocalStore
from nomadquery.search import Search
from tests.tables import CountedWire, a_document, a_search


def ids_of(search: Search) -> list[str]:
    return list(search.select().to_arrow()["entry_id"].to_pylist())


def a_custom_document(entry_id: str, schema: str, **values: Any) -> dict[str, Any]:
    """Return a document as the index holds it: each scalar of ``data`` with its path and class."""
    kinds = {str: "str_value", float: "float_value", int: "int_value", bool: "bool_value"}
    found = [
        {
            "id": f"data.{name}#{schema}",
            "path_archive": f"data.{name}",
            "segments": {"1": {"path": "data", "definitions": [schema]}},
            kinds[type(value)]: value,
        }
        for name, value in values.items()
        if not isinstance(value, list)
    ]
    return a_document(
        entry_id, search_quantities=found, quantities=["data", *(f"data.{name}" for name in values)]
    )


@pytest.fixture
def custom(tmp_path: Path) -> Search:
    """Return a search among entries of two classes; one value is an array, which no index holds."""
    store = LocalStore()
    entries: list[tuple[str, str, dict[str, Any]]] = [
        ("c1", "my.Cell", {"area": 1.5, "name": "a", "curve": [1.0, 2.0]}),
        ("c2", "my.Cell", {"area": 2, "name": "b"}),
        ("s1", "my.Sample", {"name": "c", "mass": "heavy"}),
    ]
    store.add_entries(
        (
            a_custom_document(entry_id, schema, **values),
            {"metadata": {"entry_id": entry_id}, "data": {"m_def": schema, **values}},
        )
        for entry_id, schema, values in entries
    )
    return a_search(CountedWire(store), tmp_path)


def test_custom_quantities_take_the_type_of_their_values(custom: Search) -> None:
    """Integers widen to numbers; entries of other classes have nulls."""
    frame = custom.select("data.area", mass="data.mass").to_pandas()
    assert frame["data.area"].tolist()[:2] == [1.5, 2.0]
    assert frame["data.area"].dtype == "float64"
    assert frame["mass"].tolist() == [pd.NA, pd.NA, "heavy"]


def test_what_the_index_does_not_hold_is_read_from_the_archive(custom: Search) -> None:
    """Arrays; nobody has to know."""
    frame = custom.select(curve="data.curve", top="data.curve.max()", n="data.curve.size()").to_pandas()
    assert frame["curve"].tolist() == [[1.0, 2.0], None, None]
    assert frame["top"].tolist()[0] == 2.0
    assert frame["n"].tolist()[0] == 2


def test_a_unit_may_be_said_where_the_schema_says_none(custom: Search) -> None:
    """The number is stored in it."""
    area = Q.data.area.stored_in("cm^2").to("mm^2")
    table = custom.select(area=area)
    assert table.to_pandas()["area"].tolist()[:2] == pytest.approx([150.0, 200.0], rel=1e-12)
    assert table.to_pandas().attrs["units"] == {"area": "mm^2"}


def test_a_quantity_of_several_classes_must_be_chosen(custom: Search) -> None:
    """One class, or all as they are."""
    with pytest.raises(
        QuantityNotFound, match=r"several schemas: 'data.name#my.Cell', 'data.name#my.Sample'"
    ):
        custom.select("data.name").to_pandas()
    assert custom.select(x="data.name#my.Sample").to_pandas()["x"].tolist() == [pd.NA, pd.NA, "c"]
    assert custom.select(x=Q["data.name"].unchecked()).to_pandas()["x"].tolist() == ["a", "b", "c"]
    among = custom.where(Q.entry_id.isin(["c1", "c2"]))
    assert among.select("data.name").to_pandas()["data.name"].tolist() == ["a", "b"]


def test_a_quantity_that_nobody_has_is_refused(custom: Search) -> None:
    """With the nearest; among no hits it is an empty column."""
    with pytest.raises(QuantityNotFound, match=r"has 'data.aria'. Nearest: data.area"):
        custom.select("data.aria").to_pandas()
    with pytest.warns(UserWarning, match="No entry matches"):
        nothing = custom.where(Q.n_elements == 9).select("data.aria").to_pandas()
    assert nothing.dtypes.astype(str).tolist() == ["string", "string"]


def test_a_query_by_a_custom_quantity_is_completed_with_its_class(custom: Search) -> None:
    """If exactly one is known."""
    assert ids_of(custom.where(Q.data.area > 1.8)) == ["c2"]
    assert ids_of(custom.where(Q["data.name#my.Sample"] == "c")) == ["s1"]
    with pytest.raises(
        QuantityNotFound, match=r"several schemas.*Choose one, as in Q\['data.name#my.Cell'\]"
    ):
        custom.where(Q.data.name == "a").to_pandas()
    with pytest.raises(QuantityNotFound, match="is not known here"):
        custom.where(Q.data.nothing == 1).count()


def test_the_length_of_an_array_has_no_unit(custom: Search) -> None:
    """Whatever its numbers have."""
    curve = Q.data.curve.stored_in("eV")
    table = custom.select(n=curve.size(), m=curve.count())
    assert table.to_pandas()["n"].tolist() == [2, pd.NA, pd.NA]
    assert table.to_pandas().attrs["units"] == {}


def test_a_unit_in_a_filter_of_custom_items_is_refused(custom: Search) -> None:
    """It would match nothing in silence; a typo likewise."""
    with pytest.raises(UnitError, match="give the bare number"):
        custom.select(x=Q["data.parts"][Q.size_of > "50 degree"].name)
    with pytest.raises(QuantityNotFound, match=r"data\.parts\.nosuch"):
        custom.select(x=Q["data.parts"][Q.nosuch > 3].name).to_pandas()


def test_rows_for_each_item_of_what_no_entry_has_are_refused(custom: Search) -> None:
    """And of a quantity; both can be known before archives are asked."""
    with pytest.raises(QuantityNotFound, match="No entry"):
        custom.per("data.nosuch").select(x="data.nosuch.y").to_pandas()
    with pytest.raises(QueryError, match="this is a quantity"):
        custom.per("data.name").select("formula").to_pandas()
