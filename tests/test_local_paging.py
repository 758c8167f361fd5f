"""How the local deployment cuts a result into pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nomadquery.local.store import LocalStore
from tests.local_entries import a_store, an_archive, ask, query

CASES = json.loads((Path(__file__).parent / "data" / "pagination-cases.json").read_text())["cases"]

#: Cases in which the stub in place of the search engine took or gave what an engine does not.
STUB_ONLY = {
    "size-10001": "an engine refuses a window of more than 10,000 entries",
    "after-orderby-no-id": "an engine needs a value for the id too",
    "after-after-entry-id-colon": "an engine refuses two values where it sorts by one",
    "orderby-section": "an engine cannot sort by a section",
    "orderby-text": "an engine cannot sort by analysed text",
    "next-short-page": "the stub gave fewer entries than the page has room for, and a larger total",
}
#: What is refused instead, with status 400 (seen on a server of nomad-lab 2.0.0).
ENGINE_SAYS = {
    "size-10001": "Result window is too large",
    "after-orderby-no-id": "search_after has 1 value(s) but sort has 2.",
    "after-after-entry-id-colon": "search_after has 2 value(s) but sort has 1.",
    "orderby-section": "No mapping found for [main_author]",
    "orderby-text": "Fielddata is disabled",
}
#: Values of the sort quantities, so that a and b are sorted as in the cases: a before b before the rest.
SORT_VALUES: dict[str, dict[str, Any]] = {
    "upload_create_time": {
        "a": "2023-11-14T22:13:20+00:00",  # 1700000000000 ms
        "b": "2023-11-14T22:13:25+00:00",  # 1700000005000 ms
        "rest": "2024-11-14T22:13:25+00:00",
    },
    "results.method.simulation.program_name": {"a": "VASP", "b": "exciting", "rest": "xTB"},
    "upload_name": {"a": "x"},
    "results.material.n_elements": {"a": 2},
}


def store_of(case: dict[str, Any]) -> LocalStore:
    """Return entries among which the hits of a case are its page, and as many in all."""
    pagination = case["request"]["json"].get("pagination") or {}
    hits = [hit["_source"] for hit in case.get("engine_hits") or ()]
    n_others = (case.get("engine_total") or 0) - len(hits)
    n_before = pagination.get("page_offset") or (pagination.get("page") or 1) * 2 - 2
    n_before = n_others if "page_after_value" in pagination else min(n_before, n_others)
    ids = [f"!{number}" for number in range(n_before)] + [f"y{n}" for n in range(n_others - n_before)]
    values = SORT_VALUES.get(pagination.get("order_by", ""), {})
    store = LocalStore()
    for source in [*hits, *({"entry_id": entry_id} for entry_id in ids)]:
        document = {**source, "upload_id": "u", "published": True, "with_embargo": False}
        value = values.get(source["entry_id"], values.get("rest"))
        if value is not None:
            document = {**document, **nested(pagination["order_by"], value)}
        store.add_entries([(document, None)])
    return store


def nested(name: str, value: Any) -> dict[str, Any]:
    """Return ``{"a": {"b": value}}`` for ``a.b``."""
    first, _, rest = name.partition(".")
    return {first: nested(rest, value) if rest else value}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["id"] not in STUB_ONLY], ids=lambda case: case["id"]
)
def test_requests_are_paged_as_nomad_does(case: dict[str, Any]) -> None:
    """Every executed case gives NOMAD's paging and echo, or its refusal."""
    status, content = ask(store_of(case), "POST", "entries/query", case["request"]["json"])
    assert status == case["status"]
    if status == 200:
        assert content["pagination"] == case["response_pagination"]
        assert content.get("required") == case.get("response_required")
        expected = [entry.get("entry_id") for entry in case.get("response_data", [])]
        if case["id"] != "req-exclude-star":  # the stub did not apply the star, an engine does
            assert [entry.get("entry_id") for entry in content["data"]] == expected
    else:
        detail = case["error"]["detail"]
        if isinstance(detail, dict):
            detail = {name: said for name, said in detail.items() if name != "exception_traceback"}
        assert content["detail"] == detail


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["id"] in ENGINE_SAYS], ids=lambda case: case["id"]
)
def test_what_only_an_engine_refuses_is_refused(case: dict[str, Any]) -> None:
    """The API layer passes these requests on; the engine refuses them with 400."""
    status, content = ask(a_store(), "POST", "entries/query", case["request"]["json"])
    assert status == 400
    assert ENGINE_SAYS[case["id"]] in content["detail"]


