"""Raw files of the demo's smaller uploads, made from their archives when they are unpacked.

For each calculation: its mainfile, which is the archive without what NOMAD adds to it; its structure as
extended XYZ; and the same as CIF, packed by gzip as files in uploads often are.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from nomadquery.columns.structure import Structure
from nomadquery.columns.structure_texts import cif_refusal, cif_text, extxyz_text
from nomadquery.units import convert

#: Uploads with more entries have no raw files: all entries of an upload share one folder.
MOST_ENTRIES: Final = 20

_MAINFILE: Final = ".archive.json"
_DECIMALS: Final = 6  # lengths in the archives are multiples of 1e-6 Å


def files_of(archive: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the raw files of an entry by their paths in its upload."""
    mainfile: str = archive["metadata"]["mainfile"]
    content = {name: section for name, section in archive.items() if name != "metadata"}
    structure = _structure(archive)
    stem = mainfile.removesuffix(_MAINFILE)
    files = {
        mainfile: msgspec.json.format(msgspec.json.encode(content), indent=1),
        f"{stem}.xyz": extxyz_text(structure).encode(),
    }
    if cif_refusal(structure) is None:
        files[f"{stem}.cif.gz"] = gzip.compress(cif_text(structure).encode(), mtime=0)
    return files


def _structure(archive: Mapping[str, Any]) -> Structure:
    """Return the last structure of an entry, with its energy."""
    run = archive["run"][0]
    atoms = run["system"][-1]["atoms"]
    energy = run["calculation"][-1]["energy"]["total"]["value"]
    metadata = archive["metadata"]
    return Structure(
        entry_id=metadata["entry_id"],
        symbols=tuple(atoms["labels"]),
        positions=_angstrom(atoms["positions"]),
        cell=_angstrom(atoms["lattice_vectors"]) if "lattice_vectors" in atoms else None,
        pbc=tuple(atoms.get("periodic", (False, False, False))),
        energy=convert(energy, "joule", "eV"),
        info={"entry_id": metadata["entry_id"], "program_name": run["program"]["name"]},
    )


def _angstrom(rows: Any) -> list[list[float]]:
    return [[round(convert(x, "meter", "angstrom"), _DECIMALS) for x in row] for row in rows]
