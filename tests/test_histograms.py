"""Histograms are what a plain count over the entries gives."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings

from nomadquery.errors import QueryError
from nomadquery.fetch.histograms import histogram
from nomadquery.fetch.pages import Source
from tests.strategies import counted_documents
from tests.summaries import EV, Document, a_source, a_store_of, demo_store, documents_of, gaps_of


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return a_source(demo_store(tmp_path_factory))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return documents_of(demo_store(tmp_path_factory))


def counted(values: list[list[float]], frame: pd.DataFrame, *, by_item: bool) -> list[int]:
    """Return how many entries (items) have a value in each bin of a frame."""
    found = []
    for lower, upper in zip(frame["lower"], frame["upper"], strict=True):
        inside = [sum(lower <= value < upper for value in one) for one in values]
        found.append(sum(inside) if by_item else sum(map(bool, inside)))
    return found


def test_bins_hold_what_lies_between_their_edges(demo: Source, documents: list[Document]) -> None:
    """From the smallest to the largest value, in the customary unit; items of nested sections count."""
    gaps = [gaps_of(document) for document in documents]
    frame = histogram(demo, "gap", bins=7)
    assert list(frame.columns) == ["lower", "upper", "n_items"]
    assert len(frame) == 7
    assert frame["n_items"].sum() == sum(map(len, gaps))
    assert frame["lower"].iloc[0] == pytest.approx(min(map(min, filter(None, gaps))), abs=1e-9)
    assert frame["upper"].iloc[-1] == pytest.approx(max(map(max, filter(None, gaps))), rel=1e-9)
    assert frame.attrs["units"] == {"lower": "eV", "upper": "eV"}
    # shrunk by far less than values differ: conversion rounds
    inner = frame.assign(lower=frame["lower"] - 1e-9, upper=frame["upper"] - 1e-9 * (frame.index < 6))
    assert frame["n_items"].tolist() == counted(gaps, inner, by_item=True)


def test_bins_of_a_width_begin_at_its_multiples(demo: Source, documents: list[Document]) -> None:
    """As NOMAD's own histograms do."""
    gaps = [gaps_of(document) for document in documents]
    frame = histogram(demo, "gap", bin_width="0.5 eV")
    assert frame["lower"].tolist() == pytest.approx([0.5 * n for n in range(len(frame))], abs=1e-9)
    assert frame["n_items"].sum() == sum(map(len, gaps))


def test_a_range_leaves_out_what_is_outside(demo: Source, documents: list[Document]) -> None:
    """Its end included in what is outside."""
    values = [value for document in documents for value in gaps_of(document)]
    frame = histogram(demo, "gap", range=("1 eV", "4 eV"), bins=6)
    assert frame["lower"].tolist() == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert frame["upper"].iloc[-1] == 4.0
    assert frame["n_items"].sum() == sum(1 <= value < 4 for value in values)


def test_integers_are_counted_by_whole_numbers(demo: Source, documents: list[Document]) -> None:
    """However many bins are asked for, none is narrower than one."""
    counts = Counter(d["results"]["material"]["n_elements"] for d in documents)
    frame = histogram(demo, "n_elements", bins=100)
    assert frame["lower"].tolist() == list(range(min(counts), max(counts) + 1))
    assert frame["n_entries"].tolist() == [counts[n] for n in range(min(counts), max(counts) + 1)]
    assert histogram(demo, "n_elements", range=(2, 4), bin_width=1)["n_entries"].tolist() == [
        counts[2],
        counts[3],
    ]


def test_equal_values_make_one_bin() -> None:
    """From the value to itself."""
    electronic = {"band_gap": [{"value": EV}]}
    results = {"properties": {"electronic": electronic}}
    store = a_store_of([{"entry_id": "a", "upload_id": "u", "published": True, "results": results}])
    frame = histogram(a_source(store), "gap")
    assert frame.to_dict("records") == [
        {"lower": pytest.approx(1.0), "upper": pytest.approx(1.0), "n_items": 1}
    ]


