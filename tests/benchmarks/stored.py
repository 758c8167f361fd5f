"""The stub's entries on disk: one file for each kind in the order of the ids, and its blocks compressed.

Entries stand one after the other, each followed by a comma, so that any stretch of a result is one
stretch of the file. Next to it lies the same in blocks of about 128 kB, each compressed by itself at level
1 (nginx' own) and ended at a byte: a page is one gzip member, as nginx sends it, of which only the edges
are compressed when it is asked for. Its checksum is put together from those at the edges of blocks.
"""

from __future__ import annotations

import hashlib
import mmap
import shutil
import struct
import tempfile
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.benchmarks import documents
from tests.benchmarks.documents import Kind, document, numbers_by_id, upload_id

_BLOCK_BYTES: Final = 128 << 10
_LEVEL: Final = 1
_GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some bytes of an open file: a part of an answer that is sent without being read."""

    file: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


Part = bytes | memoryview | Stretch


def default_folder() -> Path:
    """Return where entries are kept between runs: below the folder of temporary files, by what made them."""
    made_by = (documents.__file__, __file__)
    digest = hashlib.sha256(b"".join(Path(file).read_bytes() for file in made_by)).hexdigest()
    return Path(tempfile.gettempdir()) / f"nomadquery-benchmarks-{digest[:12]}"


@dataclass(frozen=True, slots=True)
class Entries:
    """The ids of a deployment in their order, and the upload of each."""

    ids: list[str]
    uploads: list[str]


def open_entries(n_entries: int) -> Entries:
    """Return the ids of so many entries."""
    numbers = numbers_by_id(n_entries)
    return Entries(list(numbers), [upload_id(number) for number in numbers.values()])


class Stored:
    """The JSON of all entries in one kind."""

    def __init__(self, folder: Path) -> None:
        self._offsets = _read_array(folder / "offsets", "Q")
        self._block_offsets = _read_array(folder / "block-offsets", "Q")
        self._checksums = _read_array(folder / "checksums", "I")
        self._n_block = int((folder / "block-entries").read_text())
        plain, deflated = (folder / "plain").open("rb"), (folder / "deflated").open("rb")
        self._file, self._deflated = plain, deflated
        self._bytes = memoryview(mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._deflated.close()

    def parts(self, runs: Sequence[range]) -> list[Part]:
        """Return the entries at these places, commas between them."""
        if len(runs) == 1:
            start, stop = self._stretch(runs[0])
            return [Stretch(self._file.fileno(), start, stop)]
        stretches = [self._stretch(run) for run in runs]
        return [
            self._bytes[start : stop + (number < len(runs))]  # with the comma, but for the last
            for number, (start, stop) in enumerate(stretches, 1)
        ]

    def gzipped(self, runs: Sequence[range], head: bytes, tail: bytes) -> list[Part]:
        """Return ``head``, the entries, and ``tail`` as one gzip member."""
        if len(runs) != 1 or not (blocks := self._whole_blocks(runs[0])):
            plain = b"".join((head, *(self._read(part) for part in self.parts(runs)), tail))
            return [zlib.compress(plain, _LEVEL, 31)]
        start, stop = self._stretch(runs[0])
        first, last = (self._offsets[block * self._n_block] for block in (blocks.start, blocks.stop))
        before = head + bytes(self._bytes[start:first])
        after = bytes(self._bytes[last:stop]) + tail
        inside = self._checksums[blocks.stop] ^ _shifted(self._checksums[blocks.start], last - first)
        checksum = _joined(zlib.crc32(before), inside, last - first)
        checksum = _joined(checksum, zlib.crc32(after), len(after))
        n_bytes = len(before) + last - first + len(after)
        deflated = (self._block_offsets[blocks.start], self._block_offsets[blocks.stop])
        return [
            _GZIP_HEAD + _deflated(before),
            Stretch(self._deflated.fileno(), *deflated),
            _deflated(after, is_last=True) + struct.pack("<II", checksum, n_bytes & 0xFFFFFFFF),
        ]

    def _stretch(self, run: range) -> tuple[int, int]:
        """Return where the entries of a run begin and end, without the last comma."""
        return self._offsets[run.start], self._offsets[run.stop] - 1

    def _whole_blocks(self, run: range) -> range:
        """Return the blocks inside a run; the last entry is never among them: its comma must not be sent."""
        return range(-(-run.start // self._n_block), (run.stop - 1) // self._n_block)

    def _read(self, part: Part) -> bytes | memoryview:
        return self._bytes[part.start : part.stop] if isinstance(part, Stretch) else part


def open_stored(folder: Path, kind: Kind, n_entries: int) -> Stored:
    """Return the entries of a kind, made if they are not there."""
    whole = folder / f"{kind}-{n_entries}"
    if not whole.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        begun = Path(tempfile.mkdtemp(dir=folder))
        _write(begun, (document(kind, *known) for known in numbers_by_id(n_entries).items()))
        try:
            begun.rename(whole)
        except OSError:  # somebody else has made them meanwhile
            shutil.rmtree(begun)
    return Stored(whole)


def _write(folder: Path, entries: Iterable[bytes]) -> None:
    offsets, block_offsets, checksums = array("Q", [0]), array("Q", [0]), array("I", [0])
    n_block, block, checksum = 0, [], 0
    with (folder / "plain").open("wb") as plain, (folder / "deflated").open("wb") as deflated:
        for entry in entries:
            n_block = n_block or max(1, _BLOCK_BYTES // len(entry))
            block.append(entry + b",")
            plain.write(block[-1])
            offsets.append(plain.tell())
            if len(block) == n_block:
                content = b"".join(block)
                deflated.write(_deflated(content))
                checksum = zlib.crc32(content, checksum)
                block_offsets.append(deflated.tell())
                checksums.append(checksum)
                block = []
    (folder / "offsets").write_bytes(offsets.tobytes())
    (folder / "block-offsets").write_bytes(block_offsets.tobytes())
    (folder / "checksums").write_bytes(checksums.tobytes())
    (folder / "block-entries").write_text(str(n_block))


def _read_array(file: Path, kind: str) -> Sequence[int]:
    read = array(kind)
    read.frombytes(file.read_bytes())
    return read


def _deflated(content: bytes, *, is_last: bool = False) -> bytes:
    """Return a piece of a deflate stream that refers to none before it and ends at a byte."""
    packing = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return packing.compress(content) + packing.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)


# -- checksums of joined pieces, as crc32_combine of zlib 1.2.12 (Python does not offer it) ---------------


def _joined(one: int, other: int, n_bytes: int) -> int:
    """Return the CRC-32 of two pieces from theirs; the second has ``n_bytes``."""
    return _shifted(one, n_bytes) ^ other


def _shifted(checksum: int, n_bytes: int) -> int:
    """Return what a checksum contributes to that of a piece that is ``n_bytes`` longer."""
    power, place = 1 << 31, 3
    while n_bytes:
        if n_bytes & 1:
            power = _product(_powers()[place & 31], power)
        n_bytes, place = n_bytes >> 1, place + 1
    return _product(power, checksum)


@cache
def _powers() -> list[int]:
    """Return x to the power of 2^k modulo the polynomial."""
    powers = [1 << 30]
    for _ in range(31):
        powers.append(_product(powers[-1], powers[-1]))
    return powers


def _product(one: int, other: int) -> int:
    bit, product = 1 << 31, 0
    while bit:
        if one & bit:
            product ^= other
        bit >>= 1
        other = (other >> 1) ^ 0xEDB88320 if other & 1 else other >> 1
    return product
