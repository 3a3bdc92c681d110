"""The traps that EDF files set, one after the other: each is handled or refused by name.

A comment says what a trap is and what mne 1.13.2, edfio 0.4.18 or pyEDFlib 0.1.42 made of it.
"""

from __future__ import annotations

import ast
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.edf_bytes import File, Made, noise, with_fields
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import brainbrr
from brainbrr.eeg.edf.reader import EdfFile, read_header
from brainbrr.eeg.quality.detector import examine
from brainbrr.eeg.signal.channels import select
from brainbrr.eeg.signal.preprocess import Preprocessed, check, preprocess
from brainbrr.eeg.signal.recipe import MAX_RATIO_TERM, PRESETS, Recipe
from brainbrr.errors import EdfError, MontageError, RecordingError

EEG = noise("EEG FP1-REF")
ONE = Recipe(channels=("Fp1",))
DEFAULT = Recipe()


def refused(content: File | bytes | Path, folder: Path, recipe: Recipe = ONE) -> RecordingError:
    """The error of a file that neither its header nor its samples let pass, and that names the file."""
    path = content if isinstance(content, Path) else folder / "made.edf"
    if not isinstance(content, Path):
        path.write_bytes(content.bytes() if isinstance(content, File) else content)
    for attempt in (check, preprocess):
        with pytest.raises(RecordingError) as raised:
            attempt(path, recipe)
        assert raised.value.where == str(path)
    return raised.value


def stored(file: File, folder: Path, recipe: Recipe = ONE) -> Preprocessed:
    """What is stored of a file that is read."""
    path = file.write(folder)
    check(path, recipe)
    return preprocess(path, recipe)


def notes(made: Preprocessed) -> str:
    return "\n".join(made.facts["notes"])


@pytest.fixture
def sound(tmp_path: Path) -> Any:
    """What is stored of EEG alone, in a file without a flaw."""
    (folder := tmp_path / "sound").mkdir()
    made = stored(File([EEG]), folder)
    assert made.facts["notes"] == [] and made.samples.any()
    return made.samples


# Records that do not follow each other: mne and edfio join the pieces without a word. What becomes of gaps:
# tests/eeg/signal/test_pieces.py.


def stamps(*onsets_s: int) -> list[bytes]:
    return [b"+%d\x14\x14" % onset_s for onset_s in onsets_s]


NO_TIMES = {
    "an overlap": (File([EEG], reserved="EDF+D", stamps=stamps(0, 1, 1, 2)), "record 3 starts at 1 s, not at 2 s"),
    "an overlap behind a gap": (File([EEG], stamps=stamps(0, 9, 9, 10)), "record 3 starts at 9 s, not at 10 s"),
    "a minute that is there twice": (
        File([noise("Fp1", seconds=8)], reserved="EDF+C", stamps=stamps(0, 1, 2, 3, 0, 1, 2, 3)),
        "the file's time goes back (EDF+C): record 5 starts at 0 s, not at 4 s",
    ),
    "gaps that nothing tells": (File([EEG], reserved="EDF+D"), "discontinuous (EDF+D) without timestamps"),
    "a record without a time": (
        File([EEG], reserved="EDF+D", stamps=[b"+0\x14\x14", b"+1\x14\x14", b"", b"+3\x14\x14"]),
        "record 3 has no timestamp",
    ),
    "a record without a time behind a gap": (
        File([EEG], reserved="EDF+C", stamps=[b"+0\x14\x14", b"+7\x14\x14", b"", b"+9\x14\x14"]),
        "the file has gaps (EDF+C), and record 3 has no timestamp",
    ),
    "a gap of more than an hour": (
        File([EEG], reserved="EDF+C", stamps=stamps(0, 1, 3603, 3604)),
        "the file has gaps (EDF+C) of 3601 s: record 3 starts at 3603 s",
    ),
    "a day of gaps": (
        File([noise("Fp1", seconds=26)], stamps=stamps(*range(0, 26 * 3600, 3600))),
        "gaps (plain EDF with timestamps) that are 89975 s together",
    ),
}


@pytest.mark.parametrize("file, reason", NO_TIMES.values(), ids=NO_TIMES)
def test_times_that_cannot_be_are_refused(file: File, reason: str, tmp_path: Path) -> None:
    assert reason in refused(file, tmp_path).what


