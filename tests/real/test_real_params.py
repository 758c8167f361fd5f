"""GET parameters against a real server: they find the entries that a hand-written body finds."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from nomadquery.query.body import body
from nomadquery.query.body_reader import parse
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.criteria import (
    EVERYTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Optimade,
    Or,
    Range,
    Within,
)
from nomadquery.query.gui_address_reader import parse_gui_address
from nomadquery.query.gui_filters import APPS
from nomadquery.query.params import to_params
from nomadquery.query.params_reader import parse_get_params

CATALOGUE = catalogue_for("2.0.0")
MANY_ALL = frozenset({"results.material.elements", "results.material.topology.elements"})
ELEMENTS = "results.material.elements"
N_ELEMENTS = "results.material.n_elements"
PROGRAM = "results.method.simulation.program_name"
PROPERTIES = "results.properties.available_properties"
GAP = "results.properties.electronic.band_gap"
TOPOLOGY = "results.material.topology"
UPLOADED = "upload_create_time"
TIMEOUT_S = 120

#: Tree → query object written by hand from NOMAD's documentation of ``entries/query``.
QUESTIONS: list[tuple[Criterion, dict[str, Any]]] = [
    (EVERYTHING, {}),
    (Equals(PROGRAM, "VASP"), {PROGRAM: "VASP"}),
    (HasAny(PROGRAM, ("VASP", "exciting")), {"or": [{PROGRAM: "VASP"}, {PROGRAM: "exciting"}]}),
    (HasAll(ELEMENTS, ("Ti", "O")), {"and": [{ELEMENTS: "Ti"}, {ELEMENTS: "O"}]}),
    (HasAny(ELEMENTS, ("Ti", "Al")), {"or": [{ELEMENTS: "Ti"}, {ELEMENTS: "Al"}]}),
    (HasNone(ELEMENTS, ("C", "H", "O")), {"not": {f"{ELEMENTS}:any": ["C", "H", "O"]}}),
    (
        HasAll(PROPERTIES, ("dos_electronic", "band_structure_electronic")),
        {"and": [{PROPERTIES: "dos_electronic"}, {PROPERTIES: "band_structure_electronic"}]},
    ),
    (Range(N_ELEMENTS, gt=2), {N_ELEMENTS: {"gt": 2}}),
    (Range(N_ELEMENTS, gte=2, lte=3), {"or": [{N_ELEMENTS: 2}, {N_ELEMENTS: 3}]}),
    (Range(f"{GAP}.value", gt=0.0), {f"{GAP}.value": {"gt": 1e-30}}),
    (Range(f"{GAP}.value", lte=1e-18), {f"{GAP}.value": {"lte": 1e-18}}),
    (
        And((Equals(PROGRAM, "VASP"), Equals(ELEMENTS, "O"), Range(N_ELEMENTS, lt=4))),
        {PROGRAM: "VASP", ELEMENTS: "O", N_ELEMENTS: {"lt": 4}},
    ),
    (Range(UPLOADED, gte="2000-01-01T00:00:00.000Z"), {UPLOADED: {"gte": "2000-01-01"}}),
    (Equals("published", True), {"published": True}),
    (Equals("processed", False), {"not": {"processed": True}}),
    (
        Not(Equals("results.material.symmetry.crystal_system", "cubic")),
        {"not": {"results.material.symmetry.crystal_system": "cubic"}},
    ),
    (
        Within(GAP, (Equals(f"{GAP}.type", "direct"), Range(f"{GAP}.value", gt=1e-19))),
        {GAP: {"type": "direct", "value": {"gt": 1e-19}}},
    ),
    (
        HasAll(f"{TOPOLOGY}.label", ("original", "conventional cell")),
        {"and": [{f"{TOPOLOGY}.label": "original"}, {f"{TOPOLOGY}.label": "conventional cell"}]},
    ),
    (Optimade('elements HAS "Ti"'), {"optimade_filter": 'elements HAS "Ti"'}),
    (
        Or((Equals(PROGRAM, "GROMACS"), Equals(ELEMENTS, "Ti"))),
        {"or": [{PROGRAM: "GROMACS"}, {ELEMENTS: "Ti"}]},
    ),
]


def type_of(name: str) -> str | None:
    found = CATALOGUE.find(name)
    return found.type if found is not None and found.searchable else None


def ids(reply: requests.Response) -> set[str]:
    reply.raise_for_status()
    return {entry["entry_id"] for entry in reply.json()["data"]}


def found_by_post(url: str, query: dict[str, Any]) -> set[str]:
    request = {"query": query, "pagination": {"page_size": 10_000}, "required": {"include": ["entry_id"]}}
    return ids(requests.post(f"{url}/entries/query", json=request, timeout=TIMEOUT_S))


@pytest.mark.parametrize(("tree", "query"), QUESTIONS)
def test_get_finds_what_a_handwritten_body_finds(
    real_url: str, tree: Criterion, query: dict[str, Any]
) -> None:
    """Same entries, and some: a question without hits would prove nothing."""
    params = to_params(
        tree, types=type_of, many_all=MANY_ALL, nested_sections=CATALOGUE.nested_sections, to_json=body
    )
    request = [*params, ("page_size", "10000"), ("include", "entry_id")]
    found = ids(requests.get(f"{real_url}/entries", params=request, timeout=TIMEOUT_S))
    assert found
    assert found == found_by_post(real_url, query)


@pytest.mark.parametrize(
    "params",
    [
        [(ELEMENTS, "Ti"), (ELEMENTS, "O")],
        [(f"{TOPOLOGY}.elements", "Ti"), (f"{TOPOLOGY}.elements", "O")],
        [(PROGRAM, "VASP"), ("q", f"{N_ELEMENTS}__lte__2")],
        [("json_query", f'{{"{PROGRAM}": "exciting"}}'), (ELEMENTS, "Ti")],
        [("results.material.chemical_formula_hill", "TiO2")],
    ],
)
def test_tree_read_from_parameters_finds_what_the_parameters_find(
    real_url: str, params: list[tuple[str, str]]
) -> None:
    """Reading an API address loses nothing and adds nothing."""
    tree = parse_get_params(params, types=type_of, many_all=MANY_ALL, parse_json=parse)
    request = [*params, ("page_size", "10000"), ("include", "entry_id")]
    found = ids(requests.get(f"{real_url}/entries", params=request, timeout=TIMEOUT_S))
    assert found == found_by_post(real_url, body(tree))


def test_query_of_a_search_page_is_accepted(real_url: str) -> None:
    """The page's own form of the query finds the same as the tree that is read from it."""
    address = (
        "https://nomad-lab.eu/prod/v1/gui/search/calculations"
        f"?{ELEMENTS}=Ti&{ELEMENTS}=O&{PROGRAM}=VASP&{PROGRAM}=exciting&{UPLOADED}[gte]=946684800000"
    )
    query = parse_gui_address(address, types=type_of, to_stored=lambda _name, number, _unit: number)["query"]
    found = found_by_post(real_url, query)
    assert found
    assert found == found_by_post(real_url, body(parse(query)))


def test_fixed_filters_of_the_apps_are_those_of_the_server(real_url: str) -> None:
    """Each app that the server has is known with its filters; single values stand without a list."""
    listed = requests.get(f"{real_url}/apps/entry-points", timeout=TIMEOUT_S).json()["data"]
    for path in (app["path"] for app in listed):
        app = requests.get(f"{real_url}/apps/entry-points/{path}", timeout=TIMEOUT_S).json()["app"]
        locked = app.get("filters_locked") or {}
        alone = {k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in locked.items()}
        assert APPS[path] == alone, path
