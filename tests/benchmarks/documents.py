"""What the benchmarks fetch: entries as NOMAD's API writes them, made up, the same in each run.

Metadata documents hold exactly `COLUMNS` and `IDENTIFYING`, so that every byte sent is one that was asked
for. Archives hold what `REQUIRED` asks for and little else. Only the standard library is imported: NOMAD's
own Python reads this file too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from functools import cache
from typing import Any, Final, Literal

Kind = Literal["metadata", "listed", "small", "full"]

#: Known of each entry beside the columns; a request for these only is answered by the kind ``listed``.
IDENTIFYING: Final = ("entry_id", "upload_id", "last_processing_time", "last_edit_time")

_MATERIAL: Final = "results.material"
_SYMMETRY: Final = f"{_MATERIAL}.symmetry"
_SIMULATION: Final = "results.method.simulation"

#: Names of the columns, and where they are read.
PATHS: Final[dict[str, str]] = {
    "name": "entry_name",
    "type": "entry_type",
    "created": "entry_create_time",
    "upload": "upload_name",
    "uploaded": "upload_create_time",
    "parser": "parser_name",
    "mainfile": "mainfile",
    "published": "published",
    "embargo": "with_embargo",
    "release": "nomad_version",
    "external_id": "external_id",
    "n_quantities": "n_quantities",
    "author": "main_author.name",
    "material_id": f"{_MATERIAL}.material_id",
    "structural_type": f"{_MATERIAL}.structural_type",
    "dimensionality": f"{_MATERIAL}.dimensionality",
    "elements": f"{_MATERIAL}.elements",
    "n_elements": f"{_MATERIAL}.n_elements",
    "formula": f"{_MATERIAL}.chemical_formula_reduced",
    "formula_hill": f"{_MATERIAL}.chemical_formula_hill",
    "formula_anonymous": f"{_MATERIAL}.chemical_formula_anonymous",
    "bravais_lattice": f"{_SYMMETRY}.bravais_lattice",
    "crystal_system": f"{_SYMMETRY}.crystal_system",
    "hall_number": f"{_SYMMETRY}.hall_number",
    "point_group": f"{_SYMMETRY}.point_group",
    "space_group_number": f"{_SYMMETRY}.space_group_number",
    "space_group": f"{_SYMMETRY}.space_group_symbol",
    "method": "results.method.method_name",
    "workflow": "results.method.workflow_name",
    "program": f"{_SIMULATION}.program_name",
    "program_version": f"{_SIMULATION}.program_version",
    "basis_set": f"{_SIMULATION}.dft.basis_set_type",
    "jacobs_ladder": f"{_SIMULATION}.dft.jacobs_ladder",
    "functionals": f"{_SIMULATION}.dft.xc_functional_names",
    "spin_polarized": f"{_SIMULATION}.dft.spin_polarized",
    "smearing_width": f"{_SIMULATION}.dft.smearing_width",
    "cutoff": f"{_SIMULATION}.precision.planewave_cutoff",
    "k_density": f"{_SIMULATION}.precision.k_line_density",
    "n_calculations": "results.properties.n_calculations",
    "available": "results.properties.available_properties",
    "gaps": "results.properties.electronic.band_gap.value",
    "energy_change": "results.properties.geometry_optimization.final_energy_difference",
    "force_maximum": "results.properties.geometry_optimization.final_force_maximum",
}

_UNITS: Final = {
    "smearing_width": "eV",
    "cutoff": "eV",
    "k_density": "angstrom",
    "gaps": "eV",
    "energy_change": "eV",
    "force_maximum": "eV/angstrom",
}

#: What ``select`` takes: a path text for each name, in the unit that people want.
COLUMNS: Final = {
    name: f"{path} in {_UNITS[name]}" if name in _UNITS else path for name, path in PATHS.items()
}

#: What ``required.include`` takes for the same columns. The star brings whole items of the list.
INCLUDE: Final = [
    "entry_id",
    *(f"{path.rpartition('.')[0]}*" if name == "gaps" else path for name, path in PATHS.items()),
]

#: What is asked of archives.
REQUIRED: Final[dict[str, Any]] = {
    "run[-1]": {
        "calculation[-1]": {"energy": {"total": {"value": "*"}}, "forces": {"total": {"value": "*"}}},
        "system[-1]": {"atoms": {"labels": "*", "positions": "*", "lattice_vectors": "*"}},
    }
}

_ENTRIES_OF_UPLOAD: Final = 150
_ATOMS: Final = {"small": 9, "full": 119}
_ELEMENTS: Final = (
    "Al",
    "Ba",
    "Br",
    "C",
    "Cs",
    "Ga",
    "H",
    "I",
    "N",
    "O",
    "Pb",
    "S",
    "Si",
    "Sn",
    "Ti",
    "Zn",
    "Zr",
)
_GROUPS: Final = (
    (225, "Fm-3m", "cF", "cubic", "m-3m", 523),
    (221, "Pm-3m", "cP", "cubic", "m-3m", 517),
    (194, "P6_3/mmc", "hP", "hexagonal", "6/mmm", 488),
    (136, "P4_2/mnm", "tP", "tetragonal", "4/mmm", 419),
    (62, "Pnma", "oP", "orthorhombic", "mmm", 292),
    (14, "P2_1/c", "mP", "monoclinic", "2/m", 81),
    (2, "P-1", "aP", "triclinic", "-1", 2),
)
_PROGRAMS: Final = (
    ("VASP", "5.4.4.18Apr17-6-g9f103f2a35 complex parallel", "plane waves", "parsers/vasp"),
    ("VASP", "6.3.0 20Jan22 complex parallel", "plane waves", "parsers/vasp"),
    ("Quantum ESPRESSO", "6.8", "plane waves", "parsers/quantumespresso"),
    ("FHI-aims", "210716_2", "atom-centered orbitals", "parsers/fhi-aims"),
    ("exciting", "OXYGEN", "(L)APW+lo", "parsers/exciting"),
)
_FUNCTIONALS: Final = (
    ("GGA", ["GGA_C_PBE", "GGA_X_PBE"]),
    ("GGA", ["GGA_C_PBE_SOL", "GGA_X_PBE_SOL"]),
    ("LDA", ["LDA_C_PW", "LDA_X"]),
    ("hybrid", ["HYB_GGA_XC_HSE06"]),
)
_WORKFLOWS: Final = ("SinglePoint", "GeometryOptimization", "MolecularDynamics", "Phonon")
_PROPERTIES: Final = (
    "dos_electronic",
    "band_structure_electronic",
    "geometry_optimization",
    "eels",
    "trajectory",
)
_AUTHORS: Final = ("Hanna Lindqvist", "Ruben Okafor", "Mei-Ling Zhao", "Tomas Herrera")


def an_id(text: str, n_characters: int = 28) -> str:
    """Return an id as NOMAD makes it: base64url of SHA-512, cut."""
    return base64.urlsafe_b64encode(hashlib.sha512(text.encode()).digest()).decode()[:n_characters]


@cache
def upload_id(number: int) -> str:
    """Return the id of the upload of the entry with this number."""
    return an_id(f"upload {number // _ENTRIES_OF_UPLOAD}", 22)


def numbers_by_id(n_entries: int) -> dict[str, int]:
    """Return the number of each entry by its id, in the order of the ids."""
    return dict(sorted((an_id(str(number)), number) for number in range(n_entries)))


def document(kind: Kind, entry_id: str, number: int) -> bytes:
    """Return the JSON of one entry."""
    match kind:
        case "metadata":
            made = _metadata(entry_id, number)
        case "listed":
            made = _identifying(entry_id, number)
        case "small" | "full":
            made = {
                "entry_id": entry_id,
                "upload_id": upload_id(number),
                "parser_name": _PROGRAMS[number % len(_PROGRAMS)][3],
                "archive": _archive(number, _ATOMS[kind]),
            }
    return json.dumps(made, separators=(",", ":")).encode()


def _identifying(entry_id: str, number: int) -> dict[str, Any]:
    return {
        "entry_id": entry_id,
        "upload_id": upload_id(number),
        "last_processing_time": _time(number, 2025),
        "last_edit_time": _time(number, 2024),
    }


def _time(number: int, year: int) -> str:
    hour, minute = number // 60 % 24, number % 60
    return f"{year}-{1 + number % 12:02d}-{1 + number % 28:02d}T{hour:02d}:{minute:02d}:05.678000+00:00"


def _metadata(entry_id: str, number: int) -> dict[str, Any]:
    chance = random.Random(number)
    program, version, basis_set, parser = chance.choice(_PROGRAMS)
    elements = sorted(chance.sample(_ELEMENTS, chance.randint(1, 4)))
    workflow = chance.choice(_WORKFLOWS)
    made = {
        **_identifying(entry_id, number),
        "entry_name": f"{''.join(elements)} {program} {workflow} simulation {number}",
        "entry_type": f"{program} {workflow}",
        "entry_create_time": _time(number, 2022),
        "upload_name": f"series {number // _ENTRIES_OF_UPLOAD}",
        "upload_create_time": _time(number // _ENTRIES_OF_UPLOAD, 2021),
        "parser_name": parser,
        "mainfile": f"series/{number // 20:05d}/run-{number % 20:02d}/output.xml",
        "published": True,
        "with_embargo": number % 50 == 0,
        "nomad_version": ("1.3.17", "1.4.3", "2.0.0")[number % 3],
        "n_quantities": chance.randint(100, 900),
        "main_author": {"name": _AUTHORS[number // _ENTRIES_OF_UPLOAD % len(_AUTHORS)]},
        "results": {
            "material": _material(chance, elements),
            "method": _method(chance, workflow, program, version, basis_set),
            "properties": _properties(chance, workflow),
        },
    }
    if number % 4:  # some lack it
        made["external_id"] = f"ext-{chance.getrandbits(40):010x}"
    return made


def _material(chance: random.Random, elements: list[str]) -> dict[str, Any]:
    counts = [chance.randint(1, 6) for _ in elements]
    formula = "".join(f"{one}{n if n > 1 else ''}" for one, n in zip(elements, counts, strict=True))
    number, symbol, lattice, system, point_group, hall_number = chance.choice(_GROUPS)
    return {
        "material_id": an_id(formula + symbol),
        "structural_type": "bulk" if chance.random() < 0.9 else "2D",
        "dimensionality": "3D",
        "elements": elements,
        "n_elements": len(elements),
        "chemical_formula_reduced": formula,
        "chemical_formula_hill": formula,
        "chemical_formula_anonymous": "".join(
            f"{letter}{n if n > 1 else ''}"
            for letter, n in zip("ABCD", sorted(counts, reverse=True), strict=False)
        ),
        "symmetry": {
            "bravais_lattice": lattice,
            "crystal_system": system,
            "hall_number": hall_number,
            "point_group": point_group,
            "space_group_number": number,
            "space_group_symbol": symbol,
        },
    }


def _method(
    chance: random.Random, workflow: str, program: str, version: str, basis_set: str
) -> dict[str, Any]:
    ladder, functionals = chance.choice(_FUNCTIONALS)
    precision = {"k_line_density": chance.uniform(1e-9, 9e-9)}
    if basis_set == "plane waves":
        precision["planewave_cutoff"] = chance.uniform(3e-17, 9e-17)
    return {
        "method_name": "DFT",
        "workflow_name": workflow,
        "simulation": {
            "program_name": program,
            "program_version": version,
            "dft": {
                "basis_set_type": basis_set,
                "jacobs_ladder": ladder,
                "xc_functional_names": functionals,
                "spin_polarized": chance.random() < 0.3,
                "smearing_width": chance.choice((0.0, 8.0108831700e-21, 1.6021766340e-20)),
            },
            "precision": precision,
        },
    }


def _properties(chance: random.Random, workflow: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "n_calculations": chance.randint(1, 80),
        "available_properties": chance.sample(_PROPERTIES, chance.randint(1, 4)),
    }
    if gaps := [{"value": chance.random() * 1e-18} for _ in range(chance.randint(0, 2))]:
        made["electronic"] = {"band_gap": gaps}
    if workflow == "GeometryOptimization":
        made["geometry_optimization"] = {
            "final_energy_difference": chance.random() * 1e-22,
            "final_force_maximum": chance.random() * 1e-11,
        }
    return made


def _archive(number: int, n_atoms: int) -> dict[str, Any]:
    """Return a run of one calculation; its arrays are one of 499, its energy is its own."""
    program, version, _, _ = _PROGRAMS[number % len(_PROGRAMS)]
    labels, positions, forces = _arrays(number % 499, n_atoms)
    edge = 5e-10 + number % 97 * 1e-12
    return {
        "run": [
            {
                "program": {"name": program, "version": version},
                "system": [
                    {
                        "atoms": {
                            "labels": labels,
                            "positions": positions,
                            "lattice_vectors": [[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]],
                        }
                    }
                ],
                "calculation": [
                    {
                        "energy": {"total": {"value": -1e-17 * n_atoms - number * 1.7e-23}},
                        "forces": {"total": {"value": forces}},
                    }
                ],
            }
        ]
    }


@cache
def _arrays(number: int, n_atoms: int) -> tuple[list[str], list[list[float]], list[list[float]]]:
    chance = random.Random(number)
    labels = [chance.choice(_ELEMENTS) for _ in range(n_atoms)]
    positions = [[chance.random() * 5e-10 for _ in range(3)] for _ in range(n_atoms)]
    forces = [[chance.gauss(0, 1e-10) for _ in range(3)] for _ in range(n_atoms)]
    return labels, positions, forces
