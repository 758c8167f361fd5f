"""The independent evaluator and a real NOMAD server read the same questions the same way.

The server holds NOMAD's sample entries; without them the cases would decide nothing, which
`test_most_cases_split_the_entries` would notice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from nomadquery.query.criteria import FLOAT_LIMIT, INT32_LIMIT, INT64_LIMIT, TEXT_LIMIT, Criterion, Range
from tests.oracle import select, values_of
from tests.real.oracle_cases import ALL, REFUSED, TOPOLOGY, Body, M

Documents = list[dict[str, Any]]


def shown(case: Any) -> str:
    return json.dumps(case)[:90] if isinstance(case, dict) else type(case).__name__


def ask(url: str, body: Body) -> requests.Response:
    """Return the answer to a query for ids, on a connection of its own.

    The server closes the connection after an answer of 500 without saying so.
    """
    request = {"query": body, "pagination": {"page_size": 10_000}, "required": {"include": ["entry_id"]}}
    return requests.post(f"{url}/entries/query", json=request, timeout=60)


def found(url: str, body: Body) -> list[str]:
    """Return the ids that the server lists, in its order."""
    reply = ask(url, body)
    assert reply.status_code == 200, reply.text[:400]
    return [entry["entry_id"] for entry in reply.json()["data"]]


@pytest.mark.parametrize(("body", "criterion"), ALL, ids=shown)
def test_server_finds_what_the_tree_selects(
    real_url: str, real_documents: Documents, body: Body, criterion: Criterion
) -> None:
    """The same ids, in the same order."""
    assert found(real_url, body) == select(criterion, real_documents)


def test_most_cases_split_the_entries(real_documents: Documents) -> None:
    """Agreement means something: two thirds of the trees select neither all entries nor none."""
    sizes = [len(select(criterion, real_documents)) for _, criterion in ALL]
    assert 3 * sum(0 < size < len(real_documents) for size in sizes) >= 2 * len(sizes)


@pytest.mark.parametrize(("body", "status", "words"), REFUSED, ids=shown)
def test_server_refuses(real_url: str, body: Body, status: int, words: str) -> None:
    """These bodies get no answer; whoever writes bodies must not write them."""
    reply = ask(real_url, body)
    assert reply.status_code == status
    assert words in reply.text


INDEX_TYPES: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[1] / "data" / "searchable-quantities-2.0.0.json").read_text()
)["quantities"]
#: The whole domain of each index type. Texts: only values with a word are found.
WHOLE_DOMAIN: dict[str, Body] = {
    "keyword": {"lte": TEXT_LIMIT},
    "text": {"lte": TEXT_LIMIT},
    "double": {"gte": -FLOAT_LIMIT, "lte": FLOAT_LIMIT},
    "integer": {"gte": -INT32_LIMIT - 1, "lte": INT32_LIMIT},
    "long": {"gte": -INT64_LIMIT - 1, "lte": INT64_LIMIT},
    "date": {"gte": "0001-01-01T00:00:00.000Z"},
    "boolean": {"any": [True, False]},
}
WITHOUT_RANGE = {f"{part}.chemical_formula_{name}" for part in (M, TOPOLOGY) for name in ("hill", "iupac")}


@pytest.mark.parametrize("index_type", sorted(WHOLE_DOMAIN))
def test_a_range_over_the_whole_domain_finds_who_has_the_quantity(
    real_url: str, real_documents: Documents, index_type: str
) -> None:
    """For every searchable quantity but the formulas that NOMAD rewrites, empty texts included."""
    differing = {}
    for quantity in set(INDEX_TYPES[index_type]) - WITHOUT_RANGE:
        having = [entry["entry_id"] for entry in real_documents if values_of(quantity, entry)]
        hits = found(real_url, {quantity: WHOLE_DOMAIN[index_type]})
        if hits != having:
            differing[quantity] = (len(hits), len(having))
    assert differing == {}


def test_a_range_from_the_blank_misses_empty_keywords(real_url: str, real_documents: Documents) -> None:
    """The empty text stands before the blank: as the server says, so the tree."""
    for quantity in sorted(set(INDEX_TYPES["keyword"]) - WITHOUT_RANGE):
        assert found(real_url, {quantity: {"gte": " "}}) == select(
            Range(quantity, gte=" "), real_documents
        ), quantity


@pytest.mark.parametrize("part", [M, TOPOLOGY])
def test_who_has_a_rewritten_formula_has_a_reduced_one(
    real_url: str, real_documents: Documents, part: str
) -> None:
    """`quantities` and the reduced formula tell what a range over these formulas cannot."""
    for quantity in (f"{part}.chemical_formula_hill", f"{part}.chemical_formula_iupac"):
        having = [entry["entry_id"] for entry in real_documents if values_of(quantity, entry)]
        assert found(real_url, {"quantities": quantity}) == having
        assert found(real_url, {f"{part}.chemical_formula_reduced": {"lte": TEXT_LIMIT}}) == having
