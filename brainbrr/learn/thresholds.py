"""Thresholds: chosen on one split, saved in the run, applied to another split. Never where they were chosen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainbrr.core import files
from brainbrr.errors import Fix, IntegrityError, UsageError
from brainbrr.scoring.bootstrap import Counts, rates
from brainbrr.scoring.events import EventRule, Pool, Scored
from brainbrr.scoring.metrics import szcore_event

PROBABILITIES = (*(percent / 100 for percent in range(5, 100, 5)), 0.98, 0.99)
_N_LEVELS = 40

THRESHOLDS = "thresholds.json"
"""The file of a run that holds them."""

_AGAIN = Fix(("evaluate", "RUN"), " tunes again, on split dev")


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of detector and baseline: how they were chosen, under which rule, on which recordings."""

    detector: float
    baseline: float
    chosen: str
    rule: Mapping[str, float]
    tuned_on: tuple[str, ...] = ()

    def write(self, file: Path) -> None:
        """Save the thresholds in a run."""
        files.replace(file, json.dumps(vars(self), indent=1).encode())

    @classmethod
    def read(cls, file: Path, rule: EventRule) -> Thresholds:
        """Return what `write` saved. Raises IntegrityError for anything else, UsageError for another rule of events."""
        try:
            found = json.loads(file.read_bytes())
            numbers = float(found["detector"]), float(found["baseline"])
            if not np.isfinite(numbers).all():
                raise ValueError("a threshold is not a number")
            kept = cls(*numbers, str(found["chosen"]), dict(found["rule"]), tuple(found.get("tuned_on", ())))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"the run's thresholds cannot be read: {error}", where=file, fix=_AGAIN) from None
        now = rule.parameters()
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


def best_threshold(recordings: Sequence[Scored], candidates: Iterable[float], rule: EventRule) -> float:
    """Return the threshold with the best SzCORE event F1 of all recordings together.

    Of several equal ones the middle one: farthest from where the score falls on either side.
    """
    pool = Pool.of(recordings)

    def event_f1(threshold: float) -> float:
        spans, owner = pool.events(threshold, rule)
        total = Counts()
        for i, recording in enumerate(recordings):
            found = [(start, stop) for start, stop in spans[owner == i].tolist()]
            total += szcore_event(recording.seizures, found, duration_s=recording.duration_s)
        f1 = float(rates(total.array())["f1"])
        return 0.0 if np.isnan(f1) else f1  # no seizure and no detection: as good as any other threshold

    thresholds = sorted(set(candidates))
    qualities = [event_f1(threshold) for threshold in thresholds]
    best = [t for t, quality in zip(thresholds, qualities, strict=True) if quality == max(qualities)]
    return best[len(best) // 2]


def best_level(recordings: Sequence[Scored], rule: EventRule) -> float:
    """Return the best threshold of a score without a fixed scale: candidates are its quantiles."""
    values = np.concatenate([recording.score for recording in recordings])
    return best_threshold(recordings, np.quantile(values, np.linspace(0.5, 0.999, _N_LEVELS)).tolist(), rule)
