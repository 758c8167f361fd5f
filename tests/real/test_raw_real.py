"""A real NOMAD gives, on every route, the raw files on the disk that it was seeded from, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from nomadquery import Nomad, Q
from nomadquery.errors import IncompleteResult, NotAuthenticated, NotFound, NotPermitted
from nomadquery.raw.plan import Route

Files = dict[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def raw_folder() -> Path:
    """Return the folder of the samples' raw files, which `NOMADQUERY_SHARED` names."""
    shared = os.environ.get("NOMADQUERY_SHARED")
    if not shared:
        pytest.fail(
            "Set NOMADQUERY_SHARED to the folder with nomad/samples/raw that the server was seeded from."
        )
    return Path(shared) / "nomad" / "samples" / "raw"


@pytest.fixture(scope="module")
def on_disk(raw_folder: Path, real_documents: list[dict[str, Any]]) -> Files:
    """Return the sample files of public uploads: upload id → path → content."""
    public = {one["upload_id"] for one in real_documents}
    files: Files = {}
    for folder in sorted(raw_folder.iterdir()):
        if folder.name in public:
            files[folder.name] = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
    assert len(files) > 5
    return files


@pytest.fixture(scope="module")
def nomad(real_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    with Nomad(real_url, cache_dir=tmp_path_factory.mktemp("cache")) as client:
        yield client


def of_entries(on_disk: Files, documents: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    """Return upload and path → entries, for the sample files in the folders of mainfiles."""
    folders: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for one in documents:
        folders[one["upload_id"], one["mainfile"].rpartition("/")[0]].add(one["entry_id"])
    return {
        (upload, path): folders[upload, path.rpartition("/")[0]]
        for upload, files in on_disk.items()
        for path in files
        if (upload, path.rpartition("/")[0]) in folders
    }


def test_the_list_has_every_file_on_disk_with_its_entries(
    nomad: Nomad, on_disk: Files, real_documents: list[dict[str, Any]]
) -> None:
    """Of all sample uploads; sizes too. Files that the server made up for the rest are beside them."""
    frame = nomad.entries(Q.upload_id.isin(list(on_disk))).raw().to_pandas()
    assert not frame.duplicated(["upload_id", "path"]).any()
    rows: list[Any] = list(frame.itertuples())
    found = {(row.upload_id, row.path): row for row in rows}
    for place, entries in of_entries(on_disk, real_documents).items():
        assert set(found[place].entry_ids) == entries
        assert found[place].size_bytes == len(on_disk[place[0]][place[1]])
    mains = {(one["upload_id"], one["mainfile"]) for one in real_documents if one["upload_id"] in on_disk}
    assert {place for place, row in found.items() if row.mainfile} == mains


@pytest.mark.parametrize("route", get_args(Route))
def test_every_route_gives_the_files_on_disk(
    nomad: Nomad, on_disk: Files, real_documents: list[dict[str, Any]], tmp_path: Path, route: Route
) -> None:
    """Of all sample uploads, byte for byte, and by the route that was asked for."""
    raw = nomad.entries(Q.upload_id.isin(list(on_disk))).raw()
    frame = raw.download(tmp_path, layout="upload", route=route)
    for upload_id, path in of_entries(on_disk, real_documents):
        expected = on_disk[upload_id][path]
        assert (tmp_path / upload_id / path).read_bytes() == expected, (upload_id, path)
        [row] = frame[(frame.upload_id == upload_id) & (frame.path == path)].to_dict("records")
        assert row["sha256"] == hashlib.sha256(expected).hexdigest()
    manifest = json.loads((tmp_path / "nomadquery-files.json").read_text())
    assert {one["route"] for one in manifest["files"]} == {route}
    assert {one["license"] for one in manifest["uploads"].values()} == {"CC BY 4.0"}


def test_an_upload_has_all_its_files(nomad: Nomad, on_disk: Files) -> None:
    """Those in folders of no entry too."""
    for upload_id, files in on_disk.items():
        frame = nomad.raw(upload_id).to_pandas()
        sizes = dict(zip(frame.path, frame.size_bytes, strict=True))
        assert {path: sizes.get(path) for path in files} == {path: len(one) for path, one in files.items()}


def test_parts_are_read_where_they_lie(nomad: Nomad, on_disk: Files) -> None:
    """First and last bytes, and what a reader of files asks for."""
    upload_id = max(on_disk, key=lambda one: sum(map(len, on_disk[one].values())))
    path, content = max(on_disk[upload_id].items(), key=lambda pair: len(pair[1]))
    raw = nomad.raw(upload_id)
    assert raw.head(f"/{path}", 100) == content[:100]
    assert raw.tail(path, "1 kB") == content[-1000:]
    with raw.open(path) as file:
        file.seek(len(content) // 2)
        assert file.read(5000) == content[len(content) // 2 :][:5000]


def test_what_may_not_be_read_is_an_error(nomad: Nomad, tmp_path: Path) -> None:
    """Embargoed uploads of others, and uploads that are not there."""
    with pytest.raises(NotFound):
        nomad.raw("there-is-no-such-upload").to_pandas()
    hidden = nomad.entries(Q.with_embargo == True, owner="all")  # noqa: E712  # a criterion
    ids = hidden.select("upload_id").to_pandas().upload_id
    if ids.empty:
        pytest.skip("the server has no embargoed uploads")
    with pytest.raises((NotPermitted, NotAuthenticated)):
        nomad.raw(ids.iloc[0]).to_pandas()
    visible = nomad.entries(Q.upload_id == nomad.entries().preview(1)["upload_id"].iloc[0])
    both = nomad.entries(
        Q.entry_id.isin([*hidden.limit(3).entry_ids(), *visible.limit(1).entry_ids()]), owner="all"
    ).raw()
    with pytest.raises(IncompleteResult, match="may not be read") as caught:
        both.download(tmp_path)
    assert set(hidden.limit(3).entry_ids()) <= set(caught.value.missing)
    assert len(caught.value.results) > 0
