"""One run of one way to fetch, in a process of its own: this package, the loop people write, ArchiveQuery.

Run by ``bench_fetch.py`` as ``python tests/benchmarks/peers.py '{"peer": …, "address": …, …}'``; it prints
one line of JSON, a `Run`. What is imported, and the first contact with the server (a page of one entry, by
another client), come before the clock starts: for this package that leaves the release known, as it is
for a day after any call. Memory is the highest resident size while fetching, less that before. What is
fetched is still held at the end, but by those that stream.

NOMAD's own ``ArchiveQuery`` runs in a Python that has nomad-lab; this file imports nothing else there.
"""

from __future__ import annotations

import gc
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.documents import COLUMNS, INCLUDE, REQUIRED
from tests.benchmarks.stub import counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from nomadquery import Nomad
    from nomadquery.search import Search

_MB: Final = 1024  # kilobytes, as /proc and getrusage tell
_TIMEOUT_S: Final = 120
_HITS: Final = 7
_CONVERSIONS: Final = 50
_THREE: Final = ("formula", "program", "cutoff")


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be run.

    Attributes
    ----------
    peer : str
        One of `PEERS`.
    address : str
        Of the API; empty where nothing is asked.
    n_entries : int
        How many there are.
    options : dict
        Of the peer.
    """

    peer: str
    address: str = ""
    n_entries: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took and gave; ``error``: of which class is what stopped it."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    n_rows: int
    n_requests: int = 0
    n_refused: int = 0
    n_failed: int = 0
    error: str = ""


Fetch = Callable[[], int]
#: Imports, makes the first contact, and returns what is to be timed.
Prepare = Callable[[Task, ExitStack], Fetch]


# -- the loop people write ---------------------------------------------------------------------------------


def naive(task: Task, stack: ExitStack) -> Fetch:
    """Pages of metadata into a list, then ``json_normalize``.

    Options: ``page_size``; ``session``: one connection for all pages; ``plain``: no gzip.
    """
    import pandas as pd
    import requests

    asked: Any = stack.enter_context(requests.Session()) if task.options.get("session") else requests
    headers = {"Accept-Encoding": "identity"} if task.options.get("plain") else {}

    def page(paging: Mapping[str, Any]) -> Any:
        body = {"owner": "public", "pagination": paging, "required": {"include": INCLUDE}}
        url = f"{task.address}/entries/query"
        return asked.post(url, json=body, headers=headers, timeout=_TIMEOUT_S).json()

    def fetch() -> int:
        return len(pd.json_normalize(_kept(page, task.options["page_size"])))

    pd.json_normalize(_retried(lambda: page({"page_size": 1}))["data"])
    return fetch


def naive_archives(task: Task, _stack: ExitStack) -> Fetch:
    """Pages of archives into a list, then ``json_normalize``.

    Options: ``by``: ``cursor``, pages of archives, or ``ids``, a page of ids and then their archives.
    """
    import pandas as pd
    import requests

    def post(endpoint: str, body: Mapping[str, Any]) -> Any:
        return requests.post(f"{task.address}/entries/{endpoint}", json=body, timeout=_TIMEOUT_S).json()

    def by_cursor(paging: Mapping[str, Any]) -> Any:
        return post("archive/query", {"owner": "public", "required": REQUIRED, "pagination": paging})

    def by_ids(paging: Mapping[str, Any]) -> Any:
        include = {"include": ["entry_id"]}
        page = post("query", {"owner": "public", "required": include, "pagination": paging})
        ids = [one["entry_id"] for one in page["data"]]
        named = {"query": {"entry_id": {"any": ids}}, "pagination": {"page_size": len(ids)}}
        found = post("archive/query", {"owner": "public", "required": REQUIRED, **named})
        return {**page, "data": found["data"]}

    page = by_ids if task.options.get("by") == "ids" else by_cursor
    _retried(lambda: page({"page_size": 1}))
    return lambda: len(pd.json_normalize(_kept(page, 100)))


def _kept(page: Callable[[Mapping[str, Any]], Any], size: int) -> list[Any]:
    kept: list[Any] = []
    paging: dict[str, Any] = {"page_size": size}
    while True:
        answer = page(paging)
        kept += answer["data"]
        after = answer["pagination"].get("next_page_after_value")
        if after is None:
            return kept
        paging["page_after_value"] = after


def _retried(first: Callable[[], Any]) -> Any:
    """Return the first contact, which may fail where the stub fails sometimes."""
    for _ in range(9):
        try:
            return first()
        except (OSError, ValueError):
            time.sleep(0.1)
    return first()


# -- NOMAD's own client ------------------------------------------------------------------------------------


def archive_query(task: Task, _stack: ExitStack) -> Fetch:
    """``ArchiveQuery.download``. Options: ``settings`` of its constructor; ``plain``: dictionaries."""
    query = _archive_query(task)
    is_plain = bool(task.options.get("plain"))
    return lambda: sum(map(bool, query.download(as_plain_dict=is_plain)))


def archive_query_frame(task: Task, _stack: ExitStack) -> Fetch:
    """``ArchiveQuery.download``, then ``entries_to_dataframe``. Options: ``settings``."""
    query = _archive_query(task)

    def fetch() -> int:
        query.download()
        frame = query.entries_to_dataframe()
        assert any("energy" in name for name in frame.columns), "the schema of runs is not installed"
        return len(frame)

    return fetch


def _archive_query(task: Task) -> Any:
    import importlib

    make = importlib.import_module("nomad.client").ArchiveQuery  # not where this package is checked
    settings = {"owner": "public", "url": task.address, "required": REQUIRED}
    first = make(**settings, results_max=1)
    first.download()
    first.entries_to_dataframe()
    return make(**settings, results_max=task.n_entries, **task.options.get("settings", {}))


# -- this package --------------------------------------------------------------------------------------------


def ours(task: Task, stack: ExitStack) -> Fetch:
    """The table as a DataFrame, fetched and kept. Options: see `_searched`."""
    search = _searched(task, _met(task, _fresh_folder(stack), stack))
    return lambda: len(search.to_pandas(progress=False))


def ours_streaming(task: Task, stack: ExitStack) -> Fetch:
    """The table batch by batch, none of them held."""
    search = _searched(task, _met(task, _fresh_folder(stack), stack))
    return lambda: sum(batch.num_rows for batch in search.batches(progress=False))


def ours_kept(task: Task, _stack: ExitStack) -> Fetch:
    """Fetch the table into the folder ``cache``, so that others find it there."""
    from nomadquery import Nomad

    return lambda: len(_searched(task, Nomad(task.address, cache_dir=task.options["cache"])).to_pandas())


def ours_hit(task: Task, _stack: ExitStack) -> Fetch:
    """The kept table as a DataFrame, each time by a new client."""
    from nomadquery import Nomad

    def fetch() -> int:
        with Nomad(task.address, cache_dir=task.options["cache"]) as nomad:
            return len(_searched(task, nomad).to_pandas(progress=False))

    fetch()
    return fetch


def bare_hit(task: Task, _stack: ExitStack) -> Fetch:
    """The same file by ``pyarrow.parquet.read_table``, with the same dtypes and cells."""
    import pyarrow.parquet as pq

    from nomadquery import Nomad

    expected = _searched(task, Nomad(task.address, cache_dir=task.options["cache"])).to_pandas()
    names = set(expected.columns)
    file = next(
        file
        for file in Path(task.options["cache"]).glob("tables/*/table.parquet")
        if set(pq.read_schema(file).names) == names
    )
    assert _as_frame(pq.read_table(file)).equals(expected)
    return lambda: len(_as_frame(pq.read_table(file)))


def _as_frame(table: Any) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    dtypes = {pa.string(): pd.StringDtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=dtypes.get)
    for one in table.schema:
        if pa.types.is_list(one.type):  # cells are lists, not arrays; by slices, for `to_pylist` is slow
            column = table[one.name].combine_chunks()
            flat, ends = column.values.to_pylist(), column.offsets.to_pylist()
            cells = zip(column.is_valid().to_pylist(), pairwise(ends), strict=True)
            lists = [flat[start:stop] if is_there else None for is_there, (start, stop) in cells]
            frame[one.name] = pd.Series(lists, dtype=object)
    return frame


def units(_task: Task, _stack: ExitStack) -> Fetch:
    """100,000 energies from joule to eV; nobody may build pint's registry for that."""
    import numpy as np

    from nomadquery import units as of_package

    values = np.linspace(-1e-17, 1e-17, 100_000)

    def fetch() -> int:
        converted = of_package.convert(values, "joule", "eV")
        assert of_package.registry.cache_info().currsize == 0, "pint's registry was built"
        return len(converted)

    return fetch


