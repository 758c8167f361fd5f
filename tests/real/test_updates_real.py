"""Updates and locks against a real server: edits, new uploads and times as NOMAD itself makes them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

import nomadquery
from nomadquery import Nomad, Q
from nomadquery.errors import LockMismatch
from nomadquery.search import Search
from nomadquery.store.pins import Changes

A_MINUTE_S = 60.0


@dataclass(frozen=True)
class Ada:
    """A user of the test server, and what she can do there."""

    api: str
    token: str
    admin: str

    def call(self, method: str, path: str, *, as_admin: bool = False, **more: Any) -> Any:
        token = self.admin if as_admin else self.token
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        reply = requests.request(method, f"{self.api}/{path}", headers=headers, timeout=A_MINUTE_S, **more)
        assert reply.ok, f"{method} {path}: {reply.status_code} {reply.text[:300]}"
        return reply.json()

    def upload(self, *names: str, mark: str) -> str:
        """Return the id of a new upload with an entry for each name; its comment is ``mark``."""
        archives = {
            f"{name}.archive.json": json.dumps(
                {"data": {"m_def": "nomad.datamodel.metainfo.eln.ElnBaseSection", "name": name}}
            )
            for name in names
        }
        upload_id: str | None = None
        for name, content in archives.items():
            if upload_id is None:
                made = self.call("POST", "uploads", params={"file_name": name}, data=content)
                upload_id = str(made["upload_id"])
            else:
                params = {"file_name": name}
                self.call("PUT", f"uploads/{upload_id}/raw/", params=params, data=content)
            self.wait(upload_id)
        assert upload_id is not None
        self.edit(upload_id, {"comment": mark})
        return upload_id

    def wait(self, upload_id: str) -> None:
        deadline = time.monotonic() + A_MINUTE_S
        while self.call("GET", f"uploads/{upload_id}")["data"]["process_running"]:
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def edit(self, upload_id: str, metadata: dict[str, Any]) -> None:
        self.call("POST", f"uploads/{upload_id}/edit", json={"metadata": metadata})
        self.wait(upload_id)

    def publish(self, upload_id: str) -> None:
        self.call("POST", f"uploads/{upload_id}/action/publish")
        self.wait(upload_id)

    def process(self, upload_id: str) -> None:
        self.call("POST", f"uploads/{upload_id}/action/process")
        self.wait(upload_id)


@pytest.fixture
def ada(real_url: str) -> Ada:
    def token_of(user: str) -> str:
        form = {"grant_type": "password", "username": user, "password": f"{user}-password"}
        return str(requests.post(f"{real_url}/auth/token", data=form, timeout=30).json()["access_token"])

    return Ada(real_url, token_of("ada"), token_of("admin"))


@pytest.fixture
def mark() -> str:
    return f"test-of-updates-{uuid4().hex}"


@pytest.fixture
def uploads(ada: Ada) -> Iterator[list[str]]:
    """Give a list of uploads that go when the test is over, published or not."""
    made: list[str] = []
    yield made
    for upload_id in made:
        ada.call("DELETE", f"uploads/{upload_id}", as_admin=True)
    deadline = time.monotonic() + A_MINUTE_S
    for upload_id in made:
        while requests.get(f"{ada.api}/uploads/{upload_id}", headers=_bearer(ada), timeout=30).ok:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _bearer(ada: Ada) -> dict[str, str]:
    return {"Authorization": f"Bearer {ada.admin}"}


def table_of(ada: Ada, cache: Path, mark: str) -> Search:
    """Return ada's own view of the marked uploads, in which comments and datasets are shown."""
    nomad = Nomad(ada.api, token=ada.token, cache_dir=cache)
    found = nomad.entries(Q.upload_name == mark, owner="visible")
    return found.select("comment", "datasets.dataset_name", name="data.name", main="mainfile")


