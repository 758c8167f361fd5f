"""What the schema says of the values of an archive: which properties a section has, which are references.

The schema is the shipped one (`query.section_graph`). Of a class that is not in it (plugins, custom
schemas) only what it inherits from the declared class is known, and the quantities ``x_…`` of
parsers stand in no class. There any property of the data counts as known, and a text counts as a
reference if it is written as one. A NOMAD server has all these schemas: that is the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, Literal

from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.section_graph import Row, Sections

#: Quantities of parsers, and some of NOMAD's own (``m_kind``), that the catalogue does not list.
_UNLISTED: Final = ("x_", "m_")
_NO_PROPERTIES: Final = {"m_def", "m_def_id", "m_parent_index", "m_parent_sub_section", "m_annotations"}

#: What the classes of a package that the catalogue lacks are derived from.
_SIMULATION_WORKFLOWS: Final = "simulationworkflowschema."
_SIMULATION_WORKFLOW: Final = "simulationworkflowschema.general.SimulationWorkflow"

#: The catalogue leads from classes of before NOMAD 1.3 to their successors, a server to others of theirs.
_SUCCESSORS: Final = "runschema."
_LEGACY: Final = "nomad.datamodel.metainfo.simulation."


@dataclass(frozen=True, slots=True)
class Class:
    """What is known of a value.

    Attributes
    ----------
    name : str or None
        Its section class, or the nearest known base of it; ``None`` where nothing is known.
    is_open : bool
        Whether it may have properties that the class ``name`` lacks.
    is_value : bool
        Whether it is a value and no section.
    """

    name: str | None
    is_open: bool = False
    is_value: bool = False

    def member(self, name: str) -> Member | None:
        """Return what is known of a property, ``None`` if there is no such property."""
        known = {} if self.name is None else _members(self.name)
        found = known.get(name)
        if found is None:
            may_be = self.is_open or (bool(known) and name.startswith(_UNLISTED))
            return _UNKNOWN if may_be and name not in _NO_PROPERTIES else None
        if self.is_open and found.role == "section":
            return Member("section", replace(found.leads_to, is_open=True))
        return found


@dataclass(frozen=True, slots=True)
class Member:
    """What a property is: ``section``, ``reference``, ``value`` or ``unknown``; and what it leads to."""

    role: Literal["section", "reference", "value", "unknown"]
    leads_to: Class


VALUE: Final = Class(None, is_value=True)
ANYTHING: Final = Class(None, is_open=True)
_UNKNOWN: Final = Member("unknown", ANYTHING)


def root_class() -> Class:
    """Return the class of a whole archive."""
    return Class(_sections().root)


def class_of(m_def: str, declared: Class) -> Class:
    """Return the class that a section names with ``m_def``, where another or none was declared."""
    name = m_def.partition("@")[0]
    if name in _sections():
        return Class(name)
    if declared.is_value:
        return ANYTHING
    is_workflow = name.startswith(_SIMULATION_WORKFLOWS)
    return Class(_SIMULATION_WORKFLOW if is_workflow else declared.name, is_open=True)


def _sections() -> Sections:
    return catalogue_for("2.0.0").sections


@cache
def _members(name: str) -> Mapping[str, Member]:
    sections = _sections()
    if name not in sections:
        return {}
    values = {key: _member(row, name) for key, row in sections.quantities(name).items()}
    below = sections.subsections(name)
    return values | {key: Member("section", Class(declared)) for key, (declared, _) in below.items()}


def _member(row: Row, holder: str) -> Member:
    match row.type:
        case "reference":
            target = row.target or ""
            if holder.startswith(_LEGACY):
                target = target.replace(_SUCCESSORS, _LEGACY)
            return Member("reference", Class(target))
        case "quantity_reference":
            return Member("reference", VALUE)
        case _:
            return Member("value", VALUE)
