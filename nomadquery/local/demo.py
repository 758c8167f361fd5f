"""The demo: a read-only deployment of calculations that were made for it, shipped with the package.

``demo.jsonl.xz`` holds one NOMAD archive a line; ``tests/generate`` has the script that made
it. It is unpacked into a store once for each version of the data; its raw files are made of the
archives then (`demo_files`).
"""

from __future__ import annotations

import hashlib
import io
import logging
import lzma
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from nomadquery.errors import CacheError
from nomadquery.local.database import FILE_NAME
from nomadquery.local.demo_files import MOST_ENTRIES, mainfile_of, structure_files
from nomadquery.local.store import LocalStore, build_store

#: Counts what is made of the same data when they are unpacked: here, raw files.
_EDITION: Final = b"3"

logger = logging.getLogger(__name__)


def open_demo(cache_folder: Path | None = None) -> LocalStore:
    """Return the store of the demo, which cannot be written to.

    It is kept below ``cache_folder`` and made there if it is missing; where that cannot be, and
    without a folder, it is made in memory each time.
    """
    packed = files("nomadquery.local").joinpath("demo.jsonl.xz").read_bytes()
    if cache_folder is not None:
        folder = cache_folder / f"demo-{hashlib.sha256(packed + _EDITION).hexdigest()[:16]}"
        try:
            if not (folder / FILE_NAME).exists():
                build_store(folder, lambda store: _fill(store, packed))
                logger.info("unpacked the demo data into %s", folder)
            return LocalStore(folder, read_only=True)
        except (OSError, CacheError) as error:
            logger.warning("The demo data are unpacked in memory: %s cannot be used (%s).", folder, error)
    store = LocalStore()
    _fill(store, packed)
    store.is_read_only = True
    return store


def _fill(store: LocalStore, packed: bytes) -> None:
    files: dict[str, dict[str, bytes]] = {}
    with lzma.open(io.BytesIO(packed)) as lines:
        store.add_archive_lines(_noting_mainfiles(lines, files))
    for upload_id, entry_ids in store.uploads().items():
        if len(entry_ids) <= MOST_ENTRIES:
            for archive in filter(None, map(store.archive, entry_ids)):
                files[upload_id] |= structure_files(archive)
        store.add_raw_files(upload_id, files[upload_id])


def _noting_mainfiles(lines: Iterable[bytes], files: dict[str, dict[str, bytes]]) -> Iterator[bytes]:
    """Yield the lines, and note the mainfile of each: upload id → path → content."""
    for line in lines:
        upload_id, path, content = mainfile_of(line)
        files.setdefault(upload_id, {})[path] = content
        yield line
