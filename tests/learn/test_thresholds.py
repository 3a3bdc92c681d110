"""Thresholds: the middle of the best ones, and a file that is what was written or an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.scored_recordings import PLAIN, scored

from brainbrr.errors import IntegrityError, UsageError
from brainbrr.learn.thresholds import Thresholds, best_level, best_threshold


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
