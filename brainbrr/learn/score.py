"""Scores of seizure detection: AUROC, events from probabilities, SzCORE's sample and event scores.

Knows series, events and seconds; no models, stores or files. Every score names its scorer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import fmean
from typing import Any

import numpy as np
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

SCORER = (
    f"SzCORE (timescoring {version('timescoring')}): any overlap, 30 s before and 60 s after, gaps under 90 s merged, "
    "over 5 min split; samples at 1 Hz; mean over patients"
)
MICRO_SCORER = SCORER.replace("mean over patients", "counts of all recordings together")

_EVENT_HZ = 10
_SAMPLE_HZ = 1

Events = list[tuple[float, float]]
Series = np.ndarray[Any, np.dtype[np.float32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Scored:
    """One recording's output and truth over its labelled time: `score` (n,) has one value per `step_s` seconds."""

    path: str
    patient: str
    score: Series
    step_s: float
    duration_s: float
    seizures: Events

    @property
    def label(self) -> Mask:
        """Whether the middle of each step is in a seizure, (n,)."""
        middles = (np.arange(len(self.score)) + 0.5) * self.step_s
        label = np.zeros(len(middles), dtype=np.bool_)
        for start, stop in self.seizures:
            label |= (middles >= start) & (middles < stop)
        return label


@dataclass(frozen=True)
class Morphology:
    """How a thresholded series becomes events: gaps up to `merge_gap_s` close, then short events go."""

    min_duration_s: float
    merge_gap_s: float


@dataclass(frozen=True)
class Counts:
    """What a scorer counted: true detections, false ones, reference events (or samples), and seconds."""

    hits: int = 0
    false: int = 0
    reference: int = 0
    seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.false + other.false,
            self.reference + other.reference,
            self.seconds + other.seconds,
        )

    @property
    def sensitivity(self) -> float | None:
        """Share of the reference that was found; None without any."""
        return self.hits / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """Share of what was said that was true; None when nothing was."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; None when there is neither a reference nor a false detection."""
        total = self.reference + self.hits + self.false
        return 2 * self.hits / total if self.reference + self.false else None

    @property
    def false_per_day(self) -> float | None:
        """False detections per 24 h of recording."""
        return self.false / self.seconds * 86_400 if self.seconds else None


def auroc(score: Series, label: Mask) -> float | None:
    """Return the area under the ROC curve, exact with ties; None when only one class is there."""
    n_positive = int(label.sum())
    n_negative = len(label) - n_positive
    if not n_positive or not n_negative:
        return None
    _, which, n_equal = np.unique(score, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(n_equal) - (n_equal - 1) / 2
    rank_sum = float(middle_rank[which][label].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def events_of(recording: Scored, threshold: float, morphology: Morphology) -> Events:
    """Return the events of a series, in seconds, sorted and apart."""
    edges = np.flatnonzero(np.diff(recording.score >= threshold, prepend=False, append=False))
    events: Events = []
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        start, stop = first * recording.step_s, min(last * recording.step_s, recording.duration_s)
        if events and start - events[-1][1] <= morphology.merge_gap_s:
            events[-1] = (events[-1][0], stop)
        else:
            events.append((start, stop))
    return [(start, stop) for start, stop in events if stop - start >= morphology.min_duration_s]


def szcore(reference: Events, hypothesis: Events, *, duration_s: float) -> tuple[Counts, Counts]:
    """Return one recording's event counts and sample counts, by timescoring with its defaults."""

    def annotation(events: Events, hz: int) -> Annotation:
        # sorted, since timescoring merges neighbours in the order given and scores unsorted ones wrong
        return Annotation(sorted(events), hz, round(duration_s * hz))

    event = EventScoring(annotation(reference, _EVENT_HZ), annotation(hypothesis, _EVENT_HZ))
    sample = SampleScoring(annotation(reference, _SAMPLE_HZ), annotation(hypothesis, _SAMPLE_HZ), fs=_SAMPLE_HZ)
    by_event = Counts(int(event.tp), int(event.fp), int(event.refTrue), duration_s)
    return by_event, Counts(int(sample.tp), int(sample.fp), int(sample.refTrue), duration_s)


def metrics(recordings: Sequence[Scored], threshold: float, morphology: Morphology) -> dict[str, Any]:
    """Return every score of a set of recordings at one threshold.

    As SzCORE: counts are added per patient, scores are means over the patients that have one. What no patient
    has (the sensitivity without any seizure) is None; `patients_scored` says how many have it. `micro` holds the
    same scores from the counts of all recordings together.
    """
    hypotheses = [events_of(recording, threshold, morphology) for recording in recordings]
    by_patient: dict[str, list[Counts]] = defaultdict(lambda: [Counts(), Counts()])
    for recording, events in zip(recordings, hypotheses, strict=True):
        counted = szcore(recording.seizures, events, duration_s=recording.duration_s)
        both = by_patient[recording.patient]
        by_patient[recording.patient] = [a + b for a, b in zip(both, counted, strict=True)]
    each = [_scores(event, sample) for event, sample in by_patient.values()]
    event, sample = (sum((pair[i] for pair in by_patient.values()), Counts()) for i in (0, 1))
    seconds = sum(recording.duration_s for recording in recordings)
    flagged = sum(stop - start for events in hypotheses for start, stop in events)
    means = {name: [value for scores in each if (value := scores[name]) is not None] for name in each[0]}
    return {
        "auroc": auroc(
            np.concatenate([recording.score for recording in recordings]),
            np.concatenate([recording.label for recording in recordings]),
        ),
        **{name: fmean(values) if values else None for name, values in means.items()},
        "flagged_share": flagged / seconds,
        "threshold": threshold,
        "hours": seconds / 3600,
        "seizures": sum(len(recording.seizures) for recording in recordings),
        "recordings": len(recordings),
        "patients": len(by_patient),
        "patients_scored": {name: len(values) for name, values in means.items()},
        "scorer": SCORER,
        "auroc_scorer": "rank statistic with exact ties, over every step of all recordings",
        "micro": {**_scores(event, sample), "scorer": MICRO_SCORER},
    }


def _scores(event: Counts, sample: Counts) -> dict[str, float | None]:
    return {
        "event_f1": event.f1,
        "sensitivity": event.sensitivity,
        "precision": event.precision,
        "false_alarms_per_day": event.false_per_day,
        "sample_f1": sample.f1,
        "sample_sensitivity": sample.sensitivity,
        "sample_precision": sample.precision,
    }


def best_threshold(recordings: Sequence[Scored], candidates: Iterable[float], morphology: Morphology) -> float:
    """Return the threshold with the best event F1 of all recordings together.

    Of several equal ones the middle one: farthest from where the score falls on either side.
    """

    def event_f1(threshold: float) -> float:
        total = Counts()
        for recording in recordings:
            found = events_of(recording, threshold, morphology)
            total += szcore(recording.seizures, found, duration_s=recording.duration_s)[0]
        return total.f1 or 0.0

    thresholds = sorted(set(candidates))
    qualities = [event_f1(threshold) for threshold in thresholds]
    best = [t for t, quality in zip(thresholds, qualities, strict=True) if quality == max(qualities)]
    return best[len(best) // 2]
