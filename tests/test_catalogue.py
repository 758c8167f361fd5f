"""What the shipped tables say of NOMAD's quantities."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from nomadquery.errors import QuantityNotFound, QueryError
from nomadquery.query.catalogue import (
    COUNTED_BY,
    LEGACY,
    RELEASES,
    Quantity,
    catalogue_for,
    tables_of,
    terms_in_one_list,
)
from nomadquery.query.resolve import Resolver, full_name
from nomadquery.query.short_names import SHORT_NAMES
from nomadquery.units import same_dimension

GAP = "results.properties.electronic.band_gap"


def known(name: str, release: str | None = None) -> Quantity:
    found = catalogue_for(release).find(name)
    assert found is not None, name
    return found


def test_the_tables_are_small() -> None:
    """At most 200 kB in the package."""
    assert len(files("nomadquery.query").joinpath("catalogue.json.gz").read_bytes()) <= 200_000


def test_facts_of_a_nested_number() -> None:
    """As in NOMAD's table of search quantities for 2.0.0: a double in joule, below a nested section."""
    value = known(f"{GAP}.value")
    assert (value.kind, value.type, value.unit, value.index) == ("number", "float64", "joule", "double")
    assert (value.nested, value.repeats, value.shape) == (GAP, (GAP,), ())
    assert value.is_list
    assert value.is_dimensional
    assert value.searchable
    assert value.returnable


@pytest.mark.parametrize(
    ("name", "kind", "index", "is_list"),
    [
        ("results.material.elements", "text", "keyword", True),
        ("results.material.n_elements", "integer", "integer", False),
        ("published", "boolean", "boolean", False),
        ("upload_create_time", "date", "date", False),
        ("comment", "text", "text", False),
        ("mainfile.path", "text", "text", False),
        ("datasets.dataset_name", "text", "keyword", True),
        ("results.material.topology", "section", None, True),
    ],
)
def test_kinds_of_quantities(name: str, kind: str, index: str, is_list: bool) -> None:
    """What a value is, how it is indexed, and whether an entry can have several."""
    found = known(name)
    assert (found.kind, found.index, found.is_list) == (kind, index, is_list)


def test_archive_paths_are_known_but_not_searchable() -> None:
    """With the repeating sections on the way; references are followed."""
    energy = known("run.calculation.energy.total.value")
    assert (energy.unit, energy.repeats, energy.searchable) == ("joule", ("run", "run.calculation"), False)
    labels = known("run.calculation.system_ref.atoms.labels")
    assert (labels.kind, labels.shape) == ("text", ("n_atoms",))


def test_columns_that_cannot_be_searched() -> None:
    """The index returns the licence and the authors' ids, no query finds them."""
    for name in ("license", "authors.user_id"):
        assert known(name).returnable
        assert not known(name).searchable


def test_metadata_is_the_search_document() -> None:
    """One name for one quantity: the archive's ``metadata.upload_id`` is ``upload_id``."""
    assert known("metadata.upload_id") == known("upload_id")


def test_archive_path_of_a_search_name() -> None:
    """What ``quantities`` lists: metadata in front where the archive has it."""
    catalogue = catalogue_for()
    assert catalogue.archive_path("license") == "metadata.license"
    assert catalogue.archive_path("optimade.nelements") == "metadata.optimade.nelements"
    assert catalogue.archive_path("results.material.elements") == "results.material.elements"
    assert catalogue.archive_path("run.system") == "run.system"


def test_every_name_of_the_catalogue_is_known() -> None:
    """No name is listed that nothing is known of."""
    for release in (None, *RELEASES):
        catalogue = catalogue_for(release)
        assert [name for name in catalogue.names if catalogue.find(name) is None] == []


def test_releases_differ_in_process_status() -> None:
    """It came with 2.0.0; the union of the releases has it."""
    assert known("process_status", "2.0.0").searchable
    assert known("process_status").searchable
    assert not known("process_status", "1.4.3").searchable
    assert "process_status" not in catalogue_for("1.3.17").names