def test_a_real_file_with_a_gap_of_twelve_hours_is_refused(data: Path, tmp_path: Path) -> None:
    error = refused(data / "odd/edfD_gap_12h.edf", tmp_path)
    assert "gaps (EDF+D) of 43194 s: record 7 starts at 43200 s" in error.what and "split it" in str(error.fix)


def test_a_discontinuous_file_that_has_no_gaps_is_read_whole(sound: Any, tmp_path: Path) -> None:
    file = File([EEG], reserved="EDF+D", stamps=[b"+%d.25\x14\x14" % s for s in (70, 71, 72, 73)])
    made = stored(file, tmp_path)
    assert notes(made) == "" and np.array_equal(made.samples, sound)
    assert read_header(tmp_path / "made.edf").discontinuous


# Several rates in one file: mne brings every channel to the highest, also the ones that were picked.


def test_a_channel_is_read_at_its_own_rate_whatever_lies_beside_it(sound: Any, tmp_path: Path) -> None:
    others = [noise("IBI", rate=1, unit="sec"), noise("ECG", rate=1024), noise("EEG F3-REF", rate=200)]
    made = stored(File([others[0], EEG, *others[1:]]), tmp_path, Recipe(channels=("Fp1", "F3")))
    assert made.facts["edf"]["rates"] == {"Fp1": "256", "F3": "200"}
    assert np.array_equal(made.samples[:1], sound)


def test_real_channels_are_read_at_their_own_rates(data: Path) -> None:
    with EdfFile(data / "odd/test_reduced_139ch_mixed.edf") as edf:
        assert {int(signal.rate) for signal in edf.header.signals} == {2**i for i in range(10)}
        for i, signal in enumerate(edf.header.signals):
            assert len(edf.digital(i)) == signal.rate * edf.header.duration_s
    mixed = [path for path in sorted((data / "tusz_layout").rglob("*.edf")) if has_1_hz(path)]
    assert len(mixed) == 22
    assert set(preprocess(mixed[0], DEFAULT).facts["edf"]["rates"].values()) == {"250"}


def has_1_hz(path: Path) -> bool:
    return any(signal.rate == 1 for signal in read_header(path).signals)


# A record count of -1, bytes after the last record, half a record: readers differ.

WHOLE_RECORDS = {
    "a count of -1": (File([EEG], declared="-1"), "never closed (number of records -1): 4 whole records are there"),
    "a count of -1 and half a record": (
        File([EEG], declared="-1", trailing=b"x" * 200),
        "an incomplete last record of 200 bytes is left out",
    ),
    "bytes after the last record": (File([EEG], trailing=b"abc"), "bytes after the last record are left out: 3"),
}


@pytest.mark.parametrize("file, note", WHOLE_RECORDS.values(), ids=WHOLE_RECORDS)
def test_whole_records_are_stored_and_the_facts_tell_of(file: File, note: str, sound: Any, tmp_path: Path) -> None:
    made = stored(file, tmp_path)
    assert note in notes(made) and made.facts["edf"]["n_records"] == 4
    assert np.array_equal(made.samples, sound)


def test_a_byte_too_many_at_the_end_of_a_real_file_is_noted(data: Path) -> None:
    header = read_header(data / "odd/uneven_rates_trailing_byte.edf")
    assert header.n_records == 11 and "bytes after the last record are left out: 1" in header.notes


def test_a_truncated_file_is_refused_or_when_accepted_stored_up_to_its_last_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "made.edf"
    error = refused(File([EEG]).bytes()[:-100], tmp_path)
    assert "truncated: 3 of 4 records are whole" in error.what and "--accept truncated" in str(error.fix)
    made = preprocess(path, ONE, accept={"truncated"})
    assert made.samples.shape == (1, 768) and "truncated: 3 of 4" in notes(made)
    with EdfFile(path, accept_truncated=True) as edf:
        assert np.array_equal(edf.digital(0), EEG.samples[:768]) and edf.header.n_records_declared == 4
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(EdfError, match="no data records"):
        preprocess(path, ONE, accept={"truncated"})


