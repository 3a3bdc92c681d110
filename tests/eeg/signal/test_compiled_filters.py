"""Compiled filters give the stored samples that numpy gives: at every rate, at ends, in blocks, at any amplitude."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eeg.signal.tones import chain_of
from helpers.edf_bytes import File, Made, noise
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brainbrr.core.arrays import Float64, Int16
from brainbrr.eeg.signal import filters
from brainbrr.eeg.signal.preprocess import compute, preprocess, prove
from brainbrr.eeg.signal.quantise import Lattice, doubtful
from brainbrr.eeg.signal.recipe import Recipe

pytest.importorskip("numba")
from brainbrr.eeg.signal import fir_compiled

RATES = tuple(map(Fraction, ("250", "256", "400", "512", "1000", "199.9", "500", "128")))


def both(
    rate: Fraction, x: Int16, lattice: Lattice, *, start: int = 0, stop: int | None = None
) -> tuple[tuple[Int16, Float64], tuple[Int16, Float64]]:
    """Return stored samples and the largest numbers by numpy, and the same by the compiled filters."""
    chain, n = chain_of(rate), x.shape[1]
    stop = chain.length(n) if stop is None else stop
    first, last = chain.inputs(start, stop, n)
    part = np.ascontiguousarray(x[:, first:last])
    span = {"first": first, "n": n, "start": start, "stop": stop}
    y = chain.apply(part, **span)
    expected = np.zeros(y.shape, dtype=np.int16)
    for row, numbers in zip(expected, y, strict=True):
        lattice.round(numbers, row)
    stored, rows = np.zeros(y.shape, dtype=np.int16), np.arange(len(x))
    channels = fir_compiled.Channels(rows, rows, np.full(len(x), float(lattice.gain)))
    assert fir_compiled.fits(chain)
    found = fir_compiled.quantised(chain, part, channels, doubtful(0.0), **span, out=stored)
    assert found.ties is not None
    for channel, at, number in found.ties:
        stored[channel, at] = lattice.exact(number)
    return (expected, np.abs(y).max(axis=1)), (stored, found.largest)


def lattice_of(rate: Fraction, gain_uv: Fraction) -> Lattice:
    return Lattice(gain_uv * 8 / 2 ** chain_of(rate).fraction_bits, Fraction(0))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(RATES),
    st.integers(1, 30_000),
    st.integers(1, 9),
    st.sampled_from((0, 1, 40, 3_000, 32_767)),
    st.sampled_from((Fraction(1677, 10_000), Fraction(1, 8), Fraction(1, 64), Fraction(-1, 50))),
    st.randoms(use_true_random=False),
)
@example(Fraction(256), 7, 5, 32_767, Fraction(1, 64), None)
@example(Fraction(1000), 30_000, 4, 32_767, Fraction(1, 64), None)
def test_stored_samples_are_those_of_numpy(
    rate: Fraction, n: int, n_channels: int, amplitude: int, gain_uv: Fraction, random: Any
) -> None:
    rng = np.random.default_rng(random.getrandbits(32) if random else 0)
    x = rng.integers(-amplitude - 1, amplitude + 1, (n_channels, n)).astype(np.int16)
    x[0, n // 3 :] = rng.choice([-32_768, 32_767], n - n // 3)  # saturated, in both directions
    x[-1] = x[-1, 0]  # flat
    lattice = lattice_of(rate, gain_uv / 64)
    length = chain_of(rate).length(n)
    start = int(rng.integers(0, length)) if n % 2 else 0
    stop = int(rng.integers(start + 1, length + 1)) if n % 2 else length
    (expected, largest), (stored, seen) = both(rate, x, lattice, start=start, stop=stop)
    assert np.array_equal(stored, expected)
    assert np.array_equal(seen, largest)


def test_ties_are_decided_by_fractions() -> None:
    x = np.random.default_rng(1).integers(-300, 301, (4, 1 << 13)).astype(np.int16)
    lattice = Lattice(Fraction(1, 1 << 19), Fraction(0))  # one in 2^18 numbers lies in the middle
    (expected, _), (stored, _) = both(Fraction(256), x, lattice)
    assert np.array_equal(stored, expected)


def stored_by(monkeypatch: pytest.MonkeyPatch, path: Path, *, compiled: bool) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(filters, "has_numba", lambda: compiled)
        made = preprocess(path, Recipe(channels=("Fp1", "F3", "C3", "P3", "O1", "F7", "T3", "T5", "Fz", "Cz")))
        return made.samples, made.k, made.statistics, made.facts, made.certificate


@pytest.mark.slow
def test_a_recording_and_its_record_do_not_depend_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loud = noise("C3", rate=512, seconds=40, physical=("-32768", "32767"))
    loud.samples[-700:] *= 30  # needs a larger step
    flat = Made("P3", np.full(40 * 256, 12, dtype=np.int16), 256)
    full = noise("O1", rate=1000, seconds=40)
    full.samples[5000:] = np.where(np.arange(35_000) % 500 < 250, 32_767, -32_768)
    others = [noise(name, rate=250, seconds=40, seed=i) for i, name in enumerate(("F3", "F7", "T3", "T5", "Cz"))]
    path = File([*others, noise("Fp1", rate=256, seconds=40), loud, flat, full]).write(tmp_path)
    ours, numpys = (stored_by(monkeypatch, path, compiled=compiled) for compiled in (True, False))
    assert np.array_equal(ours[0], numpys[0])
    assert ours[1:] == numpys[1:]
    assert max(ours[1]) > 0


def test_a_convolution_that_is_not_whole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    response = fir_compiled._response(chain_of(Fraction(256)).taps)
    monkeypatch.setattr(fir_compiled, "_response", lambda taps: response * 1.0001)
    x = np.random.default_rng(2).integers(-300, 301, (1, 4_000)).astype(np.int16)
    with pytest.raises(ArithmeticError, match=r"from whole numbers"):
        both(Fraction(256), x, lattice_of(Fraction(256), Fraction(1, 64)))


def test_the_known_answers_hold() -> None:
    prove()
    assert compute(compiled=True) != compute()


@pytest.mark.slow
@pytest.mark.parametrize(
    "hidden", [{"NUMBA_CPU_NAME": "haswell"}, {"NUMBA_CPU_NAME": "generic"}, {"NUMBA_DISABLE_JIT": "1"}]
)
def test_other_processors_and_no_numba_give_the_same(hidden: dict[str, str], tmp_path: Path) -> None:
    code = "from brainbrr.eeg.signal.preprocess import prove; prove()"
    environment = {**os.environ, **hidden, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
