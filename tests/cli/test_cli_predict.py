"""`predict` through the command line: files in, events out, the bad ones listed, and a stream line by line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import ROOT, TINY, Cli

from brainbrr.eeg.corpus.annotations import read_annotations
from brainbrr.learn.runs import read_tensors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose threshold was tuned. Read only."""
    place = tmp_path_factory.mktemp("predicting")
    (place / "tiny.toml").write_text(TINY)
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "BRAINBRR_STORE": str(place / "store")}

    def told(*words: object) -> str:
        command = [sys.executable, "-m", "brainbrr", *map(str, words), "--json"]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    told("ingest", generated, "--workers", 1)
    made = Path(json.loads(told("train", "--config", place / "tiny.toml"))["run"])
    told("evaluate", made)
    shutil.rmtree(place / "store")  # nothing here needs it
    return made


@pytest.fixture
def edfs(generated: Path) -> list[Path]:
    return sorted((generated / "edf" / "eval").rglob("*.edf"))


def test_a_folder_gets_the_very_files_that_evaluate_wrote(cli: Cli, run: Path, generated: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "p.safetensors"
    told = cli("predict", run, generated / "edf" / "eval", "-o", out, "--probabilities", kept, "--json")
    assert told.code == 0, told.err
    assert set(told.json) >= {"run", "threshold", "threshold_from", "recordings", "failed", "written", "seconds"}
    assert told.json["threshold_from"].startswith("split dev") and told.json["failed"] == []
    evaluated = run / "events" / "eval" / "edf" / "eval"
    files = {path.relative_to(evaluated): path for path in evaluated.rglob("*") if path.is_file()}
    assert len(files) == 8
    assert {path.relative_to(out) for path in out.rglob("*") if path.is_file()} == files.keys()
    for name, path in files.items():
        assert (out / name).read_bytes() == path.read_bytes()
    assert sorted(told.json["written"]) == sorted([*(str(out / name) for name in files), str(kept)])
    (ours, said), (theirs, _) = read_tensors(kept), read_tensors(run / "probabilities-eval.safetensors")
    assert said == {"step_s": 0.25}
    assert {f"edf/eval/{name}": values.tolist() for name, values in ours.items()} == {
        name: values.tolist() for name, values in theirs.items()
    }
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("name", "role"), [("events.tsv", "events.tsv"), ("x.csv_bi", ".csv_bi")])
def test_one_file_goes_into_the_format_of_its_name(
    cli: Cli, run: Path, edfs: list[Path], tmp_path: Path, name: str, role: str
) -> None:
    told = cli("predict", run, edfs[0], "-o", tmp_path / name)
    assert told.code == 0, told.err
    assert edfs[0].name in told.out and "SYNTHETIC" in told.err and str(tmp_path / name) in told.err
    found = read_annotations({role: tmp_path / name})
    assert found.labelled and found.duration_us
    json_events = cli("predict", run, edfs[0], "--json").json["recordings"][0]["events"]
    assert [(e.start_us / 1e6, e.stop_us / 1e6) for e in found.seizures] == [tuple(each) for each in json_events]


