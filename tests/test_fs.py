"""Raw files by address: fsspec, pandas and ASE read ``nomad://`` from a deployment on a port."""

from __future__ import annotations

import gzip
import importlib.util
import io
import pickle
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nomadquery.errors import NotPermitted, NotSupported, QueryError
from nomadquery.local.server import serve
from tests.faults.raw import RawServer, Uploads
from tests.faults.server import as_json
from tests.local_entries import a_store, an_archive

fsspec = pytest.importorskip("fsspec")

from nomadquery.fs import NomadFileSystem  # noqa: E402 # needs fsspec

XYZ = b"""2
Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="T T T"
O 0.0 0.0 0.0
H 0.0 0.0 1.1
"""
POSCAR = b"""Si
5.43
0.0 0.5 0.5
0.5 0.0 0.5
0.5 0.5 0.0
Si
2
Direct
0.0 0.0 0.0
0.25 0.25 0.25
"""
FILES = {
    "calc 1/energies.csv": b"step,energy\n1,-1.5\n2,-2.5\n",
    "calc 1/energies.csv.gz": gzip.compress(b"step,energy\n1,-1.5\n"),
    "calc 1/water.xyz": XYZ,
    "calc 1/deep/er/OUTCAR": b"0123456789" * 10_000,
    "README": b"read me",
    "e/vasprun.xml": b"<modeling/>",
    "silicon/POSCAR": POSCAR,
}


@pytest.fixture(scope="module")
def api_base() -> Iterator[str]:
    store = a_store(an_archive("e", upload_id="up"))
    store.add_raw_files("up", FILES)
    fsspec.register_implementation("nomad", NomadFileSystem, clobber=True)
    with store, serve(store) as address:
        yield address


@pytest.fixture
def files(api_base: str) -> NomadFileSystem:
    return NomadFileSystem(api_base, skip_instance_cache=True)


# -- as a file system ----------------------------------------------------------------------------


def test_folders_are_listed_with_sizes_and_entries(files: NomadFileSystem) -> None:
    """By names, or with details."""
    assert files.ls("nomad://up", detail=False) == ["up/README", "up/calc 1", "up/e", "up/silicon"]
    (mainfile,) = files.ls("up/e")
    assert mainfile == {"name": "up/e/vasprun.xml", "size": 11, "type": "file", "entry_id": "e"}
    assert [one["type"] for one in files.ls("up")] == ["file", "directory", "directory", "directory"]
    assert files.ls("up/README") == [{"name": "up/README", "size": 7, "type": "file"}]


def test_every_file_is_found_once(files: NomadFileSystem) -> None:
    """By walking, and by patterns."""
    assert files.find("up") == sorted(f"up/{path}" for path in FILES)
    assert files.glob("nomad://up/**/*.csv*") == ["up/calc 1/energies.csv", "up/calc 1/energies.csv.gz"]
    walked = [f"{folder}/{name}" for folder, _, names in files.walk("up") for name in names]
    assert sorted(walked) == files.find("up")


def test_what_is_there_is_told_from_what_is_not(files: NomadFileSystem) -> None:
    """As Python tells it, with what the server said."""
    assert files.isfile("up/README") and files.isdir("up/calc 1/deep") and files.exists("up")
    assert not files.exists("up/nothing") and not files.exists("other/README")
    for path in ("up/nothing", "other/README"):
        with pytest.raises(FileNotFoundError, match=r"[Nn]ot found"):
            files.open(path)
    with pytest.raises(FileNotFoundError, match="name one"):
        files.ls("nomad://")
    with pytest.raises(IsADirectoryError):
        files.open("up/calc 1")


def test_a_folder_of_many_pages_is_listed_to_its_end() -> None:
    """10,000 at a time."""
    many = Uploads({"up": {f"f{n:05}": b"" for n in range(10_001)}})
    with RawServer(many) as server:
        files = NomadFileSystem(server.api_base, skip_instance_cache=True)
        assert len(files.ls("up")) == 10_001
        assert len(server.received) == 2
        files.ls("up")
        assert len(server.received) == 2  # it is remembered
        files.invalidate_cache()
        files.ls("up")
        assert len(server.received) == 4


# -- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end"),
    [(None, None), (0, 10), (99_990, None), (-5, None), (-10, -5), (5, 5), (9, 3), (0, 10**9)],
)
def test_any_part_of_a_file_is_read(files: NomadFileSystem, start: int | None, end: int | None) -> None:
    """As a slice of its bytes."""
    path = "calc 1/deep/er/OUTCAR"
    assert files.cat_file(f"up/{path}", start, end) == FILES[path][start:end]


def test_several_files_are_read_at_once(files: NomadFileSystem) -> None:
    assert files.cat(["up/README", "up/e/vasprun.xml"]) == {
        "up/README": b"read me",
        "up/e/vasprun.xml": b"<modeling/>",
    }


def test_only_what_is_read_travels() -> None:
    """The end of a long file: its size, and one part."""
    with RawServer(Uploads({"up": FILES})) as server:
        server.spoil = lambda received, _, answer: (
            as_json(
                {"path": "x", "access": "public", "file_metadata": {"name": "OUTCAR", "size": 100_000}},
            )
            if "rawdir" in received.path
            else answer
        )
        files = NomadFileSystem(server.api_base, skip_instance_cache=True)
        with files.open("up/calc 1/deep/er/OUTCAR") as file:
            file.seek(-10, io.SEEK_END)
            assert file.read() == b"0123456789"
        assert [one.path.rpartition("?")[2] for one in server.received[1:]] == [
            "offset=99990&ignore_mime_type=true&length=10"
        ]


