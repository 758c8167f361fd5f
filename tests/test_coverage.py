"""Coverage says beforehand how many hits have a column: never fewer than the table then has."""

from __future__ import annotations

from typing import Any

import pytest

from nomadquery.columns.plan import plan_column
from nomadquery.columns.planned import PlannedColumn
from nomadquery.fetch.coverage import coverage
from nomadquery.local.matching import values_at
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from tests.summaries import Sent, a_source, a_store_of

CATALOGUE = catalogue_for("2.0.0")


def a_column(path: str) -> PlannedColumn:
    where, rule, unit = read_column(path)
    return plan_column(Column(path, where, rule, unit), CATALOGUE)


def an_entry(entry_id: str, *quantities: str, **more: Any) -> dict[str, Any]:
    """Return a public document that lists the paths of its archive."""
    common = {"upload_id": "u", "mainfile": "m", "published": True, "with_embargo": False}
    return {"entry_id": entry_id, **common, "quantities": ["", *quantities], **more}


ENERGY = "run.calculation.energy.total.value"
ENERGIES = "run.calculation.energy"
ENTRIES = [
    an_entry("a", ENERGIES, ENERGY, "run.system", "run.calculation.system_ref", "results.material.elements"),
    an_entry("b", ENERGIES, "run.system", "data.sample", datasets=[{"doi": "10.1/x"}]),
    an_entry("c", "data.sample", "data.sample.name", comment="seen"),
    an_entry("d", results={"material": {"n_elements": 2, "elements_exclusive": ""}}),
]


@pytest.mark.parametrize(
    ("path", "n_entries"),
    [
        (ENERGY, 2),  # b may list the value where the same energies stand once more
        ("run[-1].calculation.energy.total.value.last() in eV", 2),
        ("results.material.elements", 1),
        ("results.material.n_elements", 1),  # computed: not among the paths of the archive
        ("results.material.elements_exclusive", 1),  # the empty text is a value of the column
        ("datasets.doi", 1),  # given after processing: not among them either
        ("comment", 1),
        ("entry_id", 4),
        ("license", 4),  # NOMAD adds it to every entry
        ("run.calculation.system_ref.atoms.labels", 2),  # b may take the run's only system
        ("data.sample.name", 2),  # data.sample may be a reference, whose target is elsewhere
        ("run.calculation.forces.total.value", 0),
    ],
)
def test_columns_are_covered_as_far_as_can_be_known(path: str, n_entries: int) -> None:
    """By the list of an entry's paths, or by a question of its own where that does not hold them."""
    [row] = coverage(a_source(a_store_of(ENTRIES)), [a_column(path)]).to_dict("records")
    assert (row["n_entries"], row["share"]) == (n_entries, n_entries / 4)
    assert row["column"] == path


def test_archive_columns_cost_one_request_together() -> None:
    """However many they are; index columns that the list does not hold one more each."""
    sent = Sent(a_store_of(ENTRIES))
    coverage(
        a_source(sent), [a_column(path) for path in (ENERGY, "run.program.name", "results.material.elements")]
    )
    assert len(sent.requests) == 1
    coverage(a_source(sent), [a_column(path) for path in (ENERGY, "doi", "datasets.doi")])
    assert len(sent.requests) == 3  # the same question once


def test_without_columns_or_hits_there_is_no_share() -> None:
    """A typed frame all the same."""
    frame = coverage(a_source(a_store_of([])), [a_column(ENERGY)])
    assert frame["share"].isna().all()
    assert coverage(a_source(a_store_of(ENTRIES)), []).dtypes.to_dict() == frame.dtypes.to_dict()


def test_no_index_column_is_covered_less_than_it_is_there() -> None:
    """Every quantity of the index that can be a column: an entry that has it is counted."""
    entry: dict[str, Any] = an_entry("a")
    names = [
        "results.material.structural_type",
        "results.method.simulation.program_name",
        "upload_name",
        "published",
    ]
    for name in names:
        branch = entry
        *sections, leaf = name.split(".")
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[leaf] = True if name == "published" else "x"
    frame = coverage(a_source(a_store_of([entry])), [a_column(name) for name in names])
    assert all(values_at(entry, name.split(".")) for name in names)
    assert frame["n_entries"].tolist() == [1] * len(names)