# No records, or annotations only: some readers return a recording of 0 s.

NOTHING = {
    "no records": (File([with_fields(EEG, samples=EEG.samples[:0])]), "holds no data records (number of records: 0)"),
    "annotations only": (File([Made("EDF Annotations", EEG.samples, 256)], record_s="0"), "holds annotations only"),
    "no signals": (File([EEG]).bytes()[:252] + b"0   ", "has no signals"),
    "records without samples": (File([with_fields(EEG, n_samples="0")]), "hold no samples"),
}


@pytest.mark.parametrize("content, reason", NOTHING.values(), ids=NOTHING)
def test_nothing_is_not_a_recording(content: File | bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refused(content, tmp_path).what


@pytest.mark.parametrize("name, reason", [
    ("odd/zero_data_records.edf", "holds no data records"), ("odd/hypnogram_no_signals.edf", "annotations only"),
])  # fmt: skip
def test_nothing_in_a_real_file_is_not_a_recording(data: Path, name: str, reason: str, tmp_path: Path) -> None:
    assert reason in refused(data / name, tmp_path).what


# All channels on one range of ±1e7 µV, as re-exports have it: steps of 305 µV or more, flat channels.


def test_steps_far_above_any_eeg_are_refused(tmp_path: Path) -> None:
    both = Recipe(channels=("Fp1", "F3"))
    file = File([noise(label, physical=("-1e7", "1e7")) for label in ("F3", "Fp1")])
    assert refused(file, tmp_path, both).what.startswith("signal 2 ('Fp1'): one digital step is 305.18 µV (fields: ")
    one_of_two = File([noise("F3", physical=("-1e7", "1e7")), EEG])
    assert "signal 1 ('F3'): one digital step is 305.18 µV" in refused(one_of_two, tmp_path, both).what
    assert stored(one_of_two, tmp_path, ONE).samples.any()  # nobody asked for F3


@pytest.mark.parametrize("limit_uv, is_refused", [("327675", False), ("327685", True)])
def test_the_largest_step_is_10_uv(limit_uv: str, is_refused: bool, tmp_path: Path) -> None:
    file = File([with_fields(EEG, physical=(f"-{limit_uv}", limit_uv))])
    if is_refused:
        assert "one digital step is 10.0003 µV" in refused(file, tmp_path).what
    else:
        assert stored(file, tmp_path).samples.any()


# The unit byte B0 where µ (B5) was: mne takes it for volts, a million times too large.


def test_a_lost_mu_is_read_as_microvolts_and_noted(sound: Any, tmp_path: Path) -> None:
    made = stored(File([with_fields(EEG, unit=b"\xb0V")]), tmp_path)
    assert np.array_equal(made.samples, sound) and "the unit's byte B0 is read as µ" in notes(made)


IMPLAUSIBLE = {
    "microvolts that claim to be volts": ({"unit": "V"}, "one digital step is 100000 µV"),
    "volts that claim to be microvolts": ({"physical": ("-0.00005", "0.00005")}, "physical range of even 1 µV"),
}


@pytest.mark.parametrize("fields, reason", IMPLAUSIBLE.values(), ids=IMPLAUSIBLE)
def test_a_range_that_no_eeg_has_is_refused(fields: dict[str, Any], reason: str, tmp_path: Path) -> None:
    assert reason in refused(File([with_fields(EEG, **fields)]), tmp_path).what


# Binary that went through a text decoder or a copy in text mode: edfio returns garbage with a warning.

SOUND = File([noise("EEG FP1-REF", seconds=16)], patient="M\xfcller X X X").bytes()
MANGLED = {
    "bytes that are not UTF-8 replaced": (SOUND.decode("utf-8", "replace").encode(), "was decoded as text once"),
    "the same in the samples only": (
        SOUND[:512].replace(b"\xfc", b"u") + SOUND[512:].decode("utf-8", "replace").encode(),
        "was decoded as text once",
    ),
    "line feeds made CR LF": (SOUND.replace(b"\n", b"\r\n"), "was copied as text"),
}


@pytest.mark.parametrize("content, reason", MANGLED.values(), ids=MANGLED)
def test_samples_that_were_taken_for_text_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refused(content, tmp_path).what


def test_some_bytes_that_look_like_text_are_not_enough(sound: Any, tmp_path: Path) -> None:
    replaced = np.frombuffer(b"\xef\xbf\xbd " * 300, "<i2")
    lines = np.frombuffer(b"\r\n" * 600, "<i2")
    others = [Made("X1", np.tile(replaced, 2)[:1024], 256), Made("X2", np.resize(lines, 1024), 256)]
    assert np.array_equal(stored(File([EEG, *others]), tmp_path).samples, sound)


# A git-LFS pointer, an HTML page, an empty file: odd exceptions.

OTHER_FORMATS = {
    "an empty file": (b"", "the file is empty"),
    "a git-LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a git-LFS pointer"),
    "an HTML page": (b"\n<!DOCTYPE html><html>" + b" " * 300, "an HTML or XML page"),
    "half a header": (SOUND[:200], "has 200 bytes; an EDF's header alone has 256"),
    "half a signal's header": (SOUND[:300], "ends inside its header, after 300 of 512"),
    "a table": (b"channel,start,stop\n" * 30, "version field is b'channel,'"),
    "another version": (File([EEG], version=b"1").bytes(), "version field is b'1"),
}


