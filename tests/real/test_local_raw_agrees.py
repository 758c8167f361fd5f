"""The local deployment gives raw files, listings and downloads as a real NOMAD server does.

The server's public entries with their raw files, and the metadata of those under embargo, are put into a
local deployment on a port; then both are asked the same.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from nomadquery.local.server import serve
from nomadquery.local.store import LocalStore

AIMS = "VRASzWQ6dNDwKNV5_hGoOU"
ENTRY = "rkIk7Y6V_Gav_2m8fjvBrh3zDjKE"  # in AIMS, in the folder ClNa_dos
PACKED = "7oql7hoXT6vOxNbBC15BKJ"
GROMACS = "JedJR7M04j-aBE_7o3JA-j"
ROOT = "C85PSRHHCmM6tYhdmWLvzY"  # its mainfile lies in no folder
EMBARGOED = "GPsnYhqAlArQpWZdD4vjrk"
ELN = "ARZuOfFtjp2l-wrMeO7Xfy"
FILE = f"uploads/{AIMS}/raw/ClNa_dos/Cl_l_proj_dos.dat"
XZ = f"uploads/{PACKED}/raw/unpolarized_vasp/vasprun.xml.xz"
OF_AIMS: dict[str, Any] = {"query": {"upload_id": AIMS}}
OF_ENTRY: dict[str, Any] = {"query": {"entry_id": ENTRY}}

ADDRESSES = [
    FILE,
    *(f"{FILE}?{part}" for part in ("offset=10&length=20", "offset=5700", "length=7", "length=-1")),
    *(f"{FILE}?{part}" for part in ("offset=5716", "offset=99999999", "length=99999999", "length=0")),
    *(f"{FILE}?{part}" for part in ("offset=-1", "length=-2", "length=x", "offset=", "offset=1.0")),
    *(f"{FILE}?{part}" for part in ("ignore_mime_type=true", "ignore_mime_type=2", "decompress=yes")),
    *(f"{FILE}?{part}" for part in ("compress=true", "compress=1&offset=1", "compress=true&length=3")),
    *(f"{FILE}?{part}" for part in ("compress=maybe", "re_pattern=(", "glob_pattern=none")),
    f"{FILE}?compress=true&glob_pattern=none",
    f"{FILE}/",
    XZ,
    *(f"{XZ}?{part}" for part in ("decompress=true", "offset=7&length=9", "length=5000")),
    *(f"{XZ}?decompress=true&{part}" for part in ("offset=5&length=60", "offset=100000", "offset=999999")),
    f"uploads/{GROMACS}/raw/argon/reference_d.warn",
    f"uploads/{GROMACS}/raw/argon/reference_d.trr?offset=8192",
    f"uploads/{AIMS}/raw",
    f"uploads/{AIMS}/raw/",
    f"uploads/{AIMS}/raw/?compress=true",
    f"uploads/{AIMS}/raw/?compress=true&re_pattern=%5EClNa",
    f"uploads/{AIMS}/raw/?compress=true&include_files=control.in&include_files=Cl_l_proj_dos.dat",
    f"uploads/{AIMS}/raw/?compress=true&glob_pattern=none",
    f"uploads/{AIMS}/raw/ClNa_dos",
    f"uploads/{AIMS}/raw/ClNa_dos?compress=true",
    f"uploads/{AIMS}/raw/ClNa_dos/?compress=true&glob_pattern=*.dat",
    f"uploads/{AIMS}/raw/ClNa_dos/?compress=true&glob_pattern=ClNa_dos/*_raw.dat",
    f"uploads/{AIMS}/raw/none",
    f"uploads/{AIMS}/raw//ClNa_dos",
    f"uploads/{AIMS}/raw/GaAs_HSE06%2BSOC/control.in",
    f"uploads/{AIMS}/raw/GaAs_HSE06+SOC/control.in",
    f"uploads/{AIMS}/raw/ClNa_dos%2FCl_l_proj_dos.dat?length=3",
    f"uploads/{ROOT}/raw",
    f"uploads/{ROOT}/raw/vasprun.xml?length=100",
    "uploads/none/raw",
    "uploads/none/raw/",
    "uploads/none/raw/a?offset=x",
    f"uploads/{EMBARGOED}/raw",
    f"uploads/{EMBARGOED}/raw/a",
    f"uploads/{EMBARGOED}/rawdir/",
    f"uploads/{AIMS}/rawdir",
    f"uploads/{AIMS}/rawdir/",
    f"uploads/{AIMS}/rawdir/?page_size=100&include_entry_info=true",
    f"uploads/{ELN}/rawdir/?include_entry_info=true",
    f"uploads/{ROOT}/rawdir/?include_entry_info=1",
    f"uploads/{PACKED}/rawdir/?include_entry_info=true",
    f"uploads/{AIMS}/rawdir/ClNa_dos",
    *(
        f"uploads/{AIMS}/rawdir/ClNa_dos/?{paging}"
        for paging in (
            *("page_size=3&include_entry_info=true", "page=2&page_size=3", "page=3&page_size=3", "page=99"),
            *("page_after_value=2&page_size=3", "page_after_value=5&page_size=3", "page_after_value=6"),
            *("page_after_value=x", "page_after_value=-2", "page_after_value=-1", "page_after_value=99"),
            *("page_offset=6&page_size=3", "page_offset=7", "page_offset=0", "page_size=0", "page_size=-1"),
            *("page_size=x", "page=0", "page=2&page_offset=3", "page_size=0&page=1", "page_size=7"),
            *(
                "page_size=4&page_offset=3",
                "page_size=4&page_offset=5",
                "page_offset=0&page=1",
                "page_offset=-1",
            ),
            *("page_size=-1&page=0", "page_size=7&page=2", "page_after_value="),
            *("page=1&page_after_value=", "page_offset=-1"),
            *("page_size=6", "page_size=20000", "page=1000", "page_size=1&page=9999", "page_offset=20000"),
            *("include_entry_info=maybe", "order=desc", "order_by=foo"),
        )
    ),
    f"uploads/{AIMS}/rawdir/ClNa_dos/ClNa_dos.out?include_entry_info=true",
    f"uploads/{AIMS}/rawdir/ClNa_dos/ClNa_dos.out",
    f"uploads/{AIMS}/rawdir/ClNa_dos/ClNa_dos.out/?include_entry_info=true",
    f"uploads/{AIMS}/rawdir/none",
    f"entries/{ENTRY}/raw",
    f"entries/{ENTRY}/raw/",
    f"entries/{ENTRY}/raw?glob_pattern=*.dat&compress=true",
    f"entries/{ENTRY}/raw?glob_pattern=none",
    f"entries/{ENTRY}/raw?re_pattern=(",
    "entries/none/raw",
    *(
        f"entries/{ENTRY}/raw/Cl_l_proj_dos.dat{part}"
        for part in (
            *("", "?offset=3&length=5", "?offset=-1", "?length=-2", "?length=-1", "?length=x&offset=-1"),
            *("?offset=999999", "?length=", "?decompress=true", "?decompress=maybe"),
            "?ignore_mime_type=true",
        )
    ),
    f"entries/{ENTRY}/raw/none",
    "entries/none/raw/a",
    f"entries/{ENTRY}/rawdir",
    "entries/none/rawdir",
    f"entries/rawdir?upload_id={AIMS}&page_size=2",
    f"entries/rawdir?upload_id={AIMS}&page_size=2&page_after_value={ENTRY}",
    f"entries/rawdir?upload_id={AIMS}&owner=all",
    "entries/rawdir?page_size=x&owner=me",
    f"entries/raw?upload_id={AIMS}&include_files=control.in&include_files=Cl_l_proj_dos.dat",
    f"entries/raw?upload_id={AIMS}&compress=x&re_pattern=(",
    f"entries/raw?upload_id={AIMS}&owner=all",
    f"entries/raw?upload_id={AIMS}&owner=user",
    f"entries/archive/download?entry_id={ENTRY}",
    "entries/archive/download?owner=all",
    f"entries/{ENTRY}/archive/download",
    "entries/none/archive/download",
    f"entries/export?upload_id={AIMS}&include=entry_id&include=mainfile",
    f"entries/export?upload_id={AIMS}&page_size=0",
    "entries/export?owner=all",
]

BODIES: list[tuple[str, Any]] = [
    ("entries/raw/query", {**OF_AIMS, "files": {"re_pattern": "ClNa"}}),
    ("entries/raw/query", {**OF_AIMS, "files": {"re_pattern": "^C.*in$", "glob_pattern": "*.dat"}}),
    ("entries/raw/query", {**OF_AIMS, "files": {"glob_pattern": "*.dat", "compress": True}}),
    ("entries/raw/query", {**OF_AIMS, "files": {"glob_pattern": "[CK]*_total.dat"}}),
    ("entries/raw/query", {**OF_AIMS, "files": {"include_files": ["control.in"], "re_pattern": "x"}}),
    ("entries/raw/query", {**OF_AIMS, "files": {"include_files": []}}),
    ("entries/raw/query", OF_AIMS),
    ("entries/raw/query", {**OF_ENTRY, "files": None}),
    ("entries/raw/query", {**OF_ENTRY, "pagination": {"page_size": -1}}),
    ("entries/raw/query", {"query": {"upload_id:any": [ROOT, PACKED, ELN, EMBARGOED]}}),
    ("entries/raw/query", {"query": {"upload_id": EMBARGOED}, "owner": "visible"}),
    ("entries/raw/query", {"query": {"entry_id": "none"}}),
    ("entries/raw/query", {"owner": "all"}),
    ("entries/raw/query", {"owner": "user"}),
    ("entries/raw/query", {"owner": "foo", "files": {"re_pattern": "("}}),
    ("entries/raw/query", {"query": {"foo": 1}}),
    ("entries/raw/query", None),
    ("entries/raw/query", {"files": 3}),
    ("entries/raw/query", {"files": {"compress": "maybe", "include_files": "a", "glob_pattern": 3}}),
    ("entries/raw/query", {"files": {"compress": [], "include_files": [1, "a"]}}),
    ("entries/rawdir/query", {**OF_AIMS, "pagination": {"page_size": 2}}),
    ("entries/rawdir/query", {**OF_AIMS, "pagination": {"page_size": 2, "page_after_value": ENTRY}}),
    (
        "entries/rawdir/query",
        {**OF_AIMS, "pagination": {"page_size": 2, "order_by": "mainfile", "order": "desc"}},
    ),
    ("entries/rawdir/query", {**OF_AIMS, "owner": "all"}),
    ("entries/rawdir/query", OF_ENTRY),
    ("entries/rawdir/query", {**OF_ENTRY, "pagination": {"page_size": 0}}),
    ("entries/rawdir/query", {"query": {"entry_id": "none"}}),
    ("entries/rawdir/query", {"query": {"upload_id:any": [ROOT, PACKED]}, "pagination": {"page_size": 50}}),
    ("entries/rawdir/query", {**OF_AIMS, "required": {"include": ["foo"]}}),
    ("entries/rawdir/query", None),
    ("entries/rawdir/query", {"pagination": {"page_size": -1}}),
    ("entries/archive/download/query", {**OF_ENTRY, "required": {"metadata": {"entry_id": "*"}}}),
    (
        "entries/archive/download/query",
        {**OF_AIMS, "required": {"metadata": {"entry_id": "*"}}, "files": {"compress": True}},
    ),
    ("entries/archive/download/query", {"query": {"entry_id": "none"}}),
    ("entries/archive/download/query", {"owner": "all"}),
    ("entries/archive/download/query", {"required": 3}),
    ("entries/archive/download/query", {**OF_AIMS, "required": {"foo!": "*"}}),
    ("entries/archive/download/query", {**OF_AIMS, "required": {"resolve-inplace": 3}}),
    ("entries/archive/download/query", {**OF_AIMS, "files": {"re_pattern": "("}}),
    ("entries/archive/download/query", None),
]

RANGES = [
    *("bytes=0-9", "bytes=-5", "bytes=5-", "bytes=0-0", "bytes=9-5", "bytes=99999999-", "bytes=0-99999999"),
    *("bytes=-99999999", "bytes=-0", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "bytes", "bytes = 3-4"),
    *("BYTES=3-4", "bytes=3 - 4", "bytes=3-4,", "bytes=x,3-4", "bytes=9-5,99999999-"),
]

#: Header fields that say what is given.
TOLD = ("content-type", "content-disposition", "content-range", "accept-ranges")


@pytest.fixture(scope="module")
def local_url(real_url: str, real_documents: list[dict[str, Any]]) -> Iterator[str]:
    """Serve the server's public entries and raw files, and the metadata of its embargoed entries."""
    with LocalStore() as store, requests.Session() as session:

        def archive_of(entry_id: str) -> Any:
            answer = session.get(f"{real_url}/entries/{entry_id}/archive", timeout=60).json()
            return {key: value for key, value in answer["data"]["archive"].items() if key != "m_ref_archives"}

        body = {"owner": "all", "query": {"upload_id": EMBARGOED}, "pagination": {"page_size": 100}}
        embargoed = session.post(f"{real_url}/entries/query", json=body, timeout=60).json()["data"]
        assert embargoed
        store.add_entries(
            (one, archive_of(one["entry_id"]) if one["upload_id"] == AIMS else None)
            for one in [*real_documents, *embargoed]
        )
        for upload_id in {one["upload_id"] for one in real_documents}:
            reply = session.get(f"{real_url}/uploads/{upload_id}/raw", timeout=60)
            with zipfile.ZipFile(io.BytesIO(reply.content)) as packed:
                store.add_raw_files(upload_id, {name: packed.read(name) for name in packed.namelist()})
        with serve(store) as api_base:
            yield api_base


