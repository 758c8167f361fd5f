"""Where the data go, and in which form: ``--format`` and ``-o``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from nomadquery.cli.bundles import Command, bundled
from nomadquery.cli.sheets import check_openpyxl
from nomadquery.cli.tables import print_frame
from nomadquery.fetch.writers import write_excel
from nomadquery.results import WishWords
from nomadquery.search import Search
from nomadquery.store.files import remove_folder, replacing, temporary_folder

if TYPE_CHECKING:
    import pandas as pd

FORMATS: Final = ("table", "csv", "json", "jsonl", "parquet")
SUFFIXES: Final = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".parquet": "parquet", ".xlsx": "xlsx"}
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Output:
    """The form of the data, and the file they go to; ``None``: standard output."""

    format: str | None
    file: Path | None

    @property
    def kind(self) -> str:
        """``table``, ``csv``, ``json``, ``jsonl``, ``parquet`` or ``xlsx``."""
        if self.file is None:
            return self.format or "table"
        return SUFFIXES.get(self.file.suffix.lower(), "")

    def check(self) -> None:
        """Refuse wrong use before anything is fetched.

        Raises
        ------
        click.UsageError
            If the options contradict each other, or the target cannot take the form.
        """
        if self.file is None:
            if self.format == "parquet" and sys.stdout.isatty():
                raise click.UsageError("Parquet is not for terminals: give -o FILE.parquet.")
            return
        if not self.kind:
            raise click.BadParameter(f"its suffix is one of {', '.join(SUFFIXES)}.", param_hint="-o")
        if self.format not in {None, self.kind}:
            raise click.UsageError(f"-o {self.file.name} and --format {self.format} contradict each other.")
        if self.kind == "xlsx":
            check_openpyxl()


output_options: Final[Callable[[Command], Command]] = bundled(
    "output",
    Output,
    click.option("--format", type=click.Choice(FORMATS), help="On standard output; table is the default."),
    click.option(
        "-o",
        "--output",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"Write a file; its suffix ({', '.join(SUFFIXES)}) says the form.",
    ),
)


def give_frame(frame: pd.DataFrame, output: Output) -> None:
    """Write a small DataFrame as ``output`` says."""
    output.check()
    kind = output.kind
    if kind == "table":
        print_frame(frame)
        return
    if kind == "xlsx":
        import pyarrow as pa

        table = pa.Table.from_pandas(frame, preserve_index=False)
        write_excel(table.to_batches(), table.schema, _file_of(output), {})
        return
    with _stream(output) as stream:
        match kind:
            case "csv":
                stream.write(frame.to_csv(index=False, lineterminator="\n").encode())
            case "json":
                stream.write(frame.to_json(orient="records", date_format="iso", indent=1).encode() + b"\n")
            case "jsonl":
                stream.write(frame.to_json(orient="records", date_format="iso", lines=True).encode())
            case _:
                frame.to_parquet(stream, index=False)


def give_search(search: Search, output: Output, wishes: WishWords) -> None:
    """Fetch the table of a search and write it as ``output`` says.

    Only ``table``, which is for people, holds it in memory.
    """
    match output.kind:
        case "table":
            print_frame(search.to_pandas(**wishes))
        case "xlsx":
            search.to_excel(_file_of(output), **wishes)
        case "json":
            with _stream(output) as stream:
                for piece in _json_array(search.rows(**wishes)):
                    stream.write(piece.encode())
        case kind if output.file is not None:
            _written(search, kind, output.file, wishes)
        case kind:
            _to_stdout(search, kind, wishes)
    if output.file is not None:
        click.echo(f"wrote {output.file} ({output.file.stat().st_size:,} bytes)", err=True)


def _file_of(output: Output) -> Path:
    if output.file is None:
        raise click.UsageError("A sheet goes to a file: -o FILE.xlsx.")
    return output.file


def _written(search: Search, kind: str, file: Path, wishes: WishWords) -> None:
    {"csv": search.to_csv, "jsonl": search.to_jsonl, "parquet": search.to_parquet}[kind](file, **wishes)


def _to_stdout(search: Search, kind: str, wishes: WishWords) -> None:
    """Write the table beside and copy it, so that what is printed is what a file would hold."""
    folder = temporary_folder()
    try:
        file = folder / f"table.{kind}"
        _written(search, kind, file, wishes)
        target = sys.stdout.buffer
        with file.open("rb") as source:
            while block := source.read(_BLOCK):
                target.write(block)
        target.flush()
    finally:
        remove_folder(folder)


@contextmanager
def _stream(output: Output) -> Iterator[IO[bytes]]:
    if output.file is not None:
        with replacing(output.file) as stream:
            yield stream
        return
    stdout = sys.stdout.buffer
    yield stdout
    stdout.flush()


def _json_array(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield the pieces of a JSON array, one row a line; times in ISO form."""
    separator = "[\n"
    for row in rows:
        yield separator + json.dumps(row, ensure_ascii=False, default=lambda time: time.isoformat())
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"
