"""Which NOMAD is meant: a name, an address in any spelling that people paste, or a folder."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

import platformdirs

from nomadquery.errors import InvalidRequest, ResponseFormatError

#: Releases whose quirks and quantities are known, newest first.
RELEASES = ("2.0.0", "1.4.3", "1.3.17")

_CENTRAL = "https://nomad-lab.eu/prod/v1"
_CENTRAL_BASES = {
    "prod": f"{_CENTRAL}/api/v1",
    "staging": f"{_CENTRAL}/staging/api/v1",
    "test": f"{_CENTRAL}/test/api/v1",
}
_CENTRAL_HOSTS = frozenset({"nomad-lab.eu", "www.nomad-lab.eu"})
_FORMER_HOSTS = frozenset({"repository.nomad-coe.eu", "repository.nomad-lab.eu"})
_NAMES = (*_CENTRAL_BASES, "demo", "local")

#: What follows the prefix of a deployment in the addresses of its parts.
_PARTS = frozenset({"gui", "api", "docs", "alive", "optimade", "dcat", "h5grove", "north", "resources"})
_DEFAULT_OASIS_PREFIX = "/nomad-oasis"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Deployment:
    """One NOMAD deployment.

    Attributes
    ----------
    name : str
        ``"prod"``, ``"staging"``, ``"test"``, ``"demo"``, ``"local"``; else the address without its
        scheme, or the folder.
    api_base : str
        Address of its API, without a trailing slash. For a deployment inside this process it only
        tells it from others: ``nomadquery:demo`` or the address of its folder.
    kind : {"central", "oasis", "local", "folder", "demo"}
        ``local``, ``folder`` and ``demo`` run inside this process.
    folder : Path or None
        Where a deployment inside this process keeps its data; the demo has its own, shipped.
    is_named : bool
        Whether the user named it. Writing needs a deployment that was named.
    """

    name: str
    api_base: str
    kind: Literal["central", "oasis", "local", "folder", "demo"]
    folder: Path | None = None
    is_named: bool = True

    @property
    def in_process(self) -> bool:
        """Whether it runs inside this process, without a network."""
        return self.kind in ("local", "folder", "demo")

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written to it by anybody."""
        return self.kind == "demo"


def default_deployment() -> Deployment:
    """Return the deployment of whoever names none: the public one, for reading."""
    return Deployment("prod", _CENTRAL_BASES["prod"], "central", is_named=False)


def find_deployment(where: str | Path) -> Deployment:
    """Return the deployment that ``where`` names; nothing is sent.

    Parameters
    ----------
    where : str or Path
        ``"prod"``, ``"staging"``, ``"test"``, ``"demo"``, ``"local"``; the address of a NOMAD with or
        without scheme, ``/gui/…`` or ``/api/v1/…``, as copied from a browser; or the folder of a
        local deployment: a ``Path``, an existing folder, or a text with a separator that does not
        begin with a host. The folder need not exist yet.

    Notes
    -----
    The central hosts are always spoken to by https. Elsewhere a given scheme is kept; without one
    it is http for loopback, bare IP addresses and hosts without a dot or in ``.local``, else https.
    A bare host means NOMAD's default prefix ``/nomad-oasis``, on a loopback port none.

    Raises
    ------
    InvalidRequest
        If ``where`` is none of these. It is a ``ValueError``; its status is 0.
    """
    if isinstance(where, Path):
        return _at_folder(where)
    if not isinstance(where, str):
        raise TypeError(f"a deployment is named by a text or a Path, not by {type(where).__name__}")
    text = where.strip().strip("<>\"'").strip()
    name = text.lower()
    if name in _CENTRAL_BASES:
        return Deployment(name, _CENTRAL_BASES[name], "central")
    if name == "demo":
        return Deployment("demo", "nomadquery:demo", "demo")
    if name == "local":
        folder = platformdirs.user_data_path("nomadquery", appauthor=False) / "local"
        return Deployment("local", folder.as_uri(), "local", folder)
    if _is_folder(text):
        return _at_folder(Path(text))
    return _at_address(text)


def release_of(info: Mapping[str, Any]) -> str:
    """Return which of `RELEASES` behaves like the server that gave this answer to ``GET info``.

    The newest known release that is not newer than the server's by its first two numbers;
    servers older than all known ones count as the oldest.

    Raises
    ------
    ResponseFormatError
        If ``version`` is missing or does not begin with two numbers.
    """
    version = info.get("version")
    numbers = re.match(r"v?(\d+)\.(\d+)", version) if isinstance(version, str) else None
    if numbers is None:
        raise ResponseFormatError(f"NOMAD's `GET info` gives no version that can be read: {version!r}")
    server = (int(numbers[1]), int(numbers[2]))
    for release in RELEASES:
        major, minor, _ = release.split(".")
        if (int(major), int(minor)) <= server:
            return release
    return RELEASES[-1]


