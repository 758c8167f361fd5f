"""``nomadquery count`` and ``entries``: what is asked, of whom, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.command_line import Shell, a_page, a_shell
from tests.faults.server import FaultServer, as_json


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return a_shell(tmp_path)


def ids_of(text: str) -> list[str]:
    """Return the entry ids of a CSV table."""
    return [line.partition(",")[0] for line in text.splitlines()[1:]]


def test_count_prints_the_number_alone(shell: Shell) -> None:
    """So that it can be used in a script."""
    found = shell.ask("count")
    assert (found.exit_code, found.stdout, found.stderr) == (0, "3\n", "")


def test_several_where_mean_and(shell: Shell) -> None:
    """Each narrows what the others leave."""
    assert shell.ask("count", "--where", "elements has_all Ti O").stdout == "2\n"
    both = ("--where", "elements has_all Ti O", "--where", "entry_id == a")
    assert shell.ask("count", *both).stdout == "1\n"


@pytest.mark.parametrize(
    ("criterion", "n_entries"),
    [
        ("elements has_any Cu Ti", 3),
        ("elements has_none Cu", 2),
        ("program != VASP", 0),
        ("not (entry_id == a or entry_id == b)", 1),
        ("gap between '1 eV' '2.5 eV'", 3),  # 3.2e-19 J is 2.0 eV
        ("gap > '3.1 eV'", 0),  # 4.8e-19 J, the largest, is 3.0 eV
        ("gap exists", 3),
        ("efficiency exists", 0),
        ("entry_id isin a c", 2),
        ("uploaded > 2024-01-01 and uploaded < 2024-01-31", 3),
    ],
)
def test_criteria_as_text_ask_what_they_say(shell: Shell, criterion: str, n_entries: int) -> None:
    """Each operator, units and dates."""
    assert shell.ask("count", "--where", criterion).stdout == f"{n_entries}\n"


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        ("gap >= 1.1", "needs one"),
        ("gap >= '1.1 K'", "stored in joule"),
        ("gap == '1.1 eV'", "between"),
        ("elements has_all Xy", "'Xy'"),
        ("elements has_all", "has_all takes values"),
        ("elemnts has_all Ti", "elements"),
        ("gap >=", "the end"),
    ],
)
def test_what_q_refuses_is_refused_as_wrong_use(shell: Shell, criterion: str, said: str) -> None:
    """The exit code is 2, and the message says what to write."""
    found = shell.ask("count", "--where", criterion)
    assert (found.exit_code, found.stdout) == (2, "")
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_query_reads_a_file_or_standard_input(shell: Shell) -> None:
    """A query object, or a whole request of which the query is taken."""
    query = {"results.material.elements:all": ["Cu"]}
    file = shell.home / "query.json"
    file.write_text(json.dumps(query))
    assert shell.ask("count", "--query", file).stdout == "1\n"
    request = json.dumps({"query": query, "pagination": {"page_size": 1}})
    assert shell.ask("count", "--query", "-", stdin=request).stdout == "1\n"


@pytest.mark.parametrize("content", ["{", "[1]", '{"results.material.elements:every": ["Cu"]}'])
def test_a_query_that_cannot_be_read_is_wrong_use(shell: Shell, content: str) -> None:
    """No JSON, no object, no query of NOMAD."""
    found = shell.ask("count", "--query", "-", stdin=content)
    assert found.exit_code == 2
    assert "Error" in found.stderr


def test_ids_come_from_lines(shell: Shell) -> None:
    """Blank lines and blanks around ids do not matter; an id without an entry is named."""
    found = shell.ask("entries", "--ids", "-", "--format", "csv", stdin="c\n\n  a \nzz\n")
    assert ids_of(found.stdout) == ["a", "c"]
    assert "lacks: zz" in found.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.csv", "sample,entry_id\nx,a\ny,c\n"),
        ("ids.tsv", "entry_id\tsample\na\tx\nc\ty\n"),
        ("ids.csv", "sample id\na\nc\n"),
    ],
)
def test_ids_come_from_a_column(shell: Shell, name: str, content: str) -> None:
    """The one called entry_id, else the first."""
    file = shell.home / name
    file.write_text(content)
    assert shell.ask("count", "--ids", file).stdout == "2\n"


def test_a_list_of_ids_without_a_header_loses_none(shell: Shell) -> None:
    """The first row is data if it begins with an entry id."""
    entry_id = "54oHNiNzEqh-MVIY9Y3MPz5bRQl8"
    file = shell.home / "ids.csv"
    file.write_text(f"{entry_id}\na\n")
    found = shell.run("explain", "--ids", file, "--json")
    assert entry_id in found.stdout and '"a"' in found.stdout


def test_ids_come_from_a_spreadsheet(shell: Shell) -> None:
    """From the first sheet of an .xlsx file."""
    sheet = pd.DataFrame({"sample": ["x", None, "y"], "entry_id": ["a", None, "b"]})
    sheet.to_excel(shell.home / "ids.xlsx", index=False)
    assert shell.ask("count", "--ids", shell.home / "ids.xlsx").stdout == "2\n"


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"\n"), ("a.xlsx", b"no zip"), ("a.csv", b"\xff\xfe\x00")]
)
def test_a_file_without_ids_is_wrong_use(shell: Shell, name: str, content: bytes) -> None:
    """It is not read as a question for all entries."""
    file = shell.home / name
    file.write_bytes(content)
    found = shell.ask("count", "--ids", file)
    assert found.exit_code == 2
    assert name in found.stderr


def test_url_reads_a_search_address(shell: Shell) -> None:
    """As it is copied from the web interface."""
    address = "https://nomad-lab.eu/prod/v1/gui/search/entries?results.material.elements=Cu"
    assert shell.ask("count", "--url", address).stdout == "1\n"


def test_each_shows_which_criterion_leaves_nothing(shell: Shell) -> None:
    """And a value that the server knows in place of the one asked for."""
    found = shell.ask("count", "--each", "--where", "elements has_all Ti", "--where", "program == vasp")
    rows = [line.split()[-3:] for line in found.stdout.splitlines()[1:]]
    assert rows == [["2", "2", "-"], ["0", "0", "VASP"]]


def test_select_gives_columns_in_their_order(shell: Shell) -> None:
    """With names, units and list rules; commas in brackets belong to a path."""
    band_gap = "results.properties.electronic.band_gap"
    columns = f'largest={band_gap}[type == "indirect"].value.max() in eV,program'
    found = shell.ask("entries", "--select", columns, "--select", "elements", "--format", "csv")
    assert found.stdout.splitlines()[0] == "entry_id,largest (eV),program,elements"
    entry_id, largest, program, *_ = found.stdout.splitlines()[1].split(",")
    assert (entry_id, program) == ("a", "VASP")
    assert float(largest) == pytest.approx(4.8e-19 / 1.602176634e-19, rel=1e-9)  # joule in eV, CODATA


def test_two_columns_of_one_name_are_wrong_use(shell: Shell) -> None:
    """Neither is dropped silently."""
    found = shell.ask("entries", "--select", "gap,gap in meV")
    assert found.exit_code == 2
    assert "other_name=gap in meV" in found.stderr


def test_limit_sort_and_page_size_reach_the_search(shell: Shell) -> None:
    """The first in the order that is asked for."""
    found = shell.ask("entries", "--sort", "entry_id", "--descending", "--limit", 2, "--format", "csv")
    assert sorted(ids_of(found.stdout)) == ["b", "c"]
    assert ids_of(shell.ask("entries", "--page-size", 1, "--format", "csv").stdout) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "options", [["--descending"], ["--sort", "entry_id"], ["--limit", "0"], ["--owner", "me"]]
)
def test_options_that_make_no_sense_are_wrong_use(shell: Shell, options: list[str]) -> None:
    """Each on its own."""
    assert shell.ask("entries", *options).exit_code == 2


def test_no_rows_are_no_failure(shell: Shell) -> None:
    """The exit code is 0, standard output has the header, and a warning says so."""
    found = shell.ask("entries", "--where", "elements has_all Xe", "--select", "formula", "--format", "csv")
    assert (found.exit_code, found.stdout) == (0, "entry_id,formula\n")
    shown = shell.ask("entries", "--where", "elements has_all Kr", "--select", "formula")
    assert (shown.exit_code, shown.stdout) == (0, "entry_id  formula\n")
    assert shown.stderr.startswith("Warning: No entry matches")


def test_the_plan_fetches_nothing(shell: Shell) -> None:
    """It says how many rows there will be, and that nothing is kept."""
    found = shell.ask("entries", "--plan")
    assert "3 rows" in found.stdout
    assert "nothing" in found.stdout
    assert not (shell.cache / "tables").exists()


def test_offline_gives_what_is_kept_or_fails(shell: Shell) -> None:
    """The message says that the same call is to be run once without it."""
    refused = shell.ask("entries", "--offline")
    assert refused.exit_code == 1
    assert "offline" in refused.stderr
    shell.ask("entries")
    assert shell.ask("entries", "--offline", "--format", "csv").stdout.count("\n") == 4


def test_refresh_and_max_age_fetch_again(shell: Shell) -> None:
    """Else a complete public table is given from disk, and nothing is sent."""
    with FaultServer() as server:
        server.will_answer(as_json({"version": "2.0.0"}), *[a_page("a", total=1)] * 3)
        ask = ("entries", "-d", server.api_base, "--select", "formula", "--format", "csv")
        n_sent = []
        for options in ([], [], ["--max-age", "7d"], ["--refresh"], ["--max-age", "0s"]):
            assert ids_of(shell.run(*ask, *options).stdout) == ["a"]
            n_sent.append(len(server.received))
    assert n_sent == [2, 2, 2, 3, 4]
    assert shell.ask("entries", "--max-age", "soon").exit_code == 2


def test_an_unknown_deployment_is_wrong_use(shell: Shell) -> None:
    """The message lists the known ones."""
    found = shell.run("count", "-d", "prot")
    assert found.exit_code == 2
    assert "'prod'" in found.stderr


def test_there_is_no_option_for_a_token(shell: Shell) -> None:
    """The message names the ways that keep it out of lists of processes, and does not repeat it."""
    found = shell.run("count", "--token", "nomad_pat_secret")
    assert found.exit_code == 2
    assert "NOMADQUERY_TOKEN" in found.stderr
    assert "secret" not in found.stderr
