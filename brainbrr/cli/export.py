"""`brainbrr export`: stored recordings as files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command, recipe_option, selects
from brainbrr.cli.output import Output, duration, many, size

if TYPE_CHECKING:
    from brainbrr.share.export import ExportReport, Kind


@command("export", exits=(3, 4, 8), example="brainbrr export --profile smoke --as bids --into derivatives/brainbrr")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["edf", "bids"]),
    default="edf",
    show_default=True,
    help="EDF+ files under their paths in the corpus, or a BIDS derivative.",
)
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="Folder to write."
)
@selects()
@recipe_option
def export(session: Session, *, kind: Kind, into: Path, **selected: Any) -> int:
    """Write stored recordings as EDF+ files with their events, for tools that read no zarr.

    The samples are those stored, in µV; absent channels are left out. A corpus's access terms cover these files, too.
    Files that are there already with the same bytes stay.
    """
    from brainbrr.share.export import export as run

    session.show(run(session.ready_view(**selected), into, kind=kind, progress=session.progress()), table)
    return 0


def table(out: Output, report: ExportReport) -> None:
    """Show how many files were written where."""
    rows = [("recordings", f"{report.recordings}, as {report.kind}, in {report.folder}")]
    rows.append(("files", f"{many(report.written, 'file')} written, {report.unchanged} there already"))
    out.pairs([*rows, ("bytes", size(report.bytes)), ("time", duration(report.seconds))])