@pytest.mark.parametrize(
    ("release", "tables", "n_terms"),
    [
        ("2.0.0", "2.0.0", 65_536),
        ("2.1.3.dev4+gabc", "2.0.0", 65_536),
        ("1.4.3", "1.4.3", 65_536),
        ("1.3.17", "1.4.3", 1024),
        ("1.3.0", "1.4.3", 1024),
    ],
)
def test_releases_between_the_shipped_ones(release: str, tables: str, n_terms: int) -> None:
    """Each has the tables of its line, and its limit of values in one list."""
    assert tables_of(release) == tables
    assert terms_in_one_list(release) == n_terms


def test_what_is_no_release_is_refused() -> None:
    """With an example of one."""
    with pytest.raises(QueryError, match=r"no release of NOMAD; write for example '2.0.0'"):
        catalogue_for("latest").find("entry_id")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("results.material.element", "results.material.elements"),
        ("results.material.n_element", "results.material.n_elements"),
        ("program_name", "results.method.simulation.program_name"),
        ("space_gruop", "space_group"),
        ("results.properties.electronic.bandgap.value", f"{GAP}.value"),
    ],
)
def test_nearest_names(wrong: str, right: str) -> None:
    """Misspelt, shortened and forgotten names lead to the right one."""
    assert right in catalogue_for().nearest(wrong)


def test_children_are_what_tab_shows() -> None:
    """One step below, of the index and the archive together; short names at the root."""
    catalogue = catalogue_for()
    assert {"elements", "n_elements", "topology", "symmetry"} <= set(catalogue.children("results.material"))
    assert {"results", "run", "entry_id", "gap", "license"} <= set(catalogue.children(""))
    assert catalogue.children("no.such.section") == ()


def test_every_short_name_leads_to_a_known_quantity() -> None:
    """26 names; the unit stated is one of the stored unit's dimension."""
    assert len(SHORT_NAMES) == 26
    for name, short in SHORT_NAMES.items():
        found = known(full_name(name))
        assert found.kind != "section"
        assert short.unit is None or (found.unit and same_dimension(short.unit, found.unit))


def test_counted_lists() -> None:
    """The number beside each list of elements is an integer of the same section."""
    for listed, count in COUNTED_BY.items():
        assert known(listed).members
        assert known(count).kind == "integer"


CALCULATION = "runschema.calculation.Calculation"
OPTIMIZATION = "simulationworkflowschema.geometry_optimization.GeometryOptimizationResults"


@pytest.mark.parametrize(
    ("name", "kind", "unit", "n_dimensions", "n_repeats"),
    [
        ("results.energies", "number", "joule", 1, 0),
        ("results.final_force_maximum", "number", "newton", 0, 0),
        ("results.elastic_constants_matrix_second_order", "number", "pascal", 2, 0),
        ("results.free_energy_calculations.times", "number", "second", 1, 1),
        ("method.thermodynamic_ensemble", "text", None, 0, 0),
        ("method.thermostat_parameters.coupling_constant", "number", "second", 0, 1),
        ("results.radius_of_gyration.value", "number", "meter", 1, 1),
    ],
)
def test_what_can_stand_at_a_path_of_many_classes(
    name: str, kind: str, unit: str | None, n_dimensions: int, n_repeats: int
) -> None:
    """Units and shapes as in the list of quantities of the sample entries (nomad-lab 1.4.3)."""
    found = known(f"workflow2.{name}")
    assert (found.kind, found.unit, len(found.shape)) == (kind, unit, n_dimensions)
    assert len(found.repeats) == n_repeats
    assert not found.searchable


