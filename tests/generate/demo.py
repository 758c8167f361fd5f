"""Make the demo data of nomadquery: a few thousand real but cheap calculations, written as NOMAD archives.

Run in an environment with ``ase``, ``tblite``, ``spglib`` (see ``REQUIREMENTS``), from anywhere::

    python tests/generate/demo.py --tables FOLDER [--only emt/crystals …] [-o FILE]

``FOLDER`` holds NOMAD's quantity tables (``archive-quantities.json``, ``search-quantities-2.0.0.json``),
against which every archive is checked. It takes about 15 minutes. The same versions on the same kind of
machine give the same bytes.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # the order of sums, hence the last digits, must not depend on threads

import argparse
import json
import lzma
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import demo_emt
import demo_emt_cells
import demo_xtb
import demo_xtb_crystals
from demo_archive import archive_of
from demo_entry import Calculation
from demo_schema import Schema

REQUIREMENTS = ("ase==3.29.0", "tblite==0.8.0", "spglib==2.8.0", "numpy==2.4.6")
TARGET = Path(__file__).parents[2] / "nomadquery" / "local" / "demo.jsonl.xz"
ENERGY_DIGITS = 9
DIGITS = 7
LENGTH_DECIMALS = 16  # positions and lattice vectors: multiples of 1e-16 m, that is 1e-6 Å
_ENERGIES = {
    "energy",
    "energies",
    "fitted_energies",
    "equilibrium_energy",
    "energy_highest_occupied",
    "energy_lowest_unoccupied",
}
_LENGTHS = {"positions", "lattice_vectors"}
KINDS: dict[str, Callable[[], Iterator[Calculation]]] = {
    "emt/crystals": demo_emt.bulk_crystals,
    "emt/heuslers": demo_emt.heuslers,
    "emt/displaced": demo_emt_cells.displaced_supercells,
    "emt/solutions": demo_emt_cells.solid_solutions,
    "emt/defects": demo_emt_cells.point_defects,
    "emt/surfaces": demo_emt_cells.surfaces,
    "emt/clusters": demo_emt_cells.clusters,
    "xtb/molecules": demo_xtb.molecules,
    "xtb/dimers": demo_xtb.dimers,
    "xtb/crystals": demo_xtb_crystals.crystal_gaps,
}


def rounded(value: Any, key: str = "") -> Any:
    """Return the value with its floats rounded to what is shipped: ``key`` decides and is inherited."""
    if isinstance(value, float):
        if key in _LENGTHS:
            return round(value, LENGTH_DECIMALS) + 0.0
        digits = ENERGY_DIGITS if key in _ENERGIES else DIGITS
        return float(f"{value:.{digits - 1}e}") + 0.0
    if isinstance(value, list):
        return [rounded(item, key) for item in value]
    if isinstance(value, dict):
        return {name: rounded(item, key if key in _ENERGIES else name) for name, item in value.items()}
    return value


def archives(kinds: list[str], schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield the checked archives of all calculations of the given kinds, in the order they are made."""
    uploads: dict[str, int] = {}
    for kind in kinds:
        started, n_entries = time.monotonic(), 0
        for calculation in KINDS[kind]():
            entry_number = uploads[calculation.upload] = uploads.get(calculation.upload, -1) + 1
            upload_number = list(uploads).index(calculation.upload)
            archive = rounded(archive_of(calculation, upload_number=upload_number, entry_number=entry_number))
            schema.check(archive)
            quantities, sections, n_quantities = schema.names_of(archive)
            archive["metadata"] |= {
                "n_quantities": n_quantities,
                "quantities": quantities,
                "sections": sections,
            }
            n_entries += 1
            if n_entries % 100 == 0:
                print(
                    f"{kind}: {n_entries} entries, {time.monotonic() - started:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
            yield archive
        print(f"{kind}: {n_entries} entries, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def write(lines: list[str], target: Path) -> None:
    """Write the lines, xz-compressed; a half-written file never stands under the target name."""
    data = lzma.compress("".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)
    neighbour = target.with_suffix(".part")
    neighbour.write_bytes(data)
    neighbour.replace(target)
    print(f"{target}: {len(lines)} entries, {len(data)} bytes", file=sys.stderr)


def main() -> None:
    """Make the entries that are asked for and write them, sorted by entry_id."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, required=True, help="folder with NOMAD's quantity tables")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS), help="kinds to make")
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    options = parser.parse_args()
    entries = {}
    for archive in archives(options.only, Schema(options.tables)):
        entries[archive["metadata"]["entry_id"]] = (
            json.dumps(archive, separators=(",", ":"), allow_nan=False) + "\n"
        )
    write([entries[entry_id] for entry_id in sorted(entries)], options.output)


if __name__ == "__main__":
    main()
