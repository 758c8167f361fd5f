"""Columns that make no sense are refused before anything is sent; what nobody has is null."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import pytest

from nomadquery import Nomad, Q
from nomadquery.errors import NomadError, QueryError, UnitError

EV: Final = Fraction("1.602176634e-19")  # joule; exact, SI 2019
#: An author of the samples who has unpublished entries.
AUTHOR: Final = "hlindqvist"


@pytest.fixture(scope="module")
def nomad(real_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nomad]:
    with Nomad(real_url, cache_dir=tmp_path_factory.mktemp("cache")) as client:
        yield client


class CountingWire:
    """Passes requests on and counts them."""

    def __init__(self, wire: Any) -> None:
        self._wire = wire
        self.n_sent = 0

    def exchange(self, request: Any, headers: Any) -> Any:
        self.n_sent += 1
        return self._wire.exchange(request, headers)

    def open(self, request: Any, headers: Any) -> Any:
        self.n_sent += 1
        return self._wire.open(request, headers)

    def close(self) -> None:
        self._wire.close()


@pytest.fixture
def wire(nomad: Nomad) -> Iterator[CountingWire]:
    """Count what the client sends; it knows the release of the server beforehand."""
    nomad.info()
    nomad.entries().select("formula")
    transport = nomad._session.transport
    own = transport._wire
    counting = CountingWire(own)
    transport._wire = counting
    yield counting
    transport._wire = own


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        (["run.calculation.enrgy.total.value"], NomadError, "energy"),
        (["results.material.chemical_formula_reduced.last()"], QueryError, "last"),
        (["run[0].calculation[-1].energy.total.value.min()"], QueryError, "min"),
        (["run[0].program.name.size()"], QueryError, "size"),
        (["run.program.name.mean()"], QueryError, "number"),
        (["run.calculation.energy.total.value in kg"], UnitError, "kg"),
        (["run.calculation.energy.total.value.count() in eV"], UnitError, "count"),
        (["run.program.name in eV"], UnitError, "unit"),
        (["run[0].program[0].name"], QueryError, "program"),
        (["run.calculation.energy.total.value[0]"], QueryError, "dimension"),
        (["formula", "formula"], QueryError, "formula"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    nomad: Nomad, wire: CountingWire, columns: list[str], error: type[Exception], words: str
) -> None:
    """With the word that says what is wrong."""
    with pytest.raises(error, match=words):
        nomad.entries().select(*columns)
    assert wire.n_sent == 0


@pytest.mark.parametrize("section", ["run.program", "results.material", "workflow2"])
def test_rows_per_a_section_that_does_not_repeat_are_refused(
    nomad: Nomad, wire: CountingWire, section: str
) -> None:
    """There would be one row for each entry anyway."""
    with pytest.raises(QueryError, match="repeat"):
        nomad.entries().per(section).select("run.program.name")
    assert wire.n_sent == 0


def test_a_path_that_no_entry_has_is_refused_or_null(nomad: Nomad) -> None:
    """Unknown names are refused; a known one that nobody uses, and one past the check, are null."""
    with pytest.raises(NomadError, match="nothing_like_this"):
        nomad.entries().select("data.nothing_like_this").to_pandas()
    known, past = "run.calculation.energy.madelung.value.last()", Q["data.nothing_like_this"].unchecked()
    frame = nomad.entries().limit(20).select(known=known, past=past, formula="formula").to_pandas()
    assert len(frame) == 20
    assert frame["past"].isna().all()
    assert frame["known"].isna().all()


def test_selecting_only_indexed_columns_asks_for_no_archive(nomad: Nomad) -> None:
    """Whatever the rules and positions."""
    transport = nomad._session.transport
    own, paths = transport._wire, []

    class Watching(CountingWire):
        def exchange(self, request: Any, headers: Any) -> Any:
            paths.append(request.path)
            return super().exchange(request, headers)

    transport._wire = Watching(own)
    try:
        gap = Q.results.properties.electronic.band_gap
        nomad.entries().select("formula", "gap", first=gap[0].value, d=Q.datasets.doi).to_pandas(refresh=True)
    finally:
        transport._wire = own
    assert paths.count("entries/query") <= 3
    assert not [path for path in paths if "archive" in path]
