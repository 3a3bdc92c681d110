"""Probabilities to events: each rule alone, all recordings in one pass, files that are read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.scored_recordings import PLAIN, scored

from brainbrr.eeg.corpus.annotations import Annotations, read_annotations
from brainbrr.learn.predict import write_probabilities
from brainbrr.learn.runs import read_tensors
from brainbrr.scoring.events import EventRule, Events, Pool, Scored, events_of
from brainbrr.scoring.files import bids_tsv, csv_bi


def rule(**fields: float) -> EventRule:
    return PLAIN.model_copy(update=fields)


def test_steps_are_seizure_when_their_middle_is() -> None:
    assert scored([0] * 5, [(0.6, 2.5)]).label.tolist() == [False, True, False, False, False]


def test_without_rules_events_are_what_reaches_the_threshold() -> None:
    assert events_of(scored([0, 1, 1, 0, 1, 1, 0, 0, 1], []), 0.5, PLAIN) == [(1, 3), (4, 6), (8, 9)]
    assert events_of(scored([1, 1], []), 0.5, PLAIN) == [(0, 2)]
    assert events_of(scored([0, 0], []), 0.5, PLAIN) == []
    assert events_of(scored([0.5], []), 0.5, PLAIN) == [(0, 1)]


def test_hysteresis_goes_on_while_the_score_is_above_the_lower_threshold() -> None:
    recording = scored([0.5, 0.8, 0.5, 0.3, 0.5, 0.5, 0.0], [])
    assert events_of(recording, 0.8, rule(low_share=0.5)) == [(0, 3)]
    assert events_of(recording, 0.8, PLAIN) == [(1, 2)]


def test_opening_comes_first_then_closing_then_short_events_go_then_neighbours_join() -> None:
    score = [1, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0]
    recording = scored([float(value) for value in score], [])
    assert events_of(recording, 0.5, rule(opening_s=2)) == [(2, 4), (5, 7), (11, 13)]
    assert events_of(recording, 0.5, rule(closing_s=1)) == [(0, 7), (11, 13)]
    assert events_of(recording, 0.5, rule(opening_s=2, closing_s=1)) == [(2, 7), (11, 13)]
    assert events_of(recording, 0.5, rule(opening_s=2, closing_s=1, min_duration_s=3)) == [(2, 7)]
    assert events_of(recording, 0.5, rule(min_duration_s=2, merge_gap_s=1)) == [(2, 7), (11, 13)]
    assert events_of(recording, 0.5, rule(min_duration_s=2, merge_gap_s=4)) == [(2, 13)]


def test_events_end_with_the_recording() -> None:
    recording = Scored("x.edf", "a", np.ones(3, dtype=np.float32), 1.0, 2.5, [])
    assert events_of(recording, 0.5, PLAIN) == [(0, 2.5)]


def test_one_pass_over_many_recordings_finds_what_each_alone_has() -> None:
    random = np.random.default_rng(1)
    everything = rule(low_share=0.6, opening_s=0.5, closing_s=1, min_duration_s=1, merge_gap_s=1.5)
    recordings = []
    for n in (40, 1, 97, 3, 200):
        smooth = np.convolve(random.random(n + 4), np.ones(5) / 5, "valid").astype(np.float32)
        recordings.append(Scored("x.edf", "a", smooth, 0.25, n / 4 - 0.1, []))
    for each in (PLAIN, everything):
        found = 0
        for threshold in (0.0, 0.4, 0.55, 0.7):
            spans, owner = Pool.of(recordings).events(threshold, each)
            for i, recording in enumerate(recordings):
                alone = events_of(recording, threshold, each)
                assert [tuple(span) for span in spans[owner == i].tolist()] == alone
                found += len(alone)
        assert found > 15


@pytest.mark.parametrize("events", [[(1.5, 4.25), (6.0, 8.0)], [], [(0.0, 8.5)]])
def test_events_written_in_either_format_are_read_back(tmp_path: Path, events: Events) -> None:
    recording = Scored("a/p_s001_t000.edf", "p", np.full(34, 0.75, dtype=np.float32), 0.25, 8.5, [])

    def read(name: str, role: str, text: str) -> Annotations:
        (tmp_path / name).write_text(text)
        return read_annotations({role: tmp_path / name})

    for said in (
        read("p_s001_t000.csv_bi", ".csv_bi", csv_bi(recording, events)),
        read("p_s001_t000_events.tsv", "events.tsv", bids_tsv(recording, events)),
    ):
        assert [(event.start_us / 1e6, event.stop_us / 1e6) for event in said.seizures] == events
        assert said.duration_us == 8_500_000
        assert not said.notes


@pytest.mark.parametrize("name", ["b\udce9", "x\nchannel,start_time,stop_time,label,confidence\nTERM,0,5,seiz,1"])
def test_a_name_is_no_line_of_a_csv_bi(tmp_path: Path, name: str) -> None:
    recording = Scored(f"{name}.edf", "p", np.full(34, 0.75, dtype=np.float32), 0.25, 8.5, [])
    (tmp_path / "x.csv_bi").write_bytes(csv_bi(recording, []).encode())
    assert read_annotations({".csv_bi": tmp_path / "x.csv_bi"}).seizures == ()
    write_probabilities(tmp_path / "p", [recording])
    assert len(read_tensors(tmp_path / "p")[0]) == 1


def test_a_bids_table_has_szcores_columns_and_the_mean_probability() -> None:
    recording = Scored("a.edf", "p", np.array([0.1, 0.9, 0.7, 0.1], dtype=np.float32), 1.0, 4.0, [])
    head, row = bids_tsv(recording, [(1.0, 3.0)]).splitlines()
    assert head == "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration"
    assert row.split("\t") == ["1.0000", "2.0000", "sz", "0.8000", "all", "n/a", "4.0000"]
    assert bids_tsv(recording, []).splitlines()[1].split("\t")[:4] == ["0.0000", "4.0000", "bckg", "0.5500"]
