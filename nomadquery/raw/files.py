"""A raw file as a value: where it lies in NOMAD, which entries it belongs to, and which files are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from nomadquery.errors import QueryError

_UNITS: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS_OF_TWO: Final = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class RawFile:
    """One file of an upload, listed once however many entries share it.

    Attributes
    ----------
    upload_id : str
        The upload that it lies in.
    path : str
        In the upload, parts separated by ``/``.
    size_bytes : int
        As the server lists it.
    entry_ids : tuple of str
        The entries in whose folder it lies.
    mainfile_of : tuple of str
        Those of them whose mainfile it is.
    """

    upload_id: str
    path: str
    size_bytes: int
    entry_ids: tuple[str, ...]
    mainfile_of: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def entry_id(self) -> str | None:
        """The entry whose mainfile it is, else the first in whose folder it lies."""
        return next(iter((*self.mainfile_of, *self.entry_ids)), None)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files are wanted; without any of these all of them.

    Attributes
    ----------
    include : tuple of str
        Patterns, one of which a file must match; see `matches`. Empty: every file does.
    exclude : tuple of str
        Patterns, none of which it may match.
    regex : str or None
        A regular expression that is found somewhere in the path.
    max_bytes : int or None
        No file is larger.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    regex: str | None = None
    max_bytes: int | None = None

    def has(self, file: RawFile) -> bool:
        """Return whether a file is wanted."""
        if self.max_bytes is not None and file.size_bytes > self.max_bytes:
            return False
        if self.regex is not None and not re.search(self.regex, file.path):
            return False
        if self.include and not any(matches(file.path, pattern) for pattern in self.include):
            return False
        return not any(matches(file.path, pattern) for pattern in self.exclude)

    def __str__(self) -> str:
        words = [f"include {', '.join(self.include)}"] if self.include else []
        words += [f"exclude {', '.join(self.exclude)}"] if self.exclude else []
        words += [f"regex {self.regex}"] if self.regex is not None else []
        words += [f"at most {size_words(self.max_bytes)} each"] if self.max_bytes is not None else []
        return "; ".join(words) or "all files"


def choice_of(
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    regex: str | None = None,
    max_size: int | str | None = None,
) -> Choice:
    """Return what was typed as a value.

    Raises
    ------
    QueryError
        If a pattern is empty or ends in ``/``, the expression is none, or the size is none.
    """
    if regex is not None:
        try:
            re.compile(regex)
        except (re.error, TypeError) as error:
            raise QueryError(f"{regex!r} is no regular expression: {error}.") from error
    max_bytes = None if max_size is None else bytes_of(max_size)
    return Choice(_patterns("include", include), _patterns("exclude", exclude), regex, max_bytes)


def matches(path: str, pattern: str) -> bool:
    """Return whether a pattern matches a path in an upload; capital letters count.

    ``*``, ``?`` and ``[…]`` mean what they do in a shell, and never cross a ``/``. A pattern without ``/``
    is matched with the name of the file: ``INCAR`` is no ``OLD_INCAR``. One with ``/`` is matched with the
    last parts of the path: ``relax/OUTCAR`` fits ``si/relax/OUTCAR``. In front, ``/`` means the root of the
    upload; ``**`` as a part stands for any number of folders.
    """
    wanted = pattern.split("/")
    anchored = wanted[0] == ""
    parts = path.split("/")
    if anchored:
        return _fits(parts, wanted[1:])
    return _fits(parts, ["**", *wanted])


def chosen(files: Iterable[RawFile], choice: Choice) -> tuple[RawFile, ...]:
    """Return the files that are wanted, in the order of upload and path."""
    return tuple(sorted((one for one in files if choice.has(one)), key=lambda one: (one.upload_id, one.path)))


def bytes_of(size: int | str) -> int:
    """Return a size as people write it: ``"20 MB"`` (10^6), ``"1.5 GiB"`` (2^30), or a number of bytes.

    Raises
    ------
    QueryError
        If it is none.
    """
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    unit = None if found is None else (_UNITS | _UNITS_OF_TWO).get(found[2])
    if found is None or unit is None:
        raise QueryError(f"{size!r} is no size; write '20 MB', '1.5 GiB' or a number of bytes.")
    return int(float(found[1]) * unit)


def size_words(n_bytes: int) -> str:
    """Return a number of bytes in words, with three digits: ``"1.23 GB"``."""
    for unit, size in reversed(_UNITS.items()):
        if n_bytes >= size:
            value = n_bytes / size
            n_decimals = 0 if unit == "B" or value >= 100 else 1 if value >= 10 else 2
            return f"{value:.{n_decimals}f} {unit}"
    return "0 B"


def _fits(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether all parts fit all of the pattern's parts, ``**`` any number of folders."""
    ends = {0}  # how many parts the pattern so far can have used up
    for pattern in wanted:
        if pattern == "**":
            ends = set(range(min(ends), len(parts) + 1)) if ends else ends
        else:
            ends = {n + 1 for n in ends if n < len(parts) and fnmatchcase(parts[n], pattern)}
    return len(parts) in ends


def _patterns(what: str, given: str | Sequence[str]) -> tuple[str, ...]:
    patterns = (given,) if isinstance(given, str) else tuple(given)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern or pattern.endswith("/"):
            raise QueryError(
                f"{what} takes patterns of file names or ends of paths, such as 'OUTCAR*' or 'relax/*', not "
                f"{pattern!r}."
            )
    return patterns
