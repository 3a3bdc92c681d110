"""What of a corpus is not read is named: other formats, recordings in no place for them, labels of no recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainbrr.eeg.corpus import census
from brainbrr.eeg.corpus.tree import locate, scan, survey
from brainbrr.errors import UsageError


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def refused(root: Path) -> dict[str, str]:
    return {each.path: each.refusal for each in scan(locate(root)) if each.refusal is not None}


@pytest.mark.parametrize(
    ("files", "counted"),
    [
        (["a.vhdr", "a.vmrk", "a.eeg", "b.vhdr", "b.eeg"], {"BrainVision": ["a.vhdr", "b.vhdr"]}),
        (["A.VHDR", "a.eeg"], {"BrainVision": ["A.VHDR"]}),
        (["a.set", "a.fdt", "b.set"], {"EEGLAB": ["a.set", "b.set"]}),
        (["a.fdt"], {"EEGLAB data without its .set": ["a.fdt"]}),
        (["a.eeg", "a.pnt", "a.21e", "a.log"], {"EEG (Nihon Kohden or BrainVision)": ["a.eeg"]}),
        (
            ["x_raw.fif", "x_raw-1.fif", "x_raw-2.fif", "y_raw.fif.gz"],
            {"FIF": ["x_raw.fif"], "compressed FIF": ["y_raw.fif.gz"]},
        ),
        (["sub-1_split-01_eeg.fif", "sub-1_split-02_eeg.fif"], {"FIF": ["sub-1_split-01_eeg.fif"]}),
        (
            ["sub-1_run-1.fif", "sub-1_run-2.fif", "a-epo.fif", "a-cov.fif"],
            {"FIF": ["sub-1_run-1.fif", "sub-1_run-2.fif"]},
        ),
        (
            ["a.edf.gz", "b.EDF.ZIP", "c.bdf.xz"],
            {"compressed BDF": ["c.bdf.xz"], "compressed EDF": ["a.edf.gz", "b.EDF.ZIP"]},
        ),
        (["a.edf.part", "b.edf.crdownload"], {"unfinished EDF": ["a.edf.part", "b.edf.crdownload"]}),
        (
            ["a.rec", "b.cnt", "c.nwb", "d.xdf", "e.gdf"],
            {"CNT": ["b.cnt"], "GDF": ["e.gdf"], "NWB": ["c.nwb"], "REC": ["a.rec"], "XDF": ["d.xdf"]},
        ),
        (["a.edf.bak", "b.edf.1", "c.edf~", "notes.1", "x~"], {"renamed EDF": ["a.edf.bak", "b.edf.1", "c.edf~"]}),
        (["a.acq", "b.hea", "b.dat", "c.edf.hea"], {"Biopac": ["a.acq"], "WFDB": ["b.hea", "c.edf.hea"]}),
        (["a.mff/signal1.bin", "a.mff/x.edf"], {"EGI MFF": ["a.mff"]}),
        ([".a.edf.gz", "a.zip", "notes.gz", "a.edf.event", "a.edf.seizures", "RECORDS", ".set", "x.zarr/a.vhdr"], {}),
    ],
)
def test_each_recording_in_another_format_is_named_once_for_its_set_of_files(
    tmp_path: Path, files: list[str], counted: dict[str, list[str]]
) -> None:
    found = refused(touch(tmp_path, "read.edf", *(f"p/{file}" for file in files)))
    assert census.by_format(found) == {form: [f"p/{name}" for name in names] for form, names in counted.items()}
    assert all("is not read" in why for why in found.values())


def test_a_tree_with_other_formats_alone_says_which_they_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no EDF file below this folder, only what is not read: 2 BrainVision, 1 XDF"):
        scan(locate(touch(tmp_path, "a.vhdr", "b/a.vhdr", "c.xdf")))


def test_subjects_without_a_recording_and_recordings_in_no_eeg_folder_are_refused_by_name(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "ds",
        "sub-01/eeg/sub-01_task-rest_eeg.edf",
        "sub-01/sub-01_task-rest_eeg.edf",
        "sub-01/ecg/sub-01_task-rest_ecg.edf",
        "sub-02/eeg/sub-02_task-rest_eeg.vhdr",
        "derivatives/clean/sub-01/eeg/sub-01_task-rest_eeg.edf",
        "sourcedata/sub-01/original.rec",
        "sub-02/ieeg/sub-02_task-rest_ieeg.edf",
        "lost.bdf",
    )
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t5\nsub-02\t6\nsub-03\tn/a\n04\t7\n")
    assert refused(root) == {
        "lost.bdf": "it is in no eeg folder of a subject",
        "sub-01/sub-01_task-rest_eeg.edf": "it is in no eeg folder of a subject",
        "sub-02/eeg/sub-02_task-rest_eeg.vhdr": "BrainVision is not read",
        "sub-02/ieeg/sub-02_task-rest_ieeg.edf": "it is in no eeg folder of a subject",
        "sub-03": "participants.tsv names it, and it has no recording",
        "sub-04": "participants.tsv names it, and it has no recording",
    }


def test_a_recording_of_a_tusz_tree_outside_edf_is_refused_by_name(tmp_path: Path) -> None:
    inside = "edf/train/aaaaaaaa/s001_2020/01_tcp_ar/aaaaaaaa_s001_t000.edf"
    root = touch(tmp_path / "tusz", inside, "extra/b.edf", "DOCS/seizures_types_v02.xlsx", "AAREADME.txt")
    (root / "latest").symlink_to(root / "edf" / "train")
    assert refused(root) == {"extra/b.edf": "it is outside edf/"}
    assert survey(locate(root)).labels_unread == ()


@pytest.mark.parametrize(
    ("files", "unread"),
    [
        (["p/a.edf", "p/a.csv_bi", "p/b.csv_bi"], ["p/b.csv_bi"]),
        (["p/a.edf", "p/a.csv_bi", "p/a.tse", "subject_info.csv"], []),
        (["chb01/chb01_01.edf", "chb02-summary.txt"], ["chb02-summary.txt"]),
        (["chb01/chb01_01.edf", "chb01/chb01-summary.txt", "chb01/chb01_01.edf.seizures"], []),
        (["PN00/a.edf", "PN00/Seizures-list-PN00.txt", "Seizures-list-PN01.txt"], ["Seizures-list-PN01.txt"]),
        (["P/r1.edf", "P/r1_a1.tsv", "P/r1_a2.tsv"], ["P/r1_a2.tsv"]),
        (["p/a.edf", "p/a.csv_bi", "annotations.xlsx"], ["annotations.xlsx"]),
        (["p/a.vhdr", "p/a.eeg", "p/a_events.tsv", "p/b.edf"], []),
    ],
)
def test_a_label_file_that_is_of_no_recording_is_named(tmp_path: Path, files: list[str], unread: list[str]) -> None:
    assert list(survey(locate(touch(tmp_path / "lab", *files))).labels_unread) == unread


@pytest.mark.parametrize(
    "files",
    [
        [
            "RECORDS",
            "RECORDS-WITH-SEIZURES",
            "SHA256SUMS.txt",
            "SUBJECT-INFO",
            "shoeb-icml-2010.pdf",
            "chb01/chb01_01.edf",
            "chb01/chb01-summary.txt",
            "chb01/chb01_03.edf",
            "chb01/chb01_03.edf.seizures",
        ],
        ["RECORDS", "SHA256SUMS.txt", "subject_info.csv", "PN00/PN00-1.edf", "PN00/Seizures-list-PN00.txt"],
        ["RECORDS", "ANNOTATORS", "wfdbcal", "64_channel_sharbrough.png", "S001/S001R01.edf", "S001/S001R01.edf.event"],
    ],
)
def test_trees_as_published_have_nothing_that_is_not_read(tmp_path: Path, files: list[str]) -> None:
    root = touch(tmp_path / "published", *files)
    assert refused(root) == {} and survey(locate(root)).labels_unread == ()
