"""Resampling, band-pass and notch with exact integers: the same numbers on every machine.

Samples and taps are integers and every sum stays below 2^53, so a matrix product in float64 is exact in any
order, and a convolution by FFT is exact once it is rounded; how far it was from whole numbers is measured.
Knows nothing of files, units or electrodes.
"""

from __future__ import annotations

import math
import threading
from fractions import Fraction
from functools import lru_cache

import numpy as np

from brainbrr.core.arrays import Float64, Int16, Int32, Int64
from brainbrr.eeg.signal.recipe import MAX_RATIO_TERM, NOTCH_PASS_HZ, NOTCH_STOP_HZ, Band
from brainbrr.eeg.signal.taps import Kernel, cosine, normalised, scaled

MAX_DISTANCE = 2**-4
"""How far a convolution may be from whole numbers: beyond, its rounding would be no proof."""

_ALIAS_DB = 84  # low-pass, resampling and notch are designed for this, so that together they stay below 80
_STOP_DB = 60  # what the high-pass leaves in its stop band; its ripple is 0.011 dB at most
_RESAMPLER_BITS, _BETWEEN_BITS, _FILTER_BITS = 20, 6, 22  # of fraction: resampler taps, its output, filter taps
_GROUPS = (16, 32)  # output samples per matrix product: below four times the target rate, and above
_LARGEST = 3 << 15  # an odd reflection of 16-bit samples
_SIZE = 1 << 14

FEW_PHASES = 1 << 12
"""As many are designed at once, so that what sums could reach is the same for every recording of a rate."""


def _check_reach(magnitude: int) -> None:
    """Raise ArithmeticError where sums could reach 2^53."""
    if magnitude >= 1 << 53:
        raise ArithmeticError(f"sums could reach {magnitude}, beyond what float64 holds exactly")


def check_distance(distance: float) -> None:
    """Raise ArithmeticError where a convolution is so far from whole numbers that rounding is no proof."""
    if not distance < MAX_DISTANCE:  # also NaN
        raise ArithmeticError(f"a convolution was {distance:g} from whole numbers; below {MAX_DISTANCE} is proof")


