"""Counts, the rates that follow, and their intervals: a bootstrap over patients. Knows no scorer, no events, no files.

Patients are resampled, not recordings, since recordings of one patient resemble each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from brainbrr.core.arrays import Float64


@dataclass(frozen=True)
class Counts:
    """True detections, false ones, what the reference holds (events, samples or epochs), seconds of recording.

    Fractions occur: TAES counts parts of events.
    """

    hits: float = 0
    false: float = 0
    reference: float = 0
    seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def misses(self) -> float:
        """How much of the reference was not found."""
        return self.reference - self.hits

    def array(self) -> Float64:
        """Return the counts as `rates` takes them, (4,)."""
        return np.array(astuple(self), dtype=np.float64)


def rates(counts: Float64) -> dict[str, Float64]:
    """Return sensitivity, precision, F1 and false alarms per 24 h of recording, each (...), of counts (..., 4).

    NaN where a rate is undefined: sensitivity without a reference, precision without a detection, F1 without both.
    """
    hits, false, reference, seconds = np.moveaxis(counts, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "sensitivity": np.where(reference > 0, hits / reference, np.nan),
            "precision": np.where(hits + false > 0, hits / (hits + false), np.nan),
            "f1": np.where(reference + false > 0, 2 * hits / (reference + hits + false), np.nan),
            "false_alarms_per_day": np.where(seconds > 0, false / seconds * 86_400, np.nan),
        }


def for_json(values: Mapping[str, Float64]) -> dict[str, float | None]:
    """Return rates for JSON: None in place of NaN."""
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


LEVEL = 0.95
LEAST_PATIENTS = 10
"""A bootstrap over fewer is degenerate: with two, the interval is the two."""
_Z = 1.959963984540054  # of LEVEL, both sides


def wilson(hits: float, n: float) -> list[float] | None:
    """Return the interval of a share of n independent events (Wilson 1927); None without any event."""
    if n <= 0:
        return None
    share, spread = hits / n, _Z * _Z / n
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * np.sqrt(max(share * (1 - share), 0.0) / n + spread / (4 * n)) / (1 + spread)
    return [float(min(max(middle - half, 0.0), share)), float(max(min(middle + half, 1.0), share))]


@dataclass(frozen=True)
class Bootstrap:
    """How often each patient was drawn, (resamples, n_patients): the same draws for every score, so they compare."""

    weights: Float64

    @classmethod
    def of(cls, n_patients: int, *, resamples: int, seed: int) -> Bootstrap:
        """Draw patients with replacement."""
        random = np.random.default_rng(seed)
        return cls(random.multinomial(n_patients, np.full(n_patients, 1 / n_patients), resamples).astype(np.float64))

    @property
    def name(self) -> str:
        """What the intervals are, in words."""
        resamples, n_patients = self.weights.shape
        few = f"none where fewer than {LEAST_PATIENTS} patients have the score: a bootstrap over them is degenerate"
        return f"{LEVEL:.0%} percentile bootstrap over {n_patients} patients, {resamples} resamples; {few}"

    def of_means(self, values: Mapping[str, Float64]) -> dict[str, list[float] | None]:
        """Return the interval of each mean over patients; values (n_patients,), NaN for a patient without one."""
        found = {}
        for name, each in values.items():
            there = ~np.isnan(each)
            with np.errstate(invalid="ignore", divide="ignore"):
                resampled = (self.weights @ np.where(there, each, 0)) / (self.weights @ there)
            point = float(each[there].mean()) if there.any() else np.nan
            found[name] = self.interval(point, resampled, n_patients=int(there.sum()))
        return found

    def of_sums(self, counts: Float64) -> dict[str, list[float] | None]:
        """Return the interval of each rate of all recordings together; counts (n_patients, 4)."""
        points, resampled, own = rates(counts.sum(0)), rates(self.weights @ counts), rates(counts)
        return {
            name: self.interval(float(points[name]), each, n_patients=int((~np.isnan(own[name])).sum()))
            for name, each in resampled.items()
        }

    def interval(self, point: float, resampled: Float64, *, n_patients: int | None = None) -> list[float] | None:
        """Return [low, high] of a score's resamples, widened to hold the score itself; those without one are left out.

        None where fewer than LEAST_PATIENTS have the score (`n_patients`, by default all), and when half of the
        resamples have none.
        """
        there = resampled[~np.isnan(resampled)]
        n_patients = self.weights.shape[1] if n_patients is None else n_patients
        if n_patients < LEAST_PATIENTS or np.isnan(point) or 2 * len(there) < len(resampled):
            return None
        low, high = np.quantile(there, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return [float(min(low, point)), float(max(high, point))]


def by_patient(patients: Sequence[str], rows: Float64) -> Float64:
    """Return the sums of rows (n, ...) over each patient, (n_patients, ...), patients in sorted order."""
    _, which = np.unique(patients, return_inverse=True)
    sums: Float64 = np.zeros((which.max() + 1, *rows.shape[1:]))
    np.add.at(sums, which, rows)
    return sums
