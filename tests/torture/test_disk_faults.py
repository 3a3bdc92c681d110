"""A few of the faults of disk_faults.py and small_disks.py; all of them take minutes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.stderr.startswith("skipped: "):
        pytest.skip(told.stderr.removeprefix("skipped: ").strip())
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.mark.parametrize(("operation", "n"), [("ingest", 30), ("relabel", 30), ("verify", 30)])
def test_any_call_that_fails_leaves_a_store_that_the_same_command_completes(operation: str, n: int) -> None:
    told = run("disk_faults.py", "--only", operation, "--sample", n)
    injected = re.search(r"(\d+) injected \(.*; 1 in fresh processes; .*\), 0 violations", told)
    assert injected and n <= int(injected[1]) < 2 * n


def test_a_disk_that_fills_up_leaves_a_store_that_the_same_command_completes() -> None:
    assert re.match(r"small disks: \d\d+ filled, 0 violations", run("small_disks.py", "--only", "ingest", "--step", 30))
