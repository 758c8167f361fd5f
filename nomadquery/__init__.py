"""Ask NOMAD and get a complete table with units; fetch files; give results back."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nomadquery.frames import register_accessor_if_loaded

if TYPE_CHECKING:
    from nomadquery.client import Nomad
    from nomadquery.frames import concat
    from nomadquery.locked import from_lock
    from nomadquery.query.quantity import Q, optimade, within
    from nomadquery.query.query import Query
    from nomadquery.search import Search, Table
    from nomadquery.store.pins import Lock
    from nomadquery.units import ureg

__all__ = [
    "Lock",
    "Nomad",
    "Q",
    "Query",
    "Search",
    "Table",
    "concat",
    "from_lock",
    "optimade",
    "ureg",
    "within",
]
__version__ = "0.1.0"

#: Where each public name lives; its room is imported when the name is first used, so that the
#: command line and other tools start without the transport, the tables and the catalogue.
_ROOMS = {
    "Lock": "store.pins",
    "Nomad": "client",
    "Q": "query.quantity",
    "Query": "query.query",
    "Search": "search",
    "Table": "search",
    "concat": "frames",
    "from_lock": "locked",
    "optimade": "query.quantity",
    "ureg": "units",
    "within": "query.quantity",
}

register_accessor_if_loaded()


def __getattr__(name: str) -> Any:
    """Give a public name, importing its room when it is first used."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
