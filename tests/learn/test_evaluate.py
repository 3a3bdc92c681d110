"""Evaluation: guards, whole coverage, a baseline on equal terms, and files that others can read."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainbrr.core.progress import Silent
from brainbrr.eeg.corpus.annotations import read_annotations
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import IntegrityError, LeakError, UsageError, ViewNotReadyError
from brainbrr.learn import runs as r
from brainbrr.learn.config import TrainConfig
from brainbrr.learn.evaluate import EvaluateReport, evaluate
from brainbrr.learn.held_out import probabilities
from brainbrr.learn.model import Detector
from brainbrr.learn.series import line_length
from brainbrr.loading.recordings import Members, ViewRecording
from brainbrr.loading.windows import WindowSpec
from brainbrr.scoring.events import Scored
from brainbrr.scoring.files import bids_tsv, csv_bi
from brainbrr.scoring.score import score
from brainbrr.scoring.szcore import scorer
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]


def of(view: View, recordings: tuple[ViewRecording, ...], **changes: Any) -> View:
    scope = replace(view.scope, **{name: changes.pop(name) for name in ("corpus", "split") if name in changes})
    fields = {"scope": scope, "recipe": view.recipe, "window": view.window}
    return View(view.store, Members(recordings), **{**fields, **changes})


@pytest.fixture(scope="session")
def scored(trained: Path, view_of: ViewOf, tmp_path_factory: pytest.TempPathFactory) -> EvaluateReport:
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("scored") / "run"))
    return evaluate(run, view_of("eval"), tune=view_of("dev"))


def test_every_score_is_there_with_its_scorer_and_the_baseline_beside_it(
    scored: EvaluateReport, view_of: ViewOf
) -> None:
    view = view_of("eval")
    found = scored.metrics
    names = {"auroc", "event_f1", "sensitivity", "precision", "false_alarms_per_day", "sample_f1", "flagged_share"}
    for one in (found, found["baseline"]):
        assert names <= one.keys()
        assert one["scorer"] == scorer() and "timescoring" in one["micro"]["scorer"]
        assert one["recordings"] == len(view.recordings)
        assert one["patients"] == len({recording.patient for recording in view.recordings})
        assert one["seizures"] == sum(len(recording.seizures) for recording in view.recordings)
        assert one["hours"] == pytest.approx(sum(recording.duration_s for recording in view.recordings) / 3600)
    assert (found["synthetic"], found["split"], found["profile"]) == (True, "eval", "full")
    assert scored.view_digest == view.digest
    assert set(found["beats_baseline"]) == {"auroc", "auprc", "event_f1"}
    for one in (found, found["baseline"]):
        assert set(one["nedc"]) == {"ovlp", "epoch", "taes"} and set(one["sensitivity_at"]) == {"10", "5", "2.5", "1"}
        assert 0 <= one["auprc"] <= 1
        assert one["intervals"]["auroc"] is None and "fewer than 10 patients" in one["intervals_by"]
        counts = one["nedc"]["ovlp"]["counts"]
        low, high = counts["wilson"]["sensitivity"]
        assert low <= one["nedc"]["ovlp"]["sensitivity"] == counts["hits"] / counts["reference"] <= high
        for named in ("scorer", "step_scorer", "rate_scorer", "latency_scorer", "intervals_by"):
            assert one[named]
    json.dumps(scored.to_json(), allow_nan=False)


def test_thresholds_are_chosen_once_and_kept(scored: EvaluateReport, view_of: ViewOf, tmp_path: Path) -> None:
    run = Path(shutil.copytree(scored.run, tmp_path / "run"))
    kept = json.loads((run / "thresholds.json").read_text())
    assert kept["detector"] == scored.metrics["threshold"]
    assert kept["chosen"].startswith("split dev")
    (run / "thresholds.json").write_text(json.dumps({**kept, "detector": 0.123}))
    assert evaluate(run, view_of("eval")).metrics["threshold"] == 0.123


def test_thresholds_are_tuned_again_where_the_rule_changed(
    scored: EvaluateReport, view_of: ViewOf, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(scored.run, tmp_path / "run"))
    said = (run / "config.toml").read_text()
    assert "min_duration_s = 5.0" in said and "min_duration_s = 5" in (run / "report.html").read_text()
    (run / "config.toml").write_text(said.replace("min_duration_s = 5.0", "min_duration_s = 0.0"))
    with pytest.raises(UsageError, match=r"min_duration_s was 5\.0, is 0\.0"):
        evaluate(run, view_of("eval"))
    assert evaluate(run, view_of("eval"), tune=view_of("dev")).metrics["rule"]["min_duration_s"] == 0
    evaluate(run, view_of("eval"))


def contents(run: Path) -> dict[str, bytes]:
    """Return an evaluation's files: all that says what was said, and how well."""
    places = [run / "evaluation-eval.json", run / "probabilities-eval.safetensors", *(run / "events").rglob("*.*")]
    return {place.relative_to(run).as_posix(): place.read_bytes() for place in places}


