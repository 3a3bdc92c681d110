"""Integer FIR taps, the same on every machine: designed in 64-bit integers, no floats and no libm.

Kaiser-windowed sincs as samples of one continuous kernel. Knows filters only: no signals, no recipes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import factorial

import numpy as np

from brainbrr.core.arrays import Int64, UInt64

_BITS = 31  # fixed point of the designer: a product of two fractions still fits in 63 bits
_ONE = 1 << _BITS
_PI = Fraction(314159265358979323846264338327950288, 10**35)


def half_length_s(width_hz: Fraction, db: int) -> Fraction:
    """Return half the length of a Kaiser-windowed filter (Oppenheim & Schafer, section 7.5.3), above 50 dB."""
    return (db - Fraction("7.95")) / (Fraction("2.285") * 4 * _PI * width_hz)


@dataclass(frozen=True)
class Kernel:
    """A continuous low-pass kernel: gain 1 up to `pass_hz`, `db` down from `stop_hz` on.

    `at` samples it on a grid of `per_s` points a second.
    """

    pass_hz: Fraction
    stop_hz: Fraction
    db: int
    per_s: Fraction

    @cached_property
    def reach(self) -> int:
        """The first grid point, counted from the centre, at which the kernel is zero."""
        return -int(-half_length_s(self.stop_hz - self.pass_hz, self.db) * self.per_s // 1)

    @cached_property
    def _window(self) -> list[int]:
        """Coefficients of I0(beta · sqrt(s)) / I0(beta) as a polynomial in s, lowest first."""
        beta = Fraction("0.1102") * (self.db - Fraction("8.7"))
        terms = [Fraction(1)]
        while terms[-1] * (_ONE << 8) > terms[0] or len(terms) < 4:
            terms.append(terms[-1] * beta * beta / (4 * len(terms) ** 2))
        total = sum(terms)
        return [int(term / total * _ONE) for term in terms]

    def at(self, points: Int64) -> Int64:
        """Return the kernel at grid points (counted from its centre) in units of 2^-31: sinc times window."""
        n = np.abs(points)
        cycles = (self.pass_hz + self.stop_hz) / self.per_s  # of the sinc's argument for one grid point
        inside = n < self.reach
        n = np.where(inside, n, 0)
        span = np.int64(self.reach)
        s = (((span - n) << _BITS) // span * (((span + n) << (_BITS - 1)) // span)) >> (_BITS - 1)
        window = np.zeros_like(n)
        for term in reversed(self._window):
            window = ((window * s) >> _BITS) + term
        return np.where(inside, (_sinc(n, cycles, self.reach) * window) >> _BITS, 0)


# sin(pi/2 · u) / u as a polynomial in u², and its coefficients in units of 2^-30
_SINE = [int((_PI / 2) ** (2 * k + 1) * (-1) ** k / factorial(2 * k + 1) * (1 << 30)) for k in range(9)]


def cosine(turns: Fraction, n: Int64) -> Int64:
    """Return cos(2 pi · turns · n) in units of 2^-30, for n of either sign."""
    return _sine_of(_phase(turns, n) + np.uint64(1 << 62))


def _phase(turns: Fraction, n: Int64) -> UInt64:
    """Return the fraction of a turn in units of 2^-64: unsigned arithmetic wraps where a circle does."""
    step = np.uint64(int(turns * (1 << 64)) & (1 << 64) - 1)
    return n.astype(np.uint64) * step


def _sine_of(phase: UInt64) -> Int64:
    quadrant = (phase >> np.uint64(62)).astype(np.int64)
    u = ((phase & np.uint64((1 << 62) - 1)) >> np.uint64(31)).astype(np.int64)
    u = np.where(quadrant & 1, _ONE - u, u)
    value = (_sine_over(u) * u) >> _BITS
    return np.where(quadrant & 2, -value, value)


def _sine_over(u: Int64) -> Int64:
    """Return sin(pi/2 · u) / u in units of 2^-30 for u from 0 to 1 in units of 2^-31."""
    square = (u * u) >> _BITS
    value = np.zeros_like(u)
    for coefficient in reversed(_SINE):
        value = ((value * square) >> _BITS) + coefficient
    return value


def _sinc(n: Int64, cycles: Fraction, n_max: int) -> Int64:
    """Return sin(pi a) / (pi a) in units of 2^-31 for a = cycles · n, 0 <= n <= n_max."""
    bits = 60 - int(4 * cycles * n_max + 1).bit_length()
    angle = (n * int(cycles * _PI * (1 << bits))) >> (bits - 30)  # pi · a in units of 2^-30
    half_turns = _phase(cycles / 2, n)  # 2^63 is a = 1
    is_near = angle < int(_PI * (1 << 29))  # a below 1/2: a polynomial, no quotient of two small numbers
    u = np.where(is_near, half_turns >> np.uint64(31), 0).astype(np.int64)
    near = (_sine_over(u) * int(4 / _PI * (1 << 30))) >> 30
    far = (_sine_of(half_turns) << _BITS) // np.maximum(angle, 1)
    return np.where(is_near, near, far)


def normalised(taps: Int64, total: int) -> Int64:
    """Return taps scaled to whole numbers that sum to exactly `total` along the last axis.

    What rounding leaves over goes to the largest tap, of several to the one nearest the middle.
    """
    whole = scaled(taps, total, taps.sum(axis=-1, keepdims=True))
    length = taps.shape[-1]
    largest = (np.abs(whole) * length - np.abs(np.arange(length) - length // 2)).argmax(axis=-1)[..., None]
    rest = total - whole.sum(axis=-1, keepdims=True)
    np.put_along_axis(whole, largest, np.take_along_axis(whole, largest, -1) + rest, -1)
    return whole


def scaled(taps: Int64, total: int, out_of: Int64 | int) -> Int64:
    """Return taps · total / out_of, rounded."""
    return (taps * (2 * total) + out_of) // (2 * out_of)
