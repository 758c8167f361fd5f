"""Names from outside stay below their folder, and no two are one file anywhere."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import UnsafeContent
from nomadquery.raw.files import RawFile
from nomadquery.raw.names import MOST_NAME_BYTES, MOST_PATH_BYTES, Layout, names, safe
from tests.strategies import names_from_outside, raw_files

LAYOUTS: tuple[Layout, ...] = ("entry", "upload", "flat")


def a_file(path: str, upload_id: str = "up", *entry_ids: str) -> RawFile:
    return RawFile(upload_id, path, 1, entry_ids, ())


def places_of(*files: RawFile, layout: Layout = "upload") -> list[str]:
    found = names(files, layout)
    assert not found.refused
    return [place for file in files for place in found.places[file]]


def as_windows_and_macos_see(path: str) -> str:
    """Return what a file system that knows neither case nor composition compares."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


# -- laws ------------------------------------------------------------------------------------


@given(names_from_outside())
def test_a_safe_name_stays_below_any_folder(path: str) -> None:
    """On POSIX and on Windows, where each part is what it says; or the name is refused."""
    try:
        local = safe(path)
    except UnsafeContent:
        return
    dest = Path("/dest/folder")
    assert Path(dest, local).resolve().is_relative_to(dest)
    on_windows = PureWindowsPath("C:/dest") / local
    assert on_windows.parts[:2] == ("C:\\", "dest") and ".." not in on_windows.parts
    assert not on_windows.is_reserved()
    parts = local.split("/")
    assert len(parts) == len(path.split("/")) == len(on_windows.parts) - 2
    assert all(len(part.encode()) <= MOST_NAME_BYTES and part[-1] not in ". " for part in parts)
    assert len(local.encode()) <= MOST_PATH_BYTES
    assert not set('<>:"|?*\\\0') & set(local)


@given(names_from_outside())
def test_a_safe_name_is_its_own(path: str) -> None:
    """Making it safe again changes nothing."""
    try:
        local = safe(path)
    except UnsafeContent:
        return
    assert safe(local) == local


@given(raw_files(), st.sampled_from(LAYOUTS))
def test_no_two_files_are_one_on_any_file_system(files: list[RawFile], layout: Layout) -> None:
    """Nor is a file the folder of another; every file has a place or a reason why not."""
    found = names(files, layout, taken=["manifest.json", "a"])
    assert {*found.places, *found.refused} == set(files) and not {*found.places} & {*found.refused}
    places = [place for file in files for place in found.places.get(file, ())]
    seen = [as_windows_and_macos_see(place) for place in [*places, "manifest.json", "a"]]
    assert len(set(seen)) == len(seen)
    folders = {one.rpartition("/")[0] for one in seen}
    above = {"/".join(folder.split("/")[:n]) for folder in folders if folder for n in range(1, 9)}
    assert not above & set(seen)
    assert all(safe(place) == place for place in places)


@given(raw_files(), st.sampled_from(LAYOUTS), st.randoms(use_true_random=False))
def test_names_do_not_depend_on_the_order_of_files(
    files: list[RawFile], layout: Layout, chance: random.Random
) -> None:
    """The same set has the same names."""
    shuffled = files.copy()
    chance.shuffle(shuffled)
    assert names(files, layout) == names(shuffled, layout)


# -- layouts -----------------------------------------------------------------------------------


def test_each_layout_puts_files_where_it_says() -> None:
    """In the layout of entries a shared file lies beside each mainfile, one of no entry under its upload."""
    main, shared, alone = (
        a_file("calc/vasprun.xml", "up", "e1"),
        a_file("calc/POSCAR", "up", "e1", "e2"),
        a_file("doc/readme.txt"),
    )
    files = (main, shared, alone)
    assert places_of(*files, layout="entry") == [
        *("e1/vasprun.xml", "e1/POSCAR", "e2/POSCAR"),
        "up/doc/readme.txt",
    ]
    assert places_of(*files, layout="upload") == [
        *("up/calc/vasprun.xml", "up/calc/POSCAR", "up/doc/readme.txt"),
    ]
    assert places_of(*files, layout="flat") == ["vasprun.xml", "POSCAR", "readme.txt"]


