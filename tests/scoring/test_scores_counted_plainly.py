"""Every score once more, by plain counting over random recordings: no code of ours but what is tested."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from statistics import fmean, median

import pytest
from helpers.scored_recordings import PLAIN, scored
from hypothesis import given, settings
from hypothesis import strategies as st
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

from brainbrr.scoring.curves import FALSE_ALARMS_PER_DAY
from brainbrr.scoring.events import Events, Scored
from brainbrr.scoring.metrics import metrics

STEP_S = 0.25


@st.composite
def recordings(draw: st.DrawFn) -> list[Scored]:
    """A few recordings of few patients: any length, none, touching and clipped seizures, scores with many ties."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        n = draw(st.integers(1, 240))
        scores = draw(st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), min_size=n, max_size=n))
        cuts = sorted(draw(st.sets(st.integers(0, n), max_size=8)))
        seizures = [(a * STEP_S, b * STEP_S) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
        found.append(scored(scores, seizures, patient=draw(st.sampled_from("abc")), step_s=STEP_S))
    return found


def said(recording: Scored, threshold: float) -> Events:
    """Return the events of a series under no rule but the threshold, by walking along it."""
    found: Events = []
    for i, value in enumerate(recording.score.tolist()):
        if value >= threshold - 1e-6:
            start, stop = i * STEP_S, (i + 1) * STEP_S
            if found and found[-1][1] == start:
                start = found.pop()[0]
            found.append((start, stop))
    return found


def touches(one: tuple[float, float], others: Events) -> bool:
    return any(one[0] < stop and start < one[1] for start, stop in others)


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(recordings())
def test_szcores_scores_are_timescorings_means_over_patients(them: list[Scored]) -> None:
    found = metrics(them, 0.5, PLAIN, seed=0)
    by_patient: dict[str, dict[str, list[float]]] = {}
    for each in them:
        both = each.seizures, said(each, 0.5)
        kinds = {
            "event": EventScoring(*(Annotation(events, 10, round(each.duration_s * 10)) for events in both)),
            "sample": SampleScoring(*(Annotation(events, 1, max(round(each.duration_s), 1)) for events in both)),
        }
        for kind, one in kinds.items():
            counts = by_patient.setdefault(kind, {}).setdefault(each.patient, [0, 0, 0, 0])
            for i, n in enumerate((one.tp, one.fp, one.refTrue, each.duration_s)):
                counts[i] += float(n)
    for kind, prefix in (("event", ""), ("sample", "sample_")):
        rows = list(by_patient[kind].values())
        whole = [sum(column) for column in zip(*rows, strict=True)]
        for into, groups in ((found, rows), (found["micro"], [whole])):
            assert into[f"{prefix}sensitivity"] == pytest.approx(mean([share(tp, ref) for tp, _, ref, _ in groups]))
            assert into[f"{prefix}precision"] == pytest.approx(mean([share(tp, tp + fp) for tp, fp, _, _ in groups]))
            f1 = mean([share(2 * tp, tp + fp + ref) if ref + fp else None for tp, fp, ref, _ in groups])
            assert into["sample_f1" if prefix else "event_f1"] == pytest.approx(f1)
        if kind == "event":
            assert found["false_alarms_per_day"] == pytest.approx(fmean(fp / s * 86_400 for _, fp, _, s in rows))
            assert found["micro"]["false_alarms_per_day"] == pytest.approx(whole[1] / whole[3] * 86_400)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(recordings())
def test_nedcs_overlap_latency_and_flagged_time_are_what_walking_finds(them: list[Scored]) -> None:
    found = metrics(them, 0.5, PLAIN, seed=0)
    hits = false = n_seizures = 0
    flagged, delays = 0.0, []
    for each in them:
        events = said(each, 0.5)
        hits += sum(touches(seizure, events) for seizure in each.seizures)
        false += sum(not touches(event, each.seizures) for event in events)
        n_seizures += len(each.seizures)
        flagged += sum(stop - start for start, stop in events)
        for seizure in each.seizures:
            firsts = [event[0] for event in events if touches(seizure, [event])]
            delays += [max(firsts[0] - seizure[0], 0)] if firsts else []
    ovlp, seconds = found["nedc"]["ovlp"], sum(each.duration_s for each in them)
    assert ovlp["sensitivity"] == pytest.approx(share(hits, n_seizures))
    assert ovlp["precision"] == pytest.approx(share(hits, hits + false))
    assert ovlp["false_alarms_per_day"] == pytest.approx(false / seconds * 86_400)
    assert found["flagged_share"] == pytest.approx(flagged / seconds)
    assert found["latency_s"] == (median(delays) if delays else None)
    assert found["hours"] == pytest.approx(seconds / 3600) and found["seizures"] == n_seizures


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(recordings())
def test_areas_are_counts_of_pairs_and_rates_those_of_each_threshold(them: list[Scored]) -> None:
    found = metrics(them, 0.5, PLAIN, seed=0)
    steps = []
    for each in them:
        for i, value in enumerate(each.score.tolist()):
            steps.append((value, touches((i * STEP_S, (i + 1) * STEP_S), each.seizures)))
    inside, outside = ([value for value, seizure in steps if seizure is kind] for kind in (True, False))
    better = sum(Fraction(2 * (a > b) + (a == b), 2) for a, b in product(inside, outside))
    assert found["auroc"] == pytest.approx(share(float(better), len(inside) * len(outside)))
    area, before = 0.0, 0
    for threshold in sorted({value for value, _ in steps}, reverse=True):
        hits = sum(value >= threshold for value in inside)
        area += (hits - before) * hits / sum(value >= threshold for value, _ in steps)
        before = hits
    assert found["auprc"] == pytest.approx(share(area, len(inside)))
    days = sum(each.duration_s for each in them) / 86_400
    n_seizures = sum(len(each.seizures) for each in them)
    for rate in FALSE_ALARMS_PER_DAY:
        at = found["sensitivity_at"][f"{rate:g}"]
        best = 0
        for threshold in {value for value, _ in steps}:
            pairs = [(each.seizures, said(each, threshold)) for each in them]
            false = sum(not touches(event, seizures) for seizures, events in pairs for event in events)
            if false / days <= rate:
                best = max(best, sum(touches(seizure, events) for seizures, events in pairs for seizure in seizures))
        assert at["sensitivity"] == pytest.approx(share(best, n_seizures))
        assert at["false_alarms_per_day"] <= rate
