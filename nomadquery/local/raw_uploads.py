"""What the endpoints about the raw files of an upload answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nomadquery.errors import NotAuthenticated, NotFound, NotPermitted
from nomadquery.local.answer import BINARY, ZIP, Answer, attachment
from nomadquery.local.file_answers import Part, file_blocks, media_type, upload_zip
from nomadquery.local.file_choice import boolean_of, parse_file_parameters
from nomadquery.local.hits import Document, visibility
from nomadquery.local.index_paging import parse_index_paging
from nomadquery.local.paging import integer_of
from nomadquery.local.raw_listing import Item, below, is_folder, items_of
from nomadquery.local.raw_store import StoredFile
from nomadquery.local.refusals import Problem, malformed, refused, unforeseen
from nomadquery.local.store import LocalStore
from nomadquery.local.zipping import zipped

Json = dict[str, Any]
Parameters = Sequence[tuple[str, str]]

_NO_SUCH_UPLOAD: Final = "The specified upload_id was not found."
_LOGIN_NEEDED: Final = "You need to log in to access the specified upload."
_EMBARGOED: Final = "You do not have access to the specified upload - published with embargo."
_NO_SUCH_PATH: Final = "Not found. Invalid path?"
_IS_FOLDER: Final = "Path is a directory, `compress` must be set to true"
_NOT_PUBLISHED: Final = (
    "Cannot download raw files .zip from non published uploads. Use '/{upload_id}/raw/' instead\n"
    "to recursively create and download a .zip file with all files."
)
_PART_OF_ZIP: Final = "Cannot specify `offset` or `length` when `compress` is true"
_BAD_LENGTH: Final = (
    "Invalid length provided. Should be greater than 0, or -1 if the remainder\nof the file should be read."
)


class RawUploads:
    """The answers about the raw files of the uploads of one store."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def stored_zip(self, upload_id: str, headers: Mapping[str, str]) -> Answer:
        """Answer ``GET uploads/{upload_id}/raw``: the zip as it is stored, whole or by ``Range``."""
        if _access(self._readable(upload_id)) == "unpublished":
            raise refused(400, _NOT_PUBLISHED)
        return upload_zip(self._store.raw.zip_path(upload_id), headers)

    def file_or_folder(self, upload_id: str, path: str, parameters: Parameters) -> Answer:
        """Answer ``GET uploads/{upload_id}/raw/{path}``: a file, a part of it, or a zip."""
        part, ignores_type = _part_of(parameters)
        choice = parse_file_parameters(parameters)
        if choice.compress and (part.offset != 0 or part.length != -1):
            raise refused(400, _PART_OF_ZIP)
        self._readable(upload_id)
        files = self._store.raw.files(upload_id)
        folder = path.rstrip("/")
        name = path.rpartition("/")[2]
        file = files.get(folder)
        if file is None:
            if not is_folder(files, folder):
                raise refused(404, _NO_SUCH_PATH)
            if not choice.compress:
                raise refused(400, _IS_FOLDER)
            wanted = [one for one in below(files, folder) if choice.takes(one.path)]
            return self._zip(folder.rpartition("/")[2] or upload_id, folder, wanted)
        if not choice.compress:
            _check_part(part)
        if not name:
            raise unforeseen("AssertionError", "Filename must be specified")
        if choice.compress:
            return self._zip(name, folder.rpartition("/")[0], [file])
        kind = BINARY if ignores_type else media_type(self._store.raw, file, part)
        return Answer(200, attachment(name, kind), file_blocks(self._store.raw, file, part))

    def listing(self, upload_id: str, path: str, parameters: Parameters) -> Json:
        """Answer ``GET uploads/{upload_id}/rawdir/{path}``; the addresses of the pages are not in it."""
        problems: list[Problem] = []
        last = dict(parameters)
        with_entries = boolean_of(last.get("include_entry_info"), ["query", "include_entry_info"], problems)
        paging = parse_index_paging(last, problems)
        if problems:
            raise malformed(problems)
        access = _access(self._readable(upload_id))
        files, folder = self._store.raw.files(upload_id), path.rstrip("/")
        entries = _entries_by_mainfile(self._store.documents_of(upload_id)) if with_entries else {}
        answer: Json = {"path": folder, "access": access}
        name = path.rpartition("/")[2]
        if (file := files.get(folder)) is not None:
            told = {"name": name, "size": file.size_bytes, **entries.get(path, {})}
            return {**answer, "file_metadata": told}
        if not is_folder(files, folder):
            raise refused(404, _NO_SUCH_PATH)
        items = items_of(files, folder)
        shown = items[paging.start : paging.start + paging.page_size]
        told = {
            "name": name,
            "size": sum(item.size_bytes for item in items),
            "content": [_told(item, folder, entries) for item in shown],
        }
        return {**answer, "directory_metadata": told, "pagination": paging.to_json(len(items))}

    def _readable(self, upload_id: str) -> Document:
        """Return an entry of an upload whose files may be read: who may see one may see all.

        Nobody is logged in to a local deployment: whoever may read more than everybody is asked about here.
        """
        documents = self._store.documents_of(upload_id, most=1)
        if not documents:
            raise NotFound(_NO_SUCH_UPLOAD, status=404, detail=_NO_SUCH_UPLOAD)
        if visibility("visible")(documents[0]):
            return documents[0]
        if _access(documents[0]) == "unpublished":
            raise NotAuthenticated(_LOGIN_NEEDED, status=401, detail=_LOGIN_NEEDED)
        raise NotPermitted(_EMBARGOED, status=403, detail=_EMBARGOED)

    def _zip(self, name: str, folder: str, files: Sequence[StoredFile]) -> Answer:
        start = len(folder) + 1 if folder else 0
        members = ((file.path[start:], self._store.raw.open(file)) for file in files)
        return Answer(200, attachment(f"{name}.zip", ZIP), zipped(members, compress=True))


def _part_of(parameters: Parameters) -> tuple[Part, bool]:
    """Return which part of a file is wanted, and whether its media type is not."""
    problems: list[Problem] = []
    last = dict(parameters)
    offset = integer_of(last.get("offset", 0), ["query", "offset"], problems)
    length = integer_of(last.get("length", -1), ["query", "length"], problems)
    decompress = boolean_of(last.get("decompress"), ["query", "decompress"], problems)
    ignores_type = boolean_of(last.get("ignore_mime_type"), ["query", "ignore_mime_type"], problems)
    if problems:
        raise malformed(problems)
    return Part(offset or 0, -1 if length is None else length, decompress), ignores_type


def _check_part(part: Part) -> None:
    if part.offset < 0:
        raise refused(400, "Invalid offset provided.")
    if part.length <= 0 and part.length != -1:
        raise refused(400, _BAD_LENGTH)


def _access(document: Document) -> str:
    if not document.get("published"):
        return "unpublished"
    return "embargoed" if document.get("with_embargo") else "public"


def _entries_by_mainfile(documents: Sequence[Document]) -> dict[str, Json]:
    """Return what a listing tells of entries, by their mainfiles; children of a mainfile are not told."""
    return {
        one["mainfile"]: {"entry_id": one["entry_id"], "parser_name": one.get("parser_name")}
        for one in reversed(documents)
        if one.get("mainfile_key") is None and "mainfile" in one
    }


def _told(item: Item, folder: str, entries: Mapping[str, Json]) -> Json:
    path = f"{folder}/{item.name}" if folder else item.name
    return {
        "name": item.name,
        "size": item.size_bytes,
        **entries.get(path, {}),
        "is_file": item.is_file,
    }
