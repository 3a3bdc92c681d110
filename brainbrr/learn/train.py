"""Train a detector from a view. Reads windows, writes one run's folder; never builds an object.

Resuming continues exactly: windows, augmentation, dropout and learning rate are functions of the step alone.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from brainbrr.core import files
from brainbrr.core.digest import sha256
from brainbrr.core.files import check_space
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, LeakError, Stopped, UsageError, ViewNotReadyError
from brainbrr.learn import loggers
from brainbrr.learn import runs as r
from brainbrr.learn.config import OptimiserConfig, TrainConfig, window_fields
from brainbrr.learn.distributed import World, device_of, interrupts, this_world
from brainbrr.learn.hard_negatives import HardNegatives
from brainbrr.learn.held_out import check_apart
from brainbrr.learn.model import Detector, n_parameters, require_shapes
from brainbrr.learn.runs import begin, reopen
from brainbrr.learn.scans import chosen
from brainbrr.learn.series import labelled
from brainbrr.learn.torch_loader import in_this_world, torch_loader
from brainbrr.learn.validation import Best, Validator, merit, people
from brainbrr.loading.augment import Augment
from brainbrr.loading.loader import Choices, Loader
from brainbrr.loading.windows import BACKGROUND, FULL, PARTIAL
from brainbrr.views.splits import Aliases
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
    """All that training changes: weights, the optimiser's moments, the weights' average, if any, and the best ones."""

    model: Detector
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor] | None
    best: Best = field(default_factory=Best)

    @property
    def last(self) -> dict[str, Tensor]:
        """The weights to use after the last step: the average where there is one."""
        return self.model.state_dict() if self.average is None else self.average

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds."""
        held = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        held |= {f"average.{name}": value for name, value in (self.average or {}).items()}
        held |= {f"best.{name}": value for name, value in self.best.weights.items()}
        return held | r.optimiser_tensors(self.model, self.optimiser)


@dataclass(frozen=True)
class Training:
    """A training under way: what learns, from which view, with which other processes, and where it is written."""

    run: r.Run
    view: View
    config: TrainConfig
    state: State
    world: World
    threads: int
    losses: deque[float]
    """Of the last steps: their mean is the run's loss."""
    validator: Validator | None
    hard_negatives: tuple[int, ...] = ()
    """Windows of the view."""
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it began in this process."""
        return time.monotonic() - self.began

    @property
    def reads_late(self) -> bool:
        """Whether a step's numbers are read after the next one has begun: on CUDA, which must not wait for the host."""
        return self.world.device.type == "cuda"

    def save(self, step: int) -> None:
        """Write the checkpoint of a step, and return once it is written."""
        if self.world.writes:
            r.write_tensors(self.run.checkpoint, self.state.tensors(), self._metadata(step))
        self.world.meet()

    @property
    def is_over(self) -> bool:
        """Whether validations have not improved for as long as the config waits."""
        patience = self.config.train.patience
        return bool(patience) and self.world.any(self.state.best.since >= patience)

    def validate(self, step: int) -> dict[str, Any]:
        """Score the weights after a step, keep them where they are the best; return the scores for metrics.jsonl."""
        if self.validator is None or not self.world.writes:
            return {}
        last = self.state.last
        scores = self.validator.score(self.state.model, last)
        self.state.best.offer(step, scores, last, self.config.train.best_by)
        return {f"dev_{name}": value for name, value in scores.items()}

    def finish(self, step: int) -> None:
        """Write the run's weights, where they are not written yet, and return once they are."""
        if self.world.writes and not self.run.model.exists():
            if self.validator is not None and self.state.best.weights:
                best = self.state.best
                files.replace(self.run.folder / r.VALIDATION, json.dumps(self._chosen(self.validator)).encode())
                r.write_tensors(self.run.best, best.weights, self._metadata(best.step))
            r.write_tensors(self.run.model, self.state.last, self._metadata(step))
        self.world.meet()

    def _chosen(self, validator: Validator) -> dict[str, Any]:
        """Return what validation.json says: on whom the best weights were chosen, and how they score on all of dev."""
        best = self.state.best
        everything = validator.score(self.state.model, best.weights, everything=True)
        return {
            "split": validator.view.split,
            "by": self.config.train.best_by,
            "patients": people(validator.view, validator.patients),
            "also": {
                "view_digest": validator.view.digest,
                "part": validator.described(validator.part),
                "best": {"step": best.step, **best.scores},
                "all": {**validator.described(labelled(validator.view)), **everything},
            },
        }

    def _metadata(self, step: int) -> dict[str, Any]:
        best = {"best": self.state.best.to_json()} if self.state.best.weights else {}
        return self.run.metadata(step, world=self.world.size, threads=self.threads) | best


