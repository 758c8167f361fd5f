"""Zips from outside: both readers find what was written, or say why not."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomadquery.errors import DownloadTruncated, NomadError, ResponseFormatError, UnsafeContent
from nomadquery.raw.unpack import Bounds, directory, members, open_member
from tests.strategies import contents_of_zips
from tests.zips import ByHand, Dribbling, InMemory, a_zip

Contents = dict[str, bytes]
Reader = Callable[[bytes], Contents]


def forwards(data: bytes, bounds: Bounds = Bounds()) -> Contents:  # noqa: B008 # frozen
    return {member.name: member.read() for member in members(io.BytesIO(data), bounds)}


def from_its_end(data: bytes, bounds: Bounds = Bounds()) -> Contents:  # noqa: B008 # frozen
    source = InMemory(data)
    infos = [info for info in directory(source, bounds) if not info.is_folder]
    return {info.name: open_member(source, info, bounds).read() for info in infos}


both = pytest.mark.parametrize("read", [forwards, from_its_end])
How = dict[str, Any]
how_written = st.fixed_dictionaries(
    {"is_deflated": st.booleans(), "is_seekable": st.booleans(), "is_zip64": st.booleans()}
)

# -- laws ------------------------------------------------------------------------------------


@given(contents_of_zips(), how_written, st.integers(1, 100), st.binary(max_size=30))
def test_both_readers_find_what_was_written(contents: Contents, how: How, most: int, comment: bytes) -> None:
    """In its order, in whatever pieces it comes."""
    data = a_zip(contents, comment=comment, **how)
    assert from_its_end(data) == contents
    found = [(one.name, one.read()) for one in members(Dribbling(data, most))]
    assert found == list(contents.items())


@given(contents_of_zips(), how_written)
def test_known_sizes_change_nothing(contents: Contents, how: How) -> None:
    """Those of a listing: stored members are not searched for their end then."""
    sizes = {name: len(content) for name, content in contents.items()}
    found = members(io.BytesIO(a_zip(contents, **how)), sizes=sizes)
    assert {member.name: member.read() for member in found} == contents


@given(contents_of_zips(), how_written, st.data())
def test_a_cut_zip_never_looks_whole(contents: Contents, how: How, data: st.DataObject) -> None:
    """Wherever it is cut; members that came to their end before are what was written."""
    whole = a_zip(contents, **how)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    came: Contents = {}
    with pytest.raises(DownloadTruncated):
        for member in members(io.BytesIO(cut)):
            came[member.name] = member.read()
    assert came.items() <= contents.items()
    with pytest.raises(NomadError):
        from_its_end(cut)


@settings(max_examples=300)
@given(contents_of_zips(), how_written, st.data())
def test_a_flipped_bit_is_told_or_harms_nothing(contents: Contents, how: How, data: st.DataObject) -> None:
    """It may be one of a time, which is not read; never is other or less content given in silence."""
    flipped = bytearray(a_zip(contents, **how))
    place = data.draw(st.integers(0, 8 * len(flipped) - 1))
    flipped[place // 8] ^= 1 << place % 8
    for read in (forwards, from_its_end):
        try:
            found = read(bytes(flipped))
        except NomadError:
            continue
        assert found == contents


# -- as others write them ------------------------------------------------------------------------


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("form", ["<4s3L", "<4sL2Q", "<3L", "<L2Q"])
@pytest.mark.parametrize("content", [b"", b"a" * 100, b"PK\x07\x08"])
def test_every_form_of_descriptor_is_read(method: int, form: str, content: bytes) -> None:
    """With and without signature, sizes of four and of eight bytes; without, a stored size must be known."""
    data = ByHand().add(b"a", content, method=method, descriptor=form).add(b"b", b"2").whole()
    sizes = {"a": len(content)}
    found = {one.name: one.read() for one in members(io.BytesIO(data), sizes=sizes)}
    assert found == from_its_end(data) == {"a": content, "b": b"2"}


def test_a_stored_member_that_does_not_say_where_it_ends_is_refused() -> None:
    """It is told what to do."""
    data = ByHand().add(b"a", b"content", descriptor="<3L").whole()
    with pytest.raises(DownloadTruncated, match=r"'a', or does not say in a readable way.*by itself"):
        forwards(data)


@both
def test_zip64_is_read(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the zip64 end, and sizes and offsets of eight bytes in the directory; as zipfile writes them."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    contents = {"a": b"x" * 100, "b": b"y" * 1_000, "c": b""}
    data = a_zip(contents, is_seekable=False, is_zip64=True)
    assert b"PK\x06\x06" in data and b"PK\x06\x07" in data
    assert read(data) == contents


@both
@pytest.mark.parametrize("is_seekable", [True, False])
def test_contents_longer_than_a_block_are_read(read: Reader, is_seekable: bool) -> None:
    """Of three blocks and a bit, well and badly packed."""
    chance = bytes(zlib.crc32(n.to_bytes(4)) & 0xFF for n in range(1 << 12)) * (3 << 8)
    contents = {"zeros": bytes(3 << 20), "other": chance + b"the end", "small": b"."}
    for is_deflated in (True, False):
        data = a_zip(contents, is_deflated=is_deflated, is_seekable=is_seekable)
        assert read(data) == contents


@both
def test_folders_are_no_files(read: Reader) -> None:
    """They are passed over."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as written:
        written.mkdir("folder")
        written.writestr("folder/file", b"1")
        written.writestr("other/", b"")
    assert read(target.getvalue()) == {"folder/file": b"1"}


