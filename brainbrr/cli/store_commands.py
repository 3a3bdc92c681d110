"""Commands that work on whole stores. One function per command, as in commands.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.group import Session, command
from brainbrr.cli.output import progress

if TYPE_CHECKING:
    from brainbrr.store.tiles import Codec


@command("recompress", example="brainbrr recompress --to store-zstd --codec zstd")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="The other store.")
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="Its codec. Default: the one that --store has not.")
def recompress(to: Path, codec: Codec | None, store: str | None, as_json: bool) -> int:
    """Copy a store into one that keeps its tiles with another codec. Contents, keys and views stay the same.

    Each object is proven again after writing, and nothing is deleted. After Ctrl-C or a crash, the same command
    goes on from there.
    """
    from brainbrr.cli import render
    from brainbrr.verbs.recompress import recompress as run

    session = Session(store, as_json)
    report = run(session.store(), to, codec=codec, progress=progress())
    session.show(render.recompress, report)
    return report.exit_code
