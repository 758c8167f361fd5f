"""Archives of many entries: in batches by upload, halved around trouble, references followed."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

from nomadquery.columns.arrays import Problem
from nomadquery.columns.compiled import Entry, Form, Json, Opened, archive_form, listed, read_archive
from nomadquery.columns.decode import Archives, read_documents
from nomadquery.columns.extract import Declares, Document, Notes, items_of, reader
from nomadquery.columns.plain import Plain, Read
from nomadquery.columns.references import Home, Shelf, Tree, Wish, indexed, selected, selected_position
from nomadquery.columns.required import archive_required, target_required
from nomadquery.errors import InvalidRequest, ServerFailure, Unreachable
from nomadquery.fetch.pages import parsed
from nomadquery.fetch.paging import in_short, is_too_slow, readable
from nomadquery.fetch.plan import FIRST_BATCH, PAGE_BYTES, Question
from nomadquery.http.endpoints import (
    LARGEST_PAGE,
    Owner,
    Page,
    Pagination,
    archive_query,
    entries_query,
    items_of_list,
    parse_entries_page,
)
from nomadquery.http.message import Reply, Request
from nomadquery.query.body import body
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import And, Criterion, HasAny, canonical

if TYPE_CHECKING:
    import pyarrow as pa

Send = Callable[[Request], Reply]
Content = Mapping[str, Any]
Required = Tree | Literal["*"]

_BATCH_S: Final = 10.0
_LEAST_BATCH: Final = 5  # pauses of a failing server are no reason for smaller batches
_GROWTH: Final = 4
#: How a server fails over one entry among many: NOMAD's own 400 and 500, or an answer too large.
_REFUSED: Final = frozenset({400, 413, 500})
#: Groups of references to one and the same position that get a request of their own.
_MOST_GROUPS: Final = 4
_MOST_ROUNDS: Final = 16
#: What is foreseen of an archive before one has come.
UNKNOWN_BYTES: Final = 100_000.0
_NOT_GIVEN: Final = "there is no such entry, or it may not be read"


@dataclass(frozen=True, slots=True)
class Part:
    """Archives of some entries: a JSON list; or the whole answer, and what was read of it as columns."""

    content: Reply | msgspec.Raw | bytes
    read: Read | None = None

    def items(self) -> list[msgspec.Raw]:
        """Return the JSON of each."""
        if isinstance(self.content, Reply):
            return parse_entries_page(self.content).items
        return items_of_list(self.content)


@dataclass(frozen=True, slots=True)
class Batch:
    """The archives of some entries.

    Attributes
    ----------
    documents : sequence
        The search documents of these entries.
    archives : Archives
    problems : list of Problem
        Why some archives could not be had.
    n_bytes : int
        Of the answers.
    arrays : list of pyarrow.Array or None
        The values of the columns of archives, one for each document, where they could be read as they came.
    """

    documents: Sequence[Entry]
    archives: Archives
    problems: list[Problem]
    n_bytes: int = 0
    arrays: list[pa.Array] | None = None


@dataclass(slots=True)
class ArchiveReader:
    """Asks for the archives of one question; remembers how many the server gives in good time.

    Attributes
    ----------
    send : callable
        Sends a request and returns its whole answer.
    question : Question
    catalogue : Catalogue
    declares : callable or None
        Tells the units that custom schemas declare.
    plain : Plain or None
        Reads the columns of archives, if none of them needs more.
    clock : callable
        Seconds; batches are made so large that each takes at most ten.
    size : int
        Entries of the next batch.
    bytes_each : float
        Of one archive, as the last answers had them.

    Several threads may use it at once.
    """

    send: Send
    question: Question
    catalogue: Catalogue
    declares: Declares | None = None
    plain: Plain | None = None
    clock: Callable[[], float] = time.monotonic
    size: int = field(default=FIRST_BATCH)
    bytes_each: float = field(default=UNKNOWN_BYTES)
    _compiled: tuple[Tree, Form] | None = field(default=None, repr=False)

    def batches(self, documents: Sequence[Entry]) -> Iterator[Batch]:
        """Yield the archives of the entries, one batch after the other."""
        waiting = by_upload(documents)
        while waiting:
            batch, waiting = waiting[: self.size], waiting[self.size :]
            yield self.batch(batch)

    def batch(self, documents: Sequence[Entry]) -> Batch:
        """Return the archives of some entries, with what references in them lead to."""
        if self._compiled is None:
            tree = archive_required(self.question.archive_columns, self.catalogue, self.question.per)
            self._compiled = tree, archive_form(tree, self.catalogue)
        return self._batch(documents, *self._compiled)

    def wanted(self, ids: Sequence[str], required: Required) -> tuple[dict[str, Content], dict[str, str]]:
        """Return archives by entry id, and why others could not be had; about 6 MB or ten seconds each."""
        parts: list[Part] = []
        refused: dict[str, str] = {}
        waiting = list(ids)
        while waiting:
            batch, waiting = waiting[: self.size], waiting[self.size :]
            self._timed(batch, required, parts, refused)
        return {entry_id: read_archive(item) for entry_id, item in by_entry(parts).items()}, refused

    def _batch(self, documents: Sequence[Entry], tree: Tree, form: Form) -> Batch:
        parts: list[Part] = []
        refused: dict[str, str] = {}
        ids = [str(document["entry_id"]) for document in documents]
        n_bytes = self._timed(ids, tree, parts, refused)
        arrays = _in_order(ids, parts)
        if arrays is not None:
            return Batch(documents, Archives({}, Shelf(), self.declares, form.layout), [], n_bytes, arrays)
        found: Mapping[str, Content] = Opened(by_entry(parts), form)
        shelf = Shelf()
        if any(column.follows for column in self.question.archive_columns):
            found = dict(found)
            for entry_id, content in found.items():
                shelf.put(entry_id, tree, content)
            self._follow(documents, found, shelf)
        why = "the server gave no archive: the entry has none, or it may not be read"
        lines = {**{one: why for one in ids if one not in found}, **refused}
        problems = [Problem(one, "archive", lines[one]) for one in ids if one in lines]
        return Batch(documents, Archives(found, shelf, self.declares, form.layout), problems, n_bytes)

    def _timed(
        self, ids: Sequence[str], required: Required, found: list[Part], refused: dict[str, str]
    ) -> int:
        began_s = self.clock()
        n_bytes = self._asked(ids, required, found, refused)
        self.size = _next_batch(self.size, len(ids), n_bytes, self.clock() - began_s)
        self.bytes_each = n_bytes / max(1, len(ids))
        return n_bytes

    def _asked(
        self, ids: Sequence[str], required: Required, found: list[Part], refused: dict[str, str]
    ) -> int:
        """Add the archives of ``ids`` to ``found``; halve around an entry that the server cannot serve."""
        try:
            page, part = self._page(ids, required)
        except (InvalidRequest, ServerFailure, Unreachable) as error:
            is_slow = is_too_slow(error)
            if not is_slow and getattr(error, "status", None) not in _REFUSED:
                raise
            if len(ids) > 1 and not is_slow and (unopened := _without_custom(required)) != required:
                return self._asked(ids, unopened, found, refused)
            if len(ids) > 1:
                middle = len(ids) // 2
                self.size = max(1, middle) if is_slow else self.size
                first = self._asked(ids[:middle], required, found, refused)
                return first + self._asked(ids[middle:], required, found, refused)
            if not is_slow:
                return self._whole(ids[0], required, found, refused, in_short(error))
            page, part = self._page(ids, required, is_divisible=False)
        found.append(part)
        return page.n_bytes

    def _whole(
        self,
        entry_id: str,
        required: Required,
        found: list[Part],
        refused: dict[str, str],
        reason: str,
    ) -> int:
        """Add an entry's sections as they are stored, where the server cannot look inside them.

        So it is where the schema of ``data`` cannot be loaded, or a number stands where an object is
        required.
        """
        if required != "*":
            top = {selected_position(key)[0]: "*" for key in required}
            for whole in ("*",) if top == required else (top, "*"):
                try:
                    page, part = self._page([entry_id], cast(Required, whole), is_divisible=whole != "*")
                except (InvalidRequest, ServerFailure) as error:
                    if error.status not in _REFUSED:
                        raise
                    continue
                found += [_cut(one, item, required) for one, item in by_entry([part]).items()]
                return page.n_bytes
        refused[entry_id] = f"the server could not serve it: {reason}"
        return 0

    def _page(
        self, ids: Sequence[str], required: Required, *, is_divisible: bool = True
    ) -> tuple[Page, Part]:
        owner = "visible" if self.question.owner == "all" else self.question.owner
        request = archive_query(
            _query(HasAny("entry_id", tuple(ids)), self.question.release),
            owner=cast(Owner, owner),
            pagination=Pagination(len(ids), order_by="upload_id"),
            required=required,
            is_divisible=is_divisible,
        )
        is_whole = self._compiled is not None and required is self._compiled[0]

        def ask() -> tuple[Page, Part]:
            reply = self.send(request)
            page, read = parsed(reply, self.plain if is_whole else None)
            return page, Part(page.data if read is None else reply, read)

        return readable(ask)

    # -- references ------------------------------------------------------------------------

    def _follow(self, documents: Sequence[Entry], found: Mapping[str, Content], shelf: Shelf) -> None:
        """Ask for what references lead to, until all that can be had is on the shelf."""
        columns = [column for column in self.question.archive_columns if column.follows]
        for _ in range(_MOST_ROUNDS if columns else 0):
            for document in documents:
                entry_id = str(document["entry_id"])
                if entry_id in found:
                    home = Home(entry_id, str(document.get("upload_id", "")))
                    self._walk(Document(found[entry_id], home, shelf, None))
            if not shelf.wishes:
                return
            self._fulfil(shelf)

    def _walk(self, document: Document) -> None:
        """Read the columns for the wishes that this makes."""
        per = self.question.per
        items = () if per is None else items_of(document.content, per.section, per.repeats)
        for column in self.question.archive_columns:
            if not column.follows:
                continue
            read = reader(column, self.catalogue)
            for item in items if column.per is not None else (None,):
                read(document, Notes(), item)

    def _fulfil(self, shelf: Shelf) -> None:
        wishes, shelf.wishes = shelf.wishes, set()
        self._find_places({wish.place for wish in wishes if wish.place is not None}, shelf)
        by_entry: defaultdict[str, list[Wish]] = defaultdict(list)
        for wish in wishes:
            if wish.entry_id is not None:
                by_entry[wish.entry_id].append(wish)
        for ids, tree in self._grouped(by_entry):
            found, refused = self.wanted(ids, tree)
            for entry_id in ids:
                if entry_id in found:
                    shelf.put(entry_id, tree, found[entry_id])
                else:
                    shelf.refuse(entry_id, refused.get(entry_id, _NOT_GIVEN))

    def _grouped(self, by_entry: Mapping[str, list[Wish]]) -> Iterator[tuple[list[str], Tree]]:
        """Yield entries with what to ask of them; the same positions in many entries are asked alone."""
        alone = {entry_id: _one_place(wishes) for entry_id, wishes in by_entry.items()}
        common = Counter(place for place in alone.values() if place is not None).most_common(_MOST_GROUPS)
        left = dict(by_entry)
        for place, _ in common:
            ids = sorted(entry_id for entry_id, own in alone.items() if own == place)
            wishes = [wish for entry_id in ids for wish in left.pop(entry_id)]
            yield ids, target_required(wishes, self.catalogue, exact=True)
        if left:
            every = [wish for wishes in left.values() for wish in wishes]
            yield sorted(left), target_required(every, self.catalogue, exact=False)

    def _find_places(self, places: Iterable[tuple[str, str]], shelf: Shelf) -> None:
        """Look up which entries have these mainfiles."""
        known = sorted(places)
        for start in range(0, len(known), LARGEST_PAGE // 10):
            part = known[start : start + LARGEST_PAGE // 10]
            uploads, mainfiles = ({place[i] for place in part} for i in (0, 1))
            criterion = And(
                (HasAny("upload_id", tuple(sorted(uploads))), HasAny("mainfile", tuple(sorted(mainfiles))))
            )
            found = list(self._hits(_query(criterion, self.question.release)))
            ids = {
                (document.get("upload_id"), document.get("mainfile")): str(document["entry_id"])
                for document in sorted(found, key=lambda one: one.get("mainfile_key") is None)
            }
            for place in part:
                shelf.place(*place, ids.get(place))

    def _hits(self, query: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the mainfiles of all entries that match."""
        owner = cast(Owner, "visible" if self.question.owner == "all" else self.question.owner)
        required = {"include": ["entry_id", "upload_id", "mainfile", "mainfile_key"]}
        after: str | None = None
        while True:
            paging = Pagination(LARGEST_PAGE, after)
            page = parse_entries_page(
                self.send(entries_query(query, owner=owner, pagination=paging, required=required))
            )
            found = read_documents(page.items)
            yield from found
            if len(found) < LARGEST_PAGE:
                return
            after = str(found[-1]["entry_id"])


