"""Queries as scientists type them find on a real server what the independent evaluator selects."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from hypothesis import assume, given, settings
from hypothesis.strategies import DataObject, SearchStrategy

from nomadquery import Q, Query, optimade, within
from nomadquery.query.body import body
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.criteria import And, Criterion, HasNone, Not, Or, Within, canonical
from nomadquery.query.phrases import read_criterion
from tests.oracle import select
from tests.strategies import choices, pools_of, trees

Documents = list[dict[str, Any]]

M, P = Q.results.material, Q.results.properties
SIM = Q.results.method.simulation
GAP, CELL = P.electronic.band_gap, P.optoelectronic.solar_cell
TOPOLOGY = M.topology
TANDEM = "perovskite_solar_cell_database.schema_packages.tandem.schema.PerovskiteTandemSolarCell"
VOLTAGE = Q[f"data.measurements.jv.results.open_circuit_voltage#{TANDEM}"]
LAYER = Q[f"data.device_stack.layer_index#{TANDEM}"]
MASK = Q[f"data.measurements.jv.illumination.mask#{TANDEM}"]
CHEMICAL = "entry_id:A8XXetVcB_p-3zRMn7mt-vNgXF0t.Chemical"
SAMPLE = "entry_id:_0kJUQBWsMR9PFF7Z1iGam3iOGJj.Sample"

QUERIES: dict[str, Query] = {
    "everything": Query(),
    "nothing": ~Query(),
    "text ==": SIM.program_name == "VASP",
    "text !=": SIM.program_name != "VASP",
    "text != and exists": (SIM.program_name != "VASP") & SIM.program_name.exists(),
    "case matters": SIM.program_name.unchecked() == "vasp",
    "integer ==": M.n_elements == 2,
    "integer <": M.n_elements < 2,
    "integer <=": M.n_elements <= 2,
    "integer >": M.n_elements > 2,
    "integer >=": M.n_elements >= 3,
    "integer > 0": P.n_calculations > 0,
    "integer >= 0": P.n_calculations >= 0,
    "integer <= 0": P.n_calculations <= 0,
    "not integer > 0": ~(P.n_calculations > 0),
    "between": M.n_elements.between(2, 3),
    "between, left": M.n_elements.between(2, 3, inclusive="left"),
    "boolean": P.electronic.band_structure_electronic.spin_polarized == True,  # noqa: E712  # a value
    "has_all": M.elements.has_all("Ti", "O"),
    "has_any": M.elements.has_any("Ti", "Si"),
    "has_none": M.elements.has_none("O", "Si"),
    "has_exactly": M.elements.has_exactly("Si"),
    "has_exactly two": M.elements.has_exactly("Ga", "As"),
    "has_only": M.elements.has_only("Si", "O", "C", "H"),
    "not has_all": ~M.elements.has_all("C", "H"),
    "isin": SIM.program_name.isin(["VASP", "exciting", None, " FHI-aims "]),
    "or": (M.n_elements == 1) | (SIM.program_name == "VASP"),
    "and or not": (M.n_elements == 1) & ~((SIM.program_name == "VASP") | M.symmetry.crystal_system.exists()),
    "crystal system": M.symmetry.crystal_system != "cubic",
    "structural type": M.structural_type.isin("bulk", "2D"),
    "functionals": SIM.dft.xc_functional_names.has_all("GGA_X_PBE", "GGA_C_PBE"),
    "cutoff with unit": SIM.precision.planewave_cutoff >= "400 eV",
    "cutoff between": SIM.precision.planewave_cutoff.between(300, 500, unit="eV"),
    "gap with unit": GAP.value >= "1.1 eV",
    "gap > 0": GAP.value > 0,
    "gap of two items": (GAP.value >= "1 eV") & (GAP.type == "direct"),
    "gap of one item": within(GAP, Q.value.between("0.5 eV", "4 eV"), Q.type == "direct"),
    "gap of one item without": within(GAP, Q.value > 0, Q.type.has_none("direct")),
    "gap of one item, or": within(GAP, (Q.type == "direct") | (Q.value > "3 eV"), Q.index.exists()),
    "no direct gap": ~(GAP.type == "direct"),
    "nested none": GAP.type.has_none("direct", "indirect"),
    "nested all": M.elemental_composition.element.has_all("Ti", "O"),
    "nested any": M.elemental_composition.element.has_any("Ti", "Si"),
    "fraction of one element": within(M.elemental_composition, Q.element == "O", Q.mass_fraction > 0.5),
    "topology item": within(TOPOLOGY, Q.label == "conventional cell", Q.n_atoms.between(2, 8)),
    "topology elements": within(TOPOLOGY, Q.elements.has_all("Ti", "O"), Q.label == "original"),
    "topology composition": within(TOPOLOGY, Q.elements.has_exactly("Si"), Q.label == "original"),
    "topology in topology": within(
        TOPOLOGY,
        Q.label == "original",
        within("elemental_composition", Q.element == "O", Q.mass_fraction < 0.5),
    ),
    "cell length": within(TOPOLOGY, Q.cell.a.between("3 Å", "6 Å"), Q.label == "primitive cell"),
    "cell angle": TOPOLOGY.cell.alpha.between("89.9 degree", "90.1 degree"),
    "density": Q.density > "2 g/cm^3",
    "efficiency in percent": CELL.efficiency >= "15 %",
    "voltage": CELL.open_circuit_voltage >= "1 V",
    "current density": CELL.short_circuit_current_density.between("15 mA/cm^2", "25 mA/cm^2"),
    "stored in": CELL.fill_factor.stored_in("dimensionless") >= "70 %",
    "day": Q.uploaded == "2023-07-10",
    "days": Q.uploaded.between("2023-01-01", "2023-12-31"),
    "instant": Q.uploaded <= "2023-07-10T14:08:00",
    "after an instant": Q.uploaded > "2023-07-10T14:08:00",
    "at an instant": Q.uploaded == "2023-07-10T14:08:00Z",
    "published in 2024": (Q.publish_time >= "2024-01-01") & (Q.publish_time < "2025-01-01"),
    "formula": Q.formula == "TiO2",
    "formula isin": Q.formula.isin(["TiO2", "SiO2", "GaAs", "Si"]),
    "hill formula": M.chemical_formula_hill == "AsGa",
    "iupac formula": M.chemical_formula_iupac == "O2Ti",
    "anonymous formula": M.chemical_formula_anonymous == "AB",
    "descriptive formula": M.chemical_formula_descriptive == "GaAs",
    "exists text": M.symmetry.space_group_symbol.exists(),
    "exists number": SIM.precision.k_line_density.exists(),
    "exists integer": M.symmetry.space_group_number.exists(),
    "exists boolean": P.electronic.dos_electronic.spin_polarized.exists(),
    "exists date": Q.publish_time.exists(),
    "exists analysed": Q.comment.exists(),
    "exists nested": GAP.value.exists(),
    "exists hill": M.chemical_formula_hill.exists(),
    "exists archive": Q.run.calculation.forces.total.value.exists(),
    "exists archive section": Q.workflow2.exists(),
    "exists metadata": Q.mainfile_key.exists(),
    "exists datasets": Q.datasets.exists(),
    "exists custom": Q["data.lab_id"].exists(),
    "missing": ~GAP.value.exists(),
    "path word": Q["mainfile.path"] == "vasprun.xml",
    "name prefix": Q["entry_name.prefix"] == "si",
    "author words": Q["authors.name.text"] == "hanna lindqvist",
    "author": Q.authors.name == "Hanna Lindqvist",
    "free text": Q.text_search_contents == "sele",
    "dataset": Q.datasets.dataset_name.exists() & (Q.published == True),  # noqa: E712  # a value
    "lab ids": Q.results.eln.lab_ids.exists(),
    "quantities": Q.quantities.has_all("run.calculation.energy.total.value", "run.system"),
    "section definitions": within(
        "section_defs", Q.definition_qualified_name == TANDEM, Q.used_directly.exists()
    ),
    "references": Q.entry_references.target_entry_id.exists(),
    "custom float": VOLTAGE >= 1.0,
    "custom float > 0": VOLTAGE > 0,
    "custom float between": VOLTAGE.between(0.5, 1.5),
    "custom integer": LAYER == 3,
    "custom integer >= 0": LAYER >= 0,
    "custom all": LAYER.has_all(1, 2, 3),
    "custom boolean": MASK == True,  # noqa: E712  # a value
    "custom text": Q[f"data.device_stack.name#{TANDEM}"].isin(["ITO", "SnO2", "C60"]),
    "custom none": Q[f"data.device_stack.name#{TANDEM}"].has_none("ITO"),
    "custom, uploaded schema": Q[f"data.name#{CHEMICAL}#str"] == "Zinc Selenide",
    "custom date, uploaded schema": Q[f"data.datetime#{CHEMICAL}#datetime"] == "2024-01-29",
    "custom float, uploaded schema": (
        Q[f"data.processes.hotplate_annealing.set_temperature#{SAMPLE}#float"].stored_in("K") >= "90 degC"
    ),
    "custom, base class": Q["data.lab_id#nomad.datamodel.metainfo.basesections.v1.BaseSection"] == "0023",
    "phrase": Query(read_criterion("elements has_all Ti O and not (program == VASP or n_elements >= 3)")),
    "phrase within": Query(
        read_criterion('results.properties.electronic.band_gap[value >= "1 eV" and type == direct]')
    ),
}


def found(url: str, asked: dict[str, Any]) -> list[str]:
    """Return the ids that the server finds, in its order."""
    request = {"query": asked, "pagination": {"page_size": 10_000}, "required": {"include": ["entry_id"]}}
    reply = requests.post(f"{url}/entries/query", json=request, timeout=120)
    assert reply.status_code == 200, reply.text[:400]
    return [entry["entry_id"] for entry in reply.json()["data"]]


@pytest.mark.parametrize("name", QUERIES)
def test_typed_query_finds_what_is_selected(name: str, real_url: str, real_documents: Documents) -> None:
    """By entry id, each once, in order."""
    query = QUERIES[name]
    assert found(real_url, query.to_json()) == select(query.resolved(catalogue_for()), real_documents)


def test_most_queries_decide_something(real_documents: Documents) -> None:
    """A question that all or no entries answer shows little."""
    hits = {
        name: len(select(query.resolved(catalogue_for()), real_documents)) for name, query in QUERIES.items()
    }
    idle = {name for name, n_hits in hits.items() if n_hits in {0, len(real_documents)}}
    assert len(idle) <= len(QUERIES) // 8, idle


def test_pasted_queries_find_the_same(real_url: str) -> None:
    """Whatever is written for one release is read as the same query."""
    for query in QUERIES.values():
        assert Query.from_json(query.to_json()) == query
    assert found(real_url, QUERIES["has_all"].to_json(release="1.3.17")) == found(
        real_url, QUERIES["has_all"].to_json()
    )


def test_optimade_filter_is_understood(real_url: str) -> None:
    """Also with single quotes, which NOMAD itself refuses."""
    silicon = optimade("elements HAS ALL 'Si' AND nelements = 1")
    assert found(real_url, silicon.to_json()) == found(real_url, M.elements.has_exactly("Si").to_json()) != []


def test_long_list_is_understood(real_url: str, real_documents: Documents) -> None:
    """Split where the server takes no more; nothing found is lost."""
    ids = [document["entry_id"] for document in real_documents]
    query = Q.entry_id.isin([*ids[::2], *(f"{i:028}" for i in range(70_000))])
    assert found(real_url, query.to_json()) == sorted(ids[::2])


CUSTOM = (
    f"data.measurements.jv.results.open_circuit_voltage#{TANDEM}",
    f"data.device_stack.name#{TANDEM}",
    f"data.name#{CHEMICAL}#str",
)


def asks_for_empty_items(tree: Criterion) -> bool:
    """Return whether an empty item of a section could match.

    NOMAD's index has such items, its answers do not show them, so nobody else can count them.
    """
    match tree:
        case Within(_, parts):
            return all(isinstance(part, HasNone) for part in parts)
        case And(parts) | Or(parts):
            return any(map(asks_for_empty_items, parts))
        case Not(inner):
            return asks_for_empty_items(inner)
        case _:
            return False


@pytest.fixture(scope="module")
def drawn_trees(real_documents: Documents) -> SearchStrategy[Criterion]:
    """Return trees over quantities of every kind, with values that the entries have."""
    return trees(pools_of(real_documents, CUSTOM), max_leaves=4).map(canonical)


@settings(max_examples=30, deadline=None)
@given(data=choices())
def test_any_tree_finds_what_is_selected(
    data: DataObject, real_url: str, real_documents: Documents, drawn_trees: SearchStrategy[Criterion]
) -> None:
    """Trees of all nodes, alone and combined."""
    tree = data.draw(drawn_trees)
    assume(not asks_for_empty_items(tree))
    assert found(real_url, body(tree)) == select(tree, real_documents)
