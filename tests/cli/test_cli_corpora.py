"""Public corpora go the whole way from the command line, laid out and labelled as they are published."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.edf_bytes import File, noise
from helpers.support import TINY, Cli

from brainbrr.eeg.signal.montage import CHB_MIT, TEN_TWENTY

pytestmark = pytest.mark.slow

SECONDS, START, STOP = 24, 8, 14
"""Each of three patients has two recordings of 24 s; the first one has a seizure."""
TEN_TEN = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
PAIRS = ["-".join(TEN_TEN.get(end, end).upper() for end in pair.split("-")) for pair in CHB_MIT]


def edf(path: Path, labels: list[str], *, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    File([noise(label, seconds=SECONDS, seed=100 * seed + i) for i, label in enumerate(labels)]).write(
        path.parent, path.name
    )


def chb_mit(root: Path) -> None:
    """Summaries, and a WFDB file beside each recording that has seizures."""
    for n in (1, 2, 3):
        folder = root / f"chb{n:02d}"
        sections = ["Data Sampling Rate: 256 Hz\n*************************\n"]
        for k in (1, 2):
            name = f"chb{n:02d}_{k:02d}.edf"
            edf(folder / name, PAIRS, seed=10 * n + k)
            times = f"Seizure Start Time: {START} seconds\nSeizure End Time: {STOP} seconds\n" if k == 1 else ""
            sections.append(
                f"File Name: {name}\nFile Start Time: 11:42:54\nNumber of Seizures in File: {2 - k}\n{times}"
            )
            if k == 1:
                note = b"## time resolution: 256"
                words = [22 << 10, 63 << 10 | len(note)]
                data = struct.pack("<2H", *words) + note + b"\0" * (len(note) % 2)
                for code, interval in ((32, START * 256), (33, (STOP - START) * 256)):
                    data += struct.pack("<HHHH", 59 << 10, 0, interval, code << 10)
                (folder / f"{name}.seizures").write_bytes(data + b"\0\0")
        (folder / f"chb{n:02d}-summary.txt").write_text("\n".join(sections))
    (root / "RECORDS").write_text("chb01/chb01_01.edf\n")
    (root / "SUBJECT-INFO").write_text("Case\tGender\tAge\n")


def siena(root: Path) -> None:
    """A list of clock times for each patient; recordings without seizures are not in the corpus."""
    for n in (1, 2, 3):
        folder = root / f"PN0{n}"
        rows = [f"PN0{n}\n\nData Sampling Rate: 256 Hz\n"]
        for k in (1, 2):
            name = f"PN0{n}-{k}.edf"
            edf(folder / name, [f"EEG {electrode}" for electrode in TEN_TWENTY] + ["EKG EKG"], seed=10 * n + k)
            rows.append(f"Seizure n {k}\nFile name: {name}\nRegistration start time: 23.59.56\n")
            rows.append("Registration end time:  00.00.20\nSeizure start time: 00.00.04\nSeizure end time: 00.00.10\n")
        (folder / f"Seizures-list-PN0{n}.txt").write_text("\n".join(rows))
    (root / "subject_info.csv").write_text("patient_id, age_years\nPN01, 46\n")


def seizeit1(root: Path) -> None:
    """A table beside each recording."""
    for n in (1, 2, 3):
        for k in (1, 2):
            stem = root / f"P_ID{n}" / f"P_ID{n}_r{k}"
            labels = [f"EEG {TEN_TEN.get(electrode, electrode)}-Ref" for electrode in TEN_TWENTY]
            edf(stem.with_name(stem.name + ".edf"), labels, seed=10 * n + k)
            row = f"{START}\t{STOP}\tFIAS\tTemp\n" if k == 1 else ""
            stem.with_name(stem.name + "_a1.tsv").write_text(f"# Source: SeizeIt1\n# Subject: P_ID{n}\n \n{row}")


def bids(root: Path) -> None:
    """Events of SzCORE's beside each recording, and participants."""
    for n in (1, 2, 3):
        for k in (1, 2):
            stem = f"sub-0{n}_ses-01_task-szMonitoring_run-0{k}"
            folder = root / f"sub-0{n}" / "ses-01" / "eeg"
            edf(folder / f"{stem}_eeg.edf", [f"{electrode}-Avg" for electrode in TEN_TWENTY], seed=10 * n + k)
            row = f"{START}.00\t{STOP - START}.00\tsz_foc_ia" if k == 1 else f"0.00\t{SECONDS}.00\tbckg"
            (folder / f"{stem}_events.tsv").write_text(
                "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration\n"
                f"{row}\tn/a\tn/a\t2020-01-01 00:00:00\t{SECONDS}.00\n"
            )
            (folder / f"{stem}_eeg.json").write_text("{}")
    (root / "participants.tsv").write_text("participant_id\tage\n" + "".join(f"sub-0{n}\t40\n" for n in (1, 2, 3)))
    (root / "dataset_description.json").write_text("{}")


