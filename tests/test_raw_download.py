"""Files arrive byte for byte on every route, whatever fails on the way, or are named; no file is half."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomadquery.errors import CacheError, ServerFailure, Unreachable
from nomadquery.http import transport
from nomadquery.http.message import Request
from nomadquery.http.transport import RequestsWire
from nomadquery.raw.bounds import Bounds
from nomadquery.raw.download import BLOCK_BYTES
from nomadquery.raw.names import Layout
from nomadquery.raw.placing import places_of
from nomadquery.raw.plan import ROUTES, Route
from nomadquery.store import downloads
from nomadquery.store.downloads import DownloadFolder
from tests.faults.raw import RawServer, Spoil, Uploads
from tests.faults.server import Answer, Fault, Received, as_json, as_proxy
from tests.raw_downloads import by_upload, downloaded, listed_files, on_disk
from tests.strategies import raw_faults, uploads_with_entries

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


@contextmanager
def serving(uploads: Uploads = WORLD, spoil: Spoil | None = None) -> Iterator[RawServer]:
    with RawServer(uploads, spoil) as server:
        yield server


def is_file(received: Received) -> bool:
    return received.path.startswith("/api/v1/uploads/") and "/raw/" in received.path


def first_time(
    spoil: Callable[[Answer], Answer], *, only: Callable[[Received], bool] = lambda _: True
) -> Spoil:
    """Return what spoils the first answer to each request for the same thing."""
    seen: Counter[bytes] = Counter()

    def spoiled(received: Received, _n: int, answer: Answer) -> Answer:
        if not only(received):
            return answer
        key = received.path.partition("offset")[0].encode() + received.body
        seen[key] += 1
        return spoil(answer) if seen[key] == 1 else answer

    return spoiled


@pytest.mark.parametrize("n_places", [0, 4])
@pytest.mark.parametrize("route", ROUTES)
def test_every_route_gives_the_same_bytes(tmp_path: Path, route: Route, n_places: int) -> None:
    """Names with blanks, umlauts and signs included; empty files too."""
    with serving() as server:
        done, stopped = downloaded(server, tmp_path, route=route, n_places=n_places)
    assert (done.failed, stopped) == ({}, None)
    expected = {name.replace("?", "_"): content for name, content in by_upload(WORLD).items()}
    assert on_disk(tmp_path) == expected
    assert {one.local_path: one.sha256 for one in done.records} == {
        name: hashlib.sha256(content).hexdigest() for name, content in expected.items()
    }
    assert {one.route for one in done.records} == {route}


@settings(max_examples=25)
@given(uploads_with_entries(), raw_faults(), st.sampled_from((None, *ROUTES)))
def test_faults_cost_time_and_nothing_else(
    uploads: Uploads, faults: list[Fault | int], route: Route | None
) -> None:
    """After any faults of connection and proxy, as many as come, the files are those of the server."""
    course = iter(faults)

    def spoil(_received: Received, _n: int, answer: Answer) -> Answer:
        fault = next(course, None)
        if isinstance(fault, int):
            return as_proxy(fault, "busy")
        return answer if fault is None else replace(answer, fault=fault)

    with TemporaryDirectory() as folder, serving(uploads, spoil) as server:
        for _ in range(len(faults) + 1):  # three in a row end a run
            done, stopped = downloaded(server, Path(folder), route=route)
            assert stopped is None or isinstance(stopped, (Unreachable, ServerFailure))
            assert set(done.failed) == done.cut
            if stopped is None and not done.cut:
                break
        places = places_of(listed_files(uploads), "upload")
        expected = {
            place.local_path: uploads.files[file.upload_id][file.path]
            for file, own in places.of.items()
            for place in own
        }
        assert on_disk(Path(folder)) == expected


@pytest.mark.parametrize("fault", ["cut", "cut_chunks"])
def test_a_cut_file_goes_on_at_the_byte(tmp_path: Path, fault: Fault) -> None:
    """At most the block that was being read is asked for again; a reset may take more with it."""
    content = CONTENT * 300
    uploads = Uploads({"u": {"OUTCAR": content}}, {"e": ("u", "OUTCAR")})
    with serving(uploads, first_time(lambda answer: replace(answer, fault=fault))) as server:
        done, stopped = downloaded(server, tmp_path, route="files")
    assert (done.failed, stopped) == ({}, None)
    first, second = (int(one.path.partition("offset=")[2].partition("&")[0]) for one in server.received)
    assert first == 0
    assert len(content) // 2 - BLOCK_BYTES <= second <= len(content) // 2
    assert on_disk(tmp_path) == {"u/OUTCAR": content}


@pytest.mark.parametrize("route", ROUTES)
def test_a_stream_that_stalls_is_gone_on_with(
    tmp_path: Path, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bounded silence, whatever the server may take to prepare a zip."""
    real = transport.RequestsWire._begun

    def impatient(wire: RequestsWire, request: Request, *where: Any, **how: Any) -> Any:
        return real(wire, replace(request, silence_s=0.2), *where, **how)

    monkeypatch.setattr(transport.RequestsWire, "_begun", impatient)
    began_s = time.monotonic()
    stall = first_time(lambda answer: replace(answer, fault="stall") if answer.body else answer)
    with serving(spoil=stall) as server:
        done, stopped = downloaded(server, tmp_path, route=route)
    assert (done.failed, stopped) == ({}, None)
    assert time.monotonic() - began_s < 8
    assert sorted(on_disk(tmp_path).values()) == sorted(by_upload(WORLD).values())


