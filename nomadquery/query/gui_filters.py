"""The filters of NOMAD's web interface: which names its addresses take, and what they mean there.

Source: ``gui/src/components/search/FilterRegistry.js`` and ``Filter.js`` of NOMAD, the same in
1.3.17, 1.4.3 and 2.0.0; apps: ``nomad/config/defaults.yaml`` of these releases and the plugins
of the central deployment (``GET /apps/entry-points/{path}`` tells for any other).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

Mode = Literal["any", "all", "number", "date"]

_MARKS: Final[dict[str, Mode]] = {"&": "all", "#": "number", "@": "date"}

#: Section → its filters. Several values of one filter mean any-of; ``&`` all-of;
#: ``#`` a number and ``@`` a date, which take one value or bounds.
_REGISTERED: Final = {
    "results.material": (
        "structural_type functional_type compound_type material_name chemical_formula_hill "
        "chemical_formula_iupac chemical_formula_reduced chemical_formula_anonymous n_elements# "
        "material_id elements&"
    ),
    "results.material.symmetry": (
        "bravais_lattice crystal_system structure_name strukturbericht_designation space_group_symbol "
        "point_group hall_symbol prototype_aflow_id"
    ),
    "results.material.topology": (
        "label method description material_id material_name structural_type dimensionality building_block "
        "elements n_elements# chemical_formula_hill chemical_formula_iupac chemical_formula_reduced "
        "chemical_formula_anonymous atomic_fraction# mass_fraction# n_atoms# sbu_type "
        "largest_cavity_diameter# pore_limiting_diameter# largest_included_sphere_along_free_sphere_path# "
        "accessible_surface_area# accessible_volume# void_fraction# n_channels# sbu_coordination_number#"
    ),
    "results.material.topology.system_relation": "type",
    "results.material.topology.cell": "a# b# c# alpha# beta# gamma# atomic_density# mass_density# volume#",
    "results.material.topology.symmetry": (
        "bravais_lattice crystal_system hall_symbol point_group space_group_symbol "
        "strukturbericht_designation prototype_name prototype_label_aflow"
    ),
    "results.material.elemental_composition": "element atomic_fraction# mass_fraction#",
    "results.material.topology.elemental_composition": "element atomic_fraction# mass_fraction#",
    "results.material.topology.active_orbitals": (
        "n_quantum_number# l_quantum_symbol ml_quantum_symbol ms_quantum_symbol j_quantum_number# "
        "mj_quantum_number# occupation# n_electrons_excited# degeneracy#"
    ),
    "results.method": "method_name workflow_name",
    "results.method.simulation": "program_name program_version program_version_internal",
    "results.method.simulation.precision": (
        "native_tier k_line_density# basis_set planewave_cutoff# apw_cutoff#"
    ),
    "results.method.simulation.dft": (
        "core_electron_treatment jacobs_ladder xc_functional_type xc_functional_names "
        "exact_exchange_mixing_factor# relativity_method"
    ),
    "results.method.simulation.dft.hubbard_kanamori_model": "u_effective#",
    "results.method.simulation.tb": "type localization_type",
    "results.method.simulation.gw": "type starting_point_type basis_set_type",
    "results.method.simulation.bse": "type solver starting_point_type basis_set_type gw_type",
    "results.method.simulation.dmft": (
        "impurity_solver_type magnetic_state inverse_temperature# u# jh# analytical_continuation"
    ),
    "results.eln": "sections tags methods instruments lab_ids names descriptions",
    "": (
        "external_db upload_create_time@ entry_create_time@ domain entry_id upload_id upload_name "
        "published quantities& sections& files& entry_type& processed& text_search_contents&"
    ),
    "authors": "name",
    "datasets": "dataset_name doi dataset_id",
    "main_author": "user_id",
    "section_defs": "definition_qualified_name&",
    "entry_references": "target_entry_id&",
    "entry_name": "prefix&",
    "results.properties.spectroscopic.spectra.provenance.eels": (
        "detector_type resolution# min_energy# max_energy#"
    ),
    "results.properties.electronic.band_structure_electronic": "spin_polarized",
    "results.properties.electronic.dos_electronic": "spin_polarized",
    "results.properties.electronic.band_structure_electronic.band_gap": "type value#",
    "results.properties.electronic.band_gap": "type value#",
    "results.properties.electronic.band_gap.provenance": "label",
    "results.properties.optoelectronic.solar_cell": (
        "efficiency# fill_factor# open_circuit_voltage# short_circuit_current_density# "
        "illumination_intensity# device_area# device_architecture absorber_fabrication device_stack& "
        "absorber& electron_transport_layer& hole_transport_layer& substrate& back_contact&"
    ),
    "results.properties.catalytic.catalyst": (
        "characterization_methods surface_area# catalyst_name catalyst_type support preparation_method"
    ),
    "results.properties.catalytic.reaction": "name type",
    "results.properties.catalytic.reaction.reaction_conditions": (
        "temperature# pressure# weight_hourly_space_velocity# gas_hourly_space_velocity# flow_rate# "
        "time_on_stream#"
    ),
    "results.properties.catalytic.reaction.products": (
        "name& mole_fraction_out# selectivity# space_time_yield#"
    ),
    "results.properties.catalytic.reaction.reactants": (
        "name& mole_fraction_in# mole_fraction_out# conversion#"
    ),
    "results.properties.catalytic.reaction.rates": (
        "name& reaction_rate# specific_mass_rate# specific_surface_area_rate# turnover_frequency#"
    ),
    "results.properties.catalytic.reaction.reaction_mechanism": (
        "initial_states final_states reaction_enthalpy# activation_energy#"
    ),
    "results.properties.mechanical.bulk_modulus": "type value#",
    "results.properties.mechanical.shear_modulus": "type value#",
    "results.properties": "available_properties&",
    "results.properties.mechanical.energy_volume_curve": "type",
    "results.properties.geometry_optimization": (
        "final_energy_difference# final_displacement_maximum# final_force_maximum#"
    ),
    "results.properties.thermodynamic.trajectory": "available_properties&",
    "results.properties.thermodynamic.trajectory.provenance.molecular_dynamics": "ensemble_type time_step#",
}

#: Name → how the page reads its values. Names that the apps of NOMAD leave out
#: (``mainfile``, ``entry_name``) are not here.
FILTERS: Final[Mapping[str, Mode]] = {
    f"{section}.{word.rstrip('&#@')}".lstrip("."): _MARKS.get(word[-1], "any")
    for section, words in _REGISTERED.items()
    for word in words.split()
}

#: Sections that the page writes with its filters in brackets: ``section[filter]=…``.
SECTIONS: Final = frozenset(
    {
        "results.material.topology",
        "results.material.elemental_composition",
        "results.material.topology.elemental_composition",
        "results.material.topology.active_orbitals",
        "results.properties.spectroscopic.spectra.provenance.eels",
        "results.properties.electronic.band_structure_electronic",
        "results.properties.electronic.dos_electronic",
        "results.properties.electronic.band_structure_electronic.band_gap",
        "results.properties.electronic.band_gap",
        "results.properties.optoelectronic.solar_cell",
        "results.properties.catalytic.catalyst",
        "results.properties.catalytic.reaction",
        "results.properties.catalytic.reaction.reaction_conditions",
        "results.properties.catalytic.reaction.products",
        "results.properties.catalytic.reaction.reactants",
        "results.properties.catalytic.reaction.rates",
        "results.properties.catalytic.reaction.reaction_mechanism",
        "results.properties.mechanical.bulk_modulus",
        "results.properties.mechanical.shear_modulus",
        "results.properties.mechanical.energy_volume_curve",
        "results.properties.geometry_optimization",
        "results.properties.thermodynamic.trajectory",
    }
)

#: Filters that are another name for values of ``results.properties.available_properties``.
PROPERTY_GROUPS: Final = frozenset(
    {
        "electronic_properties",
        "vibrational_properties",
        "mechanical_properties",
        "spectroscopic_properties",
        "thermodynamic_properties",
    }
)

_WITHOUT_QUANTITY: Final = ("visibility", "combine", "exclusive", "optimade_filter", "custom_quantities")

#: What each search page (the word behind ``/search/`` in its address) always asks for besides.
APPS: Final[Mapping[str, Mapping[str, object]]] = {
    "entries": {},
    "calculations": {"quantities": "results.method.simulation.program_name"},
    "eln": {"quantities": "data"},
    "eels": {"results.method.method_name": "EELS"},
    "solarcells": {"sections": "nomad.datamodel.results.SolarCell"},
    "mofs": {"results.material.topology.label": "MOF"},
    "heterogeneouscatalyst": {"quantities": "results.properties.catalytic.catalyst.catalyst_name"},
    "perovskite-solar-cells-database": {
        "section_defs.definition_qualified_name": "perovskite_solar_cell_database.schema.PerovskiteSolarCell"
    },
    "perovskite-ions": {"results.eln.sections": ["PerovskiteAIon", "PerovskiteBIon", "PerovskiteXIon"]},
    "llm-extracted-solar-cells": {"entry_type": "LLMExtractedPerovskiteSolarCell"},
    "tandem-solar-cells-database": {"entry_type": "PerovskiteTandemSolarCell"},
}


def full_filter_name(name: str) -> str:
    """Return the full name for a last step that only one filter has; other names as they are.

    Pages up to 1.2 wrote ``elements`` for a filter whose last step was unique; pages since still read it.
    """
    return _FULL_NAMES.get(name, name)


def filters_ending_in(name: str) -> tuple[str, ...]:
    """Return the filters whose last step is ``name``."""
    return tuple(full for full in FILTERS if full.rpartition(".")[2] == name and full != name)


_REGISTERED_NAMES: Final = (*FILTERS, *SECTIONS, *PROPERTY_GROUPS, *_WITHOUT_QUANTITY)
_HOW_OFTEN: Final = Counter(name.rpartition(".")[2] for name in _REGISTERED_NAMES)
_FULL_NAMES: Final = {
    name.rpartition(".")[2]: name for name in _REGISTERED_NAMES if _HOW_OFTEN[name.rpartition(".")[2]] == 1
}
