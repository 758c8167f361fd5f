"""Which lists of sections the index holds whole, and which columns need that.

NOMAD leaves an item out of the index that has no indexed quantity; positions and list levels of a column
would then mean other items than in the archive.
"""

from __future__ import annotations

from typing import Final

from nomadquery.columns.planned import PlannedColumn
from nomadquery.query.path import Index, Name, Slice

#: Sections of results of which the index holds every item. NOMAD drops an item from the index that has no
#: indexed quantity; in these each has one (419 archives of nomad-lab 1.4.3, 60 codes).
_WHOLE_IN_INDEX: Final = frozenset(
    f"results.{section}"
    for section in (
        *("material.topology", "material.elemental_composition", "material.topology.elemental_composition"),
        *("method.simulation.dft.hubbard_kanamori_model", "properties.electronic.band_gap"),
        *("properties.electronic.band_structure_electronic", "properties.electronic.dos_electronic"),
        *("properties.electronic.dos_electronic_new", "properties.mechanical.bulk_modulus"),
        *("properties.mechanical.shear_modulus", "properties.dynamical.mean_squared_displacement"),
        *("properties.catalytic.reaction.reactants", "properties.catalytic.reaction.products"),
        *("properties.spectroscopic.spectra", "properties.thermodynamic.trajectory"),
        *("properties.spectroscopic.spectra.provenance.electronic_structure",),
        *("properties.structural.diffraction_pattern", "properties.structural.radius_of_gyration"),
        *("properties.structural.radial_distribution_function",),
    )
)
#: Rules that look at values only, so that items without one do not matter.
VALUE_RULES: Final = frozenset({"first", "last", "min", "max", "mean", "count"})


def needs_every_item(column: PlannedColumn) -> bool:
    """Return whether positions or list levels of the column mean items that the index may lack."""
    names: list[str] = []
    for place, step in enumerate(column.path.steps):
        if not isinstance(step, Name):
            continue
        names.append(step.name)
        section = ".".join(names)
        if section in column.repeats and may_lose_items(section):
            brackets = column.path.steps[place + 1 :]
            has_position = bool(brackets) and isinstance(brackets[0], Index | Slice)
            if has_position or column.rule not in VALUE_RULES:
                return True
    return False


def may_lose_items(section: str) -> bool:
    """Return whether the index may lack items of a repeating section."""
    return section.startswith("results.") and section not in _WHOLE_IN_INDEX
