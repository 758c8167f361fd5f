"""What a hand-written ``required`` lets a path mean on the answer.

An answer holds what was asked for, and lists of which some items were chosen are compacted: a path
that was not asked for, or counts in such a list, would give nothing or another item in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nomadquery.columns.required_keys import Key, parse_key
from nomadquery.errors import QueryError
from nomadquery.query.path import Index, Name, Path, Step, dotted


def check_asked(required: Mapping[str, Any] | str, path: Path, references: tuple[str, ...]) -> None:
    """Check that a path means on the answer to ``required`` what it means on the whole archive.

    Behind a reference (``references``, in full) the targets are asked for as they are read.

    Raises
    ------
    QueryError
        If it was not asked for, or counts in a list of which only some items were.
    """
    branch: Mapping[str, Any] | str = required
    names: list[str] = []
    for place, step in enumerate(path.steps):
        if not isinstance(step, Name):
            continue
        if isinstance(branch, str) or ".".join(names) in references:
            return
        found = _wanted(branch, step.name)
        names.append(step.name)
        if found is None:
            raise QueryError(
                f"{'.'.join(names)} was not asked for, so this archive cannot tell it: add it to the "
                "required, or take the whole archive."
            )
        key, branch = found
        following = path.steps[place + 1] if place + 1 < len(path.steps) else None
        if key.index is not None and not _is_same_item(key, following):
            raise QueryError(
                f"{dotted(path)}: the required chose some items of {'.'.join(names)}, so positions and lists "
                "here are not those of the archive. Ask for the whole list, or read archive.data."
            )


def _wanted(branch: Mapping[str, Any], name: str) -> tuple[Key, Mapping[str, Any] | str] | None:
    """Return the key of a name and what is asked below it, ``None`` where it is left out."""
    for text, wanted in branch.items():
        key = parse_key(text)
        if key is not None and key.name.strip() == name:
            return None if wanted == "exclude" else (key, wanted)
    everything = branch.get("*")
    return None if everything is None else (Key(name), everything)


def _is_same_item(key: Key, bracket: Step | None) -> bool:
    """Return whether a bracket means the same item in the answer as in the archive."""
    if not isinstance(bracket, Index):
        return False
    if isinstance(key.index, tuple):
        start, end = key.index
        return start == 0 and bracket.position >= 0 and (end is None or 0 <= bracket.position < end)
    return key.index in {0, -1} and bracket.position == key.index
