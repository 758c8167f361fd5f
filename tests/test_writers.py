"""Files for other programs: what stands in them is read back by other means than it was written."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nomadquery.columns.structure import Structure
from nomadquery.columns.structure_texts import cif_text, extxyz_text
from nomadquery.errors import CacheError, QueryError, UnsafeContent
from nomadquery.fetch.writers import write_cif, write_excel, write_extxyz
from tests.structures import A_SILICON, silicon

STRESS = [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]
#: A chiral arrangement in a skewed cell.
CHIRAL = Structure(
    "chiral",
    ("C", "H", "F", "Cl", "X"),
    [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0], [1.0, 2.2, 1.0], [1.0, 1.0, 2.4], [3.9, 3.1, 2.0]],
    [[5.0, 0.0, 0.0], [0.5, 6.0, 0.0], [0.3, -0.7, 7.0]],
    (True, True, False),
)


def parsed(text: str) -> tuple[dict[str, str], list[list[str]]]:
    """Return the facts and the words of each atom of one frame, read by shell quoting rules."""
    n_atoms, comment, *lines = text.rstrip("\n").split("\n")
    assert len(lines) == int(n_atoms)
    facts = dict(word.partition("=")[::2] for word in shlex.split(comment))
    return facts, [line.split() for line in lines]


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


# -- extended XYZ --------------------------------------------------------------------------


def test_a_frame_holds_cell_results_and_facts() -> None:
    """Numbers come back to the last digit; the cell's rows follow each other."""
    forces = [[0.1 * n, -1 / 3, 1e-17] for n in range(5)]
    frame = Structure(**{**_fields(CHIRAL), "energy": -1 / 3, "forces": forces, "stress": STRESS})
    facts, atoms = parsed(extxyz_text(frame))
    assert numbers(facts["Lattice"]) == [x for vector in CHIRAL.cell or () for x in vector]
    assert (facts["Properties"], facts["pbc"]) == ("species:S:1:pos:R:3:forces:R:3", "T T F")
    assert float(facts["energy"]) == -1 / 3
    assert numbers(facts["stress"]) == [1.0, 6.0, 5.0, 6.0, 2.0, 4.0, 5.0, 4.0, 3.0]
    assert [atom[0] for atom in atoms] == list(CHIRAL.symbols)
    assert [[float(word) for word in atom[1:4]] for atom in atoms] == CHIRAL.positions
    assert [[float(word) for word in atom[4:]] for atom in atoms] == forces


def test_a_molecule_has_no_lattice() -> None:
    """And what it lacks is not written."""
    facts, atoms = parsed(extxyz_text(Structure("e", ("H",), [[0.0, 0.0, 0.5]])))
    assert facts == {"Properties": "species:S:1:pos:R:3", "pbc": "F F F"}
    assert atoms == [["H", "0.0", "0.0", "0.5"]]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *((7, "7"), (0.1, "0.1"), (True, "T"), ("Fm-3m", "Fm-3m"), ("two words", "two words")),
        *(('say "a\\b"', 'say "a\\b"'), ([1.5, 2.5], "1.5 2.5"), ("a=b, c", "a=b, c"), ("[x]", "[x]")),
        *(("F", '_JSON "F"'), ("1e5", '_JSON "1e5"'), ("", '_JSON ""'), ("a\nb", '_JSON "a\\nb"')),
        *((["O", "Ti"], '_JSON ["O", "Ti"]'), ([[1, 2], [3, 4]], "_JSON [[1, 2], [3, 4]]")),
        (datetime(2024, 1, 2, tzinfo=UTC), '_JSON "2024-01-02T00:00:00+00:00"'),
    ],
)
def test_facts_are_quoted_so_that_they_come_back(value: Any, written: str) -> None:
    """A text that would be read as number or truth value is JSON: the formula F is fluorine, not False."""
    facts, _ = parsed(extxyz_text(Structure("e", ("H",), [[0.0] * 3], info={"my key": value})))
    assert facts["my key"] == written


def test_arrays_are_columns_of_their_type() -> None:
    """Texts lose blanks, which would end the column; an empty text is an underscore."""
    arrays: dict[str, list[Any]] = {
        "labels": ["H 1", ""],
        "q": [0.5, 1],
        "tag": [1, 2],
        "fixed": [True, False],
    }
    facts, atoms = parsed(extxyz_text(Structure("e", ("H", "H"), [[0.0] * 3] * 2, arrays=arrays)))
    assert facts["Properties"] == "species:S:1:pos:R:3:labels:S:1:q:R:1:tag:I:1:fixed:L:1"
    assert [atom[4:] for atom in atoms] == [["H_1", "0.5", "1", "T"], ["_", "1", "2", "F"]]


