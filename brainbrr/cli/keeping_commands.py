"""Commands that say what a store keeps, and delete the rest. One function per command, as in commands.py."""

from __future__ import annotations

import click

from brainbrr.cli.durations import DURATION
from brainbrr.cli.group import Session, command
from brainbrr.cli.output import progress
from brainbrr.errors import UsageError

_yes_option = click.option("--yes", is_flag=True, help="Do it. Without, only say what would be done.")


@command("gc", example="brainbrr gc && brainbrr gc --yes")
@_yes_option
@click.option("--grace", type=DURATION, default="24h", show_default=True, help="Leave alone what is younger; 0s: all.")
@click.option("--views-older-than", type=DURATION, help="Also let go of frozen views that nobody pinned, as 90d.")
def gc(yes: bool, grace: int, views_older_than: int | None, store: str | None, as_json: bool) -> int:
    """List what no catalog, frozen view or pin names; with --yes, delete it. Safe beside ingests and trainings.

    Deletes in two steps: one run condemns, and a run after the grace deletes what nothing names still.
    """
    from brainbrr.cli import keeping_render
    from brainbrr.store.gc import gc as run

    session = Session(store, as_json)
    report = run(session.store(), yes=yes, grace_s=grace, views_older_than_s=views_older_than, progress=progress())
    session.show(keeping_render.gc, report)
    return 0


@command("pin", example="brainbrr pin runs/20260101-120000-smoke-1a2b3c/view.json")
@click.argument("view", required=False)
@click.option("--list", "listed", is_flag=True, help="Show what is pinned.")
@click.option("--remove", is_flag=True, help="Let VIEW be forgotten again.")
def pin(view: str | None, listed: bool, remove: bool, store: str | None, as_json: bool) -> int:
    """Keep VIEW in the store for good, with all it names. VIEW: a frozen view's digest, or a file that holds a view.

    Files are a run's view.json, or what `brainbrr view --out` wrote.
    """
    from brainbrr.cli import keeping_render
    from brainbrr.views.retention import pin as run
    from brainbrr.views.retention import pins

    if (view is None) != listed or (listed and remove):
        raise UsageError("VIEW or --list is meant", fix="brainbrr pin VIEW, pin --remove VIEW, or pin --list")
    session = Session(store, as_json)
    report = pins(session.store()) if view is None else run(session.store(), view, remove=remove)
    session.show(keeping_render.pin, report)
    return 0


@command("recipe", example="brainbrr recipe list && brainbrr recipe retire upstream")
@click.argument("action", type=click.Choice(["list", "retire", "restore"]))
@click.argument("recipe", required=False)
def recipe(action: str, recipe: str | None, store: str | None, as_json: bool) -> int:
    """Show the recipes of a store, or say that RECIPE (a name, file or digest) is not needed there any more.

    What was made under a retired recipe goes with the next gc, unless a frozen view names it. `restore` undoes that.
    """
    from brainbrr.cli import keeping_render
    from brainbrr.views import retention

    session = Session(store, as_json)
    if (recipe is None) != (action == "list"):
        raise UsageError(f"recipe {action}: RECIPE is meant" if recipe is None else "recipe list takes no RECIPE")
    if recipe is None:
        report = retention.recipes(session.store())
    else:
        report = {"retire": retention.retire, "restore": retention.restore}[action](session.store(), recipe)
    session.show(keeping_render.recipe, report)
    return 0


@command("forget", example="brainbrr forget tusz && brainbrr forget tusz --yes")
@click.argument("corpus")
@click.option("--older-than", type=click.IntRange(min=2), metavar="N", help="Only catalog generations before N.")
@_yes_option
def forget(corpus: str, older_than: int | None, yes: bool, store: str | None, as_json: bool) -> int:
    """List all that CORPUS alone keeps here: catalog, views, pins, records, objects; with --yes, delete it at once.

    For agreements that ask for deletion. A receipt stays in the store; it names what brainbrr cannot reach.
    """
    from brainbrr.cli import keeping_render
    from brainbrr.store.forget import forget as run

    session = Session(store, as_json)
    report = run(session.store(), corpus, older_than=older_than, yes=yes, progress=progress())
    session.show(keeping_render.forget, report)
    return 0