@pytest.mark.parametrize("content, reason", OTHER_FORMATS.values(), ids=OTHER_FORMATS)
def test_what_is_not_an_edf_is_called_by_its_name(content: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refused(content, tmp_path).what


def test_a_real_pointer_is_called_a_pointer(data: Path, tmp_path: Path) -> None:
    error = refused(data / "odd/gitlfs_pointer.edf", tmp_path)
    assert error.what == "the file is a git-LFS pointer, not an EDF" and "git lfs pull" in str(error.fix)


# A bad start date, as a real file of TUSZ's eval split has it: pyEDFlib refuses.


@pytest.mark.parametrize("date", ["01:01:85", "31.02.04", "", "xx.yy.zz"])
def test_a_bad_start_date_is_noted_and_read_over(date: str, sound: Any, tmp_path: Path) -> None:
    made = stored(File([EEG], date=date), tmp_path)
    assert np.array_equal(made.samples, sound) and "started" not in made.facts["edf"]
    assert "its start date and time are not valid" in notes(made) and (not date or date not in notes(made))


# Duplicate labels, padded names, 10-10 names, references, lower case.

SPELLINGS = {
    "T3": ("T3", "EEG T3-REF", "EEG T3-LE", "EEG T3-AR", "eeg t3-ref", "T3.", "T7..", "EEG T7-Ref", "t7", "POL T3"),
    "T4": ("EEG T8-LE", "T8."),
    "T5": ("P7", "EEG P7-REF", "p7."),
    "T6": ("P8", "EEG P8-AR"),
    "Fp1": ("EEG FP1-REF", "fp1-avg", "Fp1.", "FP1"),
}


@pytest.mark.parametrize("electrode, label", [(name, label) for name in SPELLINGS for label in SPELLINGS[name]])
def test_an_electrode_is_known_by_any_of_its_names(electrode: str, label: str, tmp_path: Path) -> None:
    file = File([with_fields(EEG, label=label), with_fields(EEG, label="Cz")])
    made = stored(file, tmp_path, Recipe(channels=(electrode,)))
    assert made.facts["edf"]["labels"] == {electrode: label} and made.samples.any()


@pytest.mark.parametrize("name, labels", [
    ("edf/eegmmi_S001R01.edf", {"Fp1": "Fp1.", "T3": "T7..", "T6": "P8..", "Cz": "Cz.."}),
    ("edf/ltm_seizure_onset_200hz.edf", {"Fp1": "EEG Fp1-Ref", "T3": "EEG T7-Ref", "T6": "EEG P8-Ref"}),
    ("odd/szcore_unipolar.edf", {"Fp1": "Fp1-Avg", "T3": "T3-Avg"}),
])  # fmt: skip
def test_real_labels_name_their_electrodes(data: Path, name: str, labels: dict[str, str]) -> None:
    found = preprocess(data / name, DEFAULT).facts["edf"]["labels"]
    assert len(found) == 19 and labels.items() <= found.items()


def test_two_signals_of_one_electrode_are_one_when_they_are_copies(sound: Any, tmp_path: Path) -> None:
    made = stored(File([EEG, with_fields(EEG, label="Fp1.")]), tmp_path)
    assert np.array_equal(made.samples, sound)
    assert notes(made) == "signal 2 ('Fp1.') is a copy of signal 1 ('EEG FP1-REF')"


TWO = Recipe(channels=("Fp1", "F3"))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (with_fields(noise("Fp1", seed=1), label="EEG FP1-LE"), "have different samples"),
        (with_fields(EEG, unit="nV"), "differ in rate or scale"),
    ],
)
def test_a_channel_whose_signals_differ_is_absent_and_noted(other: Made, why: str, tmp_path: Path) -> None:
    path = File([EEG, noise("F3"), other]).write(tmp_path)
    made = preprocess(path, TWO)
    assert made.absent == ("Fp1",) and (made.samples[0] == -32768).all()
    [note] = [note for note in made.facts["notes"] if "absent" in note]
    assert note.startswith("Fp1 is absent: signal 1 ('EEG FP1-REF') and signal 3") and note.endswith(why)
    assert all(finding["channel"] != "Fp1" for finding in examine(path, TWO)["findings"])


