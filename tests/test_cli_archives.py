"""``nomadquery archives``: JSON lines, or a file for each archive."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from nomadquery import cache
from tests.command_line import Shell, a_shell
from tests.local_entries import an_archive


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return a_shell(tmp_path)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_archives_are_lines_of_json(shell: Shell) -> None:
    """In the order of ids, on standard output; talk goes elsewhere."""
    found = shell.ask("archives", "--where", "elements has_all Ti")
    assert (found.exit_code, found.stderr) == (0, "")
    printed = lines(found.stdout)
    assert [one["entry_id"] for one in printed] == ["a", "b"]
    assert printed[0] == {"entry_id": "a", "upload_id": "upload-1", "archive": an_archive("a")}


def test_a_part_of_each_archive_may_be_asked_for(shell: Shell) -> None:
    """As JSON, or in a file; --ids and --limit choose the entries."""
    required = '{"run": {"program": {"name": "*"}}}'
    (shell.home / "ids.txt").write_text("c\nb\n")
    (shell.home / "required.json").write_text(required)
    for given in (required, shell.home / "required.json"):
        found = shell.ask("archives", "--ids", shell.home / "ids.txt", "--limit", 1, "--required", given)
        (one,) = lines(found.stdout)
        assert one["entry_id"] == "b"
        assert one["archive"]["run"] == [{"program": {"name": "VASP"}}] * 2
        assert set(one["archive"]) <= {"run", "metadata"}


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_a_file_of_lines_is_written_whole(shell: Shell, name: str) -> None:
    """Compressed by its suffix; what was written is said."""
    file = shell.home / "new" / name
    found = shell.ask("archives", "-o", file)
    assert (found.exit_code, found.stdout) == (0, "")
    assert found.stderr == f"wrote 3 archives to {file}\n"
    content = file.read_bytes()
    text = gzip.decompress(content) if name.endswith(".gz") else content
    assert [one["archive"]["metadata"]["entry_id"] for one in lines(text.decode())] == ["a", "b", "c"]


def test_a_folder_gets_a_file_for_each(shell: Shell) -> None:
    """Named by the entry, with the archive alone."""
    shell.ask("archives", "-o", shell.home / "folder")
    files = sorted((shell.home / "folder").iterdir())
    assert [file.name for file in files] == ["a.json", "b.json", "c.json"]
    assert json.loads(files[2].read_text()) == an_archive("c", elements=["Cu"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.csv"], "ends in .jsonl or .jsonl.gz, or a folder"),
        (["--required", "nothing.json"], "neither '*' nor a JSON object nor a file"),
        (["--required", "{results"], "it is no JSON"),
        (["--required", '{"resluts": "*"}'], "archives have no resluts"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_fetched(
    shell: Shell, arguments: list[str], message: str
) -> None:
    """With exit code 2."""
    found = shell.ask("archives", *arguments)
    assert found.exit_code == 2
    assert message in " ".join(found.stderr.replace("\n", " ").split())
    assert len(cache.list_tables(shell.cache)) == 0


def test_archives_are_kept_and_given_offline(shell: Shell) -> None:
    """The cache lists them like a table, shows and removes them."""
    first = shell.ask("archives").stdout
    assert shell.ask("archives", "--offline").stdout == first
    tables = cache.list_tables(shell.cache).set_index("query")
    row = tables.loc["whole archives"]
    assert (row["rows"], row["state"], row["owner"]) == (3, "complete", "public")
    shown = shell.run("cache", "show", row["key"][:8])
    assert "whole archives" in shown.stdout and "part-00000.zip" in shown.stdout
    assert shell.run("cache", "verify").exit_code == 0
    assert shell.run("cache", "remove", row["key"][:8]).exit_code == 0
    assert list(cache.list_tables(shell.cache)["query"]) == ["all entries"]
    assert shell.ask("archives", "--offline").exit_code == 1


def test_damaged_archives_are_found_by_verify(shell: Shell) -> None:
    """Inside an archive, or in what says where they are; clear removes them."""
    shell.ask("archives")
    (file,) = (shell.cache / "archives").glob("*/part-*.zip")
    content = bytearray(file.read_bytes())
    content[60] ^= 0xFF
    file.write_bytes(content)
    assert shell.run("cache", "verify").exit_code == 1
    file.write_bytes(content[:-4])
    assert "damaged" in set(cache.list_tables(shell.cache)["state"])
    assert shell.run("cache", "clear", "--yes").exit_code == 0
    assert len(cache.list_tables(shell.cache)) == 0
