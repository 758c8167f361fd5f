"""Questions in NOMAD's JSON, written by hand, each with the tree that says the same.

The names and values are those of NOMAD's sample entries. What was observed here was observed
of nomad-lab 2.0.0, with a stand-in for its search engine, on 2026-11-20.
"""

from __future__ import annotations

from typing import Any

from nomadquery.query.criteria import (
    EVERYTHING,
    FLOAT_LIMIT,
    INT32_LIMIT,
    NOTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Or,
    Range,
    Within,
)

Body = dict[str, Any]
Case = tuple[Body, Criterion]

M = "results.material"
ELEMENTS, N = f"{M}.elements", f"{M}.n_elements"
HILL, IUPAC = f"{M}.chemical_formula_hill", f"{M}.chemical_formula_iupac"
SYSTEM, GROUP = f"{M}.symmetry.crystal_system", f"{M}.symmetry.space_group_number"
COMPOSITION, TOPOLOGY = f"{M}.elemental_composition", f"{M}.topology"
PART = f"{TOPOLOGY}.elemental_composition"
PROGRAM = "results.method.simulation.program_name"
FUNCTIONALS = "results.method.simulation.dft.xc_functional_names"
CUTOFF = "results.method.simulation.precision.planewave_cutoff"
GAP = "results.properties.electronic.band_gap"
BANDS_GAP = "results.properties.electronic.band_structure_electronic.band_gap"
DEFS = "section_defs"
CREATED = "upload_create_time"
TANDEM = "perovskite_solar_cell_database.schema_packages.tandem.schema.PerovskiteTandemSolarCell"
LAYER, LAYER_NAME = f"data.device_stack.layer_index#{TANDEM}", f"data.device_stack.name#{TANDEM}"
MASK = f"data.measurements.jv.illumination.mask#{TANDEM}"
VOLTAGE = f"data.measurements.jv.results.open_circuit_voltage#{TANDEM}"
MEASURED = "data.measurement_identifiers.datetime#nomad_measurements.xrd.schema.ELNXRayDiffraction"
BASE_LAB_ID = "data.lab_id#nomad.datamodel.metainfo.basesections.v1.BaseSection"
CHEMICAL = "entry_id:A8XXetVcB_p-3zRMn7mt-vNgXF0t.Chemical"
TIN, MOMENT = f"data.name#{CHEMICAL}#str", f"data.datetime#{CHEMICAL}#datetime"
TI_AND_O, TI_OR_O = HasAll(ELEMENTS, ("Ti", "O")), HasAny(ELEMENTS, ("Ti", "O"))
EV = 1.602176634e-19

