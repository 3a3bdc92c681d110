"""`brainbrr config`: settings and where they came from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.look.configuration import Configuration


@command("config", example="brainbrr config --schema recipe > recipe.schema.json")
@click.option("--schema", "name", metavar="NAME", help="Print a JSON Schema instead: recipe, train or window.")
@click.option("--runs", metavar="DIR", help="The folder of runs, as for `train`.")
def config(session: Session, *, name: str | None) -> int:
    """Show every setting, its value and where it came from: flag, environment, config file or default."""
    from brainbrr.look.configuration import configuration, schema

    if name is not None:
        session.out.text(json.dumps(schema(name), indent=2))
        return 0
    session.show(configuration(session.settings), table)
    return 0


def table(out: Output, report: Configuration) -> None:
    """Show settings with their origin."""
    out.table(("setting", "value", "from"), report.settings)
