"""A name from outside becomes a safe local one, or is refused; a rule, without a look at any disk.

What leads elsewhere or cannot be a name is **refused**: absolute paths, drive letters, ``..``, ``.`` and
empty parts, NUL and other control characters, lone surrogates, paths of more than `MOST_PATH_BYTES`.

What only some file systems cannot hold is **renamed**, on every system alike, so that a folder can be carried
from one to another:

- each of ``< > : " | ? * \\``, and each invisible character of Unicode, becomes ``_``;
- so do dots and spaces at the end of a part, which Windows drops;
- a device of Windows (``CON``, ``nul.txt``, ``COM1``) gets a ``_`` in front;
- names are composed (NFC), as most systems write them;
- a part of more than `MOST_NAME_BYTES` is cut, and has ``~`` and a hash of the whole before its suffix;
- where two files would have one name (capitals and composition of letters do not tell them apart), or one has
  the name of another's folder, they get ``~`` and a hash of upload and path before the suffix.

The names depend on the set of files alone, not on their order.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from nomadquery.errors import UnsafeContent
from nomadquery.raw.files import RawFile

Layout = Literal["entry", "upload", "flat"]

#: Bytes of a part in UTF-8: file systems hold 255, also of the neighbour that it is first written to.
MOST_NAME_BYTES: Final = 200
#: Bytes of a path below the destination; macOS holds 1,024 with the destination.
MOST_PATH_BYTES: Final = 900

_HASH_DIGITS: Final = 8
_MOST_ROUNDS: Final = 100
_NOT_EVERYWHERE: Final = re.compile(r'[<>:"|?*\\]')
#: Control characters of ASCII and Latin-1, lone surrogates.
_NEVER: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_AT_THE_END: Final = re.compile(r"[. ]+$")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
#: Not too long, without anything that has to be looked at, at the end without a dot.
_PLAIN: Final = re.compile(rf"(?=.{{1,{MOST_NAME_BYTES}}}\Z)[A-Za-z0-9_.+~-]*[A-Za-z0-9_+~-]")
#: One or two suffixes, as in ``vasprun.xml.gz``, behind at least one other character.
_SUFFIX: Final = re.compile(r"(?<=.)(\.[^.]{1,8}){1,2}$")
#: Categories of Unicode: formats such as joiners and directions, separators of lines.
_INVISIBLE: Final = frozenset({"Cf", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Names:
    """Where files go.

    Attributes
    ----------
    places : mapping of RawFile to tuple of str
        Paths below the destination, parts separated by ``/``; several in the layout ``"entry"`` for a file
        that entries share. No two are one file on any file system.
    refused : mapping of RawFile to str
        Files that can have no safe name, and why.
    """

    places: Mapping[RawFile, tuple[str, ...]]
    refused: Mapping[RawFile, str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A place before names that meet are told apart: folder and name are safe already."""

    file: RawFile
    owner: str
    folder: tuple[str, ...]
    name: str

    def path(self, n_digits: int) -> str:
        """Return the path, with so many digits of the hash."""
        name = self.name
        if n_digits:
            name = _with_mark(name, _hash(f"{self.owner}/{self.file.upload_id}/{self.file.path}")[:n_digits])
        return "/".join((*self.folder, name))


def names(files: Iterable[RawFile], layout: Layout, *, taken: Iterable[str] = ()) -> Names:
    """Return the local names of files, different ones for different files.

    Parameters
    ----------
    files : iterable of RawFile
        Each upload and path once.
    layout : {"entry", "upload", "flat"}
        ``"entry"``: ``<entry_id>/<name>`` for each entry in whose folder the file lies, beside its mainfile,
        and ``<upload_id>/<path>`` for files of no entry; ``"upload"``: ``<upload_id>/<path>``; ``"flat"``:
        ``<name>``.
    taken : iterable of str
        Paths below the destination that no file may have, such as that of the manifest.

    Raises
    ------
    ValueError
        If a file is given twice.
    """
    ours = frozenset(map(_key, taken))
    wanted: list[_Wanted] = []
    refused: dict[RawFile, str] = {}
    seen: set[tuple[str, str]] = set()
    for file in files:
        if (file.upload_id, file.path) in seen:
            raise ValueError(f"{file.path!r} of upload {file.upload_id!r} is given twice.")
        seen.add((file.upload_id, file.path))
        try:
            wanted += _wanted(file, layout, ours)
        except UnsafeContent as error:
            refused[file] = str(error)
    places: defaultdict[RawFile, list[str]] = defaultdict(list)
    for one, path in zip(wanted, _told_apart(wanted, ours), strict=True):
        places[one.file].append(path)
    return Names({file: tuple(paths) for file, paths in places.items()}, refused)


def safe(path: str) -> str:
    """Return a path from outside as one that stays below any folder, and that every file system can hold.

    Raises
    ------
    UnsafeContent
        If it leads elsewhere or cannot be a name.
    """
    safe_path = "/".join(_parts(path))
    _check_length(path, safe_path)
    return safe_path


