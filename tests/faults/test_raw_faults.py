"""Faults of raw files are what they are called, over real sockets."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pytest
import requests

from tests.faults.faults import Spoil
from tests.faults.proxy import Proxy
from tests.faults.raw_faults import IN_ZIPS, QUIETLY, not_there, where
from tests.local_entries import a_store, an_archive
from tests.local_raw import FILES, UPLOAD


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Serve an entry with its files."""
    with a_store(an_archive("a")) as store:
        store.add_raw_files(UPLOAD, FILES)
        with Proxy(store) as serving:
            yield serving


def fetched(proxy: Proxy, path: str) -> bytes:
    """Return what arrives of an answer, to its end or not."""
    with requests.get(f"{proxy.api_base}/{path}", stream=True, timeout=30) as reply:
        assert reply.status_code == 200
        return reply.content


@pytest.mark.parametrize("name", [name for name in IN_ZIPS if name.startswith("cut")])
def test_a_cut_zip_is_seen_to_be_cut(proxy: Proxy, name: str) -> None:
    """The connection ends before the answer does."""
    proxy.schedule = where(proxy, "entries/a/raw", IN_ZIPS[name])
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        fetched(proxy, "entries/a/raw")


@pytest.mark.parametrize("name", [name for name in IN_ZIPS if name.startswith("another")])
def test_a_changed_zip_arrives_whole(proxy: Proxy, name: str) -> None:
    """One byte is another one; the directory, which is right, tells where it is in a file."""
    right = fetched(proxy, "entries/a/raw")
    proxy.schedule = where(proxy, "entries/a/raw", IN_ZIPS[name])
    wrong = fetched(proxy, "entries/a/raw")
    assert sum(one != other for one, other in zip(right, wrong, strict=True)) == 1
    with zipfile.ZipFile(io.BytesIO(wrong)) as packed:
        bad = packed.testzip()
    assert bad == (f"{UPLOAD}/a/OUTCAR" if "bit" in name else None)


@pytest.mark.parametrize("spoil", QUIETLY.values(), ids=QUIETLY)
def test_a_file_of_another_size_arrives_as_if_it_were_whole(proxy: Proxy, spoil: Spoil) -> None:
    """Only its size tells."""
    path = f"uploads/{UPLOAD}/raw/a/OUTCAR"
    proxy.schedule = where(proxy, path, spoil)
    assert len(fetched(proxy, path)) != len(FILES["a/OUTCAR"])


def test_one_file_of_many_is_not_there(proxy: Proxy) -> None:
    """The others are."""
    proxy.schedule = where(proxy, "/OUTCAR", not_there)
    address = f"{proxy.api_base}/uploads/{UPLOAD}/raw/a"
    assert requests.get(f"{address}/OUTCAR?offset=0", timeout=30).status_code == 404
    assert requests.get(f"{address}/vasprun.xml?offset=0", timeout=30).content == FILES["a/vasprun.xml"]
