"""Answers to aggregations are read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from nomadquery.errors import ResponseFormatError
from nomadquery.http.aggregations import (
    Group,
    ValueBucket,
    aggregations_query,
    answers_to,
    date_of,
    parse_auto_date_histogram,
    parse_date_histogram,
    parse_histogram,
    parse_min_max,
    parse_percentiles,
    parse_statistics,
    parse_values,
)
from nomadquery.http.message import Headers, Reply


def as_raw(answer: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(answer).encode())


def as_reply(content: Any) -> Reply:
    return Reply(200, Headers(), json.dumps(content).encode(), "https://our.host/api/v1/entries/query")


def test_aggregations_are_asked_for_without_entries() -> None:
    """In one body, by name."""
    request = aggregations_query({}, {"a": {"min_max": {"quantity": "x"}}}, owner="visible")
    assert (request.path, request.json["owner"], request.json["pagination"]["page_size"]) == (
        "entries/query",
        "visible",
        0,
    )
    assert request.json["aggregations"] == {"a": {"min_max": {"quantity": "x"}}}


def test_an_aggregation_that_the_server_ignored_is_an_error() -> None:
    """It is not an empty one."""
    reply = as_reply({"aggregations": {"a": {}}})
    assert list(answers_to(reply, ["a"])) == ["a"]
    with pytest.raises(ResponseFormatError, match="'b'"):
        answers_to(reply, ["a", "b"])


def test_values_come_with_entries_items_and_metrics() -> None:
    """Where there are no items apart, entries are the items; the cursor of truth values is none."""
    data = [
        {"value": "x", "count": 2, "nested_count": 3},
        {"value": True, "count": 0, "metrics": {"n_uploads": 0}},
    ]
    read = parse_values(as_raw({"terms": {"data": data, "pagination": {"next_page_after_value": True}}}))
    assert read.buckets == (ValueBucket("x", 2, 3, {}), ValueBucket(True, 0, 0, {"n_uploads": 0}))
    assert read.next_after is None


def test_days_and_milliseconds_become_datetimes() -> None:
    """In UTC."""
    days = parse_date_histogram(as_raw({"date_histogram": {"data": [{"value": "2024-02-01", "count": 1}]}}))
    assert days[0].lower == datetime(2024, 2, 1, tzinfo=UTC)
    answer = {"data": [{"value": 1706745600000.0, "count": 1}], "interval": "1M"}
    interval, chosen = parse_auto_date_histogram(as_raw({"auto_date_histogram": answer}))
    assert (interval, chosen[0].lower) == ("1M", datetime(2024, 2, 1, tzinfo=UTC))


def test_extremes_of_nothing_are_none() -> None:
    """NOMAD answers two nulls."""
    assert parse_min_max(as_raw({"min_max": {"data": [None, None]}})) is None
    assert parse_min_max(as_raw({"min_max": {"data": [1, 2.5]}})) == (1.0, 2.5)


def test_percentiles_are_numbers_by_percent() -> None:
    """NOMAD writes percents as text, in two ways."""
    data = [{"label": "all", "percentiles": {"0": 1.0, "50.0": 2.0}, "count": 3}]
    assert parse_percentiles(as_raw({"percentiles": {"data": data}})) == (
        Group("all", {0.0: 1.0, 50.0: 2.0}, 3),
    )
    assert parse_percentiles(as_raw({"percentiles": {"data": []}})) == ()


@pytest.mark.parametrize(
    ("parse", "answer"),
    [
        (parse_values, {"terms": {"data": [{"value": 1.5, "count": 1}]}}),
        (parse_values, {"terms": {"data": [{"value": "x"}]}}),
        (parse_values, {"terms": {"data": [{"value": "x", "count": -1}]}}),
        (parse_values, {"terms": {}}),
        (parse_values, {"min_max": {"data": [1, 2]}}),
        (parse_histogram, {"histogram": {"data": [{"value": "x", "count": 1}]}}),
        (parse_histogram, {"histogram": {"data": {}}}),
        (parse_date_histogram, {"date_histogram": {"data": [{"value": "2024", "count": 1}]}}),
        (parse_date_histogram, {"date_histogram": {"data": [{"value": 1, "count": 1}]}}),
        (parse_auto_date_histogram, {"auto_date_histogram": {"data": []}}),
        (parse_min_max, {"min_max": {"data": [1]}}),
        (parse_min_max, {"min_max": {"data": [1, None]}}),
        (parse_min_max, {"min_max": {"data": ["1", "2"]}}),
        (
            parse_percentiles,
            {"percentiles": {"data": [{"label": "all", "percentiles": {"x": 1.0}, "count": 1}]}},
        ),
        (
            parse_percentiles,
            {"percentiles": {"data": [{"label": "all", "percentiles": {"101": 1.0}, "count": 1}]}},
        ),
        (parse_percentiles, {"percentiles": {"data": None}}),
        (parse_statistics, {"statistics": {"data": {"n_entries": "1"}}}),
    ],
)
def test_what_is_not_as_promised_is_an_error(parse: Callable[[msgspec.Raw], Any], answer: Any) -> None:
    """Nothing is guessed."""
    with pytest.raises(ResponseFormatError):
        parse(as_raw(answer))


def test_a_date_beyond_the_calendar_is_an_error() -> None:
    """Python's years end at 9999."""
    with pytest.raises(ResponseFormatError, match="date"):
        date_of(1e18)
