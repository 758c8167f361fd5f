"""JSON of entries → objects that hold the wanted names only, by decoders compiled from these names.

A section is one struct, with the fields of all its variants, and reads like a mapping, so that
`extract` and everything else that says what a path means works on it as on a dictionary. Values of
quantities, references and whatever the schema does not know stay as JSON says them. An entry that is
built otherwise than the schema says, or holds numbers that JSON has not, becomes a dictionary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

import msgspec

from nomadquery.columns.planned import Per, PlannedColumn
from nomadquery.columns.references import Tree, ask, selected_position
from nomadquery.errors import ResponseFormatError
from nomadquery.query.catalogue import Catalogue

Json = bytes | msgspec.Raw


class Section(msgspec.Struct, gc=False, eq=False):
    """A section of an entry, a read-only mapping of the compiled names that have a value in it.

    Null is absent. Structs are not tracked by the garbage collector: they hold no circles.
    """

    fields: ClassVar[Mapping[str, str]] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value at a name, ``default`` where there is none."""
        field = self.fields.get(name)
        value = None if field is None else getattr(self, field)
        return default if value is None else value

    def __getitem__(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return (name for name, field in self.fields.items() if getattr(self, field) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> list[str]:
        """Return the names that have a value."""
        return list(self)

    def items(self) -> list[tuple[str, Any]]:
        """Return the names that have a value, each with it."""
        return [(name, self.get(name)) for name in self]

    def values(self) -> list[Any]:
        """Return the values."""
        return [self.get(name) for name in self]

    def __repr__(self) -> str:
        return repr(dict(self.items()))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name of a section is kept.

    Attributes
    ----------
    field : str
        The struct's field.
    number : int
        Which one of its fields.
    below : Layout or None
        The section that stands there; ``None``: a value as JSON says it.
    repeats : bool
        Whether it is a list of these sections.
    """

    field: str
    number: int
    below: Layout | None = None
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one section, and the struct that holds them."""

    places: Mapping[str, Place]
    kind: type[Section]

    def at(self, names: Iterable[str]) -> Layout | None:
        """Return the section that stands some names below, ``None`` where none is known."""
        layout: Layout | None = self
        for name in names:
            place = None if layout is None else layout.places.get(name)
            layout = None if place is None else place.below
        return layout


@dataclass(frozen=True, slots=True)
class Form:
    """A compiled decoder of entries.

    Attributes
    ----------
    layout : Layout
        Of what is read: the search document, or the archive.
    """

    layout: Layout
    _decoder: msgspec.json.Decoder[Any]
    _is_of_archives: bool

    def read(self, item: Json) -> Mapping[str, Any]:
        """Return the search document or the archive of a listed entry: a `Section`, or a dictionary."""
        try:
            found = self._decoder.decode(item)
        except msgspec.DecodeError:
            whole = read_document(item)
            return _archive_in(whole) if self._is_of_archives else whole
        content = found.archive if self._is_of_archives else found
        return {} if content is None else cast(Mapping[str, Any], content)


class Listed(msgspec.Struct, gc=False, eq=False):
    """An entry of an answer, not looked into yet: a mapping of its ids.

    Attributes
    ----------
    entry_id : str
    upload_id : str
        Empty where the answer does not say it.
    item : bytes or msgspec.Raw
        Its JSON.
    processed, edited : str or None
        When NOMAD processed the entry last, and when its metadata were edited, as the answer says it.
    """

    entry_id: str
    upload_id: str
    item: Json
    processed: str | None = None
    edited: str | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """Return one of the ids, ``default`` for any other name."""
        return getattr(self, name) if name in _IDS else default

    def __getitem__(self, name: str) -> Any:
        if name not in _IDS:
            raise KeyError(name)
        return getattr(self, name)


#: An entry as it is read: not looked into yet, or a document.
Entry = Listed | Mapping[str, Any]

Mapping.register(Section)
Mapping.register(Listed)


class Opened(Mapping[str, Mapping[str, Any]]):
    """Archives by entry id, still as JSON; one is decoded whenever it is looked at, and not kept."""

    __slots__ = ("_form", "_items")

    def __init__(self, items: Mapping[str, Json], form: Form) -> None:
        self._items, self._form = items, form

    def __getitem__(self, entry_id: str) -> Mapping[str, Any]:
        return self._form.read(self._items[entry_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self._items

    def n_bytes(self, entry_id: str) -> int:
        """Return the size of an entry's JSON, 0 where it is not there."""
        item = self._items.get(entry_id)
        return 0 if item is None else memoryview(item).nbytes


def listed(items: Iterable[Json]) -> list[Listed]:
    """Return the entries in their order, each as `Listed`: a mapping of its ids.

    Raises
    ------
    ResponseFormatError
        If one is not a JSON object with an ``entry_id``.
    """
    entries: list[Listed] = []
    for item in items:
        try:
            ids = _DECODER_OF_IDS.decode(item)
        except msgspec.DecodeError:
            whole = read_document(item)
            ids = Ids(whole["entry_id"], *map(whole.get, Ids.__struct_fields__[1:]))
        times = (ids.last_processing_time, ids.last_edit_time)
        entries.append(Listed(ids.entry_id, str(ids.upload_id or ""), item, *map(_text, times)))
    return entries


def read_document(item: Json) -> Mapping[str, Any]:
    """Return an entry as a dictionary, with everything it has.

    Raises
    ------
    ResponseFormatError
        If it is not a JSON object with an ``entry_id``.
    """
    try:
        document = msgspec.json.decode(item)
    except msgspec.DecodeError:
        document = json.loads(bytes(item))  # NaN and Infinity, which some codes leave behind
    if not isinstance(document, dict) or not isinstance(document.get("entry_id"), str):
        raise ResponseFormatError("An entry of the answer has no entry_id, so its row could not be named.")
    return document


def read_archive(item: Json) -> Mapping[str, Any]:
    """Return the archive of an entry as a dictionary, with everything it has; empty where there is none.

    Raises
    ------
    ResponseFormatError
        If it is not a JSON object with an ``entry_id``.
    """
    return _archive_in(read_document(item))


def search_form(columns: Iterable[PlannedColumn], catalogue: Catalogue, per: Per | None = None) -> Form:
    """Return the decoder of search documents for the columns that are read from them."""
    tree: Tree = {"entry_id": "*", "upload_id": "*"}
    for column in columns:
        if column.schema is not None:
            ask(tree, ("search_quantities",))
        if column.source == "search":
            for name in (column.quantity, *column.filter_quantities()):
                ask(tree, name.split("."))
    if per is not None and per.source == "search":
        branch: Any = tree
        for name in per.section.split("."):
            branch = "*" if branch == "*" else branch.setdefault(name, {})
    layout = _layout(tree, "", catalogue)
    return Form(layout, msgspec.json.Decoder(layout.kind), False)


def archive_form(tree: Tree, catalogue: Catalogue) -> Form:
    """Return the decoder of archives for which ``tree`` was required."""
    layout = _layout(tree, "", catalogue)
    answer = msgspec.defstruct("answer", [("archive", layout.kind | None, None)], gc=False, eq=False)
    return Form(layout, msgspec.json.Decoder(answer), True)


class Ids(msgspec.Struct, gc=False, eq=False):
    """What identifies an entry, and the times that pin it."""

    entry_id: str
    upload_id: Any = None
    last_processing_time: Any = None
    last_edit_time: Any = None


_IDS: Final = ("entry_id", "upload_id")
_DECODER_OF_IDS: Final = msgspec.json.Decoder(Ids)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _archive_in(document: Mapping[str, Any]) -> Mapping[str, Any]:
    archive = document.get("archive")
    return archive if isinstance(archive, dict) else {}


def _layout(tree: Tree, section: str, catalogue: Catalogue) -> Layout:
    """Return the struct for the names of ``tree``, which stands at ``section``.

    A field's own name would clash with Python's words, with methods, or be no identifier at all.
    """
    tree = {selected_position(key)[0]: below for key, below in tree.items()}
    places: dict[str, Place] = {}
    types: list[tuple[str, Any, Any]] = []
    for number, name in enumerate(dict.fromkeys((*tree, "m_def"))):
        place = _place(number, tree.get(name, "*"), f"{section}.{name}".lstrip("."), catalogue)
        places[name] = place
        types.append((place.field, _type_of(place), None))
    fields = {name: place.field for name, place in places.items()}
    kind = msgspec.defstruct(
        section or "entry",
        types,
        bases=(Section,),
        namespace={"fields": fields},
        rename={field: name for name, field in fields.items()},
        gc=False,
        eq=False,
    )
    return Layout(places, cast(type[Section], kind))


def _place(number: int, below: Any, section: str, catalogue: Catalogue) -> Place:
    """Return where a name is kept: as a struct only if the schema is sure that a section stands there."""
    known = None if below == "*" else catalogue.find(section)
    if known is None or known.kind != "section" or known.target is not None:
        return Place(f"field_{number}", number)
    layout = _layout(below, section, catalogue)
    return Place(f"field_{number}", number, layout, section in known.repeats)


def _type_of(place: Place) -> Any:
    if place.below is None:
        return Any
    kind = place.below.kind
    return list[kind | None] | None if place.repeats else kind | None  # type: ignore[valid-type]  # made at run time
