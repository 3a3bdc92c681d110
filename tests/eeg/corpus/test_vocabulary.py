"""Vocabularies: which words are known, and what a laboratory's own map says."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainbrr.eeg.corpus.vocabulary import SZCORE, TUSZ, read_label_map
from brainbrr.errors import ConfigError


@pytest.mark.parametrize("label", ["eyem_musc", "MUSC_ELEC", "shiv_elec", "chew_musc"])
def test_two_artefacts_at_once_are_one_label_as_tuar_writes_them(label: str) -> None:
    assert TUSZ.find(label) == label.lower()
    assert not TUSZ.is_seizure(label.lower())
    assert TUSZ.unannotated([label.lower()]) == "unknown"


@pytest.mark.parametrize("label", ["seiz_musc", "eyem_", "_", "eyem_musc_elec", "eyemmusc", "sz", ""])
def test_no_other_pair_is_a_label_of_tusz(label: str) -> None:
    assert TUSZ.find(label) is None


def test_time_without_a_row_is_background_in_files_of_seizures_and_background_alone() -> None:
    assert TUSZ.unannotated([]) == TUSZ.unannotated(["bckg", *TUSZ.seizures]) == "background"
    assert all(TUSZ.unannotated(["seiz", other]) == "unknown" for other in TUSZ.others)
    assert SZCORE.unannotated(["sz", "impd", "bckg"]) == "background"


def test_families_are_known_in_any_case() -> None:
    assert [SZCORE.find(text) for text in ("SZ", "Sz_Foc_IA", "sz-gen", "szfoc")] == ["sz", "sz_foc_ia", "sz-gen", None]
    assert SZCORE.is_seizure("sz_foc_ia") and not SZCORE.is_seizure("impd")
    mapped = SZCORE.with_map({"sz_uncertain": "unknown"})
    assert not mapped.is_seizure("sz_uncertain") and mapped.is_seizure("sz_foc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the label map is empty"),
        ('ied = "maybe"', "label 'ied' means 'maybe'"),
        ("ied = 1", "label 'ied' means '1'"),
        ('[ied]\nx = "unknown"', "label 'ied' means"),
        ('ied = "unknown"\nIED = "background"', "occurs twice"),
        ("ied", "not TOML"),
    ],
)
def test_a_label_map_is_strict(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "map.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_label_map(file)
