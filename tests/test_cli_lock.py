"""``nomadquery lock``, ``entries --update``, ``cache pack`` and ``unpack``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nomadquery import Lock
from nomadquery.local.store import LocalStore
from tests.command_line import Shell, a_shell
from tests.local_entries import an_archive


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return a_shell(tmp_path)


def add(shell: Shell, entry_id: str, *, published: bool = True) -> None:
    with LocalStore(Path(shell.deployment)) as store:
        store.add_archives([an_archive(entry_id, published=published)])


def test_update_says_what_changed_and_gives_the_table(shell: Shell) -> None:
    """On standard error and on standard output."""
    shell.ask("entries", "--select", "formula")
    add(shell, "d")
    found = shell.ask("entries", "--select", "formula", "--update", "--format", "csv")
    assert "1 added (d), 0 changed, 0 removed" in found.stderr
    assert found.stdout.count("\n") == 5
    assert shell.ask("entries", "--update", "--refresh").exit_code == 2


def test_a_lock_gives_the_table_or_says_what_is_not_there(shell: Shell, tmp_path: Path) -> None:
    """Exit code 1, and the option that accepts it."""
    lock = tmp_path / "t.lock.json"
    found = shell.ask("lock", "--help")
    assert found.exit_code == 2 or "write" in found.stdout
    written = shell.run("lock", "write", lock, "-d", shell.deployment, "--select", "formula")
    assert written.exit_code == 0 and "lock of 3 entries" in written.stderr
    table = shell.run("lock", "table", lock, "--format", "jsonl")
    assert [json.loads(line)["entry_id"] for line in table.stdout.splitlines()] == ["a", "b", "c"]
    part = shell.run("lock", "table", lock, "--part", "0", "3", "--format", "jsonl")
    assert [json.loads(line)["entry_id"] for line in part.stdout.splitlines()] == ["a"]
    add(shell, "b", published=False)
    elsewhere = ("--cache-dir", tmp_path / "elsewhere")
    refused = shell.run("lock", "table", lock, *elsewhere)
    assert refused.exit_code == 1 and "gone or hidden: b" in refused.stderr
    accepted = shell.run("lock", "table", lock, "--accept", "--format", "csv", *elsewhere)
    assert accepted.exit_code == 0 and "lacks: b" in accepted.stderr


def test_locks_are_compared_and_divided(shell: Shell, tmp_path: Path) -> None:
    """A file for each task of an array of jobs."""
    old, new = tmp_path / "old.json", tmp_path / "new.json.gz"
    shell.run("lock", "write", old, "-d", shell.deployment)
    add(shell, "d")
    shell.run("lock", "write", new, "-d", shell.deployment)
    found = json.loads(shell.run("lock", "diff", old, new, "--format", "json").stdout)
    assert [(row["entry_id"], row["change"]) for row in found] == [("d", "added")]
    assert shell.run("lock", "split", new, 2, "--into", tmp_path / "parts").exit_code == 0
    parts = [Lock.read(tmp_path / "parts" / f"part-{i}.lock.json.gz") for i in range(2)]
    assert [part.n_entries for part in parts] == [2, 2]


def test_a_pack_is_written_and_unpacked(shell: Shell, tmp_path: Path) -> None:
    """The outcome of each table is printed."""
    shell.ask("entries", "--select", "formula")
    key = next((shell.cache / "tables").iterdir()).name
    packed = shell.run("cache", "pack", key[:6], "-o", tmp_path / "t.zip")
    assert packed.exit_code == 0 and "wrote" in packed.stderr
    elsewhere = ("--cache-dir", tmp_path / "elsewhere")
    found = shell.run("cache", "unpack", tmp_path / "t.zip", "--format", "json", *elsewhere)
    assert json.loads(found.stdout) == [{"key": key, "rows": 3, "outcome": "unpacked"}]
    kept = shell.ask("entries", "--select", "formula", "--offline", "--format", "csv", *elsewhere)
    assert kept.stdout.count("\n") == 4
