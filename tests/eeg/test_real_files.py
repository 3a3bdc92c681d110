"""Every real EDF file that was collected: stored as other readers describe it, or refused for its reason."""

from __future__ import annotations

import csv
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from eeg.real_files import Outcome, edf_files, outcome

from brainbrr.core.digest import canonical_json
from brainbrr.eeg.signal.preprocess import ABSENT, check, preprocess
from brainbrr.eeg.signal.recipe import PRESETS, Recipe
from brainbrr.errors import EdfError, MontageError, RecordingError

DEFAULT = Recipe()
Refusal = tuple[type[RecordingError], str]
STORED = None
NO_10_20 = (MontageError, "19 of 19 channels are missing: Fp1, F3, C3")
ONLY_FP1 = (MontageError, "18 of 19 channels are missing: F3, C3, P3")

FILES: dict[str, Refusal | None] = {
    **{f"edf/eegmmi_S001R0{i}.edf": STORED for i in range(1, 7)},
    "edf/microstates_rest_250hz.edf": STORED,
    "edf/ltm_seizure_onset_200hz.edf": STORED,
    "edf/stimchan_128hz_oddrecord.edf": STORED,
    "edf/siena_hdr_512hz_noise.edf": STORED,
    "edf/chbmit_hdr_256hz_noise.edf": NO_10_20,
    "odd/szcore_unipolar.edf": STORED,
    "odd/bids_16ch_256hz.edf": STORED,  # without Fz, Cz, Pz
    "odd/edfD_gap_12h.edf": (EdfError, "the file has gaps (EDF+D) of 43194 s: record 7 starts at 43200 s"),
    "odd/edfplusD_gaps.edf": NO_10_20,
    "odd/zero_data_records.edf": (EdfError, "the file holds no data records"),
    "odd/gitlfs_pointer.edf": (EdfError, "the file is a git-LFS pointer"),
    "odd/bdf_nrec_minus1.bdf": (EdfError, "the file is a BDF (24-bit samples)"),
    "odd/hypnogram_no_signals.edf": (EdfError, "the file holds annotations only"),
    "odd/test_reduced_139ch_mixed.edf": (MontageError, "13 of 19 channels are missing"),
    "odd/annotations_utf8.edf": ONLY_FP1,
    "odd/subsecond_start.edf": ONLY_FP1,
    "odd/edfplusC_generator.edf": NO_10_20,
    "odd/edfplusC_manyrates_20k_30k.edf": NO_10_20,
    "odd/simulated_3ch_2hz.edf": NO_10_20,
    "odd/uneven_rates_trailing_byte.edf": NO_10_20,
    "odd/uneven_rates.edf": NO_10_20,
    "odd/short_psg_mixed_rates.edf": NO_10_20,
    "odd/legacy_no_reserved.edf": NO_10_20,
    "odd/duplicate_labels.edf": NO_10_20,
    "odd/resmed_60s_records.edf": NO_10_20,
}

TREES: dict[str, tuple[int, Refusal | None]] = {
    "tusz_like": (9, STORED),
    "tusz_layout": (41, STORED),
    "other_corpora_layout/siena": (5, STORED),
    "other_corpora_layout/seizeit": (10, STORED),
    "other_corpora_layout/chbmit": (39, NO_10_20),
}


@pytest.fixture(scope="module")
def index(data: Path) -> dict[str, dict[str, str]]:
    """What mne, edfio and pyEDFlib say of each file, from the lists that came with the files."""
    rows: dict[str, dict[str, str]] = {}
    for name in ("INDEX.tsv", "LAYOUT_INDEX.tsv"):
        with (data / name).open(encoding="utf-8") as lines:
            rows |= {row["file"]: row for row in csv.DictReader(lines, delimiter="\t")}
    return rows


def assert_sound(result: Outcome, indexed: dict[str, str]) -> None:
    """The array keeps its promises, and says what the other readers say."""
    made = result.made
    assert made is not None, str(result.error)
    present = [i for i, name in enumerate(made.channels) if name not in made.absent]
    absent = [i for i, name in enumerate(made.channels) if name in made.absent]
    assert made.samples.dtype == np.int16 and made.samples.flags.c_contiguous
    assert made.samples[present].min() > ABSENT and (made.samples[absent] == ABSENT).all()
    assert made.facts["flat"] == [] and all(row.min() < row.max() for row in made.samples[present])
    canonical_json(made.facts)  # raises for a float
    canonical_json(made.statistics)
    assert {name.upper() for name in made.absent} == set(indexed["missing_of_19"].split())
    assert set(made.facts["edf"]["rates"].values()) <= set(indexed["sfreq_hz"].split(","))
    duration_s = Fraction(indexed.get("header_duration_s") or indexed["edf_duration_s"])
    assert Fraction(made.facts["edf"]["duration_s"]) == duration_s
    assert made.samples.shape == (19, math.ceil(duration_s * 256))


def assert_outcome(data: Path, file: str, expected: Refusal | None, indexed: dict[str, str]) -> None:
    result = outcome(data, file, DEFAULT)
    if expected is STORED:
        check(data / file, DEFAULT)
        assert_sound(result, indexed)
        return
    with pytest.raises(RecordingError) as raised:
        check(data / file, DEFAULT)
    for error in (result.error, raised.value):
        assert error is not None, f"{file} was stored"
        assert type(error) is expected[0] and error.what.startswith(expected[1])
        assert error.where == str(data / file)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_a_real_file_is_stored_or_refused_for_its_reason(
    data: Path, index: dict[str, dict[str, str]], file: str
) -> None:
    assert_outcome(data, file, FILES[file], index[file])


@pytest.mark.slow
@pytest.mark.parametrize("tree", TREES)
def test_every_recording_of_a_tree_has_one_outcome(data: Path, index: dict[str, dict[str, str]], tree: str) -> None:
    n, expected = TREES[tree]
    files = [f"{tree}/{file}" for file in edf_files(data / tree)]
    assert len(files) == n
    for file in files:
        assert_outcome(data, file, expected, index[file])


def test_no_real_file_is_left_out(data: Path, index: dict[str, dict[str, str]]) -> None:
    there = set(edf_files(data))
    assert there == set(index)
    assert {file for file in there if not file.startswith(tuple(TREES))} == set(FILES)


def test_chb_mit_under_its_own_preset_lacks_a_label_that_is_there_twice_over_different_noise(data: Path) -> None:
    made = preprocess(data / "other_corpora_layout/chbmit/chb05/chb05_01.edf", PRESETS["chb-mit"])
    assert made.absent == ("T4-T6",)
