"""A raw file as a value: where it lies in NOMAD, and which entries it belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawFile:
    """One file of an upload, listed once however many entries share it.

    Attributes
    ----------
    upload_id : str
        The upload that it lies in.
    path : str
        In the upload, parts separated by ``/``.
    size_bytes : int
        As the server lists it.
    entry_ids : tuple of str
        The entries in whose folder it lies.
    mainfile_of : tuple of str
        Those of them whose mainfile it is.
    """

    upload_id: str
    path: str
    size_bytes: int
    entry_ids: tuple[str, ...]
    mainfile_of: tuple[str, ...]
