"""Pages read as columns: what Python's own JSON reader says, or nothing."""

from __future__ import annotations

import json
import math
import struct
from typing import Any, Final

import msgspec
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nomadquery.columns.records import IS_COMPILED, Found, Records

NUMBERS: Final = pa.list_(pa.list_(pa.float64()))
ITEM: Final = pa.struct([("value", pa.float64()), ("kind", pa.string()), ("many", NUMBERS)])
FIELDS: Final = (
    pa.field("entry_id", pa.string()),
    pa.field("n", pa.int64()),
    pa.field("is", pa.bool_()),
    pa.field("words", pa.list_(pa.string())),
    pa.field("one", ITEM),
    pa.field("some", pa.list_(ITEM)),
)
READERS: Final = [
    Records(FIELDS, ("one", "other"), way) for way in ([False, True] if IS_COMPILED else [False])
]
COMPILED: Final = READERS[-1]
is_compiled: Final = pytest.mark.skipif(not IS_COMPILED, reason="the compiled reader could not be built here")

texts = st.text(max_size=6) | st.sampled_from(["é", "日本", "🜁", 'a"b\\c', "\n\t\x00", "x" * 40])
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
items = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "value": numbers,
        "kind": st.none() | texts,
        "many": st.none() | st.lists(st.none() | st.lists(numbers, max_size=3), max_size=3),
        "unknown": st.recursive(
            st.none() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
        ),
    },
)
entries = st.fixed_dictionaries(
    {"entry_id": texts},
    optional={
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "is": st.none() | st.booleans(),
        "words": st.none() | st.lists(st.none() | texts, max_size=3),
        "one": items,
        "some": st.none() | st.lists(items, max_size=3),
        "other": st.none() | numbers | texts,
    },
)


def answer(found: list[Any], **layout: Any) -> bytes:
    return json.dumps({"pagination": {"total": 3}, "data": found}, **layout).encode()


def as_rows(found: Found) -> list[dict[str, Any]]:
    for column in found.columns.values():
        column.validate(full=True)
    rows: list[dict[str, Any]] = pa.table(dict(found.columns)).to_pylist()
    return rows


def expected(value: Any, kind: pa.DataType) -> Any:
    """Return what Python reads, with names that are not asked for left out and others null."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {one.name: expected(value.get(one.name), one.type) for one in kind}
    if pa.types.is_list(kind):
        return [expected(item, kind.value_type) for item in value]
    return float(value) if kind == pa.float64() else value


def rows_by_python(body: bytes) -> list[dict[str, Any]]:
    return [
        {one.name: expected(item.get(one.name), one.type) for one in FIELDS}
        for item in json.loads(body)["data"]
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(entries, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_all_that_is_as_the_fields_say_is_read(found: list[Any], is_ascii: bool, indent: int | None) -> None:
    """Numbers to the last bit, escapes, nulls and absent names at every level, whatever the spelling."""
    body = answer(found, ensure_ascii=is_ascii, indent=indent)
    for reader in READERS:
        read = reader.read(body)
        if indent is not None and read is None:
            assert not reader.is_compiled
            continue
        assert read is not None
        assert [repr(row) for row in as_rows(read)] == [repr(row) for row in rows_by_python(body)]


@settings(max_examples=100, deadline=None)
@given(st.lists(entries, max_size=4), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_texts_are_the_bytes_of_the_answer(found: list[Any], separators: tuple[str, str]) -> None:
    """As msgspec cuts them out; what is absent is null, a null is its text."""
    body = answer(found, separators=separators)
    whole = [msgspec.json.decode(one, type=dict[str, msgspec.Raw]) for one in items_of(body)]
    for reader in READERS:
        read = reader.read(body)
        assert read is not None
        assert msgspec.json.decode(read.pagination or b"") == {"total": 3}
        for name in ("one", "other"):
            cut = [bytes(one[name]) if name in one else None for one in whole]
            assert read.texts[name].to_pylist() == cut


def items_of(body: bytes) -> list[msgspec.Raw]:
    return msgspec.json.decode(
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])["data"], type=list[msgspec.Raw]
    )


@pytest.mark.parametrize(
    "entry",
    [
        '{"n": 1.5}',
        '{"n": 1.0}',
        '{"n": 1e3}',
        '{"n": 9223372036854775808}',
        '{"n": "1"}',
        '{"n": true}',
        '{"is": 1}',
        '{"is": "true"}',
        '{"words": "O"}',
        '{"words": [["O"]]}',
        '{"words": [1]}',
        '{"one": [{}]}',
        '{"one": {"value": "1.5"}}',
        '{"one": {"value": true}}',
        '{"one": {"value": [1.5]}}',
        '{"one": {"value": NaN}}',
        '{"one": {"value": Infinity}}',
        '{"one": {"value": -Infinity}}',
        '{"one": {"value": 01}}',
        '{"one": {"value": .5}}',
        '{"one": {"value": 5.}}',
        '{"one": {"value": 1e}}',
        '{"one": {"value": +1}}',
        '{"some": {}}',
        '{"some": [1]}',
        '{"n": 1, "n": 2}',
        '{"words": ["\\ud800"]}',
        '{"words": ["\\x41"]}',
        '{"words": ["a\nb"]}',
        '{"unknown": [1,]}',
        '{"unknown": {"a" 1}}',
        '{"unknown": nul}',
        '{"unknown": "\\q"}',
        '{"unknown": 00}',
        '{"n": 1,}',
        '{"n" 1}',
        "[]",
        "null",
        "1",
    ],
)
def test_what_is_not_as_the_fields_say_is_left_to_others(entry: str) -> None:
    """Never a value that stands there otherwise, never another one's place."""
    for reader in READERS:
        body = b'{"data":[{"entry_id":"a"},%b]}' % entry.encode()
        if (read := reader.read(body)) is not None:
            assert not reader.is_compiled
            assert [repr(row) for row in as_rows(read)] == [repr(row) for row in rows_by_python(body)]


