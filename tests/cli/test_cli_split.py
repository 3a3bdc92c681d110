"""Corpora without splits of their own go the whole way from the command line, and no patient gets into two splits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.computing import computed_once
from helpers.edf_bytes import File, noise
from helpers.support import TINY, Cli

from brainbrr.eeg.signal.montage import CHB_MIT, TEN_TWENTY

pytestmark = pytest.mark.slow

TEN_TEN = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8", "Fp1": "FP1", "Fp2": "FP2"}
TRAIN = ("train", "--config", "tiny.toml", "--set", "recipe=chb-mit")
LABELS = ["-".join(TEN_TEN.get(end, end).upper() for end in name.split("-")) for name in CHB_MIT]


def write_chb_mit(root: Path, *, patients: int = 6) -> Path:
    """Write two recordings of 24 s for each patient; one of them has a seizure, as the summary says."""
    for n in range(1, patients + 1):
        folder, name = root / f"chb{n:02d}", f"chb{n:02d}"
        folder.mkdir(parents=True)
        sections = []
        for k in (1, 2):
            signals = [noise(label, seconds=24, seed=1000 * n + 100 * k + i) for i, label in enumerate(LABELS)]
            File(signals).write(folder, f"{name}_{k:02d}.edf")
            times = "Seizure Start Time: 8 seconds\nSeizure End Time: 14 seconds\n" if k == 1 else ""
            sections.append(f"File Name: {name}_{k:02d}.edf\nNumber of Seizures in File: {2 - k}\n{times}")
        (folder / f"{name}-summary.txt").write_text("\n".join(sections))
    return root


@pytest.fixture
def chb(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ingested tree in CHB-MIT's layout, and a training config for it; returns the working directory."""
    monkeypatch.chdir(tmp_path)
    with computed_once():
        told = cli("ingest", write_chb_mit(tmp_path / "chbmit"), "--recipe", "chb-mit", "--workers", 1)
        assert told.code == 0, told.err
    (tmp_path / "tiny.toml").write_text(TINY.replace("steps = 4", "steps = 2"))
    return tmp_path


def test_chb_mit_goes_from_ingest_to_scores(cli: Cli, chb: Path) -> None:
    told = cli(*TRAIN, "--json")
    assert told.code == 2 and told.json["fix"].startswith("`brainbrr split --corpus chbmit -o folds.toml`")
    made = cli("split", "--folds", 3, "--by", "patient", "--stratify", "seizures", "-o", "folds.toml", "--json").json
    assert [(len(f["patients"]), f["seizures"], f["seizure_seconds"]) for f in made["folds"]] == [(2, 2, 12.0)] * 3
    trained = cli(*TRAIN, "--splits", "folds.toml:2", "--json")
    assert trained.code == 0, trained.err
    run = Path(trained.json["run"])
    held_out = cli("view", "--recipe", "chb-mit", "--splits", "folds.toml:2", "--split", "eval", "--json").json
    assert held_out["patients"] == 2 and held_out["seizures"] == 2
    scored = cli("evaluate", run, "--splits", "folds.toml:2", "--json")
    assert scored.code == 0, scored.err
    assert scored.json["metrics"]["patients"] == 2 and scored.json["metrics"]["threshold_from"].startswith("split dev")
    again = cli("evaluate", run, "--json")  # the run knows its splits
    assert again.code == 0 and again.json["view_digest"] == scored.json["view_digest"]
    frozen = json.loads((run / "view.json").read_text())
    assert {r["split"] for r in frozen["recordings"]} == {"train"}
    assert {r["patient"] for r in frozen["recordings"]} == {
        patient for patient, split in frozen["selection"]["splits"]["patients"].items() if split == "train"
    }
    assert cli("evaluate", run, "--splits", "folds.toml:1").code == 5  # its eval was trained on
    assert cli("train", "--resume", run).code == 0


