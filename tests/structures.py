"""Two real archives, read by plain JSON, and a textbook crystal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from nomadquery.columns.structure import Structure
from nomadquery.local.store import LocalStore
from nomadquery.search import Search
from tests.tables import CountedWire, a_document, a_search

EV: Final = 1.602176634e-19  # joule; SI 2019
ANGSTROM: Final = 1e-10  # metre
CASTEP: Final = "8_gEX-noJ-QmFOD3ArZa4uE0DrAo"
VASP: Final = "LslxUfgbIVEfLT0eICA_u_i3M8QS"
#: A cube of 5 Å.
LATTICE: Final = [[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]]
_DATA: Final = Path(__file__).parent / "data" / "structure-archives.json"

A_SILICON: Final = 5.431  # Å, lattice parameter of silicon at room temperature
_SITES: Final = (
    *((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)),
    *((0.25, 0.25, 0.25), (0.25, 0.75, 0.75), (0.75, 0.25, 0.75), (0.75, 0.75, 0.25)),
)


def archives() -> dict[str, Any]:
    """Return entry id → archive, numbers in SI."""
    found: dict[str, Any] = json.loads(_DATA.read_text())["archives"]
    return found


def a_search_of(folder: Path, found: dict[str, Any]) -> Search:
    """Return a search over a NOMAD that holds the archives."""
    store = LocalStore()
    store.add_entries([(a_document(name, results=one["results"]), one) for name, one in found.items()])
    return a_search(CountedWire(store), folder / "cache")


def silicon(**more: Any) -> Structure:
    """Return the diamond structure's cubic cell with eight atoms."""
    a = A_SILICON
    return Structure(
        entry_id="silicon",
        symbols=("Si",) * 8,
        positions=[[a * x for x in site] for site in _SITES],
        cell=[[a, 0.0, 0.0], [0.0, a, 0.0], [0.0, 0.0, a]],
        pbc=(True, True, True),
        **{"info": {"entry_id": "silicon"}, **more},
    )


def a_frame(n: int = 0, **more: Any) -> dict[str, Any]:
    """Return the row of one calculation of two atoms."""
    return {
        "entry_id": "e",
        "run": 0,
        "calculation": n,
        "labels": ["Ti", "O"],
        "positions": [[0.0, 0.0, 0.0], [0.0, 0.0, 1.9]],
        "cell": LATTICE,
        "periodic": [True, True, True],
        "energy": -1.0,
        "forces": None,
        "stress": None,
        "program_name": "VASP",
        **more,
    }
