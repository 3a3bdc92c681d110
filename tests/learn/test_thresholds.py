"""Thresholds: the middle of the best ones, and a file that is what was written or an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.scored_recordings import PLAIN, scored

from brainbrr.errors import IntegrityError, UsageError
from brainbrr.learn.thresholds import PROBABILITIES, Thresholds, Tuned, best_level, best_rule, best_threshold
from brainbrr.scoring.calibration import Calibration


def test_tuning_takes_the_middle_of_equally_good_thresholds() -> None:
    values = [0.1] * 300
    values[100:130] = [0.8] * 30
    recordings = [scored(values, [(100.0, 130.0)])]
    assert best_threshold(recordings, [0.05, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9], PLAIN) == 0.4


def test_a_score_without_a_scale_is_tuned_on_its_own_quantiles() -> None:
    values = [float(i % 7) for i in range(3000)]
    values[1000:1100] = [500.0] * 100
    assert 6 < best_level([scored(values, [(1000.0, 1100.0)])], PLAIN) <= 500


def test_thresholds_are_read_as_they_were_written(tmp_path: Path) -> None:
    chosen = Thresholds(0.4, 3.5, "split dev", PLAIN.parameters(), ("a", "b"))
    chosen.write(tmp_path / "thresholds.json")
    assert Thresholds.read(tmp_path / "thresholds.json", PLAIN) == chosen
    assert Thresholds.read(tmp_path / "thresholds.json", PLAIN.model_copy(update={"resamples": 300})) == chosen


@pytest.mark.parametrize("name", ["low_share", "opening_s", "closing_s", "min_duration_s", "merge_gap_s"])
def test_thresholds_of_another_rule_are_refused(tmp_path: Path, name: str) -> None:
    Thresholds(0.4, 3.5, "split dev", PLAIN.parameters()).write(tmp_path / "t")
    with pytest.raises(UsageError, match=rf"another rule of events: {name} was .*, is 0\.5"):
        Thresholds.read(tmp_path / "t", PLAIN.model_copy(update={name: 0.5}))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "[" * 100_000, "{}", '{"detector": null, "baseline": 1, "chosen": "", "rule": {}}'),
        '{"detector": NaN, "baseline": 1, "chosen": "", "rule": {}}',
        '{"detector": 0.5, "baseline": "inf", "chosen": "", "rule": {}}',
        *(f'{{"detector": 0.5, "baseline": 1, "chosen": ""{rule}}}' for rule in ("", ', "rule": 1', ', "rule": "a"')),
    ],
)
def test_thresholds_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(IntegrityError, match="cannot be read"):
        Thresholds.read(tmp_path / "t", PLAIN)


def test_a_threshold_is_tuned_for_the_mean_over_patients_not_for_the_one_with_most_seizures() -> None:
    many = [0.1] * 4000
    starts = range(100, 4000, 300)
    for start in starts:
        many[start : start + 20] = [0.35] * 20
    one = [0.1] * 600
    one[100:120], one[400:420] = [0.8] * 20, [0.5] * 20
    recordings = [
        scored(many, [(float(a), a + 20.0) for a in starts], patient="a"),
        *(scored(one, [(100.0, 120.0)], patient=name) for name in "bcd"),
    ]
    assert best_threshold(recordings, [0.3, 0.7], PLAIN) == 0.7  # b, c and d at 1 against a at 0; else a third lower


def test_a_tuned_threshold_has_intervals_from_ten_patients_on() -> None:
    values = [0.1] * 300
    values[100:130] = [0.8] * 30
    told = [scored(values, [(100.0, 130.0)], patient=f"p{i}") for i in range(10)]
    tuned = Tuned.of(told, PROBABILITIES, PLAIN, seed=0)
    assert tuned.event_f1 == 1.0 and tuned.event_f1_interval == [1.0, 1.0] and tuned.interval is not None
    assert tuned.interval[0] <= tuned.threshold <= tuned.interval[1]
    assert Tuned.of(told[:9], PROBABILITIES, PLAIN, seed=0).interval is None


def test_another_rule_of_events_is_taken_only_where_it_is_clearly_better(tmp_path: Path) -> None:
    values = [0.1] * 3000
    for start in (200, 1200, 2200):
        values[start : start + 40] = [0.9] * 40
    for start in range(400, 1100, 120):
        values[start : start + 3] = [0.9] * 3  # short and as sure: only their length tells them apart
    recordings = [scored(values, [(float(a), a + 40.0) for a in (200, 1200, 2200)], patient=name) for name in "ab"]
    rule = best_rule(recordings, PLAIN)
    assert rule.min_duration_s >= 5 and best_rule(recordings, rule) == rule
    kept = Thresholds(0.5, 1.0, "split dev", rule.parameters(), joint=True, calibration=Calibration(2.0, -1.0))
    kept.write(tmp_path / "t")
    read = Thresholds.read(tmp_path / "t", PLAIN)  # the config's rule is another, which is meant
    assert read == kept and read.event_rule(PLAIN).min_duration_s == rule.min_duration_s


@pytest.mark.parametrize("said", ['"hot"', "{}", '{"temperature": 0, "prior": 0}', '{"temperature": 1, "prior": NaN}'])
def test_a_calibration_that_is_none_is_refused(tmp_path: Path, said: str) -> None:
    rule = json.dumps(PLAIN.parameters())
    (tmp_path / "t").write_text(
        f'{{"detector": 0.5, "baseline": 1, "chosen": "", "rule": {rule}, "calibration": {said}}}'
    )
    with pytest.raises(IntegrityError, match="cannot be read"):
        Thresholds.read(tmp_path / "t", PLAIN)
