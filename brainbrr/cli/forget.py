"""`brainbrr forget`: delete a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import DURATION, Session, command, staged_option, yes_option
from brainbrr.cli.output import Output, many, size, some

if TYPE_CHECKING:
    from brainbrr.store.forget import ForgetReport


@command("forget", exits=(1, 4), example="brainbrr forget tusz && brainbrr forget tusz --yes")
@click.argument("corpus")
@click.option("--older-than", type=DURATION, help="Delete only older generations of its catalog, as 90d.")
@staged_option
@click.option("--jobs", metavar="DIR", help="Where SLURM's job folders are. Default: jobs/ beside the store.")
@yes_option
def forget(session: Session, *, corpus: str, older_than: int | None, staged: tuple[Path, ...], yes: bool) -> int:
    """Delete all that only CORPUS references: its catalog, views, pins, records, objects, and job folders.

    For data-use agreements that require deletion. Without a grace period, and it cannot be undone. A receipt stays in
    the store; it lists copies that brainbrr cannot reach. Exit 1: something may be left, and is listed.
    """
    from brainbrr.views.retention import forget as run

    store, jobs, progress = session.store(), session.settings.jobs.value, session.progress()
    report = run(store, corpus, older_than_s=older_than, staged=staged, jobs=jobs, yes=yes, progress=progress)
    session.show(report, table)
    return report.exit_code


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
    if report.jobs:
        rows.append(("job folders", len(report.jobs), some(list(report.jobs))))
    out.table(("what", "count", "names"), rows)
    if report.shared:
        out.note(f"{many(len(report.shared), 'record')} kept: another corpus or view references them")
    if report.older_than_s is None:
        out.title("brainbrr cannot reach")
        for place in (*report.unproven, *report.to_json()["out_of_reach"]):
            out.text(f"  {place}")
    if report.dry_run:
        out.note("nothing was changed; repeat the command with --yes to do it, which cannot be undone")
