"""`brainbrr pin`: views that the store keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output, many
from brainbrr.errors import Fix, UsageError

if TYPE_CHECKING:
    from brainbrr.views.retention import PinReport


@command("pin", exits=(4,), example="brainbrr pin runs/20260101-120000-smoke-1a2b3c/view.json")
@click.argument("view", required=False)
@click.option("--list", "listed", is_flag=True, help="List pinned views.")
@click.option("--remove", is_flag=True, help="Remove the pin of VIEW.")
def pin(session: Session, *, view: str | None, listed: bool, remove: bool) -> int:
    """Keep VIEW and all that it references in the store until the pin is removed.

    VIEW is the digest of a frozen view, or a file that holds one: a run's view.json, or what `brainbrr view --out`
    wrote.
    """
    from brainbrr.views.retention import pin as run
    from brainbrr.views.retention import pins

    if (view is None) != listed or (listed and remove):
        fix = Fix(("pin", "VIEW"), ", ", ("pin", "--remove", "VIEW"), " or ", ("pin", "--list"))
        raise UsageError("give either VIEW or --list", fix=fix)
    session.show(pins(session.store()) if view is None else run(session.store(), view, remove=remove), table)
    return 0


def table(out: Output, report: PinReport) -> None:
    """Show what was done, and every pin."""
    out.title(f"{report.done}: {report.view}" if report.view else many(len(report.pins), "pinned view"))
    columns = ("view", "corpus", "profile", "split", "recordings", "created", "by")
    rows = [["all" if pin[name] is None else str(pin[name]) for name in columns] for pin in report.pins]
    out.table(columns, rows)
