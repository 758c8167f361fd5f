"""What a column becomes before anything is fetched: full path, source, type, unit, and what is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from nomadquery.columns.plan import plan_column
from nomadquery.columns.planned import PlannedColumn, describe
from nomadquery.columns.required import archive_required, metadata_required
from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError, UnitError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from nomadquery.query.quantity import Q, QuantityPath, column_of, within

CATALOGUE = catalogue_for("2.0.0")
GAP = Q.results.properties.electronic.band_gap
CELL = Q.results.properties.optoelectronic.solar_cell
CALCULATION = Q.run.calculation


def planned(path: str | QuantityPath, name: str = "x") -> PlannedColumn:
    if isinstance(path, QuantityPath):
        return plan_column(column_of(path, name), CATALOGUE)
    where, rule, unit = read_column(path)
    return plan_column(Column(name, where, rule, unit), CATALOGUE)


@pytest.mark.parametrize(
    ("path", "kind", "n_levels"),
    [
        ("formula", "text", 0),
        ("n_elements", "integer", 0),
        ("elements", "text", 1),
        ("uploaded", "date", 0),
        ("published", "boolean", 0),
        (GAP.value, "number", 1),
        (GAP[0].value, "number", 0),
        (GAP[0:2].value, "number", 1),
        (GAP[Q.type == "direct"].value, "number", 1),
        (GAP.value.first(), "number", 0),
        (GAP.value.count(), "integer", 0),
        (Q.results.material.topology.n_atoms.mean(), "number", 0),
        (Q.results.material.topology.n_atoms.max(), "integer", 0),
        (CALCULATION.forces.total.value, "number", 4),
        (Q.run[-1].calculation[-1].forces.total.value, "number", 2),
        (Q.run[-1].calculation.forces.total.value.last(), "number", 2),
        (CALCULATION.forces.total.value.size(), "integer", 2),
        (Q.run[0].system[0].atoms.positions[0][1], "number", 0),
        (Q.datasets.doi, "text", 1),
        (Q.data.anything, "other", 0),
    ],
)
def test_the_type_is_declared_by_the_schema(path: str | QuantityPath, kind: str, n_levels: int) -> None:
    """One list level for each repeating section without a position, and for each dimension left."""
    column = planned(path)
    assert (column.kind, column.n_levels) == (kind, n_levels)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("formula", "search"),
        ("license", "search"),
        ("authors.name", "search"),
        ("metadata.upload_id", "search"),
        (GAP.value, "search"),
        (CALCULATION.energy.total.value, "archive"),
        (GAP.energy_highest_occupied, "archive"),
    ],
)
def test_what_the_index_holds_is_read_from_it(path: str | QuantityPath, source: str) -> None:
    """Only the rest costs archive requests."""
    assert planned(path).source == source


def test_a_filter_by_what_only_the_archive_has_reads_the_archive() -> None:
    """The index could not tell which items match, and the filter's quantity is asked for too."""
    column = planned(GAP[Q.energy_highest_occupied.exists()].value)
    assert column.source == "archive"
    band_gap = {"energy_highest_occupied": "*", "value": "*"}
    assert archive_required([column], CATALOGUE) == {
        "results": {"properties": {"electronic": {"band_gap": band_gap}}}
    }


@pytest.mark.parametrize(
    ("path", "stored", "unit"),
    [
        ("gap", "joule", "eV"),
        (GAP.value.min(), "joule", "joule"),
        (GAP.value.min().to("meV"), "joule", "meV"),
        ("results.properties.electronic.band_gap.value.max() in kJ/mol", None, None),
        (CELL.efficiency, "percent", "percent"),
        (CELL.fill_factor, None, None),
        (CELL.fill_factor.stored_in("dimensionless").to("percent"), "dimensionless", "percent"),
        (Q.gap.count(), None, None),
    ],
)
def test_the_unit_is_the_stored_one_unless_it_is_said(
    path: str | QuantityPath, stored: str | None, unit: str | None
) -> None:
    """Short names bring their customary unit; counts have none."""
    if isinstance(path, str) and path.endswith("kJ/mol"):
        with pytest.raises(UnitError, match="stored in joule"):
            planned(path)
        return
    column = planned(path)
    assert (column.stored_unit, column.unit) == (stored, unit)


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("results.material.elemnts", QuantityNotFound, "Nearest: results.material.elements"),
        ("results.material", NotExpressible, "is a section"),
        ("elements.min()", QueryError, "needs numbers"),
        ("uploaded.mean()", QueryError, "one value"),
        ("elements.mean()", QueryError, "needs numbers"),
        ("n_elements.first()", QueryError, "one value"),
        ("results.material[0].n_elements", QueryError, "does not repeat"),
        ("n_elements.size()", QueryError, "one value"),
        ("results.properties.electronic.band_gap.value.size()", QueryError, "no array"),
        ("gap in kg", UnitError, "cannot be expressed in 'kg'"),
        ("n_elements in eV", UnitError, "states no unit"),
        ("gap.count() in eV", UnitError, "number without a unit"),
        ("formula[0]", QueryError, "has 0 dimensions"),
        ("elements[0][1]", QueryError, "has 1 dimensions"),
        ('elements[n_elements == "x"]', QueryError, "n_elements"),
    ],
)
def test_what_makes_no_sense_is_refused(path: str, error: type[Exception], words: str) -> None:
    """Before anything is sent."""
    with pytest.raises(error, match=words):
        planned(path)


