"""`brainbrr bundle`: a ready view in one archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command, transfer_options
from brainbrr.cli.output import Output, duration, many, size

if TYPE_CHECKING:
    from brainbrr.share.bundle import BundleReport


@command("bundle", exits=(3, 4, 6), example="brainbrr bundle --profile smoke -o smoke.zip")
@transfer_options
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The archive, a new file."
)
@click.option("--with-names", is_flag=True, help="Keep paths, patients and notes. Default: digests stand for them.")
def bundle(session: Session, *, out: Path, with_names: bool, **selected: Any) -> int:
    """Write a ready profile, or the frozen VIEW, into one ZIP file that `unbundle` and zarr's ZipStore read.

    The same view gives the same bytes. Each object is verified as it is read. Without --with-names the corpus in the
    archive is called NAME-unnamed, recordings by their source's digest, and patients by one of those. A corpus that is
    not open is only written below a folder that was declared private (`brainbrr remote add NAME FOLDER --private`).
    """
    from brainbrr.api.share import bundle as run

    store, progress = session.given["store"], session.progress()
    session.show(run(out, store=store, names=with_names, progress=progress, **selected), table)
    return 0


def table(out: Output, report: BundleReport) -> None:
    """Show what is in the archive."""
    out.title(f"{many(report.recordings, 'recording')} in {report.file}, {size(report.bytes)}")
    out.pairs(
        [
            ("view", f"{report.corpus}/{report.profile}"),
            ("names", "kept" if report.named else "left out"),
            ("digest", report.digest),
            ("time", duration(report.seconds)),
        ]
    )
