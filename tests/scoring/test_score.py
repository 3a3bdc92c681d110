"""Scores of events against values worked out by hand, timescoring's own vectors and its results for NEDC's pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.scored_recordings import PLAIN, nedc_pairs, scored
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

from brainbrr.scoring.bootstrap import Bootstrap, Counts, for_json, rates
from brainbrr.scoring.events import without
from brainbrr.scoring.metrics import Outcome, event_metrics, latencies, metrics
from brainbrr.scoring.nedc import overlap
from brainbrr.scoring.szcore import event_counts, sample_counts, scorer

HOUR = 3600
RULE = PLAIN.model_copy(update={"min_duration_s": 5.0, "merge_gap_s": 10.0})


def with_events(*starts: int) -> list[float]:
    """An hour at 1 Hz of 0.1, with 0.9 for 20 s from each start."""
    values = [0.1] * HOUR
    for start in starts:
        values[start : start + 20] = [0.9] * 20
    return values


def f1(*counts: float) -> float | None:
    return for_json(rates(Counts(*counts).array()))["f1"]


def test_unsorted_hypotheses_score_as_sorted_ones() -> None:
    events = [(700.0, 720.0), (10.0, 20.0), (300.0, 310.0)]
    for counts in (event_counts, sample_counts):
        assert counts([(305.0, 320.0)], events, duration_s=800) == counts(
            [(305.0, 320.0)], sorted(events), duration_s=800
        )


def test_a_recording_shorter_than_a_sample_of_the_scorers_is_scored() -> None:
    event, sample = (counts([(0, 0.01)], [], duration_s=0.01) for counts in (event_counts, sample_counts))
    assert (event.hits, event.false, sample.false, event.seconds) == (0, 0, 0, 0.01)


def test_counts_are_those_of_timescoring_on_nedc_pairs(data: Path) -> None:
    by_hz = json.loads((data / "scores" / "nedc_v6.0.0" / "expected" / "timescoring_0.0.7.json").read_text())
    pairs = nedc_pairs(data)
    assert [pair.path for pair in pairs] == sorted(by_hz["1"]["files"])
    for pair in pairs:
        at_1_hz, at_10_hz = (by_hz[hz]["files"][pair.path] for hz in ("1", "10"))
        event, sample = (
            counts(pair.reference, pair.hypothesis, duration_s=pair.duration_s)
            for counts in (event_counts, sample_counts)
        )
        for ours, theirs in ((sample, at_1_hz["sample"]), (event, at_10_hz["event"])):
            assert (ours.hits, ours.false, ours.reference) == (theirs["tp"], theirs["fp"], theirs["refTrue"])
            found = for_json(rates(ours.array()))
            for name, theirs_name in (("sensitivity", "sensitivity"), ("precision", "precision"), ("f1", "f1")):
                assert found[name] == pytest.approx(theirs[theirs_name], abs=1e-12)
            assert found["false_alarms_per_day"] == pytest.approx(theirs["fpRate"])


def test_timescorings_own_vectors_come_out_and_nothing_is_nan(data: Path) -> None:
    vectors = json.loads((data / "scores" / "timescoring_vectors.json").read_text())["vectors"]
    defaults = vars(EventScoring.Parameters())
    by_ours = 0
    for vector in vectors:
        hz, seconds = vector["ref_fs"], vector["n"] / vector["ref_fs"]
        reference, hypothesis = ([(float(a), float(b)) for a, b in vector[kind]] for kind in ("ref", "hyp"))
        if vector["kind"] == "sample":
            each = SampleScoring(Annotation(reference, hz, vector["n"]), Annotation(hypothesis, hz, vector["n"]), fs=hz)
        else:
            parameters = EventScoring.Parameters(**vector["params"])
            each = EventScoring(
                Annotation(reference, hz, vector["n"]), Annotation(hypothesis, hz, vector["n"]), parameters
            )
        counted = Counts(int(each.tp), int(each.fp), int(each.refTrue), seconds)
        usual = vector["kind"] == "sample" or vector["params"] == defaults
        if usual:  # szcore scores with these settings: it must say the same
            counts = sample_counts if vector["kind"] == "sample" else event_counts
            assert counts(reference, hypothesis, duration_s=seconds) == counted
            by_ours += 1
        found = for_json(rates(counted.array()))
        theirs = {"sensitivity": "sensitivity", "precision": "precision", "f1": "f1", "false_alarms_per_day": "fpRate"}
        for name, their_name in theirs.items():
            wanted = vector["got"][their_name]
            assert found[name] == (None if wanted is None else pytest.approx(wanted)), (vector["note"], name)
    assert (len(vectors), by_ours) == (7, 4)


def test_scores_are_means_over_patients_and_counts_are_added_within_one() -> None:
    recordings = [
        scored(with_events(1000), [(1000.0, 1020.0)], patient="a"),
        scored(with_events(2000), [], patient="a"),  # a false alarm
        scored(with_events(), [(500.0, 530.0)], patient="b"),  # missed
        scored(with_events(), [], patient="c"),  # nothing to find
    ]
    found = metrics(recordings, 0.5, RULE, seed=0)
    assert found["sensitivity"] == pytest.approx((1 + 0) / 2)
    assert found["precision"] == pytest.approx(0.5)  # b and c said nothing
    assert found["event_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["false_alarms_per_day"] == pytest.approx((12 + 0 + 0) / 3)  # one in a's two hours
    assert found["patients_scored"]["sensitivity"] == 2
    assert found["micro"]["sensitivity"] == pytest.approx(1 / 2)
    assert found["micro"]["false_alarms_per_day"] == pytest.approx(6.0)  # one in four hours
    for name in ("ovlp", "taes"):
        assert found["nedc"][name]["sensitivity"] == pytest.approx(1 / 2)
        assert found["nedc"][name]["false_alarms_per_day"] == pytest.approx(6.0)
    assert found["nedc"]["epoch"]["sensitivity"] == pytest.approx(20 / 50)
    assert found["nedc"]["epoch"]["false_alarms_per_day"] == pytest.approx(20 * 6)  # in seconds
    assert found["flagged_share"] == pytest.approx(40 / (4 * HOUR))
    assert (found["hours"], found["seizures"], found["recordings"], found["patients"]) == (4.0, 2, 4, 3)
    assert found["scorer"] == scorer() and "timescoring 0." in scorer()


def test_every_score_has_its_scorer_and_an_interval_around_it() -> None:
    random = np.random.default_rng(0)
    recordings = []
    for i in range(24):
        seizures = [(1000.0, 1020.0)] if i % 2 else []
        starts = [1000] * (i % 4 == 1) + [int(random.integers(2000, 3000))] * (i % 3 == 0)
        recordings.append(scored(with_events(*starts), seizures, patient=f"p{i // 2}"))
    found = metrics(recordings, 0.5, RULE, seed=0)
    intervals = found["intervals"]
    pairs = {name: (found[name], intervals[name]) for name in ("auroc", "auprc", "event_f1", "precision")}
    pairs |= {name: (found[name], intervals[name]) for name in ("sensitivity", "flagged_share")}
    pairs |= {f"micro {n}": (found["micro"][n], intervals["micro"][n]) for n in intervals["micro"]}
    for of, each in intervals["nedc"].items():
        pairs |= {f"{of} {n}": (found["nedc"][of][n], each[n]) for n in each}
        assert found["nedc"][of]["scorer"].startswith("NEDC")
    pairs |= {
        f"at {n}": (found["sensitivity_at"][n]["sensitivity"], each) for n, each in intervals["sensitivity_at"].items()
    }
    assert len(pairs) > 25
    for name, (value, interval) in pairs.items():
        low, high = interval
        assert low <= value <= high, name
        assert low < high or name.startswith("at"), name  # nothing found is nothing found in every resample
    assert "12 patients, 200 resamples" in found["intervals_by"]
    again = metrics(recordings, 0.5, RULE, seed=0)
    assert again == found
    assert metrics(recordings, 0.5, RULE, seed=1)["intervals"] != intervals
    json.dumps(found, allow_nan=False)


def test_without_any_seizure_sensitivity_is_none_not_nan() -> None:
    found = metrics([scored([0.0] * 100, [])], 0.5, RULE, seed=0)
    for name in ("sensitivity", "event_f1", "auroc", "auprc", "latency_s"):
        assert found[name] is None, name
    assert found["nedc"]["ovlp"]["sensitivity"] is None
    assert found["sensitivity_at"]["1"]["sensitivity"] is None
    assert found["patients_scored"]["sensitivity"] == 0
    assert found["false_alarms_per_day"] == 0
    json.dumps(found, allow_nan=False)


def test_a_hypothesis_that_spans_everything_is_seen_by_its_share_of_time() -> None:
    outcome = Outcome("x", "a", 300.0, [(100.0, 130.0)], [(0.0, 300.0)])
    found, _ = event_metrics([outcome], Bootstrap.of(1, resamples=100, seed=0))
    assert found["event_f1"] == 1.0 and found["flagged_share"] == 1.0


def test_latency_is_from_onset_to_the_first_event_and_never_negative() -> None:
    seizures = [(10.0, 30.0), (50.0, 60.0), (80.0, 90.0)]
    assert latencies(seizures, [(14.0, 16.0), (18.0, 40.0), (45.0, 70.0)]) == (4.0, 0.0)
    assert latencies(seizures, []) == ()


def test_f1_counts_a_false_alarm_without_any_reference_as_zero() -> None:
    assert f1(0, 1, 0, 1) == 0
    assert f1(0, 0, 0, 1) is None
    assert f1(1, 1, 2, 1) == pytest.approx(0.5)


def test_the_scorers_agree_that_a_perfect_hypothesis_is_perfect() -> None:
    events = [(100.0, 150.0), (400.0, 420.0)]
    found, _ = event_metrics([Outcome("x", "a", 900.0, events, events)], Bootstrap.of(1, resamples=100, seed=0))
    for each in (found["micro"], *found["nedc"].values()):
        f1_name = "event_f1" if "event_f1" in each else "f1"
        assert (each["sensitivity"], each[f1_name], each["false_alarms_per_day"]) == (1.0, 1.0, 0.0)
    assert overlap(events, events, duration_s=900).background.hits == 3


def test_unknown_time_counts_in_no_hours_and_no_false_alarm(tmp_path: Path) -> None:
    """An hour, of which half is unknown: the rates are those of the other half alone."""
    events = [(100.0, 120.0), (3000.0, 3020.0)]
    half = Outcome("x", "a", HOUR / 2, [(200.0, 220.0)], [(100.0, 105.0)])
    whole = Outcome("x", "a", HOUR, [(200.0, 220.0)], [(100.0, 105.0)], unknown=[(1800.0, 3600.0)])
    expected, _ = event_metrics([half], Bootstrap.of(1, resamples=10, seed=0))
    found, _ = event_metrics([whole], Bootstrap.of(1, resamples=10, seed=0))
    assert found.pop("hours_unknown") == 0.5 and expected.pop("hours_unknown") == 0
    assert found == expected and found["hours"] == 0.5 and found["micro"]["false_alarms_per_day"] == 48
    series = scored(with_events(100, 1790, 3000), [(200.0, 220.0)])
    unknown = replace(series, unknown=[(1800.0, 3600.0)])
    said = metrics([unknown], 0.5, PLAIN, seed=0)
    alone = metrics([scored(with_events(100, 1790)[:1800], [(200.0, 220.0)])], 0.5, PLAIN, seed=0)
    for name in ("hours", "auroc", "auprc", "seizure_share", "flagged_share", "micro", "nedc", "sensitivity_at"):
        assert said[name] == alone[name], name
    assert without([*events, (3500.0, 3600.0)], [(110.0, 115.0), (2990.0, 3510.0)]) == [
        (100.0, 110.0), (115.0, 120.0), (3510.0, 3600.0),
    ]  # fmt: skip
