"""Columns through references of the sample archives, and archives that not everybody may read."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import pytest

from nomadquery import Nomad, Q
from tests.archive_oracle import EVERY, Spec, evaluate
from tests.real.archive_judge import (
    ELECTRONIC,
    TO_QUANTITIES,
    Asked,
    Entry,
    World,
    holds,
    judge,
    plain_steps,
    read_world,
    same,
)

EV: Final = Fraction("1.602176634e-19")  # joule; exact, SI 2019
#: An author of the samples who has unpublished entries.
AUTHOR: Final = "hlindqvist"

_DOS: Final = f"{ELECTRONIC}.dos_electronic_new.*.data.*"
#: Path with stars → unit of the column, and what it is converted by.
THROUGH: Final[dict[str, tuple[str | None, Fraction | None]]] = {
    "run.*.calculation.*.system_ref.atoms.labels": (None, None),
    "run.*.calculation.*.system_ref.atoms.positions": ("angstrom", Fraction(10**10)),
    "run.*.calculation.*.method_ref.dft.xc_functional.exchange.*.name": (None, None),
    "run.*.calculation.*.calculations_ref.*.energy.total.value": ("joule", None),
    "run.*.calculation.*.band_gap.*.provenance.dos.spin": (None, None),
    "workflow2.results.calculation_result_ref.energy.total.value": ("eV", 1 / EV),
    "workflow2.results.calculation_result_ref.system_ref.atoms.labels": (None, None),
    "workflow2.results.calculations_ref.*.energy.total.value": ("eV", 1 / EV),
    "workflow2.results.trajectory.*.atoms.labels": (None, None),
    "workflow2.results.dos.*.energies": ("joule", None),
    "workflow2.results.gw_outputs.band_gap.*.value": ("joule", None),
    "workflow2.results.dft_outputs.band_gap.*.value": ("eV", 1 / EV),
    "results.material.topology.*.atoms_ref.labels": (None, None),
    "results.properties.geometry_optimization.energies": ("eV", 1 / EV),
    "results.properties.geometry_optimization.system_optimized.atoms.labels": (None, None),
    "results.properties.geometry_optimization.trajectory.*.system_ref.atoms.labels": (None, None),
    f"{ELECTRONIC}.band_gap.*.provenance.dos.value": ("1 / joule", None),
    f"{ELECTRONIC}.band_structure_electronic.*.segment.*.kpoints": (None, None),
    f"{ELECTRONIC}.band_structure_electronic.*.reciprocal_cell": ("1 / meter", None),
    f"{_DOS}.total.value": ("1 / joule", None),
    f"{_DOS}.energies": ("eV", 1 / EV),
    "data.samples.*.reference.lab_id": (None, None),
    "data.samples.*.reference.name": (None, None),
    "data.instruments.*.reference.name": (None, None),
    "data.measurement.name": (None, None),
    "data.test_1.name": (None, None),
}


@pytest.fixture(scope="module")
def world(real_documents: list[Entry]) -> World:
    return read_world(real_documents)


@pytest.fixture(scope="module")
def nomad(real_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    with Nomad(real_url, cache_dir=tmp_path_factory.mktemp("cache")) as client:
        yield client


def asked_through(path: str) -> Asked:
    unit, factor = THROUGH[path]
    plain = path.replace(".*", "")
    typed = f"{plain} in {unit}" if factor else plain
    spec = Spec(plain_steps(path), factor=factor, leads_to_values=path in TO_QUANTITIES)
    return Asked(path, typed, spec, unit, 1e-15 if factor else 0.0)


@pytest.mark.parametrize("path", THROUGH)
def test_columns_lead_through_references(nomad: Nomad, world: World, path: str) -> None:
    """Within entries and into others; also lists of references, and references to quantities."""
    asked, reference = asked_through(path), referring_part(path, world)
    ids = [one for one, archive in world.archives.items() if holds(archive, reference)]
    assert ids
    verdict = judge(nomad.entries(Q.entry_id.isin(ids)), [asked], ids, world.expected)
    assert verdict.wrong == []


@pytest.mark.parametrize("path", THROUGH)
def test_references_that_lead_nowhere_are_told(nomad: Nomad, world: World, path: str) -> None:
    """Null, and a line in ``problems`` for just those entries; no row is lost."""
    asked, reference = asked_through(path), referring_part(path, world)
    ids = [one for one, archive in world.archives.items() if holds(archive, reference)]
    dangling = {one for one in ids if evaluate(asked.spec, one, world.archives).dangling}
    table = nomad.entries(Q.entry_id.isin(ids)).select(c0=asked.typed)
    assert [row["entry_id"] for row in table.rows()] == sorted(ids)
    told = table.problems
    assert set(told["entry_id"]) == dangling
    assert set(told["path"]) <= {path.replace(".*", ""), "c0"}
    assert told["why"].str.len().gt(20).all()


def referring_part(path: str, world: World) -> list[str]:
    """Return the part of a path with stars up to its first reference."""
    parts = path.split(".")
    for end in range(1, len(parts) + 1):
        about = world.quantities.get(".".join(parts[:end]))
        if about is not None and str(about["type"]).startswith("reference"):
            return parts[:end]
    raise AssertionError(f"{path} has no reference")


def test_the_broken_references_of_the_samples_lead_nowhere(nomad: Nomad) -> None:
    """Those of the upload ``References between ELN entries``: four rows, four nulls, four lines."""
    search = nomad.entries(Q["data.test_1"].unchecked().exists())
    table = search.select(text=Q["data.test_1"].unchecked(), name=Q["data.test_1.name"].unchecked())
    rows = list(table.rows())
    assert [row["name"] for row in rows] == [None] * 4
    assert all(row["text"].startswith("../uploads/") for row in rows)
    assert sorted(table.problems["entry_id"]) == [row["entry_id"] for row in rows]


# -- owners ------------------------------------------------------------------------------------

SOME: Final = (
    "results.material.chemical_formula_hill",
    "results.properties.geometry_optimization.energies",
    "run.*.program.name",
    "run.*.calculation.*.energy.total.value",
    "run.*.calculation.*.forces.total.value",
    "run.*.calculation.*.system_ref.atoms.labels",
    "workflow2.results.calculation_result_ref.energy.total.value",
    "data.samples.*.lab_id",
)


def test_a_login_reads_unpublished_archives_too(real_url: str, tmp_path: Path) -> None:
    """With the same values as in the files."""
    with Nomad(real_url, cache_dir=tmp_path, username=AUTHOR, password=f"{AUTHOR}-password") as author:
        visible = author.entries().select("published").to_pandas()
        world = read_world({"entry_id": entry_id} for entry_id in visible["entry_id"])
        unpublished = sorted(set(visible[~visible["published"]]["entry_id"]) & set(world.archives))
        assert unpublished
        asked = [
            Asked(
                path, path.replace(".*", ""), Spec(plain_steps(path), leads_to_values=path in TO_QUANTITIES)
            )
            for path in SOME
        ]
        verdict = judge(author.entries(Q.entry_id.isin(unpublished)), asked, unpublished, world.expected)
    assert (verdict.unselectable, verdict.values) == ([], [])
    assert verdict.n_values > 0


def test_archive_columns_of_all_entries_are_read_as_visible(nomad: Nomad, world: World) -> None:
    """Rows of entries that may not be read have nulls, and each a line in ``problems``."""
    table = nomad.entries(owner="all").select(x="run.calculation.energy.total.value", u="published")
    rows = {row["entry_id"]: row["x"] for row in table.rows()}
    hidden = set(rows) - set(world.documents)
    assert hidden
    assert all(rows[one] is None for one in hidden)
    assert hidden == set(table.problems["entry_id"])
    energies = Asked("x", "", Spec(("run", EVERY, "calculation", EVERY, "energy", "total", "value")))
    read = set(rows) & set(world.archives)
    assert [one for one in read if not same(rows[one], world.expected(energies, one))] == []