LOGIC: list[Case] = [
    ({}, EVERYTHING),
    ({ELEMENTS: "O"}, Equals(ELEMENTS, "O")),
    ({ELEMENTS: "o"}, Equals(ELEMENTS, "o")),
    ({ELEMENTS: ["Ti", "O"]}, TI_AND_O),
    ({f"{ELEMENTS}:all": ["Ti", "O"]}, TI_AND_O),
    ({ELEMENTS: {"all": ["Ti", "O"]}}, TI_AND_O),
    ({f"{ELEMENTS}:any": ["Ti", "O"]}, TI_OR_O),
    ({ELEMENTS: {"any": ["Ti", "O"]}}, TI_OR_O),
    ({f"{ELEMENTS}:none": ["Ti", "O"]}, HasNone(ELEMENTS, ("Ti", "O"))),
    ({ELEMENTS: {"none": ["Ti", "O"]}}, Not(TI_OR_O)),
    ({f"{ELEMENTS}:any": []}, NOTHING),
    ({f"{ELEMENTS}:none": []}, EVERYTHING),
    ({ELEMENTS: []}, EVERYTHING),
    ({PROGRAM: ["VASP", "exciting"]}, HasAll(PROGRAM, ("VASP", "exciting"))),
    ({f"{PROGRAM}:any": ["VASP", "exciting"]}, HasAny(PROGRAM, ("VASP", "exciting"))),
    ({FUNCTIONALS: ["GGA_X_PBE", "GGA_C_PBE"]}, HasAll(FUNCTIONALS, ("GGA_X_PBE", "GGA_C_PBE"))),
    ({"and": [{ELEMENTS: "Ti"}, {ELEMENTS: "O"}]}, TI_AND_O),
    ({"or": [{ELEMENTS: "Ti"}, {ELEMENTS: "O"}]}, TI_OR_O),
    ({"not": {ELEMENTS: ["Ti", "O"]}}, Not(TI_AND_O)),
    ({"not": {"not": {SYSTEM: "cubic"}}}, Equals(SYSTEM, "cubic")),
    ({ELEMENTS: "O", N: 2}, And((Equals(ELEMENTS, "O"), Equals(N, 2)))),
    ({"and": []}, EVERYTHING),
    ({"not": {"and": []}}, NOTHING),
    ({"or": [{}]}, EVERYTHING),
    (
        {
            "and": [
                {"or": [{ELEMENTS: "Ti", N: 2}, {M: {"elements": "O", "n_elements": 3}}]},
                {"not": {SYSTEM: "cubic"}},
            ]
        },
        And(
            (
                Or((And((Equals(ELEMENTS, "Ti"), Equals(N, 2))), And((Equals(ELEMENTS, "O"), Equals(N, 3))))),
                Not(Equals(SYSTEM, "cubic")),
            )
        ),
    ),
    ({M: {"elements:any": ["Ti", "O"], "n_elements": 2}}, And((TI_OR_O, Equals(N, 2)))),
    ({M: {"elements": ["Ti", "O"]}}, TI_AND_O),
    (
        {M: {"elements": "Ti", "elements:any": ["O", "N"]}},
        And((Equals(ELEMENTS, "Ti"), HasAny(ELEMENTS, ("O", "N")))),
    ),
    ({"results": {"material": {"symmetry": {"crystal_system": "cubic"}}}}, Equals(SYSTEM, "cubic")),
    ({"results": {"material": {"elements:none": ["Ti"]}}}, HasNone(ELEMENTS, ("Ti",))),
]

VALUES: list[Case] = [
    ({N: 2.0}, Equals(N, 2)),
    ({N: 0}, Equals(N, 0)),
    ({N: 2.5}, Equals(N, 2.5)),
    ({N: {"gte": 2, "lte": 3}}, Range(N, gte=2, lte=3)),
    ({N: {"gt": 1.5, "lt": 2.5}}, Range(N, gt=1.5, lt=2.5)),
    ({f"{N}:gt": 2}, Range(N, gt=2)),
    ({N: {"gte": 0, "lte": INT32_LIMIT}}, Range(N, gte=0)),
    ({N: {"gte": -1}}, Range(N, gte=0)),
    ({N: {"gte": 5, "lte": 1}}, NOTHING),
    ({M: {"n_elements": {"gte": 2, "lte": 3}}}, Range(N, gte=2, lte=3)),
    ({GROUP: {"gte": 195}}, Range(GROUP, gte=195)),
    ({"not": {GROUP: {"gte": 195}}}, Not(Range(GROUP, gte=195))),
    ({CUTOFF: {"gte": 400 * EV}}, Range(CUTOFF, gte=400 * EV)),
    ({f"{CUTOFF}:lt": 400 * EV}, Range(CUTOFF, lt=400 * EV)),
    ({"published": True}, Equals("published", True)),
    ({"with_embargo:any": [True, False]}, HasAny("with_embargo", (True, False))),
    ({"published:none": [True]}, HasNone("published", (True,))),
    ({ELEMENTS: {"gte": "O", "lt": "P"}}, Range(ELEMENTS, gte="O", lt="P")),
    ({"upload_name": {"lt": "a"}}, Range("upload_name", lt="a")),
    ({"mainfile": {"gte": "vasprun", "lte": "z"}}, Range("mainfile", gte="vasprun", lte="z")),
    ({"entry_id": {"gte": "A", "lt": "a"}}, Range("entry_id", gte="A", lt="a")),
    ({"datasets.dataset_name": "Experiments"}, Equals("datasets.dataset_name", "Experiments")),
    ({"authors.name:any": ["Tanja Bauer"]}, HasAny("authors.name", ("Tanja Bauer",))),
    (
        {"authors.name": ["Tanja Bauer", "Michael Okafor"]},
        HasAll("authors.name", ("Tanja Bauer", "Michael Okafor")),
    ),
    ({"quantities": "run.calculation.energy"}, Equals("quantities", "run.calculation.energy")),
    ({"quantities:none": ["run", "data"]}, HasNone("quantities", ("run", "data"))),
    ({CREATED: "2023-01-09T13:30:00Z"}, Equals(CREATED, "2023-01-09T13:30:00Z")),
    ({CREATED: "2023-01-09T14:30:00+01:00"}, Equals(CREATED, "2023-01-09T13:30:00")),
    ({CREATED: 1673271000000}, Equals(CREATED, "2023-01-09T13:30:00+00:00")),
    ({CREATED: "2023-01-09"}, Equals(CREATED, "2023-01-09")),
    (
        {f"{CREATED}:any": ["2023-01-09T13:30:00", 1674464160000]},
        HasAny(CREATED, ("2023-01-09T13:30:00", 1674464160000)),
    ),
    ({CREATED: {"gte": "2023-01-23", "lt": "2023-02-13"}}, Range(CREATED, gte="2023-01-23", lt="2023-02-13")),
    ({CREATED: {"gt": "2023-01-09T14:30:00.000+01:00"}}, Range(CREATED, gt="2023-01-09T13:30:00Z")),
    ({f"{CREATED}:lte": "2023-01-09T13:30:00.000Z"}, Range(CREATED, lte="2023-01-09T13:30:00Z")),
    ({CREATED: {"gt": 1673271000000}}, Range(CREATED, gt=1673271000000)),
]

