"""Every file of a tree is accounted for, through `ingest`, `view` and `check`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.computing import computed_once
from helpers.support import Cli

from brainbrr.core import files
from brainbrr.eeg.corpus.tree import locate, scan

ROW = "TERM,{},{},{},1.0000\n"


@pytest.fixture(autouse=True)
def computed_before() -> Iterator[None]:
    with computed_once():
        yield


@pytest.fixture
def recordings(generated: Path) -> list[tuple[Path, Path]]:
    """EDF files and their tables, the shortest ones."""
    files = sorted(scan(locate(generated)), key=lambda file: file.edf.stat().st_size)
    return [(file.edf, file.labels[".csv_bi"]) for file in files]


@pytest.fixture
def place(recordings: list[tuple[Path, Path]], tmp_path: Path) -> Path:
    """An empty plain corpus."""
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder


def put(recordings: list[tuple[Path, Path]], n: int, stem: Path) -> None:
    """Copy recording `n` and its labels to a stem."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for source, suffix in zip(recordings[n], (".edf", ".csv_bi"), strict=True):
        shutil.copy(source, stem.with_name(stem.name + suffix))


def relabel(table: Path, *rows: tuple[float, float, str]) -> None:
    text = table.read_text()
    head = text[: text.index("confidence\n") + len("confidence\n")]
    table.write_text(head + "".join(ROW.format(*row) for row in rows))


def test_the_same_bytes_with_different_labels_are_named_and_no_view_takes_them(
    cli: Cli, place: Path, recordings: list[tuple[Path, Path]]
) -> None:
    put(recordings, 0, place / "a" / "a1")
    put(recordings, 0, place / "b" / "b1")
    put(recordings, 1, place / "c" / "c1")
    told = cli("ingest", place, "--workers", 1, "--json")
    assert (told.code, told.json["contradictions"]) == (0, [])  # the same bytes with the same labels are one recording
    relabel(place / "a" / "a1.csv_bi", (0, 2, "bckg"), (2, 4, "seiz"))
    pair = [["a/a1.edf", "b/b1.edf"]]
    assert cli("ingest", place, "--dry-run", "--json").json["contradictions"] == pair
    told = cli("ingest", place, "--workers", 1, "--json")
    assert (told.code, told.json["contradictions"]) == (1, pair)
    shown = cli("ingest", place, "--workers", 1)
    assert shown.code == 1 and "the same bytes with different labels" in shown.err + shown.out
    viewed = cli("view", "--json")
    assert (viewed.code, viewed.json["state"], viewed.json["ready"]) == (3, "incomplete", 1)
    assert viewed.json["contradictions"] == pair
    assert {each["recording"]: each["reason"] for each in viewed.json["missing"]} == {
        "a/a1.edf": "the same bytes have other labels as b/b1.edf",
        "b/b1.edf": "the same bytes have other labels as a/a1.edf",
    }
    assert viewed.json["mend"].startswith("delete the copies, or give all of them the same labels, then `brainbrr")
    assert "other labels as b/b1.edf" in cli("view").out
    assert cli("view", "--patients", "c", "--json").json["state"] == "ready"
    checked = cli("check", "--json")
    assert checked.code == 3
    assert checked.json["contradictions"] == [{"corpus": "lab", "recordings": pair[0]}]
    assert "other labels" in cli("check").out
    shutil.copy(place / "b" / "b1.csv_bi", place / "a" / "a1.csv_bi")
    assert cli("ingest", place, "--workers", 1).code == 0
    assert cli("view").code == 0


def test_one_missing_label_file_does_not_propose_to_unlabel_the_corpus(
    cli: Cli, place: Path, recordings: list[tuple[Path, Path]]
) -> None:
    for n in range(3):
        put(recordings, n, place / f"p{n}" / f"r{n}")
    table = place / "p1" / "r1.csv_bi"
    text = table.read_text()
    table.unlink()
    (failure,) = cli("ingest", place, "--workers", 1, "--json").json["failed"]
    assert "--labels optional" in failure["fix"] and "--labels none" not in failure["fix"]
    told = cli("ingest", place, "--workers", 1, "--labels", "optional", "--json")
    assert told.code == 0 and told.json["notes"]["p1/r1.edf"] == ["no label file: unlabelled"]
    viewed = cli("view", "--json").json
    assert (viewed["state"], viewed["ready"]) == ("ready", 3)
    assert viewed["window_classes"]["unlabelled"] > 0 < viewed["window_classes"]["background"]
    assert cli("ingest", place, "--workers", 1).code == 0  # what was left unlabelled stays so
    assert cli("ingest", place, "--workers", 1, "--dry-run", "--json").json["labelled"] == 2
    table.write_text(text)
    assert cli("ingest", place, "--workers", 1, "--json").json["relabelled"] == 1
    assert cli("view", "--json").json["window_classes"]["unlabelled"] == 0


