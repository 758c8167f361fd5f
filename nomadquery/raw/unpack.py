"""Zips from outside, read safely: forwards while they arrive, or member by member from their directory.

`members` reads a zip that is being made: sizes and CRC-32 follow the data then. NOMAD 2.0.0 sends stored
members of unknown size that way (``entries/raw/query``, with zip64 descriptors): such a member ends where a
descriptor says what was read. What content could do to look like one, the directory at the end contradicts;
with the sizes of a listing nothing is searched for at all.

`directory` and `open_member` read a stored zip from its end, over what has ``size_bytes`` and ``read_at``.

Both check CRC-32 and sizes, both are bounded by `Bounds`, and neither takes a zip that is cut for a whole
one. Refused are encrypted members, links and devices, two members of one name, members that overlap, and
a directory that says something else than the members. A zip inside a zip is a file like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from nomadquery.errors import NomadError, ResponseFormatError, UnsafeContent
from nomadquery.raw.bounds import Bounds
from nomadquery.raw.sources import RandomAccess, Readable, Slice, Source
from nomadquery.raw.zip_members import Member, Tally, checked
from nomadquery.raw.zip_records import (
    CENTRAL,
    CENTRAL_BYTES,
    END,
    END64,
    END_BYTES,
    LOCAL,
    LOCAL_BYTES,
    LOCATOR64,
    LOCATOR64_BYTES,
    End,
    Header,
    Info,
    check_same,
    contradictory,
    damaged,
    directory_entry_bytes,
    header_bytes,
    parse_directory_entry,
    parse_end,
    parse_header,
    parse_locator,
    truncated,
)

__all__ = ["Bounds", "Info", "Member", "RandomAccess", "Readable", "directory", "members", "open_member"]

#: What can stand behind the directory: the ends, and a comment of at most 65,535 bytes.
_LONGEST_END: Final = 1 << 17


def members(
    stream: Readable,
    bounds: Bounds = Bounds(),  # noqa: B008 # frozen
    *,
    sizes: Mapping[str, int] | None = None,
) -> Iterator[Member]:
    """Yield the files of a zip as they arrive; what was not read of one is skipped, and checked as well.

    After the last, the directory is read and compared with them. Folders are not given.

    Parameters
    ----------
    stream : Readable
        At the beginning of the zip.
    bounds : Bounds
        What it may unpack to.
    sizes : mapping of str to int, optional
        Sizes of members that are known from elsewhere, such as a listing.

    Raises
    ------
    DownloadTruncated
        If it ends before the end of its directory. What came to its end before is good.
    ResponseFormatError
        If it is no zip, or size or CRC-32 of a member are not what it says.
    UnsafeContent
        If it has what is refused. Where that turns out at the end (links, a directory that says something
        else), nothing of the zip is to be trusted.
    """
    source = Source(stream)
    if source.peek(4) not in {LOCAL, END, END64}:
        raise _no_zip(source.peek(16))
    n_bytes = 0
    found: dict[str, _Found] = {}
    while source.peek(4) == LOCAL:
        offset = source.position
        header = parse_header(source.take(header_bytes(source.peek(LOCAL_BYTES))))
        name = header.name
        if name in found:
            raise _twice(name)
        bounds.check_members(len(found) + 1)
        tally = Tally(bounds, source, n_bytes)
        member = Member(name, checked(source, header, tally, (sizes or {}).get(name)), tally)
        if not name.endswith("/"):
            yield member
        for _ in member.blocks():
            pass
        n_bytes += tally.size_bytes
        found[name] = _Found(header, offset, tally.said)
    _check_directory(source, found)


def directory(source: RandomAccess, bounds: Bounds = Bounds()) -> tuple[Info, ...]:  # noqa: B008 # frozen
    """Return the members of a stored zip, folders included, in the order of its directory.

    Two or three reads from the end; nothing else of the zip is touched.

    Raises
    ------
    DownloadTruncated
        If the zip does not end where it should.
    ResponseFormatError
        If its directory is damaged.
    UnsafeContent
        If it has what is refused, or unpacks to more than the bounds.
    """
    begins, end = _end_of(source)
    bounds.check_members(end.n_members)
    entries = list(_entries(Source(Slice(source, end.directory_offset, begins))))
    if len(entries) != end.n_members:
        raise damaged(f"its directory has {len(entries)} of {end.n_members} members")
    bounds.check(sum(one.size_bytes for one in entries), max(1, end.directory_offset))
    names = set[str]()
    for one in entries:
        if one.name in names:
            raise _twice(one.name)
        names.add(one.name)
    ordered = sorted(entries, key=lambda one: one.offset)
    stops = [*(one.offset for one in ordered), end.directory_offset][1:]
    placed = {one.name: _placed(one, stop) for one, stop in zip(ordered, stops, strict=True)}
    return tuple(placed[one.name] for one in entries)


def open_member(
    source: RandomAccess,
    info: Info,
    bounds: Bounds = Bounds(),  # noqa: B008 # frozen
) -> Member:
    """Return one member of a stored zip, to be read once, forwards; only its own bytes are read.

    Raises
    ------
    DownloadTruncated
        If the zip ends before its data.
    ResponseFormatError
        If there is no member where the directory says.
    UnsafeContent
        If its header says something else than the directory.
    """
    reader = Source(Slice(source, info.offset, info.end))
    header = parse_header(reader.take(header_bytes(reader.peek(LOCAL_BYTES))))
    check_same(header, info)
    if info.offset + header.n_bytes + info.packed_bytes > info.end:
        raise _overlapping(info.name)
    known = replace(
        header, crc32=info.crc32, packed_bytes=info.packed_bytes, size_bytes=info.size_bytes, flags=0
    )
    tally = Tally(bounds, reader, 0)
    return Member(info.name, checked(reader, known, tally, info.size_bytes), tally)


@dataclass(frozen=True, slots=True)
class _Found:
    """A member that was read forwards, to be compared with the directory."""

    header: Header
    offset: int
    said: tuple[int, int, int]


# -- the directory -----------------------------------------------------------------------------


def _check_directory(source: Source, found: dict[str, _Found]) -> None:
    """Read the directory, and raise unless it says of each member what was read."""
    begins, n_members = source.position, len(found)
    for info in _entries(source):
        read = found.pop(info.name, None)
        said = (info.crc32, info.packed_bytes, info.size_bytes)
        if read is None or (read.offset, read.said) != (info.offset, said):
            raise contradictory(info.name)
        check_same(read.header, info)
    ends = source.position
    end = parse_end(source.peek(_LONGEST_END), ends)
    if found:
        raise contradictory(next(iter(found)))
    if end != End(n_members, ends - begins, begins):
        raise damaged("its end says something else of its directory than was read")


def _entries(source: Source) -> Iterator[Info]:
    while source.peek(4) == CENTRAL:
        yield parse_directory_entry(source.take(directory_entry_bytes(source.peek(CENTRAL_BYTES))))


def _end_of(source: RandomAccess) -> tuple[int, End]:
    """Return where the end of a zip begins, behind its directory, and what it says."""
    n_tail = min(source.size_bytes, _LONGEST_END)
    begins = source.size_bytes - n_tail
    tail = source.read_at(begins, n_tail)
    place = tail.rfind(END)
    while place >= 0 and not _ends_here(tail, place):
        place = tail.rfind(END, 0, place)
    if place < 0:
        raise truncated()
    locator = tail[max(0, place - LOCATOR64_BYTES) : place]
    if locator.startswith(LOCATOR64) and len(locator) == LOCATOR64_BYTES:
        place = parse_locator(locator) - begins
        if not 0 <= place <= n_tail or not tail.startswith(END64, place):
            raise damaged("its end does not say where it begins")
    end = parse_end(tail[place:], begins + place)
    if end.directory_offset + end.directory_bytes != begins + place:
        raise damaged("its directory is not where its end says")
    return begins + place, end


def _ends_here(tail: bytes, place: int) -> bool:
    """Return whether what has the signature of an end reaches exactly to the end, with its comment."""
    n_comment = int.from_bytes(tail[place + END_BYTES - 2 : place + END_BYTES], "little")
    return place + END_BYTES + n_comment == len(tail)


def _placed(info: Info, stop: int) -> Info:
    """Return a member that knows where it must have ended."""
    if info.offset + LOCAL_BYTES + len(info.raw_name) + info.packed_bytes > stop:
        raise _overlapping(info.name)
    return replace(info, end=stop)


def _twice(name: str) -> UnsafeContent:
    return UnsafeContent(f"The zip has two members {name!r}. Which of them is meant cannot be known.")


def _overlapping(name: str) -> UnsafeContent:
    return UnsafeContent(f"The member {name!r} of the zip overlaps another. Nothing of it is to be trusted.")


def _no_zip(begin: bytes) -> NomadError:
    if any(signature.startswith(begin) for signature in (LOCAL, END, END64)):
        return truncated()
    return ResponseFormatError(f"This is no zip: it begins with {begin!r}.")
