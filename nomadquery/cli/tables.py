"""A DataFrame as aligned text: units below the names, cut to the width of a terminal."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from nomadquery.cli.words import on_one_line

if TYPE_CHECKING:
    import pandas as pd

_GAP: Final = "  "
_MISSING: Final = "-"
_CUT: Final = "…"
_WIDEST: Final = 60
_NARROWEST: Final = 12
_DIGITS: Final = 6
_ITEMS_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    unit: str
    cells: tuple[str, ...]
    is_number: bool

    @property
    def width(self) -> int:
        return max(map(len, (self.name, self.unit, *self.cells)))

    def at_most(self, width: int) -> _Column:
        cut = (self.name, self.unit, *self.cells)
        name, unit, *cells = (text if len(text) <= width else text[: width - 1] + _CUT for text in cut)
        return _Column(name, unit, tuple(cells), self.is_number)

    def aligned(self, text: str, width: int) -> str:
        return text.rjust(width) if self.is_number else text.ljust(width)


def print_frame(frame: pd.DataFrame) -> None:
    """Print the rows to standard output; on a terminal as wide as that, elsewhere whole.

    Columns that find no place are named on standard error.
    """
    lines, hidden = rendered(frame, frame.attrs.get("units", {}), terminal_width())
    for line in lines:
        click.echo(line)
    if hidden:
        click.echo(f"No place for: {', '.join(hidden)}. All columns: --format csv, or -o FILE.", err=True)


def rendered(
    frame: pd.DataFrame, units: Mapping[str, str], width: int | None = None
) -> tuple[list[str], list[str]]:
    """Return the lines of the table, and the names of the columns left out for lack of width.

    Parameters
    ----------
    frame : DataFrame
        Numbers are shown with six digits, missing values as ``-``, lists with their first items.
    units : mapping
        Column → unit, shown in a line of its own below the names.
    width : int, optional
        Longest line; long texts are cut first, then the last columns left out. The first always stays.
    """
    columns = [
        _Column(str(name), units.get(str(name), ""), tuple(map(_text, frame[name])), _is_number(frame[name]))
        for name in frame.columns
    ]
    shown = columns if width is None else _fitting(columns, width)
    widths = [column.width for column in shown]
    lines = [_line([column.name for column in shown], shown, widths)]
    if any(column.unit for column in shown):
        lines.append(click.style(_line([column.unit for column in shown], shown, widths), dim=True))
    lines += [
        _line([column.cells[row] for column in shown], shown, widths) for row in range(len(frame.index))
    ]
    return lines, [column.name for column in columns[len(shown) :]]


def terminal_width() -> int | None:
    """Return how many signs a line of standard output holds; ``None`` if it is no terminal."""
    if not sys.stdout.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    return (
        int(columns)
        if columns.isdigit() and int(columns)
        else os.get_terminal_size(sys.stdout.fileno()).columns
    )


def _fitting(columns: Sequence[_Column], width: int) -> list[_Column]:
    """Return the columns, cut and as many as a line holds."""
    widest = max((column.width for column in columns), default=0)
    for limit in range(min(widest, _WIDEST), _NARROWEST - 1, -1):
        cut = [columns[0], *(column if column.is_number else column.at_most(limit) for column in columns[1:])]
        if _total(cut) <= width:
            return cut
    while len(cut) > 1 and _total(cut) > width:
        cut.pop()
    return cut


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _line(texts: Sequence[str], columns: Sequence[_Column], widths: Sequence[int]) -> str:
    cells = (column.aligned(text, width) for text, column, width in zip(texts, columns, widths, strict=True))
    return _GAP.join(cells).rstrip()


def _is_number(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "iuf"


def _text(value: Any) -> str:
    """Return one cell: numbers with six digits, arrays by their shape, times to the second."""
    if getattr(value, "shape", ()):  # a number of NumPy has the shape ()
        return "array " + "×".join(map(str, value.shape))
    if isinstance(value, list | tuple):
        shown = ", ".join(_text(item) for item in value[:_ITEMS_SHOWN])
        return shown + (f", {_CUT} ({len(value)})" if len(value) > _ITEMS_SHOWN else "")
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return _MISSING
    if isinstance(value, float):
        return _MISSING if math.isnan(value) else f"{value:.{_DIGITS}g}"
    if hasattr(value, "isoformat"):
        return str(value.strftime("%Y-%m-%d %H:%M:%S"))
    return on_one_line(str(value))
