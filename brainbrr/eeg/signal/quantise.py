"""From exact integers to the stored lattice: the smallest step that holds a channel, ties decided rationally."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from brainbrr.core.arrays import Float64, Int16

LARGEST = 32767
_PIECE = 1 << 15  # samples at a time: they stay in the cache


def doubtful(offset: float) -> float:
    """Return how far from a whole number a product in float64 may be and still decide what it is rounded to.

    Factor, product and sum each lose at most 2^-53 of what they are: no more than 32768 and twice the offset.
    """
    return 0.5 - (LARGEST + 1 + 2 * abs(offset)) * 2.0**-50


@dataclass(frozen=True)
class Lattice:
    """A channel's stored value is y · gain + offset, rounded to a whole number, half to even; both are exact.

    Its steps are 2^k quanta.
    """

    gain: Fraction
    offset: Fraction
    k: int = 0

    @classmethod
    def fitting(cls, *, gain: Fraction, offset: Fraction, lowest: float, highest: float) -> Lattice:
        """Return the one with the smallest k that holds everything between two numbers within ±32767."""
        k = 0
        while True:
            lattice = cls(gain / 2**k, offset / 2**k, k)
            if max(abs(lattice.exact(y)) for y in (lowest, highest)) <= LARGEST:
                return lattice
            k += 1

    def exact(self, y: float) -> int:
        """Return the stored value of one number."""
        return round(Fraction(y) * self.gain + self.offset)

    def saturated(self, y: Float64) -> Float64:
        """Return whole numbers `y` cut to those whose stored values are within ±32767."""
        edges = sorted((edge - self.offset) / self.gain for edge in (-LARGEST, LARGEST))
        return np.clip(y, math.ceil(edges[0]), math.floor(edges[1]))

    def round(self, y: Float64, out: Int16) -> None:
        """Fill `out` with the stored values of `y`.

        A product in float64 decides all but what is too close to the middle between two values; there the
        fractions do. So the result is the same wherever it is computed.
        """
        gain, offset = float(self.gain), float(self.offset)
        near = doubtful(offset)
        for start in range(0, len(y), _PIECE):
            part = y[start : start + _PIECE]
            value = part * gain
            if offset:
                value += offset
            whole = np.rint(value)
            out[start : start + _PIECE] = whole
            value -= whole
            if value.max() > near or value.min() < -near:
                at = np.flatnonzero(np.abs(value) > near)
                numbers, which = np.unique(part[at], return_inverse=True)
                out[start + at] = np.array([self.exact(number) for number in numbers.tolist()], dtype=np.int16)[which]
