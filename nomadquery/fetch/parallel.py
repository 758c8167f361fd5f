"""A function over many items by joblib: what it returns as rows, in the order of the items.

Which workers run it (threads, processes, a Dask cluster) is joblib's configuration. Items go to them in
batches; while they work on one, the next is put together, so that two are in memory, packed as bytes.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nomadquery.errors import QueryError

if TYPE_CHECKING:
    import pandas as pd

_Item = TypeVar("_Item")
Key = Mapping[str, Any]

#: A batch goes to the workers when it has so many items or bytes, or was so long in the making.
MOST_ITEMS: Final = 1_000
MOST_BYTES: Final = 32 << 20
_MOST_S: Final = 5.0
_FIRST_PER_WORKER: Final = 4

VALUE: Final = "value"
ERROR: Final = "error"


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one item.

    Attributes
    ----------
    key : mapping
        Whose row it is, such as ``{"entry_id": …}``.
    values : mapping
        Column → value.
    error : str or None
        Class and message of what the function raised.
    """

    key: Key
    values: Mapping[str, Any]
    error: str | None


@dataclass(frozen=True, slots=True)
class Mapped:
    """The rows of all items; or of those before ``stopped``, which ended the items or the workers."""

    rows: list[Row]
    stopped: Exception | None


def check_function(function: object, n_jobs: int | None) -> None:
    """Raise what can be known beforehand to go wrong.

    Raises
    ------
    TypeError
        If it is no function.
    ValueError
        If joblib can make nothing of ``n_jobs``, or of its configuration.
    QueryError
        If the workers are processes, and the function cannot be sent to them.
    """
    from joblib import effective_n_jobs

    if not callable(function):
        raise TypeError(f"map takes a function, not {function!r}.")
    if effective_n_jobs(n_jobs) == 1 or _backend_says("supports_sharedmem"):
        return
    try:
        _pickled(function)
    except Exception as error:  # pickling runs the code of whatever the function holds
        raise QueryError(
            f"The function is to run in other processes, and cannot be sent there: {in_words(error)}. It "
            "uses something that lives in this process only: a client, a search, a lock, an open file. Give "
            "it plain values, or open that inside the function; or stay in this process: "
            "joblib.parallel_config(backend='threading')."
        ) from error


def mapped(
    function: Callable[[_Item], Any],
    items: Iterable[tuple[Key, _Item]],
    *,
    n_jobs: int | None = None,
    weigh: Callable[[_Item], int] | None = None,
    most_bytes: int | None = None,
) -> Mapped:
    """Return what the function makes of each item, in their order, as joblib is configured.

    A mapping gives a value for each of its names, ``None`` gives none, and anything else one called
    ``value``. Where the function raises, the row has the error and the others go on. Items are pickled on
    their way to the workers, whichever these are, so that a function finds the same everywhere.

    Parameters
    ----------
    function : callable
        Takes an item.
    items : iterable of (mapping, item)
        Each with what its row is called by; consumed by the calling thread alone. What it raises ends the
        run after all items before it.
    n_jobs : int, optional
        As for `joblib.Parallel`.
    weigh : callable, optional
        The bytes that an item takes, where these are not in memory; else those that it has when pickled.
    most_bytes : int, optional
        With so many bytes, or with the last item more, a batch is complete; 32 MiB by default.
    """
    from joblib import delayed, effective_n_jobs

    n_first = _FIRST_PER_WORKER * max(1, effective_n_jobs(n_jobs))
    batches = _Batches(items, n_first, weigh, MOST_BYTES if most_bytes is None else most_bytes)
    row_of, rows = delayed(_row_of), list[Row]()
    batch = batches.next()
    try:
        with _workers(n_jobs) as workers:
            while batch:
                coming = workers([row_of(function, key, packed) for key, packed in batch])
                batch = batches.next()
                rows.extend(row for packed in coming for row in pickle.loads(packed))
    except Exception as error:  # a worker died or could not begin: joblib, loky and Dask name it differently
        return Mapped(rows, error)
    return Mapped(rows, batches.stopped)