def test_a_path_leads_through_the_reference_of_a_workflow() -> None:
    """The calculation that a workflow calls its result, and what is below it."""
    catalogue = catalogue_for()
    reference = "workflow2.results.calculation_result_ref"
    energy = known(f"{reference}.energy.total.value")
    assert (energy.kind, energy.unit, energy.repeats) == ("number", "joule", ())
    assert catalogue.references_on(energy.name) == (reference,)
    assert known(f"{reference}.dos_electronic.energies").repeats == (f"{reference}.dos_electronic",)
    assert known("workflow2.results.calculations_ref.time").repeats == ("workflow2.results.calculations_ref",)


def test_a_reference_says_what_it_points_to() -> None:
    """A section's class; a quantity's class and name, with its kind, shape and unit."""
    section = known("run.calculation.system_ref")
    assert (section.kind, section.target) == ("section", "runschema.system.System")
    assert section.is_reference
    energies = known("results.properties.geometry_optimization.energies")
    assert (energies.kind, energies.unit, len(energies.shape)) == ("number", "joule", 1)
    assert energies.target == f"{OPTIMIZATION}.energies"
    assert not known("run.calculation.energy.total.value").is_reference
    assert not known("run.calculation.energy").is_reference


@pytest.mark.parametrize(
    ("target", "places"),
    [
        ("runschema.system.System", ("run.system",)),
        (CALCULATION, ("run.calculation",)),
        ("runschema.system.AtomsGroup", ("run.system.atoms_group",)),
        (f"{OPTIMIZATION}.energies", ("workflow2.results.energies", "workflow2.tasks.results.energies")),
        ("nomad.datamodel.metainfo.workflow.Task", ("workflow2", "workflow2.tasks")),
        ("nomad.datamodel.data.ArchiveSection", ()),
        ("no.such.Class", ()),
        (f"{CALCULATION}.no_such_quantity", ()),
    ],
)
def test_places_of_a_class(target: str, places: tuple[str, ...]) -> None:
    """Where its sections stand, through sub sections only; groups within groups are entered once."""
    assert catalogue_for().places_of(target) == places


def test_places_are_paths_of_the_class() -> None:
    """The shortest first; each is a section, and no reference leads there."""
    catalogue = catalogue_for()
    places = catalogue.places_of("runschema.calculation.Dos")
    assert places[0] == "run.calculation.dos_electronic"
    assert [place.count(".") for place in places] == sorted(place.count(".") for place in places)
    for place in places:
        assert known(place).kind == "section"
        assert not (catalogue.references_on(place) or known(place).is_reference)


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("workflow", "workflow2"),
        ("workflow.calculation_result_ref", "workflow2.results.calculation_result_ref"),
        (
            "workflow.calculation_result_ref.energy.total.value",
            "workflow2.results.calculation_result_ref.energy.total.value",
        ),
        ("workflow.calculation_result_ref.system_ref.value", "workflow2.results.calculation_result_ref"),
        ("workflow.geometry_optimization.energies", "workflow2.results.energies"),
        ("workflow.phonon.mesh_density", "workflow2.method.mesh_density"),
        ("workflow.type", "results.method.workflow_name"),
        ("workflow.no_such_thing", "workflow2"),
    ],
)
def test_paths_of_old_archives_are_refused_with_their_successors(old: str, now: str) -> None:
    """They are in NOMAD's schema, but nothing fills them; whoever asks is told what does."""
    catalogue = catalogue_for()
    assert catalogue.find(old) is None
    assert catalogue.successor(old) == now
    with pytest.raises(QuantityNotFound, match=re.escape(repr(now))) as refused:
        Resolver(catalogue).quantity(old)
    assert refused.value.nearest == (now,)


def test_every_successor_is_known() -> None:
    """And is no old path itself."""
    catalogue = catalogue_for()
    for now in LEGACY.values():
        assert known(now)
        assert catalogue.successor(now) is None
    assert catalogue.successor("workflow2.results") is None
    assert "workflow" not in catalogue.children("")


def test_data_is_left_to_custom_schemas() -> None:
    """Anything can stand there, so the tables say nothing."""
    assert known("data").kind == "section"
    assert catalogue_for().find("data.name") is None
    assert catalogue_for().find("workflow2.inputs.section.name") is None
