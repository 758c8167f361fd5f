"""``nomadquery quantities``."""

from __future__ import annotations

import click

from nomadquery.cli.asked import Asked, asked_options
from nomadquery.cli.output import Output, give_frame, output_options


@click.command("quantities")
@click.argument("like", required=False)
@asked_options
@output_options
def quantities(like: str | None, asked: Asked, output: Output) -> None:
    """List what can be asked and selected: name, short name, type, unit, searchable, returnable.

    LIKE keeps names that contain it, or else the nearest ones. Nothing is sent.
    """
    with asked.client() as nomad:
        give_frame(nomad.quantities(like), output)
