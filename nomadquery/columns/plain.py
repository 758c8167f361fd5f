"""Columns of plain paths, read from the JSON of a whole page by `records`.

Most tables have nothing but such columns: names and positions that lead, through sections, to a value of
the search index or of an archive, with or without a rule. No Python objects are built on the way: numbers
of arrays are never boxed, and the garbage collector has nothing to look at. A page with anything that is not
as the schema says (a list where one value belongs, NaN, a number beyond 64 bits) is left to `decode`, whose
meaning this is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nomadquery.columns.arrays import array_of, dates_of, scaled
from nomadquery.columns.compiled import Layout, archive_form, search_form
from nomadquery.columns.planned import Per, PlannedColumn, Source
from nomadquery.columns.records import Records
from nomadquery.columns.required import archive_required
from nomadquery.columns.settle import nested
from nomadquery.columns.sweep import Reached, is_swept, summarised
from nomadquery.query.catalogue import Catalogue, Kind
from nomadquery.query.path import Index, Name

if TYPE_CHECKING:
    import pyarrow as pa

_Tree = dict[str, Any]


#: Read of each entry of the index beside the columns: the id, and the times that pin it.
_TIMES: Final = ("last_processing_time", "last_edit_time")
_IDENTIFYING: Final = ("entry_id", *_TIMES)


@dataclass(frozen=True, slots=True)
class Read:
    """What a page holds, one value for each of its entries in every array.

    Attributes
    ----------
    ids : pyarrow.StringArray
    arrays : list of pyarrow.Array
        The values of each column.
    processed, edited : pyarrow.StringArray or None
        When NOMAD processed the entry last, and when its metadata were edited; not of archives.
    texts : mapping
        The JSON of what was asked for as it is written, see `records.Found`.
    pagination : bytes or None
        The JSON of the page's place in the result.
    """

    ids: pa.StringArray
    arrays: list[pa.Array]
    processed: pa.StringArray | None
    edited: pa.StringArray | None
    texts: Mapping[str, pa.BinaryArray]
    pagination: bytes | None

    def first(self, n: int) -> Read:
        """Return what the first ``n`` entries hold."""
        texts = {name: values.slice(0, n) for name, values in self.texts.items()}
        return Read(
            self.ids.slice(0, n),
            [one.slice(0, n) for one in self.arrays],
            None if self.processed is None else self.processed.slice(0, n),
            None if self.edited is None else self.edited.slice(0, n),
            texts,
            self.pagination,
        )


@dataclass(frozen=True, slots=True)
class Plain:
    """A reader made for the columns of one table, those of the search index or those of archives.

    Attributes
    ----------
    columns : tuple of PlannedColumn
    root : tuple of str
        Where the paths of the columns begin in what the server answers.
    records : Records
        What reads the JSON.
    """

    columns: tuple[PlannedColumn, ...]
    root: tuple[str, ...]
    records: Records

    def read(self, body: bytes) -> Read | None:
        """Return what the entries of an answer hold, ``None``: something is not as the schema says."""
        import pyarrow as pa

        found = self.records.read(body)
        if found is None or found.columns["entry_id"].null_count:
            return None
        try:
            arrays = [self._array(found.columns, column) for column in self.columns]
        except (pa.ArrowException, TypeError):
            return None
        if any(array is None for array in arrays):
            return None
        processed, edited = (found.columns.get(name) for name in _TIMES)
        return Read(found.columns["entry_id"], arrays, processed, edited, found.texts, found.pagination)

    def _array(self, page: Mapping[str, pa.Array], column: PlannedColumn) -> pa.Array | None:
        """Return a column; lists on the way keep their bounds, what stands in them is taken out flat."""
        import pyarrow.compute as pc
        import pyarrow.types as kinds  # `types` is Python's

        top, *names = (*self.root, column.names[0])
        lists: list[pa.ListArray] = []
        values, chosen = page[top], None
        for step in (*map(Name, names), *column.path.steps[1:]):
            match step:
                case Name(name):
                    if kinds.is_list(values.type):
                        lists.append(_taken(values, chosen))
                        values, chosen = lists[-1].flatten(), None
                    values = pc.struct_field(values, name)
                case Index(position):  # what is chosen is taken out at the end, when less hangs on it
                    chosen = _items_at(values, position, chosen)
                    values = values.flatten()
                case _:
                    return None
        values = _taken(values, chosen)
        if column.rule in {"first", "last"}:
            values, lists = _chosen(values, lists, is_last=column.rule == "last"), []
        elif column.rule is not None:
            return self._summary(values, lists, column)
        inner = []
        while kinds.is_list(values.type):
            inner.append(values)
            values = values.flatten()
        made = dates_of(values) if column.kind == "date" else scaled(values, column)
        for one in reversed([*lists, *inner]):
            made = _listed_as(made, one)
        return made

    def _summary(
        self, values: pa.Array, lists: Sequence[pa.ListArray], column: PlannedColumn
    ) -> pa.Array | None:
        """Return what the column's rule makes of the values; see `sweep.summarised`."""
        levels = tuple(one.value_lengths().to_pylist() for one in lists)
        reached = summarised(Reached(values.to_pylist(), levels, None), column)
        n_rows = len(reached.levels[0]) if reached.levels else len(reached.values)
        problems: list[Any] = []
        array = array_of(reached.values, [""] * n_rows, column, problems, reached.levels)
        return None if problems else array


