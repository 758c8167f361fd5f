"""What a real server sends as zips and as parts of files is read, and is the same every way."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Any

import pytest

from nomadquery.http.auth import ANONYMOUS
from nomadquery.http.deployment import find_deployment
from nomadquery.http.raw_endpoints import entries_zip, raw_file
from nomadquery.http.transport import RequestsWire, Transport
from nomadquery.raw.remote import RemoteFile, opened, tail
from nomadquery.raw.stored import StoredUpload
from nomadquery.raw.unpack import directory, members, open_member

pytest.importorskip("fsspec")

from nomadquery.fs import NomadFileSystem  # needs fsspec

N_UPLOADS = 5


@pytest.fixture(scope="module")
def transport(real_url: str) -> Iterator[Transport]:
    deployment = find_deployment(real_url)
    sender = Transport(RequestsWire(deployment.api_base), deployment, credentials=ANONYMOUS)
    yield sender
    sender.close()


@pytest.fixture(scope="module")
def uploads(real_documents: list[dict[str, Any]]) -> list[str]:
    """Return a few published uploads of several entries."""
    ids = sorted({document["upload_id"] for document in real_documents if document.get("published")})
    return random.Random(5).sample(ids, min(N_UPLOADS, len(ids)))


@pytest.fixture(scope="module")
def singly(transport: Transport, real_url: str, uploads: list[str]) -> dict[str, bytes]:
    """Return the files of these uploads, each asked for by itself."""
    files = NomadFileSystem(real_url, skip_instance_cache=True)
    found = {path: path.partition("/") for upload_id in uploads for path in files.find(upload_id)}
    return {
        path: transport.send(raw_file(upload_id, inner)).body for path, (upload_id, _, inner) in found.items()
    }


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_zip_by_query_has_the_files_as_they_are(
    compress: bool, is_listed: bool, transport: Transport, uploads: list[str], singly: dict[str, bytes]
) -> None:
    """Stored members of unknown size and deflated ones; their directory agrees with what was read."""
    query = {"upload_id": {"any": uploads}}
    sizes = {name: len(content) for name, content in singly.items()} if is_listed else None
    with transport.open(entries_zip(query, owner="public", compress=compress)) as stream:
        found = {one.name: one.read() for one in members(stream, sizes=sizes)}
    assert b"upload_id" in found.pop("manifest.json")
    assert found
    assert {name: singly[name] for name in found} == found


def test_the_stored_zip_has_the_same(
    transport: Transport, uploads: list[str], singly: dict[str, bytes]
) -> None:
    """Read from its end, member by member."""
    for upload_id in uploads:
        with StoredUpload(transport.open, upload_id) as source:
            infos = [one for one in directory(source) if not one.is_folder]
            found = {f"{upload_id}/{one.name}": open_member(source, one).read() for one in infos}
        assert found == {
            name: content for name, content in singly.items() if name.startswith(f"{upload_id}/")
        }


def test_parts_of_files_are_what_they_are_of_the_whole(
    transport: Transport, real_url: str, singly: dict[str, bytes]
) -> None:
    """Ends, pieces in between, lines; by address as well."""
    files = NomadFileSystem(real_url, skip_instance_cache=True)
    chance = random.Random(0)
    for name in sorted(singly, key=lambda one: len(singly[one]))[-10:]:
        content, (upload_id, _, path) = singly[name], name.partition("/")
        remote = RemoteFile(transport.send, upload_id, path, files.info(name)["size"])
        assert remote.size_bytes == len(content)
        assert tail(remote, 100) == content[-100:]
        start = chance.randrange(len(content) + 1)
        assert files.cat_file(name, start, start + 1_000) == content[start : start + 1_000]
        file = opened(remote, name)
        file.seek(start)
        assert file.readline() == io.BytesIO(content[start:]).readline()
