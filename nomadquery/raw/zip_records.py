"""The records of a zip file as values: headers, descriptors, directory and end, zip64 included; pure.

After PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 to 4.5. Only what both readers of `raw/unpack` can read safely
is let through: stored and deflated members that are files or folders, in one archive, not encrypted.
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from typing import Final

from nomadquery.errors import DownloadTruncated, ResponseFormatError, UnsafeContent

LOCAL: Final = b"PK\x03\x04"
DESCRIPTOR: Final = b"PK\x07\x08"
CENTRAL: Final = b"PK\x01\x02"
END64: Final = b"PK\x06\x06"
LOCATOR64: Final = b"PK\x06\x07"
END: Final = b"PK\x05\x06"

STORED: Final = 0
DEFLATED: Final = 8

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_END: Final = struct.Struct("<4s4H2LH")
LOCAL_BYTES: Final = _LOCAL.size
CENTRAL_BYTES: Final = _CENTRAL.size
END64_BYTES: Final = _END64.size
LOCATOR64_BYTES: Final = _LOCATOR64.size
END_BYTES: Final = _END.size

#: Descriptors as they are written: with signature or without, with sizes of four or of eight bytes.
DESCRIPTORS: Final = (
    (DESCRIPTOR, struct.Struct("<3L")),
    (DESCRIPTOR, struct.Struct("<L2Q")),
    (b"", struct.Struct("<3L")),
    (b"", struct.Struct("<L2Q")),
)
LONGEST_DESCRIPTOR: Final = 24

_ENCRYPTED: Final = 1 << 0 | 1 << 6 | 1 << 13
_PATCHED: Final = 1 << 5
_FOLLOWED: Final = 1 << 3
_UTF8: Final = 1 << 11
#: Flags that must be the same in a member's header and in the directory: those that change what it says.
_MEANING: Final = _ENCRYPTED | _PATCHED | _FOLLOWED | _UTF8

_IN_ZIP64: Final = 0xFFFFFFFF
_COUNT_IN_ZIP64: Final = 0xFFFF
_ZIP64: Final = 1
_UNIX: Final = 3


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the data of a member. Sizes and CRC-32 are 0 where they follow the data.

    Attributes
    ----------
    n_bytes : int
        Of the header itself, name and extra fields included.
    is_zip64 : bool
        Whether sizes are said in eight bytes.
    """

    raw_name: bytes
    flags: int
    method: int
    crc32: int
    packed_bytes: int
    size_bytes: int
    n_bytes: int

    @property
    def follows(self) -> bool:
        """Whether a descriptor with CRC-32 and sizes comes after the data."""
        return bool(self.flags & _FOLLOWED)

    @property
    def name(self) -> str:
        """The name as it stands there, from outside."""
        return _text(self.raw_name, self.flags)


