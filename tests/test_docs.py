"""The documentation holds: its examples run offline, its messages are real, its links lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import errno
import inspect
import io
import itertools
import json
import os
import re
import socket
import textwrap
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import nomadquery
from nomadquery import Nomad, Query, Search, errors
from nomadquery.atoms import Structures
from nomadquery.columns.archive import Archive
from nomadquery.columns.sections import Section
from nomadquery.entry import Entry
from nomadquery.local.demo import open_demo
from nomadquery.query.quantity import QuantityPath
from nomadquery.query.short_names import SHORT_NAMES
from nomadquery.rawfiles import RawFiles
from nomadquery.results import Results
from nomadquery.streams import Archives
from tests.faults.server import FaultServer, as_json

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))

#: A line like this right above a block keeps it from being run; the reason is for the reader.
NOT_RUN = re.compile(r"<!-- not run: .+ -->")
#: And a line like this leaves it to a test of its own, for those who have the library.
NEEDS = re.compile(r"<!-- not run: needs (?P<library>\w+); a test of its own runs it -->")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\((?!https?:)(?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``output`` is what it prints, where the page says so.

    ``library``: what it needs that not everybody has; only a test of its own runs it.
    """

    line: int
    language: str
    text: str
    is_run: bool
    output: str | None
    library: str | None


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page; a ``text`` block right below a Python one is its output."""
    content = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(content))
    result = []
    for i, fence in enumerate(found):
        above = content[: fence.start()].rstrip("\n").rpartition("\n")[2].strip()
        below = found[i + 1] if i + 1 < len(found) else None
        is_output = below is not None and below["language"] == "text"
        is_output = is_output and below is not None and not content[fence.end() : below.start()].strip()
        text = textwrap.dedent(fence["text"])
        output = textwrap.dedent(below["text"]) if is_output and below is not None else None
        line = content.count("\n", 0, fence.start()) + 2
        needs = NEEDS.fullmatch(above)
        library = needs["library"] if needs else None
        is_run = NOT_RUN.fullmatch(above) is None
        result.append(Block(line, fence["language"], text, is_run, output, library))
    return result


@pytest.fixture(scope="session")
def unpacked_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the demo data, unpacked once for all pages."""
    folder = tmp_path_factory.mktemp("cache") / "demo"
    open_demo(folder).close()
    return folder


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unpacked_demo: Path) -> Path:
    """Return the cache folder of a reader who begins: empty but for the demo data, no login, no network."""
    for name in list(os.environ):
        if name.startswith(("NOMAD_", "NOMADQUERY_")):
            monkeypatch.delenv(name)
    cache, home = tmp_path / "cache", tmp_path / "home"
    cache.mkdir()
    home.mkdir()
    (cache / "demo").symlink_to(unpacked_demo, target_is_directory=True)
    monkeypatch.setenv("NOMADQUERY_CACHE_DIR", str(cache))
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.chdir(home)
    return cache


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing leave this process."""

    def refuse(*_: object) -> None:
        raise AssertionError("an example of the documentation uses the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
@pytest.mark.usefixtures("reader", "offline")
def test_the_examples_of_a_page_run_in_order(page: Path) -> None:
    """All Python blocks run in one namespace, and print what the page says they print."""
    run(page, [block for block in blocks(page) if block.language == "python" and block.is_run])


def recipes() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for library in dict.fromkeys(block.library for block in blocks(page) if block.library):
            yield page, library


# dask 2026.8 calls pandas 3.1 in a way that pandas is about to leave
@pytest.mark.filterwarnings(r"ignore:The inplace keyword in DataFrame\.reset_index is deprecated")
@pytest.mark.parametrize(
    ("page", "library"), list(recipes()), ids=lambda item: str(getattr(item, "name", item))
)
@pytest.mark.usefixtures("reader")
def test_a_recipe_for_another_library_runs(page: Path, library: str) -> None:
    """After the other examples of its page; Dask's workers are reached over the loopback interface."""
    pytest.importorskip(library, reason=f"{library} is not installed")
    chosen = [block for block in blocks(page) if block.is_run or block.library == library]
    run(page, [block for block in chosen if block.language == "python"])


