"""The stub server of the benchmarks answers as NOMAD would: else they would measure something else."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.response import HTTPResponse

from tests.benchmarks import documents
from tests.benchmarks.conditions import Options
from tests.benchmarks.index import Index, NotUnderstood, runs_of
from tests.benchmarks.raw import UPLOAD
from tests.benchmarks.stored import Stored, Stretch, open_entries, open_stored
from tests.benchmarks.stub import counts, running

N_ENTRIES = 400  # five blocks of 80 entries of 1.6 kB
ENTRIES = open_entries(N_ENTRIES)
INDEX = Index(ENTRIES)
ID = st.one_of(st.sampled_from(ENTRIES.ids), st.text("-09AZ_az", min_size=1, max_size=3))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    with closing(open_stored(tmp_path_factory.mktemp("stub"), "metadata", N_ENTRIES)) as opened:
        yield opened


@given(low=ID, high=ID, after=st.none() | ID, size=st.integers(0, 500))
def test_pages_hold_what_counting_one_by_one_gives(low: str, high: str, after: str | None, size: int) -> None:
    """A range of ids, after an id or any other text, so many of them."""
    query = {"and": [{"quantities": ["run"]}, {"entry_id": {"gte": low, "lt": high}}]}
    selected = INDEX.selected(query)
    hits, following = INDEX.page(selected, {"page_size": size, "page_after_value": after})
    matching = [one for one in ENTRIES.ids if low <= one < high]
    expected = [one for one in matching if after is None or one > after][:size]
    assert [ENTRIES.ids[place] for place in hits] == expected
    is_full = 0 < len(expected) < len(matching) and len(expected) >= size
    assert following == (expected[-1] if is_full else None)


@given(st.lists(ID, max_size=50))
def test_named_ids_are_found_in_either_spelling(ids: list[str]) -> None:
    """NOMAD's client writes ``entry_id:any``, this package ``{"any": […]}``."""
    expected = sorted(set(ids) & set(ENTRIES.ids))
    queries: tuple[dict[str, Any], ...] = ({"entry_id:any": ids}, {"entry_id": {"any": ids}})
    for query in queries:
        assert [ENTRIES.ids[place] for place in INDEX.selected(query)] == expected


def test_pages_in_the_order_of_uploads_give_each_entry_once() -> None:
    """The cursor of that order is upload and entry."""
    found: list[tuple[str, str]] = []
    paging: dict[str, Any] = {"page_size": 70, "order_by": "upload_id"}
    while True:
        hits, after = INDEX.page(INDEX.selected({}), paging)
        found += [(ENTRIES.uploads[place], ENTRIES.ids[place]) for place in hits]
        if after is None:
            break
        paging["page_after_value"] = after
    assert found == sorted(zip(ENTRIES.uploads, ENTRIES.ids, strict=True))


def test_what_the_stub_does_not_know_is_refused() -> None:
    """An unknown criterion would be a wrong total."""
    with pytest.raises(NotUnderstood, match="n_elements"):
        INDEX.selected({"results.material.n_elements": 2})


@given(places=st.sets(st.integers(0, N_ENTRIES - 1)) | st.builds(range, st.integers(0, 399), st.just(400)))
def test_a_compressed_page_is_one_member_that_holds_the_entries(places: Any, stored: Stored) -> None:
    """Put together from blocks and edges, it is what compressing the whole page would give."""
    hits = places if isinstance(places, range) else sorted(places)
    parts = stored.gzipped(runs_of(hits), b'{"data":[', b"]}")
    sent = b"".join(
        os.pread(part.file, len(part), part.start) if isinstance(part, Stretch) else bytes(part)
        for part in parts
    )
    member = zlib.decompressobj(31)
    plain = member.decompress(sent)
    assert member.eof and not member.unused_data and plain == gzip.decompress(sent)
    assert [one["entry_id"] for one in json.loads(plain)["data"]] == [ENTRIES.ids[place] for place in hits]
    answer = HTTPResponse(io.BytesIO(sent), headers={"Content-Encoding": "gzip"}, preload_content=True)
    assert answer.data == plain


def test_a_document_has_the_columns_and_what_identifies_it() -> None:
    """Nothing is sent that was not asked for."""
    ids = documents.numbers_by_id(200)
    found = {
        path
        for entry_id, number in ids.items()
        for path in _paths(json.loads(documents.document("metadata", entry_id, number)))
    }
    assert found == {*documents.PATHS.values(), *documents.IDENTIFYING}


def _paths(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        inner = ((f"{path}.{name}" if path else name, one) for name, one in value.items())
        return {found for name, one in inner for found in _paths(one, name)}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {found for one in value for found in _paths(one, path)}
    return {path}


def test_options_are_the_words_of_the_command_line() -> None:
    """A stub started by a program has the conditions that it wants."""
    words = Options(entries=5, gzip=True, bytes_per_s=2e7).arguments()
    assert words[:2] == ["--entries", "5"] and "--gzip" in words and "20000000.0" in words


def test_raw_files_come_by_every_way_alike(tmp_path: Path) -> None:
    """One by one, in a zip that is made and in the stored one; in the sizes that were ordered."""
    with running(Options(raw_files=12, raw_bytes=1_500), tmp_path) as api_base, requests.Session() as session:
        body = {"pagination": {"page_size": 100}}
        listed = session.post(f"{api_base}/entries/rawdir/query", json=body, timeout=30).json()["data"]
        paths = [file["path"] for entry in listed for file in entry["files"]]
        assert (len(listed), len(set(paths)), len(paths)) == (3, 12, 12)
        upload = f"{api_base}/uploads/{UPLOAD}/raw"
        singly = {path: session.get(f"{upload}/{path}", timeout=30).content for path in paths}
        assert {len(content) for content in singly.values()} == {1_500}
        assert len(set(singly.values())) == 12
        stored = session.get(upload, timeout=30)
        assert int(stored.headers["Content-Length"]) == len(stored.content)
        made = session.post(f"{api_base}/entries/raw/query", json={}, timeout=30)
        with zipfile.ZipFile(io.BytesIO(stored.content)) as packed:
            assert {name: packed.read(name) for name in packed.namelist()} == singly
        with zipfile.ZipFile(io.BytesIO(made.content)) as packed:
            assert {path: packed.read(f"{UPLOAD}/{path}") for path in paths} == singly
        part = session.get(upload, headers={"Range": "bytes=5-9"}, timeout=30)
        assert (part.status_code, part.content) == (206, stored.content[5:10])


def test_raw_files_are_given_under_the_rate(tmp_path: Path) -> None:
    """A bucket of one a second is empty after one request."""
    options = Options(raw_files=5, raw_bytes=10, rate_per_s=1)
    with running(options, tmp_path) as api_base, requests.Session() as session:
        address = f"{api_base}/uploads/{UPLOAD}/raw/run-00000/OUTCAR"
        statuses = [session.get(address, timeout=30).status_code for _ in range(2)]
        assert statuses == [200, 503]
        assert counts(api_base)["refused"] == 1
