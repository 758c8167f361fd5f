"""``nomadquery demo``: the first command of the README."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from nomadquery.cli.demo import NEXT
from tests.command_line import Shell, demo_shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return demo_shell(tmp_path_factory)


@pytest.fixture(scope="module")
def printed(shell: Shell) -> str:
    found = shell.run("demo")
    assert found.exit_code == 0, found.stderr
    return found.stdout


def part(printed: str, title: str) -> list[str]:
    """Return the lines below a title."""
    return printed.partition(f"\n{title}\n")[2].partition("\n\n")[0].splitlines()


def test_the_table_is_what_the_question_asks(printed: str) -> None:
    """About ten rows, each at least 200 GPa and at most 16 g/cm³, with the units said."""
    _, units, *rows = part(printed, "the complete table")
    assert units.split() == ["g/cm^3", "GPa"]
    assert 5 <= len(rows) <= 20
    assert all(float(row.split()[-1]) >= 200 for row in rows)
    assert all(float(row.split()[-2]) <= 16 for row in rows)


def test_the_python_that_is_shown_gives_the_table_that_is_shown(
    printed: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be copied as it stands."""
    monkeypatch.setenv("NOMADQUERY_CACHE_DIR", str(shell.cache))
    source = printed.partition("A question in Python\n")[2].partition("\nin plain words")[0]
    names: dict[str, pd.DataFrame] = {}
    exec(re.sub(r"(?m)^ {4}", "", source), names)
    rows = part(printed, "the complete table")[2:]
    assert [row.split()[0] for row in rows] == list(names["df"]["entry_id"])


def test_the_file_that_is_named_holds_the_table(printed: str) -> None:
    """Anything that reads Parquet can read it."""
    file = Path(part(printed, "kept as Parquet")[0].strip())
    assert len(pd.read_parquet(file)) == len(part(printed, "the complete table")[2:])


def test_the_second_run_finds_the_table(printed: str, shell: Shell) -> None:
    """Its plan needs no request."""
    again = shell.run("demo").stdout
    assert any("requests   0" in line for line in part(again, "what it will take"))
    assert part(again, "the complete table") == part(printed, "the complete table")


@pytest.mark.parametrize("command", [line for line in NEXT if "public NOMAD" not in line])
def test_what_to_try_next_works(
    shell: Shell, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each prints or writes rows, without a network."""
    monkeypatch.chdir(tmp_path)
    found = shell.run(*shlex.split(command)[1:])
    assert found.exit_code == 0, found.stderr
    assert found.stdout or (tmp_path / "light.csv").read_text().count("\n") > 10


def test_the_demo_needs_no_cache_that_can_be_written_to(shell: Shell) -> None:
    """It says so, and still shows the table."""
    found = shell.run("demo", "--cache-dir", "/proc/none")
    assert found.exit_code == 0, found.stderr
    assert "Warning: The cache folder /proc/none cannot be written" in found.stderr
    assert "cannot be written" in "".join(part(found.stdout, "kept as Parquet"))
