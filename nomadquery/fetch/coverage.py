"""How many hits have each column, said before anything is downloaded.

NOMAD's index lists in ``quantities`` the archive paths that an entry has; one aggregation counts them
for all columns. The list is made when an entry is processed, and is not whole:

- It lacks quantities that indexing computes, defaults that the archive does not hold, and whatever is
  edited later. These are counted by a question of their own.
- A section that stands at two places (one mesh of k points for two methods) lists what it holds at one of
  them. Where sections of its class can stand elsewhere too, the entries are counted that have the section.

Sources: nomad-lab 2.0.0 (``EntryMetadata.apply_archive_metadata``; definitions that are derived or have a
default), and archives and documents of 419 processed entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nomadquery.columns.planned import PlannedColumn
from nomadquery.fetch.pages import Source
from nomadquery.fetch.summaries import ask_aggregations
from nomadquery.http.aggregations import parse_values
from nomadquery.query.aggregate import Terms
from nomadquery.query.catalogue import Catalogue, Quantity
from nomadquery.query.criteria import TEXT_LIMIT, Criterion, Equals, Or, Range, canonical
from nomadquery.query.resolve import existence

if TYPE_CHECKING:
    import pandas as pd

_STRUCTURES: Final = "results.properties.structures"
#: Quantities of ``results`` that the index has without the archive: computed ones, and defaults.
_NOT_LISTED: Final = frozenset(
    {
        "results.material.elements_exclusive",
        "results.material.n_elements",
        "results.material.structural_type",
        "results.material.topology.elements_exclusive",
        "results.material.topology.n_elements",
        "results.method.simulation.dft.basis_set_type",
        "results.method.simulation.dft.core_electron_treatment",
        "results.method.simulation.dft.jacobs_ladder",
        "results.method.simulation.dft.xc_functional_type",
        "results.method.simulation.precision.basis_set",
        "results.method.simulation.program_name",
        "results.method.simulation.program_version",
        "results.method.simulation.program_version_internal",
        "results.method.simulation.tb.type",
        "results.properties.available_properties",
        *(
            f"{_STRUCTURES}.structure_{kind}.{name}"
            for kind in ("original", "conventional", "primitive")
            for name in ("n_sites", "nperiodic_dimensions")
        ),
    }
)
#: What every entry has.
_ALWAYS: Final = frozenset(
    {
        "entry_id",
        "calc_id",
        "upload_id",
        "mainfile",
        "upload_create_time",
        "entry_create_time",
        "parser_name",
        "license",
        "published",
        "with_embargo",
        "processed",
        "readonly",
        "origin",
        "main_author.name",
        "main_author.user_id",
        "n_quantities",
    }
)
#: A frame without this reference may take the run's only system.
_FRAMES_SYSTEM: Final = ("run.calculation.system_ref", "run.system")

#: Every hit, those that list a path, or those that satisfy a question.
_Bound = None | str | Criterion
_ASKED: Final = "paths"


def coverage(source: Source, columns: Sequence[PlannedColumn]) -> pd.DataFrame:
    """Return how many hits have each column at most: ``column``, ``path``, ``n_entries``, ``share``.

    ``n_entries`` is never below the truth: the entries that have the quantity anywhere, whatever the
    positions, filters and rules of the column. Behind a reference, and in custom schemas, where paths
    may lead through unknown references, the entries are counted that have the way there. ``share`` is
    the part of all hits, whatever the limit of the search; without hits it is null.

    One request, and one more for each quantity that the list of an entry's paths does not hold.
    """
    import pandas as pd

    bounds = [_bound_of(column, source.catalogue) for column in columns]
    paths = tuple(sorted({bound for bound in bounds if isinstance(bound, str)}))
    listed = Terms("quantities", size=max(1, len(paths)), include=paths)
    n_hits, answers = ask_aggregations(source, {_ASKED: listed})
    n_listed = {str(one.value): one.n_entries for one in parse_values(answers[_ASKED]).buckets}
    counted: dict[Criterion, int] = {}
    n_entries = []
    for bound in bounds:
        if bound is None:
            n_entries.append(n_hits)
        elif isinstance(bound, str):
            n_entries.append(n_listed.get(bound, 0))
        else:
            if bound not in counted:
                counted[bound] = ask_aggregations(source, {}, bound)[0]
            n_entries.append(counted[bound])
    return pd.DataFrame(
        {
            "column": pd.Series([column.name for column in columns], dtype="string"),
            "path": pd.Series([column.quantity for column in columns], dtype="string"),
            "n_entries": pd.Series(n_entries, dtype="int64"),
            "share": pd.Series([n / n_hits if n_hits else None for n in n_entries], dtype="float64"),
        }
    )


def _bound_of(column: PlannedColumn, catalogue: Catalogue) -> _Bound:
    name = column.quantity.partition("#")[0]
    known = catalogue.find(name)
    if column.is_custom or known is None:
        return ".".join(name.split(".")[:2])  # any later step may be a reference, whose target is elsewhere
    if name in _ALWAYS:
        return None
    is_listed = name.startswith("results.") and name not in _NOT_LISTED
    if known.searchable and not is_listed:
        return _any_value(known)
    references = catalogue.references_on(name) if column.source == "archive" else ()
    if references:
        return _way_to(references[0], catalogue)
    path = catalogue.archive_path(name)
    return None if path.startswith("metadata.") else _listed_for_certain(path, catalogue)


def _listed_for_certain(path: str, catalogue: Catalogue) -> str:
    """Return the path, or the outermost section on it whose class can stand elsewhere too.

    Sections of the root are in one place.
    """
    names = path.split(".")
    for end in range(2, len(names)):
        section = ".".join(names[:end])
        place = catalogue.sections.at(section)
        if place is None or any(one != section for one in catalogue.sections.places(place.classes[0])):
            return section
    return path


def _way_to(reference: str, catalogue: Catalogue) -> _Bound:
    """Return the entries that may have what stands behind a reference."""
    if reference == _FRAMES_SYSTEM[0]:
        return canonical(Or(tuple(Equals("quantities", path) for path in _FRAMES_SYSTEM)))
    return _listed_for_certain(reference, catalogue)


def _any_value(quantity: Quantity) -> Criterion:
    """Return "has a value", the empty text included."""
    if quantity.kind == "text" and quantity.index == "keyword":
        return Range(quantity.name, lte=TEXT_LIMIT)
    return existence(quantity)
