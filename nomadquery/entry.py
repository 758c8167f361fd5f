"""`Entry`: one entry of a deployment, its metadata and its archive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nomadquery.columns.archive import Archive
from nomadquery.errors import QueryError, ResponseFormatError
from nomadquery.fetch.wishes import Wishes
from nomadquery.http.endpoints import get_entry, parse_entry
from nomadquery.raw.files import choice_of
from nomadquery.rawfiles import RawFiles
from nomadquery.rawsources import raw_of_entry
from nomadquery.session import Session
from nomadquery.streams import RequiredWords, archive_of_entry


class Entry(Mapping[str, Any]):
    """One entry: a read-only mapping of its metadata, asked for when the first of them is wanted.

    ``entry["mainfile"]``, ``dict(entry)``; numbers in stored units, as ``GET entries/{entry_id}`` gives
    them. Whatever reads the metadata raises `NotFound` if there is no such entry, or it may not be seen.

    Attributes
    ----------
    entry_id : str
    """

    __slots__ = ("_document", "_session", "entry_id")

    def __init__(self, session: Session, entry_id: str) -> None:
        get_entry(entry_id)  # says what is wrong with it
        self.entry_id = entry_id
        self._session = session
        self._document: dict[str, Any] | None = None

    def archive(
        self, required: RequiredWords = "*", *, refresh: bool = False, offline: bool | None = None
    ) -> Archive:
        """Return the entry's archive; kept in the cache until the entry is processed again.

        Parameters
        ----------
        required : mapping or "*"
            Which parts of it, in NOMAD's own form; checked before it is sent.
        refresh : bool
            Fetch again what is kept.
        offline : bool, optional
            Give only what is kept.

        Raises
        ------
        NotFound
            If there is no such entry, or it may not be seen.
        IncompleteResult
            If the server gives no archive for it; the message has its reason.
        QueryError
            If NOMAD would refuse or misread ``required``.
        CacheError
            Offline, if it is not kept.
        """
        is_offline = self._session.offline if offline is None else offline
        if refresh and is_offline:
            raise QueryError(
                "refresh=True asks the server, and offline=True forbids it; leave one of them out."
            )
        wishes = Wishes(refresh=refresh, offline=is_offline, progress=False)
        return archive_of_entry(self._session, self.entry_id, self._fetched_anew, required, wishes)

    def raw(
        self,
        include: str | Sequence[str] = (),
        *,
        exclude: str | Sequence[str] = (),
        regex: str | None = None,
        max_size: int | str | None = None,
    ) -> RawFiles:
        """Return the entry's raw files, all that lie in the folder of its mainfile; lazy.

        The parameters are those of `nomadquery.Search.raw`.
        """
        source = raw_of_entry(self._session, self.entry_id, self._fetched_anew)
        return RawFiles(source, choice_of(include, exclude, regex, max_size))

    def __getitem__(self, name: str) -> Any:
        return self._metadata[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metadata)

    def __len__(self) -> int:
        return len(self._metadata)

    def __repr__(self) -> str:
        return f"<entry {self.entry_id} of {self._session.deployment.name}>"

    @property
    def _metadata(self) -> dict[str, Any]:
        return self._fetched_anew() if self._document is None else self._document

    def _fetched_anew(self) -> dict[str, Any]:
        """Return the metadata as they are now: they tell whether a kept archive is of today."""
        document = json.loads(bytes(parse_entry(self._session.send(get_entry(self.entry_id)))))
        if not isinstance(document, dict):
            raise ResponseFormatError(f"What the server says of entry {self.entry_id} is no JSON object.")
        self._document = document
        return document
