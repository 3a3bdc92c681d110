"""What is behind the means, against values worked out by hand; calibration against what it must restore."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.scored_recordings import PLAIN, scored

from brainbrr.scoring.breakdown import by_seizure, latency_spread, operating_curves, paired, patient_rows
from brainbrr.scoring.calibration import NO_CALIBRATION, Calibration, reliability
from brainbrr.scoring.metrics import Judged, metrics, outcomes_at
from brainbrr.scoring.table import score_rows

QUIET, LOUD = [0.1] * 600, 0.9


def loud(*spans: tuple[int, int]) -> list[float]:
    values = list(QUIET)
    for start, stop in spans:
        values[start:stop] = [LOUD] * (stop - start)
    return values


RECORDINGS = [
    replace(scored(loud((105, 130)), [(100.0, 130.0), (400.0, 408.0)], patient="a"), types=("fnsz", "gnsz")),
    replace(scored(loud((300, 320)), [], patient="a")),
    replace(scored(loud((50, 60)), [(40.0, 110.0)], patient="b"), types=("fnsz",)),
]


def test_each_patient_and_each_kind_of_seizure_has_its_counts() -> None:
    outcomes = outcomes_at(RECORDINGS, 0.5, PLAIN)
    judged = [Judged.of(each) for each in outcomes]
    a, b = patient_rows(outcomes, judged)
    assert (a["patient"], a["recordings"], a["seizures"], a["found"]) == ("a", 2, 2, 1)
    assert a["hours"] == pytest.approx(1200 / 3600) and a["flagged_share"] == pytest.approx(45 / 1200)
    assert (b["found"], b["event_f1"], b["false_alarms_per_day"]) == (1, 1.0, 0.0)
    kinds = by_seizure(outcomes)
    assert [(row["name"], row["seizures"], row["patients"], row["found"]) for row in kinds["type"]] == [
        ("fnsz", 2, 2, 2),
        ("gnsz", 1, 1, 0),
    ]
    assert [(row["name"], row["found"]) for row in kinds["length"]] == [
        ("0 to 10 s", 0),
        ("30 to 60 s", 1),
        ("60 to 300 s", 1),
    ]
    assert latency_spread(judged)["seconds"] == [5.0, 10.0]
    assert latency_spread(judged)["quantiles"]["50%"] == 7.5


def test_an_operating_curve_has_the_scores_of_each_threshold() -> None:
    points = operating_curves(RECORDINGS, [0.95, 0.5], PLAIN)["ovlp"]
    assert [(p["threshold"], p["sensitivity"]) for p in points] == [(0.5, pytest.approx(2 / 3)), (0.95, 0.0)]
    assert points[0]["false_alarms_per_day"] == pytest.approx(86_400 / 1800) and points[1]["false_alarms_per_day"] == 0


def test_two_runs_are_compared_patient_by_patient() -> None:
    ours = {f"p{i}": 0.5 + 0.01 * i for i in range(12)}
    theirs = {**{name: value - 0.1 for name, value in ours.items()}, "p0": 0.9, "other": 1.0}
    found = paired(ours, theirs, resamples=200, seed=0)
    assert (found["patients"], found["better"], found["worse"]) == (12, 11, 1)
    assert found["mean"] == pytest.approx((11 * 0.1 - 0.4) / 12)
    assert found["p"] == pytest.approx(2 * (1 + 12) / 2**12)
    assert found["interval"][0] <= found["mean"] <= found["interval"][1]
    few = paired({"a": 1.0}, {"a": 1.0}, resamples=200, seed=0)
    assert few["interval"] is None and few["p"] == 1.0
    assert paired({}, {"a": 1.0}, resamples=200, seed=0)["mean"] is None


def test_calibration_restores_probabilities_that_were_made_too_sure_and_too_frequent() -> None:
    random = np.random.default_rng(0)
    logit = random.normal(-3, 2, 200_000)
    label = random.random(len(logit)) < 1 / (1 + np.exp(-logit))
    told = (1 / (1 + np.exp(-(2 * logit + 3)))).astype(np.float32)  # temperature 2, and a balanced prior
    found = Calibration.fit(told, label)
    assert found is not None
    assert found.temperature == pytest.approx(2, rel=0.03) and found.prior == pytest.approx(-1.5, abs=0.05)
    before, after = reliability(told, label), reliability(found.apply(told), label)
    assert after["ece"] < 0.005 < 0.05 < before["ece"] and after["brier"] < before["brier"]
    assert sum(each["steps"] for each in after["bins"]) == len(label)


def test_nothing_is_calibrated_without_both_classes_or_against_the_labels() -> None:
    score, label = np.linspace(0, 1, 100, dtype=np.float32), np.arange(100) >= 50
    assert Calibration.fit(score, np.ones(100, dtype=np.bool_)) is None
    assert Calibration.fit(score, ~label) is None
    perfect = Calibration.fit(score, label)
    assert perfect is not None and np.isfinite(perfect.apply(score)).all()
    assert NO_CALIBRATION.apply(score) is score


def test_where_resampling_patients_shows_nothing_wilsons_interval_is_shown() -> None:
    values = loud((105, 130))
    found = metrics([scored(values, [(100.0, 130.0)], patient=f"p{i}") for i in range(12)], 0.5, PLAIN, seed=0)
    assert found["intervals"]["nedc"]["ovlp"]["sensitivity"] == [1.0, 1.0]
    [row] = [row for row in score_rows(found) if (row.scorer, row.name) == ("NEDC OVLP", "sensitivity")]
    assert row.interval == "0.758 to 1.000 (12 of 12, Wilson)"  # 12 / (12 + 1.96²)
