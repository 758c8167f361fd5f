"""``nomadquery explain``."""

from __future__ import annotations

import json

import click

from nomadquery.cli.question import Question, question_options
from nomadquery.http.deployment import RELEASES


@click.command("explain")
@question_options
@click.option("--json", "form", flag_value="json", help="Print only the JSON that NOMAD is sent.")
@click.option("--python", "form", flag_value="python", help="Print only the Python that builds the query.")
@click.option(
    "--release", type=click.Choice(RELEASES), help="The release whose JSON is wanted; else the newest."
)
def explain(question: Question, form: str | None, release: str | None) -> None:
    """Print a question in words, as Python and as NOMAD's JSON. Nothing is sent."""
    query = question.as_query()
    if form is None:
        click.echo(query.explain() + "\n")
    if form != "json":
        click.echo(repr(query) + ("" if form else "\n"))
    if form != "python":
        click.echo(json.dumps(query.to_json(release=release), indent=2, ensure_ascii=False))
