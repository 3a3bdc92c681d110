"""Which frequencies are kept: the edges of a recipe's filters, and what a recording's own rate leaves of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

MAX_RATIO_TERM = 1 << 17
"""The most that numerator and denominator of a resampling ratio may be: 1.0004 s records still pass."""

NOTCH_STOP_HZ, NOTCH_PASS_HZ = Fraction("0.2"), Fraction("1.2")
"""On either side of a notch: where it is 80 dB down, and where the gain is one again."""


@dataclass(frozen=True)
class Band:
    """What a filter chain passes: edges in Hz, None where that step is off."""

    low_hz: Fraction | None
    high_hz: Fraction | None
    notch_hz: Fraction | None


@cache
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