#: 23 entries in three groups of upload time; every third has no number of elements, every fourth no comment.
ENTRIES = [
    an_archive(
        f"entry-{number:02}",
        elements=["O", "Ti", "Sr"][: number % 3],
        upload_create_time=f"2024-0{number % 3 + 1}-01T00:00:00+00:00",
        **({} if number % 4 else {"external_id": f"x:{number % 8}"}),
    )
    for number in range(23)
]
IDS = [f"entry-{number:02}" for number in range(23)]


@pytest.fixture(scope="module")
def store() -> Iterator[LocalStore]:
    """Hold the 23 entries."""
    with a_store(*ENTRIES) as filled:
        yield filled


def walk(store: LocalStore, **pagination: Any) -> list[str]:
    """Return the ids that pass when every page's cursor is sent back; at most 100."""
    passed: list[str] = []
    while len(passed) < 100:
        answer = query(store, pagination=pagination, required={"include": []})
        passed += [entry["entry_id"] for entry in answer["data"]]
        if "next_page_after_value" not in answer["pagination"]:
            break
        pagination["page_after_value"] = answer["pagination"]["next_page_after_value"]
    return passed


@pytest.mark.parametrize("page_size", [1, 7, 23, 24, 100])
def test_a_walk_passes_every_entry_once_in_order(store: LocalStore, page_size: int) -> None:
    """Whatever the page size, by id and in the order of ids."""
    assert walk(store, page_size=page_size) == IDS
    assert walk(store, page_size=page_size, order="desc") == IDS[::-1]


@pytest.mark.parametrize("page_size", [1, 7, 23, 100])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_walk_by_date_is_ordered_by_date_and_then_by_id(
    store: LocalStore, page_size: int, order: str
) -> None:
    """Equal dates are ordered by id in the same direction."""
    by_date = sorted(IDS, key=lambda entry_id: (int(entry_id[-2:]) % 3, entry_id), reverse=order == "desc")
    assert walk(store, page_size=page_size, order_by="upload_create_time", order=order) == by_date


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_entries_without_a_number_come_last_in_either_order(order: str) -> None:
    """And the walk through them ends."""
    name = "results.properties.optoelectronic.solar_cell.efficiency"
    store = LocalStore()
    for number, entry_id in enumerate(IDS):
        document = {"entry_id": entry_id, "upload_id": "u", "published": True, "with_embargo": False}
        store.add_entries([({**document, **(nested(name, number / 4) if number % 2 else {})}, None)])
    passed = walk(store, page_size=4, order_by=name, order=order)
    direction = 1 if order == "asc" else -1
    assert passed == IDS[1::2][::direction] + IDS[0::2][::direction]


def test_a_walk_by_a_text_that_entries_lack_never_ends(store: LocalStore) -> None:
    """The cursor None is read back as the text "None", as nomad-lab 2.0.0 does: pages repeat."""
    passed = walk(store, page_size=4, order_by="external_id")
    assert len(passed) >= 100
    assert len(set(passed)) < len(passed)


def test_a_value_with_a_colon_is_split_at_the_last_one(store: LocalStore) -> None:
    """The cursor after x:0:entry-00 begins with the next entry that has this text."""
    pagination = {"order_by": "external_id", "page_size": 2, "page_after_value": "x:0:entry-00"}
    answer = query(store, pagination=pagination, required={"include": []})
    assert [entry["entry_id"] for entry in answer["data"]] == ["entry-08", "entry-16"]
    assert answer["pagination"]["next_page_after_value"] == "x:0:entry-16"