@pytest.mark.parametrize("n_written", [1, 4, 11])
def test_an_evaluation_that_breaks_off_leaves_the_earlier_one_whole(
    scored: EvaluateReport, view_of: ViewOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    run = Path(shutil.copytree(scored.run, tmp_path / "run"))
    before, left, sync = contents(run), [n_written], os.fsync
    kept = json.loads((run / "thresholds.json").read_text())
    (run / "thresholds.json").write_text(json.dumps({**kept, "detector": 0.001}))

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "no space left")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        evaluate(run, view_of("eval"))
    assert contents(run) == before and not list(run.glob(".new-*"))
    monkeypatch.undo()
    evaluate(run, view_of("eval"))
    after = contents(run)
    assert after.keys() == before.keys() and not list(run.glob(".new-*"))
    assert all(after[name] != before[name] for name in before if name.endswith("json"))


def test_thresholds_chosen_on_a_content_of_the_view_are_not_used_on_it(
    scored: EvaluateReport, view_of: ViewOf, tmp_path: Path
) -> None:
    run, view = Path(shutil.copytree(scored.run, tmp_path / "run")), view_of("eval")
    kept = json.loads((run / "thresholds.json").read_text())
    dev = {recording.content for recording in view_of("dev").recordings}
    assert dev <= set(kept["tuned_on"])
    again = [view.recordings[0].content]  # a file of the same signal under another header
    (run / "thresholds.json").write_text(json.dumps({**kept, "tuned_on": again}))
    assert evaluate(run, view).metrics["threshold_from"].startswith("config.toml")


def test_a_view_of_no_split_has_all_its_files_by_one_name(run: Path, view_of: ViewOf) -> None:
    view = view_of("eval")
    evaluate(run, of(view, view.recordings, split=None))
    assert {file.name for file in run.iterdir()} >= {
        *("evaluation-all.json", "probabilities-all.safetensors", "report-all.html", "report.html"),
    }
    assert [folder.name for folder in (run / "events").iterdir()] == ["all"]


def test_without_a_tuning_split_the_configs_threshold_counts(run: Path, view_of: ViewOf) -> None:
    found = evaluate(run, view_of("eval")).metrics
    assert found["threshold"] == 0.5
    assert found["threshold_from"].startswith("config.toml")
    assert not (run / "thresholds.json").exists()


def test_events_and_probabilities_can_be_read_back(scored: EvaluateReport, view_of: ViewOf) -> None:
    tensors, metadata = r.read_tensors(scored.run / "probabilities-eval.safetensors")
    assert metadata["step_s"] == 0.25
    view = view_of("eval")
    assert set(tensors) == {recording.path for recording in view.recordings}
    for recording in view.recordings:
        values = tensors[recording.path]
        assert len(values) == np.ceil(recording.duration_s * 4)
        assert values.min() >= 0 and values.max() <= 1
        file = (scored.run / "events" / "eval" / recording.path).with_suffix(".csv_bi")
        events = read_annotations({".csv_bi": file})
        table = read_annotations({"events.tsv": file.with_name(f"{file.stem}_events.tsv")})
        assert [(e.start_us, e.stop_us) for e in table.seizures] == [(e.start_us, e.stop_us) for e in events.seizures]
        assert events.duration_us == pytest.approx(recording.duration_s * 1e6, abs=100)
        for event in events.seizures:
            assert event.stop_us - event.start_us >= 5_000_000


def test_scoring_the_written_events_gives_evaluates_numbers(scored: EvaluateReport, generated: Path) -> None:
    found = score(
        generated / "edf" / "eval",
        scored.run / "events" / "eval" / "edf" / "eval",
        resamples=1000,
        seed=7,
        progress=Silent(),
    ).metrics
    for name in ("event_f1", "false_alarms_per_day", "sample_f1", "flagged_share", "seizures", "patients"):
        assert found[name] == pytest.approx(scored.metrics[name], rel=1e-4), name
    for name in ("sensitivity", "false_alarms_per_day"):
        assert found["nedc"]["taes"][name] == pytest.approx(scored.metrics["nedc"]["taes"][name], rel=1e-3), name
    assert found["intervals"]["event_f1"] == scored.metrics["intervals"]["event_f1"]


