"""What a local deployment answers about raw files: zips, listings, and who may have them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.http.message import Request
from nomadquery.local.routes import LocalDeployment
from nomadquery.local.store import LocalStore
from tests.local_entries import a_store, an_archive
from tests.local_raw import FILES, UPLOAD, Params, a_raw_store, get, members, post, refusal
from tests.strategies import raw_contents


@pytest.fixture(scope="module")
def store() -> Iterator[LocalStore]:
    """Hold entries with and without raw files."""
    with a_raw_store() as filled:
        yield filled


def test_the_zip_of_a_search_has_the_folders_of_its_entries(store: LocalStore) -> None:
    """Each file once, however many entries lie in its folder; the list of entries stands last."""
    found = members(post(store, "entries/raw/query", {"query": {"upload_id": UPLOAD}}))
    manifest = json.loads(found.pop("manifest.json"))
    own = {path for path in FILES if path.count("/") == 1}
    assert found == {f"{UPLOAD}/{path}": FILES[path] for path in own}
    assert [(one["entry_id"], one["mainfile"]) for one in manifest] == [
        ("a", f"{UPLOAD}/a/vasprun.xml"),
        ("a2", f"{UPLOAD}/a/OUTCAR"),
        ("b", f"{UPLOAD}/b/vasprun.xml"),
    ]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"glob_pattern": "*.xml"}, ["a/vasprun.xml", "b/vasprun.xml"]),
        ({"glob_pattern": "INCAR"}, ["b/OLD_INCAR"]),
        ({"glob_pattern": "*INCAR"}, ["b/OLD_INCAR"]),
        ({"glob_pattern": "a/*"}, ["a/vasprun.xml", "a/OUTCAR"]),
        ({"re_pattern": "^a/.*R$"}, ["a/OUTCAR"]),
        ({"re_pattern": "CAR", "glob_pattern": "*.xml"}, ["a/OUTCAR", "b/OLD_INCAR"]),
        ({"include_files": ["INCAR", "OUTCAR"], "re_pattern": "xml"}, ["a/OUTCAR", "b/OLD_INCAR"]),
        ({"include_files": ["vasprun_xml"]}, []),
    ],
    ids=str,
)
def test_files_are_chosen_by_patterns_and_names(
    files: dict[str, Any], names: list[str], store: LocalStore
) -> None:
    """Names win over a regular expression, that over a glob; entries without a chosen file are not told."""
    found = members(post(store, "entries/raw/query", {"query": {"upload_id": UPLOAD}, "files": files}))
    manifest = json.loads(found.pop("manifest.json"))
    assert set(found) == {f"{UPLOAD}/{name}" for name in names}
    folders = {PurePosixPath(one["mainfile"]).parent for one in manifest}
    assert folders == {PurePosixPath(UPLOAD, name).parent for name in names}


def test_an_address_chooses_as_a_body_does(store: LocalStore) -> None:
    """Several names by several parameters."""
    params = (("upload_id", UPLOAD), ("include_files", "OUTCAR"), ("include_files", "OLD_INCAR"))
    found = members(get(store, "entries/raw", *params))
    assert set(found) == {f"{UPLOAD}/a/OUTCAR", f"{UPLOAD}/b/OLD_INCAR", "manifest.json"}


def test_a_search_that_finds_nothing_gives_a_zip_of_an_empty_list(store: LocalStore) -> None:
    """Status 200, as NOMAD does."""
    found = members(post(store, "entries/raw/query", {"query": {"entry_id": "none"}}))
    assert found == {"manifest.json": b"[]"}


def test_entries_without_raw_files_are_listed_in_the_zip(store: LocalStore) -> None:
    """There is nothing to give, which is not the same as nothing chosen."""
    found = members(get(store, "entries/bare/raw"))
    assert [one["entry_id"] for one in json.loads(found["manifest.json"])] == ["bare"]
    assert members(get(store, "uploads/upload-2/raw")) == {}


def test_more_entries_than_a_download_may_have_are_refused(store: LocalStore) -> None:
    """400, which tells limit and number; the limit is NOMAD's 50,000 unless another one is given."""
    deployment = LocalDeployment(store, most_entries=2)
    said = "The limit of maximum number of entries in a single download (2) has been exceeded (4)."
    for path in ("entries/raw/query", "entries/archive/download/query"):
        reply = deployment.answer(Request("POST", path, json={}), api_base="local:")
        assert refusal(reply) == (400, said)
    found = deployment.answer(
        Request("POST", "entries/raw/query", json={"query": {"mainfile": "b/vasprun.xml"}}), api_base="x:"
    )
    assert set(members(found)) == {f"{UPLOAD}/b/vasprun.xml", f"{UPLOAD}/b/OLD_INCAR", "manifest.json"}


