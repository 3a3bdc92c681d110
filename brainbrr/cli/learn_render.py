"""What the reports of training and evaluation look like to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainbrr.cli.output import Output, duration, many, size

if TYPE_CHECKING:
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.train import TrainReport
    from brainbrr.verbs.score import ScoreReport


def train(out: Output, report: TrainReport) -> None:
    """Show where a run is and how it ended."""
    out.pairs(
        [
            ("run", str(report.run)),
            ("view", report.view_digest),
            ("steps", str(report.steps)),
            ("loss", f"{report.loss:.4f}"),
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
    """Show the scores, each with its scorer and interval, the baseline beside it."""
    from brainbrr.learn.score_table import score_rows

    found = report.metrics
    out.title(f"scores on split {found['split']}" + (" of SYNTHETIC data" if found["synthetic"] else ""))
    both = zip(score_rows(found), score_rows(found["baseline"]), strict=True)
    head = ("scorer", "score", "detector", "95 % interval", "line length", "95 % interval")
    out.table(head, [(a.scorer, a.name, a.value, a.interval, b.value, b.interval) for a, b in both])
    _about(out, found)
    thresholds = f"{found['threshold']:.4g}, line length {found['baseline']['threshold']:.4g}"
    out.pairs([("thresholds", f"{thresholds}, from {found['threshold_from']}")])


def score(out: Output, report: ScoreReport, *, per_recording: bool) -> None:
    """Show the scores, each with its scorer and interval, and what was counted in each recording."""
    from brainbrr.learn.score_table import score_rows

    if per_recording:
        scorers = list(report.recordings[0]["scores"])
        out.title("hits, false alarms, reference")
        out.table(("recording", "hours", *scorers), [_counted(each, scorers) for each in report.recordings])
    out.title("scores")
    out.table(
        ("scorer", "score", "value", "95 % interval"),
        [(row.scorer, row.name, row.value, row.interval) for row in score_rows(report.metrics)],
    )
    _about(out, report.metrics)


def _counted(recording: dict[str, Any], scorers: list[str]) -> list[str]:
    counts = [recording["scores"][name] for name in scorers]
    cells = [", ".join(f"{each[field]:.6g}" for field in ("hits", "false", "reference")) for each in counts]
    return [recording["recording"], f"{recording['duration_s'] / 3600:.3f}", *cells]


def _about(out: Output, found: dict[str, Any]) -> None:
    from brainbrr.learn.score_table import scorers

    amount = f"{found['hours']:.2f} h of recording, {many(found['seizures'], 'seizure')}"
    of = f"{many(found['recordings'], 'recording')} of {many(found['patients'], 'patient')}"
    out.pairs([("scored", f"{amount}, {of}"), *scorers(found)])
