"""`brainbrr recompress`: a store with another codec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output, duration, many, size
from brainbrr.errors import Fix

if TYPE_CHECKING:
    from brainbrr.store.formats import Codec
    from brainbrr.store.recompress import RecompressReport


@command("recompress", exits=(4,), example="brainbrr recompress --to store-zstd --codec zstd")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="The other store.")
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="Its codec. Default: the one that this store lacks.")
def recompress(session: Session, *, to: Path, codec: Codec | None) -> int:
    """Copy a store into one that compresses its tiles with another codec. Contents, keys and views stay the same.

    Verifies each object after writing it, and deletes nothing. After Ctrl-C or a crash, the same command continues
    from there.
    """
    from brainbrr.store.recompress import recompress as run

    report = run(session.store(), to, codec=codec, progress=session.progress())
    session.show(report, table)
    return report.exit_code


def table(out: Output, report: RecompressReport) -> None:
    """Show what the other store holds, and what it saves."""
    out.title(f"recompressed {report.store} into {report.to}, codec {report.codec}")
    ratio = "" if report.ratio is None else f", {report.ratio:.3f} times as much"
    rows = [
        ("objects", f"{report.objects}: {report.copied} copied · {report.objects - report.copied} there already"),
        ("size", f"{size(report.bytes_before)} before, {size(report.bytes_after)} after{ratio}"),
        ("records", f"{report.records}, with {report.findings} findings"),
        ("catalogs", f"{many(report.generations, 'generation')}, {many(report.views, 'frozen view')}"),
        ("failed", str(len(report.failed))),
        ("time", duration(report.seconds)),
    ]
    for each in report.failed:
        kind, name = next(iter(each.items()))
        rows.append((f"failed {kind}", f"{name}: {each['reason']}"))
    out.pairs(rows)
    if report.failed:
        out.fixes([Fix(("repair",), " repairs the store; then run the same command again")])