@pytest.mark.parametrize("route", ["batches", "upload"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: replace(answer, body=answer.body[: len(answer.body) // 2]),
        lambda answer: replace(answer, body=answer.body.replace(b"ENCUT = 400", b"ENCUT = 500")),
        lambda answer: replace(answer, body=b"PK\x03\x04 is no zip"),
        lambda _: as_json({"detail": "The upload is not published."}, 400),
        lambda _: as_json({"detail": "no"}, 403),
    ],
    ids=["cut", "CRC", "no zip", "400", "403"],
)
def test_what_a_zip_does_not_give_comes_file_by_file(
    tmp_path: Path, route: Route, spoil: Callable[[Answer], Answer]
) -> None:
    """A zip that is cut as if it were whole, has a wrong CRC-32, is none, or is refused."""
    with serving(spoil=lambda got, _, answer: answer if is_file(got) else spoil(answer)) as server:
        done, stopped = downloaded(server, tmp_path, route=route)
    assert (done.failed, stopped) == ({}, None)
    assert sorted(on_disk(tmp_path).values()) == sorted(by_upload(WORLD).values())
    assert "files" in {one.route for one in done.records}


def test_a_member_with_a_wrong_checksum_is_the_only_one_asked_for_again(tmp_path: Path) -> None:
    """The others of the stored zip are good."""

    def spoil(got: Received, _n: int, answer: Answer) -> Answer:
        return (
            answer
            if is_file(got)
            else replace(answer, body=answer.body.replace(b"ENCUT = 400", b"ENCUT = 500"))
        )

    with serving(spoil=spoil) as server:
        done, _ = downloaded(server, tmp_path, route="upload")
    assert [one.path for one in done.records if one.route == "files"] == ["a/INCAR"]
    assert on_disk(tmp_path)["one/a/INCAR"] == b"ENCUT = 400"


def test_a_stored_upload_is_read_in_few_requests(tmp_path: Path) -> None:
    """Its end, and a run; not a request for each of three hundred members."""
    files = {f"{n:03}/OUTCAR": bytes([n % 256]) * 9000 for n in range(300)}
    uploads = Uploads({"u": files}, {f"e{n}": ("u", f"{n:03}/OUTCAR") for n in range(300)})
    with serving(uploads) as server:
        done, _ = downloaded(server, tmp_path, route="upload")
    assert len(done.records) == 300
    assert server.paths == ["uploads/u/raw"] * 2


def test_members_far_apart_are_read_without_what_lies_between(tmp_path: Path) -> None:
    """Two small files around 8 MB that nobody wants."""
    files = {"a": b"first", "b": bytes(8 << 20), "c": b"last"}
    uploads = Uploads({"u": files}, {"e": ("u", "a")})
    wanted = [one for one in listed_files(uploads) if one.path != "b"]
    sent = 0

    def count(_got: Received, _n: int, answer: Answer) -> Answer:
        nonlocal sent
        sent += len(answer.body)
        return answer

    with serving(uploads, count) as server:
        downloaded(server, tmp_path, files=wanted, route="upload")
    assert on_disk(tmp_path) == {"u/a": b"first", "u/c": b"last"}
    assert sent < 2 << 20


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (as_json({"detail": "Not found. Invalid path?"}, 404), "Invalid path"),
        (as_json({"detail": "You do not have access to the specified upload."}, 403), "access"),
        (as_json({"detail": "You need to log in to access the specified upload."}, 401), "log in"),
    ],
)
@pytest.mark.parametrize("route", ["files", "batches"])
def test_a_file_that_is_refused_is_named_and_the_rest_arrives(
    tmp_path: Path, route: Route, refusal: Answer, words: str
) -> None:
    """Gone, under embargo, or of somebody else."""

    def spoil(got: Received, _n: int, answer: Answer) -> Answer:
        return refusal if "OUTCAR" in got.path or b"OUTCAR" in got.body else answer

    with serving(spoil=spoil) as server:
        done, stopped = downloaded(server, tmp_path, route=route)
    assert stopped is None
    [(file, why)] = done.failed.items()
    assert (file.path, words in why) == ("a/OUTCAR", True)
    assert len(on_disk(tmp_path)) == len(by_upload(WORLD)) - 1


