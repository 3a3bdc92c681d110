"""Traces around the events of an evaluated run, small enough for one page: 8 bits, the extremes of each moment."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainbrr.core.arrays import Float32
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError
from brainbrr.learn.series import step_samples
from brainbrr.loading.recordings import Members, Scope
from brainbrr.look.show import signal_of, stored_recording
from brainbrr.scoring.nedc import overlapped
from brainbrr.store.catalog import Row
from brainbrr.store.store import Store
from brainbrr.views.strips import states_of, traces_of, window_of
from brainbrr.views.traces import CUT, Trace, fitting_scale, hemisphere
from brainbrr.views.view import View

KINDS = ("missed", "false alarm", "found")
"""What there is to look at, the most telling first."""

_AROUND_S, _MOST_S = 10.0, 60.0
_PER_SECOND = 40
"""Moments of a second, each drawn by its lowest and its highest sample."""
_NOTHING = -128

Spans = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Event:
    """A seizure that was found or missed, or an event where none is labelled."""

    kind: str
    recording: str
    patient: str
    start_s: float
    stop_s: float


def events_of(recordings: Sequence[Mapping[str, Any]]) -> list[Event]:
    """Return every seizure and every false alarm of an evaluation, recording by recording."""
    events = []
    for each in recordings:
        seizures, predicted = each["seizures"], each["events"]
        hits, true = overlapped(seizures, predicted), overlapped(predicted, seizures)
        spans = [("found" if hit else "missed", span) for span, hit in zip(seizures, hits, strict=True)]
        spans += [("false alarm", span) for span, hit in zip(predicted, true, strict=True) if not hit]
        for kind, (start, stop) in sorted(spans, key=lambda one: one[1]):
            events.append(Event(kind, each["recording"], each["patient"], start, stop))
    return events


def chosen(events: Sequence[Event], most: int) -> list[Event]:
    """Return at most so many events: of each kind as many as of the others, spread over the recordings."""
    left = {kind: [i for i, each in enumerate(events) if each.kind == kind] for kind in KINDS}
    room, taken = most, list[int]()
    for i, kind in enumerate(sorted(KINDS, key=lambda kind: len(left[kind]))):
        n = min(len(left[kind]), room // (len(KINDS) - i))
        places = {int(place) for place in np.linspace(0, len(left[kind]) - 1, n)} if n else set()
        taken += [left[kind][place] for place in places]
        room -= len(places)
    return [events[i] for i in sorted(taken)]


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation saved: where its recordings are stored, their scores, seizures and events."""

    store: Store | None
    corpus: str
    recipe: Recipe
    rows: Mapping[str, Row]
    probabilities: Mapping[str, Float32]
    recordings: Mapping[str, Mapping[str, Any]]


def snippets(evaluated: Evaluated, events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    """Yield each event with the traces around it, its probability, and all spans that are near."""
    rate_hz = evaluated.recipe.rate_hz
    step_s = step_samples(rate_hz) / rate_hz
    for event in events:
        whole = evaluated.recordings[event.recording]
        start = max(0.0, event.start_s - _AROUND_S)
        stop = min(float(whole["duration_s"]), event.stop_s + _AROUND_S, start + _MOST_S)
        score = evaluated.probabilities.get(event.recording, np.empty(0, dtype=np.float32))
        first = int(start / step_s)
        some = score[first : int(np.ceil(stop / step_s))]
        yield {
            "kind": event.kind,
            "recording": event.recording,
            "patient": event.patient,
            "span": [event.start_s, event.stop_s],
            "from": start,
            "to": stop,
            "first_score": first * step_s,
            "step": step_s,
            "scores": [round(float(value), 4) for value in some],
            "reference": _near(whole["seizures"], start, stop),
            "predicted": _near(whole["events"], start, stop),
            **_traces(evaluated, event.recording, start, stop),
        }


def _near(spans: Spans, start: float, stop: float) -> list[list[float]]:
    return [[max(a, start), min(b, stop)] for a, b in spans if a < stop and b > start]


def _traces(evaluated: Evaluated, path: str, start_s: float, stop_s: float) -> dict[str, Any]:
    """Return rows as bytes, two for each moment: 127 is `CUT` rows, `_NOTHING` no signal; or why there are none."""
    store, row = evaluated.store, evaluated.rows.get(path)
    if store is None or row is None:
        return {"why": "this recording is not in the store"}
    try:
        recording = stored_recording(store, row, evaluated.recipe)
        window = window_of(evaluated.recipe, None, recording.absent)
        scope = Scope(evaluated.corpus, "full")
        view = View(store, Members((recording,)), scope=scope, recipe=evaluated.recipe, window=window)
        signal = signal_of(view, start_s, stop_s - start_s)
    except BrainbrrError as error:
        return {"why": error.what}
    rate = view.rate_hz
    for gap in recording.gaps:
        first, last = (max(0, round((us / 1e6 - start_s) * rate)) for us in gap)
        signal[:, first:last] = np.nan
    traces = traces_of(signal, view.channels, rate, states_of(recording, window, {}))
    scale = fitting_scale(traces)
    rows = [extremes(trace, scale, max(1, rate // _PER_SECOND)) for trace in traces]
    return {
        "rows": [{"name": trace.name, "state": trace.state, "side": hemisphere(trace.name)} for trace in traces],
        "scale": scale,
        "moment": max(1, rate // _PER_SECOND) / rate,
        "traces": b64encode(np.stack(rows).tobytes()).decode(),
    }


def extremes(trace: Trace, scale: float, size: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Return the lowest and the highest sample of each moment, in the order in which they come; `_NOTHING` for NaN."""
    samples = np.full(trace.samples.shape, np.nan) if trace.absent else trace.samples
    padded = np.pad(samples, (0, -len(samples) % size), mode="edge").reshape(-1, size)
    values = np.full((len(padded), 2), np.nan)
    known = np.isfinite(padded).all(axis=1)
    if known.any():
        both = np.sort(np.stack([padded[known].argmin(axis=1), padded[known].argmax(axis=1)], axis=1), axis=1)
        values[known] = np.take_along_axis(padded[known], both, axis=1) - np.nanmedian(samples)
    drawn = np.clip(np.round(values / scale * (127 / CUT)), -127, 127)
    return np.where(np.isnan(drawn), _NOTHING, drawn).astype(np.int8).reshape(-1)