def test_a_labelled_corpus_becomes_unlabelled_only_with_relabel(
    cli: Cli, place: Path, recordings: list[tuple[Path, Path]]
) -> None:
    for n in range(2):
        put(recordings, n, place / f"p{n}" / f"r{n}")
    relabel(place / "p0" / "r0.csv_bi", (0, 2, "bckg"), (2, 4, "seiz"))
    assert cli("ingest", place, "--workers", 1).code == 0
    seizures = cli("view", "--json").json["seizures"]
    for more in ([], ["--dry-run"]):
        told = cli("ingest", place, "--workers", 1, "--labels", "none", *more)
        assert told.code == 2 and f"2 recordings with {seizures} seizures would become unlabelled" in told.err
        assert "--relabel" in told.err
    for table in place.rglob("*.csv_bi"):
        table.unlink()
    assert cli("ingest", place, "--workers", 1, "--labels", "optional").code == 2
    told = cli("ingest", place, "--workers", 1)
    assert told.code == 1 and "--labels none" not in told.err
    assert cli("view", "--json").json["ready"] == 0
    told = cli("ingest", place, "--workers", 1)  # nor does the next one, whose catalog has no labels
    assert told.code == 1 and "--labels none" not in told.err
    assert cli("ingest", place, "--workers", 1, "--labels", "none").code == 2
    assert cli("ingest", place, "--workers", 1, "--labels", "none", "--relabel").code == 0
    assert cli("view", "--json").json["window_classes"]["background"] == 0


def patients(cli: Cli, place: Path, *options: str) -> list[str]:
    told = cli("ingest", place, "--workers", 1, *options, "--json")
    assert told.code == 0, told
    return list(told.json["patients"])


def test_patients_are_named_at_ingest_and_chosen_and_the_choice_is_kept(
    cli: Cli, place: Path, recordings: list[tuple[Path, Path]]
) -> None:
    for n, patient in enumerate(("P1", "P2", "P2")):
        put(recordings, n, place / "edfs" / patient / f"{patient}x_n{n}")
    assert patients(cli, place) == ["edfs"]
    assert "1: edfs (from the first folder below the root" in cli("ingest", place, "--workers", 1).out
    assert patients(cli, place, "--patient-from", "folder") == ["P1", "P2"]
    assert patients(cli, place) == ["P1", "P2"]
    assert patients(cli, place, "--dry-run") == ["P1", "P2"]
    assert cli("view", "--json").json["patients"] == 2
    assert cli("view", "--patients", "P2", "--json").json["ready"] == 2
    assert patients(cli, place, "--patient-from", "file") == ["P1x", "P2x"]
    assert patients(cli, place, "--patient-from", r"n(\d)") == ["0", "1", "2"]
    assert patients(cli, place) == ["0", "1", "2"]
    for wrong in ("nothing-of-this", "("):
        told = cli("ingest", place, "--patient-from", wrong)
        assert told.code == 2 and wrong in told.err and "fix" in told.err
    assert patients(cli, place) == ["0", "1", "2"]


