"""What the reports of training and evaluation look like to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainbrr.cli.output import Output, duration, many, size

if TYPE_CHECKING:
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.train import TrainReport


def train(out: Output, report: TrainReport) -> None:
    """Show where a run is and how it ended."""
    out.pairs(
        [
            ("run", str(report.run)),
            ("view", report.view_digest),
            ("steps", str(report.steps)),
            ("loss", f"{report.loss:.4f}"),
            ("scan", f"{report.metrics['scan']} on {report.metrics['device']}"),
            *_staged(report.metrics.get("stage")),
        ]
    )


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
