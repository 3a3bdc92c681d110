"""`brainbrr push`: send to a remote what it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command, transfer_options
from brainbrr.cli.output import Output, duration, many, size, some

if TYPE_CHECKING:
    from brainbrr.share.transfer import TransferReport


_DONE = {"push": ("sent to", "there"), "pull": ("pulled from", "here"), "unbundle": ("unbundled from", "here")}


@command("push", exits=(3, 4, 6, 8), example="brainbrr push lab --profile dev")
@click.argument("remote")
@transfer_options
@click.option("--replace", is_flag=True, help="Where catalogs differ about a recording, let this store's row win.")
def push(session: Session, *, remote: str, replace: bool, **selected: Any) -> int:
    """Send to REMOTE what it lacks of a profile, or of the frozen VIEW; a store is created there if there is none.

    REMOTE is a name of `brainbrr remote list`, or a path (with a "/") or URL. Each object is verified by SHA-256 before
    it is sent and appears after all of it has arrived. Run it again after an interruption: only what is missing
    travels.
    """
    from brainbrr.api.share import push as run

    store, progress = session.given["store"], session.progress()
    report = run(remote, store=store, replace=replace, progress=progress, **selected)
    session.show(report, table)
    return report.exit_code


def table(out: Output, report: TransferReport) -> None:
    """Show what travelled, and what did not."""
    done, at = _DONE[report.direction]
    out.title(f"{many(report.sent, 'object')} {done} {report.remote}, {size(report.n_bytes)}")
    out.pairs(
        [
            ("view", f"{report.corpus}/{report.profile}, {many(report.recordings, 'recording')}"),
            ("reused", f"{many(report.reused, 'recording')} {at} before"),
            ("digest", report.digest or "none: the view is not complete"),
            ("time", duration(report.seconds)),
        ]
    )
    if report.failed:
        out.table(("not sent", "reason"), [(each.recording, each.reason) for each in report.failed])
    if report.missing:
        out.note(f"{many(len(report.missing), 'recording')} missing at the source: {some(list(report.missing))}")
    if report.differing:
        n = many(len(report.differing), "recording")
        out.note(f"the catalogs differ about {n} ({some(list(report.differing))}); {report.kept} rows were kept")
