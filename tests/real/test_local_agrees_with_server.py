"""The local deployment answers as a real NOMAD server does, and indexes archives as NOMAD does.

The public entries of the server are put into a local deployment; then both are asked the same.
The index is compared with the sample entries below ``NOMADQUERY_SHARED``, whose documents
nomad-lab 1.4.3 made of the archives beside them.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from nomadquery.http.message import Request
from nomadquery.local.index import search_document
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from nomadquery.query.catalogue import catalogue_for

Answer = tuple[int, Any]
Ask = Callable[[str, str, Any], Answer]

PROGRAM = "results.method.simulation.program_name"
ELEMENTS = "results.material.elements"
N_ELEMENTS = "results.material.n_elements"
GAP = "results.properties.electronic.band_gap"
EFFICIENCY = "results.properties.optoelectronic.solar_cell.efficiency"
SOME_ID = "-DrJZk9E5SbLPwthBS2U2ZCOgwFw"

QUERIES: list[Any] = [
    {},
    None,
    {PROGRAM: "VASP"},
    {PROGRAM: "vasp"},
    {f"{PROGRAM}:any": ["VASP", "FHI-aims"]},
    {f"{PROGRAM}:none": ["VASP", "FHI-aims"]},
    {ELEMENTS: ["O", "Ti"]},
    {ELEMENTS: {"any": ["Ti", "Zr"]}},
    {ELEMENTS: {"none": ["O", "Ti"]}},
    {ELEMENTS: "Si"},
    {"results.material.elements_exclusive": "O Ti"},
    {N_ELEMENTS: 2},
    {N_ELEMENTS: {"gt": 2}},
    {N_ELEMENTS: {"gte": 2, "lt": 4}},
    {f"{N_ELEMENTS}:lte": 1},
    {"not": {N_ELEMENTS: 1}},
    {"and": [{ELEMENTS: "O"}, {"not": {PROGRAM: "VASP"}}]},
    {"or": [{ELEMENTS: "Ga"}, {PROGRAM: "GROMACS"}]},
    {"results.material": {"elements:any": ["Ti", "O"], "n_elements": 2}},
    {"results.material.chemical_formula_reduced": "Si"},
    {"results.material.chemical_formula_hill": "TiO2"},
    {"results.material.structural_type": "bulk"},
    {"results.material.symmetry.crystal_system": "cubic"},
    {"results.material.symmetry.space_group_number": {"gte": 200}},
    {f"{GAP}.value": {"gte": 1e-19}},
    {GAP: {"value": {"gte": 1e-20}, "type": "direct"}},
    {"and": [{f"{GAP}.value": {"gte": 1e-20}}, {f"{GAP}.type": "direct"}]},
    {"results.material.topology.label": "conventional cell"},
    {"results.material.topology": {"label": "original", "n_atoms": {"gte": 8}}},
    {"results.method.simulation.dft.xc_functional_names": ["GGA_X_PBE", "GGA_C_PBE"]},
    {"results.method.simulation.precision.planewave_cutoff": {"gte": 1e-16}},
    {"upload_create_time": {"gte": "2024-01-01"}},
    {"upload_create_time": {"gte": "2023-01-01T00:00:00Z", "lt": "2024-06-01T12:00:00+02:00"}},
    {"published": True},
    {"with_embargo": True},
    {"quantities": "run.calculation.energy.total"},
    {"quantities": {"any": ["data", "workflow2.results"]}},
    {"sections:any": ["runschema.run.Run"]},
    {"main_author.name": "Michael Okafor"},
    {"datasets.dataset_name": "Experiments"},
    {"datasets.doi": {"gte": " "}},
    {"entry_id:any": [SOME_ID, "no such entry"]},
    {"entry_id": SOME_ID},
    {"mainfile": "W_dos/w.dos.out"},
    {"mainfile.path": "out"},
    {"entry_name.prefix": "Quantum Esp"},
    {"entry_type": "PerovskiteSolarCell"},
    {EFFICIENCY: {"gt": 10, "lte": 20}},
    {"search_quantities": {"id": "data.name#nomad.datamodel.metainfo.eln.ELNSample"}},
    {"results.material.elementz": "Si"},
    {"and": [{"foo": 1}]},
    {f"{PROGRAM}:some": ["VASP"]},
]

PAGINATIONS: list[Any] = [
    None,
    {},
    {"page_size": 0},
    {"page_size": 1},
    {"page_size": 388},
    {"page_size": 400},
    {"page_size": 10_000},
    {"page_size": 10_001},
    {"page_size": -1},
    {"page_size": None},
    {"page_size": "7"},
    {"page_size": 2.0},
    {"page_size": 1.5},
    {"page_size": "x"},
    {"page_size": True},
    {"page_size": [1]},
    {"page": 2, "page_size": 7},
    {"page": 100, "page_size": 7},
    {"page": 0},
    {"page": "x", "page_size": -1},
    {"page": 1000},
    {"page_offset": 5, "page_size": 3},
    {"page_offset": 386, "page_size": 3},
    {"page_offset": 9995},
    {"page_offset": -1},
    {"page_offset": 0, "page_size": 0},
    {"page": 2, "page_offset": 5},
    {"page": 1, "page_offset": 0},
    {"page_after_value": SOME_ID, "page_size": 4},
    {"page_after_value": "zzz"},
    {"page_after_value": ""},
    {"page_after_value": "x:y"},
    {"page_after_value": 3},
    {"page_after_value": "x", "page": 2},
    {"page_after_value": "x", "page_size": 0},
    {"order": "desc", "page_size": 5},
    {"order": "desc", "page_size": 5, "page_after_value": SOME_ID},
    {"order": "down"},
    {"order": 3},
    {"order": None},
    {"order_by": None},
    {"order_by": 3},
    {"order_by": ""},
    {"order_by": "foo"},
    {"order_by": ELEMENTS},
    {"order_by": "main_author"},
    {"order_by": "entry_name.prefix"},
    {"order_by": "comment"},
    {"order_by": "mainfile_path", "page_size": 5},
    {"order_by": "upload_create_time", "page_size": 5},
    {"order_by": "upload_create_time", "page_size": 5, "order": "desc"},
    {"order_by": "upload_create_time", "page_after_value": "1700000000000:zzz", "page_size": 5},
    {"order_by": "upload_create_time", "page_after_value": "x:y"},
    {"order_by": "upload_id", "page_after_value": "x"},
    {"order_by": "main_author.name", "page_size": 5},
    {"order_by": PROGRAM, "page_size": 5, "order": "desc"},
    {"order_by": PROGRAM, "page_size": 5, "page_after_value": f"None:{SOME_ID}"},
    {"order_by": N_ELEMENTS, "page_size": 5},
    {"order_by": N_ELEMENTS, "page_size": 5, "page_after_value": "2:a"},
    {"order_by": N_ELEMENTS, "page_after_value": "x:y"},
    {"order_by": EFFICIENCY, "page_size": 2},
    {"order_by": EFFICIENCY, "page_size": 3},
    {"order_by": EFFICIENCY, "page_size": 5, "order": "desc"},
    {"order_by": EFFICIENCY, "page_size": 5, "page_after_value": f"Infinity:{SOME_ID}"},
    {"order_by": "published", "page_size": 3},
    {"order_by": f"{GAP}.value", "page_size": 3},
    {"order_by": "results.material.topology.label", "page_size": 3, "order": "desc"},
    {"size": 3},
    3,
    [],
]

REQUIREDS: list[Any] = [
    {},
    {"include": None},
    {"include": []},
    {"include": ["upload_id"]},
    {"include": ["*"]},
    {"include": ["results.material.*"]},
    {"include": ["results.material.elem*"]},
    {"include": [f"{GAP}.value", f"{GAP}.type"]},
    {"include": [f"{GAP}*"]},
    {"include": ["results.properties.*"], "exclude": ["results.properties.electronic.*"]},
    {"include": ["datasets", "main_author"]},
    {"include": ["datasets*", "main_author*"]},
    {"include": ["datasets.doi", "upload_id"]},
    {"include": ["main_author", "authors.name"]},
    {"include": ["data*"]},
    {"include": ["data.name*", "data.lab_id*", "upload_id"]},
    {"include": ["data.steps.*"]},
    {"include": ["search_quantities*"]},
    {"include": ["search_quantities.id", "search_quantities.str_value"]},
    {"include": ["optimade*"]},
    {"include": ["license*", "upload_name"]},
    {"include": ["foo*"]},
    {"include": ["entry_name.prefix"]},
    {"include": ["files", "quantities"]},
    {"exclude": []},
    {"exclude": ["*"]},
    {"exclude": ["results*", "quantities*", "section_defs*"]},
    {"exclude": ["datasets"]},
    {"exclude": ["datasets*", "data*"]},
    {"exclude": ["data*"]},
    {"exclude": ["data.name*", "upload_id"]},
    {"exclude": ["search_quantities*"]},
    {"exclude": ["entry_id"]},
    {"exclude": ["lic*"]},
    {"include": ["foo"]},
    {"include": ["results"]},
    {"include": ["license"]},
    {"include": ["data.name#entry_id:x.S"]},
    {"exclude": ["results.material"]},
    {"include": "upload_id"},
    {"include": [3]},
    {"results": "*"},
    3,
]

ARCHIVE_REQUIREDS: list[Any] = [
    "*",
    "include",
    None,
    {},
    {"metadata": {"entry_id": "*", "foo": "*"}},
    {"results": {"material": {"elements": "*", "topology[0]": {"label": "*"}}}},
    {"run": {"calculation[-1]": {"energy": {"total": "*"}}}},
    {"run[0]": {"system[-1]": {"atoms": {"labels[0:2]": "*"}}}},
    {"run": {"calculation[1:1]": {"energy": {"total": "*"}}}},
    {"workflow2": {"results": "*"}},
    {"*": "*", "run": "exclude", "processing_logs": "exclude"},
    "foo",
    3,
    {"run[x]": "*"},
    {"metadata": {"entry_id": 3}},
    {"resolve-inplace": "yes"},
]

ADDRESSES = [
    "entries?page_size=3",
    "entries?page_size=3&page=2&include=upload_id",
    "entries?page_size=0",
    "entries?page_size=x",
    "entries?page_size=-1",
    "entries?order=down",
    "entries?order_by=foo",
    "entries?order_by=upload_create_time&order=desc&page_size=4&include=mainfile",
    "entries?owner=me",
    "entries?owner=user",
    "entries?owner=visible&page_size=2",
    f"entries?{ELEMENTS}=Ti&{ELEMENTS}=O&page_size=50&include=upload_id",
    f"entries?{PROGRAM}=VASP&{PROGRAM}=GPAW&page_size=50&include=upload_id",
    f"entries?{N_ELEMENTS}__gte=3&page_size=100&include=upload_id",
    f"entries?q={N_ELEMENTS}__gte__3&page_size=100&include=upload_id",
    'entries?json_query={"results.material.n_elements":2}&page_size=100&include=upload_id',
    f"entries/{SOME_ID}",
    f"entries/{SOME_ID}?include=upload_id&include=results.*",
    f"entries/{SOME_ID}?exclude=quantities&exclude=results*",
    f"entries/{SOME_ID}?include=foo",
    "entries/no-such-entry",
    "entries/query",
    f"entries/{SOME_ID}/archive",
    "entries/no-such-entry/archive",
    "users/me",
]


@pytest.fixture(scope="module")
def local_store(real_url: str, real_documents: list[dict[str, Any]]) -> Iterator[LocalStore]:
    """Hold the server's public entries, a few of them with their archives."""
    with LocalStore() as store, requests.Session() as session:

        def archive_of(entry_id: str, position: int) -> Any:
            if position % 20 and entry_id != SOME_ID:
                return None
            answer = session.get(f"{real_url}/entries/{entry_id}/archive", timeout=60).json()
            return {key: value for key, value in answer["data"]["archive"].items() if key != "m_ref_archives"}

        ids = [document["entry_id"] for document in real_documents]
        store.add_entries(
            (document, archive_of(entry_id, position))
            for position, (entry_id, document) in enumerate(zip(ids, real_documents, strict=True))
        )
        yield store


