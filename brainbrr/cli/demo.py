"""`brainbrr demo`: the whole journey on generated recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli import evaluate, ingest, train, view
from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.demo import DemoReport


@command(
    "demo",
    exits=(3, 4, 5, 6, 8),
    example="brainbrr demo --into .demo",
    store_help="The store. Default: store/ in the folder of --into.",
)
@click.option(
    "--into", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True, help="Folder for everything."
)
@click.option(
    "--recordings",
    type=click.IntRange(min=6),
    metavar="N",
    default=18,
    show_default=True,
    help="How many to generate, at least 6.",
)
@click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Of the generated recordings.")
def demo(session: Session, *, into: Path, recordings: int, seed: int) -> int:
    """Try everything on a generated corpus: ingest, three profiles, training, evaluation, report."""
    from brainbrr.demo import DemoOptions
    from brainbrr.demo import demo as run
    from brainbrr.learn.config import load_train_config

    out = session.out
    settings = session.resolve(store=session.given["store"] or str(into / "store"), runs=str(into / "runs"))
    tables: dict[str, Callable[[Output, Any], None]] = {
        "ingest": ingest.table,
        "view": view.table,
        "train": train.table,
        "evaluate": evaluate.table,
    }

    def show(step: str, report: Any) -> None:
        if not out.as_json:
            tables[step](out, report)
            out.note("")

    asked = DemoOptions(
        folder=into,
        settings=settings,
        config=load_train_config("smoke"),
        n_recordings=recordings,
        seed=seed,
    )
    report = run(asked, show=show, progress=session.progress())
    session.show(report, table)
    return 0


def table(out: Output, report: DemoReport) -> None:
    """Show where the report is, and what to do next."""
    out.title("all of it is SYNTHETIC data")
    out.pairs([("report", report.report), ("next", report.next)])