def test_files_of_one_name_get_a_hash_before_the_suffix() -> None:
    """SHA-256 of upload and path; the hashes were made with sha256sum."""
    first, second = a_file("a/vasprun.xml.gz", "one"), a_file("b/vasprun.xml.gz", "two")
    assert places_of(first, second, layout="flat") == [
        "vasprun~d1b435ad.xml.gz",
        "vasprun~87be371c.xml.gz",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("INCAR", "incar"),
        ("caf\u00e9", "cafe\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("ab:c", "ab_c"),
        ("a.", "a_"),
        ("CON", "_CON"),
        ("Data/x", "data/X"),
    ],
)
def test_names_that_some_system_takes_for_one_are_told_apart(one: str, other: str) -> None:
    """Both have the mark, so that neither depends on which came first."""
    places = places_of(a_file(one), a_file(other))
    assert all("~" in place for place in places) and len(set(places)) == 2


def test_a_file_called_as_a_folder_gives_way() -> None:
    """The folder keeps its name."""
    file, inside = places_of(a_file("OUT"), a_file("out/energy"))
    assert file.startswith("up/OUT~") and inside == "up/out/energy"


def test_a_name_that_is_ours_is_not_given_away() -> None:
    """A raw file cannot replace the manifest."""
    found = names([a_file("Manifest.json")], "flat", taken=["manifest.json"])
    assert next(iter(found.places.values()))[0].startswith("Manifest~")


def test_a_file_that_is_made_to_meet_another_does_not() -> None:
    """Its name is what another gets when it is told apart."""
    first, second = a_file("a/x.dat"), a_file("b/x.dat")
    aimed = a_file(f"c/{places_of(first, second, layout='flat')[0]}")
    assert len(set(places_of(first, second, aimed, layout="flat"))) == 3


# -- one by one --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "\\windows\\x", "\\\\host\\share\\x", "//host/x", "C:/x", "C:x", "c:\\x"),
        *("..", "../x", "a/../../x", "a/..", "..\\x", "a\\..\\..\\x", ".", "a/./b", "", "a//b", "a/"),
        *("a\0.txt", "a\nb", "a\x1b[2J", "a\x7f", "a\x85", "a\ud800"),
        "/".join(["folder"] * 150),
    ],
)
def test_what_leads_elsewhere_or_is_no_name_is_refused(path: str) -> None:
    """It is told by its name, readably."""
    with pytest.raises(UnsafeContent) as caught:
        safe(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("calc 1/OUTCAR.gz", "calc 1/OUTCAR.gz"),
        ("ab:c", "ab_c"),
        ('what?/<x>|*"\\y', "what_/_x_____y"),
        ("dots...", "dots___"),
        ("space /x", "space_/x"),
        ("CON", "_CON"),
        ("aux.dat/nul", "_aux.dat/_nul"),
        ("com1 .txt", "_com1 .txt"),
        ("CONTCAR", "CONTCAR"),
        ("cafe\u0301", "caf\u00e9"),
        ("exe\u202egnp.x", "exe_gnp.x"),
        (".hidden", ".hidden"),
    ],
)
def test_what_only_some_systems_hold_is_renamed(path: str, local: str) -> None:
    """By the stated rule, on every system alike."""
    assert safe(path) == local


def test_a_long_name_is_cut_and_stays_itself() -> None:
    """Two that differ only behind the cut differ, and the suffix stays."""
    one, other = safe("x" * 300 + "1.xml.gz"), safe("x" * 300 + "2.xml.gz")
    assert one != other
    for name in (one, other):
        assert name.startswith("xxx") and name.endswith(".xml.gz") and len(name.encode()) == MOST_NAME_BYTES


def test_one_refused_file_does_not_cost_the_others() -> None:
    """Why it is refused stands beside the places."""
    bad, good = a_file("../x"), a_file("x")
    found = names([bad, good], "upload")
    assert found.places == {good: ("up/x",)}
    assert "leads elsewhere" in found.refused[bad]


@pytest.mark.parametrize("layout", ["entry", "upload"])
def test_ids_from_outside_are_names_too(layout: Layout) -> None:
    """A server cannot lead out of the folder by an id."""
    file = RawFile("../up", "x", 1, ("../entry",), ())
    assert names([file], layout).refused.keys() == {file}


def test_a_file_given_twice_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="given twice"):
        names([a_file("x"), a_file("x")], "flat")