def test_a_filter_has_the_units_of_its_quantities() -> None:
    """A bare number is refused as in a query, and an unknown member too."""
    with pytest.raises(UnitError):
        planned(GAP[Q.value > 1].value)
    with pytest.raises(QueryError, match="not one of the values"):
        planned(GAP[Q.type == "sideways"].value)


def test_spellings_of_one_column_are_described_alike() -> None:
    """So that they share one kept table."""
    window = within(GAP, Q.type == "direct", Q.value > "1 eV")
    spelled: list[str | QuantityPath] = [
        GAP.matching(window).value.min().to("eV"),
        GAP[window].value.min().to("eV"),
        GAP[(Q.value > "1 eV") & (Q.type == "direct")].value.min().to("eV"),
        'results.properties.electronic.band_gap[value > "1 eV" and type == "direct"].value.min() in eV',
    ]
    described = [describe(planned(path)) for path in spelled]
    assert all(one == described[0] for one in described)
    assert describe(planned("gap")) == describe(planned(GAP.value.min().to("eV")))
    assert describe(planned("metadata.upload_id")) == describe(planned(Q.upload_id))


def test_different_columns_are_described_differently() -> None:
    """Rule, unit, position, filter, schema and name each make another column."""
    columns = [
        planned(GAP.value),
        planned(GAP.value, "y"),
        planned(GAP.value.min()),
        planned(GAP.value.to("eV")),
        planned(GAP[0].value),
        planned(GAP[0:1].value),
        planned(GAP[Q.type == "direct"].value),
        planned(Q.data.value),
        planned(Q["data.value#a.B"]),
    ]
    texts = [repr(describe(column)) for column in columns]
    assert len(set(texts)) == len(texts)


def test_series_are_lists_although_the_schema_says_one_number() -> None:
    """Trajectories of nomad-lab 2.0.0 hold as many values as frames."""
    column = planned("results.properties.thermodynamic.trajectory[0].temperature.value")
    assert (column.n_levels, column.n_dimensions) == (1, 1)


def test_sections_are_asked_for_whole() -> None:
    """Else the server drops the items that lack the value, and positions mean nothing."""
    columns = [planned(GAP.value), planned("formula"), planned("datasets.doi"), planned("license")]
    assert metadata_required(columns, CATALOGUE) == {
        "include": [
            "datasets*",
            "entry_id",
            "license*",
            "results.material.chemical_formula_reduced",
            "results.properties.electronic.band_gap*",
        ]
    }


def test_custom_columns_ask_for_all_data_and_their_class() -> None:
    """With an include that begins with ``data``, objects named without a star come back empty."""
    include = metadata_required([planned(Q["data.a.b#my.Class"])], CATALOGUE)["include"]
    assert include == [
        "data*",
        "entry_id",
        "search_quantities.id*",
        "search_quantities.segments.1.definitions*",
    ]


def test_archives_are_asked_only_for_what_columns_and_filters_need() -> None:
    """Lists without an index, which the server would compact."""
    columns = [
        planned("energy"),
        planned(Q.run[0].calculation[Q.step > 1].energy.total.kind),
        planned("formula"),
    ]
    needed = [column for column in columns if column.source == "archive"]
    assert archive_required(needed, CATALOGUE) == {
        "run": {"calculation": {"energy": {"total": {"value": "*", "kind": "*"}}, "step": "*"}}
    }


@pytest.mark.parametrize(
    ("paths", "tree"),
    [
        (["energy"], {"run[-1]": {"calculation": {"energy": {"total": {"value": "*"}}}}}),
        (["run[0].system[-1].type"], {"run[0]": {"system[-1]": {"type": "*"}}}),
        (["run[-2].program.name"], {"run": {"program": {"name": "*"}}}),
        (["run[0].program.name", "run[-1].clean_end"], {"run": {"program": {"name": "*"}, "clean_end": "*"}}),
        (["run[0].program.name", "run.clean_end"], {"run": {"program": {"name": "*"}, "clean_end": "*"}}),
        (
            ["run[-1].calculation[step == 1].energy.total.value"],
            {"run[-1]": {"calculation": {"energy": {"total": {"value": "*"}}, "step": "*"}}},
        ),
    ],
)
def test_the_first_or_last_item_alone_is_asked_for_where_all_columns_want_it(
    paths: list[str], tree: dict[str, Any]
) -> None:
    """Other positions would be clamped or compacted, so the list is asked for whole."""
    assert archive_required([planned(path) for path in paths], CATALOGUE) == tree


def test_references_are_asked_for_as_texts_with_their_targets_where_these_stand_beside_them() -> None:
    """The server would say nothing about references that lead nowhere."""
    beside = archive_required([planned(CALCULATION.system_ref.atoms.labels)], CATALOGUE)
    assert beside == {"run": {"calculation": {"system_ref": "*"}, "system": {"atoms": {"labels": "*"}}}}
    energy = "workflow2.results.calculation_result_ref.energy.total.value"
    elsewhere = archive_required([planned(energy)], CATALOGUE)
    assert elsewhere == {"workflow2": {"results": {"calculation_result_ref": "*"}}}