def train(
    view: View,
    config: TrainConfig,
    *,
    runs: Path,
    name: str | None = None,
    resume: Path | None = None,
    init: Path | None = None,
    dev: View | None = None,
    progress: Progress | None = None,
) -> TrainReport:
    """Train on every window of a view that is ready, and return where the run is.

    The run's config.toml records profile, window and recipe of the view, whatever `config` has: `start.train` refuses
    a view that differs. `resume` is the folder of a run to continue from its last checkpoint, as if it had never
    stopped; `init` that of a finished run whose weights are the first ones; with both, the one that the run started
    from. `name` names the new run, below `runs`. A new run validates on `dev`, a view of other patients, and a resumed
    one on that which it began with, read from the store of `dev`; without it, the last weights are the run's result.
    Where torch.distributed is set up each process gives its own part of every batch, and rank 0 validates and writes.
    Raises ViewNotReadyError for a view without a digest; UsageError for one without seizures, when view, config or
    number of processes are not the run's, or the weights of `init` not for this view; IntegrityError when processes
    find different runs, views, configs or checkpoints; BrainbrrError when the loss is not a number, or another process
    has ended. Ctrl-C, SIGTERM and SIGUSR1 write a checkpoint and raise KeyboardInterrupt.
    """
    progress = progress or Silent()
    training, first = _set_up(view, config, runs=runs, name=name, resume=resume, init=init, dev=dev)
    if training.world.device.type == "cpu" and training.threads != torch.get_num_threads():
        progress.say(f"torch threads: {training.threads}, as when the run began; another number would give other bits")
    steps = _learn(training, first, progress)
    training.finish(steps)
    return TrainReport(
        run=training.run.folder,
        view_digest=str(training.view.digest),
        steps=steps,
        loss=fmean(training.losses or [math.nan]),
        metrics=_metrics(training, n_steps=steps - first),
        rank=training.world.rank,
    )


def _set_up(
    view: View,
    config: TrainConfig,
    *,
    runs: Path,
    name: str | None,
    resume: Path | None,
    init: Path | None,
    dev: View | None,
) -> tuple[Training, int]:
    """Make or reopen the run, together with the other processes; return the training and its first step."""
    digest = trainable(view)
    of_view = {"profile": view.profile, "window": window_fields(view.window), "recipe": view.recipe.name}
    config = TrainConfig.model_validate({**config.model_dump(), **of_view})
    loggers.need(config.train.log)
    device = device_of(config.train.device)
    scan = chosen(config.model.scan, device)  # before anything is written: it may not be installed
    if config.train.compile and scan == "triton":
        raise UsageError(
            "train.compile with the Triton scan is not shown to give right results",
            fix='train.compile = false, or model.scan = "torch"',
        )
    world = this_world(device)
    if resume is not None:
        _require_own_weights(resume, len(view.channels), config)
    state = _initial(len(view.channels), config, device)
    _check_room(resume or runs, state)
    mined = config.train.hard_negatives if resume is None else ""
    hard = HardNegatives.read(Path(mined)) if mined else None
    if hard is not None:
        hard.windows(view)  # before anything is written: there may be none
    identity = sha256(f"{resume is None} {digest} {config.to_toml()} {hard!r}".encode())
    if len(set(world.all(int(identity[:15], 16)))) > 1:
        raise IntegrityError(
            "the processes find different runs, views or configs",
            where=resume or (runs / name if name else runs),
            fix="the same command again, once every node shows the same files",
        )
    if resume is None:
        weights = state.model.state_dict()
        dev = dev if config.train.validate_every else None
        if dev is not None:
            _check_held_out(view, dev, init)
        run = begin(view, config, runs, name=name, init=init, dev=dev, hard=hard, weights=weights, world=world)
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
    losses = deque((row["loss"] for row in run.history() if row["step"] < first), maxlen=r.LOSS_OVER)
    frozen = run.dev if world.writes else None
    validator = None if frozen is None else Validator(View.from_json((dev or view).store, frozen), config)
    windows = HardNegatives.read(run.hard_negatives).windows(view) if config.train.hard_negatives else ()
    return Training(run, view, config, state, world, threads, losses, validator, windows), first


