"""References between sections: what their texts point to, and which archives can answer them.

NOMAD writes ``#/run/0/system/1`` or ``/run/0/system/1`` within an archive,
``../uploads/<upload_id>/archive/<entry_id>#/data`` (also ``../upload/archive/<entry_id>#…``) into
another entry, ``../upload/<upload_id>/raw/<mainfile>#…`` and ``../upload/archive/mainfile/<mainfile>#…``
to an entry by its mainfile, and a whole address for another deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

_ENTRY_ID: Final = re.compile(r"[\w-]{28}")
_UPLOAD: Final = r"\.\./uploads?/(?:(?P<upload>[^/#]+)/)?"
_TARGETS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<elsewhere>https?://[^\s#]+)#/?(?P<path>.*)",
        _UPLOAD + r"archive/mainfile/(?P<mainfile>[^#]+)#/?(?P<path>.*)",
        _UPLOAD + r"archive/(?P<entry>[^#]+)#/?(?P<path>.*)",
        _UPLOAD + r"raw/(?P<mainfile>[^#]+)#/?(?P<path>.*)",
        r"#?/(?P<path>\w[^\s]*)",
    )
)
_SELECTED: Final = re.compile(r"(.+)\[(-?\d+)\]")

#: A required tree: names, those of lists possibly with a position (``run[0]``) → tree or ``"*"``.
Tree = dict[str, Any]
#: Names below a target, one tuple for each quantity that is wanted of it.
Rests = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the text of a reference says.

    Attributes
    ----------
    text : str
        As it is stored.
    path : tuple of str
        Names and positions from the root of the target's archive.
    entry_id, upload_id, mainfile : str or None
        The other entry, by its id or by its mainfile; all ``None``: the same entry. Without an
        upload id the upload is the one of the entry that holds the reference.
    elsewhere : bool
        Whether it leads to another deployment.
    """

    text: str
    path: tuple[str, ...]
    entry_id: str | None = None
    upload_id: str | None = None
    mainfile: str | None = None
    elsewhere: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the path, without positions."""
        return tuple(part for part in self.path if not _is_position(part))


@dataclass(frozen=True, slots=True)
class Home:
    """The entry that holds a reference, and its upload."""

    entry_id: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A part of an archive that nothing at hand answers.

    Attributes
    ----------
    entry_id : str or None
        ``None``: only the mainfile is known.
    place : tuple of (str, str) or None
        Upload id and mainfile.
    path : tuple of str
        Names and positions of the target.
    rests : tuple of tuple of str
        Names below it, one tuple for each quantity; an empty one is the target itself.
    """

    entry_id: str | None
    place: tuple[str, str] | None
    path: tuple[str, ...]
    rests: Rests


@dataclass(frozen=True, slots=True)
class Dangling:
    """Why a reference leads nowhere."""

    why: str


@dataclass(slots=True)
class Shelf:
    """The archives at hand, with the parts of them that were asked for.

    Attributes
    ----------
    wishes : set of Wish
        What was looked for and has not been asked yet.
    """

    wishes: set[Wish] = field(default_factory=set)
    _parts: dict[str, list[tuple[Tree | Literal["*"], Mapping[str, Any]]]] = field(default_factory=dict)
    _ids: dict[tuple[str, str], str | None] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)

    def put(self, entry_id: str, tree: Tree | Literal["*"], archive: Mapping[str, Any]) -> None:
        """Keep what was answered when ``tree`` was asked of an entry."""
        self._parts.setdefault(entry_id, []).append((tree, archive))

    def place(self, upload_id: str, mainfile: str, entry_id: str | None) -> None:
        """Keep which entry has a mainfile; ``None``: none that may be seen."""
        self._ids[upload_id, mainfile] = entry_id

    def refuse(self, entry_id: str, why: str) -> None:
        """Keep why an entry's archive cannot be had."""
        self._refused[entry_id] = why

    def home_of(self, reference: Reference, home: Home) -> Home:
        """Return the entry that a reference leads to, as far as that is known."""
        upload_id = reference.upload_id or home.upload_id
        if reference.mainfile is not None:
            return Home(self._ids.get((upload_id, reference.mainfile)) or "", upload_id)
        return Home(reference.entry_id, upload_id) if reference.entry_id else home

    def look_up(self, reference: Reference, home: Home, rests: Rests) -> Any:
        """Return the target, `Dangling`, or ``None`` after adding a wish for what was not asked yet."""
        if reference.elsewhere:
            return Dangling("it leads to another deployment")
        entry_id: str | None = reference.entry_id
        if reference.mainfile is not None:
            place = (reference.upload_id or home.upload_id, reference.mainfile)
            if place not in self._ids:
                self.wishes.add(Wish(None, place, reference.path, rests))
                return None
            entry_id = self._ids[place]
            if entry_id is None:
                return Dangling("there is no such entry, or it may not be read")
        return self._in_entry(entry_id or home.entry_id, reference.path, rests)

    def _in_entry(self, entry_id: str, path: tuple[str, ...], rests: Rests) -> Any:
        for tree, archive in self._parts.get(entry_id, ()):
            if all(covers(tree, path, rest) for rest in rests):
                found = _found(tree, archive, path)
                return Dangling("there is nothing at its target") if found is None else found
        if entry_id in self._refused:
            return Dangling(self._refused[entry_id])
        self.wishes.add(Wish(entry_id, None, path, rests))
        return None


