"""Runs through the command line: named and requeued, changed by --set, killed and gone on with, and listed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.support import ROOT, Cli

from brainbrr.learn.compare import SCORES
from brainbrr.learn.runs import open_run, read_tensors

pytestmark = pytest.mark.slow


def begin(folder: Path, *words: object) -> subprocess.Popen[str]:
    """Start a training in a process of its own, which can be killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "brainbrr", "train", *map(str, words)]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def step_of(run: Path) -> int | None:
    """Return the step of a run's checkpoint, None where it has none."""
    file = run / "checkpoint.safetensors"
    return int(read_tensors(file)[1]["step"]) if file.exists() else None


def test_a_run_that_is_stopped_and_killed_goes_on_by_the_same_command_to_the_same_bits(cli: Cli, tiny: Path) -> None:
    asked = ("--config", tiny, "--set", "train.steps=60", "--set", "train.ema=0.9", "--set", "train.checkpoint_every=3")
    run = tiny.parent / "runs" / "stopped"
    for number, code in ((signal.SIGUSR1, 130), (signal.SIGKILL, -signal.SIGKILL)):
        before = step_of(run)
        child = begin(tiny.parent, *asked, "--name", "stopped")
        deadline = time.monotonic() + 300  # a busy machine imports torch in minutes
        while step_of(run) == before:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(number)
        _, told = child.communicate()
        assert child.returncode == code, told
        if code == 130:
            assert "checkpoint written; continue with `brainbrr train" in told and "error" not in told
        assert not (run / "model.safetensors").exists()
    with (run / "metrics.jsonl").open("a") as log:  # as if it had died later: steps that no checkpoint holds
        log.write('{"step": 58, "loss": 9.0}\n{"step": 59, "lo')
    again = cli("train", *asked, "--set", "train.loader_threads=3", "--name", "stopped", "--json")
    assert again.code == 0 and again.json["steps"] == 60 and "resuming stopped after step " in again.err
    assert cli("train", *asked, "--name", "whole").code == 0
    for name in ("model.safetensors", "checkpoint.safetensors"):
        assert (run / name).read_bytes() == (run.parent / "whole" / name).read_bytes()
    told = [[{**row, "seconds": 0} for row in open_run(each).history()] for each in (run, run.parent / "whole")]
    assert told[0] == told[1] and len(told[0]) == 60


def test_set_reaches_the_run_and_its_config(cli: Cli, tiny: Path) -> None:
    run = cli("train", "--config", tiny, "--set", "train.steps=1", "--set", "train.lr=0.5", "--json").json["run"]
    assert open_run(Path(run)).config.train.lr == 0.5
    told = cli("train", "--config", tiny, "--set", "train.lrr=0.5")
    assert told.code == 2 and "train.lr" in told.err


def test_resume_takes_neither_a_name_nor_first_weights(cli: Cli, tiny: Path) -> None:
    run = cli("train", "--config", tiny, "--set", "train.steps=1", "--json").json["run"]
    for words in (("--init", run), ("--name", "other")):
        assert cli("train", "--resume", run, *words).code == 2


def test_a_run_from_others_weights_says_so_and_is_not_scored_on_what_those_saw(cli: Cli, tiny: Path) -> None:
    short = ("--config", tiny, "--set", "train.steps=1")
    assert cli("train", *short, "--name", "first").code == 0
    told = cli("train", *short, "--init", tiny.parent / "runs" / "first", "--name", "second")
    assert told.code == 0 and "SYNTHETIC" in told.out
    for place, code in (("first", 0), ("second", 2)):
        again = cli("train", *short, "--init", tiny.parent / "runs" / place, "--name", "second")
        assert again.code == code and ("it started from first" in again.err) is (code == 2)
    assert cli("train", *short, "--init", tiny.parent / "runs" / "second", "--name", "first").code == 2
    listed = {Path(line["run"]).name: line for line in cli("runs", "--json").json["runs"]}
    assert (listed["first"]["started_from"], listed["second"]["started_from"]) == ([], ["first"])


def test_runs_are_listed_with_scores_and_what_cannot_be_compared(cli: Cli, tiny: Path) -> None:
    short = ("--config", tiny, "--set", "train.steps=1")
    assert cli("runs").code == 0
    for words in (
        ["a"],
        ["b", "--set", "train.lr=0.5", "--set", "train.checkpoint_every=9"],
        ["c", "--set", "window.length_s=2"],
    ):
        assert cli("train", *short, "--name", *words).code == 0
    folder = tiny.parent / "runs"
    shutil.copytree(folder / "a", folder / "broken")
    (folder / "broken" / "view.json").write_text("{")
    (folder / "stranger").mkdir()
    scores = cli("evaluate", folder / "a", "--json").json["metrics"]
    told = cli("runs", "--json").json
    lines = {Path(line["run"]).name: line for line in told["runs"]}
    assert list(lines) == ["a", "b", "c"] and Path(told["reference"]).name == "b"  # the newest on the view of most
    assert lines["c"]["not_comparable"] == ["another view"] and lines["c"]["differs"]["window.length_s"] == "2"
    assert lines["a"]["not_comparable"] == [] and lines["a"]["differs"] == {"train.lr": 0.003}
    assert lines["a"]["scores"]["eval"]["event_f1"] == scores["event_f1"]
    assert "timescoring" in lines["a"]["scores"]["eval"]["scorer"]
    assert (lines["b"]["steps"], lines["b"]["of_steps"], lines["b"]["finished"]) == (1, 1, True)
    assert {Path(each["run"]).name for each in told["broken"]} == {"broken", "stranger"}
    shown = cli("runs")
    assert shown.code == 0 and "not comparable: another view" in shown.out and "SYNTHETIC" in shown.out
    assert "stranger: this is no run" in shown.err and "event F1 by SzCORE" in shown.err
    both = cli("runs", "c", folder / "a", "--json").json
    assert [line["not_comparable"] for line in both["runs"]] == [[], ["another view"]]
    assert cli("runs", "nobody").code == 2 and cli("runs", "broken").code == 4


def test_another_recipe_and_scores_that_cannot_be_read_are_told_of(cli: Cli, corpus: Path, tiny: Path) -> None:
    short = ("--config", tiny, "--set", "train.steps=1")
    assert cli("train", *short, "--name", "a").code == 0
    recipe = tiny.parent / "wide.toml"
    recipe.write_text("notch_hz = false\n")
    assert cli("ingest", corpus, "--recipe", recipe, "--workers", 1).code == 0
    assert cli("train", *short, "--set", f"recipe={recipe}", "--name", "b").code == 0
    (tiny.parent / "runs" / "a" / "evaluation-eval.json").write_text("[1]")
    told = cli("runs", "a", "b", "--json").json["runs"]
    assert told[1]["not_comparable"] == ["another recipe"]
    assert told[0]["scores"] == {"eval": {"unreadable": "evaluation-eval.json"}}
    assert "cannot be read" in cli("runs").out
    whole = {**dict.fromkeys(SCORES, 0.5), "scorer": "s", "step_scorer": "s"}
    for wrong in ({"event_f1": "abc"}, {"auroc": [1]}, {"scorer": 1}):
        said = json.dumps({"view_digest": "d", "metrics": {**whole, **wrong}})
        (tiny.parent / "runs" / "a" / "evaluation-eval.json").write_text(said)
        shown = cli("runs")
        assert shown.code == 0 and "cannot be read" in shown.out, wrong
    refused = cli("train", *short, "--set", f"recipe={recipe}", "--init", tiny.parent / "runs" / "a")
    assert refused.code == 2 and "recipe" in refused.err