def test_more_channels_absent_than_there_are_a_refusal_also_where_signals_differ(tmp_path: Path) -> None:
    path = File([EEG, with_fields(noise("Fp1", seed=1), label="EEG FP1-LE")]).write(tmp_path)
    check(path, ONE)  # a header cannot tell
    with pytest.raises(MontageError, match=r"1 of 1 channels are missing: Fp1"):
        preprocess(path, ONE)


def test_different_signals_under_one_label_of_a_real_file_leave_that_row_absent(data: Path) -> None:
    made = preprocess(data / "edf/chbmit_hdr_256hz_noise.edf", PRESETS["chb-mit"])
    assert made.absent == ("T4-T6",)
    assert any(note.startswith("T4-T6 is absent: signal 15 ('T8-P8') and signal 23") for note in made.facts["notes"])


# Equal limits divide by zero; a reversed range turns the sign. EDF+ 2.1.3, 5 demands digital minimum below
# digital maximum, and writes a negative gain as a reversed physical range.

LIMITS = {
    "equal physical limits": ({"physical": ("5", "5")}, "physical minimum and maximum are both 5"),
    "equal digital limits": ({"digital": ("0", "0")}, "digital minimum 0 is not below digital maximum 0"),
    "reversed digital limits": ({"digital": ("2047", "-2048")}, "digital minimum 2047 is not below"),
    "24-bit limits": ({"digital": ("-8388608", "8388607")}, "is not of 16-bit integers"),
    "a fractional digital limit": ({"digital": ("-2048.5", "2047")}, "is not of 16-bit integers"),
    "an empty limit": ({"physical": ("", "100")}, "physical minimum is '', not a number"),
    "an endless exponent": ({"physical": ("1e999999", "100")}, "physical minimum is '1e999999', not a number"),
    "not a number": ({"physical": ("nan", "inf")}, "physical minimum is 'nan', not a number"),
}


@pytest.mark.parametrize("fields, reason", LIMITS.values(), ids=LIMITS)
def test_samples_cannot_be_scaled_with(fields: dict[str, Any], reason: str, tmp_path: Path) -> None:
    error = refused(File([noise("F3"), with_fields(EEG, **fields)]), tmp_path)
    assert reason in error.what and error.what.startswith("signal 2 ('EEG FP1-REF')")
    assert ("reversed physical range (EDF+ 2.1.3, 5)" in str(error.fix)) == ("reversed" in reason or "2047 " in reason)


def test_a_reversed_physical_range_is_legal_and_turns_the_signal_over(sound: Any, tmp_path: Path) -> None:
    file = File([with_fields(EEG, physical=("3276.8", "-3276.7"))])
    signal = read_header(file.write(tmp_path)).signals[0]
    assert signal.gain_uv == Fraction(-1, 10) and signal.offset_uv == 0
    assert np.array_equal(stored(file, tmp_path).samples, -sound)


