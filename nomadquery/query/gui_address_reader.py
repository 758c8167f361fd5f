"""Address of NOMAD's search page → the query that the page sends. The facts stand in `gui_address`.

The result has the form of the page's own API panel, ``{"owner": …, "query": …}``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, unquote_plus

from nomadquery.errors import NotExpressible, QueryError, WouldBeMisread
from nomadquery.query.criteria import Value
from nomadquery.query.gui_address import ELEMENTS, EXCLUSIVE, OPTIMADE
from nomadquery.query.gui_filters import APPS, FILTERS, PROPERTY_GROUPS, full_filter_name
from nomadquery.query.params import OWNERS, SIDES, TypeOf, read_as

Json = dict[str, Any]
#: (quantity, number, unit text) → the number in the unit that NOMAD stores.
ToStored = Callable[[str, float, str], float]
#: What stands below one name: its texts, or what its brackets hold.
Branch: TypeAlias = "list[str] | dict[str, Branch]"

_PROPERTIES: Final = "results.properties.available_properties"
_LOGIN_MARKS: Final = re.compile(r"#(?:state|iss|error)=.*", re.DOTALL)
_PAGE: Final = re.compile(r"/gui/(?:search/(?P<app>[^/]+)|user/search)/?$")
_ENTRY: Final = re.compile(r"/entry/id/(?P<entry_id>[^/]+)")
_KEY: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_MOST_PARAMETERS: Final = 1000


def parse_gui_address(
    address: str,
    *,
    types: TypeOf,
    to_stored: ToStored,
    apps: Mapping[str, Mapping[str, object]] = APPS,
) -> Json:
    """Return ``{"owner": …, "query": …}`` as the page at this address sends them to NOMAD.

    The filters that the page's app always adds are part of the query. One value stands alone
    (``name: value``), several under ``name:any`` or ``name:all``; dates are epoch milliseconds.

    Parameters
    ----------
    types : callable
        Type of a searchable quantity, ``None`` for any other name.
    to_stored : callable
        Converts a number to the stored unit: (quantity, number, unit text) → number.
    apps : mapping
        Last word of the page's path → its ``filters_locked`` (``GET /apps/entry-points/{path}``).

    Raises
    ------
    WouldBeMisread
        If the page asks for something else than its address says.
    NotExpressible
        If the address is one of a page that does not search entries.
    QueryError
        If it is not an address of NOMAD's search page, or one that the page cannot read.
    """
    page, _, query = _LOGIN_MARKS.sub("", address.strip()).partition("?")
    fixed = dict(_fixed_filters(page, apps))
    filters = _branches(query)
    reader = _Reader(types, to_stored)
    owner = str(fixed.pop("visibility", None) or _owner(filters.pop("visibility", ["visible"])))
    members = [*reader.members(filters), *(_fixed_member(name, value) for name, value in fixed.items())]
    return {"owner": owner, "query": members[0] if len(members) == 1 else {"and": members} if members else {}}


def _fixed_filters(page: str, apps: Mapping[str, Mapping[str, object]]) -> Mapping[str, object]:
    """Return what the page adds to every question, by the path of its address."""
    if entry := _ENTRY.search(page):
        raise NotExpressible(f"{page!r} shows one entry. Ask for it by Q.entry_id == {entry['entry_id']!r}.")
    if "/gui/v2" in page:
        raise NotExpressible(
            "Addresses of the new interface (/gui/v2) cannot be read. "
            "Paste the query that its API view shows into Query.from_json."
        )
    found = _PAGE.search(page)
    if found is None:
        raise QueryError(
            f"{page!r} is not a search page of NOMAD, which looks like "
            "https://nomad-lab.eu/prod/v1/gui/search/entries?results.material.elements=Ti."
        )
    app = found["app"]
    if app is None:
        return {"visibility": "user"}
    if app == "materials":
        raise NotExpressible("The search for materials ended with NOMAD 1.3; search for entries instead.")
    if app not in apps:
        raise QueryError(
            f"What the page {app!r} always asks for besides is not known ({', '.join(apps)} are). Paste the "
            "query of its API panel (the <> button) into Query.from_json, which has it in full."
        )
    return apps[app]


def _fixed_member(name: str, value: object) -> Json:
    if not isinstance(value, list | tuple):
        return {name: value}
    if len(value) == 1:
        return {name.rpartition(":")[0] or name: value[0]}
    return {name if ":" in name else f"{name}:{_mode_of_list(name)}": list(value)}


def _mode_of_list(name: str) -> str:
    return "all" if FILTERS.get(name) == "all" else "any"


def _branches(query: str) -> dict[str, Branch]:
    """Return the parameters under their full names, read as the library *qs* reads them."""
    pieces = [piece for piece in query.split("&") if piece]
    if len(pieces) > _MOST_PARAMETERS:
        raise WouldBeMisread(
            f"The page reads only {_MOST_PARAMETERS:,} of the {len(pieces):,} parameters. "
            "Ask with Q.….isin(…) instead."
        )
    root: dict[str, Branch] = {}
    for piece in pieces:
        key, _, raw = piece.partition("=")
        found = _KEY.fullmatch(unquote_plus(key))
        if found is None:
            raise QueryError(f"{piece!r} cannot be read; a parameter is name=value or name[gte]=value.")
        steps = [full_filter_name(found[1]), *re.findall(r"\[([^\[\]]*)\]", found[2])]
        if len(steps) > 1 and (not steps[-1] or steps[-1].isdigit()):
            steps.pop()  # name[]=a and name[0]=a are items of a list
        texts = [unquote_plus(text) for text in raw.split(",")]
        _put(root, steps, texts, piece)
    return root


def _put(root: dict[str, Branch], steps: list[str], texts: list[str], piece: str) -> None:
    place: Branch = root
    for step in steps[:-1]:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place
    last = place.setdefault(steps[-1], []) if isinstance(place, dict) else None
    if not isinstance(last, list):
        raise QueryError(f"{piece!r} clashes with another parameter of {steps[0]}.")
    last += texts


def _owner(branch: Branch) -> str:
    if not isinstance(branch, list) or len(branch) != 1 or branch[0] not in OWNERS:
        raise QueryError(f"visibility is one of {', '.join(OWNERS)}, not {branch}.")
    return branch[0]


@dataclass(frozen=True, slots=True)
class _Reader:
    types: TypeOf
    to_stored: ToStored

    def members(self, filters: Mapping[str, Branch]) -> Iterator[Json]:
        """Yield one query object for each filter."""
        exclusive = _is_exclusive(filters.get("exclusive"))
        for name, branch in _without_groups(filters).items():
            if name in {"exclusive", "combine"}:  # combine matters to the search for materials only
                continue
            if name == "custom_quantities":
                yield from _custom(branch)
            elif name == OPTIMADE and isinstance(branch, list):
                yield from ({OPTIMADE: text} for text in branch)
            elif name == ELEMENTS and exclusive:
                yield {EXCLUSIVE: " ".join(sorted(set(_texts(name, branch))))}
            else:
                yield self._member(name, branch)

    def _member(self, name: str, branch: Branch) -> Json:
        value = self._value(name, branch)
        if not isinstance(value, list):
            return {name: value}
        kind = read_as(self.types(name) or "")
        return {name if kind in {"integer", "number", "date"} else f"{name}:{_mode_of_list(name)}": value}

    def _value(self, name: str, branch: Branch) -> Any:
        if isinstance(branch, list):
            values = [self._scalar(name, text) for text in branch]
            return values[0] if len(values) == 1 else values
        if not branch.keys() & set(SIDES):
            return {step: self._value(f"{name}.{step}", inner) for step, inner in branch.items()}
        bounds = {side: self._bound(name, inner) for side, inner in branch.items()}
        if not bounds.keys() <= set(SIDES) or any(
            isinstance(bound, list | dict) for bound in bounds.values()
        ):
            raise QueryError(f"{name} takes one bound each of {', '.join(SIDES)}, as in {name}[gte]=1.")
        return bounds

    def _bound(self, name: str, branch: Branch) -> Any:
        match branch:
            case [text] if self.types(name) is None and text[:1] in "+-.0123456789":
                return self._number(name, text)  # a custom quantity: the page writes numbers with their unit
            case _:
                return self._value(name, branch)

    def _scalar(self, name: str, text: str) -> Value:
        if not text:
            raise QueryError(f"{name} has no value in this address. Leave it out or give it one.")
        kind = read_as(self.types(name) or "")
        match kind:
            case "boolean":
                if text.lower() not in {"true", "false"}:
                    raise QueryError(f"{name} is true or false, not {text!r}.")
                return text.lower() == "true"
            case "date":
                if not re.fullmatch(r"-?\d+", text):
                    raise WouldBeMisread(
                        f"The page reads {text!r} at {name} as a number of milliseconds since 1970. "
                        f"Ask with Q.{name} >= {text!r} instead."
                    )
                return int(text)
            case "integer" | "number":
                number = self._number(name, text)
                return int(number) if kind == "integer" and number.is_integer() else number
            case _:
                return text

    def _number(self, name: str, text: str) -> float:
        digits, _, unit = text.strip().partition(" ")
        try:
            number = float(digits)
        except ValueError as error:
            raise QueryError(
                f"{name} takes a number, with a unit if it has one (1.5 eV), not {text!r}."
            ) from error
        if not math.isfinite(number):
            raise QueryError(f"{name} takes a finite number, not {text!r}.")
        return float(self.to_stored(name, number, unit.strip())) if unit.strip() else number


def _texts(name: str, branch: Branch) -> list[str]:
    if isinstance(branch, dict):
        raise QueryError(f"{name} takes values, not {name}[{next(iter(branch))}].")
    return branch


def _is_exclusive(branch: Branch | None) -> bool:
    if branch is None:
        return False
    if branch == ["true"]:
        return True
    raise WouldBeMisread("The page takes every text behind exclusive= for true. Leave it out for no.")


def _without_groups(filters: Mapping[str, Branch]) -> dict[str, Branch]:
    """Return the filters with a group of properties written as the quantity that it stands for."""
    groups = [name for name in filters if name in PROPERTY_GROUPS]
    if len(groups) > 1:
        raise WouldBeMisread(
            f"The page shows {' and '.join(groups)} but asks only for the last of them. "
            f"Ask with Q.{_PROPERTIES}.has_all(…)."
        )
    rest = {name: branch for name, branch in filters.items() if name not in groups}
    if groups:
        plain = _texts(_PROPERTIES, rest.get(_PROPERTIES, []))
        rest[_PROPERTIES] = list(dict.fromkeys([*plain, *_texts(groups[0], filters[groups[0]])]))
    return rest


def _custom(branch: Branch) -> Iterator[Json]:
    for text in _texts("custom_quantities", branch):
        try:
            found = json.loads(unquote(text))
        except (ValueError, RecursionError) as error:
            raise QueryError(f"custom_quantities holds no query object: {text!r} ({error}).") from error
        if found and not isinstance(found, dict):
            raise QueryError(f"custom_quantities holds no query object but {text!r}.")
        if found:
            yield found