NESTED: list[Case] = [
    ({f"{GAP}.type": "direct"}, Equals(f"{GAP}.type", "direct")),
    (
        {GAP: {"type": "indirect", "value": {"gte": EV}}},
        Within(GAP, (Equals(f"{GAP}.type", "indirect"), Range(f"{GAP}.value", gte=EV))),
    ),
    (
        {f"{GAP}.type": "indirect", f"{GAP}.value": {"gte": EV}},
        And((Equals(f"{GAP}.type", "indirect"), Range(f"{GAP}.value", gte=EV))),
    ),
    ({GAP: {"value": {"gte": 0, "lte": FLOAT_LIMIT}}}, Range(f"{GAP}.value", gte=0)),
    ({GAP: {"value:gte": EV, "value:lt": 5 * EV}}, Within(GAP, (Range(f"{GAP}.value", gte=EV, lt=5 * EV),))),
    ({GAP: {"type:any": ["direct", "indirect"]}}, HasAny(f"{GAP}.type", ("direct", "indirect"))),
    ({GAP: {"type:none": ["direct"]}}, Within(GAP, (HasNone(f"{GAP}.type", ("direct",)),))),
    ({"not": {f"{GAP}.type": "direct"}}, HasNone(f"{GAP}.type", ("direct",))),
    ({GAP: {}}, Within(GAP, ())),
    (
        {GAP: {"provenance": {"label": "band_structure"}, "value": {"gt": EV}}},
        Within(GAP, (Equals(f"{GAP}.provenance.label", "band_structure"), Range(f"{GAP}.value", gt=EV))),
    ),
    (
        {"results": {"properties.electronic.band_gap": {"index": 0, "value": {"gt": EV}}}},
        Within(GAP, (Equals(f"{GAP}.index", 0), Range(f"{GAP}.value", gt=EV))),
    ),
    (
        {BANDS_GAP: {"type": "indirect", "index": 0}},
        Within(BANDS_GAP, (Equals(f"{BANDS_GAP}.type", "indirect"), Equals(f"{BANDS_GAP}.index", 0))),
    ),
    ({f"{COMPOSITION}.element:any": ["Ti", "O"]}, HasAny(f"{COMPOSITION}.element", ("Ti", "O"))),
    (
        {"and": [{f"{COMPOSITION}.element": "Ti"}, {f"{COMPOSITION}.element": "O"}]},
        HasAll(f"{COMPOSITION}.element", ("Ti", "O")),
    ),
    (
        {COMPOSITION: {"element:any": ["O", "N"], "atomic_fraction": {"gte": 0.5}}},
        Within(
            COMPOSITION,
            (HasAny(f"{COMPOSITION}.element", ("O", "N")), Range(f"{COMPOSITION}.atomic_fraction", gte=0.5)),
        ),
    ),
    (
        {"not": {COMPOSITION: {"element": "O", "atomic_fraction": {"gte": 0.5}}}},
        Not(
            Within(
                COMPOSITION,
                (Equals(f"{COMPOSITION}.element", "O"), Range(f"{COMPOSITION}.atomic_fraction", gte=0.5)),
            )
        ),
    ),
    (
        {M: {"topology": {"label": "conventional cell", "dimensionality": "2D"}}},
        Within(
            TOPOLOGY,
            (Equals(f"{TOPOLOGY}.label", "conventional cell"), Equals(f"{TOPOLOGY}.dimensionality", "2D")),
        ),
    ),
    (
        {M: {"topology.label": "conventional cell", "topology.dimensionality": "2D"}},
        And((Equals(f"{TOPOLOGY}.label", "conventional cell"), Equals(f"{TOPOLOGY}.dimensionality", "2D"))),
    ),
    (
        {TOPOLOGY: {"elements:none": ["O"], "label": "original", "n_elements": {"gte": 2}}},
        Within(
            TOPOLOGY,
            (
                HasNone(f"{TOPOLOGY}.elements", ("O",)),
                Equals(f"{TOPOLOGY}.label", "original"),
                Range(f"{TOPOLOGY}.n_elements", gte=2),
            ),
        ),
    ),
    (
        {
            TOPOLOGY: {
                "label": "original",
                "elemental_composition": {"element": "Ti", "mass_fraction": {"gte": 0.5}},
            }
        },
        Within(
            TOPOLOGY,
            (
                Equals(f"{TOPOLOGY}.label", "original"),
                Within(PART, (Equals(f"{PART}.element", "Ti"), Range(f"{PART}.mass_fraction", gte=0.5))),
            ),
        ),
    ),
    (
        {PART: {"element": "Ti", "mass_fraction": {"gte": 0.5}}},
        Within(PART, (Equals(f"{PART}.element", "Ti"), Range(f"{PART}.mass_fraction", gte=0.5))),
    ),
    (
        {
            TOPOLOGY: {
                "elemental_composition.element": "Ti",
                "elemental_composition.mass_fraction": {"gte": 0.5},
            }
        },
        Within(TOPOLOGY, (Equals(f"{PART}.element", "Ti"), Range(f"{PART}.mass_fraction", gte=0.5))),
    ),
    (
        {
            DEFS: {
                "definition_qualified_name": "nomad.datamodel.metainfo.workflow.Workflow",
                "used_directly": True,
            }
        },
        Within(
            DEFS,
            (
                Equals(f"{DEFS}.definition_qualified_name", "nomad.datamodel.metainfo.workflow.Workflow"),
                Equals(f"{DEFS}.used_directly", True),
            ),
        ),
    ),
]

