"""Thresholds: chosen on one split, saved in the run, applied to another split. Never where they were chosen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core import files
from brainbrr.core.arrays import Float64
from brainbrr.errors import Fix, IntegrityError, UsageError
from brainbrr.scoring.bootstrap import Bootstrap, by_patient, rates
from brainbrr.scoring.calibration import Calibration
from brainbrr.scoring.events import EventRule, Pool, Scored
from brainbrr.scoring.szcore import event_counts

PROBABILITIES = (*(percent / 100 for percent in range(5, 100, 5)), 0.98, 0.99)
_N_LEVELS = 40
PLATEAU = 0.01
"""Scores that are no farther apart are taken for equal when a threshold is chosen."""

THRESHOLDS = "thresholds.json"
"""The file of a run that holds them."""

_AGAIN = Fix(("evaluate", "RUN"), " tunes again, on split dev")


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of detector and baseline: how they were chosen, under which rule, on which recordings.

    `tuning` says on how much, how well they did there and how certain the detector's is; `joint`, that the rule was
    tuned with them and is not the config's. `calibration` makes a confidence of a probability; None where none was
    fitted.
    """

    detector: float
    baseline: float
    chosen: str
    rule: Mapping[str, float]
    tuned_on: tuple[str, ...] = ()
    tuning: Mapping[str, Any] = field(default_factory=dict)
    joint: bool = False
    calibration: Calibration | None = None

    def event_rule(self, rule: EventRule) -> EventRule:
        """Return the rule of events that goes with the thresholds, the rest of it as in the config's."""
        return EventRule.model_validate({**rule.model_dump(), **self.rule})

    def write(self, file: Path) -> None:
        """Save the thresholds in a run."""
        calibration = None if self.calibration is None else vars(self.calibration)
        files.replace(file, json.dumps({**vars(self), "calibration": calibration}, indent=1).encode())

    @classmethod
    def read(cls, file: Path, rule: EventRule) -> Thresholds:
        """Return what `write` saved. Raises IntegrityError for anything else, UsageError for another rule of events."""
        try:
            found = json.loads(file.read_bytes())
            numbers = float(found["detector"]), float(found["baseline"])
            if not np.isfinite(numbers).all():
                raise ValueError("a threshold is not a number")
            kept = cls(
                *numbers,
                str(found["chosen"]),
                dict(found["rule"]),
                tuple(found.get("tuned_on", ())),
                dict(found.get("tuning", {})),
                bool(found.get("joint")),
                _calibration(found),
            )
            kept.event_rule(rule)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"the run's thresholds cannot be read: {error}", where=file, fix=_AGAIN) from None
        now = kept.rule if kept.joint else rule.parameters()
        others = [
            f"{name} was {kept.rule.get(name)}, is {now[name]}" for name in now if kept.rule.get(name) != now[name]
        ]
        if others:
            raise UsageError(
                f"the run's thresholds were tuned under another rule of events: {', '.join(others)}"[:400],
                where=file,
                fix=_AGAIN,
            )
        return kept


def _calibration(found: Mapping[str, Any]) -> Calibration | None:
    said = found.get("calibration")
    calibration = None if said is None else Calibration(float(said["temperature"]), float(said["prior"]))
    if calibration is not None and not (0 < calibration.temperature < np.inf and np.isfinite(calibration.prior)):
        raise ValueError("the calibration is not one")
    return calibration


