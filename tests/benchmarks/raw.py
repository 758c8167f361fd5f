"""Raw files for the stub: one published upload with as many as are wanted, kept on disk between runs.

Every entry has a folder of five files, the first of them its mainfile. The content is numbers as text, which
deflates to about half, and differs from file to file. A local deployment answers for them, so that listings,
zips and stored zips are what NOMAD makes of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from nomadquery.local.routes import LocalDeployment
from nomadquery.local.store import LocalStore, build_store

UPLOAD: Final = "benchmark-of-raw-files"
_NAMES: Final = ("vasprun.xml", "INCAR", "KPOINTS", "OUTCAR", "POSCAR")
_TEXT_NUMBERS: Final = 100_000


class Contents(Mapping[str, bytes]):
    """The files by their paths, each made when it is asked for."""

    def __init__(self, n_files: int, n_bytes: int) -> None:
        self._n_bytes = n_bytes
        self._places = {f"{folder(n)}/{_NAMES[n % len(_NAMES)]}": n for n in range(n_files)}

    def __getitem__(self, path: str) -> bytes:
        number = self._places[path]
        text = _text()
        start = number * 7919 % len(text)
        whole = b"%08d\n" % number + text[start:] + text * (self._n_bytes // len(text) + 1)
        return whole[: self._n_bytes]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def folder(number: int) -> str:
    """Return the folder of a file."""
    return f"run-{number // len(_NAMES):05}"


def open_raw(where: Path, n_files: int, n_bytes: int) -> LocalDeployment:
    """Return a deployment with so many files of so many bytes, made in ``where`` if it is not there."""
    place = where / f"raw-{n_files}-{n_bytes}"
    if not (place / "entries.sqlite").exists():
        build_store(place, lambda store: _fill(store, n_files, n_bytes))
    return LocalDeployment(LocalStore(place, read_only=True))


def _fill(store: LocalStore, n_files: int, n_bytes: int) -> None:
    store.add_raw_files(UPLOAD, Contents(n_files, n_bytes))
    store.add_entries((_document(number), None) for number in range(0, n_files, len(_NAMES)))


def _document(number: int) -> dict[str, Any]:
    return {
        "entry_id": f"entry-{number // len(_NAMES):05}",
        "upload_id": UPLOAD,
        "mainfile": f"{folder(number)}/{_NAMES[0]}",
        "parser_name": "parsers/vasp",
        "upload_create_time": "2026-11-28T00:00:00+00:00",
        "published": True,
        "with_embargo": False,
        "license": "CC BY 4.0",
        "main_author": {"user_id": "benchmark", "name": "benchmark"},
    }


@cache
def _text() -> bytes:
    chance = random.Random(0)
    return " ".join(f"{chance.uniform(-9, 9):.8f}" for _ in range(_TEXT_NUMBERS)).encode()
