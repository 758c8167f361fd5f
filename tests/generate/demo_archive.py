"""A demo calculation as a NOMAD archive: metadata, run, workflow2, results, in NOMAD's names and SI units."""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from demo_entry import Calculation, Gap, Step
from demo_material import ANGSTROM, atoms_section, formulas, material_of

EV = 1.602176634e-19  # J, exact
NEWTON = EV / ANGSTROM  # eV/Å in N
PASCAL = EV / ANGSTROM**3  # eV/Å³ in Pa
NOMAD_VERSION = "2.0.0"  # the schema that the archives follow
AUTHOR = {"name": "nomadquery demo", "user_id": str(uuid.uuid5(uuid.NAMESPACE_URL, "nomadquery:demo"))}
_MODULE = {
    "SinglePoint": "single_point",
    "GeometryOptimization": "geometry_optimization",
    "EquationOfState": "equation_of_state",
}
_DOIS = {  # of the prefix for tests: they lead nowhere
    "EMT equations of state": "10.5072/nomadquery-demo.1",
    "xTB crystals": "10.5072/nomadquery-demo.2",
}
_FIRST_UPLOAD = datetime(2025, 1, 13, 9, 0, tzinfo=UTC)
_NOISE = 1e-6  # eV/Å and eV/Å³: below this a force or stress is zero by symmetry and only rounding remains


def websafe_hash(text: str, length: int) -> str:
    """Return the first characters of the url-safe base64 of the sha512 of a text: NOMAD's rule for ids."""
    return base64.urlsafe_b64encode(hashlib.sha512(text.encode()).digest()).decode()[:length]


def upload_id(name: str) -> str:
    """Return the id of a demo upload, 22 characters, from its name."""
    return websafe_hash(f"nomadquery demo upload: {name}", 22)


def mainfile(calculation: Calculation) -> str:
    """Return the path of an entry in its upload."""
    return f"{calculation.stem}.archive.json"


def entry_id(calculation: Calculation) -> str:
    """Return the entry id by NOMAD's rule, from upload id and mainfile."""
    return websafe_hash(upload_id(calculation.upload) + mainfile(calculation), 28)


