"""The EDF reader: what it reads, what it notes, what it refuses, and that nothing else ever comes out of it."""

from __future__ import annotations

import os
import tracemalloc
from itertools import pairwise
from pathlib import Path

import edfio
import numpy as np
import pytest
from helpers.edf_bytes import File, noise, with_fields
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainbrr.core.digest import source_digest
from brainbrr.eeg.edf.header import EdfHeader
from brainbrr.eeg.edf.reader import EdfFile, read_header
from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError, EdfError

READ_BY_EDFIO = (
    "edf/eegmmi_S001R01.edf",
    "edf/ltm_seizure_onset_200hz.edf",
    "edf/microstates_rest_250hz.edf",
    "edf/siena_hdr_512hz_noise.edf",
    "edf/stimchan_128hz_oddrecord.edf",
    "odd/annotations_utf8.edf",  # a reversed physical range
    "odd/duplicate_labels.edf",
    "odd/edfplusC_manyrates_20k_30k.edf",  # two annotation channels, the first of them signal 1
    "odd/legacy_no_reserved.edf",
    "odd/resmed_60s_records.edf",
    "odd/short_psg_mixed_rates.edf",
    "odd/test_reduced_139ch_mixed.edf",
    "odd/uneven_rates.edf",
)


@pytest.mark.parametrize("name", READ_BY_EDFIO)
def test_samples_rates_and_scale_are_those_that_edfio_reads(data: Path, name: str) -> None:
    theirs = edfio.read_edf(data / name)
    with EdfFile(data / name) as ours:
        assert ours.header.duration_s == pytest.approx(theirs.duration, abs=1e-9)
        assert [signal.label for signal in ours.header.signals] == [signal.label for signal in theirs.signals]
        for i, (signal, other) in enumerate(zip(ours.header.signals, theirs.signals, strict=True)):
            digital = ours.digital(i)
            assert digital.dtype == np.int16 and np.array_equal(digital, other.digital), signal
            assert float(signal.rate) == pytest.approx(other.sampling_frequency, rel=1e-12)
            if other.physical_dimension == "uV":
                uv = digital * float(signal.gain_uv) + float(signal.offset_uv)
                np.testing.assert_allclose(uv, other.data, rtol=1e-9, atol=1e-6)  # edfio adds its offset in float64


def refusal(file: File, tmp_path: Path) -> EdfError:
    path = file.write(tmp_path)
    with pytest.raises(EdfError) as raised:
        read_header(path)
    assert raised.value.where == str(path)
    return raised.value


EEG = noise("EEG FP1-REF")

BROKEN = {
    "a sample count that is not a number": (File([with_fields(EEG, n_samples="x")]), "samples per record is 'x'"),
    "a negative sample count": (File([with_fields(EEG, n_samples="-256")]), "samples per record: -256"),
}


@pytest.mark.parametrize("file, reason", BROKEN.values(), ids=BROKEN)
def test_a_file_is_refused_with(file: File, reason: str, tmp_path: Path) -> None:
    assert reason in refusal(file, tmp_path).what


def test_a_missing_file_is_an_edf_error(tmp_path: Path) -> None:
    with pytest.raises(EdfError, match="cannot be read: No such file"):
        read_header(tmp_path / "none.edf")


def test_a_file_that_shrinks_after_its_header_was_read_is_an_edf_error(tmp_path: Path) -> None:
    path = File([EEG]).write(tmp_path)
    with EdfFile(path) as edf:
        os.truncate(path, path.stat().st_size - 1)
        edf.records(0, 3)
        with pytest.raises(EdfError, match="changed while it was read") as raised:
            edf.records(3, 4)
    assert raised.value.where == str(path)


def test_the_source_of_an_open_file_is_that_of_all_its_bytes_however_they_were_read(tmp_path: Path) -> None:
    path = File([EEG], trailing=b"behind the last record").write(tmp_path)
    for steps in ((0, 4), (0, 1, 4), (0, 2, 3, 4)):
        with EdfFile(path) as edf:
            for first, last in pairwise(steps):
                edf.records(max(0, first - 1), last)  # one of them a second time
            assert edf.source() == source_digest(path)


def header_of(file: File, tmp_path: Path) -> EdfHeader:
    return read_header(file.write(tmp_path))