def months_of(documents: list[Document]) -> Counter[tuple[int, int]]:
    moments = (datetime.fromisoformat(d["upload_create_time"]) for d in documents)
    return Counter((moment.year, moment.month) for moment in moments)


def test_dates_are_counted_by_months(demo: Source, documents: list[Document]) -> None:
    """From the first of a month to the first of the next, in UTC."""
    frame = histogram(demo, "uploaded", bin_width="month")
    months = {
        (lower.year, lower.month): n for lower, n in zip(frame["lower"], frame["n_entries"], strict=True) if n
    }
    assert months == months_of(documents)
    assert frame["upper"].tolist()[:-1] == frame["lower"].tolist()[1:]
    assert frame["lower"].dtype == "datetime64[ms, UTC]"


@pytest.mark.parametrize("width", ["36h", timedelta(hours=36)])
def test_dates_are_counted_by_lengths_of_time(width: Any, demo: Source, documents: list[Document]) -> None:
    """Also such as begin in the middle of a day, which NOMAD's own date histogram cannot tell."""
    moments = [[datetime.fromisoformat(d["upload_create_time"]).timestamp()] for d in documents]
    frame = histogram(demo, "uploaded", bin_width=width)
    seconds = frame.assign(
        **{edge: frame[edge].map(lambda moment: moment.timestamp()) for edge in ("lower", "upper")}
    )
    assert frame["n_entries"].tolist() == counted(moments, seconds, by_item=False)
    assert frame["n_entries"].sum() == len(documents)


def test_the_server_chooses_round_intervals_of_dates(demo: Source, documents: list[Document]) -> None:
    """At most as many as asked for."""
    frame = histogram(demo, "uploaded", bins=4)
    assert 1 <= len(frame) <= 4
    assert frame["n_entries"].sum() == len(documents)
    assert frame.attrs["nomadquery"]["interval"] == "3M"  # nine months, in four bins at most


def test_a_range_of_dates_keeps_the_intervals_that_overlap_it(
    demo: Source, documents: list[Document]
) -> None:
    """With the hits inside the range."""
    frame = histogram(demo, "uploaded", bin_width="month", range=("2025-02-01", "2025-04-01"))
    months = months_of(documents)
    assert [lower.month for lower in frame["lower"]] == [2, 3]
    assert frame["n_entries"].tolist() == [months[2025, 2], months[2025, 3]]


@pytest.mark.parametrize(
    "options",
    [
        {"bins": 3, "bin_width": "1 eV"},
        {"bin_width": "1e-9 eV"},
        {"range": ("0 eV", "4 eV"), "bin_width": "0.3 eV"},
        {"bins": 0},
        {"bin_width": 0.1},
        {"range": (0, 4)},
    ],
)
def test_bins_that_do_not_fit_are_refused(options: dict[str, Any], demo: Source) -> None:
    """Two measures, too many, no whole number, none, without a unit."""
    with pytest.raises(QueryError):
        histogram(demo, "gap", **options)


@settings(deadline=None, max_examples=30)
@given(counted_documents())
def test_every_value_is_in_one_bin(documents: list[Document]) -> None:
    """However the bins are chosen."""
    source = a_source(a_store_of(documents))
    n_gaps = sum(len(gaps_of(document)) for document in documents)
    for options in ({"bins": 3}, {"bin_width": "0.7 eV"}):
        assert histogram(source, "gap", **options)["n_items"].sum() == n_gaps
    counts = Counter(d["results"]["material"].get("n_elements") for d in documents)
    frame = histogram(source, "n_elements", bin_width=1)
    found = {lower: n for lower, n in zip(frame["lower"], frame["n_entries"], strict=True) if n}
    assert found == {n: count for n, count in counts.items() if n is not None}
    assert histogram(source, "uploaded", bin_width="week")["n_entries"].sum() == len(documents)
