"""A table of archive columns beside the oracle: what cannot be selected, and what differs."""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from nomadquery.query.quantity import Q, QuantityPath
from nomadquery.search import Search
from tests.archive_oracle import EVERY, FACTORS, Spec, Step, evaluate

Entry = dict[str, Any]
ELECTRONIC: Final = "results.properties.electronic"
_VIBRATIONAL: Final = "results.properties.vibrational"
#: References to quantities, and the unit of what they lead to (nomad-lab 2.0.0).
TO_QUANTITIES: Final[dict[str, str | None]] = {
    "results.properties.geometry_optimization.energies": "joule",
    f"{ELECTRONIC}.dos_electronic.*.energies": "joule",
    f"{ELECTRONIC}.dos_electronic_new.*.data.*.energies": "joule",
    f"{ELECTRONIC}.band_structure_electronic.*.reciprocal_cell": "1 / meter",
    f"{ELECTRONIC}.electric_field_gradient.*.value": "volt / meter ** 2",
    "results.properties.magnetic.magnetic_shielding.*.value": "dimensionless",
    f"{ELECTRONIC}.greens_functions_electronic.*.chemical_potential": "joule",
    f"{ELECTRONIC}.greens_functions_electronic.*.matsubara_freq": None,
    f"{ELECTRONIC}.greens_functions_electronic.*.greens_function_iw": None,
    f"{ELECTRONIC}.greens_functions_electronic.*.self_energy_iw": None,
    f"{_VIBRATIONAL}.dos_phonon.energies": "joule",
    f"{_VIBRATIONAL}.energy_free_helmholtz.energies": "joule",
    f"{_VIBRATIONAL}.energy_free_helmholtz.temperatures": "kelvin",
    f"{_VIBRATIONAL}.heat_capacity_constant_volume.heat_capacities": "joule / kelvin",
    f"{_VIBRATIONAL}.heat_capacity_constant_volume.temperatures": "kelvin",
}
#: Where the schema says no unit and NOMAD's description and data do; and a quantity under names that
#: people choose, which is an object with a unit beside each value.
CORRECTED: Final[dict[str, str | None]] = {
    "data.MY_variable_quantity": None,
    "results.method.simulation.dft.smearing_width": "joule",
    "results.properties.optoelectronic.solar_cell.efficiency": "percent",
}

_METHOD: Final = "results.method.simulation"
#: What the index of nomad-lab 2.0.0 says of entries whose archive has no such value.
FILLED_IN: Final = (
    "results.material.elements",
    "results.material.structural_type",
    "results.material.topology.*.elements",
    f"{_METHOD}.dft.basis_set_type",
    f"{_METHOD}.dft.jacobs_ladder",
    f"{_METHOD}.dft.xc_functional_names",
    f"{_METHOD}.dft.xc_functional_type",
    f"{_METHOD}.precision.basis_set",
    f"{_METHOD}.program_name",
    f"{_METHOD}.program_version",
    f"{_METHOD}.program_version_internal",
    f"{_METHOD}.tb.type",
)

#: What search documents of nomad-lab 2.0.0 do not have, or have as sections in place of ids.
IN_ARCHIVES_ONLY: Final = tuple(
    f"metadata.{name}"
    for name in (
        *("coauthor_groups", "coauthors", "datasets", "embargo_length", "entry_coauthors", "entry_hash"),
        *("main_author", "reviewer_groups", "reviewers"),
    )
)

#: Gives the expected value of a column for an entry.
Expectation = Callable[["Asked", str], Any]

_SHOWN: Final = 90


@dataclass(frozen=True, slots=True)
class Asked:
    """One column: what is typed, what it means, the unit that it must have, and how near is near.

    ``rtol`` is 0 where numbers are passed through, and some roundings where they are computed.
    """

    label: str
    typed: str | QuantityPath
    spec: Spec
    unit: str | None = None
    rtol: float = 0.0


@dataclass(slots=True)
class Verdict:
    """What was found wrong, in lines that can be read; and how much was looked at."""

    unselectable: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    n_values: int = 0

    @property
    def wrong(self) -> list[str]:
        """All that is wrong, of whatever kind."""
        return [*self.unselectable, *self.units, *self.values]

    def __iadd__(self, other: Verdict) -> Verdict:
        self.unselectable += other.unselectable
        self.units += other.units
        self.values += other.values
        self.n_values += other.n_values
        return self