def by_upload(documents: Iterable[Entry]) -> list[Entry]:
    """Return the entries grouped by upload: the server keeps the last upload open."""
    return sorted(documents, key=lambda one: (str(one.get("upload_id", "")), str(one["entry_id"])))


def by_entry(parts: Iterable[Part]) -> dict[str, Json]:
    """Return the JSON of the entries that the server gave an archive for."""
    items = [item for part in parts for item in part.items() if bytes(item) != b"null"]
    return {str(ids["entry_id"]): item for ids, item in zip(listed(items), items, strict=True)}


def _in_order(ids: Sequence[str], parts: Sequence[Part]) -> list[pa.Array] | None:
    """Return the columns of the entries in their order, ``None`` unless all were read from one answer."""
    import pyarrow as pa

    read = parts[0].read if len(parts) == 1 else None
    if read is None:
        return None
    places = {entry_id: place for place, entry_id in enumerate(read.ids.to_pylist())}
    order = [places.get(entry_id, -1) for entry_id in ids]
    if -1 in order or len(read.ids) != len(ids) or len(places) != len(ids):
        return None
    if order == sorted(order):
        return read.arrays
    return [one.take(pa.array(order)) for one in read.arrays]


def _without_custom(required: Required) -> Required:
    """Return what asks for ``data`` as it is stored.

    To look inside it the server needs the schemas of all the entries, and fails if it cannot load one.
    """
    if isinstance(required, dict) and isinstance(required.get("data"), dict):
        return {**required, "data": "*"}
    return required


