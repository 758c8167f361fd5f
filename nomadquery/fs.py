"""Raw files by address: ``nomad://upload_id/path``, for whatever opens files through fsspec.

``pandas.read_csv("nomad://<upload_id>/data.csv")``, xarray and dask find it by its name, others take what
``fsspec.open(address)`` gives. Only the bytes that are needed travel, nothing can be written.
``storage_options={"where": …}`` names another deployment than the usual one, as for `Nomad`.

Credentials are those that `Nomad` finds (``NOMADQUERY_TOKEN``, a saved login). They are no storage option:
fsspec keeps and shows these, and sends them to workers.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, NoReturn, cast

from fsspec.spec import AbstractFileSystem

from nomadquery.errors import NotFound, NotSupported, QueryError
from nomadquery.http.deployment import default_deployment, find_deployment
from nomadquery.http.message import Reply, Request
from nomadquery.http.raw_endpoints import FolderItem, parse_upload_folder, parse_upload_place, upload_folder
from nomadquery.raw.remote import RemoteFile, opened
from nomadquery.session import Session, cache_folder, credentials_for, open_session

Info = dict[str, Any]

_SECRET: Final = frozenset({"token", "username", "password"})


class NomadFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The raw files of a deployment as a file system, uploads being its folders; see `fsspec`.

    Folders that were listed are remembered, as fsspec does it: ``fs.invalidate_cache()`` forgets them.

    Parameters
    ----------
    where : str or Path, optional
        The deployment, as for `Nomad`.
    **storage_options
        Of fsspec.

    Raises
    ------
    QueryError
        If a token or password is among them.
    """

    protocol: ClassVar[str] = "nomad"
    root_marker: ClassVar[str] = ""

    def __init__(self, where: str | Path | None = None, **storage_options: Any) -> None:
        if _SECRET & storage_options.keys():
            raise QueryError(
                "Credentials are no storage option: fsspec keeps and shows these. Set NOMADQUERY_TOKEN, "
                "or use `nomadquery login`."
            )
        super().__init__(where=where, **storage_options)
        self._where = where
        self._session: Session | None = None

    def ls(self, path: str, detail: bool = True, refresh: bool = False, **_: Any) -> list[Any]:
        """Return what lies in a folder (or the one file), by name or with details.

        Details are ``name`` (with the upload), ``size`` in bytes, ``type`` (``"file"``, ``"directory"``) and
        ``entry_id`` where it is a mainfile.

        Raises
        ------
        FileNotFoundError
            If there is no such upload or path, or it may not be seen.
        NotPermitted, NotAuthenticated
            If it is another's, or embargoed.
        """
        path = self._strip_protocol(path)
        known = None if refresh else self.dircache.get(path)
        found = self._listed(path) if known is None else known
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **_: Any) -> Info:
        """Return the details of one file or folder, in one request unless they are known; see `ls`."""
        path = self._strip_protocol(path)
        for known in self.dircache.get(self._parent(path), ()):
            if known["name"] == path:
                return cast(Info, known)
        found = self._listed(path)
        if len(found) == 1 and found[0]["name"] == path:
            return found[0]
        return {"name": path, "size": sum(one["size"] for one in found), "type": "directory"}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return a file, or the bytes from ``start`` to ``end`` (negative: from its end), no others."""
        file = self._file(path)
        begin, stop, _step = slice(start, end).indices(file.size_bytes)
        with _as_python_says(path):
            return file.read_at(begin, max(0, stop - begin))

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            _refuse()
        return cast(BinaryIO, opened(self._file(path), path))

    def _file(self, path: str) -> RemoteFile:
        known = self.info(path)
        if known["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        upload_id, inner = _split(known["name"])
        return RemoteFile(self._send, upload_id, inner, known["size"])

    def _listed(self, path: str) -> list[Info]:
        """Ask for what lies at a place; of a folder, all of it."""
        upload_id, inner = _split(path)
        with _as_python_says(path):
            place = parse_upload_place(self._send(upload_folder(upload_id, inner)))
            if isinstance(place, FolderItem):
                return [_details(self._parent(path), place)]
            items = list(place.items)
            while place.next_after is not None:
                request = upload_folder(upload_id, inner, after=place.next_after)
                place = parse_upload_folder(self._send(request))
                items += place.items
        found = [_details(path, item) for item in items]
        self.dircache[path] = found
        return found

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget what was listed, of a folder or of all."""
        if path is None:
            self.dircache.clear()
        else:
            self.dircache.pop(self._strip_protocol(path), None)
        super().invalidate_cache(path)

    def _send(self, request: Request) -> Reply:
        if self._session is None:
            deployment = default_deployment() if self._where is None else find_deployment(self._where)
            credentials = credentials_for(deployment, os.environ, token=None, username=None, password=None)
            self._session = open_session(
                deployment,
                credentials=credentials,
                folder=cache_folder(None, os.environ),
                offline=False,
                progress=None,
            )
        return self._session.send(request)

    # -- what it does not do: the methods of fsspec that change something

    def mkdir(self, *_: Any, **__: Any) -> NoReturn:
        """Raise `NotSupported`."""
        _refuse()

    makedirs = rmdir = rm_file = cp_file = touch = mkdir


def _split(path: str) -> tuple[str, str]:
    """Return upload id and path in the upload."""
    upload_id, _, inner = path.partition("/")
    if not upload_id:
        raise FileNotFoundError(
            errno.ENOENT, "Uploads are not listed here; name one: nomad://<upload_id>/<path>", "nomad://"
        )
    return upload_id, inner


def _details(folder: str, item: FolderItem) -> Info:
    details: Info = {
        "name": f"{folder}/{item.name}",
        "size": item.size,
        "type": "file" if item.is_file else "directory",
    }
    return details if item.entry_id is None else {**details, "entry_id": item.entry_id}


@contextmanager
def _as_python_says(path: str) -> Iterator[None]:
    """Raise what file systems raise where nothing is there: fsspec and its users expect that class."""
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(errno.ENOENT, str(error), path) from error


def _refuse() -> NoReturn:
    raise NotSupported(
        "Raw files cannot be changed by address: nomad:// is opened to be read, with mode 'rb'."
    )