@both
def test_a_zip_of_nothing_has_no_members(read: Reader) -> None:
    assert read(a_zip({})) == {}


def test_what_is_not_read_is_checked_as_well() -> None:
    """A member that nobody looks at must be whole, too."""
    data = a_zip({"a": b"first", "b": b"second"}, is_seekable=False)
    assert [one.name for one in members(io.BytesIO(data))] == ["a", "b"]
    with pytest.raises(NomadError):
        list(members(io.BytesIO(data.replace(b"first", b"fIrst"))))


def test_a_member_may_be_left_in_the_middle() -> None:
    """The next one comes all the same, and what was left is gone on with where it was."""
    data = a_zip({"a": bytes(1 << 20), "b": b"second"}, is_seekable=False)
    coming = members(io.BytesIO(data))
    first = next(coming)
    n_bytes = len(next(first.blocks()))
    assert 0 < n_bytes < 1 << 20
    assert n_bytes + len(next(first.blocks())) == first.size_bytes
    assert next(coming).read() == b"second" and next(coming, None) is None


def test_a_zip_inside_is_a_file() -> None:
    """It is not opened, and its descriptors do not end the member."""
    inner = a_zip({"x": b"PK\x07\x08", "y": b"2"}, is_seekable=False)
    data = a_zip({"inner.zip": inner, "after": b"1"}, is_seekable=False)
    assert forwards(data) == from_its_end(data) == {"inner.zip": inner, "after": b"1"}


def test_one_member_is_read_without_the_others() -> None:
    """A few reads at the end, and its own bytes."""
    contents = {str(n): bytes([n]) * 300_000 for n in range(10)}
    source = InMemory(a_zip(contents))
    info = next(one for one in directory(source) if one.name == "5")
    assert open_member(source, info).read() == contents["5"]
    assert sum(length for _, length in source.reads) < 300_000 + (1 << 18)


def test_a_member_gives_pieces_of_any_size() -> None:
    """Its size and CRC-32 so far stand beside."""
    member = next(members(io.BytesIO(a_zip({"a": b"0123456789"}, is_seekable=False))))
    assert [member.read(3), member.read(20), member.read(3)] == [b"012", b"3456789", b""]
    assert (member.size_bytes, member.crc32) == (10, 0xA684C7C6)  # of `crc32 <(printf 0123456789)`


# -- what must never go wrong ----------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR]
)
def test_links_and_devices_are_refused(read: Reader, kind: int) -> None:
    """Their type stands in the directory alone."""
    data = ByHand().add(b"a", b"/etc/passwd", attributes=(kind | 0o777) << 16).whole()
    with pytest.raises(UnsafeContent, match=r"'a'.* is (a symbolic link|neither|a folder)"):
        read(data)


@both
@pytest.mark.parametrize("flags", [1, 1 << 6, 1 << 13])
def test_encrypted_members_are_refused(read: Reader, flags: int) -> None:
    with pytest.raises(UnsafeContent, match="'a' is encrypted"):
        read(ByHand().add(b"a", b"secret", flags=flags).whole())


@both
@pytest.mark.parametrize("method", [1, 9, 12, 14, 93])
def test_unknown_packing_is_refused(read: Reader, method: int) -> None:
    """Named by its number, with the way out."""
    with pytest.raises(UnsafeContent, match=f"method {method};.*by itself"):
        read(ByHand().add(b"a", b"1", method=method).whole())


@both
def test_two_members_of_one_name_are_refused(read: Reader) -> None:
    with pytest.raises(UnsafeContent, match="two members 'a'"):
        read(ByHand().add(b"a", b"1").add(b"a", b"2").whole())


