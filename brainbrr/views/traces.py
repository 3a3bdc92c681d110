"""Traces as an electroencephalographer reads them: rows with names, µV and time, events shaded, odd rows marked.

Draws what it is given, with matplotlib (extra `look`). Knows no store and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from brainbrr.core.arrays import Float64
from brainbrr.errors import DependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT, RIGHT, MIDLINE = "#1d4e89", "#9c3a0b", "#262626"
"""Left and right hemisphere and what is between; blue and vermilion differ for colour-blind eyes too."""
_COLOURS = {"left": LEFT, "right": RIGHT, "middle": MIDLINE}
SEIZURE, UNKNOWN, QUIET = "#e69f00", "#8c8c8c", "#6f6f6f"

_SCALES = (5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000)
CUT = 1.5
"""Rows are cut this many rows from their own line: what is larger would hide its neighbours."""
_ROW_IN, _WIDTH_IN, _MARGIN_IN = 0.3, 14.0, 1.75
_SPECTRUM_IN = 2.4
_LEAST_LABELLED = 0.01
"""Spans that fill less of a strip than this have no label."""


@dataclass(frozen=True)
class Trace:
    """One row. `state`: "" or why it is no plain recording, such as "interpolated"; `absent` rows have no signal."""

    name: str
    samples: Float64
    rate_hz: float
    state: str = ""
    absent: bool = False
    group: int = 0


@dataclass(frozen=True)
class Span:
    """Some time, in seconds of the recording. `kind`: seizure, event, unknown, or invalid."""

    start_s: float
    stop_s: float
    kind: str
    label: str
    rows: tuple[str, ...] = ()
    """The rows that it is on; none for all."""


@dataclass(frozen=True)
class Strip:
    """What one panel shows: rows from `start_s` for `seconds`, and spans over them."""

    title: str
    subtitle: str
    traces: tuple[Trace, ...]
    start_s: float
    seconds: float
    spans: tuple[Span, ...] = ()
    unit: str = "µV"
    synthetic: bool = False


@dataclass(frozen=True)
class Band:
    """The edges of a recipe's filters in Hz, None where one is off."""

    low_hz: float | None = None
    high_hz: float | None = None
    notch_hz: float | None = None


@dataclass(frozen=True)
class Sheet:
    """A strip, or two beside each other with the spectra of both."""

    strips: tuple[Strip, ...]
    band: Band = field(default_factory=Band)


