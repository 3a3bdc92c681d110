"""The EDF reader: what it reads, what it notes, what it refuses, and that nothing else ever comes out of it."""

from __future__ import annotations

import os
import tracemalloc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import edfio
import numpy as np
import pytest
from edf_bytes import File, Made, noise, with_fields
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainbrr.digest import source_digest
from brainbrr.eeg.edf import EdfFile, EdfHeader, read_header
from brainbrr.eeg.preprocess import preprocess
from brainbrr.eeg.recipe import Recipe
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
    "a header size that does not fit the signals": (File([EEG], n_header=768), "768 bytes; 1 signals need 512"),
    "a record count that would drop signal": (File([EEG], declared="3"), "says 3, 4 are there"),
    "a truncated file": (File([EEG], declared="5"), "truncated: 4 of 5 records"),
    "a negative record count": (File([EEG], declared="-2"), "number of records is -2"),
    "a record count that is not a number": (File([EEG], declared="four"), "number of records is 'four'"),
    "no records": (File([with_fields(EEG, samples=EEG.samples[:0])]), "holds no data records"),
    "a record duration of 0": (File([EEG], record_s="0"), "the record duration is '0' s"),
    "a negative record duration": (File([EEG], record_s="-1"), "the record duration is '-1' s"),
    "an empty record duration": (File([EEG], record_s=""), "record duration is '', not a number"),
    "a sample count that is not a number": (File([with_fields(EEG, n_samples="x")]), "samples per record is 'x'"),
    "a negative sample count": (File([with_fields(EEG, n_samples="-256")]), "samples per record: -256"),
    "records without samples": (File([with_fields(EEG, n_samples="0")]), "hold no samples"),
    "another version": (File([EEG], version=b"1"), "version field is b'1"),
    "a BDF": (File([EEG], version=b"\xffBIOSEMI"), "BDF (24-bit samples)"),
    "a BDF that says so late": (File([EEG], reserved="24BIT"), "BDF (24-bit samples)"),
    "annotations only": (File([Made("EDF Annotations", EEG.samples, 256)], record_s="0"), "annotations only"),
    "gaps": (
        File([EEG], reserved="EDF+D", stamps=[b"+0\x14\x14", b"+1\x14\x14", b"+9\x14\x14", b"+10\x14\x14"]),
        "has gaps (EDF+D): record 3 starts at 9 s, not at 2 s",
    ),
    "gaps that are not known": (File([EEG], reserved="EDF+D"), "without timestamps"),
    "a record of a discontinuous file without a timestamp": (
        File([EEG], reserved="EDF+D", stamps=[b"+0\x14\x14", b"+1\x14\x14", b"", b"+3\x14\x14"]),
        "record 3 has no timestamp",
    ),
    "gaps in a file that says nothing": (
        File([EEG], stamps=[b"+0\x14\x14", b"+1\x14\x14", b"+2\x14\x14", b"+7\x14\x14"]),
        "record 4 starts at 7 s, not at 3 s",
    ),
}


@pytest.mark.parametrize("file, reason", BROKEN.values(), ids=BROKEN)
def test_a_file_is_refused_with(file: File, reason: str, tmp_path: Path) -> None:
    assert reason in refusal(file, tmp_path).what


OTHER_FORMATS = {
    "an empty file": (b"", "is empty"),
    "a git-LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-LFS pointer"),
    "an HTML page": (b"\n<!DOCTYPE html><html>" + b" " * 300, "HTML or XML page"),
    "half a header": (File([EEG]).bytes()[:200], "has 200 bytes"),
    "half a signal header": (File([EEG]).bytes()[:300], "ends inside its header, after 300 of 512"),
    "text": (b"channel,start,stop\n" * 30, "version field is b'channel,'"),
    "no signals": (File([EEG]).bytes()[:252] + b"0   ", "has no signals"),
}


