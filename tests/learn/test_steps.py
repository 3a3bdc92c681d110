"""The trainer's parts: losses, accumulation, the average of weights, randomness, and what a resume may change."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.trainings import StopAfter, changed, same_bits

from brainbrr.core.progress import Silent
from brainbrr.errors import BrainbrrError, DependencyError, IntegrityError, UsageError
from brainbrr.learn import runs as r
from brainbrr.learn.config import OptimiserConfig, TrainConfig
from brainbrr.learn.train import _initial, loss_of, train
from brainbrr.views.view import View

pytestmark = pytest.mark.slow

ViewOf = Callable[..., View]
CPU = torch.device("cpu")


class Watch(Silent):
    """Progress that asks a question after each step."""

    def __init__(self, question: Callable[[], Any]) -> None:
        self.question, self.answers = question, []

    def advance(self, n: int = 1, *, note: str = "") -> None:
        self.answers.append(self.question())


def history(run: Path) -> list[dict[str, Any]]:
    return r.open_run(run).history()


def weights(run: Path, prefix: str) -> dict[str, torch.Tensor]:
    tensors, _ = r.read_tensors(run / "checkpoint.safetensors")
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def test_losses_are_their_formulas() -> None:
    logits, target = torch.tensor([-2.0, 0.5, 3.0, -1.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
    right = torch.sigmoid(torch.where(target == 1, logits, -logits))

    def loss(**fields: Any) -> torch.Tensor:
        told = {"steps": 1, "batch": 1, "lr": 1.0, "balance": "none", **fields}
        return loss_of(logits, target, OptimiserConfig.model_validate(told))

    torch.testing.assert_close(loss(), -right.log())
    torch.testing.assert_close(loss(pos_weight=3.0), -right.log() * torch.tensor([1.0, 3.0, 1.0, 3.0]))
    torch.testing.assert_close(loss(loss="focal", focal_gamma=1.5), -right.log() * (1 - right) ** 1.5)


def test_focal_loss_has_a_gradient_where_the_loss_is_nothing() -> None:
    logits = torch.tensor([200.0], requires_grad=True)
    told = {"steps": 1, "batch": 1, "lr": 1.0, "balance": "none", "loss": "focal", "focal_gamma": 1.0}
    loss_of(logits, torch.ones(1), OptimiserConfig.model_validate(told)).sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_batches_that_add_up_learn_what_one_batch_learns(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    one = train(view_of("train"), changed(config, "train", batch=4), runs=tmp_path).run
    four = train(view_of("train"), changed(config, "train", batch=1, accumulate=4), runs=tmp_path).run
    for ours, theirs in zip(history(four), history(one), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)


def test_the_average_is_the_runs_result_and_follows_the_weights(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    told = changed(config, "train", ema=0.9, steps=1)
    run = train(view_of("train"), told, runs=tmp_path).run
    first, after = _initial(19, told, CPU).model.state_dict(), weights(run, "model.")
    result, _ = r.read_tensors(run / "model.safetensors")
    for name, value in result.items():
        torch.testing.assert_close(value, 0.1 * first[name] + 0.9 * after[name])  # step 0 keeps 1 / 10
        assert torch.equal(value, weights(run, "average.")[name])
    assert any(not torch.equal(value, after[name]) for name, value in result.items())


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_resume_with_an_average_and_more_readers_gives_the_same_bits(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path, number: signal.Signals
) -> None:
    told = changed(config, "train", ema=0.9, accumulate=2, batch=2, steps=4)
    whole = train(view_of("train"), told, runs=tmp_path / "whole").run
    with pytest.raises(KeyboardInterrupt):
        train(view_of("train"), told, runs=tmp_path / "parts", progress=StopAfter(2, number))
    [run] = (tmp_path / "parts").iterdir()
    assert r.read_tensors(run / "checkpoint.safetensors")[1]["step"] == 2
    more = changed(told, "train", loader_threads=3, checkpoint_every=1)
    train(view_of("train"), more, runs=tmp_path, resume=run)
    assert same_bits(run / "model.safetensors", whole / "model.safetensors")
    assert same_bits(run / "checkpoint.safetensors", whole / "checkpoint.safetensors")


def test_a_resume_computes_by_as_many_threads_as_the_run_began_with(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    watch = Watch(torch.get_num_threads)
    try:
        torch.set_num_threads(3)
        with pytest.raises(KeyboardInterrupt):
            train(view_of("train"), config, runs=tmp_path, progress=StopAfter(2))
        [run] = tmp_path.iterdir()
        torch.set_num_threads(2)
        train(view_of("train"), config, runs=tmp_path, resume=run, progress=watch)
        assert watch.answers == [3] * 4 and torch.get_num_threads() == 2
        assert r.read_tensors(run / "model.safetensors")[1]["threads"] == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [0, "2", 1.0, True, 10**9])
def test_a_checkpoint_of_no_number_of_threads_is_damaged(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path, threads: Any
) -> None:
    run = r.open_run(train(view_of("train"), changed(config, "train", steps=1), runs=tmp_path).run)
    tensors, metadata = r.read_tensors(run.checkpoint)
    r.write_tensors(run.checkpoint, tensors, {**metadata, "threads": threads})
    with pytest.raises(IntegrityError, match="number of threads"):
        train(view_of("train"), run.config, runs=tmp_path, resume=run.folder)


def test_a_run_of_several_processes_does_not_go_on_in_one(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    run = r.open_run(train(view_of("train"), changed(config, "train", steps=1), runs=tmp_path).run)
    tensors, _ = r.read_tensors(run.checkpoint)
    r.write_tensors(run.checkpoint, tensors, run.metadata(1, world=2, threads=1))
    with pytest.raises(UsageError, match="was on 2 processes, this is on 1"):
        train(view_of("train"), run.config, runs=tmp_path, resume=run.folder)


def test_training_leaves_the_callers_randomness_alone(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    torch.manual_seed(3)
    first, second = torch.rand(2).tolist()
    torch.manual_seed(3)
    assert torch.rand(1).item() == first
    watch = Watch(lambda: torch.rand(1).item())  # as dropout would draw
    train(view_of("train"), changed(config, "train", steps=2), runs=tmp_path, progress=watch)
    assert torch.rand(1).item() == second
    again = Watch(lambda: torch.rand(1).item())
    train(view_of("train"), changed(config, "train", steps=2), runs=tmp_path, progress=again)
    assert watch.answers == again.answers and len(set(watch.answers)) == 2


def test_determinism_is_chosen_for_the_training_and_stated(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path
) -> None:
    watch = Watch(torch.are_deterministic_algorithms_enabled)
    told = changed(config, "train", steps=1, deterministic=True)
    report = train(view_of("train"), told, runs=tmp_path, progress=watch)
    assert watch.answers == [True] and not torch.are_deterministic_algorithms_enabled()
    assert (report.metrics["deterministic"], report.metrics["precision"]) == (True, "fp32")


def test_a_name_is_given_once_and_names_no_other_folder(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    short = changed(config, "train", steps=1)
    assert train(view_of("train"), short, runs=tmp_path, name="first").run == tmp_path / "first"
    with pytest.raises(UsageError, match="a run of this name exists"):
        train(view_of("train"), short, runs=tmp_path, name="first")
    with pytest.raises(UsageError, match="cannot name a run"):
        train(view_of("train"), short, runs=tmp_path, name="../second")
    assert [each.name for each in tmp_path.iterdir()] == ["first"]


def test_a_logger_that_is_not_installed_is_a_clear_error(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    try:
        import wandb  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("wandb is installed here")
    with pytest.raises(DependencyError, match="names wandb"):
        train(view_of("train"), changed(config, "train", log=["wandb"]), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_wandb_gets_the_numbers_and_no_recordings_name(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    view, told = view_of("train"), changed(config, "train", log=["wandb"])
    run = train(view, told, runs=tmp_path, name="whole").run
    [sent] = run.rglob("*.wandb")
    losses = [row["loss"] for row in history(run)]
    assert len(losses) == 6 and all(f"{loss!r}".encode() in sent.read_bytes() for loss in losses)
    with pytest.raises(BrainbrrError, match="the loss of step"):
        train(view, changed(told, "train", lr=1e30), runs=tmp_path, name="broken")
    for file in filter(Path.is_file, (tmp_path / "broken" / "wandb").rglob("*")):
        assert not [each.path for each in view.recordings if each.path.encode() in file.read_bytes()], file

    for name, value in {"WANDB_MODE": "online", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wandb.teardown()  # it reads these once
    with pytest.raises(DependencyError, match="W&B does not begin: No API key"):
        train(view, told, runs=tmp_path, name="online")


def test_tensorboard_shows_what_metrics_say(view_of: ViewOf, config: TrainConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(KeyboardInterrupt):
        train(view_of("train"), changed(config, "train", log=["tensorboard"]), runs=tmp_path, progress=StopAfter(2))
    [run] = tmp_path.iterdir()
    train(view_of("train"), changed(config, "train", log=["tensorboard"]), runs=tmp_path, resume=run)
    shown = EventAccumulator(str(run / "tensorboard"))
    shown.Reload()
    told = [(event.step, pytest.approx(event.value)) for event in shown.Scalars("train/loss")]
    assert told == [(row["step"], row["loss"]) for row in history(run)]
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["step"] == 0


def test_a_compiled_model_with_the_triton_scan_is_refused_before_anything_is_written(
    view_of: ViewOf, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainbrr.learn.train.chosen", lambda *_: "triton")
    with pytest.raises(UsageError, match=r"train\.compile with the Triton scan"):
        train(view_of("train"), changed(config, "train", compile=True), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
