"""Definitions of classes that the shipped tables lack: units, types and parts of custom schemas.

A class is named by a *key*: ``my_package.schema.MySection`` for a class of a Python package,
``entry_id:<id>.MySection.MyPart`` for one that an entry of NOMAD defines (an uploaded YAML schema),
``entry_id:<id>#/definitions/section_definitions/0`` for the same by its position, and
``mainfile:<upload_id>/<path>#…`` where only the file of that entry is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nomadquery.query.catalogue import Kind

_PYTHON_CLASS: Final = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
_ENTRY_CLASS: Final = re.compile(r"entry_id:(?P<entry>[\w-]+)\.(?P<name>\w[\w.]*)")
_UPLOAD: Final = r"\.\./uploads?/(?:(?!archive/|raw/)(?P<upload>[^/#]+)/)?"
_ELSEWHERE: Final = tuple(
    re.compile(pattern)
    for pattern in (
        _UPLOAD + r"archive/mainfile/(?P<mainfile>[^#]+)#(?P<place>.*)",
        _UPLOAD + r"archive/(?P<entry>[\w-]+)#(?P<place>.*)",
        _UPLOAD + r"raw/(?P<mainfile>[^#]+)#(?P<place>.*)",
        r"#?(?P<place>/.*)",
        r"#(?P<place>\w.*)",
    )
)
#: What may follow the name of a class: which version of its definition it was.
VERSION: Final = re.compile(r"@\w+$")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a class declares of one quantity or section.

    Attributes
    ----------
    unit : str or None
        Unit of the stored number; ``None`` where it has none.
    kind : str
        As in the catalogue: ``text``, ``integer``, ``number``, ``boolean``, ``date``, ``reference``,
        ``section``, ``other``.
    shape : tuple
        Dimensions of one value; ``"*"`` (or a name) for a size that differs.
    target : str or None
        Class key of a section, or of what a reference points to.
    """

    unit: str | None
    kind: Kind
    shape: tuple[int | str, ...] = ()
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A sub section: the key of its declared class, and whether it repeats."""

    class_name: str
    repeats: bool


@dataclass(frozen=True, slots=True)
class ClassDefinition:
    """What a class itself declares; what it inherits is with its bases.

    Attributes
    ----------
    name : str
        Its key.
    quantities, subsections : mapping
        By name.
    bases : tuple of str
        Keys of its base classes. What a later one declares replaces what an earlier one does.
    """

    name: str
    quantities: Mapping[str, Declared] = field(default_factory=dict)
    subsections: Mapping[str, Part] = field(default_factory=dict)
    bases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """The key of the class whose definition is needed to tell."""

    class_name: str


def declared(
    definitions: Mapping[str, ClassDefinition], class_name: str, names: tuple[str, ...]
) -> Declared | Missing | None:
    """Return what stands at a path below a class, as far as the definitions tell.

    Parameters
    ----------
    definitions : mapping
        By class key.
    class_name : str
        Key of the class where the path begins.
    names : tuple of str
        Names of sub sections and references, then of a quantity or section; no positions.

    Returns
    -------
    Declared, Missing or None
        ``Missing``: a definition on the way is not there. ``None``: no such property.
    """
    for position, name in enumerate(names):
        found = _property(definitions, class_name, name, frozenset())
        is_last = position + 1 == len(names)
        match found:
            case Part(below, _):
                class_name = below
            case Declared(kind="reference", target=str(target)) if not is_last:
                class_name = target
            case Declared():
                return found if is_last else None
            case _:
                return found
    return Declared(None, "section", (), class_name)


def _property(
    definitions: Mapping[str, ClassDefinition], class_name: str, name: str, seen: frozenset[str]
) -> Declared | Part | Missing | None:
    if class_name in seen:
        return None  # a class that is its own base
    definition = definitions.get(class_name)
    if definition is None:
        return Missing(class_name)
    own = definition.quantities.get(name) or definition.subsections.get(name)
    inherited = (
        _property(definitions, base, name, seen | {class_name}) for base in reversed(definition.bases)
    )
    return own or next((found for found in inherited if found is not None), None)


def class_key(m_def: str, *, entry_id: str, upload_id: str) -> str | None:
    """Return the key of the class that an archive names by ``m_def``, ``None`` for another deployment's.

    Parameters
    ----------
    m_def : str
        As it stands in the archive: a Python class, or a reference to a definition in an entry.
    entry_id, upload_id : str
        The entry of that archive, and its upload.
    """
    text = VERSION.sub("", m_def.strip())
    if _PYTHON_CLASS.fullmatch(text) or _ENTRY_CLASS.fullmatch(text):
        return text
    for pattern in _ELSEWHERE:
        found = pattern.fullmatch(text)
        if found is not None:
            given = found.groupdict()
            place = _place(given["place"])
            if given.get("mainfile"):
                file = f"{given.get('upload') or upload_id}/{given['mainfile'].lstrip('/')}"
                return f"mainfile:{file}#{place}"
            return entry_key(given.get("entry") or entry_id, place)
    return None


def class_of_index_name(name: str) -> str | None:
    """Return the class key in a name of the index, such as ``data.x#entry_id:<id>.MySection#float``."""
    key = name.partition("#")[2].partition("#")[0]
    return key if _PYTHON_CLASS.fullmatch(key) or _ENTRY_CLASS.fullmatch(key) else None


def entry_key(entry_id: str, place: str) -> str:
    """Return the key of a class that an entry defines, by its name or its position (``/definitions/…``)."""
    return f"entry_id:{entry_id}{'#' if place.startswith('/') else '.'}{place}"


def split_key(key: str) -> tuple[str, str]:
    """Return who defines a class (``entry_id:<id>``, ``mainfile:<file>``, ``""``: a package), and its place.

    The place is ``/definitions/…``, or the class name.
    """
    if not key.startswith(("entry_id:", "mainfile:")):
        return "", key
    owner, _, place = key.partition("#" if "#" in key else ".")
    return owner, place


def _place(place: str) -> str:
    """Return the position as ``/definitions/section_definitions/0``, or the class name ``A.B``."""
    steps = [step for step in place.split("/") if step]
    if not steps or steps[0] != "definitions":
        return ".".join(steps)
    names = steps[2::2]
    return f"/{'/'.join(steps)}" if any(name.isdecimal() for name in names) else ".".join(names)
