"""One score a quarter of a second for each recording of a view, and the line-length baseline. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from brainbrr.core.arrays import Float32, Float64
from brainbrr.core.progress import Progress
from brainbrr.errors import UsageError
from brainbrr.loading.recordings import ViewRecording
from brainbrr.scoring.events import UNTYPED, Events, Scored
from brainbrr.views.view import View

STEPS_PER_SECOND = 4
"""Scores are kept as means over a quarter of a second."""

_LINE_LENGTH_S = 5.0
_BLOCK_S = 60
_NO_TYPES = ("seiz", "bckg")

SeriesOf = Callable[[View, int], Float32]
"""Returns one recording's score, (steps,)."""


def scored_by(
    view: View, series_of: SeriesOf, task: str, progress: Progress, *, positions: Sequence[int] | None = None
) -> Iterator[Scored]:
    """Yield recordings of a view with their series: by default each labelled one, and UsageError where none is."""
    positions = labelled(view) if positions is None else positions
    progress.start(task, len(positions), "recordings")
    try:
        for position in positions:
            yield _scored(view, position, series_of)
            progress.advance(1, note=view.recordings[position].path)
    finally:
        progress.stop()


def line_length(view: View, position: int) -> Float32:
    """Return the baseline's score of one recording, (steps,): line length over 5 s, in units of its own median.

    Line length (Esteller et al. 2001) is the mean absolute difference of neighbouring samples, here over all
    channels; it needs no training, so a detector that does not beat it has learned nothing of use.
    """
    n_samples = view.recordings[position].n_samples
    differences = np.zeros(n_samples, dtype=np.float64)
    block = _BLOCK_S * view.rate_hz
    for start in range(0, n_samples, block):
        signal = np.empty((len(view.channels), min(block + 1, n_samples - start)), dtype=np.float32)
        view.read(position, start, signal)
        differences[start : start + signal.shape[1] - 1] = np.abs(np.diff(signal, axis=1)).mean(0)
    steps = per_step(differences, step_samples(view.rate_hz))
    box = np.ones(min(len(steps), round(_LINE_LENGTH_S * STEPS_PER_SECOND)))
    smooth = np.convolve(steps, box, "same") / np.convolve(np.ones(len(steps)), box, "same")
    return (smooth / (np.median(smooth) or 1.0)).astype(np.float32)


def labelled(view: View) -> list[int]:
    """Return the places of the recordings that have labels. Raises UsageError where none has."""
    positions = [
        i
        for i, recording in enumerate(view.recordings)
        if recording.valid_until * 1_000_000 > sum(b - a for a, b in recording.unknown) * view.rate_hz
    ]
    if not positions:
        raise UsageError(
            f"none of the {len(view.recordings)} recordings is labelled: nothing can be scored against",
            where=f"corpus {view.corpus}, profile {view.profile}, split {view.split}",
        )
    return positions


def _scored(view: View, position: int, series_of: SeriesOf) -> Scored:
    """Return one recording's series over its labelled time: unlabelled and unknown time are not scored."""
    recording = view.recordings[position]
    step = step_samples(view.rate_hz)
    duration_s = recording.valid_until / view.rate_hz
    score = series_of(view, position)[: -(-recording.valid_until // step)]
    score = silenced(score, recording.unknown, rate_hz=view.rate_hz)
    return Scored(
        path=recording.path,
        patient=recording.patient,
        score=score,
        step_s=step / view.rate_hz,
        duration_s=duration_s,
        seizures=(seizures := _seizures(recording, duration_s)),
        types=_types(recording, seizures),
        unknown=[(a / 1e6, min(b / 1e6, duration_s)) for a, b in recording.unknown if a / 1e6 < duration_s],
    )


def silenced(score: Float32, spans_us: Sequence[tuple[int, int]], *, rate_hz: int) -> Float32:
    """Return a series that is 0 in each step that a span touches, so that no event begins there."""
    if not spans_us:
        return score
    silent, step = score.copy(), step_samples(rate_hz)
    for start_us, stop_us in spans_us:
        first, last = (time_us * rate_hz // (step * 1_000_000) for time_us in (start_us, stop_us - 1))
        silent[first : last + 1] = 0
    return silent


def _seizures(recording: ViewRecording, duration_s: float) -> Events:
    events = [(start / 1e6, min(stop / 1e6, duration_s)) for start, stop in recording.seizures]
    return [(start, stop) for start, stop in events if start < stop]


def _types(recording: ViewRecording, seizures: Events) -> tuple[str, ...]:
    """Return the type of each seizure: that of the events which overlap it longest; none where no event has a type."""
    typed = [each for each in recording.annotations.typed if each.label not in _NO_TYPES]
    found = []
    for start, stop in seizures if typed else ():
        seconds: dict[str, float] = {}
        for each in typed:
            shared = min(stop, each.stop_us / 1e6) - max(start, each.start_us / 1e6)
            seconds[each.label] = seconds.get(each.label, 0.0) + max(shared, 0.0)
        name = max(seconds, key=lambda label: (seconds[label], label))
        found.append(name if seconds[name] else UNTYPED)
    return tuple(found)


def step_samples(rate_hz: int) -> int:
    """Return the number of samples of one step."""
    return max(rate_hz // STEPS_PER_SECOND, 1)


def per_step(samples: Float64, step: int) -> Float32:
    """Return the means of `step` samples each; the last step may have fewer."""
    firsts = np.arange(0, len(samples), step)
    sizes = np.diff(np.append(firsts, len(samples)))
    return (np.add.reduceat(samples, firsts) / sizes).astype(np.float32)
