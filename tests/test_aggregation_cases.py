"""Every recorded aggregation is answered by the local deployment, and read, as NOMAD answers it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from nomadquery.http import aggregations
from nomadquery.http.aggregations import DateBin, date_of
from nomadquery.local.store import LocalStore
from tests.aggregation_cases import (
    ANSWERED,
    CASES,
    OF_NOTHING,
    PROGRAM,
    REFUSED,
    data_of,
    echo,
    findings,
    forms,
)
from tests.local_entries import ask
from tests.summaries import a_store_of

GAP = {"value": 1e-19, "type": "direct"}


def an_entry(number: int) -> dict[str, Any]:
    """Return a document that has a value for every quantity of the cases."""
    return {
        "entry_id": f"entry-{number}",
        "upload_id": f"upload-{number}",
        "mainfile": f"{number}/OUTCAR",
        "published": True,
        "with_embargo": False,
        "upload_create_time": f"{2024 + number}-01-10T00:00:00+00:00",
        "datasets": [{"dataset_name": f"d{number}"}, {"dataset_name": "d3"}],
        "results": {
            "material": {
                "material_id": "m",
                "n_elements": (1, 2, 11)[number],
                "structural_type": "bulk",
                "topology": [{"label": "original"}, {"label": "original"}],
            },
            "method": {"simulation": {"program_name": "VASP"}},
            "properties": {
                "n_calculations": 2,
                "electronic": {"band_structure_electronic": [{"band_gap": [GAP]}]},
            },
        },
    }


@pytest.fixture(scope="module")
def store() -> LocalStore:
    return a_store_of(map(an_entry, range(3)))


def answered(id: str, store: LocalStore) -> tuple[int, Any]:
    """Return status and content for a case."""
    path = "entries/archive/query" if id == "archive-endpoint-ignores" else "entries/query"
    return ask(a_store_of([]) if id in OF_NOTHING else store, "POST", path, CASES[id]["body"])


@pytest.mark.parametrize("id", ANSWERED)
def test_case_is_answered(id: str, store: LocalStore) -> None:
    """With the recorded fields, and buckets of the recorded form."""
    status, content = answered(id, store)
    recorded = CASES[id]["response_aggregations"]
    assert status == 200, content
    assert echo(content.get("aggregations")) == echo(recorded)
    for name, answer in (recorded or {}).items():
        assert forms(data_of(content["aggregations"][name])) == forms(data_of(answer))


@pytest.mark.parametrize("id", REFUSED)
def test_case_is_refused(id: str, store: LocalStore) -> None:
    """With the recorded status and detail."""
    status, content = answered(id, store)
    assert status == CASES[id]["status"]
    assert findings(content["detail"]) == findings(CASES[id]["error"]["detail"])


def test_pages_of_values_have_the_recorded_fields(store: LocalStore) -> None:
    """The number of values, and where the next page begins, after the last page of values too."""
    body = CASES["terms-paginated"]["body"]
    _, content = ask(store, "POST", "entries/query", body)
    pagination = content["aggregations"]["a"]["terms"]["pagination"]
    assert (pagination["total"], pagination["next_page_after_value"]) == (4, "d1")  # d0 d1 | d2 d3


def as_raw(answer: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(answer).encode())


def plain_values(data: Any) -> list[tuple[Any, ...]]:
    return [
        (one["value"], one["count"], one.get("nested_count", one["count"]), one.get("metrics", {}))
        for one in data
    ]


EXPECTED: dict[str, tuple[Callable[[msgspec.Raw], Any], Callable[[Any], Any]]] = {
    "histogram": (
        aggregations.parse_histogram,
        lambda data: tuple(aggregations.Bin(one["value"], one["count"]) for one in data),
    ),
    "date_histogram": (
        aggregations.parse_date_histogram,  # every recorded bin begins in 2024-01-01
        lambda data: tuple(DateBin(date_of(1_704_067_200_000), one["count"]) for one in data),
    ),
    "auto_date_histogram": (
        aggregations.parse_auto_date_histogram,
        lambda data: ("1y", tuple(DateBin(date_of(one["value"]), one["count"]) for one in data)),
    ),
    "min_max": (aggregations.parse_min_max, lambda data: None if data == [None, None] else tuple(data)),
    "percentiles": (
        aggregations.parse_percentiles,
        lambda data: tuple(
            aggregations.Group(
                one["label"], {float(p): v for p, v in one["percentiles"].items()}, one["count"]
            )
            for one in data
        ),
    ),
    "statistics": (aggregations.parse_statistics, lambda data: data),
}


@pytest.mark.parametrize("id", [id for id in ANSWERED if CASES[id]["response_aggregations"]])
def test_recorded_answer_is_read(id: str) -> None:
    """Every number of it, dates as datetimes."""
    for answer in CASES[id]["response_aggregations"].values():
        [kind] = answer
        if kind == "terms":
            read = aggregations.parse_values(as_raw(answer))
            found = [(one.value, one.n_entries, one.n_items, one.metrics) for one in read.buckets]
            assert found == plain_values(data_of(answer))
            assert read.next_after == answer[kind].get("pagination", {}).get("next_page_after_value")
        else:
            parse, expected = EXPECTED[kind]
            assert parse(as_raw(answer)) == expected(data_of(answer))


def test_known_programs_without_entries_come_last(store: LocalStore) -> None:
    """With 0; of programs that NOMAD 2.0.0 reads there are 69."""
    body = {"aggregations": {"a": {"terms": {"quantity": PROGRAM}}}}
    answer = ask(store, "POST", "entries/query", body)[1]["aggregations"]["a"]["terms"]
    assert (answer["size"], len(answer["data"])) == (69, 69)
    assert answer["data"][0] == {"count": 3, "nested_count": 3, "value": "VASP"}
    assert answer["data"][-1] == {"count": 0, "value": "unavailable"}
