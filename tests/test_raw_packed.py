"""Files that stay packed: one zip for each upload, whole or absent, the same bytes for the same files."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomadquery import Nomad
from nomadquery.errors import CacheError, QueryError, ServerFailure, Unreachable
from nomadquery.local.store import LocalStore
from nomadquery.raw.files import RawFile
from nomadquery.raw.placing import places_of
from nomadquery.raw.plan import ROUTES, Route
from nomadquery.raw.unpack import directory
from nomadquery.store import downloads, zips
from nomadquery.store.downloads import DownloadFolder, Record
from nomadquery.store.zips import Member, write_zip
from tests.faults.raw import RawServer, Uploads
from tests.faults.server import Answer, Fault, Received, as_json, as_proxy
from tests.local_entries import an_archive
from tests.raw_downloads import listed_files, on_disk, packed
from tests.strategies import raw_faults, uploads_with_entries
from tests.test_raw_unpack import from_its_end
from tests.zips import InMemory

CONTENT = bytes(range(256)) * 64
WORLD = Uploads(
    {
        "one": {"a/OUTCAR": CONTENT, "a/INCAR": b"ENCUT = 400", "a/empty": b"", "b/ü %#?.xml": CONTENT[::-1]},
        "two": {"vasprun.xml": CONTENT * 3},
    },
    {
        "e1": ("one", "a/OUTCAR"),
        "e2": ("one", "a/INCAR"),
        "e3": ("one", "b/ü %#?.xml"),
        "e4": ("two", "vasprun.xml"),
    },
)
ZIPS = {f"{upload_id}.zip": files for upload_id, files in WORLD.files.items()}


def read_back(dest: Path) -> dict[str, dict[str, bytes]]:
    """Return the members of all zips in a folder, where nothing else may be."""
    found = {}
    for name, content in on_disk(dest).items():
        with zipfile.ZipFile(io.BytesIO(content)) as one:
            assert len(one.namelist()) == len(set(one.namelist()))
            found[name] = {member: one.read(member) for member in one.namelist()}
    return found


def only(*names: str) -> list[RawFile]:
    return [one for one in listed_files(WORLD) if one.name in names]


@pytest.mark.parametrize("n_places", [0, 4])
@pytest.mark.parametrize("route", ROUTES)
def test_each_upload_is_a_zip_on_every_route(tmp_path: Path, route: Route, n_places: int) -> None:
    """Members are called as in the upload, also what some system could not hold as a file."""
    with RawServer(WORLD) as server:
        records, done, stopped = packed(server, tmp_path, route=route, n_places=n_places)
    assert (done.failed, stopped) == ({}, None)
    assert read_back(tmp_path) == ZIPS
    assert {(one.local_path, one.path): (one.sha256, one.size_bytes) for one in records} == {
        (name, path): (hashlib.sha256(content).hexdigest(), len(content))
        for name, files in ZIPS.items()
        for path, content in files.items()
    }
    assert {one.local_bytes for one in records} == {path.stat().st_size for path in tmp_path.glob("*.zip")}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the route and the order of arrival, and also where members were added later."""
    found = []
    with RawServer(WORLD) as server:
        for route in ROUTES:
            packed(server, tmp_path / route, route=route, n_places=4)
            found.append(on_disk(tmp_path / route))
        packed(server, tmp_path / "later", files=only("OUTCAR", "vasprun.xml"))
        packed(server, tmp_path / "later")
        found.append(on_disk(tmp_path / "later"))
    assert all(one == found[0] for one in found)


@settings(max_examples=25)
@given(uploads_with_entries(), raw_faults(), st.sampled_from((None, *ROUTES)))
def test_faults_cost_time_and_nothing_else(
    uploads: Uploads, faults: list[Fault | int], route: Route | None
) -> None:
    """After any faults of connection and proxy; in between no zip lacks a file of its upload."""
    course = iter(faults)

    def spoil(_received: Received, _n: int, answer: Answer) -> Answer:
        fault = next(course, None)
        if isinstance(fault, int):
            return as_proxy(fault, "busy")
        return answer if fault is None else replace(answer, fault=fault)

    expected: dict[str, dict[str, bytes]] = {}
    for one in places_of(listed_files(uploads), "upload").of:  # names that no file may have are refused
        expected.setdefault(f"{one.upload_id}.zip", {})[one.path] = uploads.files[one.upload_id][one.path]
    with TemporaryDirectory() as folder, RawServer(uploads, spoil) as server:
        for _ in range(len(faults) + 1):  # three in a row end a run
            _, done, stopped = packed(server, Path(folder), route=route)
            assert stopped is None or isinstance(stopped, (Unreachable, ServerFailure))
            if stopped is None and not done.cut:
                break
            if not done.failed:
                assert read_back(Path(folder)).items() <= expected.items()
        assert read_back(Path(folder)) == expected


