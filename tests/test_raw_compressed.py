"""Compressed files are read decompressed, whole or not at all, and within bounds."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import DownloadTruncated, NomadError, ResponseFormatError, UnsafeContent
from nomadquery.raw.bounds import Bounds
from nomadquery.raw.compressed import Decompressed, suffix_of, without_suffix
from tests.zips import Dribbling

#: Suffix → how others compress.
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
suffixes = pytest.mark.parametrize("suffix", COMPRESS)
contents = st.binary(max_size=300) | st.sampled_from([b"", bytes(5_000), b"energy\n" * 300])


def pieces(data: bytes, name: str, n: int, most: int) -> bytes:
    stream = Decompressed(Dribbling(data, most), name)
    return b"".join(iter(lambda: stream.read(n), b""))


@suffixes
@given(contents, st.lists(contents, max_size=2), st.integers(1, 5_000), st.integers(1, 300))
def test_what_was_compressed_comes_back(
    suffix: str, first: bytes, others: list[bytes], n: int, most: int
) -> None:
    """In whatever pieces; files put one behind another, too."""
    data = b"".join(COMPRESS[suffix](one) for one in [first, *others])
    assert pieces(data, f"OUTCAR{suffix}", n, most) == b"".join([first, *others])


@suffixes
@given(contents, st.data())
def test_a_cut_file_never_looks_whole(suffix: str, content: bytes, data: st.DataObject) -> None:
    """Wherever it is cut, even at its very beginning."""
    whole = COMPRESS[suffix](content)
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(NomadError):
        Decompressed(io.BytesIO(cut), suffix).read()


@suffixes
def test_damage_is_told(suffix: str) -> None:
    """With what to do: a text that is called so is had as it is."""
    packed = bytearray(COMPRESS[suffix](b"energy -1.5 eV" * 100))
    packed[-5] ^= 0xFF
    for data in (bytes(packed), b"no such thing"):
        with pytest.raises(ResponseFormatError, match=r"without decompress"):
            Decompressed(io.BytesIO(data), f"a{suffix}").read()


@suffixes
def test_padding_is_passed_over(suffix: str) -> None:
    """Tapes and xz leave zeros behind."""
    assert Decompressed(io.BytesIO(COMPRESS[suffix](b"1") + bytes(8)), suffix).read() == b"1"


@suffixes
def test_a_bomb_is_stopped(suffix: str) -> None:
    """By its ratio after 64 MiB, or by bytes."""
    data = COMPRESS[suffix](bytes(80 << 20))
    with pytest.raises(UnsafeContent, match="most_ratio"):
        Decompressed(io.BytesIO(data), suffix).read()
    with pytest.raises(UnsafeContent, match="most_bytes"):
        Decompressed(io.BytesIO(data), suffix, Bounds(most_bytes=1 << 20)).read()


def test_a_dictionary_that_takes_the_memory_is_refused() -> None:
    """An xz file may ask for gigabytes."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]
    data = lzma.compress(b"1", filters=filters)
    with pytest.raises(ResponseFormatError, match=r"[Mm]emory"):
        Decompressed(io.BytesIO(data), "a.xz").read()


@pytest.mark.parametrize(
    ("name", "suffix", "held"),
    [
        ("vasprun.xml.gz", ".gz", "vasprun.xml"),
        ("OUTCAR.BZ2", ".bz2", "OUTCAR"),
        ("a/.xz", ".xz", "a/.xz"),
        ("OUTCAR", None, "OUTCAR"),
        ("a.zip", None, "a.zip"),
    ],
)
def test_the_suffix_tells(name: str, suffix: str | None, held: str) -> None:
    assert (suffix_of(name), without_suffix(name)) == (suffix, held)


def test_a_name_without_such_a_suffix_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match=r"\.gz, \.xz, \.bz2"):
        Decompressed(io.BytesIO(b""), "OUTCAR")


def test_an_empty_file_is_none_of_them() -> None:
    """It ended before its beginning."""
    with pytest.raises(DownloadTruncated):
        Decompressed(io.BytesIO(b""), "a.gz").read()