def test_a_catalog_has_settings_only_where_somebody_chose_some(
    cli: Cli, place: Path, recordings: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    put(recordings, 0, place / "P1_n1")
    cli("ingest", place, "--workers", 1)
    cli("ingest", place, "--workers", 1, "--patient-from", "file")
    first, second = sorted((tmp_path / "store" / "catalog").glob("*/*.jsonl"))
    assert "settings" not in first.read_text()
    assert '"settings":{"patient_from":"file"}' in second.read_text()
    assert cli("verify").code == 0


def test_what_is_not_read_is_counted_and_keeps_a_view_from_being_ready_until_it_is_accepted(
    cli: Cli, tmp_path: Path, recordings: list[tuple[Path, Path]]
) -> None:
    root = tmp_path / "ds"
    for subject, names in {"01": (".edf",), "02": (".vhdr", ".vmrk", ".eeg"), "03": (".set", ".fdt")}.items():
        for name in names:
            path = root / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-rest_eeg{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(recordings[0][0], path)
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-03\nsub-04\n")
    for name in ("sub-01/eeg/sub-01_task-rest_events.tsv", "sub-01/eeg/sub-09_task-rest_events.tsv"):
        (root / name).write_text("onset\tduration\teventType\trecordingDuration\n0\t5\tbckg\tn/a\n")
    not_read = {
        "BrainVision": ["sub-02/eeg/sub-02_task-rest_eeg.vhdr"],
        "EEGLAB": ["sub-03/eeg/sub-03_task-rest_eeg.set"],
        "subject without a recording": ["sub-04"],
    }
    loose = ["sub-01/eeg/sub-09_task-rest_events.tsv"]
    for more in (["--dry-run"], []):
        told = cli("ingest", root, "--workers", 1, "--json", *more)
        assert (told.code, told.json.get("recordings"), told.json.get("new")) == (1, 4, 1), told
        assert (told.json["not_read"], told.json["labels_unread"]) == (not_read, loose)
        assert {each["recording"] for each in told.json["failed"]} == {path for [path] in not_read.values()}
    shutil.rmtree(root / "sub-03")  # what is known of a tree is in the catalog, and the smallest profile has all of it
    for profile in ("smoke", "full"):
        viewed = cli("view", "--profile", profile, "--json")
        assert (viewed.code, viewed.json["state"], viewed.json["ready"]) == (3, "incomplete", 1)
        assert (viewed.json["not_read"], viewed.json["labels_unread"]) == (not_read, loose)
    checked = cli("check", "--json")
    assert checked.code == 3 and len(checked.json["missing"]) == 3
    assert {each["format"]: each["recordings"] for each in checked.json["not_read"]} == not_read
    assert checked.json["labels_unread"] == [{"corpus": "ds", "files": loose}]
    for command in (["ingest", root, "--workers", 1], ["view"], ["check"]):
        shown = cli(*command).out
        assert "1 BrainVision" in shown and "sub-02_task-rest_eeg.vhdr" in shown and "sub-09_task-rest_events" in shown
    assert "BrainVision is not read" in cli("why", "sub-02_task-rest_eeg.vhdr").err
    assert cli("ingest", root, "--workers", 1, "--accept", "refused", "--profile", "smoke").code == 0
    viewed = cli("view", "--json")
    assert (viewed.code, viewed.json["ready"], len(viewed.json["omitted"])) == (0, 1, 3)
    assert sum(map(len, viewed.json["not_read"].values())) == 3  # accepted, and counted all the same
    assert cli("check").code == 0


def test_compressed_recordings_become_readable_ones_without_more_ado(
    cli: Cli, place: Path, recordings: list[tuple[Path, Path]]
) -> None:
    for n in range(3):
        put(recordings, n, place / f"p{n}" / f"r{n}")
        if n:
            edf = place / f"p{n}" / f"r{n}.edf"
            edf.rename(edf.with_name(f"r{n}.edf.gz"))
    told = cli("ingest", place, "--workers", 1)
    assert told.code == 1 and "2 compressed EDF: r1.edf.gz, r2.edf.gz" in told.out and "decompress it" in told.err
    for n in (1, 2):
        (place / f"p{n}" / f"r{n}.edf.gz").rename(place / f"p{n}" / f"r{n}.edf")
    assert cli("ingest", place, "--workers", 1).code == 0
    assert cli("view", "--json").json["ready"] == 3


def test_patients_whose_recordings_are_not_read_need_no_split(
    cli: Cli, place: Path, recordings: list[tuple[Path, Path]]
) -> None:
    for n in range(3):
        put(recordings, n, place / f"p{n}" / f"r{n}")
    (place / "p3").mkdir()
    (place / "p3" / "r3.xdf").touch()
    assert cli("ingest", place, "--workers", 1, "--accept", "refused").code == 0
    folds = cli("split", "--folds", 3, "-o", place.parent / "folds.toml", "--json").json["folds"]
    assert sorted(patient for fold in folds for patient in fold["patients"]) == ["p0", "p1", "p2"]
    viewed = cli("view", "--splits", place.parent / "folds.toml", "--split", "train", "--json")
    assert (viewed.code, viewed.json["recordings"]) == (0, 1)


def test_a_dry_run_without_space_ends_as_the_ingest_would_and_nothing_to_write_needs_none(
    cli: Cli, place: Path, recordings: list[tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(recordings, 0, place / "p0" / "r0")
    full = SimpleNamespace(f_bavail=1, f_frsize=4096, f_blocks=100, f_files=0, f_favail=0)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "statvfs", lambda _: full)
        told = cli("ingest", place, "--workers", 1, "--dry-run", "--json")
        assert told.code == 7 and "bytes are needed and 4,096 are free" in told.json["no_space"]
        assert "not enough space: " in cli("ingest", place, "--workers", 1, "--dry-run").err
        assert cli("ingest", place, "--workers", 1).code == 7
    assert cli("ingest", place, "--workers", 1, "--dry-run", "--json").json["no_space"] is None
    assert cli("ingest", place, "--workers", 1).code == 0
    monkeypatch.setattr(files.os, "statvfs", lambda _: full)
    for more in ([], ["--dry-run"]):
        assert cli("ingest", place, "--workers", 1, *more).code == 0
