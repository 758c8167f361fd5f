"""Why so few hits? Each criterion alone and with those before it, and values that resemble the asked ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nomadquery import Q
from nomadquery.local.store import LocalStore
from nomadquery.search import Search
from tests.tables import CountedWire, a_document, a_search


@pytest.fixture
def wire() -> CountedWire:
    store = LocalStore()
    programs = ["VASP", "VASP", "exciting", "FHI-aims", "VASP"]

    def entry(number: int, program: str) -> dict[str, Any]:
        document = a_document(f"e{number}")
        document["results"]["method"] = {"simulation": {"program_name": program}}
        return document

    store.add_entries((entry(number, program), None) for number, program in enumerate(programs))
    return CountedWire(store)


@pytest.fixture
def search(wire: CountedWire, tmp_path: Path) -> Search:
    return a_search(wire, tmp_path)


def test_each_criterion_is_counted_alone_and_with_those_before_it(search: Search) -> None:
    """In the order in which they were typed."""
    narrowed = search.where(Q.gap > "1.5 eV", Q.program == "VASP", Q.n_elements == 3)
    table = narrowed.narrowing()
    assert list(table.columns) == ["criterion", "alone", "cumulative", "near"]
    assert table["criterion"].tolist() == narrowed.explain().splitlines()
    assert table[["alone", "cumulative"]].to_numpy().tolist() == [[3, 3], [3, 1], [0, 0]]


def test_near_values_are_those_that_the_server_knows(search: Search) -> None:
    """Another case, a typo, one of a list; only where nothing is found."""
    near = [
        search.where(criterion).narrowing()["near"].tolist()[0]
        for criterion in (
            Q.program == "vasp",
            Q.program == "exicting",
            Q.program.isin(["FHIaims", "VSAP"]),
            Q.program == "Gaussian",
            Q.program == "VASP",
            Q.gap > "99 eV",
        )
    ]
    assert near[:2] == ["VASP", "exciting"]
    assert set(near[2].split(", ")) == {"FHI-aims", "VASP"}
    assert near[3:] == [None, None, None]


def test_nothing_is_kept_and_few_requests_are_sent(search: Search, wire: CountedWire, tmp_path: Path) -> None:
    """Two a criterion, one for near values."""
    search.where(Q.program == "vasp", Q.n_elements == 2).narrowing()
    assert len(wire.pages) == 5
    assert not (tmp_path / "tables").exists()


def test_everything_has_no_criteria(search: Search) -> None:
    """An empty table."""
    assert search.narrowing().empty
