"""``nomadquery serve``."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import click

from nomadquery.cli.asked import cache_option
from nomadquery.http.deployment import find_deployment
from nomadquery.local import server
from nomadquery.local.demo import open_demo
from nomadquery.local.store import LocalStore
from nomadquery.session import cache_folder


@click.command("serve")
@click.argument("where", default="demo")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="Port to listen on; by default a free one."
)
@cache_option
def serve(where: str, port: int, cache_dir: Path | None) -> None:
    """Put a local deployment on a port of this machine, until Ctrl-C.

    WHERE is demo (the default), local, or the folder of a local deployment. The address of its API is
    printed. Only programs on this machine reach it.
    """
    store = opened(where, cache_dir)
    try:
        with server.serve(store, port=port) as api_base, suppress(KeyboardInterrupt):
            click.echo(f"{store.count:,} entries. Ask with: nomadquery count -d {api_base}", err=True)
            click.echo("Ctrl-C ends it.", err=True)
            click.echo(api_base)
            threading.Event().wait()
    finally:
        store.close()


def opened(where: str, cache_dir: Path | None) -> LocalStore:
    """Return the store of a deployment that runs in a process.

    Raises
    ------
    click.BadParameter
        If ``where`` is a deployment that runs elsewhere.
    """
    deployment = find_deployment(where)
    if deployment.kind == "demo":
        return open_demo(cache_folder(cache_dir, os.environ) / "demo")
    if deployment.folder is None:
        raise click.BadParameter(
            f"{where} runs elsewhere; serve takes demo, local or a folder.", param_hint="WHERE"
        )
    return LocalStore(deployment.folder)
