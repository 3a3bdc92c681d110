"""From a series of probabilities to events: threshold with hysteresis, morphology, shortest duration, merging.

Knows series and seconds; no scorer, no model, no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field

from brainbrr.core.arrays import Bool, Float32, Float64, Int64
from brainbrr.core.models import Section

Events = list[tuple[float, float]]
"""Seizures of one recording as (start, stop) in seconds: sorted, disjoint."""


UNTYPED = "not typed"
"""The type of a seizure that only says that it is one."""


@dataclass(frozen=True)
class Scored:
    """One recording's output and truth over its labelled time: `score` (n,) has one value per `step_s` seconds.

    `types` names each seizure's type, and is empty where none is known.
    In `unknown` time, sorted and disjoint, it is unknown whether there is a seizure: it counts in no hours, steps or
    events, and the score should be 0 there.
    """

    path: str
    patient: str
    score: Float32
    step_s: float
    duration_s: float
    seizures: Events
    types: tuple[str, ...] = ()
    unknown: Events = field(default_factory=list)

    @property
    def known_s(self) -> float:
        """Seconds that count."""
        return known_of(self.duration_s, self.unknown)

    @property
    def known(self) -> Bool:
        """Whether a step has no unknown time, (n,)."""
        known = np.ones(len(self.score), dtype=np.bool_)
        for start, stop in self.unknown:
            known[int(start / self.step_s) : math.ceil(stop / self.step_s)] = False
        return known

    @property
    def label(self) -> Bool:
        """Whether the middle of each step is in a seizure, (n,)."""
        middles = (np.arange(len(self.score)) + 0.5) * self.step_s
        label = np.zeros(len(middles), dtype=np.bool_)
        for start, stop in self.seizures:
            label |= (middles >= start) & (middles < stop)
        return label


def known_steps(recordings: Iterable[Scored]) -> tuple[Float32, Bool]:
    """Return the score and the label of every known step of all recordings, (n,) each."""
    parts = [(each.score[each.known], each.label[each.known]) for each in recordings]
    return np.concatenate([score for score, _ in parts]), np.concatenate([label for _, label in parts])


def known_of(duration_s: float, unknown: Events) -> float:
    """Return the seconds of a recording that are not unknown."""
    return duration_s - sum(stop - start for start, stop in unknown)


def without(events: Events, unknown: Events) -> Events:
    """Return events without what of them is in unknown time; where that cuts one, its parts are events."""
    for begin, end in unknown:
        parts = [part for start, stop in events for part in ((start, min(stop, begin)), (max(start, end), stop))]
        events = [(start, stop) for start, stop in parts if start < stop]
    return events


@dataclass(frozen=True)
class Pool:
    """Several recordings' series end to end, so that one pass finds the events of all; no event crosses a border.

    `firsts` (n_recordings,) is where each begins in `score`; all have the same `step_s`. `known` is `durations` without
    unknown time.
    """

    score: Float32
    firsts: Int64
    durations: Float64
    known: Float64
    step_s: float

    @classmethod
    def of(cls, recordings: Sequence[Scored]) -> Pool:
        """Join recordings. Raises ValueError for different steps."""
        [step_s] = {recording.step_s for recording in recordings}
        sizes = [len(recording.score) for recording in recordings]
        return cls(
            np.concatenate([recording.score for recording in recordings]),
            np.cumsum([0, *sizes[:-1]]),
            np.array([recording.duration_s for recording in recordings]),
            np.array([recording.known_s for recording in recordings]),
            step_s,
        )

    def events(self, threshold: float, rule: EventRule) -> tuple[Float64, Int64]:
        """Return events in seconds of their own recording, (m, 2), and the recording of each, (m,), in order.

        An event is a run of at least low_share · threshold that reaches the threshold. Runs shorter than opening_s
        are dropped, gaps up to closing_s closed; then events shorter than min_duration_s are dropped, and those up to
        merge_gap_s apart joined.
        """
        first, last = self._runs(self.score >= threshold * rule.low_share)
        if rule.low_share < 1:
            reached = np.concatenate([[0], np.cumsum(self.score >= threshold)])
            kept = reached[last] > reached[first]
            first, last = first[kept], last[kept]
        owner: Int64 = np.searchsorted(self.firsts, first, "right") - 1
        spans = (np.stack([first, last], axis=1) - self.firsts[owner][:, None]).astype(np.float64) * self.step_s
        spans[:, 1] = np.minimum(spans[:, 1], self.durations[owner])
        for shortest_s, gap_s in ((rule.opening_s, rule.closing_s), (rule.min_duration_s, rule.merge_gap_s)):
            kept = spans[:, 1] - spans[:, 0] >= shortest_s
            spans, owner = _join(spans[kept], owner[kept], gap_s)
        return spans, owner

    def _runs(self, inside: Bool) -> tuple[Int64, Int64]:
        """Return where runs of True begin, and where they have ended."""
        before, after = np.roll(inside, 1), np.roll(inside, -1)
        before[self.firsts] = False
        after[self.firsts - 1] = False  # of the first recording this is the last step of all: the end
        return np.flatnonzero(inside & ~before), np.flatnonzero(inside & ~after) + 1


def events_of(recording: Scored, threshold: float, rule: EventRule) -> Events:
    """Return the events of one recording, in seconds, sorted and disjoint."""
    spans, _ = Pool.of([recording]).events(threshold, rule)
    return [(start, stop) for start, stop in spans.tolist()]


def _join(spans: Float64, owner: Int64, gap_s: float) -> tuple[Float64, Int64]:
    """Join neighbours of one recording that are at most a gap apart."""
    if len(spans) < 2 or not gap_s:
        return spans, owner
    apart = (spans[1:, 0] - spans[:-1, 1] > gap_s) | (owner[1:] != owner[:-1])
    begins, ends = np.concatenate([[True], apart]), np.concatenate([apart, [True]])
    return np.stack([spans[begins, 0], spans[ends, 1]], axis=1), owner[begins]


class SzcoreRule(Section):
    """The parameters of timescoring's event scores; the defaults are its own.

    A detection may begin `tolerance_start_s` before a seizure and end `tolerance_end_s` after it; events less than
    `merge_gap_s` apart are one, and those longer than `max_event_s` several. A seizure is found where the detections
    cover more than the share `min_overlap` of it and its tolerance.
    """

    tolerance_start_s: float = Field(default=30.0, ge=0)
    tolerance_end_s: float = Field(default=60.0, ge=0)
    min_overlap: float = Field(default=0.0, ge=0, lt=1)
    max_event_s: float = Field(default=300.0, ge=1)
    merge_gap_s: float = Field(default=90.0, ge=0)


class EventRule(Section):
    """How probabilities become events, and how these are scored.

    `threshold` is used only until one is tuned on another split. An event continues while the probability is at least
    low_share · threshold; runs shorter than `opening_s` go and gaps up to `closing_s` close, then events shorter than
    `min_duration_s` go and those up to `merge_gap_s` apart become one. `resamples` of the patients give the
    intervals; `szcore` are the parameters of its event scores.
    """

    threshold: float = Field(default=0.5, gt=0, lt=1)
    low_share: float = Field(default=1.0, gt=0, le=1)
    opening_s: float = Field(default=0.0, ge=0)
    closing_s: float = Field(default=5.0, ge=0)
    min_duration_s: float = Field(default=5.0, ge=0)
    merge_gap_s: float = Field(default=10.0, ge=0)
    resamples: int = Field(default=1000, ge=100, le=10_000)
    szcore: SzcoreRule = SzcoreRule()

    def parameters(self) -> dict[str, float]:
        """Return the fields that make events of probabilities, without the threshold, which is tuned for them."""
        return self.model_dump(exclude={"threshold", "resamples", "szcore"})
