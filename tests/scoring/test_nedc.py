"""NEDC's scorers against the tables that its own program, v6.0.0, printed for 15 pairs."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from helpers.scored_recordings import nedc_pairs

from brainbrr.scoring.bootstrap import Counts
from brainbrr.scoring.events import Events
from brainbrr.scoring.nedc import EPOCH_S, Tally, background_of, epoch, overlap, taes

Score = Callable[..., Tally]
Table = dict[str, str]

TITLES: dict[str, Score] = {"EPOCH": epoch, "OVERLAP": overlap, "TAES": taes}


@pytest.fixture(scope="module")
def expected(data: Path) -> Path:
    return data / "scores" / "nedc_v6.0.0" / "expected"


def total(data: Path, score: Score) -> Tally:
    first, *rest = (score(p.reference, p.hypothesis, duration_s=p.duration_s) for p in nedc_pairs(data))
    return sum(rest, first)


def tables(expected: Path, title: str) -> list[Table]:
    """Return the printed numbers by their names: of seizures, of background, of both."""
    text = (expected / "summary.txt").read_text()
    [section] = re.findall(rf"NEDC {title} SCORING SUMMARY.*?\n(.*?)\n====", text, flags=re.DOTALL)
    parts = re.split(r"LABEL: SEIZ|LABEL: BCKG|SUMMARY:\n", section)
    assert len(parts) == 4
    return [dict(re.findall(r"^ +([A-Z][^:\n]+?) *: +(-?[\d.]+)", part, flags=re.MULTILINE)) for part in parts[1:]]


def confusion(tp: float, tn: float, fp: float, fn: float) -> dict[str, float]:
    """Return what NEDC derives from four counts, as it prints it: percentages but for the last two."""
    total = tp + tn + fp + fn
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "Sensitivity (TPR, Recall)": 100 * tp / (tp + fn),
        "Specificity (TNR)": 100 * tn / (tn + fp),
        "Precision (PPV)": 100 * tp / (tp + fp),
        "Negative Pred. Value (NPV)": 100 * tn / (tn + fn),
        "Miss Rate (FNR)": 100 * fn / (tp + fn),
        "False Positive Rate (FPR)": 100 * fp / (tn + fp),
        "False Discovery Rate (FDR)": 100 * fp / (tp + fp),
        "False Omission Rate (FOR)": 100 * fn / (tn + fn),
        "Accuracy": 100 * (tp + tn) / total,
        "Misclassification Rate": 100 * (fp + fn) / total,
        "Prevalence": 100 * (tp + fn) / total,
        "F1 Score (F Ratio)": 2 * tp / (2 * tp + fp + fn),
        "Matthews (MCC)": (tp * tn - fp * fn) / sqrt(product),
    }


def assert_printed(value: float, text: str, name: str) -> None:
    """The printed number is this one, to its last digit."""
    digits = len(text.partition(".")[2])
    assert f"{value:.{digits}f}" == text, name


@pytest.mark.parametrize("title", TITLES)
def test_every_number_of_a_label_is_as_printed(data: Path, expected: Path, title: str) -> None:
    tally = total(data, TITLES[title])
    pair = (tally.seizure, tally.background)
    seconds_each = EPOCH_S if title == "EPOCH" else 1.0
    for counts, other, table in zip(pair, reversed(pair), tables(expected, title), strict=False):
        # an epoch of background that was said to be a seizure is a false alarm; the reverse is a deletion alone
        alarms = 0 if title == "EPOCH" and counts is tally.background else counts.false
        deletions = 0 if title == "EPOCH" and counts is tally.background else counts.misses
        numbers = {
            "Targets": counts.reference,
            "Hits": counts.hits,
            "Misses": counts.misses,
            "False Alarms": alarms,
            "Insertions": alarms,
            "Deletions": deletions,
            "True Positives (TP)": counts.hits,
            "True Negatives (TN)": other.hits,
            "False Positives (FP)": counts.false,
            "False Negatives (FN)": counts.misses,
            **confusion(counts.hits, other.hits, counts.false, counts.misses),
            "False Alarm Rate": counts.false * seconds_each / counts.seconds * 86_400,
        }
        assert set(numbers) == set(table)
        for name, text in table.items():
            assert_printed(numbers[name], text, name)


@pytest.mark.parametrize("title", TITLES)
def test_every_number_of_the_summary_is_as_printed(data: Path, expected: Path, title: str) -> None:
    tally = total(data, TITLES[title])
    both = tally.seizure + tally.background
    seconds_each = EPOCH_S if title == "EPOCH" else 1.0
    of_epochs = title == "EPOCH"
    rates = confusion(both.hits, both.hits, both.false, both.misses)
    alarms = tally.seizure.false if of_epochs else both.false
    numbers = {
        "Total": both.reference,
        "Hits": both.hits,
        "Misses": both.misses,
        "False Alarms": alarms,
        "Insertions": alarms,
        "Deletions": tally.seizure.misses if of_epochs else both.misses,
        "True Positives(TP)": both.hits,
        "False Positives (FP)": both.false,
        **rates,
        "Total Duration": tally.seizure.seconds,
        "Total False Alarms": both.false,
        "Total False Alarm Rate": both.false * seconds_each / tally.seizure.seconds * 86_400,
    }
    # NEDC divides by the background's sensitivity and precision, not by the sums': what it prints is no F1
    last = confusion(tally.background.hits, tally.seizure.hits, tally.background.false, tally.background.misses)
    sensitivity, precision = "Sensitivity (TPR, Recall)", "Precision (PPV)"
    numbers["F1 Score"] = 2 * rates[sensitivity] * rates[precision] / (last[sensitivity] + last[precision]) / 100
    printed = tables(expected, title)[2]
    assert len(printed) == 18
    for name, text in printed.items():
        assert_printed(numbers[name], text, name)


@pytest.mark.parametrize(("name", "score"), [("ovlp", overlap), ("taes", taes)])
def test_every_pair_is_as_printed(data: Path, expected: Path, name: str, score: Score) -> None:
    form = re.compile(r"\(Hit: +([\d.]+) +Miss: +([\d.]+) +False Alarms: +([\d.]+) +Total: +([\d.]+)\)")
    printed = form.findall((expected / f"summary_{name}.txt").read_text())
    pairs = nedc_pairs(data)
    assert len(printed) == len(pairs) == 15
    for pair, texts in zip(pairs, printed, strict=True):
        tally = score(pair.reference, pair.hypothesis, duration_s=pair.duration_s)
        both = tally.seizure + tally.background
        # TAES' program leaves the hits out of its total
        all_of = both.misses + both.false + (0 if name == "taes" else both.hits)
        for value, text in zip((both.hits, both.misses, both.false, all_of), texts, strict=True):
            assert_printed(value, text, pair.path)


@pytest.mark.slow
def test_every_pairs_epochs_are_as_printed(data: Path, expected: Path) -> None:
    """NEDC prints runs of equal (reference, hypothesis) epochs: how many agree, and how many do not."""
    form = re.compile(r"\(Hit: +(\d+) +Sub: +(\d+) +Ins: +0 +Del: +0 +Total: +(\d+)\)")
    printed = form.findall((expected / "summary_epoch.txt").read_text())
    pairs = nedc_pairs(data)
    assert len(printed) == len(pairs) == 15
    for pair, texts in zip(pairs, printed, strict=True):
        middles = np.arange(EPOCH_S / 2, pair.duration_s, EPOCH_S).tolist()

        def inside(events: Events, middles: list[float] = middles) -> list[bool]:
            return [any(start <= t < stop for start, stop in events) for t in middles]

        said = list(zip(inside(pair.reference), inside(pair.hypothesis), strict=True))
        runs = [both for both, _ in groupby(said)]
        hits = sum(truth == told for truth, told in runs)
        assert texts == (str(hits), str(len(runs) - hits), str(len(runs) - hits)), pair.path
        tally = epoch(pair.reference, pair.hypothesis, duration_s=pair.duration_s)
        assert (tally.seizure.hits, tally.seizure.false) == (said.count((True, True)), said.count((False, True)))


def test_taes_counts_parts_of_events_and_bounds_a_false_alarm() -> None:
    """By hand, after Shah et al. 2021."""

    def of(reference: Events, hypothesis: Events) -> Counts:
        return taes(reference, hypothesis, duration_s=100.0).seizure

    assert of([(10, 20)], [(5, 15)]) == Counts(0.5, 0.5, 1, 100)
    assert of([(10, 20)], [(12, 14), (16, 22)]) == Counts(pytest.approx(0.6), pytest.approx(0.2), 1, 100)
    assert of([(10, 20)], [(0, 90)]) == Counts(1, 1, 1, 100)
    assert of([(10, 20), (30, 40)], [(10, 40)]) == Counts(1, 1, 2, 100)  # the second is a miss
    assert of([(10, 20)], [(30, 40)]) == Counts(0, 1, 1, 100)
    assert of([], [(30, 40)]) == Counts(0, 1, 0, 100)


def test_events_that_only_touch_do_not_overlap() -> None:
    assert overlap([(10, 20)], [(20, 30)], duration_s=100).seizure == Counts(0, 1, 1, 100)
    assert overlap([(10, 20)], [(19.9, 30)], duration_s=100).seizure == Counts(1, 0, 1, 100)


def test_background_is_what_no_seizure_covers() -> None:
    assert background_of([(0, 5), (7, 10)], 10) == [(5, 7)]
    assert background_of([], 10) == [(0, 10)]
    assert background_of([(0, 10)], 10) == []


def test_taes_overlaps_in_whole_seconds_and_an_edge_in_the_middle_of_an_epoch_is_the_earlier_events() -> None:
    apart = taes([(10.0, 20.0)], [(20.5, 25.0)], duration_s=60).seizure  # no time is shared, the second 20 is
    assert (apart.hits, apart.false) == (pytest.approx(-0.05), pytest.approx(0.5))
    assert taes([(10.0, 20.0)], [(21.0, 25.0)], duration_s=60).seizure.hits == 0
    middle = EPOCH_S / 2
    starts = epoch([(middle, 1.0)], [(0.0, 1.0)], duration_s=2).seizure
    assert (starts.reference, starts.false) == (3, 1)  # the first epoch is the background's before it
    assert epoch([(0.0, middle)], [(0.0, 1.0)], duration_s=2).seizure.reference == 1