def test_the_good_ones_are_done_and_the_bad_ones_are_listed(
    cli: Cli, run: Path, edfs: list[Path], tmp_path: Path
) -> None:
    shutil.copy(edfs[0], tmp_path / "good.edf")
    (tmp_path / "cut.edf").write_bytes(edfs[0].read_bytes()[:-1000])
    (tmp_path / "text.edf").write_text("this is no EDF")
    told = cli("predict", run, tmp_path, "-o", tmp_path / "out", "--json")
    assert told.code == 1
    assert [each["recording"] for each in told.json["recordings"]] == ["good.edf"]
    assert [(each["recording"], each["error"]) for each in told.json["failed"]] == [
        ("cut.edf", "EdfError"),
        ("text.edf", "EdfError"),
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.csv_bi", "good_events.tsv"}
    shown = cli("predict", run, tmp_path)
    assert shown.code == 1 and "truncated" in shown.out and "good.edf" in shown.out
    assert "fix: get the complete file, or read what there is with --accept truncated" in shown.err
    told = cli("predict", run, tmp_path, "--accept", "truncated", "--json")
    assert told.code == 1 and [each["recording"] for each in told.json["failed"]] == ["text.edf"]


def test_a_file_without_the_montage_is_a_montage_error(cli: Cli, run: Path, data: Path) -> None:
    told = cli("predict", run, data / "edf" / "chbmit_hdr_256hz_noise.edf", "--json")
    assert told.code == 1 and told.json["failed"][0]["error"] == "MontageError"


def test_a_rate_too_low_for_the_recipes_band_is_said(cli: Cli, run: Path, edfs: list[Path], data: Path) -> None:
    [slow] = cli("predict", run, data / "edf" / "eegmmi_S001R01.edf", "--json").json["recordings"]
    assert "recorded too slowly for the recipe's 120 Hz: up to 76.8 Hz" in slow["notes"]
    assert not [
        note for note in cli("predict", run, edfs[0], "--json").json["recordings"][0]["notes"] if "slow" in note
    ]


def test_what_cannot_be_done_is_said_before_any_work(cli: Cli, run: Path, edfs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    twin = Path(shutil.copy(edfs[0], tmp_path / "a"))
    (tmp_path / "same").mkdir()
    for name in ("x.edf", "x_eeg.edf"):
        shutil.copy(edfs[0], tmp_path / "same" / name)
    for words, said in (
        ([tmp_path / "none.edf"], "no such file"),
        ([run], "no EDF file"),
        ([edfs[0], twin], "two recordings are called"),
        ([*edfs, "-o", tmp_path / "x.tsv"], "one file for their events"),
        ([edfs[0], "-o", tmp_path / "x.txt"], ".tsv or .csv_bi"),
        ([edfs[0], "-o", tmp_path / "b" / "x.tsv"], "folder of this file does not exist"),
        ([edfs[0], "--probabilities", tmp_path / "b" / "x"], "folder of this file does not exist"),
        (
            [edfs[0], "-o", tmp_path / "x.tsv", "--probabilities", tmp_path / "x.tsv"],
            "events and probabilities would both",
        ),
        ([tmp_path / "same", "-o", tmp_path / "out"], "x.edf and x_eeg.edf would both be written"),
        ([edfs[0], "--every", 2], "--stream"),
        ([*edfs, "--stream"], "one EDF"),
        ([edfs[0], "--stream", "-o", tmp_path / "x.tsv"], "one EDF"),
        ([edfs[0], "--stream", "--every", 5], "does not fit"),
        ([edfs[0], "--stream", "--every", "inf"], "no number of seconds"),
        ([edfs[0], "--stream", "--wait", "nan"], "no number of seconds"),
        ([tmp_path / "none.edf", "--stream"], "no such file"),
        ([tmp_path / "a", "--stream"], "a folder"),
        (["-"], "--stream"),
    ):
        told = cli("predict", run, *words)
        assert told.code == 2 and said in told.err, (words, told.err)
    assert cli("predict", tmp_path, edfs[0]).code == 2


def test_labels_and_recordings_are_not_overwritten(cli: Cli, run: Path, generated: Path, tmp_path: Path) -> None:
    corpus = Path(shutil.copytree(generated / "edf" / "eval", tmp_path / "eval"))
    before = {file: file.read_bytes() for file in corpus.rglob("*") if file.is_file()}
    edf = next(corpus.rglob("*.edf"))
    labels = edf.with_suffix(".csv_bi")
    for words, said in (
        ([corpus, "-o", corpus], "the file exists"),
        ([edf, "-o", labels], "the file exists"),
        ([edf, "--probabilities", edf], "the recording itself"),
        ([edf, "--probabilities", edf, "--overwrite"], "the recording itself"),
    ):
        told = cli("predict", run, *words)
        assert told.code == 2 and said in told.err, words
    assert before == {file: file.read_bytes() for file in corpus.rglob("*") if file.is_file()}
    assert cli("predict", run, edf, "-o", labels, "--overwrite").code == 0
    assert labels.read_bytes() != before[labels] and edf.read_bytes() == before[edf]


def test_a_stream_is_one_line_a_step(cli: Cli, run: Path, edfs: list[Path]) -> None:
    told = cli("predict", run, edfs[0], "--stream", "--every", 0.5)
    assert told.code == 0 and "at most" in told.err
    head, *rows = told.out.splitlines()
    assert head.split("\t") == ["time_s", "available_at_s", "probability"]
    times = [row.split("\t") for row in rows]
    assert [float(row[0]) for row in times] == [i / 4 for i in range(len(rows))] and len(rows) > 40
    assert all(float(row[1]) > float(row[0]) and 0 <= float(row[2]) <= 1 for row in times)


def test_a_stream_may_come_through_a_pipe(run: Path, edfs: list[Path]) -> None:
    command = [sys.executable, "-m", "brainbrr", "predict", str(run), "-", "--stream", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        data = edfs[0].read_bytes()
        process.stdin.write(data[:-1000])
        process.stdin.flush()
        head, first = (json.loads(process.stdout.readline()) for _ in range(2))  # while the rest is still to come
        assert head["schema"] == 1 and head["latency_s"] < 8 and first["time_s"] == 0
        process.stdin.write(data[-1000:])
        process.stdin.close()
        steps = [first, *map(json.loads, process.stdout)]
        assert process.wait() == 0
    assert all(step.keys() == {"time_s", "available_at_s", "probability"} for step in steps)
    assert steps[-1]["time_s"] > 12


def test_a_stream_that_breaks_off_ends_with_1_after_what_it_said(
    cli: Cli, run: Path, edfs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "cut.edf").write_bytes(edfs[0].read_bytes()[:-1000])
    told = cli("predict", run, tmp_path / "cut.edf", "--stream")
    assert told.code == 1 and "the stream ended after" in told.err and len(told.out.splitlines()) > 40
    assert str(tmp_path / "cut.edf") in told.err
