"""Strips of traces of stored recordings: their rows in a montage, labels as spans, and what is odd about each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from brainbrr.core.arrays import Float64
from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.quality import detector
from brainbrr.eeg.signal.montage import CHB_MIT
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.loading.build_index import rows_of
from brainbrr.loading.recordings import ViewRecording
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.store import Store
from brainbrr.views.traces import Sheet, Span, Strip, Trace, draw
from brainbrr.views.window import Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Montage = Literal["bipolar", "average", "recorded"]
MONTAGES: tuple[Montage, ...] = ("bipolar", "average", "recorded")


def plot_window(window: Window, spec: WindowSpec, *, store: Store, corpus: str) -> Figure:
    """Return a figure of one window of a view of `spec`, in its units and rows."""
    recording = window.recording
    states = states_of(recording, spec, findings_of(store, recording.key))
    seconds = window.signal.shape[1] / window.rate_hz
    spans = list(spans_of(recording.annotations, recording.duration_s, labelled=recording.labelled))
    if window.start_s + seconds > recording.duration_s:
        spans.append(Span(recording.duration_s, window.start_s + seconds, "invalid", "padding"))
    units = {"none": "µV", "fixed": f"× {spec.scale_uv} µV", "zscore": "SD", "robust": "robust SD"}
    strip = Strip(
        title=recording.path.rsplit("/", 1)[-1],
        subtitle=f"{corpus} · patient {recording.patient} · split {recording.split} · {montage_name(spec)}",
        traces=traces_of(window.signal.astype(np.float64), window.channels, window.rate_hz, states),
        start_s=window.start_s,
        seconds=seconds,
        spans=tuple(spans),
        unit=units[spec.normalise],
        synthetic=recording.synthetic,
    )
    return draw(Sheet((strip,)))


def window_of(recipe: Recipe, montage: Montage | None, absent: Sequence[str] = ()) -> WindowSpec:
    """Return how a recording is read to be shown: µV, in the rows of a montage, absent electrodes interpolated."""
    pairs = all("-" in name for name in recipe.channels)
    if pairs and montage in ("bipolar", "average"):
        montage = "recorded" if montage == "bipolar" else montage
    if pairs and montage == "average":
        raise UsageError("this recipe stores pairs of electrodes, which have no average reference")
    chosen = montage or ("recorded" if pairs else "bipolar")
    channels = None
    if chosen == "bipolar":
        channels = tuple(pair for pair in CHB_MIT if set(pair.split("-")) <= set(recipe.channels))
        if not channels:
            raise UsageError("this recipe has no neighbouring electrodes", fix="--montage recorded")
    return WindowSpec(
        "1", normalise="none", reference=chosen, channels=channels, missing="nan" if pairs and absent else "interpolate"
    )


def spans_of(labels: Annotations, duration_s: float, *, labelled: bool) -> tuple[Span, ...]:
    """Return seizures, events with their type and rows, and time that is not labelled."""
    found = []
    typed = [(each.start_us, each.stop_us, each.label, each.channels) for each in labels.typed]
    for start, stop in ((each.start_us, each.stop_us) for each in labels.seizures):
        inside = [each for each in typed if each[0] < stop and each[1] > start]
        kinds = sorted({each[2] for each in inside} - {"seiz"})
        rows = {name.upper() for each in inside for name in each[3]}
        text = "seizure" + (f" ({', '.join(kinds)})" if kinds else "")
        found.append(Span(start / 1e6, min(stop / 1e6, duration_s), "seizure", text, tuple(sorted(rows))))
    for start, stop, label, _ in typed:
        if not any(each.start_us < stop and each.stop_us > start for each in labels.seizures):
            found.append(Span(start / 1e6, min(stop / 1e6, duration_s), "event", label))
    found += [Span(start / 1e6, stop / 1e6, "unknown", "may be a seizure or not") for start, stop in labels.unknown]
    if not labelled:
        found.append(Span(0, duration_s, "none", "not labelled"))
    elif labels.duration_us is not None and labels.duration_us / 1e6 < duration_s:
        found.append(Span(labels.duration_us / 1e6, duration_s, "unknown", "not labelled"))
    return tuple(found)


def traces_of(signal: Float64, channels: Sequence[str], rate_hz: float, states: dict[str, str]) -> tuple[Trace, ...]:
    """Return the rows of a signal (channels, samples) with what is odd about each."""
    traces = []
    for name, samples in zip(channels, signal, strict=True):
        state = states.get(name, "")
        absent = not np.isfinite(samples).any() or state == "absent"
        traces.append(Trace(name, samples, rate_hz, state, absent, group_of(name)))
    return tuple(traces)


def group_of(name: str) -> int:
    """Return which rows belong together: the chains of a longitudinal montage, or a hemisphere."""
    if "z" in name:
        return 2
    digits = [int(char) for char in name if char.isdigit()]
    if not digits:
        return 4
    lateral = any(each in name for each in ("F7", "F8", "T3", "T4", "T5", "T6", "T7", "T8"))
    return (0 if digits[-1] % 2 else 3) + (0 if lateral or "-" not in name else 1)


def states_of(recording: ViewRecording, window: WindowSpec, findings: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return what is odd about each row: interpolated, absent, flat, or what the quality detector says of it."""
    absent = set(recording.absent)
    flat = {str(name) for name in recording.record.signal.get("flat", ())}
    rows, matrix = rows_of(recording.record.array.channels, recording.absent, window)
    states = {}
    for name, weights in zip(rows, matrix, strict=True):
        parts = {name, *name.split("-")}
        lost = sorted(parts & absent)
        if lost and not np.isfinite(weights).all():
            states[name] = "absent"
        elif lost:
            how = "interpolated" if window.missing == "interpolate" else "zeros"
            states[name] = how if name in lost else f"{how} {', '.join(lost)}"
        elif parts & flat:
            states[name] = "flat" if name in flat else f"flat {', '.join(sorted(parts & flat))}"
        elif said := sorted({word for part in parts for word in findings.get(part, ())}):
            states[name] = ", ".join(said[:2])
    return states


def findings_of(store: Store, key: str) -> dict[str, list[str]]:
    """Return the names of findings by channel; none where nothing was examined."""
    try:
        found = store.findings(key, detector.QUALITY_VERSION)
    except IntegrityError:
        return {}
    names: dict[str, list[str]] = {}
    for each in found["findings"] if found else ():
        if each["channel"]:
            names.setdefault(each["channel"], []).append(each["name"])
    return names


def montage_name(window: WindowSpec) -> str:
    """Return the montage of a window in words."""
    names = {"bipolar": "bipolar (longitudinal)", "average": "average reference", "recorded": "as recorded"}
    return names[window.reference]
