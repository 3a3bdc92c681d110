"""Prediction from files: the bits of evaluation from the store, whatever the length, and events by the run's rule."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.edf_bytes import File, noise

import brainbrr
from brainbrr.core.progress import Silent
from brainbrr.eeg.signal import filtered
from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.learn import predict as module
from brainbrr.learn import runs as r
from brainbrr.learn.config import TrainConfig
from brainbrr.learn.evaluate import evaluate
from brainbrr.learn.held_out import probabilities
from brainbrr.learn.predict import Predictor
from brainbrr.learn.predict_files import PredictReport, predict
from brainbrr.learn.thresholds import Thresholds
from brainbrr.loading.windows import WindowSpec
from brainbrr.scoring.events import EventRule
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]


def scores(report: PredictReport) -> dict[str, Any]:
    return {each.scored.path: each.scored.score for each in report.predictions}


@pytest.mark.parametrize("blocks", [False, True])
def test_a_file_gets_the_very_probabilities_that_evaluate_computes_from_the_store(
    trained: Path, view_of: ViewOf, generated: Path, monkeypatch: pytest.MonkeyPatch, blocks: bool
) -> None:
    if blocks:
        monkeypatch.setattr(filtered, "_WHOLE_BYTES", 0)
        monkeypatch.setattr(filtered, "_BLOCK_BYTES", 1 << 18)
    model = Predictor.of(r.open_run(trained), Recipe()).model
    found = scores(predict(trained, [generated]))
    views = [view_of(split) for split in ("train", "dev", "eval")]
    assert len(found) == sum(len(view.recordings) for view in views)
    assert any(recording.record.array.absent for view in views for recording in view.recordings)
    for view in views:
        for position, recording in enumerate(view.recordings):
            assert np.array_equal(found[recording.path], probabilities(model, view, position)), recording.path


@pytest.mark.parametrize(
    "changes",
    [
        {"normalise": "zscore", "clip": "10"},
        {"normalise": "fixed", "scale_uv": "50", "reference": "bipolar"},
        {"normalise": "none", "reference": "average", "channels": ["C3", "Pz"]},
        {"length_s": "40", "missing": "zero"},
    ],
)
def test_windows_of_any_kind_are_read_alike(
    trained: Path, view_of: ViewOf, generated: Path, config: TrainConfig, tmp_path: Path, changes: dict[str, Any]
) -> None:
    window = WindowSpec(**{**config.window, **changes})
    view = view_of("train", window=window)
    position = next(i for i, recording in enumerate(view.recordings) if recording.record.array.absent)
    model = module.Detector(len(view.channels), config.model)
    predictor = Predictor(model, Recipe(), window, config.evaluate, 0.5, "")
    made = preprocess(generated / view.recordings[position].path, Recipe())
    found = predictor.scored("x.edf", made, Silent())
    assert np.array_equal(found.score, probabilities(model, view, position))
    assert found.duration_s == view.recordings[position].n_samples / 256


def test_a_long_recording_takes_no_more_memory_than_a_short_one(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtered, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(filtered, "_BLOCK_BYTES", 1 << 20)

    def peak(seconds: int) -> int:
        file = File([noise(name, seconds=seconds) for name in TEN_TWENTY]).write(tmp_path)
        tracemalloc.start()
        assert not predict(trained, [file]).failed
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    peak(20)  # what is made once
    assert peak(1000) < peak(120) + (1 << 20) < 19 * 2 * 256 * 1000


def test_the_threshold_is_the_one_that_was_tuned(run: Path, generated: Path, view_of: ViewOf) -> None:
    edf = generated / view_of("eval").recordings[0].path
    report = predict(run, [edf])
    assert (report.threshold, report.threshold_from) == (0.5, "config.toml: none was tuned")
    Thresholds(0.001, 1.0, "split dev", EventRule().parameters()).write(run / "thresholds.json")
    report = predict(run, [edf])
    assert (report.threshold, report.threshold_from) == (0.001, "split dev")
    [prediction] = report.predictions
    assert prediction.events == [(0.0, prediction.scored.duration_s)] and prediction.synthetic
    (run / "thresholds.json").write_text("{}")
    with pytest.raises(IntegrityError, match="thresholds cannot be read"):
        predict(run, [edf])


def test_the_confidence_of_an_event_is_the_calibrated_probability(
    run: Path, generated: Path, view_of: ViewOf, tmp_path: Path
) -> None:
    evaluate(run, view_of("eval"), tune=view_of("dev"))
    kept = json.loads((run / "thresholds.json").read_text())
    edf = next((generated / "edf" / "eval").rglob("*.edf"))
    told = []
    for prior in (0.0, -2.0):
        said = {**kept, "detector": 1e-6, "calibration": {"temperature": 1.0, "prior": prior}}
        (run / "thresholds.json").write_text(json.dumps(said))
        report = predict(run, [edf], out=tmp_path / f"{prior}.csv_bi")
        [prediction] = report.predictions
        [confidence] = prediction.to_json()["confidences"]
        assert f",seiz,{confidence:.4f}" in (tmp_path / f"{prior}.csv_bi").read_text()
        told.append((confidence, prediction.scored.score))
    (sure, score), (less, same) = told
    assert less < sure == pytest.approx(float(score.mean()), abs=1e-4) and (score == same).all()


def test_what_the_detector_was_trained_on_is_said(trained: Path, generated: Path, view_of: ViewOf) -> None:
    said = "the detector was trained on this recording"
    for split, is_known in (("train", True), ("eval", False)):
        [prediction] = predict(trained, [generated / view_of(split).recordings[0].path]).predictions
        assert (said in prediction.notes) is is_known


def test_nothing_is_written_that_was_not_asked_for(run: Path, generated: Path, tmp_path: Path) -> None:
    before = sorted(path for path in tmp_path.rglob("*"))
    report = brainbrr.predict(run, generated / "edf" / "eval")
    assert len(report.predictions) == 4 and not report.written
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_run_that_has_not_finished_is_refused(run: Path, generated: Path) -> None:
    (run / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="has not finished"):
        predict(run, [generated])


def test_a_run_that_was_trained_on_cuda_is_read_wherever_one_is(run: Path, generated: Path) -> None:
    before = scores(predict(run, [generated]))
    file = run / "config.toml"
    told = file.read_text().replace('device = "cpu"', 'device = "cuda"').replace('scan = "auto"', 'scan = "triton"')
    file.write_text(told)
    predictor = Predictor.of(r.open_run(run), Recipe())
    assert next(predictor.model.parameters()).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        after = scores(predict(run, [generated]))
        assert all(np.array_equal(after[name], score) for name, score in before.items())


def test_weights_that_give_no_numbers_are_refused_not_silent(run: Path, generated: Path, view_of: ViewOf) -> None:
    tensors, said = r.read_tensors(run / "model.safetensors")
    name = next(name for name in tensors if name.endswith("weight"))
    r.write_tensors(run / "model.safetensors", {**tensors, name: tensors[name] * np.nan}, said)
    with pytest.raises(IntegrityError, match="no numbers"):
        predict(run, [generated / view_of("eval").recordings[0].path])
