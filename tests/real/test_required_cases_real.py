"""A real NOMAD server answers the cases of archive `required` as they are recorded, and as we do.

The cases need their own three entries, with their own ids. They belong to a user of their own and
are not published, so that nobody else's searches find them. A server that was started with them
(``python -m tests.required_entries FOLDER``, then ``serve --seed FOLDER``) is used as it is;
otherwise one that holds nothing else is started from ``NOMADQUERY_SHARED`` and ended afterwards.

Ids and archives are those of the case files, and everything in an answer is compared but
what differs from run to run (`tests.required_entries.comparable`).
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from nomadquery.local.store import LocalStore
from tests.local_entries import Answer, ask
from tests.required_entries import CASES, USER, all_cases, comparable, expected, write_seed

READY_WITHIN_S = 300.0

BY_CASE = pytest.mark.parametrize(
    ("entry_id", "case"), [pytest.param(*case, id=case[1]["id"]) for case in all_cases()]
)

Send = Callable[[str, Any], requests.Response]


@pytest.fixture(scope="session")
def send(real_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    """Post to a server that holds the entries of the cases, as the user whom they belong to."""
    headers = _logged_in(real_url)
    if headers is not None:
        yield lambda path, body: requests.post(f"{real_url}/{path}", json=body, headers=headers, timeout=120)
        return
    with _Server(tmp_path_factory.mktemp("required-cases")) as url:
        own = _logged_in(url)
        assert own is not None, "The server does not know the user of the cases."
        yield lambda path, body: requests.post(f"{url}/{path}", json=body, headers=own, timeout=120)


def _logged_in(url: str) -> dict[str, str] | None:
    """Return the headers of the cases' user, ``None`` if the server knows no such user.

    Each request has its own connection: after an answer with 500 the server closes it.
    """
    login = {"username": USER["username"], "password": f"{USER['username']}-password"}
    reply = requests.post(f"{url}/auth/token", data={"grant_type": "password", **login}, timeout=60)
    if reply.status_code != 200:
        return None
    return {"Authorization": f"Bearer {reply.json()['access_token']}"}


class _Server:
    """A NOMAD server with nothing but the entries of the cases; entering it waits until it is ready."""

    def __init__(self, folder: Path) -> None:
        program = Path(os.environ.get("NOMADQUERY_SHARED", "")) / "realnomad" / "serve"
        if not program.is_file():
            pytest.fail(
                "The server lacks the entries of the cases. Write them with `python -m "
                "tests.required_entries FOLDER` and start it with --seed FOLDER too, or set "
                "NOMADQUERY_SHARED to start another one."
            )
        write_seed(folder / "seed")
        self._log = folder / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        options = ["--port", str(self._port), "--data", str(folder / "data"), "--seed", str(folder / "seed")]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                ["bash", str(program), "--fresh", *options], stdout=log, stderr=log, start_new_session=True
            )

    def __enter__(self) -> str:
        deadline = time.monotonic() + READY_WITHIN_S
        while "\nREADY" not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                pytest.fail(f"The server did not get ready:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.5)
        return f"http://127.0.0.1:{self._port}/api/v1"

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=60)


@BY_CASE
def test_case_is_answered_as_recorded(entry_id: str, case: dict[str, Any], send: Send) -> None:
    """One archive: the same part of it, or the same refusal."""
    body = {"required": case["required"]} if "required" in case else {}
    reply = send(f"entries/{entry_id}/archive/query", body)
    assert _answer(reply.status_code, reply.json()) == expected(case)


@BY_CASE
def test_case_is_answered_alike_on_a_page(entry_id: str, case: dict[str, Any], send: Send) -> None:
    """A page with this archive, among all that the user sees: the same, but that null asks for everything."""
    body: dict[str, Any] = {"owner": "visible", "query": {"entry_id": entry_id}}
    body |= {"required": case["required"]} if "required" in case else {}
    reply = send("entries/archive/query", body)
    whole = next(star for star in CASES["cases"] if star["id"] == "star")
    assert _answer(reply.status_code, reply.json()) == expected(whole if case["id"] == "null" else case)


def _answer(status: int, content: Any) -> Answer:
    if status != 200:
        return comparable(status, content["detail"])
    data = content["data"]
    return 200, (data[0] if isinstance(data, list) else data)["archive"]


#: Of real entries: references within and between entries, to sections, arrays and abstract sections.
SAMPLE_REQUIREDS: dict[str, Any] = {
    "frames": {"run": {"calculation": {"system_ref": {"atoms": {"labels": "*"}}, "energy": "*"}}},
    "frames in place": {
        "resolve-inplace": True,
        "run": {"calculation": {"system_ref": {"atoms": {"labels": "*"}}, "energy": {"total": "*"}}},
    },
    "result": {
        "workflow2": {"results": {"calculation_result_ref": {"energy": "*", "system_ref": {"atoms": "*"}}}}
    },
    "tasks in place": {
        "resolve-inplace": True,
        "workflow2": {"tasks": {"name": "*", "task": {"name": "*", "tasks": {"name": "*"}}}},
    },
    "results resolved": {"results": "include-resolved"},
    "workflow resolved in place": {"resolve-inplace": True, "workflow2": "include-resolved"},
    "without the run": {"*": "*", "run": "exclude", "metadata": {"mainfile": "*"}},
}
SAMPLE_IDS_EVERY = 29


@pytest.fixture(scope="session")
def samples() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return document and archive of every sample entry by its id."""
    folder = Path(os.environ.get("NOMADQUERY_SHARED", "")) / "nomad" / "samples"
    if not folder.is_dir():
        pytest.fail("Set NOMADQUERY_SHARED to the folder that holds nomad/samples.")
    found = {}
    for line in gzip.decompress((folder / "entries.jsonl.gz").read_bytes()).splitlines():
        document = json.loads(line)
        packed = (folder / "archives" / f"{document['entry_id']}.archive.json.gz").read_bytes()
        found[document["entry_id"]] = (document, json.loads(gzip.decompress(packed)))
    return found


@pytest.fixture(scope="session")
def sample_store(samples: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> LocalStore:
    """Hold the sample entries."""
    store = LocalStore()
    store.add_entries(samples.values())
    return store


@pytest.mark.parametrize("name", list(SAMPLE_REQUIREDS))
def test_samples_are_answered_alike(
    name: str, real_url: str, real_documents: list[dict[str, Any]], sample_store: LocalStore
) -> None:
    """Every 29th public entry: the same archive, the same refusal.

    ``x_`` quantities of parsers are asked for only where a directive brings them anyway: the local
    deployment has no schema of them.
    """
    body = {"required": SAMPLE_REQUIREDS[name]}
    for document in real_documents[::SAMPLE_IDS_EVERY]:
        path = f"entries/{document['entry_id']}/archive/query"
        reply = requests.post(f"{real_url}/{path}", json=body, timeout=120)
        local = ask(sample_store, "POST", path, body)
        assert _answer(*local) == _answer(reply.status_code, reply.json()), document["entry_id"]
