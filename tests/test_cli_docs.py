"""``docs/cli.md`` names everything that the command line has, and its examples work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nomadquery.cli import main
from nomadquery.cli.main import COMMANDS, cli
from tests.command_line import demo_shell

PAGE = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"(?m)^\$ (nomadquery .*)$", PAGE)


def commands(
    group: click.Group = cli, words: tuple[str, ...] = ("nomadquery",)
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


ALL = dict(commands())


@pytest.mark.parametrize("words", ALL)
def test_the_page_names_every_command(words: str) -> None:
    """In the table of commands."""
    assert f"| `{words}" in PAGE


@pytest.mark.parametrize("words", ALL)
def test_the_page_names_every_option(words: str) -> None:
    """In all its spellings, and what each is for is said in its help."""
    for option in (one for one in (*ALL[words].params, *cli.params) if isinstance(one, click.Option)):
        for spelling in (*option.opts, *option.secondary_opts):
            assert f"`{spelling}" in PAGE, spelling
        assert option.help


@pytest.mark.parametrize("code", [main.DONE, main.FAILED, main.WRONG_USE, main.INCOMPLETE, main.STOPPED])
def test_the_page_names_every_exit_code(code: int) -> None:
    """In a table of their own."""
    assert re.search(rf"(?m)^\| {code} \| ", PAGE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_of_commands_fits_the_command(name: str) -> None:
    """Each has help of its own, and lines end alike."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.help
    assert COMMANDS[name][1].endswith(".") and len(COMMANDS[name][1]) < 80


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_page_work(example: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without a network."""
    found = demo_shell(tmp_path_factory).run(*shlex.split(example)[1:])
    assert found.exit_code == 0, found.stderr
    assert found.stdout
