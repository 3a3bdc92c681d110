"""What the reports of training and evaluation look like to a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brainbrr.cli.output import Output, duration, many, size

if TYPE_CHECKING:
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.train import TrainReport
    from brainbrr.verbs.runs import RunLine, RunsReport


def train(out: Output, report: TrainReport) -> None:
    """Show where a run is and how it ended."""
    out.pairs(
        [
            ("run", str(report.run)),
            ("view", report.view_digest),
            ("steps", str(report.steps)),
            ("loss", f"{report.loss:.4f}"),
            ("learned on", _learned_on(report.metrics)),
            *([("data", "SYNTHETIC: signals and labels were generated")] if report.metrics["synthetic"] else []),
            *_staged(report.metrics.get("stage")),
        ]
    )


def _learned_on(metrics: dict[str, Any]) -> str:
    exact = "reproducible" if metrics["deterministic"] else "not reproducible to the bit"
    together = f" × {metrics['processes']} processes" if metrics["processes"] > 1 else ""
    return f"{metrics['device']}{together}, {metrics['precision']}, {exact}"


def _staged(stage: dict[str, Any] | None) -> list[tuple[str, str]]:
    if stage is None:
        return []
    told = f"{size(stage['bytes_copied'])} copied, {size(stage['bytes_reused'])} reused, {duration(stage['seconds'])}"
    left = "" if stage["n_removed"] is None else f"; removed {many(stage['n_removed'], 'object')} afterwards"
    return [("staged", f"{stage['location']}: {told}{left}")]


def evaluate(out: Output, report: EvaluateReport) -> None:
    """Show the scores, each with its scorer."""
    metrics = report.metrics
    out.title(f"scores by {report.scorer}" + (" on SYNTHETIC data" if metrics.get("synthetic") else ""))
    baseline = metrics.get("baseline", {})
    rows = []
    for name, value in metrics.items():
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            rows.append((name, _number(value), _number(baseline[name]) if name in baseline else ""))
    out.table(("metric", "detector", "baseline"), rows)


def _number(value: Any) -> str:
    return "none" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"


def runs(out: Output, report: RunsReport) -> None:
    """Show runs beside each other, and what is no run."""
    if report.runs:
        head = ("run", "view", "recipe", "steps", "loss", "scores", "differs", "")
        out.table(head, [_run(line, is_reference=line.run == report.reference) for line in report.runs])
    else:
        out.note(f"no runs in {report.folder}")
    for scorer in sorted(
        {scores["scorer"] for line in report.runs for scores in line.scores.values() if "scorer" in scores}
    ):
        out.note(f"scores by {scorer}")
    for folder, reason in report.broken:
        out.note(f"warning: {folder}: {reason}")


def _run(line: RunLine, *, is_reference: bool) -> tuple[str, ...]:
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


def _split(split: str, scores: Mapping[str, Any]) -> str:
    if "unreadable" in scores:
        return f"{split}: {scores['unreadable']} cannot be read"
    return f"{split}: event F1 {_number(scores['event_f1'])}, AUROC {_number(scores['auroc'])}"
