"""Facets and statistics are what a plain count over the entries gives."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from statistics import median
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from nomadquery.errors import NotExpressible, QueryError, ResponseFormatError
from nomadquery.fetch import summaries
from nomadquery.fetch.histograms import histogram
from nomadquery.fetch.pages import Source
from nomadquery.fetch.summaries import facet, minmax, statistics
from nomadquery.http.message import Reply, Request
from nomadquery.query.criteria import Equals
from tests.strategies import counted_documents
from tests.summaries import Document, Sent, a_source, a_store_of, demo_store, documents_of, gaps_of


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return a_source(demo_store(tmp_path_factory))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return documents_of(demo_store(tmp_path_factory))


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages of values small, so that there are several."""
    monkeypatch.setattr(summaries, "_VALUES_A_PAGE", 2)


def ranked(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """Return values and counts, the most frequent first, then by value."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def pairs(frame: pd.DataFrame, counted: str = "n_entries") -> list[tuple[Any, int]]:
    return list(zip(frame["value"].tolist(), frame[counted].tolist(), strict=True))


def test_a_facet_has_every_value_and_its_number_of_entries(demo: Source, documents: list[Document]) -> None:
    """The most frequent first; an entry counts once for each of its values."""
    elements = Counter(one for d in documents for one in set(d["results"]["material"]["elements"]))
    frame = facet(demo, "elements")
    assert pairs(frame) == ranked(elements)
    assert frame.dtypes.astype(str).to_dict() == {"value": "string", "n_entries": "int64"}
    assert frame.attrs["nomadquery"]["n_hits"] == len(documents)
    json.dumps(frame.attrs)


@pytest.mark.usefixtures("small_pages")
def test_values_are_paged_through_to_the_end() -> None:
    """Five values in pages of two: three requests, with the value itself as cursor, colons included."""
    values = ["a:b", "b", "c", "d", "x y"]
    sent = Sent(
        a_store_of({"entry_id": f"e{n}", "upload_id": v, "published": True} for n, v in enumerate(values))
    )
    assert pairs(facet(a_source(sent), "upload_id")) == [(value, 1) for value in values]
    asked = [request.json["aggregations"]["asked"]["terms"]["pagination"] for request in sent.requests]
    assert asked == [
        {"page_size": 2},
        {"page_size": 2, "page_after_value": "b"},
        {"page_size": 2, "page_after_value": "d"},
    ]


@pytest.mark.usefixtures("small_pages")
def test_a_full_last_page_loses_nothing() -> None:
    """Its cursor leads to an empty page."""
    store = a_store_of({"entry_id": f"e{n}", "upload_id": f"u{n}", "published": True} for n in range(4))
    assert len(facet(a_source(store), "upload_id")) == 4


@pytest.mark.usefixtures("small_pages")
def test_a_server_that_repeats_a_page_is_found_out() -> None:
    """Instead of asking on without an end."""
    store = a_store_of({"entry_id": f"e{n}", "upload_id": f"u{n}", "published": True} for n in range(5))
    once = Sent(store)

    def send(request: Request) -> Reply:
        request.json["aggregations"]["asked"]["terms"]["pagination"].pop("page_after_value", None)
        return once(request)

    source = Source(send=send, question=a_source(store).question, catalogue=a_source(store).catalogue)
    with pytest.raises(ResponseFormatError, match="repeats"):
        facet(source, "upload_id")


def test_of_nested_quantities_entries_and_items_are_counted(demo: Source, documents: list[Document]) -> None:
    """An entry with three items of one value is one entry and three items."""
    labels = [
        [t["label"] for t in d["results"]["material"].get("topology", ()) if "label" in t] for d in documents
    ]
    n_entries = Counter(label for one in labels for label in set(one))
    n_items = Counter(label for one in labels for label in one)
    frame = facet(demo, "results.material.topology.label")
    assert pairs(frame) == ranked(n_entries)
    assert dict(pairs(frame, "n_items")) == n_items
    assert pairs(facet(demo, "results.material.topology.label", size=1)) == ranked(n_entries)[:1]


def test_size_cuts_after_the_most_frequent(demo: Source, documents: list[Document]) -> None:
    """In one request."""
    elements = Counter(one for d in documents for one in set(d["results"]["material"]["elements"]))
    assert pairs(facet(demo, "elements", size=3)) == ranked(elements)[:3]


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("text", ["C", "-", "(", "no such"])
def test_contains_keeps_values_with_the_text(
    text: str, size: int | None, demo: Source, documents: list[Document]
) -> None:
    """Whether the server can look for it or not; upper and lower case differ."""
    names = Counter(d["entry_name"] for d in documents if text in d["entry_name"])
    assert pairs(facet(demo, "entry_name", contains=text, size=size)) == ranked(names)[:size]


def test_truth_values_are_listed(demo: Source, documents: list[Document]) -> None:
    """As booleans."""
    frame = facet(demo, "published")
    assert pairs(frame) == [(True, len(documents))]
    assert frame["value"].dtype == "boolean"


def test_metrics_count_other_things(demo: Source, documents: list[Document]) -> None:
    """Different uploads, and sums of calculations, of the entries with the value."""
    frame = facet(demo, "program", metrics=["n_uploads", "n_calculations"]).set_index("value")
    for program in frame.index:
        having = [d for d in documents if d["results"]["method"]["simulation"]["program_name"] == program]
        assert frame.loc[program, "n_uploads"] == len({d["upload_id"] for d in having})
        n_calculations = sum(d["results"]["properties"].get("n_calculations", 0) for d in having)
        assert frame.loc[program, "n_calculations"] == n_calculations


def test_programs_without_entries_are_left_out(demo: Source) -> None:
    """The server fills up its list of known programs with zeros."""
    assert (facet(demo, "program", size=50)["n_entries"] > 0).all()


def test_no_hits_give_a_typed_empty_frame(demo: Source) -> None:
    """With the same columns and dtypes."""
    nothing = a_source(a_store_of([]))
    assert facet(nothing, "elements").dtypes.to_dict() == facet(demo, "elements").dtypes.to_dict()
    assert histogram(nothing, "gap").dtypes.to_dict() == histogram(demo, "gap").dtypes.to_dict()
    by_month = histogram(nothing, "uploaded", bin_width="month")
    assert by_month.empty
    assert by_month.dtypes.to_dict() == histogram(demo, "uploaded", bin_width="month").dtypes.to_dict()


def test_a_search_is_counted_not_the_deployment(documents: list[Document], demo: Source) -> None:
    """Only hits count."""
    narrowed = Source(
        send=demo.send,
        question=a_source(a_store_of([]), criterion=Equals("results.material.elements", "Si")).question,
        catalogue=demo.catalogue,
    )
    found = [set(d["results"]["material"]["elements"]) for d in documents]
    counts = Counter(one for elements in found if "Si" in elements for one in elements)
    assert pairs(facet(narrowed, "elements")) == ranked(counts)


@pytest.mark.parametrize("summary", [facet, histogram, statistics, minmax])
def test_a_limited_search_is_refused(summary: Any) -> None:
    """The server counts over all hits."""
    source = a_source(a_store_of([]), limit=5)
    with pytest.raises(QueryError, match="limit"):
        summary(source, "program" if summary is facet else "gap")


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"size": True}, {"contains": ""}, {"metrics": ["x"]}, {"metrics": "n_uploads"}]
)
def test_options_that_do_not_fit_are_refused_before_asking(options: dict[str, Any]) -> None:
    """Nothing is sent."""
    sent = Sent(a_store_of([]))
    with pytest.raises(QueryError):
        facet(a_source(sent), "program", **options)
    assert not sent.requests


# -- statistics


def test_statistics_are_those_of_all_values(demo: Source, documents: list[Document]) -> None:
    """One row; percentiles of a few hundred values are exact here."""
    gaps = [gaps_of(document) for document in documents]
    values = [value for one in gaps for value in one]
    [row] = statistics(demo, "gap").to_dict("records")
    assert (row["n_entries"], row["n_values"]) == (sum(map(bool, gaps)), len(values))
    assert [row["min"], row["50%"], row["max"]] == pytest.approx([min(values), median(values), max(values)])
    assert statistics(demo, "gap").attrs["units"] == dict.fromkeys(("min", "25%", "50%", "75%", "max"), "eV")


def test_statistics_of_dates_are_dates(demo: Source, documents: list[Document]) -> None:
    """In UTC to the millisecond."""
    first = min(datetime.fromisoformat(d["upload_create_time"]) for d in documents)
    [row] = minmax(demo, "uploaded").to_dict("records")
    assert row["min"].to_pydatetime() == first.astimezone(UTC)


def test_no_value_gives_nulls() -> None:
    """And counts of 0."""
    [row] = statistics(a_source(a_store_of([])), "gap").to_dict("records")
    assert (row["n_entries"], row["n_values"]) == (0, 0)
    assert pd.isna(row["min"])
    assert pd.isna(row["50%"])


def test_before_1_4_there_are_no_percentiles() -> None:
    """What the server does have is asked."""
    old = a_source(Sent(a_store_of([])), release="1.3.17")
    assert list(statistics(old, "gap").columns) == ["path", "n_entries", "min", "max"]


@pytest.mark.parametrize("summary", [histogram, statistics, minmax])
def test_texts_have_no_statistics(summary: Any, demo: Source) -> None:
    """Their values are listed."""
    with pytest.raises(NotExpressible, match="facet"):
        summary(demo, "program")


# -- laws


@pytest.mark.usefixtures("small_pages")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counted_documents())
def test_facets_are_counters(documents: list[Document]) -> None:
    """Of the different values of each entry; of nested items, of each item."""
    source = a_source(a_store_of(documents))
    elements = Counter(one for d in documents for one in set(d["results"]["material"].get("elements", ())))
    assert pairs(facet(source, "elements")) == ranked(elements)
    types = [
        [gap["type"] for gap in d["results"]["properties"]["electronic"]["band_gap"] if "type" in gap]
        for d in documents
    ]
    frame = facet(source, "gap_type")
    assert pairs(frame) == ranked(Counter(one for found in types for one in set(found)))
    assert dict(pairs(frame, "n_items")) == Counter(one for found in types for one in found)