def _wanted(file: RawFile, layout: Layout, ours: frozenset[str]) -> list[_Wanted]:
    """Return where a file would like to go.

    Raises
    ------
    UnsafeContent
        If its name, or that of its upload or an entry, is refused, or that of its folder is ours.
    """
    *folder, name = _parts(file.path)
    upload = (_part(file.upload_id), *folder)
    match layout:
        case "flat":
            wanted = [_Wanted(file, "", (), name)]
        case "entry" if file.entry_ids:
            wanted = [_Wanted(file, one, (_part(one),), name) for one in dict.fromkeys(file.entry_ids)]
        case "entry" | "upload":
            wanted = [_Wanted(file, "", upload, name)]
        case _:
            assert_never(layout)
    for one in wanted:
        _check_length(file.path, one.path(0))
        if ours and not ours.isdisjoint(_folders([_key(one.path(0))])):
            raise UnsafeContent(f"{one.path(0)!r} would lie in a folder that is a file of nomadquery's own.")
    return wanted


def _told_apart(wanted: list[_Wanted], taken: frozenset[str]) -> list[str]:
    """Return the paths, each with as many digits of its hash as it needs to be no other's."""
    n_digits = [0] * len(wanted)
    for _ in range(_MOST_ROUNDS):
        paths = [one.path(n) for one, n in zip(wanted, n_digits, strict=True)]
        meeting = _meeting([_key(path) for path in paths], taken)
        if not meeting:
            return paths
        for place in meeting:
            n_digits[place] += _HASH_DIGITS
    raise UnsafeContent(
        f"{len(meeting)} files have names that meet whatever is added to them: {paths[meeting[0]]!r}. "
        'Use layout="upload", or download them in parts.'
    )


def _meeting(keys: list[str], taken: frozenset[str]) -> list[int]:
    """Return the places of keys that are another's key, or that of a folder of another."""
    owners: defaultdict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        owners[key].append(place)
    elsewhere = taken | _folders(owners) | _folders(taken)
    return [
        place for key, places in owners.items() if len(places) > 1 or key in elsewhere for place in places
    ]


def _folders(keys: Iterable[str]) -> set[str]:
    """Return the keys of all folders that paths lie in."""
    folders: set[str] = set()
    for key in keys:
        folder = key.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def _key(path: str) -> str:
    """Return what is equal for paths that some file system takes for one: a coarse fold of all letters."""
    if path.isascii():
        return path.lower()
    folded = unicodedata.normalize("NFKD", path).upper().casefold()
    return unicodedata.normalize("NFKD", folded)


def _parts(path: str) -> list[str]:
    """Return the safe parts of a path from outside."""
    if path.startswith(("/", "\\")) or _DRIVE.match(path):
        raise UnsafeContent(f"The path {path!r} is absolute. It is not written.")
    return [_part(part, path) for part in path.split("/")]


def _part(part: str, path: str | None = None) -> str:
    """Return one part of a path as every file system can hold it.

    Raises
    ------
    UnsafeContent
        If it leads elsewhere or cannot be a name.
    """
    if _PLAIN.fullmatch(part) and not _DEVICE.match(part):  # nearly all are
        return part
    path = part if path is None else path
    if part in {"", "."} or ".." in part.split("\\") or "/" in part:
        raise UnsafeContent(
            f"The path {path!r} has a part {part!r}, which leads elsewhere. It is not written."
        )
    if _NEVER.search(part):
        raise UnsafeContent(f"The name {path!r} has characters that no name may have. It is not written.")
    name = part if part.isascii() else _visible(unicodedata.normalize("NFC", part))
    name = _NOT_EVERYWHERE.sub("_", name)
    name = _AT_THE_END.sub(lambda found: "_" * len(found[0]), name)
    if _DEVICE.match(name):
        name = f"_{name}"
    if len(name.encode()) > MOST_NAME_BYTES:
        name = _with_mark(name, _hash(part)[: 2 * _HASH_DIGITS])
    return name


def _visible(name: str) -> str:
    return "".join("_" if unicodedata.category(one) in _INVISIBLE else one for one in name)


def _with_mark(name: str, mark: str) -> str:
    """Return a name with a mark before its suffix, cut so that it is not too long."""
    found = _SUFFIX.search(name)
    suffix = found[0] if found else ""
    room = MOST_NAME_BYTES - len(f"~{mark}{suffix}".encode())
    start = name[: len(name) - len(suffix)].encode()[:room].decode(errors="ignore")
    return f"{start}~{mark}{suffix}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_length(path: str, local: str) -> None:
    if len(local.encode()) > MOST_PATH_BYTES:
        raise UnsafeContent(
            f"The path {path[:100]!r}… has {len(local.encode())} bytes, more than the {MOST_PATH_BYTES} that "
            'file systems can be relied on to hold. layout="flat" takes the name alone.'
        )
