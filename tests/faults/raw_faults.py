"""What can go wrong with raw files on their way, by name: changes of a right answer, for any `FaultServer`.

`Proxy` over a `LocalStore` with raw files gives the right answers of all endpoints about them; its schedule
takes these, and those of `faults` (503, drip, resets) as they are::

    with Proxy(store) as proxy:
        proxy.schedule = where(proxy, "/raw/query", IN_ZIPS["cut in the directory"])
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from tests.faults.faults import Spoil
from tests.faults.proxy import Proxy
from tests.faults.server import Answer, as_json

_LOCAL_HEAD: Final = struct.Struct("<26x2H")
_END: Final = b"PK\x05\x06"
_DESCRIPTOR: Final = b"PK\x07\x08"


def _first_content(zipped: bytes) -> int:
    """Return where the content of the first member begins."""
    n_name, n_extra = _LOCAL_HEAD.unpack_from(zipped)
    return _LOCAL_HEAD.size + int(n_name) + int(n_extra)


def _directory(zipped: bytes) -> int:
    """Return where the directory begins, as the record at the end says."""
    return int.from_bytes(zipped[(end := zipped.rindex(_END)) + 16 : end + 20], "little")


def _cut(place: Callable[[bytes], int]) -> Spoil:
    return lambda answer: replace(answer, fault="cut_chunks", kept=place(answer.body))


def _changed(place: Callable[[bytes], int]) -> Spoil:
    """Return what turns one bit of a body at a place."""

    def spoil(answer: Answer) -> Answer:
        body = bytearray(answer.body)
        body[place(answer.body)] ^= 1
        return replace(answer, body=bytes(body))

    return spoil


#: Faults of a zip with at least one member that is not empty; those with "descriptor" need one that is made
#: on the way, whose sizes follow its data.
IN_ZIPS: Final[Mapping[str, Spoil]] = {
    "cut in a file": _cut(lambda zipped: _first_content(zipped) + 1),
    "cut in the directory": _cut(lambda zipped: (_directory(zipped) + len(zipped)) // 2),
    "cut before the directory": _cut(_directory),
    "cut in the last bytes": _cut(lambda zipped: len(zipped) - 1),
    "another bit in a file": _changed(_first_content),
    "another CRC in a descriptor": _changed(lambda zipped: zipped.index(_DESCRIPTOR) + 4),
    "another size in a descriptor": _changed(lambda zipped: zipped.index(_DESCRIPTOR) + 8),
}

#: Faults of a single file that nobody sees who does not know its size.
QUIETLY: Final[Mapping[str, Spoil]] = {
    "a byte less": lambda answer: replace(answer, body=answer.body[:-1]),
    "a byte more": lambda answer: replace(answer, body=answer.body + b"\n"),
    "nothing": lambda answer: replace(answer, body=b""),
}


def not_there(_: Answer) -> Answer:
    """Answer as NOMAD does for a file that an upload does not have."""
    return as_json({"detail": "Not found. Invalid path?"}, 404)


def where(proxy: Proxy, path: str, spoil: Spoil) -> Callable[[int, Answer], Answer]:
    """Return a schedule that spoils the answers to requests whose address ends so, without parameters."""
    return lambda number, answer: (
        spoil(answer) if proxy.received[number - 1].path.partition("?")[0].endswith(path) else answer
    )
