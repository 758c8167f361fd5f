"""Arrow table → pandas DataFrame, with units.

Numbers become ``float64`` (a missing one is NaN), integers nullable ``Int64``, truth values
nullable ``boolean``, texts ``string``, times ``datetime64[ms, UTC]``; lists are Python lists, arrays of
numbers NumPy arrays of their full shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
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


def check_styles(units: str, dtypes: str) -> None:
    """Raise `QueryError` for a word that `to_pandas` does not know."""
    if units not in {"attrs", "names", "pint"}:
        raise QueryError(f"units is 'attrs', 'names' or 'pint', not {units!r}.")
    if dtypes not in {"numpy", "arrow"}:
        raise QueryError(f"dtypes is 'numpy' or 'arrow', not {dtypes!r}.")


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
        ``pint.Quantity`` objects: one for each value, ``None`` where there is none.
    dtypes : {"numpy", "arrow"}
        NumPy and nullable dtypes, or pandas' Arrow dtypes.

    Raises
    ------
    QueryError
        If ``units`` or ``dtypes`` is another word.
    """
    import pandas as pd

    check_styles(units, dtypes)
    if dtypes == "arrow":
        frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    else:
        frame = pd.DataFrame({field.name: _series(table[field.name], field) for field in table.schema})
    known = units_of(table.schema)
    if units == "pint":
        for name, unit in known.items():
            frame[name] = _quantities(_series(table[name], table.schema.field(name)), unit)
    elif units == "names":
        frame = frame.rename(columns={name: f"{name} ({unit})" for name, unit in known.items()})
        known = {f"{name} ({unit})": unit for name, unit in known.items()}
    frame.attrs["units"] = known
    frame.attrs["nomadquery"] = dict(facts)
    return cast("pd.DataFrame", frame)


def _series(column: pa.ChunkedArray, field: pa.Field) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow.types as kinds  # `types` is Python's

    kind = field.type
    if kinds.is_list(kind):
        return _objects(_lists(column, field))
    if kinds.is_integer(kind):
        return pd.Series(column.to_pandas(types_mapper={kind: pd.Int64Dtype()}.get))
    if kinds.is_boolean(kind):
        return pd.Series(column.to_pandas(types_mapper={kind: pd.BooleanDtype()}.get))
    if kinds.is_string(kind):
        return pd.Series(column.to_pandas(types_mapper={kind: pd.StringDtype()}.get))
    if kinds.is_timestamp(kind):
        return pd.Series(column.to_pandas(), dtype="datetime64[ms, UTC]")
    return pd.Series(column.to_numpy(), dtype="float64")


def _lists(column: pa.ChunkedArray, field: pa.Field) -> list[Any]:
    """Return lists, their innermost levels as NumPy arrays where these are dimensions of an array."""
    import pyarrow.types as kinds  # `types` is Python's

    n_levels, leaf = 0, field.type
    while kinds.is_list(leaf):
        n_levels, leaf = n_levels + 1, leaf.value_type
    n_dimensions = int((field.metadata or {}).get(b"array", b"0"))
    if not (kinds.is_floating(leaf) or kinds.is_integer(leaf)):
        n_dimensions = 0
    return [cell for chunk in column.chunks for cell in _cells_of(chunk, n_levels - n_dimensions)]


def _cells_of(array: pa.Array, n_lists: int) -> list[Any]:
    """Return what stands in the rows: ``n_lists`` levels of lists, and below them values or NumPy arrays."""
    import pyarrow.types as kinds  # `types` is Python's

    if not kinds.is_list(array.type):
        if array.null_count or kinds.is_timestamp(array.type):  # NumPy has no missing numbers, and no zones
            return cast("list[Any]", array.to_pylist())
        return cast("list[Any]", array.to_numpy(zero_copy_only=False).tolist())
    if n_lists:
        items = _cells_of(array.flatten(), n_lists - 1)
        bounds = _bounds(array)
        cells: list[Any] = [items[start:stop] for start, stop in pairwise(bounds)]
    else:
        cells = _numpy_cells(array)
    if array.null_count:
        cells = [
            cell if known else None for cell, known in zip(cells, array.is_valid().to_pylist(), strict=True)
        ]
    return cells


