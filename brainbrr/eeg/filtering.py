"""How the channels of one rate become numbers: in exact integers, or by the float steps of brain-go-brr."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np

from brainbrr.eeg import upstream
from brainbrr.eeg.channels import Channel
from brainbrr.eeg.fir import Certificate, Chain, Float64
from brainbrr.eeg.reading import Group
from brainbrr.eeg.recipe import Recipe


class Filtering(Protocol):
    """Filters of a group of channels, over the samples that are in memory."""

    in_blocks: bool
    """Whether any stretch can be computed without the rest of the recording."""

    n_samples: int
    """How many samples come out."""

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """Return the span of input samples that output samples start to stop depend on."""

    def apply(self, rows: Sequence[int], start: int, stop: int) -> Float64:
        """Return output samples start to stop of some of the group's channels: float64 (rows, stop − start)."""

    def scale(self, channel: Channel) -> tuple[Fraction, Fraction]:
        """Return the gain and the offset that make microvolts of what apply() gives."""


def filtering_of(group: Group, recipe: Recipe, certificate: Certificate) -> Filtering:
    """Return the filters that a recipe asks for."""
    return Exact(group, recipe, certificate) if recipe.exact else Floats(group, recipe)


class Exact:
    """Integers: see fir.Chain. Raises ArithmeticError where exactness cannot be proven."""

    in_blocks = True

    def __init__(self, group: Group, recipe: Recipe, certificate: Certificate) -> None:
        self._group = group
        self._chain = Chain(group.rate, recipe.rate_hz, group.channels[0].band, certificate)
        self.n_samples = self._chain.length(group.n)

    @property
    def look_ahead_s(self) -> Fraction:
        """Seconds of input that a sample may need after its own time, at most."""
        return self._chain.look_ahead_s

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """The chain's, near an end also what it is reflected from."""
        return self._chain.inputs(start, stop, self._group.n)

    def apply(self, rows: Sequence[int], start: int, stop: int) -> Float64:
        """Exact integers."""
        group = self._group
        return self._chain.apply(group.samples[rows], first=group.first, n=group.n, start=start, stop=stop)

    def scale(self, channel: Channel) -> tuple[Fraction, Fraction]:
        """What the header says, over the bits of fraction."""
        signal = channel.signal
        offset_uv = signal.offset_uv if channel.band.low_hz is None else Fraction(0)
        return signal.gain_uv / 2**self._chain.fraction_bits, offset_uv


class Floats:
    """Floats: see upstream.apply. A whole recording at once."""

    in_blocks = False

    def __init__(self, group: Group, recipe: Recipe) -> None:
        self._group, self._recipe = group, recipe
        self.n_samples = upstream.n_resampled(group.n, group.rate, recipe.rate_hz)

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """All of it."""
        return 0, self._group.n

    def apply(self, rows: Sequence[int], start: int, stop: int) -> Float64:
        """Microvolts."""
        group, recipe = self._group, self._recipe
        y = np.empty((len(rows), self.n_samples))
        for i, row in enumerate(rows):
            signal = group.channels[row].signal
            y[i] = upstream.apply(
                group.samples[row] * float(signal.gain_uv) + float(signal.offset_uv),
                group.rate,
                recipe.rate_hz,
                bandpass_hz=recipe.bandpass_hz,
                notch_hz=recipe.notch_hz,
            )
        return y[:, start:stop]

    def scale(self, channel: Channel) -> tuple[Fraction, Fraction]:
        """They are microvolts already."""
        return Fraction(1), Fraction(0)
