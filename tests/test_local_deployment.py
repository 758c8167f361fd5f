"""What the local deployment finds and answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from nomadquery.local.demo import open_demo
from nomadquery.local.matching import test_of as make_test
from nomadquery.local.store import LocalStore
from nomadquery.query.body_reader import parse
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.predicate import matches
from tests.local_entries import a_store, an_archive, ask, query
from tests.oracle import select

CATALOGUE = catalogue_for("2.0.0")
PROGRAM = "results.method.simulation.program_name"


def ids(content: Any) -> list[str]:
    """Return the entry ids of an answer."""
    return [entry["entry_id"] for entry in content["data"]]


@pytest.fixture
def mixed() -> LocalStore:
    """Hold a public, an embargoed, an unpublished entry, and one shared with everybody."""
    return a_store(
        an_archive("embargoed", with_embargo=True),
        an_archive("public"),
        an_archive("shared", published=False, reviewer_groups=["all"]),
        an_archive("unpublished", published=False),
    )


@pytest.mark.parametrize(
    ("owner", "seen"),
    [
        (None, ["public"]),
        ("public", ["public"]),
        ("visible", ["public", "shared"]),
        ("all", ["embargoed", "public", "shared"]),
    ],
)
def test_owners_see_what_somebody_without_login_sees(
    mixed: LocalStore, owner: str | None, seen: list[str]
) -> None:
    """The table of owners in NOMAD's documentation, column "without login"."""
    assert ids(query(mixed, owner=owner)) == seen


@pytest.mark.parametrize("owner", ["user", "shared", "staging", "admin"])
def test_owners_of_somebody_need_a_login(mixed: LocalStore, owner: str) -> None:
    """401 with NOMAD's words."""
    status, content = ask(mixed, "POST", "entries/query", {"owner": owner})
    assert (status, content) == (401, {"detail": f"Authentication required for owner='{owner}'."})


def test_single_entries_show_metadata_of_embargoed_ones_and_no_archive(mixed: LocalStore) -> None:
    """Metadata follow `all`, archives `visible`."""
    assert ask(mixed, "GET", "entries/embargoed")[0] == 200
    status, content = ask(mixed, "GET", "entries/embargoed/archive")
    assert (status, content) == (404, {"detail": "The entry does not exist or is not visible to you."})
    assert ask(mixed, "GET", "entries/unpublished")[0] == 404
    assert ask(mixed, "GET", "entries/shared/archive")[0] == 200


def test_the_answer_to_a_search_has_the_parts_of_nomads() -> None:
    """Owner, query, paging and data; `required` only if it was asked with one."""
    answer = query(a_store(an_archive("a")))
    assert answer.keys() == {"owner", "query", "pagination", "data"}
    assert (answer["owner"], answer["query"]) == ("public", {"and": []})


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (None, 422, "missing"),
        ([], 422, "model_attributes_type"),
        ({"owner": "me"}, 422, "enum"),
        ({"pagination": 3}, 422, "model_attributes_type"),
        ({"required": {"include": "upload_id"}}, 422, "list_type"),
        ({"aggregations": 3}, 422, "dict_type"),
    ],
)
def test_malformed_requests_are_refused_as_nomad_does(body: Any, status: int, kind: str) -> None:
    """With the type that pydantic names."""
    answered, content = ask(a_store(), "POST", "entries/query", body)
    assert (answered, content["detail"][0]["type"]) == (status, kind)


def test_several_findings_are_told_at_once() -> None:
    """Each with its place."""
    _, content = ask(a_store(), "POST", "entries/query", {"owner": "x", "pagination": {"page_size": -1}})
    places = [found["loc"] for found in content["detail"]]
    assert places == [["body", "owner"], ["body", "pagination", "page_size"]]


def test_an_unknown_quantity_is_named_as_nomad_does() -> None:
    """With the list inside the list of `loc`."""
    name = "results.material.elementz"
    status, content = ask(a_store(), "POST", "entries/query", {"query": {name: "O"}})
    assert (status, content) == (422, {"detail": [{"msg": f"{name} is not a doc quantity", "loc": [[name]]}]})


def test_an_optimade_filter_is_refused_by_name() -> None:
    """Only a server can decide it."""
    body = {"query": {"optimade_filter": "nelements = 2"}}
    status, content = ask(a_store(an_archive("a")), "POST", "entries/query", body)
    assert status == 400
    assert "OPTIMADE" in content["detail"]


def test_terms_count_entries_and_items() -> None:
    """Most frequent first; of a nested section entries and items are counted."""
    store = a_store(an_archive("a"), an_archive("b", elements=["Si"]), an_archive("c", published=False))
    answer = query(
        store,
        pagination={"page_size": 0},
        aggregations={
            "elements": {"terms": {"quantity": "results.material.elements", "include": ["Si", "O"]}},
            "types": {
                "terms": {
                    "quantity": "results.properties.electronic.band_gap.type",
                    "include": "direct",
                    "size": 1,
                }
            },
        },
    )
    one = {"count": 1, "nested_count": 1}
    assert answer["data"] == []
    assert answer["aggregations"]["elements"]["terms"]["data"] == [
        {**one, "value": "O"},
        {**one, "value": "Si"},
    ]
    most = {"count": 2, "nested_count": 4, "value": "indirect"}
    assert answer["aggregations"]["types"]["terms"]["data"] == [most]