def test_the_mean_of_overlapping_windows_covers_every_sample_and_no_padding(
    trained: Path, view_of: ViewOf, config: TrainConfig
) -> None:
    view = view_of("eval", window=WindowSpec(**{**config.window, "tail": "drop"}))
    model = Detector(19, config.model)
    tensors, _ = r.read_tensors(trained / "model.safetensors")
    model.load_state_dict(tensors)
    n_samples, length = view.recordings[0].n_samples, view.length
    starts = list(range(0, n_samples - length + 1, view.stride))
    if starts[-1] + length < n_samples:
        starts.append(n_samples - length)
    total, n = np.zeros(n_samples), np.zeros(n_samples)
    for start in starts:
        signal = np.empty((1, 19, length), dtype=np.float32)
        view.read(0, start, signal[0])
        with torch.inference_mode():
            total[start : start + length] += torch.sigmoid(model(torch.from_numpy(signal))).numpy()[0]
        n[start : start + length] += 1
    assert n.min() >= 1
    expected = [(total / n)[i : i + 64].mean() for i in range(0, n_samples, 64)]
    assert probabilities(model, view, 0) == pytest.approx(expected, abs=1e-6)


def test_a_recording_shorter_than_a_window_is_scored_over_its_own_length(
    trained: Path, view_of: ViewOf, config: TrainConfig
) -> None:
    view = view_of("eval", window=WindowSpec(**{**config.window, "length_s": "40"}))
    series = probabilities(Detector(19, config.model), view, 0)
    assert len(series) == np.ceil(view.recordings[0].duration_s * 4) and np.isfinite(series).all()


def test_line_length_is_the_mean_absolute_difference_over_five_seconds(view_of: ViewOf) -> None:
    view = view_of("eval")
    n_samples = view.recordings[0].n_samples
    signal = np.empty((19, n_samples), dtype=np.float32)
    view.read(0, 0, signal)
    steps = np.array([np.abs(np.diff(signal[:, i : i + 65])).mean() for i in range(0, n_samples - 65, 64)])
    expected = np.convolve(steps, np.ones(20) / 20, "valid")
    found = line_length(view, 0)
    assert np.median(found) == pytest.approx(1)
    ratio = found[10 : 10 + len(expected)] / expected
    assert ratio == pytest.approx(ratio[0], rel=1e-4)


def test_patients_of_the_training_are_refused(run: Path, view_of: ViewOf) -> None:
    with pytest.raises(LeakError, match=r"training and split train share .* patients"):
        evaluate(run, view_of("train"))
    with pytest.raises(LeakError, match="training and split train share"):
        evaluate(run, view_of("eval"), tune=view_of("train"))
    with pytest.raises(LeakError, match="split eval and split eval share"):
        evaluate(run, view_of("eval"), tune=view_of("eval"))
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("corpus", ["demo", "another"])
def test_a_source_of_the_training_under_another_patients_name_is_refused(
    run: Path, view_of: ViewOf, corpus: str
) -> None:
    view = view_of("eval")
    smuggled = replace(view_of("train").recordings[0], patient="zzzzzzzz", split="eval")
    with pytest.raises(LeakError, match="sources"):
        evaluate(run, of(view, (*view.recordings, smuggled), corpus=corpus))


def test_a_view_that_the_model_would_read_as_something_else_is_refused(
    run: Path, view_of: ViewOf, config: TrainConfig
) -> None:
    view = view_of("eval")
    for field, value in (("length_s", "8"), ("normalise", "zscore"), ("reference", "average")):
        window = WindowSpec(**{**config.window, field: value})
        with pytest.raises(UsageError, match=f"the view's windows are not the run's: {field}"):
            evaluate(run, view_of("eval", window=window))
    with pytest.raises(UsageError, match="recipe"):
        evaluate(run, of(view, view.recordings, recipe=Recipe(name="wide", notch_hz=None)))
    with pytest.raises(ViewNotReadyError):
        evaluate(run, of(view, ()))


def test_recordings_without_labels_are_left_out_and_counted(run: Path, view_of: ViewOf) -> None:
    view = view_of("eval")
    first = view.recordings[0]
    silent = replace(first, annotations=replace(first.annotations, labelled=False, seizures=(), typed=()))
    found = evaluate(run, of(view, (silent, *view.recordings[1:]))).metrics
    assert found["unlabelled"] == 1
    assert found["recordings"] == len(view.recordings) - 1
    with pytest.raises(UsageError, match="nothing can be scored against"):
        evaluate(run, of(view, (silent,)))


