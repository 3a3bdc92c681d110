"""Corpora on disk: which folder is which, and every recording in it, none passed over."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.support import ROOT

from brainbrr.eeg.corpus.annotations import read_annotations
from brainbrr.eeg.corpus.tree import Corpus, RecordingFile, locate, scan
from brainbrr.errors import AnnotationError, UsageError


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def paths(root: Path) -> list[str]:
    return [recording.path for recording in scan(locate(root))]


def only(root: Path) -> RecordingFile:
    (recording,) = scan(locate(root))
    return recording


MMIA = "edf/train/zzzzmmia/s001_2009/03_tcp_ar_a/zzzzmmia_s001_t000"


# Real trees


@pytest.mark.parametrize(("tree", "n"), [("tusz_like", 9), ("tusz_layout", 41)])
def test_a_real_tusz_tree_is_found_whole_from_its_root_or_its_edf_folder(data: Path, tree: str, n: int) -> None:
    corpus = locate(data / tree)
    assert corpus == locate(data / tree / "edf") == Corpus(tree, data / tree, "tusz")
    recordings = scan(corpus)
    on_disk = sorted(path.relative_to(data / tree).as_posix() for path in (data / tree).rglob("*.edf"))
    assert [recording.path for recording in recordings] == on_disk and len(on_disk) == n
    for recording in recordings:
        _, split, patient, session, _, _ = recording.path.split("/")
        assert (recording.split, recording.patient, recording.session) == (split, patient, session)
        assert recording.edf == data / tree / recording.path and recording.edf.is_file()
        assert recording.notes == ()
        for role, path in recording.labels.items():
            assert path == recording.edf.with_suffix(role) and path.is_file()
        assert list(recording.labels) == [".csv_bi", ".csv"] if tree == "tusz_like" else [".csv_bi"]
        assert read_annotations(recording.labels, recording=recording.edf.name).labelled


def test_a_real_folder_called_edf_that_holds_no_splits_is_a_plain_corpus(data: Path) -> None:
    corpus = locate(data / "edf")
    assert corpus == Corpus("edf", data / "edf", "plain")
    recordings = scan(corpus)
    assert [recording.path for recording in recordings] == sorted(path.name for path in (data / "edf").iterdir())
    assert [recording.patient for recording in recordings] == [path.stem for path in sorted((data / "edf").iterdir())]
    assert {(recording.session, recording.split) for recording in recordings} == {(None, "none")}


@pytest.mark.parametrize(("tree", "n"), [("odd", 20), ("other_corpora_layout", 54), ("other_corpora_layout/siena", 5)])
def test_other_real_trees_are_plain_and_found_whole(data: Path, tree: str, n: int) -> None:
    corpus = locate(data / tree)
    assert corpus.layout == "plain"
    on_disk = [path for path in (data / tree).rglob("*") if path.suffix in (".edf", ".bdf")]
    assert {recording.edf for recording in scan(corpus)} == set(on_disk) and len(on_disk) == n


def test_a_real_bdf_file_is_listed_so_that_it_can_be_refused_by_name(data: Path) -> None:
    assert "bdf_nrec_minus1.bdf" in paths(data / "odd")


def test_a_real_folder_that_holds_corpora_is_not_taken_for_one(data: Path) -> None:
    with pytest.raises(UsageError, match="not a corpus but holds 2, tusz_"):
        locate(data)


def test_a_part_of_a_real_corpus_names_the_root_to_give_instead(data: Path) -> None:
    for part in ("edf/train", "edf/train/zzzzmmia", "edf/train/zzzzmmia/s001_2009/03_tcp_ar_a"):
        with pytest.raises(UsageError, match="part of a corpus, whose root is") as error:
            locate(data / "tusz_like" / part)
        assert error.value.what.endswith(f"{data / 'tusz_like'}")


# Which corpus a folder is


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "gone", "there is no such folder"),
        (lambda root: touch(root, "a.edf") / "a.edf", "this is a file, not a corpus"),
    ],
)
def test_what_is_no_folder_is_refused(tmp_path: Path, make, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        locate(make(tmp_path))
    assert error.value.exit_code == 2 and error.value.fix


def test_an_empty_tree_is_refused_since_its_disk_may_not_be_mounted(tmp_path: Path) -> None:
    for root in (tmp_path / "empty", touch(tmp_path / "tusz", "edf/train/x/notes.txt")):
        root.mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="no EDF file below this folder") as error:
            scan(locate(root))
        assert error.value.fix and "mounted" in error.value.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_refused_not_passed_over(tmp_path: Path) -> None:
    root = touch(tmp_path / "c", "a/a.edf", "b/b.edf")
    (root / "b").chmod(0)
    try:
        with pytest.raises(UsageError, match="cannot be read"):
            scan(locate(root))
    finally:
        (root / "b").chmod(0o755)


SCAN = """
import os, sys
from pathlib import Path
from brainbrr.eeg.corpus.tree import locate, scan
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
print(scan(locate(Path(sys.argv[1]))))
"""


def test_a_link_whose_folder_cannot_be_reached_is_refused_not_passed_over() -> None:
    folder = Path(tempfile.mkdtemp())  # not tmp_path: whoever scans is nobody
    try:
        folder.chmod(0o755)
        touch(folder, "c/a/a.edf", "closed/b/b.edf")
        (folder / "c" / "a" / "b").symlink_to(folder / "closed" / "b")
        (folder / "closed").chmod(0)
        scanning = [sys.executable, "-c", SCAN, str(folder / "c")]
        told = subprocess.run(scanning, cwd=ROOT, capture_output=True, text=True, check=False)
        assert told.returncode == 1 and "UsageError: the folder cannot be read: Permission denied" in told.stderr
        (folder / "closed").chmod(0o755)
        assert "a/b/b.edf" in subprocess.run(scanning, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    finally:
        (folder / "closed").chmod(0o755)
        shutil.rmtree(folder)


def test_the_name_is_the_folder_s_or_the_given_one_and_fit_for_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch(tmp_path / "My EEG", "a.edf")
    with pytest.raises(UsageError, match="'My EEG' will not do as a corpus name") as error:
        locate(root)
    assert error.value.fix and "--corpus NAME" in error.value.fix
    assert locate(root, name="my-eeg") == Corpus("my-eeg", root, "plain")
    for bad in ("", ".", "..", "a/b", ".hidden", "x" * 65, "a\n", "ä"):
        with pytest.raises(UsageError, match="will not do"):
            locate(root, name=bad)
    touch(tmp_path / "tusz", f"{MMIA}.edf")
    monkeypatch.chdir(tmp_path / "tusz" / "edf")
    expected = Corpus("tusz", tmp_path / "tusz", "tusz")
    assert locate(Path(".")) == locate(Path("..")) == locate(Path("train/..")) == expected


def test_a_linked_root_keeps_the_name_it_is_reached_by(tmp_path: Path) -> None:
    touch(tmp_path / "disk7" / "v2.0.3", f"{MMIA}.edf")
    (tmp_path / "tusz").symlink_to(tmp_path / "disk7" / "v2.0.3")
    assert locate(tmp_path / "tusz") == locate(tmp_path / "tusz/edf") == Corpus("tusz", tmp_path / "tusz", "tusz")
    assert only(tmp_path / "tusz").path == f"{MMIA}.edf"
    (tmp_path / "part").symlink_to(tmp_path / "disk7" / "v2.0.3" / "edf" / "train")
    with pytest.raises(UsageError, match="part of a corpus"):
        locate(tmp_path / "part")


def test_splits_without_an_edf_folder_are_still_splits(tmp_path: Path) -> None:
    root = touch(tmp_path / "c", f"{MMIA}.edf"[4:], "eval/yyyyaaaa/s001_2010/01_tcp_ar/yyyyaaaa_s001_t000.edf")
    assert [(r.path[:5], r.patient, r.split) for r in scan(locate(root))] == [
        ("eval/", "yyyyaaaa", "eval"),
        ("train", "zzzzmmia", "train"),
    ]
    with pytest.raises(UsageError, match="part of a corpus"):
        locate(root / "eval")
    assert locate(touch(tmp_path / "home", "dev/p1/a.edf")).layout == "plain"


def test_sessions_are_known_in_both_spellings_and_in_the_older_tree(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "tusz",
        "edf/dev/aaaaaajy/s001_2002_12_23/02_tcp_le/aaaaaajy_s001_t000.edf",
        "edf/train/01_tcp_ar/002/00000258/s002_2003_07_21/00000258_s002_t000.edf",
    )
    first, second = scan(locate(root))
    assert (first.patient, first.session, first.split) == ("aaaaaajy", "s001_2002_12_23", "dev")
    assert (second.patient, second.session, second.split) == ("00000258", "s002_2003_07_21", "train")
    assert first.notes == second.notes == ()


@pytest.mark.parametrize(
    ("path", "patient", "split", "note"),
    [
        ("edf/train/aaaaaaaa/s001_2012/01_tcp_ar/bbbbbbbb_s001_t000.edf", "bbbbbbbb", "train", "the name is taken"),
        ("edf/train/aaaaaaaa/s001_2012/01_tcp_ar/rec_1.edf", "aaaaaaaa", "train", "aaaaaaaa is taken"),
        ("edf/train/loose_1.edf", "loose", "train", "loose is taken as the patient"),
        ("edf/more/aaaaaaaa/s001_2012/01_tcp_ar/aaaaaaaa_s001_t000.edf", "aaaaaaaa", "none", "none of train, dev"),
    ],
)
def test_a_tusz_file_whose_name_and_place_disagree_is_kept_with_a_note(
    tmp_path: Path, path: str, patient: str, split: str, note: str
) -> None:
    (tmp_path / "edf/train").mkdir(parents=True)
    recording = only(touch(tmp_path, path))
    assert (recording.path, recording.patient, recording.split) == (path, patient, split)
    assert any(note in line for line in recording.notes), recording.notes


# BIDS


def test_bids_recordings_are_the_eeg_ones_with_their_events(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "bids",
        "sub-01/ses-02/eeg/sub-01_ses-02_task-szMonitoring_run-00_eeg.edf",
        "sub-01/ses-02/eeg/sub-01_ses-02_task-szMonitoring_run-00_events.tsv",
        "sub-01/ses-02/ecg/sub-01_ses-02_task-szMonitoring_run-00_ecg.edf",
        "sub-02/eeg/sub-02_task-rest_eeg.edf",
        "sub-02/eeg/sub-03_task-rest_eeg.bdf",
        "derivatives/filtered/sub-01/eeg/sub-01_eeg.edf",
        "dataset_description.json",
    )
    corpus = locate(root)
    assert corpus.layout == "bids"
    first, second, third = scan(corpus)
    assert (first.patient, first.session, first.split) == ("sub-01", "ses-02", "none")
    stem = "sub-01_ses-02_task-szMonitoring_run-00"
    assert first.path == f"sub-01/ses-02/eeg/{stem}_eeg.edf"
    assert first.labels == {"events.tsv": root / f"sub-01/ses-02/eeg/{stem}_events.tsv"}
    assert (second.patient, second.session, dict(second.labels), second.notes) == ("sub-02", None, {}, ())
    assert third.patient == "sub-02" and "is in sub-02" in third.notes[0]
    for part in ("sub-01", "sub-01/ses-02/eeg"):
        with pytest.raises(UsageError, match="part of a corpus") as error:
            locate(root / part)
        assert error.value.what.endswith(str(root))


# Plain trees and odd files


BIDS = "sub-01/ses-01/eeg/sub-01_ses-01_task-rest_run-00"


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (("task-rest_events.tsv",), "task-rest_events.tsv"),
        (("task-other_events.tsv",), None),
        (("sub-02_task-rest_events.tsv", "run-01_events.tsv"), None),
        (("task-rest_events.tsv", "sub-01/sub-01_task-rest_events.tsv"), "sub-01/sub-01_task-rest_events.tsv"),
        (("task-rest_events.tsv", "task-rest_run-00_events.tsv"), "task-rest_run-00_events.tsv"),
        (("sub-01/ses-01/eeg/sub-01_task-rest_events.tsv",), "sub-01/ses-01/eeg/sub-01_task-rest_events.tsv"),
        (("task-rest_events.tsv", BIDS + "_events.tsv"), BIDS + "_events.tsv"),
    ],
)
def test_events_above_a_recording_are_inherited_as_bids_says(
    tmp_path: Path, tables: tuple[str, ...], expected: str | None
) -> None:
    recording = only(touch(tmp_path, BIDS + "_eeg.edf", *tables))
    assert recording.labels.get("events.tsv") == (None if expected is None else tmp_path / expected)
    inherited = expected is not None and expected != BIDS + "_events.tsv"
    assert recording.notes == ((f"its events are those of {expected}",) if inherited else ())


def test_two_events_tables_that_apply_equally_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, BIDS + "_eeg.edf", "task-rest_events.tsv", "run-00_events.tsv")
    with pytest.raises(UsageError, match=r"run-00_events.tsv and task-rest_events.tsv apply equally to sub-01"):
        scan(locate(tmp_path))


def test_what_bids_says_of_channels_goes_with_the_labels(tmp_path: Path) -> None:
    recording = only(touch(tmp_path, BIDS + "_eeg.edf", "task-rest_channels.tsv"))
    assert recording.labels == {}  # without events a table of channels is no label file
    touch(tmp_path, BIDS + "_events.tsv")
    assert dict(only(tmp_path).labels) == {
        "events.tsv": tmp_path / (BIDS + "_events.tsv"),
        "channels.tsv": tmp_path / "task-rest_channels.tsv",
    }


def test_lists_of_a_folder_are_the_labels_of_its_recordings_unless_they_have_their_own(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("chb01/chb01_01.edf", "chb01/chb01_03.edf", "chb01/chb01_03.edf.seizures", "chb01/chb01-summary.txt"),
        *("chb01/own.edf", "chb01/own.csv_bi", "PN00/PN00-1.edf", "PN00/Seizures-list-PN00.txt"),
        *("P_ID1/P_ID1_r1.edf", "P_ID1/P_ID1_r1_a1.tsv", "other/chb02_01.edf", "other/summary.txt"),
    )
    labels = {each.edf.name: {role: path.name for role, path in each.labels.items()} for each in scan(locate(tmp_path))}
    assert labels == {
        "chb01_01.edf": {"summary.txt": "chb01-summary.txt"},
        "chb01_03.edf": {"summary.txt": "chb01-summary.txt", ".edf.seizures": "chb01_03.edf.seizures"},
        "own.edf": {".csv_bi": "own.csv_bi"},
        "PN00-1.edf": {"Seizures-list.txt": "Seizures-list-PN00.txt"},
        "P_ID1_r1.edf": {"a1.tsv": "P_ID1_r1_a1.tsv"},
        "chb02_01.edf": {},
    }


@pytest.mark.parametrize(
    ("files", "lists"),
    [
        (
            ["PN01-1.edf", "pn02-1.edf", "Seizures-list-PN01.txt", "Seizures-list-PN02.txt"],
            {"PN01-1.edf": "Seizures-list-PN01.txt", "pn02-1.edf": "Seizures-list-PN02.txt"},
        ),
        (["PN06/PNO6-1.edf", "Seizures-list-PN06.txt"], {"PNO6-1.edf": "Seizures-list-PN06.txt"}),
        (["PN01/a.edf", "PN01/Seizures-list.txt"], {"a.edf": "Seizures-list.txt"}),
        (["a.edf", "Seizures-list-PN01.txt", "Seizures-list-PN02.txt"], {}),
        (["sub/a.edf", "Seizures-list-PN01.txt"], {}),
        (
            ["chb01_01.edf", "chb17a_03.edf", "chb01-summary.txt", "chb17-summary.txt"],
            {"chb01_01.edf": "chb01-summary.txt", "chb17a_03.edf": "chb17-summary.txt"},
        ),
        (["chb01/chb01_01.edf", "summaries/chb01-summary.txt"], {}),
        (["data/chb01/chb01_01.edf", "chb01-summary.txt"], {"chb01_01.edf": "chb01-summary.txt"}),
        (["chb01/chb01_01.edf", "chb01/chb02-summary.txt"], {}),
    ],
)
def test_a_list_is_read_for_the_recordings_of_its_subject_wherever_it_is_above_them(
    tmp_path: Path, files: list[str], lists: dict[str, str]
) -> None:
    found = {each.edf.name: dict(each.labels) for each in scan(locate(touch(tmp_path / "c", *files)))}
    assert {name: path.name for name, labels in found.items() for path in labels.values()} == lists


def test_in_a_plain_tree_the_first_folder_is_the_patient(tmp_path: Path) -> None:
    root = touch(tmp_path / "c", "p1/day2/a.edf", "p1/b.edf", "loose.edf")
    assert [(r.path, r.patient, r.session, r.split) for r in scan(locate(root))] == [
        ("loose.edf", "loose", None, "none"),
        ("p1/b.edf", "p1", None, "none"),
        ("p1/day2/a.edf", "p1", None, "none"),
    ]


def test_labels_are_found_by_stem_with_their_suffix_in_any_case(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "c",
        "p/a.edf",
        "p/a.CSV_BI",
        "p/a.Csv",
        "p/A.tse",
        "p/a.b.lbl",
        "p/ab.csv",
        "p/a_events.tsv",
        "a.tse_bi",
    )
    assert only(root).labels == {
        ".csv_bi": root / "p/a.CSV_BI",
        ".csv": root / "p/a.Csv",
        "events.tsv": root / "p/a_events.tsv",
    }


def test_two_label_files_that_differ_by_case_are_said_and_the_lower_case_one_is_read(tmp_path: Path) -> None:
    recording = only(touch(tmp_path / "c", "a.edf", "a.CSV", "a.csv"))
    assert recording.labels == {".csv": tmp_path / "c" / "a.csv"}
    assert recording.notes == ("a.csv, a.CSV differ only by case: a.csv is read",)


def test_recordings_that_differ_only_by_case_are_kept_apart(tmp_path: Path) -> None:
    root = touch(tmp_path / "c", "p/a.edf", "p/A.edf", "P/a.edf", "p/a.EDF", "p/a.csv", "p/A.tse")
    recordings = {recording.path: list(recording.labels) for recording in scan(locate(root))}
    assert recordings == {"P/a.edf": [], "p/A.edf": [".tse"], "p/a.EDF": [".csv"], "p/a.edf": [".csv"]}


def test_hidden_files_are_no_recordings_and_every_other_name_is(tmp_path: Path) -> None:
    names = ["a b.edf", "ä→.edf", "x.y.edf", "UP.EDF", "b.bdf", "-.edf", "~a.edf", "#a.edf", "x.edf.bak"]
    hidden = ["._a.edf", ".edf", ".trash/a.edf", "p/.a.edf"]
    root = touch(tmp_path / "c", *names, *hidden, "a.edf.event", "notes.txt", "edf")
    assert paths(root) == sorted(names)


def test_a_folder_named_like_a_recording_is_a_folder(tmp_path: Path) -> None:
    assert paths(touch(tmp_path / "c", "p.edf/a.edf")) == ["p.edf/a.edf"]


def test_links_are_followed_once_and_never_round_in_circles(tmp_path: Path) -> None:
    root = touch(tmp_path / "c", "p/a.edf")
    touch(tmp_path / "disk", "q/b.edf", "file.edf")
    (root / "loop").symlink_to(root)
    (root / "p" / "up").symlink_to(tmp_path)  # above the root: not a part of it
    for name in ("again", "o", "q", "z"):  # a folder that is reached both ways goes by its own path
        (root / name).symlink_to(root / "p")
    (root / "self").symlink_to(root / "self")
    (root / "more").symlink_to(tmp_path / "disk" / "q")
    (tmp_path / "disk" / "q" / "back").symlink_to(root)
    (root / "linked.edf").symlink_to(tmp_path / "disk" / "file.edf")
    (root / "broken.edf").symlink_to(tmp_path / "gone.edf")
    assert paths(root) == ["broken.edf", "linked.edf", "more/b.edf", "p/a.edf"]


def test_a_split_on_another_disk_is_followed(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "zzzzmmia/s001_2009/03_tcp_ar_a/zzzzmmia_s001_t000.edf")
    (tmp_path / "tusz" / "edf").mkdir(parents=True)
    (tmp_path / "tusz" / "edf" / "train").symlink_to(tmp_path / "disk")
    recording = only(tmp_path / "tusz")
    assert (recording.path, recording.split, recording.notes) == (f"{MMIA}.edf", "train", ())


def test_a_recording_whose_name_is_not_utf8_is_refused_in_plain_text(tmp_path: Path) -> None:
    root = touch(tmp_path / "c", "a.edf")
    try:
        (root / os.fsdecode(b"b\xff.txt")).touch()
        assert paths(root) == ["a.edf"]
        (root / os.fsdecode(b"b\xff.edf")).touch()
    except OSError as error:
        pytest.skip(f"this file system takes only UTF-8: {error}")
    plain, odd = scan(locate(root))
    assert (plain.path, plain.refusal) == ("a.edf", None)
    assert (odd.path, odd.refusal) == ("b\\udcff.edf", "a file name is not UTF-8")


def test_recordings_travel_to_other_processes(tmp_path: Path) -> None:
    recording = only(touch(tmp_path / "c", "p/a.edf", "p/a.csv"))
    assert pickle.loads(pickle.dumps(recording)) == recording
    with pytest.raises(AnnotationError):
        read_annotations(recording.labels)


def test_a_scan_comes_out_the_same_whatever_order_files_were_made_in(tmp_path: Path) -> None:
    names = [f"p{n % 7}/r{n:02d}.edf" for n in range(40)]
    first, second = touch(tmp_path / "a" / "c", *names), touch(tmp_path / "b" / "c", *reversed(names))
    assert paths(first) == paths(second) == sorted(names)
