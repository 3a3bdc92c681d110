"""`brainbrr doctor`: what is in the way on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.look.doctor import Diagnosis


@command("doctor", example="brainbrr doctor /scratch/store --peer node02")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--peer", metavar="HOST", help="See by ssh whether another host sees the same files at once.")
@click.option("--thorough", is_flag=True, help="Also kill a small ingest 200 times (minutes), and verify the rest.")
def doctor(session: Session, *, folder: Path | None, peer: str | None, thorough: bool) -> int:
    """Check this machine, its libraries and DIR, and say how to fix what is not fine.

    DIR is where a store is or should be. Links, exclusive creation, renames, locks and flushes are tried in a folder of
    its own there, which is deleted afterwards. `--json` is what an issue report needs.
    """
    from brainbrr.look.doctor import doctor as run

    report = run(folder, session.settings, peer=peer, thorough=thorough, progress=session.progress())
    session.show(report, table)
    return report.exit_code


def table(out: Output, report: Diagnosis) -> None:
    """Show each line, and how to fix it."""
    out.title(f"tried in {report.folder}")
    out.table(("", "state", "what", "fix"), [(e.about, e.state, e.what, e.fix or "") for e in report.lines])