def draw(sheet: Sheet, *, scale: float | None = None) -> Figure:
    """Return a figure of a sheet. `scale`: units between two rows; default, what fits the signal.

    Raises DependencyError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("show needs matplotlib", fix="pip install 'brainbrr[look]'") from error
    n_rows = max(len(strip.traces) for strip in sheet.strips)
    pair = len(sheet.strips) > 1
    height = n_rows * _ROW_IN + _MARGIN_IN + (_SPECTRUM_IN if pair else 0)
    figure = Figure(figsize=(_WIDTH_IN * (1.35 if pair else 1), height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    traces_in = n_rows * _ROW_IN
    grid: dict[str, Any] = {"left": 0.05 if pair else 0.062, "right": 0.935 if pair else 0.92, "wspace": 0.2}
    top, bottom = 1 - 0.95 / height, (0.45 if pair else 0.75) / height
    rows = figure.add_gridspec(
        2 if pair else 1,
        len(sheet.strips),
        top=top,
        bottom=bottom,
        height_ratios=[traces_in, _SPECTRUM_IN - 0.7] if pair else None,
        hspace=0.9 / ((traces_in + _SPECTRUM_IN) / 2) if pair else None,
        **grid,
    )
    scale = scale or fitting_scale(sheet.strips[-1].traces)
    for column, strip in enumerate(sheet.strips):
        panel(figure.add_subplot(rows[0, column]), strip, unit=scale)
    if pair:
        _spectra(figure.add_subplot(rows[1, :]), sheet)
    return figure


def panel(axes: Axes, strip: Strip, *, unit: float) -> None:
    """Draw one strip, rows `unit` apart, negative up, as is usual in clinical EEG."""
    n = len(strip.traces)
    stop_s = strip.start_s + strip.seconds
    axes.set_xlim(strip.start_s, stop_s)
    axes.set_ylim(n - 0.2, -0.9)  # rows from the top; negative is up
    _grid(axes, strip)
    _draw_spans(axes, strip)
    cut = [_draw_trace(axes, trace, row, strip.start_s, unit) for row, trace in enumerate(strip.traces)]
    _name_rows(axes, strip.traces)
    _ticks(axes, strip)
    _scale_bar(axes, unit, strip.unit, n)
    heading: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom"}
    inch = axes.figure.dpi / (axes.get_position().height * axes.figure.bbox.height)
    axes.text(0, 1 + 0.57 * inch, strip.title, fontsize=11, weight="bold", **heading)
    axes.text(0, 1 + 0.36 * inch, strip.subtitle, fontsize=8, color=QUIET, **heading)
    if strip.synthetic:
        axes.text(1, 1 + 0.57 * inch, "SYNTHETIC", fontsize=9, weight="bold", color=QUIET, ha="right", **heading)
    if any(cut):
        rows = ", ".join(trace.name for trace, is_cut in zip(strip.traces, cut, strict=True) if is_cut)
        shown = rows if len(rows) < 60 else f"{sum(cut)} rows"
        axes.annotate(
            f"cut at ±{CUT * unit:g} {strip.unit}: {shown}",
            (1, 0),
            (0, -30),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=7,
            color=QUIET,
            ha="right",
            va="top",
        )


def fitting_scale(traces: Sequence[Trace]) -> float:
    """Return the units between two rows at which most rows just do not touch."""
    reaches = []
    for trace in traces:
        values = trace.samples[np.isfinite(trace.samples)]
        if not trace.absent and len(values) and np.ptp(values) > 0:
            reaches.append(float(np.percentile(np.abs(values - np.median(values)), 98)))
    wanted = 1.25 * float(np.percentile(reaches, 70)) if reaches else 50.0
    if wanted < _SCALES[0]:  # units that are not µV
        return float(f"{max(wanted, 1e-6):.1g}")
    return next((scale for scale in _SCALES if scale >= wanted), float(f"{wanted:.1g}"))


def _draw_trace(axes: Axes, trace: Trace, row: int, start_s: float, unit: float) -> bool:
    """Draw one row; say whether it had to be cut."""
    if trace.absent:
        axes.axhline(row, color=QUIET, linewidth=0.7, linestyle=(0, (1, 4)))
        return False
    offsets = (
        (trace.samples - np.nanmedian(trace.samples)) / unit if np.isfinite(trace.samples).any() else trace.samples
    )
    at_s = start_s + np.arange(len(offsets)) / trace.rate_hz
    # fill() and steps would hide that a sample is a point in time
    style: dict[str, Any] = {"color": _COLOURS[hemisphere(trace.name)], "linewidth": 0.65, "solid_joinstyle": "round"}
    if trace.state.startswith("interpolated"):
        style |= {"color": "#7d7d7d", "linewidth": 0.55}
    axes.plot(at_s, row + np.clip(offsets, -CUT, CUT), zorder=3, **style)
    return bool((np.abs(offsets[np.isfinite(offsets)]) > CUT).any())


def hemisphere(name: str) -> str:
    """Return where a row is, left, right or middle: odd electrodes are left, even ones right, z between."""
    digits = [char for char in name if char.isdigit()]
    if not digits or "z" in name.lower():
        return "middle"
    return "left" if int(digits[-1]) % 2 else "right"


def _name_rows(axes: Axes, traces: Sequence[Trace]) -> None:
    axes.set_yticks(range(len(traces)), [trace.name for trace in traces], fontsize=8.5)
    axes.tick_params(axis="y", length=0, pad=4)
    for row, (label, trace) in enumerate(zip(axes.get_yticklabels(), traces, strict=True)):
        label.set_color(QUIET if trace.absent else _COLOURS[hemisphere(trace.name)])
        if trace.state:
            axes.annotate(
                trace.state,
                (1, row),
                (5, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                fontsize=7,
                color=QUIET,
                va="center",
                annotation_clip=False,
            )
    for above, below in zip(range(len(traces)), range(1, len(traces)), strict=False):
        if traces[above].group != traces[below].group:
            axes.axhline(above + 0.5, color="#d9d9d9", linewidth=0.6, zorder=1)


def _grid(axes: Axes, strip: Strip) -> None:
    step = 1 if strip.seconds <= 60 else 5 if strip.seconds <= 300 else 60
    first = int(np.ceil(strip.start_s / step)) * step
    for second in np.arange(first, strip.start_s + strip.seconds + 1e-9, step):
        heavy = second % (5 * step) == 0
        axes.axvline(second, color="#c9c9c9" if heavy else "#e9e9e9", linewidth=0.7 if heavy else 0.5, zorder=0)


def _ticks(axes: Axes, strip: Strip) -> None:
    steps = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
    step = next((each for each in steps if strip.seconds / each <= 10), 1200)
    ticks = np.arange(np.ceil(strip.start_s / step) * step, strip.start_s + strip.seconds + 1e-9, step)
    axes.set_xticks(ticks, [clock(tick) for tick in ticks], fontsize=8)
    axes.tick_params(axis="x", length=3, color="#8c8c8c")
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color("#8c8c8c")


def clock(seconds: float) -> str:
    """Return a time of a recording as 0:50:00 or 0:00:02.5."""
    whole, rest = divmod(round(seconds * 1000), 1000)
    text = f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return text + (f".{rest:03d}".rstrip("0") if rest else "")


def _scale_bar(axes: Axes, unit: float, name: str, n_rows: int) -> None:
    """Draw how long one unit of the rows' distance is, below the rows at the left edge."""
    x = axes.get_xlim()[0] - 0.04 * (axes.get_xlim()[1] - axes.get_xlim()[0])
    low = n_rows + 1.35
    axes.plot([x, x], [low, low - 1], color=MIDLINE, linewidth=1.6, clip_on=False, solid_capstyle="butt", zorder=5)
    axes.annotate(
        f"{unit:g} {name} · negative up",
        (x, low),
        (5, 0),
        textcoords="offset points",
        fontsize=8,
        va="bottom",
        ha="left",
        color=MIDLINE,
        annotation_clip=False,
    )


