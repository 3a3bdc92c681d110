"""Electrode names as real files write them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from brainbrr.eeg.signal.montage import CHB_MIT, PAIRS, TEN_TWENTY, electrode_of, find_channels, operator
from brainbrr.errors import MontageError
from brainbrr.loading.windows import WindowSpec


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
    "form",
    [
        *("EEG {}-A1A2", "{}-CLE", "EEG {}-M1M2", "EEG:{}", "EEG_{}_Ref", "{}-G2", "{}-REF1", "{}-Cz", "EEG {} Ref"),
        *("{}:REF", "{}/A1A2", "{}.REF", "{} - LER", "EEG-{}", "EEG.{}-AV", "EEG({})", "'{}'", "{} (uV)"),
    ],
)
def test_one_suffix_behind_every_electrode_is_the_reference(form: str) -> None:
    names = [name for name in TEN_TWENTY if name != "Cz"]
    found = find_channels(["ECG", *(form.format(name) for name in names)], TEN_TWENTY)
    assert {name for name, indices in found.items() if indices} == set(names)


def test_a_reference_that_a_label_has_no_room_for_is_the_one_of_the_others() -> None:
    labels = [f"EEG {name}-(A1+A2)/2"[:16] for name in TEN_TWENTY]
    assert all(find_channels([*labels, "F3 aux", "Fp1-F7"], TEN_TWENTY).values())


@pytest.mark.parametrize("label", ["F7-T7", "F7-T3", "EEG F7-T3-REF"])
def test_a_pair_is_no_electrode_with_a_reference(label: str) -> None:
    with pytest.raises(MontageError, match="1 of 1 channels are missing: F7"):
        find_channels([label], ["F7"])


def test_suffixes_that_differ_are_pairs() -> None:
    labels = [f"{name}-{'A1' if i % 2 else 'A2'}" for i, name in enumerate(TEN_TWENTY)]
    with pytest.raises(MontageError, match=r"19 of 19 channels are missing.*labels in the file: Fp1-A2, F3-A1"):
        find_channels(labels, TEN_TWENTY)


@pytest.mark.parametrize(
    ("labels", "proposed"),
    [(CHB_MIT, True), (CHB_MIT[:9], True), (CHB_MIT[:8], False), (["Fp1", "F3", "ECG"], False)],
)
def test_the_chb_mit_recipe_is_proposed_only_where_it_takes_the_file(labels: Sequence[str], proposed: bool) -> None:
    with pytest.raises(MontageError) as refused:
        find_channels(labels, TEN_TWENTY)
    assert ("chb-mit" in str(refused.value.fix)) is proposed


def test_ears_that_differ_between_the_sides_are_no_reason_to_propose_the_chb_mit_recipe() -> None:
    labels = [f"{name}-{'A1' if i % 2 else 'A2'}" for i, name in enumerate(TEN_TWENTY)]
    with pytest.raises(MontageError) as refused:
        find_channels(labels, TEN_TWENTY)
    assert "chb-mit" not in str(refused.value.fix) and "aliases" in str(refused.value.fix)


@pytest.mark.parametrize("label", ["EEG 001", "eeg 001 ", "001", "EEG 001-REF"])
def test_an_alias_is_a_label_or_the_electrode_in_it(label: str) -> None:
    assert find_channels([label], ["Fp1"], aliases={"EEG 001" if "-" not in label else "001": "Fp1", "001": "Fp1"}) == {
        "Fp1": [0]
    }


def test_an_alias_may_name_a_pair_and_comes_before_the_electrode_of_that_name() -> None:
    assert find_channels(["ch 1", "Cz"], ["F7-T3", "Pz"], aliases={"CH 1": "F7-T3", "CZ": "Pz"}) == {
        "F7-T3": [0],
        "Pz": [1],
    }


@pytest.mark.parametrize(
    "labels",
    [
        [*TEN_TWENTY, "C7"],
        [f"EEG {name}-REF" for name in (*TEN_TWENTY, "P11", "P12")],
        [f"{letter}{n}" for letter in "CFPO" for n in range(1, 13)],
        [f"POL {name}" for name in TEN_TWENTY if name not in ("Fz", "Cz", "Pz")],
    ],
)
def test_contacts_named_like_scalp_electrodes_are_refused_unless_accepted(labels: list[str]) -> None:
    wanted = [name for name in TEN_TWENTY if name[0] in "CFPO" and name[-1] != "z" and name[:2] != "Fp"]
    with pytest.raises(MontageError, match="contacts of depth or grid electrodes") as refused:
        find_channels(labels, wanted)
    assert "--accept contacts" in str(refused.value.fix)
    assert any(find_channels(labels, wanted, accept_contacts=True).values())


@pytest.mark.parametrize(
    "labels",
    [
        [
            f"{name}."
            for name in (*TEN_TWENTY, *(f"C{n}" for n in (1, 2, 5, 6)), *(f"P{n}" for n in (1, 2)), "T9", "T10")
        ],
        [*(f"EEG {name}-Ref" for name in TEN_TWENTY), "POL E", "POL $A1", "POL X12", "A7", "EEG 26-REF"],
        [f"POL {name}" for name in TEN_TWENTY],
    ],
)
def test_scalp_electrodes_beside_other_inputs_are_taken(labels: list[str]) -> None:
    assert all(find_channels(labels, TEN_TWENTY).values())


def test_labels_that_were_numbered_because_they_occur_twice_name_one_channel() -> None:
    assert find_channels(["T8-P8-0", "T8-P8-1"], ["T4-T6"]) == {"T4-T6": [0, 1]}
    assert find_channels(["EEG Fp1-REF-0", "EEG Fp1-REF-1"], ["Fp1"]) == {"Fp1": [0, 1]}


def test_lists_of_pairs_by_name_are_those_of_their_publications() -> None:
    assert {name: len(pairs) for name, pairs in PAIRS.items()} == {
        "tcp-22": 22,
        "tcp-20": 20,
        "tcp-18": 18,
        "tcp-16": 16,
    }
    assert PAIRS["tcp-22"][8:14] == ("A1-T3", "T3-C3", "C3-Cz", "Cz-C4", "C4-T4", "T4-A2")
    assert PAIRS["tcp-16"] == (  # as BIOT reads them
        *("Fp1-F7", "F7-T3", "T3-T5", "T5-O1", "Fp2-F8", "F8-T4", "T4-T6", "T6-O2"),
        *("Fp1-F3", "F3-C3", "C3-P3", "P3-O1", "Fp2-F4", "F4-C4", "C4-P4", "P4-O2"),
    )
    assert set(PAIRS["tcp-18"]) == set(CHB_MIT) and len(set(PAIRS["tcp-22"])) == 22
    named = WindowSpec(channels="tcp-16", reference="bipolar")
    assert named.identity() == WindowSpec(channels=PAIRS["tcp-16"], reference="bipolar").identity()
    rows, matrix = operator(TEN_TWENTY, (), channels=named.channels, reference="bipolar", missing="nan")
    assert rows == PAIRS["tcp-16"] and matrix.shape == (16, 19) and not matrix.sum(1).any()
    with pytest.raises(ValueError, match="is no list of pairs: tcp-22"):
        WindowSpec(channels="tcp-21")