@is_compiled
@settings(max_examples=150, deadline=None)
@given(st.lists(entries, min_size=1, max_size=2), st.data())
def test_damaged_answers_are_not_read_as_something_else(found: list[Any], data: st.DataObject) -> None:
    """Cut off anywhere: nothing. A byte changed: nothing, or what Python reads."""
    body = bytearray(answer(found, ensure_ascii=False))
    place = data.draw(st.integers(0, len(body) - 1))
    assert COMPILED.read(bytes(body[:place])) is None
    body[place] = data.draw(st.integers(0, 255))
    if (read := COMPILED.read(bytes(body))) is not None:
        assert [repr(row) for row in as_rows(read)] == [repr(row) for row in rows_by_python(bytes(body))]


def read_numbers(spelled: list[str]) -> list[float]:
    reader = Records((pa.field("all", pa.list_(pa.float64())),))
    read = reader.read(b'{"data":[{"all":[%b]}]}' % ",".join(spelled).encode())
    assert read is not None
    numbers: list[float] = read.columns["all"][0].as_py()
    return numbers


def is_same_number(one: float, other: float) -> bool:
    return struct.pack("d", one) == struct.pack("d", other)


decimals = st.builds(
    lambda sign, whole, fraction, power: f"{sign}{whole}{fraction}{power}",
    st.sampled_from(["", "-"]),
    st.integers(0, 10**25).map(str),
    st.just("") | st.text("0123456789", min_size=1, max_size=25).map(lambda digits: f".{digits}"),
    st.just("") | st.integers(-330, 280).map(lambda power: f"e{power}"),
)
#: Of a double: its bits.
doubles = (
    st.integers(0, 2**64 - 1)
    .map(lambda bits: struct.unpack("d", struct.pack("Q", bits))[0])
    .filter(math.isfinite)
)
#: In the middle between two doubles.
middles = st.builds(
    lambda upper, power: str((2 * upper + 1) << power), st.integers(2**52, 2**53 - 1), st.integers(0, 40)
)


@is_compiled
@settings(max_examples=300, deadline=None)
@given(st.lists(decimals | doubles.map(repr) | middles, min_size=1, max_size=20))
@example(
    ["-0", "0", "-0.0", "0e999", "1e-400", "5e-324", "2.2250738585072011e-308", "1.7976931348623157e308"]
)
@example(["9007199254740993", "9007199254740992.999999999999999999", "0." + "0" * 300 + "1", "1" + "0" * 300])
def test_numbers_are_the_nearest_doubles(spelled: list[str]) -> None:
    """As Python rounds them, to the last bit."""
    kept = [one for one in spelled if math.isfinite(float(one))]
    assert all(map(is_same_number, read_numbers(kept), map(float, kept))) if kept else True


@is_compiled
@pytest.mark.parametrize("spelled", ["1e309", "-1e400", "1" + "0" * 400, f"0.{'0' * 100_005}1e1000050"])
def test_a_number_beyond_all_doubles_is_left_to_others(spelled: str) -> None:
    """Infinity stands nowhere."""
    reader = Records((pa.field("n", pa.float64()),))
    assert reader.read(b'{"data":[{"n":%b}]}' % spelled.encode()) is None


def test_an_exponent_counts_with_all_its_digits() -> None:
    """Also where as many digits stand in front of it."""
    assert read_numbers([f"1{'0' * 100_010}e-1000100", f"0.{'0' * 100_010}1e100012"]) == [0.0, 10.0]


def test_a_table_of_thousands_of_columns_is_read() -> None:
    """By Arrow, where the compiled reader knows no more."""
    names = [f"n{number}" for number in range(4_200)]
    for way in {False, IS_COMPILED}:
        reader = Records(tuple(pa.field(name, pa.int64()) for name in names), ("n7",), way)
        read = reader.read(b'{"data":[{"n7":1,"n4199":2}]}')
        assert read is not None
        assert [read.columns[name].to_pylist() for name in ("n7", "n8", "n4199")] == [[1], [None], [2]]


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"data":null}', b'{"data":{}}', b'{"data":[]} x', b"<html>"]
)
def test_an_answer_without_a_list_of_entries_is_left_to_others(body: bytes) -> None:
    """Another message than a page."""
    assert [reader.read(body) for reader in READERS] == [None] * len(READERS)


def test_a_page_without_entries_has_empty_columns() -> None:
    """Not the same as no page."""
    for reader in READERS:
        read = reader.read(b'{"data":[]}')
        assert read is not None
        assert as_rows(read) == []
        assert read.pagination is None


@is_compiled
def test_names_in_any_order_and_with_escapes_are_found_or_left_to_others() -> None:
    """``\\u006e`` is an ``n``: whoever does not know must not say that there is none."""
    body = b'{"data":[{"n":1,"entry_id":"a"},{"entry_id":"b","x":{},"n":2},{"is":true,"n":3}]}'
    read = COMPILED.read(body)
    assert read is not None
    assert read.columns["n"].to_pylist() == [1, 2, 3]
    assert COMPILED.read(b'{"data":[{"\\u006e":1}]}') is None
