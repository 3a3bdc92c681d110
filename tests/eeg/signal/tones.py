"""How good the default filters are, measured with tones: python tests/eeg/signal/tones.py [--plot FILE.png]

Integer tones at full scale go through `fir.Chain`; what comes out is compared with the tone itself, away from the
ends but for the time they take to settle: until tones of 5 to 20 Hz are right within 5 % and within 1 %. Prints a
row for each rate; test_tones.py holds the same figures.
"""

# ruff: noqa: T201 - a script: it prints
from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.eeg.signal.fir import Chain
from brainbrr.eeg.signal.recipe import effective_band

Array = np.ndarray[Any, np.dtype[np.float64]]

RATES = [Fraction(rate) for rate in (128, 160, 200, 250, 256, 400, 500, 512, 1000, 2048)]
ODD_RATES = [Fraction(250) / Fraction("1.0004"), Fraction("199.8"), Fraction(1024, 3)]
AMPLITUDE = 32_000
SECONDS = 40
SETTLED_S = 4  # half the filter is 3.6 s
PHASE = 1.0


@dataclass(frozen=True)
class Quality:
    """What the filters do at one rate: dB against a tone of full scale, seconds, microvolts."""

    rate: Fraction
    high_hz: float
    ripple_db: float
    notch_db: float | None
    above_db: float
    alias_db: float | None
    rest_db: float
    delay_s: float
    settling_s: tuple[float, float]


def chain_of(rate: Fraction) -> Chain:
    """Return the default recipe's filters for a rate."""
    return Chain(rate, 256, effective_band(rate, 256, bandpass_hz=("0.5", "120"), notch_hz="60"))


def filtered(rate: Fraction, hz: Sequence[float], *, seconds: int = SECONDS) -> tuple[Array, Array]:
    """Return what becomes of tones of amplitude 1 (tones, 256 · seconds), and the time of each sample."""
    chain = chain_of(rate)
    n = int(rate * seconds)
    t = np.arange(n) / float(rate)
    x = np.rint(AMPLITUDE * np.cos(2 * np.pi * np.asarray(hz)[:, None] * t + PHASE)).astype(np.int16)
    y = chain.apply(x, first=0, n=n, start=0, stop=chain.length(n)) / AMPLITUDE / 2.0**chain.fraction_bits
    return y, np.arange(y.shape[1]) / 256


def inner(y: Array) -> Array:
    """Return the settled part of signals."""
    return y[:, SETTLED_S * 256 : -SETTLED_S * 256]


def fit(rate: Fraction, hz: Sequence[float]) -> tuple[Array, Array, Array]:
    """Return gain, delay in seconds and the largest rest (images, aliases, rounding) of each tone."""
    y, t = filtered(rate, hz)
    settled, t = inner(y), inner(t[None])[0]
    gains, delays, rests = [], [], []
    for row, f in zip(settled, hz, strict=True):
        basis = np.stack([np.cos(2 * np.pi * f * t), -np.sin(2 * np.pi * f * t)], axis=1)
        (a, b), *_ = np.linalg.lstsq(basis, row, rcond=None)
        gains.append(abs(complex(a, b)))
        delays.append((PHASE - np.angle(complex(a, b))) / (2 * np.pi * f))
        rests.append(np.abs(row - basis @ (a, b)).max())
    return np.array(gains), np.array(delays), np.array(rests)


def db(ratio: float) -> float:
    """Return a ratio of amplitudes in decibels."""
    return float(20 * np.log10(max(ratio, 1e-12)))


def stopped(rate: Fraction, hz: Sequence[float]) -> float | None:
    """Return the most that is left of tones, in dB; None without tones."""
    return db(float(np.abs(inner(filtered(rate, hz)[0])).max())) if len(hz) else None


