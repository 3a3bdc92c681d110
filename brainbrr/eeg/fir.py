"""Zero-phase FIR filtering and resampling of one channel, in float64.

Designs its own filters (Kaiser windows) and states their edges. Knows nothing of files, units or electrodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Signal = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.integer[Any]]]

MAX_RATIO_TERM = 1 << 17
"""The most that numerator and denominator of a resampling ratio may be: 1.0004 s records still pass."""

_ALIAS_DB = 80.0  # what resampling and the low-pass leave of images and aliases
_STOP_DB = 60.0  # what the high-pass and the notch leave in their stop bands; their ripple is 0.009 dB at most
_NOTCH_STOP_HZ, _NOTCH_PASS_HZ = 0.2, 1.2  # on either side of the notch
_COLUMNS = 64  # output samples per matrix product
_BLOCK = 1 << 20  # elements of one product's left factor


@dataclass(frozen=True)
class Band:
    """What a filter chain passes: edges in Hz, None where that step is off."""

    low_hz: Fraction | None
    high_hz: Fraction | None
    notch_hz: Fraction | None


def effective_band(
    rate_hz: Fraction, target_hz: int, *, bandpass_hz: tuple[str, str] | None, notch_hz: str | None
) -> Band:
    """Return the edges that a signal at `rate_hz` can have after resampling to `target_hz`.

    The upper edge is at most 0.48 of the lower rate; a notch that is not below it is left out.
    """
    limit_hz = Fraction(48, 100) * min(rate_hz, Fraction(target_hz))
    low_hz = high_hz = None
    if bandpass_hz is not None:
        low_hz, high_hz = Fraction(bandpass_hz[0]), min(Fraction(bandpass_hz[1]), limit_hz)
    notch = None if notch_hz is None else Fraction(notch_hz)
    return Band(low_hz, high_hz, notch if notch is not None and notch < (high_hz or limit_hz) else None)


class Chain:
    """Resample, band-pass and notch, with zero delay: one linear-phase FIR filter in all but name.

    Edges are the ends of the pass band, as in MNE: the gain there is within 0.02 dB of one. The high-pass is
    at least 60 dB down at low − min(max(low / 4, 2), low), 6 dB half-way there, and exactly zero at 0 Hz:
    with low = 0.5 Hz, −6 dB at 0.25 Hz. The low-pass is 80 dB down at high + max(high / 4, 2), or half-way
    from high to half the lower rate when that is nearer (120 Hz: 124 Hz at 256 and more). Aliases and images
    are 80 dB down everywhere. The notch is exactly zero at its centre, 60 dB down within 0.2 Hz of it, and
    within 0.02 dB of one from 1.2 Hz away.
    """

    def __init__(self, rate_hz: Fraction, target_hz: int, band: Band) -> None:
        limit_hz = float(min(rate_hz, Fraction(target_hz))) / 2
        edge_hz, stop_hz = 0.96 * limit_hz, limit_hz
        if band.high_hz is not None:
            edge_hz = float(band.high_hz)
            stop_hz = edge_hz + min((limit_hz - edge_hz) / 2, max(edge_hz / 4, 2.0))
        self._taps = _filter_taps(target_hz, band, stop_hz)
        # What aliases to below stop_hz lies above this; what aliases to above it is the low-pass's.
        alias_hz = 2 * limit_hz - stop_hz
        self._margin = len(self._taps) // 2
        self._resampler = None
        if rate_hz != target_hz:
            self._resampler = _Resampler(rate_hz, target_hz, edge_hz, alias_hz, self._margin)

    @property
    def n_taps(self) -> int:
        """Length of the filter at the target rate."""
        return len(self._taps)

    def apply(self, x: Integers) -> Signal:
        """Return float64 (ceil(n · target / rate),) from integers (n,): sample m lies at m / target seconds.

        Both ends are extended by one odd reflection, held from there on: repeated, it would grow without end.
        """
        if self._resampler is None:
            y = _extend(x, self._margin, self._margin).astype(np.float64)
        else:
            y = self._resampler.apply(x)
        return y if self._margin == 0 else _convolve(y, self._taps)


class _Resampler:
    """Polyphase resampling by up / down as matrix products: 64 outputs each from one window of inputs.

    It gives `margin` more samples of the extended signal on either side. The matrices are made when needed:
    an odd ratio has far more phases than a short recording has samples.
    """

    def __init__(self, rate_hz: Fraction, target_hz: int, pass_hz: float, stop_hz: float, margin: int) -> None:
        self._ratio = target_hz / rate_hz
        if max(self._ratio.numerator, self._ratio.denominator) > MAX_RATIO_TERM:
            raise ValueError(f"resampling by {self._ratio} needs too many phases")
        repeat = -(-_COLUMNS // self._ratio.numerator)  # a short period repeats, so that products are wide enough
        self._up, self._down = self._ratio.numerator * repeat, self._ratio.denominator * repeat
        self._margin = margin
        self._origin = -margin * self._ratio.denominator // self._ratio.numerator  # the input at or before output 0
        self._reach = math.ceil(_half_length_s(stop_hz - pass_hz, _ALIAS_DB) * rate_hz) + 1
        self._lowpass = partial(_lowpass, rate_hz=float(rate_hz), pass_hz=pass_hz, stop_hz=stop_hz, db=_ALIAS_DB)
        self._products: dict[int, tuple[int, Signal]] = {}

    def apply(self, x: Integers) -> Signal:
        """Return float64 (margin + ceil(n · up / down) + margin,)."""
        n = -(-len(x) * self._ratio.numerator // self._ratio.denominator) + 2 * self._margin
        n_periods = -(-n // self._up)
        before = self._reach - 1 - self._origin
        extended = _extend(x, before, n_periods * self._down + 2 * self._reach - before - len(x))
        y = np.empty((n_periods, self._up))
        for first in range(0, min(self._up, n), _COLUMNS):
            if first not in self._products:
                self._products[first] = self._product(first, min(first + _COLUMNS, self._up))
            start, matrix = self._products[first]
            windows = sliding_window_view(extended, len(matrix))[start :: self._down]
            rows = max(1, _BLOCK // len(matrix))
            for i in range(0, n_periods, rows):
                block = windows[i : min(i + rows, n_periods)].astype(np.float64)
                y[i : i + rows, first : first + _COLUMNS] = block @ matrix
        return y.reshape(-1)[:n]

    def _product(self, first: int, last: int) -> tuple[int, Signal]:
        """Return where in a period the window of some outputs begins, and the matrix (window, outputs)."""
        outputs = np.arange(first, last) - self._margin
        inputs, phases = np.divmod(outputs * self._ratio.denominator, self._ratio.numerator)
        taps = np.arange(1 - self._reach, self._reach + 1)
        kernel = self._lowpass((phases / self._ratio.numerator)[:, None] - taps)
        kernel /= kernel.sum(axis=1, keepdims=True)  # unequal sums would turn an offset into tones
        matrix = np.zeros((inputs[-1] - inputs[0] + len(taps), last - first))
        rows = (inputs - inputs[0])[:, None] + np.arange(len(taps))
        matrix[rows, np.arange(last - first)[:, None]] = kernel
        return int(inputs[0]) - self._origin, matrix


def _filter_taps(target_hz: int, band: Band, stop_hz: float) -> Signal:
    """Return the odd symmetric FIR of high-pass, low-pass and notch together; [1] when all are off."""
    taps = np.ones(1)
    if band.low_hz is not None:
        low_hz = float(band.low_hz)
        low_stop_hz = low_hz - min(max(low_hz / 4, 2.0), low_hz)
        taps = np.convolve(taps, _complement(_lowpass_taps(target_hz, low_stop_hz, low_hz, _STOP_DB)))
    if band.high_hz is not None:
        taps = np.convolve(taps, _lowpass_taps(target_hz, float(band.high_hz), stop_hz, _ALIAS_DB))
    if band.notch_hz is not None:
        narrow = _lowpass_taps(target_hz, _NOTCH_STOP_HZ, _NOTCH_PASS_HZ, _STOP_DB)
        n = np.arange(len(narrow)) - len(narrow) // 2
        carrier = np.cos(2 * np.pi * float(band.notch_hz) / target_hz * n)
        narrow *= carrier
        taps = np.convolve(taps, _complement(narrow / (narrow @ carrier)))
    return taps


def _lowpass_taps(rate_hz: float, pass_hz: float, stop_hz: float, db: float) -> Signal:
    reach = math.ceil(_half_length_s(stop_hz - pass_hz, db) * rate_hz)
    taps = _lowpass(np.arange(-reach, reach + 1), rate_hz, pass_hz, stop_hz, db)
    taps /= taps.sum()
    return taps


def _complement(taps: Signal) -> Signal:
    """Return the filter that passes what `taps` stops."""
    rest = -taps
    rest[len(taps) // 2] += 1.0
    return rest


def _lowpass(n: Signal | Integers, rate_hz: float, pass_hz: float, stop_hz: float, db: float) -> Signal:
    """Return a Kaiser-windowed sinc at sample positions n from its centre, whole or not; its sum is not set."""
    inside = 1.0 - (n / (rate_hz * _half_length_s(stop_hz - pass_hz, db))) ** 2
    window = np.where(inside >= 0.0, np.i0(0.1102 * (db - 8.7) * np.sqrt(np.maximum(inside, 0.0))), 0.0)
    return np.asarray(np.sinc((pass_hz + stop_hz) / rate_hz * n) * window)


def _half_length_s(width_hz: float, db: float) -> float:
    """Kaiser's formula for the length of a filter (Oppenheim & Schafer, section 7.5.3), above 50 dB."""
    return (db - 7.95) / (2.285 * 4 * math.pi * width_hz)


def _extend(x: Integers, before: int, after: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return x with one odd reflection at each end, and its last value held beyond; exact in int32."""
    x = x.astype(np.int32)
    left = 2 * x[0] - x[1 : before + 1][::-1]
    right = 2 * x[-1] - x[::-1][1 : after + 1]
    ends = (left[0] if len(left) else x[0], right[-1] if len(right) else x[-1])
    held = np.full(before - len(left), ends[0]), np.full(after - len(right), ends[1])
    return np.concatenate((held[0], left, x, right, held[1]), dtype=np.int32)


def _convolve(x: Signal, taps: Signal) -> Signal:
    """Return the part of the convolution that needs no padding, by overlap-save."""
    size = 1 << max(15, (4 * len(taps)).bit_length())
    spectrum = np.fft.rfft(taps, size)
    out = np.empty(len(x) - len(taps) + 1)
    step = size - len(taps) + 1
    for start in range(0, len(out), step):
        block = np.fft.irfft(np.fft.rfft(x[start : start + size], size) * spectrum, size)[len(taps) - 1 :]
        out[start : start + step] = block[: len(out) - start]
    return out