def what_is_given(reply: requests.Response, api_base: str) -> Any:
    """Return what of an answer must agree."""
    told = {name: reply.headers[name] for name in TOLD if name in reply.headers}
    body: Any = reply.content
    if reply.status_code == 500:
        return 500, reply.json()["detail"]["exception_class"]
    if told.get("content-type") == "application/json":
        body = without_spelling(json.loads(body.replace(api_base.encode(), b"")))
    elif body[:4] == b"PK\x03\x04" and reply.status_code == 200:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            assert packed.testzip() is None
            body = [
                (one.filename, one.compress_type, one.flag_bits, member_of(packed.read(one), one.filename))
                for one in packed.infolist()
            ]
    return reply.status_code, told, body


def member_of(content: bytes, name: str) -> Any:
    """Return a member of a zip; archives as JSON, as NOMAD spells large numbers in another way."""
    return json.loads(content) if f"{ENTRY}.json" in name else content


def without_spelling(answer: Any) -> Any:
    """Leave out how an answer repeats a query, and the order of the parameters in addresses of pages."""
    if isinstance(answer, dict) and "pagination" in answer:
        paging = {
            name: sorted(value.replace("?", "&").split("&")) if name.endswith("_url") else value
            for name, value in answer["pagination"].items()
        }
        return {**answer, "query": None, "pagination": paging}
    return answer


