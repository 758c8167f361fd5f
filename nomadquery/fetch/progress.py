"""Progress on a terminal or in a notebook; silent elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Progress:
    """A bar that counts; nothing is shown unless somebody looks.

    Parameters
    ----------
    wanted : bool or None
        ``None``: only where stderr is a terminal, or in a notebook.
    label : str
        What is being fetched.
    unit : str
        What is counted.
    """

    def __init__(self, wanted: bool | None, label: str, unit: str = "entries") -> None:
        self._wanted = _somebody_looks() if wanted is None else wanted
        self._label = label
        self._unit = unit
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def show(self, n_done: int, n_total: int | None) -> None:
        """Show that ``n_done`` of ``n_total`` are here."""
        if not self._wanted:
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            unit = f" {self._unit}"
            self._bar = tqdm(total=n_total, initial=n_done, desc=self._label, unit=unit, leave=False)
            return
        self._bar.total = n_total
        self._bar.update(n_done - self._bar.n)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _somebody_looks() -> bool:
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    return "ipykernel" in sys.modules
