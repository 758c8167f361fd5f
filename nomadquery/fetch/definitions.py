"""Ask a server how classes are defined that the shipped tables lack, each class at most once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec

from nomadquery.columns.definitions import (
    ClassDefinition,
    Declared,
    Missing,
    declared,
    split_key,
)
from nomadquery.columns.schemas import parse_definitions, parse_json_schema, shipped_definition
from nomadquery.errors import NotSupported, RequestRefused, ServerFailure
from nomadquery.http.endpoints import (
    Pagination,
    archive_query,
    get_schema,
    parse_entries_page,
    parse_schema,
)
from nomadquery.http.message import Reply, Request
from nomadquery.query.catalogue import Catalogue

_log = logging.getLogger(__name__)

#: The last shipped release without ``GET schemas/<class>``.
_WITHOUT_SCHEMAS: Final = "1.3.17"
_ENTRY: Final = "entry_id:"


class Definitions:
    """What the classes of one deployment declare, as far as it has been asked for.

    May be used by several threads.

    Parameters
    ----------
    send : callable
        Sends a request and returns its whole, successful answer.
    catalogue : Catalogue
        Of the release that the server runs. Where the server describes no classes (1.3, a local
        deployment) or not this one, the shipped tables tell of NOMAD's own classes.
    """

    def __init__(self, send: Callable[[Request], Reply], *, catalogue: Catalogue) -> None:
        self._send = send
        self._sections = catalogue.sections
        self._has_schemas = catalogue.release != _WITHOUT_SCHEMAS
        self._known: dict[str, ClassDefinition] = {}
        self._lock = threading.Lock()

    def declared(self, class_name: str, names: tuple[str, ...]) -> Declared | None:
        """Return what a class declares at a path below it, ``None`` if nobody knows.

        Parameters
        ----------
        class_name : str
            The key of the class (`columns.definitions.class_key`, `class_of_index_name`).
        names : tuple of str
            Names without positions; references on the way are followed.

        Raises
        ------
        TransportError
            If the server cannot be reached. What it refuses to tell is just not known.
        """
        with self._lock:
            while True:
                found = declared(self._known, class_name, names)
                if not isinstance(found, Missing):
                    return found
                self._learn(found.class_name)

    def _learn(self, key: str) -> None:
        """Ask for a definition; one that nobody has is remembered as empty."""
        owner, _ = split_key(key)
        found = self._of_entry(owner) if owner else self._of_package(key)
        self._known |= {name: one for name, one in found.items() if name not in self._known}
        self._known.setdefault(key, shipped_definition(self._sections, key) or ClassDefinition(key))

    def _of_package(self, class_name: str) -> dict[str, ClassDefinition]:
        if not self._has_schemas:
            return {}
        try:
            return parse_json_schema(parse_schema(self._send(get_schema(class_name))))
        except NotSupported:
            self._has_schemas = False
        except (RequestRefused, ServerFailure) as error:
            _accept(error, class_name)
        return {}

    def _of_entry(self, owner: str) -> dict[str, ClassDefinition]:
        """Return the classes that an entry defines, under the names that ``owner`` gives them too."""
        if owner.startswith(_ENTRY):
            query = {"entry_id": owner.removeprefix(_ENTRY)}
        else:
            upload_id, _, mainfile = owner.partition(":")[2].partition("/")
            query = {"upload_id": upload_id, "mainfile": mainfile}
        request = archive_query(
            query, owner="visible", pagination=Pagination(1), required={"definitions": "*"}
        )
        try:
            page = parse_entries_page(self._send(request))
        except (RequestRefused, ServerFailure) as error:
            _accept(error, owner)
            return {}
        found: dict[str, ClassDefinition] = {}
        for item in page.items:
            found |= _defined_in(item, owner)
        return found


def _defined_in(item: msgspec.Raw, owner: str) -> dict[str, ClassDefinition]:
    entry: dict[str, Any] | None = msgspec.json.decode(item)
    definitions = ((entry or {}).get("archive") or {}).get("definitions")
    if entry is None or not definitions:
        return {}
    found = parse_definitions(definitions, entry_id=entry["entry_id"], upload_id=entry["upload_id"])
    if owner.startswith(_ENTRY):
        return found
    places = {split_key(key)[1]: one for key, one in found.items()}
    return found | {f"{owner}#{place}": one for place, one in places.items()}


def _accept(error: RequestRefused | ServerFailure, what: str) -> None:
    """Let pass that the server does not tell; raise if it was only overloaded."""
    if isinstance(error, ServerFailure) and error.status != 500:
        raise error
    _log.debug("No definition of %s: %s", what, error)