@pytest.fixture(scope="module")
def ask_real(real_url: str) -> Ask:
    """Ask the server, each time over a new connection: it closes them after an answer of 500."""

    def ask(method: str, path: str, body: Any) -> Answer:
        reply = requests.request(method, f"{real_url}/{path}", json=body, timeout=120)
        return reply.status_code, reply.json()

    return ask


@pytest.fixture(scope="module")
def ask_local(local_store: LocalStore, real_url: str) -> Ask:
    """Ask the local deployment under the server's address."""
    wire = LocalWire(local_store, api_base=real_url)

    def ask(method: str, path: str, body: Any) -> Answer:
        bare, _, query = path.partition("?")
        pairs = (pair.partition("=") for pair in query.split("&") if pair)
        params = tuple((name, value) for name, _, value in pairs)
        reply = wire.exchange(Request(method, bare, params=params, json=body), {})
        return reply.status, reply.json()

    return ask


def refusal_of(answer: Answer) -> Any:
    """Return what of a refusal must agree: status and form, and where a request model found what."""
    status, content = answer
    detail = content["detail"]
    if isinstance(detail, list):
        return status, [(found.get("type"), found["loc"]) for found in detail]
    if isinstance(detail, dict):
        return status, detail["exception_class"]
    return status, detail.partition("(")[0]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_queries_find_the_same_entries(query: Any, ask_real: Ask, ask_local: Ask) -> None:
    """Both find the same entries, or refuse the question with the same status and place."""
    body = {"query": query, "pagination": {"page_size": 1000}, "required": {"include": ["entry_id"]}}
    real, local = ask_real("POST", "entries/query", body), ask_local("POST", "entries/query", body)
    if real[0] == 200:
        assert (local[0], local[1]["data"]) == (200, real[1]["data"])
        assert local[1]["pagination"] == real[1]["pagination"]
    else:
        assert refusal_of(local) == refusal_of(real)


