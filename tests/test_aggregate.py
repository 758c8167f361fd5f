"""Aggregations are checked before anything is sent, and spelled for the release."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError, UnitError, WouldBeMisread
from nomadquery.query.aggregate import (
    Aggregation,
    AutoDateHistogram,
    DateHistogram,
    Histogram,
    MinMax,
    Percentiles,
    Statistics,
    Terms,
    aggregation_json,
    checked_bins,
    checked_metrics,
    checked_percents,
)
from nomadquery.query.aggregated import (
    calendar_interval,
    facet_quantity,
    fixed_milliseconds,
    measured_quantity,
    open_name,
    stored_range,
    stored_width,
)
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.quantity import Q

CATALOGUE = catalogue_for("2.0.0")
EV = 1.602176634e-19  # joule; SI 2019
GAP = "results.properties.electronic.band_gap.value"
PROGRAM = "results.method.simulation.program_name"


@pytest.mark.parametrize(
    ("aggregation", "body"),
    [
        (Terms("x", size=3), {"terms": {"quantity": "x", "size": 3}}),
        (
            Terms("x", include="a", metrics=("n_uploads",)),
            {"terms": {"quantity": "x", "include": "a", "metrics": ["n_uploads"]}},
        ),
        (Terms("x", include=("a", "b")), {"terms": {"quantity": "x", "include": ["a", "b"]}}),
        (Terms("x", page_size=2), {"terms": {"quantity": "x", "pagination": {"page_size": 2}}}),
        (
            Terms("x", page_size=2, after="a:b"),
            {"terms": {"quantity": "x", "pagination": {"page_size": 2, "page_after_value": "a:b"}}},
        ),
        (Histogram("x", 2.0, 1.0), {"histogram": {"quantity": "x", "interval": 2.0, "offset": 1.0}}),
        (DateHistogram("x", "1y"), {"date_histogram": {"quantity": "x", "calendar_interval": "1y"}}),
        (AutoDateHistogram("x", 7), {"auto_date_histogram": {"quantity": "x", "buckets": 7}}),
        (MinMax("x"), {"min_max": {"quantity": "x"}}),
        (Percentiles("x", (50.0,)), {"percentiles": {"quantity": "x", "percents": [50.0]}}),
        (
            Percentiles("x", (50.0,), "y", 3),
            {"percentiles": {"quantity": "x", "percents": [50.0], "group_by": "y", "group_by_size": 3}},
        ),
        (Statistics(("n_entries",)), {"statistics": {"metrics": ["n_entries"]}}),
    ],
)
def test_each_aggregation_has_nomads_json(aggregation: Aggregation, body: dict[str, Any]) -> None:
    """What is absent is left out."""
    assert aggregation_json(aggregation, release="2.0.0") == body


@pytest.mark.parametrize("release", ["1.4.3", "1.3.17"])
def test_calendar_intervals_had_another_name_before(release: str) -> None:
    """`interval`, in 1.x the only word; 2.0 calls it `calendar_interval`."""
    body = aggregation_json(DateHistogram("x", "1M"), release=release)
    assert body == {"date_histogram": {"quantity": "x", "interval": "1M"}}


def test_percentiles_came_with_1_4() -> None:
    """An older server would ignore them."""
    assert "percentiles" in aggregation_json(Percentiles("x", (50.0,)), release="1.4.3")
    with pytest.raises(NotExpressible, match=r"1\.4"):
        aggregation_json(Percentiles("x", (50.0,)), release="1.3.17")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("program", PROGRAM),
        (PROGRAM, PROGRAM),
        (Q.program, PROGRAM),
        ("elements", "results.material.elements"),
        ("published", "published"),
        ("metadata.upload_id", "upload_id"),
        ("authors.name", "authors.name"),
        ("data.a#my.Schema", "data.a#my.Schema"),
        (Q["results.no.such"].unchecked(), "results.no.such"),
    ],
)
def test_values_can_be_listed_of_texts_and_truths(path: Any, name: str) -> None:
    """Short names, full paths and Q paths."""
    assert facet_quantity(path, CATALOGUE).name == name


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("n_elements", "histogram"),
        ("uploaded", "histogram"),
        ("gap", "histogram"),
        ("comment", "free text"),
        ("mainfile.path", "These would do: mainfile"),
        ("datasets", "datasets.dataset_name"),
        ("results.material", "results.material.compound_type"),
        ("energy", "not in NOMAD's search index"),
        ("run[-1].program.name", "without positions"),
        ("results.material.elements.first()", "without positions"),
    ],
)
def test_what_cannot_be_listed_is_refused_with_what_can(path: str, said: str) -> None:
    """Numbers and dates, free text, sections, archive paths, and single items."""
    with pytest.raises(NotExpressible, match=said):
        facet_quantity(path, CATALOGUE)


@pytest.mark.parametrize("ask", [facet_quantity, measured_quantity])
def test_unknown_quantities_are_refused_with_the_nearest(ask: Any) -> None:
    """As everywhere."""
    with pytest.raises(QuantityNotFound, match=r"results\.material\.elements"):
        ask("results.material.elementz", CATALOGUE)


def test_a_custom_quantity_takes_the_schema_that_the_server_knows() -> None:
    """Without one the error says how to write it."""
    schemas = {"data.a": ("data.a#my.Schema",)}
    assert open_name("data.a") == "data.a"
    assert facet_quantity("data.a", CATALOGUE, schemas).name == "data.a#my.Schema"
    with pytest.raises(QuantityNotFound, match="schema"):
        facet_quantity("data.a", CATALOGUE)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("gap", "eV"),
        ("gap in meV", "meV"),
        (f"{GAP} in eV", "eV"),
        (GAP, "joule"),
        ("n_elements", None),
        ("uploaded", None),
        ("jsc", "mA/cm^2"),
    ],
)
def test_results_are_in_the_wanted_the_customary_or_the_stored_unit(path: str, unit: str | None) -> None:
    """A short name has a customary one."""
    measured = measured_quantity(path, CATALOGUE)
    assert measured.unit == unit
    if unit == "meV":
        assert measured.shown(EV) == pytest.approx(1000, rel=1e-14)


@pytest.mark.parametrize("path", ["gap in K", "n_elements in eV"])
def test_a_unit_that_does_not_fit_is_refused(path: str) -> None:
    """Another dimension, or none."""
    with pytest.raises(UnitError):
        measured_quantity(path, CATALOGUE)


@pytest.mark.parametrize("path", ["program", "published", "entry_name.prefix"])
def test_what_is_no_number_cannot_be_measured(path: str) -> None:
    """Values of texts are listed instead."""
    with pytest.raises(NotExpressible, match="numbers and dates"):
        measured_quantity(path, CATALOGUE)


def test_bounds_and_widths_are_given_with_their_unit() -> None:
    """And sent in the stored one."""
    gap = measured_quantity("gap", CATALOGUE)
    assert [*stored_range(("0 eV", "4 eV"), gap)] == pytest.approx([0, 4 * EV], rel=1e-15)
    assert stored_width("0.1 eV", gap) == pytest.approx(0.1 * EV, rel=1e-15)
    assert stored_width(0.5, measured_quantity("n_elements", CATALOGUE)) == 0.5


def test_bounds_of_dates_are_whole_days_or_instants() -> None:
    """In UTC."""
    uploaded = measured_quantity("uploaded", CATALOGUE)
    assert stored_range(("2024-01-01", "2024-02-01T12:00:00"), uploaded) == (
        "2024-01-01T00:00:00.000Z",
        "2024-02-01T12:00:00.000Z",
    )


@pytest.mark.parametrize(
    ("bounds", "error"),
    [
        ((0.5, 4), UnitError),
        (("0 K", "4 K"), UnitError),
        (("4 eV", "1 eV"), QueryError),
        (("1 eV", "1 eV"), QueryError),
        (("1 eV",), QueryError),
        ("1 eV", QueryError),
    ],
)
def test_bounds_that_do_not_fit_are_refused(bounds: Any, error: type[Exception]) -> None:
    """Without unit, of another dimension, in the wrong order, not two."""
    with pytest.raises(error):
        stored_range(bounds, measured_quantity("gap", CATALOGUE))


@pytest.mark.parametrize("width", [0.1, "0 eV", "-1 eV", "1 K", "x", None])
def test_widths_that_do_not_fit_are_refused(width: Any) -> None:
    """Without unit, not positive, of another dimension, no number."""
    with pytest.raises(QueryError):
        stored_width(width, measured_quantity("gap", CATALOGUE))


def test_a_width_is_a_difference_of_temperatures() -> None:
    """10 degC as a width would be 283.15 K."""
    temperature = measured_quantity(
        "results.properties.catalytic.reaction.reaction_conditions.temperature in K", CATALOGUE
    )
    assert stored_width("10 K", temperature) == 10
    with pytest.raises(UnitError, match="difference"):
        stored_width("10 degC", temperature)


@pytest.mark.parametrize(
    ("width", "milliseconds"),
    [("30d", 2_592_000_000), ("15min", 900_000), ("12 h", 43_200_000), (timedelta(days=1), 86_400_000)],
)
def test_lengths_of_time_are_read(width: Any, milliseconds: int) -> None:
    """Days, hours, minutes, seconds; calendar intervals have words of their own."""
    assert fixed_milliseconds(width) == milliseconds
    assert calendar_interval(width) is None
    assert [calendar_interval(word) for word in ("day", "1w", "month", "quarter", "1y")] == [
        "1d",
        "1w",
        "1M",
        "1q",
        "1y",
    ]


@pytest.mark.parametrize("width", ["0d", "fortnight", 30, timedelta(0), "-1d"])
def test_what_is_no_length_of_time_is_refused(width: Any) -> None:
    """With what there is."""
    with pytest.raises(QueryError, match="month"):
        fixed_milliseconds(width)


def test_metrics_that_nomad_miscounts_are_refused() -> None:
    """Authors, and everything inside nested sections, are 0 there."""
    program = facet_quantity("program", CATALOGUE).quantity
    assert checked_metrics(["n_uploads", "n_materials"], program) == ("n_uploads", "n_materials")
    with pytest.raises(WouldBeMisread, match=r"authors\.name"):
        checked_metrics(["n_authors"], program)
    with pytest.raises(WouldBeMisread, match="apart"):
        checked_metrics(["n_uploads"], facet_quantity("gap_type", CATALOGUE).quantity)
    with pytest.raises(QueryError, match="n_calculations"):
        checked_metrics(["results.properties.n_calculations"], program)


@pytest.mark.parametrize("bins", [0, -1, 1.5, True, "3", 10_001])
def test_numbers_of_bins_are_checked(bins: Any) -> None:
    """From 1 to 10,000."""
    with pytest.raises(QueryError, match="bins"):
        checked_bins(bins)


def test_percents_are_sorted_and_checked() -> None:
    """From 0 to 100, each once."""
    assert checked_percents((75, 25, 25.0)) == (25.0, 75.0)
    with pytest.raises(QueryError, match="100"):
        checked_percents((101,))
