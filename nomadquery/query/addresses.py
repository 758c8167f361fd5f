"""A pasted address of NOMAD's search page, or of a GET request to its API → tree."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from nomadquery import units
from nomadquery.errors import QueryError, UnitError
from nomadquery.query.body_reader import parse
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.criteria import Criterion
from nomadquery.query.gui_address_reader import parse_gui_address
from nomadquery.query.params_reader import parse_get_params
from nomadquery.query.resolve import custom_quantity, stated

#: Where the API takes a query as parameters.
_SEARCHES: Final = re.compile(r"/api/v1/entries(?:/(?:archive|raw|rawdir|archive/download|export))?/?$")


def read_address(address: str) -> Criterion:
    """Return the stated tree of the question that an address asks.

    Owner, paging and sorting are not part of it. Pages of NOMAD's apps ask for more than their
    address shows; that is added.

    Raises
    ------
    WouldBeMisread
        If NOMAD asks for something else than the address says.
    NotExpressible
        If it is the address of a page that does not search entries.
    QueryError
        If it is no search address of NOMAD, or one that NOMAD cannot read.
    """
    parts = urlsplit(address.strip())
    catalogue = catalogue_for()
    if _SEARCHES.search(parts.path):
        tree = parse_get_params(
            parse_qsl(parts.query, keep_blank_values=True),
            types=_type_of,
            many_all=frozenset(name for name in catalogue.names if _is_all_by_default(name)),
            parse_json=parse,
        )
    elif "/gui/" in parts.path:
        found = parse_gui_address(address, types=_type_of_any, to_stored=_to_stored)
        tree = parse(found["query"])
    else:
        raise QueryError(
            f"{address!r} is no search of NOMAD. Paste the address of its search page "
            "(…/gui/search/entries?…) or of a request (…/api/v1/entries?…)."
        )
    return stated(tree, catalogue)


def owner_of_address(address: str) -> str | None:
    """Return the owner that an address asks for, ``None`` if it is the one that everybody may see."""
    asked = dict(parse_qsl(urlsplit(address.strip()).query))
    owner = asked.get("visibility") or asked.get("owner")
    return None if owner in {"public", "visible"} else owner


def _type_of(name: str) -> str | None:
    """Return NOMAD's word for the type of a searchable quantity, ``None`` for any other name."""
    found = catalogue_for().find(name)
    return found.type if found is not None and found.searchable and found.name == name else None


def _type_of_any(name: str) -> str | None:
    """Return the same, also for custom quantities whose name holds their type."""
    return custom_quantity(name).type if "#" in name else _type_of(name)


def _is_all_by_default(name: str) -> bool:
    found = catalogue_for().find(name)
    return found is not None and found.all_by_default


def _to_stored(name: str, number: float, unit: str) -> float:
    found = catalogue_for().find(name)
    if found is None or found.unit is None:
        raise UnitError(f"NOMAD states no unit for {name}, so {unit!r} cannot be converted.")
    return units.convert(number, unit, found.unit)