def test_ase_reads_the_file_back(tmp_path: Path) -> None:
    """Frames in order, results in a calculator, facts with their types."""
    io = pytest.importorskip("ase.io")
    info = {"entry_id": "e", "formula": "F", "gap": 1.5, "elements": ["O", "Ti"], "note": 'a "b" \\c'}
    first = Structure(
        **{**_fields(CHIRAL), "energy": -2.5, "stress": STRESS, "info": info, "arrays": {"q": [0.5] * 5}}
    )
    second = silicon(energy=1.0, forces=[[0.0, 0.1, 0.2]] * 8)
    found = io.read(write_extxyz([first, second], tmp_path / "two.extxyz"), index=":")
    assert len(found) == 2
    assert found[0].positions.tolist() == CHIRAL.positions
    assert found[0].cell.tolist() == CHIRAL.cell
    assert (found[0].pbc.tolist(), found[0].symbols.get_chemical_formula()) == ([True, True, False], "CHClFX")
    assert {name: found[0].info[name] for name in info} == info
    assert found[0].get_stress().tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert found[0].arrays["q"].tolist() == [0.5] * 5
    assert (found[1].get_potential_energy(), found[1].get_forces().shape) == (1.0, (8, 3))


def test_no_structures_make_an_empty_file(tmp_path: Path) -> None:
    """In a folder that is made."""
    assert write_extxyz([], tmp_path / "deep" / "none.extxyz").read_bytes() == b""


# -- CIF -----------------------------------------------------------------------------------


def _fields(structure: Structure) -> dict[str, Any]:
    return {name: getattr(structure, name) for name in Structure.__dataclass_fields__}


def read_cif(text: str) -> tuple[dict[str, str], list[list[str]]]:
    """Return the items and the lines of atoms."""
    items = dict(re.findall(r"^(_\S+) +(.+)$", text, re.MULTILINE))
    return items, [line.split() for line in text.split("_atom_site_occupancy\n")[1].splitlines()]


def rebuilt(text: str) -> list[list[float]]:
    """Return Cartesian positions in the customary setting: a along x, b in the xy plane, c up."""
    items, atoms = read_cif(text)
    a, b, c = (float(items[f"_cell_length_{name}"]) for name in "abc")
    alpha, beta, gamma = (
        math.radians(float(items[f"_cell_angle_{name}"])) for name in ("alpha", "beta", "gamma")
    )
    cx = c * math.cos(beta)
    cy = c * (math.cos(alpha) - math.cos(beta) * math.cos(gamma)) / math.sin(gamma)
    vectors = (
        *((a, 0.0, 0.0), (b * math.cos(gamma), b * math.sin(gamma), 0.0)),
        (cx, cy, math.sqrt(c * c - cx * cx - cy * cy)),
    )
    places = [[float(word) for word in atom[2:5]] for atom in atoms]
    return [
        [sum(f * v[i] for f, v in zip(place, vectors, strict=True)) for i in range(3)] for place in places
    ]


def volume(corners: list[list[float]]) -> float:
    """Return the signed volume that three edges from the first corner span: its sign is the handedness."""
    (a, b, c), (d, e, f), (g, h, i) = (
        [x - y for x, y in zip(corner, corners[0], strict=True)] for corner in corners[1:4]
    )
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def test_silicon_has_its_textbook_cell() -> None:
    """5.431 Å, right angles, P 1, every site occupied."""
    text = cif_text(silicon())
    items, atoms = read_cif(text)
    assert text.startswith("# NOMAD entry silicon\ndata_silicon\n")
    assert [float(items[f"_cell_length_{name}"]) for name in "abc"] == [A_SILICON] * 3
    assert [float(items[f"_cell_angle_{n}"]) for n in ("alpha", "beta", "gamma")] == [90.0] * 3
    assert float(items["_cell_volume"]) == pytest.approx(A_SILICON**3, rel=1e-9)  # ten digits are written
    assert (items["_space_group_name_H-M_alt"], items["_space_group_IT_number"]) == ("'P 1'", "1")
    assert atoms[4] == ["Si5", "Si", *["0.250000000000"] * 3, "1.0"]
    assert "_cell_special_details" not in items


@pytest.mark.parametrize("hand", [1, -1])
def test_distances_and_handedness_survive(hand: int) -> None:
    """Also of a left-handed cell, whose lengths and angles are those of its mirror image."""
    a, b, c = CHIRAL.cell or ()
    cell = [a, b, c] if hand == 1 else [b, a, c]
    found = rebuilt(cif_text(Structure(**{**_fields(CHIRAL), "cell": cell})))
    for place, original in zip(found, CHIRAL.positions, strict=True):
        assert math.dist(place, found[0]) == pytest.approx(math.dist(original, CHIRAL.positions[0]), abs=1e-8)
    assert volume(found) == pytest.approx(volume([list(place) for place in CHIRAL.positions]), abs=1e-8)