def _is_folder(text: str) -> bool:
    if "://" in text or not text:
        return False
    if text.startswith(("/", "./", "../", "~", ".\\", "..\\", "\\")) or text in (".", ".."):
        return True
    if re.match(r"[A-Za-z]:[\\/]", text):  # a drive of Windows
        return True
    try:
        if Path(text).is_dir():
            return True
    except (OSError, ValueError):
        return False  # too long for a file name, or with a null byte
    first, separator, _ = text.replace("\\", "/").partition("/")
    return bool(separator) and not _looks_like_host(first)


def _looks_like_host(text: str) -> bool:
    return "." in text.strip(".") or ":" in text or text.lower() == "localhost"


def _at_folder(folder: Path) -> Deployment:
    try:
        whole = folder.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidRequest(
            f"{str(folder)!r} cannot be the folder of a local deployment: {error}"
        ) from error
    if whole.exists() and not whole.is_dir():
        raise InvalidRequest(f"{str(whole)!r} is a file; a local deployment is kept in a folder.")
    return Deployment(str(whole), whole.as_uri(), "folder", whole)


def _at_address(text: str) -> Deployment:
    parts = _split(text)
    host = _host_of(parts, text)
    segments = [segment for segment in parts.path.split("/") if segment]
    cut = next((i for i, segment in enumerate(segments) if segment in _PARTS), None)
    prefix = "".join(f"/{segment}" for segment in segments[:cut])
    is_default_port = parts.port in (None, *_DEFAULT_PORTS.values())
    if host in _CENTRAL_HOSTS and is_default_port:
        return _central(prefix, text)
    if host in _FORMER_HOSTS:
        return Deployment("prod", _CENTRAL_BASES["prod"], "central")
    if not segments and (is_default_port or not _is_loopback(host)):
        prefix = _DEFAULT_OASIS_PREFIX
    where = f"[{host}]" if ":" in host else host
    if parts.port not in (None, _DEFAULT_PORTS.get(parts.scheme)):
        where += f":{parts.port}"
    return Deployment(where + prefix, f"{parts.scheme}://{where}{prefix}/api/v1", "oasis")


def _central(prefix: str, text: str) -> Deployment:
    """Return the deployment below ``prefix`` of the central host; the host itself is the public one."""
    match prefix.strip("/").split("/"):
        case [""] | ["prod"] | ["prod", "v1"] | ["prod", "rae", *_]:
            name = "prod"
        case ["prod", "v1", ("staging" | "test") as name]:
            pass
        case ["prod", "v1", *_]:
            return Deployment(f"nomad-lab.eu{prefix}", f"https://nomad-lab.eu{prefix}/api/v1", "central")
        case _:
            raise InvalidRequest(
                f"{text!r} is a page of nomad-lab.eu, not a NOMAD deployment. Those there are named "
                "'prod', 'staging' and 'test'."
            )
    return Deployment(name, _CENTRAL_BASES[name], "central")


def _split(text: str) -> SplitResult:
    """Return the parts of an address, with a scheme; user names, blanks and other schemes are refused."""
    has_scheme = "://" in text
    try:
        parts = urlsplit(text if has_scheme else f"//{text}")
        port = parts.port
    except ValueError as error:
        raise _unknown(text) from error
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest(
            "The address of the deployment holds a user name or password (…@host). Leave them out there and "
            "pass username=… and password=…, or a token."
        )
    if has_scheme and parts.scheme not in _DEFAULT_PORTS:
        raise InvalidRequest(f"{text!r} is no http or https address. {_what_is_known()}")
    if not has_scheme:
        parts = parts._replace(scheme=_scheme_for(parts.hostname or "", port))
    return parts


def _host_of(parts: SplitResult, text: str) -> str:
    """Return the host in small letters, if it can be one."""
    host = (parts.hostname or "").rstrip(".")
    if _address_of(host) is not None:
        return host
    is_named_host = re.fullmatch(r"[^\W_]([\w-]*[\w])?(\.[^\W_]([\w-]*[\w])?)*", host) is not None
    if not is_named_host or ("://" not in text and not _looks_like_host(parts.netloc)):
        raise _unknown(text)
    return host


def _scheme_for(host: str, port: int | None) -> str:
    if port in _DEFAULT_PORTS.values():
        return "http" if port == 80 else "https"
    is_near = _address_of(host) is not None or "." not in host or host.endswith(".local")
    return "http" if is_near else "https"


def _is_loopback(host: str) -> bool:
    address = _address_of(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _unknown(text: str) -> InvalidRequest:
    near = difflib.get_close_matches(text.lower(), _NAMES, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InvalidRequest(f"{text!r} names no NOMAD deployment.{hint} {_what_is_known()}")


def _what_is_known() -> str:
    return (
        f"Known are {', '.join(map(repr, _NAMES))}, the address of an Oasis (https://host/nomad-oasis) "
        "and the folder of a local deployment (./folder)."
    )
