"""Addresses of NOMAD's search page: read as the page reads them, written so that it reads them.

Expected queries are derived by hand from the page's source (``SearchContext.js`` and
``FilterRegistry.js`` as shipped with nomad-lab 2.0.0); addresses marked *found* are from public pages.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from nomadquery import units
from nomadquery.errors import NotExpressible, QueryError, WouldBeMisread
from nomadquery.query.body_reader import parse
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.criteria import (
    EVERYTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Optimade,
    Or,
    Range,
    Within,
    canonical,
)
from nomadquery.query.gui_address import gui_address
from nomadquery.query.gui_address_reader import parse_gui_address
from nomadquery.query.gui_filters import FILTERS, SECTIONS

CATALOGUE = catalogue_for("2.0.0")
GUI = "https://nomad-lab.eu/prod/v1/gui"
ENTRIES = f"{GUI}/search/entries"
EV = 1.602176634e-19
ELEMENTS = "results.material.elements"
N_ELEMENTS = "results.material.n_elements"
PROGRAM = "results.method.simulation.program_name"
PROPERTIES = "results.properties.available_properties"
BAND_GAP = "results.properties.electronic.band_gap"
SOLAR_CELL = "results.properties.optoelectronic.solar_cell"


def type_of(name: str) -> str | None:
    found = CATALOGUE.find(name)
    return found.type if found is not None and found.searchable else None


def to_stored(name: str, number: float, unit: str) -> float:
    quantity = CATALOGUE.find(name)
    assert quantity is not None
    assert quantity.unit is not None
    return float(units.convert(number, unit, quantity.unit))


def sent(address: str) -> dict[str, Any]:
    return parse_gui_address(address, types=type_of, to_stored=to_stored)


def read(address: str) -> Criterion:
    return canonical(parse(sent(address)["query"]))


def write(criterion: Criterion, owner: str | None = None) -> str:
    return gui_address(criterion, GUI, nested_sections=CATALOGUE.nested_sections, owner=owner)


FOUND = {
    f"{ENTRIES}?results.method.workflow_name=MolecularDynamics": Equals(
        "results.method.workflow_name", "MolecularDynamics"
    ),
    "https://nomad-lab.eu/prod/v1/staging/gui/search/entries?upload_create_time[gte]=1419895487748"
    "&upload_create_time[lte]=1694679900000": Range(
        "upload_create_time", gte="2014-12-29T23:24:47.748Z", lte="2023-09-14T08:25:00.000Z"
    ),
    f"{ENTRIES}?datasets.dataset_name=Cation-coordinated%20conformers%20of%2020%20proteinogenic%20amino%20acids"
    "%20with%20different%20protonation%20states": Equals(
        "datasets.dataset_name",
        "Cation-coordinated conformers of 20 proteinogenic amino acids with different protonation states",
    ),
    f"{ENTRIES}?quantities=definitions": Equals("quantities", "definitions"),
    f"{ENTRIES}?entry_id=dNdV1k67vGSN1DUhrBeOSvJeBnvv": Equals("entry_id", "dNdV1k67vGSN1DUhrBeOSvJeBnvv"),
    "http://testing.com/gui/search/entries?upload_id=testing#iss=https://nomad-lab.eu/keycloak": Equals(
        "upload_id", "testing"
    ),
    ENTRIES: EVERYTHING,
}


@pytest.mark.parametrize(("address", "tree"), FOUND.items())
def test_found_addresses_are_read(address: str, tree: Criterion) -> None:
    """Addresses that people published (*found*) mean what their text says."""
    assert read(address) == tree


def test_optimade_filter_of_a_found_address() -> None:
    """*Found* in an app's source: ``optimade_filter=upload_name%20CONTAINS%20"D8"``."""
    query = sent(f'{ENTRIES}?optimade_filter=upload_name%20CONTAINS%20"D8"')["query"]
    assert query == {"optimade_filter": 'upload_name CONTAINS "D8"'}


