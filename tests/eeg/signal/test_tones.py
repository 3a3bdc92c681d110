"""How good the default filters are at every rate: the figures of the documentation, held against analytic tones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from eeg.signal.tones import ODD_RATES, RATES, chain_of, filtered, fit, inner, quality
from helpers.edf_bytes import File, Made

from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.recipe import Recipe


@pytest.mark.slow
@pytest.mark.parametrize("rate", [*RATES, *ODD_RATES], ids=lambda rate: f"{float(rate):.6g}")
def test_the_filters_do_what_the_documentation_says(rate: Fraction) -> None:
    found = quality(rate)
    assert found.ripple_db < 0.012
    assert found.notch_db is None or found.notch_db < -73
    assert found.above_db < -73
    assert found.alias_db is None or found.alias_db < -83
    assert found.rest_db < -75  # all images of a tone together
    assert found.delay_s < 1e-6
    assert found.settling_s[0] < 1.4 and found.settling_s[1] < 3.0


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES, ids=str)
def test_an_offset_is_exactly_nothing(rate: Fraction) -> None:
    n = int(rate * 10)
    for offset in (1, -32_768, 32_767):
        x = np.full((1, n), offset, dtype=np.int16)
        assert not chain_of(rate).apply(x, first=0, n=n, start=0, stop=2560).any()


@pytest.mark.slow
@pytest.mark.parametrize("rate", [*RATES, *ODD_RATES], ids=lambda rate: f"{float(rate):.6g}")
def test_each_image_and_each_alias_is_80_db_down(rate: Fraction) -> None:
    hz = [f for f in (3.0, 17.0, 41.0, 55.0, 75.0, 95.0, 113.0, 131.0, 180.0, 247.0, 499.0) if f < 0.49 * rate]
    y, _ = filtered(rate, hz)
    settled = inner(y)
    window = np.hanning(settled.shape[1] + 1)[:-1]
    level = np.abs(np.fft.rfft(settled * window)) / (window.sum() / 2)
    found = np.fft.rfftfreq(settled.shape[1], 1 / 256)
    for f, row in zip(hz, level, strict=True):
        elsewhere = np.abs(found - f) > 0.5
        assert row[elsewhere].max() < 1e-4, (f, found[elsewhere][row[elsewhere].argmax()])


def test_a_tone_of_the_high_pass_edge_is_6_db_down_half_way() -> None:
    gains, _, _ = fit(Fraction(256), [0.25])
    assert 20 * np.log10(gains[0]) == pytest.approx(-6.02, abs=0.1)


def test_the_quantum_adds_less_than_the_edf_did(tmp_path: Path) -> None:
    step_uv = 5000 / 32_767  # as TUSZ: 0.153 µV
    rng = np.random.default_rng(0)
    samples = np.rint(rng.normal(0, 200, 256 * 60)).astype(np.int16)
    made = Made("Fp1", samples, 256, physical=("-5000", "5000"), digital=("-32767", "32767"))
    path = File([made]).write(tmp_path)
    stored = preprocess(path, Recipe(channels=("Fp1",)))
    finer = preprocess(path, Recipe(channels=("Fp1",), quantum_uv="0.001"))
    error_uv = stored.samples[0] * 0.125 - finer.samples[0] * 0.001 * 2.0 ** finer.k[0]
    assert error_uv.std() == pytest.approx(0.125 / np.sqrt(12), rel=0.05)
    assert error_uv.std() < step_uv / np.sqrt(12)