@pytest.mark.parametrize("size_bytes", [len(CONTENT) - 1, len(CONTENT) + 1])
@pytest.mark.parametrize("route", ROUTES)
def test_a_file_of_another_size_than_listed_is_refused(tmp_path: Path, route: Route, size_bytes: int) -> None:
    """It was changed meanwhile, or is cut: it gets no name."""
    files = [
        replace(one, size_bytes=size_bytes) if one.name == "OUTCAR" else one for one in listed_files(WORLD)
    ]
    with serving() as server:
        done, _ = downloaded(server, tmp_path, files=files, route=route)
    [(file, why)] = done.failed.items()
    assert file.name == "OUTCAR"
    assert f"{size_bytes} bytes" in why
    assert done.cut == {file}
    assert "one/a/OUTCAR" not in on_disk(tmp_path)


def test_what_is_here_is_not_asked_for_again(tmp_path: Path) -> None:
    """The second run asks for nothing; changed, emptied or removed files come again."""
    with serving() as server:
        downloaded(server, tmp_path)
        n_sent = len(server.received)
        done, _ = downloaded(server, tmp_path)
        assert (done.records, len(server.received)) == ([], n_sent)
        (tmp_path / "one/a/OUTCAR").unlink()
        (tmp_path / "one/a/INCAR").write_bytes(b"ENCUT = 999")
        (tmp_path / "two/vasprun.xml").write_bytes(b"")
        done, _ = downloaded(server, tmp_path)
    assert {one.path for one in done.records} == {"a/OUTCAR", "a/INCAR", "vasprun.xml"}
    assert sorted(on_disk(tmp_path).values()) == sorted(by_upload(WORLD).values())


def test_only_verifying_sees_a_change_that_keeps_size_and_time(tmp_path: Path) -> None:
    """As a failing disk makes them."""
    file = tmp_path / "one/a/INCAR"
    with serving() as server:
        downloaded(server, tmp_path)
        times = file.stat()
        file.write_bytes(b"ENCUT = 999")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert downloaded(server, tmp_path)[0].records == []
        [again] = downloaded(server, tmp_path, verify=True)[0].records
    assert again.path == "a/INCAR"
    assert file.read_bytes() == b"ENCUT = 400"


def test_a_file_that_only_got_another_time_is_not_fetched_again(tmp_path: Path) -> None:
    """A copied folder has new times: content decides."""
    with serving() as server:
        downloaded(server, tmp_path)
        os.utime(tmp_path / "one/a/INCAR")
        assert downloaded(server, tmp_path)[0].records == []


def test_somebody_elses_file_is_not_replaced(tmp_path: Path) -> None:
    """A file, or a folder, that has the name but was not downloaded; the rest arrives."""
    (tmp_path / "one/a").mkdir(parents=True)
    (tmp_path / "one/a/OUTCAR").write_bytes(b"mine")
    (tmp_path / "two/vasprun.xml").mkdir(parents=True)
    with serving() as server:
        done, _ = downloaded(server, tmp_path)
    assert {one.path for one in done.failed} == {"a/OUTCAR", "vasprun.xml"}
    assert all("not downloaded" in why for why in done.failed.values())
    assert on_disk(tmp_path)["one/a/OUTCAR"] == b"mine"
    assert len(done.records) == len(by_upload(WORLD)) - 2


def test_each_entry_has_its_files(tmp_path: Path) -> None:
    """In the layout by entry, shared files are there for each; they are asked for once."""
    with serving() as server:
        done, _ = downloaded(server, tmp_path, layout="entry", route="files")
    found = on_disk(tmp_path)
    shared = {"OUTCAR": CONTENT, "INCAR": b"ENCUT = 400", "empty": b""}
    assert found == {
        **{f"{entry}/{name}": content for entry in ("e1", "e2") for name, content in shared.items()},
        "e3/ü %#_.xml": CONTENT[::-1],
        "e4/vasprun.xml": CONTENT * 3,
    }
    assert {one.local_path: one.entry_id for one in done.records} == {name: name[:2] for name in found}
    assert len(server.received) == 5
    with serving() as server:
        assert downloaded(server, tmp_path, layout="entry")[0].records == []