def asked(api_base: str, method: str, path: str, **given: Any) -> Any:
    """Return what one of them answers; each time over a new connection, as it closes them after a 500."""
    headers = {"Accept-Encoding": "identity", **given.pop("headers", {})}
    reply = requests.request(method, f"{api_base}/{path}", headers=headers, timeout=120, **given)
    return what_is_given(reply, api_base)


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_give_the_same(address: str, real_url: str, local_url: str) -> None:
    """The same status, type, name, bytes, members of zips, listings and refusals."""
    assert asked(local_url, "GET", address) == asked(real_url, "GET", address)


@pytest.mark.parametrize(("path", "body"), BODIES, ids=str)
def test_bodies_get_the_same(path: str, body: Any, real_url: str, local_url: str) -> None:
    """The same for requests with a body, or for one without."""
    given = {} if body is None else {"json": body}
    try:
        real = asked(real_url, "POST", path, **given)
    except requests.exceptions.ChunkedEncodingError:
        real = None
    if real is None or real[2] == b"":  # the server failed in the middle, and cut its answer short
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            asked(local_url, "POST", path, **given)
    else:
        assert asked(local_url, "POST", path, **given) == real


@pytest.mark.parametrize("wanted", RANGES)
def test_ranges_of_a_stored_zip_are_read_alike(wanted: str, real_url: str, local_url: str) -> None:
    """The same bytes of the zip, or the same refusal; the zips themselves are equal byte for byte."""
    path, headers = f"uploads/{AIMS}/raw", {"Range": wanted}
    assert asked(local_url, "GET", path, headers=headers) == asked(real_url, "GET", path, headers=headers)


