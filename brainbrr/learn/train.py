"""Train a detector from a view. Reads windows, writes one run's folder; never builds an object.

Resuming continues exactly: windows, augmentation, dropout and learning rate are functions of the step alone.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from brainbrr.core.digest import sha256
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import BrainbrrError, DependencyError, Fix, IntegrityError, UsageError, ViewNotReadyError
from brainbrr.learn import loggers
from brainbrr.learn import runs as r
from brainbrr.learn.config import OptimiserConfig, TrainConfig, window_fields
from brainbrr.learn.distributed import World, interrupts, this_world
from brainbrr.learn.model import Detector, n_parameters
from brainbrr.learn.runs import begin, reopen
from brainbrr.learn.scans import chosen
from brainbrr.learn.torch_loader import in_this_world, torch_loader
from brainbrr.loading.augment import Augment
from brainbrr.loading.loader import Choices, Loader
from brainbrr.loading.windows import FULL, PARTIAL
from brainbrr.views.view import View

_NO_DECAY = ("A_log", "dt_bias", "D")
_MOST_THREADS = 4096
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TrainReport:
    """One finished training. `loss` is the mean over the last 50 steps; `rank` is this process's, no JSON field."""

    run: Path
    view_digest: str
    steps: int
    loss: float
    metrics: dict[str, Any]
    rank: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {name: value for name, value in vars(self).items() if name != "rank"} | {"run": str(self.run)}


@dataclass(frozen=True)
class State:
    """All that moves: weights, the optimiser's moments, and the weights' average where one is kept."""

    model: Detector
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor] | None

    @property
    def result(self) -> dict[str, Tensor]:
        """The weights that the run is for."""
        return self.model.state_dict() if self.average is None else self.average

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds."""
        held = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        held |= {f"average.{name}": value for name, value in (self.average or {}).items()}
        return held | r.optimiser_tensors(self.model, self.optimiser)


def train(
    view: View,
    config: TrainConfig,
    *,
    runs: Path,
    name: str | None = None,
    resume: Path | None = None,
    init: Path | None = None,
    progress: Progress | None = None,
) -> TrainReport:
    """Train on every window of a view that is ready, and return where the run is.

    The view's own profile and window are what the run's config.toml records, whatever `config` would have chosen.
    `resume` is the folder of a run to go on with, from its last checkpoint, as if it had never stopped; `init` that of
    a finished run whose weights are the first ones; with both, the one that the run started from. `name`: the new
    run's, below `runs`. Where torch.distributed has been set up each process gives its own part of every batch, and
    rank 0 writes.
    Raises ViewNotReadyError for a view without a digest; UsageError for one without seizures, when view, config or
    number of processes are not the run's, or the weights of `init` not for this view; IntegrityError when processes
    find different runs, views, configs or checkpoints; BrainbrrError when the loss is no number, or a process is gone.
    Ctrl-C, SIGTERM and SIGUSR1 write a checkpoint and raise KeyboardInterrupt.
    """
    progress = progress or Silent()
    digest = trainable(view)
    of_view = {"profile": view.profile, "window": window_fields(view.window), "recipe": view.recipe.name}
    config = TrainConfig.model_validate({**config.model_dump(), **of_view})
    loggers.need(config.train.log)
    device = device_of(config.train.device)
    scan = chosen(config.model.scan, device)
    world = this_world(device)
    state = _initial(len(view.channels), config, device)
    asked = sha256(f"{resume is None} {digest} {config.to_toml()}".encode())
    if len(set(world.all(int(asked[:15], 16)))) > 1:
        raise IntegrityError(
            "the processes find different runs, views or configs",
            where=resume or (runs / name if name else runs),
            fix="the same command again, once every node shows the same files",
        )
    if resume is None:
        weights = state.model.state_dict()
        run = begin(view, config, runs, name=name, init=init, weights=weights, world=world)
    else:
        run = reopen(resume, config, digest, init=init)
    view = View.from_json(view.store, run.view)  # in the run's own order: the digest does not cover that
    first, threads = _restore(run, state, world)
    if len(set(steps := world.all(first))) > 1:
        raise IntegrityError(
            f"the processes find the checkpoints of different steps: {', '.join(map(str, steps))} by rank",
            where=run.checkpoint,
            fix="the same command again, once every node shows the same file",
        )
    step = first
    if device.type == "cpu" and threads != torch.get_num_threads():
        progress.say(f"torch threads: {threads}, as the run began; another number would give other bits")
    recent = deque((row["loss"] for row in run.history() if row["step"] < step), maxlen=r.LOSS_OVER)
    forward: Forward = torch.compile(state.model) if config.train.compile else state.model

    began = time.monotonic()
    progress.start("train", config.train.steps - step, "steps")
    try:
        with (
            interrupts() as interrupted,
            _reproducible(device, deterministic=config.train.deterministic, threads=threads),
            _log(run, config, step, world) as log,
            torch_loader(view.index, view.store, _choices(config, step), mode="auto", device=device) as batches,
        ):
            while step < config.train.steps:
                row = _step(forward, state, batches, step, config, world, view)
                log({**row, "seconds": round(time.monotonic() - began, 3)})
                recent.append(row["loss"])
                step += 1
                progress.advance(1, note=f"loss {row['loss']:.3f}")
                stop = world.any(interrupted.is_set())
                if stop or step % config.train.checkpoint_every == 0 or step == config.train.steps:
                    if world.writes:
                        told = run.metadata(step, world=world.size, threads=threads)
                        r.write_tensors(run.checkpoint, state.tensors(), told)
                    world.meet()
                if stop:
                    progress.say(Fix(f"stopped after step {step}; continue with ", ("train", "--resume", run.folder)))
                    raise KeyboardInterrupt
    finally:
        progress.stop()
    if world.writes and not run.model.exists():
        r.write_tensors(run.model, state.result, run.metadata(step, world=world.size, threads=threads))
    world.meet()
    seconds = time.monotonic() - began
    per_step = config.train.batch * config.train.accumulate * world.size
    return TrainReport(
        run=run.folder,
        view_digest=digest,
        steps=step,
        loss=fmean(recent or [math.nan]),
        metrics={
            "parameters": n_parameters(state.model),
            "windows": len(view),
            "seconds": round(seconds, 1),
            "windows_per_second": round((step - first) * per_step / seconds, 1),
            "device": str(device),
            "processes": world.size,
            "precision": "bf16 autocast" if _autocasts(device, config.train) else "fp32",
            "deterministic": device.type == "cpu" or config.train.deterministic,
            "scan": scan,
            "synthetic": view.synthetic,
        },
        rank=world.rank,
    )


def trainable(view: View) -> str:
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


def device_of(asked: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` means here. Raises DependencyError without the one asked for."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise DependencyError("train.device is cuda, and torch finds no such device", fix='set train.device = "auto"')
    if there and asked != "cpu":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _initial(n_channels: int, config: TrainConfig, device: torch.device) -> State:
    """Return the state before the first step: a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Detector(n_channels, config.model).to(device)
    optimiser = torch.optim.AdamW(_groups(model, config.train.weight_decay), lr=config.train.lr)
    average = {name: value.clone() for name, value in model.state_dict().items()} if config.train.ema else None
    return State(model, optimiser, average)


