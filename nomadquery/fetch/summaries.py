"""Numbers about all hits as small DataFrames: values and how frequent they are, extremes, percentiles.

Everything is counted by the server over the whole result, never over a page of it. Units stand in
``attrs["units"]``, where the numbers come from in ``attrs["nomadquery"]``. A ``path`` is a short name
(results are in its customary unit), a full path (in the stored unit) or ``"path in eV"``; ``schemas``
are the full names ``data.x#schema`` of a custom quantity, where the server has been asked for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from nomadquery.errors import QueryError, ResponseFormatError
from nomadquery.fetch.pages import Source
from nomadquery.fetch.plan import query_body
from nomadquery.http.aggregations import (
    ValueBucket,
    Values,
    aggregations_query,
    answers_to,
    date_of,
    parse_min_max,
    parse_percentiles,
    parse_values,
)
from nomadquery.http.endpoints import Owner, parse_entries_page
from nomadquery.query.aggregate import (
    Aggregation,
    MinMax,
    Percentiles,
    Terms,
    aggregation_json,
    checked_metrics,
    checked_percents,
    has_percentiles,
)
from nomadquery.query.aggregated import Aggregated, facet_quantity, measured_quantity
from nomadquery.query.criteria import EVERYTHING, And, Criterion, canonical
from nomadquery.query.quantity import QuantityPath
from nomadquery.query.resolve import existence

if TYPE_CHECKING:
    import pandas as pd

_VALUES_A_PAGE: Final = 5_000
#: What the server can look for inside values; anything else is looked for here.
_PART: Final = re.compile(r"[a-zA-Z0-9_\- ]+")
_ASKED: Final = "asked"

Schemas = Mapping[str, tuple[str, ...]]
#: Column → its values and their dtype.
Columns = dict[str, tuple[Sequence[Any], str]]


def facet(
    source: Source,
    path: str | QuantityPath,
    *,
    size: int | None = None,
    metrics: Sequence[str] = (),
    contains: str | None = None,
    schemas: Schemas | None = None,
) -> pd.DataFrame:
    """Return the values that the hits have of a quantity, the most frequent first, then by value.

    Columns: ``value``; ``n_entries``, how many hits have it; for quantities of a nested section
    ``n_items``, how many of its items have it; one for each metric. Values without hits are left out.
    Without ``size`` every value is there: they are paged through by value, 5,000 a request.

    Parameters
    ----------
    source : Source
    path : str or QuantityPath
        A text of exact words or a truth value in the search index.
    size : int, optional
        Only so many values.
    metrics : sequence of str
        ``n_uploads``, ``n_materials``, ``n_entries`` (different ones, which the search engine estimates
        above some thousands), ``n_calculations``, ``n_quantities`` (sums).
    contains : str, optional
        Only values that contain this text; upper and lower case differ.
    schemas : mapping, optional

    Raises
    ------
    QuantityNotFound, NotExpressible
        If NOMAD does not know the quantity, or cannot list its values.
    QueryError
        If an option does not fit, or the search has a limit.
    """
    check_unlimited(source)
    counted = facet_quantity(path, source.catalogue, schemas)
    is_truth = counted.quantity.kind == "boolean"
    _check_size(size)
    if contains is not None and (is_truth or not isinstance(contains, str) or not contains):
        raise QueryError(f"contains is a text that values of {counted.name} may hold, not {contains!r}.")
    terms = Terms(counted.name, metrics=checked_metrics(metrics, counted.quantity))
    buckets: Iterable[ValueBucket]
    if is_truth:  # their pages have no cursor that could be sent
        total, values = _values(source, replace(terms, size=10))
        buckets = values.buckets
    elif size is not None and not counted.is_nested and (contains is None or _PART.fullmatch(contains)):
        total, values = _values(source, replace(terms, size=size, include=contains))
        buckets = values.buckets
    else:  # of nested quantities the server would choose by items, not by entries
        total, buckets = _every_value(source, terms)
    found = [one for one in buckets if one.n_entries and (contains is None or contains in str(one.value))]
    found = sorted(found, key=lambda one: (-one.n_entries, one.value))[:size]
    columns: Columns = {
        "value": ([one.value for one in found], "boolean" if is_truth else "string"),
        "n_entries": ([one.n_entries for one in found], "int64"),
    }
    if counted.is_nested:
        columns["n_items"] = ([one.n_items for one in found], "int64")
    for metric in terms.metrics:
        columns[metric] = ([one.metrics.get(metric) for one in found], "Int64")
    return summary_frame(source, counted, columns, n_hits=total)


def statistics(
    source: Source,
    path: str | QuantityPath,
    *,
    percents: Sequence[float] = (25, 50, 75),
    schemas: Schemas | None = None,
) -> pd.DataFrame:
    """Return one row about the values that the hits have of a number or date; one request.

    Columns: ``path``; ``n_entries``, hits with a value; ``n_values``, all their values; ``min``; one for
    each percent (``50%`` is the median), which the search engine estimates where values are many; ``max``.
    NOMAD gives no mean. Before 1.4 it gives no percentiles: ``n_values`` and their columns are left out.

    Raises
    ------
    QuantityNotFound, NotExpressible
        If NOMAD does not know the quantity, or it holds neither numbers nor dates.
    UnitError
        If the wanted unit does not fit.
    """
    check_unlimited(source)
    measured = measured_quantity(path, source.catalogue, schemas)
    wanted = checked_percents(percents)
    asked: dict[str, Aggregation] = {"extremes": MinMax(measured.name)}
    if has_percentiles(source.question.release):
        asked["percentiles"] = Percentiles(measured.name, wanted or (50.0,))
    n_entries, answers = ask_aggregations(source, asked, existence(measured.quantity))
    low, high = parse_min_max(answers["extremes"]) or (None, None)
    columns: Columns = {"path": ([measured.name], "string"), "n_entries": ([n_entries], "int64")}
    measures: Columns = {"min": _one(low, measured)}
    if "percentiles" in asked:
        groups = parse_percentiles(answers["percentiles"])
        known = groups[0].percentiles if groups else {}
        columns["n_values"] = ([groups[0].count if groups else 0], "int64")
        for percent in wanted:
            measures[f"{percent:g}%"] = _one(known.get(percent), measured)
    measures["max"] = _one(high, measured)
    return summary_frame(source, measured, columns | measures, measures=tuple(measures))


def minmax(source: Source, path: str | QuantityPath, *, schemas: Schemas | None = None) -> pd.DataFrame:
    """Return one row with the smallest and largest value: ``path``, ``min``, ``max``; null without any.

    Raises
    ------
    QuantityNotFound, NotExpressible, UnitError
        As for `statistics`.
    """
    check_unlimited(source)
    measured = measured_quantity(path, source.catalogue, schemas)
    low, high = extremes(source, measured) or (None, None)
    measures: Columns = {"min": _one(low, measured), "max": _one(high, measured)}
    columns: Columns = {"path": ([measured.name], "string")}
    return summary_frame(source, measured, columns | measures, measures=("min", "max"))


def extremes(source: Source, measured: Aggregated) -> tuple[float, float] | None:
    """Return the smallest and the largest value as stored (dates: epoch ms), ``None`` without any."""
    _, answers = ask_aggregations(source, {_ASKED: MinMax(measured.name)})
    return parse_min_max(answers[_ASKED])


def ask_aggregations(
    source: Source, aggregations: Mapping[str, Aggregation], criterion: Criterion = EVERYTHING
) -> tuple[int, dict[str, msgspec.Raw]]:
    """Return the number of hits that also satisfy ``criterion``, and the answer to each aggregation."""
    question = source.question
    narrowed = replace(question, sort=None, criterion=canonical(And((question.criterion, criterion))))
    request = aggregations_query(
        query_body(narrowed, source.catalogue),
        {name: aggregation_json(one, release=question.release) for name, one in aggregations.items()},
        owner=cast(Owner, question.owner),
    )
    reply = source.send(request)
    return parse_entries_page(reply).total, answers_to(reply, aggregations) if aggregations else {}


def check_unlimited(source: Source) -> None:
    """Check that all hits are meant: the server counts over all of them.

    Raises
    ------
    QueryError
        If the search has a limit.
    """
    if source.question.limit is not None:
        raise QueryError(
            "NOMAD counts over all hits, and this search is limited to some of them. Leave .limit() out, or "
            "count in the table: search.to_pandas()[...].value_counts()."
        )


def dtype_of(measured: Aggregated) -> str:
    """Return the dtype of columns that hold values of the quantity."""
    return "datetime64[ms, UTC]" if measured.is_date else "float64"


def summary_frame(
    source: Source,
    counted: Aggregated,
    columns: Columns,
    *,
    measures: Sequence[str] = (),
    n_hits: int | None = None,
) -> pd.DataFrame:
    """Return the DataFrame; the columns ``measures`` are in the unit of the results."""
    import pandas as pd

    frame = pd.DataFrame({name: pd.Series(values, dtype=dtype) for name, (values, dtype) in columns.items()})
    unit = None if counted.is_date else counted.unit
    frame.attrs["units"] = {} if unit is None else dict.fromkeys(measures, unit)
    question = source.question
    frame.attrs["nomadquery"] = {
        "path": counted.name,
        "deployment": question.deployment,
        "owner": question.owner,
        "fetched_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **({} if n_hits is None else {"n_hits": n_hits}),
    }
    return frame


def _one(stored: float | None, measured: Aggregated) -> tuple[list[Any], str]:
    """Return a column of one stored number: in the unit of the results, or a datetime in UTC."""
    if stored is None:
        return [None], dtype_of(measured)
    return [date_of(stored) if measured.is_date else measured.shown(stored)], dtype_of(measured)


def _check_size(size: object) -> None:
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise QueryError(f"size is a number of values, at least 1, not {size!r}.")


def _values(source: Source, terms: Terms) -> tuple[int, Values]:
    total, answers = ask_aggregations(source, {_ASKED: terms})
    return total, parse_values(answers[_ASKED])


def _every_value(source: Source, terms: Terms) -> tuple[int, list[ValueBucket]]:
    """Return the number of hits and every value, page after page in the order of the values.

    The cursor is there on the last page too; what tells the end is a page that is not full.
    """
    total, page = _values(source, replace(terms, page_size=_VALUES_A_PAGE))
    found = list(page.buckets)
    passed: set[str] = set()
    while len(page.buckets) >= _VALUES_A_PAGE and page.next_after is not None:
        if page.next_after in passed:
            raise ResponseFormatError(
                f"NOMAD repeats the values of {terms.quantity} after {page.next_after!r}, without an end."
            )
        passed.add(page.next_after)
        _, page = _values(source, replace(terms, page_size=_VALUES_A_PAGE, after=page.next_after))
        found += page.buckets
    return total, found
