"""`brainbrr gc`: delete what nothing references."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import DURATION, Session, command, staged_option, yes_option
from brainbrr.cli.output import Output, many, size, some

if TYPE_CHECKING:
    from brainbrr.store.gc import GcReport


@command("gc", exits=(1, 4), example="brainbrr gc --yes")
@yes_option
@click.option("--grace", type=DURATION, default="24h", show_default=True, help="Minimum age of a deletion candidate.")
@click.option(
    "--views-older-than", type=DURATION, help="Also delete frozen views that are older and not pinned, as 90d."
)
@staged_option
def gc(session: Session, *, yes: bool, grace: int, views_older_than: int | None, staged: tuple[Path, ...]) -> int:
    """Delete objects that no catalog, frozen view or pin references.

    The first run marks them; a run after the grace period deletes those still unreferenced. Safe beside ingests and
    trainings. Exit 1: something may be left of a writer of which nothing says that it has ended, and is listed.
    """
    from brainbrr.views.retention import collect as run

    store, progress = session.store(), session.progress()
    report = run(store, yes=yes, grace_s=grace, views_older_than_s=views_older_than, staged=staged, progress=progress)
    session.show(report, table)
    return report.exit_code


def table(out: Output, report: GcReport) -> None:
    """Show what is unreferenced, by kind and by what is done with it."""
    deletes, marks = ("would delete", "would mark") if report.dry_run else ("deleted", "marked")
    words = {
        "deleted": deletes,
        "kept": "referenced again, kept",
        "candidate": marks,
        "waiting": "marked, within the grace period",
        "young": "written within the grace period",
    }
    out.title(f"{many(len(report.unneeded), 'unreferenced item')} in {report.store}")
    counts: Counter[tuple[str, str]] = Counter()
    bytes_of: Counter[tuple[str, str]] = Counter()
    for each in report.unneeded:
        counts[each.state, each.kind] += 1
        bytes_of[each.state, each.kind] += each.n_bytes
    rows = []
    for state, said in words.items():
        for kind in ("views", "records", "objects", "findings"):
            if n := counts[state, kind]:
                names = [each.name[:12] for each in report.unneeded if (each.state, each.kind) == (state, kind)]
                rows.append((said, n, kind, size(bytes_of[state, kind]), some(names)))
    if rows:
        out.table(("what", "count", "kind", "bytes", "names"), rows)
    _unfinished(out, report)
    acts = any(each.state in ("deleted", "candidate") for each in report.unneeded)
    if report.dry_run and (acts or report.leftovers or report.unfinished):
        out.note("nothing was changed; repeat the command with --yes to do it")


def _unfinished(out: Output, report: GcReport) -> None:
    for text in report.unproven:
        out.note(f"left: {text}")
    cleaned = "cleaned up with --yes" if report.dry_run else "cleaned up"
    if report.leftovers:
        out.note(f"{many(report.leftovers, 'leftover')} of killed writers in tmp/, {cleaned}")
    if report.unfinished:
        out.note(f"{many(report.unfinished, 'unfinished deletion')}, {cleaned}")
