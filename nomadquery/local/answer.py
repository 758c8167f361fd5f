"""An answer of a local deployment whose body is made while it is sent, and its header fields.

JSON is one block; a large file or a zip never stands in memory whole. What goes wrong once a body has begun
cuts it short, as it does on a NOMAD server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

#: How much is read, and given, at a time.
BLOCK_BYTES: Final = 1 << 20

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
ZIP: Final = "application/zip"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, header fields and the blocks of a body; a generator of blocks is closed by who ends early."""

    status: int
    headers: Mapping[str, str]
    blocks: Iterable[bytes] = field(repr=False)

    def close(self) -> None:
        """Give back what the blocks that were not read would have come from."""
        close = getattr(self.blocks, "close", None)
        if close is not None:
            close()


def as_json(content: Any, status: int = 200) -> Answer:
    """Return an answer in JSON."""
    return Answer(status, {"content-type": JSON}, (msgspec.json.encode(content),))


def as_text(text: str, status: int, **headers: str) -> Answer:
    """Return an answer in plain text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "text/plain; charset=utf-8", **named}, (text.encode(),))


def attachment(name: str, media_type: str) -> dict[str, str]:
    """Return the header fields of a file to be saved under a name: in ASCII, and as it is."""
    plain = "".join(letter if " " <= letter <= "~" else "_" for letter in name)
    plain = plain.replace("\\", r"\\").replace('"', r"\"")
    return {
        "content-type": media_type,
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
    }


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        ...


def blocks_of(source: Readable, length: int = -1) -> Iterator[bytes]:
    """Yield the next ``length`` bytes of a file, or all that are left (-1), in blocks."""
    while length and (block := source.read(BLOCK_BYTES if length < 0 else min(length, BLOCK_BYTES))):
        yield block
        length = length if length < 0 else length - len(block)
