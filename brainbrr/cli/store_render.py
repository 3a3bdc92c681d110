"""What the reports on a store's wholeness look like to a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from brainbrr.cli.output import Output, duration
from brainbrr.ingest.repair import RepairReport
from brainbrr.store.damage import Found, kind_and_name
from brainbrr.store.verify import VerifyReport

_DEPTHS = {
    "quick": "structure, sizes and seals",
    "checksums": "structure and every checksum",
    "full": "every sample against its content digest",
}


def verify(out: Output, report: VerifyReport) -> None:
    """Show what was proven."""
    proven = f"{report.verified} of {report.objects} objects, {report.records} records: {_DEPTHS[report.depth]}"
    rows = [("verified", proven)]
    if report.remembered:
        rows.append(("remembered", f"{report.remembered} passed lately, and were not touched since"))
    if report.remaining:
        rows.append(("remaining", f"{report.remaining}: the same command goes on with those that wait longest"))
    if report.oldest_pass:
        rows.append(("oldest pass", report.oldest_pass))
    rows += [("corrupt", str(len(report.corrupt))), ("time", duration(report.seconds))]
    for found in report.corrupt:
        kind, name = kind_and_name(found)
        rows.append((f"corrupt {kind}", f"{name}: {found['reason']}"))
    out.pairs([*rows, *mending(report.corrupt)])


def repair(out: Output, report: RepairReport) -> None:
    """Show what became of each damage."""
    counts = Counter(each.outcome for each in report.mended)
    out.pairs(
        [
            ("damaged", str(len(report.mended))),
            *((outcome, str(n)) for outcome, n in counts.items()),
            ("remaining", str(len(report.remaining))),
            ("time", duration(report.seconds)),
        ]
    )
    if report.mended:
        rows = [(each.kind, each.name, each.reason, each.outcome, each.how) for each in report.mended]
        out.table(("what", "name", "damage", "outcome", "how"), rows)
    left = [each.fix for each in report.mended if each.fix and not each.whole]
    for fix in sorted({*left, *(found["fix"] for found in report.remaining if not left)}):
        out.note(f"fix: {fix}")


def mending(corrupt: Iterable[Found]) -> list[tuple[str, str]]:
    """Return what mends damage, each command once."""
    return [("mend", fix) for fix in sorted({found["fix"] for found in corrupt})]
