"""`brainbrr store ...`: commands about a store as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brainbrr.cli.exits import epilog
from brainbrr.cli.group import Session, cli, command

if TYPE_CHECKING:
    from brainbrr.store.formats import Codec


INIT = "brainbrr store init --store /data/eeg --shared --group eeg"


@cli.group("store", epilog=epilog(INIT))
def store_group() -> None:
    """Make a store explicitly: for a group of people, or with another codec."""


@command("init", example=INIT, parent=store_group)
@click.option("--shared", is_flag=True, help="For a group of people: its members write, all others read.")
@click.option("--group", metavar="NAME|NUMBER", help="Which group. You must be in it.")
@click.option("--private", is_flag=True, help="With --shared: nobody else may even read, for data-use agreements.")
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="How tiles are kept. Default: none.")
def init(shared: bool, group: str | None, private: bool, codec: Codec | None, store: str | None, as_json: bool) -> int:
    """Make an empty store, or say what the one there is. `ingest` makes one too, with the rights of your umask.

    A shared store's folders have mode 2775 (--private: 2770) and the group, its files 0444, whatever the umask of who
    writes. A file system that cannot hold a store is refused, with the reason.
    """
    from brainbrr.errors import UsageError
    from brainbrr.store.init import init as run

    if shared != (group is not None) or (private and not shared):
        raise UsageError("--shared and --group belong together, and --private to both", fix=INIT)
    session = Session(store, as_json)
    report = run(session.location, codec=codec, group=group, private=private)
    if as_json:
        session.out.report(report.to_json())
    else:
        session.out.title(f"a store at {report.store}")
        session.out.pairs([("codec", report.codec), ("folders", f"mode {report.mode:04o}, group {report.group}")])
    return 0