FORMULAS_AND_TEXTS: list[Case] = [
    ({HILL: "Si2"}, Equals(HILL, "Si2")),
    ({HILL: "OH2"}, Equals(HILL, "H2O")),
    ({HILL: "Ti2O4"}, Equals(HILL, "O4Ti2")),
    ({HILL: "TiO2"}, Equals(HILL, "TiO2")),
    ({f"{HILL}:any": ["SrTiO3", "Si2"]}, HasAny(HILL, ("O3TiSr", "Si2"))),
    ({f"{HILL}:none": ["H2O"]}, HasNone(HILL, ("OH2",))),
    ({IUPAC: "Si4"}, Equals(IUPAC, "Si")),
    ({IUPAC: "O3TiSr"}, Equals(IUPAC, "SrTiO3")),
    ({f"{TOPOLOGY}.chemical_formula_iupac": "O2Ti"}, Equals(f"{TOPOLOGY}.chemical_formula_iupac", "TiO2")),
    ({f"{M}.chemical_formula_reduced": "TiO2"}, Equals(f"{M}.chemical_formula_reduced", "TiO2")),
    ({f"{M}.chemical_formula_reduced": "O2Ti"}, Equals(f"{M}.chemical_formula_reduced", "O2Ti")),
    ({"mainfile.path": "OUTCAR"}, Equals("mainfile.path", "OUTCAR")),
    ({"files.path": "geometry.in/control.in"}, Equals("files.path", "control.in/geometry.in")),
    ({"files.path:any": ["control.in", "INCAR"]}, HasAny("files.path", ("control.in", "INCAR"))),
    ({"authors.name.text": "tanja LOVELACE"}, Equals("authors.name.text", "tanja LOVELACE")),
    ({"entry_name.prefix": "vasp geo"}, Equals("entry_name.prefix", "vasp geo")),
    ({"entry_name.prefix": "VASP simulation"}, Equals("entry_name.prefix", "VASP simulation")),
    ({"entry_name.prefix:any": ["VASP dft", "GPAW"]}, HasAny("entry_name.prefix", ("VASP dft", "GPAW"))),
    ({"text_search_contents": "chemical sel"}, Equals("text_search_contents", "chemical sel")),
    ({"text_search_contents:none": ["xrd"]}, HasNone("text_search_contents", ("xrd",))),
    ({"results.eln.names": {"gte": "s", "lt": "t"}}, Range("results.eln.names", gte="s", lt="t")),
    ({"mainfile.path": {"gte": "P", "lt": "a"}}, Range("mainfile.path", gte="P", lt="a")),
    ({"entry_name.prefix": {"gte": "S", "lt": "a"}}, Range("entry_name.prefix", gte="S", lt="a")),
    ({"results.eln.names": "selenide film"}, Equals("results.eln.names", "selenide film")),
    ({"quantities.path": "run.calculation"}, Equals("quantities.path", "run.calculation")),
    (
        {f"{M}.chemical_formula_reduced_fragments": "O2"},
        Equals(f"{M}.chemical_formula_reduced_fragments", "O2"),
    ),
]