@pytest.mark.parametrize("content, reason", OTHER_FORMATS.values(), ids=OTHER_FORMATS)
def test_what_is_not_an_edf_is_called_by_its_name(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(content)
    with pytest.raises(EdfError) as raised:
        read_header(path)
    assert reason in raised.value.what and raised.value.where == str(path)


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


def test_samples_that_went_through_a_text_decoder_are_refused(tmp_path: Path) -> None:
    whole = File([EEG]).bytes()
    mangled = whole.decode("utf-8", errors="replace").encode()
    path = tmp_path / "a.edf"
    path.write_bytes(mangled)
    with pytest.raises(EdfError, match="decoded as text"):
        read_header(path)


def header_of(file: File, tmp_path: Path, *, accept_truncated: bool = False) -> EdfHeader:
    return read_header(file.write(tmp_path), accept_truncated=accept_truncated)


NOTED = {
    "trailing bytes": (File([EEG], trailing=b"abc"), "after the last record are left out: 3"),
    "a recording never closed": (File([EEG], declared="-1"), "never closed (number of records -1): 4 whole"),
    "an incomplete last record": (File([EEG], declared="-1", trailing=b"ab"), "incomplete last record of 2 bytes"),
    "a bad date": (File([EEG], date="01:01:85"), "start date and time are not valid: '01:01:85'"),
    "comma decimals": (File([with_fields(EEG, physical=("-3276,8", "3276,7"))]), "decimals with a comma"),
    "annotations in a plain EDF": (
        File([EEG], stamps=[b"+%d\x14\x14" % i for i in range(4)]),
        "has an annotation channel although",
    ),
    "a clock that stands still in a plain EDF": (
        File([EEG], stamps=[b"+0\x14\x14"] * 4),
        "record 4 starts at 0 s, not at 3 s",
    ),
    "an odd timestamp where no gaps are promised": (
        File([EEG], reserved="EDF+C", stamps=[b"+0\x14\x14"] * 4),
        "record 4 starts at 0 s, not at 3 s",
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


def test_a_truncated_file_is_read_up_to_its_last_whole_record_when_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(File([EEG]).bytes()[:-100])
    with pytest.raises(EdfError, match="truncated: 3 of 4") as raised:
        read_header(path)
    assert "--accept-truncated" in str(raised.value.fix)
    with EdfFile(path, accept_truncated=True) as edf:
        assert (edf.header.n_records, edf.header.n_records_declared) == (3, 4)
        assert any("truncated: 3 of 4" in note for note in edf.header.notes)
        assert np.array_equal(edf.digital(0), EEG.samples[:768])


def test_a_file_without_one_whole_record_is_refused_even_when_truncation_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(File([EEG]).bytes()[:600])
    with pytest.raises(EdfError, match="no data records"):
        read_header(path, accept_truncated=True)


def test_years_of_two_digits_are_1985_to_2084(tmp_path: Path) -> None:
    starts = [header_of(File([EEG], date=f"01.01.{yy}"), tmp_path).started for yy in ("85", "99", "00", "84")]
    assert [str(start)[:4] for start in starts] == ["1985", "1999", "2000", "2084"]


def test_padding_by_nul_and_bytes_beyond_ascii_are_read(tmp_path: Path) -> None:
    header = header_of(File([with_fields(EEG, label="EEG FP1-REF\0\0")], patient="M\xfcller\0\0"), tmp_path)
    assert header.signals[0].label == "EEG FP1-REF" and header.patient == "M\xfcller"


def test_rates_are_exact_fractions_of_the_record_duration(tmp_path: Path) -> None:
    for record_s, rate in (("0.5", 512), ("10", Fraction(128, 5)), ("1.0004", Fraction(640000, 2501))):
        header = header_of(File([EEG], record_s=record_s), tmp_path)
        assert header.signals[0].rate == rate and header.duration_s == 4 * Fraction(record_s)


def test_a_recording_id_says_whether_the_signal_is_synthetic(tmp_path: Path) -> None:
    assert not header_of(File([EEG]), tmp_path).synthetic
    assert header_of(File([EEG], recording="Startdate X X X brainbrr_synthetic"), tmp_path).synthetic


UNITS: dict[str | bytes, str] = {
    "uV": "0.1", "UV": "0.1", "uv": "0.1", "\xb5V": "0.1", b"\xc2\xb5V": "0.1", b"\xce\xbcV": "0.1",
    b"\xb0V": "0.1", "mcV": "0.1", "uV\0": "0.1", "nV": "0.0001", "mV": "100", "MV": "100", "V": "100000",
    "v": "100000",
}  # fmt: skip


@pytest.mark.parametrize("unit, step_uv", UNITS.items(), ids=map(repr, UNITS))
def test_every_spelling_of_a_unit_gives_microvolts(unit: str | bytes, step_uv: str, tmp_path: Path) -> None:
    signal = header_of(File([with_fields(EEG, unit=unit)]), tmp_path).signals[0]
    assert float(signal.gain_uv) == pytest.approx(float(step_uv))
    assert float(signal.offset_uv) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("unit", ["", "n/a", "%", "mm", "kV", "u"])
def test_an_unknown_unit_is_an_error_only_for_who_asks(unit: str, tmp_path: Path) -> None:
    signal = header_of(File([with_fields(EEG, unit=unit)]), tmp_path).signals[0]
    with pytest.raises(EdfError, match=r"signal 1 \('EEG FP1-REF'\): the unit"):
        _ = signal.gain_uv


UNSCALABLE = {
    "equal physical limits": ({"physical": ("5", "5")}, "physical minimum and maximum are both 5"),
    "equal digital limits": ({"digital": ("0", "0")}, "digital minimum 0 is not below digital maximum 0"),
    "reversed digital limits": ({"digital": ("2047", "-2048")}, "digital minimum 2047 is not below"),
    "24-bit limits": ({"digital": ("-8388608", "8388607")}, "is not of 16-bit integers"),
    "a fractional digital limit": ({"digital": ("-2048.5", "2047")}, "is not of 16-bit integers"),
    "an empty limit": ({"physical": ("", "100")}, "physical minimum is '', not a number"),
    "two commas": ({"physical": ("-1,000,5", "100")}, "physical minimum is '-1,000,5', not a number"),
    "an endless exponent": ({"physical": ("1e999999", "100")}, "physical minimum is '1e999999', not a number"),
    "not a number": ({"physical": ("nan", "inf")}, "physical minimum is 'nan', not a number"),
}


@pytest.mark.parametrize("fields, reason", UNSCALABLE.values(), ids=UNSCALABLE)
def test_samples_cannot_be_scaled_with(fields: dict[str, tuple[str, str]], reason: str, tmp_path: Path) -> None:
    signal = header_of(File([EEG, with_fields(EEG, label="EEG F3", **fields)]), tmp_path).signals[1]
    with pytest.raises(EdfError) as raised:
        _ = signal.gain_uv
    assert reason in raised.value.what and "signal 2 ('EEG F3')" in raised.value.what


def test_a_reversed_physical_range_turns_the_sign(tmp_path: Path) -> None:
    signal = header_of(File([with_fields(EEG, physical=("3276.8", "-3276.7"))]), tmp_path).signals[0]
    assert signal.gain_uv == Fraction(-65535, 655350) and signal.offset_uv == 0


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
        made = preprocess(path, Recipe(channels=("Fp1", "F3")), accept_truncated=accept)
        assert np.abs(made.samples[[name not in made.absent for name in made.channels]]).max() <= 32767
    except BrainbrrError as error:
        assert error.what
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 << 20
