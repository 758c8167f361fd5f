"""What of an entry the local deployment returns: metadata `required`, and the forms of the archive's.

The cases of archive `required` are in `test_required_cases`.
"""

from __future__ import annotations

from typing import Any

import pytest

from nomadquery.local.select import rebuilt_values
from tests.local_entries import a_store, an_archive, ask, query

GAP = "results.properties.electronic.band_gap"


def test_a_wrong_directive_is_noticed_only_where_an_archive_is_read() -> None:
    """Without hits a wrong directive passes, as in NOMAD."""
    body = {"query": {"entry_id:any": ["a"]}, "required": "foo"}
    assert ask(a_store(), "POST", "entries/archive/query", body)[0] == 200
    status, content = ask(a_store(an_archive("a")), "POST", "entries/archive/query", body)
    assert (status, content["detail"]) == (400, "unknown directive foo")


def test_the_answer_cannot_change_the_archive() -> None:
    """What one reader does to an answer, another does not see."""
    store = a_store(an_archive("a"))
    first = store.archive("a")
    assert first is not None
    first["run"].clear()
    second = store.archive("a")
    assert second is not None
    assert len(second["run"]) == 2


@pytest.mark.parametrize("required", [3, ["*"], True])
@pytest.mark.parametrize("path", ["entries/archive/query", "entries/a/archive/query"])
def test_only_an_object_or_a_text_is_a_required(path: str, required: Any) -> None:
    """Anything else is found by NOMAD's request model."""
    status, content = ask(a_store(an_archive("a")), "POST", path, {"required": required})
    assert status == 422
    assert [found["type"] for found in content["detail"]] == ["string_type", "dict_type"]


def test_a_page_of_archives_takes_null_for_everything() -> None:
    """As NOMAD does; one archive asked for alone fails over it."""
    status, content = ask(a_store(an_archive("a")), "POST", "entries/archive/query", {"required": None})
    assert (status, content["required"]) == (200, "*")
    assert content["data"][0]["archive"].keys() == {"metadata", "run", "results", "m_ref_archives"}


def test_in_place_is_checked_even_without_hits() -> None:
    """Unlike wrong directives, which an empty page does not notice."""
    body = {"query": {"entry_id:any": ["a"]}, "required": {"resolve-inplace": "yes"}}
    status, content = ask(a_store(), "POST", "entries/archive/query", body)
    assert (status, content["detail"][0]["msg"]) == (422, "resolve-inplace is not a bool")


def included(*names: str) -> Any:
    """Return the one entry of a deployment with only these names included."""
    return query(a_store(an_archive("a")), required={"include": list(names)})["data"][0]


def excluded(*names: str) -> Any:
    """Return the one entry of a deployment without these names."""
    return query(a_store(an_archive("a")), required={"exclude": list(names)})["data"][0]


def test_the_id_is_always_included() -> None:
    """An empty list of includes gives the id."""
    assert included() == {"entry_id": "a"}


def test_a_name_without_star_takes_its_own_value_only() -> None:
    """A quantity below a section is given inside that section."""
    expected = {"entry_id": "a", "results": {"material": {"elements": ["O", "Ti"]}}}
    assert included("results.material.elements") == expected


def test_items_without_an_included_value_leave_their_list() -> None:
    """Of three gaps the one without a value is dropped: lists cannot be zipped by position."""
    gaps = included(f"{GAP}.value")["results"]["properties"]["electronic"]["band_gap"]
    assert gaps == [{"value": 3.2e-19}, {"value": 4.8e-19}]


def test_whole_sections_keep_all_their_items() -> None:
    """With a star the section comes whole, and in order."""
    gaps = included(f"{GAP}*")["results"]["properties"]["electronic"]["band_gap"]
    assert gaps == an_archive("a")["results"]["properties"]["electronic"]["band_gap"]


def test_the_order_is_included() -> None:
    """The quantity that orders the page is returned and repeated in `required`."""
    store = a_store(an_archive("a"))
    answer = query(store, required={"include": ["upload_id"]}, pagination={"order_by": "upload_create_time"})
    assert answer["required"] == {"include": ["upload_id", "upload_create_time", "entry_id"]}
    assert answer["data"][0].keys() == {"upload_id", "upload_create_time", "entry_id"}


