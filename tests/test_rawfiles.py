"""`search.raw()`, `nomad.entry(id).raw()` and `nomad.raw(upload_id)`: one way to all raw files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import joblib
import pandas as pd
import pytest

from nomadquery import Nomad, Q
from nomadquery.errors import CacheError, DownloadTruncated, IncompleteResult, NotFound, QueryError
from nomadquery.local.server import serve
from nomadquery.local.store import LocalStore
from nomadquery.raw.files import RawFile
from nomadquery.rawfiles import RawFiles
from tests.local_entries import an_archive

FILES = {
    "a/vasprun.xml": b"<modeling>" * 1000,
    "a/OUTCAR": b"energy -1.5 eV\n" * 500,
    "b/vasprun.xml": b"<modeling/>",
    "c/vasprun.xml": b"",
    "README.md": b"# all",
}


def filled(folder: Path) -> Path:
    """Make a deployment of entries ``a`` (with the mainfile of ``a2`` in its folder), ``b`` and ``c``."""
    with LocalStore(folder) as store:
        store.add_archives(
            [
                an_archive("a"),
                an_archive("a2", mainfile="a/OUTCAR"),
                an_archive("b"),
                an_archive("c", elements=["Cu"]),
            ]
        )
        store.add_raw_files("upload-1", FILES)
    return folder


@pytest.fixture(params=["in this process", "on a port"])
def nomad(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nomad]:
    folder = filled(tmp_path / "deployment")
    if request.param == "in this process":
        with Nomad(folder, cache_dir=tmp_path / "cache") as client:
            yield client
        return
    with serve(folder) as api_base, Nomad(api_base, cache_dir=tmp_path / "cache") as client:
        yield client


def below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "nomadquery" not in path.name
    }


def test_the_files_of_a_search_are_listed(nomad: Nomad) -> None:
    """A shared one once, with all its entries; files of no entry are not the search's."""
    frame = nomad.entries(Q.elements.has_all("Ti")).raw().to_pandas()
    assert list(frame.columns) == ["entry_id", "upload_id", "path", "size_bytes", "mainfile", "entry_ids"]
    assert list(frame.path) == ["a/OUTCAR", "a/vasprun.xml", "b/vasprun.xml"]
    assert list(frame.entry_id) == ["a2", "a", "b"]
    assert list(frame.size_bytes) == [len(FILES[path]) for path in frame.path]
    assert list(frame.mainfile) == [True, True, True]
    assert [sorted(one) for one in frame.entry_ids] == [["a", "a2"], ["a", "a2"], ["b"]]
    assert frame.attrs["units"] == {"size_bytes": "byte"}
    assert frame.attrs["nomadquery"]["owner"] == "public"


def test_an_upload_has_all_files_and_an_entry_its_own(nomad: Nomad) -> None:
    """Those of no entry too."""
    upload = nomad.raw("upload-1").to_pandas()
    assert list(upload.path) == sorted(FILES)
    assert upload.set_index("path").entry_id.isna()["README.md"]
    entry = nomad.entry("b").raw().to_pandas()
    assert list(entry.path) == ["b/vasprun.xml"]
    with pytest.raises(NotFound):
        nomad.raw("upload-9").to_pandas()
    with pytest.raises(NotFound):
        nomad.entry("nobody").raw().to_pandas()


def test_files_are_chosen(nomad: Nomad) -> None:
    """By patterns, an expression and size, on each of the three ways."""
    found = nomad.entries()
    assert list(found.raw("OUTCAR*").to_pandas().path) == ["a/OUTCAR"]
    assert list(found.raw(["*.xml"], exclude="b/*").to_pandas().path) == ["a/vasprun.xml", "c/vasprun.xml"]
    assert list(nomad.raw("upload-1", regex="READ|^b/").to_pandas().path) == ["README.md", "b/vasprun.xml"]
    assert list(nomad.entry("a").raw(max_size="8 kB").to_pandas().path) == ["a/OUTCAR"]
    with pytest.raises(QueryError, match="20 MB"):
        found.raw(max_size="big")


