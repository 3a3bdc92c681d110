"""`brainbrr verify`: are stored bytes what their digests say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import DURATION, Session, accepts, command, options
from brainbrr.cli.output import Output, duration

if TYPE_CHECKING:
    from brainbrr.store.damage import Damage
    from brainbrr.store.integrity import Depth
    from brainbrr.store.verify import VerifyReport

_DEPTHS = {
    "quick": "structure, sizes and the checksums of JSON files",
    "checksums": "structure and every checksum",
    "full": "every sample against its content digest",
}
depth_options = options(
    click.option("--quick", is_flag=True, help="Structure, sizes and the checksums of JSON files: reads no sample."),
    click.option("--checksums", is_flag=True, help="Structure and every checksum: computes no content digest."),
)


def depth_of(*, quick: bool, checksums: bool) -> Depth:
    """Return how deep to verify."""
    if quick and checksums:
        raise click.UsageError("--quick and --checksums are two depths: choose one")
    return "quick" if quick else "checksums" if checksums else "full"


@command("verify", exits=(4,), example="brainbrr verify --max-age 7d --max-seconds 600")
@depth_options
@click.option("--max-age", type=DURATION, help="Skip what was verified since then, as 7d.")
@click.option("--max-seconds", type=click.FloatRange(min=0), metavar="S", help="Start no object after this time.")
@accepts(gone="objects that this host verified before and that no longer exist were deleted on purpose")
def verify(
    session: Session,
    *,
    quick: bool,
    checksums: bool,
    max_age: int | None,
    max_seconds: float | None,
    accept: frozenset[str],
) -> int:
    """Compare every object with its content digest, and cross-check records, catalogs, views and all other files.

    This host remembers when each object was last verified. With --max-seconds, those verified longest ago come first:
    run the same command regularly to verify a large store in slices.
    """
    from brainbrr.store.verify import verify as run

    report = run(
        session.readable_store(),
        depth=depth_of(quick=quick, checksums=checksums),
        host=session.settings.host,
        max_age_s=max_age,
        max_seconds=max_seconds,
        accept_gone="gone" in accept,
        progress=session.progress(),
    )
    session.show(report, table)
    return report.exit_code


def table(out: Output, report: VerifyReport) -> None:
    """Show what was verified and what is damaged."""

    amount = f"{report.verified} of {report.objects} objects, {report.records} records: {_DEPTHS[report.depth]}"
    rows = [("verified", amount)]
    if report.remembered:
        rows.append(("skipped", f"{report.remembered} verified recently and unchanged since"))
    if report.remaining:
        rows.append(("remaining", f"{report.remaining}; the same command continues with those verified longest ago"))
    if report.oldest_pass:
        rows.append(("oldest pass", report.oldest_pass))
    rows += [("corrupt", str(len(report.corrupt))), ("time", duration(report.seconds))]
    for found in report.corrupt:
        rows.append((f"corrupt {found.kind}", f"{found.name}: {found.reason}"))
    out.pairs([*rows, *repairs(report.corrupt)])


def repairs(corrupt: Iterable[Damage]) -> list[tuple[str, str]]:
    """Return what repairs damage, each command once."""
    return [("fix", fix) for fix in sorted({found.fix for found in corrupt})]