def test_pages_of_archives_leave_out_entries_without_one() -> None:
    """The total counts them, the data do not hold them."""
    store = a_store(an_archive("a"))
    bare = {"entry_id": "b", "upload_id": "u", "published": True, "with_embargo": False}
    store.add_entries([(bare, None)])
    status, content = ask(store, "POST", "entries/archive/query", {"required": {"run[0]": {"program": "*"}}})
    archive = {"run": [{"program": {"name": "VASP"}}], "m_ref_archives": {}}
    item = {"entry_id": "a", "upload_id": "upload-1", "parser_name": "parsers/vasp", "archive": archive}
    assert (status, content["data"], content["pagination"]["total"]) == (200, [item], 2)
    status, content = ask(store, "GET", "entries/b/archive")
    assert (status, content["detail"]) == (404, "The entry does exist, but it has no archive.")


def test_archives_of_all_owners_are_refused() -> None:
    """403, as NOMAD does."""
    assert ask(a_store(), "POST", "entries/archive/query", {"owner": "all"})[0] == 403


def test_parameters_of_an_address_ask_the_same() -> None:
    """GET entries finds what the body finds, and gives the addresses of the pages."""
    store = a_store(*(an_archive(name, elements=["O"] if name in "ab" else ["Si"]) for name in "abc"))
    params = (("results.material.elements", "O"), ("page_size", "1"), ("include", "upload_id"))
    status, content = ask(store, "GET", "entries", params=params)
    assert (status, ids(content), content["pagination"]["total"]) == (200, ["a"], 2)
    following = dict(
        pair.split("=") for pair in urlsplit(content["pagination"]["next_page_url"]).query.split("&")
    )
    assert following == {**dict(params), "page_after_value": "a"}
    status, content = ask(store, "GET", "entries", params=tuple(following.items()))
    assert ids(content) == ["b"]


def test_what_kind_of_deployment_it_is_stands_in_info() -> None:
    """The release that it behaves like, and that it is none of NOMAD's."""
    status, content = ask(a_store(an_archive("a")), "GET", "info")
    assert (status, content["version"], content["statistics"]) == (200, "2.0.0", {"n_entries": 1})
    assert "nomadquery local deployment" in content["deployment"]


def test_nobody_is_logged_in() -> None:
    """users/me says so, as NOMAD does to somebody without a token."""
    assert ask(a_store(), "GET", "users/me") == (401, {"detail": "Authentication required."})


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "uploads"), ("POST", "uploads"), ("GET", "entries/a/raw/b/c"), ("GET", "foo")],
)
def test_other_addresses_are_refused_by_name(method: str, path: str) -> None:
    """404, with a sentence that says who does not answer what."""
    status, content = ask(a_store(), method, path)
    assert status == 404
    assert (
        content["detail"] == f"Not Found: the local deployment of nomadquery does not answer {method} {path}."
    )


def test_a_wrong_method_is_told() -> None:
    """405, as NOMAD does."""
    assert ask(a_store(), "DELETE", "entries/query") == (405, {"detail": "Method Not Allowed"})


QUERIES: list[Any] = [
    {},
    {PROGRAM: "ASE"},
    {f"{PROGRAM}:any": ["ASE", "xTB", "VASP"]},
    {f"{PROGRAM}:none": ["ASE"]},
    {"results.material.elements": ["Ni", "Pt"]},
    {"results.material.elements:any": ["Ni", "Al"]},
    {"results.material.elements:none": ["Ni", "Al"]},
    {"not": {"results.material.elements": {"all": ["Ni", "Pt"]}}},
    {"results.material.n_elements": {"gte": 2}},
    {"results.material.chemical_formula_hill": "Ni3Pt"},
    {"results.material.topology.label": "original"},
    {"quantities": "run.calculation"},
    {"quantities:any": ["run.calculation.energy", "foo"]},
    {"datasets.dataset_name": "foo"},
    {"published": True},
    {"upload_create_time": {"lt": "2025-01-20"}},
    {"upload_create_time": {"gt": "2025-01-14T10:00:00+01:00", "lte": "2025-01-31T21:00:00Z"}},
    {"results.properties.electronic.band_gap.value": {"gt": 1e-19, "lt": 1e-18}},
    {"results.material.topology": {"label": "original", "n_atoms": {"gte": 4}}},
    {"or": [{PROGRAM: "ASE"}, {"and": [{"results.material.n_elements": 1}, {"not": {PROGRAM: "ASE"}}]}]},
]


@pytest.fixture(scope="module")
def demo() -> Iterator[LocalStore]:
    """Hold every seventh entry of the demo, without archives."""
    with open_demo() as whole, LocalStore() as store:
        store.add_entries((document, None) for document in list(whole.documents())[::7])
        yield store


@pytest.mark.parametrize("asked", QUERIES, ids=str)
def test_a_search_finds_what_an_independent_evaluator_selects(asked: Any, demo: LocalStore) -> None:
    """By entry id, and each entry once."""
    answer = query(demo, query=asked, pagination={"page_size": 10_000}, required={"include": []})
    assert ids(answer) == select(parse(asked, release="2.0.0"), demo.documents())


@pytest.mark.parametrize("asked", QUERIES, ids=str)
def test_the_quick_way_is_that_of_the_predicate(asked: Any, demo: LocalStore) -> None:
    """The meaning of every node is that of `predicate`."""
    criterion = parse(asked, release="2.0.0")
    test = make_test(criterion, CATALOGUE)
    expected = [matches(criterion, document, CATALOGUE) for document in demo.documents()]
    assert [test(document) for document in demo.documents()] == expected