def test_files_are_downloaded_once(nomad: Nomad, tmp_path: Path) -> None:
    """Into a folder for each entry, with a table and a manifest; a second time nothing is fetched."""
    raw = nomad.entries().raw()
    frame = raw.download(tmp_path / "data")
    expected = {
        **{f"{one}/{name}": FILES[f"a/{name}"] for one in ("a", "a2") for name in ("OUTCAR", "vasprun.xml")},
        "b/vasprun.xml": FILES["b/vasprun.xml"],
        "c/vasprun.xml": b"",
    }
    assert below(tmp_path / "data") == expected
    assert list(frame.columns) == ["entry_id", "upload_id", "path", "local_path", "size_bytes", "sha256"]
    for row in frame.to_dict("records"):
        content = Path(row["local_path"]).read_bytes()
        assert content == FILES[row["path"]]
        assert (row["size_bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert list(frame.entry_id) == ["a", "a", "a2", "a2", "b", "c"]
    assert raw.plan(tmp_path / "data").n_files == 0
    again = nomad.entries().raw().download(tmp_path / "data", verify=True)
    pd.testing.assert_frame_equal(frame, again)
    manifest = json.loads((tmp_path / "data" / "nomadquery-files.json").read_text())
    assert len(manifest["downloads"]) == 1
    assert manifest["downloads"][0]["owner"] == "public"
    assert {one["local_path"] for one in manifest["files"]} == set(expected)
    assert manifest["uploads"]["upload-1"]["authors"] == ["Ada Lovelace"]


def test_a_second_download_into_the_folder_is_added(nomad: Nomad, tmp_path: Path) -> None:
    """The manifest knows both, and every file."""
    nomad.entries().raw("OUTCAR").download(tmp_path / "data", layout="upload")
    nomad.raw("upload-1", "README.md").download(tmp_path / "data", layout="upload")
    assert set(below(tmp_path / "data")) == {"upload-1/a/OUTCAR", "upload-1/README.md"}
    manifest = json.loads((tmp_path / "data" / "nomadquery-files.json").read_text())
    assert [one["choice"] for one in manifest["downloads"]] == ["include OUTCAR", "include README.md"]
    assert len(manifest["files"]) == 2


@pytest.mark.parametrize("route", ["files", "batches", "upload"])
def test_the_way_can_be_chosen(nomad: Nomad, tmp_path: Path, route: str) -> None:
    """All three give the same bytes."""
    raw = nomad.entries().raw()
    raw.download(tmp_path / "data", layout="upload", route=route)  # type: ignore[arg-type]  # of a list
    expected = {f"upload-1/{path}": content for path, content in FILES.items() if path != "README.md"}
    assert below(tmp_path / "data") == expected
    manifest = json.loads((tmp_path / "data" / "nomadquery-files.json").read_text())
    assert {one["route"] for one in manifest["files"]} == {route}


def test_a_plan_asks_for_nothing_but_the_list(nomad: Nomad, tmp_path: Path) -> None:
    """And makes no folder."""
    plan = nomad.entries().raw("*.xml").plan(tmp_path / "data")
    assert (plan.n_files, plan.n_bytes) == (3, len(FILES["a/vasprun.xml"]) + len(FILES["b/vasprun.xml"]))
    assert "3 files, 10.0 kB" in str(plan)
    assert plan.free_bytes is not None
    assert not (tmp_path / "data").exists()


def test_a_disk_that_is_too_small_is_told_before(
    nomad: Nomad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CacheError, match=r"1\.00 kB"):
        nomad.entries().raw().download(tmp_path / "data")
    assert below(tmp_path / "data") == {}


def test_what_cannot_be_had_is_named_and_the_rest_is_here(
    nomad: Nomad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the table of the others; a file of another size alone is a cut download."""
    raw = nomad.entries().raw()
    listed = raw._source.listed()
    odd = RawFile("upload-1", "../../up", 5, ("a",), ())
    gone = RawFile("upload-1", "a/gone", 5, ("a",), ())
    longer = RawFile("upload-1", "b/vasprun.xml", 12, ("b",), ("b",))

    def spoil(raw: RawFiles, *files: RawFile, **missing: str) -> RawFiles:
        monkeypatch.setattr(
            raw, "_listed", type(listed)(files, missing, listed.published, listed.uploads, listed.facts)
        )
        return raw

    good = next(one for one in listed.files if one.path == "a/OUTCAR")
    with pytest.raises(IncompleteResult, match="all others are here") as caught:
        spoil(raw, odd, gone, good, e9="may not be read").download(tmp_path / "data", layout="upload")
    assert set(caught.value.missing) == {"upload-1/../../up", "upload-1/a/gone", "e9"}
    assert list(caught.value.results.path) == ["a/OUTCAR"]
    assert below(tmp_path / "data") == {"upload-1/a/OUTCAR": FILES["a/OUTCAR"]}
    assert not isinstance(caught.value, DownloadTruncated)
    with pytest.raises(DownloadTruncated, match="11 of the 12 bytes"):
        spoil(raw, longer).download(tmp_path / "other")
    with pytest.raises(IncompleteResult, match="entries not listed") as caught:
        spoil(raw, good, e9="may not be read").to_pandas()
    assert list(caught.value.results.path) == ["a/OUTCAR"]


def test_nothing_to_download_is_told(nomad: Nomad, tmp_path: Path) -> None:
    """With the reason: no file fits, or there is none."""
    with pytest.warns(UserWarning, match="none of 4 files fits"):
        frame = nomad.entries().raw("POTCAR").download(tmp_path / "data")
    assert list(frame.columns) == ["entry_id", "upload_id", "path", "local_path", "size_bytes", "sha256"]
    assert frame.empty


def test_files_are_read_where_they_lie(nomad: Nomad) -> None:
    """The beginning, the end, or as a file, as bytes or text."""
    raw = nomad.entries().raw()
    assert raw.head("OUTCAR", 6) == b"energy"
    assert raw.tail("a/OUTCAR", "1 kB") == FILES["a/OUTCAR"][-1000:]
    assert raw.tail("OUTCAR", "1 GB") == FILES["a/OUTCAR"]
    with raw.open("OUTCAR") as file:
        assert file.read() == FILES["a/OUTCAR"]
    with raw.open("OUTCAR", "r") as text:
        assert next(iter(text)) == "energy -1.5 eV\n"
    with pytest.raises(NotFound, match="POTCAR"):
        raw.head("POTCAR")
    with pytest.raises(QueryError, match="3 of these files"):
        raw.open("vasprun.xml")


def n_bytes(path: Path) -> dict[str, int]:
    """Return the size of a file, but of no empty one."""
    size = len(path.read_bytes())
    if size == 0:
        raise ValueError("empty")
    return {"n_bytes": size}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_function_is_mapped_over_files(nomad: Nomad, n_jobs: int) -> None:
    """In the order of paths; a file over which it fails is a row with the error."""
    with joblib.parallel_config(backend="threading"):
        frame = nomad.entries().raw().map(n_bytes, n_jobs=n_jobs)
    assert list(frame.path) == sorted(path for path in FILES if "/" in path)
    assert list(frame.n_bytes.dropna()) == [len(FILES[path]) for path in frame.path if FILES[path]]
    assert list(frame.error.dropna()) == ["ValueError: empty"]


def test_mapped_files_stay_where_that_is_wanted(nomad: Nomad, tmp_path: Path) -> None:
    """In a folder that is named; with ``keep=False`` they go after parsing."""
    raw = nomad.entries().raw("*.xml")
    raw.map(n_bytes, dest=tmp_path / "kept")
    assert set(below(tmp_path / "kept")) == {f"upload-1/{one}/vasprun.xml" for one in "abc"}
    raw.map(n_bytes, dest=tmp_path / "gone", keep=False)
    assert below(tmp_path / "gone") == {}
    with pytest.raises(QueryError, match="dest"):
        raw.map(n_bytes, keep=True)


def test_what_they_are_can_be_seen(nomad: Nomad) -> None:
    """Nothing is asked for by looking."""
    raw = nomad.entries().raw("*.xml")
    assert "not listed yet" in repr(raw)
    assert "not listed yet" in raw._repr_html_()
    raw.to_pandas()
    assert "3 files, 10.0 kB" in repr(raw)
    assert "<td>a/vasprun.xml</td>" in raw._repr_html_()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"layout": "tree"}, "entry, upload, flat"), ({"route": "zip"}, "files, batches, upload")],
)
def test_what_makes_no_sense_is_refused(
    nomad: Nomad, tmp_path: Path, wrong: dict[str, str], words: str
) -> None:
    """With what does."""
    with pytest.raises(QueryError, match=words):
        nomad.entries().raw().download(tmp_path / "data", **wrong)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(QueryError, match="drop_missing"):
        nomad.entries().select("gap").drop_missing("gap").raw()


def test_offline_there_are_no_lists(tmp_path: Path) -> None:
    """They are not kept."""
    with Nomad("http://127.0.0.1:9/api/v1", cache_dir=tmp_path, offline=True) as client:
        with pytest.raises(CacheError):
            client.raw("upload-1").to_pandas()
        with pytest.raises(CacheError, match="offline"):
            client.entries().raw()