def compiled_plain(
    columns: Sequence[PlannedColumn],
    catalogue: Catalogue,
    per: Per | None = None,
    *,
    source: Source = "search",
    texts: Sequence[str] = (),
) -> Plain | None:
    """Return the reader of the columns that come from ``source``, ``None`` where one is not plain.

    ``texts``: top names whose JSON is wanted as it is written.
    """
    import pyarrow as pa

    if per is not None:
        return None
    wanted = [column for column in columns if column.source == source]
    if source == "search":
        layout, tree = search_form(wanted, catalogue).layout, dict.fromkeys(_IDENTIFYING, ("text", 0))
    else:
        layout, tree = archive_form(archive_required(wanted, catalogue), catalogue).layout, {}
    repeats: set[str] = set()
    for column in wanted:
        known = catalogue.find(column.quantity)
        is_plain = all(isinstance(step, Name | Index) for step in column.path.steps)
        is_known = known is not None and known.target is None and column.schema is None
        if not (is_plain and is_known and known is not None and known.kind in _KINDS):
            return None
        leaf: tuple[Kind, int] = ("text" if known.kind == "date" else known.kind, len(known.shape))
        if not (is_swept(column, layout) and _enter(tree, column.names, leaf)):
            return None
        repeats.update(_repeating(column.names, layout))
    fields = _fields(tree, "", frozenset(repeats))
    if source == "archive":
        fields = [pa.field("entry_id", pa.string()), pa.field("archive", pa.struct(fields))]
    root = () if source == "search" else ("archive",)
    return Plain(tuple(wanted), root, Records(tuple(fields), tuple(texts)))


_KINDS = frozenset({"text", "integer", "number", "boolean", "date"})


def _enter(tree: _Tree, names: Sequence[str], leaf: tuple[Kind, int]) -> bool:
    """Add a path to the tree; return whether it fits what is there."""
    for name in names[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            return False
    return bool(tree.setdefault(names[-1], leaf) == leaf)


def _repeating(names: Sequence[str], layout: Layout) -> set[str]:
    found: set[str] = set()
    here: Layout | None = layout
    for depth, name in enumerate(names, start=1):
        place = None if here is None else here.places.get(name)
        if place is not None and place.repeats:
            found.add(".".join(names[:depth]))
        here = None if place is None else place.below
    return found


def _fields(tree: Mapping[str, Any], section: str, repeats: frozenset[str]) -> list[pa.Field]:
    import pyarrow as pa

    leaves = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
    }
    fields = []
    for name, below in tree.items():
        place = f"{section}.{name}".lstrip(".")
        if isinstance(below, dict):
            kind = pa.struct(_fields(below, place, repeats))
            fields.append(pa.field(name, pa.list_(kind) if place in repeats else kind))
        else:
            fields.append(pa.field(name, nested(leaves[below[0]], below[1])))
    return fields


def _ends(lists: pa.ListArray) -> Any:
    """Return where each list ends in what `flatten` gives, as a NumPy array that begins with 0."""
    import numpy as np

    lengths = lists.value_lengths()
    counts = (lengths.fill_null(0) if lengths.null_count else lengths).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


@dataclass(frozen=True, slots=True)
class _Places:
    """Where chosen values stand in an array, and which of them are there at all: two NumPy arrays."""

    places: Any
    are_there: Any


def _taken(values: pa.Array, chosen: _Places | None) -> pa.Array:
    """Return the chosen values, null where one is not there; all of them as they are without a copy."""
    import numpy as np
    import pyarrow as pa

    if chosen is None:
        return values
    places, are_there = chosen.places, chosen.are_there
    if len(places) == len(values) and are_there.all() and np.array_equal(places, np.arange(len(values))):
        return values
    return values.take(pa.array(places, pa.int64(), mask=~are_there))


def _items_at(lists: pa.ListArray, position: int, chosen: _Places | None) -> _Places:
    """Return where in the items of all lists the one at a position of each (chosen) list stands."""
    import numpy as np

    ends = _ends(lists)
    starts, stops = ends[:-1], ends[1:]
    if chosen is not None:
        known = np.where(chosen.are_there, chosen.places, 0)
        starts, stops = ends[known], np.append(ends, ends[-1])[known + chosen.are_there]
    places = (starts if position >= 0 else stops) + position
    return _Places(places, (places >= starts) & (places < stops))


def _chosen(values: pa.Array, lists: Sequence[pa.ListArray], *, is_last: bool) -> pa.Array:
    """Return for each row the first or the last of its values that is one."""
    import numpy as np

    if not lists:
        return values
    bounds = np.arange(len(lists[0]) + 1)
    for one in lists:
        bounds = _ends(one)[bounds]
    known = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    starts, stops = np.searchsorted(known, bounds[:-1]), np.searchsorted(known, bounds[1:])
    are_there = starts < stops
    chosen = np.where(are_there, stops - 1 if is_last else starts, 0)
    places = known[chosen] if len(known) else np.zeros(len(chosen), dtype=np.int64)
    return _taken(values, _Places(places, are_there))


def _listed_as(items: pa.Array, lists: pa.ListArray) -> pa.Array:
    """Return the items in lists of the same lengths."""
    import pyarrow as pa

    if lists.null_count:  # behind a null there may be items that `flatten` has left out
        ends = pa.array(_ends(lists), pa.int32())
        return pa.ListArray.from_arrays(ends, items, type=nested(items.type, 1), mask=lists.is_null())
    return pa.ListArray.from_arrays(lists.offsets, items, type=nested(items.type, 1))
