"""A page of entries, as JSON → Arrow arrays of a known structure, without a Python object for each value.

By the module `_records` (``_records.c``), which is compiled when the package is installed; where it could not
be, by Arrow's own JSON reader, which takes several times as long and says the same. Both are strict: what is
not as the structure says is left to `decode`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

try:
    from nomadquery.columns import _records
except ImportError:  # there was no compiler
    _records = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import pyarrow as pa

#: Whether the compiled module could be built here.
IS_COMPILED: Final = _records is not None

_Node = tuple[int, int, bytes | None, bytes | None, bytes | None, tuple[Any, ...]]
_POWERS: Final = range(-342, 309)


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of a page.

    Attributes
    ----------
    pagination : bytes or None
        The JSON that stands at this name beside the entries.
    columns : mapping
        Top name → array, one value for each entry.
    texts : mapping
        Top name → binary array, the JSON of each entry's value as it is written, null where there is none.
    """

    pagination: bytes | None
    columns: Mapping[str, pa.Array]
    texts: Mapping[str, pa.BinaryArray]


@dataclass(frozen=True, slots=True)
class Records:
    """A reader made for the entries of one question.

    Attributes
    ----------
    fields : tuple of pyarrow.Field
        The top names: texts, 64-bit integers, doubles, booleans, lists and structs of these.
    texts : tuple of str
        Top names whose JSON is wanted as well, or only.
    is_compiled : bool
        Whether the compiled module reads.
    """

    fields: tuple[pa.Field, ...]
    texts: tuple[str, ...] = ()
    is_compiled: bool = IS_COMPILED
    _read: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make = _compiled if self.is_compiled else _by_arrow
        object.__setattr__(self, "_read", make(self.fields, self.texts))

    def read(self, body: bytes) -> Found | None:
        """Return what an answer has in its list ``data``, ``None``: something is not as the fields say."""
        found: Found | None = self._read(body)
        return found


# -- the compiled reader --------------------------------------------------------------------------------


def _compiled(fields: Sequence[pa.Field], texts: Sequence[str]) -> Any:
    import pyarrow as pa

    kinds = {one.name: one.type for one in fields}
    names = list(dict.fromkeys([*kinds, *texts]))
    programs = {name: _program(kind) for name, kind in kinds.items()}
    for name in texts:
        programs[name] = ("json", programs[name]) if name in kinds else ("json",)
    _give_powers()
    entry = ("struct", *((name, programs[name]) for name in names))
    try:
        reader = _records.Reader(("struct", ("pagination", ("json",)), ("data", ("list", entry))))
    except ValueError:  # thousands of names, or one that JSON would escape
        return _by_arrow(fields, texts)

    def read(body: bytes) -> Found | None:
        try:
            answer = reader.read(body)
        except ValueError:
            return None
        if answer[1]:  # null
            return None
        pagination, data = answer[5]
        entries = data[5][0]
        if data[1] or entries[1]:  # null in place of the list, or of an entry
            return None
        columns: dict[str, pa.Array] = {}
        found: dict[str, pa.BinaryArray] = {}
        for name, node in zip(names, entries[5], strict=True):
            if name in texts:
                found[name] = _array(pa.binary(), node)
            if name in kinds:
                columns[name] = _array(kinds[name], node[5][0] if name in texts else node)
        return Found(_array(pa.binary(), pagination)[0].as_py(), columns, found)

    return read


def _program(kind: pa.DataType) -> tuple[Any, ...]:
    import pyarrow.types as kinds

    if kinds.is_struct(kind):
        return ("struct", *((one.name, _program(one.type)) for one in kind))
    if kinds.is_list(kind):
        return ("list", _program(kind.value_type))
    return (_WORDS[str(kind)],)


_WORDS: Final = {"string": "text", "int64": "integer", "double": "number", "bool": "boolean"}


def _array(kind: pa.DataType, node: _Node) -> pa.Array:
    import pyarrow as pa
    import pyarrow.types as kinds

    n, n_null, validity, offsets, values, below = node
    parts = [validity]
    children: list[pa.Array] = []
    if kinds.is_struct(kind):
        children = [_array(one.type, child) for one, child in zip(kind, below, strict=True)]
    elif kinds.is_list(kind):
        parts.append(offsets)
        children = [_array(kind.value_type, below[0])]
    else:
        parts += [values] if offsets is None else [offsets, values]
    buffers = [None if part is None else pa.py_buffer(part) for part in parts]
    return pa.Array.from_buffers(kind, n, buffers, n_null, children=children or None)


@cache
def _give_powers() -> None:
    """Hand the upper 128 bits of the powers of five over, those below 5⁻²⁷ cut off, others rounded up."""
    table = bytearray()
    for exponent in _POWERS:
        power = 5 ** abs(exponent)
        if exponent >= 0:
            shift = power.bit_length() - 128
            upper = power >> shift if shift > 0 else power << -shift
        else:
            upper = (1 << (power.bit_length() + 127)) // power + (exponent >= -27)
        table += struct.pack("=QQ", upper >> 64, upper & (2**64 - 1))
    _records.use_powers(table)


# -- Arrow's reader -------------------------------------------------------------------------------------


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw]
    pagination: msgspec.Raw = msgspec.Raw()


def _by_arrow(fields: Sequence[pa.Field], texts: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.json as pj

    schema = pa.schema(fields)
    settings = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    raw: list[tuple[str, Any, Any]] = [(f"text_{n}", msgspec.Raw, msgspec.Raw()) for n in range(len(texts))]
    names = {f"text_{number}": name for number, name in enumerate(texts)}
    decoder = msgspec.json.Decoder(msgspec.defstruct("Texts", raw, rename=names, gc=False))

    def read(body: bytes) -> Found | None:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
            items = answer.data
            found = [decoder.decode(item) for item in items] if texts else []
        except msgspec.DecodeError:
            return None
        pagination = bytes(answer.pagination) or None
        lines = b"\n".join(items)
        if not items:
            empty = schema.empty_table().combine_chunks()
            columns = {name: _one(empty.column(name)) for name in schema.names}
            return Found(pagination, columns, {name: pa.array([], pa.binary()) for name in texts})
        if lines.count(b"\n") != len(items) - 1:
            return None
        try:
            page = pj.read_json(
                pa.BufferReader(lines),
                read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                parse_options=settings,
                memory_pool=pa.system_memory_pool(),  # gives back at once what a page needed
            ).combine_chunks()
        except (pa.ArrowException, TypeError):
            return None
        if len(page) != len(items):
            return None
        columns = {name: _one(page.column(name)) for name in schema.names}
        return Found(pagination, columns, {name: _texts(found, field) for field, name in names.items()})

    return read


def _one(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _texts(found: Iterable[Any], name: str) -> pa.BinaryArray:
    import pyarrow as pa

    return pa.array([bytes(getattr(one, name)) or None for one in found], pa.binary())
