"""Long recordings come in blocks, and blocks change nothing; what cannot be proven to be exact is never given out."""

from __future__ import annotations

import itertools
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eeg.signal.tones import chain_of
from helpers.edf_bytes import File, Made, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.core.digest import source_digest
from brainbrr.eeg.signal import filtered as module
from brainbrr.eeg.signal import filters, fir
from brainbrr.eeg.signal.preprocess import Preprocessed, preprocess, prove
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError, EdfError

NAMES = ("Fp1", "F3", "C3", "P3", "O1", "Fz")
RECIPE = Recipe(channels=NAMES)


def mixed(folder: Path) -> Path:
    """Forty seconds: three rates, a flat channel, an absent one, one that outgrows its step only at the end."""
    loud = noise("C3", rate=512, seconds=40, physical=("-32768", "32767"))
    loud.samples[-700:] *= 30
    flat = Made("P3", np.full(40 * 256, 12, dtype=np.int16), 256)
    signals = [noise("Fp1", rate=250, seconds=40), noise("F3", rate=256, seconds=40), loud, flat]
    return File([*signals, noise("O1", rate=250, seconds=40)], trailing=b"end").write(folder)


def in_blocks(path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int, recipe: Recipe = RECIPE) -> Preprocessed:
    monkeypatch.setattr(module, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(module, "_BLOCK_BYTES", n_bytes)
    return preprocess(path, recipe)


@pytest.mark.parametrize("n_bytes", [1 << 15, 1 << 16, 1 << 17, 300_000])
def test_a_recording_is_the_same_whatever_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    path = mixed(tmp_path)
    whole = preprocess(path, RECIPE)
    assert whole.k[2] > 0 and whole.absent == ("Fz",) and whole.facts["flat"] == ["P3"]
    parts = in_blocks(path, monkeypatch, n_bytes)
    blocks = list(parts.blocks())
    assert len(blocks) > 1 and len({block.shape[1] for block in blocks}) <= 2
    assert np.array_equal(np.concatenate(blocks, axis=1), whole.samples)
    assert (parts.k, parts.absent, parts.n_samples, parts.source) == (
        whole.k,
        whole.absent,
        10_240,
        source_digest(path),
    )
    assert (parts.statistics, parts.facts) == (whole.statistics, whole.facts)
    assert parts.certificate == whole.certificate
    assert parts.certificate == {"distance": "0.0625"}  # a bound: nothing that depends on what computed it


@pytest.mark.slow
@given(
    rate=st.sampled_from([Fraction(128), Fraction(250), Fraction(256), Fraction(1000), Fraction(2_500_000, 10_004)]),
    n=st.integers(2, 4000),
    cuts=st.lists(st.integers(0, 4000), max_size=4),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_filtered_numbers_do_not_depend_on_where_a_recording_is_cut(
    rate: Fraction, n: int, cuts: list[int], seed: int
) -> None:
    x = np.random.default_rng(seed).integers(-32_768, 32_768, (3, n)).astype(np.int16)
    chain = chain_of(rate)
    length = chain.length(n)
    whole = chain.apply(x, first=0, n=n, start=0, stop=length)
    edges = sorted({0, length, *(cut for cut in cuts if cut < length)})
    parts = []
    for start, stop in itertools.pairwise(edges):
        first, last = chain.inputs(start, stop, n)
        parts.append(chain.apply(x[:, first:last], first=first, n=n, start=start, stop=stop))
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert np.array_equal(whole, np.rint(whole))


@pytest.mark.slow
def test_filtered_numbers_are_those_of_whole_number_arithmetic() -> None:
    rng = np.random.default_rng(5)
    for rate in (Fraction(256), Fraction(250), Fraction(400)):
        n = int(rate) * 3
        x = rng.integers(-32_768, 32_768, (1, n)).astype(np.int16)
        chain = chain_of(rate)
        y = chain.apply(x, first=0, n=n, start=0, stop=chain.length(n))[0]
        samples = [int(v) for v in x[0]]
        for m in rng.integers(0, chain.length(n), 12).tolist():
            assert int(y[m]) == _by_hand(chain, samples, m)


def _by_hand(chain: fir.Chain, samples: list[int], m: int) -> int:
    """One output in Python's own integers, from the same taps."""
    margin = len(chain.taps) // 2
    return sum(tap * _between(chain, samples, m + i - margin) for i, tap in enumerate(chain.taps))


def _between(chain: fir.Chain, samples: list[int], m: int) -> int:
    if chain.resampler is None:
        return _extended(samples, m)
    resampler = chain.resampler
    base, phase = divmod(m * resampler.step, resampler.phases)
    first = base - resampler.reach + 1
    total = sum(int(tap) * _extended(samples, first + i) for i, tap in enumerate(resampler._taps[phase]))
    return round(Fraction(total, 1 << 14))


def _extended(samples: list[int], n: int) -> int:
    last = len(samples) - 1
    if n < 0:
        return 2 * samples[0] - samples[min(-n, last)]
    return samples[n] if n <= last else 2 * samples[-1] - samples[max(2 * last - n, 0)]


def test_a_file_that_changes_between_the_passes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mixed(tmp_path)
    made = in_blocks(path, monkeypatch, 1 << 16)
    with path.open("r+b") as file:
        file.seek(-5000, os.SEEK_END)
        file.write(b"\1")
    with pytest.raises(EdfError, match="changed while it was read") as raised:
        list(made.blocks())
    assert raised.value.where == str(path)


def test_sums_that_float64_might_not_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fir, "_LARGEST", 1 << 33)
    with pytest.raises(EdfError, match="cannot be proven to be exact: sums could reach") as raised:
        preprocess(mixed(tmp_path), RECIPE)
    assert raised.value.where is not None


def test_a_convolution_that_is_not_whole_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = np.fft.ifft

    def off(*args: Any, **kwargs: Any) -> Any:
        return exact(*args, **kwargs) + 0.2

    chain_of(Fraction(256))
    prove()
    monkeypatch.setattr(np.fft, "ifft", off)
    monkeypatch.setattr(filters, "has_numba", lambda: False)
    with pytest.raises(
        EdfError, match=r"cannot be proven to be exact: a convolution was 0\.[12]\d* from whole numbers"
    ):
        preprocess(mixed(tmp_path), RECIPE)


def test_a_machine_that_computes_other_numbers_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prove.cache_clear()
    right = np.matmul

    def wrong(*args: Any, out: Any) -> None:
        right(*args, out=out)
        out[..., 0] += 1  # still whole numbers: no certificate would see it

    monkeypatch.setattr(np, "matmul", wrong)
    with pytest.raises(BrainbrrError, match="computes other numbers than it must"):
        preprocess(mixed(tmp_path), RECIPE)
    monkeypatch.undo()
    preprocess(mixed(tmp_path), RECIPE)
