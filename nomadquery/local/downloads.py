"""Archives and metadata as files: zips of archives, one archive, and the export of a search."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from nomadquery.local.answer import BINARY, JSON, ZIP, Answer, attachment
from nomadquery.local.archives import check_form
from nomadquery.local.entries import Entries, check_not_all, criterion_of, owner_and_query, owner_of
from nomadquery.local.file_choice import parse_file_parameters, parse_files
from nomadquery.local.hits import Document
from nomadquery.local.paging import integer_of
from nomadquery.local.raw_entries import check_number
from nomadquery.local.refusals import Problem, malformed, problem, refused
from nomadquery.local.zipping import Member, in_memory, zipped

Json = dict[str, Any]
Parameters = Sequence[tuple[str, str]]


class ArchiveFiles:
    """Archives as files to download; at most ``most_entries`` in one zip."""

    def __init__(self, entries: Entries, *, most_entries: int) -> None:
        self._entries = entries
        self._most_entries = most_entries

    def zip_of_query(self, body: Any) -> Answer:
        """Answer ``POST entries/archive/download/query``."""
        problems: list[Problem] = []
        owner, query = owner_and_query(body, problems)
        choice = parse_files(body.get("files"), ["body", "files"], problems)
        if problems:
            raise malformed(problems)
        required = "*" if body.get("required") is None else body["required"]
        check_form(required)
        check_not_all(owner)
        found = self._entries.found(owner, criterion_of(query))
        return self._zip(found, required, compress=choice.compress)

    def zip_of_parameters(self, parameters: Parameters) -> Answer:
        """Answer ``GET entries/archive/download``: whole archives."""
        problems: list[Problem] = []
        owner = owner_of(dict(parameters).get("owner"), ["query", "owner"], problems)
        if problems:
            raise malformed(problems)
        choice = parse_file_parameters(parameters)
        check_not_all(owner)
        found = self._entries.found(owner, self._entries.criterion_of_parameters(parameters))
        return self._zip(found, "*", compress=choice.compress)

    def file(self, entry_id: str) -> Answer:
        """Answer ``GET entries/{entry_id}/archive/download``: the archive itself, without what is around."""
        archive = self._entries.archive(entry_id, {})["data"]["archive"]
        content = msgspec.json.encode(archive)
        headers = {
            "content-type": JSON,
            "content-disposition": f'attachment; filename="{entry_id}.archive.json"',
            "content-length": str(len(content)),
        }
        return Answer(200, headers, (content,))

    def _zip(self, found: Sequence[Document], required: Any, *, compress: bool) -> Answer:
        check_number(len(found), self._most_entries)
        members = _members(found, self._entries.archive_reader(required))
        return Answer(200, attachment("archives.zip", ZIP), zipped(members, compress=compress))


class Export:
    """The metadata of all entries of a search, as one file."""

    def __init__(self, entries: Entries, *, most_entries: int = 100_000) -> None:
        self._entries = entries
        self._most_entries = most_entries

    def file(self, parameters: Parameters, content_type: str) -> Answer:
        """Answer ``GET entries/export``, in JSON or CSV as the request's own ``Content-Type`` says."""
        problems: list[Problem] = []
        last = dict(parameters)
        owner = owner_of(last.get("owner"), ["query", "owner"], problems)
        size = integer_of(last.get("page_size", 10_000), ["query", "page_size"], problems)
        if size is not None and size <= 0:
            said = "Input should be greater than 0"
            problems.append(problem("greater_than", ["query", "page_size"], said, last["page_size"], gt=0))
        if problems:
            raise malformed(problems)
        check_not_all(owner)
        found = self._entries.exported(owner, parameters)
        if len(found) > self._most_entries:
            raise refused(
                400,
                "The limit of maximum number of metadata in a single download "
                f"({self._most_entries}) has been exceeded ({len(found)}).",
            )
        match content_type:
            case "application/json":
                return Answer(200, attachment("metadata_export.json", BINARY), _json_blocks(found))
            case "text/csv":
                return Answer(200, attachment("metadata_export.csv", BINARY), _csv_blocks(found))
            case _:
                raise refused(415, f"Unsupported {content_type=}. Expected 'application/json' or 'text/csv'.")


def _json_blocks(found: Sequence[Document]) -> Iterator[bytes]:
    yield b"["
    for position, document in enumerate(found):
        yield (b"," if position else b"") + json.dumps(document).encode()
    yield b"]"


def _csv_blocks(found: Sequence[Document]) -> Iterator[bytes]:
    """Yield a table with the columns of the first entry; one that has others ends it, as in NOMAD."""
    if found:
        rows = io.StringIO()
        writer = csv.DictWriter(rows, fieldnames=list(found[0]))
        writer.writeheader()
        for document in found:
            writer.writerow(document)
            yield rows.getvalue().encode()
            rows.seek(0)
            rows.truncate()


def _members(found: Sequence[Document], read: Callable[[Document], Json | None]) -> Iterator[Member]:
    """Yield the archives that are there, and a list of all entries."""
    manifest = []
    for document in found:
        path = f"{document['upload_id']}/{document['entry_id']}.json"
        if (answer := read(document)) is not None:
            told = {name: answer[name] for name in ("entry_id", "parser_name", "archive")}
            yield path, in_memory(msgspec.json.format(msgspec.json.encode(told), indent=2))
        named = {name: document.get(name) for name in ("upload_id", "entry_id", "parser_name")}
        manifest.append({**named, "path": path})
    yield "manifest.json", in_memory(json.dumps(manifest, indent=2).encode())
