"""A small computation whose result is known: proves once per process that this machine gives the promised numbers.

The certificate of a recording finds sums that were not exact; this finds a library or a processor that is wrong.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np

from brainbrr.digest import xxh3_128
from brainbrr.eeg.band import effective_band
from brainbrr.eeg.fir import Chain
from brainbrr.errors import BrainbrrError

_RATE_HZ = 250
_ANSWER = "b01ff9a1b8479d26d6c27342a94432f2"


@cache
def prove() -> None:
    """Raise BrainbrrError unless two seconds of noise at 250 Hz come out of the default filters as they must."""
    if (answer := compute()) != _ANSWER:
        raise BrainbrrError(
            f"this machine computes other numbers than it must: {answer}, not {_ANSWER}",
            fix="nothing was stored; try another build of numpy and scipy, and tell the makers of brainbrr",
        )


def compute() -> str:
    """Return the XXH3-128 of the filtered numbers, as little-endian 64-bit integers."""
    n = 2 * _RATE_HZ
    noise = (np.arange(1, 4 * n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(48)
    x = noise.astype(np.uint16).view(np.int16).reshape(4, n)
    band = effective_band(Fraction(_RATE_HZ), 256, bandpass_hz=("0.5", "120"), notch_hz="60")
    y = Chain(Fraction(_RATE_HZ), 256, band).apply(x, first=0, n=n, start=0, stop=512)
    return xxh3_128(y.astype("<i8").tobytes())