def _learn(training: Training, first: int, progress: Progress) -> int:
    """Take every step from the first on; write checkpoints, also where a signal stops the training.

    Return the number of steps that were taken in all.
    """
    view, config, world = training.view, training.config.train, training.world
    forward: Forward = torch.compile(training.state.model) if config.compile else training.state.model
    done, dev = first, ""
    if first:
        progress.say(f"resuming {training.run.folder.name} after step {first} of {config.steps}")
    progress.start("train", config.steps, "steps", done=first)
    try:
        with (
            interrupts() as interrupted,
            _reproducible(world.device, deterministic=config.deterministic, threads=training.threads),
            _log(training, first) as log,
            torch_loader(
                view.index, view.store, _choices(training, first), mode="auto", device=world.device
            ) as batches,
        ):

            def report(row: dict[str, Any]) -> None:
                log({**row, "seconds": round(training.seconds, 3)})
                training.losses.append(row["loss"])
                progress.advance(1, note=f"loss {row['loss']:.3f}{dev}")

            waiting: deque[_Taken] = deque()
            over = training.is_over
            while done < config.steps and not over:
                waiting.append(_step(training, forward, batches, done, stopping=interrupted.is_set()))
                done += 1
                due = bool(config.validate_every) and (done % config.validate_every == 0 or done == config.steps)
                saves = done % config.checkpoint_every == 0 or done == config.steps
                late = training.reads_late and not (due or saves)
                taken = [waiting.popleft() for _ in range(len(waiting) - late)]
                rows = [_row(training, batches, each) for each in taken]
                if due:
                    rows[-1] |= (scores := training.validate(done))
                    dev, over = _shown(scores) or dev, training.is_over
                for row in rows:
                    report(row)
                stop = any(each.stopping for each in taken) if late else world.any(interrupted.is_set())
                if stop:
                    for each in waiting:
                        report(_row(training, batches, each))
                if stop or saves:
                    training.save(done)
                if stop:
                    folder = training.run.folder
                    text = f"stopped after step {done}, checkpoint written; continue with "
                    progress.say(Fix(text, ("train", "--resume", folder)))
                    raise Stopped(text)
    finally:
        progress.stop()
    if done < config.steps:
        if done > first:
            training.save(done)
        progress.say(f"ended after step {done}: no better {config.best_by} in {config.patience} validations")
    return done


def _shown(scores: Mapping[str, Any]) -> str:
    """Return scores on dev for the progress line."""
    names = {"dev_event_f1": "F1", "dev_auroc": "AUROC", "dev_loss": "loss"}
    shown = [f"{name} {scores[key]:.3f}" for key, name in names.items() if scores.get(key) is not None]
    return f"; dev {', '.join(shown)}" if shown else ""


def _check_held_out(view: View, dev: View, init: Path | None) -> None:
    """Raise LeakError where the patients to validate on are among those that the weights learn from."""
    seen = [("training", view.to_json()), *(r.open_run(init).seen() if init else [])]
    for each in seen:
        check_apart([each, (f"split {dev.split}", dev.to_json())], Aliases())