def _draw_spans(axes: Axes, strip: Strip) -> None:
    stop_s = strip.start_s + strip.seconds
    names = [trace.name.upper() for trace in strip.traces]
    edge = -1.12  # above the first row
    lanes: list[float] = []
    for span in sorted(strip.spans, key=lambda each: each.start_s):
        start, stop = max(span.start_s, strip.start_s), min(span.stop_s, stop_s)
        if start >= stop and not (span.start_s == span.stop_s and strip.start_s <= span.start_s <= stop_s):
            continue
        if span.kind in ("unknown", "invalid"):
            axes.axvspan(start, stop, facecolor="#f0f0f0", edgecolor="#c2c2c2", hatch="///", linewidth=0, zorder=0.5)
        elif span.kind == "seizure":
            axes.axvspan(start, stop, color=SEIZURE, alpha=0.14, linewidth=0, zorder=0.5)
            for row, name in enumerate(names):
                if name in span.rows:
                    axes.fill_between(
                        [start, stop], row - 0.5, row + 0.5, color=SEIZURE, alpha=0.13, linewidth=0, zorder=0.6
                    )
            for at, is_inside in ((start, start == span.start_s), (stop, stop == span.stop_s)):
                if is_inside:
                    axes.axvline(at, color="#a86f00", linewidth=1.1, zorder=2)
        lane = next((i for i, until in enumerate(lanes) if until <= start), len(lanes))
        lanes[lane : lane + 1] = [max(stop, start + len(span.label) * strip.seconds / 130)]
        if lane == 0 and stop - start > _LEAST_LABELLED * strip.seconds:
            _label_span(axes, span, start, stop, edge)


