"""Calibration: probabilities that mean what they say, fitted on one split and measured on another. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainbrr.core.arrays import Bool, Float32, Float64

_EDGE = 1e-6
_N_BINS = 10
_MAX_STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """How a probability p becomes the calibrated sigmoid(logit(p) / temperature + prior).

    A temperature above 1 means that the detector was too sure; `prior` is the shift of the log odds, which is negative
    where seizures are rarer than in the balanced batches that it learned from.
    """

    temperature: float = 1.0
    prior: float = 0.0

    @classmethod
    def fit(cls, score: Float32, label: Bool) -> Calibration | None:
        """Return the calibration with the lowest cross-entropy (Platt 1999; Guo et al. 2017), found by Newton's method.

        None where a class is missing, or where probabilities do not rise with the label.
        """
        if label.all() or not label.any():
            return None
        x, y = _logit(score), label.astype(np.float64)
        features = np.stack([x, np.ones_like(x)])
        weights = np.array([1.0, 0.0])
        for _ in range(_MAX_STEPS):
            p = _sigmoid(weights @ features)
            gradient = features @ (p - y) + 1e-3 * (
                weights - [1.0, 0.0]
            )  # a little towards no change: no division by 0
            curvature = (features * (p * (1 - p))) @ features.T + 1e-3 * np.eye(2)
            step = np.linalg.solve(curvature, gradient)
            weights = weights - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
            if np.abs(step).max() < 1e-9:
                break
        slope, prior = (float(value) for value in weights)
        return cls(1 / slope, prior) if slope > 0 else None

    def apply(self, score: Float32) -> Float32:
        """Return calibrated probabilities of the same shape."""
        if self == NO_CALIBRATION:
            return score
        return np.asarray(_sigmoid(_logit(score) / self.temperature + self.prior), dtype=np.float32)


NO_CALIBRATION = Calibration()


def reliability(score: Float32, label: Bool) -> dict[str, Any]:
    """Return the Brier score, the expected calibration error, and its bins: mean probability, share of seizure, steps.

    ECE is the mean distance of the two over bins of equal width, weighed by their steps (Naeini et al. 2015).
    """
    p, y = score.astype(np.float64), label.astype(np.float64)
    which = np.minimum((p * _N_BINS).astype(np.intp), _N_BINS - 1)
    n = np.bincount(which, minlength=_N_BINS)
    said, seen = (np.bincount(which, weights=each, minlength=_N_BINS) for each in (p, y))
    some = n > 0
    return {
        "brier": float(((p - y) ** 2).mean()),
        "ece": float(np.abs(said - seen).sum() / len(p)),
        "bins": [
            {"probability": float(a / k), "seizure": float(b / k), "steps": int(k)}
            for a, b, k in zip(said[some], seen[some], n[some], strict=True)
        ],
    }


def _logit(score: Float32) -> Float64:
    p = np.clip(score.astype(np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(np.log(p / (1 - p)))


def _sigmoid(x: Float64) -> Float64:
    return np.asarray(1 / (1 + np.exp(-x)))