@pytest.mark.parametrize("pagination", PAGINATIONS, ids=str)
def test_pages_are_cut_alike(pagination: Any, ask_real: Ask, ask_local: Ask) -> None:
    """Both give the same entries in the same order and the same cursor, or the same refusal."""
    body = {"pagination": pagination, "required": {"include": ["entry_id"]}}
    real, local = ask_real("POST", "entries/query", body), ask_local("POST", "entries/query", body)
    if real[0] == 200:
        assert local == real
    else:
        assert refusal_of(local) == refusal_of(real)


@pytest.mark.parametrize("required", REQUIREDS, ids=str)
def test_required_selects_alike(required: Any, ask_real: Ask, ask_local: Ask) -> None:
    """Both return the same parts of every entry, or the same refusal."""
    body = {"pagination": {"page_size": 1000}, "required": required}
    real, local = ask_real("POST", "entries/query", body), ask_local("POST", "entries/query", body)
    if real[0] == 200:
        assert local == real
    else:
        assert refusal_of(local) == refusal_of(real)


@pytest.mark.parametrize("required", ARCHIVE_REQUIREDS, ids=str)
def test_archive_required_selects_alike(required: Any, ask_real: Ask, ask_local: Ask) -> None:
    """Both return the same parts of an archive, or the same refusal."""
    path, body = f"entries/{SOME_ID}/archive/query", {"required": required}
    real, local = ask_real("POST", path, body), ask_local("POST", path, body)
    if real[0] == 200:
        assert local == real
    else:
        assert refusal_of(local) == refusal_of(real)