CUSTOM: list[Case] = [
    ({TIN: "Tin (II) Selenide"}, Equals(TIN, "Tin (II) Selenide")),
    ({TIN: "Tin"}, Equals(TIN, "Tin")),
    (
        {f"{TIN}:any": ["Tin (II) Selenide", "Zinc Selenide"]},
        HasAny(TIN, ("Tin (II) Selenide", "Zinc Selenide")),
    ),
    ({TIN: {"gte": "D"}}, Range(TIN, gte="D")),
    ({f"{TIN}:none": ["Zinc Selenide"]}, HasNone(TIN, ("Zinc Selenide",))),
    ({MOMENT: {"gte": "2024-01-29T14:45:00.000+01:00"}}, Range(MOMENT, gte="2024-01-29T13:45:00Z")),
    ({LAYER: [1, 2]}, HasAll(LAYER, (1, 2))),
    ({f"{LAYER}:gte": 14}, Range(LAYER, gte=14)),
    ({LAYER_NAME: "PEDOT:PSS"}, Equals(LAYER_NAME, "PEDOT:PSS")),
    ({f"{LAYER_NAME}:none": ["BCP"]}, HasNone(LAYER_NAME, ("BCP",))),
    ({MASK: False}, Equals(MASK, False)),
    ({VOLTAGE: {"gte": 1.5, "lte": 2}}, Range(VOLTAGE, gte=1.5, lte=2)),
    ({VOLTAGE: {"gt": 2.7, "lt": 2.75}}, Range(VOLTAGE, gt=2.7, lt=2.75)),
    ({MEASURED: "2024-05-06T11:47:00Z"}, Equals(MEASURED, "2024-05-06T11:47:00Z")),
    ({BASE_LAB_ID: {"gte": " "}}, Range(BASE_LAB_ID, gte=" ")),
    (
        {"search_quantities.id": f"data.name#{CHEMICAL}"},
        Equals("search_quantities.id", f"data.name#{CHEMICAL}"),
    ),
    ({"search_quantities.str_value": "selenide"}, Equals("search_quantities.str_value", "selenide")),
    (
        {"search_quantities": {"path_archive": "data.name", "str_value.keyword": {"gte": "T"}}},
        Within(
            "search_quantities",
            (
                Equals("search_quantities.path_archive", "data.name"),
                Range("search_quantities.str_value.keyword", gte="T"),
            ),
        ),
    ),
]