PAGE = [
    # several values: any-of, but all-of where the registry says queryMode 'all'
    (f"{PROGRAM}=VASP&{PROGRAM}=GPAW", {f"{PROGRAM}:any": ["VASP", "GPAW"]}),
    (f"{ELEMENTS}=Ti&{ELEMENTS}=O", {f"{ELEMENTS}:all": ["Ti", "O"]}),
    ("sections=a&sections=b", {"sections:all": ["a", "b"]}),
    # qs with comma: true splits a bare comma, not an encoded one
    (f"{PROGRAM}=VASP,GPAW", {f"{PROGRAM}:any": ["VASP", "GPAW"]}),
    ("entry_name.prefix=a%2Cb", {"entry_name.prefix": "a,b"}),
    (f"{PROGRAM}[]=VASP&{PROGRAM}[]=GPAW", {f"{PROGRAM}:any": ["VASP", "GPAW"]}),
    ("authors.name=Ada+Lovelace", {"authors.name": "Ada Lovelace"}),
    # exclusive joins the elements in alphabetical order
    (f"exclusive=true&{ELEMENTS}=Ti&{ELEMENTS}=O", {"results.material.elements_exclusive": "O Ti"}),
    # numbers: bare is the stored unit, brackets are percent-encoded by qs.stringify
    (f"{N_ELEMENTS}%5Bgte%5D=2&{N_ELEMENTS}%5Blte%5D=4", {N_ELEMENTS: {"gte": 2, "lte": 4}}),
    (f"{BAND_GAP}.value[gt]=1.6e-19", {f"{BAND_GAP}.value": {"gt": 1.6e-19}}),
    (f"{SOLAR_CELL}.efficiency[gte]=15", {f"{SOLAR_CELL}.efficiency": {"gte": 15.0}}),
    # sections: one object, lists bare
    (
        f"{BAND_GAP}[type]=direct&{BAND_GAP}[value][lt]=3e-19",
        {BAND_GAP: {"type": "direct", "value": {"lt": 3e-19}}},
    ),
    # property groups are values of available_properties
    ("electronic_properties=dos_electronic", {PROPERTIES: "dos_electronic"}),
    # short names of the pages up to 1.2, where the last step is unique
    ("program_name=VASP", {PROGRAM: "VASP"}),
    ("published=false", {"published": False}),
]


@pytest.mark.parametrize(("parameters", "query"), PAGE)
def test_query_is_the_one_that_the_page_sends(parameters: str, query: dict[str, Any]) -> None:
    """The result equals the page's API panel, but for a single value standing without a list."""
    assert sent(f"{ENTRIES}?{parameters}") == {"owner": "visible", "query": query}


@pytest.mark.parametrize(
    ("text", "joule"),
    [("1.5 eV", 1.5 * EV), ("1500 meV", 1.5 * EV), ("2e-19 J", 2e-19), ("1 electron_volt", EV)],
)
def test_units_of_an_address_become_stored_units(text: str, joule: float) -> None:
    """The page writes the unit it shows, abbreviated; NOMAD stores joule."""
    query = sent(f"{ENTRIES}?{BAND_GAP}[value][gte]={quote(text)}")["query"]
    assert query[BAND_GAP]["value"]["gte"] == pytest.approx(joule, rel=1e-12)


def test_bounds_of_a_custom_quantity_are_numbers() -> None:
    """Its type is not known here, but the page writes only numbers behind ``[gte]``."""
    name = "data.thickness#my_package.schema.Sample"
    address = f"{ENTRIES}?{quote(name)}[gte]={quote('1e-9')}"
    assert sent(address)["query"] == {name: {"gte": 1e-9}}


def test_compound_unit_is_read_to_its_end() -> None:
    """The page writes ``20 mA / cm^2`` with blanks, 20 mA/cm² being 200 A/m²."""
    name = f"{SOLAR_CELL}.short_circuit_current_density"
    query = sent(f"{ENTRIES}?{name}[gte]={quote('20 mA / cm^2')}")["query"]
    assert query[name]["gte"] == pytest.approx(200.0, rel=1e-12)


def test_filters_in_one_section_are_about_one_item() -> None:
    """Brackets behind a nested section mean the same item; flat names do not."""
    together = read(f"{ENTRIES}?{BAND_GAP}[type]=direct&{BAND_GAP}[value][lt]=3e-19")
    apart = read(f"{ENTRIES}?{BAND_GAP}.type=direct&{BAND_GAP}.value[lt]=3e-19")
    parts = (Equals(f"{BAND_GAP}.type", "direct"), Range(f"{BAND_GAP}.value", lt=3e-19))
    assert together == canonical(Within(BAND_GAP, parts))
    assert apart == canonical(And(parts))


def test_section_that_occurs_once_needs_no_within() -> None:
    """solar_cell is no nested section, so its filters are plain criteria."""
    tree = read(f"{ENTRIES}?{SOLAR_CELL}[fill_factor][gte]=0.7&{SOLAR_CELL}[device_architecture]=pin")
    parts = (Range(f"{SOLAR_CELL}.fill_factor", gte=0.7), Equals(f"{SOLAR_CELL}.device_architecture", "pin"))
    assert tree == canonical(And(parts))


