"""`Nomad`: one deployment, as one user."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nomadquery.entry import Entry
from nomadquery.errors import QueryError
from nomadquery.fetch.wishes import Wishes
from nomadquery.http.auth import Identity
from nomadquery.http.deployment import default_deployment, find_deployment
from nomadquery.http.endpoints import Info
from nomadquery.http.message import Request
from nomadquery.http.raw_endpoints import checked_upload_id
from nomadquery.query.listing import quantities_frame
from nomadquery.query.quantity import Q
from nomadquery.query.query import Query
from nomadquery.raw.files import choice_of
from nomadquery.rawfiles import RawFiles
from nomadquery.rawsources import raw_of_upload
from nomadquery.search import Search, make_search
from nomadquery.session import cache_folder, credentials_for, open_session

if TYPE_CHECKING:
    import pandas as pd


class Nomad:
    """A NOMAD deployment to ask. Nothing is sent until a result is wanted.

    Parameters
    ----------
    where : str or Path, optional
        ``"prod"`` (read when left out), ``"staging"``, ``"test"``, ``"demo"`` (data shipped with the
        package, no network), ``"local"`` (your own, at first empty), the address of an Oasis, or
        the folder of a local deployment.
    token : str, optional
        An access, app or personal access token.
    username, password : str, optional
        In place of a token.
    cache_dir : str or Path, optional
        Where tables are kept; else ``NOMADQUERY_CACHE_DIR``, else the user's cache folder.
    offline : bool
        Send nothing: only what is kept is given.
    progress : bool, optional
        Show progress bars; by default on a terminal and in a notebook.

    Raises
    ------
    InvalidRequest
        If ``where`` names no deployment.
    """

    def __init__(
        self,
        where: str | Path | None = None,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        cache_dir: str | Path | None = None,
        offline: bool = False,
        progress: bool | None = None,
    ) -> None:
        deployment = default_deployment() if where is None else find_deployment(where)
        credentials = credentials_for(
            deployment, os.environ, token=token, username=username, password=password
        )
        self._session = open_session(
            deployment,
            credentials=credentials,
            folder=cache_folder(cache_dir, os.environ),
            offline=offline,
            progress=progress,
        )

    @property
    def deployment(self) -> str:
        """The name of the deployment, or its address."""
        return self._session.deployment.name

    def entries(self, *criteria: Query | Mapping[str, Any], owner: str | None = None) -> Search:
        """Return the search for entries that satisfy all ``criteria``; lazy.

        Parameters
        ----------
        *criteria : Query or mapping
            Queries, or NOMAD's JSON (a ``query`` object or a whole request body); nothing: all entries.
        owner : str, optional
            ``public``, ``visible``, ``all``, ``user``, ``shared``, ``staging``, ``admin``; by default
            ``public`` without a token and ``visible`` with one.

        Raises
        ------
        QuantityNotFound
            If this deployment does not know a name, with the nearest right ones.
        QueryError
            If NOMAD would refuse or misread a criterion.
        """
        return make_search(self._session, criteria, owner)

    def entry(self, entry_id: str) -> Entry:
        """Return one entry: a mapping of its metadata (numbers in stored units), and its `Entry.archive`.

        Nothing is sent before one of them is wanted; `NotFound` is raised then if there is no such entry,
        or it may not be seen.

        Raises
        ------
        InvalidRequest
            If ``entry_id`` cannot be one.
        """
        return Entry(self._session, entry_id)

    def raw(
        self,
        upload_id: str,
        include: str | Sequence[str] = (),
        *,
        exclude: str | Sequence[str] = (),
        regex: str | None = None,
        max_size: int | str | None = None,
        progress: bool | None = None,
    ) -> RawFiles:
        """Return all raw files of an upload, also those that belong to no entry; lazy.

        The other parameters are those of `nomadquery.Search.raw`. Whatever lists the files raises `NotFound`
        if there is no such upload, and `NotPermitted` or `NotAuthenticated` if it may not be read.

        Raises
        ------
        InvalidRequest
            If ``upload_id`` cannot be one.
        """
        session = self._session
        entries = make_search(session, (Q.upload_id == checked_upload_id(upload_id),), None)
        wishes = Wishes(offline=session.offline, progress=session.progress if progress is None else progress)
        source = raw_of_upload(session, upload_id, entries._inquiry, wishes)
        return RawFiles(source, choice_of(include, exclude, regex, max_size))

    def quantities(self, like: str | None = None) -> pd.DataFrame:
        """Return what can be asked and selected: name, short, type, unit, searchable, returnable.

        ``like`` keeps names, short names included, that contain it or resemble it. Nothing is sent.
        """
        return quantities_frame(self._session.catalogue(), like)

    def info(self) -> Info:
        """Return what the deployment says about itself: ``version``, ``deployment``, ``oasis``."""
        return self._session.info()

    def whoami(self) -> Identity:
        """Return who the server takes us for, where the credentials came from, and how long they hold.

        Raises
        ------
        NotAuthenticated
            If the server does not accept them.
        """
        return self._session.identity()

    def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, json: Any = None
    ) -> Any:
        """Return the JSON answer of any endpoint that has no name here yet.

        ``path`` is below the API base. Only ``GET`` and searches (``POST …/query``) are repeated
        after failures.
        """
        verb = method.upper()
        if path.startswith(("http:", "https:")):
            raise QueryError(f"{path!r} is a whole address; give the path below the API base, as in 'info'.")
        repeatable = verb == "GET" or (verb == "POST" and path.rstrip("/").endswith("/query"))
        request = Request(
            verb,
            path.strip("/"),
            tuple((params or {}).items()),
            json=json,
            repeatable=repeatable,
            kind="account",
        )
        return self._session.send(request).json()

    def close(self) -> None:
        """Give back connections; the client may be used again."""
        self._session.transport.close()

    def __enter__(self) -> Nomad:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Nomad({self.deployment!r})"
