"""The probabilities of one recording: the mean over all windows that hold a sample, in steps of a quarter second.

`evaluate` reads windows from a store, `predict` from a stream of blocks. Holds a few windows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from brainbrr.core import files
from brainbrr.core.arrays import Float32
from brainbrr.core.progress import Progress
from brainbrr.eeg.signal.preprocess import Preprocessed
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import IntegrityError
from brainbrr.learn import runs as r
from brainbrr.learn.distributed import device_of
from brainbrr.learn.model import Detector, require_shapes
from brainbrr.learn.series import per_step, silenced, step_samples
from brainbrr.learn.thresholds import THRESHOLDS, Thresholds
from brainbrr.loading.build_index import rows_of
from brainbrr.loading.streaming import StreamedWindows, numbers_of
from brainbrr.loading.windows import Grid, WindowSpec
from brainbrr.scoring.calibration import NO_CALIBRATION, Calibration
from brainbrr.scoring.events import EventRule, Events, Scored, events_of
from brainbrr.scoring.files import bids_tsv, csv_bi

BATCH = 16
"""Windows that are computed together: the last bits of a probability may depend on it."""


Read = Callable[[int, Float32], None]
"""Fills a window, float32 (rows, length), from a sample of the recording on; zeros past its end."""


@dataclass(frozen=True)
class Predictor:
    """A run's detector, and all that it needs to read an EDF as it read its training."""

    model: Detector
    recipe: Recipe
    window: WindowSpec
    rule: EventRule
    threshold: float
    threshold_from: str
    weights: str = ""
    calibration: Calibration = NO_CALIBRATION

    @classmethod
    def of(cls, run: r.Run, recipe: Recipe, which: r.Which = "best") -> Predictor:
        """Return a finished run's, with the thresholds that were tuned for it, or else its config's.

        `recipe` is the run's. Raises as `load_detector` and `Thresholds.read`.
        """
        window, rule = WindowSpec.model_validate(run.view["window"]), run.config.evaluate
        model = load_detector(run, len(rows_of(recipe.channels, (), window)[0]), which).to(device_for(run))
        threshold, chosen, calibration = rule.threshold, "config.toml: none was tuned", NO_CALIBRATION
        if (kept := run.folder / THRESHOLDS).exists():
            tuned = Thresholds.read(kept, rule)
            threshold, chosen, rule = tuned.detector, tuned.chosen, tuned.event_rule(rule)
            calibration = tuned.calibration or calibration
        return cls(model, recipe, window, rule, threshold, chosen, run.which(which), calibration)

    @property
    def shape(self) -> tuple[int, int]:
        """A window's rows and length."""
        rows, _ = rows_of(self.recipe.channels, (), self.window)
        return len(rows), self.window.samples("length_s", self.recipe.rate_hz)

    def scored(self, name: str, made: Preprocessed, progress: Progress) -> Scored:
        """Return the probabilities of one recording: bit for bit those that `evaluate` computes from a store.

        Raises MontageError where the window needs an absent channel that cannot be interpolated.
        """
        rate_hz, n_samples = self.recipe.rate_hz, made.n_samples
        rows = numbers_of(self.recipe, self.window, absent=made.absent, k=made.k, statistics=made.statistics)
        stride = self.window.samples("stride_s", rate_hz)
        starts = windows_of(n_samples, length=self.shape[1], stride=stride)
        progress.start(f"predict {name}", len(starts), "windows")
        score = overlap_add(
            self.model,
            StreamedWindows(made.blocks(), rows, made.gaps).read,
            starts,
            n_samples,
            shape=self.shape,
            rate_hz=rate_hz,
            advance=progress.advance,
        )
        gaps_us = [(a * 1_000_000 // rate_hz, b * 1_000_000 // rate_hz) for a, b in made.gaps]
        return Scored(
            path=name,
            patient=Path(name).name.partition("_")[0],
            score=silenced(score, gaps_us, rate_hz=rate_hz),
            step_s=step_samples(rate_hz) / rate_hz,
            duration_s=n_samples / rate_hz,
            seizures=[],
            unknown=[(start / 1e6, stop / 1e6) for start, stop in gaps_us],
        )

    def confident(self, scored: Scored) -> Scored:
        """Return a recording with calibrated probabilities, for the confidence of its events."""
        return replace(scored, score=self.calibration.apply(scored.score))

    def events(self, scored: Scored) -> Events:
        """Return a recording's seizures by the threshold and the rule of the run."""
        return events_of(scored, self.threshold, self.rule)


def load_detector(run: r.Run, n_channels: int, which: r.Which = "best") -> Detector:
    """Return a finished run's detector for windows of so many rows, with its best or its last weights.

    Raises UsageError for a run that has not finished, IntegrityError for weights that are not its own.
    """
    tensors, path = run.weights(which), run.result(which)
    config = run.config.model
    if config.scan == "triton":  # the training demanded it; here any scan will do
        config = config.model_copy(update={"scan": "auto"})
    require_shapes(n_channels, config, {name: each.shape for name, each in tensors.items()}, where=path)
    model = Detector(n_channels, config)
    r.load_weights(model, tensors, where=path)
    return model


def device_for(run: r.Run) -> torch.device:
    """Return the device for a run's detector: CUDA where available, unless the run's config demands the CPU.

    A training with `device = "cuda"` must not run on a CPU, but its weights may.
    """
    return device_of("cpu" if run.config.train.device == "cpu" else "auto")


def judge(model: Detector, signal: Float32) -> Float32:
    """Return the probability of a seizure at each sample: float32 (windows, length) from (windows, rows, length).

    Raises IntegrityError where it is not a number: no seizure would ever be found.
    """
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        found: Float32 = torch.sigmoid(model(torch.from_numpy(signal).to(device))).cpu().numpy()
    if np.isnan(found).any():
        raise IntegrityError("the detector's weights give probabilities that are no numbers", fix="train again")
    return found


def windows_of(n_samples: int, *, length: int, stride: int) -> list[int]:
    """Return the first sample of each window to compute: together they cover the recording; the last one is shifted."""
    starts: list[int] = Grid(length, min(stride, length), "shift").starts_of(n_samples).tolist()
    return starts


def overlap_add(
    model: Detector,
    read: Read,
    starts: list[int],
    n_samples: int,
    *,
    shape: tuple[int, int],
    rate_hz: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Float32:
    """Return the probability of one recording, (steps,): the mean over all windows that hold a sample.

    `starts` are those of `windows_of`, read once each, in order; `shape` is a window's (rows, length). Padding is left
    out. `advance` is called with the number of windows done.
    """
    _, length = shape
    signal = np.empty((min(BATCH, len(starts)), *shape), dtype=np.float32)
    mean = _Mean(step_samples(rate_hz))
    for first in range(0, len(starts), BATCH):
        some = starts[first : first + BATCH]
        for row, start in enumerate(some):
            read(start, signal[row])
        for start, window in zip(some, judge(model, signal[: len(some)]), strict=True):
            mean.add(start, window[: min(length, n_samples - start)])
        advance(len(some))
    return mean.finish()


class _Mean:
    """The mean of windows that come in order; samples that no later window can hold are kept as steps only."""

    def __init__(self, step: int) -> None:
        self._step, self._first = step, 0
        self._total, self._n_windows = np.zeros(0), np.zeros(0, dtype=np.int32)
        self._steps: list[Float32] = []

    def add(self, start: int, window: Float32) -> None:
        self._keep((start - self._first) // self._step * self._step)
        stop = start - self._first + len(window)
        more = max(stop - len(self._total), 0)
        self._total, self._n_windows = np.pad(self._total, (0, more)), np.pad(self._n_windows, (0, more))
        self._total[start - self._first : stop] += window
        self._n_windows[start - self._first : stop] += 1

    def finish(self) -> Float32:
        self._keep(len(self._total))
        return np.concatenate(self._steps)

    def _keep(self, n: int) -> None:
        """Make steps of the first n samples, and drop them."""
        if n:
            self._steps.append(per_step(self._total[:n] / self._n_windows[:n], self._step))
            self._first += n
            self._total, self._n_windows = self._total[n:], self._n_windows[n:]


def write_probabilities(file: Path, scored: Sequence[Scored]) -> None:
    """Write the probabilities of recordings under their names, as safetensors whose metadata has `step_s`."""
    names = (recording.path.encode(errors="backslashreplace").decode() for recording in scored)  # not all are UTF-8
    series = {name: torch.from_numpy(recording.score) for name, recording in zip(names, scored, strict=True)}
    r.write_tensors(file, series, {"step_s": scored[0].step_s})


def event_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """Return where the events of a recording go below a folder: TUSZ's file, SzCORE's table."""
    file = folder / name
    return file.with_suffix(".csv_bi"), file.with_name(f"{file.stem.removesuffix('_eeg')}_events.tsv")


def write_events(folder: Path, recording: Scored, events: Events) -> list[Path]:
    """Write a recording's events below a folder, in TUSZ's and in SzCORE's format; return the two files.

    Raises IntegrityError for a name that leads out of the folder.
    """
    binary, table = event_paths(folder, recording.path)
    if not binary.resolve().is_relative_to(folder.resolve()):
        raise IntegrityError(f"the view names a recording outside its corpus: {recording.path}")
    binary.parent.mkdir(parents=True, exist_ok=True)
    files.replace(binary, csv_bi(recording, events).encode())
    files.replace(table, bids_tsv(recording, events).encode())
    return [binary, table]