NOTED = {
    "annotations in a plain EDF": (
        File([EEG], stamps=[b"+%d\x14\x14" % i for i in range(4)]),
        "has an annotation channel although",
    ),
    "a clock that stands still in a plain EDF": (
        File([EEG], stamps=[b"+0\x14\x14"] * 4),
        "record 2 starts at 0 s, not at 1 s",
    ),
    "an odd timestamp where no gaps are promised": (
        File([EEG], reserved="EDF+C", stamps=[b"+0\x14\x14"] * 4),
        "record 2 starts at 0 s, not at 1 s",
    ),
}


@pytest.mark.parametrize("file, note", NOTED.values(), ids=NOTED)
def test_a_file_is_read_and_a_note_tells_of(file: File, note: str, tmp_path: Path) -> None:
    header = header_of(file, tmp_path)
    assert header.n_records == 4 and header.duration_s == 4
    assert any(note in text for text in header.notes), header.notes
    with EdfFile(tmp_path / "made.edf") as edf:
        assert np.array_equal(edf.digital(0), EEG.samples)
        assert float(edf.header.signals[0].gain_uv) == pytest.approx(0.1)


def test_a_sound_file_has_no_notes(tmp_path: Path) -> None:
    stamps = [b"+0.5\x14\x14\0+0.6\x1512.5\x14seizure\x14", b"+1.5\x14\x14", b"+2.500\x14\x14", b"+3.5\x14\x14"]
    header = header_of(File([EEG], reserved="EDF+D", stamps=stamps), tmp_path)
    assert header.notes == () and header.discontinuous and header.started == "2004-03-02T05:06:07"


def test_years_of_two_digits_are_1985_to_2084(tmp_path: Path) -> None:
    starts = [header_of(File([EEG], date=f"01.01.{yy}"), tmp_path).started for yy in ("85", "99", "00", "84")]
    assert [str(start)[:4] for start in starts] == ["1985", "1999", "2000", "2084"]


def test_a_recording_id_says_whether_the_signal_is_synthetic(tmp_path: Path) -> None:
    assert not header_of(File([EEG]), tmp_path).synthetic
    assert header_of(File([EEG], recording="Startdate X X X brainbrr_synthetic"), tmp_path).synthetic


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=600), keep=st.integers(0, 512))
def test_arbitrary_bytes_only_ever_raise_our_own_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, keep: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.edf"
    path.write_bytes(File([EEG]).bytes()[:keep] + content)
    with pytest.raises(EdfError):
        read_header(path)


TWO_SECONDS = (
    noise("EEG FP1-REF", seconds=2),
    noise("EEG F3-REF", rate=200, seconds=2),
    noise("SaO2", rate=2, seconds=2, unit="%"),
)
SMALL = File(TWO_SECONDS, reserved="EDF+C", stamps=[b"+0\x14\x14", b"+1\x14\x14"]).bytes()
N_HEADER = 256 * 5
FIELD_BYTES = st.one_of(st.sampled_from(list(b"0123456789-+.,eE \0")), st.integers(0, 255))
MUTATION = st.tuples(st.integers(168, N_HEADER - 1), st.lists(FIELD_BYTES, min_size=1, max_size=8).map(bytes))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations=st.lists(MUTATION, min_size=1, max_size=4), stop=st.integers(0, 200), accept=st.booleans())
def test_a_mutated_file_gives_a_result_or_our_own_error_in_bounded_memory(
    tmp_path_factory: pytest.TempPathFactory, mutations: list[tuple[int, bytes]], stop: int, accept: bool
) -> None:
    content = bytearray(SMALL)
    for at, replacement in mutations:
        content[at : at + len(replacement)] = replacement
    path = tmp_path_factory.getbasetemp() / "mutated.edf"
    path.write_bytes(content[: len(SMALL) - (stop if stop < 50 else 0)])
    tracemalloc.start()
    try:
        made = preprocess(path, Recipe(channels=("Fp1", "F3")), accept=("truncated",) if accept else ())
        assert np.abs(made.samples[[name not in made.absent for name in made.channels]]).max() <= 32767
    except BrainbrrError as error:
        assert error.what
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 << 20
