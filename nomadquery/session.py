"""What a client holds: whom it asks, as whom, at what pace, and where tables are kept."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import platformdirs

from nomadquery.columns.decode import read_documents
from nomadquery.errors import CacheError, NomadError, QuantityNotFound
from nomadquery.http.auth import Credentials, Identity, find_credentials
from nomadquery.http.deployment import Deployment
from nomadquery.http.endpoints import (
    Info,
    Owner,
    Pagination,
    entries_query,
    info,
    parse_entries_page,
    parse_info,
    parse_terms,
    terms_query,
)
from nomadquery.http.message import Reply, Request
from nomadquery.http.pace import Pace
from nomadquery.http.transport import RequestsWire, Transport
from nomadquery.local.demo import open_demo
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from nomadquery.query.catalogue import Catalogue, catalogue_for
from nomadquery.store.files import is_writable, read_json, temporary_folder, write_json
from nomadquery.store.tables import TableStore

CACHE_VARIABLE: Final = "NOMADQUERY_CACHE_DIR"
_APPLICATION: Final = "nomadquery"
_MOST_SCHEMAS: Final = 1_000
_INFO_LASTS_S: Final = 24 * 3600
_VALUE_TYPES: Final = {
    "str_value": "str",
    "int_value": "int",
    "float_value": "float",
    "bool_value": "bool",
    "datetime_value": "datetime",
}


def cache_folder(given: str | Path | None, environment: Mapping[str, str]) -> Path:
    """Return where tables are kept: the argument, ``NOMADQUERY_CACHE_DIR``, else the user's cache folder."""
    chosen = given or environment.get(CACHE_VARIABLE) or platformdirs.user_cache_dir(_APPLICATION)
    return Path(chosen).expanduser()


def config_folder() -> Path:
    """Return where saved logins are kept."""
    return Path(platformdirs.user_config_dir(_APPLICATION))


