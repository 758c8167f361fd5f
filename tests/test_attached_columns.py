"""A table's own columns in the structures of its rows."""

from __future__ import annotations

import pytest

from nomadquery.columns.attached import (
    check_attachable,
    matched,
    per_atom_columns,
    structures_with_columns,
)
from nomadquery.columns.plan import plan_column
from nomadquery.columns.structure import Structure
from nomadquery.errors import QueryError, ResultChanged, UnitError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from tests.structures import EV, a_frame

CATALOGUE = catalogue_for("2.0.0")


def test_columns_of_the_table_go_into_its_structures() -> None:
    """Energies and forces in their place, arrays of the atoms beside these, the rest as facts."""
    row = {"entry_id": "e", "run": 0, "calculation": 0, "energy": 2 * EV, "gap": 1.5, "n": 7, "q": [0.1, 0.2]}
    forces = [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
    units = {"energy": "joule", "forces": "eV/angstrom", "gap": "eV"}
    found = list(
        structures_with_columns(
            [a_frame()], [{**row, "forces": forces}], "frames", column_units=units, per_atom={"q", "forces"}
        )
    )
    assert isinstance(found[0], Structure)
    assert found[0].energy == pytest.approx(2.0, rel=1e-12)
    assert found[0].forces == forces
    assert found[0].arrays == {"q": [0.1, 0.2]}
    facts = {"entry_id": "e", "run": 0, "calculation": 0, "program_name": "VASP"}
    assert found[0].info == {**facts, "gap": 1.5, "n": 7, "units": "gap: eV"}


def test_a_stress_that_was_selected_gets_the_sign_too() -> None:
    """-1 GPa of VASP is 1 GPa of tension: 0.00624 eV/Å³."""
    stress = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]
    row = {"entry_id": "e", "run": 0, "calculation": 0, "stress": stress}
    (found,) = structures_with_columns([a_frame()], [row], "frames", column_units={"stress": "GPa"})
    assert isinstance(found, Structure)
    assert found.stress is not None
    assert found.stress[0] == pytest.approx([1e9 * 1e-30 / EV, 0.0, 0.0], rel=1e-12)


def test_rows_that_were_dropped_have_no_structure() -> None:
    """Rows are matched by entry id and positions, not by their count."""
    rows = [{"entry_id": "e", "run": 0, "calculation": n, "energy": n * 1.0} for n in (1, 3)]
    frames = [a_frame(n) for n in range(5)]
    found = list(structures_with_columns(frames, rows, "frames", column_units={"energy": "eV"}))
    assert [(one.key, one.energy) for one in found if isinstance(one, Structure)] == [
        (("e", 0, 1), 1.0),
        (("e", 0, 3), 3.0),
    ]


def test_a_row_without_counterpart_is_an_error() -> None:
    """The server's data changed between the two readings: never a shorter result."""
    rows = [{"entry_id": "gone", "run": 0, "calculation": 0}]
    with pytest.raises(ResultChanged, match="refresh=True") as caught:
        list(matched([a_frame()], rows, ("run", "calculation")))
    assert caught.value.missing == ("gone",)


def test_names_that_mean_something_else_are_refused() -> None:
    """Before anything is fetched: parts of the structure, and energies that are none."""
    check_attachable({"energy": "joule", "forces": "newton", "stress": "GPa", "gap": "eV", "n": None})
    with pytest.raises(QueryError, match="name of a part of the structure"):
        check_attachable({"positions": "angstrom"})
    for unit in (None, "angstrom"):
        with pytest.raises(UnitError, match="Give it another name"):
            check_attachable({"energy": unit})


def test_the_catalogue_says_what_stands_for_each_atom() -> None:
    """Forces do; the stress of a cell with three atoms does not."""
    texts = {"f": "run.calculation.forces.total.value", "s": "run.calculation.stress.total.value", "g": "gap"}
    texts |= {"q": "run[0].system[0].atoms.labels", "n": "run[0].system[0].atoms.labels.size()"}
    columns = [plan_column(Column(name, *read_column(text)), CATALOGUE) for name, text in texts.items()]
    assert per_atom_columns(columns, CATALOGUE) == {"f", "q"}
