"""Archive ``required``: which parts of an archive are returned, with the rules of nomad-lab 2.0.0.

Properties are looked up in the schema of their section, so that what a class does not know is
dropped wherever single properties are asked for. See `classes` for the one difference to NOMAD.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nomadquery.errors import InvalidRequest, RequestRefused
from nomadquery.local.classes import Class, Member, class_of, root_class
from nomadquery.local.keys import items_of, wanted_of
from nomadquery.local.references import NotThere, Places, own_path, parse_reference, target_of
from nomadquery.local.refusals import malformed, problem, refused, unforeseen

_WHOLE: Final = ("*", "include")
_RESOLVED: Final = "include-resolved"
_IN_PLACE: Final = "resolve-inplace"

#: Return an archive by its entry id (``archive``), or by its mainfile (``raw``) and upload.
FindArchive = Callable[[Literal["archive", "raw"], str, str], Mapping[str, Any] | None]


#: A reference being followed: entry, path, references to other entries before it, declared class.
_Step = tuple[str, str, frozenset[str], Class]


@dataclass(frozen=True, slots=True)
class _Origin:
    """The archive that a reference stands in, where its targets are put, and how we came here."""

    entry: str
    upload_id: str
    archive: Mapping[str, Any]
    places: Places
    visited: frozenset[str] = frozenset()


def check_form(given: Any) -> None:
    """Check what NOMAD's request model checks.

    Raises
    ------
    InvalidRequest
        If a ``required`` is neither an object nor a text (422).
    """
    if not isinstance(given, str | Mapping):
        text = problem("string_type", ["body", "required", "str"], "Input should be a valid string", given)
        where = ["body", "required", "dict[str,any]"]
        raise malformed([text, problem("dict_type", where, "Input should be a valid dictionary", given)])


class RequiredReader:
    """Reads what one ``required`` asks for; what is wrong with its keys shows when an archive is read.

    ``find_archive`` gives the archives that references lead to, ``None`` where the asker may not read.

    Raises
    ------
    InvalidRequest
        If ``resolve-inplace`` is not a bool (422).
    """

    def __init__(self, required: Any, find_archive: FindArchive) -> None:
        in_place = required.get(_IN_PLACE) if isinstance(required, Mapping) else None
        if in_place is not None and not isinstance(in_place, bool):
            detail = [{"msg": "resolve-inplace is not a bool", "loc": ["required", _IN_PLACE]}]
            raise InvalidRequest("resolve-inplace is not a bool", status=422, detail=detail)
        self._in_place = bool(in_place)
        self._required = required
        if isinstance(required, Mapping):
            self._required = {key: wanted for key, wanted in required.items() if key != _IN_PLACE}
        self._find_archive = find_archive

    def read(self, archive: Mapping[str, Any], entry_id: str, upload_id: str) -> dict[str, Any]:
        """Return the required part of an archive, and what its references lead to.

        Values are those of ``archive``, not copies. Targets of references are put at their own
        places, where the parts asked for by name replace them whole; those in other archives stand
        in ``m_ref_archives``.

        Raises
        ------
        RequestRefused
            For an unknown directive or key, an index on what is no list, references without end (500).
        """
        origin = _Origin(entry_id, upload_id, archive, Places())
        try:
            reading = _Reading(self._in_place, self._find_archive)
            part = reading.part(archive, self._required, root_class(), origin)
        except RecursionError as error:
            raise _endless() from error
        elsewhere = {
            entry: {"m_def": "nomad.datamodel.EntryArchive", **places.content}
            for entry, places in reading.elsewhere.items()
            if places.content
        }
        return {**origin.places.content, **part, "m_ref_archives": elsewhere}


@dataclass(slots=True)
class _Reading:
    """The reading of one archive: what it gathers elsewhere, and the references being followed."""

    in_place: bool
    find_archive: FindArchive
    elsewhere: dict[str, Places] = field(default_factory=dict)
    following: set[_Step] = field(default_factory=set)

    def part(self, value: Any, required: Any, kind: Class, origin: _Origin) -> Any:
        """Return what of a value is asked for; ``kind`` is what the schema says of it."""
        if value is None:
            return None
        chosen: dict[str, Any] = {}
        if isinstance(value, Mapping) and "m_def" in value:
            kind = class_of(value["m_def"], kind)
            chosen["m_def"] = value["m_def"]
        if isinstance(required, str):
            return self._directed(value, required, kind, origin)
        if isinstance(value, str):
            return self._followed(value, required, kind, origin)
        if not isinstance(required, Mapping):
            raise unforeseen("AssertionError")
        if kind.is_value or not isinstance(value, Mapping):
            return _part_of_no_section(value, required, kind)
        for key, wanted in wanted_of(value, required):
            member = kind.member(key.name)
            if member is None or key.name not in value:
                continue
            with suppress(NotThere):
                found = items_of(value[key.name], key)
                chosen[key.name] = self._each(found, wanted, member.leads_to, origin)
        return chosen

    def _each(self, value: Any, wanted: Any, kind: Class, origin: _Origin) -> Any:
        if wanted in _WHOLE or not isinstance(value, list):
            return self.part(value, wanted, kind, origin)
        return [self.part(item, wanted, kind, origin) for item in value]

    def _directed(self, value: Any, directive: str, kind: Class, origin: _Origin) -> Any:
        if directive in _WHOLE:
            return value
        if directive != _RESOLVED:
            raise refused(400, f"unknown directive {directive}")
        if isinstance(value, str):
            return self._followed(value, directive, kind, origin)
        if not isinstance(value, Mapping):
            raise _no_subscript(value)
        if kind.is_value:
            raise NotThere("no section")
        return self._resolved(value, kind, origin)

    def _resolved(self, section: Mapping[str, Any], kind: Class, origin: _Origin) -> dict[str, Any]:
        """Return a section with all references in it followed, and without what its class lacks."""
        resolved: dict[str, Any] = {}
        if "m_def" in section:
            kind = class_of(section["m_def"], kind)
            resolved["m_def"] = section["m_def"]
        for name, value in section.items():
            member = kind.member(name)
            if member is not None and name != "m_def":
                with suppress(NotThere):
                    resolved[name] = self._resolved_member(value, member, origin)
        return resolved

    def _resolved_member(self, value: Any, member: Member, origin: _Origin) -> Any:
        """Return the value of a property with its references followed."""
        if member.role == "value":
            return value
        if isinstance(value, list):
            return [self._resolved_member(item, member, origin) for item in value]
        if isinstance(value, Mapping):
            return self._resolved(value, member.leads_to, origin)
        if member.role == "reference" or _is_written_as_reference(value, origin):
            return self._followed(value, _RESOLVED, member.leads_to, origin)
        return value

    def _followed(self, text: str, required: Any, kind: Class, origin: _Origin) -> Any:
        """Return what stands for a text: the target in its place, or the text."""
        path = own_path(text)
        if path is not None:
            return self._placed(path, required, kind, origin)
        reference = parse_reference(text, origin.upload_id)
        if reference is None:
            return text
        if reference.entry == origin.entry:
            return self._placed(reference.path, required, kind, origin)
        if reference.deployment is not None:
            if self.in_place:
                raise refused(400, f"resolvable reference to remote archive not implemented: {text}")
            return text
        visited = reference.entry + reference.path
        if visited in origin.visited:
            return text
        archive = self.find_archive(reference.kind, reference.entry, reference.upload_id)
        if archive is None:
            return text
        where = f"../uploads/{reference.upload_id}/archive/{reference.entry}"
        there = _Origin(
            reference.entry,
            reference.upload_id,
            archive,
            self.elsewhere.setdefault(where, Places()),
            origin.visited | {visited},
        )
        placed = self._placed(reference.path, required, kind, there)
        return placed if self.in_place else f"{where}#{placed}"

    def _placed(self, path: str, required: Any, kind: Class, origin: _Origin) -> Any:
        """Return the required part of a target, or put it at its place and return the path."""
        target = target_of(origin.archive, path)
        if kind.is_value and isinstance(required, str):
            part = target
        elif required == _RESOLVED:
            part = self._resolved_once(target, (origin.entry, path, origin.visited, kind), origin)
        else:
            part = self.part(target, required, kind, origin)
        if self.in_place:
            return part
        origin.places.put(path, part)
        return path

    def _resolved_once(self, target: Any, step: _Step, origin: _Origin) -> Any:
        """Return a target with its references followed, none of which may lead to it again."""
        if step in self.following:
            raise _endless()
        self.following.add(step)
        try:
            return self.part(target, _RESOLVED, step[-1], origin)
        finally:
            self.following.discard(step)


def _is_written_as_reference(text: Any, origin: _Origin) -> bool:
    if not isinstance(text, str):
        return False
    path = own_path(text)
    if path is None:
        return parse_reference(text, origin.upload_id) is not None
    try:
        target_of(origin.archive, path)
    except NotThere:
        return text.startswith("#/")
    return True


def _no_subscript(value: Any) -> RequestRefused:
    if isinstance(value, list):
        return unforeseen("TypeError", "list indices must be integers or slices, not str")
    return unforeseen("TypeError", f"{type(value).__name__!r} object is not subscriptable")


def _endless() -> RequestRefused:
    return unforeseen("RecursionError", "maximum recursion depth exceeded")


def _part_of_no_section(value: Any, required: Mapping[str, Any], kind: Class) -> dict[str, Any]:
    """Return or raise what NOMAD makes of an object where a number, an array or plain JSON stands."""
    if "*" in required and not isinstance(value, list | Mapping):
        raise unforeseen("TypeError", f"{type(value).__name__!r} object is not iterable")
    if "*" in required and isinstance(value, list) and value and isinstance(value[0], list | Mapping):
        raise unforeseen("TypeError", f"unhashable type: {type(value[0]).__name__!r}")
    for _ in wanted_of(value, required):  # a wrong key is found before NOMAD fails over a right one
        if kind.is_value:
            raise unforeseen("AttributeError", "all_properties")
        raise _no_subscript(value)
    return {}
