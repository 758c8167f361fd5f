"""A loopback server with the raw files of some uploads, which fails as told."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from tests.faults.server import Answer, FaultServer, Received, as_json

BINARY = (("Content-Type", "application/octet-stream"),)

#: Changes the right answer to a request; the number counts the requests, from 0.
Spoil = Callable[[Received, int, Answer], Answer]


@dataclass(frozen=True)
class Uploads:
    """What a server has.

    ``files``: upload id → path → content. ``mainfiles``: entry id → upload id and mainfile. ``hidden``:
    entries that are not given; ``unpublished``: uploads without a stored zip.
    """

    files: Mapping[str, Mapping[str, bytes]]
    mainfiles: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    unpublished: frozenset[str] = frozenset()

    def entry_files(self, entry_id: str) -> dict[str, bytes]:
        """Return the files in the folder of a mainfile."""
        upload_id, mainfile = self.mainfiles[entry_id]
        folder = mainfile.rpartition("/")[0]
        return {p: c for p, c in self.files[upload_id].items() if p.rpartition("/")[0] == folder}


def zipped(members: Mapping[str, bytes]) -> bytes:
    """Return a zip with members as they are, as NOMAD stores uploads."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


@dataclass(frozen=True)
class RawAnswers:
    """What NOMAD answers about the raw files of some uploads."""

    uploads: Uploads

    def to(self, received: Received) -> Answer:
        path, params = _path(received), dict(parse_qsl(received.path.partition("?")[2]))
        if path == "entries/rawdir/query":
            return self.rawdir(json.loads(received.body))
        if path == "entries/raw/query":
            return self._zip(json.loads(received.body))
        if found := re.fullmatch(r"uploads/([^/]+)/rawdir/(.*)", path, re.DOTALL):
            return self.folder(found[1], found[2], params)
        if found := re.fullmatch(r"uploads/([^/]+)/raw/(.+)", path, re.DOTALL):
            return self._file(found[1], found[2], params)
        if found := re.fullmatch(r"uploads/([^/]+)/raw", path):
            return self._stored(found[1], received.headers.get("range"))
        return as_json({"detail": "Not Found"}, 404)

    def rawdir(self, body: dict[str, object]) -> Answer:
        ids = _ids(body)
        known = [
            one for one in sorted(ids) if one in self.uploads.mainfiles and one not in self.uploads.hidden
        ]
        data = [
            {
                "entry_id": one,
                "upload_id": self.uploads.mainfiles[one][0],
                "mainfile": self.uploads.mainfiles[one][1],
                "files": [
                    {"path": path, "size": len(content)}
                    for path, content in self.uploads.entry_files(one).items()
                ],
            }
            for one in known
        ]
        return as_json({"pagination": {"page_size": len(ids), "total": len(data)}, "data": data})

    def _zip(self, body: dict[str, object]) -> Answer:
        files = body["files"]
        assert isinstance(files, dict)
        pattern = files.get("re_pattern", "")
        members = {
            f"{self.uploads.mainfiles[one][0]}/{path}": content
            for one in sorted(_ids(body) & set(self.uploads.mainfiles) - self.uploads.hidden)
            for path, content in self.uploads.entry_files(one).items()
            if re.search(pattern, path)
        }
        return Answer(body=zipped({**members, "manifest.json": b"[]"}), headers=BINARY)

    def folder(self, upload_id: str, folder: str, params: Mapping[str, str]) -> Answer:
        if upload_id not in self.uploads.files:
            return as_json({"detail": "The specified upload_id was not found."}, 404)
        mains = {place: one for one, place in self.uploads.mainfiles.items()}
        inside: dict[str, dict[str, object]] = {}
        for path, content in self.uploads.files[upload_id].items():
            start = f"{folder}/" if folder else ""
            if not path.startswith(start):
                continue
            name, _, deeper = path[len(start) :].partition("/")
            item = inside.setdefault(name, {"name": name, "is_file": not deeper, "size": 0})
            item["size"] = len(content)
            if not deeper and (upload_id, path) in mains:
                item["entry_id"] = mains[upload_id, path]
        size, first = int(params["page_size"]), int(params.get("page_after_value", "-1")) + 1
        items = list(inside.values())
        paging: dict[str, object] = {"page_size": size, "total": len(items)}
        if first + size < len(items):
            paging["next_page_after_value"] = str(first + size - 1)
        content_ = {"name": folder, "size": 0, "content": items[first : first + size]}
        return as_json(
            {"path": folder, "access": "public", "directory_metadata": content_, "pagination": paging}
        )

    def _file(self, upload_id: str, path: str, params: Mapping[str, str]) -> Answer:
        content = self.uploads.files.get(upload_id, {}).get(path)
        if content is None:
            return as_json({"detail": "Not found. Invalid path?"}, 404)
        offset, length = int(params.get("offset", "0")), int(params.get("length", "-1"))
        end = None if length < 0 else offset + length
        return Answer(body=content[offset:end], headers=BINARY)

    def _stored(self, upload_id: str, asked: str | None) -> Answer:
        if upload_id in self.uploads.unpublished or upload_id not in self.uploads.files:
            return as_json({"detail": "The upload is not published."}, 400)
        whole = zipped(self.uploads.files[upload_id])
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
        if found is None:
            return Answer(body=whole, headers=BINARY)
        if not found[1]:
            first, last = max(0, len(whole) - int(found[2])), len(whole) - 1
        else:
            first, last = int(found[1]), min(len(whole) - 1, int(found[2] or len(whole)))
        told = ("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        return Answer(206, whole[first : last + 1], (*BINARY, told))


class RawServer(FaultServer):
    """Answers as NOMAD does; ``spoil`` may change each answer."""

    def __init__(self, uploads: Uploads, spoil: Spoil | None = None) -> None:
        super().__init__()
        self.uploads = uploads
        self.spoil = spoil

    def next_answer(self, received: Received) -> Answer:
        with self._lock:
            n = len(self.received)
            self.received.append(received)
            answer = RawAnswers(self.uploads).to(received)
            return answer if self.spoil is None else self.spoil(received, n, answer)

    @property
    def paths(self) -> list[str]:
        """The path of each request below the API, as text, without parameters."""
        return [_path(one) for one in self.received]


def _path(received: Received) -> str:
    return unquote(received.path.partition("?")[0]).removeprefix("/api/v1/")


def _ids(body: dict[str, object]) -> set[str]:
    """Return the entry ids of a query for entries by their ids, however it is spelled."""
    return {
        one for one in re.findall(r'"([^"]+)"', json.dumps(body["query"])) if not one.startswith("entry_id")
    }
