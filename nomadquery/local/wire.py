"""The wire to a local deployment in this process: no socket, no waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from nomadquery.http.message import Headers, Reply, Request, Stream, WireFailure
from nomadquery.local.routes import LocalDeployment, address_of
from nomadquery.local.store import LocalStore

#: What stands before the path in the address of an answer.
API_BASE: Final = "nomadquery://local/api/v1"


_READ_BYTES: Final = 1 << 20


class LocalWire:
    """Carries requests to the deployment over ``store``; closing it leaves the store open."""

    def __init__(self, store: LocalStore, *, api_base: str = API_BASE) -> None:
        self._deployment = LocalDeployment(store)
        self._api_base = api_base

    def exchange(self, request: Request, headers: Mapping[str, str]) -> Reply:
        """Return the answer; ``headers`` are not looked at, because nobody is logged in."""
        with self.open(request, headers) as stream:
            body = b"".join(iter(lambda: stream.read(_READ_BYTES), b""))
            return Reply(stream.status, stream.headers, body, stream.url)

    @contextmanager
    def open(self, request: Request, headers: Mapping[str, str]) -> Iterator[Stream]:  # noqa: ARG002
        """Give the answer to be read piece by piece."""
        answer = self._deployment.respond(request, api_base=self._api_base)
        try:
            read = _Reader(answer.blocks).read
            yield Stream(answer.status, Headers(answer.headers), address_of(request, self._api_base), read)
        finally:
            answer.close()

    def close(self) -> None:
        """Do nothing: there is no connection to give back."""


class _Reader:
    """Reads blocks as a file: what fails once a body has begun cuts it short, as on a network."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._left = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._left:
            try:
                self._left = memoryview(next(self._blocks))
            except StopIteration:
                return b""
            except Exception as error:
                raise WireFailure("truncated", f"the answer was cut short: {error!r}") from error
        piece, self._left = self._left[:size], self._left[size:]
        return bytes(piece)