def run(page: Path, examples: list[Block]) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in examples:
        code = compile("\n" * (block.line - 1) + block.text, name_of(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block.output is not None:
            assert printed.getvalue().strip() == block.output.strip(), f"{name_of(page)}, line {block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_that_are_not_run_are_python(page: Path) -> None:
    """What needs a server or a secret can at least be read by Python."""
    for block in blocks(page):
        if block.language == "python" and not block.is_run:
            ast.parse(block.text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names a file, and every anchor a heading of it."""
    for link in LINK.finditer(re.sub(FENCE, "", page.read_text(encoding="utf-8"))):
        path, _, anchor = link["target"].partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link['target']}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)} links to {link['target']}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs both make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(FENCE, "", page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[\s]+", "-", heading) for heading in plain}


def test_the_readme_has_the_two_commands_in_blocks_of_their_own() -> None:
    """A script can read them: each is all that stands in its block."""
    commands = [block.text.strip() for block in blocks(ROOT / "README.md") if block.language == "bash"]
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/nomadquery demo",
        'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest',
    ]


# -- every name is explained --------------------------------------------------------------------


def pages_for_readers() -> str:
    """Return the text of all pages but internals and decisions."""
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.parent in {ROOT, DOCS})


@pytest.mark.parametrize("name", nomadquery.__all__)
def test_a_public_name_occurs_in_the_documentation(name: str) -> None:
    """Each stands on the API page and is used or explained on another one."""
    api = (DOCS / "api.md").read_text(encoding="utf-8") + "\n"
    assert f"::: nomadquery.{name}\n" in api or f"`nomadquery.{name}` is " in api
    assert re.search(rf"\b{name}\b", pages_for_readers().replace(f"::: nomadquery.{name}", ""))


def methods() -> Iterator[tuple[str, str]]:
    for owner in (
        Nomad,
        Search,
        Results,
        QuantityPath,
        Query,
        Entry,
        Archive,
        Archives,
        RawFiles,
        Section,
        Structures,
    ):
        for name, member in vars(owner).items():
            is_named = isinstance(member, property | classmethod | types.FunctionType)
            if is_named and not name.startswith("_"):
                yield owner.__name__, name


@pytest.mark.parametrize(("owner", "name"), list(methods()))
def test_a_method_occurs_in_the_documentation(owner: str, name: str) -> None:
    """Each method and property is used or named, with its dot, on a page for readers."""
    assert re.search(rf"\.{name}\b", pages_for_readers()), f"{owner}.{name}"


def error_classes() -> list[str]:
    found = inspect.getmembers(errors, inspect.isclass)
    return [name for name, item in found if issubclass(item, errors.NomadError)]


@pytest.mark.parametrize("name", error_classes())
def test_an_error_class_is_explained(name: str) -> None:
    """Each has a line in the tables of the errors page."""
    assert re.search(rf"^\| `{name}` \|", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_short_names_are_as_documented() -> None:
    """The table of short names is the one in the code: path, rule and unit."""
    [rows] = tables(DOCS / "tables.md", "short name")
    documented = {row[0].strip("`"): tuple(cell.strip("`") for cell in row[1:4]) for row in rows}
    shipped = {name: (short.path, short.rule or "", short.unit or "") for name, short in SHORT_NAMES.items()}
    assert documented == shipped


def tables(page: Path, first_heading: str) -> list[list[list[str]]]:
    """Return the rows of each table of a page whose first column has this heading."""
    content = page.read_text(encoding="utf-8")
    found = re.findall(rf"^\| {first_heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", content, re.MULTILINE)
    return [[cells(line) for line in rows.splitlines()] for rows in found]


def cells(line: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


# -- bad input ------------------------------------------------------------------------------------

BAD_INPUT = DOCS / "bad-input.md"
*TYPED, AROUND = tables(BAD_INPUT, "wrong")
LINES = [row for table in TYPED for row in table]


def names_of_bad_input() -> dict[str, Any]:
    """Return what the lines of the tables may use, as the page itself defines it."""
    names: dict[str, Any] = {}
    for block in blocks(BAD_INPUT):
        exec(block.text, names)
    return names


@cache
def shared_names() -> dict[str, Any]:
    """Return these names, made once: what raises an error leaves them as they are."""
    return names_of_bad_input()


def what_comes(code: str, names: dict[str, Any]) -> tuple[str, str]:
    """Return class and words of the error, or of the warning, that a line of code gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            eval(code, names)
        except (errors.NomadError, TypeError) as error:
            return type(error).__name__, str(error)
    return caught[0].category.__name__, str(caught[0].message)


def assert_documented(documented: str, came: tuple[str, str]) -> None:
    """Compare with "`Class`: words", in which … stands for anything."""
    name, _, words = documented.partition(": ")
    assert name == f"`{came[0]}`", came[1]
    pattern = ".*".join(re.escape(part) for part in words.split("…"))
    assert re.fullmatch(pattern, " ".join(came[1].split()), re.DOTALL), came[1]


@pytest.mark.parametrize(
    ("code", "documented"), [(row[1].strip("`"), row[2]) for row in LINES], ids=[row[0] for row in LINES]
)
@pytest.mark.usefixtures("reader", "offline")
def test_what_is_typed_wrongly_gives_what_is_documented(code: str, documented: str) -> None:
    """Class and words are those of the tables but the last."""
    assert_documented(documented, what_comes(code, dict(shared_names())))


@pytest.mark.parametrize("row", AROUND, ids=lambda row: str(row[0]))
def test_what_goes_wrong_around_gives_what_is_documented(
    row: list[str], reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class and words are those of the last table."""
    names = names_of_bad_input()
    with gone_wrong(row[0], names["table"], reader, monkeypatch) as port:
        came = what_comes(row[1].strip("`").replace(":8000", f":{port}"), names)
    assert_documented(row[2], came)


def test_after_a_full_disk_the_same_call_gives_the_whole_table(reader: Path) -> None:
    """What was begun when the disk was full is not taken for whole."""
    table = names_of_bad_input()["table"]
    with (
        pytest.MonkeyPatch.context() as patch,
        gone_wrong("full disk", table, reader, patch),
        pytest.raises(errors.CacheError),
    ):
        table.to_pandas()
    assert len(table.to_pandas()) == table.count() > 0


@contextlib.contextmanager
def gone_wrong(what: str, table: Search, cache: Path, patch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let the world be as a line of the last table says; give the port of a server in it."""
    match what:
        case "wrong token":
            refusal = {"detail": "Could not validate credentials. The given token is invalid."}
            with FaultServer() as server:
                server.script(itertools.repeat(as_json(refusal, 401)))
                yield server.port
            return
        case "broken cache file" | "broken cache file, offline":
            shorten(kept(table, cache) / "table.parquet")
        case "broken manifest, offline":
            shorten(kept(table, cache) / "manifest.json")
        case "cache of a newer version":
            manifest = kept(table, cache) / "manifest.json"
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 1_000}))
        case "read-only cache folder":
            a_file = cache / "file"
            a_file.touch()
            patch.setenv("NOMADQUERY_CACHE_DIR", str(a_file / "below"))  # not even root can write there
        case "runtime folder that cannot be used":
            (a_file := cache / "file").touch()
            patch.setenv("NOMADQUERY_RUNTIME_DIR", str(a_file))
            with FaultServer() as server:
                server.will_answer(as_json({"version": "2.0.0"}))
                yield server.port
            return
        case "full disk":
            patch.setattr("nomadquery.store.files.os.fsync", refuse_for_lack_of_room)
        case _:
            pass  # nothing is wrong but what is typed, or that nobody listens
    yield closed_port()


def kept(table: Search, cache: Path) -> Path:
    """Return the folder of a table that has been fetched."""
    key = table.to_pandas().attrs["nomadquery"]["key"]
    return cache / "tables" / str(key)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def refuse_for_lack_of_room(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
