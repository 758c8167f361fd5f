"""``files`` of a download: which of the files are wanted, and whether the zip is compressed.

A pattern is looked for in the path in the upload: a glob or a name at its end, a regular expression
anywhere. Names win over a regular expression, and that over a glob.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.local.refusals import Problem, malformed, not_a_text, not_an_object, problem

#: The parameters of an address that choose files.
NAMES: Final = ("compress", "glob_pattern", "re_pattern", "include_files")

_TRUE: Final = ("1", "true", "t", "yes", "y", "on")
_FALSE: Final = ("0", "false", "f", "no", "n", "off")


@dataclass(frozen=True, slots=True)
class FileChoice:
    """A sound ``files``; ``pattern`` is what a path must hold, ``None`` for any."""

    compress: bool = False
    pattern: re.Pattern[str] | None = None

    def takes(self, path: str) -> bool:
        """Return whether a file is wanted."""
        return self.pattern is None or self.pattern.search(path) is not None


def parse_files(given: Any, loc: Sequence[str], problems: list[Problem]) -> FileChoice:
    """Return the ``files`` of a body; what is wrong is added to ``problems``."""
    if given is None:
        return FileChoice()
    if not isinstance(given, Mapping):
        problems.append(not_an_object(loc, given))
        return FileChoice()
    compress = boolean_of(given.get("compress"), [*loc, "compress"], problems)
    glob = _text(given.get("glob_pattern"), [*loc, "glob_pattern"], problems)
    pattern = _compiled(_text(given.get("re_pattern"), [*loc, "re_pattern"], problems), loc, problems)
    names = given.get("include_files")
    if names is not None and not isinstance(names, list):
        where = [*loc, "include_files"]
        problems.append(problem("list_type", where, "Input should be a valid list", names))
        names = None
    problems += [
        not_a_text([*loc, "include_files", position], name)
        for position, name in enumerate(names or ())
        if not isinstance(name, str)
    ]
    return FileChoice() if problems else _choice(compress, glob, pattern, names)


def parse_file_parameters(parameters: Sequence[tuple[str, str]]) -> FileChoice:
    """Return the same from the parameters of an address.

    Raises
    ------
    InvalidRequest
        If something is wrong with them (422).
    """
    last = dict(parameters)
    problems: list[Problem] = []
    compress = boolean_of(last.get("compress"), ["query", "compress"], problems)
    if not problems:
        pattern = _compiled(last.get("re_pattern"), ["query"], problems)
    if problems:
        raise malformed(problems)
    names = [value for name, value in parameters if name == "include_files"] or None
    return _choice(compress, last.get("glob_pattern"), pattern, names)


def boolean_of(given: Any, loc: Sequence[str], problems: list[Problem]) -> bool:
    """Return a truth, which may be written as a word or a number; what is none is added to ``problems``."""
    if given is None or isinstance(given, bool):
        return bool(given)
    word = str(given).lower() if isinstance(given, str | int) else None
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    kind, why = ("bool_parsing", ", unable to interpret input") if word else ("bool_type", "")
    problems.append(problem(kind, loc, f"Input should be a valid boolean{why}", given))
    return False


def _choice(
    compress: bool, glob: str | None, pattern: re.Pattern[str] | None, names: Sequence[str] | None
) -> FileChoice:
    if names is not None:
        pattern = re.compile(f"({'|'.join(map(re.escape, names))})$")
    elif pattern is None and glob is not None:
        pattern = re.compile(f"{fnmatch.translate(glob)}$")
    return FileChoice(compress, pattern)


def _compiled(text: str | None, loc: Sequence[str], problems: list[Problem]) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        said = f"could not parse the re pattern: {error}"
        problems.append(problem("invalid_pattern", [*loc, "re_pattern"], said, text))
        return None


def _text(given: Any, loc: Sequence[str], problems: list[Problem]) -> str | None:
    if given is None or isinstance(given, str):
        return given
    problems.append(not_a_text(loc, given))
    return None