def frame_of(rows: Sequence[Row], keys: Sequence[str]) -> pd.DataFrame:
    """Return the rows as a DataFrame: the keys, a column for each name in the order of their coming, error.

    Keys and ``error`` are of dtype ``string``; pandas infers the others, for which a missing value is None.
    """
    import pandas as pd

    names = list(dict.fromkeys(name for row in rows for name in row.values)) or [VALUE]
    columns = {key: pd.Series([row.key[key] for row in rows], dtype="string") for key in keys}
    columns |= {name: pd.Series([row.values.get(name) for row in rows]) for name in names}
    columns[ERROR] = pd.Series([row.error for row in rows], dtype="string")
    return pd.DataFrame(columns)


def in_words(error: BaseException) -> str:
    """Return class and message of an error."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class _Batches:
    """Items in batches, packed; ``stopped`` is what the items raised, after which there are none."""

    def __init__(
        self,
        items: Iterable[tuple[Key, Any]],
        n_first: int,
        weigh: Callable[[Any], int] | None,
        most_bytes: int,
    ) -> None:
        self._items: Iterator[tuple[Key, Any]] = iter(items)
        self._weigh = weigh
        self._most_bytes = most_bytes
        self._n_most = min(n_first, MOST_ITEMS)
        self.stopped: Exception | None = None

    def next(self) -> list[tuple[Key, bytes]]:
        """Return the next batch, at most twice as long as the one before; empty at the end."""
        batch: list[tuple[Key, bytes]] = []
        n_bytes, until = 0, time.monotonic() + _MOST_S
        while (
            len(batch) < self._n_most
            and n_bytes < self._most_bytes
            and (not batch or time.monotonic() < until)
        ):
            try:
                key, item = next(self._items)
                packed = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
            except StopIteration:
                break
            except Exception as error:  # whatever it is, what was computed before it must not be lost
                self._items, self.stopped = iter(()), error
                break
            batch.append((key, packed))
            n_bytes += len(packed) if self._weigh is None else self._weigh(item)
        self._n_most = min(2 * self._n_most, MOST_ITEMS)
        return batch


def _workers(n_jobs: int | None) -> Any:
    """Return joblib's workers; where their backend can, they work while the next batch is put together."""
    from joblib import Parallel

    works_aside = _backend_says("supports_return_generator")
    return Parallel(n_jobs=n_jobs, return_as="generator" if works_aside else "list")


def _backend_says(feature: str) -> bool:
    """Return whether the configured backend says of itself that it has a feature; not all know all words."""
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    return bool(getattr(backend, feature, False))


def _row_of(function: Callable[[Any], Any], key: Key, packed: bytes) -> bytes:
    """Return the pickled row of an item; runs in a worker. One that cannot be pickled is an error of it."""
    try:
        return _pickled(Row(key, _values(function(pickle.loads(packed)), key), None))
    except (Exception, SystemExit) as error:  # the function is not ours: it may raise anything
        return _pickled(Row(key, {}, in_words(error)))


def _pickled(value: Any) -> bytes:
    """Return a value pickled as joblib's processes get it: also what a notebook or a function defines."""
    from joblib import wrap_non_picklable_objects

    return pickle.dumps(wrap_non_picklable_objects([value], keep_wrapper=False))


def _values(result: Any, key: Key) -> dict[str, Any]:
    """Return column → value of what the function returned.

    Raises
    ------
    TypeError, ValueError
        If a name is no text, or that of a column with another meaning.
    """
    if result is None:
        return {}
    if not isinstance(result, Mapping):
        return {VALUE: result}
    for name, value in result.items():
        if not isinstance(name, str):
            raise TypeError(f"names of columns are texts, and the function returned the name {name!r}")
        if name == ERROR or (name in key and value != key[name]):
            raise ValueError(f"the function returned a value called {name!r}, which is a column of its own")
    return {name: value for name, value in result.items() if name not in key}
