"""A streaming detector: probabilities of a recording that is still arriving, from the samples received so far alone.

A probability never changes once it is given, and depends on no sample after the time at which it was available.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from brainbrr.core.statistics import Statistics
from brainbrr.eeg.signal.streaming import Live
from brainbrr.errors import UsageError
from brainbrr.learn.predict import Predictor, judge
from brainbrr.learn.series import per_step, step_samples
from brainbrr.loading.streaming import fill, numbers_of


class Step(NamedTuple):
    """The probability of a seizure in the step from `time_s` on, and when it was available, in seconds of recording."""

    time_s: float
    available_at_s: float
    probability: float


class Online:
    """The steps of one stream, in order, each once.

    Once a window has arrived, and every `every_s` seconds from then on, the detector computes the last window, and
    gives the steps that end at least `wait_s` before its end: many at once after the first window, the warm-up.
    Normalisation is of the window's own kind, by the exact statistics of all samples so far.
    Raises UsageError for seconds that are not a multiple of a step, or that do not fit into a window.
    """

    def __init__(self, predictor: Predictor, live: Live, *, every_s: Fraction, wait_s: Fraction) -> None:
        self._predictor, self._live, self._rate_hz = predictor, live, predictor.recipe.rate_hz
        self._rows, self._length = predictor.shape
        self._step = step_samples(self._rate_hz)
        self._every, self._wait = (self._samples(seconds) for seconds in (every_s, wait_s))
        if not 0 < self._every <= self._length - self._wait:
            raise UsageError(
                f"a step every {float(every_s):g} s, {float(wait_s):g} s late, does not fit into the run's window of "
                f"{self._length / self._rate_hz:g} s"
            )
        rest_s = Fraction(self._length % self._step, self._rate_hz)
        self.latency_s = float(every_s + wait_s + rest_s + live.delay_s)
        """From the beginning of a step to when it is given, at most, after the warm-up."""
        self.warm_up_s = float(Fraction(self._length, self._rate_hz) + live.delay_s)
        """When the first steps are given, at most."""

    def _samples(self, seconds: Fraction) -> int:
        steps = seconds * self._rate_hz / self._step
        if steps.denominator != 1 or steps < 0:
            raise UsageError(f"{float(seconds):g} s: give a multiple of {self._step / self._rate_hz:g} s")
        return int(steps) * self._step

    def __iter__(self) -> Iterator[Step]:
        """Yield steps as soon as they are available. Raises EdfError for a stream that is cut off."""
        predictor, live, n_channels = self._predictor, self._live, len(self._predictor.recipe.channels)
        statistics = Statistics(n_channels, live.present)
        buffer = np.empty((n_channels, 0), dtype=np.int16)
        signal = np.empty((1, self._rows, self._length), dtype=np.float32)
        end, done = 0, 0
        for block, arrived_s in live.blocks(self._every, first=self._length):
            statistics.update(block)
            buffer = np.concatenate([buffer, block], axis=1)[:, -self._length :]
            end += block.shape[1]
            rows = numbers_of(
                predictor.recipe,
                predictor.window,
                absent=live.absent,
                k=(0,) * n_channels,
                statistics=statistics.result(),
            )
            fill(buffer, 0, rows, signal[0])
            found = judge(predictor.model, signal)[0].astype(np.float64)
            start, stop = end - self._length, (end - self._wait) // self._step * self._step
            for i, probability in enumerate(per_step(found[done - start : stop - start], self._step).tolist()):
                yield Step((done + i * self._step) / self._rate_hz, float(arrived_s), probability)
            done = stop
