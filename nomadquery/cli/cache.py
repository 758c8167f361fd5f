"""``nomadquery cache``: the tables kept on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nomadquery import cache as tables
from nomadquery.cli.asked import cache_option
from nomadquery.cli.output import Output, give_frame, output_options
from nomadquery.cli.words import on_one_screen
from nomadquery.errors import CacheCorrupt


@click.group("cache")
def cache() -> None:
    """List, show, remove, verify and pack the tables and archives kept on this machine."""


@cache.command("list")
@cache_option
@output_options
def list_(cache_dir: Path | None, output: Output) -> None:
    """List the tables and archives, the last fetched first."""
    give_frame(tables.list_tables(cache_dir), output)


@cache.command()
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@cache_option
def show(key: str, as_json: bool, cache_dir: Path | None) -> None:
    """Print what is known of one table: question, columns, files, and what rows lack.

    KEY may be the first letters of a key.
    """
    facts = tables.describe(key, folder=cache_dir)
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    for name, value in facts.items():
        if value not in (None, [], {}):
            click.echo(f"{name:<12}{on_one_screen(_shown(value))}")


@cache.command()
@click.argument("keys", nargs=-1, required=True)
@cache_option
def remove(keys: tuple[str, ...], cache_dir: Path | None) -> None:
    """Remove tables. KEYS may be first letters of keys."""
    for key in keys:
        click.echo(f"removed {tables.remove(key, folder=cache_dir)}", err=True)


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@cache_option
def clear(yes: bool, cache_dir: Path | None) -> None:
    """Remove all tables."""
    if not yes:
        click.confirm("Remove all tables?", abort=True, err=True)
    click.echo(f"removed {len(tables.clear(folder=cache_dir))} tables", err=True)


@cache.command()
@click.argument("keys", nargs=-1)
@cache_option
@output_options
def verify(keys: tuple[str, ...], cache_dir: Path | None, output: Output) -> None:
    """Read tables to their end and compare hashes, all without KEYS; exit code 1 if one is damaged."""
    found = tables.verify(*keys, folder=cache_dir)
    give_frame(found, output)
    damaged = list(found["key"][found["damage"].notna()])
    if damaged:
        raise CacheCorrupt(
            f"Damaged: {', '.join(damaged)}. Remove them: nomadquery cache remove {' '.join(damaged)}"
        )


@cache.command()
@click.argument("keys", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write.",
)
@cache_option
def pack(keys: tuple[str, ...], file: Path, cache_dir: Path | None) -> None:
    """Write tables or archives into one file, for a machine without a network. KEYS may be first letters."""
    written = tables.pack(*keys, to=file, folder=cache_dir)
    click.echo(f"wrote {written} ({written.stat().st_size:,} bytes)", err=True)


@cache.command()
@click.argument("packed", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@cache_option
@output_options
def unpack(packed: Path, cache_dir: Path | None, output: Output) -> None:
    """Put the tables of a packed FILE into the cache; a newer one stays. Print what became of each."""
    give_frame(tables.unpack(packed, folder=cache_dir), output)


def _shown(value: Any) -> str:
    """Return lists and mappings with one item a line, below each other."""
    if isinstance(value, dict):
        value = [f"{name} in {unit}" if unit else name for name, unit in value.items()]
    if isinstance(value, list):
        lines = [
            " ".join(filter(None, item.values())) if isinstance(item, dict) else str(item) for item in value
        ]
        return f"\n{'':<12}".join(lines)
    return f"{value:,}" if isinstance(value, int) else str(value)