def judge(search: Search, asked: Sequence[Asked], ids: Sequence[str], expected: Expectation) -> Verdict:
    """Return what is wrong with the columns ``asked``, fetched in one table of the entries ``ids``.

    A table that fails is cut in halves until the column that spoils it stands alone.
    """
    verdict = Verdict()
    able: list[Asked] = []
    for one in asked:
        try:
            search.select(x=one.typed)
        except Exception as error:
            verdict.unselectable.append(f"{one.label}: {type(error).__name__}: {str(error)[:160]}")
        else:
            able.append(one)
    _fetch_and_compare(search, able, ids, expected, verdict)
    return verdict


def _fetch_and_compare(
    search: Search, asked: list[Asked], ids: Sequence[str], expected: Expectation, verdict: Verdict
) -> None:
    if not asked:
        return
    named: dict[str, str | QuantityPath] = {f"c{place}": one.typed for place, one in enumerate(asked)}
    table = search.select(**named)
    try:
        rows = {row["entry_id"]: row for row in table.rows()}
        units = table.to_pandas().attrs["units"]
        told = table.problems
    except Exception as error:
        if len(asked) == 1:
            verdict.unselectable.append(f"{asked[0].label}: {type(error).__name__}: {str(error)[:160]}")
            return
        half = len(asked) // 2
        for part in (asked[:half], asked[half:]):
            _fetch_and_compare(search, part, ids, expected, verdict)
        return
    assert sorted(rows) == sorted(ids)
    widened = set(told[told["entry_id"] == ""]["path"])
    for name, one in zip(named, asked, strict=True):
        if units.get(name) != one.unit and any(_has_value(row[name]) for row in rows.values()):
            verdict.units.append(f"{one.label}: {units.get(name)}, not {one.unit}")
        is_widened = bool(widened & {name, one.label.replace(".*", "")})
        cells = {entry_id: row[name] for entry_id, row in rows.items()}
        _compare(one, cells, expected, verdict, is_widened=is_widened)


def _has_value(cell: Any) -> bool:
    """Return whether there is a value at any depth; without one nobody asks for its unit."""
    return any(map(_has_value, cell)) if isinstance(cell, list) else cell is not None


def _compare(
    one: Asked, cells: Mapping[str, Any], expected: Expectation, verdict: Verdict, *, is_widened: bool
) -> None:
    for entry_id, found in cells.items():
        value = expected(one, entry_id)
        verdict.n_values += value is not None
        if not same(found, value, one.rtol) and not (is_widened and same_widened(found, value)):
            shown = f"{ascii(value)[:_SHOWN]} expected, {ascii(found)[:_SHOWN]} found"
            verdict.values.append(f"{one.label} {entry_id}: {shown}")


def same(found: Any, expected: Any, rtol: float = 0.0) -> bool:
    """Return whether a cell of a table holds the expected JSON value.

    A time may have become a time, an object its JSON text, and a null among numbers a NaN.
    """
    if isinstance(expected, list):
        is_alike = isinstance(found, list) and len(found) == len(expected)
        return is_alike and all(same(*pair, rtol) for pair in zip(found, expected, strict=True))
    if expected is None:
        return found is None or (isinstance(found, float) and math.isnan(found))
    if isinstance(expected, dict):
        return bool(_read_if_text(found) == expected)
    if isinstance(found, datetime):
        return isinstance(expected, str) and abs(found - _moment(expected)) < timedelta(milliseconds=1)
    if isinstance(expected, bool | str):
        return type(found) is type(expected) and found == expected
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    return bool(found == expected or abs(found - expected) <= rtol * abs(expected))


def same_widened(found: Any, expected: Any) -> bool:
    """Return whether a cell holds the expected value in a column of mixed types or levels, which is text."""
    if isinstance(found, list) and not isinstance(expected, list):
        return expected is not None and len(found) == 1 and same_widened(found[0], expected)
    if isinstance(expected, list):
        is_alike = isinstance(found, list) and len(found) == len(expected)
        return is_alike and all(same_widened(*pair) for pair in zip(found, expected, strict=True))
    return bool(_read_if_text(found) == expected or found == expected)


def _read_if_text(found: Any) -> Any:
    if not isinstance(found, str):
        return found
    try:
        return json.loads(found)
    except ValueError:
        return found


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def plain_steps(starred: str) -> tuple[Step, ...]:
    """Return the steps of a path in which ``*`` stands behind each repeating section."""
    return tuple(EVERY if part == "*" else part for part in starred.split("."))


