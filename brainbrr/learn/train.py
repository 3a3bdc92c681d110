"""Train a detector from a view. Reads windows, writes one run's folder; never builds an object.

Resuming continues exactly: the order of windows and the learning rate are functions of the step alone.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  # its usual name

from brainbrr.errors import BrainbrrError, DependencyError, IntegrityError, UsageError, ViewNotReadyError
from brainbrr.learn import runs as r
from brainbrr.learn.loader import torch_loader
from brainbrr.learn.model import Detector, n_parameters
from brainbrr.learn.scans import chosen
from brainbrr.learn.train_config import OptimiserConfig, TrainConfig, window_fields
from brainbrr.loading.augment import Augment
from brainbrr.loading.batches import Batch
from brainbrr.loading.loader import Choices
from brainbrr.loading.order import Sampling
from brainbrr.progress import Progress, Silent
from brainbrr.views import View
from brainbrr.windows import FULL, PARTIAL

_NO_DECAY = ("A_log", "dt_bias", "D")
_LOSS_OVER = 50


@dataclass(frozen=True)
class TrainReport:
    """One finished training. `loss` is the mean over the last 50 steps."""

    run: Path
    view_digest: str
    steps: int
    loss: float
    metrics: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "run": str(self.run)}


def train(
    view: View, config: TrainConfig, *, runs: Path, resume: Path | None = None, progress: Progress | None = None
) -> TrainReport:
    """Train on every window of a view that is ready, and return where the run is.

    The view's own profile and window are what the run's config.toml records, whatever `config` would have chosen.
    `resume` is the folder of a run to go on with, from its last checkpoint, as if it had never stopped.
    Raises ViewNotReadyError for a view without a digest, UsageError for one without seizures or when view or
    config are not the run's, BrainbrrError when the loss is no number. Ctrl-C writes a checkpoint first.
    """
    progress = progress or Silent()
    digest = _trainable(view)
    told = {"profile": view.profile, "window": window_fields(view.window), "recipe": view.recipe.name}
    config = TrainConfig.model_validate({**config.model_dump(), **told})
    device = device_of(config.train.device)
    scan = chosen(config.model.scan, device)
    run = r.create(runs, config, view.to_json()) if resume is None else _reopen(resume, config, digest)
    if resume is not None:
        view = View.from_json(view.store, run.view)  # in the run's own order: the digest does not cover that
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Detector(len(view.channels), config.model).to(device)
    optimiser = torch.optim.AdamW(_groups(model, config.train.weight_decay), lr=config.train.lr)
    step = _restore(run, model, optimiser)
    run.rewind(step)

    def checkpoint(step: int) -> None:
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        r.write_tensors(run.checkpoint, tensors | r.optimiser_tensors(model, optimiser), run.metadata(step))

    began, first = time.monotonic(), step
    progress.start("train", config.train.steps - step, "steps")
    try:
        with (
            _interrupts() as interrupted,
            run.metrics.open("a", encoding="utf-8", buffering=1) as log,
            torch_loader(view.index, view.store, _choices(config, step), mode="auto", device=device) as batches,
        ):
            while step < config.train.steps:
                row = _step(model, optimiser, next(batches), step, config, view)
                log.write(json.dumps({**row, "seconds": round(time.monotonic() - began, 3)}) + "\n")
                step += 1
                progress.advance(1, note=f"loss {row['loss']:.3f}")
                if interrupted.is_set() or step % config.train.checkpoint_every == 0 or step == config.train.steps:
                    checkpoint(step)
                if interrupted.is_set():
                    progress.say(f"stopped after step {step}; go on with --resume {run.folder}")
                    raise KeyboardInterrupt
    finally:
        progress.stop()
    if not run.model.exists():
        r.write_tensors(run.model, model.state_dict(), run.metadata(step))
    seconds = time.monotonic() - began
    return TrainReport(
        run=run.folder,
        view_digest=digest,
        steps=step,
        loss=fmean([row["loss"] for row in run.history()[-_LOSS_OVER:]] or [math.nan]),
        metrics={
            "parameters": n_parameters(model),
            "windows": len(view),
            "seconds": round(seconds, 1),
            "windows_per_second": round((step - first) * config.train.batch / seconds, 1),
            "device": str(device),
            "scan": scan,
            "synthetic": view.synthetic,
        },
    )


def _choices(config: TrainConfig, step: int) -> Choices:
    """Return what the loader is to give, from a step on."""
    return Choices(
        batch=config.train.batch,
        sampling=Sampling(config.seed, balance="balanced"),
        augment=Augment(**config.augment.model_dump()),
        start_step=step,
        threads=config.train.loader_threads,
    )


def _trainable(view: View) -> str:
    """Return the digest of a view that one can learn from."""
    if view.state != "ready" or view.digest is None:
        raise ViewNotReadyError(f"the view is {view.state}: training never builds", fix="ingest the corpus first")
    if not np.isin(view.classes(), (PARTIAL, FULL)).any():
        raise UsageError(
            f"none of the {len(view)} windows of the view has a seizure: there is nothing to learn",
            where=f"corpus {view.corpus}, profile {view.profile}, split {view.split}",
            fix="take a larger profile, another tail or length of windows, or ingest the labels",
        )
    if view.window.missing == "nan":
        raise UsageError('the view leaves absent channels as NaN: take missing = "interpolate", or "zero"')
    return view.digest


def _reopen(folder: Path, config: TrainConfig, digest: str) -> r.Run:
    """Return a run to go on with. Another view or config would be another run."""
    run = r.open_run(folder)
    if run.view["digest"] != digest:
        raise UsageError(
            f"the view changed since the run began: it was {run.view['digest'][:12]}, it is {digest[:12]}",
            where=folder,
            fix="start a new run",
        )
    if run.config != config:
        ours, theirs = run.config.model_dump(), config.model_dump()
        changed = [name for name in ours if ours[name] != theirs[name]]
        raise UsageError(
            f"the config is not the run's: {', '.join(changed)}",
            where=folder,
            fix=f"brainbrr train --config {folder / 'config.toml'} --resume {folder}",
        )
    return run


def _restore(run: r.Run, model: Detector, optimiser: torch.optim.Optimizer) -> int:
    """Load the run's checkpoint, if it has one, and return the step to go on with."""
    if not run.checkpoint.exists():
        return 0
    tensors, metadata = r.read_tensors(run.checkpoint)
    ours = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    r.load_weights(model, ours, where=run.checkpoint)
    r.load_optimiser(model, optimiser, tensors, where=run.checkpoint)
    step = metadata.get("step")
    if type(step) is not int or step < 0:
        raise IntegrityError("the checkpoint does not say of which step it is", where=run.checkpoint)
    return step