def test_what_people_do_on_the_server_is_told(
    ada: Ada, uploads: list[str], mark: str, tmp_path: Path
) -> None:
    """A new upload, an edited comment, a dataset, a reprocessed and a deleted upload."""
    uploads.append(ada.upload("one", "two", mark="first"))
    ada.edit(uploads[0], {"upload_name": mark})
    table = table_of(ada, tmp_path, mark)
    first = table.update()
    assert len(first.added) == 2 and not first.changed
    assert table.update() == Changes()

    ada.edit(uploads[0], {"comment": "second"})
    assert table.update() == Changes(changed=first.added)
    assert set(table.to_pandas()["comment"]) == {"second"}

    dataset = ada.call("POST", "datasets", json={"dataset_name": mark})["dataset_id"]
    try:
        ada.edit(uploads[0], {"datasets": mark})
        assert table.update() == Changes(changed=first.added)
        assert [list(names) for names in table.to_pandas()["datasets.dataset_name"]] == [[mark], [mark]]
        ada.edit(uploads[0], {"datasets": []})
    finally:
        ada.call("DELETE", f"datasets/{dataset}")
    assert table.update().changed == first.added

    uploads.append(ada.upload("three", mark="third"))
    ada.edit(uploads[1], {"upload_name": mark})
    added = table.update()
    assert len(added.added) == 1 and not (added.changed or added.removed)

    ada.process(uploads[0])
    assert table.update() == Changes(changed=first.added)
    assert table.update() == Changes()

    ada.call("DELETE", f"uploads/{uploads.pop()}", as_admin=True)
    time.sleep(1)
    assert table.update() == Changes(removed=added.added)
    assert table.to_pandas(refresh=True).equals(table.to_pandas(offline=False))


def test_what_is_published_later_is_added(ada: Ada, uploads: list[str], mark: str, tmp_path: Path) -> None:
    """Its processing was before the table was fetched."""
    uploads.append(ada.upload("one", mark=mark))
    public = Nomad(ada.api, cache_dir=tmp_path).entries(Q.comment == mark, owner="public")
    table = public.select("comment", "mainfile")
    with pytest.warns(UserWarning, match="No entry matches"):
        assert table.to_pandas().empty
    ada.publish(uploads[0])
    assert len(table.update().added) == 1
    assert list(table.to_pandas()["mainfile"]) == ["one.archive.json"]


def test_a_lock_tells_what_changed_since(ada: Ada, uploads: list[str], mark: str, tmp_path: Path) -> None:
    """And gives what there is now, if that is accepted."""
    uploads.append(ada.upload("one", "two", mark=mark))
    ada.edit(uploads[0], {"upload_name": mark})
    table = table_of(ada, tmp_path / "here", mark)
    before = table.lock(tmp_path / "before.json.gz")
    assert before.diff(table.lock()).empty
    frame = table.to_pandas()
    assert before.diff(table.lock()).empty
    again = nomadquery.from_lock(tmp_path / "before.json.gz", token=ada.token, cache_dir=tmp_path / "there")
    assert again.to_pandas().equals(frame)
    ada.edit(uploads[0], {"comment": "otherwise"})
    late = {"token": ada.token, "cache_dir": tmp_path / "late"}
    with pytest.raises(LockMismatch) as caught:
        nomadquery.from_lock(tmp_path / "before.json.gz", **late).to_pandas()  # type: ignore[arg-type]
    assert caught.value.changed == tuple(frame["entry_id"])
    accepted = nomadquery.from_lock(
        tmp_path / "before.json.gz", changed="accept", token=ada.token, cache_dir=tmp_path / "late"
    )
    assert set(accepted.to_pandas()["comment"]) == {"otherwise"}
    assert set(before.diff(table.lock())["change"]) <= {"changed"}


def test_nothing_changes_for_the_public_samples(real_url: str, tmp_path: Path) -> None:
    """Listing and pages agree about the values that can be edited; a custom column asks for more of them."""
    some = Nomad(real_url, cache_dir=tmp_path).entries(Q["data.name"].exists(), owner="public")
    table = some.select(
        "authors",
        "datasets.doi",
        "comment",
        "references",
        "license",
        "main_author.name",
        "coauthors.name",
        name=Q["data.name"].unchecked(),
    )
    table.to_arrow()
    changes = table.update()
    assert not changes, changes


def test_a_listing_of_all_public_entries_agrees_with_their_table(real_url: str, tmp_path: Path) -> None:
    """Side by side over slices: a lock before the harvest is the lock after it."""
    table = Nomad(real_url, cache_dir=tmp_path).entries(owner="public").select("formula", "authors")
    before = table.lock()
    table.to_arrow()
    assert before.diff(table.lock()).empty
    assert before.n_entries == table.count()