def _quiet(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(np.abs(values) < _NOISE, 0.0, values)


def _gap_section(gap: Gap, *, meshed: bool) -> dict[str, Any]:
    section: dict[str, Any] = {
        "index": 0,
        "value": gap.value * EV,
        "energy_highest_occupied": gap.highest_occupied * EV,
        "energy_lowest_unoccupied": gap.lowest_unoccupied * EV,
        "provenance": {"label": "k_mesh" if meshed else "orbital_energies"},
    }
    return section if gap.type is None else {**section, "type": gap.type}


def _calculation_section(calculation: Calculation, index: int) -> dict[str, Any]:
    step = calculation.steps[index]
    section: dict[str, Any] = {
        "system_ref": f"#/run/0/system/{index}",
        "method_ref": "#/run/0/method/0",
        "energy": {"total": {"value": step.energy * EV}},
        "forces": {"total": {"value": (_quiet(step.forces) * NEWTON).tolist()}},
    }
    if step.stress is not None:
        stress = _quiet(step.stress) * PASCAL
        section["stress"] = {"total": {"value": stress.tolist()}}
        section["pressure"] = -float(np.trace(stress)) / 3 + 0.0
    if step.gap is not None:
        section["energy"]["highest_occupied"] = step.gap.highest_occupied * EV
        section["energy"]["lowest_unoccupied"] = step.gap.lowest_unoccupied * EV
        if index == calculation.representative:  # NOMAD's results list every band_gap of a run
            section["band_gap"] = [_gap_section(step.gap, meshed=calculation.method.mesh is not None)]
    return section


def _system_section(calculation: Calculation, index: int) -> dict[str, Any]:
    atoms = calculation.steps[index].atoms
    names = formulas(list(atoms.symbols))
    section: dict[str, Any] = {
        "chemical_composition_hill": names["chemical_formula_hill"],
        "chemical_composition_reduced": names["chemical_formula_reduced"],
        "atoms": atoms_section(atoms, reciprocal=calculation.method.mesh is not None),
    }
    if index == calculation.representative:
        section = {"type": calculation.structural_type, "is_representative": True, **section}
    return section


def _method_section(calculation: Calculation) -> dict[str, Any]:
    method = calculation.method
    model = {"name": method.model, "reference": method.reference}
    if method.model == "emt":
        return {"force_field": {"model": [model]}}
    section: dict[str, Any] = {"tb": {"name": "xTB", "xtb": model}}
    if method.mesh is not None:
        section["k_mesh"] = {
            "dimensionality": 3,
            "sampling_method": "Gamma-centered",
            "n_points": int(np.prod(method.mesh)),
            "grid": list(method.mesh),
        }
    return section


def run_of(calculation: Calculation) -> dict[str, Any]:
    """Return the run section: program, method, every structure and its calculation."""
    indices = range(len(calculation.steps))
    return {
        "program": {"name": calculation.method.program, "version": calculation.method.version},
        "method": [_method_section(calculation)],
        "system": [_system_section(calculation, index) for index in indices],
        "calculation": [_calculation_section(calculation, index) for index in indices],
    }


def _link(name: str, section: str) -> dict[str, str]:
    return {"name": name, "section": section}


def workflow_of(calculation: Calculation) -> dict[str, Any]:
    """Return the workflow2 section with its results; tasks are left out, they repeat the references."""
    last = calculation.representative
    kind = calculation.workflow
    results: dict[str, Any] = {
        "calculation_result_ref": f"#/run/0/calculation/{last}",
        "calculations_ref": [f"#/run/0/calculation/{index}" for index in range(len(calculation.steps))],
    }
    workflow: dict[str, Any] = {
        "m_def": f"simulationworkflowschema.{_MODULE[kind]}.{kind}",
        "inputs": [
            _link("Input system", "#/run/0/system/0"),
            _link("Input method", "#/run/0/method/0"),
        ],
        "outputs": [
            _link("Output calculation", f"#/run/0/calculation/{last}"),
            _link("Workflow results", "#/workflow2/results"),
        ],
    }
    if kind == "EquationOfState":
        workflow["method"] = {"energy_calculator": calculation.method.program}
        results |= _equation_results(calculation)
    elif calculation.optimization is not None:
        optimization = calculation.optimization
        workflow["method"] = {
            "type": optimization.type,
            "method": optimization.method,
            "convergence_tolerance_force_maximum": optimization.tolerance * NEWTON,
        }
        results |= _optimization_results(calculation)
    return {**workflow, "results": results}


def _equation_results(calculation: Calculation) -> dict[str, Any]:
    return {
        "n_points": len(calculation.steps),
        "volumes": [step.atoms.get_volume() * ANGSTROM**3 for step in calculation.steps],
        "energies": [step.energy * EV for step in calculation.steps],
        "eos_fit": [
            {
                "function_name": fit.function,
                "fitted_energies": [energy * EV for energy in fit.fitted],
                "bulk_modulus": fit.bulk_modulus * PASCAL,
                "bulk_modulus_derivative": fit.derivative,
                "equilibrium_volume": fit.volume * ANGSTROM**3,
                "equilibrium_energy": fit.energy * EV,
            }
            for fit in calculation.fits
        ],
    }


def _largest_force(step: Step) -> float:
    return float(np.linalg.norm(_quiet(step.forces), axis=1).max())


def _optimization_results(calculation: Calculation) -> dict[str, Any]:
    assert calculation.optimization is not None
    steps = calculation.steps
    results = {
        "optimization_steps": len(steps),
        "energies": [step.energy * EV for step in steps],
        "final_force_maximum": _largest_force(steps[-1]) * NEWTON,
        "is_converged_geometry": calculation.optimization.converged,
    }
    if len(steps) > 1:
        moved = steps[-1].atoms.positions - steps[-2].atoms.positions
        results["final_energy_difference"] = abs(steps[-1].energy - steps[-2].energy) * EV
        results["final_displacement_maximum"] = float(np.abs(moved).max()) * ANGSTROM
    return results


def _simulation(calculation: Calculation) -> dict[str, Any]:
    method = calculation.method
    simulation: dict[str, Any] = {
        "program_name": method.program,
        "program_version": method.version,
        "precision": {},
    }
    if method.model != "emt":
        simulation["tb"] = {"type": "xTB"}
        simulation["precision"]["basis_set"] = "atom-centered orbitals"
    if method.mesh is not None and calculation.structural_type == "bulk":  # a density along three axes
        atoms = calculation.steps[calculation.representative].atoms
        reciprocal = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal().array, axis=1) / ANGSTROM
        simulation["precision"]["k_line_density"] = float(min(np.array(method.mesh) / reciprocal))
    return simulation


def properties_of(calculation: Calculation, workflow: dict[str, Any]) -> dict[str, Any]:
    """Return ``results.properties``: what of the run and the workflow can be searched."""
    properties: dict[str, Any] = {"n_calculations": len(calculation.steps)}
    available = []
    gap = calculation.steps[calculation.representative].gap
    if gap is not None:
        meshed = calculation.method.mesh is not None
        properties["electronic"] = {"band_gap": [_gap_section(gap, meshed=meshed)]}
    if calculation.fits:
        available += ["bulk_modulus", "energy_volume_curve"]
        properties["mechanical"] = _mechanical(calculation)
    if calculation.optimization is not None:
        available.append("geometry_optimization")
        results = workflow["results"]
        names = ("final_force_maximum", "final_energy_difference", "final_displacement_maximum")
        properties["geometry_optimization"] = {
            "trajectory": results["calculations_ref"],
            "system_optimized": f"#/run/0/system/{calculation.representative}",
            "energies": "#/workflow2/results/energies",
            "type": calculation.optimization.type,
            "convergence_tolerance_force_maximum": calculation.optimization.tolerance * NEWTON,
            **{name: results[name] for name in names if name in results},
        }
    properties["available_properties"] = available
    return properties


