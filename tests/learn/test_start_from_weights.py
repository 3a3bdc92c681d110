"""Runs that start from another's weights: which those may be, what is kept of them, whom nobody scores them on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.trainings import changed, same_bits

from brainbrr.errors import IntegrityError, LeakError, UsageError
from brainbrr.learn import runs as r
from brainbrr.learn.config import TrainConfig
from brainbrr.learn.evaluate import evaluate
from brainbrr.learn.train import train
from brainbrr.loading.windows import WindowSpec
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]


@pytest.fixture(scope="session")
def short(config: TrainConfig) -> TrainConfig:
    return changed(config, "train", steps=2, checkpoint_every=1)


@pytest.fixture(scope="session")
def first(view_of: ViewOf, short: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the dev split."""
    return train(view_of("dev"), short, runs=tmp_path_factory.mktemp("first"), name="first").run


@pytest.fixture(scope="session")
def tuned(view_of: ViewOf, short: TrainConfig, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the training split that started from it."""
    return train(view_of("train"), short, runs=tmp_path_factory.mktemp("tuned"), name="tuned", init=first).run


def test_the_first_weights_are_the_other_runs(view_of: ViewOf, short: TrainConfig, first: Path, tmp_path: Path) -> None:
    still = changed(short, "train", lr=1e-30, weight_decay=0.0, steps=1)
    run = train(view_of("train"), still, runs=tmp_path, init=first).run
    ours, theirs = (r.read_tensors(folder / "model.safetensors")[0] for folder in (run, first))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_run_knows_all_that_its_weights_have_seen(
    view_of: ViewOf, short: TrainConfig, tuned: Path, tmp_path: Path
) -> None:
    third = r.open_run(train(view_of("train"), short, runs=tmp_path, init=tuned).run)
    seen = third.seen()
    assert [name for name, _ in seen] == ["training", "training of tuned", "training of first"]
    dev = view_of("dev")
    assert seen[2][1]["digest"] == dev.digest and seen[2][1]["corpus"] == dev.corpus
    assert [entry["patient"] for entry in seen[2][1]["recordings"]] == [each.patient for each in dev.recordings]


def test_a_run_is_not_scored_on_what_its_first_weights_saw(view_of: ViewOf, tuned: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    with pytest.raises(LeakError, match="training of first and split dev share"):
        evaluate(run, view_of("dev"))
    with pytest.raises(LeakError, match="training of first and split dev share"):
        evaluate(run, view_of("eval"), tune=view_of("dev"))
    assert evaluate(run, view_of("eval")).view_digest == view_of("eval").digest


def test_a_run_that_died_before_its_first_checkpoint_still_starts_from_the_others_weights(
    view_of: ViewOf, short: TrainConfig, first: Path, tuned: Path, tmp_path: Path
) -> None:
    config = r.open_run(tuned).config
    died = r.create(tmp_path, config, view_of("train").to_json(), name="died", init=r.open_run(first))
    train(view_of("train"), config, runs=tmp_path, resume=died.folder)
    assert same_bits(died.model, tuned / "model.safetensors")


def test_a_run_whose_first_weights_are_gone_does_not_start_from_others(
    view_of: ViewOf, short: TrainConfig, tuned: Path, tmp_path: Path
) -> None:
    died = Path(shutil.copytree(tuned, tmp_path / "died"))
    for name in ("checkpoint", "model", "init"):
        (died / f"{name}.safetensors").unlink()
    with pytest.raises(IntegrityError, match="started from are missing"):
        train(view_of("train"), short, runs=tmp_path, resume=died)


def test_weights_that_learned_from_something_else_are_refused(
    view_of: ViewOf, short: TrainConfig, first: Path, tmp_path: Path
) -> None:
    def refused(told: str, view: View, config: TrainConfig, init: Path) -> None:
        with pytest.raises(UsageError, match=told):
            train(view, config, runs=tmp_path / "runs", init=init)

    fields = short.window
    few = WindowSpec.model_validate({**fields, "channels": ["C3", "C4"]})
    refused(r"window\.channels", view_of("train", window=few), short, first)
    scaled = WindowSpec.model_validate({**fields, "normalise": "zscore"})
    refused(r"window\.normalise", view_of("train", window=scaled), short, first)
    refused("another model", view_of("train"), changed(short, "model", d_model=32), first)
    copied = Path(shutil.copytree(first, tmp_path / "copied"))
    view = json.loads((copied / "view.json").read_text())
    view["recipe"]["digest"] = "0" * 64
    (copied / "view.json").write_text(json.dumps(view))
    refused("recipe", view_of("train"), short, copied)
    (copied / "model.safetensors").unlink()
    refused("has not finished", view_of("train"), short, copied)
    assert not (tmp_path / "runs").exists()


def test_longer_windows_may_start_from_shorter_ones(
    view_of: ViewOf, short: TrainConfig, first: Path, tmp_path: Path
) -> None:
    longer = WindowSpec.model_validate({**short.window, "length_s": "6", "stride_s": "3"})
    report = train(view_of("train", window=longer), changed(short, "train", steps=1), runs=tmp_path, init=first)
    assert report.steps == 1


def test_a_run_that_does_not_say_what_its_weights_saw_is_refused(tuned: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    for damage in ("[]", "{}", '{"seen": [{"run": "first"}]}', '{"seen": [1]}', '{"seen": 1}', "{"):
        (run / "init.json").write_text(damage)
        with pytest.raises(IntegrityError):
            r.open_run(run)
    (run / "init.json").unlink()
    with pytest.raises(IntegrityError, match="list of their recordings is missing"):
        r.open_run(run)