def _metrics(training: Training, *, n_steps: int) -> dict[str, Any]:
    """Return how the training was computed, and how fast."""
    config, world, seconds = training.config, training.world, training.seconds
    per_step = config.train.batch * config.train.accumulate * world.size
    return {
        "parameters": n_parameters(training.state.model),
        "windows": len(training.view),
        "seconds": round(seconds, 1),
        "windows_per_second": round(n_steps * per_step / seconds, 1),
        "device": str(world.device),
        "processes": world.size,
        "precision": "bf16 autocast" if _autocasts(world.device, config.train) else "fp32",
        "deterministic": world.device.type == "cpu" or config.train.deterministic,
        "scan": chosen(config.model.scan, world.device),
        "synthetic": training.view.synthetic,
        "weights": training.run.which(),
        "validation": _validation(training),
    }


def _validation(training: Training) -> dict[str, Any] | None:
    """Return on whom the weights were validated, their scores, and the share of the time that it took."""
    validator = training.validator
    if validator is None or (chose := training.run.chose()) is None:
        return None
    share = round(validator.seconds / training.seconds, 4)
    return {**chose["also"], "split": chose["split"], "by": chose["by"], "share_of_time": share}


def trainable(view: View) -> str:
    """Return the digest of a view to learn from. Raises where it is not ready, has one class, a leak, or NaN."""
    if view.state != "ready" or view.digest is None:
        raise ViewNotReadyError(f"the view is {view.state}: training never builds", fix="ingest the corpus first")
    classes, where = set(np.unique(view.classes()).tolist()), f"corpus {view.corpus}, profile {view.profile}"
    if not classes & {PARTIAL, FULL}:
        raise UsageError(
            f"none of the {len(view)} windows of the view has a seizure: there is nothing to learn",
            where=f"{where}, split {view.split}",
            fix="take a larger profile, another tail or length of windows, or ingest the labels",
        )
    if not classes & {PARTIAL, BACKGROUND}:
        raise UsageError(
            f"all of the {len(view)} windows of the view are full of a seizure: there is nothing to tell it from",
            where=f"{where}, split {view.split}",
            fix="take more recordings, or longer windows",
        )
    splits: dict[str, str] = {}
    for each in view.recordings:
        if splits.setdefault(each.patient, each.split) != each.split:
            raise LeakError(
                f"patient {each.patient} is in the splits {splits[each.patient]} and {each.split} of the view",
                where=where,
                fix=Fix(("check", "--require", "no-leaks"), " lists such patients; train on one split"),
            )
    if view.window.missing == "nan":
        raise UsageError('the view leaves absent channels as NaN: take missing = "interpolate", or "zero"')
    return view.digest


def _require_own_weights(folder: Path, n_channels: int, config: TrainConfig) -> None:
    """Raise IntegrityError where the checkpoint to continue from is another model's, before any model is made."""
    run = r.open_run(folder)
    path = run.checkpoint
    if run.config.model == config.model and path.exists():  # another config is refused as that
        shapes = {name.removeprefix("model."): shape for name, shape in r.shapes(path).items() if name[:6] == "model."}
        require_shapes(n_channels, config.model, shapes, where=path)


_COPIES = 12
"""Times a model's bytes that a run takes: a checkpoint (weights, two moments, average, best) twice, best and last."""
_SMALL_BYTES, _N_FILES = 1 << 20, 32