def _fresh_folder(stack: ExitStack) -> str:
    return stack.enter_context(tempfile.TemporaryDirectory(prefix="nomadquery-benchmark-"))


def _met(task: Task, cache: str, stack: ExitStack) -> Nomad:
    """Return a new client for a server whose release is known from the call of another client."""
    import pyarrow.parquet  # noqa: F401 # imported before the clock starts

    from nomadquery import Nomad

    with Nomad(task.address, cache_dir=cache) as first:
        first.entries().select("entry_type").limit(1).to_pandas(progress=False)
    return stack.enter_context(Nomad(task.address, cache_dir=cache))


def _searched(task: Task, nomad: Nomad) -> Search:
    """Return the search. Options: ``columns``: ``all``, ``three``, ``small``, ``full``; ``page_size``."""
    search = nomad.entries().select(**_columns(task.options.get("columns", "all")))
    page_size = task.options.get("page_size")
    return search if page_size is None else search.page_size(page_size)


def _columns(which: str) -> dict[str, Any]:
    from nomadquery import Q

    step, atoms = Q.run[-1].calculation, Q.run[-1].system.atoms
    small = {
        "energy": step.energy.total.value.last().to("eV"),
        "forces": step.forces.total.value.last().to("eV/angstrom"),
        "labels": atoms.labels.last(),
    }
    match which:
        case "small":
            return small
        case "full":
            wanted = {"positions": atoms.positions, "cell": atoms.lattice_vectors}
            return small | {name: path.last().to("angstrom") for name, path in wanted.items()}
        case "three":
            return {name: COLUMNS[name] for name in _THREE}
        case _:
            return dict(COLUMNS)


