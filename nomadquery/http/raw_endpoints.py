"""One request builder and one answer parser for each endpoint that gives raw files, lists or zips of them.

As `endpoints`, whose words these share. Lists are JSON and go with the archives; files and zips are streams
of the kind ``"raw"``, which has a lane of its own. Behaviour of NOMAD 1.3.17 to 2.0.0 as it was executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote

import msgspec

from nomadquery.errors import InvalidRequest, ResponseFormatError
from nomadquery.http.endpoints import LARGEST_PAGE, Owner
from nomadquery.http.message import Reply, Request, Stream

#: Entries that one zip may have; more is 400.
LARGEST_ZIP: Final = 50_000

#: Items of a page of a folder. There is no bound, and 10 if nothing is said.
FOLDER_PAGE: Final = 10_000

#: How long the server may prepare a zip in silence; once it has begun, `Request.silence_s` holds.
_PREPARING_S: Final = 300.0

_Size = Annotated[int, msgspec.Meta(ge=0)]


class ListedFile(msgspec.Struct, frozen=True):
    """A file in an upload: its ``path`` from the upload's root, and its ``size`` in bytes."""

    path: str
    size: _Size


class EntryFiles(msgspec.Struct, frozen=True):
    """An entry and the files in the folder of its mainfile, the mainfile among them; not those below."""

    entry_id: str
    upload_id: str
    mainfile: str
    files: tuple[ListedFile, ...]


class FolderItem(msgspec.Struct, frozen=True):
    """A file or folder in a folder; ``entry_id`` of the entry whose mainfile it is, if it is one's."""

    name: str
    is_file: bool
    size: _Size
    entry_id: str | None = None


@dataclass(frozen=True, slots=True)
class FolderPage:
    """A part of what lies in a folder of an upload.

    Attributes
    ----------
    items : tuple of FolderItem
        In the order of the server.
    total : int
        Items of the whole folder.
    next_after : str or None
        Where the next page begins; ``None`` after the last.
    access : str
        ``"public"``, ``"embargoed"`` or ``"unpublished"``.
    """

    items: tuple[FolderItem, ...]
    total: int
    next_after: str | None
    access: str


@dataclass(frozen=True, slots=True)
class Part:
    """Which bytes of the stored file an answer to `stored_upload` has.

    Attributes
    ----------
    offset : int
        Of the first.
    total_bytes : int or None
        Size of the whole file, as far as it is told.
    """

    offset: int
    total_bytes: int | None


def entries_rawdir(
    query: Mapping[str, Any],
    *,
    owner: Owner,
    page_size: int,
    after: str | None = None,
    is_divisible: bool = False,
) -> Request:
    """Return the request for the files of a page of entries, in the order of their ids.

    ``is_divisible``: whoever sends it asks for fewer entries if the server cannot give so many.

    Raises
    ------
    InvalidRequest
        If the page has no entries or too many, or the owner is ``"all"``, which NOMAD refuses here.
    """
    _check_owner(owner)
    if not 1 <= page_size <= LARGEST_PAGE:
        raise InvalidRequest(f"A page has 1 to {LARGEST_PAGE} entries, not {page_size}.")
    paging: dict[str, Any] = {"page_size": page_size, "order_by": "entry_id", "order": "asc"}
    if after is not None:
        paging["page_after_value"] = after
    body = {"owner": owner, "query": query, "pagination": paging}
    return Request("POST", "entries/rawdir/query", json=body, kind="archive", is_divisible=is_divisible)


def parse_entries_rawdir(reply: Reply) -> tuple[tuple[EntryFiles, ...], int]:
    """Return the entries of the page that answers `entries_rawdir`, and how many there are in all.

    Raises
    ------
    ResponseFormatError
        If the answer is not of that form.
    """
    answer = _decoded(reply, _EntriesAnswer, "a list of the files of entries")
    return answer.data, answer.pagination.total


