"""What the detector finds: each defect provoked in an otherwise clean file, clean and real files free of findings."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.edf_bytes import File, Made, with_fields
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.core.digest import canonical_json
from brainbrr.eeg.edf.reader import EdfFile
from brainbrr.eeg.quality import detector
from brainbrr.eeg.quality.detector import Channel, Examiner, examine
from brainbrr.eeg.quality.rules import reason_of
from brainbrr.eeg.signal.channels import select
from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.eeg.signal.recipe import PRESETS, Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import EdfError, MontageError, RecordingError

DEFAULT = Recipe()
RATE, SECONDS = 250, 60
N = RATE * SECONDS
Samples = np.ndarray[Any, np.dtype[np.float64]]
Spoil = Callable[[dict[str, Samples]], None]


def brains(seed: int = 0, *, n: int = N) -> dict[str, Samples]:
    """19 channels in steps of 0.1 µV: slow waves of 20 µV rms that all share, and 5 µV of each one's own."""
    rng = np.random.default_rng(seed)
    shared = np.convolve(rng.normal(0, 1, n + 24), np.hanning(25), mode="valid")
    shared *= 200 / shared.std()
    return {name: np.rint(shared + rng.normal(0, 50, n)) for name in TEN_TWENTY}


def write(
    folder: Path, channels: dict[str, Samples], *, ranges: Mapping[str, tuple[str, str]] = {}, **fields: Any
) -> Path:
    made = [
        Made(f"EEG {name}-REF", samples.astype(np.int16), RATE, physical=ranges.get(name, Made.physical))
        for name, samples in channels.items()
    ]
    return File(made, **fields).write(folder)


def found(folder: Path, spoil: Spoil, **fields: Any) -> dict[str, Any]:
    """The findings of clean channels after `spoil` did its work on them."""
    channels = brains()
    spoil(channels)
    return examine(write(folder, channels, **fields), DEFAULT)


def named(findings: dict[str, Any], name: str) -> dict[str | None, dict[str, Any]]:
    return {each["channel"]: each for each in findings["findings"] if each["name"] == name}


def names(findings: dict[str, Any]) -> set[str]:
    return {each["name"] for each in findings["findings"]}


@pytest.mark.slow
def test_a_clean_recording_has_no_findings_and_a_full_score(tmp_path: Path) -> None:
    assert found(tmp_path, lambda _: None) == {
        "version": detector.QUALITY_VERSION,
        "score": 100,
        "n_channels": 19,
        "n_seconds": SECONDS,
        "findings": [],
    }


def test_a_flat_channel_loses_all_of_its_time_and_the_rest_none(tmp_path: Path) -> None:
    told = found(tmp_path, lambda channels: channels["Fz"].fill(17))
    assert names(told) == {"flat"}
    [each] = named(told, "flat").values()
    assert (each["channel"], each["per_mille"], each["measured"]) == ("Fz", 1000, {"n_seconds": 60})
    assert told["score"] == 100 * 18 // 19


