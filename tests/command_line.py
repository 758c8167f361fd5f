"""Run the command line: in this process, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nomadquery.cli.main import cli
from nomadquery.local.store import LocalStore
from tests.faults.server import Answer, as_json
from tests.local_entries import an_archive

ROOT = Path(__file__).parents[1]
A_MINUTE = 60
SCRIPT = (sys.executable, "-c", "from nomadquery.cli.main import main; main()")


@dataclass(frozen=True)
class Shell:
    """A folder for everything that commands keep, and a deployment of three entries in it."""

    home: Path

    @property
    def deployment(self) -> str:
        """The folder of the deployment: entries ``a`` (O, Ti), ``b`` (O, Ti) and ``c`` (Cu)."""
        return str(self.home / "deployment")

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NOMAD")}
        folders = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "config")}
        own = {"NOMADQUERY_CACHE_DIR": str(self.cache), "NOMADQUERY_RUNTIME_DIR": str(self.home / "runtime")}
        return kept | folders | own | {"PYTHONPATH": str(ROOT)}

    def run(self, *arguments: object, stdin: str | bytes | None = None) -> Result:
        """Return what a command printed and its exit code."""
        self.home.mkdir(parents=True, exist_ok=True)
        own = {name: None for name in os.environ if name.startswith("NOMAD")} | dict(self.environment)
        runner = CliRunner(env=own)
        return runner.invoke(
            cli, [str(one) for one in arguments], input=stdin, prog_name="nomadquery", catch_exceptions=False
        )

    def ask(self, command: str, *arguments: object, stdin: str | bytes | None = None) -> Result:
        """Return the same for a command that asks the deployment of three entries."""
        return self.run(command, "-d", self.deployment, *arguments, stdin=stdin)

    def process(self, *arguments: object) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error of a process of its own."""
        with self.running(*arguments) as process:
            stdout, stderr = process.communicate(timeout=A_MINUTE)
        return process.returncode, stdout, stderr

    @contextmanager
    def running(
        self, *arguments: object, stdin: int | None = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[str]]:
        """Give a process that runs a command; it ends with the block."""
        with subprocess.Popen(
            [*SCRIPT, *map(str, arguments)],
            env=self.environment,
            cwd=self.home,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


def demo_shell(factory: pytest.TempPathFactory) -> Shell:
    """Return a shell whose cache all tests of this run share, so that the demo is unpacked once."""
    return Shell(factory.getbasetemp() / "demo-shell")


def a_page(*entry_ids: str, total: int) -> Answer:
    """Return an answer to ``entries/query``: a page of these entries, of ``total``."""
    after = {"next_page_after_value": entry_ids[-1]} if entry_ids else {}
    pagination = {"page_size": max(1, len(entry_ids)), "total": total} | after
    data = [{"entry_id": entry_id} for entry_id in entry_ids]
    return as_json({"owner": "public", "pagination": pagination, "data": data})


def a_shell(home: Path) -> Shell:
    """Return a shell whose deployment is filled."""
    shell = Shell(home)
    with LocalStore(home / "deployment") as store:
        store.add_archives([an_archive("a"), an_archive("b"), an_archive("c", elements=["Cu"])])
    return shell