def test_a_reversed_range_of_a_real_file_is_read(data: Path) -> None:
    (signal,) = read_header(data / "odd/annotations_utf8.edf").signals
    assert signal.physical_min > signal.physical_max and signal.gain_uv < 0


# Units: mne takes those it does not know for volts, without a warning.

UNITS: dict[str | bytes, str] = {
    "uV": "0.1", "UV": "0.1", "uv": "0.1", "\xb5V": "0.1", b"\xc2\xb5V": "0.1", b"\xce\xbcV": "0.1",
    b"\xb0V": "0.1", "mcV": "0.1", "uV\0": "0.1", "nV": "0.0001", "mV": "100", "MV": "100", "V": "100000",
    "v": "100000",
}  # fmt: skip


@pytest.mark.parametrize("unit, step_uv", UNITS.items(), ids=map(repr, UNITS))
def test_every_spelling_of_a_unit_gives_microvolts(unit: str | bytes, step_uv: str, tmp_path: Path) -> None:
    signal = read_header(File([with_fields(EEG, unit=unit)]).write(tmp_path)).signals[0]
    assert signal.gain_uv == Fraction(step_uv) and signal.offset_uv == 0


@pytest.mark.parametrize("unit", ["", "n/a", "%", "mm", "kV", "u", "?V"])
def test_another_unit_is_an_error_for_who_asks_for_the_signal(unit: str, sound: Any, tmp_path: Path) -> None:
    error = refused(File([with_fields(EEG, unit=unit)]), tmp_path)
    assert error.what.startswith("signal 1 ('EEG FP1-REF'): the unit ") and "uV, mV, V or nV" in str(error.fix)
    assert np.array_equal(stored(File([noise("F3", unit=unit), EEG]), tmp_path).samples, sound)


# Record durations of 0, 0.5, 10 and 1.0004 s: mne rounds the last to 249.9 Hz, 0 crashes or is taken for 1 s.