def test_seconds_count_for_what_they_are_of_the_time(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["C3"][10 * RATE : 16 * RATE] = 3

    told = found(tmp_path, spoil)
    assert named(told, "flat")["C3"]["per_mille"] == 100
    assert names(told) == {"flat"} and told["score"] == 99  # 0.1 / 19 of it is lost, and scores are rounded down


@pytest.mark.slow
@pytest.mark.parametrize("value", [32767, -32768])
def test_a_channel_at_a_digital_limit_is_railed_not_flat(tmp_path: Path, value: int) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["O1"][20 * RATE : 21 * RATE] = value

    told = found(tmp_path, spoil)
    assert names(told) == {"railed"} and named(told, "railed")["O1"]["measured"] == {"n_seconds": 1}


@pytest.mark.slow
def test_an_amplifier_that_stops_below_the_files_limit_is_railed(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["O1"][20 * RATE : 24 * RATE] = 3000
        channels["O2"][20 * RATE : 24 * RATE] = 0

    told = found(tmp_path, spoil)
    assert set(named(told, "railed")) == {"O1"} and set(named(told, "flat")) == {"O2"}


def test_seconds_with_clipped_peaks_are_saturated_but_one_peak_at_full_scale_is_not(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["T3"][30 * RATE] = 32767  # a writer that scales to the peak
        for second in (40, 41):
            channels["T4"][second * RATE : second * RATE + 5] = 32767

    told = found(tmp_path, spoil)
    [each] = named(told, "saturated").values()
    assert (each["channel"], each["measured"]) == ("T4", {"n_seconds": 2, "n_samples": 10})
    assert names(told) == {"saturated"}


@pytest.mark.slow
def test_a_channel_that_hardly_moves_is_disconnected(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["P3"][:] = np.random.default_rng(1).integers(0, 16, N)  # 1.5 µV peak to peak

    told = found(tmp_path, spoil)
    assert {each["per_mille"] for each in told["findings"]} == {1000}
    assert set(named(told, "disconnected")) == {"P3"} and names(told) == {"disconnected"}


@pytest.mark.slow
def test_a_channel_that_resembles_no_other_is_disconnected(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["P3"][:] = brains(seed=99)["P3"]  # a signal like the others, of another head

    told = found(tmp_path, spoil)
    [each] = named(told, "disconnected").values()
    assert each["channel"] == "P3" and each["per_mille"] > 900 and names(told) == {"disconnected"}


@pytest.mark.parametrize("line_hz", [50, 60])
def test_line_noise_is_measured_and_costs_where_it_is_louder_than_the_eeg(tmp_path: Path, line_hz: int) -> None:
    tone = np.sqrt(2) * np.sin(2 * np.pi * line_hz * np.arange(N) / RATE)

    def spoil(channels: dict[str, Samples]) -> None:
        channels["F3"] += np.rint(100 * tone)
        channels["F4"] += np.rint(1000 * tone)
        channels["F7"] += np.rint(23 * tone)  # 2.3 µV: it stands out, and nobody would see it

    told = found(tmp_path, spoil)
    noisy = named(told, "line_noise")
    assert set(noisy) == {"F3", "F4"} and names(told) == {"line_noise"}
    assert {each["measured"]["line_hz"] for each in noisy.values()} == {line_hz}
    assert float(noisy["F3"]["measured"]["rms_uv"]) == pytest.approx(10, abs=0.5)
    assert float(noisy["F4"]["measured"]["rms_uv"]) == pytest.approx(100, abs=1)
    assert (noisy["F3"]["per_mille"], noisy["F4"]["per_mille"], told["score"]) == (0, 1000, 94)


@pytest.mark.slow
def test_a_step_far_coarser_than_the_headers_is_quantised_and_useless_from_10_uv_on(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["T5"] = 20 * np.rint(channels["T5"] / 20)
        channels["T5"][300] += 1  # off the lattice
        channels["T6"] = np.rint(7.3 * np.rint(channels["T6"] / 7.3))  # a lattice that was rounded to steps
        channels["Cz"] = 120 * np.rint(channels["Cz"] / 120)
        channels["Pz"] = 3 * np.rint(channels["Pz"] / 3)

    told = found(tmp_path, spoil)
    coarse = named(told, "quantised")
    steps = {name: each["measured"]["step_uv"] for name, each in coarse.items()}
    assert steps == {"T5": "2.00", "T6": "0.70", "Cz": "12.00"} and names(told) == {"quantised"}
    assert told["score"] == 94


@pytest.mark.slow
@pytest.mark.parametrize("rms_uv", [4, 20, 200])
def test_one_spike_that_coarsens_a_channel_is_a_finding_and_all_of_it_is_lost_below_one_step(
    tmp_path: Path, rms_uv: float
) -> None:
    """The range of T5 and T6 is 320 mV, a step 9.8 µV, and the stored one that holds the peak 16 µV."""
    channels = brains()
    channels["C3"][700] = 30_000  # a spike that costs nothing: 3 mV in steps of 0.1 µV
    steps = {name: channels[name] * (rms_uv / 20.6 / 98) for name in ("T5", "T6")}
    for name in steps:
        channels[name] = np.rint(steps[name])
    channels["T5"][300] = 32_000
    told = examine(write(tmp_path, channels, ranges=dict.fromkeys(steps, ("-320000", "320000"))), DEFAULT)
    spikes = named(told, "spike")
    assert set(spikes) == ({"T5"} if rms_uv < 100 else set())
    if spikes:
        assert spikes["T5"]["measured"]["step_uv"] == "16.00" and spikes["T5"]["measured"]["reach_steps"] > 32_000
        lost = reason_of({**told, "findings": [spikes["T5"]]})
        assert lost == "spike in 1 of 19 channels: T5"
        assert (told["score"] < 95) == (rms_uv == 4)


@pytest.mark.slow
def test_a_spike_is_judged_by_the_stored_step_where_that_is_coarser(tmp_path: Path) -> None:
    """A peak of 60,000 EDF steps of 0.4 µV on one side of the signal takes stored steps of 1 µV."""
    channels = brains()
    channels["T5"] = np.rint(channels["T5"] * (6 / np.std(channels["T5"]))) - 30_000  # 6 steps of the EDF rms: 2.4 µV
    channels["T5"][300] = 30_000
    told = examine(write(tmp_path, channels, ranges={"T5": ("-13107.2", "13106.8")}), DEFAULT)
    spikes = named(told, "spike")
    assert {name: each["measured"]["step_uv"] for name, each in spikes.items()} == {"T5": "1.00"}
    assert spikes["T5"]["measured"]["rms_steps"] == "2.4"


@pytest.mark.slow
def test_a_copy_of_another_channel_and_an_interpolated_one_are_lost(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["F8"] = channels["F7"].copy()
        channels["Pz"] = np.rint(0.5 * channels["Cz"] + 0.3 * channels["P3"] + 0.2 * channels["P4"])

    told = found(tmp_path, spoil)
    assert named(told, "duplicate")["F8"]["measured"] == {"of": "F7"}
    assert set(named(told, "interpolated")) == {"Pz"} and names(told) == {"duplicate", "interpolated"}
    assert told["score"] == 100 * 17 // 19


def test_an_exact_sum_of_others_is_interpolated(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["Pz"] = channels["P3"] - channels["P4"] + channels["Cz"]

    told = found(tmp_path, spoil)
    assert len(named(told, "interpolated")) == 1 and names(told) == {"interpolated"}


@pytest.mark.slow
def test_an_average_reference_is_not_taken_for_interpolation(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        finer = np.random.default_rng(1).uniform(-0.5, 0.5, (19, N))  # each channel is rounded by itself
        signals = np.stack(list(channels.values())) + finer
        channels.update(zip(channels, np.rint(signals - signals.mean(axis=0)), strict=True))

    assert "interpolated" not in names(found(tmp_path, spoil))


@pytest.mark.slow
def test_seconds_in_which_all_channels_hold_are_a_gap(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        for samples in channels.values():
            samples[30 * RATE : 36 * RATE] = samples[30 * RATE]

    told = found(tmp_path, spoil)
    [gap] = named(told, "gap").values()
    assert (gap["channel"], gap["per_mille"], gap["measured"]) == (None, 100, {"n_seconds": 6})
    assert told["score"] == 90
    dead = found(tmp_path, lambda channels: [samples.fill(1) for samples in channels.values()] and None)
    assert names(dead) == {"flat"} and dead["score"] == 0


def test_rates_that_differ_or_are_no_integers_are_told(tmp_path: Path) -> None:
    channels = brains()
    made = [Made(name, samples.astype(np.int16), RATE) for name, samples in channels.items()]
    double = with_fields(made[3], samples=np.repeat(made[3].samples, 2), per_record=2 * RATE)
    told = examine(File([*made[:3], double, *made[4:]]).write(tmp_path), DEFAULT)
    [mixed] = named(told, "mixed_rates").values()
    assert mixed["measured"] == {"channels_by_rate_hz": {"250": 18, "500": 1}}
    assert told["score"] == 100 and names(told) == {"mixed_rates"}
    told = examine(File(made, record_s="1.0004").write(tmp_path), DEFAULT)
    assert named(told, "odd_rate")[None]["measured"] == {"rates_hz": [str(Fraction(250) / Fraction("1.0004"))]}
    assert told["score"] == 100


def test_what_the_header_says_oddly_is_told(tmp_path: Path) -> None:
    told = found(tmp_path, lambda _: None, declared="-1")
    [header] = named(told, "header").values()
    assert "never closed" in header["measured"]["notes"][0] and told["score"] == 100


@pytest.mark.slow
def test_findings_are_canonical_json_without_floats(tmp_path: Path) -> None:
    def spoil(channels: dict[str, Samples]) -> None:
        channels["Fz"].fill(0)
        channels["F8"] = channels["F7"].copy()
        channels["T5"] = 20 * np.rint(channels["T5"] / 20)
        channels["F4"] += np.rint(1000 * np.sin(2 * np.pi * 60 * np.arange(N) / RATE))
        channels["P3"][:] = np.random.default_rng(1).integers(0, 16, N)

    told = found(tmp_path, spoil, declared="-1")
    assert len(names(told)) == 6 and canonical_json(told)
    fields = {"name", "channel", "per_mille", "measured", "threshold"}
    assert all(set(each) == fields and each["threshold"] for each in told["findings"])


def hostile(rate: Fraction, n: int, seed: int) -> tuple[list[Channel], Any]:
    """Six channels with every kind of second in them, at odd places."""
    rng = np.random.default_rng(seed)
    shared = np.cumsum(rng.normal(0, 20, n))
    samples = (shared + rng.normal(0, 30, (6, n))).clip(-2000, 2000).astype(np.int16)
    for _ in range(12):
        row, start, length = rng.integers(6), rng.integers(n), rng.integers(1, n + 1)
        samples[row, start : start + length] = rng.choice([-2000, 2000, 5])
    samples[5] = samples[4] if seed % 2 else samples[5] // 16 * 16
    channels = [Channel(name, rate, Fraction(1, 8), -2000, 2000, n) for name in TEN_TWENTY[:6]]
    return channels, samples


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([Fraction(63), Fraction(128), Fraction(250), Fraction(2_500_000, 10_004)]),
    n=st.integers(1, 5000),
    seed=st.integers(0, 2**16),
    cuts=st.randoms(use_true_random=False),
)
def test_findings_do_not_depend_on_how_samples_arrive(rate: Fraction, n: int, seed: int, cuts: random.Random) -> None:
    channels, samples = hostile(rate, n, seed)
    whole = Examiner(channels)
    whole.update(range(6), samples)
    pieces = Examiner(channels)
    rows = list(range(6))
    cuts.shuffle(rows)
    together = cuts.randint(1, 6)
    for group in (rows[:together], rows[together:]):
        start = 0
        while group and start < n:
            stop = min(n, start + cuts.choice([1, 17, 250, 1000, n]))
            pieces.update(group, samples[group, start:stop])
            start = stop
    assert pieces.findings() == whole.findings()


def test_samples_that_cannot_belong_together_are_refused() -> None:
    channels, samples = hostile(Fraction(128), 1000, 0)
    examiner = Examiner(channels)
    with pytest.raises(ValueError, match="0 of 1000 samples"):
        examiner.findings()
    examiner.update([0], samples[:1, :500])
    with pytest.raises(ValueError, match="one position"):
        examiner.update([0, 1], samples[:2, 500:])
    with pytest.raises(ValueError, match="samples up to 1500"):
        examiner.update([0], samples[:1])


def test_a_file_without_the_channels_is_refused_as_preprocess_does(tmp_path: Path) -> None:
    path = File([Made("EEG FP1-REF", np.zeros(250, dtype=np.int16), 250)]).write(tmp_path)
    with pytest.raises(MontageError, match="18 of 19") as raised:
        examine(path, DEFAULT)
    assert raised.value.where == str(path)


def test_a_channel_without_samples_is_an_error_that_names_it(tmp_path: Path) -> None:
    made = [Made(name, samples.astype(np.int16), RATE) for name, samples in brains().items()]
    path = File([*made[:-1], Made("O2", np.zeros(0, dtype=np.int16).reshape(60, 0), 0)]).write(tmp_path)
    with pytest.raises(EdfError, match=r"'O2'.*: 0 Hz .* is no EEG's rate"):
        examine(path, DEFAULT)


@pytest.mark.slow
def test_a_generated_corpus_is_nearly_clean(tmp_path: Path) -> None:
    for path in write_corpus(tmp_path / "made", n_recordings=6, seconds=(60, 70)):
        told = examine(path, DEFAULT)
        assert told["score"] >= 95 and names(told) <= {"line_noise"}, (path, told)


def is_noise(path: Path) -> bool:
    """Whether a collected file holds somebody's header over noise, as one can hear: neighbours do not correlate."""
    with EdfFile(path) as edf:
        channels, _ = select(edf.header, recipe_for(path))
        chosen = [edf.header.signals.index(channel.signal) for channel in channels]
        samples = np.stack([edf.digital(index) for index in chosen]).astype(np.float64)
    correlations = np.corrcoef(samples) - np.eye(len(samples))
    return bool(np.abs(correlations).max() < 0.3)


def recipe_for(path: Path) -> Recipe:
    for recipe in PRESETS.values():
        try:
            with EdfFile(path) as edf:
                select(edf.header, recipe)
            return recipe
        except MontageError:
            continue
    raise MontageError("no preset's channels", where=path)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["edf", "odd", "tusz_like", "tusz_layout", "other_corpora_layout"])
def test_real_recordings_score_high_and_noise_under_a_real_header_low(data: Path, folder: str) -> None:
    scores: dict[str, list[int]] = {"signal": [], "noise": []}
    for path in sorted((data / folder).rglob("*.edf")):
        try:
            recipe = recipe_for(path)
            told = examine(path, recipe)
        except RecordingError:  # refused when it is stored, too
            continue
        assert canonical_json(told)
        if is_noise(path):
            scores["noise"].append(told["score"])
        elif "gap" not in names(told) and "flat" not in names(told):
            scores["signal"].append(told["score"])
    assert scores["signal"] or scores["noise"]
    assert min(scores["signal"], default=100) >= 95, scores
    assert max(scores["noise"], default=0) <= 50, scores


def test_a_recording_that_holds_each_value_for_a_second_is_flat_throughout(data: Path) -> None:
    told = examine(data / "odd/bids_16ch_256hz.edf", DEFAULT)
    assert told["score"] == 0 and names(told) == {"flat", "railed"}
