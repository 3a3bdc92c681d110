"""Validation: how good the weights are on patients of dev while they learn, and which weights were the best.

A part of the dev split is chosen once, as a function of the view and the config alone, so that a resumed training
validates on the same recordings. Reads a view; writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from brainbrr.core.arrays import Float64
from brainbrr.core.digest import sha256
from brainbrr.core.progress import Silent
from brainbrr.learn.config import OptimiserConfig, TrainConfig
from brainbrr.learn.held_out import probabilities
from brainbrr.learn.model import Detector
from brainbrr.learn.series import labelled, scored_by
from brainbrr.learn.thresholds import PROBABILITIES, Sweep
from brainbrr.scoring.curves import auroc
from brainbrr.scoring.events import EventRule, Scored, known_steps
from brainbrr.views.splits import Aliases
from brainbrr.views.view import View

SHARE = 0.05
"""The most of a training's time that validations take, all of dev at the end not counted."""
_FORWARD = 2.5
"""Windows that are only computed forwards in the time of a window of a training step: 3.4 were measured on a CPU."""
_LEAST = 1e-7
_LEAST_ILL = 2
"""Patients with seizures that each half of dev needs: on a single one nothing can be chosen."""

Scores = dict[str, Any]
"""`loss`, `auroc`, `event_f1` and the `threshold` of the events; None where a score is not defined."""


@dataclass
class Best:
    """The best weights so far, their step and scores, and how many validations since then were no better."""

    step: int = -1
    scores: Scores = field(default_factory=dict)
    since: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, step: int, scores: Scores, weights: dict[str, Tensor], by: str) -> bool:
        """Keep these weights where they are better; return whether they were."""
        better = self.step < 0 or merit(scores, by) > merit(self.scores, by)
        self.since = 0 if better else self.since + 1
        if better:
            self.step, self.scores = step, scores
            self.weights = {name: value.detach().cpu().clone() for name, value in weights.items()}
        return better

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint says of them beside the weights."""
        return {"step": self.step, "scores": self.scores, "since": self.since}


def merit(scores: Scores, by: str) -> tuple[float, ...]:
    """Return what is compared: the criterion first, then AUROC and the loss where it ties. Higher is better."""
    signs = {"event_f1": 1, "auroc": 1, "loss": -1}
    order = [by, *(name for name in ("auroc", "loss") if name != by)]
    return tuple(-np.inf if scores[name] is None else signs[name] * scores[name] for name in order)


class Validator:
    """Scores weights on recordings of a dev view: a fixed part of it, or all.

    `patients` are those on whom the best weights are chosen: half of those of dev, so that thresholds can be tuned on
    the others; all of them where a half would have a single patient with seizures.
    """

    def __init__(self, view: View, config: TrainConfig) -> None:
        self.view, self._rule = view, config.evaluate
        choosing, self.others = halves(view)
        self.patients = choosing
        self.part = stratified(view, choosing, seconds=SHARE * _FORWARD * _trained_s(config.train, view))
        self.seconds = 0.0
        self._model: Detector | None = None

    def score(self, model: Detector, weights: dict[str, Tensor], *, everything: bool = False) -> Scores:
        """Return the scores of weights on the fixed part of the view, or on all of it. Changes no training state."""
        began = time.monotonic()
        if self._model is None:
            self._model = deepcopy(model)
        self._model.load_state_dict(weights)
        positions = labelled(self.view) if everything else self.part
        found = list(scored_by(self.view, self._series, "validate", Silent(), positions=positions))
        scores = scores_of(found, self._rule)
        if not everything:
            self.seconds += time.monotonic() - began
        return scores

    def _series(self, view: View, position: int) -> Any:
        assert self._model is not None
        return probabilities(self._model, view, position, stride=view.length)

    def described(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return how much some recordings are."""
        chosen = [self.view.recordings[i] for i in positions]
        return {
            "recordings": len(chosen),
            "patients": len({each.patient for each in chosen}),
            "seizures": sum(len(each.seizures) for each in chosen),
            "hours": round(sum(each.duration_s for each in chosen) / 3600, 4),
        }


def scores_of(recordings: Sequence[Scored], rule: EventRule) -> Scores:
    """Return the cross-entropy of each step, the AUROC, and the best mean event F1 over patients and its threshold."""
    score, label = known_steps(recordings)
    sweep = Sweep.of(recordings, PROBABILITIES, rule)
    f1 = sweep.f1()
    best = sweep.best(f1)
    right: Float64 = np.where(label, score, 1 - score.astype(np.float64))
    return {
        "loss": float(-np.log(np.maximum(right, _LEAST)).mean()),
        "auroc": auroc(score, label),
        "event_f1": float(f1[best]),
        "threshold": sweep.thresholds[best],
    }


def _trained_s(config: OptimiserConfig, view: View) -> float:
    """Return the seconds of signal that one process trains on between two validations."""
    return config.validate_every * config.batch * config.accumulate * view.length / view.rate_hz


def halves(view: View) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the patients on whom the best weights are chosen, and the others, each with half of those with seizures.

    All of them, and none, where a half would have fewer than two patients with seizures.
    """
    recordings = [view.recordings[i] for i in labelled(view)]
    ill = {each.patient for each in recordings if each.seizures}
    by_digest = sorted({each.patient for each in recordings}, key=lambda name: sha256(name.encode()))
    parts: tuple[list[str], list[str]] = ([], [])
    for group in ([each for each in by_digest if each in ill], [each for each in by_digest if each not in ill]):
        for i, patient in enumerate(group):
            parts[i % 2].append(patient)
    if len(ill) < 2 * _LEAST_ILL:
        return tuple(sorted(by_digest)), ()
    return tuple(sorted(parts[0])), tuple(sorted(parts[1]))


def stratified(view: View, patients: Iterable[str], *, seconds: float) -> tuple[int, ...]:
    """Return recordings of some patients that last so many seconds together at most, the first one in any case.

    With and without seizures in the shares of these patients, each patient in turn, in an order that depends on their
    contents alone. The first one has a seizure.
    """
    allowed = set(patients)
    members = [i for i in labelled(view) if view.recordings[i].patient in allowed]
    strata = [_in_turn(view, [i for i in members if bool(view.recordings[i].seizures) is ill]) for ill in (True, False)]
    length = [[view.recordings[i].duration_s for i in stratum] for stratum in strata]
    whole = [sum(each) or 1.0 for each in length]
    taken, used, places = [0.0, 0.0], 0.0, [0, 0]
    chosen: list[int] = []
    while left := [k for k in (0, 1) if places[k] < len(strata[k])]:
        k = min(left, key=lambda each: (taken[each] / whole[each], each))
        if chosen and used + length[k][places[k]] > seconds:
            break
        chosen.append(strata[k][places[k]])
        used += length[k][places[k]]
        taken[k] += length[k][places[k]]
        places[k] += 1
    return tuple(sorted(chosen))


def _in_turn(view: View, positions: Sequence[int]) -> list[int]:
    """Return recordings so that each patient gives one before any gives a second."""
    by_content = sorted(positions, key=lambda i: (view.recordings[i].content, view.recordings[i].path))
    nth: dict[str, int] = {}
    turns: list[tuple[int, int, int]] = []
    for i in by_content:
        turn = nth[view.recordings[i].patient] = nth.get(view.recordings[i].patient, -1) + 1
        turns.append((turn, len(turns), i))
    return [i for *_, i in sorted(turns)]


def people(view: View, patients: Iterable[str]) -> list[str]:
    """Return patients as they are compared between corpora."""
    return sorted(Aliases().person(view.corpus, patient) for patient in patients)