def _check_room(place: Path, state: State) -> None:
    """Raise SpaceError unless a run fits on the disk: its checkpoint while it is replaced, and its result.

    Raises UsageError where the folder may not be written, as that beside a store that is only read.
    """
    n_bytes = sum(each.numel() * each.element_size() for each in state.model.state_dict().values())
    folder = next(each for each in (place.absolute(), *place.absolute().parents) if each.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError("runs cannot be written here", where=folder, fix="give a folder of your own: --runs DIR")
    check_space(folder, n_bytes=_COPIES * n_bytes + _SMALL_BYTES, n_inodes=_N_FILES)


def _initial(n_channels: int, config: TrainConfig, device: torch.device) -> State:
    """Return the state before the first step: a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Detector(n_channels, config.model).to(device)
    fused = device.type == "cuda"  # one kernel for all parameters; on a CPU it would give other last bits
    optimiser = torch.optim.AdamW(_groups(model, config.train.weight_decay), lr=config.train.lr, fused=fused)
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
    """Load the run's checkpoint, or the weights it started from; return the next step, and the number of threads.

    The number of threads decides the order of additions on a CPU: another one would give other last bits.
    """
    if not run.checkpoint.exists():
        if run.before:
            if not run.init.exists():
                raise IntegrityError("the weights that the run started from are missing", where=run.init)
            r.load_weights(state.model, r.read_tensors(run.init)[0], where=run.init)
            _take(state.average, state.model.state_dict(), where=run.init)
        return 0, torch.get_num_threads()
    tensors, metadata = r.read_tensors(run.checkpoint)
    r.load_weights(state.model, _part(tensors, "model."), where=run.checkpoint)
    _take(state.average, _part(tensors, "average."), where=run.checkpoint)
    r.load_optimiser(state.model, state.optimiser, tensors, where=run.checkpoint)
    _restore_best(state.best, _part(tensors, "best."), metadata.get("best"), where=run.checkpoint)
    step, threads = metadata.get("step"), metadata.get("threads", torch.get_num_threads())
    if type(step) is not int or step < 0 or type(threads) is not int or not 0 < threads <= _MOST_THREADS:
        raise IntegrityError("the checkpoint does not state its step and its number of threads", where=run.checkpoint)
    if (before := metadata.get("world", 1)) != world.size:
        raise UsageError(
            f"the run was on {before} processes, this is on {world.size}: its batches would be others",
            where=run.folder,
            fix=f"torchrun --nproc-per-node {before}, or start a new run",
        )
    return step, threads


def _restore_best(best: Best, weights: dict[str, Tensor], said: Any, *, where: Path) -> None:
    """Restore the best weights so far, and how they scored."""
    if not weights:
        return
    try:
        best.step, best.scores, best.since = int(said["step"]), dict(said["scores"]), int(said["since"])
        merit(best.scores, "event_f1")
    except (TypeError, ValueError, KeyError) as error:
        raise IntegrityError("the checkpoint does not state how its best weights scored", where=where) from error
    best.weights = weights


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _take(average: dict[str, Tensor] | None, values: Mapping[str, Tensor], *, where: Path) -> None:
    """Copy values into the average, where there is one."""
    if average is None:
        return
    if {name: value.shape for name, value in values.items()} != {name: old.shape for name, old in average.items()}:
        raise IntegrityError("the weights' average is another model's", where=where)
    for name, old in average.items():
        old.copy_(values[name])


def _choices(training: Training, step: int) -> Choices:
    """Return what the loader gives this process, from a step on."""
    config = training.config
    choices = Choices(
        batch=config.train.batch,
        sampling=config.train.sampling(config.seed, training.hard_negatives),
        augment=Augment(**config.augment.model_dump()),
        start_step=step * config.train.accumulate,
        threads=config.train.loader_threads,
    )
    return in_this_world(choices)


@contextmanager
def _reproducible(device: torch.device, *, deterministic: bool, threads: int) -> Iterator[None]:
    """Compute by this number of threads; with `deterministic`, refuse kernels that add in any order.

    Restores the caller's random numbers and threads.
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
def _log(training: Training, step: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that records a step: in metrics.jsonl, and in the loggers that the config names."""
    run = training.run
    if not training.world.writes:
        yield lambda _: None
        return
    run.rewind(step)
    with (
        run.metrics.open("a", encoding="utf-8", buffering=1) as file,
        loggers.opened(training.config.train.log, run, step) as show,
    ):

        def log(row: dict[str, Any]) -> None:
            file.write(json.dumps(row) + "\n")
            show(row)

        yield log


class _Taken:
    """A step that was taken: its loss, its gradient's norm and how many processes were to stop, read when asked for.

    On CUDA the three are on their way to the host until then; to read them at once would hold back the next step.
    """

    def __init__(self, step: int, rate: float, numbers: Tensor) -> None:
        self.step, self.rate, self._copied = step, rate, None
        self._numbers = numbers
        if numbers.is_cuda:
            self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._copied = torch.cuda.current_stream(numbers.device).record_event()

    @property
    def numbers(self) -> list[float]:
        """Loss, norm, number of processes."""
        if self._copied is not None:
            self._copied.synchronize()
        return [float(each) for each in self._numbers.tolist()]

    @property
    def stopping(self) -> bool:
        """Whether a process had received a signal before this step."""
        return self.numbers[2] > 0


def _step(training: Training, forward: Forward, batches: Loader, step: int, *, stopping: bool) -> _Taken:
    """Move the weights once, by the mean loss over all labelled samples of the step."""
    state, config, world = training.state, training.config, training.world
    # of the loss, of the share of samples that are labelled, and of the processes that are to stop
    sums = torch.tensor([0.0, 0.0, float(stopping)]).to(world.device, non_blocking=True)
    torch.manual_seed(_seed(config.seed, step, world.rank))  # for dropout
    state.optimiser.zero_grad(set_to_none=True)
    for _ in range(config.train.accumulate):
        batch = next(batches)
        signal, label, valid = (t.to(world.device) for t in (batch.signal, batch.label, batch.valid))
        with torch.autocast(world.device.type, torch.bfloat16, enabled=_autocasts(world.device, config.train)):
            logits = forward(signal)
        part = (loss_of(logits.float(), (label == 1).float(), config.train) * valid).mean()
        part.backward()
        sums[:2] += torch.stack([part.detach(), valid.float().mean()])
    gradients = [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
    world.add([*gradients, sums])
    torch._foreach_div_(gradients, sums[1])
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.train.clip_norm)
    rate = learning_rate(step, config.train)
    taken = _Taken(step, rate, torch.stack([sums[0] / sums[1], norm, sums[2]]))
    if not training.reads_late:
        _row(training, batches, taken)  # weights that are no numbers are never stored
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.step()
    _follow(state, step, config.train.ema)
    return taken


def _row(training: Training, batches: Loader, taken: _Taken) -> dict[str, Any]:
    """Return a step's row of metrics.jsonl. Raises BrainbrrError, naming its recordings, where it diverged."""
    loss, norm, _ = taken.numbers
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"the loss of step {taken.step} is {loss}, its gradient's norm {norm}"
        raise _diverged(training, batches, taken.step, what)
    return {"step": taken.step, "loss": loss, "lr": taken.rate, "gradient_norm": norm}


def _diverged(training: Training, batches: Loader, step: int, what: str) -> BrainbrrError:
    """Return the error that names the recordings of a step."""
    size = training.config.train.accumulate * training.world.size * training.config.train.batch
    recordings, _ = training.view.index.locate(batches.order.take(step * size, size))
    return BrainbrrError(
        what,
        where=", ".join(sorted({training.view.recordings[i].path for i in recordings})),
        fix=Fix("look at these recordings with ", ("why", "RECORDING"), ", or lower train.lr"),
    )


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
    """Move the average towards the weights: faster in the first steps, whose weights are far from the result."""
    if state.average is None:
        return
    kept = min(decay, (1 + step) / (10 + step))
    weights = state.model.state_dict()
    floats = [name for name, value in weights.items() if value.is_floating_point()]
    torch._foreach_lerp_([state.average[name] for name in floats], [weights[name] for name in floats], 1 - kept)
    for name in weights.keys() - set(floats):
        state.average[name].copy_(weights[name])
