"""``nomadquery archives``: whole archives as JSON, one a line or one a file."""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from nomadquery.cli.asked import Asked, asked_options, owner_option
from nomadquery.cli.question import Question, question_options
from nomadquery.columns.archive import Archive
from nomadquery.errors import UnsafeContent
from nomadquery.store.files import replacing

#: What files of lines are called; anything else is a folder.
SUFFIXES: Final = (".jsonl", ".jsonl.gz")
_NAME: Final = re.compile(r"[\w-]+", re.ASCII)

Write = Callable[[Archive], None]


@click.command("archives")
@question_options
@owner_option
@click.option(
    "--required",
    default="*",
    metavar="JSON",
    help="""Which parts of each archive, in NOMAD's form: '{"results": "*"}', or a file that holds it.""",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most this many entries.")
@click.option("--refresh", is_flag=True, help="Fetch again what is kept.")
@click.option("--max-age", metavar="AGE", help="List the entries again if that is older: 7d, 12h, 30min.")
@click.option("--offline", is_flag=True, help="Send nothing: give what is kept.")
@click.option("--progress/--no-progress", default=None, help="Show a bar; by default on a terminal.")
@asked_options
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    help=f"A file ({', '.join(SUFFIXES)}) with one archive a line, or a folder with a file for each.",
)
def archives(
    *,
    question: Question,
    owner: str | None,
    required: str,
    limit: int | None,
    refresh: bool,
    max_age: str | None,
    offline: bool,
    progress: bool | None,
    asked: Asked,
    target: Path | None,
) -> None:
    """Get the whole archives of the entries that match, as JSON.

    A line is {"entry_id": …, "upload_id": …, "archive": {…}}; in a folder, ENTRY_ID.json holds the archive
    alone. Numbers are in the units that NOMAD stores.
    """
    wanted = read_required(required)
    check_target(target)
    n_written = 0
    with asked.client(offline=offline, progress=progress) as nomad:
        search = nomad.entries(*question.criteria(), owner=owner)
        search = search if limit is None else search.limit(limit)
        found = search.archives(wanted, refresh=refresh, max_age=max_age)
        with _writer(target) as write:
            for archive in found:
                write(archive)
                n_written += 1
    if target is not None:
        click.echo(f"wrote {n_written:,} archives to {target}", err=True)


def read_required(text: str) -> Any:
    """Return the ``required`` that was typed, or that stands in a file of that name.

    Raises
    ------
    click.BadParameter
        If it is neither ``*`` nor JSON nor such a file.
    """
    if text == "*":
        return text
    try:
        if not text.lstrip().startswith(("{", "[", '"')):
            text = Path(text).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise click.BadParameter(
            f"{text!r} is neither '*' nor a JSON object nor a file that can be read.",
            param_hint="--required",
        ) from error
    except ValueError as error:
        raise click.BadParameter(f"it is no JSON: {error}.", param_hint="--required") from error


def check_target(target: Path | None) -> None:
    """Refuse, before anything is fetched, a target that is neither a file of lines nor a folder."""
    if target is None or target.name.lower().endswith(SUFFIXES):
        if target is not None and target.is_dir():
            raise click.BadParameter(f"{target} is a folder.", param_hint="-o")
        return
    if target.suffix or (target.exists() and not target.is_dir()):
        raise click.BadParameter(
            f"it is a file that ends in {' or '.join(SUFFIXES)}, or a folder.", param_hint="-o"
        )


@contextmanager
def _writer(target: Path | None) -> Iterator[Write]:
    """Give what writes an archive; a file of lines is there when all of them are."""
    if target is None:
        yield lambda archive: _write_line(archive, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif not target.name.lower().endswith(SUFFIXES):
        folder = target
        yield lambda archive: _write_file(archive, folder)
    else:
        with replacing(target, advice="Choose another place with -o.") as stream:
            if target.suffix.lower() != ".gz":
                yield lambda archive: _write_line(archive, stream)
                return
            with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
                yield lambda archive: _write_line(archive, packed)


def _write_line(archive: Archive, stream: IO[bytes] | gzip.GzipFile) -> None:
    content = {"entry_id": archive.entry_id, "upload_id": archive.upload_id, "archive": archive.data}
    stream.write(json.dumps(content, separators=(",", ":")).encode() + b"\n")


def _write_file(archive: Archive, folder: Path) -> None:
    if not _NAME.fullmatch(archive.entry_id):
        raise UnsafeContent(f"{archive.entry_id!r} is no entry id, so no file is called like it.")
    with replacing(folder / f"{archive.entry_id}.json", advice="Choose another place with -o.") as stream:
        stream.write(json.dumps(archive.data, separators=(",", ":")).encode())