@pytest.mark.parametrize(
    "body",
    [
        {"query": {"entry_id": SOME_ID}, "required": {"results": "*"}},
        {"query": {"entry_id": SOME_ID}, "required": None},
        {"query": {"entry_id": SOME_ID}, "pagination": {"page": 2}, "required": "foo"},
        {"query": {"entry_id": SOME_ID}, "pagination": {"page_size": 0}},
        {"query": {"entry_id": SOME_ID}, "pagination": {"page_after_value": "a"}},
        {"query": {"entry_id": "no such entry"}, "required": "foo"},
        {"query": {"entry_id:any": [SOME_ID]}, "required": {"metadata": {"entry_id": "*"}}},
        {"query": {"entry_id:any": [SOME_ID]}, "required": "foo"},
        {"owner": "all"},
        {"owner": "user"},
        {"required": 3},
    ],
    ids=str,
)
def test_archive_pages_agree(body: Any, ask_real: Ask, ask_local: Ask) -> None:
    """Both give the same archives and paging; the echo of the query is not compared."""
    real, local = (
        ask_real("POST", "entries/archive/query", body),
        ask_local("POST", "entries/archive/query", body),
    )
    if real[0] == 200:
        assert {**local[1], "query": None} == {**real[1], "query": None}
    else:
        assert refusal_of(local) == refusal_of(real)


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_answer_alike(address: str, ask_real: Ask, ask_local: Ask) -> None:
    """GET gives the same entry or page, the same page addresses but for their spelling, the same refusal."""
    real, local = ask_real("GET", address, None), ask_local("GET", address, None)
    if real[0] != 200:
        assert refusal_of(local) == refusal_of(real)
    elif "pagination" in real[1]:
        for answer in (real[1], local[1]):
            answer["query"] = None
            urls = [name for name in answer["pagination"] if name.endswith("_url")]
            answer["pagination"] |= dict.fromkeys(urls)
        assert local == real
    else:
        assert local == real