@pytest.mark.parametrize("layout", ["entry", "upload", "flat"])
def test_packed_files_are_unpacked_where_that_is_wanted(tmp_path: Path, layout: Layout) -> None:
    """gz, xz and bz2 lose their suffix, unless the unpacked one is there too."""
    plain = b"energy -1.5 eV\n" * 1000
    files = {
        "a.gz": gzip.compress(plain),
        "b.xz": lzma.compress(plain),
        "c.bz2": bz2.compress(plain),
        "d": b"here",
        "d.gz": gzip.compress(plain),
    }
    uploads = Uploads({"u": files}, {"e": ("u", "d")})
    with serving(uploads) as server:
        done, _ = downloaded(server, tmp_path, layout=layout, decompress=True)
        assert downloaded(server, tmp_path, layout=layout, decompress=True)[0].records == []
    found = {Path(name).name: content for name, content in on_disk(tmp_path).items()}
    assert found == {"a": plain, "b": plain, "c": plain, "d": b"here", "d.gz": files["d.gz"]}
    assert {one.path: (one.size_bytes, one.local_bytes) for one in done.records}["a.gz"] == (
        len(files["a.gz"]),
        len(plain),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not packed", "not what its suffix says"), (gzip.compress(bytes(1000))[:-5], "ended within")],
    ids=["other", "cut"],
)
def test_a_file_that_is_not_packed_as_it_says_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """The rest arrives; without unpacking it does too."""
    uploads = Uploads({"u": {"a.gz": content, "b": b"1"}}, {"e": ("u", "b")})
    with serving(uploads) as server:
        done, _ = downloaded(server, tmp_path, decompress=True)
        [(file, why)] = done.failed.items()
        assert (file.path, words in why) == ("a.gz", True)
        assert on_disk(tmp_path) == {"u/b": b"1"}
        downloaded(server, tmp_path)
    assert on_disk(tmp_path) == {"u/a.gz": content, "u/b": b"1"}


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    """100 MB of nothing in 100 kB."""
    uploads = Uploads({"u": {"bomb.gz": gzip.compress(bytes(100 << 20), 1)}}, {"e": ("u", "bomb.gz")})
    with serving(uploads) as server:
        done, _ = downloaded(server, tmp_path, decompress=True, bounds=Bounds(most_ratio=50))
    assert "made to fill disks" in next(iter(done.failed.values()))
    assert on_disk(tmp_path) == {}


@pytest.mark.parametrize("route", ROUTES)
def test_a_full_disk_ends_the_download_and_it_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: Route
) -> None:
    """Nothing half-written has a name; what arrived is not asked for again."""
    import errno

    n_written = 0
    real = downloads.Part._count

    def counted(part: downloads.Part, block: bytes) -> None:
        nonlocal n_written
        n_written += len(block)
        if n_written > 2 * len(CONTENT):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(part, block)

    monkeypatch.setattr(downloads.Part, "_count", counted)
    with serving() as server:
        _, stopped = downloaded(server, tmp_path, route=route)
        assert isinstance(stopped, CacheError)
        assert "full" in str(stopped)
        arrived = on_disk(tmp_path)
        everything = {name.replace("?", "_"): content for name, content in by_upload(WORLD).items()}
        assert arrived.items() <= everything.items()
        assert len(arrived) < len(everything)
        monkeypatch.undo()
        done, stopped = downloaded(server, tmp_path, route=route)
    assert stopped is None
    assert len(done.records) == len(everything) - len(arrived)
    assert on_disk(tmp_path) == everything


