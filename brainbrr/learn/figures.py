"""The figures of a report, drawn as SVG. Draws; computes no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from brainbrr.core.arrays import Float32
from brainbrr.scoring.events import Events, Scored

_WIDTH, _LEFT, _RIGHT = 640, 56, 12
_DETECTOR, _BASELINE, _SEIZURE, _EVENT = "var(--detector)", "var(--baseline)", "var(--seizure)", "var(--detector)"
"""Colours of views/page.py, for light and dark."""
_MAX_POINTS = 1200

_COLOURS = {"szcore": "var(--detector)", "ovlp": "var(--ovlp)", "taes": "var(--taes)"}
_DASHES = {"szcore": "none", "ovlp": "7 3", "taes": "2 3"}
"""Lines differ without their colours, too."""
_NAMES = {"szcore": "SzCORE", "ovlp": "NEDC OVLP", "taes": "NEDC TAES"}
_MOST_ALARMS = 100.0


@dataclass(frozen=True)
class Example:
    """One recording to look at: the scores of detector and baseline, and the detected events."""

    detector: Scored
    baseline: Scored
    threshold: float
    baseline_threshold: float
    events: Events


def recording(example: Example) -> str:
    """Draw probability, reference and events of one recording over time."""
    detector = example.detector
    end = detector.duration_s

    def x(seconds: float) -> float:
        return _LEFT + seconds / end * (_WIDTH - _LEFT - _RIGHT)

    shades = "".join(
        f'<rect x="{x(a):.1f}" y="30" width="{max(x(b) - x(a), 1):.1f}" height="280" fill="{_SEIZURE}" '
        'fill-opacity="0.35"/>'
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
        f'<svg viewBox="0 0 {_WIDTH} 358" role="img" aria-label="probability over time">'
        f"{shades}{bars}{''.join(lines)}{ticks}"
        f'<text x="{_WIDTH - _RIGHT}" y="350" text-anchor="end">seconds</text></svg>'
        f'<p class="note"><code>{escape(detector.path)}</code>, the recording with the most seizures. '
        "Reference: shaded; detected events: bars; thresholds: dashed.</p>"
    )


def loss(losses: Sequence[float]) -> str:
    """Draw the loss of each step, and its mean over 20 steps."""
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
        f'<svg viewBox="0 0 {_WIDTH} 225" role="img" aria-label="training loss">'
        + _trace(values, "var(--pale)", low=180, high=15, top=top)
        + _trace(smooth.astype(np.float32), _DETECTOR, low=180, high=15, top=top)
        + _axis("loss", low=180, high=15, top=top)
        + ticks
        + f'<text x="{_WIDTH - _RIGHT}" y="218" text-anchor="end">steps</text></svg>'
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
    along = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
    return f'<line {along} stroke="var(--text)" stroke-dasharray="4 3"/>'


def _axis(title: str, *, low: float, high: float, top: float) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_LEFT}" y1="{low}" y2="{high}" stroke="var(--quiet)"/>'
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{low}" y2="{low}" stroke="var(--quiet)"/>'
        f'<text x="{_LEFT - 6}" y="{high + 4}" text-anchor="end">{top:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{low + 4}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{high - 6}">{title}</text>'
    )


def _ticks(end: float) -> list[float]:
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600) if end / s <= 10), end / 8)
    return [i * step for i in range(int(end // step) + 1)]


def curves(found: Mapping[str, Any], threshold: float) -> str:
    """Draw sensitivity against false alarms per 24 h, from 0 to 100 on a root scale, a line for each scorer.

    The circle is the operating point: the threshold that is nearest to the one used.
    """
    lines = []
    for name, points in found.items():
        some = [p for p in points if p["sensitivity"] is not None and p["false_alarms_per_day"] <= _MOST_ALARMS]
        at = " ".join(f"{_alarms(p['false_alarms_per_day']):.1f},{_share(p['sensitivity']):.1f}" for p in some)
        lines.append(
            f'<polyline points="{at}" fill="none" stroke="{_COLOURS[name]}" '
            f'stroke-dasharray="{_DASHES[name]}" stroke-width="1.8"/>'
        )
        used = min(some, key=lambda p: abs(p["threshold"] - threshold), default=None)
        if used:
            x, y = _alarms(used["false_alarms_per_day"]), _share(used["sensitivity"])
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_COLOURS[name]}"/>')
    ticks = "".join(
        f'<text x="{_alarms(t):.1f}" y="226" text-anchor="middle">{t:g}</text>' for t in (0, 1, 5, 10, 25, 50, 100)
    )
    legend = "".join(
        f'<text x="{_WIDTH - 130}" y="{136 + 20 * i}" style="fill:{_COLOURS[name]}">{_NAMES[name]}</text>'
        f'<line x1="{_WIDTH - 170}" x2="{_WIDTH - 138}" y1="{131 + 20 * i}" y2="{131 + 20 * i}" '
        f'stroke="{_COLOURS[name]}" stroke-dasharray="{_DASHES[name]}" stroke-width="1.8"/>'
        for i, name in enumerate(found)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} 258" role="img" aria-label="sensitivity against false alarms">'
        f"{''.join(lines)}{_axis('sensitivity', low=210, high=20, top=1.0)}{ticks}{legend}"
        f'<text x="{_WIDTH - _RIGHT}" y="251" text-anchor="end">false alarms per 24 h</text></svg>'
    )


def _alarms(per_day: float) -> float:
    return float(_LEFT + (per_day / _MOST_ALARMS) ** 0.5 * (_WIDTH - _LEFT - _RIGHT))


def _share(value: float) -> float:
    return 210 - value * 190


def reliability(found: Mapping[str, Any]) -> str:
    """Draw the share of seizure against the mean probability of each bin, before and after calibration."""
    colours = {"detector": _BASELINE, "calibrated": _DETECTOR}
    parts = [f'<line x1="{_LEFT}" y1="210" x2="{_LEFT + 190}" y2="20" stroke="var(--line)"/>']
    for i, (name, colour) in enumerate(colours.items()):
        if not found[name]:
            continue
        bins = [(_LEFT + 190 * each["probability"], _share(each["seizure"])) for each in found[name]["bins"]]
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in bins)
        parts.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in bins]
        text = f"{name}: Brier {found[name]['brier']:.4f}, ECE {found[name]['ece']:.4f}"
        parts.append(f'<text x="{_LEFT + 220}" y="{60 + 20 * i}" style="fill:{colour}">{text}</text>')
    ticks = "".join(f'<text x="{_LEFT + 190 * t:.1f}" y="226" text-anchor="middle">{t:g}</text>' for t in (0, 0.5, 1))
    return (
        f'<svg viewBox="0 0 {_WIDTH} 258" role="img" aria-label="reliability">{"".join(parts)}'
        f"{_axis('share of steps in a seizure', low=210, high=20, top=1.0)}{ticks}"
        f'<text x="{_LEFT + 190}" y="251" text-anchor="end">probability</text></svg>'
    )


def histogram(seconds: Sequence[float]) -> str:
    """Draw how many seizures were found after how many seconds, in bins of five."""
    if not seconds:
        return "<p>No seizure was found.</p>"
    counts = np.bincount(np.minimum(np.array(seconds) // 5, 23).astype(np.intp), minlength=24)
    width, top = (_WIDTH - _LEFT - _RIGHT) / 24, int(counts.max())
    bars = "".join(
        f'<rect x="{_LEFT + i * width:.1f}" y="{130 - n / top * 110:.1f}" width="{width - 2:.1f}" '
        f'height="{n / top * 110:.1f}" fill="{_DETECTOR}"/>'
        for i, n in enumerate(counts.tolist())
    )
    ticks = "".join(
        f'<text x="{_LEFT + i * width:.1f}" y="146" text-anchor="middle">{5 * i}</text>' for i in range(0, 24, 2)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} 175" role="img" aria-label="latencies">{bars}{ticks}'
        f'{_axis("seizures", low=130, high=20, top=top)}<text x="{_WIDTH - _RIGHT}" y="168" text-anchor="end">'
        "seconds from onset to the first event (last bin: all later)</text></svg>"
    )
