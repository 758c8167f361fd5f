"""Find, obtain, check, keep and hide a token.

`find_credentials` looks where api.md says; `Login` turns what was found into the
``Authorization`` header of one deployment, logging in and confirming as needed.
A secret is only ever shown by `Secret.reveal`, which nothing but a request calls.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dotenv import dotenv_values

from nomadquery.errors import InvalidRequest, NotAuthenticated, NotPermitted, ResponseFormatError
from nomadquery.http.deployment import Deployment, find_deployment
from nomadquery.http.message import Headers, Reply, Request

_log = logging.getLogger(__name__)

#: Personal access tokens (NOMAD 1.4 and later) begin like this.
PAT_PREFIX: Final = "nomad_pat_"

#: A token is renewed this long before it ends, or a tenth of its life where that is shorter.
_RENEW_BEFORE_S = 30.0

_TOKEN_VARIABLES = ("NOMADQUERY_TOKEN", "NOMAD_CLIENT_ACCESS_TOKEN")
_LOGIN_VARIABLES = (("NOMAD_CLIENT_USER", "NOMAD_CLIENT_PASSWORD"), ("NOMAD_USERNAME", "NOMAD_PASSWORD"))
#: NOMAD's own client reads from here which deployment ``NOMAD_CLIENT_…`` is for.
_URL_VARIABLE = "NOMAD_CLIENT_URL"

Send = Callable[[Request, Headers], Reply]


class Secret:
    """A token or password that no ``repr``, ``str``, pickle or copy shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str | None) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret.

        Raises
        ------
        NotAuthenticated
            In a process that got this object by pickle: secrets do not travel.
        """
        if self._text is None:
            raise NotAuthenticated(
                "Credentials are not carried over to another process. Make the client there, "
                "or set NOMADQUERY_TOKEN, which child processes inherit."
            )
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "<hidden>"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> tuple[type[Secret], tuple[None]]:
        return (Secret, (None,))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What shows one deployment who asks: a token, a user name with a password, or nothing.

    Attributes
    ----------
    origin : str
        Where they came from, in words that complete "sent with …".
    api_base : str
        The deployment that they are for; they are sent to no other.
    """

    origin: str = "no credentials"
    api_base: str = ""
    token: Secret | None = None
    username: str | None = None
    password: Secret | None = None

    @property
    def is_anonymous(self) -> bool:
        """Whether there is nothing to show."""
        return self.token is None and self.password is None