def test_what_is_packed_is_not_asked_for_again(tmp_path: Path) -> None:
    """Neither all of it nor a part; a zip that only got another time neither, and is left as it is."""
    with RawServer(WORLD) as server:
        first, _, _ = packed(server, tmp_path)
        n_sent, before = len(server.received), on_disk(tmp_path)
        os.utime(tmp_path / "two.zip")
        assert packed(server, tmp_path)[0] == first
        some, _, _ = packed(server, tmp_path, files=only("INCAR"), verify=True)
        assert [(one.local_path, one.path) for one in some] == [("one.zip", "a/INCAR")]
        assert len(server.received) == n_sent
    assert on_disk(tmp_path) == before


def test_other_files_are_added_to_the_zip(tmp_path: Path) -> None:
    """Those that are in it are not asked for again, and stay."""
    with RawServer(WORLD) as server:
        packed(server, tmp_path, files=only("OUTCAR"), route="files")
        packed(server, tmp_path, files=only("INCAR"), route="files")
        assert Counter(server.paths) == {"uploads/one/raw/a/OUTCAR": 1, "uploads/one/raw/a/INCAR": 1}
    assert read_back(tmp_path) == {"one.zip": {"a/INCAR": b"ENCUT = 400", "a/OUTCAR": CONTENT}}
    assert {one.path for one in DownloadFolder(tmp_path).members()["one.zip"]} == {"a/INCAR", "a/OUTCAR"}


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 30)


def changed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"ENCUT = 400", b"ENCUT = 999"))


