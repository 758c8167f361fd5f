"""What the references of one archive lead to: asked for when somebody goes there, and then at hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nomadquery.columns.extract import Declares, Document
from nomadquery.columns.references import (
    Dangling,
    Home,
    Reference,
    Shelf,
    Tree,
    Wish,
    parse_reference,
    selected_position,
)
from nomadquery.query.catalogue import Catalogue

_MOST_ROUNDS: Final = 16
_MOST_REFERENCES: Final = 8
_NO_WAY: Final = "it lies outside of this archive, which has no connection to its deployment any more"


@dataclass(frozen=True, slots=True)
class Found:
    """What a deployment gave of other archives.

    Attributes
    ----------
    places : mapping
        Upload id and mainfile → entry id, ``None`` where there is no such entry.
    parts : sequence of (entry id, what was asked, what was given)
    refused : mapping
        Entry id → why its archive could not be had.
    """

    places: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    parts: Sequence[tuple[str, Tree | Literal["*"], Mapping[str, Any]]] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


#: Asks for parts of archives: of one whose mainfile alone is known, at first its id.
Fetch = Callable[[Collection[Wish]], Found]


@dataclass(frozen=True, slots=True)
class Target:
    """What a reference leads to: its value, whose archive it stands in, and at which names there."""

    value: Any
    home: Home
    names: tuple[str, ...]


class Reach:
    """The archives that can be read from one of them.

    Parameters
    ----------
    home : Home
        Whose archive it is.
    content : mapping
        That archive.
    required : mapping or "*"
        What was asked of it.
    catalogue : Catalogue
    declares : callable, optional
        Tells the units that custom schemas declare.
    fetch : callable, optional
        Asks for other archives, and for what ``required`` left out; nothing is asked without it.
    """

    def __init__(
        self,
        home: Home,
        content: Mapping[str, Any],
        required: Mapping[str, Any] | Literal["*"],
        catalogue: Catalogue,
        *,
        declares: Declares | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        self.home = home
        self.catalogue = catalogue
        self._declares = declares
        self._fetch = fetch
        self._places: dict[tuple[str, str], str | None] = {}
        self._shelf = Shelf()
        self._shelf.put(home.entry_id, as_tree(required), content)

    def document(self, content: Mapping[str, Any]) -> Document:
        """Return what columns are read from: ``content`` is the archive, or its metadata."""
        return Document(content, self.home, self._shelf, self._declares)

    def goes_on(self) -> bool:
        """Ask for what was looked for and is not at hand; return whether something was asked."""
        wishes, self._shelf.wishes = self._shelf.wishes, set()
        if not wishes or self._fetch is None:
            return False
        found = self._fetch(wishes)
        for (upload_id, mainfile), entry_id in found.places.items():
            self._places[upload_id, mainfile] = entry_id
            self._shelf.place(upload_id, mainfile, entry_id)
        for entry_id, tree, content in found.parts:
            self._shelf.put(entry_id, tree, content)
        for entry_id, why in found.refused.items():
            self._shelf.refuse(entry_id, why)
        return True

    def target(self, text: str, home: Home) -> Target | Dangling:
        """Return what the reference ``text`` in the archive of ``home`` leads to, or why to nothing."""
        seen: set[tuple[str, Home]] = set()
        names: tuple[str, ...] = ()
        value: Any = text
        while isinstance(value, str) and (reference := parse_reference(value)) is not None:
            if (value, home) in seen or len(seen) == _MOST_REFERENCES:
                return Dangling("it leads in a circle")
            seen.add((value, home))
            found = self._looked_up(reference, home)
            if isinstance(found, Dangling):
                return found
            value, home, names = found, self._home_of(reference, home), reference.names
        return Target(value, home, names)

    def _looked_up(self, reference: Reference, home: Home) -> Any:
        for _ in range(_MOST_ROUNDS):
            found = self._shelf.look_up(reference, home, ((),))
            if found is not None:
                return found
            if not self.goes_on():
                break
        return Dangling(_NO_WAY)

    def _home_of(self, reference: Reference, home: Home) -> Home:
        upload_id = reference.upload_id or home.upload_id
        if reference.mainfile is not None:
            return Home(self._places.get((upload_id, reference.mainfile)) or "", upload_id)
        return Home(reference.entry_id or home.entry_id, upload_id)


def as_tree(required: Mapping[str, Any] | str) -> Tree | Literal["*"]:
    """Return of a checked ``required`` what it surely brings whole, in the form of our own.

    Slices, wildcards and what is left out count as not asked for: it may be asked for again.
    """
    if isinstance(required, str):
        return "*"
    tree: Tree = {}
    for key, wanted in required.items():
        name, _ = selected_position(key.strip())
        is_plain = name.replace("_", "").replace("-", "").isalnum()
        if is_plain and wanted != "exclude" and not isinstance(wanted, bool):
            tree[key.strip()] = as_tree(wanted)
    return tree