ANONYMOUS: Final = Credentials()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server takes us for, where the credentials came from in words, and until when they hold.

    The user is ``None`` for nobody and where the token may not read its user; ``expires`` (UTC)
    where there is no token or it does not say.
    """

    user_id: str | None
    username: str | None
    name: str | None
    origin: str
    expires: datetime | None


def find_credentials(
    deployment: Deployment,
    *,
    token: str | None = None,
    username: str | None = None,
    password: str | None = None,
    environment: Mapping[str, str],
    working_folder: Path,
    config_folder: Path,
) -> Credentials:
    """Return the first credentials for ``deployment``, in the order of api.md; nothing is sent.

    Arguments; ``NOMADQUERY_TOKEN``; ``NOMAD_CLIENT_ACCESS_TOKEN``; ``NOMAD_CLIENT_USER`` and
    ``_PASSWORD``; ``NOMAD_USERNAME`` and ``NOMAD_PASSWORD``; the same names in ``.env`` of
    ``working_folder``; the token saved by ``nomadquery login`` below ``config_folder``.
    ``NOMAD_CLIENT_…`` is passed over if ``NOMAD_CLIENT_URL`` beside it names another host.
    Deployments inside this process take arguments only.

    Raises
    ------
    InvalidRequest
        If arguments give a user name without a password or the reverse, or both these and a token.
    NotAuthenticated
        If what was found cannot be a token, or the saved token can be read by others.
    """
    given = _from_arguments(deployment, token, username, password)
    if given is not None or deployment.in_process:
        return given or ANONYMOUS
    return (
        _from_variables(deployment, environment, "the variable {}")
        or _from_variables(deployment, _read_dotenv(working_folder / ".env"), "{} of the file .env")
        or _saved(deployment, saved_token_file(config_folder, deployment))
        or ANONYMOUS
    )


def saved_token_file(config_folder: Path, deployment: Deployment) -> Path:
    """Return where the token for ``deployment`` is kept: JSON ``{"api_base", "token"}``, mode 0600."""
    readable = re.sub(r"[^a-z0-9]+", "-", deployment.name.lower()).strip("-")[:60]
    digest = hashlib.sha256(deployment.api_base.encode()).hexdigest()[:8]
    return config_folder / "tokens" / f"{readable}-{digest}.json"


def token_request(username: str, password: Secret) -> Request:
    """Return the request for an access token (``grant_type`` is mandatory from NOMAD 1.4)."""
    form = (("grant_type", "password"), ("username", username), ("password", password.reveal()))
    return Request("POST", "auth/token", form=form, kind="account")


def users_me_request() -> Request:
    """Return the request for the account of whoever asks; 401 for the anonymous user."""
    return Request("GET", "users/me", kind="account")


def expiry_of(token: Secret) -> datetime | None:
    """Return when a token ends, read from it unverified; ``None`` where it does not say (PATs)."""
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), tz=UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


class Login:
    """Keeps the access token of one deployment current; safe to use from several threads."""

    def __init__(self, credentials: Credentials, *, clock: Callable[[], float]) -> None:
        self._credentials = credentials
        self._clock = clock
        self._lock = threading.Lock()
        self._token = credentials.token
        self._renew_at_s = float("inf")
        self._is_confirmed = not _is_pat(credentials.token)

    @property
    def origin(self) -> str | None:
        """Where the credentials came from and when they end, in words; ``None`` if there are none."""
        if self._credentials.is_anonymous:
            return None
        expires = None if self._credentials.token is None else expiry_of(self._credentials.token)
        if expires is None:
            return self._credentials.origin
        verb = "expired" if expires.timestamp() <= self._clock() else "expires"
        return f"{self._credentials.origin} ({verb} {expires:%Y-%m-%d %H:%M} UTC)"

    def headers(self, send: Send) -> Headers:
        """Return the header that shows who asks, empty for nobody.

        May send: with a password the request for a token, if there is none or it ends soon;
        with a personal access token one ``GET users/me``.

        Raises
        ------
        NotAuthenticated
            If the password is wrong, or the server does not know the personal access token.
        """
        if self._credentials.is_anonymous:
            return Headers()
        with self._lock:
            if self._credentials.password is not None and self._is_due():
                self._log_in(send)
            if not self._is_confirmed:
                self._confirm(send)
            return self._current()

    def renew_after(self, refused: Headers) -> bool:
        """Return whether a new token can be had after ``refused`` was answered by 401."""
        if self._credentials.password is None:
            return False
        with self._lock:
            if self._token is not None and self._current() == refused:
                self._token = None  # not one that another thread has fetched meanwhile
            return True

    def identity(self, send: Send) -> Identity:
        """Return who the server takes us for; one ``GET users/me``, for nobody none."""
        if self._credentials.is_anonymous:
            return Identity(None, None, None, self._credentials.origin, None)
        headers = self.headers(send)
        try:
            user = send(users_me_request(), headers).json()
        except NotPermitted:
            user = {}  # a personal access token without the scope users:read
        if not isinstance(user, dict):
            raise ResponseFormatError("NOMAD's `GET users/me` gives no user.")
        expires = None if self._token is None else expiry_of(self._token)
        return Identity(
            user.get("user_id"), user.get("username"), user.get("name"), self._credentials.origin, expires
        )

    def _is_due(self) -> bool:
        return self._token is None or self._clock() >= self._renew_at_s

    def _current(self) -> Headers:
        return (
            Headers() if self._token is None else Headers({"Authorization": f"Bearer {self._token.reveal()}"})
        )

    def _log_in(self, send: Send) -> None:
        username, password = self._credentials.username, self._credentials.password
        assert username is not None and password is not None  # both or none, see find_credentials
        answer = send(token_request(username, password), Headers()).json()
        if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
            raise ResponseFormatError("NOMAD's answer to a login holds no access token.")
        self._token = Secret(answer["access_token"])
        self._renew_at_s = self._clock() + _life_s(answer, self._token, self._clock())
        _log.debug("logged in with %s", self._credentials.origin)

    def _confirm(self, send: Send) -> None:
        try:
            send(users_me_request(), self._current())
        except NotPermitted:
            pass  # known, but without the scope users:read
        except NotAuthenticated as error:
            raise NotAuthenticated(
                f"NOMAD does not know the personal access token from {self._credentials.origin}: it has "
                "expired, was revoked, or belongs to another deployment. NOMAD would answer as to an "
                "anonymous user without saying so. Make a new token, or remove this one.",
                status=401,
                detail=error.detail,
            ) from error
        self._is_confirmed = True


def _is_pat(token: Secret | None) -> bool:
    return token is not None and token.reveal().startswith(PAT_PREFIX)


def _life_s(answer: Mapping[str, Any], token: Secret, now_s: float) -> float:
    """Return for how many seconds a fresh token is used; endless where nothing tells its end."""
    life = answer.get("expires_in")
    if not isinstance(life, int | float):  # NOMAD 1.3 leaves it out
        expires = expiry_of(token)
        life = float("inf") if expires is None else expires.timestamp() - now_s
    return float(life) - min(_RENEW_BEFORE_S, float(life) / 10)


def _from_arguments(
    deployment: Deployment, token: str | None, username: str | None, password: str | None
) -> Credentials | None:
    if (username is None) != (password is None):
        raise InvalidRequest("A login needs both username=… and password=….")
    if token is not None and username is not None:
        raise InvalidRequest("Pass either token=… or username=… and password=…, not both.")
    if token is not None:
        return _with_token(deployment, token, "the argument token")
    if username is not None and password is not None:
        return _with_password(deployment, username, password, "the argument password")
    return None


def _from_variables(deployment: Deployment, values: Mapping[str, str], origin: str) -> Credentials | None:
    usable = {name: value for name, value in values.items() if value.strip()}
    if _is_elsewhere(usable.get(_URL_VARIABLE), deployment):
        usable = {name: value for name, value in usable.items() if not name.startswith("NOMAD_CLIENT_")}
        _log.info("NOMAD_CLIENT_… is not used: %s names another host than %s", _URL_VARIABLE, deployment.name)
    for variable in _TOKEN_VARIABLES:
        if variable in usable:
            return _with_token(deployment, usable[variable], origin.format(variable))
    for user, password in _LOGIN_VARIABLES:
        if user in usable and password in usable:
            return _with_password(deployment, usable[user], usable[password], origin.format(password))
        if user in usable or password in usable:
            _log.warning("%s and %s are only used together; one of them is not set", user, password)
    return None


def _is_elsewhere(url: str | None, deployment: Deployment) -> bool:
    if url is None:
        return False
    try:
        meant = find_deployment(url)
    except InvalidRequest:
        return True  # nobody can say where these may be sent
    return urlsplit(meant.api_base).hostname != urlsplit(deployment.api_base).hostname


def _read_dotenv(file: Path) -> dict[str, str]:
    """Return what a ``.env`` sets; nothing is expanded from or written into the environment."""
    if not file.is_file():  # virtual environments are called .env too
        return {}
    try:
        values = dotenv_values(file, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("%s is not used: it cannot be read (%s)", file, type(error).__name__)
        return {}
    return {name: value for name, value in values.items() if value is not None}


def _saved(deployment: Deployment, file: Path) -> Credentials | None:
    if not file.is_file():
        return None
    again = "Remove it, and save a new one with `nomadquery login`."
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise NotAuthenticated(
            f"The saved token {file} can be read by other users, so it is not used. {again}"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        base, token = content["api_base"], content["token"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotAuthenticated(f"The saved token {file} cannot be read. {again}") from error
    if base != deployment.api_base:
        raise NotAuthenticated(
            f"The saved token {file} is for {base}, not for {deployment.api_base}. {again}"
        )
    return _with_token(deployment, token, "the token saved by `nomadquery login`")


def _with_token(deployment: Deployment, token: object, origin: str) -> Credentials:
    text = token.strip() if isinstance(token, str) else ""
    if text.lower().startswith("bearer "):
        text = text[7:].strip()
    if not re.fullmatch(r"[!-~]+", text):
        raise NotAuthenticated(
            f"What stands in {origin} cannot be a token: it is empty, or has blanks or characters that no "
            "token has. Copy it again, whole and without quotes."
        )
    return Credentials(origin, deployment.api_base, token=Secret(text))


def _with_password(deployment: Deployment, username: str, password: str, origin: str) -> Credentials:
    return Credentials(origin, deployment.api_base, username=username.strip(), password=Secret(password))
