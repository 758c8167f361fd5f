"""``nomadquery explain`` and ``quantities``: nothing is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nomadquery import Q, Query, within
from nomadquery.cli.question import query_of_text
from nomadquery.errors import QueryError
from tests.command_line import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("elements has_all Ti O", Q.elements.has_all("Ti", "O")),
        ("elements has_any Ti, O", Q.elements.has_any("Ti", "O")),
        ("elements has_none Ti", Q.elements.has_none("Ti")),
        ("program isin VASP 'FHI-aims'", Q.program.isin(["VASP", "FHI-aims"])),
        ("n_elements == 2", Q.n_elements == 2),
        ("n_elements != 2", Q.n_elements != 2),
        ("gap >= '1.1 eV'", Q.gap >= "1.1 eV"),
        ("gap > 1.1 eV and gap < 2 eV", (Q.gap > "1.1 eV") & (Q.gap < "2 eV")),
        ("gap <= '1.1 eV' or gap exists", (Q.gap <= "1.1 eV") | Q.gap.exists()),
        ("gap between 1.1 eV 1.8 eV", Q.gap.between("1.1 eV", "1.8 eV")),
        ("not (program == VASP)", ~(Q.program == "VASP")),
        ("uploaded >= 2024-01-31", Q.uploaded >= "2024-01-31"),
        ("data.sample.name exists", Q.data.sample.name.exists()),
    ],
)
def test_a_criterion_as_text_is_the_same_query_as_with_q(text: str, query: Query) -> None:
    """Every operator, and how they combine."""
    assert query_of_text(text) == query


@pytest.mark.parametrize(
    "text", ["gap == '1.1 eV'", "n_elements > '2 eV'", "gap isin 1 2", "n_elements == 2.5"]
)
def test_a_criterion_as_text_is_refused_like_with_q(text: str) -> None:
    """The same checks, because the same methods are called."""
    with pytest.raises(QueryError):
        query_of_text(text)


def test_explain_prints_words_python_and_json(shell: Shell) -> None:
    """Each alone on request, so that it can be piped."""
    where = ("--where", "elements has_all Ti", "--where", "n_elements == 2")
    words, python, body = shell.run("explain", *where).stdout.split("\n\n")
    assert words.splitlines() == ["elements has all of 'Ti'", "n_elements is 2"]
    assert eval(python) == Q.elements.has_all("Ti") & (Q.n_elements == 2)
    assert Query.from_json(json.loads(body)) == eval(python)
    assert shell.run("explain", *where, "--python").stdout.strip() == python
    assert json.loads(shell.run("explain", *where, "--json").stdout) == json.loads(body)


def test_explain_reads_a_request(shell: Shell) -> None:
    """As a person pastes it."""
    section = "results.properties.electronic.band_gap"
    request = json.dumps({"query": {section: {"type": "direct", "value": {"gte": 1.6e-19}}}})
    found = shell.run("explain", "--query", "-", "--python", stdin=request)
    assert eval(found.stdout) == within(section, Q.type == "direct", Q.value >= "1.6e-19 joule")


def test_explain_writes_for_an_older_release(shell: Shell) -> None:
    """And refuses a release that it does not know."""
    assert shell.run("explain", "--where", "n_elements == 2", "--release", "1.4.3", "--json").exit_code == 0
    assert shell.run("explain", "--where", "n_elements == 2", "--release", "0.1").exit_code == 2


def test_explain_of_nothing_is_all_entries(shell: Shell) -> None:
    """The empty question is one too."""
    assert shell.run("explain").stdout.startswith("all entries\n")


def test_quantities_lists_what_like_names(shell: Shell) -> None:
    """With short name and stored unit."""
    found = shell.run("quantities", "band_gap.value", "--format", "json")
    row = next(row for row in json.loads(found.stdout) if row["short"] == "gap")
    assert row["name"] == "results.properties.electronic.band_gap.value"
    assert (row["type"], row["unit"], row["searchable"], row["returnable"]) == ("number", "joule", True, True)
