"""Arrow table → pandas DataFrame, with units, and back.

Numbers become ``float64`` (a missing one is NaN), integers nullable ``Int64``, truth values
nullable ``boolean``, texts ``string``, times ``datetime64[ms, UTC]``; lists are Python lists, arrays of
numbers NumPy arrays of their full shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from nomadquery import units as unit_tools
from nomadquery.errors import QueryError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

UnitStyle = Literal["attrs", "names", "pint"]
Dtypes = Literal["numpy", "arrow"]


def units_of(schema: pa.Schema) -> dict[str, str]:
    """Return column → unit for the columns that have one."""
    pairs = ((field.name, (field.metadata or {}).get(b"unit")) for field in schema)
    return {name: unit.decode() for name, unit in pairs if unit}


def to_pandas(
    table: pa.Table,
    facts: Mapping[str, Any],
    *,
    units: UnitStyle = "attrs",
    dtypes: Dtypes = "numpy",
) -> pd.DataFrame:
    """Return the table as a DataFrame in the same order of rows and columns.

    Parameters
    ----------
    table : pyarrow.Table
    facts : dict
        Goes into ``attrs["nomadquery"]``; JSON only.
    units : {"attrs", "names", "pint"}
        Units in ``attrs["units"]`` (always), in the column names as well (``gap (eV)``), or as
        pint quantities: a column of numbers becomes one of ``pint.Quantity`` objects.
    dtypes : {"numpy", "arrow"}
        NumPy and nullable dtypes, or pandas' Arrow dtypes.
    """
    import pandas as pd

    if units not in {"attrs", "names", "pint"}:
        raise QueryError(f"units is 'attrs', 'names' or 'pint', not {units!r}.")
    if dtypes not in {"numpy", "arrow"}:
        raise QueryError(f"dtypes is 'numpy' or 'arrow', not {dtypes!r}.")
    if dtypes == "arrow":
        frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    else:
        frame = pd.DataFrame({field.name: _series(table[field.name], field) for field in table.schema})
    known = units_of(table.schema)
    if units == "pint":
        for name, unit in known.items():
            frame[name] = _quantities(frame[name], unit)
    elif units == "names":
        frame = frame.rename(columns={name: f"{name} ({unit})" for name, unit in known.items()})
        known = {f"{name} ({unit})": unit for name, unit in known.items()}
    frame.attrs["units"] = known
    frame.attrs["nomadquery"] = dict(facts)
    return cast("pd.DataFrame", frame)


def _series(column: pa.ChunkedArray, field: pa.Field) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa

    kind = field.type
    if pa.types.is_list(kind):
        is_array = (field.metadata or {}).get(b"array") is not None
        return _objects([_as_array(value) if is_array else value for value in column.to_pylist()])
    if pa.types.is_integer(kind):
        return pd.Series(column.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get))
    if pa.types.is_boolean(kind):
        return pd.Series(column.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get))
    if pa.types.is_string(kind):
        return pd.Series(column.to_pylist(), dtype="string")
    if pa.types.is_timestamp(kind):
        return pd.Series(column.to_pandas(), dtype="datetime64[ms, UTC]")
    return pd.Series(
        column.to_numpy(zero_copy_only=False) if hasattr(column, "to_numpy") else column.to_pandas()
    )


def _objects(values: list[Any]) -> pd.Series[Any]:
    """Return a column of objects; lists and arrays of equal length stay one a row."""
    import numpy as np
    import pandas as pd

    cells = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        cells[position] = value
    return pd.Series(cells)


def _as_array(value: list[Any] | None) -> Any:
    import numpy as np

    if value is None:
        return None
    try:
        return np.asarray(value, dtype=float)
    except ValueError:
        return value  # ragged: no array of a full shape


def _quantities(column: pd.Series[Any], unit: str) -> pd.Series[Any]:
    make = unit_tools.registry().Quantity
    return _objects([None if value is None else make(value, unit) for value in column.tolist()]).set_axis(
        column.index
    )
