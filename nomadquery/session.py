"""What a client holds: whom it asks, as whom, at what pace, and where tables are kept."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, cast
from urllib.parse import urlsplit

import platformdirs

from nomadquery.columns.decode import read_documents
from nomadquery.columns.definitions import Declared, class_key
from nomadquery.columns.references import Home
from nomadquery.errors import CacheError, InvalidRequest, QuantityNotFound
from nomadquery.fetch.definitions import Definitions
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
from nomadquery.http.message import Reply, Request, Stream
from nomadquery.http.pace import RUNTIME_VARIABLE, Pace
from nomadquery.http.transport import RequestsWire, Transport
from nomadquery.local.demo import open_demo
from nomadquery.local.store import LocalStore
from nomadquery.local.wire import LocalWire
from nomadquery.query.catalogue import Catalogue, catalogue_for
from nomadquery.store.cache import release_note
from nomadquery.store.files import is_writable, read_json, temporary_folder, write_json
from nomadquery.store.tables import TableStore

_log = logging.getLogger(__name__)

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


def pace_folder(deployment: Deployment, environment: Mapping[str, str]) -> Path:
    """Return where processes agree on the pace at a host: ``NOMADQUERY_RUNTIME_DIR``, else the user's folder.

    Without a variable of the environment, the user's runtime folder is made, private as it must be.

    Raises
    ------
    OSError
        If there is none that is the user's own.
    """
    chosen = environment.get(RUNTIME_VARIABLE)
    if not chosen:
        with warnings.catch_warnings():  # that another folder than the usual is taken concerns nobody
            warnings.simplefilter("ignore")
            chosen = platformdirs.user_runtime_dir(_APPLICATION, appauthor=False, ensure_exists=True)
    host = urlsplit(deployment.api_base).netloc
    return Path(chosen).expanduser() / "pace" / "".join(c if c.isalnum() else "-" for c in host)


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
    local_store : LocalStore or None
        What is asked, where that is inside this process.
    """

    deployment: Deployment
    transport: Transport
    is_anonymous: bool
    folder: Path
    offline: bool = False
    progress: bool | None = None
    local_store: LocalStore | None = None
    _release: str | None = field(default=None, repr=False)
    _identity: Identity | None = field(default=None, repr=False)
    _own_folder: Path | None = field(default=None, repr=False)
    _schemas: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict, repr=False)
    _definitions: Definitions | None = field(default=None, repr=False)

    def send(self, request: Request) -> Reply:
        """Return the answer to a request.

        Raises
        ------
        CacheError
            If the client is offline.
        """
        self._check_online(request)
        return self.transport.send(request)

    @contextmanager
    def open(self, request: Request) -> Iterator[Stream]:
        """Give a successful answer to be read piece by piece; see `Transport.open`.

        Raises
        ------
        CacheError
            If the client is offline.
        """
        self._check_online(request)
        with self.transport.open(request) as stream:
            yield stream

    def release(self) -> str:
        """Return the release that runs there, as it is known; asked if it is not."""
        if self._release is None:
            kept = self._kept_release()
            self._release = self._asked_release() if kept is None else kept[0]
        return self._release

    def current_release(self) -> str:
        """Return the release that runs there now; asked once a day, kept on disk."""
        kept = self._kept_release()
        is_current = kept is not None and time.time() - kept[1] < _INFO_LASTS_S
        self._release = kept[0] if kept is not None and is_current else self._asked_release()
        return self._release

    def known_release(self) -> str | None:
        """Return the release if it is known without asking."""
        if self._release is None and (kept := self._kept_release()) is not None:
            self._release = kept[0]
        return self._release

    def state(self) -> str | None:
        """Return what changes with every write to a deployment inside this process; ``None`` elsewhere."""
        store = self.local_store
        return None if store is None else f"{store.generation} {store.count} {store.folder or ''}"

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
        if asked is not None:
            return asked
        return "public" if self.is_anonymous else "visible"

    def user(self, owner: str) -> str | None:
        """Return who asks, for what is kept; nobody in particular for public data.

        Raises
        ------
        CacheError
            Offline, if only the server could tell.
        """
        if owner == "public" or self.is_anonymous:
            return None
        if self.offline and self._identity is None:
            raise CacheError(self.missing_offline(owner))
        who = self.identity()
        return who.user_id or who.username or who.origin

    def knows_enough(self, owner: str) -> bool:
        """Return whether release and user are known without asking the server."""
        knows_user = owner == "public" or self.is_anonymous or self._identity is not None
        return knows_user and self.known_release() is not None

    def missing_offline(self, owner: str) -> str:
        """Return why, offline, nothing can be found for this owner, and what to do."""
        if self.known_release() is None:
            return (
                f"Nothing of {self.deployment.name} is kept on this machine, and offline=True forbids "
                "asking. Run the same call once without offline."
            )
        return (
            f"Tables for owner={owner!r} are kept for each user, and only the server can tell whose token "
            "this is; offline=True forbids asking. Ask for owner='public', or leave out offline=True."
        )

    def kept_store(self, key: str) -> TableStore:
        """Return the folder in which a table is, or would be, kept."""
        if self._own_folder is not None and (own := self._table_folder(self._own_folder, key)).is_dir():
            return TableStore(own)
        return TableStore(self._table_folder(self.folder, key))

    def writable_store(self, key: str) -> TableStore:
        """Return the folder to write a table to; one of this process if the cache cannot be written."""
        if self._own_folder is None and not is_writable(self.folder):
            warnings.warn(
                f"The cache folder {self.folder} cannot be written; tables are kept for this process "
                f"only. Set {CACHE_VARIABLE}, or Nomad(cache_dir=…), to a folder that can.",
                stacklevel=2,
            )
            self._own_folder = temporary_folder()
        return TableStore(self._table_folder(self._own_folder or self.folder, key))

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A search belongs to a client with its connections and cannot be pickled. Pickle the query, and "
            "build the search again: Nomad(...).entries(query).select(...)."
        )

    def schemas_of(self, name: str, owner: str) -> tuple[str, ...]:
        """Return the full names ``data.x#schema[#dtype]`` that the server knows of ``data.x``; asked once."""
        if (name, owner) not in self._schemas:
            self._schemas[name, owner] = self._asked_schemas(name, owner)
        return self._schemas[name, owner]

    def declared(self, m_def: str, home: Home, names: tuple[str, ...]) -> Declared | None:
        """Return what the class ``m_def`` of an entry declares at a path below it.

        ``m_def`` is what an archive or a name of the index calls the class. The server is asked for each
        class at most once; ``None`` where nobody knows.
        """
        if self._definitions is None:
            self._definitions = Definitions(self.send, catalogue=catalogue_for(self.release()))
        is_key = m_def.startswith("entry_id:")
        key = m_def if is_key else class_key(m_def, entry_id=home.entry_id, upload_id=home.upload_id)
        return None if key is None else self._definitions.declared(key, names)

    def _check_online(self, request: Request) -> None:
        if self.offline and not self.deployment.in_process:
            raise CacheError(f"{request} would have to be sent, and offline=True forbids it.")

    def _asked_schemas(self, name: str, owner: str) -> tuple[str, ...]:
        request = terms_query(
            {"quantities": name},
            "search_quantities.id",
            owner=cast(Owner, owner),
            size=_MOST_SCHEMAS,
            pattern=name.rpartition(".")[2],
        )
        ids = [str(bucket.value) for bucket in parse_terms(self.send(request)).buckets if bucket.n_entries]
        return tuple(self._with_dtype(one, owner) for one in ids if one.partition("#")[0] == name)

    def _with_dtype(self, quantity_id: str, owner: str) -> str:
        """Return the id of an uploaded schema's quantity with the type of its values."""
        if not quantity_id.partition("#")[2].startswith(("entry_id:", "pynxtools.nomad.schema")):
            return quantity_id
        request = entries_query(
            {"search_quantities": {"id": quantity_id}},
            owner=cast(Owner, owner),
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

    @staticmethod
    def _table_folder(cache: Path, key: str) -> Path:
        return cache / "tables" / key

    def _info_file(self) -> Path:
        return release_note(self.folder, self.deployment.api_base)

    def _kept_release(self) -> tuple[str, float] | None:
        """Return the release and when it was asked, in seconds since 1970, as far as that is kept."""
        if self.deployment.in_process:
            return self.info().release, time.time()
        try:
            noted = read_json(self._info_file())
            return None if noted is None else (str(noted["release"]), float(noted["asked_at_s"]))
        except (ValueError, KeyError, TypeError, OSError):
            return None  # a broken note only costs one request

    def _asked_release(self) -> str:
        release = self.info().release
        if is_writable(self.folder):
            content: dict[str, Any] = {"release": release, "asked_at_s": time.time()}
            try:
                write_json(self._info_file(), content)
            except CacheError as error:
                _log.debug("the release is not noted: %s", error)  # it only costs a request
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
    store: LocalStore | None = None
    folder_of_it = deployment.folder if deployment.kind == "folder" else None
    if folder_of_it is not None and not folder_of_it.parent.is_dir():
        raise InvalidRequest(
            f"There is no folder {folder_of_it.parent}, so {folder_of_it} is no local deployment. "
            "Check the path; for a new deployment make the folder first."
        )
    if deployment.in_process:
        store = open_demo(folder / "demo") if deployment.kind == "demo" else LocalStore(deployment.folder)
        transport = Transport(
            LocalWire(store, api_base=deployment.api_base), deployment, credentials=credentials
        )
    else:
        wire = RequestsWire(deployment.api_base)
        pace = Pace(lambda: pace_folder(deployment, os.environ))
        transport = Transport(wire, deployment, credentials=credentials, pace=pace)
    return Session(
        deployment=deployment,
        transport=transport,
        is_anonymous=credentials.is_anonymous,
        folder=folder,
        offline=offline,
        progress=progress,
        local_store=store,
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
