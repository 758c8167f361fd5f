"""Ask NOMAD and get a complete table with units; fetch files; give results back."""

from typing import Any

from nomadquery.client import Nomad
from nomadquery.frames import concat, register_accessor_if_loaded
from nomadquery.query.quantity import Q, optimade, within
from nomadquery.query.query import Query
from nomadquery.search import Search, Table
from nomadquery.units import registry

__all__ = ["Nomad", "Q", "Query", "Search", "Table", "concat", "optimade", "ureg", "within"]
__version__ = "0.1.0"

register_accessor_if_loaded()


def __getattr__(name: str) -> Any:
    """Give ``ureg``, pint's application registry, importing pint when it is first used."""
    if name == "ureg":
        return registry()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
