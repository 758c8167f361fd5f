"""Rows that arrived in any order become one table in the order of the entry ids, a part at a time."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nomadquery.store import merging
from nomadquery.store.merging import Piece, in_order, is_ascending, regrouped
from tests.strategies import overlapping_pieces

Rows = Sequence[tuple[str, int]]
SCHEMA = pa.schema([("entry_id", pa.string()), ("number", pa.int64())])
TOO_MANY = 16  # bytes: any two rows


def a_table(rows: Rows) -> pa.Table:
    return pa.table([[one for one, _ in rows], [number for _, number in rows]], schema=SCHEMA)


def a_piece(rows: Rows) -> Piece:
    return Piece(min(rows)[0], max(rows)[0], lambda: a_table(rows))


def rows_of(tables: Iterator[pa.Table]) -> list[tuple[str, int]]:
    return [(row["entry_id"], row["number"]) for table in tables for row in table.to_pylist()]


@given(overlapping_pieces(), st.booleans())
@example([[("b", 0), ("a", 0)], [("c", 0)], [("aa", 0), ("d", 0)]], True)
def test_pieces_in_order_are_what_sorting_all_rows_gives(
    pieces: list[list[tuple[str, int]]], is_much: bool
) -> None:
    """However they overlap, also where too much waits; the rows of one entry stay in their order."""
    with pytest.MonkeyPatch.context() as patched:
        if is_much:
            patched.setattr(merging, "_MOST_WAITING", TOO_MANY)
        merged = rows_of(in_order(map(a_piece, pieces)))
    assert merged == sorted((row for piece in pieces for row in piece), key=lambda row: row[0])


def test_many_rows_of_one_entry_stay_in_their_order() -> None:
    """Sorting is stable for more than a few rows as well."""
    rows = [("b" if number % 3 else "a", number) for number in range(30_000)]
    assert rows_of(in_order([a_piece(rows)])) == sorted(rows)


def test_pieces_that_do_not_overlap_are_in_memory_one_at_a_time() -> None:
    """Each is given before the next is loaded, whatever the order in which they arrived."""
    alive: list[weakref.ref[pa.Table]] = []
    most_alive = 0

    def counted(letter: str) -> pa.Table:
        nonlocal most_alive
        table = a_table([(f"{letter}{number}", number) for number in range(9)])
        alive.append(weakref.ref(table))
        most_alive = max(most_alive, sum(one() is not None for one in alive))
        return table

    pieces = [Piece(f"{x}0", f"{x}8", lambda x=x: counted(x)) for x in "dacbe"]  # type: ignore[misc]  # x is bound
    n_loaded = []
    for merged in in_order(pieces):
        n_loaded.append(len(alive))
        del merged
    assert n_loaded == [1, 2, 3, 4, 5]
    assert most_alive == 1


def test_what_overlaps_is_given_as_soon_as_nothing_can_come_before_it() -> None:
    """Two pages and one that was asked for by ids, then a page after them."""
    loaded: list[str] = []

    def piece(*ids: str) -> Piece:
        def load() -> pa.Table:
            loaded.append("".join(ids))
            return a_table([(one, 0) for one in ids])

        return Piece(ids[0], ids[-1], load)

    merged = in_order([piece("e", "f"), piece("b", "c"), piece("a", "d")])
    assert next(merged)["entry_id"].to_pylist() == ["a", "b", "c", "d"]
    assert loaded == ["ad", "bc"]
    assert next(merged)["entry_id"].to_pylist() == ["e", "f"]


@given(st.lists(st.integers(0, 25), max_size=8), st.integers(1, 10), st.integers(16, 400))
def test_regrouped_tables_have_a_good_size_and_all_rows(sizes: list[int], n_rows: int, n_bytes: int) -> None:
    """All but the last reach one of the two bounds; none has twice as much."""
    wanted = [("x" * (number % 5), number) for number in range(sum(sizes))]
    starts = [sum(sizes[:position]) for position in range(len(sizes))]
    tables = [a_table(wanted[start : start + size]) for start, size in zip(starts, sizes, strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(merging, "_ROWS_PER_GROUP", n_rows)
        patched.setattr(merging, "_BYTES_PER_GROUP", n_bytes)
        groups = list(regrouped(tables, SCHEMA))
    assert rows_of(iter(groups)) == wanted
    assert all(0 < group.num_rows < 2 * n_rows for group in groups)
    assert all(group.num_rows >= n_rows or group.nbytes >= n_bytes for group in groups[:-1])


def test_no_rows_are_no_groups() -> None:
    """An empty page among others adds none."""
    assert list(regrouped([SCHEMA.empty_table()], SCHEMA)) == []
    assert list(in_order([])) == []


@given(st.lists(st.text("ab", max_size=2), max_size=5), st.integers(0, 5))
def test_ascending_is_as_sorted_says(ids: list[str], cut: int) -> None:
    """Across the chunks of a column too; strictly: each once."""
    column = pa.chunked_array([ids[:cut], ids[cut:]], pa.string())
    assert is_ascending(column, strictly=False) == (ids == sorted(ids))
    assert is_ascending(column, strictly=True) == (ids == sorted(set(ids)))
