"""`brainbrr repair`: damaged data back from another store, or from its EDF."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Pair, Session, command
from brainbrr.cli.output import Output, duration
from brainbrr.cli.verify import depth_of, depth_options

if TYPE_CHECKING:
    from brainbrr.ingest.repair import RepairReport


@command("repair", exits=(4,), example="brainbrr repair --from /backup/store")
@depth_options
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another store to copy undamaged files from; its codec may differ.",
)
@click.option(
    "--root",
    "roots",
    type=Pair("CORPUS=DIR"),
    multiple=True,
    help="Where the EDF files of a corpus are. Default: where they were ingested from.",
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes that build. Default: all cores.")
def repair(
    session: Session,
    *,
    quick: bool,
    checksums: bool,
    source: Path | None,
    roots: tuple[tuple[str, str], ...],
    workers: int | None,
) -> int:
    """Move damaged files to quarantine, and restore them from another store, else from their EDF.

    Deletes nothing; a rebuilt object that differs is kept apart. After Ctrl-C or a crash, the same command continues
    from there.
    """
    from brainbrr.ingest.repair import repair as run
    from brainbrr.store.store import Store

    report = run(
        session.store(),
        depth=depth_of(quick=quick, checksums=checksums),
        source=None if source is None else Store.open(source),
        roots={corpus: Path(folder) for corpus, folder in roots},
        host=session.settings.host,
        workers=workers,
        progress=session.progress(),
    )
    session.show(report, table)
    return report.exit_code


def table(out: Output, report: RepairReport) -> None:
    """Show what became of each damage."""
    counts = Counter(each.outcome for each in report.results)
    out.pairs(
        [
            ("damaged", str(len(report.results))),
            *((outcome, str(n)) for outcome, n in counts.items()),
            ("remaining", str(len(report.remaining))),
            ("time", duration(report.seconds)),
        ]
    )
    if report.results:
        rows = [(each.kind, each.name, each.damage.reason, each.outcome, each.how) for each in report.results]
        out.table(("what", "name", "damage", "outcome", "how"), rows)
    left = [each.fix for each in report.results if each.fix and not each.repaired]
    out.fixes([*left, *(found.fix for found in report.remaining if not left)])