def test_a_structure_that_does_not_repeat_everywhere_says_so() -> None:
    """CIF itself has no word for it."""
    items, _ = read_cif(cif_text(CHIRAL))
    assert items["_cell_special_details"] == "'repeats along a, b only'"


def test_ase_and_pymatgen_read_the_cif(tmp_path: Path) -> None:
    """Eight atoms, the neighbours of silicon."""
    io = pytest.importorskip("ase.io")
    (path,), problems = write_cif([silicon()], tmp_path / "cifs")
    atoms = io.read(path)
    assert (len(atoms), problems) == (8, ())
    assert atoms.get_distance(0, 4, mic=True) == pytest.approx(A_SILICON * math.sqrt(3) / 4, rel=1e-9)
    core: Any = pytest.importorskip("pymatgen.core")
    assert core.Structure.from_file(str(path)).density == pytest.approx(2.33, abs=0.01)  # g/cm³


def test_one_file_an_entry_named_by_its_id(tmp_path: Path) -> None:
    """Frames have their positions too; what is no crystal is left out and told."""
    frame = silicon(index=(0, 12))
    molecule = Structure("gas", ("H",), [[0.0] * 3])
    layer = Structure(
        "layer", ("C",), [[0.0] * 3], [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0] * 3], (True, True, False)
    )
    files, problems = write_cif([silicon(), frame, molecule, layer], tmp_path / "new" / "cifs")
    assert [file.name for file in files] == ["silicon.cif", "silicon-0-12.cif"]
    assert all(file.is_file() for file in files)
    assert [(one.entry_id, one.why) for one in problems] == [
        ("gas", "no CIF: nothing repeats, and CIF describes crystals; use to_extxyz"),
        ("layer", "no CIF: CIF needs three lattice vectors; use to_extxyz"),
    ]


def test_two_structures_of_one_name_are_refused(tmp_path: Path) -> None:
    """The second would replace the first."""
    with pytest.raises(QueryError, match=r"Two structures would be written to silicon\.cif"):
        write_cif([silicon(), silicon()], tmp_path)


@pytest.mark.parametrize("entry_id", ["../up", "a/b", "", "a b", "..", "x" * 300])
def test_an_id_that_is_no_file_name_stays_outside(tmp_path: Path, entry_id: str) -> None:
    """Names from a server never leave the folder."""
    with pytest.raises(UnsafeContent, match="cannot be the name of a file"):
        write_cif([Structure(**{**_fields(silicon()), "entry_id": entry_id})], tmp_path / "in")
    assert not list(tmp_path.iterdir())


# -- Excel ---------------------------------------------------------------------------------

SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.string(), nullable=False),
        pa.field("gap", pa.float64(), metadata={"unit": "eV", "path": "results.gap"}),
        pa.field("n", pa.int64()),
        pa.field("is_ok", pa.bool_()),
        pa.field("when", pa.timestamp("ms", tz="UTC")),
        pa.field("elements", pa.list_(pa.string())),
        pa.field("name", pa.string()),
    ]
)


def a_batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"entry_id": "e", **row} for row in rows], schema=SCHEMA)


def sheets(path: Path) -> dict[str, list[list[Any]]]:
    """Return sheet → rows as openpyxl reads them."""
    openpyxl: Any = pytest.importorskip("openpyxl")
    book = openpyxl.load_workbook(path)
    return {sheet.title: [[cell.value for cell in row] for row in sheet.rows] for sheet in book}


def test_a_sheet_holds_the_rows_and_another_units_and_source(tmp_path: Path) -> None:
    """Units in the names; times in UTC; lists as JSON; nulls empty."""
    moment = datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    row = {"gap": 1.5, "n": 3, "is_ok": True, "when": moment, "elements": ["O", "Ti"], "name": "TiO₂"}
    path = write_excel([a_batch(row), a_batch({})], SCHEMA, tmp_path / "t.xlsx", {"owner": "public", "n": 2})
    found = sheets(path)
    assert list(found) == ["table", "about"]
    header, first, second = found["table"]
    assert header == ["entry_id", "gap (eV)", "n", "is_ok", "when", "elements", "name"]
    assert first == ["e", 1.5, 3, True, datetime(2024, 1, 2, 3, 4, 5, 678000), '["O", "Ti"]', "TiO₂"]
    assert second == ["e", None, None, None, None, None, None]
    assert found["about"][2][:3] == ["gap", "eV", "results.gap"]
    assert ["owner", "public", None] in found["about"]


