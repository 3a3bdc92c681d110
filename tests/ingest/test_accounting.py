"""Every file of a tree is accounted for, through `ingest`, `view` and `check`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.support import Cli

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