def test_custom_quantities_are_a_query_object_encoded_twice() -> None:
    """``encodeURIComponent(JSON)`` is encoded once more by qs."""
    custom = {"and": [{"search_quantities": {"id": "data.x#my.S", "float_value:gte": 1.5}}]}
    address = f"{ENTRIES}?custom_quantities={quote(quote(json.dumps(custom), safe=''), safe='')}"
    assert sent(address)["query"] == custom


@pytest.mark.parametrize(
    ("page", "owner", "query"),
    [
        ("search/calculations", "visible", {"quantities": PROGRAM}),
        ("search/eln", "visible", {"quantities": "data"}),
        ("search/solarcells", "visible", {"sections": "nomad.datamodel.results.SolarCell"}),
        (
            "search/perovskite-ions",
            "visible",
            {"results.eln.sections:any": ["PerovskiteAIon", "PerovskiteBIon", "PerovskiteXIon"]},
        ),
        ("user/search", "user", {}),
    ],
)
def test_filters_of_the_app_are_part_of_the_query(page: str, owner: str, query: dict[str, Any]) -> None:
    """What ``filters_locked`` adds on the server of 2026-11 is added here."""
    assert sent(f"{GUI}/{page}") == {"owner": owner, "query": query}


def test_app_filters_join_those_of_the_address() -> None:
    """Both hold."""
    query = sent(f"{GUI}/search/calculations?{ELEMENTS}=Ti&visibility=public")
    assert query == {"owner": "public", "query": {"and": [{ELEMENTS: "Ti"}, {"quantities": PROGRAM}]}}


def test_locked_filters_of_another_app_can_be_given() -> None:
    """An Oasis tells them at ``GET /apps/entry-points/{path}``."""
    apps = {"xrd": {"section_defs.definition_qualified_name:all": ["a.B"], "visibility": "all"}}
    found = parse_gui_address(f"{GUI}/search/xrd", types=type_of, to_stored=to_stored, apps=apps)
    assert found == {"owner": "all", "query": {"section_defs.definition_qualified_name": "a.B"}}


@pytest.mark.parametrize(
    ("address", "error", "hint"),
    [
        (f"{GUI}/search/entries/entry/id/hxaepf6x12Xt2IX2jCt4DyfLG0P4", NotExpressible, "Q.entry_id =="),
        (f"{GUI}/v2/search/entries?a=b", NotExpressible, "Query.from_json"),
        (f"{GUI}/search/materials?{ELEMENTS}=Ti", NotExpressible, "1.3"),
        (f"{GUI}/search/my-app?{ELEMENTS}=Ti", QueryError, "API panel"),
        ("https://nomad-lab.eu/prod/v1/gui/about", QueryError, "search page"),
        (f"{ENTRIES}?exclusive=false&{ELEMENTS}=Ti", WouldBeMisread, "Leave it out"),
        (f"{ENTRIES}?upload_create_time[gte]=2024-01-01", WouldBeMisread, "milliseconds"),
        (
            f"{ENTRIES}?electronic_properties=eels&mechanical_properties=bulk_modulus",
            WouldBeMisread,
            "has_all",
        ),
        (f"{ENTRIES}?{N_ELEMENTS}=two", QueryError, "number"),
        (f"{ENTRIES}?{N_ELEMENTS}[gte]=1&{N_ELEMENTS}=2", QueryError, "clashes"),
        (f"{ENTRIES}?{N_ELEMENTS}[gte]=1&{N_ELEMENTS}[gte]=2", QueryError, "one bound"),
        (f"{ENTRIES}?{PROGRAM}=", QueryError, "no value"),
        (f"{ENTRIES}?visibility=everybody", QueryError, "visible"),
        (
            f"{ENTRIES}?" + "&".join(f"entry_id={n}" for n in range(1001)),
            WouldBeMisread,
            "1,000 of the 1,001",
        ),
    ],
)
def test_what_the_page_cannot_read_rightly_is_refused(
    address: str, error: type[QueryError], hint: str
) -> None:
    """The error says what to do instead."""
    with pytest.raises(error) as caught:
        sent(address)
    assert hint in str(caught.value)


@pytest.mark.parametrize("parameters", ["elements=Ti", f"{BAND_GAP}[type]=direct&{BAND_GAP}[type]=indirect"])
def test_ambiguous_names_and_lists_that_never_match_are_refused(parameters: str) -> None:
    """Two filters end in ``elements``; the page sends a list inside a section as all-of."""
    with pytest.raises(QueryError):
        read(f"{ENTRIES}?{parameters}")