def _mechanical(calculation: Calculation) -> dict[str, Any]:
    volumes = "#/workflow2/results/volumes"
    raw = {"type": "raw", "volumes": volumes, "energies_raw": "#/workflow2/results/energies"}
    fits = [
        {
            "type": fit.function,
            "volumes": volumes,
            "energies_fit": f"#/workflow2/results/eos_fit/{index}/fitted_energies",
        }
        for index, fit in enumerate(calculation.fits)
    ]
    moduli = [{"type": fit.function, "value": fit.bulk_modulus * PASCAL} for fit in calculation.fits]
    return {"energy_volume_curve": [raw, *fits], "bulk_modulus": moduli}


def results_of(calculation: Calculation, workflow: dict[str, Any]) -> dict[str, Any]:
    """Return the results section: material, method, properties."""
    method: dict[str, Any] = {"workflow_name": calculation.workflow, "simulation": _simulation(calculation)}
    if calculation.method.model != "emt":
        method = {"method_name": "TB", **method}
    return {
        "material": material_of(calculation),
        "method": method,
        "properties": properties_of(calculation, workflow),
    }


def _entry_type(calculation: Calculation) -> str:
    program = calculation.method.program
    if calculation.workflow == "SinglePoint" and calculation.method.model != "emt":
        return f"{program} TB SinglePoint"
    return f"{program} {calculation.workflow}"


def metadata_of(
    calculation: Calculation, *, upload_number: int, entry_number: int, formula: str
) -> dict[str, Any]:
    """Return the metadata section; times count on from the number of the upload and of the entry in it."""
    created = _FIRST_UPLOAD + timedelta(days=9.25 * upload_number)
    entry_type = _entry_type(calculation)
    model = {"emt": "EMT", "gfn1": "GFN1-xTB", "gfn2": "GFN2-xTB"}[calculation.method.model]
    program = f"{calculation.method.program} {calculation.method.version}"
    return {
        "upload_id": upload_id(calculation.upload),
        "upload_name": f"nomadquery demo: {calculation.upload}",
        "upload_create_time": created.isoformat(),
        "entry_id": entry_id(calculation),
        "entry_name": f"{formula} {entry_type} simulation",
        "entry_type": entry_type,
        "entry_create_time": (created + timedelta(seconds=entry_number)).isoformat(),
        "parser_name": "parsers/archive",
        "mainfile": mainfile(calculation),
        "text_search_contents": [],
        "files": [mainfile(calculation)],
        "external_id": f"nomadquery-demo/{calculation.stem}",
        "published": True,
        "publish_time": (created + timedelta(days=3, hours=2)).isoformat(),
        "with_embargo": False,
        "embargo_length": 0,
        "license": "CC BY 4.0",
        "processed": True,
        "last_processing_time": (created + timedelta(minutes=20, seconds=entry_number)).isoformat(),
        "processing_errors": [],
        "nomad_version": NOMAD_VERSION,
        "comment": (
            f"Demo data of nomadquery: {model} calculation with {program}, {calculation.note}. "
            "Made to try the library, not for research; written by a script, not processed by NOMAD."
        ),
        "references": [],
        "main_author": AUTHOR,
        "authors": [AUTHOR],
        "coauthors": [],
        "datasets": [_dataset(calculation.dataset)],
        "entry_references": [],
        "domain": "dft",
    }


def _dataset(name: str) -> dict[str, str]:
    identifier = websafe_hash(f"nomadquery demo dataset: {name}", 22)
    doi = {"doi": _DOIS[name]} if name in _DOIS else {}
    return {
        **doi,
        "dataset_id": identifier,
        "dataset_name": f"nomadquery demo: {name}",
        "dataset_type": "owned",
        "dataset_create_time": _FIRST_UPLOAD.isoformat(),
        "dataset_modified_time": _FIRST_UPLOAD.isoformat(),
        "user_id": AUTHOR["user_id"],
    }


def archive_of(calculation: Calculation, *, upload_number: int, entry_number: int) -> dict[str, Any]:
    """Return the whole archive of one calculation, not yet rounded and without ``metadata.quantities``."""
    workflow = workflow_of(calculation)
    results = results_of(calculation, workflow)
    formula = results["material"]["chemical_formula_descriptive"]
    metadata = metadata_of(
        calculation, upload_number=upload_number, entry_number=entry_number, formula=formula
    )
    return {"metadata": metadata, "run": [run_of(calculation)], "workflow2": workflow, "results": results}
