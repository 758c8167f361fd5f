"""Links between entries, as the index has them: who refers to whom, from where to where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import pandas as pd

#: The section of the index with one item for each reference of an entry into another one.
SECTION: Final = "entry_references"
#: Columns of the table of links, and where their values stand.
COLUMNS: Final = {
    "source_path": f"{SECTION}.source_path",
    "target_entry_id": f"{SECTION}.target_entry_id",
    "target_path": f"{SECTION}.target_path",
}


class Linking(Protocol):
    """What has links: a search."""

    def links(self) -> pd.DataFrame:
        """Return one row for each reference."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The entries that the hits of a search refer to; asked when their ids are wanted."""

    search: Linking
    words: str

    def entry_ids(self) -> tuple[str, ...]:
        """Return the ids of the entries, in order, each once."""
        return tuple(sorted(self.search.links()["target_entry_id"].dropna().unique()))

    def __repr__(self) -> str:
        return f"what the hits of {self.words} refer to"


def link_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table of links with its final names; an item without a target entry is no link."""
    links = frame.rename(columns={"entry_id": "source_entry_id"}).dropna(subset=["target_entry_id"])
    return links[["source_entry_id", *COLUMNS]].reset_index(drop=True)
