"""brain-go-brr's steps: as scipy has them, as textbooks have them, and what is stored of them."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.edf_bytes import File, Made
from scipy import signal

from brainbrr.eeg.signal.filters import apply_upstream, n_resampled
from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.recipe import PRESETS
from brainbrr.errors import ConfigError, DependencyError

Array = np.ndarray[Any, np.dtype[np.float64]]

AGREEMENT_UV = 1e-7  # by hand and by scipy, on an offset of 3 mV; 1e-8 was measured, from the rounding of b and a


def noise_uv(n: int, *, offset_uv: float = 0.0) -> Array:
    """Brown and white noise, as an EEG has them."""
    rng = np.random.default_rng(n)
    brown = np.cumsum(rng.normal(0, 3, n))
    return offset_uv + brown - brown.mean() + rng.normal(0, 20, n)


# The steps by hand: nothing of scipy.


def resampled_by_hand(x: Array, n_new: int) -> Array:
    """The trigonometric polynomial through all samples, without what the new rate cannot hold."""
    n, shorter = len(x), min(len(x), n_new)
    t = np.arange(n_new) / n_new
    y = np.full(n_new, x.sum())
    for k in range(1, shorter // 2 + 1):
        wave = np.exp(-2j * np.pi * k * np.arange(n) / n) @ x
        half = 2 * k == shorter and n_new > n  # an even length's last frequency belongs half to its mirror image
        y += (1 if half else 2) * np.real(wave * np.exp(2j * np.pi * k * t))
    return y / n


def butterworth_by_hand(low_hz: float, high_hz: float, fs: float) -> tuple[Array, Array]:
    """Order 3: prototype poles on the unit circle, low-pass to band-pass, bilinear transform."""
    low, high = (2 * fs * np.tan(np.pi * edge / fs) for edge in (low_hz, high_hz))
    prototype = np.exp(1j * np.pi * np.array([2, 3, 4]) / 3)
    centred = prototype * (high - low) / 2
    root = np.sqrt(centred**2 - low * high)
    s = np.concatenate((centred + root, centred - root))
    a = np.poly((2 * fs + s) / (2 * fs - s)).real
    b = np.poly([1, 1, 1, -1, -1, -1])
    centre = np.exp(-2j * np.arctan(np.sqrt(low * high) / (2 * fs)) * np.arange(7))
    return b * np.abs((a @ centre) / (b @ centre)), a


def notch_by_hand(hz: float, q: float, fs: float) -> tuple[Array, Array]:
    """Orfanidis, Introduction to Signal Processing, 11.3.19."""
    beta = np.tan(np.pi * hz / q / fs)
    turn = -2 * np.cos(2 * np.pi * hz / fs)
    b = np.array([1, turn, 1]) / (1 + beta)
    return b, np.array([1, b[1], (1 - beta) / (1 + beta)])


def filtered_by_hand(b: Array, a: Array, x: Array) -> Array:
    """The difference equation, sample by sample, from rest, in extended precision."""
    y = np.zeros(len(x) + len(a), dtype=np.longdouble)
    padded = np.concatenate((np.zeros(len(b) - 1), x)).astype(np.longdouble)
    for i in range(len(x)):
        past = y[i : i + len(a) - 1][::-1]
        y[i + len(a) - 1] = b @ padded[i : i + len(b)][::-1] - a[1:] @ past
    return y[len(a) - 1 : len(a) - 1 + len(x)].astype(np.float64)


def by_hand(x: Array, rate: int) -> Array:
    if rate != 256:
        x = resampled_by_hand(x, round(len(x) * 256 / rate))
    return filtered_by_hand(*notch_by_hand(60, 30, 256), filtered_by_hand(*butterworth_by_hand(0.5, 120, 256), x))


@pytest.mark.parametrize("rate", [128, 160, 200, 250, 256, 400, 512, 1000])
@pytest.mark.parametrize("extra", [0, 1])
def test_the_steps_are_scipys_bit_for_bit(rate: int, extra: int) -> None:
    x = noise_uv(10 * rate + extra, offset_uv=3000)
    y = signal.resample(x, round(len(x) * 256.0 / rate)) if rate != 256 else x
    y = signal.lfilter(*signal.butter(3, [0.5 / 128, 120 / 128], btype="band"), y)
    y = signal.lfilter(*signal.iirnotch(60, Q=30, fs=256.0), y)
    assert np.array_equal(apply_upstream(x, Fraction(rate)), y)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "n"), [(250, 2500), (250, 2501), (256, 2560), (160, 1601), (400, 4000), (512, 5121)])
def test_the_steps_are_those_of_the_textbook(rate: int, n: int) -> None:
    x = noise_uv(n, offset_uv=3000)
    np.testing.assert_allclose(apply_upstream(x, Fraction(rate)), by_hand(x, rate), rtol=0, atol=AGREEMENT_UV)


def test_the_gains_are_those_of_butterworth_and_of_the_notch() -> None:
    impulse = np.zeros(256 * 64)
    impulse[0] = 1
    hz = np.arange(1, 128 * 64) / 64
    band, notch = (np.abs(np.fft.rfft(apply_upstream(impulse, Fraction(256), **off))[1:-1]) for off in OFF)
    low, high, at = (np.tan(np.pi * edge / 256) for edge in (0.5, 120, hz))
    np.testing.assert_allclose(band, 1 / np.sqrt(1 + ((at**2 - low * high) / (at * (high - low))) ** 6), atol=1e-9)
    assert band[hz == 0.5] == pytest.approx(np.sqrt(0.5)) and band[hz == 120] == pytest.approx(np.sqrt(0.5))
    assert notch[hz == 60] < 1e-9 and notch[hz == 10] == pytest.approx(1, abs=1e-3)
    assert notch[(hz > 59.1) & (hz < 60.9)].max() < np.sqrt(0.5) < notch[(hz < 58.9) | (hz > 61.1)].min()


OFF: tuple[dict[str, Any], ...] = ({"notch_hz": None}, {"bandpass_hz": None})


def test_the_filters_are_causal_and_start_from_rest() -> None:
    x = noise_uv(2560)
    changed = x.copy()
    changed[1000:] += 500
    y, z = apply_upstream(x, Fraction(256)), apply_upstream(changed, Fraction(256))
    assert np.array_equal(y[:1000], z[:1000]) and not np.array_equal(y[1000:], z[1000:])
    assert (
        apply_upstream(np.full(2560, 100.0), Fraction(256)).max() > 80
    )  # an offset is a step, which rings for seconds


@pytest.mark.parametrize(("fs", "offset_uv", "share"), [(256, 0, 1e-10), (256, 3000, 1e-10), (2048, 3000, 1e-5)])
def test_the_b_a_form_agrees_with_second_order_sections(fs: int, offset_uv: float, share: float) -> None:
    x = noise_uv(fs * 300, offset_uv=offset_uv)
    sections = signal.sosfilt(signal.butter(3, [0.5, 120], "bandpass", fs=fs, output="sos"), x)
    assert np.abs(apply_upstream(x, Fraction(fs), fs, notch_hz=None) - sections).max() <= share * np.abs(x).max()


def test_a_band_pass_that_would_explode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.5 to 120 Hz is unstable at 16384 Hz"):
        apply_upstream(noise_uv(100), Fraction(16384), 16384)


@pytest.mark.slow
def test_each_step_can_be_switched_off_and_the_rate_chosen() -> None:
    x = noise_uv(2500)
    nothing = apply_upstream(x, Fraction(250), 250, bandpass_hz=None, notch_hz=None)
    assert np.array_equal(nothing, x) and nothing.dtype == np.float64
    only_resampled = apply_upstream(x, Fraction(250), 128, bandpass_hz=None, notch_hz=None)
    np.testing.assert_allclose(only_resampled, resampled_by_hand(x, 1280), atol=AGREEMENT_UV)
    fifty = apply_upstream(x, Fraction(250), 200, bandpass_hz=("1", "40"), notch_hz="50")
    expected = filtered_by_hand(*butterworth_by_hand(1, 40, 200), resampled_by_hand(x, 2000))
    expected = filtered_by_hand(*notch_by_hand(50, 30, 200), expected)
    np.testing.assert_allclose(fifty, expected, rtol=0, atol=AGREEMENT_UV)


def test_the_length_is_rounded_a_half_to_even_and_never_zero() -> None:
    lengths = {250: 256, 251: 257, 125: 128, 1: 1, 2: 2, 0: 1}
    assert {n: n_resampled(n, Fraction(250), 256) for n in lengths} == lengths
    assert [n_resampled(n, Fraction(512), 256) for n in (1, 3, 5, 7)] == [1, 2, 2, 4]
    assert [len(apply_upstream(np.ones(n), Fraction(512))) for n in (1, 3, 5, 7)] == [1, 2, 2, 4]
    assert n_resampled(250 * 300, Fraction(250 * 10_000, 10_004), 256) == round(300 * 1.0004 * 256)


def test_what_is_not_a_number_never_becomes_silence() -> None:
    x = noise_uv(2500)
    x[1200] = np.nan
    assert np.isnan(apply_upstream(x, Fraction(250))).all()  # the FFT spreads it
    assert np.isnan(apply_upstream(x, Fraction(250), 250)[1200:]).all()


@pytest.mark.slow
def test_scipy_waits_until_it_is_needed() -> None:
    code = "import sys, brainbrr.eeg.signal.filters, brainbrr.eeg.signal.preprocess; print('scipy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_without_scipy_the_preset_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(DependencyError, match=r"needs scipy\n.*brainbrr\[upstream\]"):
        apply_upstream(noise_uv(1000), Fraction(250))


@pytest.mark.slow
@pytest.mark.parametrize("rate", [200, 250, 256])
def test_what_the_preset_stores_is_within_half_a_step_of_the_textbook(rate: int, tmp_path: Path) -> None:
    recipe = PRESETS["upstream"]
    digital = np.rint(noise_uv(10 * rate) * 10).astype(np.int16)
    made = preprocess(File([Made(name, digital, rate) for name in recipe.channels]).write(tmp_path), recipe)
    expected = by_hand(digital / 10, rate)
    for row, k in zip(made.samples, made.k, strict=True):
        step_uv = float(recipe.quantum_uv) * 2**k
        assert len(row) == len(expected)
        assert np.abs(row * step_uv - expected).max() <= step_uv / 2 + AGREEMENT_UV


def test_a_record_says_that_floats_are_not_exact_and_the_edges_that_were_used(tmp_path: Path) -> None:
    recipe = PRESETS["upstream"]
    digital = np.rint(noise_uv(10 * 160) * 10).astype(np.int16)
    made = preprocess(File([Made(name, digital, 160) for name in recipe.channels]).write(tmp_path), recipe)
    assert recipe.identity()["exact"] is False and made.certificate == {}
    assert made.facts["band_hz"] == {"low": "0.5", "high": "120", "notch": "60"}  # brain-go-brr lowers none
