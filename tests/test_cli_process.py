"""The command line as a process: exit codes, pipes, signals, and what is imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from nomadquery.cli.main import COMMANDS
from tests.command_line import A_MINUTE, ROOT, SCRIPT, Shell, a_page, a_shell
from tests.faults.server import Answer, FaultServer, as_json


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return a_shell(tmp_path)


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Return what a fresh Python that runs ``code`` printed."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=A_MINUTE, check=False)


def test_a_process_separates_data_and_talk(shell: Shell) -> None:
    """Standard output holds the data, the exit code is 0, and nothing else is printed."""
    code, stdout, stderr = shell.process("entries", "-d", shell.deployment, "--format", "csv")
    assert (code, stdout.count("\n")) == (0, 4)
    assert stderr.startswith("complete, 3 rows")


def test_a_wrong_question_ends_with_2_and_no_traceback(shell: Shell) -> None:
    """The message stands on standard error."""
    code, stdout, stderr = shell.process("count", "-d", shell.deployment, "--where", "gap > 1")
    assert (code, stdout) == (2, "")
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1


def test_an_unreachable_server_ends_with_1(shell: Shell) -> None:
    """Port 1 of this machine answers nothing."""
    found = shell.run("count", "-d", "http://127.0.0.1:1/api/v1")
    assert found.exit_code == 1
    assert "127.0.0.1:1" in found.stderr
    assert "Traceback" not in found.stderr


def test_an_interrupted_fetch_ends_with_3_and_goes_on(shell: Shell) -> None:
    """The second run asks only for the row that is missing."""
    info = as_json({"version": "2.0.0"})
    refused = as_json({"detail": {"exception_class": "KeyError"}}, status=500)
    with FaultServer() as server:
        server.will_answer(info, a_page("a", total=2), refused, refused, refused)
        ask = ("entries", "-d", server.api_base, "--select", "formula", "--page-size", 1, "--format", "csv")
        found = shell.run(*ask)
        assert found.exit_code == 3, found.stderr
        assert "1 of 2 entries arrived" in found.stderr
        server.will_answer(a_page("b", total=2), a_page(total=2))
        found = shell.run(*ask)
        assert (found.exit_code, found.stdout) == (0, "entry_id,formula\na,\nb,\n"), found.stderr
        asked = [json.loads(one.body)["pagination"].get("page_after_value") for one in server.received[1:]]
    assert asked[0] is None
    assert set(asked[1:]) == {"a", "b"}  # the first page is asked for once


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_closed_pipe_is_silent(shell: Shell) -> None:
    """As with ``| head -1``, and the exit code is 0."""
    script = " ".join(f"'{word}'" for word in SCRIPT)
    line = f"({script} quantities --format csv; echo $? >&2) | head -1"
    done = subprocess.run(
        ["sh", "-c", line],
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=A_MINUTE,
        check=True,
    )
    assert done.stdout == "name,short,type,unit,searchable,returnable\n"
    assert done.stderr == "0\n"


def test_help_needs_neither_pandas_nor_a_network() -> None:
    """For every command, with heavy libraries blocked and no socket to be had."""
    blocked = ["pandas", "numpy", "pyarrow", "pint", "joblib", "tqdm", "werkzeug", "openpyxl"]
    code = (
        "import socket, sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "socket.socket.connect = None\n"
        "from nomadquery.cli.main import cli\n"
        f"for words in {[[], *([name] for name in COMMANDS)]!r}:\n"
        "    cli([*words, '--help'], standalone_mode=False)\n"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage:") == 1 + len(COMMANDS)


def test_help_of_the_whole_imports_no_command() -> None:
    """So that it stays quick; its lines are those of the commands."""
    code = (
        "import sys\n"
        "from nomadquery.cli.main import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith('nomadquery.cli.')])\n"
    )
    done = python(code)
    assert "['nomadquery.cli.words', 'nomadquery.cli.main']" in done.stdout
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches processes differently")
def test_serve_prints_its_address_and_ends_with_0(shell: Shell) -> None:
    """What it serves can be asked by HTTP while it runs; Ctrl-C ends it without a traceback."""
    with shell.running("serve", shell.deployment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{address}/entries?page_size=0", timeout=A_MINUTE) as answer:
            assert json.load(answer)["pagination"]["total"] == 3
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=A_MINUTE)
    assert process.returncode == 0
    assert "3 entries" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("where", ["prod", "https://our.host/nomad-oasis"])
def test_what_runs_elsewhere_is_not_served(shell: Shell, where: str) -> None:
    """It is wrong use."""
    found = shell.run("serve", where)
    assert found.exit_code == 2
    assert "runs elsewhere" in found.stderr


def test_serving_without_werkzeug_says_what_to_install(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "werkzeug", None)
    found = shell.run("serve", shell.deployment)
    assert found.exit_code == 1
    assert "nomadquery[local]" in found.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches processes differently")
def test_ctrl_c_ends_with_130(shell: Shell) -> None:
    """While a server keeps it waiting; the message says that the same command goes on."""
    with FaultServer() as server:
        server.will_answer(as_json({"version": "2.0.0"}), Answer(fault="silence"))
        with shell.running("entries", "-d", server.api_base) as process:
            while len(server.received) < 2:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=A_MINUTE)
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "Stopped: what had arrived is kept, and the same command goes on there.\n"


def test_verbose_says_what_is_fetched(shell: Shell) -> None:
    """On standard error, only if asked."""
    code, stdout, stderr = shell.process("-v", "entries", "-d", shell.deployment, "--format", "jsonl")
    assert (code, stdout.count("\n")) == (0, 3)
    assert "fetched 3 entries" in stderr


def test_the_version_is_the_packages(shell: Shell) -> None:
    """As in Python."""
    import nomadquery

    assert shell.run("--version").stdout == f"nomadquery {nomadquery.__version__}\n"


def test_colours_are_for_terminals_only(shell: Shell) -> None:
    """Nothing that is piped holds an escape sequence."""
    code, stdout, _ = shell.process("entries", "-d", shell.deployment, "--select", "gap")
    assert code == 0
    assert "\x1b" not in stdout
    assert os.linesep in stdout
