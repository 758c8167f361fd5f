"""Entries as JSON → Arrow rows: one for each entry, or for each item of a section.

Some hundred entries are decoded at a time, so that the objects of these are in memory, not those
of the page. What `sweep` can read is read for all of them at once, the rest by `extract`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from nomadquery.columns.arrays import Problem, array_of, arrow_schema, nested_values
from nomadquery.columns.compiled import (
    Entry,
    Form,
    Json,
    Layout,
    Listed,
    Opened,
    Section,
    read_document,
    search_form,
)
from nomadquery.columns.extract import Declares, Document, Item, Notes, items_of, reader, section_levels
from nomadquery.columns.planned import Per, PlannedColumn, Source
from nomadquery.columns.references import Home, Shelf
from nomadquery.columns.settle import cell
from nomadquery.columns.sweep import Sweep, is_swept, summarised
from nomadquery.query.catalogue import Catalogue

if TYPE_CHECKING:
    import pyarrow as pa

_SLICE: Final = 500
#: Objects take several times the size of their JSON, and cost less while they fit into the cache.
_SLICE_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Archives:
    """What archive columns are read from.

    Attributes
    ----------
    contents : mapping
        The archives (or parts of them) by entry id; each is looked at once.
    shelf : Shelf
        These and other archives, for references.
    declares : callable or None
        Tells the units that custom schemas declare.
    layout : Layout or None
        Of those contents that were compiled.
    """

    contents: Mapping[str, Mapping[str, Any]]
    shelf: Shelf
    declares: Declares | None = None
    layout: Layout | None = None


def shelved(contents: Mapping[str, Mapping[str, Any]], declares: Declares | None = None) -> Archives:
    """Return whole archives as what columns are read from."""
    shelf = Shelf()
    for entry_id, archive in contents.items():
        shelf.put(entry_id, "*", archive)
    return Archives(contents, shelf, declares)


def read_documents(items: Iterable[Json]) -> list[Mapping[str, Any]]:
    """Return the entries as dictionaries with all they have, in their order.

    Raises
    ------
    ResponseFormatError
        If one is not a JSON object with an ``entry_id``.
    """
    return [read_document(item) for item in items]


def decode(
    documents: Sequence[Entry],
    columns: Sequence[PlannedColumn],
    catalogue: Catalogue,
    *,
    archives: Archives | None = None,
    per: Per | None = None,
) -> tuple[pa.RecordBatch, list[Problem]]:
    """Return the rows of search documents, in their order, and what some of them lack.

    One row for each entry; with ``per`` one for each item of that section, columns from elsewhere
    repeated. An entry whose archive is not there has nulls in archive columns. `Listed` entries are
    decoded here, by what is compiled from the columns; other documents are read as they are.
    """
    import pyarrow as pa

    at_hand = archives or Archives({}, Shelf())
    form = search_form(columns, catalogue, per)
    layouts: dict[Source, Layout | None] = {"search": form.layout, "archive": at_hand.layout}
    schema = arrow_schema(columns, per)
    problems: list[Problem] = []

    def rows_of(some: Sequence[Entry]) -> pa.RecordBatch:
        entries = [_entry_of(document, form, at_hand.contents) for document in some]
        part = _Slice(entries, at_hand, catalogue, per, layouts)
        return pa.record_batch(part.arrays(columns, problems), schema=schema)

    parts = [rows_of(some) for some in _slices(documents, at_hand.contents)]
    rows = pa.Table.from_batches(parts, schema).combine_chunks().to_batches()
    return rows[0] if rows else pa.RecordBatch.from_pylist([], schema), problems


#: What is read of an entry that has no archive, or whose archive is not there.
_NONE: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry: its search document and its archive."""

    entry_id: str
    upload_id: str
    search: Mapping[str, Any]
    archive: Mapping[str, Any]

    def content(self, source: Source) -> Mapping[str, Any]:
        return self.search if source == "search" else self.archive