class Chain:
    """Resample, band-pass and notch, with zero delay: linear-phase FIR filters with integer taps.

    Edges are the ends of the pass band, as in MNE: the gain there is within 0.02 dB of one. The high-pass is
    at least 60 dB down at low − min(max(low / 4, 2), low), 6 dB half-way there, and exactly zero at 0 Hz:
    with low = 0.5 Hz, −6 dB at 0.25 Hz. The low-pass is 80 dB down at high + max(high / 4, 2), or half-way
    from high to half the lower rate when that is nearer (120 Hz: 124 Hz at 256 and more). Aliases and images
    are 80 dB down everywhere. The notch is 80 dB down within 0.2 Hz of its centre, and within 0.02 dB of one
    from 1.2 Hz away.

    The signal is extended at both ends by one odd reflection, and held from there on: repeated, it would grow
    without end. Sample m is at m / target seconds.
    """

    def __init__(self, rate_hz: Fraction, target_hz: int, band: Band) -> None:
        limit_hz = min(rate_hz, Fraction(target_hz)) / 2
        pass_hz, stop_hz = Fraction(96, 100) * limit_hz, limit_hz
        if band.high_hz is not None:
            pass_hz = band.high_hz
            stop_hz = pass_hz + min((limit_hz - pass_hz) / 2, max(pass_hz / 4, Fraction(2)))
        self._target_hz, self._ratio = target_hz, Fraction(target_hz) / rate_hz
        self.taps = _filter_taps(target_hz, band, stop_hz)
        self.margin = len(self.taps) // 2
        self.resampler = None
        if rate_hz != target_hz:
            # Images and aliases that land above stop_hz are the low-pass's; that of an offset is at the rate itself.
            alias_hz = min(target_hz - stop_hz, rate_hz) if band.high_hz is not None else limit_hz
            self.resampler = _resampler_of(rate_hz, self._ratio, pass_hz, alias_hz)

    @property
    def fraction_bits(self) -> int:
        """Bits of fraction of what `apply` returns."""
        between = _BETWEEN_BITS if self.resampler else 0
        return between + (_FILTER_BITS if self.margin else 0)

    @property
    def look_ahead_s(self) -> Fraction:
        """Seconds of input that an output may need after its own time, at most."""
        beyond_s = self.resampler.look_ahead_s if self.resampler else Fraction(0)
        return Fraction(self.margin, self._target_hz) + beyond_s

    def length(self, n: int) -> int:
        """Return how many samples n input samples become."""
        return math.ceil(n * self._ratio)

    def inputs(self, start: int, stop: int, n: int) -> tuple[int, int]:
        """Return the span of input samples, of n, that output samples start to stop depend on.

        Near an end it is at least as long as what the signal is extended by there.
        """
        first, last = self._window(start, stop)
        return max(0, min(first, 2 * (n - 1) - last)), min(n, max(last, 1 - first))

    def _window(self, start: int, stop: int) -> tuple[int, int]:
        """Return the span of the extended input that output samples start to stop depend on."""
        start, stop = start - self.margin, stop + self.margin
        return self.resampler.inputs(start, stop) if self.resampler else (start, stop)

    def apply(self, x: Int16, *, first: int, n: int, start: int, stop: int) -> Float64:
        """Return output samples start to stop, exact integers in units of 2^-fraction_bits digital steps.

        float64 (channels, stop − start) from int16 (channels, any): samples from `first` on of a signal of n,
        which cover `inputs(start, stop, n)`. The same numbers whatever the span. Raises ArithmeticError where
        that cannot be proven.
        """
        out = np.empty((len(x), stop - start))
        # what one FFT takes is resampled at once: it stays in the second-level cache
        piece = stop - start if not self.margin else self._size(stop - start) - 2 * self.margin
        for begin in range(start, stop, piece):
            end = min(begin + piece, stop)
            low, high = self._window(begin, end)
            y: Float64 = _extended(x, first, n, low, high)
            if self.resampler:
                y = self.resampler.apply(y, low, begin - self.margin, end + self.margin)
            if self.margin:
                self._convolve(y, out[:, begin - start : end - start])
            else:
                np.rint(y, out=out[:, begin - start : end - start])
        self.bound()
        return out

    def inner(self, start: int, stop: int, first: int, last: int) -> tuple[int, int]:
        """Return the span between the two filters that inputs first to last give, for outputs start to stop.

        It needs no extension of the signal.
        """
        low, high = start - self.margin, stop + self.margin
        inside = self.resampler.inside(first, last) if self.resampler else (first, last)
        low = min(max(low, inside[0]), high)
        return low, max(min(high, inside[1]), low)

    def between(self, x: Int16, first: int, n: int, start: int, stop: int) -> Int32:
        """Return the signal between the two filters at times start to stop: whole numbers, of the extended signal."""
        if start >= stop:
            return np.empty((len(x), 0), dtype=np.int32)
        if not self.resampler:
            return _extended(x, first, n, start, stop).astype(np.int32)
        low, high = self.resampler.inputs(start, stop)
        return np.rint(self.resampler.apply(_extended(x, first, n, low, high), low, start, stop)).astype(np.int32)

    def bound(self) -> int:
        """Return what sums could reach, whatever the samples. Raises ArithmeticError from 2^53 on."""
        reached = _LARGEST
        if self.resampler:
            reached *= self.resampler.gain
            _check_reach(reached)
            reached = (reached >> (_RESAMPLER_BITS - _BETWEEN_BITS)) + 1
        reached *= sum(map(abs, self.taps))
        _check_reach(reached)
        return reached

    def _size(self, n: int) -> int:
        """Return the length of the FFTs for n output samples."""
        whole = n + 2 * self.margin
        return min(max(_SIZE, 1 << (8 * self.margin).bit_length()), 1 << (whole - 1).bit_length())

    def _convolve(self, x: Float64, out: Float64) -> None:
        """Fill `out` (channels, n) from `x` (channels, margin + n + margin): round, overlap-save, round."""
        size = self._size(out.shape[1])
        step = size - 2 * self.margin
        response = _response(self.taps, size)
        pairs = np.zeros((-(-len(x) // 2), size), dtype=np.complex128)
        for start in range(0, out.shape[1], step):
            part = x[:, start : start + size]
            np.rint(part[0::2], out=pairs.real[:, : part.shape[1]])
            np.rint(part[1::2], out=pairs.imag[: len(part) // 2, : part.shape[1]])
            pairs[:, part.shape[1] :] = 0
            spectrum = np.fft.fft(pairs)
            spectrum.view(np.float64)[...] *= response  # a symmetric filter's response is real
            n = min(step, out.shape[1] - start)
            found = np.fft.ifft(spectrum).view(np.float64)
            found = found[:, 2 * self.margin : 2 * (self.margin + n)]
            whole = np.rint(found)
            rest = np.subtract(found, whole, out=found)
            check_distance(max(float(rest.max()), -float(rest.min())))
            out[0::2, start : start + n] = whole[:, 0::2]
            out[1::2, start : start + n] = whole[: len(x) // 2, 1::2]


class Resampler:
    """Polyphase resampling by up / down as matrix products: some outputs each from one window of inputs.

    Each phase has taps of its own that sum to 2^20 exactly; they are designed when they are first needed, since
    an odd ratio has far more phases than a short recording has samples.
    """

    def __init__(self, rate_hz: Fraction, ratio: Fraction, pass_hz: Fraction, stop_hz: Fraction) -> None:
        self._rate_hz, self.phases, self.step = rate_hz, ratio.numerator, ratio.denominator
        if max(self.phases, self.step) > MAX_RATIO_TERM:
            raise ValueError(f"resampling by {ratio} needs too many phases")
        self._kernel = Kernel(pass_hz, stop_hz, _ALIAS_DB, rate_hz * self.phases)
        self.reach = -(-self._kernel.reach // self.phases)
        self._taps = np.empty((self.phases, 2 * self.reach), dtype=np.int32)  # memory is used where it is written
        self._known = np.zeros(self.phases, dtype=np.bool_)
        self.gain = 0  # the largest sum of absolute taps of a phase, in units of 2^-20
        self._group = _GROUPS[ratio < Fraction(1, 4)]
        self._period = math.lcm(self.phases, self._group) // self._group  # groups after which the same taps come again
        self._matrix = lru_cache(maxsize=64)(self._matrix_of)
        self._lock = threading.Lock()  # recordings of one rate share it, in threads too

    @property
    def look_ahead_s(self) -> Fraction:
        """Seconds of input that an output's group may need after the output's own time, at most."""
        return (self._group * Fraction(self.step, self.phases) + self.reach + 1) / self._rate_hz

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """Return the span of inputs that whole groups of outputs around start to stop depend on."""
        first, last = start // self._group * self._group, -(-stop // self._group) * self._group - 1
        return self._at(first) - self.reach + 1, self._at(last) + self.reach + 1

    def _at(self, output: int) -> int:
        """Return the input at or before an output."""
        return output * self.step // self.phases

    def apply(self, x: Float64, first: int, start: int, stop: int) -> Float64:
        """Return outputs start to stop in units of 2^-6, not yet rounded, from inputs that begin at `first`."""
        group, n_groups = start // self._group, -(-stop // self._group) - start // self._group
        self._design(np.arange(start // self._group * self._group, (group + n_groups) * self._group))
        y = np.empty((len(x), n_groups, self._group))
        stride = self._period * self._group * self.step // self.phases
        for i in range(min(self._period, n_groups)):
            matrix = self._matrix((group + i) % self._period)
            at = self._at((group + i) * self._group) - self.reach + 1 - first
            # windows overlap, so every `apart`-th one makes a matrix that BLAS can take in place
            apart = -(-len(matrix) // stride)
            for j in range(apart):
                into = y[:, i + j * self._period :: apart * self._period]
                n = into.shape[1]
                if n == 1:
                    into[:, 0] = x[:, at + j * stride :][:, : len(matrix)] @ matrix
                elif n:
                    rows, columns = x.strides
                    windows = np.ndarray(
                        (len(x), n, len(matrix)),
                        x.dtype,
                        x,
                        offset=(at + j * stride) * columns,
                        strides=(rows, apart * stride * columns, columns),
                    )
                    np.matmul(windows, matrix, out=into)
        offset = start - group * self._group
        return y.reshape(len(x), -1)[:, offset : offset + stop - start]

    def inside(self, first: int, stop: int) -> tuple[int, int]:
        """Return the span of outputs that need no inputs but those from first to stop."""
        low = -(-(first + self.reach - 1) * self.phases // self.step)
        return low, -(-(stop - self.reach) * self.phases // self.step)

    def every_phase(self) -> Int32:
        """Return the taps of each phase in units of 2^-20: int32 (phases, 2 · reach). At most FEW_PHASES."""
        self._design(np.arange(self.phases))
        return self._taps

    def _matrix_of(self, group: int) -> Float64:
        """Return the matrix (window, group) of a group of outputs, in units that make its products whole numbers."""
        outputs = np.arange(group * self._group, (group + 1) * self._group, dtype=np.int64) * self.step
        inputs, phases = np.divmod(outputs, self.phases)
        inputs -= inputs[0]
        matrix = np.zeros((int(inputs[-1]) + 2 * self.reach, self._group))
        rows = inputs[:, None] + np.arange(2 * self.reach)
        matrix[rows, np.arange(self._group)[:, None]] = self._taps[phases] * 2.0 ** (_BETWEEN_BITS - _RESAMPLER_BITS)
        return matrix

    def _design(self, outputs: Int64) -> None:
        """Make the taps of the phases that some outputs have; of all where they are few."""
        if self._known.all():
            return
        few = self.phases <= FEW_PHASES
        phases = np.arange(self.phases) if few else np.unique(outputs * self.step % self.phases)
        phases = phases[~self._known[phases]]
        points = np.arange(self.reach - 1, -self.reach - 1, -1, dtype=np.int64) * self.phases
        for start in range(0, len(phases), 1024):
            some = phases[start : start + 1024]
            taps = normalised(self._kernel.at(some[:, None] + points), 1 << _RESAMPLER_BITS)
            with self._lock:
                self._taps[some] = taps
                self.gain = max(self.gain, int(np.abs(taps).sum(axis=1).max()))
                self._known[some] = True


_resampler_of = lru_cache(maxsize=8)(Resampler)


@lru_cache(maxsize=16)
def _filter_taps(target_hz: int, band: Band, stop_hz: Fraction) -> tuple[int, ...]:
    """Return the odd symmetric FIR that passes what the low-pass does, less the high-pass's and the notch's stop bands.

    In units of 2^-22. With a high-pass the taps sum to exactly 0, else to exactly 1; one tap when all is off.
    """
    unit = 1 << _FILTER_BITS
    parts = []
    if band.high_hz is not None:
        parts.append(normalised(_kernel_taps(Kernel(band.high_hz, stop_hz, _ALIAS_DB, Fraction(target_hz))), unit))
    else:
        parts.append(np.array([unit]))
    low = None
    if band.low_hz is not None:
        low_stop_hz = band.low_hz - min(max(band.low_hz / 4, Fraction(2)), band.low_hz)
        low = _kernel_taps(Kernel(low_stop_hz, band.low_hz, _STOP_DB, Fraction(target_hz)))
    if band.notch_hz is not None:
        turns = band.notch_hz / target_hz
        narrow = _kernel_taps(Kernel(NOTCH_STOP_HZ, NOTCH_PASS_HZ, _ALIAS_DB, Fraction(target_hz)))
        notch = (narrow * _carrier(narrow, turns) + (1 << 29)) >> 30
        there = _response_at(parts[0], turns)
        if low is not None:
            there -= _response_at(normalised(low, unit), turns)
        parts.append(-scaled(notch, there, _response_at(notch, turns)))
    if low is not None:
        parts.append(-normalised(low, sum(int(part.sum()) for part in parts)))
    taps = np.zeros(max(map(len, parts)), dtype=np.int64)
    for part in parts:
        edge = (len(taps) - len(part)) // 2
        taps[edge : len(taps) - edge] += part
    taps[len(taps) // 2] += (0 if band.low_hz is not None else unit) - taps.sum()
    return tuple(taps.tolist())


def _kernel_taps(kernel: Kernel) -> Int64:
    return kernel.at(np.arange(1 - kernel.reach, kernel.reach, dtype=np.int64))


def _carrier(taps: Int64, turns: Fraction) -> Int64:
    """Return the cosine around the middle of symmetric taps in units of 2^-30, as symmetric as they are."""
    return cosine(turns, np.abs(np.arange(len(taps), dtype=np.int64) - len(taps) // 2))


def _response_at(taps: Int64, turns: Fraction) -> int:
    """Return the gain of symmetric taps at a frequency, in their own units."""
    return int(((taps * _carrier(taps, turns) + (1 << 29)) >> 30).sum())


@lru_cache(maxsize=8)
def _response(taps: tuple[int, ...], size: int) -> Float64:
    """Return the response of symmetric taps around 0, once for the real and once for the imaginary part."""
    around_zero = np.zeros(size)
    around_zero[: len(taps)] = taps
    return np.repeat(np.fft.fft(np.roll(around_zero, -(len(taps) // 2))).real, 2)


def _extended(x: Int16, first: int, n: int, start: int, stop: int) -> Float64:
    """Return samples start to stop of a signal of n that is reflected oddly at both ends, then held.

    `x` holds its samples from `first` on.
    """
    inside = x[:, max(start - first, 0) : max(min(stop, n) - first, 0)]
    left, right = max(-start, 0), max(stop - n, 0)
    if not left and not right:
        return inside.astype(np.float64)
    out = np.empty((len(x), stop - start))
    out[:, left : left + inside.shape[1]] = inside
    for edge, into, away in ((0, out[:, :left][:, ::-1], 1), (n - 1, out[:, stop - start - right :], -1)):
        if not into.shape[1]:
            continue
        n_reflected = min(into.shape[1], n - 1)
        at = edge - first + away * np.arange(1, n_reflected + 1)
        centre = x[:, edge - first, None].astype(np.float64)
        into[:, :n_reflected] = 2 * centre - x[:, at]
        into[:, n_reflected:] = into[:, n_reflected - 1, None] if n_reflected else centre
    return out