@dataclass(frozen=True, slots=True)
class Info:
    """What the directory of a zip says about a member.

    Attributes
    ----------
    name : str
        As it stands there, from outside: see `raw/names`. Folders end in ``/``.
    size_bytes, packed_bytes : int
        Unpacked, and in the zip.
    crc32 : int
        Of the unpacked bytes.
    offset : int
        Where its header begins.
    end : int
        Where it must have ended: the next member or the directory begins there.
    """

    name: str
    size_bytes: int
    packed_bytes: int
    crc32: int
    offset: int
    method: int
    flags: int
    raw_name: bytes
    end: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, which has no content."""
        return self.raw_name.endswith(b"/")


@dataclass(frozen=True, slots=True)
class End:
    """What the end of a zip says about its directory."""

    n_members: int
    directory_bytes: int
    directory_offset: int


def parse_header(data: bytes) -> Header:
    """Return the header that ``data`` begins with; it may be longer.

    Raises
    ------
    DownloadTruncated
        If it is not whole.
    ResponseFormatError
        If it is none.
    UnsafeContent
        If it is of a member that is not read.
    """
    _check_whole(data, LOCAL_BYTES)
    fields = _LOCAL.unpack_from(data)
    _, _, flags, method, _, _, crc32, packed, size, n_name, _ = fields
    n_bytes = header_bytes(data)
    _check_whole(data, n_bytes)
    raw_name = data[LOCAL_BYTES : LOCAL_BYTES + n_name]
    _check_readable(raw_name, flags, method)
    zip64 = _zip64_of(data[LOCAL_BYTES + n_name : n_bytes])
    if zip64 is not None:
        size, packed = _wide(zip64, (size, packed))
    return Header(raw_name, flags, method, crc32, packed, size, n_bytes)


def header_bytes(data: bytes) -> int:
    """Return how many bytes a header has, from its first `LOCAL_BYTES`."""
    _check_whole(data, LOCAL_BYTES)
    signature, *_, n_name, n_extra = _LOCAL.unpack_from(data)
    if signature != LOCAL:
        raise damaged("a member does not begin with a header")
    return LOCAL_BYTES + int(n_name) + int(n_extra)


def directory_entry_bytes(data: bytes) -> int:
    """Return how many bytes an entry of the directory has, from its first `CENTRAL_BYTES`."""
    _check_whole(data, CENTRAL_BYTES)
    fields = _CENTRAL.unpack_from(data)
    if fields[0] != CENTRAL:
        raise damaged("its directory has something else among its entries")
    return CENTRAL_BYTES + int(fields[10]) + int(fields[11]) + int(fields[12])


def parse_directory_entry(data: bytes) -> Info:
    """Return what one whole entry of the directory says; ``data`` is exactly that.

    Raises
    ------
    ResponseFormatError
        If it contradicts itself.
    UnsafeContent
        If it is of a member that is not read: encrypted, a link, a device, packed in another way.
    """
    fields = _CENTRAL.unpack_from(data)
    _, made, _, flags, method, _, _, crc32, packed, size, n_name, n_extra, _, disk, _, attributes, offset = (
        fields
    )
    raw_name = data[CENTRAL_BYTES : CENTRAL_BYTES + n_name]
    _check_readable(raw_name, flags, method)
    _check_regular(raw_name, made >> 8, attributes)
    zip64 = _zip64_of(data[CENTRAL_BYTES + n_name : CENTRAL_BYTES + n_name + n_extra])
    if zip64 is not None:
        size, packed, offset = _wide(zip64, (size, packed, offset))
    if disk not in {0, _COUNT_IN_ZIP64}:
        raise UnsafeContent("It is a part of a zip in several parts, which is not read.")
    info = Info(_text(raw_name, flags), size, packed, crc32, offset, method, flags, raw_name)
    if info.is_folder and (size or crc32):
        raise UnsafeContent(f"The folder {info.name!r} has content. Nothing of this zip is to be trusted.")
    if method == STORED and size != packed:
        raise damaged(f"{info.name!r} is stored as it is, in another size")
    return info


def parse_end(data: bytes, offset: int) -> End:
    """Return what the end of a zip says; ``data`` begins behind its directory, at ``offset`` of the zip.

    Raises
    ------
    DownloadTruncated
        If it is not whole.
    ResponseFormatError
        If anything comes after it, or it contradicts itself.
    """
    rest, wide = data, None
    if rest.startswith(END64):
        _check_whole(rest, END64_BYTES + LOCATOR64_BYTES)
        _, n_bytes, _, _, disk, start_disk, here, total, size, start = _END64.unpack_from(rest)
        wide = End(total, size, start)
        after = 12 + n_bytes
        _check_whole(rest, after + LOCATOR64_BYTES)
        signature, end_disk, end64_offset, n_disks = _LOCATOR64.unpack_from(rest, after)
        if signature != LOCATOR64 or end64_offset != offset:
            raise damaged("its end does not say where it begins")
        if disk or start_disk or end_disk or n_disks > 1 or here != total:
            raise UnsafeContent("It is a part of a zip in several parts, which is not read.")
        rest = rest[after + LOCATOR64_BYTES :]
    _check_whole(rest, END_BYTES)
    signature, disk, start_disk, here, total, size, start, n_comment = _END.unpack_from(rest)
    if signature != END:
        raise damaged("its directory has something else behind it")
    _check_whole(rest, END_BYTES + n_comment)
    if len(rest) > END_BYTES + n_comment:
        raise damaged("something comes after its end")
    narrow = (total, size, start)
    if wide is not None:
        _check_same_end(wide, narrow)
        return wide
    if disk or start_disk or here != total:
        raise UnsafeContent("It is a part of a zip in several parts, which is not read.")
    return End(*narrow)


def parse_locator(data: bytes) -> int:
    """Return where the zip64 end begins, from the whole locator that points to it."""
    return int(_LOCATOR64.unpack(data)[2])


def check_same(header: Header, info: Info) -> None:
    """Raise if a member's header says something else than the directory.

    Raises
    ------
    UnsafeContent
        If so: two readers would then find two things.
    """
    sizes = (header.crc32, header.packed_bytes, header.size_bytes)
    is_said = not header.follows or any(sizes)
    differs = is_said and sizes != (info.crc32, info.packed_bytes, info.size_bytes)
    differs |= (header.raw_name, header.method) != (info.raw_name, info.method)
    differs |= header.flags & _MEANING != info.flags & _MEANING
    if differs:
        raise contradictory(info.name)


def contradictory(name: str) -> UnsafeContent:
    """Return the error for a zip whose directory says something else than its members."""
    return UnsafeContent(
        f"The directory of the zip says something else of {name!r} than the member itself. It is damaged, or "
        "made to be read in two ways: nothing of it is to be trusted."
    )


def damaged(what: str) -> ResponseFormatError:
    """Return the error for a zip that is not as it was made."""
    return ResponseFormatError(f"The zip is damaged: {what}. Ask for it again.")


def truncated() -> DownloadTruncated:
    """Return the error for a zip that ends before its end."""
    return DownloadTruncated(
        "The zip ended before its end. Members that came whole are good; ask for the rest."
    )


def _check_whole(data: bytes, n_bytes: int) -> None:
    if len(data) < n_bytes:
        raise truncated()


def _check_readable(raw_name: bytes, flags: int, method: int) -> None:
    name = _text(raw_name, flags)
    if flags & _ENCRYPTED:
        raise UnsafeContent(f"{name!r} is encrypted, and is not read. Ask its authors for it.")
    if flags & _PATCHED or method not in {STORED, DEFLATED}:
        raise UnsafeContent(
            f"{name!r} is packed by method {method}; only stored (0) and deflated (8) members are read. "
            "Fetch the file by itself."
        )


def _check_regular(raw_name: bytes, made_on: int, attributes: int) -> None:
    """Raise if a member is neither file nor folder; who made it says how its attributes are meant."""
    kind = stat.S_IFMT(attributes >> 16) if made_on == _UNIX else 0
    expected = stat.S_IFDIR if raw_name.endswith(b"/") else stat.S_IFREG
    # 0: not said. Python's zipfile makes files whose type is not said, too.
    if kind not in {0, expected}:
        words = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder without the name of one"}
        raise UnsafeContent(
            f"The member {_text(raw_name, 0)!r} of the zip is {words.get(kind, 'neither file nor folder')}, "
            "and is not written."
        )


def _check_same_end(wide: End, narrow: tuple[int, int, int]) -> None:
    said = zip((wide.n_members, wide.directory_bytes, wide.directory_offset), narrow, strict=True)
    unsaid = (_COUNT_IN_ZIP64, _IN_ZIP64, _IN_ZIP64)
    if any(short not in {long, none} for (long, short), none in zip(said, unsaid, strict=True)):
        raise damaged("its two ends contradict one another")


def _text(raw_name: bytes, flags: int) -> str:
    """Return a name, in the encoding that the flags tell."""
    if not flags & _UTF8:
        return raw_name.decode("cp437")
    try:
        return raw_name.decode()
    except UnicodeDecodeError as error:
        raise damaged(f"the name {raw_name!r} is not the UTF-8 that it says it is") from error


def _zip64_of(extra: bytes) -> bytes | None:
    """Return the zip64 field among the extra fields."""
    while len(extra) >= 4:
        kind, n_bytes = struct.unpack_from("<2H", extra)
        if kind == _ZIP64:
            if len(extra) < 4 + n_bytes:
                raise damaged("an extra field is cut")
            return extra[4 : 4 + n_bytes]
        extra = extra[4 + n_bytes :]
    return None


def _wide(zip64: bytes, values: tuple[int, ...]) -> list[int]:
    """Return values, those that four bytes cannot hold from the zip64 field, where they stand in order."""
    found, at = [], 0
    for value in values:
        if value == _IN_ZIP64:
            if len(zip64) < at + 8:
                raise damaged("a size is not said")
            found.append(int.from_bytes(zip64[at : at + 8], "little"))
            at += 8
        else:
            found.append(value)
    return found
