"""Every path of the sample archives as a column, beside an independent reading of the archive files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings

from nomadquery import Nomad, Q
from nomadquery.errors import QueryError
from tests.archive_oracle import EVERY, FACTORS, Spec, evaluate
from tests.real.archive_judge import (
    FILLED_IN,
    Asked,
    Entry,
    Verdict,
    World,
    holds,
    judge,
    read_world,
)
from tests.strategies import columns_of_entries

EV: Final = Fraction("1.602176634e-19")  # joule; exact, SI 2019
ROOTS: Final = ("data", "definitions", "metadata", "results", "run", "workflow2")
#: How many columns are fetched together: so many that all of them take few minutes.
COLUMNS_IN_A_TABLE: Final = {
    "data": 270,
    "run": 125,
    **dict.fromkeys(("definitions", "metadata", "results", "workflow2"), 40),
}


@pytest.fixture(scope="module")
def world(real_documents: list[Entry]) -> World:
    found = read_world(real_documents)
    assert len(found.archives) > 300
    return found


@pytest.fixture(scope="module")
def nomad(real_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    with Nomad(real_url, cache_dir=tmp_path_factory.mktemp("cache")) as client:
        yield client


@pytest.fixture(scope="module")
def verdict_of(nomad: Nomad, world: World) -> Callable[[str], Verdict]:
    """Give the verdict on all paths below a root; each is fetched once."""
    found: dict[str, Verdict] = {}

    def verdict(root: str) -> Verdict:
        if root not in found:
            having = sorted(one for one, archive in world.archives.items() if archive.get(root))
            found[root] = judged_in_parts(nomad, world, root, having)
        return found[root]

    return verdict


def judged_in_parts(nomad: Nomad, world: World, root: str, ids: list[str]) -> Verdict:
    whole, paths, width = Verdict(), world.paths(root), COLUMNS_IN_A_TABLE[root]
    for start in range(0, len(paths), width):
        asked = [world.asked(path) for path in paths[start : start + width]]
        whole += judge(nomad.entries(Q.entry_id.isin(ids)), asked, ids, world.expected)
    return whole


@pytest.mark.parametrize("root", ROOTS)
def test_every_path_can_be_selected(verdict_of: Callable[[str], Verdict], root: str) -> None:
    """Every path that occurs in an archive."""
    assert verdict_of(root).unselectable == []


@pytest.mark.parametrize("root", ROOTS)
def test_every_value_is_that_of_the_archive_file(verdict_of: Callable[[str], Verdict], root: str) -> None:
    """For every entry that has something below the root; nulls and list levels included."""
    verdict = verdict_of(root)
    assert verdict.n_values > 0
    assert verdict.values == []


@pytest.mark.parametrize("root", ROOTS)
def test_every_unit_is_the_declared_one(verdict_of: Callable[[str], Verdict], root: str) -> None:
    """That of the schema, also of custom schemas."""
    assert verdict_of(root).units == []


def test_drawn_columns_are_those_of_the_archive_files(nomad: Nomad, world: World) -> None:
    """At least 500 pairs of a path and an entry that has it: positions, slices, rules and units."""
    known = [path for root in ("results", "run", "workflow2", "data") for path in world.paths(root)]
    plain = [path for path in known if path not in FILLED_IN and isinstance(world.typed(path), str)]
    occurring = {
        entry_id: [path for path in plain if holds(archive, path.split("."))]
        for entry_id, archive in world.archives.items()
    }
    about = {path: {**world.quantities[path], "unit": world.unit_of(path)} for path in plain}
    compared: set[tuple[str, str]] = set()

    # a verdict names path and entry: nothing is gained by asking the server for a smaller example
    @settings(max_examples=25, deadline=None, phases=[Phase.generate])
    @given(columns_of_entries({one: has for one, has in occurring.items() if has}, about, FACTORS))
    def drawn(
        question: tuple[list[str], list[tuple[str, str, tuple[Any, ...], str | None, str | None]]],
    ) -> None:
        ids, columns = question
        asked = [world.asked_as(*column) for column in columns]
        verdict = judge(nomad.entries(Q.entry_id.isin(ids)), asked, ids, world.expected)
        assert verdict.wrong == []
        compared.update(
            (path, one) for path, *_ in columns for one in ids if holds(world.archives[one], path.split("."))
        )

    drawn()
    assert len(compared) >= 500


# -- what the issue names ----------------------------------------------------------------------


def test_the_gap_of_the_band_structure_is_taken_by_its_label(nomad: Nomad) -> None:
    """0.586 eV in entry ``p-PHyCUdSNLVdUoGj8NWIff_yfPc``, whose density of states gives 0."""
    gap = Q.results.properties.electronic.band_gap
    bands = gap[Q.provenance.label == "band_structure"].value.min().to("eV")
    text = 'results.properties.electronic.band_gap[provenance.label == "band_structure"].value.min() in eV'
    table = nomad.entries(Q.entry_id == "p-PHyCUdSNLVdUoGj8NWIff_yfPc").select(
        bands=bands, same=text, least=gap.value.min().to("eV")
    )
    (row,) = table.rows()
    assert (round(row["bands"], 3), round(row["same"], 3), row["least"]) == (0.586, 0.586, 0.0)


def test_runs_that_end_with_another_step_give_their_last_total_energy(nomad: Nomad, world: World) -> None:
    """Seven of the public samples, one of them with a calculation of multipoles at the end."""
    steps = ("run", -1, "calculation", EVERY, "energy", "total", "value")
    typed = Q.run[-1].calculation.energy.total.value.last().to("eV")
    energy = Asked("energy", typed, Spec(steps, "last", 1 / EV), "eV", 1e-15)
    last = Spec(("run", -1, "calculation", -1, "energy", "total", "value"))
    ids = [
        one
        for one in world.archives
        if evaluate(last, one, world.archives).value is None and world.expected(energy, one) is not None
    ]
    assert len(ids) == 7
    verdict = judge(nomad.entries(Q.entry_id.isin(ids)), [energy], ids, world.expected)
    assert (verdict.wrong, verdict.n_values) == ([], 7)


def test_the_path_of_old_examples_is_refused_with_its_successor(nomad: Nomad) -> None:
    """``workflow`` gave way to ``workflow2``."""
    with pytest.raises(QueryError, match="workflow2"):
        nomad.entries().select("workflow.calculation_result_ref.system_ref.atoms.positions")
