"""Ask NOMAD and get a complete table with units; fetch files; give results back."""

from nomadquery.query.quantity import Q, optimade, within
from nomadquery.query.query import Query

__all__ = ["Q", "Query", "optimade", "within"]
__version__ = "0.1.0"
