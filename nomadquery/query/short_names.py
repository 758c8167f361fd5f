"""Short names for what everybody uses: each a stated path, list rule and customary unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Rule = Literal["first", "last", "min", "max", "mean", "count", "size"]


@dataclass(frozen=True, slots=True)
class ShortName:
    """What a short name stands for.

    Attributes
    ----------
    path : str
        The full path, positions and filters included.
    rule : str or None
        What becomes of several values.
    unit : str or None
        Unit of the column; ``None``: as stored.
    """

    path: str
    rule: Rule | None = None
    unit: str | None = None


_SOLAR_CELL: Final = "results.properties.optoelectronic.solar_cell"
_SYMMETRY: Final = "results.material.symmetry"

SHORT_NAMES: Final[dict[str, ShortName]] = {
    "formula": ShortName("results.material.chemical_formula_reduced"),
    "elements": ShortName("results.material.elements"),
    "n_elements": ShortName("results.material.n_elements"),
    "space_group": ShortName(f"{_SYMMETRY}.space_group_symbol"),
    "crystal_system": ShortName(f"{_SYMMETRY}.crystal_system"),
    "structural_type": ShortName("results.material.structural_type"),
    "program": ShortName("results.method.simulation.program_name"),
    "functional": ShortName("results.method.simulation.dft.xc_functional_names"),
    "cutoff": ShortName("results.method.simulation.precision.planewave_cutoff", unit="eV"),
    "k_density": ShortName("results.method.simulation.precision.k_line_density", unit="angstrom"),
    "gap": ShortName("results.properties.electronic.band_gap.value", "min", "eV"),
    "gap_type": ShortName("results.properties.electronic.band_gap.type", "first"),
    "energy": ShortName("run[-1].calculation.energy.total.value", "last", "eV"),
    "forces": ShortName("run[-1].calculation.forces.total.value", "last", "eV/angstrom"),
    "stress": ShortName("run[-1].calculation.stress.total.value", "last", "GPa"),
    "positions": ShortName("run[-1].system.atoms.positions", "last", "angstrom"),
    "cell": ShortName("run[-1].system.atoms.lattice_vectors", "last", "angstrom"),
    "species": ShortName("run[-1].system.atoms.labels", "last"),
    "density": ShortName("results.material.topology.cell.mass_density", "first", "g/cm^3"),
    "efficiency": ShortName(f"{_SOLAR_CELL}.efficiency", unit="percent"),
    "voc": ShortName(f"{_SOLAR_CELL}.open_circuit_voltage", unit="V"),
    "jsc": ShortName(f"{_SOLAR_CELL}.short_circuit_current_density", unit="mA/cm^2"),
    "ff": ShortName(f"{_SOLAR_CELL}.fill_factor"),
    "lab_ids": ShortName("results.eln.lab_ids"),
    "doi": ShortName("datasets.doi"),
    "uploaded": ShortName("upload_create_time"),
}
