"""Revision 0 of the signal path: real files stored or refused, filters against tones with known answers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.edf_bytes import File, Made, noise, with_fields

from brainbrr.core.digest import canonical_json
from brainbrr.core.statistics import Statistics
from brainbrr.eeg.signal.fir import Chain
from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.eeg.signal.preprocess import ABSENT, Preprocessed, check, preprocess
from brainbrr.eeg.signal.recipe import Recipe, effective_band
from brainbrr.errors import EdfError

DEFAULT = Recipe()


def assert_sound(made: Preprocessed) -> None:
    present = [i for i, name in enumerate(made.channels) if name not in made.absent]
    absent = [i for i, name in enumerate(made.channels) if name in made.absent]
    assert made.samples.dtype == np.int16 and made.samples.flags.c_contiguous
    assert made.samples[present].min() > ABSENT and (made.samples[absent] == ABSENT).all()
    assert made.statistics["n"] == made.samples.shape[1]
    canonical_json(made.facts)  # raises for a float
    canonical_json(made.statistics)


# A made file: channels of the 10-20 system, one signal each.

UV = tuple[str, str]
FINE: UV = ("-327.68", "327.67")  # 0.01 µV a step


def recorded(
    tmp_path: Path,
    waves_uv: dict[str, Callable[[Any], Any]],
    *,
    rate: int = 256,
    seconds: int = 20,
    physical: UV = ("-3276.8", "3276.7"),
    recipe: Recipe | None = None,
) -> dict[str, Any]:
    """Write functions of time (in seconds) as an EDF; return what is stored of each, in µV."""
    t = np.arange(rate * seconds) / rate
    step_uv = (float(physical[1]) - float(physical[0])) / 65535
    zero_uv = float(physical[0]) + 32768 * step_uv
    signals = [
        Made(name, np.rint((wave(t) - zero_uv) / step_uv).astype(np.int16), rate, physical=physical)
        for name, wave in waves_uv.items()
    ]
    path = File(signals).write(tmp_path)
    recipe = recipe or Recipe(channels=tuple(waves_uv))
    made = preprocess(path, recipe)
    assert_sound(made)
    steps = [float(Fraction(made.quantum_uv) * 2**k) for k in made.k]
    return {name: row * step for name, row, step in zip(made.channels, made.samples, steps, strict=True)}


def tone(hz: float, amplitude_uv: float) -> Callable[[Any], Any]:
    return lambda t: amplitude_uv * np.cos(2 * np.pi * hz * t + 1.0)


def tones(hz: list[float], amplitude_uv: float) -> dict[str, Callable[[Any], Any]]:
    assert len(hz) <= len(TEN_TWENTY)
    return {name: tone(f, amplitude_uv) for name, f in zip(TEN_TWENTY, hz, strict=False)}


INNER = slice(7 * 256, -7 * 256)  # half the filter is 6.1 s


def fitted(x: Any, hz: float) -> tuple[complex, float]:
    """Return the complex amplitude of a tone at this frequency, and the largest rest, away from the ends."""
    t = np.arange(len(x))[INNER] / 256
    basis = np.stack([np.cos(2 * np.pi * hz * t), -np.sin(2 * np.pi * hz * t)], axis=1)
    weights, *_ = np.linalg.lstsq(basis, x[INNER], rcond=None)
    return complex(weights[0], weights[1]), float(np.abs(x[INNER] - basis @ weights).max())


RATES = (128, 160, 200, 250, 256, 400, 512, 1000)


@pytest.mark.parametrize("rate", RATES)
def test_tones_keep_their_size_and_their_place(tmp_path: Path, rate: int) -> None:
    high = min(120.0, 0.48 * rate)
    hz = [f for f in (1.0, 2.0, 5.0, 10.0, 30.0, 45.0, 57.0, 63.0, 75.0, 90.0, 110.0, 118.0) if f < high - 0.5]
    stored = recorded(tmp_path, tones(hz, 300.0), rate=rate, physical=FINE)
    for f, x in zip(hz, stored.values(), strict=True):
        amplitude, rest_uv = fitted(x, f)
        gain_db = 20 * np.log10(abs(amplitude) / 300)
        delay_s = -(np.angle(amplitude) - 1.0) / (2 * np.pi * f)
        assert abs(gain_db) < 0.005, (f, gain_db)
        assert abs(delay_s) < 10e-6, (f, delay_s)
        assert rest_uv < 0.1, (f, rest_uv)  # half a quantum, half an EDF step: no images, no aliases


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 128])
def test_mains_are_gone_by_60_db(tmp_path: Path, rate: int) -> None:
    hz = [59.8, 60.0, 60.2]
    for f, x in zip(hz, recorded(tmp_path, tones(hz, 3000.0), rate=rate).values(), strict=True):
        assert np.abs(x[INNER]).max() <= 3.0, f


@pytest.mark.slow
@pytest.mark.parametrize("rate", [400, 512, 1000])
def test_what_is_above_the_band_leaves_no_alias(tmp_path: Path, rate: int) -> None:
    hz = np.linspace(124, 0.48 * rate, 19).tolist()
    for f, x in zip(hz, recorded(tmp_path, tones(hz, 3000.0), rate=rate).values(), strict=True):
        assert np.abs(x[INNER]).max() <= 0.375, f  # 78 dB and the quantum


@pytest.mark.parametrize("rate", [160, 250, 256, 512])
def test_an_offset_of_100_mv_leaves_no_transient(tmp_path: Path, rate: int) -> None:
    rng = np.random.default_rng(0)
    background = {"Fp1": lambda t: 30 * np.cos(60 * t) + rng.normal(0, 5, len(t))}
    without = recorded(tmp_path, background, rate=rate, seconds=8)["Fp1"]
    rng = np.random.default_rng(0)
    shifted = {"Fp1": lambda t: background["Fp1"](t) + 100_000}
    physical = ("96723.2", "103276.7")
    with_offset = recorded(tmp_path, shifted, rate=rate, seconds=8, physical=physical)["Fp1"]
    assert np.abs(with_offset - without).max() <= 0.25  # two quanta: the EDF steps of 0.1 µV lie elsewhere


def test_an_offset_within_the_samples_leaves_no_transient(tmp_path: Path) -> None:
    for rate in (160, 250, 256, 1000):
        waves = {name: lambda t: 20 * np.sin(20 * np.pi * t) for name in ("F3", "C3")}
        stored = recorded(tmp_path, {"Fp1": lambda t: 3000 + 0.1 * (t > 1.9), **waves}, rate=rate, seconds=4)
        assert np.abs(stored["Fp1"]).max() <= 0.125, rate


def test_two_seconds_of_drift_do_not_grow(tmp_path: Path) -> None:
    stored = recorded(tmp_path, {"Fp1": lambda t: 144 * t + 20 * np.cos(2 * np.pi * 10 * t)}, seconds=2)
    assert len(stored["Fp1"]) == 512
    assert np.abs(stored["Fp1"]).max() < 200  # the input reaches 308
    middle = stored["Fp1"][64:-64]
    wave = 20 * np.cos(2 * np.pi * 10 * np.arange(512) / 256)[64:-64]
    assert middle @ wave / (wave @ wave) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rate", [200, 256])
def test_both_ends_are_continued_by_one_odd_reflection_and_then_held(rate: int) -> None:
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.integers(-50, 60, 2 * rate))
    n_held = 20 * rate  # longer than the filter, whatever lies beyond
    left, right = 2 * x[0] - x[:0:-1], 2 * x[-1] - x[-2::-1]
    longer = np.concatenate([np.full(n_held, left[0]), left, x, right, np.full(n_held, right[-1])])
    pad = n_held + len(left)
    longer = np.concatenate([np.full(-pad % rate, left[0]), longer])  # a whole number of seconds
    start = (pad + -pad % rate) * 256 // rate
    chain = Chain(Fraction(rate), 256, effective_band(Fraction(rate), 256, bandpass_hz=("0.5", "90"), notch_hz="60"))
    x, longer = (np.array([each], dtype=np.int16) for each in (x, longer))
    ours = chain.apply(x, first=0, n=x.shape[1], start=0, stop=512)
    assert np.array_equal(ours, chain.apply(longer, first=0, n=longer.shape[1], start=start, stop=start + 512))


@pytest.mark.parametrize("low, high", [(0.5, 120.0), (1.0, 40.0)])
def test_the_pass_band_is_that_of_mne_at_256_hz(tmp_path: Path, low: float, high: float) -> None:
    from mne.filter import filter_data

    rng = np.random.default_rng(1)
    hz = np.fft.rfftfreq(256 * 60, 1 / 256)
    spectrum = np.where((hz > low) & (hz < high), rng.normal(size=(2, len(hz))), 0)
    x = np.fft.irfft(spectrum[0] + 1j * spectrum[1])
    x *= 300 / x.std()
    recipe = Recipe(channels=("Fp1",), bandpass_hz=(str(low), str(high)), notch_hz=None)
    ours = recorded(tmp_path, {"Fp1": lambda t: x}, seconds=60, recipe=recipe)["Fp1"]
    theirs = filter_data(x, 256.0, low, high, verbose="error")
    rest = (ours - theirs)[INNER]
    assert rest.std() < 0.002 * x.std()  # the ripple of its Hamming windows


@pytest.mark.parametrize("rate, record_s, n_records, n", [
    (250, "1", 3, 768), (160, "1", 3, 480 * 8 // 5), (256, "0.125", 3, 96), (128, "9.59375", 1, 2456),
    (100, "0.01", 1, 3), (200, "0.1", 7, 180), (1000, "0.003", 5, 4),
])  # fmt: skip
def test_the_stored_length_covers_the_last_sample(
    tmp_path: Path, rate: int, record_s: str, n_records: int, n: int
) -> None:
    per_record = int(rate * Fraction(record_s))
    samples = np.arange(per_record * n_records, dtype=np.int16)
    path = File([Made("Fp1", np.append(samples[1:], 9), per_record)], record_s=record_s).write(tmp_path)
    made = preprocess(path, Recipe(channels=("Fp1",)))
    assert made.samples.shape == (1, n)
    assert_sound(made)


@pytest.mark.slow
def test_a_record_duration_of_1_0004_s_is_resampled_at_its_exact_rate(tmp_path: Path) -> None:
    rate = Fraction(250 * 10_000, 10_004)
    samples = np.rint(30_000 * np.cos(2 * np.pi * 10 * np.arange(250 * 300) / float(rate) + 1.0))
    signal = Made("Fp1", samples.astype(np.int16), 250, physical=FINE)
    made = preprocess(File([signal], record_s="1.0004").write(tmp_path), Recipe(channels=("Fp1",)))
    amplitude, rest_uv = fitted(made.samples[0] / 8, 10.0)
    assert made.facts["edf"]["rates"] == {"Fp1": str(rate)}
    assert abs(amplitude) == pytest.approx(300, rel=1e-3) and np.angle(amplitude) == pytest.approx(1, abs=1e-4)
    assert rest_uv < 0.1


def test_channels_of_different_rates_stay_aligned(tmp_path: Path) -> None:
    signals = []
    for name, rate in (("Fp1", 250), ("F3", 512), ("C3", 256), ("P3", 100)):
        t = np.arange(rate * 20) / rate
        signals.append(Made(name, np.rint(20_000 * np.cos(2 * np.pi * 7 * t)).astype(np.int16), rate, physical=FINE))
    made = preprocess(File(signals).write(tmp_path), Recipe(channels=("Fp1", "F3", "C3", "P3")))
    assert np.ptp(made.samples[:, INNER].astype(int), axis=0).max() <= 1
    assert made.facts["band_hz"]["P3"] == {"low": "0.5", "high": "48", "notch": None}
    assert made.facts["band_hz"]["Fp1"] == {"low": "0.5", "high": "120", "notch": "60"}
    assert made.facts["edf"]["rates"] == {"Fp1": "250", "F3": "512", "C3": "256", "P3": "100"}


def test_without_filters_the_samples_are_the_edf_in_quanta(tmp_path: Path) -> None:
    signal = noise("Fp1")
    made = preprocess(
        File([signal]).write(tmp_path), Recipe(channels=("Fp1",), bandpass_hz=None, notch_hz=None, quantum_uv="0.1")
    )
    assert np.array_equal(made.samples[0], signal.samples)
    assert made.facts["band_hz"] == {"low": None, "high": None, "notch": None}


@pytest.mark.parametrize("rate", [160, 250, 1000])
def test_without_a_band_pass_offset_and_tone_come_through_resampling(tmp_path: Path, rate: int) -> None:
    recipe = Recipe(channels=("Fp1",), bandpass_hz=None, notch_hz=None)
    wave = {"Fp1": lambda t: 1200 + tone(10, 50.0)(t)}
    x = recorded(tmp_path, wave, rate=rate, physical=("1000", "1400"), recipe=recipe)["Fp1"]
    assert x[INNER].mean() == pytest.approx(1200, abs=0.1)
    amplitude, _ = fitted(x - 1200, 10)
    assert abs(amplitude) == pytest.approx(50, rel=1e-3) and np.angle(amplitude) == pytest.approx(1, abs=1e-3)


def test_the_notch_alone_keeps_everything_else(tmp_path: Path) -> None:
    recipe = Recipe(channels=("Fp1", "F3", "C3"), bandpass_hz=None)
    waves = {"Fp1": tone(60, 300.0), "F3": tone(57, 300.0), "C3": lambda t: 100 + 0.1 * (t > 10)}
    stored = recorded(tmp_path, waves, recipe=recipe)
    assert np.abs(stored["Fp1"][INNER]).max() <= 0.125
    assert abs(fitted(stored["F3"], 57)[0]) == pytest.approx(300, rel=1e-3)
    assert stored["C3"][INNER] == pytest.approx(100, abs=0.26)


@pytest.mark.parametrize("amplitude_uv, k", [(4.0, 0), (3000.0, 0), (6000.0, 1), (12_000.0, 2), (300_000.0, 7)])
def test_the_step_doubles_until_the_signal_fits(tmp_path: Path, amplitude_uv: float, k: int) -> None:
    # 200 whole cycles: it begins and ends at zero, where an odd reflection continues it
    samples = np.rint(32_000 * np.sin(2 * np.pi * 200 * np.arange(5120) / 5119)).astype(np.int16)
    physical = (f"{-amplitude_uv:g}", f"{amplitude_uv:g}")
    made = preprocess(File([Made("Fp1", samples, 256, physical=physical)]).write(tmp_path), Recipe(channels=("Fp1",)))
    assert made.k == (k,)
    assert k == 0 or np.abs(made.samples[0].astype(int)).max() > 16_383  # a smaller step would not have held it
    amplitude, _ = fitted(made.samples[0] * 0.125 * 2**k, 256 * 200 / 5119)
    assert abs(amplitude) == pytest.approx(amplitude_uv * 32_000 / 32_767.5, rel=1e-2)


def test_an_absent_channel_is_an_empty_row_and_a_flat_one_is_zeros(tmp_path: Path) -> None:
    flat = with_fields(noise("F3"), samples=np.full(1024, 77, dtype=np.int16))
    made = preprocess(File([noise("Fp1"), flat]).write(tmp_path), Recipe(channels=("C3", "F3", "Fp1")))
    assert made.absent == ("C3",) and made.facts["flat"] == ["F3"] and made.k == (0, 0, 0)
    assert (made.samples[0] == ABSENT).all() and (made.samples[1] == 0).all() and made.samples[2].any()
    assert made.statistics["sums"][:2] == [0, 0] and made.statistics["products"][:5] == [0] * 5
    assert made.statistics["quartiles"][:2] == [None, [0, 0, 0]]
    assert made.facts["edf"]["labels"] == {"F3": "F3", "Fp1": "Fp1"}


def test_statistics_are_exact_whatever_the_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    samples = rng.integers(-32767, 32768, (4, 70_001)).astype(np.int16)
    samples[0] = 32767  # the largest sums there are
    samples[2] = ABSENT
    gathered = Statistics(4, [0, 1, 3])
    for start, stop in ((0, 1), (1, 1), (1, 30_000), (30_000, 70_001)):
        gathered.update(samples[:, start:stop])
    statistics = gathered.result()
    rows = [[int(v) for v in row] for row in samples]
    rows[2] = [0] * 70_001
    assert statistics["n"] == 70_001
    assert statistics["sums"] == [sum(row) for row in rows]
    pairs = [(i, j) for i in range(4) for j in range(i, 4)]
    assert statistics["products"] == [sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) for i, j in pairs]
    for row, quartiles in zip(rows, statistics["quartiles"], strict=True):
        expected = [sorted(row)[-(-q * 70_001 // 4) - 1] for q in (1, 2, 3)]
        assert quartiles == (expected if row is not rows[2] else None)


ONE = Recipe(channels=("Fp1",))


def test_a_band_that_ends_below_its_beginning_is_refused(tmp_path: Path) -> None:
    path = File([noise("Fp1", rate=100)]).write(tmp_path)
    with pytest.raises(EdfError, match="at 100 Hz the band ends at 48 Hz, below the recipe's lower edge of 70 Hz"):
        check(path, Recipe(channels=("Fp1",), bandpass_hz=("70", "110"), notch_hz=None))


def test_signals_that_nobody_asks_for_may_be_anything(tmp_path: Path) -> None:
    others = [noise("SaO2", rate=1, unit="%"), noise("DC1", physical=("-1e7", "1e7")), noise("F3", unit="")]
    made = preprocess(File([*others, noise("Fp1")]).write(tmp_path), ONE)
    assert made.facts["edf"]["labels"] == {"Fp1": "Fp1"} and made.facts["notes"] == []


def test_what_is_odd_but_harmless_is_in_the_facts(tmp_path: Path) -> None:
    signals = [
        noise("Fp1", unit=b"\xb0V", digital=("-300", "32767")),
        noise("F3", physical=("-0,1", "0,1")),
        noise("C3"),
    ]
    file = File(signals, date="01:01:85", recording="X brainbrr_synthetic", trailing=b"a")
    made = preprocess(file.write(tmp_path), Recipe(channels=("Fp1", "F3", "C3")))
    notes = "\n".join(made.facts["notes"])
    for odd in (
        "after the last record are left out: 1",
        "start date and time are not valid",
        "comma",
        "byte B0 is read as µ",
        "('F3'): its physical range is below",
    ):
        assert odd in notes
    assert made.facts["synthetic"] is True
    assert made.facts["clipped_samples"] == {"Fp1": int((signals[0].samples <= -300).sum())}
    assert made.facts["edf"]["gain_uv"]["C3"] == "1/10"
    assert made.facts["edf"]["duration_s"] == "4" and made.facts["edf"]["n_records"] == 4


def test_the_same_file_gives_the_same_bytes(data: Path) -> None:
    path = data / "edf/ltm_seizure_onset_200hz.edf"
    first, second = preprocess(path, DEFAULT), preprocess(path, DEFAULT)
    assert np.array_equal(first.samples, second.samples) and first.statistics == second.statistics
