"""Where the data of a command go, and in which form."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nomadquery.cli.output import Output, give_frame
from nomadquery.cli.tables import rendered
from tests.command_line import Shell, a_shell

COLUMNS = ("--select", "formula,program,gap,uploaded")
GAP_EV = 3.2e-19 / 1.602176634e-19  # the smallest gap of each entry; joule in eV, CODATA
UPLOADED = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return a_shell(tmp_path)


def read(file: Path) -> pd.DataFrame:
    """Return a table as pandas reads it."""
    match file.suffix:
        case ".csv":
            return pd.read_csv(file)
        case ".parquet":
            return pd.read_parquet(file)
        case ".xlsx":
            return pd.read_excel(file)
        case suffix:
            return pd.read_json(file, lines=suffix == ".jsonl")


def test_data_and_talk_are_separate(shell: Shell) -> None:
    """Standard output holds the table alone; what was fetched stands on standard error."""
    found = shell.ask("entries", *COLUMNS)
    names, units, *rows = found.stdout.splitlines()
    assert names.split() == ["entry_id", "formula", "program", "gap", "uploaded"]
    assert units.split() == ["eV"]
    assert rows[0].split() == ["a", "-", "VASP", "1.99728", "2024-01-02", "03:04:05"]
    assert "complete, 3 rows" in found.stderr


def test_csv_has_units_in_its_header(shell: Shell) -> None:
    """And full precision."""
    lines = shell.ask("entries", *COLUMNS, "--format", "csv").stdout.splitlines()
    assert lines[0] == "entry_id,formula,program,gap (eV),uploaded"
    assert float(lines[1].split(",")[3]) == pytest.approx(GAP_EV, rel=1e-9)


def test_json_is_one_array_and_jsonl_one_object_a_line(shell: Shell) -> None:
    """Both hold the same rows; no rows are an empty array."""
    rows = json.loads(shell.ask("entries", *COLUMNS, "--format", "json").stdout)
    lines = shell.ask("entries", *COLUMNS, "--format", "jsonl").stdout.splitlines()
    assert rows == [json.loads(line) for line in lines]
    assert datetime.fromisoformat(rows[2]["uploaded"]) == UPLOADED
    none = shell.ask("entries", "--where", "entry_id == zz", "--format", "json")
    assert json.loads(none.stdout) == []


def test_parquet_carries_units(shell: Shell) -> None:
    """On standard output as in a file."""
    found = shell.ask("entries", *COLUMNS, "--format", "parquet")
    table = pq.read_table(io.BytesIO(found.stdout_bytes))
    assert table.schema.field("gap").metadata[b"unit"] == b"eV"
    assert table["gap"].to_pylist() == pytest.approx([GAP_EV] * 3, rel=1e-9)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet", ".xlsx"])
def test_a_file_is_written_by_its_suffix(shell: Shell, suffix: str) -> None:
    """Standard output stays empty; the file holds all rows."""
    file = shell.home / "new folder" / f"table{suffix}"
    found = shell.ask("entries", *COLUMNS, "-o", file)
    assert (found.exit_code, found.stdout) == (0, "")
    assert f"wrote {file}" in found.stderr
    frame = read(file)
    gap = frame["gap (eV)" if "gap (eV)" in frame.columns else "gap"]
    assert list(frame["entry_id"]) == ["a", "b", "c"]
    assert list(gap) == pytest.approx([GAP_EV] * 3, rel=1e-9)


@pytest.mark.parametrize(
    "options", [["-o", "table.docx"], ["-o", "t.csv", "--format", "json"], ["--format", "xml"]]
)
def test_a_form_that_cannot_be_is_wrong_use(shell: Shell, options: list[str]) -> None:
    """It is said before anything is fetched."""
    assert shell.ask("entries", *options).exit_code == 2
    assert not (shell.cache / "tables").exists()


def test_a_file_that_cannot_be_written_is_a_failure(shell: Shell) -> None:
    """Without a traceback; with --debug there is one."""
    in_the_way = shell.home / "file"
    in_the_way.touch()
    target = in_the_way / "table.csv"
    found = shell.ask("entries", "-o", target)
    assert (found.exit_code, found.stdout) == (1, "")
    assert str(in_the_way) in found.stderr
    assert "Traceback" not in found.stderr
    debugged = shell.run("--debug", "entries", "-d", shell.deployment, "-o", target)
    assert "Traceback" in debugged.stderr


def a_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "entry_id": ["54oHNiNzEqh-MVIY9Y3MPz5bRQl8", "b"],
            "comment": pd.Series(["long words " * 10, None], dtype="string"),
            "gap": [1.23456789, float("nan")],
            "n": pd.array([3, None], dtype="Int64"),
            "forces": [np.zeros((64, 3)), ["x", None]],
        }
    )


def test_a_table_shows_missing_values_numbers_and_lists() -> None:
    """Numbers with six digits on the right, arrays by their shape."""
    lines, hidden = rendered(a_frame(), {"gap": "eV"})
    assert lines[2].split()[-3:] == ["3", "array", "64×3"]
    assert "1.23457" in lines[2]
    assert lines[3].split() == ["b", "-", "-", "-", "x,", "-"]
    assert hidden == []


@pytest.mark.parametrize("width", [120, 80, 60, 45, 10])
def test_a_table_is_cut_to_the_width_of_the_terminal(width: int) -> None:
    """Long texts first, then whole columns, which are named; the ids stay whole."""
    lines, hidden = rendered(a_frame(), {}, width)
    widest = max(width, len("54oHNiNzEqh-MVIY9Y3MPz5bRQl8"))
    assert all(len(line) <= widest for line in lines)
    assert lines[1].startswith("54oHNiNzEqh-MVIY9Y3MPz5bRQl8")
    assert [name for name in a_frame().columns if name not in hidden] == lines[0].split()
    assert ("…" in lines[1]) == ("comment" not in hidden)


def test_a_table_shows_no_control_characters() -> None:
    """A name on a server cannot move the cursor or colour the terminal."""
    lines, _ = rendered(pd.DataFrame({"name": ["a\x1b[2Jb\r\nc"]}), {})
    assert lines[1] == "a\N{REPLACEMENT CHARACTER}[2Jb c"


def test_a_sheet_holds_no_formulas(tmp_path: Path) -> None:
    """A text that begins with = stays a text; lists are JSON, times UTC, missing cells empty."""
    times = pd.Series([UPLOADED, pd.NaT], dtype="datetime64[ms, UTC]")
    frame = pd.DataFrame({"n": [1, 2], "name": ["=1+1", None], "list": [["a", "å"], None], "time": times})
    give_frame(frame, Output(None, tmp_path / "frame.xlsx"))
    back = read(tmp_path / "frame.xlsx")  # a formula would be read as its value, which is none
    assert list(back.loc[0, ["name", "list"]]) == ["=1+1", '["a", "å"]']
    assert back["time"][0] == UPLOADED.replace(tzinfo=None)
    assert back.loc[1].isna().sum() == 3
