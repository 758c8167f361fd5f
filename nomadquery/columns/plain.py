"""Columns of plain paths, read from the JSON of a whole page by Arrow's own reader.

Most tables have nothing but such columns: names and positions that lead, through sections, to a value of
the search index or of an archive, with or without a rule. Arrow builds no Python objects on the way: numbers
of arrays are never boxed, and the garbage collector has nothing to look at. It is strict where JSON is: a
page with anything that is not as the schema says (a list where one value belongs, NaN, a number beyond 64
bits) is left to `decode`, whose meaning this is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nomadquery.columns.arrays import array_of, arrow_schema, dates_of, nested_lists, scaled
from nomadquery.columns.compiled import Json, Layout, archive_form, search_form
from nomadquery.columns.planned import Per, PlannedColumn, Source
from nomadquery.columns.required import archive_required
from nomadquery.columns.settle import nested
from nomadquery.columns.sweep import Reached, is_swept, summarised
from nomadquery.query.catalogue import Catalogue, Kind
from nomadquery.query.path import Index, Name

if TYPE_CHECKING:
    import pyarrow as pa

_Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plain:
    """A reader made for the columns of one table, those of the search index or those of archives.

    Attributes
    ----------
    columns : tuple of PlannedColumn
    tree : dict
        Name → what stands there: another tree, or (kind, array dimensions) of a value.
    repeats : frozenset of str
        Dotted names of the sections that are lists.
    root : tuple of str
        Where the paths of the columns begin in what the server answers.
    """

    columns: tuple[PlannedColumn, ...]
    tree: _Tree
    repeats: frozenset[str]
    root: tuple[str, ...] = ()

    def rows(self, items: Sequence[Json]) -> pa.RecordBatch | None:
        """Return one row for each entry, ``None`` where something is not as the schema says."""
        import pyarrow as pa

        schema = arrow_schema(self.columns)
        if not items:
            return pa.RecordBatch.from_pylist([], schema)
        read = self.arrays(items)
        return None if read is None else pa.record_batch(read, schema=schema)

    def arrays(self, items: Sequence[Json]) -> list[pa.Array] | None:
        """Return the entry ids, and the values of each column; see `rows`."""
        import pyarrow as pa
        import pyarrow.json as pj

        lines = b"\n".join(items)
        if lines.count(b"\n") != len(items) - 1:
            return None
        try:
            page = pj.read_json(
                pa.BufferReader(lines),
                read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                parse_options=pj.ParseOptions(
                    explicit_schema=self._schema(), unexpected_field_behavior="ignore"
                ),
                memory_pool=pa.system_memory_pool(),  # gives back at once what a page needed
            ).combine_chunks()
            arrays = [self._array(page, column) for column in self.columns]
        except (pa.ArrowException, TypeError):
            return None
        ids = page.column("entry_id")
        if any(array is None for array in arrays) or ids.null_count or len(ids) != len(items):
            return None
        return [_one(ids), *arrays]

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        fields = _fields(self.tree, "", self.repeats)
        for name in reversed(self.root):
            fields = [pa.field(name, pa.struct(fields))]
        return pa.schema([*fields, pa.field("entry_id", pa.string())]) if self.root else pa.schema(fields)

    def _array(self, page: pa.Table, column: PlannedColumn) -> pa.Array | None:
        """Return a column; lists on the way keep their bounds, what stands in them is taken out flat."""
        import pyarrow.compute as pc
        import pyarrow.types as kinds  # `types` is Python's

        steps = (*map(Name, self.root), *column.path.steps)
        lists: list[pa.ListArray] = []
        values: pa.Array = None
        for step in steps:
            match step:
                case Name(name) if values is None:
                    values = _one(page.column(name))
                case Name(name):
                    if kinds.is_list(values.type):
                        lists.append(values)
                        values = values.flatten()
                    values = pc.struct_field(values, name)
                case Index(position):
                    values = _items_at(values, position)
                case _:
                    return None
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
) -> Plain | None:
    """Return the reader of the columns that come from ``source``, ``None`` where one is not plain."""
    if per is not None:
        return None
    wanted = [column for column in columns if column.source == source]
    if source == "search":
        layout, tree = search_form(wanted, catalogue).layout, {"entry_id": ("text", 0)}
    else:
        layout, tree = archive_form(archive_required(wanted, catalogue), catalogue).layout, {}
    repeats: set[str] = set()
    for column in wanted:
        known = catalogue.find(column.quantity)
        is_plain = all(isinstance(step, Name | Index) for step in column.path.steps)
        is_known = known is not None and known.target is None and column.schema is None
        if not (is_plain and is_known and known is not None and known.kind in _KINDS):
            return None
        if not (is_swept(column, layout) and _enter(tree, column.names, (known.kind, len(known.shape)))):
            return None
        repeats.update(_repeating(column.names, layout))
    return Plain(tuple(wanted), tree, frozenset(repeats), () if source == "search" else ("archive",))


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
        "date": pa.string(),
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


def _one(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _ends(lists: pa.ListArray) -> Any:
    """Return where each list ends in what `flatten` gives, as a NumPy array that begins with 0."""
    import numpy as np

    lengths = lists.value_lengths()
    counts = (lengths.fill_null(0) if lengths.null_count else lengths).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _taken(values: pa.Array, places: Any, are_there: Any) -> pa.Array:
    import pyarrow as pa

    return values.take(pa.array(places, pa.int64(), mask=~are_there))


def _items_at(lists: pa.ListArray, position: int) -> pa.Array:
    """Return the item of each list at a position, null where there is none."""
    ends = _ends(lists)
    places = (ends[:-1] if position >= 0 else ends[1:]) + position
    return _taken(lists.flatten(), places, (places >= ends[:-1]) & (places < ends[1:]))


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
    return _taken(values, places, are_there)


def _listed_as(items: pa.Array, lists: pa.ListArray) -> pa.Array:
    """Return the items in lists of the same lengths."""
    import pyarrow as pa

    if lists.null_count:  # behind a null there may be items that `flatten` has left out
        return nested_lists(items, lists.value_lengths().to_pylist())
    return pa.ListArray.from_arrays(lists.offsets, items, type=nested(items.type, 1))
