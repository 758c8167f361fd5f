"""The path grammar: ``run[-1].calculation[kind == "x"].energy.total.value``.

A path is a tuple of steps: names, positions (``[-1]``), slices (``[0:3]``) and filters
(``[criterion]``, the items that match; names in the criterion are relative to the
section). The text form is read here but for the criteria, whose grammar is in `phrases`.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Final

from nomadquery.errors import QueryError
from nomadquery.query.criteria import Criterion

#: The methods of a typed path. A quantity called like one is reached by ``Q["a.b.count"]``.
METHODS: Final = (
    *("between", "has_all", "has_any", "has_none", "has_exactly", "has_only", "isin", "exists"),
    *("unchecked", "stored_in", "matching", "to"),
    *("first", "last", "min", "max", "mean", "count", "size"),
)


@dataclass(frozen=True, slots=True)
class Name:
    """Descend into the property ``name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """Take the item at ``position`` of a list; negative positions count from the end."""

    position: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Take the items from ``start`` up to, not including, ``stop``; ``None`` is open."""

    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class Items:
    """Take the items of a repeating section that satisfy ``criterion`` (relative names)."""

    criterion: Criterion


Step = Name | Index | Slice | Items


@dataclass(frozen=True, slots=True)
class Path:
    """Steps from the root of an entry to a quantity or section."""

    steps: tuple[Step, ...]

    def __truediv__(self, step: Step) -> Path:
        return Path((*self.steps, step))


ROOT = Path(())
_WORD = re.compile(r"[^.\[\]\s#()]+(#.*)?")


def dotted(path: Path) -> str:
    """Return the names of the path joined by dots, without positions and filters."""
    return ".".join(step.name for step in path.steps if isinstance(step, Name))


def is_plain(path: Path) -> bool:
    """Return whether the path has names only."""
    return all(isinstance(step, Name) for step in path.steps)


def is_attribute(name: str) -> bool:
    """Return whether a step can be typed behind a dot: ``Q.results``."""
    is_word = name.isidentifier() and not keyword.iskeyword(name)
    return is_word and not name.startswith("_") and name not in METHODS


def path_of(name: str) -> Path:
    """Return the path of a dotted name; what follows ``#`` is a schema and stays whole."""
    plain, hash_, schema = name.partition("#")
    parts = plain.split(".")
    if not all(parts):
        raise QueryError(
            f"{name!r} is not a path: write names joined by dots, as in 'results.material.elements'."
        )
    parts[-1] += hash_ + schema
    return Path(tuple(Name(part) for part in parts))


def split_brackets(text: str) -> list[tuple[str, str]]:
    """Return ``[("name", "run"), ("bracket", "-1"), …]`` of a path in text form.

    Brackets may hold anything, brackets and quoted text included.

    Raises
    ------
    QueryError
        If the text is no path.
    """
    pieces: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        if text[position] == "[":
            end = closing_bracket(text, position)
            pieces.append(("bracket", text[position + 1 : end].strip()))
            position = end + 1
            continue
        if text[position] == "." and pieces:
            position += 1
        word = _WORD.match(text, position)
        if word is None:
            raise QueryError(f"{text!r} is not a path: cannot read {text[position:]!r}.")
        pieces.append(("name", word[0]))
        position = word.end()
    if not pieces or pieces[0][0] != "name":
        raise QueryError(f"{text!r} is not a path: it must begin with a name.")
    return pieces


def position_or_slice(text: str) -> Index | Slice | None:
    """Return the step of ``-1``, ``0:3`` or ``:``, ``None`` where the text is a criterion."""
    if re.fullmatch(r"[-+]?\d+", text):
        return Index(int(text))
    found = re.fullmatch(r"([-+]?\d+)?\s*:\s*([-+]?\d+)?", text)
    if found is None:
        return None
    return Slice(*(None if bound is None else int(bound) for bound in found.groups()))


def closing_bracket(text: str, opening: int) -> int:
    """Return where the bracket at ``opening`` closes; brackets inside and quoted text are passed over."""
    depth, quote, escaped = 0, "", False
    for position in range(opening, len(text)):
        character = text[position]
        if escaped:
            escaped = False
        elif quote:
            escaped = character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[]":
            depth += 1 if character == "[" else -1
            if depth == 0:
                return position
    raise QueryError(f"{text!r} is not a path: '[' is not closed.")