def _cut(entry_id: str, item: Json, required: Tree) -> Part:
    """Return the answer about one entry with lists as short as they would be if ``required`` was answered."""
    cut = {"entry_id": entry_id, "archive": selected(read_archive(item), required)}
    return Part(msgspec.json.encode([cut]))


def _one_place(wishes: Sequence[Wish]) -> tuple[str, ...] | None:
    """Return the place that all the wishes of an entry mean, if it is one and a position tells it."""
    places = {indexed(wish.path) for wish in wishes}
    if len(places) != 1:
        return None
    place = next(iter(places))
    is_chosen = any(key.endswith("]") for key in place) and not any("[-" in key for key in place)
    return place if is_chosen else None


def _next_batch(size: int, n_asked: int, n_bytes: int, took_s: float) -> int:
    """Return how many archives to ask for next: at most four times as many, 6 MB and ten seconds.

    Fewer than ``size``, the last of a group, tell nothing about larger batches unless they were too much.
    """
    by_bytes = PAGE_BYTES * n_asked // max(1, n_bytes)
    by_time = max(_LEAST_BATCH, int(_BATCH_S * n_asked / max(took_s, 1e-3)))
    is_too_much = n_bytes > PAGE_BYTES or took_s > _BATCH_S
    if n_asked < size and not is_too_much:
        return size
    return max(1, min(_GROWTH * size, by_bytes, by_time, LARGEST_PAGE))


def _query(criterion: Criterion, release: str) -> dict[str, Any]:
    return body(canonical(criterion), release=release)
