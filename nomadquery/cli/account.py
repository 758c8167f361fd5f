"""``nomadquery whoami`` and ``nomadquery login``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from nomadquery.cli.asked import Asked, asked_options
from nomadquery.cli.words import on_one_line
from nomadquery.client import Nomad
from nomadquery.errors import ResponseFormatError
from nomadquery.http.auth import Identity, saved_token_file
from nomadquery.http.deployment import Deployment, default_deployment, find_deployment
from nomadquery.session import config_folder
from nomadquery.store.files import save_token

#: Longest life of an app token that NOMAD gives by default (``services.app_token_max_expires_in``): 30 days.
_LIFE_S: Final = 30 * 24 * 3600


@click.command("whoami")
@asked_options
def whoami(asked: Asked) -> None:
    """Print who the server takes you for, where the credentials came from, and until when they hold."""
    with asked.client() as nomad:
        _print_identity(nomad.deployment, nomad.whoami())


@click.command("login")
@click.option("-d", "--deployment", metavar="WHERE", help="prod (the default), staging, test, or an address.")
def login(deployment: str | None) -> None:
    """Ask for a token, or for user name and password, check them, and save a token.

    With a password an app token is asked for, which lasts 30 days. The file can be read by you only. A
    token may also come through a pipe: nomadquery login < file.
    """
    target = find_deployment(deployment) if deployment else default_deployment()
    if target.in_process:
        raise click.BadParameter(f"{target.name} knows no users.", param_hint="--deployment")
    token = _asked_token(target) if sys.stdin.isatty() else sys.stdin.readline().strip()
    with Nomad(deployment, token=token) as nomad:
        identity = nomad.whoami()
    file = _saved(target, token)
    _print_identity(target.name, identity)
    click.echo(f"saved in {file}", err=True)


def _asked_token(target: Deployment) -> str:
    """Return the token that is typed, or an app token for the user name and password that are."""
    username = click.prompt("User name (empty to paste a token)", default="", show_default=False, err=True)
    if not username:
        return str(click.prompt("Token", hide_input=True, err=True))
    password = click.prompt("Password", hide_input=True, err=True)
    with Nomad(target.api_base, username=username, password=password) as nomad:
        answer: Any = nomad.request("GET", "auth/app_token", params={"expires_in": str(_LIFE_S)})
    if not isinstance(answer, dict) or not isinstance(answer.get("app_token"), str):
        raise ResponseFormatError("NOMAD's `GET auth/app_token` gives no token.")
    return str(answer["app_token"])


def _saved(target: Deployment, token: str) -> Path:
    file = saved_token_file(config_folder(), target)
    save_token(file, {"api_base": target.api_base, "token": token})
    return file


def _print_identity(deployment: str, who: Identity) -> None:
    known = " ".join(filter(None, (who.name, f"({who.username})" if who.username else None)))
    lines = {"deployment": deployment, "user": known or who.user_id or "nobody", "from": who.origin}
    if who.expires is not None:
        lines["expires"] = f"{who.expires:%Y-%m-%d %H:%M} UTC"
    for name, value in lines.items():
        click.echo(f"{name:<12}{on_one_line(value)}")
