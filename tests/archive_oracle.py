"""What a column holds in an archive, decided a second time and apart from the library.

A column is said here in plain data: names, positions, slices and conditions on the way to a
quantity, a rule, and the factor between two units. Nothing of the library is imported. Where a
repeating section stands on the way, the steps say so (`EVERY`), so that no schema is needed.

The meaning is that of the path grammar: a repeating section adds one list level, an item without
the value stays ``None``; ``first`` and ``last`` are the first and last item that has a value; ``min
max mean`` run over every number reached; ``count`` counts items with a value; ``size`` is the length of
an array. References on the way are followed, into other entries too; a reference at the end is the
text that is stored, unless it leads to a quantity and the column says so.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

Step = str | int | slice | Callable[[Any], bool]
Archives = Mapping[str, Mapping[str, Any]]

#: All items of a repeating section, or of a list of references.
EVERY: Final = slice(None)

_J_PER_EV: Final = Fraction("1.602176634e-19")  # exact, SI 2019
_ANGSTROM: Final = Fraction("1e-10")

#: Stored unit, in NOMAD's spelling → other units, and one of the stored in each of them.
FACTORS: Final[dict[str, dict[str, Fraction]]] = {
    "joule": {"eV": 1 / _J_PER_EV, "meV": 1000 / _J_PER_EV},
    "1 / joule": {"1/eV": _J_PER_EV},
    "electron_volt": {"J": _J_PER_EV, "meV": Fraction(1000)},
    "meter": {"angstrom": 1 / _ANGSTROM, "nm": Fraction(10**9)},
    "angstrom": {"nm": Fraction(1, 10), "m": _ANGSTROM},
    "1 / meter": {"1/angstrom": _ANGSTROM},
    "meter ** 2": {"angstrom^2": 1 / _ANGSTROM**2},
    "meter ** 3": {"angstrom^3": 1 / _ANGSTROM**3},
    "newton": {"eV/angstrom": _ANGSTROM / _J_PER_EV},
    "joule / meter ** 3": {"GPa": Fraction(1, 10**9), "eV/angstrom^3": _ANGSTROM**3 / _J_PER_EV},
    "pascal": {"GPa": Fraction(1, 10**9), "bar": Fraction(1, 10**5)},
    "joule / kelvin": {"eV/K": 1 / _J_PER_EV},
    "second": {"fs": Fraction(10**15), "ps": Fraction(10**12)},
    "minute": {"s": Fraction(60)},
    "kelvin": {"mK": Fraction(1000)},
    "kilogram": {"g": Fraction(1000)},
    "kilogram / meter ** 3": {"g/cm^3": Fraction(1, 1000)},
    "volt": {"mV": Fraction(1000)},
    "milliampere / centimeter ** 2": {"A/m^2": Fraction(10)},
    "ampere / meter ** 2": {"mA/cm^2": Fraction(1, 10)},
}


@dataclass(frozen=True, slots=True)
class Spec:
    """One column: the way, what becomes of several values, and how a number changes.

    Attributes
    ----------
    steps : tuple
        Names, positions, slices (`EVERY`: all) and conditions of one item.
    rule : str or None
        ``first last min max mean count size``; ``None`` keeps every value.
    factor : Fraction or None
        What numbers are multiplied by.
    leads_to_values : bool
        Whether the references at the end are replaced by the quantity that they lead to.
    """

    steps: tuple[Step, ...]
    rule: str | None = None
    factor: Fraction | None = None
    leads_to_values: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """The value, and the references that led nowhere."""

    value: Any
    dangling: tuple[str, ...] = ()


class SeveralWithoutBrackets(ValueError):
    """A list stands where the steps say nothing of items: the column was said wrongly."""


def evaluate(spec: Spec, entry_id: str, archives: Archives) -> Reading:
    """Return what the column holds for the entry; ``archives`` are all that may be read, by entry id."""
    walk = _Walk(archives)
    found = walk.reach(archives[entry_id], spec.steps, entry_id)
    if spec.leads_to_values:
        found = _mapped(found, walk.quantity)
    value = _summarised(_without_places(found), spec.rule)
    if spec.factor is not None:
        factor = spec.factor
        value = _mapped(value, lambda number: _times(number, factor))
    return Reading(_plain(value), tuple(dict.fromkeys(walk.dangling)))


def target_of(reference: str, entry_id: str, archives: Archives) -> tuple[Any, str] | None:
    """Return what a reference that stands in ``entry_id`` leads to, and the entry where that stands.

    ``None`` if it leads nowhere, to an entry that may not be read, or to another installation.
    """
    where, hash_, path = reference.partition("#")
    if not hash_:
        where, path = "", reference
    other = _entry_named(where, entry_id, archives)
    if other is None or other not in archives:
        return None
    value: Any = archives[other]
    for part in path.strip("/").split("/") if path.strip("/") else []:
        place = _followed(value, other, archives)
        if place is None:
            return None
        value, other = place
        value = _part(value, part)
        if value is None:
            return None
    return value, other


def id_of_mainfile(upload_id: str, mainfile: str) -> str:
    """Return the entry id that NOMAD gives to a mainfile: the first 28 letters of a SHA-512."""
    digest = hashlib.sha512((upload_id + mainfile).encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:28]


def _property(section: Any, name: str) -> Any:
    """Return what a section has under a name; of a quantity with attributes the value alone.

    NOMAD writes such a quantity as ``{"q": {"q": {"m_value": …, "m_attributes": …}}}``.
    """
    value = section.get(name) if isinstance(section, dict) else None
    if isinstance(value, dict) and list(value) == [name] and isinstance(value[name], dict):
        return value[name].get("m_value", value)
    return value


class _Several(list[Any]):
    """One value for each item of a repeating section; a plain list is an array."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A text at the end of the way, and the entry where it stands."""

    text: str
    entry_id: str


