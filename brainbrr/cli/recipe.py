"""`brainbrr recipe`: the recipes of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import RECIPE, Session, command
from brainbrr.cli.output import Output, many, size
from brainbrr.errors import Fix, UsageError

if TYPE_CHECKING:
    from brainbrr.views.retention import RecipesReport


@command("recipe", exits=(4,), example="brainbrr recipe list && brainbrr recipe retire upstream")
@click.argument("action", type=click.Choice(["list", "show", "retire", "restore"]))
@click.argument("recipe", required=False, type=RECIPE)
def recipe(session: Session, *, action: str, recipe: str | None) -> int:
    """List the recipes of a store, or show, retire or restore RECIPE (a name, file or digest).

    `show` prints a TOML file that every --recipe takes: recipe show NAME > file.toml.

    The next gc deletes what was built under a retired recipe, unless a frozen view references it. `restore` undoes
    `retire`.
    """
    from brainbrr.views import retention
    from brainbrr.views.recipes import find_recipe, to_toml

    if (recipe is None) != (action == "list"):
        raise UsageError(f"recipe {action} needs a RECIPE" if recipe is None else "recipe list takes no RECIPE")
    if action == "show" and recipe is not None:
        found = find_recipe(session.store_if_there(), recipe)
        if session.out.as_json:
            session.out.report({"name": found.name, "digest": found.digest, "fields": found.identity()})
        else:
            session.out.text(to_toml(found))
        return 0
    if recipe is None:
        report = retention.recipes(session.store())
    else:
        report = {"retire": retention.retire, "restore": retention.restore}[action](session.store(), recipe)
    session.show(report, table)
    return 0


def table(out: Output, report: RecipesReport) -> None:
    """Show what was done, and every recipe."""
    out.title(f"{report.done}: {report.recipe}" if report.recipe else many(len(report.recipes), "recipe"))
    rows = [
        (
            each["name"] or "-",
            each["digest"],
            each["records"],
            size(each["bytes"]),
            "retired" if each["retired"] else "in use",
            "preset" if each["preset"] else "own",
        )
        for each in report.recipes
    ]
    out.table(("name", "digest", "records", "bytes", "state", "kind"), rows)
    if report.done == "retired":
        out.note(Fix("nothing was deleted; ", ("gc",), " shows what is no longer needed"))