@dataclass(slots=True)
class Session:
    """One deployment as one user; what is learned about it is remembered here.

    Attributes
    ----------
    deployment : Deployment
    transport : Transport
        The only way to it.
    is_anonymous : bool
        Whether no credentials were found.
    folder : Path
        Where tables are kept.
    offline : bool
        Whether nothing may be sent.
    progress : bool or None
        Show bars; ``None``: where somebody looks.
    """

    deployment: Deployment
    transport: Transport
    is_anonymous: bool
    folder: Path
    offline: bool = False
    progress: bool | None = None
    _release: str | None = field(default=None, repr=False)
    _identity: Identity | None = field(default=None, repr=False)
    _kept_folder: Path | None = field(default=None, repr=False)

    def send(self, request: Request) -> Reply:
        """Return the answer to a request.

        Raises
        ------
        CacheError
            If the client is offline.
        """
        if self.offline and not self.deployment.in_process:
            raise CacheError(f"{request} would have to be sent, and offline=True forbids it.")
        return self.transport.send(request)

    def release(self) -> str:
        """Return the release that runs there; asked once a day, kept on disk."""
        if self._release is None:
            self._release = self._kept_release() or self._asked_release()
        return self._release

    def known_release(self) -> str | None:
        """Return the release if it is known without asking."""
        if self._release is None:
            self._release = self._kept_release()
        return self._release

    def catalogue(self) -> Catalogue:
        """Return the quantities of that release; of all shipped ones while it is not known."""
        return catalogue_for(self.known_release())

    def info(self) -> Info:
        """Return what the deployment says about itself."""
        return parse_info(self.send(info()))

    def identity(self) -> Identity:
        """Return who the server takes us for; asked once."""
        if self._identity is None:
            self._identity = self.transport.identity()
        return self._identity

    def owner(self, asked: str | None) -> str:
        """Return the owner word: ``public`` without a token, ``visible`` with one, unless it is said."""
        return asked or ("public" if self.is_anonymous else "visible")

    def user(self, owner: str) -> str | None:
        """Return who asks, for what is kept; nobody in particular for public data."""
        if owner == "public" or self.is_anonymous:
            return None
        who = self.identity()
        return who.user_id or who.username or who.origin

    def table_store(self, key: str) -> TableStore:
        """Return the folder of a table; in a folder of this process if the cache cannot be written."""
        if self._kept_folder is None:
            self._kept_folder = self.folder
            if not is_writable(self.folder):
                warnings.warn(
                    f"The cache folder {self.folder} cannot be written; tables are kept for this process "
                    f"only. Set {CACHE_VARIABLE}, or Nomad(cache_dir=…), to a folder that can.",
                    stacklevel=2,
                )
                kept = self.folder / "tables" / key
                return TableStore(kept) if kept.is_dir() and self.offline else self._temporary(key)
        return TableStore(self._kept_folder / "tables" / key)

    def schemas_of(self, name: str) -> tuple[str, ...]:
        """Return the full names ``data.x#schema[#dtype]`` under which the server knows ``data.x``."""
        last = name.rpartition(".")[2]
        found = parse_terms(
            self.send(
                terms_query(
                    {"quantities": name},
                    "search_quantities.id",
                    owner=cast(Owner, self.owner(None)),
                    size=_MOST_SCHEMAS,
                    pattern=last,
                )
            )
        )
        ids = [str(bucket.value) for bucket in found.buckets if str(bucket.value).partition("#")[0] == name]
        return tuple(self._with_dtype(one) for one in ids)

    def _with_dtype(self, quantity_id: str) -> str:
        """Return the id of an uploaded schema's quantity with the type of its values."""
        if not quantity_id.partition("#")[2].startswith(("entry_id:", "pynxtools.nomad.schema")):
            return quantity_id
        request = entries_query(
            {"search_quantities": {"id": quantity_id}},
            owner=cast(Owner, self.owner(None)),
            pagination=Pagination(1),
            required={"include": ["search_quantities*"]},
        )
        for document in read_documents(parse_entries_page(self.send(request)).items):
            for value in document.get("search_quantities", ()):
                if value.get("id") == quantity_id:
                    dtype = next((word for key, word in _VALUE_TYPES.items() if key in value), None)
                    return f"{quantity_id}#{dtype}" if dtype else quantity_id
        raise QuantityNotFound(
            f"No visible entry has {quantity_id!r}, so its type is not known.", name=quantity_id
        )

    def _temporary(self, key: str) -> TableStore:
        self._kept_folder = temporary_folder()
        return TableStore(self._kept_folder / "tables" / key)

    def _info_file(self) -> Path:
        host = "".join(c if c.isalnum() else "-" for c in self.deployment.api_base)
        return self.folder / "deployments" / f"{host}.json"

    def _kept_release(self) -> str | None:
        if self.deployment.in_process:
            return self.info().release
        try:
            kept = read_json(self._info_file())
            fresh = kept is not None and (self.offline or time.time() - kept["asked_at_s"] < _INFO_LASTS_S)
            return str(kept["release"]) if fresh else None
        except (ValueError, KeyError, TypeError, OSError):
            return None  # a broken note only costs one request

    def _asked_release(self) -> str:
        release = self.info().release
        if is_writable(self.folder):
            content: dict[str, Any] = {"release": release, "asked_at_s": time.time()}
            try:
                write_json(self._info_file(), content)
            except NomadError as error:
                warnings.warn(str(error), stacklevel=2)
        return release


def open_session(
    deployment: Deployment,
    *,
    credentials: Credentials,
    folder: Path,
    offline: bool,
    progress: bool | None,
) -> Session:
    """Return a session; nothing is sent. Deployments inside this process are opened."""
    if deployment.in_process:
        store = open_demo(folder / "demo") if deployment.kind == "demo" else LocalStore(deployment.folder)
        transport = Transport(
            LocalWire(store, api_base=deployment.api_base), deployment, credentials=credentials
        )
    else:
        wire = RequestsWire(deployment.api_base)
        transport = Transport(wire, deployment, credentials=credentials, pace=Pace())
    return Session(
        deployment=deployment,
        transport=transport,
        is_anonymous=credentials.is_anonymous,
        folder=folder,
        offline=offline,
        progress=progress,
    )


def credentials_for(
    deployment: Deployment,
    environment: Mapping[str, str],
    *,
    token: str | None,
    username: str | None,
    password: str | None,
) -> Credentials:
    """Return the first credentials found, in the documented order; nothing is sent."""
    return find_credentials(
        deployment,
        token=token,
        username=username,
        password=password,
        environment=environment,
        working_folder=Path.cwd(),
        config_folder=config_folder(),
    )