def entries_zip(
    query: Mapping[str, Any], *, owner: Owner, paths: Sequence[str] = (), compress: bool = False
) -> Request:
    """Return the request for a zip of the files of all entries that satisfy the query.

    Members are called ``upload_id/path``; each path is there once, and ``manifest.json`` is the last. The
    answer has no length and no ranges, and what fails on the way cuts it.

    Parameters
    ----------
    paths : sequence of str
        Only files with these paths in their upload, whole ones; none given: all files.
    compress : bool
        Whether members are packed.
    """
    _check_owner(owner)
    files: dict[str, Any] = {"compress": compress}
    if paths:
        # include_files and glob_pattern match ends of paths: INCAR also OLD_INCAR
        files["re_pattern"] = "^(?:" + "|".join(re.escape(path) for path in paths) + r")\Z"
    body = {"owner": owner, "query": query, "files": files}
    return Request("POST", "entries/raw/query", json=body, kind="raw", timeout_s=_PREPARING_S)


def archives_zip(
    query: Mapping[str, Any],
    *,
    owner: Owner,
    required: Mapping[str, Any] | Literal["*"] = "*",
    compress: bool = True,
) -> Request:
    """Return the request for a zip of the archives of all entries that satisfy the query.

    Members are called ``upload_id/entry_id.json``, each ``{"entry_id", "parser_name", "archive"}``;
    ``manifest.json`` is the last, and alone names the entries without archive.
    """
    _check_owner(owner)
    body = {"owner": owner, "query": query, "required": required, "files": {"compress": compress}}
    return Request("POST", "entries/archive/download/query", json=body, kind="raw", timeout_s=_PREPARING_S)


def raw_file(upload_id: str, path: str, *, offset: int = 0, length: int | None = None) -> Request:
    """Return the request for a file of an upload, or ``length`` bytes of it from ``offset`` on.

    The answer has no length. An offset at or behind the end gives nothing, with status 200.

    Raises
    ------
    InvalidRequest
        If the id or the path cannot be one, or the part has no bytes.
    """
    if offset < 0 or (length is not None and length < 1):
        raise InvalidRequest(f"There is no part of a file from {offset} on with {length} bytes.")
    params = [("offset", str(offset)), ("ignore_mime_type", "true")]
    params += [] if length is None else [("length", str(length))]
    place = f"uploads/{checked_upload_id(upload_id)}/raw/{quoted_path(path)}"
    return Request("GET", place, params=tuple(params), kind="raw")


def stored_upload(upload_id: str, *, offset: int = 0, length: int | None = None) -> Request:
    """Return the request for the stored zip of a published upload, or a part of it.

    Members are called by their paths in the upload. The server may give the whole file where a part was
    asked for: `parse_part` tells. Another host may serve it, by redirect.

    Raises
    ------
    InvalidRequest
        As for `raw_file`.
    """
    if offset < 0 or (length is not None and length < 1):
        raise InvalidRequest(f"There is no part of a file from {offset} on with {length} bytes.")
    is_part = offset > 0 or length is not None
    last = "" if length is None else str(offset + length - 1)
    headers = (("Range", f"bytes={offset}-{last}"),) if is_part else ()
    place = f"uploads/{checked_upload_id(upload_id)}/raw"
    return Request("GET", place, headers=headers, kind="raw", timeout_s=_PREPARING_S)


def end_of_stored_upload(upload_id: str, n_bytes: int) -> Request:
    """Return the request for the last bytes of the stored zip of a published upload, where its directory is.

    Raises
    ------
    InvalidRequest
        If the id cannot be one.
    """
    headers = (("Range", f"bytes=-{n_bytes}"),)
    return Request("GET", f"uploads/{checked_upload_id(upload_id)}/raw", headers=headers, kind="raw")


def parse_part(answer: Stream | Reply) -> Part:
    """Return which bytes of a file an answer has.

    Raises
    ------
    ResponseFormatError
        If a part comes without saying which (206 without a readable ``Content-Range``).
    """
    if answer.status != 206:
        length = answer.headers.get("content-length", "")
        is_plain = "content-encoding" not in answer.headers
        return Part(0, int(length) if length.isdigit() and is_plain else None)
    told = answer.headers.get("content-range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", told.strip(), re.ASCII)
    if match is None:
        raise ResponseFormatError(f"A part of a file came with Content-Range {told!r}, which names no bytes.")
    return Part(int(match[1]), None if match[2] == "*" else int(match[2]))


