"""Curves against their definitions: all pairs, all thresholds one by one, and how long it takes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from helpers.scored_recordings import PLAIN, scored
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.core.arrays import Bool, Float32
from brainbrr.scoring import curves as curves_module
from brainbrr.scoring.bootstrap import Bootstrap, by_patient, rates, wilson
from brainbrr.scoring.curves import at_false_alarms, auprc, auroc, curves
from brainbrr.scoring.events import Scored, events_of
from brainbrr.scoring.nedc import overlap


def some_scores(seed: int = 0) -> tuple[Float32, Bool]:
    random = np.random.default_rng(seed)
    return random.integers(0, 5, 200).astype(np.float32), random.random(200) < 0.3


def noise(n_recordings: int, seconds: int, *, seed: int = 0) -> list[Scored]:
    """Recordings of a noisy detector at 4 Hz: one seizure of 40 s in every other, mostly found."""
    random = np.random.default_rng(seed)
    recordings = []
    for i in range(n_recordings):
        values = random.beta(2, 8, seconds * 4)
        seizures = []
        if i % 2:
            start = int(random.integers(0, seconds - 40))
            seizures = [(float(start), start + 40.0)]
            values[start * 4 : (start + 40) * 4] += random.uniform(0, 0.5)
        smooth = np.convolve(values, np.ones(8) / 8, "same").astype(np.float32)
        recordings.append(Scored("x.edf", f"p{i // 3}", smooth, 0.25, float(seconds), seizures))
    return recordings


def test_auroc_is_exact_with_ties() -> None:
    score, label = some_scores()
    pairs = score[label][:, None] - score[~label]
    assert auroc(score, label) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2, abs=1e-12)


def test_auprc_is_the_precision_at_each_score_weighted_by_the_recall_it_adds() -> None:
    score, label = some_scores()
    area, before = 0.0, 0.0
    for threshold in np.unique(score)[::-1]:
        said = score >= threshold
        recall = (said & label).sum() / label.sum()
        area += (recall - before) * (said & label).sum() / said.sum()
        before = recall
    assert auprc(score, label) == pytest.approx(area, abs=1e-12)
    assert auprc(np.ones(10, dtype=np.float32), label[:10]) == pytest.approx(label[:10].mean())


def test_curves_of_one_class_are_none() -> None:
    ones, yes = np.ones(3, dtype=np.float32), np.ones(3, dtype=np.bool_)
    assert auroc(ones, yes) is None and auroc(ones, ~yes) is None
    assert auprc(ones, ~yes) is None


def test_sensitivity_at_a_false_alarm_rate_is_that_of_scoring_at_its_threshold() -> None:
    recordings = noise(40, 600)
    rule = PLAIN.model_copy(update={"min_duration_s": 2.0, "merge_gap_s": 5.0})
    found, _ = at_false_alarms(recordings, rule, Bootstrap.of(14, resamples=200, seed=0))
    assert list(found) == ["10", "5", "2.5", "1"]
    sensitivities = []
    for rate, each in found.items():
        assert each["false_alarms_per_day"] <= float(rate)
        tallies = [
            overlap(r.seizures, events_of(r, each["threshold"], rule), duration_s=r.duration_s).seizure
            for r in recordings
        ]
        assert each["sensitivity"] == sum(t.hits for t in tallies) / sum(t.reference for t in tallies)
        days = sum(r.duration_s for r in recordings) / 86_400
        assert each["false_alarms_per_day"] == pytest.approx(sum(t.false for t in tallies) / days)
        sensitivities.append(each["sensitivity"])
    assert sensitivities == sorted(sensitivities, reverse=True)
    assert 0 < sensitivities[-1] < sensitivities[0]


def test_where_only_silence_keeps_to_the_rate_nothing_is_found() -> None:
    found, _ = at_false_alarms(
        [scored([0.9] * 60, []), scored([0.9] * 60, [(5.0, 9.0)])], PLAIN, Bootstrap.of(1, resamples=100, seed=0)
    )
    assert found["1"] == {"sensitivity": 0.0, "false_alarms_per_day": 0.0, "threshold": None}


@pytest.mark.slow
def test_117_hours_of_probabilities_take_seconds() -> None:
    recordings = noise(702, 600)
    assert sum(recording.duration_s for recording in recordings) == 117 * 3600
    began = time.process_time()  # other work on the machine does not count
    found, intervals = curves(recordings, PLAIN, Bootstrap.of(234, resamples=1000, seed=0))
    assert time.process_time() - began < 30
    low, high = intervals["auroc"]
    assert low < found["auroc"] < high and high - low < 0.1


def test_intervals_of_the_areas_are_those_of_resampling_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves_module, "_BLOCK", 7)  # several blocks
    recordings = [replace(each, score=each.score.round(2)) for each in noise(36, 120, seed=3)]  # with ties
    patients = sorted({each.patient for each in recordings})
    bootstrap = Bootstrap.of(12, resamples=100, seed=0)
    found, intervals = curves(recordings, PLAIN, bootstrap)
    expected = []
    for weights in bootstrap.weights.astype(int):
        drawn = [r for r in recordings for _ in range(weights[patients.index(r.patient)])]
        score, label = (np.concatenate([getattr(r, name) for r in drawn]) for name in ("score", "label"))
        expected.append((auroc(score, label), auprc(score, label)))
    for name, areas in zip(("auroc", "auprc"), zip(*expected, strict=True), strict=True):
        assert intervals[name] == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=1e-12)
        assert intervals[name][0] < found[name] < intervals[name][1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(10, 13))
def test_an_area_is_never_outside_its_own_interval(seed: int, n_levels: int, n_patients: int) -> None:
    random = np.random.default_rng(seed)
    recordings = [
        Scored(f"{i}", f"p{i}", random.integers(0, n_levels, 40).astype(np.float32) / 8, 0.25, 10.0, [(2.0, 2.0 + n)])
        for i, n in enumerate(random.uniform(0.2, 6, n_patients).tolist())
    ]
    found, intervals = curves(recordings, PLAIN, Bootstrap.of(n_patients, resamples=100, seed=seed))
    for name in ("auroc", "auprc"):
        low, high = intervals[name]
        assert low <= found[name] <= high


def test_there_is_no_interval_below_ten_patients_that_have_the_score() -> None:
    nine, ten = (Bootstrap.of(n, resamples=100, seed=0) for n in (9, 10))
    assert nine.interval(1.0, np.ones(100)) is None and "fewer than 10 patients" in nine.name
    assert ten.interval(1.0, np.ones(100)) == [1.0, 1.0]
    values = np.linspace(0, 1, 10)
    assert ten.of_means({"x": values})["x"] is not None
    assert ten.of_means({"x": np.where(values > 0, values, np.nan)})["x"] is None
    counts = np.tile([1.0, 0, 2, 3600], (10, 1))
    assert ten.of_sums(counts)["sensitivity"] is not None
    counts[0, 2] = counts[0, 0] = 0
    assert ten.of_sums(counts)["sensitivity"] is None and ten.of_sums(counts)["false_alarms_per_day"] is not None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=10, max_size=14))
def test_a_score_is_never_outside_its_own_interval(drawn: list[tuple[int, int, int]]) -> None:
    counts = np.array([[hits, false, hits + missed, 600.0] for hits, false, missed in drawn])
    bootstrap = Bootstrap.of(len(counts), resamples=100, seed=0)
    for name, interval in bootstrap.of_sums(counts).items():
        assert interval is None or interval[0] <= rates(counts.sum(0))[name] <= interval[1]
    hits, _, reference, _ = counts.sum(0)
    if reference:
        low, high = wilson(hits, reference) or (1.0, 0.0)
        assert 0 <= low <= hits / reference <= high <= 1


def test_wilsons_interval_is_the_one_in_the_books() -> None:
    assert wilson(8, 10) == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert wilson(0, 20) == pytest.approx([0.0, 0.1611], abs=1e-4)
    assert wilson(0, 0) is None


def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    [interval] = Bootstrap.of(400, resamples=2000, seed=0).of_means({"x": values}).values()
    assert interval is not None
    error = values.std() / 20
    assert interval == pytest.approx([values.mean() - 1.96 * error, values.mean() + 1.96 * error], abs=0.3 * error)


def test_rows_are_added_by_patient_in_sorted_order() -> None:
    assert by_patient(["b", "a", "b"], np.array([[1.0], [2.0], [4.0]])).tolist() == [[2.0], [5.0]]
