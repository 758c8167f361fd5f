"""Raw files of the demo, made from its archives when they are unpacked: nothing more is shipped.

Every calculation has its mainfile, which is the archive without what NOMAD adds to it. In the smaller uploads
it has its structure too, as extended XYZ, and as CIF that is packed by gzip, as files in uploads often are.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from nomadquery.columns.structure import Structure
from nomadquery.columns.structure_texts import cif_refusal, cif_text, extxyz_text
from nomadquery.units import convert

#: In uploads with more entries there are mainfiles only: all entries of an upload share one folder.
MOST_ENTRIES: Final = 20

_MAINFILE: Final = ".archive.json"
_DECIMALS: Final = 6  # lengths in the archives are multiples of 1e-6 Å


class _Place(msgspec.Struct):
    """Where the mainfile of an archive is."""

    upload_id: str
    mainfile: str


def mainfile_of(line: bytes) -> tuple[str, str, bytes]:
    """Return upload id, path and content of the mainfile of an archive in JSON."""
    sections = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    place = msgspec.json.decode(sections.pop("metadata"), type=_Place)
    return place.upload_id, place.mainfile, msgspec.json.encode(sections)


def structure_files(archive: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of an entry beside its mainfile, by their paths in its upload."""
    structure = _structure(archive)
    stem = archive["metadata"]["mainfile"].removesuffix(_MAINFILE)
    files = {f"{stem}.xyz": extxyz_text(structure).encode()}
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
