"""``nomadquery cache`` and `nomadquery.cache`: the tables kept on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nomadquery import Nomad, Q, Query, cache
from nomadquery.errors import CacheError
from nomadquery.store.tables import TableStore
from tests.command_line import Shell, a_shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Two tables: of all entries, and of those with copper."""
    shell = a_shell(tmp_path)
    shell.ask("entries", "--select", "formula,gap")
    shell.ask("entries", "--where", "elements has_all Cu")
    return shell


def folders(shell: Shell) -> list[Path]:
    return sorted((shell.cache / "tables").iterdir())


def copper(shell: Shell) -> str:
    """Return the key of the table of entries with copper."""
    tables = cache.list_tables(shell.cache)
    return str(tables.loc[tables["query"].str.contains("'Cu'"), "key"].item())


def cut(file: Path, *, position: int) -> None:
    """Turn one byte of a file over; its size stays."""
    content = bytearray(file.read_bytes())
    content[position] ^= 0xFF
    file.write_bytes(content)


def test_list_names_the_question_of_each_table(shell: Shell) -> None:
    """With rows, state, size and time."""
    found = shell.run("cache", "list", "--format", "json")
    tables = {row["query"]: row for row in json.loads(found.stdout)}
    assert tables.keys() == {"all entries", "results.material.elements is 'Cu'"}
    one = tables["results.material.elements is 'Cu'"]
    assert (one["rows"], one["state"], one["owner"]) == (1, "complete", "public")
    assert shell.deployment in one["deployment"]
    assert one["size_bytes"] > 0
    assert {path.name for path in folders(shell)} == {row["key"] for row in tables.values()}


@pytest.mark.parametrize(
    "query",
    [
        (Q.n_elements == 2) | ~(Q.program == "VASP"),
        Q.gap.between("1 eV", "2 eV") & Q.elements.has_none("Cu") & Q.formula.exists(),
    ],
)
def test_every_question_is_listed_in_words(shell: Shell, query: Query) -> None:
    """Read back from what the manifest holds: the words are those of a query with full names."""
    search = Nomad(shell.deployment, cache_dir=shell.cache).entries(query).select("formula")
    search.to_arrow()
    expected = Query.from_json(query.to_json()).explain()
    listed = [words.replace(";", "").split() for words in cache.list_tables(shell.cache)["query"]]
    assert sorted(expected.split()) in [sorted(words) for words in listed]  # the order of criteria is free


def test_an_empty_cache_lists_nothing(tmp_path: Path) -> None:
    """A folder that is not there is no failure."""
    found = Shell(tmp_path).run("cache", "list")
    assert (found.exit_code, len(found.stdout.splitlines())) == (0, 1)
    assert cache.clear(folder=tmp_path / "none") == []


def test_show_prints_columns_files_and_what_rows_lack(shell: Shell) -> None:
    """Units stand behind the columns; the key may be cut short."""
    shell.ask("entries", "--where", "entry_id isin a zz", "--select", "gap")
    tables = cache.list_tables(shell.cache)
    key = str(tables.loc[tables["query"].str.contains("'zz'"), "key"].item())
    shown = shell.run("cache", "show", key[:8]).stdout
    assert "gap in eV" in shown
    assert str(shell.cache / "tables" / key / "table.parquet") in shown
    assert "zz entry_id no such entry" in shown
    assert json.loads(shell.run("cache", "show", key, "--json").stdout)["columns"] == {"gap": "eV"}


def test_remove_removes_the_one_table(shell: Shell) -> None:
    """Its files are gone, the other stays."""
    key = copper(shell)
    found = shell.run("cache", "remove", key[:8])
    assert (found.exit_code, found.stdout, found.stderr) == (0, "", f"removed {key}\n")
    assert list(cache.list_tables(shell.cache)["query"]) == ["all entries"]
    assert not list((shell.cache / "tables" / key).glob("*.*et"))


@pytest.mark.parametrize("key", ["zz", ""])
def test_a_key_that_names_no_table_is_a_failure(shell: Shell, key: str) -> None:
    """Nothing is removed; the empty key does not mean all."""
    assert shell.run("cache", "remove", key).exit_code == 1
    assert len(cache.list_tables(shell.cache)) == 2


def test_a_key_that_names_several_tables_is_a_failure(shell: Shell) -> None:
    """The message lists them."""
    twin = f"{copper(shell)[:6]}-twin"
    folder = shell.cache / "tables" / copper(shell)
    (shell.cache / "tables" / twin).mkdir()
    for file in folder.glob("*.*"):
        (shell.cache / "tables" / twin / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CacheError, match=twin):
        cache.remove(twin[:6], folder=shell.cache)


def test_clear_asks_first(shell: Shell) -> None:
    """No answer is no; --yes does not ask."""
    assert shell.run("cache", "clear", stdin="n\n").exit_code == 1
    assert shell.run("cache", "clear").exit_code == 1
    assert len(cache.list_tables(shell.cache)) == 2
    assert shell.run("cache", "clear", "--yes").stderr == "removed 2 tables\n"
    assert len(cache.list_tables(shell.cache)) == 0


def test_a_table_that_is_being_fetched_is_not_removed(shell: Shell) -> None:
    """Whoever holds its lock is left in peace."""
    key = copper(shell)
    with TableStore(shell.cache / "tables" / key).lock():
        found = shell.run("cache", "remove", key)
    assert found.exit_code == 1
    assert "another process" in found.stderr
    assert key in set(cache.list_tables(shell.cache)["key"])


def test_verify_reads_every_file(shell: Shell) -> None:
    """Sound tables: exit code 0; a byte turned over in one file is found although its size is right."""
    assert shell.run("cache", "verify").exit_code == 0
    key = copper(shell)
    cut(shell.cache / "tables" / key / "table.parquet", position=-6)  # in the length of the footer
    found = shell.run("cache", "verify")
    assert found.exit_code == 1
    assert key in found.stderr
    assert cache.verify(key, folder=shell.cache)["damage"].notna().all()
    assert cache.verify(folder=shell.cache)["damage"].notna().sum() == 1


@pytest.mark.parametrize(
    "content", [b"{", b"{}", b"[]", b'{"format": 1, "parts": [], "problems": [], "request": 3}']
)
def test_a_broken_manifest_is_listed_as_damaged(shell: Shell, content: bytes) -> None:
    """It can be removed by its key like any other."""
    key = copper(shell)
    (shell.cache / "tables" / key / "manifest.json").write_bytes(content)
    tables = cache.list_tables(shell.cache).set_index("key")
    assert list(tables["state"].sort_values()) == ["complete", "damaged"]
    assert shell.run("cache", "show", key).exit_code == 0
    cache.remove(key, folder=shell.cache)
    assert key not in set(cache.list_tables(shell.cache)["key"])


def test_half_a_table_is_listed_as_partial(shell: Shell) -> None:
    """And what a killed process left without a manifest is not listed."""
    store = TableStore(shell.cache / "tables" / "begun")
    store.begin(
        {"deployment": "nomadquery:demo", "owner": "public", "query": ["And", []]}, {"begun_at": "2024"}
    )
    left = shell.cache / "tables" / "left"
    left.mkdir()
    (left / ".table.parquet.x.part").write_bytes(b"half")
    tables = cache.list_tables(shell.cache).set_index("key")
    assert "left" not in tables.index
    assert list(tables.loc["begun", ["deployment", "state", "rows"]]) == ["demo", "partial", 0]