def test_exclude_is_applied_to_what_is_included() -> None:
    """A name in both lists is not returned."""
    store = a_store(an_archive("a"))
    required = {"include": ["upload_id", "mainfile"], "exclude": ["upload_id"]}
    assert query(store, required=required)["data"] == [{"entry_id": "a", "mainfile": "a/vasprun.xml"}]


def test_the_id_cannot_be_excluded_by_name() -> None:
    """Only a star reaches it."""
    assert excluded("entry_id")["entry_id"] == "a"
    assert excluded("*") == {}


@pytest.mark.parametrize(
    "names", [("results*",), ("results.material*", "mainfile"), ("datasets",), ("main_author*",)]
)
def test_include_and_exclude_part_a_document(names: tuple[str, ...]) -> None:
    """What is excluded is what an include of the same names gives, and nothing is lost."""
    whole = included("*")
    paths = set(leaves(whole))
    left, taken = set(leaves(excluded(*names))), set(leaves(included(*names)))
    added = {("entry_id", "a"), ("license", "CC BY 4.0")}
    assert left | taken >= paths
    assert left & taken <= added


def leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Return every value of a document with its path."""
    if isinstance(value, dict):
        return [leaf for name, item in value.items() for leaf in leaves(item, f"{path}.{name}".strip("."))]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item, path)]
    return [(path, str(value))]


def test_an_include_that_begins_with_data_is_strict() -> None:
    """Beside `datasets` a name without star means that path alone: the author comes back empty."""
    assert included("datasets.doi", "main_author") == {"entry_id": "a", "main_author": {}}
    assert included("datasets*", "main_author*")["main_author"] == {
        "user_id": "user-1",
        "name": "Ada Lovelace",
    }


def test_the_license_is_added_where_the_names_let_it() -> None:
    """It is in no document; NOMAD adds the default on return."""
    assert included("*")["license"] == "CC BY 4.0"
    assert "license" not in included("upload_id")
    assert "license" not in excluded("lic*")


@pytest.mark.parametrize(
    "name", ["foo", "results.material", "license", "results", "data.x#entry_id:e.S", "metadata.mainfile"]
)
def test_names_without_star_must_be_quantities_of_the_index(name: str) -> None:
    """An unknown name, a section, or a custom quantity without its type is refused as NOMAD does."""
    body = {"required": {"include": [name]}}
    status, content = ask(a_store(), "POST", "entries/query", body)
    assert (status, content["detail"]) == (
        422,
        [{"msg": f"{name} is not a doc quantity", "loc": [["required"]]}],
    )


SEARCH_QUANTITIES: list[dict[str, Any]] = [
    {"id": "data.name#S", "path_archive": "data.name", "str_value": "film"},
    {"id": "data.steps.time#S", "path_archive": "data.steps.0.time", "float_value": 1.5},
    {"id": "data.steps.time#S", "path_archive": "data.steps.2.time", "float_value": 0.0},
    {"id": "data.good#S", "path_archive": "data.good", "bool_value": False},
]


def test_values_of_custom_schemas_are_rebuilt_at_their_place() -> None:
    """Positions that have no value are null, false and zero are values."""
    steps = [{"time": 1.5}, None, {"time": 0.0}]
    assert rebuilt_values(SEARCH_QUANTITIES) == {"data": {"name": "film", "steps": steps, "good": False}}


def test_custom_values_are_selected_by_their_path() -> None:
    """Includes below `data` choose among them; the internal list is not returned."""
    store = a_store(an_archive("a", search_quantities=SEARCH_QUANTITIES))
    data = query(store, required={"include": ["data.steps.*"]})["data"]
    assert data == [{"entry_id": "a", "data": {"steps": [{"time": 1.5}, {"time": 0.0}]}}]
    whole = query(store, required={"exclude": ["search_quantities*"]})["data"][0]
    assert "search_quantities" not in whole
    assert whole["data"]["name"] == "film"


def test_one_entry_takes_the_same_required_as_parameters() -> None:
    """GET entries/{id} repeats `include` and `exclude`."""
    params = (
        ("include", "results.material.*"),
        ("include", "mainfile"),
        ("exclude", "results.material.elements"),
    )
    status, content = ask(a_store(an_archive("a")), "GET", "entries/a", params=params)
    assert status == 200
    assert content["required"] == {
        "include": ["results.material.*", "mainfile", "entry_id"],
        "exclude": ["results.material.elements"],
    }
    assert content["data"].keys() == {"entry_id", "mainfile", "results"}
    assert "elements" not in content["data"]["results"]["material"]
