"""A zip that is made while it is sent: no length is known beforehand, and nothing stands in memory.

Sizes and CRC-32 follow each member (data descriptors, in zip64), as in the zips that NOMAD makes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from nomadquery.local.answer import Readable, blocks_of

#: A name in the zip, and what opens the content.
Member = tuple[str, AbstractContextManager[Readable]]

_LEVEL: Final = 9


def zipped(members: Iterable[Member], *, compress: bool) -> Iterator[bytes]:
    """Yield the bytes of a zip, its members deflated or stored."""
    outlet = _Outlet()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(outlet, "w", kind, compresslevel=_LEVEL) as target:
        for name, content in members:
            with content as source, target.open(name, "w", force_zip64=True) as written:
                for block in blocks_of(source):
                    written.write(block)
                    yield from outlet.taken()
            yield from outlet.taken()
    yield from outlet.taken()


def in_memory(content: bytes) -> AbstractContextManager[Readable]:
    """Return what opens bytes as a member."""
    return io.BytesIO(content)


class _Outlet(io.RawIOBase):
    """Takes what the zip writer writes until it is sent; cannot seek, so that descriptors are written."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self._blocks.append(bytes(block))
        return len(self._blocks[-1])

    def taken(self) -> Iterator[bytes]:
        """Yield what was written since, as one block."""
        written, self._blocks = b"".join(self._blocks), []
        if written:
            yield written
