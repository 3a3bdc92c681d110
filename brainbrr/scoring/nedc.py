"""NEDC's any-overlap (OVLP), epoch (EPOCH) and time-aligned event scoring (TAES), as its software v6.0.0 counts them.

Own code, compared with the tables that NEDC's program prints. Shah et al. 2021, "Objective evaluation metrics for
automatic classification of EEG events". Without DPALIGN and inter-rater agreement. Knows no files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from brainbrr.core.arrays import Bool
from brainbrr.scoring.bootstrap import Counts
from brainbrr.scoring.events import Events

EPOCH_S = 0.25
OVLP = "NEDC OVLP (v6.0.0, own code): any overlap, no tolerance"
EPOCH = "NEDC EPOCH (v6.0.0, own code): epochs of 0.25 s, false alarms in seconds' worth of epochs"
TAES = "NEDC TAES (v6.0.0, own code): hits and false alarms as parts of events"


@dataclass(frozen=True)
class Tally:
    """One scorer's counts of one recording, or of many: for seizures, and for the background between them."""

    seizure: Counts
    background: Counts

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.seizure + other.seizure, self.background + other.background)


def background_of(seizures: Events, duration_s: float) -> Events:
    """Return the time of a recording that no seizure covers, as events."""
    edges = [0.0, *(edge for seizure in seizures for edge in seizure), duration_s]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]


def overlap(reference: Events, hypothesis: Events, *, duration_s: float) -> Tally:
    """Return OVLP's counts: an event is a hit when the other side has one of its label that overlaps it at all."""
    return Tally(
        _any_overlap(reference, hypothesis, duration_s),
        _any_overlap(background_of(reference, duration_s), background_of(hypothesis, duration_s), duration_s),
    )


def epoch(reference: Events, hypothesis: Events, *, duration_s: float) -> Tally:
    """Return EPOCH's counts, in epochs: each epoch has the label of its middle."""
    truth, found = _epochs(reference, duration_s), _epochs(hypothesis, duration_s)
    both = int((truth & found).sum())
    n_true, n_found, n = int(truth.sum()), int(found.sum()), len(truth)
    return Tally(
        Counts(both, n_found - both, n_true, duration_s),
        Counts(n - n_true - n_found + both, n_true - both, n - n_true, duration_s),
    )


def taes(reference: Events, hypothesis: Events, *, duration_s: float) -> Tally:
    """Return TAES' counts: of each reference event the share that was found is a hit, the rest a miss.

    Its overlap test works in whole seconds: of an event that shares no time, the hit is negative and as much false.
    A hypothesis that spans several reference events counts for the first of them; the others are misses.
    """
    return Tally(
        _time_aligned(reference, hypothesis, duration_s),
        _time_aligned(background_of(reference, duration_s), background_of(hypothesis, duration_s), duration_s),
    )


def _any_overlap(reference: Events, hypothesis: Events, duration_s: float) -> Counts:
    hits, false = int(overlapped(reference, hypothesis).sum()), int((~overlapped(hypothesis, reference)).sum())
    return Counts(hits, false, len(reference), duration_s)


def overlapped(one: ArrayLike, two: ArrayLike) -> Bool:
    """Return for each span (n, 2) whether any of the others shares time with it, (n,); `two` is sorted and disjoint."""
    spans, others = (np.asarray(events, dtype=np.float64).reshape(-1, 2) for events in (one, two))
    begun = np.searchsorted(others[:, 0], spans[:, 1], "left")  # how many of the others start before a span stops
    ended = np.searchsorted(others[:, 1], spans[:, 0], "right")
    return np.asarray(begun > ended)


def _epochs(events: Events, duration_s: float) -> Bool:
    middles = np.arange(EPOCH_S / 2, duration_s + EPOCH_S * 1e-6, EPOCH_S)
    inside = np.zeros(len(middles), dtype=np.bool_)
    for start, stop in events:
        # an edge in the middle of an epoch leaves it to the earlier event
        inside[np.searchsorted(middles, start, "right") : np.searchsorted(middles, stop, "right")] = True
    return inside


def _time_aligned(reference: Events, hypothesis: Events, duration_s: float) -> Counts:
    hits = false = 0.0
    free_reference, free_hypothesis = [True] * len(reference), [True] * len(hypothesis)
    for i, event in enumerate(reference):
        found = [j for j, said in enumerate(hypothesis) if free_hypothesis[j] and _touch(event, said)]
        if not free_reference[i] or not found:
            continue
        for j in found:
            hit, outside = _parts(event, hypothesis[j])
            hits, false = hits + hit, false + outside
            free_hypothesis[j] = False
        first = hypothesis[found[0]]
        if first[1] > event[1]:  # further reference events that it reaches are misses, whatever else finds them
            for k in range(i + 1, len(reference)):
                free_reference[k] &= not _touch(reference[k], first)
    return Counts(hits, false + sum(free_hypothesis), len(reference), duration_s)


def _touch(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Say whether events overlap for TAES: in whole seconds, so that those may, too, that share none of their time."""
    return int(one[0]) <= int(other[1]) and int(other[0]) <= int(one[1])


def _parts(event: tuple[float, float], said: tuple[float, float]) -> tuple[float, float]:
    """Return the found share of a reference event, and the detected time outside it, in its lengths, at most 1."""
    length = event[1] - event[0]
    hit = min(event[1], said[1]) - max(event[0], said[0])
    outside = max(event[0] - said[0], 0.0) + max(said[1] - event[1], 0.0)
    return hit / length, min(outside / length, 1.0)
