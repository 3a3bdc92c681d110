"""`brainbrr lock`: what a view is, in digests; and what differs from that here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command, options, recipe_option, selects, splits_options
from brainbrr.cli.output import Output, duration, many
from brainbrr.errors import UsageError

if TYPE_CHECKING:
    from brainbrr.share.citation import Citation
    from brainbrr.share.locks import LockReport

_SHOWN = 20
_FILE = click.Path(path_type=Path, dir_okay=False)
_MODES = options(
    click.option("-o", "--out", type=_FILE, metavar="FILE", help="Write the lock of a ready view."),
    click.option("--check", type=_FILE, metavar="FILE", help="Compare a lock with this store."),
    click.option("--cite", type=_FILE, metavar="FILE", help="Print how to cite what a lock names."),
    click.option("--sign", type=_FILE, metavar="KEY", help="With -o: sign with this private SSH key, into FILE.sig."),
    click.option(
        "--verify", type=_FILE, metavar="SIGNERS", help="With --check: who has to have signed it (ssh-keygen)."
    ),
)


@command("lock", exits=(3, 4, 8), example="brainbrr lock --profile dev -o tusz-dev.lock")
@click.argument("view", required=False)
@_MODES
@selects(profile="full; with --check the lock's", corpus="the only one in the store; with --check the lock's")
@splits_options
@recipe_option
def lock(session: Session, *, cite: Path | None, **given: Any) -> int:
    """Write what a ready profile, or the frozen VIEW, is: recipe, sources, contents, labels and counts, but no name.

    With --check, compare such a file with the store after an ingest of one's own, and list each recording that
    differs: EDF re-issued, labels changed, other samples, split, patient, missing (exit code 3), extra. Paths are kept
    as keyed hashes, whose key only who stores one of the recordings can tell. `pull --lock FILE` and
    `unbundle --lock FILE` accept only what a lock names.
    """
    from brainbrr.api.share import lock as run
    from brainbrr.share.citation import Citation
    from brainbrr.share.locks import read_lock

    if sum(each is not None for each in (cite, given["out"], given["check"])) != 1:
        raise UsageError("lock needs one of -o FILE, --check FILE and --cite FILE")
    if (given["sign"] and not given["out"]) or (given["verify"] and not given["check"]):
        raise UsageError("--sign goes with -o, and --verify with --check")
    if cite is not None:
        session.show(Citation.of(read_lock(cite)), citation)
        return 0
    report = run(store=session.given["store"], **given)
    session.show(report, table)
    return report.exit_code


def table(out: Output, report: LockReport) -> None:
    """Show what the lock names, and each recording that differs."""
    counts = report.counts
    same = f", {counts['same']} the same here" if "same" in counts else ""
    out.title(f"lock {report.lock}: {many(counts['recordings'], 'recording')}{same}")
    held = (
        f"{many(counts['patients'], 'patient')}, {duration(counts['seconds'])}, {many(counts['seizures'], 'seizure')}"
    )
    rows = [("view", f"{report.corpus}/{report.profile}: {held}"), ("lock digest", report.digest)]
    out.pairs([*rows, *([("signed by", report.signed_by)] if report.signed_by else [])])
    if report.recipe:
        out.table(("recipe field", "lock", "here"), [(name, str(a), str(b)) for name, (a, b) in report.recipe.items()])
    if report.differences:
        shown = report.differences[:_SHOWN]
        out.table(("differs", "recording", "reason"), [(each.kind, each.recording, each.reason) for each in shown])
    if len(report.differences) > _SHOWN:
        out.note(f"and {len(report.differences) - _SHOWN} more; --json lists all")


def citation(out: Output, found: Citation) -> None:
    """Show the three forms."""
    out.title(found.text)
    out.text(f"{found.bibtex}\n\n{found.bids()}")
