"""A local deployment with raw files, and ways to ask it for them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from nomadquery.http.message import Reply, Request
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from tests.local_entries import a_store, an_archive

UPLOAD = "upload-1"
FILES = {
    "a/vasprun.xml": b'<?xml version="1.0"?>' + bytes(range(256)) * 20,
    "a/OUTCAR": b"free energy\n" * 100,
    "a/deep/notes.txt": b"of nobody",
    "b/vasprun.xml": b"<modeling/>",
    "b/OLD_INCAR": b"ENCUT = 400\n",
    "README": b"",
}
Params = tuple[tuple[str, str], ...]


def get(store: LocalStore, path: str, *params: tuple[str, str], **headers: str) -> Reply:
    """Return the answer of the deployment over ``store`` to GET."""
    sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return LocalWire(store).exchange(Request("GET", path, params=params, headers=sent, kind="raw"), {})


def post(store: LocalStore, path: str, body: Any) -> Reply:
    """Return the answer of the deployment over ``store`` to POST."""
    return LocalWire(store).exchange(Request("POST", path, json=body, kind="raw"), {})


def members(reply: Reply) -> dict[str, bytes]:
    """Return the members of a zip, which must be sound."""
    assert reply.status == 200, reply.body
    with zipfile.ZipFile(io.BytesIO(reply.body)) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name) for name in packed.namelist()}


def refusal(reply: Reply) -> tuple[int, Any]:
    """Return status and detail of a refusal."""
    return reply.status, reply.json()["detail"]


def a_raw_store() -> LocalStore:
    """Return a store of two entries with their folders, a third in the folder of the first, and others.

    One of them has no files, one is under embargo, one unpublished, and one of these shared with everybody.
    """
    store = a_store(
        an_archive("a"),
        an_archive("a2", mainfile="a/OUTCAR"),
        an_archive("b"),
        an_archive("bare", upload_id="upload-2"),
        an_archive("secret", upload_id="upload-3", with_embargo=True),
        an_archive("draft", upload_id="upload-4", published=False),
        an_archive("shown", upload_id="upload-5", published=False, reviewer_groups=["all"]),
    )
    store.add_raw_files(UPLOAD, FILES)
    for upload_id in ("upload-3", "upload-4", "upload-5"):
        store.add_raw_files(upload_id, {f"{upload_id}.txt": b"content"})
    return store
