"""What kind of content a file has, told by how it begins; NOMAD asks libmagic, this knows the usual kinds."""

from __future__ import annotations

from typing import Final

import msgspec

#: How much of a file is looked at, here and by NOMAD.
LOOKED_AT_BYTES: Final = 2048

_BEGINNINGS: Final = (
    (b"\x1f\x8b", "application/gzip"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"BZh", "application/x-bzip2"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"<?xml", "text/xml"),
)


def media_type_of(begin: bytes) -> str:
    """Return the media type of a file that begins so."""
    if not begin:
        return "application/x-empty"
    for start, media_type in _BEGINNINGS:
        if begin.startswith(start):
            return media_type
    if begin[257:262] == b"ustar":
        return "application/x-tar"
    if b"\x00" in begin:
        return "application/octet-stream"
    return "application/json" if len(begin) < LOOKED_AT_BYTES and _is_json(begin) else "text/plain"


def _is_json(text: bytes) -> bool:
    if text[:1] not in (b"{", b"["):
        return False
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
