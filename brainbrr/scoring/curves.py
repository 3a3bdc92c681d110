"""Scores of a series over all thresholds: AUROC, AUPRC, sensitivity at given false alarm rates.

Knows series and seconds, no models. Every score names its scorer; unknown time counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from brainbrr.core.arrays import Bool, Float32, Float64, Int64
from brainbrr.scoring import nedc
from brainbrr.scoring.bootstrap import Bootstrap, by_patient
from brainbrr.scoring.events import EventRule, Pool, Scored

STEP_SCORER = "every step of all recordings together; equal scores are one threshold"
RATE_SCORER = f"{nedc.OVLP}; thresholds swept on the scored recordings themselves"
FALSE_ALARMS_PER_DAY = (10.0, 5.0, 2.5, 1.0)

_N_THRESHOLDS = 120
_BLOCK = 4096
"""Scores whose counts are resampled together: memory is this times resamples."""


def curves(
    recordings: Sequence[Scored], rule: EventRule, bootstrap: Bootstrap
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the scores of a set of recordings, and their intervals over patients, by the same names."""
    known = [recording.known for recording in recordings]
    score = np.concatenate([recording.score[mask] for recording, mask in zip(recordings, known, strict=True)])
    label = np.concatenate([recording.label[mask] for recording, mask in zip(recordings, known, strict=True)])
    owner = np.repeat(np.arange(len(recordings)), [int(mask.sum()) for mask in known])
    patients = [recording.patient for recording in recordings]
    _, which = np.unique(patients, return_inverse=True)
    steps = _Steps(score, label, which[owner])
    at, at_intervals = at_false_alarms(recordings, rule, bootstrap)
    area, precision = auroc(score, label), auprc(score, label)
    found = {
        "auroc": area,
        "auprc": precision,
        "step_scorer": STEP_SCORER,
        "seizure_share": float(label.mean()),
        "sensitivity_at": at,
        "rate_scorer": RATE_SCORER,
    }
    n_ill = len(np.unique(steps.person[label]))
    areas, precisions = _resampled_areas(steps, bootstrap), _resampled_precisions(steps, bootstrap)
    intervals = {
        "auroc": bootstrap.interval(np.nan if area is None else area, areas, n_patients=n_ill),
        "auprc": bootstrap.interval(np.nan if precision is None else precision, precisions, n_patients=n_ill),
        "sensitivity_at": at_intervals,
    }
    return found, intervals


class _Steps(NamedTuple):
    """Every known step of all recordings, (n,) each; `person` numbers the patients as the bootstrap does."""

    score: Float32
    label: Bool
    person: Int64


def _resampled_areas(steps: _Steps, bootstrap: Bootstrap) -> Float64:
    """Return the exact AUROC of each resample, (resamples,): a sum over pairs of patients, weighed by their draws."""
    (score, label, person), n = steps, bootstrap.weights.shape[1]
    seizure, of = score[label], person[label]
    won = np.zeros((n, n))  # pairs of a seizure step of one and a background step of another, ties by half
    for other in range(n):
        rest = np.sort(score[~label & (person == other)])
        below = np.searchsorted(rest, seizure, "left") + np.searchsorted(rest, seizure, "right")
        won[:, other] = np.bincount(of, weights=below / 2, minlength=n)
    n_pairs = np.outer(np.bincount(of, minlength=n), np.bincount(person[~label], minlength=n))
    drawn = bootstrap.weights
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((drawn @ won) * drawn).sum(1) / ((drawn @ n_pairs) * drawn).sum(1))


