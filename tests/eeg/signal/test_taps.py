"""The designer of integer taps: golden at the ten rates, right against a float design, the same sums everywhere."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from eeg.signal.tones import ODD_RATES, RATES, chain_of

from brainbrr.core.digest import xxh3_128
from brainbrr.eeg.signal.taps import Kernel, cosine, normalised

# When one of these changes, every content does: raise the recipe's revision, never edit the golden.
GOLDEN = {
    128: "e6761934b16e6c7582bcde20f500b21f",
    160: "54a48691db487949ced7d27631928109",
    200: "f8b141f1e03be7cbd32fc88206af51e8",
    250: "2654fe497a5fc39884377b2174e9bd46",
    256: "0256ba8aa1e9091090dea8b55b4786ac",
    400: "cf95b9dadadbcc06284dacc348242aad",
    500: "3efbcdc53206c1872683038aaffd59dc",
    512: "2b6a906634247d1ed0fd644e1214dbde",
    1000: "9e162084f4d981cfdcab0f522429b6b4",
    2048: "455a198143cbbcd564adac2728934092",
}


def digest_of(rate: Fraction) -> str:
    """The taps of both stages, as little-endian 64-bit integers."""
    chain = chain_of(rate)
    taps = np.array(chain.taps, dtype="<i8").tobytes()
    if chain.resampler:
        chain.resampler._design(np.arange(chain.resampler.phases))
        taps += chain.resampler._taps.astype("<i8").tobytes()
    return xxh3_128(taps)


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_golden_taps(rate: Fraction) -> None:
    assert digest_of(rate) == GOLDEN[int(rate)]


@pytest.mark.parametrize("rate", [*RATES, ODD_RATES[0]], ids=lambda rate: f"{float(rate):.6g}")
def test_sums_of_taps_are_exact_and_the_filter_is_symmetric(rate: Fraction) -> None:
    chain = chain_of(rate)
    assert sum(chain.taps) == 0
    assert chain.taps == chain.taps[::-1]
    if chain.resampler:
        phases = np.arange(0, chain.resampler.phases, max(1, chain.resampler.phases // 500))
        chain.resampler._design(phases)
        done = phases * chain.resampler.step % chain.resampler.phases
        assert set(chain.resampler._taps[done].sum(axis=1).tolist()) == {1 << 20}


@pytest.mark.parametrize("turns", [Fraction(60, 256), Fraction(1, 3), Fraction(1, 1 << 20), Fraction(7, 5)])
def test_cosine_is_right_to_thirty_bits(turns: Fraction) -> None:
    n = np.arange(-20_000, 20_000)
    angle = 2 * np.pi * np.array([float(turns * int(each) % 1) for each in n])
    assert np.abs(cosine(turns, n) / 2**30 - np.cos(angle)).max() < 2**-27


@pytest.mark.parametrize(
    ("pass_hz", "stop_hz", "db", "per_s"),
    [
        (Fraction(120), Fraction(124), 84, Fraction(256)),
        (Fraction(0), Fraction("0.5"), 60, Fraction(256)),
        (Fraction(120), Fraction(132), 84, Fraction(250) * 128),
        (Fraction(120), Fraction("133.5"), 84, Fraction(250) * 80_032),
    ],
)
def test_a_kernel_is_a_kaiser_windowed_sinc(pass_hz: Fraction, stop_hz: Fraction, db: int, per_s: Fraction) -> None:
    kernel = Kernel(pass_hz, stop_hz, db, per_s)
    n = np.unique(np.linspace(-1.1 * kernel.reach, 1.1 * kernel.reach, 5001).astype(np.int64))
    inside = np.maximum(1 - (n / kernel.reach) ** 2, 0)
    beta = 0.1102 * (db - 8.7)
    window = np.where(np.abs(n) < kernel.reach, np.i0(beta * np.sqrt(inside)) / np.i0(beta), 0)
    wanted = np.sinc(float((pass_hz + stop_hz) / per_s) * n) * window
    assert np.abs(kernel.at(n) / 2**31 - wanted).max() < 2**-25
    assert np.array_equal(kernel.at(-n), kernel.at(n))


def test_what_rounding_leaves_over_goes_to_the_largest_tap_nearest_the_middle() -> None:
    taps = np.array([1, 1, 1, 1, 1], dtype=np.int64) << 20
    assert normalised(taps, 7).tolist() == [1, 1, 3, 1, 1]
    assert normalised(np.array([[0, 3, 1], [1, 1, 0]], dtype=np.int64), 1000).tolist() == [[0, 750, 250], [500, 500, 0]]