@pytest.mark.parametrize("record_s, rate", [("0.5", "512"), ("2.5", "512/5"), ("1.0004", "640000/2501")])
def test_a_rate_is_the_exact_quotient_of_what_the_header_says(record_s: str, rate: str, tmp_path: Path) -> None:
    made = stored(File([EEG], record_s=record_s), tmp_path)
    assert made.facts["edf"]["rates"] == {"Fp1": rate}
    assert made.samples.shape == (1, -(-4 * Fraction(record_s) * 256 // 1))
    assert made.facts["edf"]["duration_s"] == str(float(4 * Fraction(record_s))).removesuffix(".0")


def test_records_of_10_s_are_cut_as_any_others(sound: Any, tmp_path: Path) -> None:
    long = np.tile(EEG.samples, 5)
    made = stored(File([Made("Fp1", long, 2560)], record_s="10"), tmp_path)
    assert made.facts["edf"]["rates"] == {"Fp1": "256"} and made.facts["edf"]["n_records"] == 2
    assert np.array_equal(made.samples, stored(File([Made("Fp1", long, 256)]), tmp_path).samples)


RATES = {
    "a duration of 0": (File([EEG], record_s="0"), "the record duration is '0' s"),
    "a negative duration": (File([EEG], record_s="-1"), "the record duration is '-1' s"),
    "an empty duration": (File([EEG], record_s=""), "record duration is '', not a number"),
    "49 Hz": (File([noise("Fp1", rate=49)]), "49 Hz (fields: samples per record, record duration) is no EEG's rate"),
    "70 kHz": (File([noise("Fp1", rate=70_000, seconds=1)]), "70000 Hz (fields: "),
    "no samples": (File([noise("F3"), Made("Fp1", np.zeros(0, np.int16), 0)]), "0 Hz (fields: "),
}


@pytest.mark.parametrize("step_s", [0.9962, 1.004])
def test_a_rounded_record_duration_makes_no_gaps_beside_the_real_one(tmp_path: Path, step_s: float) -> None:
    onsets_s = [i * step_s + (7 if i >= 8 else 0) for i in range(20)]
    stamps = [b"+%.6f\x14\x14" % onset_s for onset_s in onsets_s]
    header = read_header(File([noise("Fp1", seconds=20)], reserved="EDF+D", stamps=stamps).write(tmp_path))
    assert [(run.first, run.n_records) for run in header.runs] == [(0, 8), (8, 12)]
    assert header.record_duration_s == Fraction(str(step_s)) and "the timestamps are taken" in header.notes[0]


def test_steady_timestamps_are_right_where_the_header_is_rounded(tmp_path: Path) -> None:
    made = noise("Fp1", seconds=20)
    stamps_s = [b"+%.6f\x14\x14" % (i * 1.004) for i in range(20)]
    header = read_header(File([made], reserved="EDF+C", stamps=stamps_s).write(tmp_path))
    assert header.record_duration_s == Fraction("1.004") and header.signals[0].rate == 256 / Fraction("1.004")
    assert header.notes == (
        "the timestamps come every 1.004 s, and the header says records of 1 s: the timestamps are taken",
    )
    assert select(header, ONE)[0][0].rate == 256 / Fraction("1.004")


MILLIVOLTS = with_fields(noise("Fp1"), physical=("-3.2768", "3.2767"))  # of ±3.2767 mV, called µV


def test_a_signal_below_its_own_step_is_refused(tmp_path: Path) -> None:
    path = File([MILLIVOLTS]).write(tmp_path)
    check(path, ONE)  # a header cannot tell
    with pytest.raises(EdfError, match=r"nothing is left of the signal: in Fp1") as raised:
        _ = preprocess(path, ONE).samples
    assert raised.value.where == str(path) and "unit" in str(raised.value.fix)


def test_the_recipes_unit_stands_in_for_wrong_headers_and_is_noted(tmp_path: Path) -> None:
    right = preprocess(File([noise("Fp1")]).write(tmp_path, "right.edf"), ONE)
    for unit in ("mV", "", "counts"):
        path = File([noise("Fp1", unit=unit)]).write(tmp_path)
        made = preprocess(path, Recipe(**{**ONE.identity(), "unit": "uV"}))
        assert np.array_equal(made.samples, right.samples)
        assert made.facts["notes"] == [f"the recipe's unit uV is taken, not the header's {unit or 'empty one'}"]
    assert not preprocess(tmp_path / "right.edf", Recipe(**{**ONE.identity(), "unit": "uV"})).facts["notes"]


def test_a_step_above_a_quarter_of_the_signal_is_noted(tmp_path: Path) -> None:
    quiet = Made("F3", np.rint(np.random.default_rng(0).normal(0, 2, 1024)).astype(np.int16), 256)
    made = stored(File([EEG, noise("C3"), quiet]), tmp_path, Recipe(channels=("Fp1", "C3", "F3")))
    _ = made.samples
    assert "one step is more than a quarter of the rms: F3" in made.facts["notes"]


@given(st.floats(0.4, 1.6), st.sampled_from((100, 200, 250, 256, 500, 512, 600, 999, 1000, 1024)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_rate_within_the_rounding_of_the_header_is_found(tmp_path: Path, duration_s: float, per_record: int) -> None:
    text = f"{duration_s:.6f}"
    made = noise("Fp1", rate=per_record, seconds=2)
    header = read_header(File([made], record_s=text).write(tmp_path))
    channel = select(header, ONE)[0][0]
    ratio = 256 / channel.rate
    assert max(ratio.numerator, ratio.denominator) <= MAX_RATIO_TERM
    assert abs(per_record / channel.rate - Fraction(text)) <= Fraction(1, 2_000_000)


def test_a_rate_that_needs_no_rounding_is_the_header_s(tmp_path: Path) -> None:
    header = read_header(File([EEG], record_s="1.0004").write(tmp_path))
    channels, notes = select(header, ONE)
    assert channels[0].rate == Fraction(256) / Fraction("1.0004") and not notes


def test_a_rounded_rate_is_stored_with_its_deviation(tmp_path: Path) -> None:
    made = stored(File([noise("Fp1", rate=999, seconds=3)], record_s="0.999588"), tmp_path)
    assert abs(made.n_samples - 3 * 0.999588 * 256) <= 1
    assert "the record duration of 0.999588 s is rounded" in notes(made) and "ppm" in notes(made)


@pytest.mark.parametrize("file, reason", RATES.values(), ids=RATES)
def test_no_rate_can_be_had_from(file: File, reason: str, tmp_path: Path) -> None:
    assert reason in refused(file, tmp_path).what


# A wrong number of header bytes: edfio reads header bytes as signal.


@pytest.mark.parametrize("n_header", [256, 768, 0])
def test_a_header_size_that_does_not_fit_the_signals_is_refused(n_header: int, tmp_path: Path) -> None:
    error = refused(File([EEG], n_header=n_header), tmp_path)
    assert f"says it has {n_header} bytes; 1 signals need 512" in error.what


# Decimals with a comma: edfio scales them wrongly in silence.


def test_decimals_with_a_comma_are_read_and_noted(sound: Any, tmp_path: Path) -> None:
    made = stored(File([with_fields(EEG, physical=("-3276,8", "3276,7"))], record_s="1,0"), tmp_path)
    assert np.array_equal(made.samples, sound) and "writes decimals with a comma" in notes(made)
    error = refused(File([with_fields(EEG, physical=("-1,000,5", "100"))]), tmp_path)
    assert "physical minimum is '-1,000,5', not a number" in error.what


# A BDF under an EDF's name: decoded as 16 bit.


@pytest.mark.parametrize("fields", [{"version": b"\xffBIOSEMI"}, {"reserved": "24BIT"}, {"reserved": "BDF+C"}])
def test_a_bdf_is_not_decoded_as_an_edf(fields: dict[str, Any], tmp_path: Path) -> None:
    assert "is a BDF (24-bit samples)" in refused(File([EEG], **fields), tmp_path).what


def test_a_real_bdf_under_an_edfs_name_is_not_decoded(data: Path, tmp_path: Path) -> None:
    content = (data / "odd/bdf_nrec_minus1.bdf").read_bytes()
    assert "is a BDF (24-bit samples)" in refused(content, tmp_path).what


# A record count that is too small: pyEDFlib drops the rest.

COUNTS = {"3": "would drop signal: it says 3, 4 are there", "-2": "is -2", "four": "is 'four', not an integer"}


@pytest.mark.parametrize("declared, reason", COUNTS.items())
def test_a_record_count_is_not_believed_against_the_file(declared: str, reason: str, tmp_path: Path) -> None:
    assert reason in refused(File([EEG], declared=declared), tmp_path).what


# Labels padded with NUL keep it in some readers; a patient field beyond ASCII makes pyEDFlib refuse.


def test_padding_by_nul_and_bytes_beyond_ascii_are_read(sound: Any, tmp_path: Path) -> None:
    file = File([with_fields(EEG, label="EEG FP1-REF\0\0", unit="uV\0")], patient="M\xfcller\0\0")
    made = stored(file, tmp_path)
    header = read_header(tmp_path / "made.edf")
    assert header.signals[0].label == "EEG FP1-REF" and header.patient == "M\xfcller"
    assert np.array_equal(made.samples, sound) and notes(made) == ""


# A flat channel: 0 / 0, and after an FFT filter noise that is blown up to 4 to 6 standard deviations.


@pytest.mark.parametrize("value", [0, 77, 32767, -32768])
@pytest.mark.parametrize("rate", [250, 256])
def test_a_flat_channel_is_exact_zeros_and_named(value: int, rate: int, tmp_path: Path) -> None:
    flat = Made("F3", np.full(4 * rate, value, np.int16), rate)
    made = stored(File([EEG, flat]), tmp_path, Recipe(channels=("Fp1", "F3")))
    assert made.facts["flat"] == ["F3"]
    assert made.samples[0].any() and not made.samples[1].any()


# NaN through an IIR filter: upstream turned the channel into silence.


@pytest.mark.slow
def test_nothing_turns_nan_into_numbers() -> None:
    package = Path(brainbrr.__file__).parent
    used = [
        f"{file.relative_to(package)}:{node.lineno}"
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in TURNS_NAN)
        or (isinstance(node, ast.Name) and node.id in TURNS_NAN)
        or (isinstance(node, ast.ImportFrom) and TURNS_NAN & {alias.name for alias in node.names})
    ]
    assert not used


TURNS_NAN = {"nan_to_num", "nan_to_num_", "nanmean", "nansum", "nanstd", "fillna"}