@pytest.mark.parametrize(
    "terms",
    [
        {"quantity": "quantities", "include": [ELEMENTS, "run", "foo"], "size": 3},
        {"quantity": ELEMENTS, "include": ["Ti", "O", "Zr"], "size": 5},
        {"quantity": "upload_name", "include": "a", "size": 3},
        {"quantity": "published"},
        {"quantity": "results.material.topology.label", "size": 3},
        {"quantity": f"{GAP}.type"},
        {"quantity": "results.material.structural_type"},
        {"quantity": "foo"},
        {"quantity": N_ELEMENTS},
        {"quantity": "datasets"},
        {"quantity": "published", "size": 0},
        {"quantity": "published", "include": "V.*"},
        {},
    ],
    ids=str,
)
def test_terms_count_alike(terms: Any, ask_real: Ask, ask_local: Ask) -> None:
    """Both count the same values, or refuse alike."""
    body = {"pagination": {"page_size": 0}, "aggregations": {"a": {"terms": terms}}}
    real, local = ask_real("POST", "entries/query", body), ask_local("POST", "entries/query", body)
    if real[0] == 200:
        assert local[1]["aggregations"] == real[1]["aggregations"]
    else:
        assert local[0] == real[0]
        assert refusal_of(local)[1][0] in refusal_of(real)[1]


@pytest.mark.parametrize("order_by", ["entry_id", "upload_create_time", N_ELEMENTS, EFFICIENCY, "mainfile"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_walks_pass_the_same_entries(order_by: str, order: str, ask_real: Ask, ask_local: Ask) -> None:
    """Page after page, each with its own cursors, both pass the same entries in the same order."""

    def walk(ask: Ask) -> list[str]:
        passed: list[str] = []
        paging: dict[str, Any] = {"page_size": 97, "order_by": order_by, "order": order}
        while True:
            body = {"pagination": paging, "required": {"include": ["entry_id"]}}
            _, answer = ask("POST", "entries/query", body)
            passed += [entry["entry_id"] for entry in answer["data"]]
            if "next_page_after_value" not in answer["pagination"]:
                return passed
            paging = {**paging, "page_after_value": answer["pagination"]["next_page_after_value"]}

    assert walk(ask_local) == walk(ask_real)


@pytest.fixture(scope="module")
def samples() -> Path:
    """Return the folder of sample entries."""
    shared = os.environ.get("NOMADQUERY_SHARED")
    if not shared:
        pytest.fail("Set NOMADQUERY_SHARED to the folder that holds nomad/samples.")
    return Path(shared) / "nomad" / "samples"


#: Sample entries whose archive and document were made by different runs of a parser.
MADE_TWICE = 3
#: Written by NOMAD from its schema, or from when the document was made, not from the archive.
NOT_FROM_THE_ARCHIVE = {"section_defs", "files"}


def test_archives_are_indexed_as_nomad_does(samples: Path) -> None:
    """Of all samples the document made of the archive is the one that NOMAD made."""
    people = {user["user_id"]: user for user in json.loads((samples / "users.json").read_text())}
    datasets = {one["dataset_id"]: one for one in json.loads((samples / "datasets.json").read_text())}
    differing = []
    documents = gzip.decompress((samples / "entries.jsonl.gz").read_bytes()).splitlines()
    for expected in map(json.loads, documents):
        packed = samples / "archives" / f"{expected['entry_id']}.archive.json.gz"
        archive = json.loads(gzip.decompress(packed.read_bytes()))
        made = search_document(archive, catalogue_for("2.0.0"), people=people, datasets=datasets)
        names = {*made, *expected} - NOT_FROM_THE_ARCHIVE
        if any(made.get(name) != expected.get(name) for name in names):
            differing.append(expected["entry_id"])
    assert len(documents) > 400
    assert len(differing) <= MADE_TWICE, differing


def test_contents_of_archives_are_listed_as_nomad_does(samples: Path) -> None:
    """Computed ``quantities`` hold all that NOMAD lists of what was parsed, in every tenth sample."""
    documents = gzip.decompress((samples / "entries.jsonl.gz").read_bytes()).splitlines()
    for expected in map(json.loads, documents[::10]):
        packed = samples / "archives" / f"{expected['entry_id']}.archive.json.gz"
        archive = json.loads(gzip.decompress(packed.read_bytes()))
        del archive["metadata"]["quantities"]
        made = search_document(archive, catalogue_for("2.0.0"))["quantities"]
        listed = {name for name in expected["quantities"] if not name.startswith(("metadata", "definitions"))}
        assert listed <= set(made)
