"""Every error that nomadquery raises.

::

    NomadError
    ├── QueryError(ValueError)     QuantityNotFound · UnitError · NotExpressible · WouldBeMisread
    ├── TransportError             Unreachable · RateLimited · ServerFailure(status)
    ├── RequestRefused(status)     NotAuthenticated · NotPermitted · NotFound · InvalidRequest(detail)
    │                              · NotSupported(release)
    ├── ResponseFormatError        an answer that is not what the endpoint promises
    ├── IncompleteResult           ResultChanged · DownloadTruncated
    ├── MissingQuantity(AttributeError)
    ├── UploadError                DraftInvalid · ProcessingFailed · ProcessingTimeout · NotPublishable
    │                              · WriteNotNamed
    ├── LockMismatch
    ├── UnsafeContent              a name or archive from outside that would leave its folder or its bounds
    └── CacheError                 CacheCorrupt · CacheFormatTooNew

A class names what failed; its attributes carry the facts; its message says what was
asked, what came back and what to do next. Messages never hold a token or a password.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NomadError(Exception):
    """Something that nomadquery was asked to do could not be done."""


class QueryError(NomadError, ValueError):
    """A query or column that NOMAD would not understand, found before anything is sent."""


class QuantityNotFound(QueryError):
    """No quantity of that name is known.

    Attributes
    ----------
    name : str
        The name as it was asked for.
    nearest : tuple of str
        Known names that resemble it, best first.
    """

    def __init__(self, message: str, *, name: str = "", nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.nearest = nearest


class UnitError(QueryError):
    """A number lacks its unit, or has one of another dimension."""


class NotExpressible(QueryError):
    """The question has a meaning, but the target (a server, a GET address) cannot say it."""


class WouldBeMisread(QueryError):
    """NOMAD would accept this request and answer another question."""


class TransportError(NomadError):
    """No usable answer arrived, although the request was repeated as far as allowed."""


class Unreachable(TransportError):
    """The server could not be connected to, or stopped answering.

    Attributes
    ----------
    is_timeout : bool
        Whether it was reached and stayed silent for too long.
    """

    def __init__(self, message: str, *, is_timeout: bool = False) -> None:
        super().__init__(message)
        self.is_timeout = is_timeout


class RateLimited(TransportError):
    """The server kept refusing because of too many requests (429 or 503)."""


class ServerFailure(TransportError):
    """The server kept failing.

    Attributes
    ----------
    status : int
        The last HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class RequestRefused(NomadError):
    """The server understood the request and refused it.

    Attributes
    ----------
    status : int
        The HTTP status, 0 where the client refused on the server's behalf.
    detail : object
        What the server said: text, a list of objects or an object.
    """

    def __init__(self, message: str, *, status: int = 0, detail: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail


class NotAuthenticated(RequestRefused):
    """The request needs a login, or the token is not (or no longer) valid (401)."""


class NotPermitted(RequestRefused):
    """The user may not do this (403)."""


class NotFound(RequestRefused):
    """The thing asked for does not exist, or may not be seen (404)."""


class InvalidRequest(RequestRefused, ValueError):
    """The server finds the request itself wrong (400, 422)."""


class NotSupported(RequestRefused):
    """This release or deployment does not offer what was asked.

    Attributes
    ----------
    release : str or None
        The release that was talked to.
    """

    def __init__(
        self, message: str, *, status: int = 0, detail: Any = None, release: str | None = None
    ) -> None:
        super().__init__(message, status=status, detail=detail)
        self.release = release


class ResponseFormatError(NomadError):
    """An answer is not what the endpoint promises."""


class IncompleteResult(NomadError):
    """Some of the promised rows could not be had; what arrived is kept.

    Attributes
    ----------
    n_arrived, n_missing : int
        Entries that arrived and entries that are missing.
    missing : tuple of str
        The missing entry ids, as far as they are known.
    why : str
        Why they are missing.
    results : pandas.DataFrame or None
        What a function that was mapped over the entries made of those that arrived.
    """

    def __init__(
        self,
        message: str,
        *,
        n_arrived: int = 0,
        n_missing: int = 0,
        missing: tuple[str, ...] = (),
        why: str = "",
        results: Any = None,
    ) -> None:
        super().__init__(message)
        self.n_arrived = n_arrived
        self.n_missing = n_missing
        self.missing = missing
        self.why = why
        self.results = results
        self._resume: Callable[[], object] | None = None
        self._arrived: Callable[[], Any] | None = None

    def resume(self) -> None:
        """Fetch what is missing, going on where it stopped; afterwards the same call gives the whole table.

        Raises
        ------
        IncompleteResult
            If something is still missing.
        """
        if self._resume is None:
            raise RuntimeError("Run the same call again: it goes on where it stopped.")
        self._resume()

    def arrived(self) -> Any:
        """Return the rows that are here as a pyarrow.Table, in the order of their entry ids."""
        if self._arrived is None:
            raise RuntimeError("What arrived is kept, and is given once all of it is here.")
        return self._arrived()

    def can_go_on(self, resume: Callable[[], object], arrived: Callable[[], Any]) -> None:
        """Say how `resume` and `arrived` do what they promise."""
        self._resume, self._arrived = resume, arrived

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {"n_arrived": self.n_arrived, "n_missing": self.n_missing, "missing": self.missing}
        return _incomplete, (type(self), str(self), {**facts, "why": self.why, "results": self.results})


def _incomplete(kind: type[IncompleteResult], message: str, facts: dict[str, Any]) -> IncompleteResult:
    return kind(message, **facts)


class ResultChanged(IncompleteResult):
    """The data on the server changed while they were being read."""


class DownloadTruncated(IncompleteResult):
    """A file or zip ended before its end."""


class MissingQuantity(NomadError, AttributeError):
    """The entry does not have this quantity."""


class UploadError(NomadError):
    """An upload could not be made, processed or published."""


class DraftInvalid(UploadError, ValueError):
    """The draft would be refused or misread by NOMAD."""


class ProcessingFailed(UploadError):
    """NOMAD could not process the upload or some of its entries."""


class ProcessingTimeout(UploadError):
    """The upload was still being processed when the time was up."""


class NotPublishable(UploadError):
    """The upload does not meet what NOMAD demands for publishing."""


class WriteNotNamed(UploadError):
    """Writing needs a deployment that was named explicitly."""


class LockMismatch(NomadError):
    """The server no longer holds what the lockfile pins.

    Attributes
    ----------
    changed : tuple of str
        Ids of entries that were processed again, or edited, since.
    removed : tuple of str
        Ids of entries that are gone, or may not be seen.
    """

    def __init__(self, message: str, *, changed: tuple[str, ...] = (), removed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.changed = changed
        self.removed = removed


class UnsafeContent(NomadError):
    """A name or archive from outside would leave its folder or its bounds."""


class CacheError(NomadError):
    """The local cache cannot be used as it is."""


class CacheCorrupt(CacheError):
    """A cached file is damaged."""


class CacheFormatTooNew(CacheError):
    """The cache was written by a newer nomadquery."""
