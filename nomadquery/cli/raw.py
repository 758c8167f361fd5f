"""``nomadquery raw``: list, plan and download raw files, or print one, or its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import click

from nomadquery.cli.asked import Asked, asked_options, owner_option
from nomadquery.cli.bundles import Command, bundled
from nomadquery.cli.output import Output, give_frame, output_options
from nomadquery.cli.question import Question, question_options
from nomadquery.cli.words import on_one_screen
from nomadquery.raw.names import Layout
from nomadquery.raw.plan import ROUTES, Route
from nomadquery.rawfiles import RawFiles

_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whose files, and which of them."""

    owner: str | None
    limit: int | None
    upload: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    regex: str | None
    max_size: str | None

    @contextmanager
    def files(self, asked: Asked, question: Question, *, progress: bool | None = None) -> Iterator[RawFiles]:
        """Give the files, of an upload or of the entries that match, while the client is open."""
        criteria = question.criteria()
        if self.upload is not None and (criteria or self.owner is not None or self.limit is not None):
            raise click.UsageError("--upload names all files of one upload; leave the other criteria out.")
        with asked.client(progress=progress) as nomad:
            if self.upload is not None:
                yield nomad.raw(
                    self.upload,
                    self.include,
                    exclude=self.exclude,
                    regex=self.regex,
                    max_size=_size(self.max_size),
                )
                return
            search = nomad.entries(*criteria, owner=self.owner)
            search = search if self.limit is None else search.limit(self.limit)
            yield search.raw(
                self.include, exclude=self.exclude, regex=self.regex, max_size=_size(self.max_size)
            )


chosen_options: Final[Callable[[Command], Command]] = bundled(
    "chosen",
    Chosen,
    owner_option,
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most this many entries."),
    click.option("--upload", metavar="UPLOAD_ID", help="All files of an upload, in place of a question."),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Only files like this: 'OUTCAR*', 'relax/vasprun.xml'. Several: one of them must fit.",
    ),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="No files like this. May be repeated."),
    click.option("--regex", metavar="EXPRESSION", help="Only files with this somewhere in their path."),
    click.option("--max-size", metavar="SIZE", help="No larger files: '100 MB', '2 GiB'."),
)
layout_option = click.option(
    "--layout",
    type=click.Choice(get_args(Layout)),
    default="entry",
    help="ENTRY_ID/NAME (the default), UPLOAD_ID/PATH, or NAME.",
)
packed_option = click.option(
    "--no-unpack", "packed", is_flag=True, help="One zip for each upload, in place of the layout."
)
route_option = click.option("--route", type=click.Choice(ROUTES), help="The way to go; else the cheapest.")
decompress_option = click.option("--decompress", is_flag=True, help="Unpack .gz, .xz and .bz2.")
verify_option = click.option(
    "--verify", is_flag=True, help="Read what is there already, and compare its SHA-256."
)


@click.group("raw")
def raw() -> None:
    """List, plan and download raw files, or print one, or its end."""


@raw.command("list")
@question_options
@chosen_options
@asked_options
@output_options
def list_files(*, question: Question, chosen: Chosen, asked: Asked, output: Output) -> None:
    """List the files of the entries that match, one a line: entry, upload, path, size."""
    output.check()
    with chosen.files(asked, question) as files:
        frame = files.to_pandas()
    frame["entry_ids"] = frame["entry_ids"].map(" ".join)
    give_frame(frame, output)


@raw.command("plan")
@question_options
@chosen_options
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="The folder to compare with.")
@layout_option
@packed_option
@route_option
@decompress_option
@verify_option
@asked_options
def plan(
    *,
    question: Question,
    chosen: Chosen,
    into: Path | None,
    layout: Layout,
    packed: bool,
    route: Route | None,
    decompress: bool,
    verify: bool,
    asked: Asked,
) -> None:
    """Print what a download would do: files, bytes, requests, the way; nothing is fetched."""
    with chosen.files(asked, question) as files:
        planned = files.plan(
            into, layout=layout, unpack=not packed, route=route, decompress=decompress, verify=verify
        )
    click.echo(on_one_screen(str(planned)))


@raw.command("download")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@question_options
@chosen_options
@layout_option
@packed_option
@route_option
@decompress_option
@verify_option
@click.option("--max-workers", type=click.IntRange(min=1), metavar="N", help="Requests at once, at most 8.")
@click.option("--progress/--no-progress", default=None, help="Show a bar; by default on a terminal.")
@asked_options
def download(
    *,
    folder: Path,
    question: Question,
    chosen: Chosen,
    layout: Layout,
    packed: bool,
    route: Route | None,
    decompress: bool,
    verify: bool,
    max_workers: int | None,
    progress: bool | None,
    asked: Asked,
) -> None:
    """Download the files of the entries that match into FOLDER; what is there is not fetched again."""
    with chosen.files(asked, question, progress=progress) as files:
        frame = files.download(
            folder,
            layout=layout,
            unpack=not packed,
            decompress=decompress,
            verify=verify,
            route=route,
            max_workers=max_workers,
            progress=progress,
        )
    click.echo(f"{len(frame):,} files, {frame['size_bytes'].sum():,} bytes in {folder}", err=True)


@raw.command("cat")
@click.argument("path")
@question_options
@chosen_options
@asked_options
def cat(*, path: str, question: Question, chosen: Chosen, asked: Asked) -> None:
    """Write one file to standard output; PATH is its path, or the end of it."""
    with chosen.files(asked, question) as files, files.open(path) as source:
        while block := source.read(_BLOCK):
            sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


@raw.command("tail")
@click.argument("path")
@click.option("--bytes", "size", default="4 kB", metavar="SIZE", help="How much: '64 KiB'; by default 4 kB.")
@question_options
@chosen_options
@asked_options
def tail(*, path: str, size: str, question: Question, chosen: Chosen, asked: Asked) -> None:
    """Write the end of one file to standard output; only that much is fetched."""
    with chosen.files(asked, question) as files:
        sys.stdout.buffer.write(files.tail(path, _size(size) or 0))
    sys.stdout.buffer.flush()


def _size(text: str | None) -> int | str | None:
    """Return a size as it was typed: digits alone are bytes."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else text
