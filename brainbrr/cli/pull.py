"""`brainbrr pull`: fetch from a remote what this store lacks."""

from __future__ import annotations

import click

from brainbrr.cli.app import Session, command, recipe_option, selects
from brainbrr.cli.push import table


@command("pull", exits=(3, 4, 8), example="brainbrr pull lab --profile smoke")
@click.argument("remote", required=False)
@click.argument("view", required=False)
@selects()
@recipe_option
def pull(
    session: Session,
    *,
    remote: str | None,
    view: str | None,
    corpus: str | None,
    profile: str,
    split: str | None,
    where: tuple[tuple[str, str], ...],
    recipe: str,
) -> int:
    """Fetch from REMOTE what this store lacks of a profile, or of the frozen VIEW; creates the store if there is none.

    REMOTE is a name of `brainbrr remote list`, or a path (with a "/") or URL; default: the only remote. Each object is
    verified by SHA-256 before it appears. Run it again after an interruption: only what is missing travels, and a
    larger profile moves exactly the difference.
    """
    from brainbrr.api.share import pull as run
    from brainbrr.views.columns import condition_text

    report = run(
        remote,
        store=session.given["store"],
        view=view,
        corpus=corpus,
        profile=profile,
        split=split,
        where=[condition_text(field, value) for field, value in where],
        recipe=recipe,
        progress=session.progress(),
    )
    session.show(report, table)
    return report.exit_code
