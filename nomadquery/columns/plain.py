"""Columns of plain paths, read from the JSON of a whole page by Arrow's own reader.

Most tables have nothing but such columns: names that lead, through sections, to a value in the search
index, with or without a rule. Arrow builds no Python objects on the way and needs no interpreter, so that
pages are read side by side. It is strict where JSON is: a page with anything that is not as the schema
says (a list where one value belongs, NaN, a number beyond 64 bits) is left to
`decode`, whose meaning this is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nomadquery.columns.arrays import array_of, arrow_schema, dates_of, nested_lists, scaled
from nomadquery.columns.compiled import Json, Layout, search_form
from nomadquery.columns.planned import Per, PlannedColumn
from nomadquery.columns.settle import nested
from nomadquery.columns.sweep import Reached, is_swept, summarised
from nomadquery.query.catalogue import Catalogue, Kind
from nomadquery.query.path import Name

if TYPE_CHECKING:
    import pyarrow as pa

_Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plain:
    """A reader made for the columns of one table.

    Attributes
    ----------
    columns : tuple of PlannedColumn
    tree : dict
        Name → what stands there: another tree, or (kind, array dimensions) of a value.
    repeats : frozenset of str
        Dotted names of the sections that are lists.
    """

    columns: tuple[PlannedColumn, ...]
    tree: _Tree
    repeats: frozenset[str]

    def rows(self, items: Sequence[Json]) -> pa.RecordBatch | None:
        """Return one row for each entry, ``None`` where something is not as the schema says."""
        import pyarrow as pa
        import pyarrow.json as pj

        if not items:
            return pa.RecordBatch.from_pylist([], arrow_schema(self.columns))
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
            ).combine_chunks()
            arrays = [self._array(page, column) for column in self.columns]
        except (pa.ArrowException, TypeError):
            return None
        ids = page.column("entry_id")
        if None in arrays or ids.null_count or len(ids) != len(items):
            return None
        return pa.record_batch([_one(ids), *arrays], schema=arrow_schema(self.columns))

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(_fields(self.tree, "", self.repeats))

    def _array(self, page: pa.Table, column: PlannedColumn) -> pa.Array | None:
        """Return a column; lists on the way keep their bounds, what stands in them is taken out flat."""
        import pyarrow.compute as pc
        import pyarrow.types as kinds  # `types` is Python's

        names = column.names
        values = _one(page.column(names[0]))
        lists: list[pa.ListArray] = []
        for name in (*names[1:], None):
            if kinds.is_list(values.type) and kinds.is_struct(values.type.value_type):
                lists.append(values)
                values = values.flatten()
            if name is not None:
                values = pc.struct_field(values, name)
        if column.rule is not None:
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
    columns: Sequence[PlannedColumn], catalogue: Catalogue, per: Per | None = None
) -> Plain | None:
    """Return the reader of these columns, ``None`` where one of them is not plain."""
    if per is not None:
        return None
    layout = search_form(columns, catalogue).layout
    tree: _Tree = {"entry_id": ("text", 0)}
    repeats: set[str] = set()
    for column in columns:
        known = catalogue.find(column.quantity)
        is_plain = all(isinstance(step, Name) for step in column.path.steps)
        is_in_index = column.source == "search" and known is not None and column.schema is None
        if not (is_plain and is_in_index and known is not None and known.kind in _KINDS):
            return None
        if not (is_swept(column, layout) and _enter(tree, column.names, (known.kind, len(known.shape)))):
            return None
        repeats.update(_repeating(column.names, layout))
    return Plain(tuple(columns), tree, frozenset(repeats))


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


def _listed_as(items: pa.Array, lists: pa.ListArray) -> pa.Array:
    """Return the items in lists of the same lengths."""
    import pyarrow as pa

    if lists.null_count:  # behind a null there may be items that `flatten` has left out
        return nested_lists(items, lists.value_lengths().to_pylist())
    return pa.ListArray.from_arrays(lists.offsets, items, type=nested(items.type, 1))
