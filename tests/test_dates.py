"""Dates: a day is the whole day, an instant is exact, and both are sent in full."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from nomadquery import Q, Query
from nomadquery.errors import QueryError
from nomadquery.query import dates
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.predicate import matches
from tests.strategies import moments

created = Q.upload_create_time


def asked(query: Query) -> object:
    """Return what is asked of the time of upload."""
    return query.to_json()["upload_create_time"]


@pytest.mark.parametrize(
    "day", ["2024-01-31", date(2024, 1, 31), " 2024-01-31 ", np.datetime64("2024-01-31")]
)
def test_equal_to_a_day_means_the_whole_day(day: object) -> None:
    """NOMAD itself would compare with midnight."""
    whole_day = {"gte": "2024-01-31T00:00:00.000Z", "lt": "2024-02-01T00:00:00.000Z"}
    assert asked(created == day) == whole_day


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (created > "2024-01-31", {"gte": "2024-02-01T00:00:00.000Z"}),
        (created >= "2024-01-31", {"gte": "2024-01-31T00:00:00.000Z"}),
        (created < "2024-01-31", {"lt": "2024-01-31T00:00:00.000Z"}),
        (created <= "2024-01-31", {"lt": "2024-02-01T00:00:00.000Z"}),
        (
            created.between("2024-01-01", "2024-01-31"),
            {"gte": "2024-01-01T00:00:00.000Z", "lt": "2024-02-01T00:00:00.000Z"},
        ),
    ],
)
def test_bounds_at_a_day_are_before_or_after_the_whole_of_it(query: Query, expected: object) -> None:
    """After a day is from the next one on; up to a day includes it."""
    assert asked(query) == expected


@pytest.mark.parametrize(
    "instant",
    [
        "2024-01-31T12:00:00Z",
        "2024-01-31T12:00:00",
        "2024-01-31T13:00:00+01:00",
        datetime(2024, 1, 31, 12),
        datetime(2024, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))),
        pd.Timestamp("2024-01-31T12:00:00"),
        np.datetime64("2024-01-31T12:00:00.000000000"),
    ],
)
def test_instants_are_exact_and_in_utc(instant: object) -> None:
    """Without an offset UTC is meant; the milliseconds are written, or lte would include the whole second."""
    assert asked(created <= instant) == {"lte": "2024-01-31T12:00:00.000Z"}
    assert asked(created == instant) == "2024-01-31T12:00:00.000Z"


@pytest.mark.parametrize(
    "wrong", ["yesterday", "31.1.2024", "2024-13-01", "2024-02-30", "20240131", "2024", ""]
)
def test_what_is_no_date_is_refused(wrong: str) -> None:
    """With the spelling that is right."""
    with pytest.raises(QueryError, match=r"is not a date. Write '2024-01-31'"):
        _ = created >= wrong


def test_a_number_is_no_date_when_typed() -> None:
    """Seconds or milliseconds since 1970? NOMAD's JSON means milliseconds."""
    with pytest.raises(QueryError, match="holds dates, not 1704067200"):
        _ = created >= 1704067200
    assert Query.from_json({"upload_create_time": {"gte": 1704067200000}}) == (created >= "2024-01-01")


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", "2024-01-01T00:00:00.000Z", "2024-12-31T23:59:59.999Z"),
        ("2024-02", "2024-02-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z"),
        ("2024-02-03", "2024-02-03T00:00:00.000Z", "2024-02-03T23:59:59.999Z"),
        ("2024-02-03T04:05", "2024-02-03T04:05:00.000Z", "2024-02-03T04:05:59.999Z"),
        ("2024-02-03T04:05:06+02:00", "2024-02-03T02:05:06.000Z", "2024-02-03T02:05:06.999Z"),
        ("2024-02-03T04:05:06.123456", "2024-02-03T04:05:06.123Z", "2024-02-03T04:05:06.123Z"),
        ("-1", "1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_parts_left_out_in_json_are_the_last_ones_for_gt_and_lte(text: str, first: str, last: str) -> None:
    """As Elasticsearch rounds: "lte 2024-02-03" includes that day, "gt 2024-02-03" begins behind it."""
    for side in ("gte", "lt"):
        assert Query.from_json({"publish_time": {side: text}}).to_json() == {"publish_time": {side: first}}
    for side in ("gt", "lte"):
        assert Query.from_json({"publish_time": {side: text}}).to_json() == {"publish_time": {side: last}}


def test_bare_day_in_json_equals_its_midnight() -> None:
    """What NOMAD reads, not what people mean; `Q.publish_time == day` is the whole day."""
    asked_json = Query.from_json({"publish_time": "2024-01-01"}).to_json()
    assert asked_json == {"publish_time": "2024-01-01T00:00:00.000Z"}


@pytest.mark.parametrize("relative", ["now", "now-1d/d", "2024-01-01||+1M"])
def test_relative_dates_are_refused(relative: str) -> None:
    """A query that means something else tomorrow cannot be kept."""
    with pytest.raises(QueryError, match="write the date itself"):
        Query.from_json({"publish_time": {"gte": relative}})


def test_dates_beyond_the_calendar_are_refused() -> None:
    """Milliseconds of the year 33658, and the day behind the last one."""
    with pytest.raises(QueryError, match="not a date"):
        Query.from_json({"publish_time": {"gte": 10**15}})
    with pytest.raises(QueryError, match="not a date"):
        (created > "9999-12-31").to_json()


@given(moments(1970, 2100))
def test_an_entry_of_that_moment_is_found(moment: datetime) -> None:
    """By the moment, by its day, not before and not after; the index keeps milliseconds."""
    document = {"upload_create_time": moment.replace(tzinfo=UTC).isoformat()}
    catalogue = catalogue_for()
    for found, query in (
        (True, created == moment),
        (True, created == moment.date()),
        (True, created.between(moment, moment)),
        (False, created > moment),
        (False, created < moment),
        (True, created.exists()),
    ):
        assert matches(query.resolved(catalogue), document, catalogue) is found


@given(moments())
def test_instants_are_read_as_written(moment: datetime) -> None:
    """Text of an instant and back; the order of the texts is that of time."""
    text = dates.text_of(moment)
    assert dates.instant(text) == dates.as_indexed(text) == dates.as_indexed(text, last=True) == text
    assert dates.text_of(moment + timedelta(milliseconds=1)) > text


def test_whole_seconds_in_an_address_mean_their_last_moment_for_gt_and_lte() -> None:
    """NOMAD makes a datetime of a GET parameter and sends it without a fraction that is zero."""
    address = "https://nomad-lab.eu/prod/v1/api/v1/entries?publish_time__{}=2024-01-31T12:00:00"
    for side, last in (
        ("gt", "12:00:00.999Z"),
        ("lte", "12:00:00.999Z"),
        ("gte", "12:00:00.000Z"),
        ("lt", "12:00:00.000Z"),
    ):
        assert Query.from_url(address.format(side)).to_json() == {
            "publish_time": {side: f"2024-01-31T{last}"}
        }
