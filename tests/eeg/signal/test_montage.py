"""Electrode names as real files write them."""

from __future__ import annotations

import pytest

from brainbrr.eeg.signal.montage import TEN_TWENTY, electrode_of, find_channels
from brainbrr.errors import MontageError


@pytest.mark.parametrize(
    ("label", "electrode"),
    [
        ("EEG FP1-REF", "Fp1"),
        ("EEG FP1-LE", "Fp1"),
        ("EEG Fz-Ref", "Fz"),
        ("Fp1.", "Fp1"),
        ("T7..", "T3"),
        ("EEG T8-REF", "T4"),
        ("p7", "T5"),
        ("P8-Avg", "T6"),
        ("EEG A1-LE", "A1"),
        ("EEG Fp1", "Fp1"),
        ("C3\0\0", "C3"),
        ("FP1-F7", "Fp1-F7"),
        ("T8-P8", "T4-T6"),
        ("EEG Fpz-Cz", None),
        ("EEG 20-REF", None),
        ("ECG EKG1", None),
        ("POL $A1", None),
        ("T10.", None),
        ("EEG C3-C4-REF", None),
        ("", None),
    ],
)
def test_label_names_its_electrode(label: str, electrode: str | None) -> None:
    assert electrode_of(label) == electrode


def test_every_electrode_is_found_under_tusz_names() -> None:
    labels = ["ECG", *(f"EEG {name.upper()}-REF" for name in TEN_TWENTY)]
    assert find_channels(labels, TEN_TWENTY) == {name: [i + 1] for i, name in enumerate(TEN_TWENTY)}


def test_absent_and_doubled_channels_are_told() -> None:
    labels = [f"EEG {name.upper()}-LE" for name in TEN_TWENTY if name not in ("Fz", "Pz")]
    found = find_channels([*labels, labels[0]], TEN_TWENTY)
    assert found["Fz"] == [] and found["Fp1"] == [0, 17]


def test_a_file_with_less_than_half_of_the_channels_is_refused_by_name() -> None:
    with pytest.raises(MontageError, match=r"10 of 19 channels are missing: .*O2"):
        find_channels([f"EEG {name}-REF" for name in TEN_TWENTY[:9]], TEN_TWENTY)


@pytest.mark.parametrize(
    "form", ["EEG {}-A1A2", "{}-CLE", "EEG {}-M1M2", "EEG:{}", "EEG_{}_Ref", "{}-G2", "{}-REF1", "{}-Cz"]
)
def test_one_suffix_behind_every_electrode_is_the_reference(form: str) -> None:
    names = [name for name in TEN_TWENTY if name != "Cz"]
    found = find_channels(["ECG", *(form.format(name) for name in names)], TEN_TWENTY)
    assert {name for name, indices in found.items() if indices} == set(names)


@pytest.mark.parametrize("label", ["F7-T7", "F7-T3", "EEG F7-T3-REF"])
def test_a_pair_is_no_electrode_with_a_reference(label: str) -> None:
    with pytest.raises(MontageError, match="1 of 1 channels are missing: F7"):
        find_channels([label], ["F7"])


def test_suffixes_that_differ_are_pairs() -> None:
    labels = [f"{name}-{'A1' if i % 2 else 'A2'}" for i, name in enumerate(TEN_TWENTY)]
    with pytest.raises(MontageError, match=r"19 of 19 channels are missing.*labels in the file: Fp1-A2, F3-A1"):
        find_channels(labels, TEN_TWENTY)


def test_the_chb_mit_recipe_is_proposed_for_bipolar_files_only() -> None:
    with pytest.raises(MontageError) as bipolar:
        find_channels(["FP1-F7", "F7-T7", "T7-P7"], TEN_TWENTY)
    with pytest.raises(MontageError) as referential:
        find_channels(["Fp1", "F3", "ECG"], TEN_TWENTY)
    assert "chb-mit" in str(bipolar.value.fix) and "chb-mit" not in str(referential.value.fix)


def test_labels_that_were_numbered_because_they_occur_twice_name_one_channel() -> None:
    assert find_channels(["T8-P8-0", "T8-P8-1"], ["T4-T6"]) == {"T4-T6": [0, 1]}
    assert find_channels(["EEG Fp1-REF-0", "EEG Fp1-REF-1"], ["Fp1"]) == {"Fp1": [0, 1]}
