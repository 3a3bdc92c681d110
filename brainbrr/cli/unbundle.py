"""`brainbrr unbundle`: put an archive's recordings into the store."""

from __future__ import annotations

from pathlib import Path

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.push import table

LOCK_OPTION = click.option(
    "--lock", type=click.Path(path_type=Path, dir_okay=False), help="Accept only what this file of `lock` names."
)


@command("unbundle", exits=(3, 4), example="brainbrr unbundle smoke.zip && brainbrr view --profile smoke")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@LOCK_OPTION
def unbundle(session: Session, *, file: Path, lock: Path | None) -> int:
    """Put what FILE of `brainbrr bundle` holds into the store; creates the store if there is none.

    Nothing is extracted in place: each object is verified by SHA-256, and its record against it, before it appears.
    Run it again after an interruption: it continues.
    """
    from brainbrr.api.share import unbundle as run

    report = run(file, store=session.given["store"], lock=lock, progress=session.progress())
    session.show(report, table)
    return report.exit_code