@pytest.mark.parametrize("name", ["energies.csv", "energies.csv.gz"])
def test_pandas_reads_an_address(api_base: str, name: str) -> None:
    """Decompressed by its suffix, as ever."""
    frame = pd.read_csv(f"nomad://up/calc 1/{name}", storage_options={"where": api_base})
    assert frame.iloc[0].to_dict() == {"step": 1.0, "energy": -1.5}


def test_text_is_read_line_by_line(api_base: str) -> None:
    with fsspec.open("nomad://up/README", "r", where=api_base) as text:
        assert text.readlines() == ["read me"]


@pytest.mark.skipif(importlib.util.find_spec("ase") is None, reason="needs ase")
def test_ase_reads_what_is_opened(api_base: str) -> None:
    """Positions in Å."""
    from ase.io import read

    with fsspec.open("nomad://up/calc 1/water.xyz", "r", where=api_base) as file:
        atoms = read(file, format="extxyz")
        silicon = read(fsspec.open("nomad://up/silicon/POSCAR", "r", where=api_base).open(), format="vasp")
    assert silicon.get_chemical_formula() == "Si2"
    assert atoms.get_chemical_formula() == "HO" and atoms.get_distance(0, 1) == pytest.approx(1.1, abs=1e-12)


@pytest.mark.skipif(importlib.util.find_spec("pymatgen") is None, reason="needs pymatgen")
def test_pymatgen_reads_what_is_opened(api_base: str) -> None:
    from pymatgen.core import Structure

    with fsspec.open("nomad://up/silicon/POSCAR", "r", where=api_base) as file:
        assert Structure.from_str(file.read(), fmt="poscar").formula == "Si2"


@pytest.mark.skipif(importlib.util.find_spec("xarray") is None, reason="needs xarray")
def test_xarray_reads_what_is_opened(tmp_path: Path) -> None:
    """netCDF 3, by scipy."""
    import xarray as xr

    path = tmp_path / "field.nc"
    xr.Dataset({"v": ("x", [1.0, 2.0])}).to_netcdf(path, engine="scipy")
    with RawServer(Uploads({"up": {"field.nc": path.read_bytes()}})) as server:
        files = NomadFileSystem(server.api_base, skip_instance_cache=True)
        with files.open("up/field.nc") as file:
            assert xr.open_dataset(file, engine="scipy")["v"].values.tolist() == [1.0, 2.0]


def test_it_can_be_sent_to_workers(files: NomadFileSystem) -> None:
    """It opens its own connections there."""
    assert files.cat_file("up/README") == b"read me"
    assert pickle.loads(pickle.dumps(files)).cat_file("up/README") == b"read me"


# -- what it does not do -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.open("up/new", "wb"),
        lambda files: files.pipe_file("up/new", b"1"),
        lambda files: files.rm("up/README"),
        lambda files: files.mkdir("up/new"),
        lambda files: files.makedirs("up/new"),
        lambda files: files.cp_file("up/README", "up/new"),
        lambda files: files.touch("up/new"),
    ],
)
def test_nothing_can_be_changed(files: NomadFileSystem, change: Any) -> None:
    with pytest.raises(NotSupported, match="opened to be read"):
        change(files)


@pytest.mark.parametrize("option", ["token", "username", "password"])
def test_credentials_are_no_storage_option(option: str) -> None:
    """fsspec would show them; the message does not either."""
    with pytest.raises(QueryError, match="NOMADQUERY_TOKEN") as caught:
        NomadFileSystem(**{option: "hush"})
    assert "hush" not in str(caught.value)


def test_a_token_of_the_environment_is_sent_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it in what workers get."""
    monkeypatch.setenv("NOMADQUERY_TOKEN", "hush-hush")
    with RawServer(Uploads({"up": FILES})) as server:
        monkeypatch.setenv("NOMADQUERY_URL", server.api_base)
        files = NomadFileSystem(server.api_base, skip_instance_cache=True)
        assert files.isdir("up")
        sent = [one.headers.get("authorization") for one in server.received]
    shown = f"{files!r}{files.to_json()}{files.storage_options}".encode() + pickle.dumps(files)
    assert b"hush-hush" not in shown
    assert sent == ["Bearer hush-hush"]


def test_what_may_not_be_seen_is_told_as_that() -> None:
    """Not as if it were absent."""
    with RawServer(Uploads({})) as server:
        server.spoil = lambda *_: as_json({"detail": "You do not have access to the specified upload."}, 403)
        with pytest.raises(NotPermitted, match="do not have access"):
            NomadFileSystem(server.api_base, skip_instance_cache=True).ls("up")


def test_fsspec_finds_it_by_its_protocol() -> None:
    """The entry point names the class."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    room, _, name = project["entry-points"]["fsspec.specs"]["nomad"].partition(":")
    assert getattr(importlib.import_module(room), name) is NomadFileSystem
    assert project["optional-dependencies"]["fs"]
