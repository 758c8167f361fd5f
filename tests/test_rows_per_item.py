"""One row for each item of a repeating section: positions, values, structures of frames."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError
from nomadquery.local.store import LocalStore
from nomadquery.query.quantity import Q
from nomadquery.search import Search
from tests.tables import EV, CountedWire, a_document, a_filled_store, a_search, ids

C = Q.run.calculation


def a_table(folder: Path, **archives: dict[str, Any]) -> Search:
    """Return a search among entries with these archives."""
    store = LocalStore()
    store.add_entries(
        (a_document(name), {"metadata": {"entry_id": name}, **content}) for name, content in archives.items()
    )
    return a_search(CountedWire(store), folder)


def a_run(n_systems: int, *references: str | None) -> dict[str, Any]:
    """Return a run of calculations that refer to these systems; system number n has n + 1 atoms."""
    calculations = [{"step": step} | ({"system_ref": r} if r else {}) for step, r in enumerate(references)]
    systems = [{"atoms": {"labels": ["H"] * (n + 1)}} for n in range(n_systems)]
    return {"calculation": calculations, "system": systems}


def test_each_item_is_a_row_and_the_rest_of_the_entry_is_repeated(tmp_path: Path) -> None:
    """Rows are in the order of entry ids, then of items; positions stand beside them."""
    table = a_search(CountedWire(a_filled_store(ids(3))), tmp_path).per("run.calculation")
    frame = table.select("formula", energy=C.energy.total.value.to("eV")).to_pandas()
    assert frame.columns.tolist() == ["entry_id", "run", "calculation", "formula", "energy"]
    assert frame["entry_id"].tolist() == [one for one in ids(3) for _ in range(2)]
    assert frame["calculation"].tolist() == [0, 1, 0, 1, 0, 1]
    assert frame["energy"].tolist() == pytest.approx([0, -0.5, -1, -1.5, -2, -2.5], abs=1e-12)
    assert frame["formula"].tolist() == ["O2Ti"] * 6


def test_a_trajectory_of_a_thousand_frames_is_a_thousand_rows(tmp_path: Path) -> None:
    """And the arrays of each frame keep their shape."""
    frames = [{"forces": {"total": {"value": [[n, 0.0, 0.0], [0.0, 0.0, 1.0]]}}} for n in range(1_000)]
    table = a_table(tmp_path, a={"run": [{"calculation": frames}]}).per("run.calculation")
    frame = table.select(forces=C.forces.total.value).to_pandas()
    assert len(frame) == 1_000
    assert {value.shape for value in frame["forces"]} == {(2, 3)}
    assert [value[0][0] for value in frame["forces"]] == list(range(1_000))


def test_rows_go_down_nested_sections(tmp_path: Path) -> None:
    """A position for each of them; rules and lists begin below the row's item."""
    steps = [{"energy": {"total": {"value": n * EV}}} for n in range(3)]
    runs = [{"calculation": [{"scf_iteration": steps}, {}]}, {"calculation": [{"scf_iteration": steps[1:]}]}]
    table = a_table(tmp_path, a={"run": runs}).per(C.scf_iteration)
    frame = table.select(energy=C.scf_iteration.energy.total.value.to("eV")).to_pandas()
    positions = frame[["run", "calculation", "scf_iteration"]].to_numpy().tolist()
    assert positions == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [1, 0, 0], [1, 0, 1]]
    assert frame["energy"].tolist() == pytest.approx([0, 1, 2, 1, 2], rel=1e-12)


def test_a_frame_has_the_structure_it_refers_to(tmp_path: Path) -> None:
    """Without a reference the only one of its run, and never the one at its position."""
    runs = [a_run(2, "/run/0/system/1", None), a_run(1, None, None)]
    table = a_table(tmp_path, a={"run": runs}).per("run.calculation")
    table = table.select(n_atoms=C.system_ref.atoms.labels.size())
    assert table.to_pandas()["n_atoms"].tolist() == [2, pd.NA, 1, 1]
    assert table.problems["path"].tolist() == ["run.calculation.system_ref.atoms.labels"]
    assert "2 systems" in table.problems["why"][0]


def test_an_entry_without_items_has_no_row_and_is_told(tmp_path: Path) -> None:
    """It is not missing: the server listed it, and it has nothing to show."""
    table = a_table(tmp_path, a={"run": [a_run(1, None)]}, b={"run": []}, c={}).per("run.calculation")
    table = table.select(step=C.step)
    assert table.to_pandas()["entry_id"].tolist() == ["a"]
    assert "2 of 3 entries have no item of run.calculation" in table.problems["why"].iloc[-1]
    assert table.to_pandas().attrs["nomadquery"]["n_entries"] == 3


def test_limit_counts_entries(tmp_path: Path) -> None:
    """All rows of the first two."""
    table = a_search(CountedWire(a_filled_store(ids(5))), tmp_path).per("run.calculation").limit(2)
    assert table.select(e=C.energy.total.value).to_pandas()["entry_id"].tolist() == [
        *ids(2)[:1] * 2,
        *ids(2)[1:] * 2,
    ]


