"""Scores against values worked out by hand, timescoring's own vectors and its results for NEDC's pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainbrr.eeg.annotations import read_annotations
from brainbrr.learn.score import (
    SCORER,
    Counts,
    Events,
    Morphology,
    Scored,
    auroc,
    best_threshold,
    events_of,
    metrics,
    szcore,
)


def scored(score: list[float], seizures: Events, *, patient: str = "a", step_s: float = 1.0) -> Scored:
    values = np.array(score, dtype=np.float32)
    return Scored("x.edf", patient, values, step_s, len(values) * step_s, seizures)


def test_auroc_is_exact_with_ties() -> None:
    random = np.random.default_rng(0)
    score = random.integers(0, 5, 200).astype(np.float32)
    label = random.random(200) < 0.3
    pairs = score[label][:, None] - score[~label]
    assert auroc(score, label) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2, abs=1e-12)


def test_auroc_of_one_class_is_none() -> None:
    assert auroc(np.ones(3, dtype=np.float32), np.ones(3, dtype=np.bool_)) is None


def test_steps_are_seizure_when_their_middle_is() -> None:
    assert scored([0] * 5, [(0.6, 2.5)]).label.tolist() == [False, True, False, False, False]


def test_events_close_gaps_before_short_ones_are_dropped() -> None:
    recording = scored([0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0], [])
    assert events_of(recording, 0.5, Morphology(0, 0)) == [(1, 3), (4, 6), (10, 11)]
    assert events_of(recording, 0.5, Morphology(3, 1)) == [(1, 6)]
    assert events_of(scored([1, 1], []), 0.5, Morphology(0, 0)) == [(0, 2)]
    assert events_of(scored([0, 0], []), 0.5, Morphology(0, 0)) == []


def test_events_end_with_the_recording() -> None:
    recording = Scored("x.edf", "a", np.ones(3, dtype=np.float32), 1.0, 2.5, [])
    assert events_of(recording, 0.5, Morphology(0, 0)) == [(0, 2.5)]


def test_unsorted_hypotheses_score_as_sorted_ones() -> None:
    events = [(700.0, 720.0), (10.0, 20.0), (300.0, 310.0)]
    assert szcore([(305.0, 320.0)], events, duration_s=800) == szcore([(305.0, 320.0)], sorted(events), duration_s=800)


def test_counts_are_those_of_timescoring_on_nedc_pairs(data: Path) -> None:
    folder = data / "scores" / "nedc_v6.0.0"
    by_hz = json.loads((folder / "expected" / "timescoring_0.0.7.json").read_text())
    files = by_hz["1"]["files"]
    assert files
    for name, at_1_hz in files.items():
        reference, hypothesis = (
            [(e.start_us / 1e6, e.stop_us / 1e6) for e in read_annotations({".csv_bi": folder / kind / name}).seizures]
            for kind in ("ref", "hyp")
        )
        event, sample = szcore(reference, hypothesis, duration_s=at_1_hz["duration"])
        for ours, theirs in ((sample, at_1_hz["sample"]), (event, by_hz["10"]["files"][name]["event"])):
            assert (ours.hits, ours.false, ours.reference) == (theirs["tp"], theirs["fp"], theirs["refTrue"]), name


def test_scores_are_means_over_patients_and_counts_are_added_within_one() -> None:
    step, hour = 1.0, 3600
    quiet = [0.0] * hour

    def with_event(*starts: int) -> list[float]:
        values = list(quiet)
        for start in starts:
            values[start : start + 20] = [0.9] * 20
        return values

    recordings = [
        scored(with_event(1000), [(1000.0, 1020.0)], patient="a", step_s=step),
        scored(with_event(2000), [], patient="a", step_s=step),  # a false alarm
        scored(quiet, [(500.0, 530.0)], patient="b", step_s=step),  # missed
        scored(quiet, [], patient="c", step_s=step),  # nothing to find
    ]
    found = metrics(recordings, 0.5, Morphology(5, 10))
    assert found["sensitivity"] == pytest.approx((1 + 0) / 2)
    assert found["precision"] == pytest.approx(0.5)  # b and c said nothing
    assert found["event_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["false_alarms_per_day"] == pytest.approx((12 + 0 + 0) / 3)  # one in a's two hours
    assert found["patients_scored"]["sensitivity"] == 2
    assert found["micro"]["sensitivity"] == pytest.approx(1 / 2)
    assert found["micro"]["false_alarms_per_day"] == pytest.approx(6.0)  # one in four hours
    assert found["flagged_share"] == pytest.approx(40 / (4 * 3600))
    assert (found["hours"], found["seizures"], found["recordings"], found["patients"]) == (4.0, 2, 4, 3)
    assert found["scorer"] == SCORER
    assert "timescoring 0." in SCORER


def test_without_any_seizure_sensitivity_is_none_not_nan() -> None:
    found = metrics([scored([0.0] * 100, [])], 0.5, Morphology(5, 10))
    assert found["sensitivity"] is None
    assert found["event_f1"] is None
    assert found["auroc"] is None
    assert found["patients_scored"]["sensitivity"] == 0
    assert found["false_alarms_per_day"] == 0
    json.dumps(found, allow_nan=False)


def test_f1_counts_a_false_alarm_without_any_reference_as_zero() -> None:
    assert Counts(0, 1, 0, 1).f1 == 0
    assert Counts(0, 0, 0, 1).f1 is None
    assert Counts(1, 1, 2, 1).f1 == pytest.approx(0.5)


def test_tuning_takes_the_middle_of_equally_good_thresholds() -> None:
    values = [0.1] * 300
    values[100:130] = [0.8] * 30
    recordings = [scored(values, [(100.0, 130.0)])]
    assert best_threshold(recordings, [0.05, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9], Morphology(5, 10)) == 0.4
