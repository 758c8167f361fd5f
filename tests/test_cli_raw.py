"""``nomadquery raw``: what a shell sees of raw files."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest

from nomadquery.local.store import LocalStore
from tests.command_line import Shell, a_shell

FILES = {
    "a/vasprun.xml": b"<modeling>" * 900,
    "a/OUTCAR": b"energy\n" * 10,
    "b/vasprun.xml": b"\xff\0",
    "x": b"1",
}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = a_shell(tmp_path)
    with LocalStore(Path(shell.deployment)) as store:
        store.add_raw_files("upload-1", {**FILES, "c/vasprun.xml": b"c"})
    return shell


def ask(shell: Shell, command: str, *arguments: object) -> tuple[int, bytes, str]:
    """Return exit code, standard output and standard error."""
    found = shell.run("raw", command, "-d", shell.deployment, *arguments)
    return found.exit_code, found.stdout_bytes, found.stderr


def test_files_are_listed(shell: Shell) -> None:
    """As a table in any form."""
    code, out, err = ask(shell, "list", "--where", "elements has_all Ti", "--format", "csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out.decode())))
    assert [row["path"] for row in rows] == ["a/OUTCAR", "a/vasprun.xml", "b/vasprun.xml"]
    assert rows[0]["entry_ids"] == "a"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--include", "*.xml", "--exclude", "b/*"], ["a/vasprun.xml", "c/vasprun.xml"]),
        (["--regex", "OUT"], ["a/OUTCAR"]),
        (["--max-size", "1 kB", "--limit", "1"], ["a/OUTCAR"]),
        (["--max-size", "1"], ["c/vasprun.xml"]),
        (["--upload", "upload-1", "--include", "x"], ["x"]),
    ],
)
def test_files_are_chosen(shell: Shell, options: list[str], expected: list[str]) -> None:
    """By patterns, an expression, size, or of a whole upload."""
    code, out, _ = ask(shell, "list", "--format", "csv", *options)
    assert code == 0
    assert [row["path"] for row in csv.DictReader(io.StringIO(out.decode()))] == expected


def test_files_are_downloaded_and_planned(shell: Shell) -> None:
    """The second time all is there."""
    data = shell.home / "data"
    code, out, err = ask(shell, "download", data, "--include", "*.xml", "--layout", "upload", "--no-progress")
    assert (code, out) == (0, b"")
    assert err == f"3 files, 9,003 bytes in {data}\n"
    assert (data / "upload-1/a/vasprun.xml").read_bytes() == FILES["a/vasprun.xml"]
    code, out, _ = ask(shell, "plan", "--into", data, "--layout", "upload")
    assert code == 0
    assert "to fetch  1 files, 70 B" in out.decode()
    assert "here      3 files" in out.decode()


def test_files_stay_packed_where_that_is_wanted(shell: Shell) -> None:
    """One zip for the upload; `plan` compares with it, and unpacking something into it is wrong use."""
    data = shell.home / "data"
    code, _, err = ask(shell, "download", data, "--include", "*.xml", "--no-unpack", "--no-progress")
    assert (code, err) == (0, f"3 files, 9,003 bytes in {data}\n")
    with zipfile.ZipFile(data / "upload-1.zip") as packed:
        found = {name: packed.read(name) for name in packed.namelist()}
    expected = {path: content for path, content in FILES.items() if path.endswith(".xml")}
    assert found == {**expected, "c/vasprun.xml": b"c"}
    code, out, _ = ask(shell, "plan", "--into", data, "--no-unpack")
    assert code == 0
    assert "to fetch  1 files, 70 B" in out.decode()
    assert "packing   9.07 kB more" in out.decode()
    assert ask(shell, "download", data, "--no-unpack", "--decompress")[0] == 2


def test_a_file_or_its_end_is_printed(shell: Shell) -> None:
    """Byte for byte."""
    assert ask(shell, "cat", "b/vasprun.xml") == (0, b"\xff\0", "")
    assert ask(shell, "tail", "OUTCAR", "--bytes", "7") == (0, b"energy\n", "")
    assert ask(shell, "tail", "OUTCAR")[1] == FILES["a/OUTCAR"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cat", "vasprun.xml"], 2, "Give a longer path"),
        (["cat", "POTCAR"], 1, "POTCAR"),
        (["list", "--max-size", "big"], 2, "20 MB"),
        (["list", "--upload", "upload-1", "--where", "elements has_all Ti"], 2, "--upload"),
        (["list", "--upload", "nothing"], 1, "upload"),
    ],
)
def test_what_goes_wrong_is_said(shell: Shell, arguments: list[str], code: int, words: str) -> None:
    """With the exit code for it."""
    found, _, err = ask(shell, arguments[0], *arguments[1:])
    assert found == code
    assert words in " ".join(err.split())


def test_files_that_do_not_come_end_with_3(shell: Shell) -> None:
    """The others are there."""
    data = shell.home / "data"
    (data / "a").mkdir(parents=True)
    (data / "a" / "OUTCAR").write_text("mine")
    code, _, err = ask(shell, "download", data, "--no-progress")
    assert code == 3
    assert "1 of 4 files could not be had" in err
    assert (data / "b" / "vasprun.xml").exists()
