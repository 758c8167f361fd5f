"""Entry ids from a file that people keep: a list, or a column of a spreadsheet."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import click

from nomadquery.cli.sheets import check_openpyxl

COLUMN: Final = "entry_id"
_SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}
#: What NOMAD makes of upload and mainfile: 28 signs of base64 for addresses.
_ENTRY_ID: Final = re.compile(r"[A-Za-z0-9_-]{28}")


def read_ids(file: Path) -> list[str]:
    """Return the ids in a file, in its order; cells without one are passed over.

    A text has one id a line; ``-`` is standard input. A ``.csv``, ``.tsv`` or ``.xlsx`` has them in
    the column ``entry_id``, or else in the first one; its first row is a header unless it begins with
    an entry id.

    Raises
    ------
    click.BadParameter
        If there is no id in it, or it cannot be read.
    """
    suffix = file.suffix.lower()
    try:
        if suffix in _SEPARATORS:
            ids = _column(_rows_of_text(file, _SEPARATORS[suffix]))
        elif suffix == ".xlsx":
            ids = _column(_rows_of_sheet(file))
        else:
            ids = _lines(file)
    except (ValueError, KeyError, csv.Error, BadZipFile) as error:
        raise click.BadParameter(f"{file} cannot be read: {error}.", param_hint="--ids") from error
    ids = [one for one in ids if one]
    if not ids:
        raise click.BadParameter(f"{file} holds no entry ids.", param_hint="--ids")
    return ids


def _lines(file: Path) -> list[str]:
    with click.open_file(str(file), encoding="utf-8-sig") as stream:
        return [line.strip() for line in stream]


def _rows_of_text(file: Path, separator: str) -> list[list[str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.reader(stream, delimiter=separator))


def _rows_of_sheet(file: Path) -> list[list[str]]:
    import pandas as pd

    check_openpyxl()
    sheet = pd.read_excel(file, header=None, dtype="string", keep_default_na=False)
    return [[str(cell) for cell in row] for row in sheet.itertuples(index=False)]


def _column(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells of the column of ids."""
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if not filled:
        return []
    header = [cell.strip() for cell in filled[0]]
    position = header.index(COLUMN) if COLUMN in header else 0
    body = filled if _ENTRY_ID.fullmatch(header[0]) else filled[1:]
    return [row[position].strip() for row in body if len(row) > position]
