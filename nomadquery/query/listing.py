"""What a catalogue knows, as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nomadquery.query.catalogue import Catalogue
from nomadquery.query.resolve import full_name
from nomadquery.query.short_names import SHORT_NAMES

if TYPE_CHECKING:
    import pandas as pd


def quantities_frame(catalogue: Catalogue, like: str | None) -> pd.DataFrame:
    """Return one row for each quantity that can be asked or selected, in order of the names.

    Columns: ``name``, ``short``, ``type`` (text, integer, number, boolean, date …), ``unit`` (stored),
    ``searchable``, ``returnable``. ``like`` keeps those whose name or short name contains it, and
    nearest ones where none does.
    """
    import pandas as pd

    short_of = {full_name(short): short for short in SHORT_NAMES}
    names = sorted({*catalogue.names, *short_of})
    if like:
        wanted = like.casefold()
        kept = [name for name in names if wanted in name.casefold() or wanted in short_of.get(name, "")]
        names = kept or [full_name(name) for name in catalogue.nearest(like, 20)]
    rows = []
    for name in dict.fromkeys(names):
        known = catalogue.find(name)
        if known is None or known.kind == "section":
            continue
        rows.append((name, short_of.get(name), known.kind, known.unit, known.searchable, known.returnable))
    columns = ["name", "short", "type", "unit", "searchable", "returnable"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"name": "string", "short": "string", "type": "string", "unit": "string"})
