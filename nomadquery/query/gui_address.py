"""Tree → address of NOMAD's search page; and how such addresses read (`gui_address_reader` reads them).

``…/gui/search/<app>?name=value&name[gte]=1.5 eV&section[name]=value``. Facts from
``gui/src/components/search/SearchContext.js`` and ``gui/src/utils.js``, the same in 1.3.17, 1.4.3 and
2.0.0 but where said:

* Parameters are written and read by the JavaScript library *qs*: brackets nest, a repeated name
  makes a list, and so does a comma that is not percent-encoded (1.3.0 and older left it so).
* Several values mean any-of or all-of, as `gui_filters` says; inside a section a list is sent bare,
  which is all-of. Dates are epoch milliseconds. A number carries the unit it was shown in, ``1.5 eV``;
  without one it is in the unit that NOMAD stores (1.3 fails there if the quantity has a dimension).
* ``visibility`` is the owner of the request, ``visible`` if absent. ``exclusive=true`` turns the
  elements into one text, ``elements_exclusive``. ``custom_quantities`` is a query object, encoded twice.
* Every app adds filters of its own that its addresses do not show.
* Names outside `gui_filters` make the page fail; custom ones work in the apps that include them.

The newer interface below ``/gui/v2`` is another program; how it writes addresses is not published.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from nomadquery.errors import NotExpressible
from nomadquery.query import dates
from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    Leaf,
    Optimade,
    Range,
    Value,
    Within,
    canonical,
)
from nomadquery.query.gui_filters import FILTERS, SECTIONS, Mode
from nomadquery.query.optimade_syntax import double_quoted
from nomadquery.query.params import LONGEST_ADDRESS_BYTES, SIDES

ELEMENTS: Final = "results.material.elements"
EXCLUSIVE: Final = "results.material.elements_exclusive"
OPTIMADE: Final = "optimade_filter"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Pairs = Iterator[tuple[str, str]]


def gui_address(
    criterion: Criterion, gui_base: str, *, nested_sections: Collection[str], owner: str | None = None
) -> str:
    """Return the address of the page that searches all entries for the resolved tree.

    Numbers stand in it without a unit, in the one that NOMAD stores, which 1.4 and later read.

    Parameters
    ----------
    gui_base : str
        Address of the web interface, such as ``https://nomad-lab.eu/prod/v1/gui``.
    nested_sections : collection of str
        Sections whose items the index keeps apart.
    owner : str or None
        Whose entries; ``None`` leaves it to the page, which takes ``visible``.

    Raises
    ------
    NotExpressible
        If the page has no filter for a part of the tree, or cannot combine the parts.
    """
    whole = canonical(criterion)
    pairs = [] if owner is None else [("visibility", owner)]
    asked: set[str] = set()
    for part in whole.criteria if isinstance(whole, And) else (whole,):
        written = list(_pairs(part, nested_sections))
        names = {key.partition("[")[0] for key, _ in written} - {OPTIMADE}
        if asked & names:
            raise NotExpressible(f"NOMAD's search page takes {', '.join(sorted(asked & names))} only once.")
        asked |= names
        pairs += written
    query = "&".join(f"{quote(key, safe='')}={quote(text, safe='')}" for key, text in pairs)
    address = f"{gui_base.rstrip('/')}/search/entries" + (f"?{query}" if query else "")
    if len(address) > LONGEST_ADDRESS_BYTES:
        raise NotExpressible(f"The address would have {len(address):,} bytes, more than servers take.")
    return address


def _pairs(part: Criterion, nested_sections: Collection[str]) -> _Pairs:
    match part:
        case Optimade(text):
            yield OPTIMADE, double_quoted(text)
        case Equals(name, str(elements)) if name == EXCLUSIVE:
            yield "exclusive", "true"
            yield from ((ELEMENTS, element) for element in elements.split())
        case Within(section, parts):
            yield from _section_pairs(section, parts)
        case HasAll(name) if any(name.startswith(f"{section}.") for section in nested_sections):
            raise NotExpressible(f"NOMAD's search page reads several values of {name} as: all in one item.")
        case Equals() | HasAny() | HasAll() | Range():
            mode = _mode(part.quantity)
            if isinstance(part, HasAny if mode != "any" else HasAll):
                word = {"any": "any-of", "all": "all-of"}.get(mode, "one value or bounds")
                raise NotExpressible(f"NOMAD's search page takes {word} at {part.quantity}, not this.")
            yield from _leaf_pairs(part, part.quantity, mode)
        case _:
            raise NotExpressible(
                f"NOMAD's search page joins filters with and; it has no {type(part).__name__.lower()}."
            )


def _section_pairs(section: str, parts: tuple[Criterion, ...]) -> _Pairs:
    if section not in SECTIONS:
        raise NotExpressible(f"NOMAD's search page cannot ask for one item of {section}.")
    asked: set[str] = set()
    for part in parts:
        if not isinstance(part, Equals | HasAll | Range) or part.quantity in asked:
            raise NotExpressible(
                f"Inside {section} NOMAD's search page takes one value, all-of, or bounds for each quantity."
            )
        asked.add(part.quantity)
        key = f"{section}[{part.quantity.removeprefix(f'{section}.')}]"
        yield from _leaf_pairs(part, key, _mode(part.quantity))


def _mode(name: str) -> Mode:
    if name not in FILTERS:
        raise NotExpressible(f"NOMAD's search page has no filter for {name}.")
    return FILTERS[name]


def _leaf_pairs(leaf: Leaf, key: str, mode: Mode) -> _Pairs:
    match leaf:
        case Range(name):
            if mode not in {"number", "date"}:
                raise NotExpressible(f"NOMAD's search page has no bounds at {name}.")
            bounds = [(side, getattr(leaf, side)) for side in SIDES if getattr(leaf, side) is not None]
            if not any(bound for _, bound in bounds):
                raise NotExpressible(f"NOMAD's search page fails on {name} with zero as its only bound.")
            yield from ((f"{key}[{side}]", _text(name, bound, mode)) for side, bound in bounds)
        case Equals(name, value):
            yield key, _text(name, value, mode)
        case _:
            yield from ((key, _text(leaf.quantity, value, mode)) for value in leaf.values)


def _text(name: str, value: Value, mode: Mode) -> str:
    """Return the text that the page reads as ``value``."""
    match mode, value:
        case (("any" | "all"), bool()):
            return "true" if value else "false"
        case (("any" | "all"), str()) if value and value not in {"true", "false"}:
            return value
        case "number", (int() | float()) if not isinstance(value, bool) and math.isfinite(value):
            return repr(value)
        case "date", str():
            since, rest = divmod(dates.moment_of(value) - _EPOCH, timedelta(milliseconds=1))
            if not rest:
                return str(since)
    raise NotExpressible(f"NOMAD's search page does not read {value!r} rightly at {name}.")
