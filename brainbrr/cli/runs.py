"""`brainbrr runs`: trainings beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import RUN, Session, command, runs_option
from brainbrr.cli.output import Output

if TYPE_CHECKING:
    from brainbrr.learn.compare import RunLine, RunsReport

_SCORERS = {"event F1": "scorer", "AUROC": "step_scorer"}


@command("runs", exits=(4,), example="brainbrr runs 20260101-120000-smoke-1a2b3c 20260102-120000-smoke-4d5e6f")
@click.argument("names", metavar="[RUN]...", nargs=-1, type=RUN)
@runs_option
def runs(session: Session, *, names: tuple[str, ...]) -> int:
    """List runs, or compare some with the first one: settings, steps, loss, scores.

    A run on another view or recipe than the reference is marked as not comparable. Without names the reference is the
    newest run on the view that most of them share.
    """
    from brainbrr.learn.compare import runs as run

    session.show(run(session.runs, names), table)
    return 0


def table(out: Output, report: RunsReport) -> None:
    """Show runs beside each other, and folders that hold none."""
    if report.runs:
        head = ("run", "view", "recipe", "steps", "loss", "scores", "differs", "notes")
        rows = [_row(line, is_reference=line.run == report.reference) for line in report.runs]
        out.table(head, rows, whole=("run", "loss"), numbers=("loss",))
    else:
        out.note(f"no runs in {report.folder}")
    scored = [scores for line in report.runs for scores in line.scores.values() if "scorer" in scores]
    for name, scorer in sorted({(name, each[key]) for each in scored for name, key in _SCORERS.items()}):
        out.note(f"{name} by {scorer}")
    for line in report.runs:
        for split, pair in line.paired.items():
            out.note(f"{line.run.name} minus the reference on {split}, event F1 by patient: {_pair(pair)}")
    for folder, reason in report.broken:
        out.note(f"warning: {folder}: {reason}")


def _row(line: RunLine, *, is_reference: bool) -> tuple[str, ...]:
    marks = [f"not comparable: {reason}" for reason in line.not_comparable]
    marks += ["SYNTHETIC"] * line.synthetic + ["reference"] * is_reference
    marks += [f"started from {line.started_from[0]}"] if line.started_from else []
    return (
        line.run.name,
        line.view_digest[:12],
        line.recipe,
        f"{line.steps} of {line.of_steps}" + ("" if line.finished else ", unfinished"),
        "none" if line.loss is None else f"{line.loss:.4f}",
        "; ".join(_split(split, scores) for split, scores in line.scores.items()) or "none",
        ", ".join(f"{name}={value}" for name, value in line.differs.items()),
        "; ".join(marks),
    )


def _pair(found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return "no patient has it in both"
    low_high = found["interval"]
    interval = f"95 % {low_high[0]:+.3f} to {low_high[1]:+.3f}" if low_high else "no interval below 10 patients"
    signs = f"better in {found['better']}, worse in {found['worse']} of {found['patients']} patients"
    return f"{found['mean']:+.3f} ({interval}); {signs}, sign test p = {found['p']:.2g}"


def _split(split: str, scores: Mapping[str, Any]) -> str:
    if "unreadable" in scores:
        return f"{split}: {scores['unreadable']} cannot be read"
    return f"{split}: event F1 {_number(scores['event_f1'])}, AUROC {_number(scores['auroc'])}"


def _number(value: Any) -> str:
    return "none" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"