def test_a_large_file_goes_on_where_an_earlier_run_surely_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the last byte, which a crash may have lost, but at the last one that was synced."""
    monkeypatch.setattr(downloads, "SYNC_BYTES", 1000)
    offsets: list[int] = []

    def spoil(got: Received, _n: int, answer: Answer) -> Answer:
        if "vasprun" not in got.path:
            return answer
        offsets.append(int(got.path.partition("offset=")[2].partition("&")[0]))
        if len(offsets) == 1:
            return replace(answer, body=answer.body[:5678])
        return as_json({"detail": "gone"}, 502) if len(offsets) < 12 else answer

    with serving(spoil=spoil) as server:
        _, stopped = downloaded(server, tmp_path, route="files")
        assert stopped is None or isinstance(stopped, ServerFailure)
        downloaded(server, tmp_path, route="files")
    assert on_disk(tmp_path)["two/vasprun.xml"] == CONTENT * 3


def _download(api: str, uploads: Uploads, dest: Path) -> None:
    class Known(RawServer):
        def __init__(self) -> None:
            self.uploads = uploads

        @property
        def api_base(self) -> str:
            return api

    downloaded(Known(), dest, route="files", n_places=2)


def test_two_processes_fetch_each_file_once(tmp_path: Path) -> None:
    """The second waits for the first, and finds all of it here."""
    files = {f"{n}/OUTCAR": bytes([n]) * 10_000 for n in range(20)}
    uploads = Uploads({"u": files}, {f"e{n}": ("u", f"{n}/OUTCAR") for n in range(20)})
    context = multiprocessing.get_context("spawn")
    with serving(uploads) as server:
        both = [
            context.Process(target=_download, args=(server.api_base, uploads, tmp_path)) for _ in range(2)
        ]
        for one in both:
            one.start()
        for one in both:
            one.join(timeout=60)
        assert [one.exitcode for one in both] == [0, 0]
        assert Counter(server.paths) == {f"uploads/u/raw/{path}": 1 for path in files}
    assert on_disk(tmp_path) == {f"u/{path}": content for path, content in files.items()}


def test_a_killed_download_leaves_whole_files_and_goes_on(tmp_path: Path) -> None:
    """Killed at any moment, every file that has its name is whole; the next run fetches the others."""
    files = {f"{n:02}/OUTCAR": bytes([n]) * 50_000 for n in range(40)}
    uploads = Uploads({"u": files}, {f"e{n}": ("u", f"{n:02}/OUTCAR") for n in range(40)})
    context = multiprocessing.get_context("spawn")
    expected = {f"u/{path}": content for path, content in files.items()}

    def slow(_got: Received, _n: int, answer: Answer) -> Answer:
        return replace(answer, fault="drip")

    with serving(uploads, slow) as server:
        for _ in range(2):
            victim = context.Process(target=_download, args=(server.api_base, uploads, tmp_path))
            n_before = len(server.received)
            victim.start()
            deadline = time.monotonic() + 60
            while len(server.received) < n_before + 12 and time.monotonic() < deadline:
                time.sleep(0.002)
            victim.kill()
            victim.join()
            assert on_disk(tmp_path).items() <= expected.items()
        n_here = len(on_disk(tmp_path))
        assert 0 < n_here < 40
        server.spoil = None
        done, _ = downloaded(server, tmp_path, route="files")
    assert len(done.records) <= 40 - n_here + 2  # noted, but not yet moved
    assert on_disk(tmp_path) == expected


def test_the_manifest_says_what_is_here_and_where_it_is_from(tmp_path: Path) -> None:
    """In Parquet and in JSON for people; records are read back from it, and the journal is gone."""
    import json

    import pyarrow.parquet as pq

    folder = DownloadFolder(tmp_path)
    with serving() as server:
        done, _ = downloaded(server, tmp_path)
    with folder.lock():
        folder.write_manifest(done.records, {"deployment": "https://our.host"})
        assert sorted(folder.records().values(), key=repr) == sorted(done.records, key=repr)
    readable = json.loads((tmp_path / downloads.READABLE).read_text())
    assert readable["deployment"] == folder.facts()["deployment"] == "https://our.host"
    table = pq.read_table(tmp_path / downloads.MANIFEST).to_pylist()
    assert table == readable["files"]
    row = next(one for one in table if one["path"] == "a/INCAR")
    assert row["sha256"] == hashlib.sha256(b"ENCUT = 400").hexdigest()
    assert (row["upload_id"], row["entry_id"], row["size_bytes"]) == ("one", "e2", 11)
    assert {path.name for path in tmp_path.iterdir()} - {"one", "two"} <= {
        downloads.MANIFEST,
        downloads.READABLE,
        ".nomadquery-files.lock",
    }


def test_a_journal_that_was_cut_loses_only_its_last_line(tmp_path: Path) -> None:
    """The file without a record is fetched again, for it may be anybody's."""
    with serving() as server:
        done, _ = downloaded(server, tmp_path)
        journal = tmp_path / ".nomadquery-files.jsonl"
        journal.write_bytes(journal.read_bytes()[:-20])
        again, _ = downloaded(server, tmp_path)
    assert len(again.records) == 1
    assert len(DownloadFolder(tmp_path).records()) == len(done.records)


def test_progress_counts_files(tmp_path: Path) -> None:
    """Up to all of them, whatever comes a second time another way."""
    shown: list[tuple[int, int]] = []
    with serving(spoil=lambda got, _, answer: answer if is_file(got) else as_json({}, 400)) as server:
        downloaded(server, tmp_path, route="upload", show=lambda n, total: shown.append((n, total)))
    assert shown == sorted(shown)
    assert shown[-1] == (5, 5)
