"""The check that demo archives use NOMAD's names, types, shapes and words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "enum": str,
    "datetime": str,
    "bool": bool,
    "int32": int,
    "int64": int,
    "float64": (int, float),
    "reference": (str, dict),
    "quantity_reference": str,
}
_GENERAL = "simulationworkflowschema.general"
_OPTIMIZATION = "simulationworkflowschema.geometry_optimization.GeometryOptimization"
_EQUATION = "simulationworkflowschema.equation_of_state.EquationOfState"
_POINT = "simulationworkflowschema.single_point.SinglePoint"


def _workflow(name: str, base: str, results: str, method: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {"base": f"{_GENERAL}.{base}", "method": f"{name}Method", "results": results},
        f"{name}Method": {"quantities": method},
    }


# Classes of nomad-schema-plugin-simulation-workflow 1.0.11 that the tables lack: only ``m_def`` names them.
_WORKFLOWS: dict[str, dict[str, Any]] = {
    **_workflow(
        _EQUATION, "ParallelSimulation", f"{_EQUATION}Results", {"energy_calculator": {"type": "str"}}
    ),
    **_workflow(
        _OPTIMIZATION,
        "SerialSimulation",
        f"{_OPTIMIZATION}Results",
        {
            "type": {"type": "enum", "values": ["static", "atomic", "cell_shape", "cell_volume"]},
            "method": {"type": "str"},
            "convergence_tolerance_force_maximum": {"type": "float64"},
        },
    ),
    **_workflow(_POINT, "SimulationWorkflow", f"{_GENERAL}.SimulationWorkflowResults", {}),
}


class Schema:
    """NOMAD's section definitions, as its quantity tables list them."""

    def __init__(self, tables: Path) -> None:
        graph = json.loads((tables / "archive-quantities.json").read_text())
        search = json.loads((tables / "search-quantities-2.0.0.json").read_text())["quantities"]
        self.root: str = graph["root"]
        self.sections: dict[str, Any] = graph["sections"]
        self.sections |= self._workflow_sections()
        self.words = {item["name"]: set(item["values"]) for item in search if item.get("type") == "enum"}

    def _workflow_sections(self) -> dict[str, Any]:
        sections = {}
        for name, added in _WORKFLOWS.items():
            if "base" not in added:
                sections[name] = added
                continue
            base = self.sections[added["base"]]
            own = {"method": {"section": added["method"]}, "results": {"section": added["results"]}}
            sections[name] = {**base, "sub_sections": {**base["sub_sections"], **own}}
        return sections

    def check(self, archive: dict[str, Any]) -> None:
        """Raise ValueError naming the path, unless every name, type, shape, word and reference is NOMAD's."""
        for path, owner, name, value in self.walk(archive):
            quantity = self.sections[owner].get("quantities", {}).get(name)
            if quantity is None:
                raise ValueError(f"{path}: {owner} has no quantity {name!r}")
            for leaf in _leaves(value, len(quantity.get("shape") or ()), path):
                self._check_leaf(path, quantity, leaf, archive)

    def _check_leaf(self, path: str, quantity: dict[str, Any], leaf: Any, archive: dict[str, Any]) -> None:
        kind = quantity["type"]
        if not isinstance(leaf, _TYPES[kind]) or (isinstance(leaf, bool) and kind != "bool"):
            raise ValueError(f"{path}: {leaf!r} is not of type {kind}")
        words = quantity.get("values") or self.words.get(path)
        if words and leaf not in words:
            raise ValueError(f"{path}: {leaf!r} is not one of NOMAD's words")
        if kind == "datetime" and datetime.fromisoformat(str(leaf)).tzinfo is None:
            raise ValueError(f"{path}: {leaf!r} has no time zone")
        if isinstance(leaf, dict):
            self._check_person_or_dataset(path, quantity["target"], leaf)
        elif kind.endswith("reference"):
            resolve(archive, str(leaf))

    def _check_person_or_dataset(self, path: str, section: str, value: dict[str, Any]) -> None:
        # an author who has an account is a User, a kind of Author
        section = section.replace("data.Author", "data.User")
        known = self.sections[section].get("quantities", {})
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise ValueError(f"{path}: {section} has no {unknown}")

    def walk(self, archive: dict[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
        """Yield path without indices, section definition, name and value of every quantity of an archive."""
        yield from self._walk(archive, self.root, "")

    def _walk(
        self, section: dict[str, Any], definition: str, path: str
    ) -> Iterator[tuple[str, str, str, Any]]:
        definition = section.get("m_def", definition)
        if definition not in self.sections:
            raise ValueError(f"{path}: NOMAD has no section {definition!r}")
        subsections = self.sections[definition].get("sub_sections", {})
        for name, value in section.items():
            below = f"{path}.{name}" if path else name
            if name == "m_def":
                continue
            if name not in subsections:
                yield below, definition, name, value
                continue
            if isinstance(value, list) is not bool(subsections[name].get("repeats")):
                raise ValueError(f"{below}: repeats is {bool(subsections[name].get('repeats'))}")
            for item in value if isinstance(value, list) else [value]:
                yield from self._walk(item, subsections[name]["section"], below)

    def names_of(self, archive: dict[str, Any]) -> tuple[list[str], list[str], int]:
        """Return the paths and the section definitions of an archive, sorted, and its number of values."""
        paths, sections, n_values = {"", "metadata.quantities", "metadata.sections"}, {self.root}, 3
        for path, owner, _, _ in self.walk(archive):
            n_values += 1
            sections.add(owner)
            steps = path.split(".")
            paths.update(".".join(steps[:n]) for n in range(1, len(steps) + 1))
        return sorted(paths), sorted(sections), n_values


def resolve(archive: dict[str, Any], reference: str) -> Any:
    """Return what a reference inside an archive points to; KeyError or IndexError if it points nowhere."""
    value: Any = archive
    for step in reference.removeprefix("#").strip("/").split("/"):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def _leaves(value: Any, rank: int, path: str) -> Iterator[Any]:
    if rank == 0:
        yield value
        return
    if not isinstance(value, list):
        raise ValueError(f"{path}: {value!r} is not a list")
    for item in value:
        yield from _leaves(item, rank - 1, path)
