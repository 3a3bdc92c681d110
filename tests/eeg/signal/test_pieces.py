"""Gaps: each piece comes out as a file of its own would, in its true place, and gaps hold nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.edf_bytes import File, Made, noise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainbrr.core.arrays import Int16
from brainbrr.eeg.corpus.vocabulary import no_data_spans
from brainbrr.eeg.edf.reader import EdfFile
from brainbrr.eeg.edf.timestamps import Note
from brainbrr.eeg.quality import detector
from brainbrr.eeg.signal import filtered
from brainbrr.eeg.signal.preprocess import Preprocessed, preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import EdfError

RECIPE = Recipe(channels=("Fp1", "F3"))
FILL = -32768


def stamped(onsets_s: Sequence[Fraction], texts: Sequence[str] = ()) -> list[bytes]:
    """Time-keeping annotations; the texts are in the first record."""
    stamps = [b"+%.6f\x14\x14" % float(onset_s) for onset_s in onsets_s]
    stamps[0] += b"".join(b"\0" + text.encode() + b"\x14" for text in texts)
    return stamps


def cut(made: Made, first: int, last: int, *, per_record: int | None = None) -> Made:
    return replace(made, samples=made.samples[first:last], per_record=per_record or made.per_record)


def assert_same(whole: Preprocessed, own: Preprocessed, found: Int16) -> None:
    """Equal samples, where the step is the same; a coarser one of the whole file is the same number, rounded."""
    for row, (k, own_k) in enumerate(zip(whole.k, own.k, strict=True)):
        assert k >= own_k
        scale = 2 ** (k - own_k)
        difference = np.abs(found[row].astype(np.int64) * scale - own.samples[row])
        assert difference.max() <= (scale + 1) // 2 if scale > 1 else not difference.any()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rates=st.tuples(*[st.sampled_from((100, 128, 200, 250, 256, 400, 500, 512))] * 2),
    record_s=st.sampled_from(("1", "0.5", "2", "4")),
    lengths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    gaps_ms=st.lists(st.integers(11, 20_000), min_size=5, max_size=5),
    seed=st.integers(0, 99),
)
def test_a_piece_is_what_a_file_of_its_own_would_be(
    tmp_path: Path, rates: tuple[int, int], record_s: str, lengths: list[int], gaps_ms: list[int], seed: int
) -> None:
    seconds = Fraction(record_s)
    signals = [
        noise(name, rate=rate, seconds=int(seconds * 2 * sum(lengths)), record_s=record_s, seed=seed + i)
        for i, (name, rate) in enumerate(zip(("Fp1", "F3"), rates, strict=True))
    ]
    signals = [cut(each, 0, sum(lengths) * each.per_record) for each in signals]
    onsets_s, begins_s, now_s = [], [], Fraction(0)
    for n, gap_ms in zip(lengths, gaps_ms, strict=False):
        begins_s.append(now_s)
        onsets_s += [now_s + i * seconds for i in range(n)]
        now_s += n * seconds + Fraction(gap_ms, 1000)
    whole = preprocess(File(signals, record_s, reserved="EDF+D", stamps=stamped(onsets_s)).write(tmp_path), RECIPE)
    samples, end, gaps = whole.samples, 0, []
    for begin_s, n, first in zip(begins_s, lengths, np.cumsum([0, *lengths]), strict=False):
        parts = [cut(each, first * each.per_record, (first + n) * each.per_record) for each in signals]
        own = preprocess(File(parts, record_s).write(tmp_path, "own.edf"), RECIPE)
        place = max(end, round(begin_s * 256))
        assert abs(place - begin_s * 256) <= 1
        gaps += [(end, place)] if end < place else []
        assert (samples[:, end:place] == FILL).all()
        end = place + own.n_samples
        assert_same(whole, own, samples[:, place:end])
    assert whole.gaps == tuple(gaps) and whole.n_samples == end == samples.shape[1]
    assert whole.statistics["n"] == end - sum(stop - start for start, stop in gaps)


@pytest.mark.parametrize("record_s", ["1", "0.25", "20"])
@pytest.mark.parametrize("rates", [(256, 256), (512, 256), (256, 200)])
def test_marked_time_is_a_gap_where_it_begins_and_ends(record_s: str, rates: tuple[int, int], tmp_path: Path) -> None:
    signals = [
        noise(name, rate=rate, seconds=20, record_s=record_s) for name, rate in zip(("Fp1", "F3"), rates, strict=True)
    ]
    n_records = int(20 / Fraction(record_s))
    onsets_s = [100 + i * Fraction(record_s) for i in range(n_records)]
    texts = ["+103.5\x151.25\x14BAD_ACQ_SKIP", "+110\x152\x14Impedance check"]
    file = File(signals, record_s, reserved="EDF+C", stamps=stamped(onsets_s, texts), note_bytes=128)
    whole = preprocess(file.write(tmp_path), RECIPE)
    assert whole.gaps == ((896, 1216), (2560, 3072)) and whole.n_samples == 5120
    assert whole.facts["notes"] == [
        "invalid time: 3.25 s that the file marks as no data (BAD_ACQ_SKIP, Impedance check)"
    ]
    for start_s, stop_s in ((0, 3.5), (4.75, 10), (12, 20)):
        parts = [
            cut(each, int(start_s * rate), int(stop_s * rate), per_record=rate // 4)
            for each, rate in zip(signals, rates, strict=True)
        ]
        own = preprocess(File(parts, "0.25").write(tmp_path, "own.edf"), RECIPE)
        assert_same(whole, own, whole.samples[:, int(start_s * 256) : int(stop_s * 256)])
    found = detector.examine(tmp_path / "made.edf", RECIPE, source=whole.source)
    assert found == whole.findings and found["n_seconds"] in (16, 17)


def test_a_gap_at_either_end_belongs_to_the_recording(tmp_path: Path) -> None:
    texts = ["+0\x152\x14no data", "+18\x159\x14Recording paused"]
    stamps = stamped(list(map(Fraction, range(20))), texts)
    made = preprocess(File([noise("Fp1", seconds=20)], stamps=stamps, note_bytes=128).write(tmp_path), FP1)
    assert made.n_samples == 5120 and made.gaps == ((0, 512), (4608, 5120))
    assert (made.samples[:, :512] == FILL).all() and (made.samples[:, 512:4608] != FILL).all()


def test_a_file_that_is_marked_as_no_data_throughout_is_refused(tmp_path: Path) -> None:
    stamps = stamped(list(map(Fraction, range(4))), ["+0\x15100\x14BAD_ACQ_SKIP"])
    path = File([noise("Fp1")], stamps=stamps, note_bytes=128).write(tmp_path)
    with pytest.raises(EdfError, match="all of the file's time is marked as no data"):
        preprocess(path, FP1)


FP1 = Recipe(channels=("Fp1",))


def test_a_channel_that_is_flat_in_one_piece_is_zero_there(tmp_path: Path) -> None:
    made, seconds = noise("Fp1", seconds=8), list(map(Fraction, (0, 1, 2, 3, 10, 11, 12, 13)))
    made.samples[:1024] = 77
    found = preprocess(File([made], stamps=stamped(seconds)).write(tmp_path), FP1)
    assert not found.samples[:, :1024].any() and found.samples[:, 2560:].any() and found.facts["flat"] == []


def test_a_long_piece_is_the_same_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [Fraction(i if i < 40 else i + 5) for i in range(90)]
    others = [noise("ECG", seconds=90, rate=100), noise("Fp1", seconds=90), noise("F3", seconds=90, seed=1)]
    path = File(others, stamps=stamped(seconds)).write(tmp_path)
    whole = preprocess(path, RECIPE)
    monkeypatch.setattr(filtered, "_WHOLE_BYTES", 1 << 16)
    monkeypatch.setattr(filtered, "_BLOCK_BYTES", 1 << 16)
    blocks = preprocess(path, RECIPE)
    assert np.array_equal(blocks.samples, whole.samples) and blocks.statistics == whole.statistics


@pytest.mark.parametrize(
    ("notes", "spans"),
    [
        ([(3, 2, "BAD_ACQ_SKIP")], [(3, 5)]),
        ([(3, 2, "bad acq-skip"), (4, 2, "Impedance Check")], [(3, 6)]),
        ([(3, 0, "Recording paused"), (5, 0, "Recording resumed")], [(3, 5)]),
        ([(3, 0, "Impedance check start"), (5, 0, "Impedance check end")], [(3, 5)]),
        ([(3, 0, "Impedance check"), (5, 0, "Impedance check off"), (7, 0, "resumed")], [(3, 5)]),
        ([(3, 0, "Impedance check")], []),
        ([(3, 2, "Impedance check: 5 kOhm"), (7, 1, "Data missing")], [(3, 5), (7, 8)]),
        ([(3, 0, "Pause"), (5, 0, "Pause end"), (7, 0, "Amplifier off"), (8, 0, "resumed")], [(3, 5), (7, 8)]),
        ([(3, 2, "Impedanzmessung"), (6, 2, "Patient disconnected")], [(3, 5), (6, 8)]),
        ([(1, 8, "Calm"), (1, 8, "EEG"), (1, 8, "Gaping"), (1, 8, "boundary"), (1, 8, "imperfect")], []),
        ([(5, 0, "Recording resumed")], []),
        ([(3, 2, "seizure"), (3, 2, "BAD_muscle"), (3, 2, "T0")], []),
        ([(-2, 3, "no data"), (9, 5, "no data")], [(0, 1), (9, 10)]),
        ([(10, 5, "no data"), (-5, 5, "no data")], []),
    ],
)
def test_which_annotations_mark_no_data(notes: list[tuple[int, int, str]], spans: list[tuple[int, int]]) -> None:
    found, words = no_data_spans([Note(Fraction(a), Fraction(b), text) for a, b, text in notes], Fraction(10))
    assert found == spans and bool(words) >= bool(found)


def test_annotations_of_every_channel_and_record_are_read(tmp_path: Path) -> None:
    stamps = [b"+7\x14\x14", b"+8\x14\x14\0+8.5\x152\x14one\x14two\x14\0", b"+9\x14\x14\0+9\x14three\x14"]
    with EdfFile(File([noise("Fp1", seconds=3)], stamps=stamps).write(tmp_path)) as edf:
        assert edf.annotations() == [
            Note(Fraction(3, 2), Fraction(2), "one"),
            Note(Fraction(3, 2), Fraction(2), "two"),
            Note(Fraction(2), Fraction(0), "three"),
        ]
