"""References in archives as NOMAD 2.0.0 reads them, and where it puts what they lead to."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from nomadquery.local.refusals import unforeseen

_OF_ENTRY: Final = re.compile(r"(?:\.\.)?/entries/(?P<entry>[^?]+)/(?P<kind>archive|raw)#(?P<path>[^?]+)")
_OF_UPLOAD: Final = re.compile(
    r"(?P<deployment>[^?]+?)?/uploads?/(?P<upload>[\w=-]*)/?(?P<kind>archive|raw)/(?P<entry>[^?#]+)#(?P<path>[^?]+)"
)
_BY_MAINFILE: Final = "mainfile/"
_ID_LENGTH: Final = 28


class NotThere(LookupError):
    """What a key or a reference asks for does not exist: the property that leads to it is left out."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the text of a reference to an entry says.

    Attributes
    ----------
    deployment : str or None
        Address of another deployment.
    upload_id, entry : str
        Its upload, and its entry id; the mainfile where ``kind`` is ``raw``.
    kind : str
        ``archive`` or ``raw``.
    path : str
        From the root of its archive, with a slash in front.
    """

    deployment: str | None
    upload_id: str
    entry: str
    kind: Literal["archive", "raw"]
    path: str


def own_path(text: str) -> str | None:
    """Return the path that a reference within the same archive leads to, ``None`` for other texts."""
    if text.startswith("#/"):
        return text[1:]
    if text.startswith("/") and not text.startswith(("/entries", "/uploads")):
        return text
    return None


def parse_reference(text: str, upload_id: str) -> Reference | None:
    """Return what the text says, ``None`` if it is no reference to an entry.

    Without an upload it means ``upload_id``, the one of the entry that holds the text.
    """
    match = _OF_UPLOAD.fullmatch(text)
    deployment, upload = (match["deployment"], match["upload"] or upload_id) if match else (None, upload_id)
    match = match or _OF_ENTRY.fullmatch(text)
    if match is None:
        return None
    entry, path = match["entry"], f"/{match['path'].removeprefix('/')}"
    kind: Literal["archive", "raw"] = "raw" if match["kind"] == "raw" else "archive"
    if match.re is _OF_UPLOAD and kind == "archive":
        if entry.startswith(_BY_MAINFILE):
            entry = id_of_mainfile(upload, entry.removeprefix(_BY_MAINFILE))
        elif "/" in entry:
            return None
    return Reference(None if deployment == ".." else deployment, upload, entry, kind, path)


def id_of_mainfile(upload_id: str, mainfile: str) -> str:
    """Return the id that NOMAD gives to the entry of a mainfile."""
    digest = hashlib.sha512(f"{upload_id}{mainfile}".encode()).digest()
    return base64.urlsafe_b64encode(digest)[:_ID_LENGTH].decode()


def target_of(archive: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a path; negative positions are not understood.

    Raises
    ------
    NotThere
        If nothing does.
    """
    found: Any = archive
    for part in path.strip("/").split("/"):
        try:
            found = found[int(part) if part.isdigit() else part]
        except (LookupError, TypeError) as error:
            raise NotThere(path) from error
    return found


class Places:
    """Targets of references, each at its own place; positions before it that nothing fills are null.

    What is put in stays as it is: a container is copied before something is put below it.
    """

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}
        self._own: dict[int, Any] = {}

    def put(self, path: str, target: Any) -> None:
        """Put the target at its path, in the place of what was there.

        Raises
        ------
        RequestRefused
            If what was put in before has another form (500, as in NOMAD).
        """
        parts = path.strip("/").split("/")
        container: Any = self.content
        key: str | int | None = None
        try:
            for part in parts:
                if part.isdigit() and isinstance(key, str):
                    container = self._below(container, key, list)
                    key = int(part)
                    container.extend([None] * (key + 1 - len(container)))
                    continue
                if key is not None:
                    container = self._below(container, key, dict)
                key = part
            container[key] = target
        except (TypeError, AttributeError) as error:
            raise unforeseen("TypeError", str(error)) from error

    def _below(self, container: Any, key: str | int, make: type[list[Any]] | type[dict[str, Any]]) -> Any:
        found = container[key] if isinstance(key, int) else container.get(key)
        if found is None:
            found = make()
        elif id(found) not in self._own:
            found = found.copy()
        container[key] = self._own[id(found)] = found
        return found
