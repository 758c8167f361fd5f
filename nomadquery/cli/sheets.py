"""A DataFrame as one sheet of an ``.xlsx`` file."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, cast

import click

from nomadquery.cli.words import on_one_screen

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS: Final = 1_048_575  # 2**20, one of which is the header
_SHEET: Final = "table"


def check_openpyxl() -> None:
    """Refuse, before anything is fetched, if sheets can be neither read nor written here.

    Raises
    ------
    click.UsageError
        If openpyxl is not installed.
    """
    if find_spec("openpyxl") is None:
        raise click.UsageError('Sheets (.xlsx) need openpyxl: pip install "nomadquery[excel]".')


def write_sheet(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write the frame: lists as JSON, times in UTC (sheets know no zones), texts never as formulas.

    Raises
    ------
    click.UsageError
        If it has more rows than a sheet holds.
    """
    import pandas as pd

    if len(frame.index) > _MOST_ROWS:
        raise click.UsageError(
            f"A sheet holds {_MOST_ROWS:,} rows, not {len(frame.index):,}: write .parquet or .csv."
        )
    plain = pd.DataFrame({name: _plain_column(frame[name]) for name in frame.columns})
    with pd.ExcelWriter(cast(BinaryIO, stream), engine="openpyxl") as writer:
        plain.to_excel(writer, sheet_name=_SHEET, index=False)
        for row in writer.sheets[_SHEET].iter_rows():
            for cell in row:
                if cell.data_type == "f":  # a text that begins with =, as names on a server may
                    cell.data_type = "s"


def _plain_column(column: pd.Series[Any]) -> Any:
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.dt.tz_localize(None)
    if column.dtype.kind in "iufb":
        return column
    return [_plain_cell(value) for value in column]


def _plain_cell(value: Any) -> Any:
    if value is None or type(value).__name__ == "NAType":
        return None
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, list):
        return json.dumps(plain, ensure_ascii=False, default=str)
    return on_one_screen(plain) if isinstance(plain, str) else plain
