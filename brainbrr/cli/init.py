"""`brainbrr init`: an empty store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.store.formats import Codec
    from brainbrr.store.init import InitReport


@command("init", exits=(4,), example="brainbrr init --store /data/eeg --group eeg")
@click.option("--group", metavar="NAME|NUMBER", help="Let the members of a group write it. You must be in it.")
@click.option("--public", is_flag=True, help="Let everybody read it, also what is stored of restricted corpora.")
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="How tiles are compressed. Default: none.")
def init(session: Session, *, group: str | None, public: bool, codec: Codec | None) -> int:
    """Create an empty store, for yourself or for a group. Optional: `ingest` creates a store of your own.

    Without options only you may read it: folders have mode 0700. With --group they have mode 2770 and the group, with
    --public 0755, with both 2775, whatever the umask of the writer; files have mode 0444. What you choose here
    holds for every corpus that is stored later. A store that `ingest` creates is no more readable than the corpus. A
    file system that cannot hold a store is refused, with the reason. Where the store exists already, this shows
    whether it is as requested.
    """
    from brainbrr.store.init import init as run

    session.show(run(session.location, codec=codec, group=group, public=public), table)
    return 0


def table(out: Output, report: InitReport) -> None:
    """Show where the store is and who may do what in it."""
    out.title(f"store at {report.store}")
    pairs = [("codec", report.codec), ("folders", f"mode {report.mode:04o}, group {report.group}")]
    out.pairs([*pairs, ("read by", report.readers)])