@pytest.mark.parametrize(
    ("write", "recipe", "seizures"),
    [(chb_mit, "chb-mit", 1), (siena, "default", 2), (seizeit1, "default", 1), (bids, "default", 1)],
)
def test_a_corpus_as_published_goes_from_ingest_to_scores(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], recipe: str, seizures: int
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "corpus")
    with computed_once():
        told = cli("ingest", "corpus", "--recipe", recipe, "--workers", 1, "--json")
    assert told.code == 0 and told.json["new"] == 6 and len(told.json["patients"]) == 3, told.json
    assert (told.json["not_read"], told.json["labels_unread"]) == ({}, [])
    viewed = cli("view", "--recipe", recipe, "--json").json
    assert (viewed["state"], viewed["ready"], viewed["seizures"]) == ("ready", 6, 3 * seizures)
    assert viewed["seconds"] == 6 * SECONDS and "2 min 24 s" in cli("view", "--recipe", recipe).out
    assert viewed["hours"] == round(6 * SECONDS / 3600, 4) and viewed["hours_unlabelled"] == 0
    made = cli("split", "--folds", 3, "-o", "folds.toml", "--json").json
    assert [(len(fold["patients"]), fold["seizures"]) for fold in made["folds"]] == [(1, seizures)] * 3
    assert sum(fold["seizure_seconds"] for fold in made["folds"]) == 3 * seizures * (STOP - START)
    (tmp_path / "tiny.toml").write_text(TINY.replace("steps = 4", "steps = 2"))
    change = ("--set", f"recipe={recipe}") if recipe != "default" else ()
    trained = cli("train", "--config", "tiny.toml", *change, "--splits", "folds.toml", "--json")
    assert trained.code == 0, trained.err
    scored = cli("evaluate", trained.json["run"], "--json")
    assert scored.code == 0, scored.err
    found = scored.json["metrics"]
    assert (found["patients"], found["recordings"], found["seizures"]) == (1, 2, seizures)
    assert found["hours"] == pytest.approx(2 * SECONDS / 3600, abs=1e-4)
    assert "seizure" in cli("evaluate", trained.json["run"]).out


def test_a_recording_without_a_pair_is_named_with_the_choices_and_fails_no_view(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "chbmit"
    edf(root / "chb01" / "chb01_01.edf", PAIRS, seed=1)
    edf(root / "chb02" / "chb02_01.edf", PAIRS[:-1], seed=2)
    assert cli("ingest", root, "--recipe", "chb-mit", "--labels", "none", "--workers", 1).code == 0
    shown = cli("view", "--recipe", "chb-mit", "--json")
    assert shown.code == 3 and shown.json["ready"] == 1
    assert "Cz-Pz, and pairs of electrodes cannot be interpolated" in shown.json["missing"][0]["reason"]
    assert "--exclude FILE" in shown.json["mend"] and 'missing = "zero"' in shown.json["mend"]
    (tmp_path / "without").write_text(shown.json["missing"][0]["recording"] + "\n")
    assert cli("view", "--recipe", "chb-mit", "--exclude", tmp_path / "without").code == 0
    zeros = tmp_path / "zeros.toml"
    zeros.write_text(TINY.replace("[window]", '[window]\nmissing = "zero"'))
    assert cli("view", "--recipe", "chb-mit", "--config", zeros).code == 0
