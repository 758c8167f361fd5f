"""``nomadquery lock``: pin a table, get it again, compare and divide what is pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from nomadquery.cli.asked import Asked, Wanted, asked_options, cache_option, owner_option, wanted_options
from nomadquery.cli.entries import tell
from nomadquery.cli.output import Output, give_frame, give_search, output_options
from nomadquery.cli.question import Question, question_options
from nomadquery.locked import from_lock
from nomadquery.store.pins import Lock

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("lock")
def lock() -> None:
    """Pin the entries of a table in a lockfile, and get the same table from it."""


@lock.command("write")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@question_options
@owner_option
@wanted_options
@click.option("--offline", is_flag=True, help="Send nothing: pin a table that is kept.")
@asked_options
def write(
    *, file: Path, question: Question, owner: str | None, wanted: Wanted, offline: bool, asked: Asked
) -> None:
    """Pin a table: write question, entry ids and times to FILE (.json, or .json.gz).

    The table is pinned as it is kept on this machine; else the server lists ids and times.
    """
    with asked.client(offline=offline) as nomad:
        search = wanted.of(nomad.entries(*question.criteria(), owner=owner))
        click.echo(f"wrote {file}: {search.lock(file)!r}", err=True)


@lock.command("table")
@click.argument("lockfile", metavar="FILE", type=_FILE)
@click.option("--accept", is_flag=True, help="Take entries as they are now where they changed since.")
@click.option("--part", nargs=2, type=int, metavar="I N", help="Only part I (from 0) of N, by entry id.")
@click.option("--offline", is_flag=True, help="Send nothing: give what is kept.")
@click.option("--progress/--no-progress", default=None, help="Show a bar; by default on a terminal.")
@cache_option
@output_options
def table(
    *,
    lockfile: Path,
    accept: bool,
    part: tuple[int, int] | None,
    offline: bool,
    progress: bool | None,
    cache_dir: Path | None,
    output: Output,
) -> None:
    """Get the table that FILE pins; exit code 1 if entries are gone or changed since."""
    output.check()
    pins = Lock.read(lockfile)
    search = from_lock(
        pins if part is None else pins.shard(*part),
        changed="accept" if accept else "refuse",
        cache_dir=cache_dir,
        offline=offline,
        progress=progress,
    )
    give_search(search, output, {})
    tell(search)


@lock.command("diff")
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@output_options
def diff(old: Path, new: Path, output: Output) -> None:
    """Print which entries were added, changed or removed from lockfile OLD to NEW."""
    give_frame(Lock.read(old).diff(Lock.read(new)), output)


@lock.command("split")
@click.argument("file", type=_FILE)
@click.argument("n_parts", type=click.IntRange(min=1))
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder to write to; else the current one.",
)
def split(file: Path, n_parts: int, into: Path) -> None:
    """Write N_PARTS lockfiles, FILE's entries divided among them by id: part-0.lock.json.gz …"""
    pins = Lock.read(file)
    for number in range(n_parts):
        part = pins.shard(number, n_parts)
        written = part.write(into / f"part-{number}.lock.json.gz")
        click.echo(f"wrote {written}: {part.n_entries:,} entries", err=True)