@dataclass(slots=True)
class _Reading:
    """What is read of a column: of which entries, of which of their items (``None``: of the entry itself).

    ``repeats`` says for each row which value it has; ``None``: they are the rows.
    """

    places: Sequence[tuple[_Entry, Item | None]]
    repeats: Sequence[int] | None = None
    _ids: list[str] = field(init=False)
    _swept: dict[Source, tuple[Sweep, list[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ids = [entry.entry_id for entry, _ in self.places]

    @property
    def entry_ids(self) -> list[str]:
        """The entries of the values."""
        return self._ids

    def swept(self, source: Source, layout: Layout) -> tuple[Sweep, list[int]]:
        """Return the sections, and the numbers of the entries that are dictionaries."""
        if source not in self._swept:
            contents = [entry.content(source) for entry, _ in self.places]
            starts = (
                content if item is None else item.value
                for content, (_, item) in zip(contents, self.places, strict=True)
            )
            roots = [start if isinstance(start, Section) else None for start in starts]
            apart = [number for number, content in enumerate(contents) if _is_apart(content)]
            self._swept[source] = Sweep(roots, layout), apart
        return self._swept[source]


@dataclass(frozen=True, slots=True)
class _Slice:
    """Some entries, and what has been walked of them."""

    entries: Sequence[_Entry]
    archives: Archives
    catalogue: Catalogue
    per: Per | None
    layouts: Mapping[Source, Layout | None]

    def arrays(self, columns: Sequence[PlannedColumn], problems: list[Problem]) -> list[pa.Array]:
        """Return the columns of the table: entry ids, positions of rows, values."""
        import pyarrow as pa

        whole, by_item = self._readings()
        rows = whole if self.per is None else by_item
        arrays = [pa.array(rows.entry_ids, pa.string())]
        for level in range(0 if self.per is None else len(self.per.repeats)):
            arrays.append(pa.array([item.positions[level] for _, item in rows.places if item], pa.int64()))
        for column in columns:
            reading = whole if column.per is None else by_item
            array = self._array(column, reading, problems)
            arrays.append(
                array if reading.repeats is None else array.take(pa.array(reading.repeats, pa.int64()))
            )
        return arrays

    def _readings(self) -> tuple[_Reading, _Reading]:
        """Return what is read of columns from anywhere, and of columns of the items that make the rows."""
        if self.per is None:
            return _Reading([(entry, None) for entry in self.entries]), _Reading(())
        per = self.per
        items = [items_of(entry.content(per.source), per.section, per.repeats) for entry in self.entries]
        with_rows = [(entry, rows) for entry, rows in zip(self.entries, items, strict=True) if rows]
        numbers = [number for number, (_, rows) in enumerate(with_rows) for _ in rows]
        return (
            _Reading([(entry, None) for entry, _ in with_rows], numbers),
            _Reading([(entry, item) for entry, rows in with_rows for item in rows]),
        )

    def _array(self, column: PlannedColumn, reading: _Reading, problems: list[Problem]) -> pa.Array:
        layout, ids = self._layout(column), reading.entry_ids
        if layout is None or not is_swept(column, layout):
            return array_of(self._exact(column, reading.places, problems), ids, column, problems)
        sweep, apart = reading.swept(column.source, layout)
        if len(apart) == len(ids):
            return array_of(self._exact(column, reading.places, problems), ids, column, problems)
        reached = summarised(sweep.reach(column.path.steps[column.n_outer :]), column)
        if not apart:
            return array_of(reached.values, ids, column, problems, reached.levels)
        values = nested_values(reached.values, reached.levels)
        exact = self._exact(column, [reading.places[number] for number in apart], problems)
        for number, value in zip(apart, exact, strict=True):
            values[number] = value
        return array_of(values, ids, column, problems)

    def _layout(self, column: PlannedColumn) -> Layout | None:
        """Return the sections that the column starts from: the rows' own items, or those at the root."""
        layout = self.layouts[column.source]
        return layout if layout is None or column.per is None else layout.at(column.per.split("."))

    def _exact(
        self, column: PlannedColumn, places: Sequence[tuple[_Entry, Item | None]], problems: list[Problem]
    ) -> list[Any]:
        """Return what `extract` reads; cells with their unit where the type is not known yet."""
        read = reader(column, self.catalogue)
        values: list[Any] = []
        for entry, several in groupby(places, key=itemgetter(0)):
            if column.schema is not None and not _is_of_class(entry.search, column.schema):
                values += [None for _ in several]
                continue
            home = Home(entry.entry_id, entry.upload_id)
            document = Document(
                entry.content(column.source), home, self.archives.shelf, self.archives.declares
            )
            notes = Notes()
            for _, item in several:
                value = read(document, notes, item)
                if column.kind == "other":
                    value = cell(value, _unit(column, notes), section_levels(value))
                values.append(value)
            problems += [Problem(entry.entry_id, column.quantity, line) for line in _counted(notes.lines)]
        return values


def _entry_of(document: Entry, form: Form, archives: Mapping[str, Mapping[str, Any]]) -> _Entry:
    entry_id, upload_id = document["entry_id"], str(document.get("upload_id", ""))
    search = form.read(document.item) if isinstance(document, Listed) else document
    return _Entry(entry_id, upload_id, search, archives.get(entry_id, _NONE))


def _is_apart(content: Mapping[str, Any]) -> bool:
    """Return whether an entry has something that is no `Section`."""
    return not isinstance(content, Section) and bool(content)


def _slices(
    documents: Sequence[Entry], contents: Mapping[str, Mapping[str, Any]]
) -> Iterator[Sequence[Entry]]:
    """Yield the documents in parts, each of not too many and not too large ones."""
    start = n_bytes = 0
    for place, one in enumerate(documents, start=1):
        if isinstance(one, Listed):
            n_bytes += memoryview(one.item).nbytes
            n_bytes += contents.n_bytes(one.entry_id) if isinstance(contents, Opened) else 0
        if place - start == _SLICE or n_bytes >= _SLICE_BYTES or place == len(documents):
            yield documents[start:place]
            start, n_bytes = place, 0


def _counted(lines: Sequence[str]) -> list[str]:
    return [line if times == 1 else f"{line} ({times} times)" for line, times in Counter(lines).items()]


def _is_of_class(document: Mapping[str, Any], schema: str) -> bool:
    """Return whether the entry's ``data`` is of the class ``schema``, or of one derived from it."""
    schema = schema.partition("#")[0]
    for found in document.get("search_quantities") or ():
        first = (found.get("segments") or {}).get("1") or {}
        if str(found.get("id")).partition("#")[2] == schema or schema in first.get("definitions", ()):
            return True
    return False


def _unit(column: PlannedColumn, notes: Notes) -> str | None:
    """Return the unit of what was read; numbers of items and lengths have none."""
    return None if column.rule in {"count", "size"} else column.stored_unit or notes.unit