def test_items_that_the_index_holds_cost_no_archive_request(tmp_path: Path) -> None:
    """A row for each band gap."""
    wire = CountedWire(a_filled_store(ids(4)))
    gap = Q.results.properties.electronic.band_gap
    frame = a_search(wire, tmp_path).per(gap).select(gap=gap.value.to("eV"), kind=gap.type).to_pandas()
    assert frame["gap"].tolist() == pytest.approx([0, 1, 2, 3], rel=1e-12)
    assert frame.columns.tolist()[1] == "band_gap"
    assert wire.archive_pages == []


@given(st.lists(st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3)), max_size=4), min_size=1, max_size=5))
def test_rows_are_the_lists_of_the_same_column_taken_apart(energies: list[list[float | None]]) -> None:
    """Whatever items lack the value."""
    store = LocalStore()
    for number, values in enumerate(energies):
        items = [{"energy": {"total": {} if v is None else {"value": v}}} for v in values]
        name = f"e{number}"
        store.add_entries(
            [(a_document(name), {"metadata": {"entry_id": name}, "run": [{"calculation": items}]})]
        )
    with tempfile.TemporaryDirectory() as folder:
        search = a_search(CountedWire(store), Path(folder))
        rows = search.per("run.calculation").select(e=C.energy.total.value).to_arrow()["e"].to_pylist()
    assert rows == [value for values in energies for value in values]


@pytest.mark.parametrize(
    ("section", "error", "words"),
    [
        ("results.material", QueryError, "needs a section that repeats"),
        ("run.calculation.energy", QueryError, "Repeating sections on its way: run, run.calculation"),
        ("formula", QueryError, "needs a section that repeats"),
        ("run[0].calculation", QueryError, "without brackets"),
        ("run.calculatoin", QuantityNotFound, "run.calculation"),
        ("run.calculation.system_ref.atoms_group", NotExpressible, "through a reference"),
    ],
)
def test_what_cannot_make_rows_is_refused_before_anything_is_sent(
    tmp_path: Path, section: str, error: type[Exception], words: str
) -> None:
    """Saying what to do."""
    wire = CountedWire(a_filled_store(ids(1)))
    with pytest.raises(error, match=words):
        a_search(wire, tmp_path).per(section)
    assert wire.sent == []


def test_brackets_on_the_way_to_the_rows_are_refused(tmp_path: Path) -> None:
    """The row is one item already; also when the columns were chosen first."""
    search = a_search(CountedWire(a_filled_store(ids(1))), tmp_path)
    with pytest.raises(QueryError, match="the row's own item"):
        search.per("run.calculation").select(e=Q.run[-1].calculation.energy.total.value)
    with pytest.raises(QueryError, match="the row's own item"):
        search.select(e=Q.run.calculation[0].energy.total.value).per("run.calculation")
    with pytest.raises(QueryError, match="'run' holds positions"):
        search.per("run.calculation").select(run="formula")


# -- drop_missing ---------------------------------------------------------------------------


def test_rows_without_a_value_are_left_out_and_counted(tmp_path: Path) -> None:
    """The table is kept whole: leaving rows out asks nothing again."""
    archive = {"run": [{"calculation": [{"step": 1}, {}, {"step": 3, "forces": {"total": {"value": []}}}]}]}
    search = a_table(tmp_path, a=archive).per("run.calculation")
    table = search.select(step=C.step, forces=C.forces.total.value)
    assert len(table.to_pandas()) == 3
    kept = table.drop_missing("step")
    assert kept.to_pandas()["step"].tolist() == [1, 3]
    assert kept.to_pandas().attrs["nomadquery"]["n_dropped"] == 1
    assert "1 of 3 rows" in kept.problems["why"].iloc[-1]
    with pytest.warns(UserWarning, match="1 entries match, and none gives a row"):
        assert len(table.drop_missing("step", "forces").to_pandas()) == 0
    assert sum(batch.num_rows for batch in kept.batches()) == 2
    assert kept.dataset().count_rows() == 2


def test_only_selected_columns_can_be_needed(tmp_path: Path) -> None:
    """The others are not there."""
    search = a_search(CountedWire(a_filled_store(ids(1))), tmp_path).select("formula")
    with pytest.raises(QueryError, match=r"Select it first; columns are formula"):
        search.drop_missing("energy")


def test_lists_without_any_value_cannot_be_left_out_of_the_files_on_disk(tmp_path: Path) -> None:
    """So `dataset` says so, in place of giving other rows than the rest."""
    archive = {"run": [{"calculation": [{"step": 1}, {"step": 2, "forces": {"total": {"value": []}}}]}]}
    table = (
        a_table(tmp_path, a=archive).select(steps=C.step, forces=C.forces.total.value).drop_missing("forces")
    )
    with pytest.raises(QueryError, match="to_parquet"):
        table.dataset()


@pytest.mark.parametrize("section", ["authors", "datasets"])
def test_people_and_data_sets_make_rows_too(tmp_path: Path, section: str) -> None:
    """As sections; as a column alone they are ids."""
    store = LocalStore()
    people = [{"name": "A"}, {"name": "B"}]
    sets = [{"dataset_id": "x"}, {"dataset_id": "y"}]
    store.add_entries([(a_document("a", authors=people, datasets=sets), None)])
    table = a_search(CountedWire(store), tmp_path).per(section)
    assert len(table.select("formula").to_arrow()) == 2
