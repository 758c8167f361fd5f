"""A real server answers the recorded aggregations; its numbers are those of a plain count of its entries."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests

from nomadquery.local.matching import values_at
from tests.aggregation_cases import ANSWERED, CASES, OF_NOTHING, REFUSED, data_of, echo, findings, forms
from tests.local_entries import ask
from tests.summaries import a_store_of

Document = dict[str, Any]
NOTHING = {"entry_id": "no such entry"}


def answer(url: str, body: Any, path: str = "entries/query") -> requests.Response:
    return requests.post(f"{url}/{path}", json=body, timeout=120)


def aggregated(url: str, aggregation: Any, query: Any = None) -> Any:
    """Return what one aggregation counts."""
    body: dict[str, Any] = {"pagination": {"page_size": 0}, "aggregations": {"a": aggregation}}
    reply = answer(url, body | ({} if query is None else {"query": query}))
    assert reply.status_code == 200, reply.text[:400]
    return data_of(reply.json()["aggregations"]["a"])


@pytest.mark.parametrize("id", ANSWERED)
def test_case_is_answered_as_recorded(id: str, real_url: str) -> None:
    """With the same fields, and buckets of the same form."""
    body = dict(CASES[id]["body"])
    if id in OF_NOTHING and "after" not in id:
        body["query"] = NOTHING
    path = "entries/archive/query" if id == "archive-endpoint-ignores" else "entries/query"
    reply = answer(real_url, body, path)
    recorded = CASES[id]["response_aggregations"]
    assert reply.status_code == 200, reply.text[:400]
    found = reply.json().get("aggregations")
    assert without_counted(echo(found)) == without_counted(echo(recorded))
    for name, one in (recorded or {}).items():
        if data_of(found[name]) and data_of(one):
            assert set(forms(data_of(found[name]))) & set(forms(data_of(one)))


def without_counted(answers: Any) -> Any:
    """Return answers without what follows from the numbers of a search: chosen intervals."""
    if isinstance(answers, dict):
        return {name: without_counted(one) for name, one in answers.items() if name != "interval"}
    return answers


@pytest.mark.parametrize("id", REFUSED)
def test_case_is_refused_as_recorded(id: str, real_url: str) -> None:
    """With the recorded status and detail."""
    reply = answer(real_url, CASES[id]["body"])
    assert reply.status_code == CASES[id]["status"]
    assert findings(reply.json()["detail"]) == findings(CASES[id]["error"]["detail"])


@pytest.fixture(scope="module")
def samples(real_documents: list[Document]) -> list[Document]:
    """Return the sample entries, as nomad-lab 1.4.3 indexed them, that the server shows to everybody."""
    shared = os.environ.get("NOMADQUERY_SHARED")
    if not shared:
        pytest.fail("Set NOMADQUERY_SHARED to the folder that holds nomad/samples.")
    file = Path(shared) / "nomad" / "samples" / "entries.jsonl.gz"
    public = {document["entry_id"] for document in real_documents}
    with gzip.open(file, "rt") as lines:
        found = [json.loads(line) for line in lines]
    return [document for document in found if document["entry_id"] in public]


def counted(documents: list[Document], path: str) -> Counter[Any]:
    """Return how many entries have each value."""
    return Counter(value for one in documents for value in set(values_at(one, path.split("."))))


@pytest.mark.parametrize(
    "quantity",
    [
        "results.method.simulation.program_name",
        "results.material.elements",
        "results.material.structural_type",
        "results.material.symmetry.space_group_symbol",
        "results.method.simulation.dft.xc_functional_names",
        "upload_id",
        "main_author.name",
        "datasets.dataset_name",
        "results.material.topology.label",
        "results.properties.electronic.band_gap.type",
    ],
)
def test_values_are_counted_as_in_the_samples(quantity: str, real_url: str, samples: list[Document]) -> None:
    """Entries of each value; two indexings by different releases agree on these."""
    data = aggregated(real_url, {"terms": {"quantity": quantity, "size": 1000}})
    assert {one["value"]: one["count"] for one in data if one["count"]} == counted(samples, quantity)


@pytest.mark.parametrize(
    "quantity",
    [
        "results.material.n_elements",
        "results.properties.n_calculations",
        "results.method.simulation.precision.planewave_cutoff",
        "results.properties.electronic.band_gap.value",
    ],
)
def test_extremes_are_those_of_the_samples(quantity: str, real_url: str, samples: list[Document]) -> None:
    """To the last digit."""
    values = [value for one in samples for value in values_at(one, quantity.split("."))]
    assert aggregated(real_url, {"min_max": {"quantity": quantity}}) == [min(values), max(values)]


def test_a_histogram_counts_the_samples(real_url: str, samples: list[Document]) -> None:
    """Of integers, one bin each."""
    data = aggregated(real_url, {"histogram": {"quantity": "results.material.n_elements", "interval": 1}})
    found = {one["value"]: one["count"] for one in data if one["count"]}
    assert found == counted(samples, "results.material.n_elements")


MANY: list[Any] = [
    {
        "terms": {
            "quantity": "results.material.topology.label",
            "pagination": {"page_size": 5, "order": "desc"},
        }
    },
    {"terms": {"quantity": "upload_id", "pagination": {"page_size": 4, "order_by": "upload_create_time"}}},
    {"terms": {"quantity": "upload_id", "pagination": {"page_size": 4, "order_by": "upload_id"}}},
    {"terms": {"quantity": "published", "pagination": {"page_size": 4}}},
    {
        "terms": {
            "quantity": "results.material.elements",
            "include": "i",
            "metrics": ["n_materials", "n_authors"],
        }
    },
    {"terms": {"quantity": "results.material.elements", "include": ["Ti", "O"], "size": 1}},
    {"terms": {"quantity": "results.properties.electronic.band_gap.type", "metrics": ["n_entries"]}},
    {"histogram": {"quantity": "results.properties.electronic.band_gap.value", "buckets": 6}},
    {"histogram": {"quantity": "upload_create_time", "buckets": 3}},
    {"histogram": {"quantity": "results.material.n_elements", "interval": 2, "offset": 1}},
    {
        "histogram": {
            "quantity": "results.material.n_elements",
            "interval": "2",
            "extended_bounds": {"min": -3, "max": 20},
        }
    },
    {"histogram": {"quantity": "results.material.n_elements", "interval": 1e-9}},
    {"histogram": {"quantity": "authors", "interval": 1}},
    {"date_histogram": {"quantity": "upload_create_time", "calendar_interval": "1w"}},
    {"date_histogram": {"quantity": "upload_create_time", "interval": "quarter", "metrics": ["n_uploads"]}},
    {"date_histogram": {"quantity": "upload_create_time", "fixed_interval": "36h"}},
    {"date_histogram": {"quantity": "upload_create_time", "fixed_interval": "3x"}},
    {"auto_date_histogram": {"quantity": "upload_create_time"}},
    {"auto_date_histogram": {"quantity": "entry_create_time", "buckets": "40"}},
    {"percentiles": {"quantity": "results.properties.electronic.band_gap.value", "percents": [50, 12.5]}},
    {
        "percentiles": {
            "quantity": "results.properties.electronic.band_gap.value",
            "group_by": "results.method.simulation.program_name",
            "group_by_size": 3,
        }
    },
    {"percentiles": {"quantity": "results.material.n_elements", "group_by": "published"}},
    {"percentiles": {"quantity": "results.material.n_elements", "group_by": "comment"}},
    {"statistics": {"metrics": ["n_entries", "n_uploads", "n_authors", "n_materials", "n_calculations"]}},
    {"statistics": {"metrics": None}},
    {"terms": {"quantity": "upload_id", "include": [5]}},
    {"terms": {"quantity": "upload_id", "exclude_from_search": "x", "size": "5x"}},
]


@pytest.fixture(scope="module")
def local(real_documents: list[Document]) -> Any:
    """Return a local deployment of the same entries."""
    return a_store_of(real_documents)


@pytest.mark.parametrize("query", [None, {"results.material.elements": "O"}], ids=["all", "some"])
@pytest.mark.parametrize("aggregation", MANY, ids=str)
def test_the_local_deployment_counts_alike(aggregation: Any, query: Any, real_url: str, local: Any) -> None:
    """Over the same entries, or refuses alike."""
    body: dict[str, Any] = {
        "pagination": {"page_size": 0},
        "aggregations": {"a": aggregation},
        "query": query,
    }
    real = answer(real_url, body)
    status, content = ask(local, "POST", "entries/query", body)
    assert status == real.status_code
    if status == 200:
        assert rounded(content["aggregations"]) == rounded(real.json()["aggregations"])
    elif status != 400:  # texts of the search engine
        assert findings(content["detail"]) == findings(real.json()["detail"])


@pytest.mark.parametrize(
    "quantity", ["results.material.elements", "upload_id", "results.material.topology.label"]
)
@pytest.mark.parametrize("is_excluding", [True, False])
def test_criteria_on_the_quantity_are_left_out_alike(
    quantity: str, is_excluding: bool, real_url: str, local: Any
) -> None:
    """Of this aggregation, not of the one beside it."""
    query = {"results.material.elements": "O", "results.material.n_elements": {"gte": 2}}
    terms = {"quantity": quantity, "exclude_from_search": is_excluding, "size": 200}
    beside = {"statistics": {"metrics": ["n_entries"]}}
    body = {
        "pagination": {"page_size": 0},
        "query": query,
        "aggregations": {"a": {"terms": terms}, "b": beside},
    }
    real = answer(real_url, body).json()
    assert ask(local, "POST", "entries/query", body)[1]["aggregations"] == real["aggregations"]


def rounded(part: Any) -> Any:
    """Return numbers with 12 digits: percentiles and edges are computed in another order."""
    if isinstance(part, dict):
        return {name: rounded(one) for name, one in part.items()}
    if isinstance(part, list):
        return [rounded(one) for one in part]
    return float(f"{part:.12g}") if isinstance(part, float | int) and not isinstance(part, bool) else part