WRITTEN = {
    "": EVERYTHING,
    "?results.method.simulation.program_name=VASP": Equals(PROGRAM, "VASP"),
    f"?{PROGRAM}=GPAW&{PROGRAM}=VASP": HasAny(PROGRAM, ("VASP", "GPAW")),
    f"?{ELEMENTS}=O&{ELEMENTS}=Ti": HasAll(ELEMENTS, ("Ti", "O")),
    f"?exclusive=true&{ELEMENTS}=O&{ELEMENTS}=Ti": Equals("results.material.elements_exclusive", "O Ti"),
    f"?{N_ELEMENTS}%5Bgte%5D=2&{N_ELEMENTS}%5Blt%5D=4": Range(N_ELEMENTS, gte=2, lt=4),
    "?upload_create_time%5Bgte%5D=1704067200000": Range("upload_create_time", gte="2024-01-01T00:00:00.000Z"),
    f"?{BAND_GAP}%5Btype%5D=direct&{BAND_GAP}%5Bvalue%5D%5Bgte%5D=1.6e-19": Within(
        BAND_GAP, (Equals(f"{BAND_GAP}.type", "direct"), Range(f"{BAND_GAP}.value", gte=1.6e-19))
    ),
    "?authors.name=A%2C%20B%20%26%20C": Equals("authors.name", "A, B & C"),
    "?optimade_filter=elements%20HAS%20%22Ti%22": Optimade('elements HAS "Ti"'),
    "?published=false": Equals("published", False),
}


@pytest.mark.parametrize(("parameters", "tree"), WRITTEN.items())
def test_tree_is_written_as_the_page_reads_it(parameters: str, tree: Criterion) -> None:
    """Percent-encoded as the page does it, and read back as the same tree."""
    assert write(tree) == ENTRIES + parameters
    assert read(write(tree)) == canonical(tree)


def test_owner_becomes_visibility() -> None:
    """The page shows whose entries."""
    assert write(EVERYTHING, owner="public") == f"{ENTRIES}?visibility=public"


@pytest.mark.parametrize(
    "tree",
    [
        Or((Equals(PROGRAM, "VASP"), Equals(ELEMENTS, "Ti"))),
        Not(Range(N_ELEMENTS, gte=2)),
        HasNone(ELEMENTS, ("Ti",)),
        HasAny(ELEMENTS, ("Ti", "O")),
        HasAll(PROGRAM, ("VASP", "GPAW")),
        HasAny(N_ELEMENTS, (2, 3)),
        Equals("mainfile", "vasprun.xml"),
        Equals("results.method.simulation.dft.smearing_width", 1.0),
        Range(N_ELEMENTS, gt=0),
        And((Range(N_ELEMENTS, gte=2), Equals(N_ELEMENTS, 3))),
        And((Equals("results.material.elements_exclusive", "O Ti"), Equals(ELEMENTS, "Ti"))),
        Within(
            BAND_GAP,
            (HasAny(f"{BAND_GAP}.type", ("direct", "indirect")), Range(f"{BAND_GAP}.value", gt=1e-19)),
        ),
        HasAll(
            "results.properties.thermodynamic.trajectory.available_properties", ("pressure", "temperature")
        ),
        Range("results.material.material_id", gte="a"),
        Equals("entry_type", "true"),
    ],
)
def test_what_the_page_cannot_ask_is_not_expressible(tree: Criterion) -> None:
    """No address is better than one that asks something else."""
    with pytest.raises(NotExpressible):
        write(tree)


def test_filters_of_the_page_are_quantities_of_the_index() -> None:
    """Each filter of the table is searchable in 2.0.0, each section holds one."""
    assert [name for name in FILTERS if type_of(name) is None] == []
    assert [s for s in SECTIONS if not any(name.startswith(f"{s}.") for name in FILTERS)] == []


def test_marks_of_the_filters_agree_with_their_types() -> None:
    """Numbers and dates are marked as such, and only these."""
    marked = {name: mode for name, mode in FILTERS.items() if mode in {"number", "date"}}
    numeric = {name for name in FILTERS if str(type_of(name)).startswith(("int", "float"))}
    assert {name for name, mode in marked.items() if mode == "number"} == numeric
    assert {name for name, mode in marked.items() if mode == "date"} == {
        "upload_create_time",
        "entry_create_time",
    }
