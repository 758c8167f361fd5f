"""What people give a comparison, from Python, NumPy, pandas, Arrow or pint → plain values.

Nothing of these libraries is imported here: a value is known by what it can do.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Final, TypeGuard

from nomadquery import units
from nomadquery.errors import QueryError
from nomadquery.query.criteria import Value
from nomadquery.query.dates import text_of
from nomadquery.query.query import HasEntryIds

LIST_WORDS: Final = (
    "has_all (every one of these), has_any (at least one), has_exactly (these and no others), "
    "has_only (a subset of these)"
)


def plain_value(value: Any, path: str) -> Value:
    """Return one value as text, number or truth; pint quantities and dates become text.

    Parameters
    ----------
    path : str
        What it is compared with, for the message.

    Raises
    ------
    QueryError
        If it is several values, none, or not finite.
    TypeError
        If it is of a type that NOMAD does not know.
    """
    _refuse_bytes(value)
    if is_collection(value):
        raise QueryError(
            f"{path} is compared with one value. For several there are: {LIST_WORDS}, and isin for one of "
            "them."
        )
    if hasattr(value, "magnitude") and hasattr(value, "units"):
        return units.text_of_pint(value)
    if type(value).__name__ == "datetime64":
        value = value.item() if value.dtype.name == "datetime64[D]" else value.astype("M8[ms]").item()
    if is_null(value):
        raise QueryError(
            f"{path} cannot be compared with {value!r}; for a missing value write ~{path}.exists()."
        )
    if isinstance(value, datetime | date):
        return text_of(value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value)
    if hasattr(value, "item") and not isinstance(value, str | int | float):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isinf(value):
        raise QueryError(f"{path} cannot be compared with {value!r}; for an open range leave the bound out.")
    if isinstance(value, float):
        return float(value)
    raise TypeError(
        f"{path} is compared with text, numbers, truth values or dates, not with {type(value).__name__}."
    )


def several_values(values: tuple[Any, ...]) -> list[Any]:
    """Return the values of a call that takes values or one collection of them.

    Raises
    ------
    QueryError
        If it is a DataFrame or an Arrow table.
    """
    if len(values) == 1 and is_table(values[0]):
        raise QueryError("A table has several columns; give the one that is meant: frame['…'].")
    return list(_items(values[0])) if len(values) == 1 and is_collection(values[0]) else list(values)


def listed_values(values: tuple[Any, ...]) -> list[Any]:
    """Return the same for a list from somewhere: without nulls and repeats, blanks around texts trimmed.

    Raises
    ------
    QueryError
        If it is a DataFrame or an Arrow table without a column ``entry_id``, or holds lists.
    """
    if len(values) == 1 and is_table(values[0]):
        values = (_entry_id_column(values[0]),)
    present = (value for value in several_values(values) if not is_null(value))
    listed = list(present)
    for value in listed:
        _refuse_bytes(value)
        if is_collection(value):
            raise QueryError(
                f"isin takes one flat list of values, and {reprlib.repr(value)} is a list inside it. "
                "Write isin(['Ti', 'O']); of an array with several dimensions give array.ravel()."
            )
    trimmed = (value.strip() if isinstance(value, str) else value for value in listed)
    return list(dict.fromkeys(value for value in trimmed if not isinstance(value, str) or value))


def is_table(value: object) -> bool:
    """Return whether it has columns: a DataFrame, an Arrow table."""
    return hasattr(value, "columns") and hasattr(value, "__getitem__")


def is_collection(value: object) -> bool:
    """Return whether it is several values."""
    if hasattr(value, "magnitude"):
        return hasattr(value.magnitude, "__len__") and getattr(value.magnitude, "ndim", 1) > 0
    if getattr(value, "ndim", None) == 0:
        return False
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray)


def is_null(value: object) -> bool:
    """Return whether it stands for a missing value: None, NaN, pandas' NA and NaT, NumPy's NaT."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    is_float = isinstance(value, float) or type(value).__name__ in {"datetime64", "float32", "float16"}
    return is_float and bool(value != value)  # noqa: PLR0124  # NaN and NaT are what differs from itself


def has_entry_ids(values: object) -> TypeGuard[HasEntryIds]:
    """Return whether it is a search or a table, which can be asked for its entry ids."""
    return callable(getattr(type(values), "entry_ids", None))


def _refuse_bytes(value: object) -> None:
    if isinstance(value, bytes | bytearray):
        raise QueryError(
            f"NOMAD holds text, not bytes: for {reprlib.repr(value)} write {reprlib.repr(value)}.decode()."
        )


def _items(values: Any) -> Iterable[Any]:
    """Return the items; those of an Arrow column as Python values."""
    items: Iterable[Any] = values.to_pylist() if hasattr(values, "to_pylist") else values
    return items


def _entry_id_column(frame: Any) -> Any:
    try:
        return frame["entry_id"]
    except KeyError as error:
        raise QueryError("The DataFrame has no column 'entry_id'; give the column: frame['…'].") from error
