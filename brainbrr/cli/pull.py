"""`brainbrr pull`: fetch from a remote what this store lacks."""

from __future__ import annotations

from typing import Any

import click

from brainbrr.cli.app import Session, command, transfer_options
from brainbrr.cli.push import table
from brainbrr.cli.unbundle import LOCK_OPTION


@command("pull", exits=(3, 4, 8), example="brainbrr pull lab --profile smoke")
@click.argument("remote", required=False)
@transfer_options
@LOCK_OPTION
def pull(session: Session, *, remote: str | None, **selected: Any) -> int:
    """Fetch from REMOTE what this store lacks of a profile, or of the frozen VIEW; creates the store if there is none.

    REMOTE is a name of `brainbrr remote list`, or a path (with a "/") or URL; default: the only remote. Each object is
    verified by SHA-256 before it appears. Run it again after an interruption: only what is missing travels, and a
    larger profile moves exactly the difference.
    """
    from brainbrr.api.share import pull as run

    report = run(remote, store=session.given["store"], progress=session.progress(), **selected)
    session.show(report, table)
    return report.exit_code
