"""The house stands as drawn: who imports whom, who touches the network and the disk."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nomadquery"
DRAWING = Path(__file__).parents[1] / "docs" / "internals" / "architecture.md"

#: The one definition of the house, lowest floor first: folder (or ``""``) and its rooms in order.
#: A room imports from floors below its own, and from rooms listed before it on its own floor.
FLOORS: tuple[tuple[str, str], ...] = (
    ("", "errors units durations memory"),
    (
        "query",
        "criteria levels formulas dates gui_filters short_names optimade_syntax path section_graph "
        "catalogue params params_reader column plain bounds values resolve predicate listing body_reader "
        "body explain gui_address gui_address_reader addresses query given comparison phrases quantity "
        "aggregate aggregated",
    ),
    (
        "columns",
        "definitions schemas planned whole_lists item_filters plan settle references frame extract required "
        "required_keys asked required_check arrays reach compiled sweep decode _records records plain pins "
        "sections archive "
        "vectors elements stress structure structures structure_objects structure_texts attached",
    ),
    (
        "store",
        "files shared journal merging manifests pins tables assembling view archives cache packs downloads "
        "zips",
    ),
    ("http", "message deployment lanes bucket pace auth transport endpoints raw_endpoints aggregations"),
    (
        "fetch",
        "parallel exports writers slices plan ledger walk progress definitions pages paging custom archives "
        "rows wishes crew gathering harvest listing updating pinning narrowing summaries histograms coverage "
        "whole",
    ),
    (
        "raw",
        "files names bounds zip_records sources zip_members unpack compressed listing plan stored placing "
        "aside download targets reports remote parallel",
    ),
    (
        "local",
        "matching refusals database index references classes keys archives select raw_store store "
        "aggregation_form buckets bucket_contents composite aggregate ordering demo_files demo hits paging "
        "entries answer zipping media_types byte_ranges raw_listing file_choice index_paging file_answers "
        "raw_uploads raw_entries downloads routes wire server",
    ),
    (
        "",
        "session asking inquiry frames links atoms streams results rawsources rawfiles search entry client "
        "locked cache fs __init__",
    ),
    ("cli", "*"),
)

#: Imported inside functions only, so that ``import nomadquery`` stays quick.
HEAVY = {"pandas", "numpy", "pyarrow", "pint", "joblib", "tqdm", "werkzeug", "ase", "pymatgen", "matplotlib"}
HEAVY |= {"openpyxl", "dask", "distributed", "duckdb", "polars", "IPython"}

NETWORK = {"requests", "urllib3", "socket", "http", "aiohttp", "httpx"}
NETWORK_ROOMS = {"http.transport", "local.server"}

#: `store.shared` changes a note in place: nobody would wait for a whole new file at each request. A
#: journal is added to.
WRITING_ROOMS = {"store.files", "store.shared", "store.journal", "store.tables", "store.cache"}
WRITING_ROOMS |= {"store.packs", "store.downloads", "store.zips"}
WRITING_ROOMS |= {"local.store", "local.database"}
WRITING_CALLS = {"write_text", "write_bytes", "unlink", "rmtree", "mkstemp", "mkdtemp", "TemporaryFile"}
WRITING_CALLS |= {
    "NamedTemporaryFile",
    "ParquetWriter",
    "write_table",
    "to_parquet",
    "to_csv",
    "touch",
    "rmdir",
}
WRITING_MODULES = {"shutil", "tempfile"}


def rooms() -> dict[str, Path]:
    """Return every module of the package by its name below it, compiled ones by their stub."""
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            assert not list(imports(path)), f"{path} wires rooms; a folder's __init__ only says what it is"
            continue
        found[".".join(parts)] = path
    return found


def imports(path: Path, *, at_top: bool = False) -> Iterator[str]:
    """Yield the full names of all modules that a file imports."""
    tree = ast.parse(path.read_text())
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    typing_only = {id(n) for node in ast.walk(tree) if _is_typing_block(node) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if at_top and (id(node) in inside or id(node) in typing_only):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def own(name: str, known: dict[str, Path]) -> str | None:
    """Return the room that an imported name of this package lies in."""
    below = name.removeprefix("nomadquery").lstrip(".")
    while below and below not in known:
        below = below.rpartition(".")[0]
    return below or ("__init__" if name.startswith("nomadquery") else None)


def place(room: str) -> tuple[int, int]:
    """Return floor and position of a room."""
    folder, _, name = room.rpartition(".")
    for floor, (where, names) in enumerate(FLOORS):
        if where == folder and (names == "*" or name in names.split()):
            return floor, 0 if names == "*" else names.split().index(name)
    raise AssertionError(f"{room} has no place in FLOORS")


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_imports_only_from_below(room: str) -> None:
    """Imports go down the floors, or to rooms listed before on the same floor."""
    known = rooms()
    floor, position = place(room)
    for name in imports(known[room]):
        target = own(name, known) if name.startswith("nomadquery") else None
        if target is None or (target == room):
            continue
        there, order = place(target)
        is_below = there < floor or (there == floor and (order < position or FLOORS[floor][1] == "*"))
        assert is_below, f"{room} imports {target}, which is not below it"


@pytest.mark.parametrize("room", sorted(rooms()))
def test_heavy_libraries_are_imported_where_they_are_used(room: str) -> None:
    """pandas, pyarrow, pint and the like stand inside functions; our own modules never do."""
    path = rooms()[room]
    top = set(imports(path, at_top=True))
    assert not {name.partition(".")[0] for name in top} & HEAVY
    hidden = {name for name in imports(path) if name.startswith("nomadquery")} - set(
        imports(path, at_top=True)
    )
    typing_only = {
        n for node in ast.walk(ast.parse(path.read_text())) if _is_typing_block(node) for n in _names(node)
    }
    assert not hidden - typing_only, f"{room} hides imports in functions"


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.ImportFrom) and inner.module:
            yield from (f"{inner.module}.{alias.name}" for alias in inner.names)


@pytest.mark.parametrize("room", sorted(set(rooms()) - NETWORK_ROOMS))
def test_only_the_transport_and_the_local_server_open_sockets(room: str) -> None:
    """Everybody else sends requests through `http.transport`."""
    used = {name.partition(".")[0] for name in imports(rooms()[room])}
    assert not used & NETWORK


@pytest.mark.parametrize("room", sorted(room for room in set(rooms()) - WRITING_ROOMS))
def test_only_the_store_writes_files(room: str) -> None:
    """Other rooms get a stream from `store.files`, which is whole or absent."""
    tree = ast.parse(rooms()[room].read_text())
    assert not {name.partition(".")[0] for name in imports(rooms()[room])} & WRITING_MODULES
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if _gets_a_stream(room, name):
            continue
        assert name not in WRITING_CALLS, f"{room} line {call.lineno} writes with {name}()"
        if name == "open":
            modes = [
                a.value for a in call.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)
            ]
            assert not any(set(mode) & set("wax+") for mode in modes), (
                f"{room} line {call.lineno} opens for writing"
            )


def _gets_a_stream(room: str, call: str) -> bool:
    """`fetch.exports` writes Parquet into a stream of `store.files`; doors call the doors' own methods.

    `local.raw_store` opens members of a zip in such a stream, `local.zipping` those of one that is sent.
    """
    if room in {"local.raw_store", "local.zipping"}:
        return call == "open"
    if room == "fetch.exports":
        return call == "ParquetWriter"
    return room.partition(".")[0] in {"cli", "search", "client"} and call in {"to_parquet", "to_csv"}


def test_every_room_of_the_floors_exists() -> None:
    """FLOORS names no room that is gone."""
    known = rooms()
    for folder, names in FLOORS:
        for name in names.split() if names != "*" else ():
            room = f"{folder}.{name}" if folder else name
            assert room in known, f"{room} is listed but does not exist"


def test_the_drawing_names_the_floors_in_their_order() -> None:
    """The drawing in the internals page shows the same folders, highest first."""
    drawing = re.search(r"```text\n(.*?)```", DRAWING.read_text(), re.DOTALL)
    assert drawing is not None
    drawn = re.findall(r"^\s+(\w+)/?", drawing[1], re.MULTILINE)
    folders = [folder for folder, _ in reversed(FLOORS) if folder]
    assert [word for word in drawn if word in folders] == folders
