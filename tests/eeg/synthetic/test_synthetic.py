"""The synthetic corpus: the same bytes for the same seed, a tree like TUSZ's, signals like EEG."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest

from brainbrr.core.progress import Silent
from brainbrr.eeg.corpus.annotations import read_annotations
from brainbrr.eeg.corpus.tree import RecordingFile, locate, scan
from brainbrr.eeg.signal.montage import TEN_TWENTY, electrode_of
from brainbrr.eeg.synthetic.corpus import _PER_PATIENT, MARK, PARAMETERS, Kind, _splits, write_corpus
from brainbrr.eeg.synthetic.signal import ELECTRODES, Scene, Seizure, potentials
from brainbrr.errors import UsageError

SHORT = (4, 6)


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "demo"
    write_corpus(root, seconds=(20, 30))
    return root


@pytest.fixture(scope="module")
def recordings(corpus: Path) -> tuple[RecordingFile, ...]:
    return scan(locate(corpus))


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_corpus(tmp_path / name, n_recordings=6, seed=seed, seconds=SHORT)
    a, b, c = (digests(tmp_path / name) for name in "abc")
    assert a == b
    assert len(a) == 6 * 3 + 1
    assert not set(a.values()) & set(c.values())


def test_a_smaller_corpus_is_part_of_a_larger_one(tmp_path: Path) -> None:
    write_corpus(tmp_path / "6", n_recordings=6, seconds=SHORT)
    write_corpus(tmp_path / "12", n_recordings=12, seconds=SHORT)
    small, large = digests(tmp_path / "6"), digests(tmp_path / "12")
    del small[PARAMETERS], large[PARAMETERS]
    assert small.items() <= large.items()


@pytest.mark.slow
def test_no_two_recordings_share_their_noise(tmp_path: Path) -> None:
    paths = write_corpus(tmp_path / "demo", n_recordings=40, seconds=(2, 2))
    signals = [next(s for s in edfio.read_edf(path).signals if electrode_of(s.label) == "Cz") for path in paths]
    # By sample, not by time: 250 and 256 Hz from one stream of random numbers would be alike so.
    alike = np.abs(np.corrcoef([np.diff(signal.data[:500]) for signal in signals]))
    assert np.max(alike - np.eye(len(paths))) < 0.6


def test_the_returned_paths_are_the_recordings_that_a_scan_finds(tmp_path: Path) -> None:
    paths = write_corpus(tmp_path / "demo", n_recordings=6, seconds=SHORT)
    assert paths == tuple(recording.edf for recording in scan(locate(tmp_path / "demo")))


def test_the_tree_is_tusz_shaped(corpus: Path, recordings: tuple[RecordingFile, ...]) -> None:
    assert locate(corpus).layout == "tusz"
    assert [r.split for r in recordings].count("train") == 10
    assert [r.split for r in recordings].count("dev") == [r.split for r in recordings].count("eval") == 4
    for recording in recordings:
        _, split, patient, session, montage, name = recording.path.split("/")
        assert (recording.split, recording.patient) == (split, patient)
        assert len(patient) == 8 and patient.startswith("syn") and patient.isalpha()
        assert name.startswith(f"{patient}_{session[:4]}_t")
        assert montage in {"01_tcp_ar", "02_tcp_le", "03_tcp_ar_a"}
        assert set(recording.labels) == {".csv", ".csv_bi"}


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 18, 100])
def test_splits_share_no_patient_and_each_holds_recordings_with_and_without_seizures(tmp_path: Path, n: int) -> None:
    write_corpus(tmp_path / "demo", n_recordings=n, seconds=(2, 2), seed=n)
    patients: dict[str, set[str]] = {}
    kinds: dict[str, set[bool]] = {}
    for recording in scan(locate(tmp_path / "demo")):
        patients.setdefault(recording.split, set()).add(recording.patient)
        has_seizures = bool(read_annotations(recording.labels).seizures)
        kinds.setdefault(recording.split, set()).add(has_seizures)
    assert set(patients) == {"train", "dev", "eval"}
    assert len(set.union(*patients.values())) == sum(map(len, patients.values()))
    assert all(kind == {True, False} for kind in kinds.values())
    if n >= 18:
        assert min(map(len, patients.values())) >= 2


@pytest.mark.parametrize("n", range(1, 6))
def test_even_a_handful_of_recordings_is_a_corpus(tmp_path: Path, n: int) -> None:
    assert len(write_corpus(tmp_path / "demo", n_recordings=n, seconds=(2, 3))) == n


def test_edfio_reads_the_headers(recordings: tuple[RecordingFile, ...]) -> None:
    rates, without_fz_pz, references = set(), 0, set()
    for recording in recordings:
        edf = edfio.read_edf(recording.edf)
        assert edf.recording.equipment_code == MARK
        assert MARK in edf.local_recording_identification.split()
        assert edf.local_patient_identification == "X X X X"
        assert 20 <= edf.duration <= 30
        names = {electrode_of(signal.label): signal for signal in edf.signals if electrode_of(signal.label)}
        absent = set(TEN_TWENTY) - set(names)
        assert absent in (set(), {"Fz", "Pz"})
        without_fz_pz += bool(absent)
        assert ("A1" in names) == ("A2" in names) == ("03_tcp_ar_a" not in recording.path)
        for signal in names.values():
            assert signal.label == signal.label.upper()
            assert signal.label.endswith("-LE" if "02_tcp_le" in recording.path else "-REF")
            assert (signal.physical_min, signal.physical_max) == (-5482.28, 5482.28)
            assert (signal.digital_min, signal.digital_max) == (-32767, 32767)
            assert 3.0 < signal.data.std() < 300.0  # µV
            references.add(signal.label.split("-")[1])
        eeg_rates = {signal.sampling_frequency for signal in names.values()}
        assert len(eeg_rates) == 1
        rates |= eeg_rates
        slow = {signal.label for signal in edf.signals if signal.sampling_frequency == 1}
        assert slow == {"IBI", "BURSTS", "SUPPR"}
    assert rates == {250, 256, 400, 512, 1000}
    assert references == {"REF", "LE"}
    assert 1 <= without_fz_pz < 9


def test_mne_reads_the_same_signal(recordings: tuple[RecordingFile, ...]) -> None:
    for recording in recordings[::5]:
        edf = edfio.read_edf(recording.edf)
        labels = [signal.label for signal in edf.signals[:19]]
        raw = mne.io.read_raw_edf(recording.edf, include=labels, preload=True, verbose="error")
        assert raw.ch_names == labels
        assert raw.info["sfreq"] == edf.signals[0].sampling_frequency
        np.testing.assert_allclose(raw.get_data() * 1e6, [signal.data for signal in edf.signals[:19]], atol=1e-6)


def test_labels_are_within_the_recording_and_agree_with_each_other(recordings: tuple[RecordingFile, ...]) -> None:
    kinds = set()
    for recording in recordings:
        labels = read_annotations(recording.labels)
        assert labels.notes == ()
        assert labels.duration_us == round(edfio.read_edf(recording.edf).duration * 1e6)
        for seizure in labels.seizures:
            assert 0 < seizure.start_us < seizure.stop_us < labels.duration_us
        for event in labels.typed:
            kinds.add(event.label)
            assert event.label == "gnsz" or 0 < len(event.channels) < 20
            assert event.label == "fnsz" or len(event.channels) == (20 if "03_tcp_ar_a" in recording.path else 22)
        assert bool(labels.typed) == bool(labels.seizures)
    assert kinds == {"fnsz", "gnsz"}


def test_label_files_come_in_the_three_styles_of_the_real_corpus(recordings: tuple[RecordingFile, ...]) -> None:
    styles = set()
    for recording in recordings:
        lines = recording.labels[".csv_bi"].read_text().splitlines()
        assert lines[0] == "# version = csv_v1.0.0"
        assert lines[1] == f"# bname = {recording.edf.stem}"
        assert lines[2].startswith("# duration = ") and lines[2].endswith(".00 secs")
        assert lines[3] == "# montage_file = $NEDC_NFC/lib/nedc_eas_default_montage.txt"
        assert lines[4:6] == ["#", "channel,start_time,stop_time,label,confidence"]
        rows = [line.split(",") for line in lines[6:]]
        assert all(len(time.split(".")[1]) == 4 for row in rows for time in row[1:3])
        if rows[0][3] == "seiz":
            assert {row[3] for row in rows} == {"seiz"}
            styles.add("seizures")
        else:
            (row,) = rows
            styles.add("stub" if float(row[2]) <= 1.0 else "full")
    assert styles == {"seizures", "stub", "full"}


@pytest.mark.slow
def test_long_recordings_hold_seizures_of_15_to_60_seconds(tmp_path: Path) -> None:
    write_corpus(tmp_path / "demo", n_recordings=6, seconds=(200, 220))
    lengths = []
    for recording in scan(locate(tmp_path / "demo")):
        seizures = read_annotations(recording.labels).seizures
        lengths += [(seizure.stop_us - seizure.start_us) / 1e6 for seizure in seizures]
        assert all(left.stop_us + 10_000_000 < right.start_us for left, right in pairwise(seizures))
    assert lengths and min(lengths) >= 15.0 and max(lengths) <= 60.0


@pytest.mark.slow
def test_the_rate_says_nothing_of_seizures(tmp_path: Path) -> None:
    write_corpus(tmp_path / "demo", n_recordings=150, seconds=(2, 2))
    with_seizures: dict[float, list[bool]] = {}
    for recording in scan(locate(tmp_path / "demo")):
        rate = edfio.read_edf(recording.edf).signals[0].sampling_frequency
        with_seizures.setdefault(rate, []).append(bool(read_annotations(recording.labels).seizures))
    assert all(0.3 < np.mean(marks) < 0.9 for marks in with_seizures.values())


def test_running_again_leaves_every_file_and_reports_the_work_as_done(tmp_path: Path) -> None:
    class Counting(Silent):
        n = 0

        def advance(self, n: int = 1, *, note: str = "") -> None:
            self.n += n

    paths = write_corpus(tmp_path / "demo", n_recordings=6, seconds=SHORT)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    progress = Counting()
    assert write_corpus(tmp_path / "demo", n_recordings=6, seconds=SHORT, progress=progress) == paths
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert progress.n == 6


def test_an_interrupted_corpus_is_completed_to_the_same_bytes(tmp_path: Path) -> None:
    class Interrupt(Silent):
        def advance(self, n: int = 1, *, note: str = "") -> None:
            if note:
                raise KeyboardInterrupt

    write_corpus(tmp_path / "whole", n_recordings=6, seconds=SHORT)
    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path / "cut", n_recordings=6, seconds=SHORT, progress=Interrupt())
    assert len(digests(tmp_path / "cut")) == 4  # the parameters and one recording
    paths = write_corpus(tmp_path / "cut", n_recordings=6, seconds=SHORT)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    paths[2].unlink()
    paths[3].with_suffix(".csv").unlink()
    write_corpus(tmp_path / "cut", n_recordings=6, seconds=SHORT)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_other_parameters_or_foreign_files_are_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    paths = write_corpus(root, n_recordings=3, seconds=SHORT)

    def refused(where: Path, what: str, **parameters: object) -> None:
        before = digests(where)
        with pytest.raises(UsageError, match=what) as caught:
            write_corpus(where, **({"n_recordings": 3, "seconds": SHORT} | parameters))  # type: ignore[arg-type]
        assert caught.value.fix
        assert digests(where) == before

    refused(root, "other parameters", seed=1)
    refused(root, "other parameters", n_recordings=4)
    refused(root, "other parameters", seconds=(4, 7))
    foreign = paths[0].with_name("mine.edf")
    foreign.write_bytes(b"mine")
    refused(root, "not of the synthetic corpus")
    foreign.unlink()
    text = paths[0].with_suffix(".csv_bi").read_text()
    paths[0].with_suffix(".csv_bi").write_text(text.replace("1.0000\n", "0.9000\n"))
    refused(root, "was changed since")
    paths[0].with_suffix(".csv_bi").write_text(text)
    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    refused(root, "was changed since")
    (tmp_path / "theirs" / "edf").mkdir(parents=True)
    (tmp_path / "theirs" / "edf" / "notes.txt").write_text("mine")
    refused(tmp_path / "theirs", "not empty")
    with pytest.raises(UsageError, match="a file"):
        write_corpus(foreign.parent / paths[0].name, n_recordings=3)


@pytest.mark.parametrize(
    "wrong", [{"n_recordings": 0}, {"seed": -1}, {"seconds": (1, 5)}, {"seconds": (9, 8)}], ids=str
)
def test_impossible_parameters_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        write_corpus(tmp_path / "demo", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_hundreds_of_short_recordings_can_be_had(tmp_path: Path) -> None:
    paths = write_corpus(tmp_path / "many", n_recordings=300, seconds=SHORT)
    assert len({path.name for path in paths}) == 300
    assert json.loads((tmp_path / "many" / PARAMETERS).read_text())["synthetic"]


def power(x: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Welch's estimate with four-second windows, averaged over the rows: frequencies, µV²/Hz."""
    n = 4 * rate_hz
    pieces = x[:, : x.shape[1] // n * n].reshape(len(x), -1, n) * np.hanning(n)
    spectrum = np.abs(np.fft.rfft(pieces)) ** 2 / (rate_hz * (np.hanning(n) ** 2).sum())
    return np.fft.rfftfreq(n, 1 / rate_hz), 2 * spectrum.mean(axis=(0, 1))


@pytest.mark.parametrize("rate_hz", [250, 256, 400, 512, 1000])
def test_the_background_is_one_over_f_with_a_posterior_alpha_peak_and_line_noise(rate_hz: int) -> None:
    scene = Scene(seconds=120, rate_hz=rate_hz, alpha_hz=10.0)
    x = potentials(scene, generator(3))
    assert x.shape == (21, 120 * rate_hz) and x.dtype == np.float32
    frontal = [ELECTRODES.index(name) for name in ("F3", "F4", "C3", "C4")]
    frequency, density = power(x[frontal], rate_hz)
    fit = ((frequency >= 2) & (frequency <= 7)) | ((frequency >= 25) & (frequency <= 45))
    slope = np.polyfit(np.log(frequency[fit]), np.log(density[fit]), 1)[0]
    assert -2.5 < slope < -1.0
    posterior = power(x[[ELECTRODES.index("O1"), ELECTRODES.index("O2")]], rate_hz)[1]
    assert posterior[frequency == 10.0] > 4 * posterior[frequency == 6.0]
    assert posterior[frequency == 10.0] > 4 * density[frequency == 10.0]
    assert density[frequency == 60.0] > 4 * density[frequency == 57.0]


@pytest.mark.slow
def test_neighbours_are_more_alike_than_electrodes_far_apart() -> None:
    x = potentials(Scene(seconds=120, rate_hz=256, alpha_hz=10.0), generator(5))
    like = np.corrcoef(np.diff(x, axis=1))

    def correlation(a: str, b: str) -> float:
        return float(like[ELECTRODES.index(a), ELECTRODES.index(b)])

    assert correlation("C3", "P3") > correlation("C3", "T4") + 0.2
    assert correlation("F4", "Fz") > correlation("F4", "O1") + 0.2


def test_linked_ears_have_no_mean() -> None:
    x = potentials(Scene(seconds=4, rate_hz=250, alpha_hz=10.0, linked_ears=True), generator(1))
    ears = x[[ELECTRODES.index("A1"), ELECTRODES.index("A2")]]
    assert np.abs(ears.mean(axis=0)).max() < 1e-3


@pytest.mark.parametrize("focus", ["T3", "F4", None])
def test_a_seizure_has_a_longer_line_than_the_same_time_without_it(focus: str | None) -> None:
    rate_hz, seizure = 256, Seizure(40.0, 80.0, focus)
    scene = Scene(seconds=120, rate_hz=rate_hz, alpha_hz=10.0, seizures=(seizure,))
    x = potentials(scene, generator(11))

    def line_length(start_s: int, stop_s: int) -> np.ndarray:
        # At 32 Hz, where muscle and line noise do not lengthen it.
        slow = x[:, start_s * rate_hz : stop_s * rate_hz].reshape(21, -1, 8).mean(axis=2)
        return np.abs(np.diff(slow, axis=1)).mean(axis=1)

    ratio = line_length(60, 78) / np.median([line_length(5, 20), line_length(20, 35), line_length(85, 110)], axis=0)
    ratios = dict(zip(ELECTRODES, ratio, strict=True))
    joins = seizure.joins()
    if focus is None:
        assert set(joins) == set(ELECTRODES)
        assert ratios["Fz"] > 3.0 and min(ratios[name] for name in TEN_TWENTY) > 1.5
    else:
        assert joins[focus] == 0.0 and 3 <= len(joins) < 15
        assert ratios[focus] > 3.0
        apart = [ratios[name] for name in TEN_TWENTY if seizure.spread()[0][ELECTRODES.index(name)] < 0.05]
        assert apart and max(apart) < 1.5


def test_a_focal_seizure_slows_from_theta_to_delta_and_spreads() -> None:
    rate_hz, seizure = 256, Seizure(10.0, 50.0, "T4")
    x = potentials(Scene(seconds=60, rate_hz=rate_hz, alpha_hz=10.0, seizures=(seizure,)), generator(2))
    focus = ELECTRODES.index("T4")

    def peak_hz(start_s: int, stop_s: int) -> float:
        frequency, density = power(x[focus : focus + 1, start_s * rate_hz : stop_s * rate_hz], rate_hz)
        return float(frequency[1:][np.argmax(density[1:] * (frequency[1:] > 1.5))])

    assert 4.5 < peak_hz(12, 16) < 8.0
    assert 2.0 < peak_hz(44, 48) < 4.5
    assert seizure.joins()["T4"] < seizure.joins()["F8"]


def test_a_rich_corpus_keeps_its_seizures_and_a_hard_one_weakens_each_patients(tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("plain", "rich", "hard")
    for kind in kinds:
        write_corpus(tmp_path / kind, n_recordings=6, seconds=SHORT, kind=kind)
    plain, rich, hard = (digests(tmp_path / kind) for kind in kinds)
    labels = [name for name in plain if name.endswith("csv_bi")]
    assert all(plain[name] == rich[name] == hard[name] for name in labels)
    ill = {name for name in labels if ",seiz," in (tmp_path / "plain" / name).read_text()}
    for edf in (name for name in plain if name.endswith(".edf")):
        assert plain[edf] != rich[edf]
        assert (rich[edf] != hard[edf]) is (edf.replace(".edf", ".csv_bi") in ill)
    with pytest.raises(UsageError, match="other parameters"):
        write_corpus(tmp_path / "rich", n_recordings=6, seconds=SHORT, kind="hard")


def test_weakness_divides_the_amplitude_of_a_seizure_and_nothing_else() -> None:
    quiet = Scene(30, 256, 10.0, rich=True)
    seizure = Seizure(10.0, 20.0, None)
    strong, weak = (replace(quiet, seizures=(seizure,), weakness=w) for w in (1.0, 4.0))
    background, loud, low = (potentials(scene, generator(3)) for scene in (quiet, strong, weak))
    np.testing.assert_allclose((low - background) * 4, loud - background, atol=1e-3)
    assert np.abs(loud - background)[:, : 9 * 256].max() == 0


def test_twelve_patients_are_held_out_in_each_split_of_a_hard_demo() -> None:
    told = _splits(108)
    assert [n // _PER_PATIENT[split] for split, n in told.items()] == [20, 12, 12]