def _resampled_precisions(steps: _Steps, bootstrap: Bootstrap) -> Float64:
    """Return the exact average precision of each resample, (resamples,), from the highest seizure step downwards.

    Only the scores of seizure steps add recall, so background between two of them is counted together.
    """
    score, label, person = steps
    drawn, n = bootstrap.weights, bootstrap.weights.shape[1]
    levels = np.unique(score[label])
    level = len(levels) - np.searchsorted(levels, score, "right")  # the last ones are below every seizure step
    order = np.argsort(level, kind="stable")
    flat = (label[order] * n + person[order]) * _BLOCK + level[order] % _BLOCK
    borders = np.searchsorted(level[order], np.arange(0, len(levels) + _BLOCK, _BLOCK).clip(max=len(levels)))
    found, said, total = (np.zeros((len(drawn), 1)) for _ in range(3))
    for first, last in pairwise(borders):
        counts = np.bincount(flat[first:last], minlength=2 * n * _BLOCK).reshape(2, n, _BLOCK)
        negative, positive = drawn @ counts
        hits = found + np.cumsum(positive, axis=1)
        both = said + np.cumsum(positive + negative, axis=1)
        total += (np.divide(hits, both, out=np.zeros_like(hits), where=both > 0) * positive).sum(1, keepdims=True)
        found, said = hits[:, -1:], both[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((total / found)[:, 0])


def auroc(score: Float32, label: Bool) -> float | None:
    """Return the area under the ROC curve, exact with ties; None when only one class is there."""
    area = float(_roc_area(*_histograms(score, label)))
    return None if np.isnan(area) else area


def auprc(score: Float32, label: Bool) -> float | None:
    """Return the average precision: precision at each score, weighted by the recall it adds; None without seizures."""
    area = float(_average_precision(*_histograms(score, label)))
    return None if np.isnan(area) else area


def at_false_alarms(
    recordings: Sequence[Scored], rule: EventRule, bootstrap: Bootstrap
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the best sensitivity that keeps to each of FALSE_ALARMS_PER_DAY, and its interval at that threshold.

    Any overlap, over all recordings together. The threshold is None where only silence keeps to the rate, and the
    sensitivity None without any seizure.
    """
    pool = Pool.of(recordings)
    patients = [recording.patient for recording in recordings]
    reference, owner = _reference(recordings)
    n_seizures = np.bincount(owner, minlength=len(recordings))
    days = float(pool.known.sum()) / 86_400
    swept = [(threshold, *_overlaps(pool, threshold, rule, reference, owner)) for threshold in _thresholds(pool.score)]
    found: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for rate in FALSE_ALARMS_PER_DAY:
        kept = [(int(hits.sum()), threshold, hits, n) for threshold, hits, n in swept if n / days <= rate]
        n_hits, threshold, hits, n_false = max(
            kept, key=lambda each: each[:2], default=(0, None, np.zeros(len(recordings)), 0)
        )
        name = f"{rate:g}"
        found[name] = {
            "sensitivity": n_hits / len(reference) if len(reference) else None,
            "false_alarms_per_day": n_false / days,
            "threshold": threshold,
        }
        counts: Float64 = np.stack([hits, np.zeros(len(hits)), n_seizures, pool.known], axis=1)
        intervals[name] = bootstrap.of_sums(by_patient(patients, counts))["sensitivity"]
    return found, intervals


def _thresholds(score: Float32) -> list[float]:
    """Return quantiles, most of them high up: few false alarms are rare scores."""
    shares = np.geomspace(1, 1 / len(score), _N_THRESHOLDS)
    return [float(value) for value in np.unique(np.quantile(score, 1 - shares))]


def _reference(recordings: Sequence[Scored]) -> tuple[Float64, Int64]:
    spans = np.array([event for recording in recordings for event in recording.seizures]).reshape(-1, 2)
    return spans, np.repeat(np.arange(len(recordings)), [len(recording.seizures) for recording in recordings])


def _overlaps(pool: Pool, threshold: float, rule: EventRule, reference: Float64, owner: Int64) -> tuple[Float64, int]:
    """Return the found seizures of each recording, (n_recordings,), and the number of false alarms."""
    spans, found_owner = pool.events(threshold, rule)
    apart = np.concatenate([[0], np.cumsum(pool.durations[:-1] + 1)])  # end to end, with a second in between
    truth, found = reference + apart[owner][:, None], spans + apart[found_owner][:, None]
    hits = np.bincount(owner[nedc.overlapped(truth, found)], minlength=len(pool.durations))
    return hits.astype(np.float64), int((~nedc.overlapped(found, truth)).sum())


def _histograms(score: Float32, label: Bool) -> tuple[Float64, Float64]:
    """Return the number of seizure and of background steps at each score, (n_scores,), ascending."""
    values, which = np.unique(score, return_inverse=True)
    return tuple(np.bincount(which[chosen], minlength=len(values)).astype(np.float64) for chosen in (label, ~label))  # type: ignore[return-value]


def _roc_area(positive: Float64, negative: Float64) -> Float64:
    """Return the ROC area of histograms (..., n_scores), ascending; NaN when a class is empty."""
    below = np.cumsum(negative, axis=-1) - negative / 2  # equal scores count by half
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positive * below).sum(-1) / (positive.sum(-1) * negative.sum(-1)))


def _average_precision(positive: Float64, negative: Float64) -> Float64:
    """Return the average precision of histograms (..., n_scores), ascending; NaN without positives."""
    found = np.cumsum(positive[..., ::-1], axis=-1)
    said = found + np.cumsum(negative[..., ::-1], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(said > 0, found / said, 0)
        return np.asarray((precision * positive[..., ::-1]).sum(-1) / positive.sum(-1))
