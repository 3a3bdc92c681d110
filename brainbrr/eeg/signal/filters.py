"""How the channels of one rate become numbers: in exact integers, or by the float steps of brain-go-brr.

The float steps of brain-go-brr, so that its results can be compared: FFT resampling, causal IIR filters.

Outside the promise of equal digests: floats differ between CPUs and libraries in their last bits. Where it
differs from `fir` it is worse: the filters delay low frequencies (0.4 s at 0.7 Hz) and ring for seconds after
the first sample, and the resampler takes the recording's end to be followed by its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np

from brainbrr.core.arrays import Float64, Int16
from brainbrr.core.compiled import has_numba
from brainbrr.eeg.signal.channels import Channel, Group
from brainbrr.eeg.signal.fir import Chain
from brainbrr.eeg.signal.quantise import Lattice, doubtful
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import ConfigError, DependencyError

TOGETHER = 4
"""Channels that numpy filters at once: as complex numbers two by two, two of those per SIMD register."""

ORDER = 3
"""Of the Butterworth prototype; the band-pass has twice as many poles."""

NOTCH_Q = 30
"""The notch's centre over its width at −3 dB: 2 Hz at 60 Hz."""


def n_resampled(n: int, rate_hz: Fraction, target_hz: int) -> int:
    """Return how many samples `apply` makes of n: the nearest whole number, a half to even, at least 1."""
    return max(1, round(n * target_hz / rate_hz))


def apply_upstream(
    signal_uv: Float64,
    rate_hz: Fraction,
    target_hz: int = 256,
    *,
    bandpass_hz: tuple[str, str] | None = ("0.5", "120"),
    notch_hz: str | None = "60",
) -> Float64:
    """Return one whole channel as brain-go-brr filters it: float64 (n_resampled,) in µV from float64 (n,) in µV.

    FFT resampling (not when the rates are equal), Butterworth band-pass in b, a form, notch; both by causal
    filtering from rest, so an offset at the first sample is a step. None switches a filter off. Its rounded
    length stretches time by up to half a sample over the recording. The edges are not lowered for a low rate:
    above rate_hz / 2 there is nothing to pass. Its z-score and its clip at ±10 are a view's, and are not
    here; nor is its NaN → 0, which made silence of what had failed (an EDF holds no NaN; one that is given
    comes out as NaN). It reads through float32, this does not.

    The whole channel must be in memory, 2 to 6 times over; 30 times where the number of samples, before or
    after, has a large prime factor. Edges are decimal text, 0 < low < high < target_hz / 2. Raises DependencyError
    without scipy, and ConfigError for a band-pass that is unstable in b, a form (from 0.5 Hz it is stable up to
    2048 Hz; at 256 Hz it agrees with second-order sections to 1e-10 of the signal's peak, at 2048 Hz to 1e-5).
    Source: src/brain_brr/data/preprocess.py of brain-go-brr-v2.
    """
    try:
        from scipy import signal  # here, not above: no other recipe needs it
    except ImportError as error:
        raise DependencyError("the recipe `upstream` needs scipy", fix="pip install 'brainbrr[upstream]'") from error

    y = np.asarray(signal_uv, dtype=np.float64)
    if rate_hz != target_hz:
        y = signal.resample(y, n_resampled(len(y), rate_hz, target_hz))
    if bandpass_hz is not None:
        b, a = signal.butter(ORDER, [float(Fraction(edge)) for edge in bandpass_hz], "bandpass", fs=target_hz)
        if np.abs(np.roots(a)).max() >= 1:
            raise ConfigError(
                f"the upstream band-pass of {' to '.join(bandpass_hz)} Hz is unstable at {target_hz} Hz",
                fix="raise its lower edge, lower rate_hz, or take an exact recipe",
            )
        y = signal.lfilter(b, a, y)
    if notch_hz is not None:
        y = signal.lfilter(*signal.iirnotch(float(Fraction(notch_hz)), NOTCH_Q, fs=target_hz), y)
    return np.asarray(y, dtype=np.float64)


class Filtered(Protocol):
    """Output samples of one channel: whole numbers, or microvolts of a recipe that is not exact."""

    lowest: float
    highest: float
    """Between what its numbers are: of those that compiled filters give, the larger of both away from zero."""

    def round(self, lattice: Lattice, out: Int16) -> None:
        """Fill `out` int16 (any,) with the values that a lattice stores."""


class Numbers:
    """Output samples in memory."""

    def __init__(self, y: Float64) -> None:
        self._y, self.lowest, self.highest = y, float(y.min()), float(y.max())

    def round(self, lattice: Lattice, out: Int16) -> None:
        """Round them."""
        lattice.round(self._y, out)


class Filtering(Protocol):
    """Filters of a group of channels, over the samples that are in memory."""

    in_blocks: bool
    """Whether any stretch can be computed without the rest of the recording."""

    n_samples: int
    """How many samples come out."""

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """Return the span of input samples that output samples start to stop depend on."""

    def filtered(self, rows: Sequence[int], start: int, stop: int, into: Int16 | None = None) -> Iterator[Filtered]:
        """Yield output samples start to stop of some of the group's channels.

        With `into` int16 (channels of the recipe, stop − start), their stored values may be there before they are asked
        for: give `Filtered.round` the channel's row of it.
        """

    def scale(self, channel: Channel) -> tuple[Fraction, Fraction]:
        """Return the gain and the offset that make microvolts of what apply() gives."""