# -- measuring -----------------------------------------------------------------------------------------------

PEERS: Final[dict[str, Prepare]] = {
    "naive": naive,
    "naive_archives": naive_archives,
    "archive_query": archive_query,
    "archive_query_frame": archive_query_frame,
    "ours": ours,
    "ours_streaming": ours_streaming,
    "ours_kept": ours_kept,
    "ours_hit": ours_hit,
    "bare_hit": bare_hit,
    "units": units,
}

#: What is done several times in a process, for it takes milliseconds; the time is the median.
_REPEATED: Final = {"ours_hit": _HITS, "bare_hit": _HITS, "units": _CONVERSIONS}


def measured(task: Task, fetch: Fetch) -> Run:
    """Return what fetching takes; what stops it, with no rows, as it leaves whoever runs it."""
    if task.address:
        counts(task.address, reset=True)
    gc.collect()
    n_rows, error, took_s = 0, "", []
    cpu_s = time.process_time()
    with _memory() as grown_mb:
        for _ in range(_REPEATED.get(task.peer, 1)):
            began_s = time.perf_counter()
            try:
                n_rows = fetch()
            except Exception as failure:
                error = type(failure).__name__
                print(f"{task.peer}: {error}: {failure}"[:500], file=sys.stderr)
            took_s.append(time.perf_counter() - began_s)
        cpu_s = (time.process_time() - cpu_s) / len(took_s)
        peak_mb = grown_mb()
    told = counts(task.address) if task.address else {}
    return Run(
        statistics.median(took_s),
        cpu_s,
        peak_mb,
        n_rows,
        told.get("requests", 0),
        told.get("refused", 0),
        told.get("failed", 0),
        error,
    )


@contextmanager
def _memory() -> Iterator[Callable[[], float]]:
    """Give what tells by how many MB memory had grown at most since the beginning."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the highest size is forgotten
        before = _status(status, "VmRSS")
        yield lambda: (_status(status, "VmHWM") - before) / _MB
    except (OSError, KeyError):  # another system: the highest size of the process, imports included
        yield lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MB


def _status(file: Path, name: str) -> int:
    parts = (line.partition(":") for line in file.read_text().splitlines())
    lines = {key: value for key, _, value in parts}
    return int(lines[name].split()[0])


def main(task: Task) -> None:
    """Print the run as JSON."""
    with ExitStack() as stack:
        prepare = PEERS[task.peer]
        print(json.dumps(asdict(measured(task, prepare(task, stack)))))


if __name__ == "__main__":
    main(Task(**json.loads(sys.argv[1])))