def test_a_folder_is_given_with_all_below_it(store: LocalStore) -> None:
    """By names relative to it, deflated, without a list of entries."""
    found = members(get(store, f"uploads/{UPLOAD}/raw/a/", ("compress", "true")))
    assert found == {path.removeprefix("a/"): FILES[path] for path in FILES if path.startswith("a/")}
    chosen = get(store, f"uploads/{UPLOAD}/raw/", ("compress", "true"), ("glob_pattern", "*.txt"))
    assert members(chosen) == {"a/deep/notes.txt": b"of nobody"}
    single = get(store, f"uploads/{UPLOAD}/raw/a/OUTCAR", ("compress", "true"))
    assert members(single) == {"OUTCAR": FILES["a/OUTCAR"]}
    assert 'filename="OUTCAR.zip"' in single.headers["content-disposition"]


def test_members_of_a_zip_that_is_made_have_their_sizes_behind_them(store: LocalStore) -> None:
    """Bit 3 of the flags: whoever reads forwards learns size and CRC-32 after the content."""
    reply = post(store, "entries/raw/query", {"query": {"entry_id": "a"}})
    assert int.from_bytes(reply.body[6:8], "little") == 1 << 3
    assert "content-length" not in reply.headers


@given(raw_contents(), st.integers(1, 4))
def test_walking_through_all_folders_lists_every_file_once(files: dict[str, bytes], page_size: int) -> None:
    """With its size; a folder has the size of all below it."""
    with a_store(an_archive("a")) as store:
        store.add_raw_files(UPLOAD, files)

        def walk(folder: str) -> Iterator[tuple[str, int]]:
            for item in whole_listing(store, folder, page_size):
                path = f"{folder}/{item['name']}".lstrip("/")
                if item["is_file"]:
                    yield path, item["size"]
                else:
                    below = dict(walk(path))
                    assert item["size"] == sum(below.values())
                    yield from below.items()

        assert sorted(walk("")) == sorted((path, len(content)) for path, content in files.items())


def whole_listing(store: LocalStore, folder: str, page_size: int) -> list[dict[str, Any]]:
    """Return the items of a folder, page after page."""
    items: list[dict[str, Any]] = []
    params: Params = (("page_size", str(page_size)),)
    while True:
        answer = get(store, f"uploads/{UPLOAD}/rawdir/{quote(folder)}", *params).json()
        items += answer["directory_metadata"]["content"]
        after = answer["pagination"].get("next_page_after_value")
        if after is None:
            assert len(items) == answer["pagination"]["total"]
            return items
        params = (("page_size", str(page_size)), ("page_after_value", after))


@given(raw_contents())
def test_the_stored_zip_and_the_one_that_is_made_hold_the_same(files: dict[str, bytes]) -> None:
    """And so do the files one by one, whatever their names are."""
    with a_store(an_archive("a")) as store:
        store.add_raw_files(UPLOAD, files)
        assert members(get(store, f"uploads/{UPLOAD}/raw")) == files
        assert members(get(store, f"uploads/{UPLOAD}/raw/", ("compress", "true"))) == files
        for path, content in files.items():
            assert get(store, f"uploads/{UPLOAD}/raw/{quote(path)}").body == content


def test_the_files_of_an_entry_are_those_in_the_folder_of_its_mainfile(store: LocalStore) -> None:
    """Not those below; paths are those in the upload."""
    listed = get(store, "entries/a/rawdir").json()["data"]
    assert listed["mainfile"] == "a/vasprun.xml"
    assert {one["path"]: one["size"] for one in listed["files"]} == {
        path: len(FILES[path]) for path in ("a/OUTCAR", "a/vasprun.xml")
    }
    page = post(store, "entries/rawdir/query", {"pagination": {"page_size": 2}}).json()
    assert [one["entry_id"] for one in page["data"]] == ["a", "a2"]
    assert page["data"][0] == listed
    assert page["pagination"]["next_page_after_value"] == "a2"


def test_a_listing_tells_which_files_are_mainfiles(store: LocalStore) -> None:
    """If it is asked to."""
    items = {
        one["name"]: one.get("entry_id")
        for one in get(store, f"uploads/{UPLOAD}/rawdir/a", ("include_entry_info", "true")).json()[
            "directory_metadata"
        ]["content"]
    }
    assert items == {"OUTCAR": "a2", "deep": None, "vasprun.xml": "a"}
    one = get(store, f"uploads/{UPLOAD}/rawdir/a/OUTCAR", ("include_entry_info", "true")).json()
    told = {"name": "OUTCAR", "size": 1200, "entry_id": "a2", "parser_name": "parsers/vasp"}
    assert one == {"path": "a/OUTCAR", "access": "public", "file_metadata": told}


def test_a_folder_is_listed_ten_at_a_time() -> None:
    """Who does not ask for more, or go on, gets no more."""
    with a_store(an_archive("a")) as store:
        store.add_raw_files(UPLOAD, {f"{number:02}": b"" for number in range(11)})
        answer = get(store, f"uploads/{UPLOAD}/rawdir/").json()
    assert len(answer["directory_metadata"]["content"]) == 10
    assert answer["pagination"]["next_page_after_value"] == "9"


