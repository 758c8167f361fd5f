"""The local deployment answers every executed case of archive `required` as NOMAD did."""

from __future__ import annotations

from typing import Any

import pytest

from nomadquery.local.references import Places
from nomadquery.local.store import LocalStore
from tests.local_entries import Answer, ask
from tests.required_entries import CASES, FORMS_ID, all_cases, archives, comparable, expected

BY_CASE = pytest.mark.parametrize(
    ("entry_id", "case"), [pytest.param(*case, id=case[1]["id"]) for case in all_cases()]
)


@pytest.fixture(scope="module")
def store() -> LocalStore:
    """Hold the entries of the cases."""
    store = LocalStore()
    store.add_entries((_document(archive), archive) for archive in archives())
    return store


def _document(archive: dict[str, Any]) -> dict[str, Any]:
    return {**archive["metadata"], "published": True, "with_embargo": False}


def answer(store: LocalStore, path: str, body: Any) -> Answer:
    """Return status, and archive or refusal, of the one entry that is asked for."""
    status, content = ask(store, "POST", path, body)
    if status != 200:
        return comparable(status, content["detail"])
    data = content["data"]
    return 200, (data[0] if isinstance(data, list) else data)["archive"]


@BY_CASE
def test_case_is_answered_as_nomad_did(entry_id: str, case: dict[str, Any], store: LocalStore) -> None:
    """One archive: the same part of it, or the same refusal."""
    body = {"required": case["required"]} if "required" in case else {}
    assert answer(store, f"entries/{entry_id}/archive/query", body) == expected(case)


@BY_CASE
def test_case_is_answered_alike_on_a_page(entry_id: str, case: dict[str, Any], store: LocalStore) -> None:
    """A page with this archive: the same, but that null asks for everything."""
    body: dict[str, Any] = {"query": {"entry_id": entry_id}}
    body |= {"required": case["required"]} if "required" in case else {}
    whole = next(star for star in CASES["cases"] if star["id"] == "star")
    expected_case = whole if case["id"] == "null" else case
    assert answer(store, "entries/archive/query", body) == expected(expected_case)


def test_the_get_form_delivers_everything(store: LocalStore) -> None:
    """It takes no `required`."""
    status, content = ask(store, "GET", f"entries/{CASES['entry_id']}/archive")
    whole = next(case for case in CASES["cases"] if case["id"] == "star")
    assert (status, content["data"]["archive"]) == (200, whole["archive"])


def test_what_parsers_add_is_kept(store: LocalStore) -> None:
    """The difference to NOMAD: no schema at hand lists `x_` quantities, so none is dropped."""
    required = {"run[0]": {"program": {"x_vasp_note": "*"}}}
    found = answer(store, f"entries/{FORMS_ID}/archive/query", {"required": required})
    assert found == (200, {"run": [{"program": {"x_vasp_note": "kept"}}], "m_ref_archives": {}})


def test_a_custom_class_keeps_its_properties() -> None:
    """The same difference: of a class from elsewhere whatever the archive has is known."""
    archive = _archive_with({"m_def": "../upload/raw/schema.yaml#/definitions/S", "speed": 3, "note": "fast"})
    found = _asked(archive, {"data": {"speed": "*", "speeed": "*"}})
    assert found["data"] == {"m_def": archive["data"]["m_def"], "speed": 3}


def test_a_custom_class_refers_where_its_texts_look_like_it() -> None:
    """A text that is no path of the archive stays; one that is, is followed."""
    data = {"m_def": "custom.S", "of": "/run/0/program", "file": "/home/ada/x", "lost": "#/run/7"}
    found = _asked(_archive_with(data), {"resolve-inplace": True, "data": "include-resolved"})
    assert found["data"] == {"m_def": "custom.S", "of": {"name": "VASP"}, "file": "/home/ada/x"}


def test_entries_that_the_public_may_not_see_are_not_followed() -> None:
    """A reference to an embargoed entry stays a text."""
    text = "../uploads/u/archive/hidden#/run/0/program"
    document = {"entry_id": "hidden", "upload_id": "u", "published": True, "with_embargo": True}
    hidden = (document, {"run": [{"program": {"name": "VASP"}}]})
    archive = _archive_with({"m_def": "custom.S", "of": text})
    found = _asked(archive, {"resolve-inplace": True, "data": "include-resolved"}, hidden)
    assert found["data"]["of"] == text


def test_what_is_put_at_its_place_is_not_changed() -> None:
    """A target below another one is put into a copy: archives are shared by the answers of a page."""
    places, run = Places(), {"system": [{"name": "a"}]}
    places.put("/run/0", run)
    places.put("/run/0/system/2", {"name": "c"})
    assert places.content == {"run": [{"system": [{"name": "a"}, None, {"name": "c"}]}]}
    assert run == {"system": [{"name": "a"}]}


def _archive_with(data: dict[str, Any]) -> dict[str, Any]:
    return {"run": [{"program": {"name": "VASP"}}], "data": data}


def _asked(archive: dict[str, Any], required: Any, *others: tuple[dict[str, Any], dict[str, Any]]) -> Any:
    store = LocalStore()
    document = {"entry_id": "e", "upload_id": "u", "published": True, "with_embargo": False}
    store.add_entries([(document, archive), *others])
    status, found = answer(store, "entries/e/archive/query", {"required": required})
    assert status == 200, found
    return found