def test_check_train_and_evaluate_know_that_two_names_are_one_patient(cli: Cli, chb: Path) -> None:
    lines = [f"chb{n:02d}\t{split}" for n, split in enumerate(("train", "train", "dev", "dev", "eval", "eval"), 1)]
    (chb / "splits.tsv").write_text("patient\tsplit\n" + "\n".join(lines) + "\n")
    (chb / "aliases.toml").write_text('chb06 = "chb01"\n')
    gate = ("check", "--require", "no-leaks", "--recipe", "chb-mit", "--splits", "splits.tsv")
    assert cli(*gate).code == 0
    told = cli(*gate, "--aliases", "aliases.toml", "--json")
    assert told.code == 5
    [leak] = told.json["leaks"]
    assert (leak["kind"], leak["value"], sorted(leak["splits"])) == ("patient", "chbmit/chb01", ["eval", "train"])
    both = ("--splits", "splits.tsv", "--aliases", "aliases.toml")
    told = cli(*TRAIN, *both, "--json")
    assert told.code == 5 and told.json["what"] == "patient chbmit/chb01 is in eval (as chb06) and train (as chb01)"
    assert cli("view", "--recipe", "chb-mit", *both).code == 5
    run = cli(*TRAIN, "--splits", "splits.tsv", "--json").json["run"]
    assert cli("evaluate", run, "--tune", "none").code == 0
    (chb / "others.tsv").write_text("patient\tsplit\n" + "\n".join(lines).replace("train", "none") + "\n")
    told = cli("evaluate", run, "--tune", "none", "--splits", "others.tsv", "--aliases", "aliases.toml", "--json")
    assert told.code == 5 and "share 1 of their patients: chb01" in told.json["what"]


def test_names_of_one_patient_are_never_in_two_folds(cli: Cli, chb: Path) -> None:
    (chb / "aliases.toml").write_text('[aliases]\nchb06 = "chb01"\nchb05 = "chb06"\n')
    made = cli("split", "--folds", 3, "--aliases", "aliases.toml", "-o", "folds.toml", "--json").json
    assert {"chb01", "chb05", "chb06"} in [set(fold["patients"]) for fold in made["folds"]]
    gate = ("check", "--require", "no-leaks", "--recipe", "chb-mit", "--splits", "folds.toml")
    assert cli(*gate).code == 0
    view = cli("view", "--recipe", "chb-mit", "--splits", "folds.toml", "--json").json
    assert view["patients"] == 4 and view["recordings"] == 12  # the aliases are in the file


def test_the_file_is_the_same_bytes_in_another_process_and_is_not_replaced(cli: Cli, chb: Path) -> None:
    assert cli("split", "--folds", 4, "-o", "one.toml").code == 0
    code = "from brainbrr.cli.main import main; main()"
    words = ["split", "--folds", "4", "-o", "two.toml", "--store", "store"]
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", code, *words], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        )
    assert (chb / "one.toml").read_bytes() == (chb / "two.toml").read_bytes()
    assert cli("split", "--folds", 4, "-o", "one.toml").code == 0
    told = cli("split", "--folds", 3, "-o", "one.toml")
    assert told.code == 2 and "this file holds something else" in told.err
    for folds in (7, 2):
        assert cli("split", "--folds", folds).code == 2
    assert "nothing was written" in cli("split", "--folds", 3).err + cli("split", "--folds", 3).out


def test_a_patient_without_a_split_ends_the_command(cli: Cli, chb: Path) -> None:
    (chb / "splits.tsv").write_text("patient\tsplit\nchb01\ttrain\n")
    told = cli("view", "--recipe", "chb-mit", "--splits", "splits.tsv", "--json")
    assert told.code == 2 and told.json["what"].startswith("no split is given for 5 of 6 patients: chb02")
    cli("split", "--folds", 3, "-o", "folds.toml")
    text = (chb / "folds.toml").read_text()
    (chb / "folds.toml").write_text(text.replace('corpus = "chbmit"', 'corpus = "siena"'))
    told = cli("view", "--recipe", "chb-mit", "--splits", "folds.toml", "--json")
    assert told.code == 2 and told.json["what"] == "the splits are of corpus siena, not of chbmit"
    assert cli("check", "--splits", "folds.toml").code == 2


