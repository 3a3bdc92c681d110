"""Validation: on which patients, which weights are the best, and a resume to the same bits with all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.trainings import StopAfter, changed, same_bits, with_recordings

import brainbrr
from brainbrr.core.progress import Silent
from brainbrr.errors import LeakError
from brainbrr.learn import runs as r
from brainbrr.learn.config import TrainConfig
from brainbrr.learn.evaluate import evaluate
from brainbrr.learn.predict import load_detector
from brainbrr.learn.train import TrainReport, train
from brainbrr.learn.validation import Best, Validator, halves, merit, stratified
from brainbrr.store.store import Store
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]


class Said(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: object) -> None:
        self.said.append(str(text))


@pytest.fixture(scope="session")
def watched(config: TrainConfig) -> TrainConfig:
    """Validates after each second step; the average of the weights is what it scores."""
    return changed(config, "train", validate_every=2, ema=0.5)


@pytest.fixture(scope="session")
def validated(view_of: ViewOf, watched: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> TrainReport:
    return train(view_of("train"), watched, runs=tmp_path_factory.mktemp("runs"), dev=view_of("dev"))


def test_scores_on_dev_are_in_the_metrics_and_the_best_weights_are_the_result(validated: TrainReport) -> None:
    run = r.open_run(validated.run)
    rows = {row["step"] + 1: row for row in run.history()}
    assert [step for step, row in rows.items() if "dev_loss" in row] == [2, 4, 6]
    chose = json.loads((run.folder / "validation.json").read_text())
    best = chose["also"]["best"]
    assert {name: best[name] for name in ("loss", "auroc", "event_f1", "threshold")} == {
        name: rows[best["step"]][f"dev_{name}"] for name in ("loss", "auroc", "event_f1", "threshold")
    }
    dev = {step: row for step, row in rows.items() if "dev_loss" in row}
    scores = {step: {name: row[f"dev_{name}"] for name in ("event_f1", "auroc", "loss")} for step, row in dev.items()}
    assert best["step"] == max(scores, key=lambda step: merit(scores[step], "event_f1"))
    assert validated.metrics["validation"]["all"]["recordings"] == 4
    assert f"after step {best['step']}" in validated.metrics["weights"] == run.which()
    assert run.result() == run.best and run.result("last") == run.model
    average = {n: v for n, v in r.read_tensors(run.checkpoint)[0].items() if n.startswith("average.")}
    assert all(torch.equal(average[f"average.{name}"], value) for name, value in run.weights("last").items())


@pytest.mark.parametrize("stops", [1, 3, 4])
def test_a_resumed_training_validates_and_ends_with_the_same_bits(
    validated: TrainReport, view_of: ViewOf, watched: TrainConfig, tmp_path: Path, stops: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(view_of("train"), watched, runs=tmp_path, dev=view_of("dev"), progress=StopAfter(stops))
    [run] = tmp_path.iterdir()
    again = train(view_of("train"), watched, runs=tmp_path, resume=run)
    for name in ("model.safetensors", "best.safetensors", "checkpoint.safetensors", "validation.json"):
        assert same_bits(again.run / name, validated.run / name), name
    told = [[{**row, "seconds": 0} for row in r.open_run(each.run).history()] for each in (again, validated)]
    assert told[0] == told[1]


def test_validating_changes_no_bit_of_the_weights(
    validated: TrainReport, view_of: ViewOf, watched: TrainConfig, tmp_path: Path
) -> None:
    alone = train(view_of("train"), watched, runs=tmp_path)
    ours, theirs = (r.open_run(each.run).weights("last") for each in (alone, validated))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not (alone.run / "best.safetensors").exists()
    assert "did not validate" in alone.metrics["weights"] and alone.metrics["validation"] is None


def test_a_training_ends_where_patience_does(view_of: ViewOf, watched: TrainConfig, tmp_path: Path) -> None:
    still = changed(watched, "train", lr=1e-30, validate_every=1, patience=2, ema=0)
    progress = Said()
    report = train(view_of("train"), still, runs=tmp_path, dev=view_of("dev"), progress=progress)
    assert report.steps == 3  # the first one is the best, and two are no better
    assert any("no better event_f1 in 2 validations" in said for said in progress.said)
    again = train(view_of("train"), still, runs=tmp_path, resume=report.run)
    assert again.steps == 3 and again.run == report.run


def test_later_weights_are_the_best_only_where_they_are_better() -> None:
    best, weights = Best(), {"w": torch.zeros(1)}
    told = [(0.5, 0.8, 0.3), (0.5, 0.8, 0.3), (0.5, 0.9, 0.4), (0.4, 1.0, 0.1), (0.5, 0.9, 0.2)]
    kept = []
    for step, (f1, area, loss) in enumerate(told):
        kept.append(best.offer(step, {"event_f1": f1, "auroc": area, "loss": loss}, weights, "event_f1"))
    assert kept == [True, False, True, False, True] and (best.step, best.since) == (4, 0)
    assert merit({"event_f1": 1.0, "auroc": None, "loss": 0.2}, "loss")[:1] == (-0.2,)


def test_half_of_the_patients_choose_the_weights_each_half_with_seizures(view_of: ViewOf) -> None:
    view = view_of(None)
    ours, others = halves(view)
    ill = {each.patient for each in view.recordings if each.seizures}
    assert set(ours) | set(others) == {each.patient for each in view.recordings} and not set(ours) & set(others)
    assert len(ill) >= 4 and abs(len(ours) - len(others)) <= 2
    assert abs(len(ill & set(ours)) - len(ill & set(others))) <= 1
    few = sorted(ill)[:3]
    three = with_recordings(view, tuple(each for each in view.recordings if each.patient in few))
    assert halves(three) == (tuple(few), ())


def test_the_part_that_validates_lasts_no_longer_than_it_may_and_keeps_the_shares(view_of: ViewOf) -> None:
    view = view_of("train")
    everyone = {each.patient for each in view.recordings}
    lengths = [each.duration_s for each in view.recordings]
    for seconds in (0.0, 50.0, 120.0, 1e9):
        part = [view.recordings[i] for i in stratified(view, everyone, seconds=seconds)]
        assert sum(each.duration_s for each in part) <= max(seconds, max(lengths))
        assert any(each.seizures for each in part)
    half = [view.recordings[i] for i in stratified(view, everyone, seconds=sum(lengths) / 2)]
    share = sum(bool(each.seizures) for each in view.recordings) / len(lengths)
    assert abs(sum(bool(each.seizures) for each in half) / len(half) - share) < 0.3
    renamed = with_recordings(view, view.recordings[::-1])
    ours, theirs = ({v.recordings[i].content for i in stratified(v, everyone, seconds=90)} for v in (view, renamed))
    assert ours == theirs


def test_a_validation_takes_at_most_a_twentieth_of_the_windows_it_is_between(
    view_of: ViewOf, config: TrainConfig
) -> None:
    few, many = (Validator(view_of("dev"), changed(config, "train", validate_every=n)) for n in (1, 10_000))
    assert len(few.part) == 1 and len(many.part) > 1


def test_patients_who_train_do_not_validate(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    view = view_of("train")
    with pytest.raises(LeakError, match="training and split train share"):
        train(view, config, runs=tmp_path, dev=view)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"dev": None}, "none was requested"),
        ({"dev": "train"}, "it shares"),
        ({"dev": "test"}, "test"),
    ],
)
def test_without_a_dev_split_it_says_so_and_takes_the_last_weights(
    options: dict[str, Any], why: str, stored: Store, config: TrainConfig, tmp_path: Path
) -> None:
    progress = Said()
    fields = {"changes": ["train.steps=1"], "store": stored, "runs": tmp_path, "progress": progress}
    report = brainbrr.train(config=config, **fields, **options)
    [said] = [each for each in progress.said if each.startswith("no validation")]
    assert why in said and "The last weights" in said
    assert report.metrics["validation"] is None and not (report.run / "dev.json").exists()


def test_evaluate_and_a_new_run_take_the_best_weights_and_say_so(
    stored: Store, view_of: ViewOf, watched: TrainConfig, tmp_path: Path
) -> None:
    first = brainbrr.train(config=watched, store=stored, runs=tmp_path, name="first")
    run = r.open_run(first.run)
    assert run.dev is not None and run.dev["digest"] == view_of("dev").digest
    tensors, metadata = r.read_tensors(run.best)
    r.write_tensors(run.best, {name: value + 1 for name, value in tensors.items()}, metadata)
    for which, path in (("best", run.best), ("last", run.model)):
        wanted = r.read_tensors(path)[0]["decoder.bias"]
        assert torch.equal(load_detector(run, 19, which).decoder.bias, wanted)  # type: ignore[arg-type]
    brainbrr.train(config=watched, changes=["train.steps=1"], store=stored, runs=tmp_path, name="next", init="first")
    assert same_bits(tmp_path / "next" / "init.safetensors", run.best)
    found = evaluate(first.run, view_of("eval"), tune=view_of("dev")).metrics
    assert found["weights"] == run.which() and found["weights"].startswith("the best by event_f1 on")
    last = evaluate(first.run, view_of("eval"), weights="last").metrics
    assert last["weights"] == "the last of 6 steps" and last["auroc"] != found["auroc"]


def test_thresholds_are_tuned_on_patients_who_did_not_choose_the_weights_or_it_is_said(
    validated: TrainReport, view_of: ViewOf, tmp_path: Path
) -> None:
    found = evaluate(validated.run, view_of("eval"), tune=view_of("dev")).metrics
    chose = r.open_run(validated.run).chose()
    assert chose is not None
    both = {f"demo/{each.patient}" for each in view_of("dev").recordings}
    free = both - set(chose["patients"])
    ill = {f"demo/{each.patient}" for each in view_of("dev").recordings if each.seizures}
    if free & ill:
        assert "did not choose the weights" in found["threshold_from"] and found["tuning"]["patients"] == len(free)
    else:
        assert "also chose the weights" in found["threshold_from"] and found["tuning"]["chose_weights"]
    assert evaluate(validated.run, view_of("dev")).metrics["chose_weights"] == len(chose["patients"])