def upload_folder(
    upload_id: str, path: str = "", *, after: str | None = None, page_size: int = FOLDER_PAGE
) -> Request:
    """Return the request for what lies in a folder of an upload, with the entries of mainfiles.

    Raises
    ------
    InvalidRequest
        If the id or the path cannot be one.
    """
    params = [("include_entry_info", "true"), ("page_size", str(page_size))]
    params += [] if after is None else [("page_after_value", after)]
    folder = quoted_path(path) if path else ""
    # an empty path keeps its slash: without it there is no such endpoint
    place = f"uploads/{checked_upload_id(upload_id)}/rawdir/{folder}"
    return Request("GET", place, params=tuple(params), kind="archive")


def parse_upload_folder(reply: Reply) -> FolderPage:
    """Return the page that answers `upload_folder`.

    Raises
    ------
    ResponseFormatError
        If the answer is not of that form, or about a file.
    """
    answer = _decoded(reply, _FolderAnswer, "a list of what lies in a folder")
    if answer.directory_metadata is None:
        raise ResponseFormatError(f"{answer.path!r} is a file, and what lies in a folder was asked for.")
    items, paging = answer.directory_metadata.content, answer.pagination
    total = len(items) if paging is None else paging.total
    return FolderPage(items, total, paging.next_page_after_value if paging else None, answer.access)


def parse_upload_place(reply: Reply) -> FolderPage | FolderItem:
    """Return what answers `upload_folder` where the path may also be that of a file.

    Raises
    ------
    ResponseFormatError
        If the answer is not of that form.
    """
    answer = _decoded(reply, _FolderAnswer, "what lies at a place in an upload")
    file = answer.file_metadata
    if file is None:
        return parse_upload_folder(reply)
    return FolderItem(file.name, True, file.size, file.entry_id)


def quoted_path(path: str) -> str:
    """Return a path in an upload as it stands in an address: all but letters, digits, ``-._~/`` as ``%XX``.

    Raises
    ------
    InvalidRequest
        If it would lead elsewhere: with empty parts, ``.`` or ``..`` among them, or NUL.
    """
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidRequest(f"{path!r} is no path of a file in an upload.")
    try:
        return quote(path, safe="/")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{path!r} cannot be asked for: it is no text in UTF-8.") from error


def checked_upload_id(upload_id: str) -> str:
    """Return the id.

    Raises
    ------
    InvalidRequest
        If it cannot be one: it would lead to another endpoint.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", upload_id):
        raise InvalidRequest(f"{upload_id!r} is no upload id: these have letters, digits, - and _ only.")
    return upload_id


class _PagingAnswer(msgspec.Struct):
    total: Annotated[int, msgspec.Meta(ge=0)]
    next_page_after_value: str | None = None


class _EntriesAnswer(msgspec.Struct):
    pagination: _PagingAnswer
    data: tuple[EntryFiles, ...]


class _FolderContent(msgspec.Struct):
    content: tuple[FolderItem, ...]


class _FileMetadata(msgspec.Struct):
    name: str
    size: _Size
    entry_id: str | None = None


class _FolderAnswer(msgspec.Struct):
    path: str
    access: str
    directory_metadata: _FolderContent | None = None
    file_metadata: _FileMetadata | None = None
    pagination: _PagingAnswer | None = None


_Answer = TypeVar("_Answer")


def _decoded(reply: Reply, form: type[_Answer], what: str) -> _Answer:
    try:
        return msgspec.json.decode(reply.body, type=form)
    except msgspec.DecodeError as error:
        raise ResponseFormatError(f"NOMAD's answer is not {what}: {error}.") from error


def _check_owner(owner: Owner) -> None:
    if owner == "all":
        raise InvalidRequest("NOMAD gives no files for owner='all'; ask with owner='visible'.")