@pytest.mark.parametrize("is_same", [True, False])
def test_a_range_of_another_zip_gives_the_whole(is_same: bool, real_url: str, local_url: str) -> None:
    """``If-Range`` holds the tag that was told before."""
    for api_base in (real_url, local_url):
        address = f"{api_base}/uploads/{AIMS}/raw"
        tag = (
            requests.head(address, timeout=60).headers.get("etag")
            or requests.get(address, headers={"Range": "bytes=0-0"}, timeout=60).headers["etag"]
        )
        headers = {"Range": "bytes=0-9", "If-Range": tag if is_same else '"another"'}
        reply = requests.get(address, headers=headers, timeout=60)
        assert reply.status_code == (206 if is_same else 200)
        assert (len(reply.content) == 10) == is_same


def test_stored_zips_are_equal_byte_for_byte(
    real_url: str, local_url: str, real_documents: list[dict[str, Any]]
) -> None:
    """The same files make the same zip as in NOMAD."""
    for upload_id in sorted({one["upload_id"] for one in real_documents}):
        real, local = (
            requests.get(f"{api_base}/uploads/{upload_id}/raw", timeout=60).content
            for api_base in (real_url, local_url)
        )
        assert local == real, upload_id


def test_every_listing_agrees(real_url: str, local_url: str, real_documents: list[dict[str, Any]]) -> None:
    """Of every public entry with all its files, and of the root of every upload with all that is there."""
    body = {"pagination": {"page_size": 1000}}
    assert asked(local_url, "POST", "entries/rawdir/query", json=body) == asked(
        real_url, "POST", "entries/rawdir/query", json=body
    )
    for upload_id in sorted({one["upload_id"] for one in real_documents}):
        path = f"uploads/{upload_id}/rawdir/?page_size=1000&include_entry_info=true"
        assert asked(local_url, "GET", path) == asked(real_url, "GET", path)