def _numpy_cells(array: pa.ListArray) -> list[Any]:
    """Return a NumPy array of its full shape for each row."""
    import numpy as np
    import pyarrow.types as kinds  # `types` is Python's

    leaf, inner = array.flatten(), None
    if kinds.is_list(leaf.type) and not leaf.null_count:
        inner = np.diff(_bounds(leaf))
        leaf = leaf.flatten()
    if leaf.null_count or kinds.is_list(leaf.type):  # rare: missing numbers, three dimensions
        innermost = array.type
        while kinds.is_list(innermost):
            innermost = innermost.value_type
        dtype = "int64" if kinds.is_integer(innermost) else "float64"
        return [_with_arrays(value, 0, dtype) for value in array.to_pylist()]
    numbers, bounds = leaf.to_numpy(zero_copy_only=False), _bounds(array)
    if inner is None:
        return [numbers[start:stop].copy() for start, stop in pairwise(bounds)]
    ends = np.concatenate([[0], np.cumsum(inner)])
    return [_block(numbers, inner[start:stop], ends[start]) for start, stop in pairwise(bounds)]


def _block(numbers: Any, widths: Any, start: int) -> Any:
    """Return rows of equal width as one array; ragged ones as a list of lists."""
    part = numbers[start : start + int(widths.sum())]
    if not len(widths):
        return part.copy()
    if (widths == widths[0]).all():
        return part.reshape(len(widths), int(widths[0])).copy()
    ends = [0, *widths.cumsum().tolist()]
    return [part[a:b].tolist() for a, b in pairwise(ends)]


def _bounds(array: pa.ListArray) -> list[int]:
    """Return where each row's items begin and end among all that stand in rows; a missing row has none."""
    lengths = array.value_lengths()
    if array.null_count:
        lengths = lengths.fill_null(0)
    return list(accumulate(lengths.to_numpy(zero_copy_only=False).tolist(), initial=0))


def _with_arrays(value: list[Any] | None, level: int, dtype: str) -> Any:
    """Return nested lists with an array in place of each list ``level`` levels below."""
    import numpy as np

    if value is None:
        return None
    if level:
        return [_with_arrays(item, level - 1, dtype) for item in value]
    for kind in (dtype, "float64"):  # integers with a null among them become float64
        try:
            return np.asarray(value, dtype=kind)
        except (ValueError, TypeError):
            continue
    return value  # ragged: no array of a full shape


def _objects(values: list[Any]) -> pd.Series[Any]:
    """Return a column of objects; lists and arrays of equal length stay one a row."""
    import numpy as np
    import pandas as pd

    cells = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        cells[position] = value
    return pd.Series(cells)


def _quantities(column: pd.Series[Any], unit: str) -> pd.Series[Any]:
    import pandas as pd

    make = unit_tools.registry().Quantity
    cells = [
        None if not isinstance(value, list) and _is_missing(value) else make(_magnitude(value), unit)
        for value in column.tolist()
    ]
    return _objects(cells).set_axis(pd.Index(column.index))


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _magnitude(value: Any) -> Any:
    """Return a list of numbers, one for each item of a section, as an array; a missing one is NaN."""
    import numpy as np

    if not isinstance(value, list):
        return value
    try:
        return np.asarray(value, dtype="float64")
    except (ValueError, TypeError):
        return np.asarray(_cells(value), dtype=object)


def _cells(value: list[Any]) -> Any:
    import numpy as np

    cells = np.empty(len(value), dtype=object)
    for position, item in enumerate(value):
        cells[position] = item
    return cells
