"""Training: exact resume, honest refusals, and a run's folder that says what it is."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.trainings import StopAfter, changed, same_bits, with_recordings

from brainbrr.core import files
from brainbrr.errors import BrainbrrError, DependencyError, IntegrityError, LeakError, UsageError, ViewNotReadyError
from brainbrr.learn import runs as r
from brainbrr.learn.config import OptimiserConfig, TrainConfig, load_train_config
from brainbrr.learn.model import Detector
from brainbrr.learn.other_splits import check_splits
from brainbrr.learn.train import Training, TrainReport, _groups, learning_rate, train
from brainbrr.loading.windows import FULL, WindowSpec
from brainbrr.store.store import Store
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]


@pytest.fixture(scope="session")
def finished(view_of: ViewOf, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> TrainReport:
    """Six steps without a stop."""
    return train(view_of("train"), config, runs=tmp_path_factory.mktemp("runs"))


def test_a_run_says_what_it_is(finished: TrainReport, view_of: ViewOf, config: TrainConfig) -> None:
    view = view_of("train")
    run = r.open_run(finished.run)
    assert run.config == config == load_train_config(str(finished.run / "config.toml"))
    assert run.view == json.loads(json.dumps(view.to_json()))
    assert finished.view_digest == view.digest == run.view["digest"]
    assert [row["step"] for row in run.history()] == list(range(6))
    assert finished.loss == pytest.approx(sum(row["loss"] for row in run.history()) / 6)
    tensors, metadata = r.read_tensors(run.model)
    assert set(tensors) == set(Detector(19, config.model).state_dict())
    assert metadata["view_digest"] == view.digest
    assert metadata["recipe"]["digest"] == view.recipe.digest
    assert metadata["versions"].keys() == {"python", "brainbrr", "torch", "numpy"}
    assert json.loads(json.dumps(finished.to_json()))["metrics"]["synthetic"] is True


def test_the_config_of_a_run_records_the_views_own_window(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    window = WindowSpec(length_s="3", stride_s="3", tail="pad")
    asked = config.model_copy(update={"profile": "smoke"})
    report = train(view_of("train", window=window), changed(asked, "train", steps=1), runs=tmp_path)
    recorded = load_train_config(str(report.run / "config.toml"))
    assert (recorded.window_spec(), recorded.profile) == (window, "full")


def test_a_view_with_nan_is_refused(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NaN"):
        train(view_of("train", window=WindowSpec(length_s="4", missing="nan")), config, runs=tmp_path)


def test_resuming_gives_the_same_bits_as_never_stopping(
    finished: TrainReport, view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(view_of("train"), config, runs=tmp_path, progress=StopAfter(2))
    [run] = tmp_path.iterdir()
    assert r.read_tensors(run / "checkpoint.safetensors")[1]["step"] == 2  # written for Ctrl-C, before its turn
    assert not (run / "model.safetensors").exists()
    again = train(view_of("train"), config, runs=tmp_path, resume=run)
    assert (again.run, again.steps) == (run, 6)
    assert same_bits(run / "model.safetensors", finished.run / "model.safetensors")
    assert same_bits(run / "checkpoint.safetensors", finished.run / "checkpoint.safetensors")
    told = [[{**row, "seconds": 0} for row in r.open_run(folder).history()] for folder in (run, finished.run)]
    assert told[0] == told[1]


def test_resuming_a_finished_run_changes_nothing(finished: TrainReport, view_of: ViewOf, config: TrainConfig) -> None:
    before = (finished.run / "model.safetensors").read_bytes()
    again = train(view_of("train"), config, runs=finished.run.parent, resume=finished.run)
    assert (again.steps, again.loss) == (finished.steps, finished.loss)
    assert (finished.run / "model.safetensors").read_bytes() == before


def test_another_seed_begins_with_other_weights(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    still = changed(config, "train", lr=1e-30, steps=1)
    one, other = (
        r.read_tensors(train(view_of("train"), seeded, runs=tmp_path).run / "model.safetensors")[0]["decoder.weight"]
        for seeded in (still, still.model_copy(update={"seed": 8}))
    )
    assert (one - other).abs().max() > 1e-3


def test_another_config_or_view_is_refused_on_resume(
    finished: TrainReport, view_of: ViewOf, config: TrainConfig
) -> None:
    with pytest.raises(UsageError, match="the config is not the run's: train"):
        train(view_of("train"), changed(config, "train", lr=0.1), runs=finished.run, resume=finished.run)
    with pytest.raises(UsageError, match="the view changed since the run began"):
        train(view_of("dev"), config, runs=finished.run, resume=finished.run)
    with pytest.raises(UsageError, match="this is no run"):
        train(view_of("train"), config, runs=finished.run, resume=finished.run.parent)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.replace(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"no space left.*file"):
        files.replace(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_damaged_checkpoint_is_refused(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    run = r.create(tmp_path, config, view_of("train").to_json())
    run.checkpoint.write_bytes(b"\xff" * 100)
    with pytest.raises(IntegrityError, match="not a file of brainbrr's weights"):
        train(view_of("train"), config, runs=tmp_path, resume=run.folder)


def test_damage_stops_the_training_and_names_recording_and_time(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    view = view_of("train")
    store = Store.open(Path(shutil.copytree(view.store.location, tmp_path / "store")))
    for shard in store.location.glob("objects.zarr/*/*/c.0.0"):
        shard.chmod(0o644)
        data = bytearray(shard.read_bytes())
        data[1000] ^= 1
        shard.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"damaged from 0 s to 10 s .* in recording edf/train/.*\.edf of demo"):
        train(view.over(store), config, runs=tmp_path / "runs")


def test_a_view_that_is_not_ready_is_never_built(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    view = view_of("train")
    part = with_recordings(view, ())
    with pytest.raises(ViewNotReadyError, match="the view is empty"):
        train(part, config, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_view_without_seizures_is_refused(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    view = view_of("train")
    quiet = with_recordings(view, tuple(recording for recording in view.recordings if not recording.seizures))
    assert quiet.recordings
    with pytest.raises(UsageError, match="has a seizure: there is nothing to learn"):
        train(quiet, config, runs=tmp_path / "runs")


def test_numbers_that_are_read_a_step_late_change_no_bit(
    finished: TrainReport, view_of: ViewOf, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "reads_late", True)  # as on CUDA
    view = view_of("train")
    with pytest.raises(KeyboardInterrupt):
        train(view, config, runs=tmp_path, name="late", progress=StopAfter(1))
    train(view, config, runs=tmp_path, resume=tmp_path / "late")
    ours, theirs = r.open_run(tmp_path / "late"), r.open_run(finished.run)
    assert same_bits(ours.model, theirs.model)
    rows = ([{k: v for k, v in row.items() if k != "seconds"} for row in run.history()] for run in (ours, theirs))
    assert next(rows) == next(rows)
    with pytest.raises(BrainbrrError, match="the loss of step"):
        train(view, changed(config, "train", lr=1e30), runs=tmp_path, name="diverged")
    assert not (tmp_path / "diverged" / "model.safetensors").exists()


def test_a_view_of_seizures_alone_or_with_a_patient_in_two_splits_is_refused(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    view = view_of("train")
    full = with_recordings(view, view.recordings)
    full.classes = lambda: np.full(len(view), FULL, dtype=np.uint8)  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="full of a seizure: there is nothing to tell it from"):
        train(full, config, runs=tmp_path / "runs")
    first, *rest = view.recordings
    leak = with_recordings(view, (replace(first, split="dev"), *rest))
    with pytest.raises(LeakError, match=f"patient {first.patient} is in the splits dev and train"):
        train(leak, config, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_patient_of_another_split_is_refused(view_of: ViewOf) -> None:
    def opened(split: str) -> View:
        if split == "none":
            raise UsageError("no such split")
        return view_of("train" if split == "eval" else split)

    with pytest.raises(LeakError, match=r"split train and split eval share \d+ of their patients: \w+"):
        check_splits(view_of("train"), opened)
    check_splits(view_of("dev"), lambda _: view_of("train"))


def test_a_loss_that_is_no_number_names_the_recordings(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    view = view_of("train")
    with pytest.raises(BrainbrrError, match="the loss of step") as raised:
        train(view, changed(config, "train", lr=1e30), runs=tmp_path)
    assert set(str(raised.value.where).split(", ")) <= {recording.path for recording in view.recordings}
    assert not list(tmp_path.glob("*/model.safetensors"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_a_clear_error(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="cuda"):
        train(view_of("train"), changed(config, "train", device="cuda"), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_rate_warms_up_and_falls_to_a_tenth() -> None:
    config = OptimiserConfig(steps=100, batch=1, lr=1.0, warmup_steps=10)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_norms_biases_and_dynamics_do_not_decay(config: TrainConfig) -> None:
    model = Detector(19, config.model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying, free = ({names[id(p)] for p in group["params"]} for group in _groups(model, 0.1))
    assert all(name.endswith("weight") and "norm" not in name for name in decaying)
    assert {name.rpartition(".")[2] for name in free} == {"A_log", "D", "dt_bias", "bias", "weight"}
    assert len(decaying) + len(free) == len(names)


def test_a_schedulers_sigterm_leaves_a_checkpoint_and_a_renamed_corpus_resumes_exactly(
    view_of: ViewOf, config: TrainConfig, finished: TrainReport, tmp_path: Path
) -> None:
    view = view_of("train")
    with pytest.raises(KeyboardInterrupt):
        train(view, config, runs=tmp_path, progress=StopAfter(2, signal.SIGTERM))
    [run] = tmp_path.iterdir()
    renamed = with_recordings(view, view.recordings[::-1])  # other paths, other order, and the same digest
    assert renamed.digest == view.digest
    again = train(renamed, config, runs=tmp_path, resume=run)
    assert same_bits(again.run / "model.safetensors", finished.run / "model.safetensors")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_scheduler_may_say_it_twice(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path, request: pytest.FixtureRequest, second: signal.Signals
) -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1):  # as the command line has them
        before = signal.signal(number, signal.default_int_handler)
        request.addfinalizer(partial(signal.signal, number, before))
    with pytest.raises(KeyboardInterrupt):
        train(view_of("train"), config, runs=tmp_path, progress=StopAfter(2, signal.SIGTERM, second))
    [run] = tmp_path.iterdir()
    assert r.read_tensors(run / "checkpoint.safetensors")[1]["step"] == 2


def test_a_second_ctrl_c_stops_at_once(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(view_of("train"), config, runs=tmp_path, progress=StopAfter(2, signal.SIGINT, signal.SIGINT))
    [run] = tmp_path.iterdir()
    assert not (run / "checkpoint.safetensors").exists()
