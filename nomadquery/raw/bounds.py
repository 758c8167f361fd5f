"""How much what is packed may unpack to, before it is taken for something made to fill disks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nomadquery.errors import UnsafeContent

#: Unpacked bytes for which no ratio is asked.
FREE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a zip may unpack to, before it is taken for one that was made to fill disks.

    Attributes
    ----------
    most_bytes : int
        Of all members together, unpacked.
    most_ratio : float
        Unpacked bytes for each packed one, of all that was read so far; the first `free_bytes` do not count.
        Deflate cannot exceed 1032; text of simulation codes stays below 20.
    most_members : int
        Files and folders.
    """

    most_bytes: int = 1 << 40
    most_ratio: float = 200.0
    most_members: int = 1_000_000

    def check(self, n_bytes: int, n_packed: int) -> None:
        """Raise if so many bytes must not come of so many packed ones.

        Raises
        ------
        UnsafeContent
            If they exceed a bound.
        """
        if n_bytes > self.most_bytes:
            raise UnsafeContent(
                f"It unpacks to more than {self.most_bytes} bytes. If that is what you expect, allow it with "
                "Bounds(most_bytes=…)."
            )
        if n_bytes > FREE_BYTES and n_bytes > self.most_ratio * n_packed:
            raise UnsafeContent(
                f"It unpacks to {n_bytes} bytes of {n_packed}, more than {self.most_ratio:g} for one: so "
                "does what is made to fill disks. If you trust it, allow it with Bounds(most_ratio=…)."
            )

    def check_members(self, n_members: int) -> None:
        """Raise if it must not have so many members.

        Raises
        ------
        UnsafeContent
            If there are more.
        """
        if n_members > self.most_members:
            raise UnsafeContent(
                f"It has more than {self.most_members} members. If that is what you expect, allow it with "
                "Bounds(most_members=…)."
            )
