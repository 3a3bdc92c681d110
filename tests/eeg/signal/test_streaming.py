"""What a stream gives out is what the whole file gives, as soon as nothing later can change it."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.edf_bytes import File, Made, noise

from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.recipe import PRESETS, Recipe
from brainbrr.eeg.signal.streaming import Live
from brainbrr.errors import EdfError, MontageError, UsageError

NAMES = ("Fp1", "F3", "C3", "P3", "O1", "Fz")
RECIPE = Recipe(channels=NAMES)
SECONDS = 30


def mixed(record_s: str = "1", **fields: Any) -> File:
    """Four rates, one of them odd; Fz is absent."""
    rates = {"Fp1": 250, "F3": 256, "C3": 512, "P3": 1000, "O1": 400}
    signals = [noise(name, rate=rate, seconds=SECONDS, record_s=record_s) for name, rate in rates.items()]
    return File(signals, record_s=record_s, **fields)


def listened(data: bytes, n: int = 256, recipe: Recipe = RECIPE) -> tuple[np.ndarray[Any, Any], list[Fraction]]:
    blocks, heard = zip(*Live(io.BytesIO(data), recipe).blocks(n), strict=True)
    return np.concatenate(blocks, axis=1), list(heard)


@pytest.mark.slow
@pytest.mark.parametrize("record_s", ["1", "0.5", "3"])
@pytest.mark.parametrize("n", [64, 256, 999])
def test_a_stream_gives_the_samples_that_are_stored_in_time(tmp_path: Path, record_s: str, n: int) -> None:
    file = mixed(record_s)
    stored = preprocess(file.write(tmp_path), RECIPE)
    assert not any(stored.k) and stored.absent == ("Fz",)
    live = Live(io.BytesIO(file.bytes()), RECIPE)
    assert live.absent == ("Fz",) and live.present == (0, 1, 2, 3, 4)
    stop = 0
    for block, heard_s in live.blocks(n):
        assert np.array_equal(block, stored.samples[:, stop : stop + n])
        stop += n
        assert Fraction(stop, 256) < heard_s <= Fraction(stop, 256) + live.delay_s
    assert SECONDS - live.delay_s - Fraction(n, 256) < Fraction(stop, 256) < SECONDS


def test_a_block_needs_its_last_record_and_none_after_it() -> None:
    data = mixed(declared="-1").bytes()
    samples, heard = listened(data)
    n_record = 2 * (250 + 256 + 512 + 1000 + 400)
    for n_records in (int(heard[0]), int(heard[0]) - 1, 17, int(heard[-1]), int(heard[-1]) - 1):
        cut = data[: 256 * 6 + n_records * n_record + 99]
        blocks = [block for block, _ in Live(io.BytesIO(cut), RECIPE).blocks(256)]
        assert len(blocks) == sum(heard_s <= n_records for heard_s in heard)
        for i, block in enumerate(blocks):
            assert np.array_equal(block, samples[:, 256 * i : 256 * (i + 1)])


def test_a_stream_that_is_cut_off_says_so_after_what_came() -> None:
    data = mixed().bytes()[:-99]
    live = Live(io.BytesIO(data), RECIPE).blocks(256)
    for _ in range(25):
        next(live)
    with pytest.raises(EdfError, match="the stream ended after 29 of 30 records"):
        list(live)


def test_what_needs_a_larger_step_is_cut_to_the_largest_number(tmp_path: Path) -> None:
    loud = noise("C3", rate=256, seconds=SECONDS, physical=("-32768", "32767"))
    loud.samples[2000:3000] *= 30
    file = File([loud, noise("F3", rate=256, seconds=SECONDS)])
    recipe = Recipe(channels=("C3", "F3"))
    stored = preprocess(file.write(tmp_path), recipe)
    k = stored.k[0]
    assert k > 0 and not stored.k[1]
    samples, _ = listened(file.bytes(), recipe=recipe)
    n = samples.shape[1]
    assert np.array_equal(samples[1], stored.samples[1, :n])
    exact = stored.samples[0, :n].astype(int) << k
    inside = np.abs(exact) < 32767 - (1 << k)
    assert (~inside).sum() > 100 and np.abs(samples[0]).max() == 32767
    assert np.abs(samples[0] - exact)[inside].max() <= 1 << (k - 1)
    assert (np.sign(samples[0]) == np.sign(exact))[~inside].all()


def test_a_stream_that_is_no_edf_is_refused_by_its_header() -> None:
    data = mixed().bytes()
    stamped = replace(mixed(), reserved="EDF+D", stamps=[b"+%d\x14\x14" % i for i in range(SECONDS)])
    for head, said in (
        (b"", "empty"),
        (data[:100], "an EDF's header alone has 256"),
        (data[:700], "ends inside its header"),
        (stamped.bytes(), "discontinuous"),
    ):
        with pytest.raises(EdfError, match=said):
            Live(io.BytesIO(head), RECIPE)
    with pytest.raises(MontageError):
        Live(io.BytesIO(data), Recipe(channels=("T3", "T4", "T5")))
    with pytest.raises(UsageError, match="filters whole recordings"):
        Live(io.BytesIO(data), PRESETS["upstream"])


def test_more_records_than_declared_are_an_error_as_in_a_file() -> None:
    data = mixed(declared="29").bytes()
    with pytest.raises(EdfError, match="goes on after the 29 records"):
        listened(data)


def test_signals_that_turn_out_to_be_no_copies_are_refused() -> None:
    one = noise("F3", seconds=SECONDS)
    other = Made("EEG F3-REF", one.samples.copy(), 256)
    assert listened(File([one, other]).bytes(), recipe=Recipe(channels=("F3",)))[0].shape[1]
    other.samples[20 * 256] += 1
    with pytest.raises(MontageError, match="F3 is ambiguous"):
        listened(File([one, other]).bytes(), recipe=Recipe(channels=("F3",)))
