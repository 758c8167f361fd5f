"""What sheets (``.xlsx``) need, said before anything is fetched."""

from __future__ import annotations

from importlib.util import find_spec

import click


def check_openpyxl() -> None:
    """Refuse, before anything is fetched, if sheets can be neither read nor written here.

    Raises
    ------
    click.UsageError
        If openpyxl is not installed.
    """
    if find_spec("openpyxl") is None:
        raise click.UsageError('Sheets (.xlsx) need openpyxl: pip install "nomadquery[excel]".')