def repacked(path: Path) -> None:
    with zipfile.ZipFile(path) as one:
        content = {name: one.read(name) for name in one.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as one:
        for name, some in content.items():
            one.writestr(name, some)


@pytest.mark.parametrize("damage", [truncated, changed, Path.unlink, repacked])
def test_what_is_damaged_is_fetched_again(tmp_path: Path, damage: object) -> None:
    """A zip that is cut, changed, gone, or was packed by somebody else; whatever is whole stays."""
    assert callable(damage)
    with RawServer(WORLD) as server:
        packed(server, tmp_path)
        damage(tmp_path / "one.zip")
        n_sent = len(server.received)
        packed(server, tmp_path, route="files")
        asked = {path.rpartition("/")[2] for path in server.paths[n_sent:]}
    assert read_back(tmp_path) == ZIPS
    assert asked == ({"INCAR"} if damage is changed else {"OUTCAR", "INCAR", "empty", "ü %#?.xml"})


def test_only_verifying_sees_a_change_that_keeps_size_and_time(tmp_path: Path) -> None:
    """And adding to such a zip says it, and leaves it as it was."""
    path = tmp_path / "one.zip"
    with RawServer(WORLD) as server:
        packed(server, tmp_path, files=only("INCAR", "empty"))
        times = path.stat()
        changed(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        before = path.read_bytes()
        with pytest.raises(CacheError, match="verify=True"):
            packed(server, tmp_path)
        assert path.read_bytes() == before
        packed(server, tmp_path, verify=True)
    assert read_back(tmp_path) == ZIPS


def test_a_file_that_cannot_be_had_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """It is named, and comes with a later download."""

    def spoil(got: Received, _n: int, answer: Answer) -> Answer:
        return as_json({"detail": "no"}, 403) if "INCAR" in got.path else answer

    with RawServer(WORLD, spoil) as server:
        _, done, _ = packed(server, tmp_path, route="files")
        assert [one.path for one in done.failed] == ["a/INCAR"]
        assert set(read_back(tmp_path)["one.zip"]) == set(WORLD.files["one"]) - {"a/INCAR"}
        server.spoil = None
        n_sent = len(server.received)
        packed(server, tmp_path, route="files")
        assert server.paths[n_sent:] == ["uploads/one/raw/a/INCAR"]
    assert read_back(tmp_path) == ZIPS


def test_an_upload_of_which_files_are_still_to_come_has_no_zip(tmp_path: Path) -> None:
    """The server went away: what arrived waits, and the other upload is packed."""

    def spoil(got: Received, _n: int, answer: Answer) -> Answer:
        return replace(answer, fault="reset") if "INCAR" in got.path else answer

    with RawServer(WORLD, spoil) as server:
        files = sorted(listed_files(WORLD), key=lambda one: (one.upload_id != "two", one.path == "a/INCAR"))
        records, _, stopped = packed(server, tmp_path, files=files, route="files")
        assert isinstance(stopped, Unreachable)
        assert set(read_back(tmp_path)) <= {"two.zip"}
        server.spoil = None
        n_sent = len(server.received)
        records, _, _ = packed(server, tmp_path, route="files")
        assert len(records) == 5
        assert "uploads/one/raw/a/INCAR" in server.paths[n_sent:]
        assert max(Counter(path for path in server.paths if "INCAR" not in path).values()) == 1
    assert read_back(tmp_path) == ZIPS


def test_unsafe_names_are_refused(tmp_path: Path) -> None:
    """What leads elsewhere is in no zip."""
    odd = [
        RawFile("one", path, 5, ("e1",), ()) for path in ("../up", "/etc/up", "a/../../up", "C:/up", "a/\0")
    ]
    with RawServer(WORLD) as server:
        _, done, _ = packed(server, tmp_path, files=[*odd, *only("INCAR")])
    assert set(done.failed) == set(odd)
    assert read_back(tmp_path) == {"one.zip": {"a/INCAR": b"ENCUT = 400"}}


def test_somebody_elses_zip_is_not_replaced(tmp_path: Path) -> None:
    """A file that was not downloaded, or not as a zip of this upload; the other upload arrives."""
    (tmp_path / "one.zip").write_bytes(b"mine")
    with RawServer(WORLD) as server:
        _, done, _ = packed(server, tmp_path)
        assert {one.upload_id for one in done.failed} == {"one"}
        assert all("not downloaded" in why for why in done.failed.values())
        assert not any("uploads/one" in path for path in server.paths)
    assert (tmp_path / "one.zip").read_bytes() == b"mine"
    assert (tmp_path / "two.zip").exists()


def test_uploads_that_differ_in_capitals_have_zips_of_their_own(tmp_path: Path) -> None:
    """On every system."""
    uploads = Uploads({"Up": {"f": b"1"}, "uP": {"f": b"2"}}, {"e1": ("Up", "f"), "e2": ("uP", "f")})
    with RawServer(uploads) as server:
        records, _, _ = packed(server, tmp_path)
    assert len({one.local_path.lower() for one in records}) == 2
    assert sorted(files["f"] for files in read_back(tmp_path).values()) == [b"1", b"2"]


def test_a_disk_that_fills_while_a_zip_is_made_leaves_no_zip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched is not fetched again."""

    def full(*_: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zips, "copied", full)
    with RawServer(WORLD) as server:
        with pytest.raises(CacheError, match="full"):
            packed(server, tmp_path)
        assert on_disk(tmp_path) == {}
        monkeypatch.undo()
        n_sent = len(server.received)
        packed(server, tmp_path)
        assert len(server.received) == n_sent
    assert read_back(tmp_path) == ZIPS


def test_a_zip_that_a_disk_spoils_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read back before."""
    real = zips._head

    def spoilt(member: Member) -> zipfile.ZipInfo:
        head = real(member)
        if member.path == "a/OUTCAR":
            head.filename = "a/OUTCAS"
        return head

    monkeypatch.setattr(zips, "_head", spoilt)
    with RawServer(WORLD) as server, pytest.raises(CacheError, match="does not read as it was written"):
        packed(server, tmp_path)
    assert "one.zip" not in on_disk(tmp_path)


def _download(api: str, uploads: Uploads, dest: Path) -> None:
    class Known(RawServer):
        def __init__(self) -> None:
            self.uploads = uploads

        @property
        def api_base(self) -> str:
            return api

    packed(Known(), dest, route="files", n_places=2)


def test_a_killed_download_goes_on_with_what_it_had(tmp_path: Path) -> None:
    """Killed at any moment there is no zip or a whole one."""
    files = {f"{n:02}/OUTCAR": bytes([n]) * 50_000 for n in range(40)}
    uploads = Uploads({"u": files}, {f"e{n}": ("u", f"{n:02}/OUTCAR") for n in range(40)})
    context = multiprocessing.get_context("spawn")
    with RawServer(uploads, lambda _got, _n, answer: replace(answer, fault="drip")) as server:
        victim = context.Process(target=_download, args=(server.api_base, uploads, tmp_path))
        victim.start()
        deadline = time.monotonic() + 60
        while len(server.received) < 15 and time.monotonic() < deadline:
            time.sleep(0.002)
        victim.kill()
        victim.join()
        assert on_disk(tmp_path) == {}
        server.spoil = None
        n_sent = len(server.received)
        packed(server, tmp_path, route="files")
        assert len(server.received) - n_sent <= 40 - 15 + 2 + 2  # two on their way, two noted but not moved
    assert read_back(tmp_path) == {"u.zip": files}


def test_a_run_that_ends_between_record_and_name_loses_no_zip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The zip that was there before is there still, and known."""
    with RawServer(WORLD) as server:
        packed(server, tmp_path, files=only("INCAR"))
        monkeypatch.setattr(zips, "remove_file", lambda _: None)  # killed, nothing is put away
        monkeypatch.setattr(Path, "replace", _killed)
        with pytest.raises(KeyboardInterrupt):
            packed(server, tmp_path, files=only("INCAR", "empty"))
        monkeypatch.undo()
        assert read_back(tmp_path) == {"one.zip": {"a/INCAR": b"ENCUT = 400"}}
        n_sent = len(server.received)
        packed(server, tmp_path, files=only("INCAR"))
        assert len(server.received) == n_sent
        packed(server, tmp_path)
    assert read_back(tmp_path) == ZIPS


def _killed(path: Path, target: Path) -> Path:
    if target.suffix == ".zip":
        raise KeyboardInterrupt
    return path.rename(target)


# -- the zips themselves ------------------------------------------------------------------------


def as_members(files: Mapping[str, bytes]) -> list[Member]:
    def member(path: str, content: bytes) -> Member:
        return Member(path, len(content), hashlib.sha256(content).hexdigest(), lambda: io.BytesIO(content))

    return [member(path, content) for path, content in files.items()]


def zipped(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    write_zip(stream, as_members(files))
    return stream.getvalue()


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["C"], exclude_characters="/"), min_size=1, max_size=20),
        st.binary(max_size=300),
        max_size=8,
    )
)
def test_a_zip_has_its_files_in_order_and_without_times(files: dict[str, bytes]) -> None:
    """Also for our own reader, and in whatever order they were given."""
    content = zipped(files)
    assert content == zipped(dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(content)) as one:
        assert one.namelist() == sorted(files)
        assert {name: one.read(name) for name in one.namelist()} == files
        assert {info.date_time for info in one.infolist()} <= {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in one.infolist()} <= {zipfile.ZIP_STORED}
    assert {info.name: info.size_bytes for info in directory(InMemory(content))} == {
        name: len(one) for name, one in files.items()
    }


def test_more_members_than_a_plain_zip_can_count() -> None:
    """65,536 of them need zip64."""
    content = zipped({f"{n:05}": b"" for n in range(65_536)})
    with zipfile.ZipFile(io.BytesIO(content)) as one:
        assert len(one.namelist()) == 65_536
    assert sum(1 for _ in directory(InMemory(content))) == 65_536


def test_large_members_need_zip64(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 1,000 bytes were 2 GiB."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    files = {"OUTCAR": CONTENT, "WAVECAR": CONTENT[::-1], "small": b"1"}
    content = zipped(files)
    monkeypatch.undo()
    with zipfile.ZipFile(io.BytesIO(content)) as one:
        assert {name: one.read(name) for name in one.namelist()} == files
        assert [info.extract_version for info in one.infolist()] == [45, 45, 45]  # the last by its offset
    assert from_its_end(content) == files


@pytest.mark.parametrize("wrong", [b"other", b"longer than it was", b""])
def test_a_content_that_is_not_what_was_downloaded_is_said(wrong: bytes) -> None:
    """Of the same size, longer, shorter."""
    [member] = as_members({"OUTCAR": b"01234"})
    with pytest.raises(CacheError, match="OUTCAR"):
        write_zip(io.BytesIO(), [replace(member, open=lambda: io.BytesIO(wrong))])


# -- from the front door ------------------------------------------------------------------------

FILES = {
    "a/vasprun.xml": b"<modeling>" * 1000,
    "a/OUTCAR.gz": b"energy",
    "b/vasprun.xml": b"",
    "README.md": b"#",
}


@pytest.fixture
def nomad(tmp_path: Path) -> Nomad:
    with LocalStore(tmp_path / "deployment") as store:
        store.add_archives([an_archive("a"), an_archive("a2", mainfile="a/OUTCAR.gz"), an_archive("b")])
        store.add_raw_files("upload-1", FILES)
    return Nomad(tmp_path / "deployment", cache_dir=tmp_path / "cache")


def test_table_and_manifest_have_a_row_for_each_member(nomad: Nomad, tmp_path: Path) -> None:
    """With the path of the zip; nothing else is left in the folder, and a second time nothing is fetched."""
    data = tmp_path / "data"
    with nomad:
        frame = nomad.raw("upload-1").download(data, unpack=False)
        assert set(frame.local_path) == {str(data / "upload-1.zip")}
        assert list(frame.path) == sorted(FILES)
        assert list(frame.size_bytes) == [len(FILES[path]) for path in sorted(FILES)]
        assert list(frame.sha256) == [hashlib.sha256(FILES[path]).hexdigest() for path in sorted(FILES)]
        assert read_back(data) == {"upload-1.zip": FILES}
        manifest = json.loads((data / downloads.READABLE).read_text())
        assert [(one["local_path"], one["path"], one["is_packed"]) for one in manifest["files"]] == [
            ("upload-1.zip", path, True) for path in sorted(FILES)
        ]
        assert {path.name for path in data.iterdir()} <= {
            "upload-1.zip",
            downloads.MANIFEST,
            downloads.READABLE,
            ".nomadquery-files.lock",
        }
        again = nomad.raw("upload-1")
        assert again.plan(data, unpack=False).n_files == 0
        assert again.download(data, unpack=False, verify=True).equals(frame)
        assert len(json.loads((data / downloads.READABLE).read_text())["downloads"]) == 1


def test_a_file_that_entries_share_is_packed_once(nomad: Nomad, tmp_path: Path) -> None:
    """The layout does not matter; files of their own in the same folder are known beside the zip."""
    data = tmp_path / "data"
    with nomad:
        frame = nomad.entries().raw("a/*").download(data, unpack=False, layout="entry")
        assert list(frame.entry_id) == ["a2", "a"]
        nomad.raw("upload-1", "README.md").download(data, layout="flat")
    manifest = json.loads((data / downloads.READABLE).read_text())
    assert [(one["local_path"], one["path"]) for one in manifest["files"]] == [
        ("README.md", "README.md"),
        ("upload-1.zip", "a/OUTCAR.gz"),
        ("upload-1.zip", "a/vasprun.xml"),
    ]


def test_decompressing_into_a_zip_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """Nobody listens at the address."""
    with Nomad("http://127.0.0.1:9/api/v1", cache_dir=tmp_path) as nomad:
        raw = nomad.raw("upload-1")
        with pytest.raises(QueryError, match="unpack=False"):
            raw.download(tmp_path / "data", unpack=False, decompress=True)
        with pytest.raises(QueryError, match="unpack=False"):
            raw.plan(unpack=False, decompress=True)
    assert not (tmp_path / "data").exists()


def test_the_room_for_the_zip_is_counted(
    nomad: Nomad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is made the files are there twice."""
    n_bytes = sum(map(len, FILES.values()))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=n_bytes + 10))
    with nomad:
        raw = nomad.raw("upload-1")
        assert raw.plan(tmp_path / "data").is_too_large is False
        plan = raw.plan(tmp_path / "data", unpack=False)
        assert (plan.n_bytes, plan.packing_bytes, plan.is_too_large) == (n_bytes, n_bytes, True)
        assert "10.0 kB more while a zip is made" in str(plan)
        with pytest.raises(CacheError, match=r"20\.0 kB of room"):
            raw.download(tmp_path / "data", unpack=False)


def test_records_of_members_come_back_from_the_journal_all_or_none(tmp_path: Path) -> None:
    """A line that was cut by a crash is no zip with fewer files."""
    with RawServer(WORLD) as server:
        records, _, _ = packed(server, tmp_path, files=only("INCAR", "empty"))
    folder = DownloadFolder(tmp_path)
    assert set(folder.members()["one.zip"]) == set(records)
    assert folder.records() == {}
    journal = tmp_path / ".nomadquery-files.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert folder.members() == {}
    assert isinstance(records[0], Record)