#: Bodies that a reader could take for something else; the tree is what the server reads.
MISLEADING: list[Case] = [
    ({"or": []}, EVERYTHING),
    ({"not": {}}, EVERYTHING),
    ({"or": [{ELEMENTS: "O"}], N: 1}, Equals(ELEMENTS, "O")),
    ({"not": {ELEMENTS: "O"}, "and": [{ELEMENTS: "Ti"}]}, Equals(ELEMENTS, "Ti")),
    ({N: "2"}, Equals(N, 2)),
    ({N: {"gte": "2"}}, Range(N, gte=2)),
    ({"published": "true"}, Equals("published", True)),
    ({ELEMENTS: {"gt": 1}}, Range(ELEMENTS, gt="1")),
    ({f"{GAP}.type:none": ["direct"]}, Within(GAP, (HasNone(f"{GAP}.type", ("direct",)),))),
    (
        {f"{COMPOSITION}.element": ["Ti", "O"]},
        Within(COMPOSITION, (HasAll(f"{COMPOSITION}.element", ("Ti", "O")),)),
    ),
    (
        {TOPOLOGY: {"label": "original", "elemental_composition.element:none": ["O"]}},
        Within(
            TOPOLOGY,
            (Equals(f"{TOPOLOGY}.label", "original"), Within(PART, (HasNone(f"{PART}.element", ("O",)),))),
        ),
    ),
    (
        {"authors": {"name": "Michael Okafor", "name.text": "Tanja"}},
        And((Equals("authors.name", "Michael Okafor"), Equals("authors.name.text", "Tanja"))),
    ),
    ({CREATED: {"gt": "2023-01-09"}}, Range(CREATED, gt="2023-01-09T23:59:59.999Z")),
    ({CREATED: {"lte": "2023-01-09"}}, Range(CREATED, lte="2023-01-09T23:59:59.999Z")),
    ({CREATED: {"lte": "2023-01"}}, Range(CREATED, lt="2023-02-01")),
    ({f"data#{CHEMICAL}#str": {"gte": " "}}, Equals("search_quantities.id", f"data.name#{CHEMICAL}")),
    ({"optimade_filter": ""}, EVERYTHING),
]

ALL = [*LOGIC, *VALUES, *NESTED, *FORMULAS_AND_TEXTS, *CUSTOM, *MISLEADING]

REFUSED: list[tuple[Body, int, str]] = [
    ({N: {"gte": 0}}, 422, f"{N}.gte is not a doc quantity"),
    ({f"{N}:gte": 0}, 422, "range_undefined"),
    ({N: {"gte": 0, "lte": None}}, 500, "ValidationError"),
    ({N: "two"}, 400, "For input string"),
    ({N: 10**30}, 500, "SerializationError"),
    ({"published": 1}, 400, "parse boolean value"),
    ({"published": {"gte": True}}, 422, "published.gte is not a doc quantity"),
    ({CREATED: "2023-1-9"}, 400, "failed to parse date field"),
    ({HILL: "not a formula"}, 500, "ValueError"),
    ({f"{HILL}:any": ["Si2", "nope"]}, 500, "ValueError"),
    ({HILL: {"gte": " "}}, 500, "TypeError"),
    ({f"{TOPOLOGY}.chemical_formula_iupac": {"gte": " "}}, 500, "TypeError"),
    ({GAP: {"type": {"any": ["direct"]}}}, 422, f"{GAP}.type.any is not a doc quantity"),
    ({GAP: {"type": {"none": ["direct"]}}}, 422, f"{GAP}.type.none is not a doc quantity"),
    ({GAP: {"or": [{"type": "direct"}]}}, 500, "ValidationError"),
    ({GAP: {"not": {"type": "direct"}}}, 422, f"{GAP}.not.type is not a doc quantity"),
    ({f"data.name#{CHEMICAL}": "x"}, 422, "Could not resolve the data type"),
    ({"data.name": "x"}, 422, "data.name is not a doc quantity"),
    ({"data.name#nomad.datamodel.metainfo.eln.ELNProcess": "x"}, 422, "is not a doc quantity"),
    ({"optimade_filter:any": ['elements HAS "Ti"']}, 422, "optimade_filter is not a doc quantity"),
]