def _groups(model: Detector, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices only: never norms and biases, nor the dynamics of the state space."""
    decay: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or name.rpartition(".")[2] in _NO_DECAY
        (rest if plain else decay).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _restore(run: r.Run, state: State, world: World) -> tuple[int, int]:
    """Load the run's checkpoint, or what it started from; return the step to go on with, and by how many threads.

    The number of threads is the order of additions on a CPU: another one would give other last bits.
    """
    if not run.checkpoint.exists():
        if run.before:
            if not run.init.exists():
                raise IntegrityError("the weights that the run started from are gone", where=run.init)
            r.load_weights(state.model, r.read_tensors(run.init)[0], where=run.init)
            _take(state.average, state.model.state_dict(), where=run.init)
        return 0, torch.get_num_threads()
    tensors, metadata = r.read_tensors(run.checkpoint)
    r.load_weights(state.model, _part(tensors, "model."), where=run.checkpoint)
    _take(state.average, _part(tensors, "average."), where=run.checkpoint)
    r.load_optimiser(state.model, state.optimiser, tensors, where=run.checkpoint)
    step, threads = metadata.get("step"), metadata.get("threads", torch.get_num_threads())
    if type(step) is not int or step < 0 or type(threads) is not int or not 0 < threads <= _MOST_THREADS:
        raise IntegrityError(
            "the checkpoint does not say of which step it is, by how many threads", where=run.checkpoint
        )
    if (before := metadata.get("world", 1)) != world.size:
        raise UsageError(
            f"the run was on {before} processes, this is on {world.size}: its batches would be others",
            where=run.folder,
            fix=f"torchrun --nproc-per-node {before}, or start a new run",
        )
    return step, threads


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _take(average: dict[str, Tensor] | None, values: Mapping[str, Tensor], *, where: Path) -> None:
    """Put values into the average, where one is kept."""
    if average is None:
        return
    if {name: value.shape for name, value in values.items()} != {name: old.shape for name, old in average.items()}:
        raise IntegrityError("the weights' average is another model's", where=where)
    for name, old in average.items():
        old.copy_(values[name])


def _choices(config: TrainConfig, step: int) -> Choices:
    """Return what the loader is to give this process, from a step on."""
    choices = Choices(
        batch=config.train.batch,
        sampling=config.train.sampling(config.seed),
        augment=Augment(**config.augment.model_dump()),
        start_step=step * config.train.accumulate,
        threads=config.train.loader_threads,
    )
    return in_this_world(choices)


@contextmanager
def _reproducible(device: torch.device, *, deterministic: bool, threads: int) -> Iterator[None]:
    """Compute by so many threads; with `deterministic`, refuse kernels that add in any order.

    Leaves the caller's random numbers and threads alone.
    """
    before, threads_before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.set_num_threads(threads)
    if deterministic:
        torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        if deterministic:
            torch.use_deterministic_algorithms(before)
        torch.set_num_threads(threads_before)


@contextmanager
def _log(run: r.Run, config: TrainConfig, step: int, world: World) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that keeps what a step said: in metrics.jsonl, and where else the config asks."""
    if not world.writes:
        yield lambda _: None
        return
    run.rewind(step)
    with (
        run.metrics.open("a", encoding="utf-8", buffering=1) as file,
        loggers.opened(config.train.log, run, step) as show,
    ):

        def log(row: dict[str, Any]) -> None:
            file.write(json.dumps(row) + "\n")
            show(row)

        yield log


def _step(
    forward: Forward, state: State, batches: Loader, step: int, config: TrainConfig, world: World, view: View
) -> dict[str, Any]:
    """Move the weights once, by the mean loss over all samples of the step that somebody labelled."""
    told = torch.zeros(2, device=world.device)  # loss, and the share of samples that somebody labelled
    torch.manual_seed(_seed(config.seed, step, world.rank))  # for dropout
    state.optimiser.zero_grad(set_to_none=True)
    for _ in range(config.train.accumulate):
        batch = next(batches)
        signal, label, valid = (t.to(world.device) for t in (batch.signal, batch.label, batch.valid))
        with torch.autocast(world.device.type, torch.bfloat16, enabled=_autocasts(world.device, config.train)):
            logits = forward(signal)
        part = (loss_of(logits.float(), (label == 1).float(), config.train) * valid).mean()
        part.backward()
        told += torch.stack([part.detach(), valid.float().mean()])
    gradients = [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
    world.add([*gradients, told])
    for gradient in gradients:
        gradient /= told[1]
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.train.clip_norm)
    loss, norm = torch.stack([told[0] / told[1], norm]).tolist()
    if not (math.isfinite(loss) and math.isfinite(norm)):
        size = config.train.accumulate * world.size * config.train.batch
        windows = batches.order.take(step * size, size)
        raise BrainbrrError(
            f"the loss of step {step} is {loss}, its gradient's norm {norm}",
            where=", ".join(sorted({view.recordings[i].path for i in view.index.locate(windows)[0]})),
            fix=Fix("look at these recordings with ", ("why", "RECORDING"), ", or lower train.lr"),
        )
    rate = learning_rate(step, config.train)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.step()
    _follow(state, step, config.train.ema)
    return {"step": step, "loss": loss, "lr": rate, "gradient_norm": norm}


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])


