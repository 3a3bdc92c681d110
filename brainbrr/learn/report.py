"""One run's report: a self-contained HTML file, figures drawn as SVG. Draws; computes no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core import files
from brainbrr.core.arrays import Float32
from brainbrr.learn import runs as r
from brainbrr.scoring.events import Events, Scored
from brainbrr.scoring.table import NO_VALUE, score_rows, scorers, verdict
from brainbrr.views.view import View

_WIDTH, _LEFT, _RIGHT = 860, 56, 12
_DETECTOR, _BASELINE, _SEIZURE, _EVENT = "#1f6fc4", "#8a8a8a", "#f4c7b5", "#1f6fc4"
_MAX_POINTS = 1200

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c1c1c;max-width:900px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
td.i{color:#777;font-size:.8em;white-space:nowrap}th[colspan='5']{padding-top:.9rem;color:#1f6fc4}code{font-size:.85em;overflow-wrap:anywhere}
.synthetic{background:#7a1f00;color:#fff;padding:.5rem .8rem;font-weight:600}.note{color:#555;font-size:.9em}
svg{width:100%;height:auto;overflow:visible}tr,svg{break-inside:avoid}text{font:11px system-ui,sans-serif;fill:#444}
"""


@dataclass(frozen=True)
class Example:
    """One recording to look at: the scores of detector and baseline, and the detected events."""

    detector: Scored
    baseline: Scored
    threshold: float
    baseline_threshold: float
    events: Events


