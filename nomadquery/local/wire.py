"""The wire to a local deployment in this process: no socket, no waiting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from nomadquery.http.message import Reply, Request, Stream, stream_of
from nomadquery.local.routes import LocalDeployment
from nomadquery.local.store import LocalStore

#: What stands before the path in the address of an answer.
API_BASE: Final = "nomadquery://local/api/v1"


class LocalWire:
    """Carries requests to the deployment over ``store``; closing it leaves the store open."""

    def __init__(self, store: LocalStore, *, api_base: str = API_BASE) -> None:
        self._deployment = LocalDeployment(store)
        self._api_base = api_base

    def exchange(self, request: Request, headers: Mapping[str, str]) -> Reply:  # noqa: ARG002
        """Return the answer; ``headers`` are not looked at, because nobody is logged in."""
        return self._deployment.answer(request, api_base=self._api_base)

    @contextmanager
    def open(self, request: Request, headers: Mapping[str, str]) -> Iterator[Stream]:
        """Give the answer to be read piece by piece."""
        yield stream_of(self.exchange(request, headers))

    def close(self) -> None:
        """Do nothing: there is no connection to give back."""