def quality(rate: Fraction) -> Quality:
    """Measure one rate."""
    band = effective_band(rate, 256, bandpass_hz=("0.5", "120"), notch_hz="60")
    high = float(band.high_hz or 0)
    limit = min(float(rate), 256) / 2
    stop = high + min((limit - high) / 2, max(high / 4, 2.0))
    passed = np.unique(np.concatenate([np.geomspace(0.5, high, 40), np.linspace(high - 4, high, 9)]))
    passed = passed[(np.abs(passed - 60) >= 1.2) | (band.notch_hz is None)]
    gains, delays, rests = fit(rate, passed.tolist())
    above = [f for f in np.linspace(stop, 127.9, 12) if f < 0.499 * rate]
    folding = [f for f in np.linspace(128.1, 0.499 * float(rate), 24) if f < 0.499 * rate]
    return Quality(
        rate=rate,
        high_hz=high,
        ripple_db=max(abs(db(gain)) for gain in gains),
        notch_db=stopped(rate, [59.8, 59.9, 60.0, 60.1, 60.2]) if band.notch_hz is not None else None,
        above_db=stopped(rate, above) or -np.inf,
        alias_db=stopped(rate, folding),
        rest_db=db(float(rests.max())),
        delay_s=float(np.abs(delays).max()),
        settling_s=settling(rate),
    )


def settling(rate: Fraction) -> tuple[float, float]:
    """Return the times from either end after which tones of 5 to 20 Hz are right within 5 % and within 1 %."""
    hz = np.linspace(5, 20, 16)
    y, t = filtered(rate, hz.tolist(), seconds=20)
    error = np.abs(y - np.cos(2 * np.pi * hz[:, None] * t + PHASE)).max(axis=0)
    times = np.minimum(t, t[-1] - t)
    within_5, within_1 = (float(times[error > part].max(initial=0.0)) for part in (0.05, 0.01))
    return within_5, within_1


def plot(file: Path) -> None:
    """Draw the gain over frequency, whole and at the edges."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), layout="constrained")
    whole, low, ripple, high = figure.subplots(2, 2).flat
    for rate in RATES:
        top = 0.499 * float(rate)
        for axes, hz in (
            (whole, np.concatenate([np.linspace(0.5, 150, 120), np.linspace(151, top, 60)])),
            (low, np.linspace(0.05, 1.2, 40)),
            (ripple, np.linspace(0.5, 122, 200)),
            (high, np.linspace(110, 135, 60)),
        ):
            hz = hz[hz < top]
            if len(hz):
                level = np.sqrt(2) * inner(filtered(rate, hz.tolist())[0]).std(axis=1)
                axes.plot(hz, 20 * np.log10(np.maximum(level, 1e-7)), lw=1, label=f"{rate} Hz")
    whole.set(title="What is left of a tone", xlabel="Hz", ylabel="dB", ylim=(-125, 5), xscale="log")
    low.set(title="High-pass: 0.5 Hz", xlabel="Hz", ylabel="dB", ylim=(-70, 3))
    ripple.set(title="Pass band and notch", xlabel="Hz", ylabel="dB", ylim=(-0.05, 0.05))
    high.set(title="Low-pass: 120 Hz, and what would fold", xlabel="Hz", ylabel="dB", ylim=(-125, 5))
    for axes in (whole, low, ripple, high):
        axes.grid(alpha=0.3)
    whole.legend(fontsize=7, ncols=2)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Print a row for each rate."""
    parser = argparse.ArgumentParser(description="How good the default filters are, measured with tones.")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    arguments = parser.parse_args()
    print(
        "rate Hz\tband to Hz\tripple dB\t60 Hz ± 0.2 dB\tabove band dB\taliases dB\timages dB\tdelay µs\t5 % s\t1 % s"
    )
    for rate in [*RATES, *ODD_RATES]:
        q = quality(rate)
        levels = ["–" if level is None else f"{level:.1f}" for level in (q.notch_db, q.above_db, q.alias_db, q.rest_db)]
        row = [f"{float(rate):.6g}", f"{q.high_hz:g}", f"{q.ripple_db:.4f}", *levels]
        print("\t".join([*row, f"{1e6 * q.delay_s:.2f}", *(f"{s:.2f}" for s in q.settling_s)]), flush=True)
    if arguments.plot:
        plot(arguments.plot)


if __name__ == "__main__":
    main()
