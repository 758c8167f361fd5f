"""Units of DataFrames where pandas loses them: `concat`, and the accessor ``df.nomad``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nomadquery import units as unit_tools
from nomadquery.errors import UnitError

if TYPE_CHECKING:
    import pandas as pd

_ACCESSOR = "nomad"


class UnitsAccessor:
    """``df.nomad``: the units of the columns of a DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @property
    def units(self) -> dict[str, str]:
        """The units of the columns that are there and have one; assign to say others."""
        known = self._frame.attrs.get("units") or {}
        return {name: unit for name, unit in known.items() if name in self._frame.columns}

    @units.setter
    def units(self, units: Mapping[str, str]) -> None:
        """Say the units of columns; no number changes.

        Raises
        ------
        UnitError
            If one is no unit, or there is no such column.
        """
        for name, unit in units.items():
            unit_tools.scale_of(unit)
            if name not in self._frame.columns:
                raise UnitError(f"There is no column {name!r} to have the unit {unit!r}.")
        self._frame.attrs["units"] = dict(units)


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all frames one below the other, units kept; the index is new.

    A column that has another unit than in the first frame that has it is converted to that one.
    ``attrs["nomadquery"]["parts"]`` tells where each frame came from.

    Raises
    ------
    UnitError
        If a column has a unit in one frame and none, or one of another dimension, in another.
    ValueError
        If there are no frames.
    """
    import pandas as pd

    parts = list(frames)
    if not parts:
        raise ValueError("concat needs at least one DataFrame.")
    register_accessor()
    units: dict[str, str] = {}
    for part in parts:
        for name, unit in _units(part).items():
            units.setdefault(name, unit)
    plain = [_in_units(part, units) for part in parts]
    whole = pd.concat(plain, ignore_index=True)
    whole.attrs["units"] = units
    whole.attrs["nomadquery"] = {"parts": [part.attrs.get("nomadquery", {}) for part in parts]}
    return whole


def register_accessor() -> None:
    """Give DataFrames the accessor ``nomad``; called where pandas is there already."""
    import pandas as pd

    if not hasattr(pd.DataFrame, _ACCESSOR):
        pd.api.extensions.register_dataframe_accessor(_ACCESSOR)(UnitsAccessor)


def register_accessor_if_loaded() -> None:
    """Do so on import, unless that would import pandas."""
    if "pandas" in sys.modules and hasattr(sys.modules["pandas"], "DataFrame"):
        register_accessor()


def _units(frame: pd.DataFrame) -> dict[str, str]:
    return UnitsAccessor(frame).units


def _in_units(frame: pd.DataFrame, units: Mapping[str, str]) -> pd.DataFrame:
    """Return a copy without attrs, its columns in ``units``."""
    own, copy = _units(frame), frame.copy(deep=False)
    copy.attrs = {}
    for name, unit in units.items():
        if name not in frame.columns or own.get(name) == unit:
            continue
        if name not in own:
            if frame[name].isna().all():
                continue
            raise UnitError(f"The column {name!r} is in {unit} in one frame and has no unit in another.")
        copy[name] = _converted(frame[name], own[name], unit)
    return copy


def _converted(column: pd.Series[Any], have: str, want: str) -> Any:
    if column.dtype != object:
        return unit_tools.convert(column, have, want)
    return column.map(lambda cell: _cell_in(cell, have, want))


def _cell_in(cell: Any, have: str, want: str) -> Any:
    if cell is None:
        return None
    if isinstance(cell, list):
        return [_cell_in(item, have, want) for item in cell]
    if hasattr(cell, "magnitude"):
        return cell.to(want)
    return unit_tools.convert(cell, have, want)