def _autocasts(device: torch.device, config: OptimiserConfig) -> bool:
    """Say whether layers compute in bfloat16: its range is fp32's, so no loss needs scaling; a CPU is slower for it."""
    return device.type == "cuda" and config.bf16


def loss_of(logits: Tensor, target: Tensor, config: OptimiserConfig) -> Tensor:
    """Return the loss of each sample, same shape: cross-entropy, or focal (Lin et al. 2017) without its alpha."""
    weight = None if config.pos_weight == 1 else torch.full((), config.pos_weight, device=logits.device)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=weight)
    return losses * (1 - torch.exp(-losses)) ** config.focal_gamma if config.loss == "focal" else losses


def learning_rate(step: int, config: OptimiserConfig) -> float:
    """Return the rate of a step: linear warm-up, then a cosine down to a tenth."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    part = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.lr * (0.55 + 0.45 * math.cos(math.pi * part))


def _follow(state: State, step: int, decay: float) -> None:
    """Move the average towards the weights: faster in the first steps, whose weights are not worth keeping."""
    if state.average is None:
        return
    kept = min(decay, (1 + step) / (10 + step))
    for name, value in state.model.state_dict().items():
        if value.is_floating_point():
            state.average[name].lerp_(value, 1 - kept)
        else:
            state.average[name].copy_(value)
