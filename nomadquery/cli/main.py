"""The console script ``nomadquery``: which commands there are, and what a failure looks like.

A command's module is imported when the command is asked for: the table below says where it is, so
that ``nomadquery --help`` reads none of them. Exit codes: 0 done, also with no rows; 1 refused or
failed; 2 wrong use; 3 incomplete, the same command goes on; 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import click

from nomadquery import __version__
from nomadquery.cli.words import on_one_screen
from nomadquery.errors import IncompleteResult, InvalidRequest, NomadError, QueryError

DONE: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
INCOMPLETE: Final = 3
STOPPED: Final = 130

#: Command → module of this folder, and its line in ``nomadquery --help``, in the order of that list.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo", "Show on shipped data what the library does; needs no network."),
    "count": ("entries", "Print how many entries match."),
    "entries": ("entries", "Get the complete table of the entries that match."),
    "archives": ("archives", "Get the whole archives of the entries that match, as JSON."),
    "raw": ("raw", "List, plan and download raw files, or print one, or its end."),
    "lock": ("lock", "Pin the entries of a table in a lockfile, and get the same table from it."),
    "facet": ("facet", "Count the entries with each value of a quantity, or in bins of a number."),
    "quantities": ("quantities", "List what can be asked and selected."),
    "explain": ("explain", "Print a question in words, as Python and as NOMAD's JSON."),
    "cache": ("cache", "List, show, remove, verify and pack what is kept on this machine."),
    "serve": ("serve", "Put a local deployment on a port of this machine."),
    "whoami": ("account", "Print who the server takes you for."),
    "login": ("account", "Save a token for a deployment."),
}


class CommandLine(click.Group):
    """The commands of `COMMANDS`, and one place where errors become messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # as click calls it
        """Return the commands in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, importing its module, or ``None`` if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"nomadquery.cli.{COMMANDS[cmd_name][0]}")
        return cast(click.Command, getattr(module, cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands for ``--help``, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of the library becomes a message and an exit code."""
        try:
            with _warnings_as_talk():
                result = super().invoke(ctx)
                sys.stdout.flush()
        except BrokenPipeError:
            _stop_writing()
            ctx.exit(DONE)
        except click.NoSuchOption as error:
            raise _without_secrets(error) from error
        except KeyboardInterrupt:
            _say("Stopped", "what had arrived is kept, and the same command goes on there.")
            ctx.exit(STOPPED)
        except (NomadError, OSError) as error:
            if ctx.params.get("debug"):
                click.echo("".join(traceback.format_exception(error)), err=True)
            _say("Error", str(error))
            ctx.exit(exit_code_of(error))
        return result


def exit_code_of(error: Exception) -> int:
    """Return the exit code of an error: what the user typed 2, incomplete 3, all else 1."""
    match error:
        case IncompleteResult():
            return INCOMPLETE
        case QueryError() | InvalidRequest(status=0):
            return WRONG_USE
        case _:
            return FAILED


@click.group(
    "nomadquery",
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, also with no rows; 1 refused or failed; 2 wrong use; 3 incomplete, the same "
    "command goes on where it stopped. Data go to standard output, everything else to standard error.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("-v", "--verbose", count=True, help="Say what is requested and reused; twice: every request.")
@click.option("--debug", is_flag=True, help="Show where in the code an error comes from.")
@click.pass_context
def cli(ctx: click.Context, verbose: int, debug: bool) -> None:  # noqa: ARG001  # debug is read by invoke
    """Ask NOMAD and get a complete table with units."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if verbose:
        level = logging.INFO if verbose == 1 else logging.DEBUG
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING, force=True)
        logging.getLogger("nomadquery").setLevel(level)


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show Å shows ? instead of failing
    cli(prog_name="nomadquery")


@contextmanager
def _warnings_as_talk() -> Iterator[None]:
    """Show warnings as one line each on standard error, without the place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _say("Warning", str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def _say(what: str, text: str) -> None:
    """Say something on standard error; texts of servers are made safe to show."""
    click.echo(f"{what}: {on_one_screen(text)}", err=True)


def _stop_writing() -> None:
    """Send what is still in the buffer nowhere: the reader of the pipe has had enough."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _without_secrets(error: click.NoSuchOption) -> click.UsageError:
    """Return the error of an option that does not exist; tokens and passwords have none."""
    if error.option_name not in {"--token", "--password", "--username"}:
        return error
    return click.UsageError(
        f"There is no option {error.option_name}: what stands on a command line is seen by every user of the "
        "machine and kept in the shell's history. Set NOMADQUERY_TOKEN, or run `nomadquery login` once.",
        ctx=error.ctx,
    )
