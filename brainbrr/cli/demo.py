"""`brainbrr demo`: the whole journey on generated recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli import bench, evaluate, ingest, repair, train, verify, view
from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.demo import BaselineReport, DemoReport, Part, PictureReport


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
    "--part",
    type=click.Choice(("store", "training")),
    help="Only this part. Default: the store, and training where torch is installed.",
)
@click.option(
    "--recordings",
    type=click.IntRange(min=6),
    metavar="N",
    help="How many to generate, at least 6. Default: 18, with --hard 108.",
)
@click.option("--hard", is_flag=True, help="Weak seizures among look-alikes, 12 patients or more in each split.")
@click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Of the generated recordings.")
def demo(session: Session, *, into: Path, part: Part | None, recordings: int | None, hard: bool, seed: int) -> int:
    """Try everything on a generated corpus: ingest, profiles, damage and repair, loader, baseline; then training.

    The first part needs no torch and takes less than a minute. With torch, the second trains a small detector on the
    CPU and scores it, in a few minutes.
    """
    from importlib.util import find_spec

    from brainbrr.demo import PARTS, DemoOptions
    from brainbrr.demo import demo as run
    from brainbrr.learn.config import load_train_config

    out = session.out
    settings = session.resolve(store=session.given["store"] or str(into / "store"), runs=str(into / "runs"))
    tables: dict[str, Callable[[Output, Any], None]] = {
        "ingest": ingest.table,
        "view": view.table,
        "verify": verify.table,
        "repair": repair.table,
        "bench": bench.table,
        "show": picture_table,
        "baseline": baseline_table,
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
        parts=(part,) if part else PARTS if find_spec("torch") else PARTS[:1],
        n_recordings=recordings,
        seed=seed,
        hard=hard,
    )
    report = run(asked, show=show, progress=session.progress())
    session.show(report, table)
    return 0


def picture_table(out: Output, report: PictureReport) -> None:
    """Show where the picture is."""
    out.pairs([("picture", f"{report.file}: a seizure of {report.recording}")])


def baseline_table(out: Output, report: BaselineReport) -> None:
    """Show the main scores of the baseline that a detector has to beat."""
    scores = {name: report.metrics[name] for name in ("auroc", "event_f1", "sensitivity", "false_alarms_per_day")}
    titles = ("AUROC", "event F1 (SzCORE)", "event sensitivity", "false alarms per 24 h")
    out.title("line length, a baseline that needs no training, on split eval")
    out.pairs([(title, f"{value:.3f}") for title, value in zip(titles, scores.values(), strict=True)])


def table(out: Output, report: DemoReport) -> None:
    """Show where the report is, and what to do next."""
    out.title("all of it is SYNTHETIC data")
    out.pairs([*([("report", report.report)] if report.report else []), ("next", report.next)])
