"""What the reports of training and evaluation look like to a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brainbrr.cli.output import Output, duration, many, size

if TYPE_CHECKING:
    from brainbrr.learn.compare import RunLine, RunsReport
    from brainbrr.learn.evaluate import EvaluateReport
    from brainbrr.learn.online import Online
    from brainbrr.learn.predict_files import PredictReport
    from brainbrr.learn.train import TrainReport
    from brainbrr.scoring.score import ScoreReport


def train(out: Output, report: TrainReport) -> None:
    """Show where a run is and how it ended."""
    out.pairs(
        [
            ("run", str(report.run)),
            ("view", report.view_digest),
            ("steps", str(report.steps)),
            ("loss", f"{report.loss:.4f}"),
            ("learned on", _learned_on(report.metrics)),
            ("scan", report.metrics["scan"]),
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
    """Show the scores, each with its scorer and interval, the baseline beside it."""
    from brainbrr.scoring.table import score_rows, verdict

    found = report.metrics
    out.title(f"scores on split {found['split']}" + (" of SYNTHETIC data" if found["synthetic"] else ""))
    both = zip(score_rows(found), score_rows(found["baseline"]), strict=True)
    head = ("scorer", "score", "detector", "95 % interval", "line length", "95 % interval")
    rows = [(a.scorer, a.name, a.value, a.interval, b.value, b.interval) for a, b in both]
    out.table(head, rows, whole=head[2:])
    _about(out, found)
    thresholds = f"{found['threshold']:.4g}, line length {found['baseline']['threshold']:.4g}"
    out.pairs([("thresholds", f"{thresholds}, from {found['threshold_from']}")])
    for sentence in verdict(found):
        out.note(sentence)


def score(out: Output, report: ScoreReport, *, per_recording: bool) -> None:
    """Show the scores, each with its scorer and interval, and what was counted in each recording."""
    from brainbrr.scoring.table import score_rows

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


def predict(out: Output, report: PredictReport) -> None:
    """Show each recording's seizures, what was refused, and by which threshold."""
    rows = [
        (each.scored.path, duration(each.scored.duration_s), *span)
        for each in report.predictions
        for span in [(f"{start:.2f} s", f"{stop:.2f} s") for start, stop in each.events] or [("none", "")]
    ]
    out.table(("recording", "length", "seizure from", "to"), rows)
    if report.failed:
        out.title("refused")
        out.table(("recording", "reason"), [(failure.recording, failure.reason) for failure in report.failed])
        for fix in sorted({failure.fix for failure in report.failed if failure.fix}):
            out.note(f"fix: {fix}")
    out.pairs([("threshold", f"{report.threshold:.4g}, from {report.threshold_from}")])
    notes = Counter(note for each in report.predictions for note in each.notes)
    notes["SYNTHETIC data"] = sum(each.synthetic for each in report.predictions)
    for note, n in (+notes).items():
        out.note(f"note: {note}" + (f" ({n} recordings)" if n > 1 else ""))
    if report.written:
        more = f" and {len(report.written) - 1} more" if len(report.written) > 1 else ""
        out.note(f"written: {report.written[0]}{more}")


def listen(out: Output, online: Online) -> None:
    """Print steps as they come, as tab-separated rows or as one JSON object a line; first how late they are."""
    from brainbrr.learn.online import Step

    late = f"each step is known at most {online.latency_s:.2f} s after it began"
    out.note(f"{late}; the first ones after {online.warm_up_s:.2f} s")
    if out.as_json:
        out.line({"schema": 1, "latency_s": online.latency_s, "warm_up_s": online.warm_up_s})
    else:
        out.text("\t".join(Step._fields))
    heard = False
    for step in online:
        heard = True
        if out.as_json:
            out.line(step._asdict())
        else:
            out.text(f"{step.time_s:.2f}\t{step.available_at_s:.2f}\t{step.probability:.6f}")
    if not heard:
        out.note("the recording ended within the warm-up: nothing was judged")


def _counted(recording: dict[str, Any], scorers: list[str]) -> list[str]:
    counts = [recording["scores"][name] for name in scorers]
    cells = [", ".join(f"{each[field]:.6g}" for field in ("hits", "false", "reference")) for each in counts]
    return [recording["recording"], f"{recording['duration_s'] / 3600:.3f}", *cells]


def _about(out: Output, found: dict[str, Any]) -> None:
    from brainbrr.scoring.table import scorers

    amount = f"{found['hours']:.2f} h of recording, {many(found['seizures'], 'seizure')}"
    of = f"{many(found['recordings'], 'recording')} of {many(found['patients'], 'patient')}"
    out.pairs([("scored", f"{amount}, {of}"), *scorers(found)])


def _number(value: Any) -> str:
    return "none" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"


_SCORERS = {"event F1": "scorer", "AUROC": "step_scorer"}


def runs(out: Output, report: RunsReport) -> None:
    """Show runs beside each other, and what is no run."""
    if report.runs:
        head = ("run", "view", "recipe", "steps", "loss", "scores", "differs", "")
        rows = [_run(line, is_reference=line.run == report.reference) for line in report.runs]
        out.table(head, rows, whole=("run", "loss"))
    else:
        out.note(f"no runs in {report.folder}")
    told = [scores for line in report.runs for scores in line.scores.values() if "scorer" in scores]
    for name, scorer in sorted({(name, each[key]) for each in told for name, key in _SCORERS.items()}):
        out.note(f"{name} by {scorer}")
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