def holds(value: Any, parts: Sequence[str]) -> bool:
    """Return whether an archive has a value at a path with stars."""
    if not parts:
        return value is not None
    if parts[0] == "*":
        return isinstance(value, list) and any(holds(item, parts[1:]) for item in value)
    return isinstance(value, dict) and holds(value.get(parts[0]), parts[1:])


def _without_fillers(value: Any) -> Any:
    if value in ("not processed", "unavailable", []):
        return None
    return [_without_fillers(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class World:
    """What a user may read: archive files and search documents by entry id; and all known paths.

    Where an archive has nothing and NOMAD's index says so in words of its own (`FILLED_IN`), the words
    are expected: the index is what such a column is read from.
    """

    archives: Mapping[str, Entry]
    documents: Mapping[str, Entry]
    quantities: Mapping[str, Entry]

    def expected(self, asked: Asked, entry_id: str) -> Any:
        """Return what the oracle reads; ``metadata.x`` is the ``x`` of search documents that have it."""
        if asked.spec.steps[0] == "metadata" and asked.label not in IN_ARCHIVES_ONLY:
            spec = Spec(asked.spec.steps[1:], asked.spec.rule, asked.spec.factor)
            return evaluate(spec, entry_id, self.documents).value
        value = evaluate(asked.spec, entry_id, self.archives).value
        if asked.label not in FILLED_IN:
            return value
        indexed = evaluate(asked.spec, entry_id, self.documents).value
        return indexed if _without_fillers(indexed) == value else value

    def unit_of(self, path: str) -> str | None:
        declared: str | None = self.quantities.get(path, {}).get("unit")
        return CORRECTED.get(path, TO_QUANTITIES.get(path, declared))

    def paths(self, root: str) -> list[str]:
        """Return the paths below ``root`` that occur in an archive."""
        below = [path for path in self.quantities if path.partition(".")[0] == root]
        return [path for path in below if any(holds(one, path.split(".")) for one in self.archives.values())]

    def typed(self, path: str) -> str | QuantityPath:
        """Return the path as people type it; unchecked where several classes have it."""
        plain = path.replace(".*", "")
        having = [one for one in self.archives.values() if holds(one, path.split("."))]
        is_shared = len({str((one.get("data") or {}).get("m_def")) for one in having}) > 1
        return Q[plain].unchecked() if path.startswith("data.") and is_shared else plain

    def asked_as(
        self, path: str, typed: str, steps: tuple[Any, ...], rule: str | None, unit: str | None
    ) -> Asked:
        """Return a drawn column: ``typed`` has brackets, no rule and no unit."""
        stored = self.unit_of(path)
        factor = FACTORS[stored][unit] if stored is not None and unit is not None else None
        spec = Spec(steps, rule, factor, leads_to_values=path in TO_QUANTITIES)
        text = "".join([typed, f".{rule}()" if rule else "", f" in {unit}" if unit else ""])
        is_computed = factor is not None or rule == "mean"
        shown = None if rule in {"count", "size"} else unit or stored
        return Asked(path, text, spec, shown, 1e-12 if is_computed else 0.0)

    def asked(self, path: str) -> Asked:
        spec = Spec(plain_steps(path), leads_to_values=path in TO_QUANTITIES)
        return Asked(path, self.typed(path), spec, self.unit_of(path))


def read_world(documents: Iterable[Entry]) -> World:
    """Return what the given search documents make visible, with the archive files of the samples."""
    by_id = {document["entry_id"]: document for document in documents}
    return World(read_archives(by_id), by_id, read_quantities())


def samples_folder() -> Path:
    """Return the folder of the sample entries that the server is seeded with."""
    shared = os.environ.get("NOMADQUERY_SHARED")
    if not shared:
        pytest.fail("Set NOMADQUERY_SHARED to the folder that holds nomad/samples.")
    return Path(shared) / "nomad" / "samples"


def read_archives(entry_ids: Iterable[str]) -> dict[str, Entry]:
    """Return the archive files of those of the entries that are samples, by entry id."""
    folder = samples_folder() / "archives"
    paths = {entry_id: folder / f"{entry_id}.archive.json.gz" for entry_id in entry_ids}
    return {
        one: json.loads(gzip.decompress(path.read_bytes())) for one, path in paths.items() if path.exists()
    }


def read_quantities() -> dict[str, Entry]:
    """Return what the sample archives contain: path with stars → type, shape, unit."""
    quantities: dict[str, Entry] = json.loads((samples_folder() / "quantities.json").read_text("utf-8"))
    return quantities
