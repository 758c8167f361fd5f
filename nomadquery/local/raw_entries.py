"""What the endpoints about the raw files of entries answer: those in the folder of the mainfile."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nomadquery.local.answer import ZIP, Answer, attachment
from nomadquery.local.entries import Entries, check_not_all, criterion_of, owner_and_query, owner_of
from nomadquery.local.file_answers import Part, file_blocks, media_type
from nomadquery.local.file_choice import FileChoice, boolean_of, parse_file_parameters, parse_files
from nomadquery.local.hits import Document
from nomadquery.local.paging import integer_of
from nomadquery.local.raw_listing import directly_in, folder_of
from nomadquery.local.refusals import Problem, malformed, no_such_entry, problem, refused
from nomadquery.local.store import LocalStore
from nomadquery.local.zipping import Member, in_memory, zipped
from nomadquery.query.criteria import Criterion

Json = dict[str, Any]
Parameters = Sequence[tuple[str, str]]

_INCLUDED: Final = ("entry_id", "upload_id", "mainfile")
_NO_SUCH_FILE: Final = "The requested file does not exist."


class RawEntries:
    """The answers about the raw files of entries; of at most ``most_entries`` in one zip."""

    def __init__(self, entries: Entries, store: LocalStore, *, most_entries: int) -> None:
        self._entries = entries
        self._store = store
        self._most_entries = most_entries

    def zip_of_query(self, body: Any) -> Answer:
        """Answer ``POST entries/raw/query``."""
        problems: list[Problem] = []
        owner, query = owner_and_query(body, problems)
        choice = parse_files(body.get("files"), ["body", "files"], problems)
        if problems:
            raise malformed(problems)
        check_not_all(owner)
        return self._zip(self._found(owner, criterion_of(query)), choice)

    def zip_of_parameters(self, parameters: Parameters) -> Answer:
        """Answer ``GET entries/raw``."""
        problems: list[Problem] = []
        owner = owner_of(dict(parameters).get("owner"), ["query", "owner"], problems)
        if problems:
            raise malformed(problems)
        choice = parse_file_parameters(parameters)
        check_not_all(owner)
        return self._zip(self._found(owner, self._entries.criterion_of_parameters(parameters)), choice)

    def zip_of_entry(self, entry_id: str, parameters: Parameters) -> Answer:
        """Answer ``GET entries/{entry_id}/raw``."""
        choice = parse_file_parameters(parameters)
        document = self._entries.visible(entry_id)
        return self._zip([document], choice, order=_INCLUDED)

    def file(self, entry_id: str, name: str, parameters: Parameters) -> Answer:
        """Answer ``GET entries/{entry_id}/raw/{name}``: a file beside the mainfile, or a part of it."""
        part = _part_of(parameters)
        document = self._entries.visible(entry_id)
        folder = folder_of(document["mainfile"])
        file = self._store.raw.files(document["upload_id"]).get(f"{folder}/{name}" if folder else name)
        if file is None:
            raise no_such_entry(_NO_SUCH_FILE)
        kind = media_type(self._store.raw, file, part)
        named = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        return Answer(200, {"content-type": named}, file_blocks(self._store.raw, file, part))

    def listing(self, entry_id: str) -> Json:
        """Answer ``GET entries/{entry_id}/rawdir``."""
        return {"entry_id": entry_id, "data": self._listed(self._entries.visible(entry_id))}

    def listing_of_query(self, body: Any) -> Json:
        """Answer ``POST entries/rawdir/query``."""
        return self._with_files(self._entries.listed(body, _INCLUDED))

    def listing_of_parameters(self, parameters: Parameters) -> Json:
        """Answer ``GET entries/rawdir``; the addresses of the pages are not in it."""
        return self._with_files(self._entries.listed_by_parameters(parameters, _INCLUDED))

    def _with_files(self, page: Json) -> Json:
        answer = {name: part for name, part in page.items() if name != "required"}
        return {**answer, "data": [self._listed(document) for document in page["data"]]}

    def _listed(self, document: Document) -> Json:
        files = directly_in(self._store.raw.files(document["upload_id"]), folder_of(document["mainfile"]))
        told = {name: document[name] for name in (*_INCLUDED, "mainfile_key") if document.get(name)}
        return {**told, "files": [{"path": file.path, "size": file.size_bytes} for file in files]}

    def _found(self, owner: str, criterion: Criterion) -> Sequence[Document]:
        found = self._entries.found(owner, criterion)
        check_number(len(found), self._most_entries)
        return found

    def _zip(
        self,
        documents: Sequence[Document],
        choice: FileChoice,
        *,
        order: Sequence[str] = ("upload_id", "entry_id", "mainfile"),
    ) -> Answer:
        members = self._members(documents, choice, order)
        return Answer(200, attachment("raw_files.zip", ZIP), zipped(members, compress=choice.compress))

    def _members(
        self, documents: Sequence[Document], choice: FileChoice, order: Sequence[str]
    ) -> Iterator[Member]:
        """Yield the wanted files of entries, each once, and a list of the entries that they are of."""
        manifest: list[Mapping[str, Any]] = []
        is_told: dict[tuple[str, str], bool] = {}  # of the folders so far; entries may share one
        for document in documents:
            upload_id, mainfile = document["upload_id"], document["mainfile"]
            folder = (upload_id, folder_of(mainfile))
            if folder not in is_told:
                files = directly_in(self._store.raw.files(upload_id), folder[1])
                wanted = [file for file in files if choice.takes(file.path)]
                yield from ((f"{upload_id}/{file.path}", self._store.raw.open(file)) for file in wanted)
                is_told[folder] = bool(wanted or not files)
            if is_told[folder]:
                manifest.append(
                    {name: document[name] for name in order} | {"mainfile": f"{upload_id}/{mainfile}"}
                )
        yield "manifest.json", in_memory(json.dumps(manifest).encode())


def check_number(n_entries: int, most: int) -> None:
    """Refuse more entries than one download may have.

    Raises
    ------
    RequestRefused
        If there are more (400).
    """
    if n_entries > most:
        raise refused(
            400,
            "The limit of maximum number of entries in a single download "
            f"({most}) has been exceeded ({n_entries}).",
        )


def _part_of(parameters: Parameters) -> Part:
    problems: list[Problem] = []
    last = dict(parameters)
    offset = _bounded(last.get("offset", 0), 0, ["query", "offset"], problems)
    length = _bounded(last.get("length", -1), -1, ["query", "length"], problems)
    decompress = boolean_of(last.get("decompress"), ["query", "decompress"], problems)
    if problems:
        raise malformed(problems)
    return Part(offset, length, decompress)


def _bounded(given: Any, least: int, loc: Sequence[str], problems: list[Problem]) -> int:
    number = integer_of(given, loc, problems)
    if number is not None and number < least:
        said = f"Input should be greater than or equal to {least}"
        problems.append(problem("greater_than_equal", loc, said, given, ge=least))
    return least if number is None else number