def test_time_past_the_labels_is_not_scored(run: Path, view_of: ViewOf) -> None:
    view = view_of("eval")
    first = view.recordings[0]
    half = replace(first, annotations=replace(first.annotations, duration_us=10_000_000, seizures=(), typed=()))
    found = evaluate(run, of(view, (half, *view.recordings[1:]))).metrics
    hours = (10 + sum(recording.duration_s for recording in view.recordings[1:])) / 3600
    assert found["hours"] == pytest.approx(hours)
    assert found["hours_unknown"] == pytest.approx((first.duration_s - 10) / 3600)
    tensors, _ = r.read_tensors(run / "probabilities-eval.safetensors")
    assert len(tensors[first.path]) == 40


def test_there_is_no_event_in_unknown_time(run: Path, view_of: ViewOf) -> None:
    view = view_of("eval")
    first = view.recordings[0]
    unclear = replace(first.annotations, unknown=((1_000_000, 3_100_000),), seizures=(), typed=())
    found = evaluate(run, of(view, (replace(first, annotations=unclear), *view.recordings[1:]))).metrics
    assert found["hours_unknown"] == pytest.approx(2.1 / 3600)
    assert found["hours"] == pytest.approx(sum(each.duration_s for each in view.recordings) / 3600 - 2.1 / 3600)
    tensors, _ = r.read_tensors(run / "probabilities-eval.safetensors")
    assert not tensors[first.path][4:13].any() and tensors[first.path][[3, 13]].all()


def test_a_run_that_has_not_finished_is_refused(run: Path, view_of: ViewOf) -> None:
    (run / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="has not finished") as raised:
        evaluate(run, view_of("eval"))
    assert "--resume" in str(raised.value.fix)


def test_weights_of_another_run_are_refused(run: Path, view_of: ViewOf) -> None:
    tensors, metadata = r.read_tensors(run / "model.safetensors")
    r.write_tensors(run / "model.safetensors", tensors, {**metadata, "view_digest": "0" * 64})
    with pytest.raises(IntegrityError, match="another view"):
        evaluate(run, view_of("eval"))


def test_the_report_stands_alone_and_says_that_the_data_is_synthetic(scored: EvaluateReport) -> None:
    page = (scored.run / "report.html").read_text()
    assert page == (scored.run / "report-eval.html").read_text()
    assert "SYNTHETIC DATA" in page
    assert not re.search(r"""src\s*=|href\s*=\s*"[^#]|url\(|@import""", page)  # nothing to load
    for said in (scorer(), scored.view_digest, "split eval", "profile full", "line length", "No recording was omitted"):
        assert said in page, said
    for found in (scored.metrics, scored.metrics["baseline"]):
        low, high = found["nedc"]["ovlp"]["counts"]["wilson"]["sensitivity"]
        for said in (f"{found['auroc']:.3f}", f"{low:.3f} to {high:.3f}", found["nedc"]["taes"]["scorer"]):
            assert said in page, said
    assert page.count("<svg") == page.count("</svg>") == 5
    tensors, learned = r.read_tensors(scored.run / "model.safetensors")
    for told in (
        f"{sum(each.numel() for each in tensors.values()):,} parameters",
        f"torch {learned['versions']['torch']}",
    ):
        assert told in page, told


def test_the_report_says_when_the_baseline_wins(scored: EvaluateReport) -> None:
    page = (scored.run / "report.html").read_text()
    for name, title in (("auroc", "AUROC"), ("auprc", "AUPRC"), ("event_f1", "event F1")):
        beats = scored.metrics[name] > scored.metrics["baseline"][name]
        assert f"The detector {'beats' if beats else 'does NOT beat'} the line-length baseline in {title}." in page


def test_the_confidence_of_an_event_counts_a_last_step_that_is_short() -> None:
    recording = Scored("a.edf", "a", np.array([0.2, 0.4, 1.0], dtype=np.float32), 0.25, 0.6, [])
    rows = [line.split(",") for line in csv_bi(recording, [(0.5, 0.6)]).splitlines()[6:]]
    assert [(row[3], row[4]) for row in rows] == [("bckg", "0.7000"), ("seiz", "1.0000")]
    assert bids_tsv(recording, [(0.25, 0.6)]).splitlines()[1].split("\t")[3] == "0.7000"


class Tasks(Silent):
    def __init__(self) -> None:
        self.names: list[str] = []

    def start(self, task: str, total: int | None, unit: str) -> None:
        self.names.append(task)


def test_nothing_that_takes_long_is_silent(run: Path, view_of: ViewOf) -> None:
    tasks = Tasks()
    evaluate(run, view_of("eval"), tune=view_of("dev"), progress=tasks)
    assert tasks.names == ["tune on dev", "line length of dev", "score eval", "line length of eval"]
