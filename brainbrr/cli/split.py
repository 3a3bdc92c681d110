"""`brainbrr split`: folds of a corpus's patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command
from brainbrr.cli.output import Output, duration, many
from brainbrr.errors import Fix

if TYPE_CHECKING:
    from brainbrr.views.folds import SplitReport


@command("split", exits=(4,), example="brainbrr split --folds 5 --by patient --stratify seizures -o folds.toml")
@click.option("--corpus", metavar="NAME", help="Which corpus. Default: the only one in the store.")
@click.option("--folds", type=click.IntRange(3), default=5, show_default=True, help="How many folds.")
@click.option(
    "--by", type=click.Choice(["patient"]), default="patient", show_default=True, help="What is never in two folds."
)
@click.option(
    "--stratify",
    type=click.Choice(["seizures", "hours"]),
    default="seizures",
    show_default=True,
    help="Balance seizures, their time and the hours of recording; or the hours alone.",
)
@click.option("--aliases", type=click.Path(path_type=Path), help="TOML of names that are one patient: chb21 = 'chb01'.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the folds into this TOML.")
def split(
    session: Session,
    *,
    corpus: str | None,
    folds: int,
    by: str,
    stratify: str,
    aliases: Path | None,
    out: Path | None,
) -> int:
    """Divide the patients of a corpus into folds. The same corpus always gives the same folds.

    `--splits FILE:N` of other commands takes fold N for eval, the next one for dev, and the others for train.
    """
    from brainbrr.views.folds import split as run
    from brainbrr.views.splits import Aliases, load_splits

    given = load_splits(aliases=aliases)
    report = run(
        session.store(),
        corpus=corpus,
        folds=folds,
        by=by,
        stratify=stratify,
        aliases=given.aliases if given else Aliases(),
        out=out,
    )
    session.show(report, table)
    if out and not session.out.as_json:
        session.out.note(Fix("next: ", ("train", "--splits", f"{out}:1")))
    return 0


def table(out: Output, report: SplitReport) -> None:
    """Show what each fold holds."""
    out.title(f"{report.corpus}: {many(len(report.folds), 'fold')} of patients, balanced by {report.stratify}")
    rows = [
        (
            fold.number,
            len(fold.patients),
            fold.recordings,
            duration(fold.signal_us / 1e6),
            fold.seizures,
            duration(fold.seizure_us / 1e6),
        )
        for fold in report.folds
    ]
    out.table(("fold", "patients", "recordings", "signal", "seizures", "seizure time"), rows)
    for number in report.without_seizures:
        out.note(f"fold {number} has no seizure, so nothing can be scored on it: take fewer folds")
    out.note(f"folds in {report.out}" if report.out else "nothing was written: -o FILE keeps the folds")
