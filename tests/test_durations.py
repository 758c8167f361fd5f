"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from nomadquery.durations import age
from nomadquery.errors import QueryError


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("7d", timedelta(days=7)),
        (" 1.5 h ", timedelta(minutes=90)),
        ("30 min", timedelta(minutes=30)),
        (timedelta(days=1), timedelta(days=1)),
    ],
)
def test_a_number_and_a_unit_of_time(text: Any, length: timedelta) -> None:
    """Or a timedelta."""
    assert age(text) == length


@pytest.mark.parametrize("wrong", [7, 7.5, None, True, "7", "soon", "-7d", b"7d"])
def test_what_is_no_length_of_time_is_told_what_to_write(wrong: Any) -> None:
    """A bare number too: nobody knows whether it means days."""
    with pytest.raises(QueryError, match="write '7d', '12h' or '30min'"):
        age(wrong)


def test_a_length_that_python_cannot_hold_is_refused() -> None:
    """As a wrong value, not as an overflow."""
    with pytest.raises(QueryError, match="too long"):
        age("999999999999999d")
