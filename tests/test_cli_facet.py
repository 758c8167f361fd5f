"""``nomadquery facet``: values and how many entries have them, or bins."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.command_line import Shell, a_shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return a_shell(tmp_path)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_facet_prints_values_and_entries(shell: Shell) -> None:
    """The most frequent first: three entries, two of O and Ti, one of Cu."""
    found = shell.ask("facet", "elements", "--format", "csv")
    assert (found.exit_code, found.stdout) == (0, "value,n_entries\nO,2\nTi,2\nCu,1\n")


def test_facet_counts_the_hits_only(shell: Shell) -> None:
    """As --where says; --size and --contains keep some values."""
    where = ("--where", "entry_id == c")
    assert shell.ask("facet", "elements", *where, "--format", "csv").stdout == "value,n_entries\nCu,1\n"
    assert shell.ask("facet", "elements", "--size", 1, "--format", "csv").stdout == "value,n_entries\nO,2\n"
    assert (
        shell.ask("facet", "elements", "--contains", "i", "--format", "csv").stdout
        == "value,n_entries\nTi,2\n"
    )


def test_facet_counts_other_things_too(shell: Shell) -> None:
    """All three entries are of one upload."""
    found = shell.ask("facet", "program", "--metric", "n_uploads", "--format", "csv")
    assert found.stdout == "value,n_entries,n_uploads\nVASP,3,1\n"


def test_bins_make_a_histogram(shell: Shell) -> None:
    """In the customary unit; each entry has gaps of 2 eV and 3 eV (3.2e-19 J and 4.8e-19 J)."""
    found = shell.ask("facet", "gap", "--bin-width", "1 eV", "--range", "1 eV", "4 eV", "--format", "csv")
    rows = rows_of(found.stdout)
    assert [(float(row["lower"]), float(row["upper"])) for row in rows] == [(1, 2), (2, 3), (3, 4)]
    assert [row["n_items"] for row in rows] == ["3", "3", "0"]  # both are a little below 2 eV and 3 eV


def test_integers_and_dates_have_bins(shell: Shell) -> None:
    """Bare numbers where there is no unit; intervals of the calendar."""
    numbers = shell.ask("facet", "n_elements", "--bin-width", "1", "--format", "csv")
    assert [row["n_entries"] for row in rows_of(numbers.stdout)] == ["1", "2"]
    months = shell.ask("facet", "uploaded", "--bin-width", "month", "--format", "csv")
    assert [row["n_entries"] for row in rows_of(months.stdout)] == ["3"]
    assert shell.ask("facet", "gap", "--bins", 2).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("n_elements",), "histogram"),
        (("elementz",), "elements"),
        (("gap", "--bins", "0"), "bins"),
        (("gap", "--bin-width", "0.1"), "needs one"),
        (("elements", "--size", "0"), "size"),
        (("elements", "--size", "2", "--bins", "2"), "--size"),
        (("elements", "--metric", "n_authors"), "n_authors"),
    ],
)
def test_wrong_use_is_said(arguments: tuple[str, ...], said: str, shell: Shell) -> None:
    """Exit code 2, nothing on standard output."""
    found = shell.ask("facet", *arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert said in found.stderr


def test_a_facet_goes_into_a_file(shell: Shell) -> None:
    """Its suffix says the form."""
    file = shell.home / "elements.json"
    assert shell.ask("facet", "elements", "-o", file).exit_code == 0
    assert '"value":"O"' in file.read_text().replace(" ", "")