def write_report(run: r.Run, view: View, found: Mapping[str, Any], example: Example) -> Path:
    """Write report-SPLIT.html into the run, and the same as report.html: the last evaluation's. Return its path.

    `found` is what evaluate measured.
    """
    history = run.history()
    synthetic = found["synthetic"] or any(entry["synthetic"] for _, seen in run.seen() for entry in seen["recordings"])
    parts = [
        f"<h1>{escape(run.config.name)}: seizure detection on split {escape(str(view.split))}</h1>",
        f'<p class="note">run <code>{escape(run.folder.name)}</code></p>',
        '<p class="synthetic">SYNTHETIC DATA: signals and labels were generated; '
        "these scores mean nothing for any patient.</p>"
        if synthetic
        else "",
        "<h2>Scores</h2>",
        f"<p>{escape(' '.join(verdict(found)))}</p>",
        _scores(found),
        _scorer(found),
        "<h2>One recording</h2>",
        _recording(example),
        "<h2>Training loss</h2>",
        _loss([row["loss"] for row in history]),
        "<h2>Data and model</h2>",
        _views(run, view, found),
        _omissions(run, view),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(run.folder.name)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    path = run.folder / "report.html"
    for each in (run.folder / f"report-{view.split or 'all'}.html", path):
        files.replace(each, page.encode())
    return path


def _scores(found: Mapping[str, Any]) -> str:
    """Draw one table: a heading for each scorer; detector and baseline side by side, with intervals."""
    head = "<tr><th></th><th class=n colspan=2>detector</th><th class=n colspan=2>line length</th></tr>"
    parts, scorer = [head], ""
    for ours, theirs in zip(score_rows(found), score_rows(found["baseline"]), strict=True):
        if ours.scorer != scorer:
            scorer = ours.scorer
            parts.append(f"<tr><th colspan=5>{escape(scorer)}</th></tr>")
        cells = "".join(
            f"<td class=n>{escape(row.value)}</td><td class=i>{escape(row.interval)}</td>" for row in (ours, theirs)
        )
        parts.append(f"<tr><td>{escape(ours.name)}</td>{cells}</tr>")
    thresholds = "".join(f"<td class=n>{each['threshold']:.3g}</td><td></td>" for each in (found, found["baseline"]))
    parts.append(f"<tr><td>threshold of the events</td>{thresholds}</tr>")
    return f"<table>{''.join(parts)}</table>"


def _scorer(found: Mapping[str, Any]) -> str:
    named = (scorer if scorer.startswith(name) else f"{name}: {scorer}" for name, scorer in scorers(found))
    items = "".join(f"<li>{escape(each)}</li>" for each in named)
    rule = ", ".join(f"{name} = {value:g}" for name, value in found["rule"].items())
    return (
        f'<div class="note"><p>{NO_VALUE}: not defined for any patient. Small print: 95 % confidence intervals. '
        f"Thresholds: {escape(found['threshold_from'])}. Event rule: {escape(rule)}. "
        "The baseline is line length over 5 s, scored by the same code.</p>"
        f"<ul>{items}</ul></div>"
    )


def _views(run: r.Run, view: View, found: Mapping[str, Any]) -> str:
    trained = run.view
    hours = (
        f"{found['hours']:.2f} h of labelled recording, {found['recordings']} recordings, {found['patients']} patients"
    )
    rows = [
        ("scored on", f"corpus {view.corpus}, profile {view.profile}, split {view.split}: {hours}"),
        ("seizures", str(found["seizures"])),
        ("view digest", str(view.digest)),
        ("trained on", f"corpus {trained['corpus']}, profile {trained['profile']}, split {trained['split']}"),
        ("view digest", trained["digest"]),
        ("recipe", f"{trained['recipe']['name']}, {trained['recipe']['digest']}"),
        ("windows", f"{trained['window']['length_s']} s every {trained['window']['stride_s']} s"),
        ("steps", f"{run.config.train.steps} of {run.config.train.batch * run.config.train.accumulate} windows"),
        (
            "reproducible",
            "on a CPU, with the same number of threads"
            + (", and on CUDA" if run.config.train.deterministic else "; not on CUDA"),
        ),
        *_weights(run),
    ]
    if run.before:
        rows.append(("started from", ", which started from ".join(each["run"] for each in run.before)))
    if found["unlabelled"]:
        rows.append(("not scored", f"{found['unlabelled']} recordings without labels"))
    cells = "".join(f"<tr><td>{name}</td><td><code>{escape(value)}</code></td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _weights(run: r.Run) -> list[tuple[str, str]]:
    """Describe the weights and the software that made them; a file from elsewhere may lack any field."""
    tensors, metadata = r.read_tensors(run.model)
    versions = metadata.get("versions")
    software = (
        ", ".join(f"{name} {each}" for name, each in versions.items()) if isinstance(versions, dict) else "unknown"
    )
    return [
        ("detector", f"{sum(value.numel() for value in tensors.values()):,} parameters, seed {run.config.seed}"),
        ("software", software),
        ("git commit", str(metadata.get("git_commit") or "unknown: an installed package")),
    ]


def _omissions(run: r.Run, view: View) -> str:
    omitted = [*run.view["omitted"], *(vars(omission) for omission in view.omitted)]
    if not omitted:
        return '<p class="note">No recording was omitted.</p>'
    rows = "".join(
        f"<tr><td><code>{escape(o['recording'])}</code></td><td>{escape(o['reason'])}</td></tr>" for o in omitted
    )
    return f"<h2>Omitted: {len(omitted)} refused recordings, accepted as omitted</h2><table>{rows}</table>"


def _recording(example: Example) -> str:
    """Draw probability, reference and events of one recording over time."""
    detector = example.detector
    end = detector.duration_s

    def x(seconds: float) -> float:
        return _LEFT + seconds / end * (_WIDTH - _LEFT - _RIGHT)

    shades = "".join(
        f'<rect x="{x(a):.1f}" y="30" width="{max(x(b) - x(a), 1):.1f}" height="280" fill="{_SEIZURE}"/>'
        for a, b in detector.seizures
    )
    bars = "".join(
        f'<rect x="{x(a):.1f}" y="188" width="{max(x(b) - x(a), 1):.1f}" height="7" fill="{_EVENT}"/>'
        for a, b in example.events
    )
    top = max(float(example.baseline.score.max()), example.baseline_threshold) * 1.05
    lines = [
        _trace(detector.score, _DETECTOR, low=180, high=30, top=1.0),
        _rule(example.threshold, low=180, high=30, top=1.0),
        _axis("probability", low=180, high=30, top=1.0),
        _trace(example.baseline.score, _BASELINE, low=310, high=215, top=top),
        _rule(example.baseline_threshold, low=310, high=215, top=top),
        _axis("line length", low=310, high=215, top=top),
    ]
    ticks = "".join(f'<text x="{x(t):.1f}" y="326" text-anchor="middle">{t:g}</text>' for t in _ticks(end))
    return (
        f'<svg viewBox="0 0 {_WIDTH} 350" role="img" aria-label="probability over time">'
        f"{shades}{bars}{''.join(lines)}{ticks}"
        f'<text x="{_WIDTH - _RIGHT}" y="343" text-anchor="end">seconds</text></svg>'
        f'<p class="note"><code>{escape(detector.path)}</code>, the recording with the most seizures. '
        "Reference: shaded; detected events: bars; thresholds: dashed.</p>"
    )


def _loss(losses: Sequence[float]) -> str:
    if not losses:
        return "<p>No steps.</p>"
    values = np.array(losses, dtype=np.float32)
    box = np.ones(min(len(values), 20))
    smooth = np.convolve(values, box, "same") / np.convolve(np.ones(len(values)), box, "same")
    top = float(values.max()) * 1.05 or 1.0
    ticks = "".join(
        f'<text x="{_LEFT + t / len(values) * (_WIDTH - _LEFT - _RIGHT):.1f}" y="196" text-anchor="middle">{t:g}</text>'
        for t in _ticks(len(values))
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} 215" role="img" aria-label="training loss">'
        + _trace(values, "#bcd6f2", low=180, high=15, top=top)
        + _trace(smooth.astype(np.float32), _DETECTOR, low=180, high=15, top=top)
        + _axis("loss", low=180, high=15, top=top)
        + ticks
        + f'<text x="{_WIDTH - _RIGHT}" y="211" text-anchor="end">steps</text></svg>'
        + '<p class="note">The loss of each step, and its mean over 20 steps.</p>'
    )


def _trace(values: Float32, colour: str, *, low: float, high: float, top: float) -> str:
    """Draw a series over the full width; where many points share a place, keep the lowest and the highest."""
    n = len(values)
    size = -(-n // _MAX_POINTS)
    points = []
    for first in range(0, n, size):
        part = values[first : first + size]
        for place in sorted({int(part.argmin()), int(part.argmax())}):
            along = (first + place + 0.5) / n
            up = float(part[place]) / top
            points.append(f"{_LEFT + along * (_WIDTH - _LEFT - _RIGHT):.1f},{low - up * (low - high):.1f}")
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.3"/>'


def _rule(value: float, *, low: float, high: float, top: float) -> str:
    y = low - value / top * (low - high)
    return f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#444" stroke-dasharray="4 3"/>'


def _axis(title: str, *, low: float, high: float, top: float) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_LEFT}" y1="{low}" y2="{high}" stroke="#999"/>'
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{low}" y2="{low}" stroke="#999"/>'
        f'<text x="{_LEFT - 6}" y="{high + 4}" text-anchor="end">{top:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{low + 4}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{high - 6}">{title}</text>'
    )


def _ticks(end: float) -> list[float]:
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600) if end / s <= 10), end / 8)
    return [i * step for i in range(int(end // step) + 1)]
