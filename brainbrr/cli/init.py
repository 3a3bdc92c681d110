"""`brainbrr init`: an empty store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output
from brainbrr.errors import Fix, UsageError

if TYPE_CHECKING:
    from brainbrr.store.formats import Codec
    from brainbrr.store.init import InitReport

_SHARED = ("init", "--store", "/data/eeg", "--shared", "--group", "eeg")


@command("init", exits=(4,), example="brainbrr init --store /data/eeg --shared --group eeg")
@click.option("--shared", is_flag=True, help="For a group of people: its members write, all others read.")
@click.option("--group", metavar="NAME|NUMBER", help="Which group. You must be in it.")
@click.option("--private", is_flag=True, help="With --shared: others may not even read, for data-use agreements.")
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="How tiles are compressed. Default: none.")
def init(session: Session, *, shared: bool, group: str | None, private: bool, codec: Codec | None) -> int:
    """Create an empty store, for yourself or for a group. Optional: `ingest` creates a store of your own.

    In a shared store folders have mode 2775 (--private: 2770) and the group, files have mode 0444, whatever the umask
    of whoever writes. A file system that cannot hold a store is refused, with the reason. Where the store exists
    already, this shows whether it is as requested.
    """
    from brainbrr.store.init import init as run

    if shared != (group is not None) or (private and not shared):
        raise UsageError("--shared and --group belong together, and --private to both", fix=Fix(_SHARED))
    session.show(run(session.location, codec=codec, group=group, private=private), table)
    return 0


def table(out: Output, report: InitReport) -> None:
    """Show where the store is and who may do what in it."""
    out.title(f"store at {report.store}")
    out.pairs([("codec", report.codec), ("folders", f"mode {report.mode:04o}, group {report.group}")])
