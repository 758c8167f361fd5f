"""Facets, histograms, statistics and coverage of a real server are plain counts over its entries."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from nomadquery.columns.plan import plan_column
from nomadquery.columns.planned import PlannedColumn
from nomadquery.errors import QueryError
from nomadquery.fetch.coverage import coverage
from nomadquery.fetch.histograms import histogram
from nomadquery.fetch.pages import Source
from nomadquery.fetch.summaries import facet, statistics
from nomadquery.http.message import Headers, Reply, Request
from nomadquery.local.matching import values_at
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.path import path_of
from tests.summaries import a_source, a_store_of

Document = dict[str, Any]
CATALOGUE = catalogue_for("2.0.0")
EV = 1.602176634e-19  # joule; SI 2019


@pytest.fixture(scope="module")
def source(real_url: str) -> Source:
    """Return the source of all public entries of the server."""

    def send(request: Request) -> Reply:
        reply = requests.post(f"{real_url}/{request.path}", json=request.json, timeout=120)
        assert reply.status_code == 200, reply.text[:400]
        return Reply(reply.status_code, Headers(), reply.content, reply.url)

    plain = a_source(a_store_of([]))
    return Source(send=send, question=plain.question, catalogue=plain.catalogue)


@pytest.mark.parametrize("quantity", ["quantities", "authors.name", "results.material.elements", "upload_id"])
def test_facets_have_every_value(quantity: str, source: Source, real_documents: list[Document]) -> None:
    """With its number of entries."""
    counts = Counter(v for one in real_documents for v in set(values_at(one, quantity.split("."))))
    frame = facet(source, quantity)
    assert dict(zip(frame["value"], frame["n_entries"], strict=True)) == counts


def test_facets_of_several_pages_have_every_value(
    source: Source, real_documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the cursors that the server gives, colons and blanks in values included."""
    monkeypatch.setattr("nomadquery.fetch.summaries._VALUES_A_PAGE", 37)
    counts = Counter(v for one in real_documents for v in set(values_at(one, ["entry_name"])))
    frame = facet(source, "entry_name")
    assert dict(zip(frame["value"], frame["n_entries"], strict=True)) == counts


def test_gaps_are_counted_in_electronvolts(source: Source, real_documents: list[Document]) -> None:
    """By the values of the documents."""
    path = ["results", "properties", "electronic", "band_gap", "value"]
    gaps = [value / EV for one in real_documents for value in values_at(one, path)]
    frame = histogram(source, "gap", range=("0.25 eV", "3.25 eV"), bins=3)  # no gap is at an edge
    edges = [0.25, 1.25, 2.25, 3.25]
    inside = [sum(low <= gap < high for gap in gaps) for low, high in pairwise(edges)]
    assert frame["n_items"].tolist() == inside
    [row] = statistics(source, "gap").to_dict("records")
    assert (row["n_values"], row["max"]) == (len(gaps), pytest.approx(max(gaps), rel=1e-12))


def test_no_column_of_the_index_is_covered_less_than_it_is_there(
    source: Source, real_documents: list[Document]
) -> None:
    """Every quantity of the index that is in any entry, as a column of its own."""
    columns, n_there = [], []
    for name in CATALOGUE.names:
        known = CATALOGUE.find(name)
        if known is None or not known.returnable or known.kind in {"section", "reference"}:
            continue
        n_entries = sum(bool(values_at(one, name.split("."))) for one in real_documents)
        if n_entries:
            columns.append(plan_column(Column(name, path_of(name)), CATALOGUE))
            n_there.append(n_entries)
    frame = coverage(source, columns)
    too_low = frame["n_entries"] < n_there
    assert not too_low.any(), frame[too_low]
    assert len(columns) > 200


def leaves_of(section: Any, path: str = "") -> set[str]:
    """Return the paths of all values in an archive, without positions; texts of references are values."""
    if isinstance(section, list) and any(isinstance(one, dict) for one in section):
        return {leaf for one in section for leaf in leaves_of(one, path)}
    if not isinstance(section, dict) or (section and section.keys() <= {"re", "im"}):
        return set() if section is None else {path}
    below = ((name, value) for name, value in section.items() if not name.startswith("m_"))
    return {leaf for name, value in below for leaf in leaves_of(value, f"{path}.{name}" if path else name)}


def planned(path: str) -> PlannedColumn | None:
    """Return the column of a path, ``None`` where it cannot be one."""
    try:
        return plan_column(Column(path, path_of(path)), CATALOGUE)
    except QueryError:
        return None


def test_no_column_of_an_archive_is_covered_less_than_it_is_there(
    source: Source, real_documents: list[Document]
) -> None:
    """Every path of the sample archives that can be a column, by reading the archives themselves."""
    shared = os.environ.get("NOMADQUERY_SHARED")
    if not shared:
        pytest.fail("Set NOMADQUERY_SHARED to the folder that holds nomad/samples.")
    n_there: Counter[str] = Counter()
    for document in real_documents:
        file = Path(shared) / "nomad" / "samples" / "archives" / f"{document['entry_id']}.archive.json.gz"
        with gzip.open(file, "rt") as stream:
            content = json.load(stream)
        n_there.update(
            leaves_of({name: content.get(name) for name in ("run", "workflow2", "results", "data")})
        )
    columns = [column for path in sorted(n_there) if (column := planned(path)) is not None]
    frame = coverage(source, columns)
    too_low = frame["n_entries"] < frame["path"].map(n_there)
    assert not too_low.any(), frame[too_low]
    assert len(columns) > 2_000
