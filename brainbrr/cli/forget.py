"""`brainbrr forget`: delete a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import DURATION, Session, command, yes_option
from brainbrr.cli.output import Output, many, size, some

if TYPE_CHECKING:
    from brainbrr.store.forget import ForgetReport


@command("forget", exits=(4,), example="brainbrr forget tusz && brainbrr forget tusz --yes")
@click.argument("corpus")
@click.option("--older-than", type=DURATION, help="Delete only older generations of its catalog, as 90d.")
@yes_option
def forget(session: Session, *, corpus: str, older_than: int | None, yes: bool) -> int:
    """Delete all that only CORPUS references: its catalog, views, pins, records and objects.

    For data-use agreements that require deletion. Without a grace period, and it cannot be undone. A receipt stays in
    the store; it lists copies that brainbrr cannot reach.
    """
    from brainbrr.store.forget import forget as run

    report = run(session.store(), corpus, older_than_s=older_than, yes=yes, progress=session.progress())
    session.show(report, table)
    return 0


def table(out: Output, report: ForgetReport) -> None:
    """Show what is deleted, and what brainbrr cannot reach."""
    from brainbrr.store.sidecars import KINDS

    what = report.corpus if report.older_than_s is None else f"old generations of {report.corpus}"
    out.title(f"{'would forget' if report.dry_run else 'forgot'} {what}: {size(report.n_bytes)}")
    rows = []
    for kind in KINDS:
        names = getattr(report, kind)
        if names:
            shown = [str(each["seq"]) for each in names] if kind == "generations" else [name[:12] for name in names]
            rows.append((kind, len(names), some(shown)))
    out.table(("what", "count", "names"), rows)
    if report.shared:
        out.note(f"{many(len(report.shared), 'record')} kept: another corpus or view references them")
    if report.older_than_s is None:
        out.title("brainbrr cannot reach")
        for place in report.to_json()["out_of_reach"]:
            out.text(f"  {place}")
    if report.dry_run:
        out.note("nothing was changed; repeat the command with --yes to do it, which cannot be undone")