@pytest.fixture
def one_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile `smoke` of one recording in each split."""
    tables = {"smoke": "1", "dev": "2", "full": '"all"'}
    text = "".join(f"[{name}]\ntrain = {n}\ndev = {n}\neval = {n}\nnone = {n}\n" for name, n in tables.items())
    (tmp_path / "profiles.toml").write_text(text)
    monkeypatch.setenv("BRAINBRR_PROFILES", str(tmp_path / "profiles.toml"))


def test_a_view_with_own_splits_that_is_not_ready_proposes_its_own_profile(
    cli: Cli, chb: Path, one_of_each: None
) -> None:
    cli("split", "--folds", 3, "-o", "folds.toml")
    told = cli("view", "--profile", "smoke", "--splits", "folds.toml:2", "--json")  # not stored under this recipe
    assert told.code == 3 and "--profile smoke --splits folds.toml:2" in told.json["mend"]
    wanted = {each["recording"] for each in told.json["missing"]}
    dry = cli("ingest", "chbmit", "--profile", "smoke", "--splits", "folds.toml:2", "--dry-run", "--json").json
    assert {each["recording"] for each in dry["problems"]} == wanted and len(wanted) == 3


def test_an_ingest_of_a_profile_with_own_splits_stores_what_a_view_of_it_needs(
    cli: Cli, chb: Path, one_of_each: None
) -> None:
    cli("split", "--folds", 3, "-o", "folds.toml")
    words = ("--profile", "smoke", "--splits", "folds.toml", "--recipe", "chb-mit")
    with computed_once():
        told = cli("ingest", "chbmit", *words, "--store", "other", "--workers", 1, "--json")
    assert told.code == 0 and told.json["recordings"] == cli("view", *words, "--store", "other", "--json").json["ready"]
    assert cli("ingest", "chbmit", *words[:-2], "--corpus", "siena", "--dry-run").code == 2  # another corpus's splits


def test_folds_count_the_time_that_views_count(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(3):
        folder = tmp_path / "lab" / f"p{n}"
        folder.mkdir(parents=True)
        signals = [noise(name, seconds=20, seed=50 * n + i) for i, name in enumerate(TEN_TWENTY)]
        onsets = [*range(10), *range(15, 25)] if n == 0 else range(20)  # 5 s in a gap
        stamps = [b"+%d\x14\x14\0" % onset for onset in onsets]
        if n == 1:
            stamps[2] = b"+2\x14\x14\0+4\x153\x14BAD_ACQ_SKIP\x14\0"
        File(signals, reserved="EDF+C", stamps=stamps, note_bytes=64).write(folder, f"r{n}.edf")
        end = 25 if n == 0 else 20 if n == 1 else 12  # what follows is unlabelled
        rows = "8\t10\tsz\n" + ("19\t1\timpd\n" if n == 1 else "")
        table = "".join(f"{row}\t{end}\n" for row in rows.splitlines())
        (folder / f"r{n}_events.tsv").write_text(f"onset\tduration\teventType\trecordingDuration\n{table}")
    with computed_once():
        assert cli("ingest", "lab", "--workers", 1, "--accept", "label-length").code == 0
    folds = {each["patients"][0]: each for each in cli("split", "--folds", 3, "--json").json["folds"]}
    counted = {name: (each["seizures"], each["seizure_seconds"], each["hours"]) for name, each in folds.items()}
    # p0: 20 s recorded, 2 + 3 s of seizure beside the gap; p1: 20 - 3 - 1; p2: 12 of 20 labelled
    assert counted == {
        "p0": (2, 5.0, round(20 / 3600, 4)),
        "p1": (1, 10.0, round(16 / 3600, 4)),
        "p2": (1, 10.0, round(12 / 3600, 4)),
    }
    viewed = cli("view", "--json").json
    assert viewed["seconds"] == pytest.approx(20 + 17 + 20, abs=0.01) and viewed["seizures"] == 4
    assert viewed["seconds_unlabelled"] == pytest.approx(1 + 8, abs=0.01)