def filtering_of(group: Group, recipe: Recipe) -> Filtering:
    """Return the filters that a recipe asks for."""
    return Exact(group, recipe) if recipe.exact else Floats(group, recipe)


class Exact:
    """Integers: see fir.Chain. Raises ArithmeticError where exactness cannot be proven."""

    in_blocks = True

    def __init__(self, group: Group, recipe: Recipe) -> None:
        self._group = group
        self._chain = Chain(group.rate, recipe.rate_hz, group.channels[0].band)
        self.n_samples = self._chain.length(group.n)
        self._fitting: dict[int, Lattice] = {}
        if group.channels[0].band.low_hz is not None and has_numba():
            from brainbrr.eeg.signal import fir_compiled  # here: numba takes half a second to import

            if fir_compiled.fits(self._chain):
                quantum_uv = Fraction(recipe.quantum_uv)
                for row, channel in enumerate(group.channels):
                    self._fitting[row] = Lattice(self.scale(channel)[0] / quantum_uv, Fraction(0))

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

    def filtered(self, rows: Sequence[int], start: int, stop: int, into: Int16 | None = None) -> Iterator[Filtered]:
        """Exact integers, by numba where it is installed."""
        if self._fitting and rows:
            yield from self._quantised(rows, start, stop, into)
            return
        for i in range(0, len(rows), TOGETHER):
            yield from map(Numbers, self.apply(rows[i : i + TOGETHER], start, stop))

    def _quantised(self, rows: Sequence[int], start: int, stop: int, into: Int16 | None) -> Iterator[Filtered]:
        from brainbrr.eeg.signal.fir_compiled import Channels, quantised

        group = self._group
        if into is None:
            into, places = np.empty((len(rows), stop - start), dtype=np.int16), list(range(len(rows)))
        else:
            places = [group.channels[row].row for row in rows]
        lattices = [self._fitting[row] for row in rows]
        gains = np.array([float(lattice.gain) for lattice in lattices])
        channels = Channels(np.array(rows, dtype=np.intp), np.array(places, dtype=np.intp), gains)
        span = {"first": group.first, "n": group.n, "start": start, "stop": stop}
        found = quantised(self._chain, group.samples, channels, doubtful(0.0), **span, out=into)
        for i, (row, place) in enumerate(zip(rows, places, strict=True)):
            ties = found.ties if found.ties is None else [(at, y) for channel, at, y in found.ties if channel == i]
            yield _Stored(self, row, (start, stop), into[place], float(found.largest[i]), ties)

    def again(self, row: int, span: tuple[int, int], lattice: Lattice, out: Int16) -> None:
        """Fill `out` with one channel as another lattice than the last one stores it, which it takes from now on."""
        self._fitting[row] = lattice
        lattice.round(self.apply([row], *span)[0], out)

    def takes(self, row: int, lattice: Lattice) -> bool:
        """Say whether compiled filters round a channel to a lattice."""
        return self._fitting[row] == lattice

    def scale(self, channel: Channel) -> tuple[Fraction, Fraction]:
        """What the header says, over the bits of fraction."""
        signal = channel.signal
        offset_uv = signal.offset_uv if channel.band.low_hz is None else Fraction(0)
        return signal.gain_uv / 2**self._chain.fraction_bits, offset_uv


class _Stored:
    """Output samples of one channel that are stored values already, of the lattice that fitted so far."""

    def __init__(
        self, filters: Exact, row: int, span: tuple[int, int], stored: Int16, largest: float,
        ties: list[tuple[int, float]] | None,
    ) -> None:  # fmt: skip
        self._filters, self._row, self._span, self._stored, self._ties = filters, row, span, stored, ties
        self.lowest, self.highest = -largest, largest

    def round(self, lattice: Lattice, out: Int16) -> None:
        """Decide the ties, or compute all again by the exact path: for another lattice, or where ties are too many."""
        if self._ties is None or not self._filters.takes(self._row, lattice):
            self._filters.again(self._row, self._span, lattice, out)
            return
        if out.ctypes.data != self._stored.ctypes.data:
            out[:] = self._stored
        for at, y in self._ties:
            out[at] = lattice.exact(y)


class Floats:
    """Floats: see upstream.apply. A whole recording at once."""

    in_blocks = False

    def __init__(self, group: Group, recipe: Recipe) -> None:
        self._group, self._recipe = group, recipe
        self.n_samples = n_resampled(group.n, group.rate, recipe.rate_hz)

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """All of it."""
        return 0, self._group.n

    def filtered(self, rows: Sequence[int], start: int, stop: int, into: Int16 | None = None) -> Iterator[Filtered]:
        """Microvolts."""
        for i in range(0, len(rows), TOGETHER):
            yield from map(Numbers, self._apply(rows[i : i + TOGETHER])[:, start:stop])

    def _apply(self, rows: Sequence[int]) -> Float64:
        group, recipe = self._group, self._recipe
        y = np.empty((len(rows), self.n_samples))
        for i, row in enumerate(rows):
            signal = group.channels[row].signal
            y[i] = apply_upstream(
                group.samples[row] * float(signal.gain_uv) + float(signal.offset_uv),
                group.rate,
                recipe.rate_hz,
                bandpass_hz=recipe.bandpass_hz,
                notch_hz=recipe.notch_hz,
            )
        return y

    def scale(self, channel: Channel) -> tuple[Fraction, Fraction]:
        """They are microvolts already."""
        return Fraction(1), Fraction(0)