@pytest.mark.parametrize("what", ["raw", "raw/x", "rawdir/", "rawdir/x"])
@pytest.mark.parametrize(
    ("upload_id", "status", "said"),
    [
        ("none", 404, "The specified upload_id was not found."),
        ("upload-3", 403, "You do not have access to the specified upload - published with embargo."),
        ("upload-4", 401, "You need to log in to access the specified upload."),
    ],
)
def test_uploads_of_others_are_refused(
    what: str, upload_id: str, status: int, said: str, store: LocalStore
) -> None:
    """Whatever of them is asked for, and before it is looked whether it is there."""
    assert refusal(get(store, f"uploads/{upload_id}/{what}")) == (status, said)


@pytest.mark.parametrize("entry_id", ["secret", "draft", "none"])
@pytest.mark.parametrize("what", ["raw", "raw/upload-3.txt", "rawdir"])
def test_files_of_entries_that_are_not_for_all_are_not_there(
    entry_id: str, what: str, store: LocalStore
) -> None:
    """404, as for an entry that does not exist."""
    said = "The entry with the given id does not exist or is not visible to you."
    assert refusal(get(store, f"entries/{entry_id}/{what}")) == (404, said)


def test_an_unpublished_upload_that_is_shared_with_all_has_no_stored_zip(store: LocalStore) -> None:
    """Its files are given, one by one or in a zip that is made."""
    status, detail = refusal(get(store, "uploads/upload-5/raw"))
    assert (status, detail[:56]) == (400, "Cannot download raw files .zip from non published uploads"[:56])
    assert get(store, "uploads/upload-5/raw/upload-5.txt").body == b"content"
    assert get(store, "uploads/upload-5/rawdir/").json()["access"] == "unpublished"


@pytest.mark.parametrize("path", ["entries/raw", "entries/rawdir", "entries/archive/download"])
def test_files_of_all_owners_are_refused(path: str, store: LocalStore) -> None:
    """403 for a body and for an address; an owner of somebody needs a login."""
    assert get(store, path, ("owner", "all")).status == 403
    assert post(store, f"{path}/query", {"owner": "all"}).status == 403
    assert post(store, f"{path}/query", {"owner": "user"}).status == 401
    assert get(store, path, ("owner", "user")).status == 401


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        (None, ["missing"]),
        ({"owner": "me", "files": 3}, ["enum", "model_attributes_type"]),
        ({"files": {"re_pattern": "("}}, ["invalid_pattern"]),
        ({"files": {"compress": "maybe", "include_files": "a"}}, ["bool_parsing", "list_type"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["entries/raw/query", "entries/archive/download/query"])
def test_malformed_requests_for_files_are_refused(
    path: str, body: Any, kinds: list[str], store: LocalStore
) -> None:
    """With the types that pydantic names, all findings at once."""
    status, detail = refusal(post(store, path, body))
    assert (status, [found["type"] for found in detail]) == (422, kinds)


def test_archives_are_given_as_files_with_a_list() -> None:
    """One JSON file for each; an entry without an archive is in the list only."""
    with a_store(an_archive("a"), an_archive("b")) as store:
        bare = {"entry_id": "c", "upload_id": UPLOAD, "published": True, "with_embargo": False}
        store.add_entries([(bare, None)])
        body = {"required": {"metadata": {"entry_id": "*"}}}
        found = members(post(store, "entries/archive/download/query", body))
    manifest = json.loads(found.pop("manifest.json"))
    assert [(one["entry_id"], one["path"]) for one in manifest] == [
        (name, f"{UPLOAD}/{name}.json") for name in "abc"
    ]
    assert {path: json.loads(content)["archive"]["metadata"] for path, content in found.items()} == {
        f"{UPLOAD}/{name}.json": {"entry_id": name} for name in "ab"
    }


def test_one_archive_is_a_file_without_what_is_around_it(store: LocalStore) -> None:
    """The archive itself, under the name of its entry."""
    reply = get(store, "entries/a/archive/download")
    assert reply.json()["metadata"]["entry_id"] == "a"
    assert reply.headers["content-disposition"] == 'attachment; filename="a.archive.json"'
    assert get(store, "entries/secret/archive/download").status == 404


def test_metadata_are_exported_as_json_and_as_a_table(store: LocalStore) -> None:
    """Of all that is found, whatever the page size; the header of the request says the format."""
    params = (("upload_id", UPLOAD), ("include", "entry_id"), ("page_size", "1"))
    expected = [{"upload_id": UPLOAD, "entry_id": name} for name in ("a", "a2", "b")]
    assert get(store, "entries/export", *params).json() == expected
    table = get(store, "entries/export", *params, content_type="text/csv").body.decode()
    assert [*csv.DictReader(io.StringIO(table))] == expected
    assert get(store, "entries/export", *params, content_type="a/b").status == 415
    assert get(store, "entries/export", ("page_size", "0")).status == 422