def test_overlapping_members_are_refused() -> None:
    """Many members that are one place: the quoted bomb."""
    data = ByHand().add(b"a", b"1" * 100, flags=0).add(b"b", b"2" * 100, flags=0, offset=0).whole()
    with pytest.raises(UnsafeContent, match="overlaps"):
        directory(InMemory(data))
    with pytest.raises(UnsafeContent, match="something else of 'b'"):
        forwards(data)


@both
@pytest.mark.parametrize("other", [{"said_name": b"b"}, {"said_size": 3}, {"offset": 1}])
def test_a_directory_that_says_something_else_is_refused(read: Reader, other: dict[str, Any]) -> None:
    """Two programs would find two things in such a zip."""
    data = ByHand().add(b"a", b"12345", **other).whole()
    with pytest.raises(NomadError, match=r"trusted|damaged|overlaps"):
        read(data)


@pytest.mark.parametrize("is_listed", [True, False])
def test_content_that_poses_as_the_end_of_its_member_is_found_out(is_listed: bool) -> None:
    """Forwards it ends early and a member appears that the directory lacks; with a listing it does not."""
    pose = ByHand().add(b"a", b"harmless")
    start = len(b"PK\x03\x04") + 26 + len(b"a")
    content = bytes(pose.add(b"evil", b"hidden").data[start:])
    data = ByHand().add(b"a", content).whole()
    assert from_its_end(data) == {"a": content}
    if is_listed:
        found = members(io.BytesIO(data), sizes={"a": len(content)})
        assert {one.name: one.read() for one in found} == {"a": content}
    else:
        with pytest.raises(NomadError):
            forwards(data)


@both
def test_a_member_missing_from_the_directory_is_told(read: Reader) -> None:
    """Or one that only the directory has."""
    made = ByHand().add(b"a", b"1").add(b"b", b"2")
    del made.entries[0]
    if read is forwards:
        with pytest.raises(UnsafeContent, match="something else of 'a'"):
            read(made.whole())
    else:
        assert read(made.whole()) == {"b": b"2"}  # as if it had been deleted from the zip


@both
def test_what_comes_after_the_end_is_told(read: Reader) -> None:
    with pytest.raises(NomadError):
        read(a_zip({"a": b"1"}) + b"more")


@both
@pytest.mark.parametrize("data", [b"", b"<html>502</html>", b"PK", b"PK\x05\x06", bytes(100)])
def test_what_is_no_zip_is_told(read: Reader, data: bytes) -> None:
    with pytest.raises((ResponseFormatError, DownloadTruncated)):
        read(data)


@both
def test_a_folder_with_content_is_refused(read: Reader) -> None:
    with pytest.raises(UnsafeContent, match="folder 'a/' has content"):
        read(ByHand().add(b"a/", b"1").whole())


# -- bounds ------------------------------------------------------------------------------------------


@both
def test_a_bomb_is_stopped_before_it_fills_a_disk(read: Reader) -> None:
    """After 64 MiB, at a ratio that no text of a code has; it is told how to allow it."""
    data = a_zip({"zeros": bytes(100 << 20)}, is_deflated=True, is_seekable=False)
    with pytest.raises(UnsafeContent, match=r"Bounds\(most_ratio=…\)"):
        read(data)


def test_a_bomb_that_lies_about_its_size_is_stopped_too() -> None:
    """The directory says ten bytes; what is unpacked counts."""
    data = ByHand().add(b"a", bytes(100 << 20), method=8, said_size=10).whole()
    with pytest.raises(NomadError):
        from_its_end(data)
    n_bytes = 0
    with pytest.raises(UnsafeContent, match="most_ratio"):
        for member in members(io.BytesIO(data)):
            for block in member.blocks():
                n_bytes += len(block)
    assert n_bytes <= 65 << 20


@both
@pytest.mark.parametrize("bounds", [Bounds(most_bytes=19), Bounds(most_members=1)])
def test_bounds_are_of_all_members_together(read: Callable[..., Contents], bounds: Bounds) -> None:
    """One less than it has; the message names the bound."""
    data = a_zip({"a": bytes(10), "b": bytes(10)}, is_seekable=False)
    assert len(read(data, Bounds(most_bytes=20, most_members=2))) == 2
    with pytest.raises(UnsafeContent, match=r"most_bytes|most_members"):
        read(data, bounds)


@both
def test_bounds_can_be_widened(read: Callable[..., Contents]) -> None:
    data = a_zip({"zeros": bytes(65 << 20)}, is_deflated=True)
    assert len(read(data, Bounds(most_ratio=2_000))["zeros"]) == 65 << 20