def test_a_full_last_page_is_followed_by_an_empty_one(store: LocalStore) -> None:
    """The value of the next page is absent only where the total fits or the page is not full."""
    first = query(store, pagination={"page_size": 23})
    assert "next_page_after_value" not in first["pagination"]
    last = query(store, pagination={"page_size": 22, "page_after_value": IDS[0]})
    assert last["pagination"]["next_page_after_value"] == IDS[-1]
    empty = query(store, pagination={"page_size": 22, "page_after_value": IDS[-1]})
    assert empty["data"] == []
    assert "next_page_after_value" not in empty["pagination"]


def test_pages_and_offsets_cut_the_same_result(store: LocalStore) -> None:
    """Page 3 of 5 entries is what begins after 10 of them."""
    by_page = query(store, pagination={"page": 3, "page_size": 5})
    by_offset = query(store, pagination={"page_offset": 10, "page_size": 5})
    assert by_page["data"] == by_offset["data"]
    assert [entry["entry_id"] for entry in by_page["data"]] == IDS[10:15]


def test_any_text_is_a_place_in_the_order_of_ids(store: LocalStore) -> None:
    """A cursor need not be the id of an entry."""
    answer = query(store, pagination={"page_after_value": "entry-05x", "page_size": 1})
    assert answer["data"][0]["entry_id"] == "entry-06"


def test_a_custom_quantity_orders_by_its_value() -> None:
    """`data.x#schema#type` sorts by the values of that quantity; its type is cut off in the echo."""
    store = LocalStore()
    for entry_id, value in (("a", 2.5), ("b", 1.5), ("c", None)):
        item = {"id": "data.t#entry_id:e.S", "path_archive": "data.t", "float_value": value}
        document = {"entry_id": entry_id, "upload_id": "u", "published": True, "search_quantities": [item]}
        store.add_entries([(document, None)])
    answer = query(store, pagination={"order_by": "data.t#entry_id:e.S#float", "page_size": 1})
    assert answer["data"][0]["entry_id"] == "b"
    assert answer["pagination"]["order_by"] == "data.t#entry_id:e.S"
    assert answer["pagination"]["next_page_after_value"] == "1.5:b"


@pytest.mark.parametrize(
    ("order_by", "value"),
    [
        ("upload_create_time", "yesterday:a"),
        ("results.material.n_elements", "two:a"),
        ("results.material.n_elements", "a"),
    ],
)
def test_a_value_that_is_no_cursor_of_the_order_is_refused(
    store: LocalStore, order_by: str, value: str
) -> None:
    """The engine cannot read it (400)."""
    body = {"pagination": {"order_by": order_by, "page_after_value": value}}
    status, content = ask(store, "POST", "entries/query", body)
    assert status == 400
    assert content["detail"].startswith("Elasticsearch could not process your query")


def test_what_is_written_between_two_pages_does_not_repeat_an_entry() -> None:
    """A new entry before the cursor is not seen, one after it is; nothing comes twice."""
    store = a_store(an_archive("b"), an_archive("d"))
    first = query(store, pagination={"page_size": 1})
    store.add_archives([an_archive("a"), an_archive("c")])
    after = first["pagination"]["next_page_after_value"]
    second = query(store, pagination={"page_size": 5, "page_after_value": after})
    assert [entry["entry_id"] for entry in second["data"]] == ["c", "d"]
    assert second["pagination"]["total"] == 4


def test_one_entry_asked_by_its_id_is_not_sorted() -> None:
    """NOMAD then refuses a cursor."""
    body = {"query": {"entry_id": "a"}, "pagination": {"page_after_value": "0"}}
    status, content = ask(a_store(an_archive("a")), "POST", "entries/query", body)
    assert (status, "Sort must contain at least one field." in content["detail"]) == (400, True)