@dataclass(frozen=True, slots=True)
class _Walk:
    archives: Archives
    dangling: list[str] = field(default_factory=list)

    def reach(self, value: Any, steps: Sequence[Step], entry_id: str) -> Any:
        """Return what the steps reach from ``value``, which stands in ``entry_id``."""
        if not steps:
            return _mapped(value, lambda one: _Stored(one, entry_id) if isinstance(one, str) else one)
        step, rest = steps[0], steps[1:]
        value, entry_id = self._section(value, entry_id)
        if value is None:
            return None
        if isinstance(step, str):
            if isinstance(value, list):
                raise SeveralWithoutBrackets(f"{len(value)} items on the way to {step!r}")
            return self.reach(_property(value, step), rest, entry_id)
        if not isinstance(value, list):
            raise SeveralWithoutBrackets(f"brackets behind a single {type(value).__name__}")
        if isinstance(step, int):
            one = value[step] if -len(value) <= step < len(value) else None
            return self.reach(one, rest, entry_id)
        kept = value[step] if isinstance(step, slice) else self._that_match(value, step, entry_id)
        is_section = any(isinstance(later, str) for later in rest)
        return (_Several if is_section else list)([self.reach(item, rest, entry_id) for item in kept])

    def quantity(self, stored: Any) -> Any:
        """Return the values that a reference to a quantity leads to."""
        if not isinstance(stored, _Stored):
            return stored
        return self._section(stored.text, stored.entry_id)[0]

    def _that_match(self, items: list[Any], matches: Callable[[Any], bool], entry_id: str) -> list[Any]:
        sections = [(item, self._section(item, entry_id)[0]) for item in items]
        return [item for item, section in sections if section is not None and matches(section)]

    def _section(self, value: Any, entry_id: str) -> tuple[Any, str]:
        place = _followed(value, entry_id, self.archives)
        if place is None:
            self.dangling.append(value)
            return None, entry_id
        return place


def _followed(value: Any, entry_id: str, archives: Archives) -> tuple[Any, str] | None:
    """Return what is at the end of a chain of references; anything else as it is."""
    seen: set[tuple[str, str]] = set()
    while isinstance(value, str):
        if (value, entry_id) in seen:
            return None
        seen.add((value, entry_id))
        place = target_of(value, entry_id, archives) if _is_reference(value) else None
        if place is None:
            return None
        value, entry_id = place
    return value, entry_id


def _is_reference(text: str) -> bool:
    return re.match(r"#?/\w|\.\./uploads?/", text) is not None


_PLACE: Final = re.compile(
    r"\.\./uploads?/(?:(?P<upload>[^/]+)/)??"
    r"(?:archive/mainfile/(?P<mainfile>.+)|archive/(?P<entry>[^/]+)|raw/(?P<raw>.+))"
)


def _entry_named(where: str, entry_id: str, archives: Archives) -> str | None:
    """Return the entry that the part before ``#`` names; an empty one is the entry itself.

    An entry id decides alone, as in NOMAD's archive requests (2.0.0); the upload is that of a mainfile.
    """
    if not where:
        return entry_id
    own = archives[entry_id].get("metadata", {}).get("upload_id", "")
    found = _PLACE.fullmatch(where)
    if found is None:
        return None
    mainfile = found["mainfile"] or found["raw"]
    return id_of_mainfile(found["upload"] or own, mainfile) if mainfile else found["entry"]


def _part(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and re.fullmatch(r"-?\d+", part):
        return value[int(part)] if -len(value) <= int(part) < len(value) else None
    return None


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return the value with each single one changed; list levels stay what they are."""
    if isinstance(value, list):
        return type(value)([_mapped(item, change) for item in value])
    return change(value)


def _without_places(found: Any) -> Any:
    return _mapped(found, lambda one: one.text if isinstance(one, _Stored) else one)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, _Several) else value


def _times(value: Any, factor: Fraction) -> Any:
    """Return the nearest double to the exact product; what is no number stays."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return value
    return float(Fraction(value) * factor)


def _summarised(found: Any, rule: str | None) -> Any:
    if rule is None:
        return found
    if rule == "size":
        return _size(found)
    items = list(_items(found))
    if rule == "count":
        return len(items)
    if rule in {"first", "last"}:
        return items[0 if rule == "first" else -1] if items else None
    numbers = [number for item in items for number in _numbers(item)]
    if not numbers:
        return None
    if rule == "mean":
        return math.fsum(numbers) / len(numbers)
    return {"min": min, "max": max}[rule](numbers)


def _size(found: Any) -> Any:
    if isinstance(found, _Several):
        return _Several([_size(item) for item in found])
    return len(found) if isinstance(found, list) else None


def _items(found: Any) -> Iterator[Any]:
    """Yield the items that have a value, in the order of the archive."""
    if isinstance(found, _Several):
        for item in found:
            yield from _items(item)
    elif found is not None:
        yield found


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        yield value