def _label_span(axes: Axes, span: Span, start: float, stop: float, edge: float) -> None:
    colour = {"seizure": SEIZURE, "unknown": UNKNOWN, "invalid": UNKNOWN, "none": "#d0d0d0"}.get(span.kind, "#56b4e9")
    axes.plot([start, stop], [edge, edge], color=colour, linewidth=4, solid_capstyle="butt", clip_on=False, zorder=4)
    axes.annotate(
        span.label,
        (start, edge),
        (2, 3),
        textcoords="offset points",
        fontsize=8,
        va="bottom",
        color="#7a5200" if span.kind == "seizure" else QUIET,
        annotation_clip=False,
    )


def spectrum(trace: Trace) -> tuple[Float64, Float64]:
    """Return frequencies in Hz and the density in dB of (unit²/Hz): segments of 2 s, Hann window, half overlapping."""
    x = trace.samples[np.isfinite(trace.samples)]
    length = min(len(x), round(2 * trace.rate_hz))
    if length < 8:
        return np.empty(0), np.empty(0)
    window = np.hanning(length + 2)[1:-1]
    starts = range(0, len(x) - length + 1, max(1, length // 2))
    parts = np.stack([(x[i : i + length] - x[i : i + length].mean()) * window for i in starts])
    power = (np.abs(np.fft.rfft(parts)) ** 2).mean(axis=0) * 2 / (trace.rate_hz * (window**2).sum())
    hz = np.arange(len(power)) * trace.rate_hz / length
    return hz[1:], 10 * np.log10(np.maximum(power[1:], 1e-12))


def _spectra(axes: Axes, sheet: Sheet) -> None:
    """Draw the median and the middle half over the rows of both strips, and the edges of the recipe's band."""
    styles = (("#b3b3b3", 3.2), (LEFT, 1.2))  # the wider line stays visible on both sides
    for strip, (colour, width) in zip(sheet.strips, styles, strict=False):
        found = [spectrum(trace) for trace in strip.traces if not trace.absent]
        longest = max((hz for hz, _ in found), key=len, default=np.empty(0))
        same = [db for hz, db in found if len(hz) == len(longest) and len(hz)]
        if not same:
            continue
        low, middle, high = np.percentile(np.stack(same), [25, 50, 75], axis=0)
        axes.fill_between(longest, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(longest, middle, color=colour, linewidth=width, label=strip.title)
        axes.set_xlim(0.85 * longest[0], max(axes.get_xlim()[1], longest[-1]))
    axes.set_xscale("log")
    edges = {"low": sheet.band.low_hz, "high": sheet.band.high_hz, "notch": sheet.band.notch_hz}
    for name, hz in edges.items():
        if hz:
            axes.axvline(hz, color=MIDLINE, linewidth=0.8, linestyle=(0, (2, 2)))
            axes.annotate(
                f"{name} {hz:g} Hz",
                (hz, 1),
                (3, -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=7,
                va="top",
                color=QUIET,
                rotation=90,
            )
    ticks = [
        hz for hz in (0.5, 1, 2, 5, 10, 20, 30, 50, 100, 200, 500) if axes.get_xlim()[0] <= hz <= axes.get_xlim()[1]
    ]
    axes.set_xticks(ticks, [f"{hz:g}" for hz in ticks], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel("Hz", fontsize=8)
    axes.set_ylabel(f"dB ({sheet.strips[0].unit}²/Hz)", fontsize=8)
    axes.tick_params(labelsize=8, color="#8c8c8c")
    axes.grid(color="#ececec", linewidth=0.6)
    axes.legend(
        fontsize=8,
        frameon=True,
        facecolor="white",
        edgecolor="none",
        loc=(0.06, 0.04),
        alignment="left",
        title="median and middle half of the rows",
        title_fontsize=7,
    )
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color("#8c8c8c")