def _step(
    model: Detector, optimiser: torch.optim.Optimizer, batch: Batch, step: int, config: TrainConfig, view: View
) -> dict[str, Any]:
    """Move the weights once, by plain cross-entropy over the samples that somebody labelled."""
    device = next(model.parameters()).device
    signal, label, valid = (t.to(device) for t in (batch.signal, batch.label, batch.valid))
    rate = learning_rate(step, config.train)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    losses = F.binary_cross_entropy_with_logits(model(signal), (label == 1).float(), reduction="none")
    loss = (losses * valid).sum() / valid.sum()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.train.clip_norm)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        paths = {view.recordings[i].path for i in view.index.locate(batch.index.cpu().numpy())[0]}
        raise BrainbrrError(
            f"the loss of step {step} is {loss.item()}, its gradient's norm {norm.item()}",
            where=", ".join(sorted(paths)),
            fix="look at these recordings with `brainbrr why`, or lower train.lr",
        )
    optimiser.step()
    return {"step": step, "loss": loss.item(), "lr": rate, "gradient_norm": norm.item()}


def learning_rate(step: int, config: OptimiserConfig) -> float:
    """Return the rate of a step: linear warm-up, then a cosine down to a tenth."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    part = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.lr * (0.55 + 0.45 * math.cos(math.pi * part))


def _groups(model: Detector, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices only: never norms and biases, nor the dynamics of the state space."""
    decay: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or name.rpartition(".")[2] in _NO_DECAY
        (rest if plain else decay).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def device_of(asked: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` means here. Raises DependencyError without the one asked for."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise DependencyError("train.device is cuda, and torch finds no such device", fix='set train.device = "auto"')
    return torch.device("cuda" if there and asked != "cpu" else "cpu")


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Hold Ctrl-C, and the SIGTERM of a scheduler, back until the step is whole; a second one stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def release() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hold(*_: object) -> None:
        asked.set()
        release()

    for number in before:
        signal.signal(number, hold)
    try:
        yield asked
    finally:
        release()
