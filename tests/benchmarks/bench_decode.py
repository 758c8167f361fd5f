"""Decoding answers into Arrow: compiled from the columns, beside dictionaries read one by one.

Run ``python tests/benchmarks/bench_decode.py [N]``; medians of N runs (7), the two ways in turn, each
from the same bytes to one record batch, in one process.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from nomadquery.asking import DEFAULT_COLUMNS
from nomadquery.columns.compiled import Opened, archive_form, listed, read_archive
from nomadquery.columns.decode import Archives, decode, read_documents, shelved
from nomadquery.columns.plan import plan_columns, plan_per
from nomadquery.columns.planned import Per, PlannedColumn
from nomadquery.columns.references import Shelf
from nomadquery.columns.required import archive_required
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column

CATALOGUE = catalogue_for("2.0.0")
Columns = tuple[PlannedColumn, ...]


def planned(names: Sequence[str], section: str | None = None) -> tuple[Columns, Per | None]:
    """Return columns by their short names or paths."""
    per = None if section is None else plan_per(read_column(section)[0], CATALOGUE)
    columns = []
    for number, name in enumerate(names):
        path, rule, unit = read_column(name)
        columns.append(Column(f"column_{number}", path, rule, unit))
    return plan_columns(columns, CATALOGUE, per)


def a_document(number: int, chance: random.Random) -> dict[str, Any]:
    """Return a search document with the included fields; some lack a gap."""
    elements = chance.sample(["Al", "Cs", "Ga", "I", "N", "O", "Pb", "Si", "Ti"], chance.randint(1, 4))
    gaps = [
        {"index": index, "value": chance.random() * 1e-18, "type": chance.choice(["direct", "indirect"])}
        for index in range(chance.randint(0, 2))
    ]
    return {
        "entry_id": f"{number:028d}",
        "upload_create_time": f"2024-01-{1 + number % 28:02d}T03:04:05.678000+00:00",
        "results": {
            "material": {
                "chemical_formula_reduced": "".join(sorted(elements)),
                "elements": sorted(elements),
                "n_elements": len(elements),
                "symmetry": {"space_group_symbol": chance.choice(["Fm-3m", "Pm-3m", "P1"])},
            },
            "method": {"simulation": {"program_name": chance.choice(["VASP", "FHI-aims", "exciting"])}},
            "properties": {"electronic": {"band_gap": gaps}},
        },
    }


def an_archive(chance: random.Random, n_steps: int, n_atoms: int) -> dict[str, Any]:
    """Return a run with calculations of some atoms: about 1.6 kB for one step of eight."""

    def step(number: int) -> dict[str, Any]:
        forces = [[chance.gauss(0, 1e-9) for _ in range(3)] for _ in range(n_atoms)]
        energy = {"total": {"value": chance.gauss(0, 1e-17)}, "kinetic": {"value": 1e-20}}
        return {"step": number, "energy": energy, "forces": {"total": {"value": forces}}}

    method = {"program": {"name": "VASP", "version": "x" * 900 if n_steps == 1 else "6"}}
    return {"run": [{**method, "calculation": [step(number) for number in range(n_steps)]}]}


def n_rows(
    documents: Sequence[Mapping[str, Any]],
    columns: Columns,
    archives: Archives | None = None,
    per: Per | None = None,
) -> int:
    """Decode, and return how many rows that makes."""
    batch, _ = decode(documents, columns, CATALOGUE, archives=archives, per=per)
    return int(batch.num_rows)


def of_search(items: list[bytes], columns: Columns) -> dict[str, Callable[[], int]]:
    """Return the two ways for search documents."""
    return {
        "dictionaries": lambda: n_rows(read_documents(items), columns),
        "compiled": lambda: n_rows(listed(items), columns),
    }


def of_archives(items: dict[str, bytes], columns: Columns, per: Per | None) -> dict[str, Callable[[], int]]:
    """Return the two ways for archives."""
    ids = [{"entry_id": one} for one in items]

    def by_dictionaries() -> int:
        archives = shelved({one: read_archive(item) for one, item in items.items()})
        return n_rows(ids, columns, archives, per)

    def by_compiled() -> int:
        form = archive_form(archive_required(columns, CATALOGUE, per), CATALOGUE)
        archives = Archives(Opened(items, form), Shelf(), None, form.layout)
        documents = listed(b'{"entry_id": "%b"}' % one.encode() for one in items)
        return n_rows(documents, columns, archives, per)

    return {"dictionaries": by_dictionaries, "compiled": by_compiled}


def answers(n_entries: int, n_steps: int, n_atoms: int) -> dict[str, bytes]:
    """Return the JSON of archives by entry id."""
    chance = random.Random(1)
    ids = [f"{number:028d}" for number in range(n_entries)]
    made = ({"entry_id": one, "archive": an_archive(chance, n_steps, n_atoms)} for one in ids)
    return {one: json.dumps(answer).encode() for one, answer in zip(ids, made, strict=True)}


def cases() -> dict[str, tuple[int, dict[str, Callable[[], int]]]]:
    """Return what is measured: bytes, and the two ways."""
    chance = random.Random(1)
    documents = [json.dumps(a_document(number, chance)).encode() for number in range(10_000)]
    columns, _ = planned(DEFAULT_COLUMNS)
    small, long = answers(2_000, 1, 8), answers(20, 500, 20)
    both, _ = planned(("energy", "forces"))
    frames, per = planned(
        ("run.calculation.energy.total.value in eV", "run.calculation.forces.total.value"), "run.calculation"
    )
    lists, _ = planned(("run.calculation.energy.total.value in eV", "run.calculation.forces.total.value"))
    return {
        "10,000 search documents, default columns": (
            sum(map(len, documents)),
            of_search(documents, columns),
        ),
        "2,000 archives, energy and forces": (
            sum(map(len, small.values())),
            of_archives(small, both, None),
        ),
        "20 trajectories of 500 steps, a row each": (
            sum(map(len, long.values())),
            of_archives(long, frames, per),
        ),
        "20 trajectories of 500 steps, as lists": (
            sum(map(len, long.values())),
            of_archives(long, lists, None),
        ),
    }


def main(n_runs: int) -> None:
    """Print medians and their ratio for each case."""
    for case, (n_bytes, ways) in cases().items():
        took_s: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(n_runs):
            for way, run in ways.items():
                began_s = time.perf_counter()
                run()
                took_s[way].append(time.perf_counter() - began_s)
        medians = {way: statistics.median(times) for way, times in took_s.items()}
        print(f"{case} ({n_bytes / 1e6:.1f} MB)")
        for way, seconds in medians.items():
            print(f"  {way:<14}{seconds * 1e3:8.1f} ms {n_bytes / 1e6 / seconds:7.0f} MB/s")
        print(f"  ratio         {medians['dictionaries'] / medians['compiled']:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