@dataclass(frozen=True)
class Sweep:
    """SzCORE's event counts of recordings at each of some thresholds: by patient, (n_thresholds, n_patients, 4)."""

    thresholds: tuple[float, ...]
    counts: Float64

    @classmethod
    def of(cls, recordings: Sequence[Scored], candidates: Iterable[float], rule: EventRule) -> Sweep:
        """Score the events at each threshold."""
        pool, thresholds = Pool.of(recordings), tuple(sorted(set(candidates)))
        patients = [recording.patient for recording in recordings]
        rows = []
        for threshold in thresholds:
            spans, owner = pool.events(threshold, rule)
            cuts = np.searchsorted(owner, np.arange(len(recordings) + 1))
            found = [
                event_counts(
                    each.seizures,
                    [(a, b) for a, b in spans[cuts[i] : cuts[i + 1]].tolist()],
                    duration_s=each.duration_s,
                    rule=rule.szcore,
                )
                for i, each in enumerate(recordings)
            ]
            rows.append(by_patient(patients, np.array([each.array() for each in found])))
        return cls(thresholds, np.array(rows))

    def f1(self, weights: Float64 | None = None) -> Float64:
        """Return the mean event F1 over the patients that have one, (..., n_thresholds); 0 where none has.

        `weights` (..., n_patients) says how often each patient counts.
        """
        each = rates(self.counts)["f1"]
        there = ~np.isnan(each)
        weights = np.ones(each.shape[1]) if weights is None else weights
        total, n = weights @ np.where(there, each, 0).T, weights @ there.T
        return np.asarray(np.divide(total, n, out=np.zeros_like(total), where=n > 0))

    def best(self, f1: Float64) -> int:
        """Return the place of the best threshold: the middle of the plateau that holds the highest score.

        A plateau are neighbouring thresholds whose scores are at most PLATEAU below the highest; of several the
        longest. Its middle is farthest from where the score falls on either side.
        """
        near = np.flatnonzero(f1 >= f1.max() - PLATEAU)
        runs = np.split(near, np.flatnonzero(np.diff(near) > 1) + 1)
        longest = max((run for run in runs if (f1[run] == f1.max()).any()), key=len)
        return int(longest[len(longest) // 2])


@dataclass(frozen=True)
class Tuned:
    """A threshold, and how certain it is: its score on the recordings it was chosen on, and both intervals."""

    threshold: float
    event_f1: float
    interval: tuple[float, float] | None
    event_f1_interval: list[float] | None

    @classmethod
    def of(cls, recordings: Sequence[Scored], candidates: Iterable[float], rule: EventRule, *, seed: int) -> Tuned:
        """Choose a threshold, and choose it again on each resample of the patients."""
        sweep = Sweep.of(recordings, candidates, rule)
        f1 = sweep.f1()
        best = sweep.best(f1)
        bootstrap = Bootstrap.of(sweep.counts.shape[1], resamples=rule.resamples, seed=seed)
        again = sweep.f1(bootstrap.weights)
        chosen = np.array([sweep.thresholds[sweep.best(each)] for each in again])
        interval = bootstrap.interval(sweep.thresholds[best], chosen)
        return cls(
            threshold=sweep.thresholds[best],
            event_f1=float(f1[best]),
            interval=None if interval is None else (interval[0], interval[1]),
            event_f1_interval=bootstrap.interval(float(f1[best]), again[:, best]),
        )


MIN_DURATIONS_S, MERGE_GAPS_S, LOW_SHARES = (0.0, 5.0, 10.0, 20.0), (0.0, 10.0, 30.0), (1.0, 0.5)
"""The rules of events that are tried when the rule is tuned with the threshold."""


def best_rule(recordings: Sequence[Scored], rule: EventRule) -> EventRule:
    """Return the rule of events with the best threshold's event F1: the given one unless another is clearly better."""
    tried = [
        rule.model_copy(update={"min_duration_s": shortest, "merge_gap_s": gap, "low_share": low})
        for shortest, gap, low in product(MIN_DURATIONS_S, MERGE_GAPS_S, LOW_SHARES)
    ]
    f1 = {each: float(Sweep.of(recordings, PROBABILITIES, each).f1().max()) for each in (rule, *tried)}
    best = max(f1, key=lambda each: f1[each])
    return best if f1[best] > f1[rule] + PLATEAU else rule


def best_threshold(recordings: Sequence[Scored], candidates: Iterable[float], rule: EventRule) -> float:
    """Return the threshold with the best mean SzCORE event F1 over patients, which is the score that is reported."""
    sweep = Sweep.of(recordings, candidates, rule)
    return sweep.thresholds[sweep.best(sweep.f1())]


def best_level(recordings: Sequence[Scored], rule: EventRule) -> float:
    """Return the best threshold of a score without a fixed scale: candidates are its quantiles."""
    values = np.concatenate([recording.score for recording in recordings])
    return best_threshold(recordings, np.quantile(values, np.linspace(0.5, 0.999, _N_LEVELS)).tolist(), rule)