def parse_reference(text: str) -> Reference | None:
    """Return what a text refers to, ``None`` where it is no reference."""
    for pattern in _TARGETS:
        found = pattern.fullmatch(text)
        if found is None:
            continue
        parts = found.groupdict()
        path = tuple(part for part in parts["path"].split("/") if part)
        entry, mainfile = parts.get("entry"), parts.get("mainfile")
        if entry is not None and "." in entry and not _ENTRY_ID.fullmatch(entry):
            entry, mainfile = None, entry  # so the server rewrites references by mainfile (2.0.0)
        return Reference(text, path, entry, parts.get("upload"), mainfile, bool(parts.get("elsewhere")))
    return None


def ask(tree: Tree, names: Iterable[str]) -> None:
    """Add a path to a required tree; what is asked whole stays whole."""
    names = tuple(names)
    if not names:
        raise ValueError("A required tree asks for something; for all of an archive it is '*'.")
    branch = tree
    for name in names[:-1]:
        inner = branch.setdefault(name, {})
        if inner == "*":
            return
        branch = inner
    branch[names[-1]] = "*"


def selected(content: Any, tree: Tree | Literal["*"]) -> Any:
    """Return a whole archive (or section) as it is given when ``tree`` is asked: lists cut to its positions.

    What was not asked stays; only lists of which the tree names one position are shortened.
    """
    if isinstance(content, list):
        return [selected(item, tree) for item in content]
    if tree == "*" or not isinstance(content, Mapping):
        return content
    cut = dict(content)
    for key, below in tree.items():
        name, position = selected_position(key)
        value = content.get(name)
        if position is not None and isinstance(value, list):
            place = int(position)
            value = [value[place]] if -len(value) <= place < len(value) else []
        if value is not None:
            cut[name] = selected(value, below)
    return cut


def indexed(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return a target path in the form of a required tree: ``("run[0]", "system[3]")``."""
    keys: list[str] = []
    for part in path:
        if _is_position(part) and keys:
            keys[-1] += f"[{part}]"
        else:
            keys.append(part)
    return tuple(keys)


def covers(tree: Tree | Literal["*"], path: tuple[str, ...], rest: tuple[str, ...]) -> bool:
    """Return whether what ``tree`` asks for holds ``rest`` of the section at ``path``."""
    branch: Any = tree
    names = (*path, *rest)
    for place, name in enumerate(names):
        if branch == "*":
            return True
        if _is_position(name):
            continue
        following = names[place + 1] if place + 1 < len(names) else ""
        inner = branch.get(name)
        if inner is None and _is_position(following):
            inner = branch.get(f"{name}[{following}]")
        if inner is None:
            return False
        branch = inner
    return bool(branch == "*" or not rest)


def _found(tree: Tree | Literal["*"], archive: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return what stands at ``path``; a list of which one item was asked holds only that."""
    branch: Any = tree
    value: Any = archive
    selected: str | None = None
    for place, name in enumerate(path):
        if _is_position(name):
            position = 0 if selected == name else int(name)
            if not isinstance(value, list) or not -len(value) <= position < len(value):
                return None
            value, selected = value[position], None
            continue
        following = path[place + 1] if place + 1 < len(path) else ""
        if branch != "*" and name not in branch:
            selected, branch = following, branch[f"{name}[{following}]"]
        elif branch != "*":
            branch = branch[name]
        value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            return None
    return value


def selected_position(key: str) -> tuple[str, str | None]:
    """Return the name and the position of a key of a required tree."""
    found = _SELECTED.fullmatch(key)
    return (key, None) if found is None else (found[1], found[2])


def _is_position(part: str) -> bool:
    return part.lstrip("-").isdecimal()