def test_texts_are_never_formulas(tmp_path: Path) -> None:
    """Names on a server may begin with =; neither are they error values."""
    openpyxl: Any = pytest.importorskip("openpyxl")
    path = write_excel(
        [a_batch({"name": '=HYPERLINK("x")'}, {"name": "#N/A"})], SCHEMA, tmp_path / "t.xlsx", {}
    )
    cells = [row[-1] for row in openpyxl.load_workbook(path)["table"].rows][1:]
    assert [(cell.value, cell.data_type) for cell in cells] == [('=HYPERLINK("x")', "s"), ("#N/A", "s")]


def test_what_a_sheet_cannot_hold_as_number_is_text_or_empty(tmp_path: Path) -> None:
    """NaN is missing; infinities and integers beyond 2**53 keep their digits as text; so do early dates."""
    early = datetime(1850, 1, 1, tzinfo=UTC)
    rows: list[dict[str, Any]] = [
        {"gap": math.nan, "n": 2**53},
        {"gap": -math.inf, "n": 2**53 + 1, "when": early},
    ]
    found = sheets(write_excel([a_batch(*rows)], SCHEMA, tmp_path / "t.xlsx", {}))["table"]
    assert found[1][1:3] == [None, 2**53]
    assert found[2][1:5] == ["-inf", "9007199254740993", None, "1850-01-01T00:00:00+00:00"]


def test_characters_that_xml_lacks_are_escaped_as_office_does(tmp_path: Path) -> None:
    """Office Open XML, ST_Xstring: _xHHHH_; a text that looks like one is marked."""
    rows = [{"name": "a\x01b\tc\nd"}, {"name": "_x0041_"}]
    found = sheets(write_excel([a_batch(*rows)], SCHEMA, tmp_path / "t.xlsx", {}))["table"]
    assert [row[-1] for row in found[1:]] == ["a_x0001_b\tc\nd", "_x005F_x0041_"]


def test_a_value_longer_than_a_cell_is_an_error(tmp_path: Path) -> None:
    """Never cut at 32,767 characters, as openpyxl would."""
    sheets(write_excel([a_batch({"name": "x" * 32_767})], SCHEMA, tmp_path / "fits.xlsx", {}))
    with pytest.raises(QueryError, match=r"'name' has 32,768 characters .* write \.to_parquet"):
        write_excel([a_batch({"name": "x" * 32_768})], SCHEMA, tmp_path / "t.xlsx", {})
    assert not (tmp_path / "t.xlsx").exists()


def test_more_rows_than_a_sheet_holds_are_an_error(tmp_path: Path) -> None:
    """Found before these rows are written; one batch of 2**20 rows and its header is one too many."""
    ids = pa.schema([pa.field("entry_id", pa.string())])
    batch = pa.record_batch([pa.nulls(2**20, pa.string())], schema=ids)
    with pytest.raises(QueryError, match=r"A sheet holds 1,048,575 rows.*limit"):
        write_excel([batch], ids, tmp_path / "t.xlsx", {})
    assert not list(tmp_path.iterdir())


# -- all -----------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], Any]] = {
    "silicon.extxyz": lambda path: write_extxyz([silicon()], path),
    "silicon.cif": lambda path: write_cif([silicon()], path.parent),
    "silicon.xlsx": lambda path: write_excel([a_batch({})], SCHEMA, path, {}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_cannot_be_finished_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And nothing beside it."""
    target = tmp_path / "out" / name
    WRITERS[name](target)
    before = target.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="disk is full"):
        WRITERS[name](target)
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == [name]


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Whatever was written before."""

    def broken() -> Any:
        yield silicon()
        raise QueryError("the table could not be read")

    with pytest.raises(QueryError):
        write_extxyz(broken(), tmp_path / "t.extxyz")
    assert not list(tmp_path.iterdir())


def test_files_and_folders_are_not_mistaken(tmp_path: Path) -> None:
    """Said before anything is written."""
    (tmp_path / "file").write_text("")
    with pytest.raises(QueryError, match="is a folder"):
        write_extxyz([silicon()], tmp_path)
    with pytest.raises(QueryError, match="is a folder"):
        write_excel([a_batch({})], SCHEMA, tmp_path, {})
    with pytest.raises(QueryError, match="is a file"):
        write_cif([silicon()], tmp_path / "file")


def test_facts_are_kept_as_json(tmp_path: Path) -> None:
    """Nested ones too."""
    found = sheets(write_excel([], SCHEMA, tmp_path / "t.xlsx", {"request": {"owner": "public"}}))["about"]
    assert json.loads(found[-1][1]) == {"owner": "public"}
