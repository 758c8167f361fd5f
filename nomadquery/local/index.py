"""From an archive to the search document that NOMAD makes of it.

NOMAD indexes ``metadata`` (at the top of the document) and ``results``, of both only the
quantities of the search index, with the defaults of quantities that are not set and with
quantities that are computed from others. Everything else of an archive is not searched.

What was compared: the documents that nomad-lab 1.4.3 indexed for 419 processed entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from nomadquery.errors import InvalidRequest
from nomadquery.query.catalogue import Catalogue

Document = dict[str, Any]
#: What is known of users and datasets, by id; an archive names them by id only.
Known = Mapping[str, Mapping[str, Any]]

_NOBODY: Final[Known] = MappingProxyType({})

#: Values that NOMAD's schema (nomad-lab 2.0.0) gives to quantities that are not set.
_METADATA_DEFAULTS: Final[Mapping[str, Any]] = {
    "published": False,
    "with_embargo": False,
    "processed": False,
    "readonly": False,
}
_RESULTS_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "results.material": {"structural_type": "not processed"},
    "results.method.simulation": {
        "program_name": "not processed",
        "program_version": "not processed",
        "program_version_internal": "not processed",
    },
    "results.method.simulation.dft": {
        "basis_set_type": "unavailable",
        "core_electron_treatment": "unavailable",
        "jacobs_ladder": "not processed",
        "xc_functional_names": [],
        "xc_functional_type": "not processed",
    },
    "results.method.simulation.precision": {"basis_set": "unavailable"},
    "results.method.simulation.tb": {"type": "not processed"},
}

#: Sections whose presence below ``results.properties`` is listed in ``available_properties``.
_LISTED_PROPERTIES: Final = (
    "dynamical.mean_squared_displacement",
    "electronic.band_structure_electronic",
    "electronic.density_charge",
    "electronic.dos_electronic",
    "electronic.dos_electronic_new",
    "electronic.electric_field_gradient",
    "electronic.greens_functions_electronic",
    "geometry_optimization",
    "magnetic.magnetic_shielding",
    "magnetic.magnetic_susceptibility",
    "magnetic.spin_spin_coupling",
    "mechanical.bulk_modulus",
    "mechanical.energy_volume_curve",
    "mechanical.shear_modulus",
    "optoelectronic.solar_cell",
    "spectroscopic.spectra",
    "structural.radial_distribution_function",
    "structural.radius_of_gyration",
    "thermodynamic.trajectory",
    "vibrational.band_structure_phonon",
    "vibrational.dos_phonon",
    "vibrational.energy_free_helmholtz",
    "vibrational.heat_capacity_constant_volume",
)
#: Listed by its path: its last name alone would say too little.
_LISTED_BY_PATH: Final = "electronic.band_structure_electronic.band_gap"

_PERSON_KEYS: Final = ("name", "user_id")
#: What NOMAD does not count as content: names of classes, and what indexing itself writes.
_NOT_CONTENT: Final = frozenset({"m_def", "m_def_id", "m_annotations"})
_WRITTEN_BY_INDEXING: Final = frozenset(
    {"processing_logs"}
    | {
        f"metadata.{name}"
        for name in ("quantities", "sections", "section_defs", "entry_references", "search_quantities")
    }
)


def search_document(
    archive: Mapping[str, Any], catalogue: Catalogue, *, people: Known = _NOBODY, datasets: Known = _NOBODY
) -> Document:
    """Return the document that ``entries/query`` searches and returns for an archive.

    ``people`` and ``datasets`` say what the ids in ``main_author``, ``coauthors``,
    ``reviewers`` and ``datasets`` stand for; an id that is not there stays without a name.
    ``search_quantities``, ``entry_references``, ``sections`` and ``section_defs`` are taken
    from ``metadata`` and never computed, because that would need the schema;
    ``quantities`` and ``n_quantities`` are computed where ``metadata`` lacks them.
    The document may share lists with the archive.

    Raises
    ------
    InvalidRequest
        If the archive has no ``metadata.entry_id`` or ``metadata.upload_id``.
    """
    metadata = archive.get("metadata") or {}
    missing = [key for key in ("entry_id", "upload_id") if not metadata.get(key)]
    if missing:
        raise InvalidRequest(
            f"An archive without metadata.{missing[0]} cannot be stored. "
            "Give each archive the two ids entry_id and upload_id in its metadata section."
        )
    tree = _indexed_names(catalogue)
    document = {**_METADATA_DEFAULTS, **_cut(metadata, {k: v for k, v in tree.items() if k != "results"}, "")}
    document |= _authorship(metadata, people)
    document["datasets"] = [
        _described(item, datasets, "dataset_id") for item in metadata.get("datasets") or ()
    ]
    document["calc_id"] = metadata["entry_id"]
    if "optimade" in metadata:
        document["optimade"] = _optimade(metadata["optimade"], document["optimade"])
    if "quantities" not in metadata:
        document |= _content(archive)
    if "results" in archive:
        document["results"] = _cut(archive["results"], tree["results"], "results")
    return document


def without_mail_addresses(document: Mapping[str, Any]) -> Document:
    """Return the document without the mail addresses of people, which NOMAD never returns."""
    cleaned = dict(document)
    for role in ("main_author", "authors", "writers", "viewers"):
        people = cleaned.get(role)
        if isinstance(people, Mapping):
            cleaned[role] = _without_mail(people)
        elif people:
            cleaned[role] = [_without_mail(person) for person in people]
    return cleaned


@cache
def _indexed_names(catalogue: Catalogue) -> dict[str, Any]:
    """Return the names of the search index as a tree of dictionaries, empty at the leaves."""
    tree: dict[str, Any] = {}
    for name in catalogue.names:
        quantity = catalogue.find(name)
        if quantity is None or quantity.index is None or quantity.is_view:
            continue
        branch = tree
        for step in name.split("."):
            branch = branch.setdefault(step, {})
    return tree


def _cut(section: Mapping[str, Any], tree: Mapping[str, Any], path: str) -> Document:
    """Return the indexed quantities of one section, with defaults and computed quantities."""
    kept: Document = {}
    for name, value in section.items():
        below = tree.get(name)
        if below is None:
            if name == "m_def" and path:
                kept[name] = value
        elif not below:
            kept[name] = value
        else:
            inner = f"{path}.{name}" if path else name
            if isinstance(value, dict):
                kept[name] = _cut(value, below, inner)
            elif isinstance(value, list):
                kept[name] = [_cut(item, below, inner) for item in value if isinstance(item, dict)]
    for name, default in _RESULTS_DEFAULTS.get(path, {}).items():
        kept.setdefault(name, default)
    compute = _COMPUTED.get(path)
    return kept if compute is None else kept | compute(section)


def _elements(material: Mapping[str, Any]) -> Document:
    elements = list(material.get("elements") or ())
    return {
        "elements": elements,
        "n_elements": len(elements),
        "elements_exclusive": " ".join(sorted(elements)),
    }


def _available_properties(properties: Mapping[str, Any]) -> Document:
    listed = [
        path.rpartition(".")[2] for path in _LISTED_PROPERTIES if _is_there(properties, path.split("."))
    ]
    if _is_there(properties, _LISTED_BY_PATH.split(".")):
        listed.append(_LISTED_BY_PATH)
    return {"available_properties": sorted(listed)}


def _is_there(value: Any, steps: list[str]) -> bool:
    if isinstance(value, list):
        return any(_is_there(item, steps) for item in value)
    if not steps:
        return value is not None
    return isinstance(value, dict) and steps[0] in value and _is_there(value[steps[0]], steps[1:])


def _structure(structure: Mapping[str, Any]) -> Document:
    positions = structure.get("cartesian_site_positions")
    computed: Document = {"n_sites": 0 if positions is None else len(positions)}
    if structure.get("dimension_types") is not None:
        computed["nperiodic_dimensions"] = sum(structure["dimension_types"])
    return computed


_COMPUTED: Final[Mapping[str, Callable[[Mapping[str, Any]], Document]]] = {
    "results.material": _elements,
    "results.material.topology": _elements,
    "results.properties": _available_properties,
    "results.properties.structures.structure_original": _structure,
    "results.properties.structures.structure_conventional": _structure,
    "results.properties.structures.structure_primitive": _structure,
}


def _optimade(section: Mapping[str, Any], cut: Document) -> Document:
    """Return the section with its ratios named by element: for each ratio the whole list of pairs."""
    document = dict(cut)
    ratios = section.get("elements_ratios")
    if ratios is not None:
        names = section.get("elements") or ()
        pairs = [
            {"elements": name, "elements_ratios": ratio} for name, ratio in zip(names, ratios, strict=False)
        ]
        document["elements_ratios"] = [pairs] * len(ratios)
    document["nperiodic_dimensions"] = sum(section.get("dimension_types") or ())
    return document


def _authorship(metadata: Mapping[str, Any], people: Known) -> Document:
    """Return who wrote, may write and may read, as NOMAD derives it from the roles."""

    def persons(role: str) -> list[Document]:
        return [_person(item, people) for item in metadata.get(role) or ()]

    main = metadata.get("main_author")
    authors = [] if main is None else [_person(main, people)]
    writers = authors + persons("coauthors")
    document: Document = {
        "authors": writers + persons("entry_coauthors"),
        "writers": writers,
        "viewers": writers + persons("reviewers"),
        "writer_groups": list(metadata.get("coauthor_groups") or ()),
        "viewer_groups": [
            *(metadata.get("coauthor_groups") or ()),
            *(metadata.get("reviewer_groups") or ()),
        ],
    }
    if metadata.get("external_db") == "EELS Data Base":
        document["authors"] = persons("entry_coauthors")
    origin = metadata.get("external_db") or (authors[0].get("name") if authors else None)
    if authors:
        document["main_author"] = authors[0]
    if origin is not None:
        document["origin"] = origin
    return document


def _person(item: Any, people: Known) -> Document:
    described = _described(item, people, "user_id")
    return {key: described[key] for key in _PERSON_KEYS if described.get(key) is not None}


def _described(item: Any, known: Known, id_key: str) -> Document:
    """Return what is known of an id, or of an object that has one; nulls are left out."""
    if isinstance(item, Mapping):
        return dict(item)
    return {key: value for key, value in known.get(item, {id_key: item}).items() if value is not None}


def _without_mail(person: Mapping[str, Any]) -> Document:
    return {key: value for key, value in person.items() if key != "email"}


def _content(archive: Mapping[str, Any]) -> Document:
    """Return which quantities and sections an archive has, by path without indices.

    Without the schema a quantity that holds a JSON object looks like a section.
    """
    paths = list(_paths(archive, ""))
    return {
        "quantities": sorted({"", "metadata.quantities", *paths}),
        "n_quantities": len(paths),
    }


def _paths(section: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the path of every quantity and section that is set, repeats included."""
    for name, value in section.items():
        path = f"{prefix}{name}"
        if name in _NOT_CONTENT or path in _WRITTEN_BY_INDEXING or value is None:
            continue
        items = value if isinstance(value, list) else [value]
        sections = [item for item in items if isinstance(item, dict) and not item.keys() <= {"re", "im"}]
        for _ in sections or [value]:
            yield path
        for item in sections:
            yield from _paths(item, f"{path}.")
