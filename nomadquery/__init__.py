"""Ask NOMAD and get a complete table with units; fetch files; give results back."""

from nomadquery.client import Nomad
from nomadquery.query.quantity import Q, optimade, within
from nomadquery.query.query import Query
from nomadquery.search import Search, Table

__all__ = ["Nomad", "Q", "Query", "Search", "Table", "optimade", "within"]
__version__ = "0.1.0"
